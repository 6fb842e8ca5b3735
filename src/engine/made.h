/*
 * What a model makes, as text: whole characters, held back where they may become a stop text.
 *
 *     ids -> characters -> | handed out | may begin a stop text |
 */
#ifndef HT_ENGINE_MADE_H
#define HT_ENGINE_MADE_H

#include "model/tokenizer/tokenizer.h"

enum ht__generator_flags {
    HT__GENERATE_CONTROL = 1, /* control tokens are shown as they are spelled */
    HT__GENERATE_FRESH = 2,   /* a text of its own, not one that goes on: a SentencePiece space at its start goes */
};

struct ht__made {
    struct ht__tokenizer_stream stream;
    struct ht__buf text; /* characters: released up to `released`, then held back */
    size_t released;
    struct ht__buf stop_texts; /* one after the other, each with a NUL */
    size_t longest_stop;
    bool stopped; /* a stop text came: the text ends before it */
};

void ht__made_init(struct ht__made *made, const struct ht__alloc *alloc);
void ht__made_close(struct ht__made *made);
/* Copied; empty ones are refused. */
HT_MUST_CHECK enum ht_err ht__made_stops(struct ht__made *made, const char *const *stops, size_t n,
                                         struct ht_diag *diag);
/* What is made from now on continues the ids. */
void ht__made_begin(struct ht__made *made, const struct ht__tokenizer *text, const int32_t *ids, size_t n,
                    unsigned flags);
HT_MUST_CHECK enum ht_err ht__made_put(struct ht__made *made, int32_t id, struct ht_diag *diag);
/* What can be handed out by now, {…, 0}: nothing; valid until the next id is put. */
struct ht__str ht__made_take(struct ht__made *made);
/* All that is left, what is held back included, but nothing of a stop text. */
struct ht__str ht__made_rest(struct ht__made *made);

#endif
