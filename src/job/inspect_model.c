/* What kind of model a checkpoint holds: the keys that conversion would write, or that a GGUF file has. */
#include "job/inspect.h"
#include "model/model.h"
#include "schemes/packing.h"

#include <stdio.h>
#include <string.h>

enum { MOST_KINDS = 96 };

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

/* How weights are stored: in a type, or as a scheme packs them. */
struct stored {
    const char *name;
    uint64_t weights, bytes;
};

static uint64_t packed_bytes(const struct ht__packed_source *packed)
{
    struct ht__part parts[HT__SCHEME_PARTS];
    uint64_t sum = 0;
    int n = packed->params.scheme->parts(&packed->params, &packed->matrix, parts);
    for (int i = 0; i < n; i++)
        sum += ht__part_bytes(&parts[i]);
    return sum;
}

static void count_weight(struct stored *kinds, const struct ht__weight *weight)
{
    const struct ht__codec *c = weight->source;
    uint64_t n = (uint64_t)weight->rows->n_rows * (uint64_t)weight->rows->row_len;
    const char *name = weight->packed ? weight->packed->params.scheme->name : c->name;
    size_t i = 0;
    while (i < MOST_KINDS - 1 && kinds[i].name && strcmp(kinds[i].name, name) != 0)
        i++;
    kinds[i].name = name;
    kinds[i].weights += n;
    kinds[i].bytes += weight->packed ? packed_bytes(weight->packed) : n / c->block_len * c->block_size;
}

/* What a matrix is, whatever file or folder it lies in: of a packed one its scheme, not the types of the parts. */
static void put_stored(struct ht__jw *w, const struct ht__model *m)
{
    struct stored kinds[MOST_KINDS] = {{NULL, 0, 0}};
    const struct ht__weight *weights = m->from_gguf ? m->weights : m->native;
    size_t n = m->from_gguf ? m->n_weights : m->n_native;
    for (size_t i = 0; i < n; i++)
        count_weight(kinds, &weights[i]);
    ht__jw_object(w, "stored");
    for (size_t i = 0; i < MOST_KINDS && kinds[i].name; i++) {
        ht__jw_object(w, kinds[i].name);
        ht__jw_uint(w, "weights", kinds[i].weights);
        ht__jw_uint(w, "bytes", kinds[i].bytes);
        ht__jw_end(w);
    }
    ht__jw_end(w);
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
    put_stored(w, m);
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
