#include "pipeline/items.h"

#include <stdlib.h>
#include <string.h>

static bool holds(const struct ht__plan *plan, enum ht__dialect dialect)
{
    for (size_t o = 0; o < plan->n_outputs; o++)
        if (plan->outputs[o].target->container->dialect == dialect) return true;
    return false;
}

static const char *rows_key(const struct ht__rows *const *rows)
{
    return (const char *)(const void *)rows;
}

/* The native weight's rows in the GGUF view too: the same object. */
static struct ht__item *find_twin(struct ht__plan *plan, const struct ht__map *by_rows, const struct ht__weight *w)
{
    const uint32_t *at = ht__map_get(by_rows, rows_key(&w->rows), sizeof w->rows);
    return at ? &plan->items[*at] : NULL;
}

enum ht_err ht__plan_items(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__model *model = plan->model;
    bool native = holds(plan, HT__DIALECT_NATIVE);
    struct ht__map by_rows;
    enum ht_err err = HT_OK;
    plan->items =
        ht__arena_array(&plan->arena, model->n_weights + (native ? 2 * model->n_native : 0), sizeof *plan->items);
    if (!plan->items) return ht__fail_memory(diag, "plan");
    ht__map_init(&by_rows, plan->run.alloc);
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[i];
        plan->items[i] = (struct ht__item){.in[HT__DIALECT_GGUF] = w, .rows = w->rows};
        if (native && ht__map_put(&by_rows, rows_key(&w->rows), sizeof w->rows, (uint32_t)i) == HT__MAP_NO_MEMORY)
            err = ht__fail_memory(diag, "plan");
    }
    plan->n_items = model->n_weights;
    for (size_t i = 0; native && err == HT_OK && i < model->n_native; i++) {
        const struct ht__weight *w = &model->native[i];
        struct ht__item *item = find_twin(plan, &by_rows, w);
        if (!item) item = &plan->items[plan->n_items++];
        item->in[HT__DIALECT_NATIVE] = w;
        item->rows = w->rows;
        if (!w->stack) continue;
        item = &plan->items[plan->n_items++];
        item->in[HT__DIALECT_NATIVE] = w->stack;
        item->rows = w->stack->rows;
    }
    ht__map_close(&by_rows);
    return err;
}

struct key {
    int32_t layer;
    uint32_t position, item;
};

static int by_layer(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    if (x->layer != y->layer) return (x->layer > y->layer) - (x->layer < y->layer);
    return (x->position > y->position) - (x->position < y->position);
}

static bool is_held(const struct ht__plan *plan, size_t item)
{
    for (size_t o = 0; o < plan->n_outputs; o++)
        if (ht__item_in(plan, &plan->outputs[o], item)) return true;
    return false;
}

/* In the order of the GGUF view. What only the native view has comes with its layer, so that a file's bytes are still
 * in memory when they are read again. */
enum ht_err ht__plan_work(struct ht__plan *plan, struct ht_diag *diag)
{
    size_t n_weights = plan->model->n_weights;
    struct key *keys = ht__new_array(plan->run.alloc, plan->n_items ? plan->n_items : 1, sizeof *keys);
    plan->work = ht__arena_array(&plan->arena, plan->n_items, sizeof *plan->work);
    if (!keys || !plan->work) {
        ht__free(plan->run.alloc, keys);
        return ht__fail_memory(diag, "plan");
    }
    bool both = plan->n_items > n_weights;
    for (size_t i = 0; i < plan->n_items; i++) {
        uint32_t item = i < n_weights ? plan->order[i] : (uint32_t)i;
        if (!is_held(plan, item)) continue;
        keys[plan->n_work++] = (struct key){both ? ht__item_any(plan, item)->slot.layer : 0, (uint32_t)i, item};
    }
    qsort(keys, plan->n_work, sizeof *keys, by_layer);
    for (size_t i = 0; i < plan->n_work; i++)
        plan->work[i] = keys[i].item;
    ht__free(plan->run.alloc, keys);
    return HT_OK;
}
