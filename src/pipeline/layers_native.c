/*
 * Folders in the layers driver: their matrices are those of the native view, and what is chosen for them is laid over the
 * checkpoint's own tensors while the weights that the model is run with are read anew. So rows in another order, and
 * stacks, come about as they do when the float model is opened.
 */
#include "model/rows.h"
#include "pipeline/layers_parts.h"

#include <string.h>

static const float *in_place_of(void *ctx, const struct ht__rows *rows)
{
    struct ht__course *c = ctx;
    for (size_t i = 0; i < c->plan->n_items; i++)
        if (c->native[i] && c->plan->items[i].rows == rows) {
            c->used[i] = true;
            return c->native[i];
        }
    return NULL;
}

static bool any_used(const struct ht__course *c)
{
    for (size_t i = 0; i < c->plan->n_items; i++)
        if (c->used[i]) return true;
    return false;
}

/* A weight that nothing lies over stays that of the float model. */
static enum ht_err read_anew(struct ht__course *c, size_t weight, struct ht_diag *diag)
{
    const struct ht__alloc *alloc = c->plan->run.alloc;
    const struct ht__weight *w = &c->plan->model->weights[weight];
    const struct ht__rows_overlay overlay = {in_place_of, c};
    float *x = c->weights[weight];
    if (!x) x = ht__new_array(alloc, (size_t)w->rows->n_rows, (size_t)w->rows->row_len * sizeof *x);
    if (!x) return ht__fail_memory(diag, w->name);
    memset(c->used, 0, c->plan->n_items * sizeof *c->used);
    ht__rows_overlay(&overlay);
    enum ht_err err = ht__layers_read(w, 0, w->rows->n_rows, x, diag);
    ht__rows_overlay(NULL);
    c->weights[weight] = x;
    if (err != HT_OK || any_used(c)) return err;
    ht__free(alloc, x);
    c->weights[weight] = NULL;
    return HT_OK;
}

static bool takes_part(const struct ht__weight *w, int layer, const struct ht__stage *stage)
{
    struct ht__site site = ht__slot_site(w->slot);
    if (w->slot.layer != layer || w->slot.bias || !ht__role_at(w->slot.role)->matrix) return false;
    return !stage || memcmp(&site, &stage->site, sizeof site) == 0;
}

enum ht_err ht__course_follow(struct ht__course *c, int layer, const struct ht__stage *stage, struct ht_diag *diag)
{
    const struct ht__model *m = c->plan->model;
    for (size_t i = 0; c->native && i < m->n_weights; i++)
        if (takes_part(&m->weights[i], layer, stage)) HT_TRY(read_anew(c, i, diag));
    return HT_OK;
}

/* ---- what a folder will hold, and what it holds ---- */

static enum ht_err round_rows(const struct ht__packed *p, const struct ht__weight *w, const float *importance, float *x,
                              struct ht_diag *diag)
{
    struct ht__arena arena;
    int64_t at_once = (HT__CHUNK_WEIGHTS / p->matrix.n_in + p->rows) / p->rows * p->rows;
    enum ht_err err = HT_OK;
    ht__arena_init(&arena, NULL);
    for (int64_t row = 0; err == HT_OK && row < p->matrix.n_out; row += at_once) {
        int64_t n = p->matrix.n_out - row < at_once ? p->matrix.n_out - row : at_once;
        float *rows = x + row * p->matrix.n_in;
        struct ht__codes codes;
        if (!ht__codes_new(&codes, p->params, &p->matrix, row, n, &arena)) err = ht__fail_memory(diag, w->name);
        if (err == HT_OK && !p->method->method->rows(p->method, p->params, &p->matrix, rows, importance, &codes))
            err = ht__fail_memory(diag, w->name);
        if (err == HT_OK) p->params->scheme->value(p->params, &p->matrix, &codes, rows);
        ht__arena_reset(&arena);
    }
    ht__arena_close(&arena);
    return err;
}

enum ht_err ht__native_round(struct ht__course *c, size_t item, float *x, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(c->plan, c->out, item);
    HT_TRY(ht__layers_read(w, 0, w->rows->n_rows, x, diag));
    return round_rows(c->out->packed[item], w, c->plan->importance[item], x, diag);
}

static enum ht_err read_parts(const struct ht__packed *p, const struct ht__plan_file *file, void *parts[],
                              struct ht__arena *arena, struct ht_diag *diag)
{
    for (int i = 0; i < p->n_parts; i++) {
        if (p->entry[i] == UINT32_MAX) continue;
        const struct ht__extent *e = &file->entries[p->entry[i]];
        parts[i] = ht__arena_raw(arena, ht__part_bytes(&p->parts[i]) + 64);
        if (!parts[i]) return ht__fail_memory(diag, file->path);
        HT_TRY(ht__output_read(&file->out, e->offset, parts[i], ht__part_bytes(&p->parts[i]), diag));
    }
    return HT_OK;
}

enum ht_err ht__native_read_back(struct ht__course *c, size_t item, float *x, struct ht_diag *diag)
{
    const struct ht__packed *p = c->out->packed[item];
    void *parts[HT__SCHEME_PARTS] = {NULL};
    struct ht__arena arena;
    ht__arena_init(&arena, c->plan->run.alloc);
    enum ht_err err = read_parts(p, &c->out->files[c->out->places[item].file], parts, &arena, diag);
    if (err == HT_OK) err = ht__scheme_dequantize(p->params, &p->matrix, (const void *const *)parts, x, &arena, diag);
    ht__arena_close(&arena);
    return err;
}
