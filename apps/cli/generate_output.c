/* Text of a model on its way out. What a model writes is not trusted: its control characters do not reach a
 * terminal, where they could move the cursor, set the title or answer for the user. */
#include "generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Length of the well-formed character at p, or 0: no overlong forms, no surrogates, nothing above U+10FFFF. */
static size_t character(const unsigned char *p, size_t n)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : 4;
    if (len == 1) return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < len) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return len;
}

/* ^[ for escape, \x9b for a byte that is not part of a character, \u009b for a control character beyond ASCII. */
static void put_safely(const unsigned char *p, size_t n)
{
    for (size_t at = 0, len; at < n; at += len ? len : 1) {
        len = character(p + at, n - at);
        unsigned char c = p[at];
        if (len == 0)
            printf("\\x%02x", c);
        else if (len == 1 && (c == 0x7f || (c < 0x20 && c != '\n' && c != '\t')))
            printf("^%c", c ^ 0x40);
        else if (len == 2 && c == 0xc2 && p[at + 1] < 0xa0)
            printf("\\u%04x", p[at + 1]);
        else
            fwrite(p + at, 1, len, stdout);
    }
}

/* JSON holds characters only: a byte that is none becomes U+FFFD. */
static json_t *json_text(const char *text, size_t n)
{
    char *fixed = malloc(3 * n + 1);
    size_t used = 0;
    if (!fixed) return NULL;
    for (size_t at = 0, len; at < n; at += len ? len : 1) {
        len = character((const unsigned char *)text + at, n - at);
        memcpy(fixed + used, len ? text + at : "\xef\xbf\xbd", len ? len : 3);
        used += len ? len : 3;
    }
    json_t *string = json_stringn(fixed, used);
    free(fixed);
    return string;
}

static bool put_line(json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (text) puts(text);
    free(text);
    json_decref(line);
    return text && fflush(stdout) == 0;
}

void output_init(struct output *out, const struct command *command, bool json, bool quiet)
{
    *out = (struct output){.command = command, .json = json, .quiet = quiet};
    out->terminal = !json && isatty(STDOUT_FILENO);
    out->figures = !quiet && isatty(STDERR_FILENO);
    out->progress = !quiet && !isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
}

void output_begin(struct output *out)
{
    out->pieces = 0;
    out->line_open = false;
    out->begun = out->last_shown = now();
}

static void count_up(struct output *out)
{
    double t = now();
    if (!out->progress || t - out->last_shown < 0.2) return;
    out->last_shown = t;
    out->shown = true;
    fprintf(stderr, "\r%d pieces of text in %.1f s\033[K", out->pieces, t - out->begun);
}

bool output_text(struct output *out, const char *text, size_t len)
{
    if (len == 0) return true;
    out->pieces++;
    count_up(out);
    if (out->json) return put_line(json_pack("{s:s, s:o}", "event", "text", "text", json_text(text, len)));
    out->line_open = text[len - 1] != '\n';
    if (out->terminal)
        put_safely((const unsigned char *)text, len);
    else
        fwrite(text, 1, len, stdout);
    return fflush(stdout) == 0;
}

static double rate(int n, double seconds)
{
    return n > 0 && seconds > 0 ? n / seconds : 0;
}

/* The first token comes with the prompt; the rate is that of the others. */
static bool put_figures(const struct ht_generator_stats *s, const char *reason)
{
    return put_line(json_pack(
        "{s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f}", "event", "done", "reason", reason, "context_full",
        s->context_full, "context", s->context, "prompt_tokens", s->prompt_tokens, "read_tokens", s->read_tokens,
        "tokens", s->new_tokens, "prompt_seconds", s->prompt_seconds, "seconds", s->seconds, "prompt_tokens_per_second",
        rate(s->read_tokens, s->prompt_seconds), "tokens_per_second", rate(s->new_tokens - 1, s->seconds)));
}

bool output_end(struct output *out, const struct ht_generator_stats *s, bool interrupted, bool line)
{
    const char *reason = interrupted ? "interrupted" : s->reason ? s->reason : "";
    if (out->shown) fprintf(stderr, "\r\033[K");
    out->shown = false;
    if (out->json) return put_figures(s, reason);
    if ((out->terminal && out->line_open) || line) putchar('\n');
    bool good = fflush(stdout) == 0;
    if (!out->quiet && s->context_full)
        fprintf(stderr, "halftone %s: the context of %d tokens is full\n", out->command->name, s->context);
    if (!out->figures) return good;
    fprintf(stderr, "[%d tokens read, %.1f a second; %d made, %.1f a second; %s]\n", s->read_tokens,
            rate(s->read_tokens, s->prompt_seconds), s->new_tokens, rate(s->new_tokens - 1, s->seconds), reason);
    return good;
}
