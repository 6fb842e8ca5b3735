/*
 * What schemes make of a folder's matrices. They are those of the native view: what is put in the place of the engine's weights
 * is read through the model's own way from one view to the other (ht__rows_overlay), so that rows in another order come about
 * as they do when a folder is opened.
 */
#include "base/pool.h"
#include "model/rows.h"
#include "pipeline/budget_parts.h"
#include "pipeline/floats.h"
#include "pipeline/folder.h"

#include <stdatomic.h>
#include <string.h>

enum {
    AT_ONCE = 1 << 14,        /* weights that a thread rounds at a time */
    SAMPLE_WEIGHTS = 1 << 16, /* of a matrix, at most, that errors are taken of */
};

/* Pieces of rows of one matrix. */
struct rounding {
    const struct ht__plan *plan;
    const struct ht__weight *weight;
    const struct ht__scheme_params *params;
    struct ht__matrix matrix;
    const float *importance;
    int64_t piece, step; /* rows in a piece; of the pieces every step-th is taken */
    float *dst;          /* all rows, rounded; NULL: errors are wanted */
    double *errors;      /* by task */
    _Atomic int err;
    struct ht_diag diag; /* of the first error */
};

static double weighed_error(const struct rounding *r, const float *x, const float *y, int64_t rows)
{
    double sum = 0;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < r->matrix.n_in; i++) {
            double d = (double)x[row * r->matrix.n_in + i] - (double)y[row * r->matrix.n_in + i];
            sum += d * d * (r->importance ? (double)r->importance[i] : 1);
        }
    return sum;
}

static enum ht_err round_piece(struct rounding *r, int64_t task, struct ht__arena *arena, struct ht_diag *diag)
{
    const struct ht__method_params *method = &r->plan->outputs[0].target->method;
    int64_t row = task * r->step * r->piece, left = r->matrix.n_out - row, rows = left < r->piece ? left : r->piece;
    size_t n = (size_t)(rows * r->matrix.n_in);
    struct ht__codes codes;
    float *x = ht__arena_raw(arena, n * sizeof *x), *again = ht__arena_raw(arena, n * sizeof *again);
    if (!x || !again || !ht__codes_new(&codes, r->params, &r->matrix, row, rows, arena))
        return ht__fail_memory(diag, r->weight->name);
    HT_TRY(r->weight->rows->read(r->weight->rows, row, rows, x, arena, diag));
    if (!ht__floats_finite(x, (int64_t)n)) return ht__floats_refuse(r->weight, row, rows, x, diag);
    if (!method->method->rows(method, r->params, &r->matrix, x, r->importance, &codes))
        return ht__fail_memory(diag, r->weight->name);
    if (r->dst) again = r->dst + row * r->matrix.n_in;
    r->params->scheme->value(r->params, &r->matrix, &codes, again);
    if (!r->dst) r->errors[task] = weighed_error(r, x, again, rows);
    return HT_OK;
}

static void round_task(void *ctx, int64_t task, int thread)
{
    struct rounding *r = ctx;
    struct ht__arena arena;
    struct ht_diag diag = {0};
    int none = HT_OK;
    (void)thread;
    if (atomic_load(&r->err) != HT_OK) return;
    ht__arena_init(&arena, r->plan->run.alloc);
    enum ht_err err = round_piece(r, task, &arena, &diag);
    if (err != HT_OK && atomic_compare_exchange_strong(&r->err, &none, (int)err)) r->diag = diag;
    ht__arena_close(&arena);
}

static enum ht_err run(const struct ht__sense *s, struct rounding *r, int64_t tasks, struct ht_diag *diag)
{
    ht__pool_run(s->pool, tasks, round_task, r);
    enum ht_err err = (enum ht_err)atomic_load(&r->err);
    if (err != HT_OK && diag) *diag = r->diag;
    return err;
}

static struct rounding rounding_of(const struct ht__sense *s, const struct ht__budget_member *m,
                                   const struct ht__scheme_params *params)
{
    const struct ht__model *model = s->plan->model;
    const struct ht__weight *w = &model->native[m->native];
    struct rounding r = {.plan = s->plan, .weight = w->stack ? w->stack : w, .params = params, .step = 1};
    r.matrix = ht__native_matrix(w, ht__folder_dtype(s->plan));
    r.importance = s->plan->importance[m->item];
    int64_t multiple = ht__scheme_rows(params, &r.matrix), rows = AT_ONCE / r.matrix.n_in / multiple * multiple;
    r.piece = rows > multiple ? rows : multiple;
    return r;
}

/* ---- errors ---- */

static enum ht_err error_of(const struct ht__sense *s, const struct ht__budget_member *m,
                            const struct ht__scheme_params *params, double *error, struct ht_diag *diag)
{
    struct rounding r = rounding_of(s, m, params);
    int64_t pieces = (r.matrix.n_out + r.piece - 1) / r.piece, wanted = SAMPLE_WEIGHTS / AT_ONCE;
    if (pieces > wanted) r.step = (pieces + wanted - 1) / wanted;
    int64_t tasks = (pieces + r.step - 1) / r.step;
    r.errors = ht__new_array(s->plan->run.alloc, (size_t)tasks, sizeof *r.errors);
    if (!r.errors) return ht__fail_memory(diag, r.weight->name);
    enum ht_err err = run(s, &r, tasks, diag);
    double sum = 0;
    for (int64_t t = 0; t < tasks; t++)
        sum += r.errors[t];
    *error += sum * (double)pieces / (double)tasks;
    ht__free(s->plan->run.alloc, r.errors);
    return err;
}

enum ht_err ht__budget_scheme_errors(struct ht__sense *s, struct ht__budget_matrix *matrix, struct ht_diag *diag)
{
    for (size_t i = 0; i < matrix->n; i++) {
        matrix->errors[i] = 0;
        for (size_t k = 0; matrix->schemes[i] && k < matrix->n_members; k++)
            HT_TRY(error_of(s, &matrix->members[k], matrix->schemes[i], &matrix->errors[i], diag));
    }
    return HT_OK;
}

/* ---- in the place of the engine's weights ---- */

struct laid {
    const struct ht__rows *rows;
    float *x;
};
struct over {
    struct laid *laid;
    size_t n;
    bool used;
};

static const float *in_place_of(void *ctx, const struct ht__rows *rows)
{
    struct over *o = ctx;
    for (size_t i = 0; i < o->n; i++)
        if (o->laid[i].rows == rows) {
            o->used = true;
            return o->laid[i].x;
        }
    return NULL;
}

static enum ht_err lay(struct ht__sense *s, struct over *o, const struct ht__budget_matrix *matrix, size_t option,
                       struct ht_diag *diag)
{
    for (size_t i = 0; matrix->schemes[option] && i < matrix->n_members; i++) {
        struct rounding r = rounding_of(s, &matrix->members[i], matrix->schemes[option]);
        struct laid *to = &o->laid[o->n++];
        to->rows = r.weight->rows;
        to->x = ht__new_array(s->plan->run.alloc, (size_t)to->rows->n_rows, (size_t)to->rows->row_len * sizeof *to->x);
        if (!to->x) return ht__fail_memory(diag, r.weight->name);
        r.dst = to->x;
        HT_TRY(run(s, &r, (r.matrix.n_out + r.piece - 1) / r.piece, diag));
    }
    return HT_OK;
}

/* A weight that nothing lies over stays that of the float model. */
static enum ht_err read_anew(struct ht__sense *s, struct over *o, const struct ht__weight *w, struct ht_diag *diag)
{
    const struct ht__rows_overlay overlay = {in_place_of, o};
    struct ht__arena scratch;
    float *x = ht__sense_place(s, w);
    if (!x) return ht__fail_memory(diag, w->name);
    ht__arena_init(&scratch, s->plan->run.alloc);
    o->used = false;
    ht__rows_overlay(&overlay);
    enum ht_err err = w->rows->read(w->rows, 0, w->rows->n_rows, x, &scratch, diag);
    ht__rows_overlay(NULL);
    ht__arena_close(&scratch);
    if (err == HT_OK && !o->used) ht__sense_leave(s, w);
    return err;
}

static enum ht_err put_over(struct ht__sense *s, struct over *o, int32_t layer, struct ht_diag *diag)
{
    const struct ht__model *m = s->plan->model;
    enum ht_err err = HT_OK;
    for (size_t i = 0; err == HT_OK && o->n && i < m->n_weights; i++) {
        const struct ht__weight *w = &m->weights[i];
        if (w->slot.layer == layer && !w->slot.bias && ht__role_at(w->slot.role)->matrix)
            err = read_anew(s, o, w, diag);
    }
    return err;
}

static enum ht_err open_over(const struct ht__sense *s, struct over *o, size_t n, struct ht_diag *diag)
{
    *o = (struct over){.laid = ht__new_array(s->plan->run.alloc, n + 1, sizeof *o->laid)};
    return o->laid ? HT_OK : ht__fail_memory(diag, "budget");
}

static void close_over(const struct ht__sense *s, struct over *o)
{
    for (size_t i = 0; i < o->n; i++)
        ht__free(s->plan->run.alloc, o->laid[i].x);
    ht__free(s->plan->run.alloc, o->laid);
}

enum ht_err ht__budget_put_scheme(struct ht__sense *s, const struct ht__budget_matrix *matrix, size_t option,
                                  struct ht_diag *diag)
{
    struct over o;
    HT_TRY(open_over(s, &o, matrix->n_members, diag));
    enum ht_err err = lay(s, &o, matrix, option, diag);
    if (err == HT_OK) err = put_over(s, &o, matrix->slot.layer, diag);
    close_over(s, &o);
    return err;
}

enum ht_err ht__budget_put_layer(struct ht__sense *s, const struct ht__budget_plan *b, const uint32_t *chosen,
                                 int32_t layer, struct ht_diag *diag)
{
    struct over o;
    size_t n = 0;
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < b->n; i++)
        n += b->matrices[i].slot.layer == layer ? b->matrices[i].n_members : 0;
    HT_TRY(open_over(s, &o, n, diag));
    for (size_t i = 0; err == HT_OK && i < b->n; i++)
        if (b->matrices[i].slot.layer == layer) err = lay(s, &o, &b->matrices[i], chosen[i], diag);
    if (err == HT_OK) err = put_over(s, &o, layer, diag);
    close_over(s, &o);
    return err;
}
