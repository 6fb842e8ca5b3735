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

/* Memory for the floats of a folder's item, in their place; */
static float *room(const struct ht__layers *d, struct ht__course *course, size_t item)
{
    const struct ht__rows *rows = d->plan->items[item].rows;
    float **place = &course->native[item];
    return *place = ht__new_array(d->plan->run.alloc, (size_t)rows->n_rows, (size_t)rows->row_len * sizeof **place);
}

/* for the encoded rows of another's. */
static uint8_t *room_for_rows(const struct ht__layers *d, struct ht__course *course, size_t item)
{
    const struct ht__rows *rows = d->plan->items[item].rows;
    size_t row_bytes = ht__codec_bytes(course->out->choices[item].type, (uint64_t)rows->row_len);
    course->rows[item] = course->rounded[item] = ht__new_array(d->plan->run.alloc, (size_t)rows->n_rows, row_bytes);
    return course->rounded[item];
}

/* Rows of a weight, as its type's encoder makes them. */
struct rounding {
    const struct ht__weight *w;
    const struct ht__codec *type;
    const float *importance;
    ht__encode_fn *encode;
    float *x; /* ROUNDED_AT_ONCE floats, or one row */
    uint8_t *rows;
};
enum { ROUNDED_AT_ONCE = 4 << 20 };

static enum ht_err round_matrix(const struct rounding *r, int64_t matrix, struct ht_diag *diag)
{
    int64_t n_in = r->w->ne[0], n_out = r->w->ne[1], most = ROUNDED_AT_ONCE / n_in > 0 ? ROUNDED_AT_ONCE / n_in : 1;
    const float *importance = r->importance ? r->importance + matrix % r->w->ne[2] * n_in : NULL;
    for (int64_t row = 0; row < n_out; row += most) {
        int64_t n = n_out - row < most ? n_out - row : most, at = matrix * n_out + row;
        HT_TRY(ht__layers_read(r->w, at, n, r->x, diag));
        r->encode(r->x, n, n_in, r->type->flags & HT__CODEC_USES_IMPORTANCE ? importance : NULL,
                  r->rows + (size_t)at * ht__codec_bytes(r->type, (uint64_t)n_in));
    }
    return HT_OK;
}

static enum ht_err round_type(struct ht__layers *d, struct ht__course *course, size_t item, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(d->plan, course->out, item);
    const struct ht__codec *type = course->out->choices[item].type;
    struct rounding r = {.w = w, .type = type, .importance = d->plan->importance[item]};
    size_t most = (size_t)(w->ne[0] > ROUNDED_AT_ONCE ? w->ne[0] : ROUNDED_AT_ONCE);
    r.encode = ht__encoder(type, d->plan->settings->level);
    r.rows = room_for_rows(d, course, item);
    r.x = ht__new_array(d->plan->run.alloc, most, sizeof *r.x);
    enum ht_err err = r.rows && r.x ? HT_OK : ht__fail_memory(diag, w->name);
    for (int64_t m = 0; err == HT_OK && m < w->rows->n_rows / w->ne[1]; m++)
        err = round_matrix(&r, m, diag);
    ht__free(d->plan->run.alloc, r.x);
    return err;
}

enum ht_err ht__course_round(struct ht__layers *d, struct ht__course *course, size_t item, struct ht_diag *diag)
{
    if (!course->native) return round_type(d, course, item, diag);
    float *x = room(d, course, item);
    return x ? ht__native_round(course, item, x, diag) : ht__fail_memory(diag, ht__item_any(d->plan, item)->name);
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

/* Rows of one matrix of a weight: struct ht__best_matrix. */
struct matrix_rows {
    const struct ht__weight *w;
    int64_t first;
};

static enum ht_err read_matrix(const void *ctx, int64_t row, int64_t n, float *dst, struct ht_diag *diag)
{
    const struct matrix_rows *m = ctx;
    return ht__layers_read(m->w, m->first + row, n, dst, diag);
}

static enum ht_err choose(struct ht__layers *d, struct ht__course *course, size_t item, struct ht__best *best,
                          struct ht__best_matrix *m, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(d->plan, course->out, item);
    struct matrix_rows rows = {w, 0};
    m->read = read_matrix;
    m->ctx = &rows;
    if (course->native && !(m->decoded = room(d, course, item))) return ht__fail_memory(diag, w->name);
    m->coded = course->chosen[item].coded = ht__new_array(d->plan->run.alloc, m->coder->size, 1);
    if (!m->coded) return ht__fail_memory(diag, w->name);
    HT_TRY(ht__best_matrix(best, m, diag));
    if (!course->native) course->rows[item] = m->coded;
    return HT_OK;
}

/* Where the scheme's files list the groups of columns: those that go together by the activations. */
static enum ht_err list_groups(const struct ht__layers *d, const struct ht__course *course, size_t item,
                               struct ht__best *best, struct ht_diag *diag)
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

enum ht_err ht__course_choose(struct ht__layers *d, struct ht__course *course, size_t item, struct ht__best *best,
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
    if (chosen->coded) return HT_OK;
    chosen->coded = ht__new_array(d->plan->run.alloc, (size_t)w->ne[2], size);
    chosen->taken = NULL;
    chosen->before = chosen->after = 0;
    chosen->n_experts = chosen->n_few = chosen->n_without = 0;
    return chosen->coded ? HT_OK : ht__fail_memory(diag, w->name);
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
                                     struct ht__best *best, int64_t n_rows, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(d->plan, course->out, item);
    const float *importance = d->plan->importance[item];
    const struct matrix_rows rows = {w, expert * w->ne[1]};
    struct ht__coder coder;
    struct ht__best_matrix m = {.coder = &coder, .read = read_matrix, .ctx = &rows};
    if (importance) m.importance = importance + expert * w->ne[0];
    struct ht__arena arena;
    ht__arena_init(&arena, d->plan->run.alloc);
    enum ht_err err = open_coder(d, course, item, &coder, &arena, diag);
    if (err == HT_OK) err = open_stack(d, course, item, coder.size, diag);
    if (err == HT_OK) {
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
    course->rows[item] = course->chosen[item].coded;
}

static enum ht_err read_type_back(struct ht__layers *d, struct ht__course *course, size_t item, struct ht_diag *diag)
{
    const struct ht__plan_file *file = &course->out->files[course->out->places[item].file];
    const struct ht__extent *e = &file->entries[course->out->places[item].entry];
    const struct ht__rows *as = d->plan->items[item].rows;
    uint8_t *rows = room_for_rows(d, course, item);
    size_t n = (size_t)as->n_rows * ht__codec_bytes(course->out->choices[item].type, (uint64_t)as->row_len);
    if (!rows) return ht__fail_memory(diag, ht__item_any(d->plan, item)->name);
    return ht__output_read(&file->out, e->offset, rows, n, diag);
}

enum ht_err ht__course_read_back(struct ht__layers *d, struct ht__course *course, size_t item, struct ht_diag *diag)
{
    if (!course->native) return read_type_back(d, course, item, diag);
    float *x = room(d, course, item);
    return x ? ht__native_read_back(course, item, x, diag) : ht__fail_memory(diag, ht__item_any(d->plan, item)->name);
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
    for (size_t i = 0; course->rows && course->rounded && course->chosen && i < plan->n_items; i++) {
        ht__free(plan->run.alloc, course->rounded[i]);
        ht__free(plan->run.alloc, course->chosen[i].coded);
        course->rounded[i] = course->chosen[i].coded = NULL;
        course->rows[i] = NULL;
    }
}
