/*
 * The engine's operations on vectors and panels: the same bits on every CPU level, nothing read or written outside, and
 * results within stated bounds of the same in double.
 */
#include "lib/guard.h"
#include "lib/levels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HALF_ULP 0x1p-24

static uint32_t next(uint32_t *seed)
{
    return *seed = *seed * 1664525u + 1013904223u;
}

enum { SIZES = 9 };
static const int64_t sizes[SIZES] = {1, 2, 15, 16, 17, 63, 65, 200, 4099};

/* Activations of a layer: mostly within 10, some far out. */
static struct guard some_floats(int64_t n, uint64_t seed, bool wide)
{
    struct guard g = guard_after((size_t)n * sizeof(float));
    float *x = g.data;
    uint32_t s = (uint32_t)seed;
    for (int64_t i = 0; i < n; i++) {
        float v = (float)(next(&s) >> 8) * 0x1p-23f - 1;
        x[i] = wide && next(&s) >> 28 == 0 ? 120 * v : 10 * v;
    }
    return g;
}

typedef void unary_fn(const struct ht__ops *ops, float *x, const float *other, int64_t n);

static void call_silu(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    ops->silu(x, other, n);
}
static void call_gelu(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    ops->gelu(x, other, n);
}
static void call_gelu_tanh(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    ops->gelu_tanh(x, other, n);
}
static void call_exp(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    (void)other;
    x[0] = ops->exp_sum(x, n, 10);
}
static void call_add(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    if (other) ops->add_scaled(x, other, 0.3f, n);
}
static void call_norm(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    ops->norm(x, x, other, other, n, 1e-5f, false);
}
static void call_rms(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    ops->norm(x, x, other, NULL, n, 1e-6f, true);
}
static void call_dot(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    x[0] = ops->dot(x, other ? other : x, n);
}
static void call_weighted(const struct ht__ops *ops, float *x, const float *other, int64_t n)
{
    if (other) ops->weighted_sum(x, other, other, n / 3, n < 3 ? n : 3, n < 3 ? 1 : n / 3);
}

static void vectors_on_every_level(void **state)
{
    (void)state;
    static unary_fn *const calls[] = {call_silu, call_gelu, call_gelu_tanh, call_exp,     call_add,
                                      call_norm, call_rms,  call_dot,       call_weighted};
    for (size_t f = 0; f < sizeof calls / sizeof calls[0]; f++)
        for (int s = 0; s < SIZES; s++)
            for (int with = 0; with < 2; with++) {
                struct guard want = some_floats(sizes[s], f, true), other = some_floats(sizes[s], f + 100, false);
                calls[f](ops_of(0), want.data, with ? other.data : NULL, sizes[s]);
                for
                    EACH_LEVEL(l)
                    {
                        struct guard got = some_floats(sizes[s], f, true);
                        calls[f](ops_of(l), got.data, with ? other.data : NULL, sizes[s]);
                        if (memcmp(got.data, want.data, got.size) != 0)
                            fail_msg("operation %d of %d: %s has other bits", (int)f, (int)sizes[s], name_of(l));
                        guard_free(&got);
                    }
                guard_free(&want), guard_free(&other);
            }
}

/* The gates, without and with a factor: the error is of the size of the argument, as their slope is
 * about one. */
static void gates(void **state)
{
    (void)state;
    enum { N = 20001 };
    static float x[N], gate[N], up[N];
    for (int which = 0; which < 3; which++)
        for (int with = 0; with < 2; with++) {
            for (int i = 0; i < N; i++) {
                x[i] = gate[i] = ((float)i - 10000) * 0.012f;
                up[i] = with ? (float)(i % 7) - 3 : 1;
            }
            unary_fn *const calls[3] = {call_silu, call_gelu, call_gelu_tanh};
            calls[which](ops_of(0), gate, with ? up : NULL, N);
            for (int i = 0; i < N; i++) {
                double v = (double)x[i], u = sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v);
                double want = which == 0   ? v / (1 + exp(-v))
                              : which == 1 ? v / 2 * erfc(-v / sqrt(2))
                                           : v / 2 * (1 + tanh(u));
                want *= (double)up[i];
                if (!(fabs(want - (double)gate[i]) <= 4e-7 * fabs(v * (double)up[i])))
                    fail_msg("gate %d of %g is %.9g, not %.9g", which, v, (double)gate[i], want);
            }
        }
}

static void exponentials(void **state)
{
    (void)state;
    enum { N = 40000 };
    static float x[N], y[N];
    double sum = 0;
    for (int i = 0; i < N; i++)
        x[i] = y[i] = 3 - (float)i * (86.9f / N);
    float got = ops_of(0)->exp_sum(y, N, 3);
    for (int i = 0; i < N; i++) {
        double want = exp((double)(x[i] - 3));
        sum += want;
        if (!(fabs((double)y[i] - want) <= 2e-7 * want)) fail_msg("exp(%g) is %.9g", (double)x[i] - 3, (double)y[i]);
    }
    assert_true(fabs((double)got - sum) <= 1e-6 * sum);
    float ends[3] = {-1000, 0, -INFINITY};
    assert_true(ops_of(0)->exp_sum(ends, 3, 0) == 1);
    assert_true(ends[0] == 0 && ends[1] == 1 && ends[2] == 0);
}

static void sums_of_products(void **state)
{
    (void)state;
    for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s];
        struct guard a = some_floats(n, 1, false), b = some_floats(n, 2, false);
        float *x = a.data, *w = b.data;
        double sum = 0, size = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += (double)x[i] * (double)w[i];
            size += fabs((double)x[i] * (double)w[i]);
        }
        assert_true(fabs((double)ops_of(0)->dot(x, w, n) - sum) <= ((double)n / 16 + 6) * HALF_ULP * size);
        guard_free(&a), guard_free(&b);
    }
}

static struct guard some_doubles(int64_t n, uint32_t seed)
{
    struct guard g = guard_after((size_t)n * sizeof(double));
    for (int64_t i = 0; i < n; i++)
        ((double *)g.data)[i] = (double)next(&seed) * 0x1p-31 - 1;
    return g;
}

/* Each lane is a sum of its own, in the order of k: to the last bit on every level, whatever stands beside it. */
static void products_in_double(void **state)
{
    (void)state;
    for (int rows = 1; rows < 10; rows++)
        for (int columns = 1; columns < 10; columns++) {
            int64_t n = 8 * (1 + (rows * 3 + columns) % 5), lda = n + rows % 3, ldb = n + columns % 4;
            struct guard a = some_doubles((rows - 1) * lda + n, 1), b = some_doubles((columns - 1) * ldb + n, 2);
            const double *x = a.data, *y = b.data;
            for
                EACH_LEVEL(l)
                {
                    struct guard lanes = some_doubles(rows * columns * 8, 3),
                                 want = some_doubles(rows * columns * 8, 3);
                    ops_of(l)->add_products(lanes.data, x, lda, rows, y, ldb, columns, n);
                    for (int64_t i = 0; i < rows; i++)
                        for (int64_t j = 0; j < columns; j++)
                            for (int64_t k = 0; k < n; k++)
                                ((double *)want.data)[(i * columns + j) * 8 + k % 8] += x[i * lda + k] * y[j * ldb + k];
                    if (memcmp(lanes.data, want.data, want.size) != 0)
                        fail_msg("%d rows, %d columns, %d: %s has other bits", rows, columns, (int)n, name_of(l));
                    guard_free(&lanes), guard_free(&want);
                }
            guard_free(&a), guard_free(&b);
        }
}

/* Sums in floats, each step fused, in the order of k; then in double: to the last bit on every level, whatever stands beside. */
static void products_of_panels(void **state)
{
    enum { R = HT__MATMUL_ROWS };
    static const int wide[] = {1, 2, 7, 12, 13, 31, 32};
    static const int64_t deep[] = {1, 5, 128, 511, 513, 1100};
    (void)state;
    for (int64_t i = 0; i < 7 * 7; i++) {
        int n_a = wide[i / 7], n_b = wide[i % 7];
        int64_t n = deep[i % 6], ld = n_b + i % 3;
        struct guard a = some_floats(n * R, 1, false), b = some_floats(n * R, 2, false);
        const float *x = a.data, *y = b.data;
        for
            EACH_LEVEL(l)
            {
                struct guard sums = some_doubles((n_a - 1) * ld + n_b, 3), want = some_doubles((n_a - 1) * ld + n_b, 3);
                ops_of(l)->add_outer(sums.data, ld, x, n_a, y, n_b, n);
                for (int r = 0; r < n_a; r++)
                    for (int c = 0; c < n_b; c++) {
                        float sum = 0;
                        for (int64_t k = 0; k < n; k++)
                            sum = fmaf(x[k * R + r], y[k * R + c], sum);
                        ((double *)want.data)[r * ld + c] += (double)sum;
                    }
                if (memcmp(sums.data, want.data, want.size) != 0)
                    fail_msg("%d by %d columns, %d deep: %s has other bits", n_a, n_b, (int)n, name_of(l));
                guard_free(&sums), guard_free(&want);
            }
        guard_free(&a), guard_free(&b);
    }
}

static void norms(void **state)
{
    (void)state;
    enum { N = 999 };
    struct guard a = some_floats(N, 3, false), b = some_floats(N, 4, false), c = some_floats(N, 5, false);
    const float *x = a.data, *w = b.data, *bias = c.data;
    for (int rms = 0; rms < 2; rms++)
        for (int with = 0; with < 4; with++) {
            float y[N];
            double mean = 0, squares = 0;
            for (int i = 0; i < N && !rms; i++)
                mean += (double)x[i] / N;
            for (int i = 0; i < N; i++)
                squares += ((double)x[i] - mean) * ((double)x[i] - mean) / N;
            ops_of(0)->norm(y, x, with & 1 ? w : NULL, with & 2 ? bias : NULL, N, 0.01f, rms);
            for (int i = 0; i < N; i++) {
                double want = ((double)x[i] - mean) / sqrt(squares + 0.01);
                want = want * (with & 1 ? (double)w[i] : 1) + (with & 2 ? (double)bias[i] : 0);
                assert_true(fabs(want - (double)y[i]) <= 3e-6 * (1 + fabs(want)));
            }
        }
    guard_free(&a), guard_free(&b), guard_free(&c);
}

static void weighted_sums(void **state)
{
    (void)state;
    enum { N = 37, LEN = 80, LD = 91 };
    struct guard p = some_floats(N, 6, false), rows = some_floats((N - 1) * LD + LEN, 7, false);
    struct guard out = guard_after(LEN * sizeof(float)), sum = guard_after(LEN * sizeof(float));
    memset(sum.data, 0, sum.size);
    ops_of(0)->weighted_sum(out.data, p.data, rows.data, LD, N, LEN);
    for (int i = 0; i < LEN; i++) {
        double want = 0, size = 0;
        for (int j = 0; j < N; j++) {
            double v = (double)((float *)p.data)[j] * (double)((float *)rows.data)[j * LD + i];
            want += v;
            size += fabs(v);
        }
        assert_true(fabs((double)((float *)out.data)[i] - want) <= 2 * N * HALF_ULP * size);
    }
    for (int j = 0; j < N; j++) /* the same, a row at a time */
        ops_of(0)->add_scaled(sum.data, (float *)rows.data + j * LD, ((float *)p.data)[j], LEN);
    assert_memory_equal(out.data, sum.data, sum.size);
    guard_free(&p), guard_free(&rows), guard_free(&out), guard_free(&sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_on_every_level),
        cmocka_unit_test(gates),
        cmocka_unit_test(exponentials),
        cmocka_unit_test(sums_of_products),
        cmocka_unit_test(products_in_double),
        cmocka_unit_test(products_of_panels),
        cmocka_unit_test(norms),
        cmocka_unit_test(weighted_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
