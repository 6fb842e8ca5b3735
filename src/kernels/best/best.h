/*
 * Encoding with a better search: scales, minima and codes of a block that minimise
 *     sum of importance[j] * (x[j] - decoded[j])^2,
 * starting from what encode wrote and never worse than that. The stock encoders weigh by importance * sqrt(sigma^2 +
 * x^2), try few scales, and code the scales of sub-blocks once; here the scales of sub-blocks and of the super-block
 * are searched in turn until nothing changes.
 *
 * A type gives a recipe: how its scales are searched, read and put. The codes follow from the scales (the nearest
 * value of struct ht__grid), so that a search proposes scales alone.
 */
#ifndef HT_KERNELS_BEST_H
#define HT_KERNELS_BEST_H

#include "kernels/best/lanes.h"
#include "kernels/codec.h"

enum {
    HT__BEST_SUBS = 16, /* sub-blocks a super-block, at most */
    HT__BEST_LEN = 256, /* weights a block, at most */
    HT__BEST_ROUNDS = 6,
};

struct ht__best {
    const struct ht__codec *codec;
    /* Better scales for a block that encode wrote; no w is above 1. May leave any codes. */
    void (*improve)(const struct ht__best *type, const float *x, const float *w, void *block);
    struct ht__best_values values;
    int len, subs; /* weights a sub-block, sub-blocks a block */
    int low, high; /* the codes of sub-scales; minima have those from 0 */
    bool square;   /* without importance weights count by their square, else all alike */
    /* Super-blocks: the halves d and dmin, codes of sub-scales and minima; types without minima leave those alone. */
    void (*get)(const void *block, float *d, float *dmin, int *s, int *m);
    void (*put)(void *block, float d, float dmin, const int *s, const int *m);
};

/* ht__encode_fn of the type with its recipe. */
void ht__best_encode(const struct ht__best *type, const float *src, int64_t n_rows, int64_t row_len,
                     const float *importance, void *dst);

/* Blocks that begin with their only scale, a half of either sign (get and put are not used). */
void ht__best_single(const struct ht__best *type, const float *x, const float *w, void *block);
/* Blocks that begin with two halves, scale and minimum of either sign. */
void ht__best_pair(const struct ht__best *type, const float *x, const float *w, void *block);
/* Super-blocks with signed sub-scales, and those with sub-scales and minima that are not negative. */
void ht__best_signed(const struct ht__best *type, const float *x, const float *w, void *block);
void ht__best_affine(const struct ht__best *type, const float *x, const float *w, void *block);

/* ---- what the searches share ---- */

/* The nearest half that is finite. */
float ht__best_half(float x);
/* The next halves: `steps` of them away from 0 (or, negative, towards it). */
float ht__best_half_step(float half, int steps);
/* Largest magnitude of what has weight. */
float ht__best_largest(int n, const float *x, const float *w);
/* The index of the least; the first of equals. */
int ht__best_least(int n, const float *error);
/* value / unit as a code. */
int ht__best_code(float value, float unit, int low, int high);
/*
 * Units so that values ~ unit * (whole number from low to high): n_units of least weighted error, best first. They
 * put the value of largest magnitude on each of the codes in turn. 0 where all values are 0.
 */
void ht__best_units(int n, const float *values, const float *weights, int low, int high, int n_units, float *units);

/* The least-squares scale (without offset) of one sub-block: for the better sign, and for the other one. */
struct ht__best_scale {
    float scale, other, curve; /* curve: how fast the error grows with the square of what scale is off */
};
void ht__best_fit_scale(const struct ht__best *type, const float *x, const float *w, struct ht__best_scale *fit);

/* The same with an offset, where `bound` asks for one that is not above 0. */
struct ht__best_line {
    float scale, offset, scale_curve, offset_curve;
};
void ht__best_fit_line(const struct ht__best *type, const float *x, const float *w, bool bound,
                       struct ht__best_line *fit);

#endif
