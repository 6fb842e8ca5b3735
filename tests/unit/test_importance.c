/*
 * Collecting importance: what is written reads back, merging is adding, the sums are those worked out from the rows,
 * a run that was interrupted anywhere gives the bytes of one that was not, and quantize --calibration those of
 * imatrix followed by quantize --imatrix.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/utf8.h"
#include "calibrate/default_text.h"
#include "calibrate/importance.h"
#include "calibrate/statistics.h"
#include "formats/imatrix.h"
#include "halftone/halftone.h"
#include "job/imatrix.h"
#include "lib/effort.h"
#include "lib/folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct folder folder;
static char paths[8][600];

static const char *at(int i, const char *name)
{
    snprintf(paths[i], sizeof paths[i], "%s/%s", folder.path, name);
    return paths[i];
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

static void load(const char *path, struct ht__buf *out)
{
    struct ht_diag diag = {0};
    ht__buf_init(out, NULL);
    if (ht__file_load(path, 1 << 24, out, &diag)) fail_msg("%s: %s", diag.where, diag.message);
}

/* ---- files ---- */

static double dense[] = {8, 1.0 / 3, 0}, heads[] = {1, 2, 3, 4}, experts[] = {6, 9, 0, 0, 10, 20};
static double dense_n[] = {4}, heads_n[] = {2}, experts_n[] = {3, 0, 10};
static struct ht__sums items[] = {
    {"blk.0.attn_k_b.weight", 2, 2, 1, heads, heads_n},
    {"blk.0.attn_q.weight", 3, 1, 1, dense, dense_n},
    {"blk.0.ffn_up_exps.weight", 2, 3, 3, experts, experts_n},
};
static const char *datasets[] = {"a text", "another"};

static void put(const char *path, bool with_state)
{
    struct ht_diag diag = {0};
    struct ht__sums_file file = {
        .n = 3, .items = items, .n_datasets = 2, .datasets = datasets, .chunk_count = 7, .chunk_size = 256};
    if (with_state) {
        memset(file.state.identity, 'a', 64);
        file.state.passes = 3;
        file.state.layers = 1;
    }
    if (ht__sums_write(path, &file, true, NULL, &diag)) fail_msg("%s: %s", diag.where, diag.message);
}

static void means_are_read_back(void **state)
{
    (void)state;
    struct ht__imatrix *im;
    struct ht_diag diag = {0};
    put(at(0, "im.gguf"), false);
    if (ht__imatrix_open(paths[0], NULL, &im, &diag)) fail_msg("%s", diag.message);
    assert_int_equal(im->n_entries, 3);
    assert_int_equal(im->chunk_count, 7);
    assert_int_equal(im->chunk_size, 256);
    assert_int_equal(im->n_datasets, 2);
    assert_string_equal(im->datasets[1], "another");
    const struct ht__imatrix_entry *e = ht__imatrix_find(im, "blk.0.attn_q.weight");
    assert_true(e && e->n_cols == 3 && e->n_mat == 1 && e->values[0] == 2 && e->values[1] == (float)(1.0 / 3) / 4);
    e = ht__imatrix_find(im, "blk.0.ffn_up_exps.weight");
    assert_true(e && e->n_mat == 3 && e->n_without_data == 1 && e->values[1] == 3 && e->values[2] == 1 &&
                e->values[5] == 2);
    e = ht__imatrix_find(im, "blk.0.attn_k_b.weight"); /* one count for all heads: one row in the file */
    assert_true(e && e->n_mat * e->n_cols == 4 && e->values[3] == 2);
    ht__imatrix_close(&im);
}

static void sums_are_read_back(void **state)
{
    (void)state;
    struct ht__arena arena;
    struct ht__sums_file file;
    struct ht_diag diag = {0};
    for (int with_state = 0; with_state < 2; with_state++) {
        put(at(0, "sums.gguf"), with_state);
        ht__arena_init(&arena, NULL);
        if (ht__sums_read(paths[0], 512, &arena, &file, &diag)) fail_msg("%s", diag.message);
        assert_int_equal(file.n, 3);
        for (size_t i = 0; i < 3; i++) {
            const struct ht__sums *s = &file.items[i], *want = &items[i];
            assert_string_equal(s->name, want->name);
            assert_true(s->n_cols * s->n_mat == want->n_cols * want->n_mat && s->n_counts == want->n_counts);
            for (uint64_t k = 0; k < want->n_cols * want->n_mat; k++)
                assert_true(s->sums[k] == (with_state ? want->sums[k] : (double)(float)want->sums[k]));
            for (uint64_t k = 0; k < want->n_counts; k++)
                assert_true(s->counts[k] == want->counts[k]);
        }
        assert_int_equal(strlen(file.state.identity), with_state ? 64 : 0);
        assert_int_equal(file.state.passes, with_state ? 3 : 0);
        assert_int_equal(file.state.layers, with_state);
        ht__arena_close(&arena);
    }
}

static void what_cannot_be_written(void **state)
{
    (void)state;
    struct ht_diag diag = {0};
    double huge[] = {1, 1e39};
    struct ht__sums s = {"blk.0.attn_q.weight", 2, 1, 1, huge, dense_n};
    struct ht__sums_file file = {.n = 1, .items = &s};
    assert_int_equal(ht__sums_write(at(0, "huge.gguf"), &file, true, NULL, &diag), HT_ERR_NONFINITE);
    assert_non_null(strstr(diag.message, "column 1"));
    assert_false(ht__path_exists(paths[0]));
}

static void unsound_sums_are_refused(void **state)
{
    (void)state;
    struct ht__arena arena;
    struct ht__sums_file file;
    struct ht_diag diag = {0};
    double bad[] = {1, -1};
    struct ht__sums s = {"blk.0.attn_q.weight", 2, 1, 1, bad, dense_n};
    struct ht__sums_file out = {.n = 1, .items = &s};
    assert_int_equal(ht__sums_write(at(0, "bad.gguf"), &out, true, NULL, &diag), HT_OK);
    ht__arena_init(&arena, NULL);
    assert_int_equal(ht__sums_read(paths[0], 512, &arena, &file, &diag), HT_ERR_NONFINITE);
    ht__arena_close(&arena);
}

/* ---- merging ---- */

static void merging_is_adding(void **state)
{
    (void)state;
    struct ht__importance imp;
    struct ht__sums_file file = {.n = 3, .items = items}, sum;
    struct ht_diag diag = {0};
    double flat[] = {1, 1, 1, 1, 1, 1}, flat_n[] = {5};
    struct ht__sums legacy = {"blk.0.ffn_up_exps.weight", 6, 1, 1, flat, flat_n},
                    other = {"blk.0.attn_q.weight", 2, 1, 1, dense, dense_n};
    struct ht__sums_file old = {.n = 1, .items = &legacy}, wrong = {.n = 1, .items = &other};
    assert_int_equal(ht__importance_open(&imp, 1, NULL, &diag), HT_OK);
    assert_int_equal(ht__importance_merge(&imp, &old, "old", &diag), HT_OK); /* experts with one count */
    assert_int_equal(ht__importance_merge(&imp, &file, "a", &diag), HT_OK);
    assert_int_equal(ht__importance_merge(&imp, &file, "b", &diag), HT_OK);
    assert_int_equal(ht__importance_list(&imp, &sum, &diag), HT_OK);
    assert_int_equal(sum.n, 3);
    for (size_t i = 0; i < 3; i++) {
        double more = i == 2 ? 1 : 0;
        assert_string_equal(sum.items[i].name, items[i].name);
        for (uint64_t k = 0; k < items[i].n_cols * items[i].n_mat; k++)
            assert_true(sum.items[i].sums[k] == more + items[i].sums[k] + items[i].sums[k]);
        for (uint64_t k = 0; k < items[i].n_counts; k++)
            assert_true(sum.items[i].counts[k] == 5 * more + 2 * items[i].counts[k]);
    }
    assert_int_equal(ht__importance_chunks(&imp, 5), 5); /* 25 rows at most */
    assert_int_equal(ht__importance_merge(&imp, &wrong, "wrong", &diag), HT_ERR_FORMAT);
    assert_non_null(strstr(diag.message, "another model"));
    ht__importance_close(&imp);
}

/* Every request for memory fails once: an error each time, nothing is left, and in the end the file is the same. */
static long requests, fail_at, live;

static void *failing(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (size == 0) {
        live -= ptr != NULL;
        free(ptr);
        return NULL;
    }
    if (++requests == fail_at) return NULL;
    void *p = realloc(ptr, size);
    live += p && !ptr;
    return p;
}

static enum ht_err merge_job(const struct ht__alloc *alloc, struct ht_diag *diag)
{
    struct ht_job *job;
    requests = live = 0;
    *diag = (struct ht_diag){0};
    if (ht__job_open(alloc, &job) != HT_OK) return ht__fail_memory(diag, "job");
    enum ht_err err = ht_job_set(job, "in-file", paths[0], diag);
    if (err == HT_OK) err = ht_job_set(job, "in-file", paths[1], diag);
    if (err == HT_OK) err = ht_job_set(job, "output", paths[2], diag);
    if (err == HT_OK) err = ht_job_set(job, "threads", "1", diag);
    if (err == HT_OK) err = ht__job_imatrix(job, NULL, diag);
    ht__job_close(&job);
    assert_int_equal(live, 0);
    return err;
}

static void memory_that_ends(void **state)
{
    (void)state;
    const struct ht__alloc alloc = {failing, NULL, true};
    struct ht_diag diag;
    struct ht__buf want, got;
    put(at(0, "a.gguf"), false);
    put(at(1, "b.gguf"), true);
    at(2, "sum.gguf");
    fail_at = 0;
    if (merge_job(&alloc, &diag)) fail_msg("%s", diag.message);
    load(paths[2], &want);
    assert_true(requests > 20);
    remove(paths[2]);
    for (fail_at = 1; merge_job(&alloc, &diag) != HT_OK; fail_at++) {
        if (diag.code != HT_ERR_MEMORY) fail_msg("request %ld: %s", fail_at, diag.message);
        assert_false(ht__path_exists(paths[2]));
    }
    assert_true(fail_at > 20);
    load(paths[2], &got);
    assert_int_equal(want.len, got.len);
    assert_memory_equal(want.data, got.data, want.len);
    ht__buf_close(&want);
    ht__buf_close(&got);
}

/* ---- adding rows ---- */

static void give_slots(struct ht__weight *weights, size_t n)
{
    for (size_t i = 0; i < n; i++)
        weights[i].slot = ht__slot_of_name(weights[i].name);
}

/* Rows of q and k are added once, as q's; a file that knows q alone changes q alone; an unfinished run's file must say
 * the same of both. */
static void weights_of_a_site_share_sums(void **state)
{
    (void)state;
    static const float x[] = {1, 2, 3, 4};
    double more[] = {10, 20}, more_n[] = {5}, sums[] = {7, 8}, others[] = {7, 9}, n[] = {3};
    struct ht__sums q = {"blk.0.attn_q.weight", 2, 1, 1, more, more_n};
    struct ht__sums_file list, file = {.n = 1, .items = &q};
    struct ht__weight w[] = {{.name = "blk.0.attn_q.weight", .ne = {2, 8, 1, 1}},
                             {.name = "blk.0.attn_k.weight", .ne = {2, 8, 1, 1}},
                             {.name = "blk.0.attn_output.weight", .ne = {2, 8, 1, 1}}};
    struct ht__model model = {.n_weights = 3, .weights = w};
    struct ht__importance imp;
    struct ht_diag diag = {0};
    give_slots(w, 3);
    assert_int_equal(ht__importance_open(&imp, 1, NULL, &diag), HT_OK);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 3; i++)
            ht__importance_add(&imp, &w[i], 0, x, 2, 2);
    assert_int_equal(ht__importance_list(&imp, &list, &diag), HT_OK);
    assert_int_equal(list.n, 3); /* k, output, q */
    assert_ptr_equal(list.items[0].sums, list.items[2].sums);
    assert_ptr_not_equal(list.items[0].sums, list.items[1].sums);
    assert_true(list.items[0].sums[1] == 2 * (4 + 16) && list.items[0].counts[0] == 4);
    assert_int_equal(ht__importance_merge(&imp, &file, "file", &diag), HT_OK);
    assert_int_equal(ht__importance_list(&imp, &list, &diag), HT_OK);
    assert_true(list.items[0].sums[1] == 40 && list.items[0].counts[0] == 4);
    assert_true(list.items[2].sums[1] == 60 && list.items[2].counts[0] == 9);
    ht__importance_close(&imp);

    struct ht__sums both[] = {{"blk.0.attn_k.weight", 2, 1, 1, sums, n}, {"blk.0.attn_q.weight", 2, 1, 1, sums, n}};
    struct ht__sums_file partial = {.n = 2, .items = both};
    for (int bad = 0; bad < 4; bad++) {
        struct ht__sums right = both[1];
        if (bad == 1) both[1].sums = others;
        if (bad == 2) both[1].n_cols = 1;
        if (bad == 3) both[1].name = "blk.7.attn_q.weight";
        assert_int_equal(ht__importance_open(&imp, 1, NULL, &diag), HT_OK);
        diag = (struct ht_diag){0};
        assert_int_equal(ht__importance_resume(&imp, &model, &partial, "p", &diag), bad ? HT_ERR_FORMAT : HT_OK);
        if (bad) assert_non_null(strstr(diag.message, both[1].name));
        if (!bad) {
            ht__importance_add(&imp, &w[1], 0, x, 2, 2); /* now k comes first */
            ht__importance_add(&imp, &w[0], 0, x, 2, 2);
            assert_int_equal(ht__importance_list(&imp, &list, &diag), HT_OK);
            assert_true(list.n == 2 && list.items[1].sums[0] == 7 + 1 + 9 && list.items[1].counts[0] == 5);
        }
        ht__importance_close(&imp);
        both[1] = right;
    }
}

static void rows_are_added(void **state)
{
    (void)state;
    enum { N = 3000, ROWS = 200 };
    float *x = malloc(ROWS * N * sizeof *x);
    struct ht_diag diag = {0};
    struct ht__sums_file all;
    struct ht__weight weights[] = {
        {.name = "blk.0.ffn_down.weight", .ne = {N, 8, 1, 1}}, {.name = "blk.1.ffn_up_exps.weight", .ne = {N, 8, 4, 1}},
        {.name = "blk.2.attn_v_b.weight", .ne = {N, 8, 4, 1}}, {.name = "output.weight", .ne = {N, 8, 1, 1}},
        {.name = "token_embd.weight", .ne = {N, 8, 1, 1}},
    };
    give_slots(weights, sizeof weights / sizeof weights[0]);
    assert_non_null(x);
    for (int i = 0; i < ROWS * N; i++)
        x[i] = (float)(i % 1009) / 64 - 7;
    for (int threads = 1; threads <= 3; threads += 2) {
        struct ht__importance imp;
        assert_int_equal(ht__importance_open(&imp, threads, NULL, &diag), HT_OK);
        imp.process_output = threads == 3;
        ht__importance_add(&imp, &weights[0], 0, x, ROWS, N);
        ht__importance_add(&imp, &weights[1], 2, x, 5, N);
        for (int mat = 0; mat < 4; mat++)
            ht__importance_add(&imp, &weights[2], mat, x + mat * N, 1, N);
        ht__importance_add(&imp, &weights[3], 0, x, 1, N);
        ht__importance_add(&imp, &weights[4], 0, x, 1, N); /* a tied output: never */
        assert_int_equal(ht__importance_list(&imp, &all, &diag), HT_OK);
        assert_int_equal(all.n, threads == 3 ? 4 : 3);
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int t = 0; t < ROWS; t++) {
                if (t == 5) assert_true(all.items[1].sums[2 * N + j] == sum);
                sum += (double)x[t * N + j] * (double)x[t * N + j];
            }
            assert_true(all.items[0].sums[j] == sum); /* threads change no bit */
            assert_true(all.items[2].sums[3 * N + j] == (double)x[3 * N + j] * (double)x[3 * N + j]);
        }
        assert_true(all.items[0].counts[0] == ROWS && all.items[2].counts[0] == 1 && all.items[2].n_counts == 1);
        assert_true(all.items[1].n_counts == 4 && all.items[1].counts[2] == 5 && all.items[1].counts[1] == 0);
        ht__importance_close(&imp);
    }
    free(x);
}

/* a = 2, .5, 0, 1: sum 3.5, mean .875; squares 4 + .25 + 1 = 5.25; variance 5.25/4 - .875^2 */
static void statistics_by_hand(void **state)
{
    (void)state;
    double first[] = {8, 2, 0, 4}, second[] = {0, 4, 0, 4}, n[] = {4}, two[] = {1, 1, 5, 5}, two_n[] = {2, 0};
    struct ht__sums list[] = {{"blk.0.a.weight", 4, 1, 1, first, n},
                              {"blk.0.b_exps.weight", 2, 2, 2, two, two_n},
                              {"blk.1.a.weight", 4, 1, 1, second, n}};
    struct ht__sums_file file = {.n = 3, .items = list};
    struct ht__statistics s;
    ht__statistics_of(&file, 0, &s);
    assert_true(s.n == 4 && s.sum == 3.5 && s.max == 2 && s.min == 0 && s.mean == .875 && s.active == .75);
    assert_true(fabs(s.deviation - sqrt(5.25 / 4 - .875 * .875)) < 1e-12 && s.z_share == .25 && isnan(s.similarity));
    double p = 2 / 3.5, q = .5 / 3.5, r = 1 / 3.5;
    assert_true(fabs(s.entropy + p * log2(p) + q * log2(q) + r * log2(r)) < 1e-12);
    assert_true(s.n_top == 4 && s.top[0] == 0 && s.top[1] == 3 && s.top[2] == 1 && s.top[3] == 2);
    ht__statistics_of(&file, 2, &s);
    assert_true(fabs(s.similarity - (2 * 4 + 4 * 4) / (sqrt(84) * sqrt(32))) < 1e-12);
    ht__statistics_of(&file, 1, &s);
    assert_true(s.sum == .5 + .5 + 1 + 1 && s.n_without_data == 1); /* an expert without data counts as ones */
}

/* ---- the whole job ---- */

enum { CTX = 16, CHUNKS = 150 }; /* sixteen groups of nine or ten */

static int told, stop_at;

static int progress(void *ctx, const struct ht_progress *p)
{
    (void)ctx;
    assert_true(p->done <= p->total && p->total == CTX * CHUNKS);
    return ++told == stop_at;
}

static enum ht_err collect(const char *out, bool resume, const char *threads)
{
    struct ht_job *job;
    struct ht_diag diag = {0};
    char model[4096];
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(model, sizeof model, "%s/examples/model", root ? root : ".");
    assert_int_equal(ht_job_open(&job), HT_OK);
    const char *const options[][2] = {
        {"source", model}, {"tokens", at(7, "ids.bin")}, {"ctx", "16"}, {"output", out}, {"threads", threads}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        assert_int_equal(ht_job_set(job, options[i][0], options[i][1], &diag), HT_OK);
    if (resume) assert_int_equal(ht_job_set(job, "resume", NULL, &diag), HT_OK);
    ht_job_on_progress(job, progress, NULL);
    told = 0;
    enum ht_err err = ht_job_imatrix(job, NULL, &diag);
    if (err != HT_OK && err != HT_ERR_CANCELLED) fail_msg("%s: %s", diag.where, diag.message);
    ht_job_close(&job);
    return err;
}

static void interrupted_is_uninterrupted(void **state)
{
    (void)state;
    struct ht__buf whole, resumed;
    int32_t ids[CTX * CHUNKS];
    char partial[700];
    for (int i = 0; i < CTX * CHUNKS; i++)
        ids[i] = 300 + i * 7 % 997;
    folder_put(&folder, "ids.bin", ids, sizeof ids);
    stop_at = -1;
    assert_int_equal(collect(at(0, "whole.gguf"), false, "2"), HT_OK);
    int calls = told;
    assert_true(calls > 8);
    load(paths[0], &whole);
    at(1, "resumed.gguf");
    snprintf(partial, sizeof partial, "%s.partial", paths[1]);
    for (stop_at = 1; stop_at < calls; stop_at += (int)effort(31, 13, 5)) { /* within groups and between them */
        int stop = stop_at;
        assert_int_equal(collect(paths[1], false, "1"), HT_ERR_CANCELLED);
        assert_false(ht__path_exists(paths[1]));
        /* nothing was done: nothing is left; otherwise the groups that were */
        int group = calls / 16;
        if (stop < group || stop > group + 1) assert_int_equal(ht__path_exists(partial), stop > group);
        stop_at = -1;
        assert_int_equal(collect(paths[1], true, "2"), HT_OK);
        stop_at = stop;
        assert_false(ht__path_exists(partial));
        load(paths[1], &resumed);
        assert_int_equal(whole.len, resumed.len);
        assert_memory_equal(whole.data, resumed.data, whole.len);
        ht__buf_close(&resumed);
        remove(paths[1]);
    }
    ht__buf_close(&whole);
}

/* ---- jobs ---- */

static enum ht_err run_job(bool imatrix, const char *const options[][2], struct ht_diag *diag)
{
    struct ht_job *job;
    char model[4096];
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(model, sizeof model, "%s/examples/model", root ? root : ".");
    assert_int_equal(ht_job_open(&job), HT_OK);
    assert_int_equal(ht_job_set(job, "source", model, diag), HT_OK);
    assert_int_equal(ht_job_set(job, "no-source-hash", NULL, diag), HT_OK);
    for (int i = 0; options[i][0]; i++)
        assert_int_equal(ht_job_set(job, options[i][0], options[i][1], diag), HT_OK);
    enum ht_err err = imatrix ? ht_job_imatrix(job, NULL, diag) : ht_job_run(job, NULL, diag);
    ht_job_close(&job);
    return err;
}

/* The files are the same to the byte because the importance file is called what the metadata say of one that was
 * never written. */
static void calibration_is_imatrix_then_quantize(void **state)
{
    (void)state;
    static const char name[] = "(collected by halftone)";
    struct ht_diag diag = {0};
    struct ht__buf a, b;
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    const char *root = getenv("HT_SOURCE_ROOT");
    struct ht__buf text;
    ht__buf_init(&text, NULL);
    assert_int_equal(ht__default_held_out(&text, NULL), HT_OK);
    if (!root) setenv("HT_SOURCE_ROOT", here, 1);
    folder_put(&folder, "text", text.data, text.len);
    ht__buf_close(&text);
    assert_int_equal(chdir(folder.path), 0);
    if (run_job(true, (const char *const[][2]){{"text", "text"}, {"ctx", "64"}, {"chunks", "4"}, {"output", name}, {0}},
                &diag))
        fail_msg("%s", diag.message);
    if (run_job(false, (const char *const[][2]){{"type", "Q4_K"}, {"imatrix", name}, {"output", "a.gguf"}, {0}}, &diag))
        fail_msg("%s", diag.message);
    const char *const collected[][2] = {{"type", "Q4_K"}, {"calibration", "text"}, {"ctx", "64"},
                                        {"chunks", "4"},  {"output", "b.gguf"},    {0}};
    if (run_job(false, collected, &diag)) fail_msg("%s", diag.message);
    load("a.gguf", &a);
    load("b.gguf", &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
    ht__buf_close(&a);
    ht__buf_close(&b);
    assert_int_equal(run_job(false, collected, &diag), HT_ERR_EXISTS);
    assert_int_equal(
        run_job(false, (const char *const[][2]){{"type", "Q4_0"}, {"calibration", "text"}, {"imatrix", name}, {0}},
                &diag),
        HT_ERR_USAGE);
    assert_int_equal(chdir(here), 0);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct ht_diag diag = {0};
    folder_puts(&folder, "short", "three words only");
    folder_puts(&folder, "odd", "12345");
    at(0, "short");
    at(1, "odd");
    at(2, "out.gguf");
    assert_int_equal(run_job(true, (const char *const[][2]){{"text", paths[0]}, {"output", paths[2]}, {0}}, &diag),
                     HT_ERR_USAGE);
    assert_non_null(strstr(diag.message, "at least one chunk of"));
    assert_int_equal(run_job(true, (const char *const[][2]){{"tokens", paths[1]}, {"output", paths[2]}, {0}}, &diag),
                     HT_ERR_FORMAT);
    assert_int_equal(
        run_job(true, (const char *const[][2]){{"tokens", paths[1]}, {"text", paths[0]}, {"output", paths[2]}, {0}},
                &diag),
        HT_ERR_USAGE);
    assert_int_equal(run_job(true, (const char *const[][2]){{"text", paths[0]}, {0}}, &diag), HT_ERR_USAGE);
    assert_int_equal(run_job(true, (const char *const[][2]){{"ctx", "8"}, {"output", paths[2]}, {0}}, &diag),
                     HT_ERR_USAGE);
    assert_int_equal(run_job(true, (const char *const[][2]){{"output", paths[0]}, {0}}, &diag), HT_ERR_EXISTS);
    assert_false(ht__path_exists(paths[2]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(means_are_read_back, make, clean),
        cmocka_unit_test_setup_teardown(sums_are_read_back, make, clean),
        cmocka_unit_test_setup_teardown(what_cannot_be_written, make, clean),
        cmocka_unit_test_setup_teardown(unsound_sums_are_refused, make, clean),
        cmocka_unit_test(merging_is_adding),
        cmocka_unit_test_setup_teardown(memory_that_ends, make, clean),
        cmocka_unit_test(weights_of_a_site_share_sums),
        cmocka_unit_test(rows_are_added),
        cmocka_unit_test(statistics_by_hand),
        cmocka_unit_test_setup_teardown(calibration_is_imatrix_then_quantize, make, clean),
        cmocka_unit_test_setup_teardown(what_makes_no_sense_is_refused, make, clean),
        cmocka_unit_test_setup_teardown(interrupted_is_uninterrupted, make, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
