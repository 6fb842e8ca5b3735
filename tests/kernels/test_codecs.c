/*
 * Every numeric format: golden bytes; the same bytes on every CPU level, for many kinds of rows and
 * counts, between unmapped pages; decoding the same floats; the error within the format's bound.
 */
#include "kernels/codec.h"
#include "lib/guard.h"
#include "lib/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *type;
    uint64_t plain, weighted;
} golden[] = {
#define GOLDEN(type, plain, weighted) {#type, plain, weighted},
#include "golden/codecs.def"
#undef GOLDEN
};

static uint64_t golden_hash(const struct ht__codec *c, enum ht__cpu_level level, const float *x,
                            const float *importance)
{
    size_t size = ht__codec_bytes(c, 8192);
    unsigned char *out = malloc(size);
    memset(out, 0x5A, size);
    ht__encoder(c, level)(x, 8, 1024, importance, out);
    uint64_t hash = rows_hash(out, size);
    free(out);
    return hash;
}

static int find_golden(const char *name)
{
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++)
        if (strcmp(golden[i].type, name) == 0) return (int)i;
    return -1;
}

static void golden_bytes(void **state)
{
    (void)state;
    static float x[8192], importance[1024];
    int wrong = 0;
    rows_golden(x, importance);
    assert_true(rows_hash(x, sizeof x) == 0x03e0ca9b7b577061u);
    assert_true(rows_hash(importance, sizeof importance) == 0xb6af0147c49263a9u);
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY) continue;
        int g = find_golden(c->name);
        if (g < 0) fail_msg("%s has no golden bytes", c->name);
        for (int level = 0; level < HT__CPU_N_LEVELS; level++) {
            if (!ht__cpu_has((enum ht__cpu_level)level)) continue;
            const char *name = ht__cpu_level_name((enum ht__cpu_level)level);
            if (!(c->flags & HT__CODEC_NEEDS_IMPORTANCE) &&
                golden_hash(c, (enum ht__cpu_level)level, x, NULL) != golden[g].plain)
                print_error("%s without importance at %s differs\n", c->name, name), wrong++;
            if (golden_hash(c, (enum ht__cpu_level)level, x, importance) != golden[g].weighted)
                print_error("%s with importance at %s differs\n", c->name, name), wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* The importance that a row is encoded with. */
enum weighting { PLAIN, WEIGHTED, OCTAVES, N_WEIGHTINGS };

static const char *const WEIGHTING_NAMES[N_WEIGHTINGS] = {"plain", "weighted", "weighted over 60 octaves"};

/* Importance that spans 60 octaves: a heavy weight on a zero pulls fitted scales towards nothing. */
static void spread(int64_t n, float *importance)
{
    uint32_t state = 12345;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        importance[i] = ldexpf(importance[i], (int)(state >> 16) % 60 - 30);
    }
}

/* Encodes at a level from and to guarded buffers and compares with the scalar bytes. */
static void compare(const struct ht__codec *c, enum ht__cpu_level level, enum row_kind kind, int64_t rows,
                    int64_t blocks, enum weighting weighting, bool after)
{
    int64_t len = blocks * c->block_len, n = rows * len;
    size_t size = ht__codec_bytes(c, (uint64_t)n);
    struct guard (*make)(size_t) = after ? guard_after : guard_before;
    struct guard x = make((size_t)n * sizeof(float)), w = make((size_t)len * sizeof(float));
    struct guard out = make(size);
    unsigned char *expected = malloc(size);
    float *want = malloc((size_t)n * sizeof *want);
    struct guard got = make((size_t)n * sizeof(float));
    rows_fill(kind, (uint64_t)(rows * 31 + blocks), n, x.data);
    rows_importance((uint64_t)blocks, len, w.data);
    if (weighting == OCTAVES) spread(len, w.data);
    const float *importance = weighting != PLAIN ? w.data : NULL;
    c->encode(x.data, rows, len, importance, expected);
    ht__encoder(c, level)(x.data, rows, len, importance, out.data);
    if (memcmp(expected, out.data, size) != 0) {
        size_t at = 0;
        while (expected[at] == ((unsigned char *)out.data)[at])
            at++;
        fail_msg("%s %s at %s, kind %d, %lld rows of %lld: byte %zu of block %zu differs", c->name,
                 WEIGHTING_NAMES[weighting], ht__cpu_level_name(level), kind, (long long)rows, (long long)len,
                 at % c->block_size, at / c->block_size);
    }
    if (ht__decoder(c, level) != c->decode) {
        c->decode(expected, n, want);
        ht__decoder(c, level)(out.data, n, got.data);
        if (memcmp(want, got.data, (size_t)n * sizeof *want) != 0)
            fail_msg("%s decodes differently at %s, kind %d", c->name, ht__cpu_level_name(level), kind);
    }
    if (ht__checker(c, level) != c->check) {
        int64_t n_blocks = (int64_t)(size / c->block_size);
        if (ht__checker(c, level)(out.data, n_blocks) != c->check(expected, n_blocks))
            fail_msg("%s checks differently at %s", c->name, ht__cpu_level_name(level));
    }
    guard_free(&x), guard_free(&w), guard_free(&out), guard_free(&got);
    free(expected), free(want);
}

/* A machine with a level has variants of it to compare: otherwise the comparisons below would pass by doing nothing. */
static void expect_compared(enum ht__cpu_level level, int compared)
{
    if (compared == 0 && ht__cpu_has(level))
        fail_msg("no variant at %s was compared with the scalar code", ht__cpu_level_name(level));
}

static void same_bytes_on_every_level(void **state)
{
    (void)state;
    int compared[HT__CPU_N_LEVELS] = {0};
    static const int64_t shapes[][2] = {{1, 1}, {1, 3}, {3, 7}, {37, 1}, {5, 4}, {17, 2}};
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY) continue;
        for (int level = 1; level < HT__CPU_N_LEVELS; level++) {
            enum ht__cpu_level l = (enum ht__cpu_level)level;
            enum ht__cpu_level below = (enum ht__cpu_level)(level - 1); /* whose kernels may serve here, too */
            if (!ht__cpu_has(l) ||
                (ht__encoder(c, l) == ht__encoder(c, below) && ht__decoder(c, l) == ht__decoder(c, below)))
                continue;
            compared[level]++;
            for (int kind = 0; kind < ROWS_N_KINDS; kind++)
                for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
                    for (int w = PLAIN; w < N_WEIGHTINGS; w++)
                        if (w != PLAIN || !(c->flags & HT__CODEC_NEEDS_IMPORTANCE))
                            compare(c, l, (enum row_kind)kind, shapes[s][0],
                                    shapes[s][1] * (c->block_len < 256 ? 8 : 1) * (c->block_len == 1 ? 32 : 1),
                                    (enum weighting)w, (kind + (int)s) % 2);
        }
    }
    expect_compared(HT__CPU_avx2, compared[HT__CPU_avx2]);
    expect_compared(HT__CPU_avx512, compared[HT__CPU_avx512]);
    expect_compared(HT__CPU_neon, compared[HT__CPU_neon]);
}

/* Every bit pattern of the formats of one or two bytes a weight, and counts that fill no vector. */
static void plain_types_on_every_level(void **state)
{
    (void)state;
    enum { N = 65536 };
    static uint16_t codes[N + 1];
    static float want[N], got[N];
    unsigned char *in = (unsigned char *)codes + 1; /* packed data may stand at any address */
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->block_len != 1 || c->block_size > 2) continue;
        for (int k = 0; k < N; k++)
            memcpy(in + k * (int)c->block_size, &k, c->block_size);
        c->decode(in, N, want);
        for (int level = 1; level < HT__CPU_N_LEVELS; level++) {
            if (!ht__cpu_has((enum ht__cpu_level)level)) continue;
            ht__decode_fn *decode = ht__decoder(c, (enum ht__cpu_level)level);
            if (decode != c->decode) decode(in, N, got); /* otherwise the counts below are what is looked at */
            if (decode != c->decode && memcmp(want, got, sizeof want) != 0)
                fail_msg("%s decodes differently at level %d", c->name, level);
            for (int n = 0; n < 70; n++) {
                struct guard out = guard_after((size_t)n * sizeof(float) + !n);
                decode(in + n * (int)c->block_size, n, out.data);
                assert_memory_equal(out.data, want + n, (size_t)n * sizeof(float));
                guard_free(&out);
            }
        }
    }
}

/* Blocks of bytes that no encoder wrote, as far as they pass the check: every code and scale is among them. */
static void any_block_decodes_the_same(void **state)
{
    (void)state;
    enum { BLOCKS = 500 };
    int compared[HT__CPU_N_LEVELS] = {0};
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        size_t size = (size_t)BLOCKS * c->block_size, n = (size_t)BLOCKS * c->block_len;
        struct guard in = guard_after(size), got = guard_after(n * sizeof(float));
        float *want = malloc(n * sizeof *want);
        unsigned char *block = in.data;
        uint32_t seed = (uint32_t)i;
        for (size_t k = 0; k < size; k++)
            block[k] = (unsigned char)((seed = seed * 1664525u + 1013904223u) >> 24);
        for (int b = 0; b < BLOCKS; b++, block += c->block_size)
            if (c->check && c->check(block, 1) >= 0) memset(block, 0, c->block_size);
        c->decode(in.data, (int64_t)n, want);
        for (int level = 1; level < HT__CPU_N_LEVELS; level++) {
            ht__decode_fn *decode = ht__decoder(c, (enum ht__cpu_level)level);
            if (!ht__cpu_has((enum ht__cpu_level)level) || decode == c->decode) continue;
            compared[level]++;
            decode(in.data, (int64_t)n, got.data);
            if (memcmp(want, got.data, n * sizeof *want) != 0)
                fail_msg("%s decodes differently at %s", c->name, ht__cpu_level_name((enum ht__cpu_level)level));
        }
        guard_free(&in), guard_free(&got);
        free(want);
    }
    expect_compared(HT__CPU_avx2, compared[HT__CPU_avx2]);
    expect_compared(HT__CPU_avx512, compared[HT__CPU_avx512]);
    expect_compared(HT__CPU_neon, compared[HT__CPU_neon]);
}

/* Types of checkpoints have no encoder to be checked by: bytes (little-endian) and the value that their format gives. */
static const struct {
    const char *type;
    uint64_t bits;
    double value;
} source_values[] = {
    {"f64", 0x3ff8000000000000u, 1.5},
    {"f64", 0xc05edd2f1a9fbe77u, -123.456},
    {"i8", 0x80, -128},
    {"i8", 0x7f, 127},
    {"i16", 0x8000, -32768},
    {"i16", 0x1234, 4660},
    {"i32", 0xfffffffe, -2},
    {"i32", 0x01000000, 16777216},
    {"i64", 0xffffffffffffff85u, -123},
    {"i64", 0x100000000u, 4294967296},
    {"u8", 0xff, 255},
    {"u16", 0xffff, 65535},
    {"u32", 0xff000000u, 4278190080},
    {"u64", 0x8000000000000000u, 0x1p63},
    {"bool", 0, 0},
    {"bool", 1, 1},
    {"f8_e4m3", 0x7e, 448},
    {"f8_e4m3", 0x01, 0x1p-9},
    {"f8_e4m3", 0xc5, -3.25},
    {"f8_e5m2", 0x7b, 57344},
    {"f8_e5m2", 0x81, -0x1p-16},
    {"f8_e5m2", 0x3d, 1.25},
    {"f8_e4m3fnuz", 0x7f, 240},
    {"f8_e4m3fnuz", 0x01, 0x1p-10},
    {"f8_e5m2fnuz", 0x7f, 57344},
    {"f8_e5m2fnuz", 0xc1, -1.25},
    {"f8_e8m0", 0x7f, 1},
    {"f8_e8m0", 0x85, 64},
};

static void checkpoint_types_give_the_values_of_their_formats(void **state)
{
    (void)state;
    const size_t n = sizeof source_values / sizeof source_values[0];
    for (size_t i = 0; i < n; i++) {
        const struct ht__codec *c = ht__codec_by_name(source_values[i].type);
        float got;
        assert_non_null(c);
        c->decode(&source_values[i].bits, 1, &got);
        if ((double)got != (double)(float)source_values[i].value)
            fail_msg("%s: %.9g instead of %.9g", c->name, (double)got, source_values[i].value);
    }
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        size_t k = 0;
        while (k < n && strcmp(source_values[k].type, c->name) != 0)
            k++;
        if (c->flags & HT__CODEC_SOURCE_ONLY && k == n) fail_msg("%s has no value here to be checked by", c->name);
    }
}

/* Floats of all exponents, next to the ties of 16 bits too, in counts that fill no vector. */
static void sixteen_bits_on_every_level(void **state)
{
    (void)state;
    enum { N = 1 << 20 };
    static float x[N];
    static unsigned char want[2 * N], got[2 * N];
    for (uint32_t k = 0; k < N; k++) {
        static const uint32_t ties[8] = {0x7fff, 0x8000, 0x8001, 0x0fff, 0x1000, 0x1001, 0x3000, 0x5000};
        uint32_t bits = k >> 4 << 16 | (k % 16 < 8 ? ties[k % 8] : k * 2654435761u >> 16);
        if ((bits & 0x7f800000u) == 0x7f800000u) bits &= 0xff7fffffu;
        memcpy(x + k, &bits, sizeof bits);
    }
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->block_len != 1 || c->block_size != 2 || !c->encode) continue;
        c->encode(x, 1, N, NULL, want);
        for (int level = 1; level < HT__CPU_N_LEVELS; level++) {
            if (!ht__cpu_has((enum ht__cpu_level)level)) continue;
            ht__encode_fn *encode = ht__encoder(c, (enum ht__cpu_level)level);
            encode(x, 1, N, NULL, got);
            if (memcmp(want, got, sizeof want) != 0) fail_msg("%s differs at level %d", c->name, level);
            for (int n = 1; n < 70; n++) {
                struct guard out = guard_after(2 * (size_t)n);
                encode(x + 16 * n, 1, n, NULL, out.data);
                assert_memory_equal(out.data, want + 32 * n, 2 * (size_t)n);
                guard_free(&out);
            }
        }
    }
}

static void error_within_bound(void **state)
{
    (void)state;
    enum { N = 16384 };
    static float x[N], y[N], w[4096];
    rows_fill(ROWS_GAUSSIAN, 5, N, x);
    for (int i = 0; i < 4096; i++)
        w[i] = 1;
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY) continue;
        unsigned char *out = malloc(ht__codec_bytes(c, N));
        c->encode(x, 4, 4096, c->flags & HT__CODEC_NEEDS_IMPORTANCE ? w : NULL, out);
        if (c->check) assert_int_equal(c->check(out, N / c->block_len), -1);
        c->decode(out, N, y);
        double error = 0, sum = 0;
        for (int k = 0; k < N; k++) {
            error += ((double)x[k] - (double)y[k]) * ((double)x[k] - (double)y[k]);
            sum += (double)x[k] * (double)x[k];
        }
        double rmse = sqrt(error / sum);
        if (!(rmse <= (double)c->rmse_bound))
            fail_msg("%s: relative error %.4f over its bound %.4f", c->name, rmse, (double)c->rmse_bound);
        free(out);
    }
}

/* The bytes do not depend on how rows are grouped into calls. */
static void grouping_does_not_matter(void **state)
{
    (void)state;
    enum { ROWS = 9, LEN = 768 };
    static float x[ROWS * LEN], w[LEN];
    rows_fill(ROWS_PATCHES, 3, ROWS * LEN, x);
    rows_importance(1, LEN, w);
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY) continue;
        size_t row = ht__codec_bytes(c, LEN);
        unsigned char *a = malloc(row * ROWS), *b = malloc(row * ROWS);
        ht__encode_fn *encode = ht__encoder(c, ht__cpu_best());
        encode(x, ROWS, LEN, w, a);
        for (int r = 0; r < ROWS; r++)
            encode(x + r * LEN, 1, LEN, w, b + (size_t)r * row);
        if (memcmp(a, b, row * ROWS) != 0) fail_msg("%s depends on the number of rows", c->name);
        free(a), free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bytes),
        cmocka_unit_test(same_bytes_on_every_level),
        cmocka_unit_test(plain_types_on_every_level),
        cmocka_unit_test(any_block_decodes_the_same),
        cmocka_unit_test(checkpoint_types_give_the_values_of_their_formats),
        cmocka_unit_test(sixteen_bits_on_every_level),
        cmocka_unit_test(error_within_bound),
        cmocka_unit_test(grouping_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
