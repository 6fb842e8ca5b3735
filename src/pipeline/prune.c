/*
 * Pruning: the listed blocks go, the others are numbered anew without gaps, {arch}.block_count follows.
 * Importance is still looked up under the old names. Arrays with one element a layer lose the elements
 * of the layers that went, as loaders demand exactly one for each.
 */
#include "pipeline/plan.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LAYERS = 4096 };

static enum ht_err mark(const struct ht__prune_settings *prune, uint32_t n_layers, bool *gone, uint32_t *n_gone,
                        struct ht_diag *diag)
{
    for (size_t i = 0; i < prune->n; i++) {
        if (prune->layers[i] >= n_layers)
            return ht__fail(diag, HT_ERR_USAGE, "prune-layers", -1,
                            "expected layer numbers from 0 to %u, separated by commas, got \"%s\"",
                            n_layers ? n_layers - 1 : 0, prune->text);
        if (!gone[prune->layers[i]]) ++*n_gone;
        gone[prune->layers[i]] = true;
    }
    if (*n_gone == n_layers) return ht__fail(diag, HT_ERR_USAGE, "prune-layers", -1, "no layer would be left");
    return HT_OK;
}

static enum ht_err rename_weights(struct ht__model *model, const char **old_names, const bool *gone,
                                  const uint32_t *number, struct ht_diag *diag)
{
    size_t kept = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        struct ht__weight w = model->weights[i];
        const char *old = old_names[i];
        int32_t layer = w.slot.layer;
        if (layer >= 0 && (uint32_t)layer < model->n_layers) {
            if (gone[layer]) continue;
            w.slot.layer = (int32_t)number[layer];
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
                             struct ht_diag *diag)
{
    uint32_t n = model->n_layers, n_gone = 0;
    if (n > MAX_LAYERS) return ht__fail(diag, HT_ERR_LIMIT, "prune-layers", -1, "%u layers", n);
    bool *gone = ht__arena_array(&model->arena, n + 1, sizeof *gone);
    uint32_t *number = ht__arena_array(&model->arena, n + 1, sizeof *number);
    if (!gone || !number) return ht__fail_memory(diag, "prune-layers");
    HT_TRY(mark(prune, n, gone, &n_gone, diag));
    for (uint32_t i = 0, next = 0; i < n; i++)
        number[i] = gone[i] ? 0 : next++;
    HT_TRY(rename_weights(model, old_names, gone, number, diag));
    size_t prefix = strlen(model->arch);
    for (size_t i = 0; i < model->kvs.n; i++) {
        struct ht__kv *kv = &model->kvs.items[i];
        bool ours = strncmp(kv->key, model->arch, prefix) == 0 && kv->key[prefix] == '.';
        if (ours && strcmp(kv->key + prefix, ".block_count") == 0) kv->u = n - n_gone;
        if (ours && kv->type == HT__KV_ARR && kv->n == n) HT_TRY(shorten(model, kv, gone, diag));
    }
    model->n_layers = n - n_gone;
    return HT_OK;
}
