/* The engine gives the same bits whatever its memory: all layers at once, two at a time, or from a
 * spill file. */
#include "engine/engine.h"
#include "lib/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 5, PASSES = 3, ENOUGH = 64 << 20 /* many times all weights of this model */ };

static struct folder folder;
static struct model tiny;

static void ignore_line(void *ctx, enum ht__log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

/* Two layers become five. */
static void deepen(void)
{
    char *layers = strstr(tiny.config, "\"num_hidden_layers\": 2");
    assert_non_null(layers);
    layers[strlen("\"num_hidden_layers\": ")] = '5';
    for (int i = 0, n = tiny.n; i < n; i++) {
        char *number = strstr(tiny.tensors[i].name, "layers.0.");
        for (int layer = 2; number && layer < 5; layer++) {
            struct tensor *copy = &tiny.tensors[tiny.n++];
            *copy = tiny.tensors[i];
            copy->name[number - tiny.tensors[i].name + 7] = (char)('0' + layer);
        }
    }
}

static float *run(const struct ht__model *model, uint64_t memory, const char *spill, int threads,
                  struct ht__weights_stats *stats)
{
    const int32_t tokens[TOKENS] = {11, 7, 3, 500, 42};
    struct ht__engine_params params = {.n_threads = threads, .memory = memory, .spill_dir = spill, .n_ctx = 16};
    struct ht__engine *e;
    struct ht_diag diag = {0};
    if (ht__engine_open(model, &params, NULL, &e, &diag)) return NULL;
    int n_vocab = ht__engine_hparams(e)->n_vocab;
    float *logits = malloc(sizeof *logits * (size_t)n_vocab * TOKENS);
    assert_non_null(logits);
    for (int i = 0; i < PASSES; i++)
        assert_int_equal(ht__engine_pass(e, tokens, 1, TOKENS, 0, &diag), HT_OK);
    assert_int_equal(ht__engine_logits(e, 0, 0, TOKENS, logits, &diag), HT_OK);
    *stats = ht__engine_stats(e);
    ht__engine_close(&e);
    return logits;
}

static struct ht__engine *open_cached(const struct ht__model *model)
{
    struct ht__engine_params params = {.n_threads = 2, .n_ctx = 80, .n_seqs = 3, .n_batch = 80, .cache = true};
    struct ht__engine *e;
    struct ht_diag diag = {0};
    assert_int_equal(ht__engine_open(model, &params, NULL, &e, &diag), HT_OK);
    return e;
}

/* The logits of every token of a sequence that is run alone. */
static float *alone(const struct ht__model *model, const int32_t *tokens, int n)
{
    struct ht__engine *e = open_cached(model);
    struct ht_diag diag = {0};
    float *logits = malloc(sizeof *logits * (size_t)ht__engine_hparams(e)->n_vocab * (size_t)n);
    assert_non_null(logits);
    assert_int_equal(ht__engine_pass(e, tokens, 1, n, 0, &diag), HT_OK);
    assert_int_equal(ht__engine_logits(e, 0, 0, n, logits, &diag), HT_OK);
    ht__engine_close(&e);
    return logits;
}

/* Sequences of different lengths at different positions in one pass: each has the bits that it has alone. */
static void check_runs(const struct ht__model *model)
{
    enum { LONG = 70 };
    const struct ht__engine_run first[] = {{2, 3, 0}, {0, 66, 0}}, then[] = {{0, 4, 66}, {1, 2, 1}, {2, 1, 3}};
    const struct ht__engine_run twice[] = {{1, 1, 0}, {1, 1, 1}}, over[] = {{0, 4, 77}}, none[] = {{3, 1, 0}};
    int32_t a[LONG], b[3] = {11, 9, 5}, c[4] = {11, 7, 3, 500}, mixed[LONG + 3];
    int rows[] = {3, 5, 6};
    struct ht_diag diag = {0};
    for (int i = 0; i < LONG; i++)
        a[i] = (i * 37 + 11) % 512;
    float *la = alone(model, a, LONG), *lb = alone(model, b, 3), *lc = alone(model, c, 4);
    struct ht__engine *e = open_cached(model);
    size_t n_vocab = (size_t)ht__engine_hparams(e)->n_vocab, row = n_vocab * sizeof(float);
    float *got = malloc(3 * row);
    assert_non_null(got);
    memcpy(mixed, c, 3 * sizeof *c);
    memcpy(mixed + 3, a, 66 * sizeof *a);
    assert_int_equal(ht__engine_pass_runs(e, mixed, first, 2, &diag), HT_OK);
    ht__engine_copy_seq(e, 2, 1, 1); /* the one token that b and c begin with */
    memcpy(mixed, a + 66, 4 * sizeof *a);
    memcpy(mixed + 4, b + 1, 2 * sizeof *b);
    mixed[6] = c[3];
    assert_int_equal(ht__engine_pass_runs(e, mixed, then, 3, &diag), HT_OK);
    assert_int_equal(ht__engine_row_logits(e, rows, 3, got, &diag), HT_OK);
    assert_memory_equal(got, la + (LONG - 1) * n_vocab, row);
    assert_memory_equal(got + n_vocab, lb + 2 * n_vocab, row);
    assert_memory_equal(got + 2 * n_vocab, lc + 3 * n_vocab, row);
    rows[0] = 7;
    assert_int_equal(ht__engine_row_logits(e, rows, 1, got, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__engine_pass_runs(e, mixed, twice, 2, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__engine_pass_runs(e, mixed, over, 1, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__engine_pass_runs(e, mixed, none, 1, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__engine_pass_runs(e, mixed, then, 0, &diag), HT_ERR_USAGE);
    ht__engine_close(&e);
    free(la), free(lb), free(lc), free(got);
}

static void test_memory(void **state)
{
    (void)state;
    struct ht__log log = {ignore_line, NULL};
    struct ht__checkpoint *ck;
    struct ht__model *model;
    struct ht__weights_stats stats;
    struct ht_diag diag = {0};
    FILE *list = models_open();
    assert_non_null(list);
    assert_true(models_next(list, &tiny));
    fclose(list);
    deepen();
    folder = folder_make();
    folder_puts(&folder, "config.json", tiny.config);
    models_write(&tiny, &folder);
    models_fill(&folder);
    assert_int_equal(ht__checkpoint_open(folder.path, NULL, &ck, &diag), HT_OK);
    assert_int_equal(ht__model_open(ck, NULL, &log, &model, &diag), HT_OK);

    float *all = run(model, 0, NULL, 1, &stats), *two = NULL, *spilled, *threads;
    assert_non_null(all);
    assert_int_equal(stats.layer_reads, model->n_layers); /* each once */
    uint64_t memory = 1 << 16;
    while (!(two = run(model, memory, NULL, 1, &stats))) { /* the smallest budget, to a few kilobytes */
        memory += 4096;
        if (memory > ENOUGH) fail_msg("%llu bytes are still called too little", (unsigned long long)memory);
    }
    size_t size = sizeof(float) * 4096 * TOKENS;
    assert_memory_equal(all, two, size);
    assert_true(stats.layer_reads > model->n_layers);
    assert_int_equal(stats.spill_reads, 0);
    spilled = run(model, memory, folder.path, 2, &stats);
    assert_memory_equal(all, spilled, size);
    assert_true(stats.spill_reads > 0);
    threads = run(model, 0, NULL, 3, &stats);
    assert_memory_equal(all, threads, size);
    assert_null(run(model, memory / 2, NULL, 1, &stats)); /* and a clear refusal below it */

    free(all);
    free(two);
    free(spilled);
    free(threads);
    check_runs(model);
    ht__model_close(&model);
    ht__checkpoint_close(&ck);
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
