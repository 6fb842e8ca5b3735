/*
 * encode_best: under the importance given its error is never above that of encode, for rows of every kind; on gaussian
 * rows it is lower by what the type promises; its blocks are sound, and bytes depend neither on how rows are grouped
 * nor on the CPU level.
 */
#include "kernels/best/best.h"
#include "kernels/codec.h"
#include "lib/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEN = 1024, ROWS = 6, N = LEN * ROWS };

/* Kinds of rows beyond those of rows.h. */
enum { KIND_TINY = ROWS_N_KINDS, KIND_CONSTANT, KIND_POSITIVE, KIND_OUTLIERS, KIND_SUBNORMAL_HALVES, N_KINDS };

static void fill(int kind, float *x)
{
    rows_fill(kind < ROWS_N_KINDS ? (enum row_kind)kind : ROWS_GAUSSIAN, 21, N, x);
    for (int i = 0; i < N; i++)
        switch (kind) {
        case KIND_TINY: x[i] *= 1e-20f; break;
        case KIND_CONSTANT: x[i] = i / 256 % 2 ? 0.3f : -0.7f; break;
        case KIND_POSITIVE: x[i] = 1 + x[i]; break;
        case KIND_OUTLIERS: x[i] *= i % 97 == 3 ? 60 : 1; break;
        case KIND_SUBNORMAL_HALVES: x[i] *= 1e-5f; break;
        }
}

static double error_of(const struct ht__codec *c, int block, const float *x, const float *w, const unsigned char *out)
{
    static float decoded[N];
    double sum = 0;
    int n = (int)c->block_len;
    c->decode(out + block * (int)c->block_size, n, decoded);
    for (int i = 0; i < n; i++) {
        double diff = (double)x[block * n + i] - (double)decoded[i];
        sum += (w ? (double)w[(block * n + i) % LEN] : 1.0) * diff * diff;
    }
    return sum;
}

static void never_worse_than_encode(void **state)
{
    (void)state;
    static float x[N], w[LEN];
    static unsigned char stock[N * 4], best[N * 4];
    rows_importance(3, LEN, w);
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (!c->encode_best) continue;
        for (int kind = 0; kind < N_KINDS; kind++)
            for (int weighted = 0; weighted < 2; weighted++) {
                const float *importance = weighted ? w : NULL;
                fill(kind, x);
                c->encode(x, ROWS, LEN, importance, stock);
                c->encode_best(x, ROWS, LEN, importance, best);
                if (c->check && c->check(best, N / c->block_len) >= 0)
                    fail_msg("%s: rows of kind %d give a block that is not sound", c->name, kind);
                for (int b = 0; b < N / (int)c->block_len; b++) {
                    double before = error_of(c, b, x, importance, stock), after = error_of(c, b, x, importance, best);
                    if (!(after <= before * (1 + 1e-6)) && !isnan(before))
                        fail_msg("%s, kind %d: block %d has error %g instead of %g", c->name, kind, b, after, before);
                }
            }
    }
}

/* Error of gaussian rows beside that of encode, at most. */
static const struct {
    const char *type;
    double weighted, plain;
} gains[] = {
    {"q2_k", 0.86, 0.74},   {"q3_k", 0.94, 0.94},   {"q4_k", 0.88, 0.94},  {"q5_k", 0.81, 0.88},  {"q6_k", 0.85, 0.90},
    {"q4_0", 0.94, 0.94},   {"q4_1", 0.91, 0.82},   {"q5_0", 0.94, 0.94},  {"q5_1", 0.91, 0.80},  {"q8_0", 0.70, 0.84},
    {"iq4_nl", 0.94, 0.96}, {"iq4_xs", 0.92, 0.95}, {"mxfp4", 0.97, 0.97}, {"nvfp4", 0.73, 0.82}, {"q2_0", 0.30, 0.34},
};

static void better_on_gaussian_rows(void **state)
{
    (void)state;
    static float x[N], w[LEN];
    static unsigned char stock[N * 4], best[N * 4];
    rows_fill(ROWS_GAUSSIAN, 5, N, x);
    rows_importance(9, LEN, w);
    size_t with = 0;
    for (size_t i = 0; i < ht__codec_count(); i++)
        with += ht__codec_at(i)->encode_best != NULL;
    assert_int_equal(with, sizeof gains / sizeof gains[0]);
    for (size_t g = 0; g < sizeof gains / sizeof gains[0]; g++) {
        const struct ht__codec *c = ht__codec_by_name(gains[g].type);
        for (int weighted = 0; weighted < 2; weighted++) {
            const float *importance = weighted ? w : NULL;
            double before = 0, after = 0, limit = weighted ? gains[g].weighted : gains[g].plain;
            c->encode(x, ROWS, LEN, importance, stock);
            c->encode_best(x, ROWS, LEN, importance, best);
            for (int b = 0; b < N / (int)c->block_len; b++) {
                /* without weight at all encode of the IQ4 types has no scale to write */
                if (c->check && c->check(stock + b * (int)c->block_size, 1) >= 0) continue;
                before += error_of(c, b, x, importance, stock);
                after += error_of(c, b, x, importance, best);
            }
            if (!(after <= before * limit)) fail_msg("%s: %.3f of encode's error", c->name, after / before);
        }
    }
}

static void bytes_depend_on_blocks_alone(void **state)
{
    (void)state;
    static float x[N], w[LEN];
    static unsigned char all[N * 4], one[N * 4];
    rows_fill(ROWS_PATCHES, 4, N, x);
    rows_importance(2, LEN, w);
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (!c->encode_best) continue;
        size_t row = ht__codec_bytes(c, LEN);
        c->encode_best(x, ROWS, LEN, w, all);
        for (int r = 0; r < ROWS; r++)
            c->encode_best(x + r * LEN, 1, LEN, w, one + (size_t)r * row);
        assert_memory_equal(all, one, row * ROWS);
    }
}

/* Lanes of every level give the same bits, so that searches choose the same. */
static void levels_agree(void **state)
{
    (void)state;
#if defined(__x86_64__)
    enum { LANES = 24, SUB = 32 };
    static const struct ht__best_values kinds[] = {
        {HT__VALUES_WHOLE, -8, 7}, {HT__VALUES_WHOLE, 0, 3}, {HT__VALUES_IQ4, 0, 0}, {HT__VALUES_E2M1, 0, 0}};
    if (!ht__cpu_has(HT__CPU_avx2)) skip();
    static float x[N], w[LEN];
    rows_importance(2, LEN, w);
    for (int kind = 0; kind < ROWS_N_KINDS; kind++) {
        rows_fill((enum row_kind)kind, 4, N, x);
        for (int at = 0; at + SUB <= N; at += SUB)
            for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
                float scale[LANES], offset[LANES], a[LANES], b[LANES];
                struct ht__best_sums s = {0}, t = {0};
                for (int l = 0; l < LANES; l++) {
                    scale[l] = l == 0 ? 0 : x[at + l] / 8;
                    offset[l] = l % 3 ? 0 : x[at + (l + 1) % SUB];
                }
                ht__best_ops_scalar.errors(kinds[k], SUB, x + at, w + at % LEN, LANES, scale, offset, a);
                ht__best_ops_avx2.errors(kinds[k], SUB, x + at, w + at % LEN, LANES, scale, offset, b);
                assert_memory_equal(a, b, sizeof a);
                ht__best_ops_scalar.sums(kinds[k], SUB, x + at, w + at % LEN, LANES, scale, offset, &s);
                ht__best_ops_avx2.sums(kinds[k], SUB, x + at, w + at % LEN, LANES, scale, offset, &t);
                assert_memory_equal(&s, &t, sizeof s);
            }
    }
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_worse_than_encode),
        cmocka_unit_test(better_on_gaussian_rows),
        cmocka_unit_test(bytes_depend_on_blocks_alone),
        cmocka_unit_test(levels_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
