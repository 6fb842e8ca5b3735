/* Columns that become rows: every range and step gives the right weights, and the source is read a few times only. */
#include "model/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A source whose weight says where it is, and that counts what is asked of it. */
struct source {
    struct ht__rows rows;
    int64_t weights, calls;
};

static float weight_at(int64_t row, int64_t column)
{
    return (float)(row * 4096 + column);
}

static enum ht_err read_part(const struct ht__rows *rows, int64_t row, int64_t n, int64_t column, int64_t n_columns,
                             float *dst, struct ht__arena *scratch, struct ht_diag *diag)
{
    struct source *s = (struct source *)(uintptr_t)rows->ctx;
    (void)scratch, (void)diag;
    assert_true(row >= 0 && n > 0 && row + n <= rows->n_rows);
    assert_true(column >= 0 && n_columns > 0 && column + n_columns <= rows->row_len);
    s->weights += n * n_columns;
    s->calls++;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n_columns; j++)
            *dst++ = weight_at(row + i, column + j);
    return HT_OK;
}

static enum ht_err read_whole(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                              struct ht__arena *scratch, struct ht_diag *diag)
{
    return read_part(rows, row, n, 0, rows->row_len, dst, scratch, diag);
}

static void set_source(struct source *s, int64_t n_rows, int64_t row_len, bool parts)
{
    *s = (struct source){.rows = {.n_rows = n_rows, .row_len = row_len, .read = read_whole}};
    if (parts) s->rows.read_part = read_part;
    s->rows.ctx = s;
}

/* Row r of the turned matrix is column r % columns of slab r / columns. */
static void check_rows(const struct ht__rows *t, const struct source *s, int64_t slab_rows, int64_t first, int64_t step,
                       int64_t row, int64_t n)
{
    struct ht__arena scratch;
    struct ht_diag diag = {0};
    ht__arena_init(&scratch, NULL);
    float *got = malloc((size_t)(n * slab_rows) * sizeof *got);
    assert_non_null(got);
    assert_int_equal(t->read(t, row, n, got, &scratch, &diag), HT_OK);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < slab_rows; j++) {
            int64_t r = first + (row + i) * step, columns = s->rows.row_len;
            if (got[i * slab_rows + j] != weight_at(r / columns * slab_rows + j, r % columns))
                fail_msg("row %d + %d of slabs of %d, step %d: weight %d", (int)row, (int)i, (int)slab_rows, (int)step,
                         (int)j);
        }
    free(got);
    ht__arena_close(&scratch);
}

static void ranges_and_steps(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 1}, {3, 5, 7}, {2, 17, 64}, {4, 16, 33}, {1, 40, 200}};
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++)
        for (int parts = 0; parts < 2; parts++) {
            int64_t slabs = shapes[k][0], slab_rows = shapes[k][1], columns = shapes[k][2];
            struct ht__arena arena;
            struct source s;
            ht__arena_init(&arena, NULL);
            set_source(&s, slabs * slab_rows, columns, parts);
            const struct ht__rows *t = ht__rows_transpose(&arena, &s.rows, slab_rows);
            assert_non_null(t);
            assert_int_equal(t->n_rows, slabs * columns);
            assert_int_equal(t->row_len, slab_rows);
            assert_ptr_equal(ht__rows_transpose(&arena, t, columns), &s.rows); /* and back */
            for (int64_t row = 0; row < t->n_rows; row += 3)
                check_rows(t, &s, slab_rows, 0, 1, row, t->n_rows - row < 50 ? t->n_rows - row : 50);
            for (int64_t step = 2; step <= 3; step++)
                for (int64_t first = 0; first < step && first < t->n_rows; first++) {
                    int64_t n = (t->n_rows - first + step - 1) / step;
                    struct ht__rows *every = ht__rows_slice(&arena, t, first, step, n);
                    check_rows(every, &s, slab_rows, first, step, 0, n);
                    check_rows(every, &s, slab_rows, first, step, n / 2, n - n / 2);
                }
            ht__arena_close(&arena);
        }
}

/* Chunk by chunk, as the pipeline asks; every weight of the source is read at most three times. */
static void reads_little(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{2, 700, 4000}, {1, 3000, 900}, {1, 64, 4096}};
    for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++)
        for (int64_t step = 1; step <= 2; step++) {
            struct ht__arena arena;
            struct source s;
            ht__arena_init(&arena, NULL);
            set_source(&s, shapes[k][0] * shapes[k][1], shapes[k][2], true);
            const struct ht__rows *t = ht__rows_transpose(&arena, &s.rows, shapes[k][1]);
            t = ht__rows_slice(&arena, t, 0, step, t->n_rows / step);
            assert_non_null(t);
            int64_t chunk = 100 << 10, rows = chunk / t->row_len;
            for (int64_t row = 0; row < t->n_rows; row += rows)
                check_rows(t, &s, shapes[k][1], 0, step, row, t->n_rows - row < rows ? t->n_rows - row : rows);
            assert_true(t->chunk_weights > chunk);
            if (s.weights > 3 * s.rows.n_rows * s.rows.row_len)
                fail_msg("%d weights were read of %d", (int)s.weights, (int)(s.rows.n_rows * s.rows.row_len));
            ht__arena_close(&arena);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges_and_steps), cmocka_unit_test(reads_little)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
