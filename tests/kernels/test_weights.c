/*
 * The loops over weights that schemes share: the same bits on every CPU level, for every kind of row and every length,
 * nothing read or written outside; and the scalar level against their definitions, written as plainly as can be.
 */
#include "kernels/small_float.h"
#include "kernels/weights/weights.h"
#include "lib/guard.h"
#include "lib/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int lengths[] = {0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 128, 511, 512, 513, 1000, 2048};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0], MOST = 2048 };

/* Numbers of a midpoint, scale and zero that rows meet exactly, and others. */
static const struct ht__codebook book = {
    {-0.75f, -0.6f, -0.5f, -0.35f, -0.25f, -0.125f, -0.05f, 0.04f, 0.12f, 0.2f, 0.25f, 0.375f, 0.5f, 0.7f, 0.875f},
    {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3}};

struct case_of {
    const struct ht__weight_ops *ops;
    const float *x, *y, *importance;
    const uint8_t *q;
    int64_t n;
    float scale, zero;
};

/* Each writes what the operation gives: n numbers of `size` bytes at `out`. */
typedef void run_fn(const struct case_of *c, void *out);
struct operation {
    const char *name;
    size_t size;  /* bytes a weight */
    size_t fixed; /* and bytes besides */
    run_fn *run;
};

static void run_largest(const struct case_of *c, void *out)
{
    float most = c->ops->largest(c->x, c->n);
    memcpy(out, &most, sizeof most);
}

static void run_range(const struct case_of *c, void *out)
{
    float ends[2];
    c->ops->range(c->x, c->n, &ends[0], &ends[1]);
    memcpy(out, ends, sizeof ends);
}

static void run_squares(const struct case_of *c, void *out)
{
    double sums[2] = {c->ops->squares(c->x, NULL, c->n), c->ops->squares(c->x, c->y, c->n)};
    memcpy(out, sums, sizeof sums);
}

static void run_codebook(const struct case_of *c, void *out)
{
    c->ops->codebook_nearest(&book, c->x, c->n, c->scale, false, out);
}

static void run_codebook_divided(const struct case_of *c, void *out)
{
    c->ops->codebook_nearest(&book, c->x, c->n, c->scale, true, out);
}

static void run_look_up(const struct case_of *c, void *out)
{
    uint8_t codes[MOST + 1];
    float sixteen[16];
    for (int i = 0; i < 16; i++)
        sixteen[i] = (float)(i * i) - 50.25f;
    for (int64_t i = 0; i < c->n; i++)
        codes[i] = c->q[i] & 15;
    c->ops->look_up(sixteen, codes, c->n, out);
}

enum { PROBES = 21 };

static void run_probes(const struct case_of *c, bool weighted, float *out)
{
    struct ht__probe probes[PROBES];
    for (int n = 1; n <= PROBES; n += 4) {
        for (int i = 0; i < n; i++) {
            int64_t skip = i % 3 < c->n ? i % 3 : 0; /* each at another place */
            probes[i] = (struct ht__probe){c->x + skip, weighted ? c->importance + skip : NULL,
                                           (1 + 0.1f * (float)i) / c->scale, -c->zero, 15 - c->zero};
        }
        c->ops->probe(probes, n, c->n > 2 ? c->n - 2 : 0, out, out + PROBES);
    }
}

static void run_probe(const struct case_of *c, void *out)
{
    float sums[2][2 * PROBES] = {{0}};
    run_probes(c, false, sums[0]);
    run_probes(c, true, sums[1]);
    memcpy(out, sums, sizeof sums);
}

static void run_whole_nearest(const struct case_of *c, void *out)
{
    c->ops->whole_nearest(c->x, c->n, c->scale, c->zero, 255, out);
}

static void run_signed_nearest(const struct case_of *c, void *out)
{
    c->ops->signed_nearest(c->x, c->n, 1 / c->scale, out);
}

static void run_signed_value(const struct case_of *c, void *out)
{
    c->ops->signed_value(c->q, c->n, c->scale, 1.0f / 127, out);
}

static void run_join(const struct case_of *c, void *out)
{
    uint8_t codes[MOST + 1];
    for (int64_t i = 0; i < c->n; i++)
        codes[i] = c->q[i] & 15;
    c->ops->join_nibbles(codes, c->n / 2, true, out);
    c->ops->join_nibbles(codes, c->n / 2, false, (uint8_t *)out + c->n / 2);
}

static void run_part(const struct case_of *c, void *out)
{
    c->ops->part_nibbles(c->q, c->n / 2, true, out);
    c->ops->part_nibbles(c->q, c->n / 2, false, (uint8_t *)out + c->n / 2 * 2);
}

static void run_sum_words(const struct case_of *c, void *out)
{
    c->ops->sum_words(c->q, (uint64_t)c->n / 8, 1234567 + (uint64_t)c->n, out);
}

static void run_whole_value(const struct case_of *c, void *out)
{
    for (int r = 0; r < HT__N_ROUNDINGS; r++)
        c->ops->whole_value[r](c->q, c->n, c->scale, c->zero, (float *)out + r * c->n);
}

static void run_small_nearest(const struct case_of *c, void *out)
{
    uint8_t *to = out;
    for (int e = 0; e < HT__N_SMALL_FLOATS; e++)
        for (int r = 0; r < HT__N_ROUNDINGS; r++, to += c->n)
            c->ops->small_nearest[e][r](c->x, c->n, c->scale, to);
}

static void run_small_value(const struct case_of *c, void *out)
{
    float *to = out;
    for (int e = 0; e < HT__N_SMALL_FLOATS; e++)
        for (int r = 0; r < HT__N_ROUNDINGS; r++, to += c->n)
            c->ops->small_value[e][r](c->q, c->n, c->scale, to);
}

static const struct operation operations[] = {
    {"largest", 0, 4, run_largest},
    {"range", 0, 8, run_range},
    {"squares", 0, 16, run_squares},
    {"codebook_nearest", 1, 0, run_codebook},
    {"codebook_nearest, divided", 1, 0, run_codebook_divided},
    {"look_up", 4, 0, run_look_up},
    {"probe", 0, 16 * PROBES, run_probe},
    {"whole_nearest", 1, 0, run_whole_nearest},
    {"whole_value", 12, 0, run_whole_value},
    {"small_nearest", 6, 0, run_small_nearest},
    {"small_value", 24, 0, run_small_value},
    {"signed_nearest", 1, 0, run_signed_nearest},
    {"signed_value", 4, 0, run_signed_value},
    {"join_nibbles", 1, 0, run_join},
    {"part_nibbles", 2, 0, run_part},
    {"sum_words", 0, 24, run_sum_words},
};
enum { N_OPERATIONS = sizeof operations / sizeof operations[0] };

/* ---- every level against the scalar one ---- */

static struct guard guarded(const void *data, size_t size, bool after)
{
    struct guard g = after ? guard_after(size) : guard_before(size);
    if (size && data) memcpy(g.data, data, size);
    return g;
}

static void compare(const struct operation *op, const struct case_of *at, enum ht__cpu_level level, bool after,
                    uint8_t *want)
{
    size_t n = (size_t)at->n, size = n * op->size + op->fixed;
    struct case_of c = *at;
    struct guard x = guarded(at->x, 4 * n, after), y = guarded(at->y, 4 * n, after), q = guarded(at->q, n, after);
    struct guard w = guarded(at->importance, 4 * n, after), out = guarded(NULL, size, after);
    c.x = x.data, c.y = y.data, c.importance = w.data, c.q = q.data;
    memset(want, 0xA5, size); /* as the other one is filled */
    c.ops = ht__weight_ops(HT__CPU_scalar);
    op->run(&c, want);
    c.ops = ht__weight_ops(level);
    op->run(&c, out.data);
    if (memcmp(want, out.data, size) != 0)
        fail_msg("%s: %s gives other bytes than scalar, %lld weights, scale %g, zero %g", op->name,
                 ht__cpu_level_name(level), (long long)at->n, (double)at->scale, (double)at->zero);
    guard_free(&x), guard_free(&y), guard_free(&q), guard_free(&w), guard_free(&out);
}

static void rows_at(struct case_of *c, enum ht__cpu_level level, uint8_t *want)
{
    static const float scales[] = {1, 0.5f, 0.0123f, 3e-5f, 1e-30f, 7e20f}, zeros[] = {0, 8, 15};
    for (size_t i = 0; i < N_OPERATIONS; i++)
        for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++)
            for (int after = 0; after < 2; after++) {
                c->scale = scales[s];
                c->zero = zeros[s % 3];
                compare(&operations[i], c, level, after, want);
            }
}

static void every_level(void **state)
{
    static float x[MOST], y[MOST], w[MOST];
    static uint8_t q[MOST], want[MOST * 24];
    (void)state;
    assert_ptr_equal(ht__weight_ops(HT__CPU_scalar), &ht__weight_ops_scalar);
    for (int level = 1; level < HT__CPU_N_LEVELS; level++) {
        if (!ht__cpu_has((enum ht__cpu_level)level)) continue;
        if (level == HT__CPU_neon) continue; /* plain C is compiled for its vectors already: the scalar loops serve */
        assert_ptr_not_equal(ht__weight_ops((enum ht__cpu_level)level), &ht__weight_ops_scalar);
        for (int kind = 0; kind < ROWS_N_KINDS; kind++)
            for (int k = 0; k < N_LENGTHS; k++) {
                int n = lengths[k];
                rows_fill((enum row_kind)kind, (uint64_t)(kind * 100 + k), MOST, x);
                rows_fill(ROWS_GAUSSIAN, (uint64_t)k, MOST, y);
                rows_importance((uint64_t)k, MOST, w);
                for (int i = 0; i < MOST; i++)
                    q[i] = (uint8_t)(i * 37 + k); /* every byte */
                struct case_of c = {.x = x, .y = y, .importance = w, .q = q, .n = n};
                rows_at(&c, (enum ht__cpu_level)level, want);
            }
    }
}

static void numbers_that_are_not_finite(void **state)
{
    static const float bad[] = {INFINITY, -INFINITY, NAN};
    float x[MOST];
    (void)state;
    for (int level = 0; level < HT__CPU_N_LEVELS; level++) {
        const struct ht__weight_ops *ops = ht__weight_ops((enum ht__cpu_level)level);
        if (!ht__cpu_has((enum ht__cpu_level)level)) continue;
        rows_fill(ROWS_HUGE, 1, MOST, x);
        for (int k = 0; k < N_LENGTHS; k++)
            assert_true(ops->finite(x, lengths[k]));
        for (int i = 0; i < 100; i++) {
            float was = x[i];
            x[i] = bad[i % 3];
            assert_false(ops->finite(x, 100));
            assert_true(ops->finite(x, i));
            x[i] = was;
        }
    }
}

/* ---- the scalar level against definitions ---- */

static const enum row_kind kinds[] = {ROWS_GAUSSIAN, ROWS_HALVES, ROWS_TIES, ROWS_SIGNED_ZEROS, ROWS_SPIKES};

static void ranges_as_defined(void **state)
{
    float x[MOST], lo, hi;
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        double squares = 0, least = 0, most = 0;
        rows_fill(kinds[k], k, MOST, x);
        for (int i = 0; i < MOST; i++) {
            squares += (double)x[i] * (double)x[i];
            least = fmin(least, (double)x[i]);
            most = fmax(most, (double)x[i]);
        }
        ht__weight_ops_scalar.range(x, MOST, &lo, &hi);
        assert_true((double)lo == least && (double)hi == most);
        assert_true((double)ht__weight_ops_scalar.largest(x, MOST) == fmax(-least, most));
        assert_true(fabs(ht__weight_ops_scalar.squares(x, NULL, MOST) - squares) <= 1e-12 * squares);
    }
}

static void codes_as_defined(void **state)
{
    float x[MOST];
    uint8_t q[MOST], pairs[MOST / 2], again[MOST];
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        rows_fill(kinds[k], k + 50, MOST, x);
        float by = ht__weight_ops_scalar.largest(x, MOST);
        ht__weight_ops_scalar.codebook_nearest(&book, x, MOST, by, true, q);
        for (int i = 0; i < MOST; i++) {
            int below = 0;
            while (below < 15 && x[i] / by > book.midpoint[below])
                below++;
            assert_int_equal(q[i], book.code[below]);
        }
        ht__weight_ops_scalar.join_nibbles(q, MOST / 2, true, pairs);
        for (int i = 0; i < MOST; i++)
            assert_int_equal(pairs[i / 2] >> (i % 2 ? 0 : 4) & 15, q[i]);
        ht__weight_ops_scalar.part_nibbles(pairs, MOST / 2, true, again);
        assert_memory_equal(again, q, sizeof q);
        ht__weight_ops_scalar.whole_nearest(x, MOST, by / 7, 8, 15, q);
        for (int i = 0; i < MOST; i++) {
            float want = rintf(x[i] / (by / 7)) + 8;
            assert_int_equal(q[i], want < 0 ? 0 : want > 15 ? 15 : (int)want);
        }
        ht__weight_ops_scalar.small_nearest[HT__SMALL_E4M3][HT__TO_BF16](x, MOST, by, q);
        for (int i = 0; i < MOST; i++)
            assert_int_equal(q[i], ht__f32_to_e4m3(ht__round_bf16(x[i] / by)));
    }
}

/* In double, from the codes that rintf gives. */
static void sums_as_defined(void **state)
{
    float x[MOST], w[MOST], xq, qq;
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (int weighted = 0; weighted < 2; weighted++) {
            double want_xq = 0, want_qq = 0, size = 0;
            rows_fill(kinds[k], k + 90, MOST, x);
            rows_importance(k, MOST, w);
            float inverse = 7 / ht__weight_ops_scalar.largest(x, MOST);
            struct ht__probe p = {x, weighted ? w : NULL, inverse, -8, 7};
            ht__weight_ops_scalar.probe(&p, 1, MOST, &xq, &qq);
            for (int i = 0; i < MOST; i++) {
                double q = (double)rintf(x[i] * inverse), by = weighted ? (double)w[i] : 1;
                want_xq += by * q * (double)x[i];
                size += fabs(by * q * (double)x[i]);
                want_qq += by * q * q;
            }
            assert_true(fabs((double)xq - want_xq) <= 1e-4 * size);
            assert_true(fabs((double)qq - want_qq) <= 1e-4 * want_qq);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level),       cmocka_unit_test(numbers_that_are_not_finite),
        cmocka_unit_test(ranges_as_defined), cmocka_unit_test(codes_as_defined),
        cmocka_unit_test(sums_as_defined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
