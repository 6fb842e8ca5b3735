/*
 * The engine's operations on floats. One template (ops_tmpl.h) is compiled for every CPU level; each adds in
 * the same order, so that all levels give the same bits: measurements do not depend on the machine.
 */
#ifndef HT_KERNELS_OPS_H
#define HT_KERNELS_OPS_H

#include "kernels/codec.h"

enum {
    HT__MATMUL_ROWS = 32,    /* output rows that a call of matmul takes at most */
    HT__MATMUL_DEPTH = 1024, /* weights of a row that are decoded at a time */
    HT__MATMUL16_ROWS = 128, /* and one of matmul16, or of matmul8 where the level has tiles */
    /* floats of scratch that matmul needs: decoded rows, and the same transposed */
    HT__MATMUL_SCRATCH = 2 * HT__MATMUL_ROWS * HT__MATMUL_DEPTH,
};

/* Rows of a matrix in some numeric format: n_rows of n_in weights, row_bytes apart. */
struct ht__matmul_weights {
    ht__decode_fn *decode;
    const void *rows;
    size_t row_bytes;
    uint32_t block_len, block_size;
    int64_t n_in;
    int n_rows; /* 1 … HT__MATMUL_ROWS, or as many as the call says */
};

/*
 * 256 activations of sixteen tokens in one place, as tiles want them; where rows end, zeros. Besides the codes, their scales
 * and, for minima, scales times sums of 32 codes and of 16. What a step of 32 codes needs of all tokens lies together.
 */
struct ht__activation_tile {
    int8_t codes[8][16][32];
    float scales[8][16], sums_32[8][16], sums_16[16][16];
};

/*
 * Activations in eight bits, for the fast products: each 32 of them are codes times a scale, largest magnitude 127.
 * Rows of n_in codes, n_in / 32 scales and n_in / 16 sums of codes, one after the other.
 */
struct ht__activations {
    int8_t *codes;
    float *scales;
    int32_t *sums;
    int64_t n_in;
    bool wide; /* every 256 share a scale, as in programs that round K types' activations so */
    /*
     * The same once more, of full sixteens of tokens, for levels that have `tile`; or NULL. What a block of weights meets
     * stands together: first 256 activations of all `sixteens`, ht__tiles_of(n_in) times.
     */
    struct ht__activation_tile *tiles;
    int64_t sixteens;
};

static inline int64_t ht__tiles_of(int64_t n_in)
{
    return (n_in + 255) / 256;
}

/* 256 numbers in BF16 of each of sixteen tokens, 32 at a time; zeros where rows or tokens end. */
struct ht__bf16_tile {
    uint16_t numbers[8][16][32];
};
/*
 * Activations in BF16, in as many parts as the level's operations say: the nearest number alone, or two, whose sum an activation
 * is but for 2^-15 of it. A tile's parts stand together, the larger one first, and so do those of a product's activations that a
 * block of weights meets: 256 of all `sixteens`.
 */
struct ht__split {
    struct ht__bf16_tile *tiles;
    int64_t sixteens, n_in;
};

/*
 * As matmul, with activations in eight bits: exact integer sums within sub-blocks, floats across them. The error
 * against matmul is that of rounding activations: at most 1/254 of the largest of each 32.
 */
typedef void ht__matmul8_fn(const struct ht__matmul_weights *w, const struct ht__activations *x, int64_t n_tokens,
                            float *y, int64_t ldy);
/*
 * As matmul, of BF16 weights, and F16 ones where activations have two parts. The error against sums in double is at most 2^-14 of
 * the sum of magnitudes, or 2^-8 with one part, and what 3 n_in additions of floats in any order make. HT__MATMUL16_ROWS rows at
 * most; scratch as matmul's.
 */
typedef void ht__matmul16_fn(const struct ht__matmul_weights *w, const struct ht__split *x, int64_t n_tokens, float *y,
                             int64_t ldy, float *scratch);
/* One token's products with rows of a float format, in an order of its own: faster than matmul, not the same bits. */
typedef void ht__vector_fn(const struct ht__matmul_weights *w, const float *x, float *y);

struct ht__ops {
    /*
     * y[t * ldy + r] = sum over k of x[t * ldx + k] * w[r][k], in the order of k, each step a fused
     * multiply-add: the sum of a pair (t, r) does not depend on what is computed beside it.
     * scratch: HT__MATMUL_SCRATCH floats, aligned to 64 bytes.
     */
    void (*matmul)(const struct ht__matmul_weights *w, const float *x, int64_t ldx, int64_t n_tokens, float *y,
                   int64_t ldy, float *scratch);
    /* Sum of products, in 16 lanes that are then added as a tree. */
    float (*dot)(const float *a, const float *b, int64_t n);
    /* y += s * x */
    void (*add_scaled)(float *y, const float *x, float s, int64_t n);
    /* y = (x - mean) / sqrt(variance + eps) * w + b, or without the mean for RMS norms. w, b may be NULL. */
    void (*norm)(float *y, const float *x, const float *w, const float *b, int64_t n, float eps, bool rms);
    /* x = exp(x - max); gives the sum. */
    float (*exp_sum)(float *x, int64_t n, float max);
    /* Gated activations: gate = act(gate) * up; up NULL: gate = act(gate). */
    void (*silu)(float *gate, const float *up, int64_t n);
    void (*gelu)(float *gate, const float *up, int64_t n);      /* with erf */
    void (*gelu_tanh)(float *gate, const float *up, int64_t n); /* its approximation by tanh */
    /* out = sum over j of p[j] * rows[j * ld .. + len], in the order of j */
    void (*weighted_sum)(float *out, const float *p, const float *rows, int64_t ld, int64_t n, int64_t len);
    /* lanes[i][j][k % 8] += a[i * lda + k] * b[j * ldb + k] over k < n, a multiple of 8, in the order of k:
     * i < n_a, j < n_b, lanes n_a x n_b x 8. What a Cholesky factorization subtracts, before the lanes are added. */
    void (*add_products)(double *lanes, const double *a, int64_t lda, int64_t n_a, const double *b, int64_t ldb,
                         int64_t n_b, int64_t n);
    /*
     * sums[i * ld + j] += the sum over k < n of a[k][i] * b[k][j], i < n_a, j < n_b, of panels whose rows have HT__MATMUL_ROWS
     * floats: in floats from 0 on, in the order of k, each step a fused multiply-add; that sum is added in double.
     */
    void (*add_outer)(double *sums, int64_t ld, const float *a, int n_a, const float *b, int n_b, int64_t n);
    /* n rows of x, ldx apart, n_in of them a multiple of 32 */
    void (*activations)(const float *x, int64_t ldx, int64_t n, struct ht__activations *out);
    /* The tiles of sixteen tokens from `token` on, a multiple of sixteen, whose activations are there; NULL: none wanted. */
    void (*tile)(struct ht__activations *x, int64_t token);
    /* NULL where the level has none for the format */
    ht__matmul8_fn *(*matmul8)(const struct ht__codec *codec);
    ht__vector_fn *(*vector)(const struct ht__codec *codec);
    /* Sixteen tokens of x, or fewer at the end, to the i-th sixteen; NULL where the level has no matmul16. */
    void (*split)(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i);
    int parts; /* that an activation is split in */
    ht__matmul16_fn *(*matmul16)(const struct ht__codec *codec);
};

const struct ht__ops *ht__ops(enum ht__cpu_level level);

/* y[t * ldy + r] = sum over k of x[t * ldx + k] * w[r * ldw + k], for any number of rows r of floats: matmul's order. */
void ht__ops_product(const struct ht__ops *ops, const float *w, int64_t ldw, int64_t n_rows, int64_t n_in,
                     const float *x, int64_t ldx, int64_t n_tokens, float *y, int64_t ldy, float *scratch);

#endif
