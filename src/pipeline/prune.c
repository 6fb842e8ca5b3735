/*
 * The GGUF view: blocks are numbered anew, and {arch}.block_count follows. Importance is still looked up under the old
 * names. Arrays with one element a layer lose the elements of the layers that went, as loaders demand exactly one for
 * each.
 */
#include "pipeline/prune.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 4096 };

static enum ht_err mark(const struct ht__prune_settings *prune, struct ht__pruned *p, struct ht_diag *diag)
{
    for (size_t i = 0; i < prune->n; i++) {
        if (prune->layers[i] >= p->n)
            return ht__fail(diag, HT_ERR_USAGE, "prune-layers", -1,
                            "expected layer numbers from 0 to %u, separated by commas, got \"%s\"", p->n ? p->n - 1 : 0,
                            prune->text);
        if (!p->gone[prune->layers[i]]) p->n_gone++;
        p->gone[prune->layers[i]] = true;
    }
    if (p->n_gone == p->n) return ht__fail(diag, HT_ERR_USAGE, "prune-layers", -1, "no layer would be left");
    return HT_OK;
}

static enum ht_err rename_weights(struct ht__model *model, const char **old_names, const struct ht__pruned *p,
                                  struct ht_diag *diag)
{
    size_t kept = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        struct ht__weight w = model->weights[i];
        const char *old = old_names[i];
        int32_t layer = w.slot.layer;
        if (layer >= 0 && (uint32_t)layer < model->n_layers) {
            if (p->gone[layer]) continue;
            w.slot.layer = (int32_t)p->number[layer];
            char name[HT__GGUF_MAX_NAME + 1];
            if (!ht__name_in_layer(w.name, w.slot.layer, name, sizeof name))
                return ht__fail(diag, HT_ERR_LIMIT, w.name, -1, "the name is too long for a GGUF file");
            w.name = ht__arena_str(&model->arena, name);
            if (!w.name) return ht__fail_memory(diag, "prune-layers");
        }
        model->weights[kept] = w;
        old_names[kept++] = old;
    }
    model->n_weights = kept;
    return HT_OK;
}

/* An array with one element a layer, under an architecture's key. */
static enum ht_err shorten(struct ht__model *model, struct ht__kv *kv, const bool *gone, struct ht_diag *diag)
{
    size_t size = ht__kv_type_size(kv->elem), kept = 0;
    unsigned char *data = size ? ht__arena_array(&model->arena, model->n_layers, size) : NULL;
    if (size && !data) return ht__fail_memory(diag, kv->key);
    for (uint32_t i = 0; data && i < model->n_layers; i++)
        if (!gone[i]) memcpy(data + size * kept++, (const char *)kv->data + size * i, size);
    if (data) {
        kv->data = data;
        kv->n = kept;
    }
    return HT_OK;
}

enum ht_err ht__prune_layers(struct ht__model *model, const char **old_names, const struct ht__prune_settings *prune,
                             struct ht__pruned *p, struct ht_diag *diag)
{
    uint32_t n = model->n_layers;
    if (n > MAX_LAYERS) return ht__fail(diag, HT_ERR_LIMIT, "prune-layers", -1, "%u layers", n);
    *p = (struct ht__pruned){.n = n,
                             .gone = ht__arena_array(&model->arena, n + 1, sizeof *p->gone),
                             .number = ht__arena_array(&model->arena, n + 1, sizeof *p->number)};
    if (!p->gone || !p->number) return ht__fail_memory(diag, "prune-layers");
    HT_TRY(mark(prune, p, diag));
    for (uint32_t i = 0, next = 0; i < n; i++)
        p->number[i] = p->gone[i] ? 0 : next++;
    HT_TRY(rename_weights(model, old_names, p, diag));
    size_t prefix = strlen(model->arch);
    for (size_t i = 0; i < model->kvs.n; i++) {
        struct ht__kv *kv = &model->kvs.items[i];
        bool ours = strncmp(kv->key, model->arch, prefix) == 0 && kv->key[prefix] == '.';
        if (ours && strcmp(kv->key + prefix, ".block_count") == 0) kv->u = n - p->n_gone;
        if (ours && strcmp(kv->key + prefix, ".leading_dense_block_count") == 0)
            for (uint64_t first = kv->u, k = 0; k < first && k < n; k++)
                kv->u -= p->gone[k];
        if (ours && kv->type == HT__KV_ARR && kv->n == n) HT_TRY(shorten(model, kv, p->gone, diag));
    }
    model->n_layers = n - p->n_gone;
    return HT_OK;
}
