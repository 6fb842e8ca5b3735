/*
 * Codes for rows of a matrix over a grid that is given: error feedback (GPTQ's, by a factor of H + damping), then sweeps
 * of exact coordinate descent. Both lower (w - w^) (H + damping) (w - w^)'.
 */
#ifndef HT_METHODS_FEEDBACK_H
#define HT_METHODS_FEEDBACK_H

#include "base/arena.h"
#include "methods/coder.h"
#include "methods/factor.h"

/* Rows in a call: what one task works on. */
enum { HT__FEEDBACK_ROWS = 32 };

struct ht__feedback_buffers {
    float *error;    /* HT__FEEDBACK_ROWS x n */
    float *gradient; /* likewise */
    float *scale;    /* HT__FEEDBACK_ROWS x n / group */
    float *offset;   /* likewise */
    uint8_t *codes;  /* HT__FEEDBACK_ROWS x n */
    float *change;   /* n */
    float *scratch;  /* HT__MATMUL_SCRATCH, aligned */
};
/* In an arena, for a coder whose codes can be chosen or not; false: memory is out. */
bool ht__feedback_open(struct ht__feedback_buffers *buffers, const struct ht__coder *coder, struct ht__arena *arena);

/* n_rows rows of a coded matrix from `row` on, which are encoded: their codes are chosen anew, for w: n_rows x n floats by the
 * factor's places. Scales stay, but for coders that can change them: those get the best for the codes, and other codes then. */
void ht__feedback_codes(const struct ht__factor *factor, const struct ht__ops *ops, const struct ht__coder *coder,
                        const float *w, int64_t row, int64_t n_rows, struct ht__feedback_buffers *buffers, int sweeps,
                        void *coded);
/* rows of floats by the factor's places. */
void ht__feedback_place(const struct ht__factor *factor, const float *rows, int64_t n_rows, float *placed);

#endif
