/*
 * Tokenizers, the generator and the collecting of importance, and a job that collects, quantizes and measures, each
 * under an allocator whose n-th request fails, for every n: a run must say "out of memory" or succeed with the same
 * result, leave no file, and give back every block.
 */
#include "engine/generator.h"
#include "job/imatrix.h"
#include "job/quantize.h"
#include "lib/counting.h"
#include "lib/effort.h"
#include "lib/tiny.h"
#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct counting counting;
static struct tiny tiny[TINY_N_KINDS];
static struct folder folder;
static char text[512], out[512];
static const char words[] = "abba baab, a \xc3\xa4 b\nbab 12 \xf0\x9f\x99\x82 aab";

/* What a run does; its result goes to `result`. It closes all it opened. */
typedef enum ht_err step_fn(struct ht__buf *result, struct ht_diag *diag);

static enum ht_err run(step_fn *step, long n, struct ht__buf *result, struct ht_diag *diag)
{
    *diag = (struct ht_diag){0};
    ht__buf_init(result, NULL);
    counting_begin(&counting, n, true);
    enum ht_err err = step(result, diag);
    counting.fail_at = 0;
    if (atomic_load(&counting.live) != 0)
        fail_msg("request %ld: %ld blocks leaked (%s)", n, atomic_load(&counting.live), diag->message);
    return err;
}

static void each_fails(const char *name, step_fn *step, long at_least)
{
    struct ht__buf wanted, got;
    struct ht_diag diag;
    long failed = 0;
    if (run(step, 0, &wanted, &diag)) fail_msg("%s: %s: %s", name, diag.where, diag.message);
    long total = atomic_load(&counting.requests);
    assert_true(wanted.len > 0);
    long each = effort(60, 300, total), then = effort(29, 7, 1); /* what follows is more of the same */
    for (long n = 1; n <= total; n += n < each ? 1 : then) {
        enum ht_err err = run(step, n, &got, &diag);
        failed += err != HT_OK;
        if (err == HT_OK && (got.len != wanted.len || memcmp(got.data, wanted.data, got.len) != 0))
            fail_msg("%s: the failure of request %ld went unnoticed and changed the result", name, n);
        if (err != HT_OK && (err != HT_ERR_MEMORY || diag.code != err))
            fail_msg("%s: request %ld: %s, \"%s: %s\"", name, n, ht_err_name(err), diag.where, diag.message);
        if (err != HT_OK && access(out, F_OK) == 0) fail_msg("%s: request %ld left %s", name, n, out);
        ht__buf_close(&got);
    }
    print_message("%s: %ld requests, %ld clean errors\n", name, total, failed);
    assert_true(failed >= effort(at_least / 4, at_least, at_least));
    ht__buf_close(&wanted);
}

/* ---- tokenizers ---- */

static struct ht__checkpoint *checkpoint;
static struct ht__model *model;

static void open_model(enum tiny_kind kind)
{
    struct ht_diag diag = {0};
    if (ht__checkpoint_open(tiny[kind].source, NULL, &checkpoint, &diag) ||
        ht__model_open(checkpoint, NULL, NULL, &model, &diag))
        fail_msg("%s: %s", diag.where, diag.message);
}

static void close_model(void)
{
    ht__model_close(&model);
    ht__checkpoint_close(&checkpoint);
}

static enum ht_err there_and_back(const struct ht__tokenizer *t, struct ht__tokens *ids, struct ht__buf *back,
                                  struct ht_diag *diag)
{
    HT_TRY(ht__tokenizer_encode(t, words, sizeof words - 1, HT__TOKENIZER_ADD_SPECIAL, ids, diag));
    if (ids->failed) return ht__fail_memory(diag, "ids");
    return ht__tokenizer_decode(t, ids->ids, ids->n, 0, back) || back->failed ? ht__fail_memory(diag, "text") : HT_OK;
}

static enum ht_err tokenize(struct ht__buf *result, struct ht_diag *diag)
{
    struct ht__tokenizer *t = NULL;
    struct ht__tokens ids;
    struct ht__buf back;
    HT_TRY(ht__tokenizer_open_model(model, "model", &counting.alloc, &t, diag));
    ht__tokens_init(&ids, &counting.alloc);
    ht__buf_init(&back, &counting.alloc);
    enum ht_err err = there_and_back(t, &ids, &back, diag);
    ht__buf_put(result, ids.ids, err ? 0 : ids.n * sizeof *ids.ids);
    ht__buf_put(result, back.data, err ? 0 : back.len);
    ht__buf_close(&back);
    ht__tokens_close(&ids);
    ht__tokenizer_close(&t);
    return err;
}

static void tokenizers(void **state)
{
    (void)state;
    for (int kind = 0; kind < TINY_N_KINDS; kind++) {
        open_model(kind);
        each_fails(tiny_names[kind], tokenize, 10);
        close_model();
    }
}

/* ---- generating ---- */

static enum ht_err go_on(struct ht__generator *g, struct ht__buf *result, struct ht_diag *diag)
{
    static const char *const stops[] = {"never said", "nor this"};
    static const int32_t prompt[] = {5, 7, 6, 5};
    struct ht__str piece;
    HT_TRY(ht__generator_stops(g, stops, 2, diag));
    for (int again = 0; again < 2; again++) {
        HT_TRY(ht__generator_begin(g, prompt, 4 - (size_t)again, 12, HT__GENERATE_CONTROL, diag));
        do {
            HT_TRY(ht__generator_next(g, &piece, diag));
            ht__buf_put(result, piece.text, piece.len);
        } while (piece.len > 0);
    }
    return HT_OK;
}

static enum ht_err generate(struct ht__buf *result, struct ht_diag *diag)
{
    struct ht__tokenizer *t = NULL;
    struct ht__generator *g = NULL;
    const struct ht__engine_params params = {.n_threads = 2, .n_ctx = 32};
    enum ht_err err = ht__tokenizer_open_model(model, "model", &counting.alloc, &t, diag);
    if (err == HT_OK) err = ht__generator_open(model, t, &params, &counting.alloc, &g, diag);
    if (err == HT_OK) err = go_on(g, result, diag);
    ht__generator_close(&g);
    ht__tokenizer_close(&t);
    return err;
}

static void generator(void **state)
{
    (void)state;
    open_model(TINY_GGUF);
    each_fails("generator", generate, 30);
    close_model();
}

/* ---- jobs ---- */

static enum ht_err run_job(bool imatrix, const char *const (*options)[2], struct ht__buf *result, struct ht_diag *diag)
{
    struct ht_job *job;
    char *json = NULL;
    enum ht_err err = ht__job_open(&counting.alloc, &job);
    if (err) return diag->code = err;
    for (; err == HT_OK && (*options)[0]; options++)
        err = ht__options_set(job, (*options)[0], (*options)[1], diag);
    if (err == HT_OK) err = (imatrix ? ht__job_imatrix : ht__job_run)(job, &json, diag);
    ht__job_close(&job);
    if ((json != NULL) != (err == HT_OK)) fail_msg("a report without success, or none with it");
    free(json);
    if (err) return err;
    if (ht__file_load(out, 1 << 24, result, diag)) fail_msg("%s: %s", diag->where, diag->message);
    unlink(out);
    return HT_OK;
}

static enum ht_err collect(struct ht__buf *result, struct ht_diag *diag)
{
    const char *const options[][2] = {{"source", tiny[TINY_GGUF].source},
                                      {"text", text},
                                      {"ctx", "16"},
                                      {"chunks", "4"},
                                      {"threads", "2"},
                                      {"output", out},
                                      {"process-output", NULL},
                                      {"overwrite", NULL},
                                      {NULL}};
    enum ht_err err = run_job(true, options, result, diag);
    char partial[600];
    snprintf(partial, sizeof partial, "%s.partial", out);
    unlink(partial); /* what had been collected is kept, and may be */
    return err;
}

static void importance(void **state)
{
    (void)state;
    each_fails("importance", collect, 100);
}

static enum ht_err whole(struct ht__buf *result, struct ht_diag *diag)
{
    const char *const options[][2] = {{"source", tiny[TINY_GGUF].source},
                                      {"calibration", text},
                                      {"text", text},
                                      {"ctx", "16"},
                                      {"chunks", "2"},
                                      {"threads", "1"},
                                      {"type", "Q4_0"},
                                      {"output", out},
                                      {"measure", NULL},
                                      {"overwrite", NULL},
                                      {"allow-requantize", NULL},
                                      {NULL}};
    return run_job(false, options, result, diag);
}

static void collecting_quantizing_measuring(void **state)
{
    (void)state;
    each_fails("collecting, quantizing, measuring", whole, 100);
}

int main(void)
{
    char letters[401];
    for (int i = 0; i < 400; i++)
        letters[i] = (i * i / 7 + i / 3) % 3 ? 'a' : 'b';
    letters[400] = '\0';
    folder = folder_make();
    folder_puts(&folder, "text", letters);
    snprintf(text, sizeof text, "%s/text", folder.path);
    snprintf(out, sizeof out, "%s/out.gguf", folder.path);
    for (int kind = 0; kind < TINY_N_KINDS; kind++)
        tiny_make(&tiny[kind], kind, TINY_WIDTH);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizers),
        cmocka_unit_test(generator),
        cmocka_unit_test(importance),
        cmocka_unit_test(collecting_quantizing_measuring),
    };
    int status = cmocka_run_group_tests(tests, NULL, NULL);
    for (int kind = 0; kind < TINY_N_KINDS; kind++)
        tiny_remove(&tiny[kind]);
    folder_remove(&folder);
    return status;
}
