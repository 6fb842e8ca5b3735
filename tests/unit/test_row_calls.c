/* ht_rows_encode and ht_rows_decode as a program calls them: every type of the list, progress, cancelling, and what is
 * refused; and the lists that say what there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "halftone/halftone.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 700, LEN = 512 };

static float x[ROWS * LEN], importance[LEN];

static struct ht_rows rows_of(const char *type)
{
    return (struct ht_rows){.size = sizeof(struct ht_rows),
                            .type = type,
                            .n_rows = ROWS,
                            .row_len = LEN,
                            .importance = importance,
                            .n_threads = 3};
}

static int fill(void **state)
{
    (void)state;
    uint32_t s = 3;
    for (int i = 0; i < ROWS * LEN; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)s / 3e10f;
    }
    for (int i = 0; i < LEN; i++)
        importance[i] = (float)(i % 5 + 1);
    return 0;
}

/* The short calls give the same bytes and floats; those are near what went in. */
static void test_every_type(void **state)
{
    (void)state;
    struct ht_type_info type;
    for (size_t i = 0; ht_type_at(i, &type); i++) {
        struct ht_rows rows = rows_of(type.name);
        struct ht_diag diag;
        rows.n_rows = 40;
        size_t size = ht_row_size(type.name, LEN) * 40;
        void *blocks = malloc(size), *same = malloc(size);
        float *y = malloc(40 * LEN * sizeof *y), *z = malloc(40 * LEN * sizeof *z);
        double error = 0, squares = 0;
        assert_int_equal(ht_rows_encode(&rows, x, blocks, &diag), HT_OK);
        assert_int_equal(ht_encode_rows(type.name, x, 40, LEN, importance, 1, same), HT_OK);
        assert_memory_equal(blocks, same, size);
        assert_int_equal(ht_rows_decode(&rows, blocks, y, &diag), HT_OK);
        assert_int_equal(ht_decode_rows(type.name, same, 40, LEN, 1, z), HT_OK);
        assert_memory_equal(y, z, 40 * LEN * sizeof *y);
        for (int k = 0; k < 40 * LEN; k++) {
            error += (double)(x[k] - y[k]) * (double)(x[k] - y[k]);
            squares += (double)x[k] * (double)x[k];
        }
        if (!(error < 0.5 * squares)) fail_msg("%s: %g of %g", type.name, error, squares);
        free(blocks);
        free(same);
        free(y);
        free(z);
    }
}

struct told {
    int64_t last;
    int calls, most_calls;
    bool wrong;
};

static bool tell(void *ctx, int64_t n_done, int64_t n_rows)
{
    struct told *t = ctx;
    t->wrong |= n_done < t->last || n_done > n_rows || n_rows != ROWS;
    t->last = n_done;
    return ++t->calls < t->most_calls;
}

static void test_progress(void **state)
{
    (void)state;
    struct told told = {.most_calls = 1000};
    struct ht_rows rows = rows_of("q4_k");
    struct ht_diag diag;
    void *blocks = malloc(ht_row_size("q4_k", LEN) * ROWS);
    float *y = malloc(sizeof x);
    rows.progress = tell;
    rows.ctx = &told;
    rows.n_threads = 1;
    assert_int_equal(ht_rows_encode(&rows, x, blocks, &diag), HT_OK);
    assert_true(told.calls > 3 && told.last == ROWS && !told.wrong);
    for (int threads = 1; threads <= 3; threads++) {
        told = (struct told){.most_calls = 1};
        rows.n_threads = threads;
        enum ht_err err = ht_rows_decode(&rows, blocks, y, &diag);
        if (told.calls == 0) continue; /* the others were quicker */
        assert_int_equal(err, HT_ERR_CANCELLED);
        assert_int_equal(diag.code, HT_ERR_CANCELLED);
        assert_int_equal(told.calls, 1);
        if (threads == 1) assert_true(told.last < ROWS);
    }
    free(blocks);
    free(y);
}

static void refused(const struct ht_rows *rows, const float *src, enum ht_err wanted, const char *word)
{
    static unsigned char dst[ROWS * LEN * 4];
    struct ht_diag diag;
    dst[0] = 0x5a;
    assert_int_equal(ht_rows_encode(rows, src, dst, &diag), wanted);
    assert_int_equal(diag.code, wanted);
    if (!strstr(diag.message, word)) fail_msg("\"%s\" does not say \"%s\"", diag.message, word);
    assert_int_equal(dst[0], 0x5a);
}

static void test_refused(void **state)
{
    (void)state;
    struct ht_rows rows = rows_of("q4_k");
    struct ht_diag diag;
    float kept = x[3 * LEN + 7];
    rows.size = 0;
    refused(&rows, x, HT_ERR_USAGE, "size");
    refused(NULL, x, HT_ERR_USAGE, "no rows");
    rows = rows_of("q4_kk");
    refused(&rows, x, HT_ERR_USAGE, "\"q4_kk\"");
    rows = rows_of(NULL);
    refused(&rows, x, HT_ERR_USAGE, "numeric format");
    rows = rows_of("q4_k");
    rows.row_len = 300;
    refused(&rows, x, HT_ERR_USAGE, "multiple");
    rows.row_len = INT64_MAX - 255;
    refused(&rows, x, HT_ERR_USAGE, "memory");
    rows = rows_of("q4_k");
    rows.n_rows = INT64_MAX / 2;
    refused(&rows, x, HT_ERR_USAGE, "memory");
    rows.n_rows = -1;
    refused(&rows, x, HT_ERR_USAGE, "memory");
    rows = rows_of("q4_k");
    refused(&rows, NULL, HT_ERR_USAGE, "no floats");
    rows.importance = NULL;
    rows.type = "iq2_xxs";
    refused(&rows, x, HT_ERR_USAGE, "importance");
    rows = rows_of("q4_k");
    x[3 * LEN + 7] = NAN;
    refused(&rows, x, HT_ERR_NONFINITE, "row 3, column 7");
    x[3 * LEN + 7] = kept;
    importance[9] = -1;
    refused(&rows, x, HT_ERR_NONFINITE, "number 9");
    importance[9] = 1;
    assert_int_equal(ht_rows_decode(&rows, NULL, x, &diag), HT_ERR_USAGE);
    rows.n_rows = 0;
    assert_int_equal(ht_rows_decode(&rows, NULL, NULL, &diag), HT_OK);
    assert_int_equal(ht_rows_encode(&rows, NULL, NULL, &diag), HT_OK);
}

static void test_lists(void **state)
{
    (void)state;
    struct ht_container_info c = {.size = sizeof c};
    struct ht_method_info m = {.size = sizeof m};
    bool gguf = false, folder = false;
    for (size_t i = 0; ht_container_at(i, &c); i++) {
        gguf |= strcmp(c.name, "gguf") == 0 && c.can_write && !c.is_folder && strcmp(c.suffix, ".gguf") == 0;
        folder |= strcmp(c.name, "safetensors") == 0 && c.can_write && c.is_folder;
    }
    assert_true(gguf && folder);
    assert_true(ht_method_at(0, &m));
    assert_string_equal(m.name, "round");
    assert_true(strlen(m.about) > 10);
    for (size_t i = 0; ht_method_at(i, &m); i++)
        assert_non_null(m.about);
    c.size = 0;
    m.size = 0;
    assert_false(ht_container_at(0, &c));
    assert_false(ht_method_at(0, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
