/* Statistics that are kept: what is written is read again, sums are those of the model's activations, runs are added, and a damaged
 * folder is refused, whatever byte is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "calibrate/gather.h"
#include "calibrate/merge.h"
#include "lib/folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct folder folder;
enum { N = 5, HELD = 3, EXPERTS = 2 };

static void fine(enum ht_err err, const struct ht_diag *diag)
{
    if (err != HT_OK) fail_msg("%s: %s", diag->where, diag->message);
}

static const char *at(const char *name)
{
    static char paths[32][300];
    static int next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", folder.path, name);
    return path;
}

/* ---- made up ---- */

struct made {
    double rows[EXPERTS], squares[EXPERTS * N], sums[EXPERTS * N], magnitudes[EXPERTS * N], gram[N * (N + 1) / 2];
    float held[HELD * N];
};

static double number(unsigned *state)
{
    *state = *state * 1664525 + 1013904223;
    return (double)(*state >> 8) / (1 << 24);
}

static struct ht__kept_site make_site(struct made *m, enum ht__site_kind kind, uint64_t n_mat, unsigned seed)
{
    static const char *names[] = {"blk.0.a.weight", "blk.0.b.weight"};
    for (int i = 0; i < EXPERTS * N; i++) {
        m->squares[i] = number(&seed);
        m->sums[i] = number(&seed) - .5;
        m->magnitudes[i] = number(&seed);
    }
    for (int i = 0; i < N * (N + 1) / 2; i++)
        m->gram[i] = number(&seed);
    for (int i = 0; i < HELD * N; i++)
        m->held[i] = (float)number(&seed);
    m->rows[0] = 7;
    m->rows[1] = 0;
    bool dense = n_mat == 1;
    return (struct ht__kept_site){.site = {0, kind, -1},
                                  .n_in = N,
                                  .n_mat = n_mat,
                                  .weights = names,
                                  .n_weights = 2,
                                  .rows = m->rows,
                                  .squares = m->squares,
                                  .sums = m->sums,
                                  .magnitudes = m->magnitudes,
                                  .dense = dense,
                                  .gram = m->gram,
                                  .gram_rows = dense ? 4 : 0,
                                  .n_held = dense ? HELD : 0,
                                  .held = m->held};
}

/* Of a part: the groups `from` to `to`, of four; of: 0, of the whole text. */
static void make_groups(const char *path, unsigned seed, const char *model, unsigned of, unsigned from, unsigned to)
{
    struct made made[2];
    struct ht__kept_site sites[] = {make_site(&made[0], HT__SITE_ATTENTION, 1, seed),
                                    make_site(&made[1], HT__SITE_EXPERTS, EXPERTS, seed + 1)};
    sites[1].n_weights = 1;
    const char *expert[] = {"blk.0.e.weight"};
    sites[1].weights = expert;
    struct ht__kept_layer layer = {.layer = 0, .sites = sites, .n = 2};
    struct ht__kept_text text = {.name = "a text", .chunks = 2, .ctx = 8};
    struct ht__kept about = {
        .arch = "llama", .texts = &text, .n_texts = 1, .n_groups = of, .from_group = from, .to_group = to};
    struct ht__keeper keeper;
    struct ht_diag diag = {0};
    memset(text.sha256, 'a', 64);
    snprintf(about.model, sizeof about.model, "%064x", (unsigned)strlen(model));
    fine(ht__keeper_open(&keeper, path, true, NULL, &diag), &diag);
    for (unsigned g = from; g < (of ? to : from + 1); g++) {
        layer.group = of ? g + 1 : 0;
        fine(ht__keeper_put(&keeper, &layer, &diag), &diag);
    }
    fine(ht__keeper_publish(&keeper, &about, &diag), &diag);
    ht__keeper_close(&keeper);
}

static void make(const char *path, unsigned seed, const char *model)
{
    make_groups(path, seed, model, 0, 0, 0);
}

static void test_read_again(void **state)
{
    (void)state;
    struct made made;
    struct ht__kept_site want = make_site(&made, HT__SITE_ATTENTION, 1, 1);
    struct ht__kept kept;
    struct ht__kept_layer layer;
    struct ht__sums_file sums;
    struct ht__arena arena;
    struct ht_diag diag = {0};
    make(at("a"), 1, "m");
    fine(ht__kept_open(&kept, at("a"), NULL, &diag), &diag);
    ht__arena_init(&arena, NULL);
    fine(ht__kept_read(&kept, 0, true, &arena, &layer, &diag), &diag);
    const struct ht__kept_site *got = &layer.sites[0];
    assert_int_equal(layer.n, 2);
    assert_int_equal(got->n_held, HELD);
    assert_memory_equal(got->squares, want.squares, N * sizeof(double));
    assert_memory_equal(got->sums, want.sums, N * sizeof(double));
    assert_memory_equal(got->magnitudes, want.magnitudes, N * sizeof(double));
    assert_memory_equal(got->gram, want.gram, N * (N + 1) / 2 * sizeof(double));
    assert_memory_equal(got->held, want.held, HELD * N * sizeof(float));
    assert_null(layer.sites[1].gram);
    fine(ht__kept_importance(&kept, &arena, &sums, &diag), &diag);
    assert_int_equal(sums.n, 3);
    assert_string_equal(sums.items[2].name, "blk.0.e.weight");
    assert_int_equal(sums.items[2].n_counts, EXPERTS);
    assert_true(sums.items[2].counts[1] == 0);
    assert_memory_equal(sums.items[1].sums, want.squares, N * sizeof(double));
    ht__arena_close(&arena);
    ht__kept_close(&kept);
}

static void test_merge(void **state)
{
    (void)state;
    struct made a, b;
    struct ht__kept_site first = make_site(&a, HT__SITE_ATTENTION, 1, 1),
                         second = make_site(&b, HT__SITE_ATTENTION, 1, 9);
    struct ht__kept kept[2];
    struct ht__kept_layer layer;
    struct ht__arena arena;
    struct ht_diag diag = {0};
    make(at("a"), 1, "m");
    make(at("b"), 9, "m");
    make(at("c"), 9, "other");
    fine(ht__kept_open(&kept[0], at("a"), NULL, &diag), &diag);
    fine(ht__kept_open(&kept[1], at("b"), NULL, &diag), &diag);
    fine(ht__merge_check(kept, 2, &diag), &diag);
    ht__arena_init(&arena, NULL);
    fine(ht__merge_layer(kept, 2, 0, &arena, &layer, &diag), &diag);
    const struct ht__kept_site *got = &layer.sites[0];
    assert_true(got->rows[0] == 14);
    assert_int_equal(got->gram_rows, 8);
    for (int i = 0; i < N; i++)
        assert_true(got->squares[i] == first.squares[i] + second.squares[i]);
    for (int i = 0; i < N * (N + 1) / 2; i++)
        assert_true(got->gram[i] == first.gram[i] + second.gram[i]);
    assert_int_equal(got->n_held, 2 * HELD);
    assert_memory_equal(got->held, first.held, HELD * N * sizeof(float));
    assert_memory_equal(got->held + HELD * N, second.held, HELD * N * sizeof(float));
    ht__arena_close(&arena);
    ht__kept_close(&kept[1]);
    fine(ht__kept_open(&kept[1], at("c"), NULL, &diag), &diag);
    assert_int_equal(ht__merge_check(kept, 2, &diag), HT_ERR_USAGE);
    ht__kept_close(&kept[1]);
    ht__kept_close(&kept[0]);
}

/* Groups of one text: each once, from whichever part, and grams as floats. */
static void test_groups(void **state)
{
    (void)state;
    struct made a, b;
    struct ht__kept_site first = make_site(&a, HT__SITE_ATTENTION, 1, 1),
                         second = make_site(&b, HT__SITE_ATTENTION, 1, 9);
    struct ht__kept kept[3];
    struct ht__kept_layer layer;
    struct ht__arena arena;
    struct ht_diag diag = {0};
    make_groups(at("a"), 1, "m", 4, 0, 3);
    make_groups(at("b"), 9, "m", 4, 3, 4);
    make_groups(at("c"), 9, "m", 4, 2, 2);
    fine(ht__kept_open(&kept[0], at("b"), NULL, &diag), &diag);
    fine(ht__kept_open(&kept[1], at("a"), NULL, &diag), &diag);
    fine(ht__kept_open(&kept[2], at("c"), NULL, &diag), &diag);
    assert_int_equal(kept[1].n_layers, 3);
    assert_int_equal(kept[2].n_layers, 0);
    fine(ht__merge_check(kept, 3, &diag), &diag);
    assert_int_equal(ht__merge_layers(kept, 3), 1);
    ht__arena_init(&arena, NULL);
    fine(ht__merge_layer(kept, 3, 0, &arena, &layer, &diag), &diag);
    const struct ht__kept_site *got = &layer.sites[0];
    assert_int_equal(layer.group, 0);
    assert_true(got->rows[0] == 28);
    assert_int_equal(got->gram_rows, 16);
    assert_int_equal(got->n_held, 4 * HELD);
    for (int i = 0; i < N; i++)
        assert_true(got->squares[i] == first.squares[i] + first.squares[i] + first.squares[i] + second.squares[i]);
    for (int i = 0; i < N * (N + 1) / 2; i++) {
        double x = (double)(float)first.gram[i];
        assert_true(got->gram[i] == x + x + x + (double)(float)second.gram[i]);
    }
    assert_memory_equal(got->held + 3 * HELD * N, second.held, HELD * N * sizeof(float));
    ht__arena_close(&arena);
    assert_int_equal(ht__merge_check(kept, 1, &diag), HT_ERR_USAGE);
    ht__kept_close(&kept[2]);
    fine(ht__kept_open(&kept[2], at("b"), NULL, &diag), &diag);
    assert_int_equal(ht__merge_check(kept, 3, &diag), HT_ERR_USAGE);
    for (int i = 0; i < 3; i++)
        ht__kept_close(&kept[i]);
}

/* ---- damaged ---- */

/* Everything of the folder; true: all of it is taken. */
static bool taken(const char *path)
{
    struct ht__kept kept;
    struct ht_diag diag = {0};
    struct ht__arena arena;
    struct ht__kept_layer layer;
    struct ht__sums_file sums;
    ht__arena_init(&arena, NULL);
    bool good = ht__kept_open(&kept, path, NULL, &diag) == HT_OK;
    for (size_t i = 0; good && i < kept.n_layers; i++)
        good = ht__kept_read(&kept, i, true, &arena, &layer, &diag) == HT_OK;
    if (good) good = ht__kept_importance(&kept, &arena, &sums, &diag) == HT_OK;
    assert_true(good || diag.message[0]);
    ht__kept_close(&kept);
    ht__arena_close(&arena);
    return good;
}

static void put_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void each_damage(const char *name, bool every_byte_counts)
{
    char path[300];
    struct ht__buf whole;
    struct ht_diag diag = {0};
    snprintf(path, sizeof path, "%s", at(name));
    ht__buf_init(&whole, NULL);
    fine(ht__file_load(path, 1 << 20, &whole, &diag), &diag);
    for (size_t i = 0; i < whole.len; i++) {
        put_file(path, whole.data, i);
        assert_false(taken(at("d")) && i + 1 < whole.len); /* but for the newline at the end */
    }
    for (size_t i = 0; i < whole.len; i++)
        for (unsigned bit = 0; bit < 8; bit += 3) {
            whole.data[i] ^= (unsigned char)(1U << bit);
            put_file(path, whole.data, whole.len);
            bool good = taken(at("d"));
            assert_false(good && every_byte_counts);
            whole.data[i] ^= (unsigned char)(1U << bit);
        }
    put_file(path, whole.data, whole.len);
    assert_true(taken(at("d")));
    ht__buf_close(&whole);
}

static void test_damaged(void **state)
{
    (void)state;
    make(at("d"), 3, "m");
    each_damage("d/statistics.json", false);
    each_damage("d/layer-0000.safetensors", true);
    make_groups(at("d"), 3, "m", 4, 1, 2);
    each_damage("d/statistics.json", false);
    each_damage("d/layer-0000.group-02.safetensors", true);
}

/* Numbers that are large, negative or of another kind; sites that are there twice; layers out of order. */
static void test_lies(void **state)
{
    (void)state;
    static const char *const lies[][2] = {{"\"columns\": 5", "\"columns\": 4194305"},
                                          {"\"columns\": 5", "\"columns\": -5"},
                                          {"\"columns\": 5", "\"columns\": 4000000"},
                                          {"\"matrices\": 1", "\"matrices\": 99999"},
                                          {"\"held_out_rows\": 3", "\"held_out_rows\": 2147483647"},
                                          {"\"rows\": [7]", "\"rows\": [7, 8]"},
                                          {"\"rows\": [7]", "\"rows\": [-7]"},
                                          {"\"site\": \"experts\"", "\"site\": \"attention\""},
                                          {"\"layer\": 0", "\"layer\": 1"},
                                          {"\"layer\": 0", "\"layer\": -1"},
                                          {"\"gram\": true", "\"gram\": false"},
                                          {"\"halftone_statistics\": 1", "\"halftone_statistics\": 2"},
                                          {"[\"blk.0.e.weight\"]", "[]"},
                                          {"[\"blk.0.e.weight\"]", "[\"blk.0.a.weight\"]"},
                                          {"\"texts\": [", "\"texts\": [3, "},
                                          {"\"ctx\": 8", "\"ctx\": 0"}};
    struct ht__buf whole;
    struct ht_diag diag = {0};
    make(at("d"), 3, "m");
    ht__buf_init(&whole, NULL);
    fine(ht__file_load(at("d/statistics.json"), 1 << 20, &whole, &diag), &diag);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        char text[8192];
        const char *all = ht__buf_text(&whole), *found = strstr(all, lies[i][0]);
        assert_non_null(found);
        int n =
            snprintf(text, sizeof text, "%.*s%s%s", (int)(found - all), all, lies[i][1], found + strlen(lies[i][0]));
        put_file(at("d/statistics.json"), text, (size_t)n);
        if (taken(at("d"))) fail_msg("taken: %s", lies[i][1]);
    }
    ht__buf_close(&whole);
}

/* ---- of a model ---- */

/* The same sums, by an observer of whole passes. */
struct watched {
    const struct ht__calibration *cal;
    double squares[4096], sums[4096], gram[256 * 256];
    int64_t n;
    size_t chunk;
};

static void watch(void *ctx, const struct ht__weight *w, int64_t mat, const float *x, int64_t n_rows, int64_t n_in)
{
    struct watched *g = ctx;
    (void)mat;
    if (strcmp(w->name, "blk.1.attn_q.weight") != 0) return;
    g->n = n_in;
    for (int64_t t = 0; t < n_rows; t++) {
        if (t % g->cal->n_ctx == 0) continue;
        bool held = g->cal->windows.at[g->chunk + (size_t)(t / g->cal->n_ctx)].held_out;
        for (int64_t i = 0; i < n_in; i++) {
            double v = (double)x[t * n_in + i];
            g->squares[i] += v * v;
            g->sums[i] += v;
            for (int64_t j = 0; j <= i && !held; j++)
                g->gram[i * n_in + j] += v * (double)x[t * n_in + j];
        }
    }
}

static enum ht_err compare(void *ctx, const struct ht__kept_layer *layer, struct ht_diag *diag)
{
    const struct watched *g = ctx;
    (void)diag;
    if (layer->layer != 1) return HT_OK;
    const struct ht__kept_site *s = &layer->sites[0];
    double most = 0;
    assert_int_equal(s->site.kind, HT__SITE_ATTENTION);
    assert_int_equal(s->n_in, g->n);
    assert_int_equal(s->n_weights, 3);
    assert_int_equal(s->n_held + s->gram_rows, s->rows[0]);
    for (uint64_t i = 0; i < s->n_in; i++)
        most = fmax(most, g->squares[i]);
    for (uint64_t i = 0; i < s->n_in; i++) {
        assert_true(fabs(s->squares[i] - g->squares[i]) < 1e-13 * most); /* in another order */
        assert_true(fabs(s->sums[i] - g->sums[i]) < 1e-13 * most);
        for (uint64_t j = 0; j <= i; j++) /* a float sum of some hundred rows: 2^-24 sqrt(n) each */
            assert_true(fabs(s->gram[i * (i + 1) / 2 + j] - g->gram[i * s->n_in + j]) < 3e-6 * most);
    }
    return HT_OK;
}

static void test_gathered(void **state)
{
    (void)state;
    const char *root = getenv("HT_SOURCE_ROOT");
    char source[600];
    struct ht__calibration_part part = {.path = NULL, .weight = 1000};
    struct ht__calibration_settings settings = {.parts = &part, .n_parts = 1, .n_ctx = 32, .n_chunks = 16};
    atomic_bool cancelled = false;
    struct ht__run run = {.n_threads = 2, .cancelled = &cancelled};
    struct ht__checkpoint *checkpoint;
    struct ht__model *model;
    struct ht__calibration cal;
    struct ht__engine *engine;
    struct ht_diag diag = {0};
    char mine[65], again[65];
    struct watched *g = calloc(1, sizeof *g);
    snprintf(source, sizeof source, "%s/examples/model", root ? root : ".");
    fine(ht__checkpoint_open(source, NULL, &checkpoint, &diag), &diag);
    fine(ht__model_open(checkpoint, NULL, NULL, &model, &diag), &diag);
    fine(ht__calibration_open(&cal, &settings, &run, model, &diag), &diag);
    fine(ht__calibration_engine(&cal, &run, model, &engine, &diag), &diag);
    ht__engine_observe(engine, watch, g);
    g->cal = &cal;
    for (g->chunk = 0; g->chunk < cal.windows.n; g->chunk += (size_t)cal.n_seqs) {
        size_t left = cal.windows.n - g->chunk;
        int n = left < (size_t)cal.n_seqs ? (int)left : cal.n_seqs;
        fine(ht__engine_pass(engine, cal.windows.tokens + g->chunk * (size_t)cal.n_ctx, n, cal.n_ctx, 0, &diag), &diag);
    }
    ht__engine_close(&engine);
    struct ht__gather_share whole = ht__gather_whole(&cal);
    fine(ht__gather(&cal, &run, model, &whole, compare, g, &diag), &diag);
    fine(ht__fingerprint(model, mine, &diag), &diag);
    fine(ht__fingerprint(model, again, &diag), &diag);
    assert_string_equal(mine, again);
    ht__calibration_close(&cal);
    ht__model_close(&model);
    ht__checkpoint_close(&checkpoint);
    free(g);
}

static int begin(void **state)
{
    (void)state;
    folder = folder_make();
    return 0;
}

static int end(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read_again), cmocka_unit_test(test_merge),
                                       cmocka_unit_test(test_groups),     cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_lies),       cmocka_unit_test(test_gathered)};
    return cmocka_run_group_tests(tests, begin, end);
}
