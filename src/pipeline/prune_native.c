/* The native view: "model.layers.5.self_attn.q_proj.weight" becomes "model.layers.4. …". The number of a layer is the first
 * part between points that is one; what stands before it is the same for all layers of a model. */
#include "pipeline/prune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the first part of digits alone begins, and its end; false: there is none. */
static bool find_number(const char *name, size_t *from, size_t *to)
{
    for (const char *p = name; *p; p += strcspn(p, "."), p += *p == '.') {
        size_t n = strcspn(p, ".");
        if (n == 0 || n > 9 || strspn(p, "0123456789") != n) continue;
        *from = (size_t)(p - name);
        *to = *from + n;
        return true;
    }
    return false;
}

/* What stands before the numbers of layers. By it, what lies in a layer without a slot (a mask, rotation's frequencies)
 * is found too. */
struct layers {
    const char *before[8];
    size_t len[8], n;
};

static bool is_before(const struct layers *l, const char *name, size_t len)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->len[i] == len && memcmp(l->before[i], name, len) == 0) return true;
    return false;
}

static enum ht_err learn(const struct ht__model *model, struct layers *l, struct ht_diag *diag)
{
    for (size_t i = 0; i < model->n_native; i++) {
        const struct ht__weight *w = &model->native[i];
        size_t from, to;
        if (w->slot.layer < 0) continue;
        if (!find_number(w->name, &from, &to) || strtol(w->name + from, NULL, 10) != w->slot.layer)
            return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1,
                            "its name does not say its layer, %d: layers cannot be left out of a folder of this model",
                            (int)w->slot.layer);
        if (is_before(l, w->name, from)) continue;
        if (l->n == sizeof l->before / sizeof l->before[0])
            return ht__fail(diag, HT_ERR_LIMIT, w->name, -1, "the model has too many lists of layers");
        l->before[l->n] = w->name;
        l->len[l->n++] = from;
    }
    return HT_OK;
}

/* Layers behind those that the model counts (for predicting several tokens) follow the others. */
static uint32_t number_of(const struct ht__pruned *p, uint32_t old)
{
    return old < p->n ? p->number[old] : old - p->n_gone;
}

/* The weight at its place, without gaps in the view, and its form as a stack with it. */
static enum ht_err put(struct ht__model *model, struct ht__weight w, size_t at, struct ht_diag *diag)
{
    w.native = (uint32_t)at;
    if (w.stack) {
        struct ht__weight *stack = ht__arena_new(&model->arena, sizeof *stack);
        if (!stack) return ht__fail_memory(diag, "prune-layers");
        *stack = *w.stack;
        stack->name = w.name;
        stack->slot = w.slot;
        stack->native = w.native;
        w.stack = stack;
    }
    model->native[at] = w;
    return HT_OK;
}

enum ht_err ht__prune_native(struct ht__model *model, const struct ht__pruned *p, struct ht_diag *diag)
{
    struct layers layers = {.n = 0};
    size_t kept = 0;
    HT_TRY(learn(model, &layers, diag));
    for (size_t i = 0; i < model->n_native; i++) {
        struct ht__weight w = model->native[i];
        size_t from, to;
        if (find_number(w.name, &from, &to) && is_before(&layers, w.name, from)) {
            uint32_t old = (uint32_t)strtoul(w.name + from, NULL, 10);
            if (old < p->n && p->gone[old]) continue;
            uint32_t number = number_of(p, old);
            w.name = ht__arena_printf(&model->arena, "%.*s%u%s", (int)from, w.name, number, w.name + to);
            if (!w.name) return ht__fail_memory(diag, "prune-layers");
            if (w.slot.layer >= 0) w.slot.layer = (int32_t)number;
        }
        HT_TRY(put(model, w, kept++, diag));
    }
    model->n_native = kept;
    return HT_OK;
}
