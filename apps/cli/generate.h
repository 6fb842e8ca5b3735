/* What a model says, on its way out: to a terminal, a pipe, or as JSON lines. */
#ifndef HT_CLI_GENERATE_H
#define HT_CLI_GENERATE_H

#include "cli.h"

struct output {
    const struct command *command;
    bool json, quiet;
    bool figures;   /* on stderr, behind each answer */
    bool terminal;  /* control characters are made visible */
    bool progress;  /* a counter on stderr: it is a terminal, and the text goes elsewhere */
    bool shown;     /* the counter is on the terminal */
    bool line_open; /* the last character was no newline */
    int pieces;
    double begun, last_shown;
};

void output_init(struct output *out, const struct command *command, bool json, bool quiet);
void output_begin(struct output *out);
/* A piece of text. false: it cannot be written. */
bool output_text(struct output *out, const char *text, size_t len);
/* The end of an answer: a newline on a terminal (or when `line`), figures to stderr or as a JSON line. */
bool output_end(struct output *out, const struct ht_generator_stats *stats, bool interrupted, bool line);

/* ---- answers: answer.c --------------------------------------------------------------------------- */

/* Ctrl-C ends the text that is being made; where there is none, the program. A second one ends the program at once, or
 * (in a `conversation`) the third in one answer. */
void catch_interrupts(bool conversation);
void answer_begins(struct ht_generator *generator);
void answer_ends(void);
/* Writes what comes until it ends. *interrupted: the user ended it, and what was there is written. `line`: it ends with
 * a newline. Returns an exit status; what went wrong has been told. */
int write_answer(const struct command *command, struct ht_generator *generator, struct output *out, bool *interrupted,
                 bool line);
void warn_of_context(const struct command *command, const struct ht_generator *generator);

#endif
