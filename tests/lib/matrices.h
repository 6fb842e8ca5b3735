/* Matrices, tokens and results for tests of products, each flush against an unmapped page. */
#ifndef HT_TESTS_MATRICES_H
#define HT_TESTS_MATRICES_H

#include "kernels/ops/ops.h"
#include "lib/guard.h"

#define HALF_ULP 0x1p-24

struct matrix {
    const struct ht__codec *codec;
    struct guard packed;
    float *decoded;
    size_t row_bytes;
    int n_rows;
    int64_t n_in;
};

/* Of any bytes, or of gaussian rows; blocks that are not sound, or beyond what sums of floats hold, are zero. */
struct matrix make_matrix(const struct ht__codec *c, int n_rows, int64_t n_in, bool any, bool after);
void free_matrix(struct matrix *m);
/* `count` rows from `row`, decoded as the level does. */
struct ht__matmul_weights part_of(const struct matrix *m, int level, int row, int count);

/* Tokens: rows of floats, ld apart, the last of them flush against an unmapped page. */
struct tokens {
    struct guard memory;
    float *x;
    int64_t n, ld;
};

struct tokens make_tokens(int64_t n, int64_t len, int64_t gap, bool after);
struct tokens make_results(int64_t n, int64_t n_rows, bool after);
/* Nothing but n_rows of every ld floats may have been written. */
void check_gaps(const struct tokens *y, int64_t n_rows);

/*
 * Sums within the share of their magnitudes that is given, and within what half an ulp of them makes, `roundings` times a weight.
 * Without a share: those of floats, each step with one rounding.
 */
void near_the_sums(const struct matrix *m, const struct tokens *x, const struct tokens *y, double share, int roundings,
                   const char *where);

#endif
