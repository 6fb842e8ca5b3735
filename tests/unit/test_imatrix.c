/* Importance files of both forms: means, experts, what no token reached, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "formats/container.h"
#include "formats/imatrix.h"
#include "lib/folder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct folder folder;

static enum ht_err open_at(const char *name, struct ht__imatrix **im, struct ht_diag *diag)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder.path, name);
    *diag = (struct ht_diag){0};
    return ht__imatrix_open(path, NULL, im, diag);
}

static struct ht__imatrix *opened(const char *name)
{
    struct ht__imatrix *im;
    struct ht_diag diag;
    if (open_at(name, &im, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    return im;
}

static void i32(struct ht__buf *b, int32_t v)
{
    ht__buf_put(b, &v, sizeof v);
}

static void legacy_entry(struct ht__buf *b, const char *name, int32_t calls, const float *sums, int32_t n)
{
    i32(b, (int32_t)strlen(name));
    ht__buf_str(b, name);
    i32(b, calls);
    i32(b, n);
    ht__buf_put(b, sums, (size_t)n * sizeof *sums);
}

static void same(const struct ht__imatrix *im, const char *name, uint64_t n_mat, const float *want, uint64_t n)
{
    const struct ht__imatrix_entry *e = ht__imatrix_find(im, name);
    assert_non_null(e);
    assert_string_equal(e->name, name);
    assert_int_equal(e->n_mat, n_mat);
    assert_int_equal(e->n_cols * e->n_mat, n);
    for (uint64_t i = 0; i < n; i++)
        assert_true(e->values[i] == want[i]);
}

static void legacy(void **state)
{
    (void)state;
    struct ht__buf b;
    ht__buf_init(&b, NULL);
    i32(&b, 2);
    legacy_entry(&b, "blk.1.attn_q.weight", 4, (float[]){4, 8, 0}, 3);
    legacy_entry(&b, "blk.0.attn_q.weight", 0, (float[]){5, 6}, 2); /* no calls: as they are */
    folder_put(&folder, "old.dat", b.data, b.len);
    i32(&b, 17);
    i32(&b, 8);
    ht__buf_str(&b, "wiki.raw");
    folder_put(&folder, "new.dat", b.data, b.len);
    ht__buf_close(&b);
    struct ht__imatrix *im = opened("old.dat");
    assert_int_equal(im->n_entries, 2);
    assert_string_equal(im->entries[0].name, "blk.0.attn_q.weight"); /* sorted */
    assert_int_equal(im->n_datasets, 0);
    same(im, "blk.1.attn_q.weight", 1, (float[]){1, 2, 0}, 3);
    same(im, "blk.0.attn_q.weight", 1, (float[]){5, 6}, 2);
    assert_null(ht__imatrix_find(im, "blk.2.attn_q.weight"));
    assert_null(ht__imatrix_find(NULL, "blk.1.attn_q.weight"));
    assert_true(ht__imatrix_memory(im) > 0 && ht__imatrix_memory(NULL) == 0);
    ht__imatrix_close(&im);
    assert_null(im);
    ht__imatrix_close(&im); /* twice is no harm */
    im = opened("new.dat");
    assert_int_equal(im->chunk_count, 17);
    assert_int_equal(im->n_datasets, 1);
    assert_string_equal(im->datasets[0], "wiki.raw");
    ht__imatrix_close(&im);
}

/* llama-imatrix's file: sums and counts of one dense matrix and of three experts. */
static void put_gguf(const char *name, const float *data, const char *counts_name, int64_t n_counts)
{
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht__buf b;
    struct ht_diag diag = {0};
    const struct ht__codec *f32 = ht__codec_by_name("f32");
    struct ht__extent entries[] = {
        {.name = "dense.weight.in_sum2", .n_dims = 1, .shape = {2}, .type = f32},
        {.name = "dense.weight.counts", .n_dims = 1, .shape = {1}, .type = f32},
        {.name = "blk.0.ffn_up_exps.weight.in_sum2", .n_dims = 2, .shape = {3, 2}, .type = f32},
        {.name = counts_name, .n_dims = 2, .shape = {n_counts, 1}, .type = f32},
    };
    ht__arena_init(&arena, NULL);
    ht__kvs_init(&kvs, &arena);
    ht__buf_init(&b, NULL);
    ht__kv_str(&kvs, "general.type", "imatrix");
    ht__kv_strs_ref(&kvs, "imatrix.datasets", (struct ht__str[]){{"a", 1}, {"bc", 2}}, 2);
    ht__kv_u32(&kvs, "imatrix.chunk_count", 5);
    ht__kv_u32(&kvs, "imatrix.chunk_size", 512);
    struct ht__layout layout = {.extents = entries, .n = 4, .kvs = &kvs, .head = &b};
    assert_int_equal(ht__container_gguf.lay_out(&layout, &diag), HT_OK);
    size_t head = b.len;
    ht__buf_zeros(&b, (size_t)layout.size - head);
    for (int i = 0; i < 4; i++) {
        memcpy(b.data + entries[i].offset, data, (size_t)entries[i].n_bytes);
        data += entries[i].n_bytes / sizeof *data;
    }
    folder_put(&folder, name, b.data, b.len);
    ht__buf_close(&b);
    ht__arena_close(&arena);
}

static const char exps_counts[] = "blk.0.ffn_up_exps.weight.counts";

static void gguf(void **state)
{
    (void)state;
    static const float data[] = {8, 2, /* count */ 4, /* experts */ 6, 9, 1, 1, 10, 20, /* counts */ 3, 0, 10};
    put_gguf("im.gguf", data, exps_counts, 3);
    struct ht__imatrix *im = opened("im.gguf");
    assert_int_equal(im->n_entries, 2);
    same(im, "dense.weight", 1, (float[]){2, 0.5f}, 2);
    same(im, "blk.0.ffn_up_exps.weight", 3, (float[]){2, 3, 1, 1, 1, 2}, 6); /* the second expert saw nothing */
    assert_int_equal(ht__imatrix_find(im, "blk.0.ffn_up_exps.weight")->n_without_data, 1);
    assert_int_equal(ht__imatrix_find(im, "dense.weight")->n_without_data, 0);
    assert_int_equal(im->chunk_count, 5);
    assert_int_equal(im->chunk_size, 512);
    assert_int_equal(im->n_datasets, 2);
    assert_string_equal(im->datasets[1], "bc");
    ht__imatrix_close(&im);
    put_gguf("one.gguf", data, exps_counts, 1); /* one count for all */
    im = opened("one.gguf");
    same(im, "blk.0.ffn_up_exps.weight", 3, (float[]){2, 3, 1.f / 3, 1.f / 3, 10.f / 3, 20.f / 3}, 6);
    ht__imatrix_close(&im);
}

static void refused(const char *name, enum ht_err code, const char *why)
{
    struct ht__imatrix *im;
    struct ht_diag diag;
    assert_int_equal(open_at(name, &im, &diag), code);
    assert_null(im);
    if (!strstr(diag.message, why)) fail_msg("\"%s\" instead of \"%s\"", diag.message, why);
}

static void faults(void **state)
{
    (void)state;
    struct ht__buf b;
    float data[12] = {8, 2, 4, 6, 9, 1, 1, 10, 20, 3, 5, 10};
    put_gguf("counts.gguf", data, exps_counts, 2);
    refused("counts.gguf", HT_ERR_FORMAT, "2 counts for 3 matrices");
    put_gguf("none.gguf", data, "other.counts", 3);
    refused("none.gguf", HT_ERR_FORMAT, "lacks its counts");
    data[4] = NAN;
    put_gguf("nan.gguf", data, exps_counts, 3);
    refused("nan.gguf", HT_ERR_NONFINITE, "negative or not finite");
    data[4] = -1;
    put_gguf("negative.gguf", data, exps_counts, 3);
    refused("negative.gguf", HT_ERR_NONFINITE, "negative or not finite");
    ht__buf_init(&b, NULL);
    i32(&b, 2);
    legacy_entry(&b, "twice", 1, data, 1);
    legacy_entry(&b, "twice", 1, data, 1);
    folder_put(&folder, "twice.dat", b.data, b.len);
    refused("twice.dat", HT_ERR_FORMAT, "twice");
    folder_put(&folder, "cut.dat", b.data, b.len - 1);
    refused("cut.dat", HT_ERR_FORMAT, "cut off");
    ht__buf_close(&b);
    folder_puts(&folder, "text.dat", "this is no importance file at all, but it is long enough to be one");
    refused("text.dat", HT_ERR_FORMAT, "neither a GGUF nor a legacy importance file");
    folder_puts(&folder, "empty.dat", "");
    refused("empty.dat", HT_ERR_FORMAT, "neither a GGUF nor a legacy importance file");
}

static int make(void **state)
{
    (void)state;
    folder = folder_make();
    return 0;
}

static int clean(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(legacy, make, clean),
        cmocka_unit_test_setup_teardown(gguf, make, clean),
        cmocka_unit_test_setup_teardown(faults, make, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
