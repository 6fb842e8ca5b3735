/* What a model says, on its way out: to a terminal, a pipe, or as JSON lines. */
#ifndef HT_CLI_GENERATE_H
#define HT_CLI_GENERATE_H

#include "cli.h"

struct output {
    bool json, quiet;
    bool terminal;  /* control characters are made visible */
    bool progress;  /* a counter on stderr: it is a terminal, and the text goes elsewhere */
    bool shown;     /* the counter is on the terminal */
    bool line_open; /* the last character was no newline */
    int pieces;
    double begun, last_shown;
};

void output_init(struct output *out, bool json, bool quiet);
void output_begin(struct output *out);
/* A piece of text. false: it cannot be written. */
bool output_text(struct output *out, const char *text, size_t len);
/* The end of an answer: a newline on a terminal (or when `line`), figures to stderr or as a JSON line. */
bool output_end(struct output *out, const struct ht_generator_stats *stats, bool interrupted, bool line);

#endif
