/* A text as it is made, and Ctrl-C while it is: what `generate` and `run` share. */
#include "generate.h"

#include "line.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static struct ht_generator *volatile generating; /* for the signal handler */
static volatile sig_atomic_t presses, most_presses;

/* Before there is text nothing is lost. */
static void interrupt(int number)
{
    bool ends = number == SIGTERM && most_presses > 1; /* a conversation, and not the answer alone */
    if (!generating || ends || ++presses > most_presses) {
        line_restore_terminal();
        _exit(EXIT_INTERRUPTED);
    }
    ht_generator_cancel(generating);
}

void catch_interrupts(bool conversation)
{
    struct sigaction action = {.sa_handler = interrupt};
    most_presses = conversation ? 2 : 1;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void answer_begins(struct ht_generator *g)
{
    presses = 0;
    generating = g;
}

void answer_ends(void)
{
    generating = NULL;
}

int write_answer(const struct command *c, struct ht_generator *g, struct output *out, bool *interrupted, bool line)
{
    struct ht_generator_stats stats;
    struct ht_diag diag = {0};
    const char *text;
    size_t len;
    enum ht_err err;
    *interrupted = false;
    output_begin(out);
    while ((err = ht_generator_next(g, &text, &len, &diag)) == HT_OK && len > 0)
        if (!output_text(out, text, len)) return EXIT_FAILED;
    if (err != HT_OK && err != HT_ERR_CANCELLED) return report_error(c, err, &diag, out->json);
    if (err == HT_ERR_CANCELLED) {
        *interrupted = true;
        ht_generator_rest(g, &text, &len);
        if (!output_text(out, text, len)) return EXIT_FAILED;
    }
    ht_generator_stats(g, &stats);
    return output_end(out, &stats, *interrupted, line) ? EXIT_DONE : EXIT_FAILED;
}

void warn_of_context(const struct command *c, const struct ht_generator *g)
{
    struct ht_generator_stats s;
    ht_generator_stats(g, &s);
    if (s.context <= s.trained_context || s.trained_context <= 0) return;
    fprintf(stderr, "halftone %s: warning: the context is %d tokens, but the model was trained with %d\n", c->name,
            s.context, s.trained_context);
}
