/*
 * Batches of sub-blocks with one a lane, GROUPS * VL of them: what the templates of all types share. Included
 * after vec_<level>.h. Rows are adjacent, so the blocks of all rows follow each other.
 */
#ifndef HT_KERNELS_LANES_TMPL_H
#define HT_KERNELS_LANES_TMPL_H

#include <string.h>

#ifndef GROUPS
#define GROUPS 2 /* of lanes, side by side, so that one's adds hide the other's latency */
#endif

enum { BATCH_SUBS = GROUPS * VL };

/* Element i of sub-block g * VL + j, of `len` weights, goes to lane j of x[i][g]. */
VEC void lanes_load(const float *src, int len, vf (*x)[GROUPS])
{
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; i < len; i += VL) {
            vf t[VL];
            v_transpose(src + (int64_t)g * VL * len + i, len, t);
            for (int j = 0; j < VL; j++)
                x[i + j][g] = t[j];
        }
}

/* `count` blocks of `span` weights from block `first` of n on. Beyond the last block it stands in again, and
 * the batch is copied to `room`. */
VEC const float *batch_weights(const float *src, int64_t first, int64_t n, int count, int span, float *room)
{
    if (n - first >= count) return src + first * span;
    for (int64_t b = 0; b < count; b++) {
        int64_t at = first + b < n ? first + b : n - 1;
        memcpy(room + b * span, src + at * span, (size_t)span * sizeof(float));
    }
    return room;
}

/* The importance of the same blocks; a row has `per_row` of them. */
VEC const float *batch_importance(const float *importance, int64_t first, int64_t n, int64_t per_row, int count,
                                  int span, float *room)
{
    int64_t column = first % per_row;
    if (n - first >= count && column + count <= per_row) return importance + column * span;
    for (int64_t b = 0; b < count; b++) {
        int64_t at = first + b < n ? first + b : n - 1;
        memcpy(room + b * span, importance + at % per_row * span, (size_t)span * sizeof(float));
    }
    return room;
}

/*
 * The sums of squares of the first VL of n adjacent spans (rows, or super-blocks), each in index order, which is a
 * chain of adds: spans stand in lanes. The last span stands in for those that are missing.
 */
VEC void squares_ahead(const float *src, int64_t n, int64_t span, float sums[VL])
{
    vf sum = v_zero(), t[VL];
    for (int64_t i = 0; i < span; i += VL) {
        if (n < VL) {
            float tile[VL * VL];
            for (int64_t r = 0; r < VL; r++)
                memcpy(tile + r * VL, src + (r < n ? r : n - 1) * span + i, VL * sizeof(float));
            v_transpose(tile, VL, t);
        } else {
            v_transpose(src + i, span, t);
        }
        for (int j = 0; j < VL; j++)
            sum = v_add(sum, v_mul(t[j], t[j]));
    }
    v_store(sums, sum);
}

/* w = w * sqrt(sigma2 + x * x), sigma2 a number a lane. */
VEC void lanes_weigh(const float *sigma2, int len, vf (*x)[GROUPS], vf (*w)[GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        vf sigma = v_load(sigma2 + g * VL);
        for (int i = 0; i < len; i++)
            w[i][g] = v_mul(w[i][g], v_sqrt(v_add(sigma, v_mul(x[i][g], x[i][g]))));
    }
}

/* The sums of w, in index order. */
VEC void lanes_sum(int len, vf (*w)[GROUPS], float *sums)
{
    for (int g = 0; g < GROUPS; g++) {
        vf sum = v_zero();
        for (int i = 0; i < len; i++)
            sum = v_add(sum, w[i][g]);
        v_store(sums + g * VL, sum);
    }
}

VEC void lanes_squares(int len, vf (*x)[GROUPS], float *sums)
{
    for (int g = 0; g < GROUPS; g++) {
        vf sum = v_zero();
        for (int i = 0; i < len; i++)
            sum = v_add(sum, v_mul(x[i][g], x[i][g]));
        v_store(sums + g * VL, sum);
    }
}

/* The element of largest magnitude, with its sign, the first of equals; and that magnitude. */
VEC void lanes_largest(int len, vf (*x)[GROUPS], vf max[GROUPS], vf amax[GROUPS])
{
    for (int g = 0; g < GROUPS; g++) {
        max[g] = amax[g] = v_zero();
        for (int i = 0; i < len; i++) {
            vf a = v_abs(x[i][g]);
            vm larger = v_gt(a, amax[g]);
            amax[g] = v_pick(amax[g], a, larger);
            max[g] = v_pick(max[g], x[i][g], larger);
        }
    }
}

#endif
