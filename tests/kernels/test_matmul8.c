/*
 * Activations in eight bits and products with them: the same bits on every CPU level, exact sums of integers, within a stated
 * bound of the same in double.
 */
#include "kernels/emulated.h"
#include "lib/levels.h"
#include "lib/matrices.h"
#include "lib/rows.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#if defined(__x86_64__)
#include "kernels/x86/tiles_amx.h"
#endif

/* ---- activations in eight bits ---- */

struct eight_bits {
    struct guard codes, scales, sums, tiles;
    struct ht__activations a;
};

static struct eight_bits make_eight_bits(int64_t n, int64_t n_in)
{
    struct eight_bits e = {.codes = guard_after((size_t)(n * n_in)),
                           .scales = guard_after((size_t)(n * n_in / 32) * sizeof(float)),
                           .sums = guard_after((size_t)(n * n_in / 16) * sizeof(int32_t)),
                           .a = {.n_in = n_in}};
    e.a.codes = e.codes.data;
    e.a.scales = e.scales.data;
    e.a.sums = e.sums.data;
    return e;
}

/* As the level wants them: the tiles of full sixteens of tokens with it. */
static void put_eight_bits(const struct ht__ops *ops, const struct tokens *x, struct eight_bits *e)
{
    ops->activations(x->x, x->ld, x->n, &e->a);
    e->a.sixteens = x->n / 16;
    if (!ops->tile || e->a.sixteens == 0) return;
    e->tiles = guard_after((size_t)(e->a.sixteens * ht__tiles_of(e->a.n_in)) * sizeof *e->a.tiles);
    e->a.tiles = e->tiles.data;
    for (int64_t i = 0; i < e->a.sixteens; i++)
        ops->tile(&e->a, 16 * i);
}

static void free_eight_bits(struct eight_bits *e)
{
    guard_free(&e->codes), guard_free(&e->scales), guard_free(&e->sums);
    if (e->a.tiles) guard_free(&e->tiles);
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
            double got = (double)y[t * ldy + r], bound = ((double)m->n_in / 8 + 8) * HALF_ULP * size + 1e-30;
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
    put_eight_bits(ops_of(level), &x, &e);
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

/* As many rows as a call takes where the level has tiles, and fewer. */
static void eight_bits_of_many_rows(void **state)
{
    (void)state;
    static const int rows[] = {33, 101, HT__MATMUL16_ROWS};
    for
        EACH_LEVEL(l)
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && ops_of(l)->tile; i++)
        for (int n = 7; n < 50; n += 21) {
            eight_bits_of(&ht__codec_q4_k, l, rows[i], 512, n, false, true);
            eight_bits_of(&ht__codec_q8_0, l, rows[i], 544, n, false, false);
            eight_bits_of(&ht__codec_q6_k, l, rows[i], 256, n, false, true);
        }
}

/* Level and grouping change no bits, but for one token, which may have a way of its own; nor does the kind of processor. */
static void eight_bits_on_every_level(void **state)
{
    (void)state;
    enum { ROWS = 32, N = 37, N_IN = 1280 };
    uint64_t all = 0;
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
                put_eight_bits(ops_of(l), &x, &e);
                matmul8(&w, &e.a, N, y.x, y.ld);
                struct ht__activations later = {.codes = e.a.codes + 2 * N_IN,
                                                .scales = e.a.scales + 2 * N_IN / 32,
                                                .sums = e.a.sums + 2 * N_IN / 16,
                                                .n_in = N_IN,
                                                .wide = e.a.wide};
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
        for (int t = 0; first.x && t < N; t++)
            all = 31 * all + rows_hash(first.x + t * first.ld, ROWS * sizeof(float));
        if (first.x) guard_free(&first.memory);
        free_matrix(&m);
    }
    if (all != 0 && all != 0x6789059656aa2458u)
        fail_msg("the products of all types have other bits: 0x%016llx", (unsigned long long)all);
}

#if defined(__x86_64__)
/* Through tiles_amx.h, which needs the compiler's leave for these instructions. */
__attribute__((target("amx-tile"))) static void machine_shapes(struct tile_shapes *now, const struct tile_shapes *next)
{
    TILES_KEEP(now);
    TILES_RESTORE(next);
}

/* Who set the shapes of a thread's tiles and then calls us finds them as they were; who set none has none afterwards. */
static void tiles_of_others_keep_their_shapes(void **state)
{
    (void)state;
    static const struct tile_shapes none, theirs = {.palette = 1, .bytes = {64, 32, 4}, .rows = {16, 8, 1}};
    struct matrix m = make_matrix(&ht__codec_q4_k, 32, 256, false, true);
    struct tokens x = make_tokens(TILE_TOKENS, 256, 0, true), y = make_results(TILE_TOKENS, 32, true);
    for
        EACH_LEVEL(l)
    for (int with = 0; with < 2 && l >= HT__CPU_amx && ops_of(l)->tile; with++) {
        void (*shapes)(struct tile_shapes *, const struct tile_shapes *) = l == EMULATED_AVX2 ? emulated_shapes_avx2
                                                                           : l == EMULATED_AVX512
                                                                               ? emulated_shapes_avx512
                                                                               : machine_shapes;
        struct eight_bits e = make_eight_bits(x.n, 256);
        struct ht__matmul_weights w = part_of(&m, l, 0, 32);
        _Alignas(64) struct tile_shapes before, after;
        shapes(&before, with ? &theirs : &none);
        ops_of(l)->activations(x.x, x.ld, x.n, &e.a);
        ops_of(l)->matmul8(m.codec)(&w, &e.a, x.n, y.x, y.ld);
        shapes(&after, &before);
        if (memcmp(&after, with ? &theirs : &none, sizeof after) != 0) fail_msg("%s: other shapes", name_of(l));
        free_eight_bits(&e);
    }
    guard_free(&x.memory), guard_free(&y.memory);
    free_matrix(&m);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_of_activations),
        cmocka_unit_test(wide_activations),
        cmocka_unit_test(activations_that_are_not_finite),
        cmocka_unit_test(eight_bits_of_every_type),
        cmocka_unit_test(eight_bits_of_every_shape),
        cmocka_unit_test(eight_bits_of_many_rows),
        cmocka_unit_test(eight_bits_on_every_level),
#if defined(__x86_64__)
        cmocka_unit_test(tiles_of_others_keep_their_shapes),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
