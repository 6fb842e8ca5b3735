/* Integer grids: ranges, codes and their streams of bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "schemes/bits.h"
#include "schemes/int_grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 1024, ROWS = 64 };

static float uniform(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / 16777216.0f - 0.5f;
}

/* Near normal. */
static void fill(float *x, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = 0;
        for (int k = 0; k < 8; k++)
            x[i] += 0.03f * uniform(&seed);
    }
}

static double relative_error(const struct ht__int_grid *grid, const float *x, const float *importance)
{
    static uint8_t q[ROWS * N];
    static float scale[ROWS * N / 8], zero[ROWS * N / 8], y[ROWS * N];
    struct ht__codes codes = {.n_rows = ROWS, .q = q, .scale = scale, .zero = grid->asymmetric ? zero : NULL};
    double error = 0, all = 0;
    ht__int_grid_fit(grid, x, ROWS, N, importance, scale, codes.zero);
    ht__int_grid_nearest(grid, x, N, &codes);
    ht__int_grid_value(grid, &codes, N, y);
    for (int64_t i = 0; i < ROWS * N; i++) {
        double w = importance ? importance[i % N] : 1;
        assert_true(q[i] < 1 << grid->bits);
        error += w * (x[i] - y[i]) * (x[i] - y[i]);
        all += w * x[i] * x[i];
    }
    return sqrt(error / all);
}

/* The least error of 300 ranges of each group, scales not rounded: what the search is to come near to. */
static double exhaustive(int bits, int64_t group, const float *x)
{
    float middle = exp2f((float)(bits - 1));
    double error = 0, all = 0;
    for (int64_t i = 0; i < ROWS * N; i += group) {
        float largest = 0;
        double best = 1e30;
        for (int64_t k = 0; k < group; k++) {
            largest = fabsf(x[i + k]) > largest ? fabsf(x[i + k]) : largest;
            all += x[i + k] * x[i + k];
        }
        for (int t = 0; t < 300; t++) {
            float scale = largest / (middle - 0.5f) * (1.1f - 0.0025f * (float)t);
            double sum = 0;
            for (int64_t k = 0; k < group; k++) {
                float q = rintf(x[i + k] / scale);
                q = q < -middle ? -middle : q > middle - 1 ? middle - 1 : q;
                sum += (x[i + k] - q * scale) * (x[i + k] - q * scale);
            }
            best = sum < best ? sum : best;
        }
        error += best;
    }
    return sqrt(error / all);
}

static void test_search(void **state)
{
    static float x[ROWS * N];
    static const int bits[] = {2, 3, 4, 8};
    static const int64_t groups[] = {32, 128};
    fill(x, ROWS * N, 5);
    for (size_t i = 0; i < 8; i++) {
        struct ht__int_grid grid = {.bits = bits[i / 2], .group = groups[i % 2]};
        grid.scale = grid.value = &ht__codec_f16;
        double plain = relative_error(&grid, x, NULL);
        grid.search = true;
        double searched = relative_error(&grid, x, NULL), best = exhaustive(grid.bits, grid.group, x);
        double near = grid.bits == 8 ? 1.1 : 1.01; /* of 255 steps a few more or less matter little */
        if (searched >= best * near) print_message("%d bits: %.5f, %.5f at best\n", grid.bits, searched, best);
        assert_true(searched < best * near);
        assert_true(searched < plain * (grid.bits == 8 ? 0.99 : grid.bits == 4 ? 0.95 : 0.9));
        grid.asymmetric = true;
        double searched_zero = relative_error(&grid, x, NULL);
        grid.search = false;
        assert_true(searched_zero < relative_error(&grid, x, NULL));
        /* of few codes, scales of either sign do what zero points do */
        assert_true(searched_zero < searched * (grid.bits <= 3 ? 1.02 : 1));
    }
}

static void test_importance(void **state)
{
    static float x[ROWS * N], importance[N];
    uint32_t seed = 3;
    struct ht__int_grid grid = {.bits = 3, .group = 128, .search = true};
    grid.scale = grid.value = &ht__codec_bf16;
    fill(x, ROWS * N, 7);
    for (int i = 0; i < N; i++)
        importance[i] = i % 5 ? 0.01f + uniform(&seed) + 0.5f : 50;
    double with = relative_error(&grid, x, importance);
    static uint8_t q[ROWS * N];
    static float scale[ROWS * N / 128], y[ROWS * N];
    struct ht__codes codes = {.n_rows = ROWS, .q = q, .scale = scale};
    double error = 0, all = 0;
    ht__int_grid_fit(&grid, x, ROWS, N, NULL, scale, NULL);
    ht__int_grid_nearest(&grid, x, N, &codes);
    ht__int_grid_value(&grid, &codes, N, y);
    for (int64_t i = 0; i < ROWS * N; i++) {
        error += importance[i % N] * (x[i] - y[i]) * (x[i] - y[i]);
        all += importance[i % N] * x[i] * x[i];
    }
    assert_true(with < sqrt(error / all) * 0.97);
}

/* Groups where a rule could divide by zero or leave its field. */
static void test_corners(void **state)
{
    static const float sizes[] = {0, 1e-38f, 1e-30f, 1e-7f, 1, 60000, 1e30f, 3e38f};
    for (int i = 0; i < 8 * 8 * 8; i++) {
        float x[32], scale, zero, y[32];
        uint8_t q[32];
        static const struct ht__codec *const codecs[] = {&ht__codec_f16, &ht__codec_bf16, &ht__codec_f32};
        struct ht__int_grid grid = {.bits = 2 + i / 8 % 8 % 7, .group = 32, .asymmetric = i & 1, .search = i & 2};
        grid.least_zero = i & 4 ? 1 : 0;
        grid.scale = grid.value = codecs[i % 3];
        struct ht__codes codes = {.n_rows = 1, .q = q, .scale = &scale, .zero = &zero};
        for (int k = 0; k < 32; k++) /* all above, all below, or both */
            x[k] = sizes[i / 64] * (float)(k + 1) / 32 * (i % 3 == 0 ? 1 : i % 3 == 1 ? -1 : k % 2 ? 1 : -1);
        ht__int_grid_fit(&grid, x, 1, 32, NULL, &scale, &zero);
        ht__int_grid_nearest(&grid, x, 32, &codes);
        ht__int_grid_value(&grid, &codes, 32, y);
        assert_true(isfinite(scale) && scale != 0);
        if (grid.bits > 3 || grid.asymmetric || !grid.search) assert_true(scale > 0);
        assert_true(ht__round_to(grid.scale, scale) == scale);
        assert_true(zero == rintf(zero) && zero >= 0 && zero < exp2f((float)grid.bits));
        if (grid.asymmetric) assert_true(zero >= grid.least_zero);
        for (int k = 0; k < 32; k++) {
            assert_true(q[k] < 1 << grid.bits);
            if (sizes[i / 64] == 0) assert_true(y[k] == 0);
        }
    }
}

static void test_streams(void **state)
{
    uint8_t codes[N], again[N], words[N + 4];
    uint32_t seed = 11;
    for (int bits = 2; bits <= 8; bits++)
        for (int64_t n = 1; n < 200; n++) {
            uint64_t bit = 0;
            for (int64_t i = 0; i < n; i++)
                codes[i] = (uint8_t)((uniform(&seed) + 0.5f) * (float)(1 << bits)) & ((1 << bits) - 1);
            memset(words, 0xa5, sizeof words);
            ht__bits_pack(codes, n, bits, words);
            for (int64_t i = 0; i < n; i++)
                for (int b = 0; b < bits; b++, bit++)
                    assert_int_equal(words[bit / 8] >> bit % 8 & 1, codes[i] >> b & 1);
            for (; bit < (uint64_t)ht__bits_bytes(n, bits) * 8; bit++)
                assert_int_equal(words[bit / 8] >> bit % 8 & 1, 0);
            assert_int_equal(words[bit / 8], 0xa5);
            memset(again, 0xa5, sizeof again);
            ht__bits_unpack(words, n, bits, again);
            assert_memory_equal(codes, again, (size_t)n);
            assert_int_equal(again[n], 0xa5);
        }
}

/* Words as the packers of AutoGPTQ and compressed-tensors make them. */
static void test_words(void **state)
{
    static const uint8_t eight[8] = {15, 0, 3, 12, 7, 8, 1, 14}, four[4] = {1, 2, 254, 255};
    static const uint32_t three[3] = {0x88FAC688, 0xC688FAC6, 0xFAC688FA};
    uint8_t codes[32];
    uint32_t words[3];
    ht__bits_pack(eight, 8, 4, words);
    assert_int_equal(words[0], 0xE187C30F);
    ht__bits_pack(four, 4, 8, words);
    assert_int_equal(words[0], 0xFFFE0201);
    for (int i = 0; i < 32; i++)
        codes[i] = i % 4;
    ht__bits_pack(codes, 16, 2, words);
    assert_int_equal(words[0], 0xE4E4E4E4);
    for (int i = 0; i < 32; i++)
        codes[i] = i % 8;
    ht__bits_pack(codes, 32, 3, words);
    assert_memory_equal(words, three, sizeof three);
}

static void test_columns(void **state)
{
    static uint8_t codes[70 * 608], again[70 * 608];
    static uint32_t columns[70 * 608 / 4], row[608 / 4];
    static const int bits[] = {2, 3, 4, 8};
    uint32_t seed = 9;
    for (int b = 0; b < 4; b++) {
        for (size_t i = 0; i < sizeof codes; i++)
            codes[i] = (uint8_t)((uniform(&seed) + 0.5f) * (float)(1 << bits[b])) & ((1 << bits[b]) - 1);
        ht__bits_pack_columns(codes, 70, 608, bits[b], columns);
        for (int r = 0; r < 70; r++) {
            ht__bits_pack(codes + r * 608, 608, bits[b], row);
            for (int w = 0; w < 608 * bits[b] / 32; w++)
                assert_int_equal(columns[w * 70 + r], row[w]);
        }
        ht__bits_unpack_columns(columns, 70, 608, bits[b], again);
        assert_memory_equal(codes, again, sizeof codes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),  cmocka_unit_test(test_importance), cmocka_unit_test(test_corners),
        cmocka_unit_test(test_streams), cmocka_unit_test(test_words),      cmocka_unit_test(test_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
