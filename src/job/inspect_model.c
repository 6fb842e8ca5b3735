/* What kind of model a checkpoint holds: the keys that conversion would write, or that a GGUF file has. */
#include "job/inspect.h"
#include "model/model.h"

#include <stdio.h>

static void put_text(struct ht__jw *w, const char *key, const struct ht__kvs *kvs, const char *of)
{
    struct ht__str text;
    if (ht__kv_get_str(kvs, of, &text)) ht__jw_text(w, key, text.text, text.len);
}

static void put_number(struct ht__jw *w, const char *key, const struct ht__model *m, const char *of)
{
    char name[128];
    uint64_t n;
    snprintf(name, sizeof name, "%s.%s", m->arch, of);
    if (ht__kv_get_u64(&m->kvs, name, &n)) ht__jw_uint(w, key, n);
}

static void put_model(struct ht__jw *w, const struct ht__model *m)
{
    const struct ht__kv *tokens = ht__kv_get(&m->kvs, "tokenizer.ggml.tokens");
    ht__jw_object(w, "model");
    ht__jw_str(w, "architecture", m->arch);
    put_text(w, "name", &m->kvs, "general.name");
    put_text(w, "license", &m->kvs, "general.license");
    put_number(w, "layers", m, "block_count");
    put_number(w, "context", m, "context_length");
    put_number(w, "embedding", m, "embedding_length");
    put_number(w, "heads", m, "attention.head_count");
    put_number(w, "experts", m, "expert_count");
    put_text(w, "tokenizer", &m->kvs, "tokenizer.ggml.model");
    put_text(w, "pre_tokenizer", &m->kvs, "tokenizer.ggml.pre");
    if (tokens && tokens->type == HT__KV_ARR) ht__jw_uint(w, "vocabulary", tokens->n);
    ht__jw_end(w);
}

/* What is unknown is reported with its reason: a file that cannot be converted can be inspected all the same. */
void ht__inspect_model(const struct ht__checkpoint *ck, struct ht__jw *w)
{
    struct ht__model *model = NULL;
    struct ht_diag why = {0};
    static const struct ht__log quiet = {0};
    if (ht__model_open(ck, ck->arena.alloc, &quiet, &model, &why) == HT_OK)
        put_model(w, model);
    else
        ht__jw_str(w, "model_unknown", why.message);
    ht__model_close(&model);
}
