#include "lib/vocab.h"

#include "base/json.h"
#include "model/vocab_import/import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void keep_line(void *ctx, enum ht__log_level level, const char *line)
{
    struct vocab_run *run = ctx;
    size_t used = strlen(run->log);
    if (level == HT__LOG_WARNING) snprintf(run->log + used, sizeof run->log - used, "%s\n", line);
}

struct vocab_run vocab_start(const char *arch, uint64_t rows)
{
    struct vocab_run run = {.folder = folder_make(), .arch = arch, .rows = rows};
    return run;
}

enum ht_err vocab_convert(struct vocab_run *run, const char *dir)
{
    struct ht__log log = {keep_line, run};
    struct ht__jnode *config = NULL;
    char path[600];
    ht__diag_clear(&run->diag);
    ht__arena_init(&run->arena, NULL);
    ht__kvs_init(&run->kvs, &run->arena);
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *f = fopen(path, "rb");
    if (f) {
        fclose(f);
        assert_int_equal(ht__json_load(&run->arena, path, 1 << 20, &config, &run->diag), HT_OK);
    }
    struct ht__vocab_import_job job = {
        .dir = dir, .arch = run->arch, .config = config, .vocab_size = run->rows, .log = &log};
    return ht__vocab_import_metadata(&job, &run->kvs, &run->diag);
}

void vocab_must(struct vocab_run *run)
{
    enum ht_err err = vocab_convert(run, run->folder.path);
    if (err) print_error("%s: %s\n", run->diag.where, run->diag.message);
    assert_int_equal(err, HT_OK);
}

void vocab_finish(struct vocab_run *run)
{
    ht__arena_close(&run->arena);
    folder_remove(&run->folder);
}

void vocab_has_text(const struct vocab_run *run, const char *key, const char *want)
{
    struct ht__str got;
    if (!ht__kv_get_str(&run->kvs, key, &got)) fail_msg("%s is missing", key);
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.text, want, got.len);
}

void vocab_has_id(const struct vocab_run *run, const char *key, uint32_t want)
{
    uint32_t got;
    if (!ht__kv_get_u32(&run->kvs, key, &got)) fail_msg("%s is missing", key);
    assert_int_equal(got, want);
}

void vocab_has_switch(const struct vocab_run *run, const char *key, bool want)
{
    const struct ht__kv *kv = ht__kv_get(&run->kvs, key);
    if (!kv || kv->type != HT__KV_BOOL) fail_msg("%s is missing", key);
    assert_int_equal(kv->u, want);
}

void vocab_has_not(const struct vocab_run *run, const char *key)
{
    if (ht__kv_get(&run->kvs, key)) fail_msg("%s is there", key);
}

void vocab_has_string(const struct vocab_run *run, const char *key, uint32_t i, const char *want)
{
    const struct ht__kv *kv = ht__kv_get(&run->kvs, key);
    if (!kv || kv->type != HT__KV_ARR || kv->elem != HT__KV_STR || i >= kv->n) fail_msg("%s has no element %u", key, i);
    if (kv->strs[i].len != strlen(want) || memcmp(kv->strs[i].text, want, kv->strs[i].len) != 0)
        fail_msg("%s[%u] is \"%.*s\", not \"%s\"", key, i, (int)kv->strs[i].len, kv->strs[i].text, want);
}

void vocab_has_token(const struct vocab_run *run, uint32_t id, const char *text, int type)
{
    vocab_has_string(run, "tokenizer.ggml.tokens", id, text);
    const struct ht__kv *types = ht__kv_get(&run->kvs, "tokenizer.ggml.token_type");
    assert_non_null(types);
    if (((const int32_t *)types->data)[id] != type)
        fail_msg("token %u (%s) has type %d, not %d", id, text, ((const int32_t *)types->data)[id], type);
}

float vocab_score(const struct vocab_run *run, uint32_t id)
{
    const struct ht__kv *scores = ht__kv_get(&run->kvs, "tokenizer.ggml.scores");
    assert_non_null(scores);
    assert_true(id < scores->n);
    return ((const float *)scores->data)[id];
}

uint64_t vocab_size(const struct vocab_run *run)
{
    const struct ht__kv *kv = ht__kv_get(&run->kvs, "tokenizer.ggml.tokens");
    assert_non_null(kv);
    return kv->n;
}

void vocab_put_spm(struct vocab_run *run, int kind, bool prefix, bool remove_extra)
{
    struct ht__buf model;
    ht__buf_init(&model, NULL);
    spm_base(&model);
    spm_piece(&model, "▁a", -1, 1);
    spm_piece(&model, "▁▁", 0, 4);
    spm_piece(&model, "b", -2.5f, 1);
    spm_specs(&model, kind, prefix, remove_extra, "\4\0\0\0wxyzc\0d", 12);
    folder_put(&run->folder, "tokenizer.model", model.data, model.len);
    ht__buf_close(&model);
}
