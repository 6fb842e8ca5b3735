/*
 * An open model under an allocator of the caller's whose n-th request fails, for every n: opening, tensors, rows, tokens,
 * a conversation, logits, text, closing. Each run must say "out of memory" or give the same result, and give back every
 * block; and once all is over, the handle that could not serve one call serves the next.
 */
#include "halftone/halftone.h"
#include "lib/counting.h"
#include "lib/effort.h"
#include "lib/tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct counting counting;
static const char *path;
static uint64_t seen; /* a sum of all that was read */

static void see(const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        seen = (seen ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
}

static enum ht_err rows(const struct ht_model *model, enum ht_view view, struct ht_diag *diag)
{
    struct ht_tensor_info t = {.size = sizeof t};
    for (size_t i = 0; ht_model_tensor_at(model, view, i, &t); i++) {
        float *x = malloc((size_t)(t.n_rows * t.row_len) * sizeof *x + 1);
        enum ht_err err = ht_model_read_rows(model, view, i, 0, t.n_rows, x, diag);
        see(t.name, strlen(t.name));
        if (!err) see(x, (size_t)(t.n_rows * t.row_len) * sizeof *x);
        free(x);
        if (err) return err;
    }
    return HT_OK;
}

static enum ht_err text(struct ht_model *model, struct ht_diag *diag)
{
    const struct ht_tokenizer *tokenizer;
    struct ht_generator *g;
    const char *piece;
    size_t n;
    enum ht_err err = ht_model_tokenizer(model, &tokenizer, diag);
    if (err) return err;
    see(&(int){ht_tokenizer_size(tokenizer)}, sizeof(int));
    if ((err = ht_model_generator(model, &g, diag)) != HT_OK) return err;
    err = ht_generator_set(g, "threads", "1", diag);
    if (!err) err = ht_generator_set(g, "ctx", "32", diag);
    if (!err) err = ht_generator_set(g, "max-tokens", "5", diag);
    if (!err) err = ht_generator_set(g, "stop", "never", diag);
    if (!err) err = ht_generator_prompt(g, "ab", 2, diag);
    while (!err && !(err = ht_generator_next(g, &piece, &n, diag)) && n > 0)
        see(piece, n);
    ht_generator_close(&g);
    return err;
}

static enum ht_err logits(struct ht_model *model, struct ht_diag *diag)
{
    const int32_t tokens[] = {1, 2, 3};
    int n = ht_model_vocabulary(model);
    if (n == 0) return HT_ERR_MEMORY; /* 0: it could not be found out */
    float *x = malloc((size_t)n * sizeof *x);
    enum ht_err err = ht_model_logits(model, tokens, 3, 0, 1, x, diag);
    if (!err) see(x, (size_t)n * sizeof *x);
    free(x);
    return err;
}

/* Each step is done again where it failed: by then memory is back. */
static enum ht_err use(struct ht_model *model, struct ht_diag *diag)
{
    enum ht_err (*const steps[])(struct ht_model *, struct ht_diag *) = {text, logits};
    enum ht_err first = HT_OK, err;
    for (int i = 0; i < 4; i++) {
        uint64_t before = seen;
        diag->code = HT_OK;
        err = i < 2 ? rows(model, (enum ht_view)i, diag) : steps[i - 2](model, diag);
        if (err && !first) first = err;
        if (!err) continue;
        seen = before;
        struct ht_diag again;
        enum ht_err once_more = i < 2 ? rows(model, (enum ht_view)i, &again) : steps[i - 2](model, &again);
        if (once_more) fail_msg("with memory again: %s: %s", again.where, again.message);
    }
    return first;
}

static enum ht_err run(long fail_at, struct ht_diag *diag)
{
    struct ht_model *model = NULL;
    counting_begin(&counting, fail_at, false);
    const struct ht_allocator allocator = {sizeof allocator, counting.alloc.resize, &counting};
    const struct ht_model_options options = {
        .size = sizeof options, .n_ctx = 16, .n_threads = 1, .allocator = &allocator};
    seen = 0xcbf29ce484222325u;
    *diag = (struct ht_diag){0};
    enum ht_err err = ht_model_open_with(path, &options, &model, diag);
    if (err && model) fail_msg("a model in spite of an error");
    if (!err) err = use(model, diag);
    ht_model_close(&model);
    if (atomic_load(&counting.live) != 0)
        fail_msg("request %ld: %ld blocks are not given back", fail_at, atomic_load(&counting.live));
    return err;
}

static void each_request_fails(enum tiny_kind kind)
{
    struct tiny tiny;
    struct ht_diag diag;
    tiny_make(&tiny, kind, TINY_WIDTH);
    path = tiny.source;
    if (run(0, &diag)) fail_msg("%s: %s: %s", tiny_names[kind], diag.where, diag.message);
    uint64_t wanted = seen;
    long total = atomic_load(&counting.requests), failed = 0;
    for (long n = 1; n <= total; n += n < effort(150, total, total) ? 1 : 7) {
        enum ht_err err = run(n, &diag);
        failed += err != HT_OK;
        if (err && err != HT_ERR_MEMORY)
            fail_msg("request %ld: %s: %s: %s", n, ht_err_name(err), diag.where, diag.message);
        if (!err && seen != wanted) fail_msg("the failure of request %ld changed the result", n);
    }
    print_message("%s: %ld requests, %ld clean errors\n", tiny_names[kind], total, failed);
    assert_true(failed > 20);
    tiny_remove(&tiny);
}

static void safetensors(void **state)
{
    (void)state;
    each_request_fails(TINY_SAFETENSORS);
}

static void gguf(void **state)
{
    (void)state;
    each_request_fails(TINY_GGUF);
}

static void pytorch(void **state)
{
    (void)state;
    each_request_fails(TINY_PYTORCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors),
        cmocka_unit_test(gguf),
        cmocka_unit_test(pytorch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
