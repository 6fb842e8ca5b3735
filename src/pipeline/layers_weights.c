/* Weights of the layers driver: as the source has them, and as the outputs will. */
#include "model/rows.h"
#include "pipeline/layers_parts.h"

#include <string.h>

bool ht__course_changes(const struct ht__course *course, size_t item)
{
    const struct ht__choice *choice = &course->out->choices[item];
    const struct ht__rows *rows = course->plan->items[item].rows;
    if (course->native) return choice->scheme != NULL;
    return !(rows->raw_type && choice->type == rows->raw_type) && strcmp(choice->type->name, "f32") != 0;
}

enum ht_err ht__layers_read(const struct ht__weight *w, int64_t row, int64_t n, float *dst, struct ht_diag *diag)
{
    struct ht__arena scratch;
    ht__arena_init(&scratch, NULL);
    enum ht_err err = w->rows->read(w->rows, row, n, dst, &scratch, diag);
    ht__arena_close(&scratch);
    return err;
}

/* Memory for the item's floats, in its place. */
static float *room(const struct ht__layers *d, struct ht__course *course, size_t item)
{
    const struct ht__rows *rows = d->plan->items[item].rows;
    float **place = course->native ? &course->native[item] : &course->weights[item];
    return *place = ht__new_array(d->plan->run.alloc, (size_t)rows->n_rows, (size_t)rows->row_len * sizeof **place);
}

/* Rows of one matrix as the type's encoder makes them, decoded in place. */
static void round_rows(const struct ht__layers *d, const struct ht__codec *type, float *x, int64_t n_rows, int64_t n,
                       const float *importance, void *encoded)
{
    enum ht__cpu_level level = d->plan->settings->level;
    ht__encoder(type, level)(x, n_rows, n, type->flags & HT__CODEC_USES_IMPORTANCE ? importance : NULL, encoded);
    ht__decoder(type, level)(encoded, n_rows * n, x);
}

static enum ht_err round_type(struct ht__layers *d, struct ht__course *course, size_t item, float *x,
                              struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(d->plan, course->out, item);
    const struct ht__codec *type = course->out->choices[item].type;
    const float *importance = d->plan->importance[item];
    void *encoded = ht__new_array(d->plan->run.alloc, (size_t)w->ne[1], ht__codec_bytes(type, (uint64_t)w->ne[0]));
    enum ht_err err = encoded ? HT_OK : ht__fail_memory(diag, w->name);
    if (err == HT_OK) err = ht__layers_read(w, 0, w->rows->n_rows, x, diag);
    for (int64_t m = 0; err == HT_OK && m < w->rows->n_rows / w->ne[1]; m++)
        round_rows(d, type, x + m * w->ne[1] * w->ne[0], w->ne[1], w->ne[0],
                   importance ? importance + m % w->ne[2] * w->ne[0] : NULL, encoded);
    ht__free(d->plan->run.alloc, encoded);
    return err;
}

enum ht_err ht__course_round(struct ht__layers *d, struct ht__course *course, size_t item, struct ht_diag *diag)
{
    float *x = room(d, course, item);
    if (!x) return ht__fail_memory(diag, ht__item_any(d->plan, item)->name);
    return course->native ? ht__native_round(course, item, x, diag) : round_type(d, course, item, x, diag);
}

static enum ht_err open_coder(const struct ht__layers *d, const struct ht__course *course, size_t item,
                              struct ht__coder *coder, struct ht__arena *arena, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(d->plan, course->out, item);
    const struct ht__choice *choice = &course->out->choices[item];
    if (choice->scheme)
        return ht__coder_of_scheme(coder, choice->scheme, &course->out->packed[item]->matrix, arena, diag);
    return ht__coder_of_type(coder, choice->type, d->plan->settings->level, w->ne[1], w->ne[0], arena, diag);
}

static enum ht_err choose(struct ht__layers *d, struct ht__course *course, size_t item, const struct ht__best *best,
                          struct ht__best_matrix *m, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(d->plan, course->out, item);
    float *x = ht__new_array(d->plan->run.alloc, (size_t)w->ne[1], (size_t)w->ne[0] * sizeof *x);
    m->w = x;
    m->decoded = room(d, course, item);
    m->coded = course->chosen[item].coded = ht__new_array(d->plan->run.alloc, m->coder->size, 1);
    enum ht_err err = x && m->decoded && m->coded ? HT_OK : ht__fail_memory(diag, w->name);
    if (err == HT_OK) err = ht__layers_read(w, 0, w->ne[1], x, diag);
    if (err == HT_OK) err = ht__best_matrix(best, m, diag);
    ht__free(d->plan->run.alloc, x);
    return err;
}

/* Where the scheme's files list the groups of columns: those that go together by the activations. */
static enum ht_err list_groups(const struct ht__layers *d, const struct ht__course *course, size_t item,
                               const struct ht__best *best, struct ht_diag *diag)
{
    const struct ht__scheme_params *params = course->out->choices[item].scheme;
    if (!params || !(ht__scheme_flags(params) & HT__SCHEME_LISTED)) return HT_OK;
    struct ht__matrix *m = &course->out->packed[item]->matrix;
    int32_t *list = ht__arena_array(&d->plan->arena, (size_t)m->n_in, sizeof *list);
    if (!list) return ht__fail_memory(diag, "groups");
    ht__best_group(best, m->n_in / params->scheme->groups(params, m, 1), list);
    m->column_group = list;
    return HT_OK;
}

enum ht_err ht__course_choose(struct ht__layers *d, struct ht__course *course, size_t item, const struct ht__best *best,
                              double share, struct ht_diag *diag)
{
    struct ht__chosen *chosen = &course->chosen[item];
    struct ht__coder coder;
    struct ht__best_matrix m = {.coder = &coder, .importance = d->plan->importance[item], .share = share};
    struct ht__arena arena;
    ht__arena_init(&arena, d->plan->run.alloc);
    enum ht_err err = list_groups(d, course, item, best, diag);
    if (err == HT_OK) err = open_coder(d, course, item, &coder, &arena, diag);
    if (err == HT_OK) err = choose(d, course, item, best, &m, diag);
    ht__arena_close(&arena);
    if (err != HT_OK) return err;
    chosen->taken = m.taken;
    chosen->before = m.before;
    chosen->after = m.after;
    return HT_OK;
}

/* ---- stacks of experts ---- */

static enum ht_err open_stack(struct ht__layers *d, struct ht__course *course, size_t item, size_t size,
                              struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(d->plan, course->out, item);
    struct ht__chosen *chosen = &course->chosen[item];
    if (course->stacks[item]) return HT_OK;
    course->stacks[item] = ht__new_array(d->plan->run.alloc, (size_t)w->rows->n_rows, (size_t)w->ne[0] * sizeof(float));
    chosen->coded = ht__new_array(d->plan->run.alloc, (size_t)w->ne[2], size);
    chosen->taken = NULL;
    chosen->before = chosen->after = 0;
    chosen->n_experts = chosen->n_few = chosen->n_without = 0;
    return course->stacks[item] && chosen->coded ? HT_OK : ht__fail_memory(diag, w->name);
}

/* The means of the experts so far. */
static void add_expert(struct ht__chosen *chosen, const struct ht__best_matrix *m, int64_t n_rows, int64_t n_in)
{
    double n = ++chosen->n_experts;
    chosen->before += (m->before - chosen->before) / n;
    chosen->after += (m->after - chosen->after) / n;
    chosen->n_few += n_rows < n_in;
    chosen->n_without += n_rows == 0;
    if (chosen->taken && strcmp(chosen->taken, m->taken) != 0)
        chosen->taken = "by expert";
    else
        chosen->taken = m->taken;
}

enum ht_err ht__course_choose_expert(struct ht__layers *d, struct ht__course *course, size_t item, int expert,
                                     const struct ht__best *best, int64_t n_rows, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(d->plan, course->out, item);
    const float *importance = d->plan->importance[item];
    struct ht__coder coder;
    struct ht__best_matrix m = {.coder = &coder, .importance = importance ? importance + expert * w->ne[0] : NULL};
    struct ht__arena arena;
    ht__arena_init(&arena, d->plan->run.alloc);
    float *x = ht__arena_raw(&arena, (size_t)(w->ne[0] * w->ne[1]) * sizeof *x);
    enum ht_err err = x ? open_coder(d, course, item, &coder, &arena, diag) : ht__fail_memory(diag, w->name);
    if (err == HT_OK) err = open_stack(d, course, item, coder.size, diag);
    if (err == HT_OK) err = ht__layers_read(w, expert * w->ne[1], w->ne[1], x, diag);
    if (err == HT_OK) {
        m.w = x;
        m.decoded = course->stacks[item] + expert * w->ne[1] * w->ne[0];
        m.coded = (uint8_t *)course->chosen[item].coded + (size_t)expert * coder.size;
        err = ht__best_matrix(best, &m, diag);
    }
    ht__arena_close(&arena);
    if (err == HT_OK) add_expert(&course->chosen[item], &m, n_rows, w->ne[0]);
    return err;
}

/* From now on the model that is run has it. */
void ht__course_chose_experts(struct ht__course *course, size_t item)
{
    course->weights[item] = course->stacks[item];
    course->stacks[item] = NULL;
}

static enum ht_err read_type_back(struct ht__layers *d, struct ht__course *course, size_t item, float *x,
                                  struct ht_diag *diag)
{
    const struct ht__rows *rows = d->plan->items[item].rows;
    const struct ht__codec *type = course->out->choices[item].type;
    const struct ht__plan_file *file = &course->out->files[course->out->places[item].file];
    const struct ht__extent *e = &file->entries[course->out->places[item].entry];
    uint8_t *encoded = ht__new_array(d->plan->run.alloc, e->n_bytes, 1);
    enum ht_err err = encoded ? HT_OK : ht__fail_memory(diag, ht__item_any(d->plan, item)->name);
    if (err == HT_OK) err = ht__output_read(&file->out, e->offset, encoded, e->n_bytes, diag);
    if (err == HT_OK) ht__decoder(type, d->plan->settings->level)(encoded, rows->n_rows * rows->row_len, x);
    ht__free(d->plan->run.alloc, encoded);
    return err;
}

enum ht_err ht__course_read_back(struct ht__layers *d, struct ht__course *course, size_t item, struct ht_diag *diag)
{
    float *x = room(d, course, item);
    if (!x) return ht__fail_memory(diag, ht__item_any(d->plan, item)->name);
    return course->native ? ht__native_read_back(course, item, x, diag) : read_type_back(d, course, item, x, diag);
}

static void forget(const struct ht__alloc *alloc, float **floats, size_t n)
{
    for (size_t i = 0; floats && i < n; i++) {
        ht__free(alloc, floats[i]);
        floats[i] = NULL;
    }
}

void ht__course_forget(struct ht__course *course)
{
    const struct ht__plan *plan = course->plan;
    forget(plan->run.alloc, course->weights, plan->model->n_weights);
    forget(plan->run.alloc, course->native, plan->n_items);
    forget(plan->run.alloc, course->stacks, plan->n_items);
    for (size_t i = 0; course->chosen && i < plan->n_items; i++) {
        ht__free(plan->run.alloc, course->chosen[i].coded);
        course->chosen[i].coded = NULL;
    }
}
