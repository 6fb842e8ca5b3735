#include "model/view_native.h"

#include <string.h>

static bool make_room(struct ht__model *model)
{
    if (model->n_native < model->n_native_cap) return true;
    size_t cap = model->n_native_cap ? model->n_native_cap * 2 : 256;
    struct ht__weight *grown = ht__arena_array(&model->arena, cap, sizeof *grown);
    if (!grown) return false;
    if (model->n_native) memcpy(grown, model->native, model->n_native * sizeof *grown);
    model->native = grown;
    model->n_native_cap = cap;
    return true;
}

/* The last dimension is that of the rows; all others together count them. */
static enum ht_err add(struct ht__arch_build *b, const struct ht__tensor *t, const struct ht__rows *rows,
                       struct ht__slot slot, bool linear)
{
    if (!rows || !make_room(b->model)) return ht__fail_memory(b->diag, t->name);
    b->model->native[b->model->n_native++] = (struct ht__weight){
        .name = t->name,
        .tensor = t,
        .n_dims = t->n_dims,
        .source = t->dtype,
        .rows = rows,
        .packed = b->packed,
        .ne = {rows->row_len, rows->n_rows, 1, 1},
        .slot = slot,
        .linear = linear,
        .native = (uint32_t)(b->model->n_native - 1),
    };
    return HT_OK;
}

/* The same tensor as rows of inputs, of n_stacked experts or (0) of one matrix. */
static enum ht_err add_stack(struct ht__arch_build *b, struct ht__weight *w, const struct ht__rows *rows,
                             int64_t n_stacked)
{
    struct ht__weight *stack = ht__arena_new(&b->model->arena, sizeof *stack);
    if (!stack) return ht__fail_memory(b->diag, w->name);
    *stack = *w;
    stack->rows = rows;
    stack->ne[0] = rows->row_len;
    stack->ne[1] = rows->n_rows;
    stack->is_stack = true;
    stack->n_stacked = n_stacked;
    w->stack = stack;
    return HT_OK;
}

enum ht_err ht__native_add_other(struct ht__arch_build *b, const struct ht__tensor *t, const struct ht__rows *rows)
{
    const struct ht__slot none = {.role = HT__ROLE_OTHER, .layer = -1, .expert = -1};
    return add(b, t, rows ? rows : ht__rows_tensor(b->arena, b->ck, t, 0), none, false);
}

enum ht_err ht__native_add(struct ht__arch_build *b, const struct ht__found *f, struct ht__slot slot)
{
    const struct ht__role_info *role = ht__role_at(slot.role);
    bool matrix = role->matrix && !(role->flags & HT__ROLE_NEVER) && !slot.bias && f->tensor->n_dims == 2;
    bool transposed = matrix && f->rule->map == ht__arch_transpose;
    const struct ht__rows *stack = b->stack;
    b->stack = NULL;
    if (transposed && !(stack = ht__rows_transpose(b->arena, f->rows, f->tensor->shape[0])))
        return ht__fail_memory(b->diag, f->tensor->name);
    HT_TRY(add(b, f->tensor, f->rows, slot, matrix && !transposed));
    if (!stack) return HT_OK;
    return add_stack(b, &b->model->native[b->model->n_native - 1], stack, transposed ? 0 : f->tensor->shape[0]);
}
