/*
 * The engine's operations: the same bits on every CPU level, nothing read or written outside, and
 * results within stated bounds of the same in double.
 */
#include "kernels/emulated.h"
#include "kernels/half.h"
#include "kernels/ops/ops.h"
#include "lib/guard.h"
#include "lib/rows.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const double half_ulp = 0x1p-24;

/* After the levels, the tiles of amx without the machine for them. */
enum { EMULATED_AVX2 = HT__CPU_N_LEVELS, EMULATED_AVX512, N_LEVELS };

/* That one's operations serve but for what tiles do; it is also how weights are decoded. */
static enum ht__cpu_level base_of(int level)
{
    return level == EMULATED_AVX2     ? HT__CPU_avx2
           : level == EMULATED_AVX512 ? HT__CPU_avx512
                                      : (enum ht__cpu_level)level;
}

static int next_level(int level)
{
    do
        level++;
    while (level < N_LEVELS && !ht__cpu_has(base_of(level)));
    return level;
}

#define EACH_LEVEL(l) (int l = 0; l < N_LEVELS; l = next_level(l))

static const struct ht__ops *ops_of(int level)
{
#if defined(__x86_64__)
    static struct ht__ops emulated;
    if (level >= EMULATED_AVX2) {
        emulated = *ht__ops(base_of(level));
        emulated.matmul8 = level == EMULATED_AVX2 ? emulated_matmul8_avx2 : emulated_matmul8_avx512;
        return &emulated;
    }
#endif
    return ht__ops(base_of(level));
}

static const char *name_of(int level)
{
    return level == EMULATED_AVX2     ? "emulated tiles beside avx2"
           : level == EMULATED_AVX512 ? "emulated tiles beside avx512"
                                      : ht__cpu_level_name(base_of(level));
}

static uint32_t next(uint32_t *seed)
{
    return *seed = *seed * 1664525u + 1013904223u;
}

/* ---- matrices ---- */

struct matrix {
    const struct ht__codec *codec;
    struct guard packed;
    float *decoded;
    size_t row_bytes;
    int n_rows;
    int64_t n_in;
};

static void any_bytes(uint8_t *bytes, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(next(&seed) >> 24);
}

/* Blocks that are not sound, or beyond what sums of floats hold, become zero. */
static void only_sound_blocks(struct matrix *m)
{
    const struct ht__codec *c = m->codec;
    uint8_t *block = m->packed.data;
    float w[256];
    for (size_t at = 0; at < m->packed.size; at += c->block_size, block += c->block_size) {
        bool sound = !c->check || c->check(block, 1) < 0;
        if (sound) c->decode(block, c->block_len, w);
        for (uint32_t i = 0; sound && i < c->block_len; i++)
            sound = fabsf(w[i]) < 1e20f && (w[i] == 0 || fabsf(w[i]) > 1e-20f);
        if (!sound) memset(block, 0, c->block_size);
    }
}

static struct matrix make_matrix(const struct ht__codec *c, int n_rows, int64_t n_in, bool any, bool after)
{
    int64_t n = n_rows * n_in;
    struct matrix m = {.codec = c, .n_rows = n_rows, .n_in = n_in};
    m.row_bytes = ht__codec_bytes(c, (uint64_t)n_in);
    m.packed = (after ? guard_after : guard_before)(m.row_bytes * (size_t)n_rows);
    m.decoded = malloc((size_t)n * sizeof(float));
    if (any || !c->encode) {
        any_bytes(m.packed.data, m.packed.size, (uint32_t)(n + c->block_size));
    } else {
        float *importance = malloc((size_t)n_in * sizeof(float));
        rows_fill(ROWS_GAUSSIAN, (uint64_t)n, n, m.decoded);
        rows_importance((uint64_t)n_rows, n_in, importance);
        ht__encoder(c, ht__cpu_best())(m.decoded, n_rows, n_in, importance, m.packed.data);
        free(importance);
    }
    only_sound_blocks(&m);
    c->decode(m.packed.data, n, m.decoded);
    return m;
}

static void free_matrix(struct matrix *m)
{
    guard_free(&m->packed);
    free(m->decoded);
}

/* `count` rows from `row`, decoded as the level does. */
static struct ht__matmul_weights part_of(const struct matrix *m, int level, int row, int count)
{
    return (struct ht__matmul_weights){
        .decode = ht__decoder(m->codec, base_of(level)),
        .rows = (uint8_t *)m->packed.data + (size_t)row * m->row_bytes,
        .row_bytes = m->row_bytes,
        .block_len = m->codec->block_len,
        .block_size = m->codec->block_size,
        .n_in = m->n_in,
        .n_rows = count,
    };
}

/* Tokens: rows of floats, ld apart, the last of them flush against an unmapped page. */
struct tokens {
    struct guard memory;
    float *x;
    int64_t n, ld;
};

static struct tokens make_tokens(int64_t n, int64_t len, int64_t gap, bool after)
{
    struct tokens t = {.n = n, .ld = len + gap};
    size_t count = (size_t)((n - 1) * t.ld + len);
    t.memory = (after ? guard_after : guard_before)(count * sizeof(float));
    t.x = t.memory.data;
    rows_fill(ROWS_GAUSSIAN, (uint64_t)(n * 77 + len), (int64_t)count, t.x);
    return t;
}

/* Results: nothing but n_rows of every ld floats may be written. */
static void check_gaps(const struct tokens *y, int64_t n_rows)
{
    for (int64_t t = 0; t + 1 < y->n; t++)
        for (int64_t i = n_rows; i < y->ld; i++)
            if (ht__f32_bits(y->x[t * y->ld + i]) != 0xA5A5A5A5u) fail_msg("written beyond the rows");
}

static struct tokens make_results(int64_t n, int64_t n_rows, bool after)
{
    struct tokens y = {.n = n, .ld = n_rows + 3};
    y.memory = (after ? guard_after : guard_before)((size_t)((n - 1) * y.ld + n_rows) * sizeof(float));
    y.x = y.memory.data;
    return y;
}

static void multiply(const struct matrix *m, int level, const struct tokens *x, struct tokens *y)
{
    struct guard scratch = guard_before(HT__MATMUL_SCRATCH * sizeof(float));
    struct ht__matmul_weights w = part_of(m, level, 0, m->n_rows);
    ops_of(level)->matmul(&w, x->x, x->ld, x->n, y->x, y->ld, scratch.data);
    guard_free(&scratch);
}

/* A sum of n steps, each with one rounding: half an ulp of at most the sum of magnitudes a step. */
static void near_the_product(const struct matrix *m, const struct tokens *x, const struct tokens *y)
{
    for (int64_t t = 0; t < x->n; t++)
        for (int r = 0; r < m->n_rows; r++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < m->n_in; k++) {
                double p = (double)x->x[t * x->ld + k] * (double)m->decoded[r * m->n_in + k];
                sum += p;
                size += fabs(p);
            }
            double error = fabs(sum - (double)y->x[t * y->ld + r]);
            if (!(error <= (double)m->n_in * half_ulp * size + (double)FLT_MIN))
                fail_msg("%s: token %d, row %d of %d x %d: off by %g of %g", m->codec->name, (int)t, r, m->n_rows,
                         (int)m->n_in, error, size);
        }
}

static void products_on_every_level(const struct ht__codec *c, int n_rows, int64_t n_in, int64_t n, bool any,
                                    bool after)
{
    struct matrix m = make_matrix(c, n_rows, n_in, any, after);
    struct tokens x = make_tokens(n, n_in, 5, after), y = make_results(n, n_rows, after);
    multiply(&m, 0, &x, &y);
    near_the_product(&m, &x, &y);
    for
        EACH_LEVEL(l)
        {
            struct tokens other = make_results(n, n_rows, after);
            multiply(&m, l, &x, &other);
            if (memcmp(other.x, y.x, y.memory.size) != 0)
                fail_msg("%s: %d rows of %d, %d tokens: %s has other bits", c->name, n_rows, (int)n_in, (int)n,
                         name_of(l));
            check_gaps(&other, n_rows);
            guard_free(&other.memory);
        }
    guard_free(&x.memory), guard_free(&y.memory);
    free_matrix(&m);
}

static void matmul_of_every_type(void **state)
{
    (void)state;
    static const int shapes[][2] = {{32, 13}, {1, 1}, {7, 5}, {31, 2}};
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        int64_t block = c->block_len,
                lengths[4] = {block, 3 * block, 1024 + block, block == 1 ? 1027 : 1024 + 3 * block};
        for (size_t s = 0; s < 4; s++)
            for (int any = 0; any < 2; any++)
                products_on_every_level(c, shapes[s][0], lengths[(s + (size_t)any) % 4], shapes[s][1], any,
                                        (s + i) % 2);
    }
}

static void matmul_of_every_shape(void **state)
{
    (void)state;
    for (int rows = 1; rows <= HT__MATMUL_ROWS; rows++)
        for (int n = 1; n <= 13; n++)
            products_on_every_level(&ht__codec_f16, rows, 1 + (rows * 13 + n) * 5 % 71, n, false, (rows + n) % 2);
}

/* A pair of a token and a row has the same sum whatever is computed beside it. */
static void grouping_does_not_matter(void **state)
{
    (void)state;
    enum { ROWS = 32, N = 13, N_IN = 1056 };
    struct matrix m = make_matrix(&ht__codec_q8_0, ROWS, N_IN, false, true);
    struct tokens x = make_tokens(N, N_IN, 0, true), y = make_results(N, ROWS, true);
    struct guard scratch = guard_before(HT__MATMUL_SCRATCH * sizeof(float));
    for
        EACH_LEVEL(l)
        {
            multiply(&m, l, &x, &y);
            for (int rows = 1; rows < ROWS; rows += 3)
                for (int n = 1; n < N; n += 2) {
                    float part[N * ROWS];
                    struct ht__matmul_weights w = part_of(&m, l, ROWS - rows, rows);
                    const float *from = x.x + (N - n) * x.ld;
                    ops_of(l)->matmul(&w, from, x.ld, n, part, rows, scratch.data);
                    for (int t = 0; t < n; t++)
                        assert_memory_equal(part + t * rows, y.x + (N - n + t) * y.ld + ROWS - rows,
                                            (size_t)rows * sizeof(float));
                }
        }
    guard_free(&scratch), guard_free(&x.memory), guard_free(&y.memory);
    free_matrix(&m);
}

/* ---- activations in eight bits ---- */

struct eight_bits {
    struct guard codes, scales, sums;
    struct ht__activations a;
};

static struct eight_bits make_eight_bits(int64_t n, int64_t n_in)
{
    struct eight_bits e = {guard_after((size_t)(n * n_in)),
                           guard_after((size_t)(n * n_in / 32) * sizeof(float)),
                           guard_after((size_t)(n * n_in / 16) * sizeof(int32_t)),
                           {.n_in = n_in}};
    e.a.codes = e.codes.data;
    e.a.scales = e.scales.data;
    e.a.sums = e.sums.data;
    return e;
}

static void free_eight_bits(struct eight_bits *e)
{
    guard_free(&e->codes), guard_free(&e->scales), guard_free(&e->sums);
}

/* Magnitudes below 127 / FLT_MAX have no scale that a float could invert: zeros. */
static const double least_magnitude = 127.0 / (double)FLT_MAX;

static void check_32(const float *x, const int8_t *codes, float scale, const int32_t sums[2])
{
    double most = 0;
    for (int i = 0; i < 32; i++)
        most = fabs((double)x[i]) > most ? fabs((double)x[i]) : most;
    for (int i = 0; i < 32; i++) {
        double error = fabs((double)codes[i] * (double)scale - (double)x[i]);
        assert_true(codes[i] >= -127);
        if (!(error <= most / 254 * 1.00001 + 1.001 * least_magnitude))
            fail_msg("%g becomes %d times %g", (double)x[i], codes[i], (double)scale);
    }
    for (int half = 0; half < 2; half++) {
        int sum = 0;
        for (int i = 0; i < 16; i++)
            sum += codes[16 * half + i];
        assert_int_equal(sum, sums[half]);
    }
}

static void codes_of_activations(void **state)
{
    (void)state;
    enum { N = 3, N_IN = 32 * 11 };
    for (int kind = 0; kind < ROWS_N_KINDS + 3; kind++) {
        struct tokens x = make_tokens(N, N_IN, 9, kind % 2);
        int64_t count = (int64_t)(x.memory.size / sizeof(float));
        if (kind < ROWS_N_KINDS) rows_fill((enum row_kind)kind, 9, count, x.x);
        for (int64_t i = 0; i < count && kind >= ROWS_N_KINDS; i++)
            x.x[i] *= kind == ROWS_N_KINDS ? 1e-44f : kind == ROWS_N_KINDS + 1 ? 1e-36f : 1e36f;
        struct eight_bits want = make_eight_bits(N, N_IN);
        ops_of(0)->activations(x.x, x.ld, N, &want.a);
        for (int64_t b = 0; b < N * N_IN / 32; b++)
            check_32(x.x + b / (N_IN / 32) * x.ld + b % (N_IN / 32) * 32, want.a.codes + 32 * b, want.a.scales[b],
                     want.a.sums + 2 * b);
        for
            EACH_LEVEL(l)
            {
                struct eight_bits got = make_eight_bits(N, N_IN);
                ops_of(l)->activations(x.x, x.ld, N, &got.a);
                assert_memory_equal(got.a.codes, want.a.codes, got.codes.size);
                assert_memory_equal(got.a.scales, want.a.scales, got.scales.size);
                assert_memory_equal(got.a.sums, want.a.sums, got.sums.size);
                free_eight_bits(&got);
            }
        free_eight_bits(&want);
        guard_free(&x.memory);
    }
}

/* Eight groups of 32, or as many as there are, share the scale of the largest. */
static void wide_activations(void **state)
{
    (void)state;
    enum { N = 2, BLOCKS = 11, N_IN = 32 * BLOCKS };
    struct tokens x = make_tokens(N, N_IN, 5, true);
    for
        EACH_LEVEL(l)
        {
            struct eight_bits e = make_eight_bits(N, N_IN);
            e.a.wide = true;
            ops_of(l)->activations(x.x, x.ld, N, &e.a);
            for (int t = 0; t < N; t++)
                for (int first = 0; first < BLOCKS; first += 8) {
                    int last = first + 8 < BLOCKS ? first + 8 : BLOCKS;
                    float most = 0;
                    for (int i = 32 * first; i < 32 * last; i++)
                        most = fmaxf(most, fabsf(x.x[t * x.ld + i]));
                    for (int b = first; b < last; b++)
                        assert_true(e.a.scales[t * BLOCKS + b] == most / 127);
                    for (int i = 32 * first; i < 32 * last; i++) {
                        double back = (double)e.a.codes[t * N_IN + i] * (double)(most / 127);
                        assert_true(fabs(back - (double)x.x[t * x.ld + i]) <= (double)most / 254 * 1.00001);
                    }
                }
            free_eight_bits(&e);
        }
    guard_free(&x.memory);
}

/* What is not a number stays so, and infinity does not become a number. */
static void activations_that_are_not_finite(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++)
        for
            EACH_LEVEL(l)
            {
                struct tokens x = make_tokens(1, 64, 0, true);
                struct eight_bits e = make_eight_bits(1, 64);
                x.x[37] = which == 0 ? NAN : which == 1 ? INFINITY : -INFINITY;
                ops_of(l)->activations(x.x, x.ld, 1, &e.a);
                assert_true(isfinite(e.a.scales[0]));
                assert_false(isfinite(e.a.scales[1]));
                for (int half = 2; half < 4; half++) {
                    int sum = 0;
                    for (int i = 0; i < 16; i++)
                        sum += e.a.codes[16 * half + i];
                    assert_int_equal(sum, e.a.sums[half]);
                }
                free_eight_bits(&e);
                guard_free(&x.memory);
            }
}

/* ---- products in eight bits ---- */

/*
 * Sums of integers are exact within a sub-block; each of at least 16 weights adds a scale's
 * product, its own rounding and a minimum's: four roundings of a sub-block's size, and one of the
 * sum so far for each of two steps. A sub-block's size is its largest weight times the sum of the
 * magnitudes it meets, as weights may cancel minima.
 */
static void near_the_product_of_codes(const struct matrix *m, const struct tokens *x, const struct eight_bits *e,
                                      const float *y, int64_t ldy, const char *where)
{
    for (int64_t t = 0; t < x->n; t++)
        for (int r = 0; r < m->n_rows; r++) {
            double sum = 0, size = 0, exact = 0, rounding = 0;
            for (int64_t b = 0; b < m->n_in / 32; b++) {
                double largest = 0, magnitudes = 0, most = 0, weights = 0;
                for (int64_t k = 32 * b; k < 32 * b + 32; k++) {
                    double w = (double)m->decoded[r * m->n_in + k], a = (double)x->x[t * x->ld + k];
                    double v = (double)e->a.codes[t * m->n_in + k] * (double)e->a.scales[(t * m->n_in + k) / 32];
                    sum += w * v;
                    exact += w * a;
                    largest = fmax(largest, fabs(w));
                    magnitudes += fabs(v);
                    weights += fabs(w);
                    most = fmax(most, fabs(a));
                }
                size += largest * magnitudes;
                rounding += most / 254 * 1.00001 * weights;
            }
            double got = (double)y[t * ldy + r], bound = ((double)m->n_in / 8 + 8) * half_ulp * size + 1e-30;
            if (!(fabs(sum - got) <= bound))
                fail_msg("%s at %s: token %d, row %d of %d x %d: %g is %g off, %g allowed", m->codec->name, where,
                         (int)t, r, m->n_rows, (int)m->n_in, got, fabs(sum - got), bound);
            assert_true(fabs(exact - got) <= bound + rounding);
        }
}

static void eight_bits_of(const struct ht__codec *c, int level, int n_rows, int64_t n_in, int64_t n, bool any,
                          bool after)
{
    ht__matmul8_fn *matmul8 = ops_of(level)->matmul8(c);
    if (!matmul8) return;
    struct matrix m = make_matrix(c, n_rows, n_in, any, after);
    struct tokens x = make_tokens(n, n_in, 3, true), y = make_results(n, n_rows, after);
    struct eight_bits e = make_eight_bits(n, n_in);
    struct ht__matmul_weights w = part_of(&m, level, 0, n_rows);
    ops_of(level)->activations(x.x, x.ld, n, &e.a);
    matmul8(&w, &e.a, n, y.x, y.ld);
    near_the_product_of_codes(&m, &x, &e, y.x, y.ld, name_of(level));
    check_gaps(&y, n_rows);
    free_eight_bits(&e);
    guard_free(&x.memory), guard_free(&y.memory);
    free_matrix(&m);
}

static void eight_bits_of_every_type(void **state)
{
    (void)state;
    static const int shapes[][2] = {{32, 13}, {1, 1}, {7, 5}, {17, 2}, {16, 1}, {31, 70}, {32, 1}};
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_PLAIN) continue;
        int64_t block = c->block_len < 32 ? 32 : c->block_len, lengths[4] = {block, 3 * block, 1024, 1024 + 5 * block};
        for
            EACH_LEVEL(l)
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            for (int any = 0; any < 2; any++)
                eight_bits_of(c, l, shapes[s][0], lengths[(s + (size_t)any) % 4], shapes[s][1], any, (s + i) % 2);
    }
}

static void eight_bits_of_every_shape(void **state)
{
    (void)state;
    for (int rows = 1; rows <= HT__MATMUL_ROWS; rows++)
        for (int n = 1; n <= 19; n++)
            for
                EACH_LEVEL(l)
    eight_bits_of(rows % 2 ? &ht__codec_q4_0 : &ht__codec_q6_k, l, rows, rows % 2 ? 32 * (1 + n % 3) : 256, n, false,
                  n % 2);
}

/* Level and grouping change no bits, but for one token, which may have a way of its own. */
static void eight_bits_on_every_level(void **state)
{
    (void)state;
    enum { ROWS = 32, N = 37, N_IN = 1280 };
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        struct tokens first = {.x = NULL};
        struct matrix m = make_matrix(c, ROWS, N_IN, false, true);
        for
            EACH_LEVEL(l)
            {
                ht__matmul8_fn *matmul8 = ops_of(l)->matmul8(c);
                if (!matmul8) continue;
                struct tokens x = make_tokens(N, N_IN, 0, true), y = make_results(N, ROWS, true);
                struct eight_bits e = make_eight_bits(N, N_IN);
                struct ht__matmul_weights w = part_of(&m, l, 0, ROWS), rest = part_of(&m, l, 13, 9);
                float part[9 * 9];
                ops_of(l)->activations(x.x, x.ld, N, &e.a);
                matmul8(&w, &e.a, N, y.x, y.ld);
                struct ht__activations later = {e.a.codes + 2 * N_IN, e.a.scales + 2 * N_IN / 32,
                                                e.a.sums + 2 * N_IN / 16, N_IN, e.a.wide};
                matmul8(&rest, &later, 9, part, 9);
                for (int t = 0; t < 9; t++)
                    assert_memory_equal(part + 9 * t, y.x + (t + 2) * y.ld + 13, 9 * sizeof(float));
                if (first.x && memcmp(first.x, y.x, y.memory.size) != 0)
                    fail_msg("%s: %s has other bits", c->name, name_of(l));
                if (first.x)
                    guard_free(&y.memory);
                else
                    first = y;
                free_eight_bits(&e);
                guard_free(&x.memory);
            }
        if (first.x) guard_free(&first.memory);
        free_matrix(&m);
    }
}

/* One token with a float format, in any order: as many roundings as weights, at most. */
static void vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ht__codec_count(); i++)
        for
            EACH_LEVEL(l)
            {
                const struct ht__codec *c = ht__codec_at(i);
                ht__vector_fn *vector = ops_of(l)->vector(c);
                for (int64_t n_in = 1; vector && n_in < 300; n_in += n_in < 70 ? 1 : 37) {
                    struct matrix m = make_matrix(c, 1 + (int)n_in % 5, n_in, n_in % 2, n_in % 3);
                    struct tokens x = make_tokens(1, n_in, 0, true), y = make_results(1, m.n_rows, true);
                    struct ht__matmul_weights w = part_of(&m, l, 0, m.n_rows);
                    vector(&w, x.x, y.x);
                    near_the_product(&m, &x, &y);
                    guard_free(&x.memory), guard_free(&y.memory);
                    free_matrix(&m);
                }
            }
}

/* ---- operations on vectors ---- */

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
        assert_true(fabs((double)ops_of(0)->dot(x, w, n) - sum) <= ((double)n / 16 + 6) * half_ulp * size);
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
        assert_true(fabs((double)((float *)out.data)[i] - want) <= 2 * N * half_ulp * size);
    }
    for (int j = 0; j < N; j++) /* the same, a row at a time */
        ops_of(0)->add_scaled(sum.data, (float *)rows.data + j * LD, ((float *)p.data)[j], LEN);
    assert_memory_equal(out.data, sum.data, sum.size);
    guard_free(&p), guard_free(&rows), guard_free(&out), guard_free(&sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_of_every_type),
        cmocka_unit_test(matmul_of_every_shape),
        cmocka_unit_test(grouping_does_not_matter),
        cmocka_unit_test(codes_of_activations),
        cmocka_unit_test(wide_activations),
        cmocka_unit_test(activations_that_are_not_finite),
        cmocka_unit_test(eight_bits_of_every_type),
        cmocka_unit_test(eight_bits_of_every_shape),
        cmocka_unit_test(eight_bits_on_every_level),
        cmocka_unit_test(vectors),
        cmocka_unit_test(vectors_on_every_level),
        cmocka_unit_test(gates),
        cmocka_unit_test(exponentials),
        cmocka_unit_test(sums_of_products),
        cmocka_unit_test(products_in_double),
        cmocka_unit_test(norms),
        cmocka_unit_test(weighted_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
