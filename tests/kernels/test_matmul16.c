/* Activations in BF16 and products with them: within stated bounds of the same in double. */
#include "kernels/half.h"
#include "lib/levels.h"
#include "lib/matrices.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Of a sum of magnitudes, that rounding activations may make. */
static double share_of(int level)
{
    return ops_of(level)->parts == 2 ? 0x1p-14 : 0x1p-8;
}

/* Split activations of n tokens. */
static struct guard split_all(const struct ht__ops *ops, const struct tokens *x, int64_t n_in, struct ht__split *out)
{
    int64_t sixteens = (x->n + 15) / 16;
    struct guard memory = guard_after((size_t)(sixteens * ht__tiles_of(n_in) * ops->parts) * sizeof *out->tiles);
    *out = (struct ht__split){memory.data, sixteens, n_in};
    for (int64_t i = 0; i < sixteens; i++)
        ops->split(x->x + 16 * i * x->ld, x->ld, (int)(x->n - 16 * i < 16 ? x->n - 16 * i : 16), out, i);
    return memory;
}

static void split_products(const struct ht__codec *c, int level, int n_rows, int64_t n_in, int64_t n, bool after)
{
    struct matrix m = make_matrix(c, n_rows, n_in, false, after);
    struct tokens x = make_tokens(n, n_in, 3, after), y = make_results(n, n_rows, after);
    struct ht__matmul_weights w = part_of(&m, level, 0, n_rows);
    struct ht__split split;
    struct guard tiles = split_all(ops_of(level), &x, n_in, &split);
    struct guard scratch = guard_before(HT__MATMUL_SCRATCH * sizeof(float));
    ops_of(level)->matmul16(c)(&w, &split, n, y.x, y.ld, scratch.data);
    near_the_sums(&m, &x, &y, share_of(level), 3, name_of(level));
    check_gaps(&y, n_rows);
    guard_free(&scratch), guard_free(&tiles), guard_free(&x.memory), guard_free(&y.memory);
    free_matrix(&m);
}

static void products_of_split_activations(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{32, 256, 32},  {32, 1024, 16}, {1, 1, 1},     {7, 33, 17},    {31, 300, 37},
                                        {17, 2085, 20}, {32, 31, 48},   {9, 512, 530}, {128, 288, 17}, {101, 256, 33}};
    for (size_t i = 0; i < ht__codec_count(); i++)
        for
            EACH_LEVEL(l)
            {
                const struct ht__codec *c = ht__codec_at(i);
                if (!ops_of(l)->matmul16 || !ops_of(l)->matmul16(c)) continue;
                for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
                    split_products(c, l, (int)shapes[s][0], shapes[s][1], shapes[s][2], s % 2);
            }
}

/* The parts of a number are it, to 2^-15 of it, or 2^-8 where there is one; what is not a number stays so. */
static void parts_of_activations(void **state)
{
    (void)state;
    struct tokens x = make_tokens(1, 300, 0, true);
    float odd[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 0, 1e-30f};
    memcpy(x.x, odd, sizeof odd);
    const uint32_t low_payload = 0x7f800001, full_payload = 0x7fffffff;
    memcpy(x.x + 7, &low_payload, 4), memcpy(x.x + 8, &full_payload, 4);
    for
        EACH_LEVEL(l)
        {
            struct ht__split split;
            if (!ops_of(l)->split) continue;
            int parts = ops_of(l)->parts;
            double share = parts == 2 ? 0x1p-15 : 0x1p-8;
            struct guard memory = split_all(ops_of(l), &x, 300, &split);
            for (int i = 0; i < 512; i++) {
                const struct ht__bf16_tile *tile = split.tiles + i / 256 * parts;
                float high = ht__bf16_to_f32(tile[0].numbers[i % 256 / 32][0][i % 32]), want = i < 300 ? x.x[i] : 0;
                float low = parts == 2 ? ht__bf16_to_f32(tile[1].numbers[i % 256 / 32][0][i % 32]) : 0;
                if (isfinite(want) && (parts == 2 || fabsf(want) < FLT_MAX)) /* which has no nearest but infinity */
                    assert_true(fabs((double)high + (double)low - (double)want) <= share * fabs((double)want));
                else
                    assert_false(isfinite(high + low));
                assert_int_equal(tile[0].numbers[i % 256 / 32][5][i % 32], 0);
            }
            guard_free(&memory);
        }
    guard_free(&x.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_split_activations),
        cmocka_unit_test(parts_of_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
