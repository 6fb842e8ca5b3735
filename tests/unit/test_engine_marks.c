/* A layer that is left at marks and gone on with gives the same bits as one in a piece: in every architecture. */
#include "engine/engine.h"
#include "lib/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEQS = 2, TOKENS = 5, ROWS = SEQS * TOKENS, MOST_WIDTH = 1024 };

static struct model tiny;
static int n_models, n_marks[HT__MARK_END + 1];

static void ignore_line(void *ctx, enum ht__log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

/* Every other mark is enough to find what each of them forgets. */
static void one_layer(struct ht__engine *e, int layer, const float *start, int64_t n_embd)
{
    static float rows[ROWS * MOST_WIDTH];
    struct ht_diag diag = {0};
    size_t size = sizeof(float) * ROWS * (size_t)n_embd;
    float *whole = malloc(size), *pieces = malloc(size);
    assert_true(whole && pieces);
    memcpy(whole, start, size);
    assert_int_equal(ht__engine_layer(e, layer, whole, SEQS, TOKENS, &diag), HT_OK);
    for (unsigned stops = 0; stops < 8; stops++) {
        struct ht__stretch s = {.layer = layer, .rows = rows, .kept = rows};
        memcpy(pieces, start, size);
        for (enum ht__mark mark = HT__MARK_ATTENDED; mark <= HT__MARK_END; mark++) {
            int64_t width = ht__engine_mark_width(e, layer, mark);
            assert_true(width <= MOST_WIDTH);
            if (mark < HT__MARK_END && (width < 0 || !(stops >> (mark - 1) & 1))) continue;
            s.to = mark;
            assert_int_equal(ht__engine_stretch(e, &s, pieces, SEQS, TOKENS, &diag), HT_OK);
            s.from = mark;
            n_marks[mark]++;
        }
        if (memcmp(whole, pieces, size) != 0)
            fail_msg("%s, layer %d: other bits with stops %u", tiny.name, layer, stops);
    }
    free(whole);
    free(pieces);
}

static float *embedded(struct ht__engine *e, int64_t n_embd)
{
    const int32_t tokens[ROWS] = {11, 7, 3, 500, 42, 5, 6, 9, 301, 2};
    struct ht_diag diag = {0};
    float *x = malloc(sizeof *x * ROWS * (size_t)n_embd);
    assert_non_null(x);
    assert_int_equal(ht__engine_embed(e, tokens, SEQS, TOKENS, x, &diag), HT_OK);
    return x;
}

static void one_model(const struct ht__model *model)
{
    struct ht__engine_params params = {.n_threads = 2, .n_ctx = 16, .n_seqs = SEQS, .n_batch = 2 * 16};
    struct ht__engine *e;
    struct ht_diag diag = {0};
    if (ht__engine_open(model, &params, NULL, &e, &diag)) fail_msg("%s: %s", tiny.name, diag.message);
    float *x = embedded(e, ht__engine_hparams(e)->n_embd);
    for (int layer = 0; layer < ht__engine_hparams(e)->n_layers; layer++)
        one_layer(e, layer, x, ht__engine_hparams(e)->n_embd);
    free(x);
    ht__engine_close(&e);
}

static bool all_floats(void)
{
    for (int i = 0; i < tiny.n; i++)
        if (strcmp(tiny.tensors[i].dtype, "F32") != 0) return false;
    return true;
}

static void test_marks(void **state)
{
    struct ht__log log = {ignore_line, NULL};
    FILE *list = models_open();
    (void)state;
    assert_non_null(list);
    while (models_next(list, &tiny)) {
        struct folder folder;
        struct ht__checkpoint *ck;
        struct ht__model *model;
        struct ht_diag diag = {0};
        if (!all_floats()) continue;
        folder = folder_make();
        folder_puts(&folder, "config.json", tiny.config);
        models_write(&tiny, &folder);
        models_fill(&folder);
        if (ht__checkpoint_open(folder.path, NULL, &ck, &diag) || ht__model_open(ck, NULL, &log, &model, &diag))
            fail_msg("%s: %s", tiny.name, diag.message);
        one_model(model);
        n_models++;
        ht__model_close(&model);
        ht__checkpoint_close(&ck);
        folder_remove(&folder);
    }
    fclose(list);
    assert_true(n_models > 20);
    for (enum ht__mark mark = HT__MARK_ATTENDED; mark <= HT__MARK_END; mark++)
        assert_true(n_marks[mark] > n_models);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_marks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
