/*
 * Inner loops over weights that schemes and the pipeline share: ranges, nearest codes, values, sums. One template
 * (weights_tmpl.h) is compiled for every CPU level, and the search of integer grids has a vector form of its own
 * (x86/probe_tmpl.h); all levels give the same bits.
 *
 * x: n finite floats, aligned to 4 bytes. Codes are a byte each.
 */
#ifndef HT_KERNELS_WEIGHTS_H
#define HT_KERNELS_WEIGHTS_H

#include "kernels/codec.h"

/* Which number a weight's value, or its quotient by the scale, is rounded to. */
enum ht__rounding { HT__TO_F32, HT__TO_BF16, HT__TO_F16, HT__N_ROUNDINGS };
enum ht__small_float { HT__SMALL_E4M3, HT__SMALL_E2M1, HT__N_SMALL_FLOATS };

/* Sixteen values and between neighbours their midpoints, rising; code[i] is that of the i-th value. */
struct ht__codebook {
    float midpoint[15];
    uint8_t code[16];
};

/*
 * A scale that is tried for a group of weights: codes are those nearest to x * inverse, in [least, most], counted from
 * the zero point. least <= 0 <= most.
 */
struct ht__probe {
    const float *x;
    const float *importance; /* of the same weights; or NULL, in all probes of a call alike */
    float inverse, least, most;
};

struct ht__weight_ops {
    /* Largest magnitude; 0 for none. */
    float (*largest)(const float *x, int64_t n);
    /* Least and largest number, of these and 0. */
    void (*range)(const float *x, int64_t n, float *lo, float *hi);
    /* Is none infinite or NaN? */
    bool (*finite)(const float *x, int64_t n);
    /* Sum of (x - y)^2, or of x^2 where y is NULL: in 16 lanes that are then added in their order, then what is left. */
    double (*squares)(const float *x, const float *y, int64_t n);

    /* The code nearest to x / by, or, unless `divide`, to x * (1 / by); both held to [-1, 1]. On a midpoint: the lower. */
    void (*codebook_nearest)(const struct ht__codebook *book, const float *x, int64_t n, float by, bool divide,
                             uint8_t *q);
    /* value[q], for codes below 16. */
    void (*look_up)(const float value[16], const uint8_t *q, int64_t n, float *x);

    /* For each probe the sums of x * q and q * q (times importance): in eight lanes, added as a tree. */
    void (*probe)(const struct ht__probe *probes, int n_probes, int64_t n, float *xq, float *qq);
    /* The code from 0 to `most` nearest to x / scale + zero. */
    void (*whole_nearest)(const float *x, int64_t n, float scale, float zero, float most, uint8_t *q);
    /* (q - zero) * scale, rounded; scale and zero finite. */
    void (*whole_value[HT__N_ROUNDINGS])(const uint8_t *q, int64_t n, float scale, float zero, float *x);

    /* The small float nearest to x / scale, which is rounded first; and its value times the scale, rounded. */
    void (*small_nearest[HT__N_SMALL_FLOATS][HT__N_ROUNDINGS])(const float *x, int64_t n, float scale, uint8_t *q);
    void (*small_value[HT__N_SMALL_FLOATS][HT__N_ROUNDINGS])(const uint8_t *q, int64_t n, float scale, float *x);

    /* bitsandbytes' eight bits: x as half holds it (never infinite) times `by`, rounded, as a signed byte; and back. */
    void (*signed_nearest)(const float *x, int64_t n, float by, uint8_t *q);
    void (*signed_value)(const uint8_t *q, int64_t n, float scale, float factor, float *x);

    /* Pairs of codes below 16 become bytes, the first of a pair in the upper or in the lower four bits; and back. */
    void (*join_nibbles)(const uint8_t *q, int64_t n_pairs, bool first_upper, uint8_t *dst);
    void (*part_nibbles)(const uint8_t *src, int64_t n_pairs, bool first_upper, uint8_t *q);

    /* Of n words of 8 bytes, the first of which is the `first` of a file: sums of the lower and of the upper halves times
     * ht__sum_factor(), and of the factors. */
    void (*sum_words)(const uint8_t *words, uint64_t n, uint64_t first, uint64_t sums[3]);
};

const struct ht__weight_ops *ht__weight_ops(enum ht__cpu_level level);

enum ht__rounding ht__rounding_of(const struct ht__codec *dtype); /* F32, BF16 or F16 */

extern const struct ht__weight_ops ht__weight_ops_scalar;
#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
extern const struct ht__weight_ops ht__weight_ops_avx2, ht__weight_ops_avx512;
#endif

#endif
