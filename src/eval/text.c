/* The tokens that are measured on. */
#include "eval/parts.h"
#include "calibrate/default_text.h"
#include "model/tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_TEXT "default"
enum { LARGEST_TEXT = 1 << 30 };

/* Token by token. Without a reference too: perplexities over other tokens are no comparison. */
enum ht_err ht__eval_same_vocabulary(const struct ht__eval_model *model, const struct ht__eval_model *reference,
                                     struct ht_diag *diag)
{
    const struct ht__kv *a = ht__kv_get(&model->model->kvs, "tokenizer.ggml.tokens");
    const struct ht__kv *b = ht__kv_get(&reference->model->kvs, "tokenizer.ggml.tokens");
    if (!a || !b || a->elem != HT__KV_STR || b->elem != HT__KV_STR) return HT_OK; /* sizes are compared at least */
    if (a->n != b->n)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, model->path, -1,
                        "its vocabulary has %llu tokens, but that of %s has %llu", (unsigned long long)a->n,
                        reference->path, (unsigned long long)b->n);
    for (uint64_t i = 0; i < a->n; i++)
        if (a->strs[i].len != b->strs[i].len || memcmp(a->strs[i].text, b->strs[i].text, a->strs[i].len) != 0)
            return ht__fail(diag, HT_ERR_UNSUPPORTED, model->path, -1, "token %llu is \"%.*s\", but \"%.*s\" in %s",
                            (unsigned long long)i, (int)(a->strs[i].len < 40 ? a->strs[i].len : 40), a->strs[i].text,
                            (int)(b->strs[i].len < 40 ? b->strs[i].len : 40), b->strs[i].text, reference->path);
    return HT_OK;
}

static enum ht_err put_ids(const struct ht__buf *file, const char *path, struct ht__tokens *ids, struct ht_diag *diag)
{
    size_t n = file->len / sizeof(int32_t);
    if (file->len % sizeof(int32_t))
        return ht__fail(diag, HT_ERR_FORMAT, path, (int64_t)file->len, "not a sequence of 32-bit token ids");
    if (n == 0) return HT_OK;
    if (!ht__tokens_reserve(ids, n)) return ht__fail_memory(diag, path);
    memcpy(ids->ids + ids->n, file->data, file->len);
    ids->n += n;
    return HT_OK;
}

static enum ht_err read_ids(struct ht__eval *e, const char *path, struct ht__tokens *ids, struct ht_diag *diag)
{
    const struct ht__kvs *kvs = &e->models[0].model->kvs;
    const struct ht__kv *adds = ht__kv_get(kvs, "tokenizer.ggml.add_bos_token");
    struct ht__buf file;
    uint64_t bos;
    ht__buf_init(&file, e->run.alloc);
    enum ht_err err = ht__file_load(path, LARGEST_TEXT, &file, diag);
    if (!err) err = put_ids(&file, path, ids, diag);
    ht__buf_close(&file);
    if (adds && adds->type == HT__KV_BOOL && adds->u && ht__kv_get_u64(kvs, "tokenizer.ggml.bos_token_id", &bos) &&
        bos <= INT32_MAX)
        e->bos = (int32_t)bos;
    return err;
}

enum ht_err ht__eval_open_tokenizer(struct ht__eval *e, struct ht__tokenizer **out, struct ht_diag *diag)
{
    const struct ht__eval_model *m = e->reference ? e->reference : &e->models[0];
    if (!ht__kv_get(&m->model->kvs, "tokenizer.ggml.model"))
        return ht__fail(diag, HT_ERR_UNSUPPORTED, m->path, -1,
                        "the model has no tokenizer, so it cannot tokenize text");
    return ht__tokenizer_open(&m->model->kvs, m->path, e->run.alloc, out, diag);
}

/* "default" is the held-out part of the program's own text, which calibration never sees. */
static enum ht_err load_text(const char *path, struct ht__buf *text, struct ht_diag *diag)
{
    if (strcmp(path, DEFAULT_TEXT) != 0) return ht__file_load(path, LARGEST_TEXT, text, diag);
    return ht__default_held_out(text, diag);
}

static enum ht_err read_text(struct ht__eval *e, const char *path, struct ht__tokens *ids, struct ht_diag *diag)
{
    struct ht__tokenizer *tokenizer = NULL;
    struct ht__buf text;
    HT_TRY(ht__eval_open_tokenizer(e, &tokenizer, diag));
    ht__buf_init(&text, e->run.alloc);
    enum ht_err err = load_text(path, &text, diag);
    if (!err)
        err = ht__tokenizer_encode(tokenizer, (const char *)text.data, text.len, HT__TOKENIZER_ADD_SPECIAL, ids, diag);
    if (ht__tokenizer_adds_bos(tokenizer)) e->bos = ht__tokenizer_bos(tokenizer);
    ht__buf_close(&text);
    ht__tokenizer_close(&tokenizer);
    return err;
}

/* Chunks are cut from the start; what is left over at the end is not measured. */
static enum ht_err cut(struct ht__eval *e, const char *path, const struct ht__tokens *ids, struct ht_diag *diag)
{
    if (ids->failed) return ht__fail_memory(diag, path);
    e->n_tokens = ids->n;
    size_t chunks = e->n_tokens / (size_t)e->n_ctx;
    if (chunks < 1)
        return ht__fail(diag, HT_ERR_USAGE, path, -1,
                        "a text of %zu tokens; at least one chunk of %d is needed (--ctx makes "
                        "chunks shorter)",
                        e->n_tokens, e->n_ctx);
    if (e->n_chunks > chunks) e->n_chunks = chunks;
    e->tokens = ht__new_array(e->run.alloc, e->n_tokens, sizeof *e->tokens);
    if (!e->tokens) return ht__fail_memory(diag, path);
    memcpy(e->tokens, ids->ids, e->n_tokens * sizeof *e->tokens);
    e->text_name = path;
    return HT_OK;
}

enum ht_err ht__eval_read_text(struct ht__eval *e, struct ht_diag *diag)
{
    const struct ht__eval_settings *s = e->settings;
    struct ht__tokens ids;
    const char *path = s->tokens ? s->tokens : s->text;
    if (!path)
        return ht__fail(diag, HT_ERR_USAGE, "text", -1,
                        "no text to measure on: give --text FILE, or --text default for a short "
                        "text that comes with Halftone");
    ht__tokens_init(&ids, e->run.alloc);
    enum ht_err err = s->tokens ? read_ids(e, path, &ids, diag) : read_text(e, path, &ids, diag);
    if (!err) err = cut(e, path, &ids, diag);
    ht__tokens_close(&ids);
    return err;
}
