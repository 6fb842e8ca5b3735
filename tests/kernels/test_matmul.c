/*
 * Products in floats: the same bits on every CPU level and in every grouping, nothing read or written outside, within a stated
 * bound of the same in double.
 */
#include "lib/levels.h"
#include "lib/matrices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void multiply(const struct matrix *m, int level, const struct tokens *x, struct tokens *y)
{
    struct guard scratch = guard_before(HT__MATMUL_SCRATCH * sizeof(float));
    struct ht__matmul_weights w = part_of(m, level, 0, m->n_rows);
    ops_of(level)->matmul(&w, x->x, x->ld, x->n, y->x, y->ld, scratch.data);
    guard_free(&scratch);
}

static void products_on_every_level(const struct ht__codec *c, int n_rows, int64_t n_in, int64_t n, bool any,
                                    bool after)
{
    struct matrix m = make_matrix(c, n_rows, n_in, any, after);
    struct tokens x = make_tokens(n, n_in, 5, after), y = make_results(n, n_rows, after);
    multiply(&m, 0, &x, &y);
    near_the_sums(&m, &x, &y, 0, 1, name_of(0));
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

/* Rows of x a multiple of 4 KB apart are taken fewer at a time. */
static void rows_of_a_page(void **state)
{
    (void)state;
    enum { ROWS = 32, MOST = 26, N_IN = 1000 };
    struct matrix m = make_matrix(&ht__codec_f16, ROWS, N_IN, false, true);
    for (int n = 1; n <= MOST; n += 5) {
        struct tokens x = make_tokens(n, N_IN, 1024 - N_IN, true), y = make_results(n, ROWS, true);
        multiply(&m, 0, &x, &y);
        near_the_sums(&m, &x, &y, 0, 1, name_of(0));
        for
            EACH_LEVEL(l)
            {
                struct tokens other = make_results(n, ROWS, true);
                multiply(&m, l, &x, &other);
                if (memcmp(other.x, y.x, y.memory.size) != 0) fail_msg("%d tokens: %s has other bits", n, name_of(l));
                check_gaps(&other, ROWS);
                guard_free(&other.memory);
            }
        guard_free(&x.memory), guard_free(&y.memory);
    }
    free_matrix(&m);
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
                    near_the_sums(&m, &x, &y, 0, 1, name_of(l));
                    guard_free(&x.memory), guard_free(&y.memory);
                    free_matrix(&m);
                }
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_of_every_type),
        cmocka_unit_test(matmul_of_every_shape),
        cmocka_unit_test(rows_of_a_page),
        cmocka_unit_test(grouping_does_not_matter),
        cmocka_unit_test(vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
