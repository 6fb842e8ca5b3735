/*
 * Windows of tokens, taken from texts of several kinds (domains) and mixed by weight.
 *
 * Each text is cut into whole windows; what is left over at its end is not used. The windows then come one by one, each
 * from the domain that is due: after any number of them, each domain has given its share within less than one window,
 * so that the first N windows are a fair sample whatever N is. The sequence ends where a domain that is due has no
 * window left.
 *
 * Of each domain 15 % of the windows, evenly spaced, are marked as held out: for measuring what was chosen on the
 * others. Everything depends on the texts, the weights and the seed alone.
 */
#ifndef HT_CALIBRATE_WINDOWS_H
#define HT_CALIBRATE_WINDOWS_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HT__MOST_DOMAINS = 64, HT__HELD_OUT_PERCENT = 15, HT__MOST_WEIGHT = 1000000000 };

/* What windows are taken from. */
struct ht__domain_text {
    const char *name;   /* lent */
    uint32_t weight;    /* share of the windows, relative to the others'; 1 to HT__MOST_WEIGHT */
    const int32_t *ids; /* NULL: random tokens, as many as are due */
    size_t n_ids;
};

struct ht__domain {
    const char *name;
    uint32_t weight;
    size_t n_text;  /* windows that the text has; SIZE_MAX: random tokens */
    size_t n_taken; /* of the windows that were taken */
};
struct ht__window {
    uint16_t domain; /* index in domains */
    bool held_out;
};
struct ht__windows {
    const struct ht__alloc *alloc;
    int32_t *tokens;       /* n x n_ctx */
    struct ht__window *at; /* n */
    size_t n;
    int n_ctx;
    size_t ended; /* the domain that was due and had no window left; SIZE_MAX: as many as asked for were taken */
    struct ht__domain domains[HT__MOST_DOMAINS];
    size_t n_domains;
};

struct ht__windows_params {
    const struct ht__domain_text *texts;
    size_t n_texts;
    int n_ctx;
    size_t from, most; /* of the sequence: windows that are skipped, and that are taken */
    uint64_t seed;
    bool in_order; /* each text from its start; else its windows come in an order that the seed gives */
    /* Fills a window with random tokens, the same for the same seed; false when the vocabulary has no text. Needed
     * where a text has no ids. */
    bool (*random)(const void *ctx, uint64_t seed, int32_t *ids, size_t n);
    const void *ctx;
};

/* A text without a whole window is HT_ERR_USAGE, named; so are fewer windows than `from`. Close it on failure too. */
HT_MUST_CHECK enum ht_err ht__windows_mix(struct ht__windows *windows, const struct ht__windows_params *params,
                                          const struct ht__alloc *alloc, struct ht_diag *diag);
void ht__windows_close(struct ht__windows *windows);

#endif
