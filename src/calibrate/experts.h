/*
 * What is known of the inputs of a layer's experts: products as in site.h, of the tokens that each is sent. Some are sent few:
 * their products are drawn toward those of all of the layer's tokens, where experts see the same inputs, and otherwise toward their
 * own diagonal, as if so many tokens more had been seen as are a quarter of the columns.
 */
#ifndef HT_CALIBRATE_EXPERTS_H
#define HT_CALIBRATE_EXPERTS_H

#include "calibrate/site.h"

enum { HT__EXPERT_ROWS = 512 }; /* that are added at a time, however few a pass brings */

struct ht__expert_stats {
    struct ht__site_stats site;
    float *f, *q; /* rows that wait: HT__EXPERT_ROWS x n_in */
    int64_t n_waiting;
};

HT_MUST_CHECK enum ht_err ht__expert_open(struct ht__expert_stats *expert, int64_t n_in, int64_t most_held,
                                          const struct ht__alloc *alloc, struct ht_diag *diag);
void ht__expert_close(struct ht__expert_stats *expert);
/* Bytes of one. */
uint64_t ht__expert_bytes(int64_t n_in, int64_t most_held);

/* The input that a token has in the float model, and in the quantized one. */
HT_MUST_CHECK enum ht_err ht__expert_add(struct ht__expert_stats *expert, const float *f, const float *q, bool held_out,
                                         const struct ht__ops *ops, struct ht__pool *pool, struct ht_diag *diag);
/* After the last token: means. */
HT_MUST_CHECK enum ht_err ht__expert_finish(struct ht__expert_stats *expert, const struct ht__ops *ops,
                                            struct ht__pool *pool, struct ht_diag *diag);
/* Finished ones; all: of the layer's tokens, or NULL. Few held-out tokens are replaced by those of `all`. */
void ht__expert_shrink(struct ht__expert_stats *expert, const struct ht__expert_stats *all);

#endif
