/* The tensors of an open model, and their rows as floats. */
#include "api/model.h"
#include "schemes/packing.h"

#include <string.h>

static const struct ht__weight *weights(const struct ht_model *m, enum ht_view view, size_t *n)
{
    bool native = view == HT_VIEW_NATIVE && !m->model->from_gguf;
    *n = native ? m->model->n_native : m->model->n_weights;
    return native ? m->model->native : m->model->weights;
}

static const struct ht__weight *weight_at(const struct ht_model *m, enum ht_view view, size_t index)
{
    size_t n = 0;
    const struct ht__weight *w = m && (unsigned)view <= HT_VIEW_GGUF ? weights(m, view, &n) : NULL;
    return index < n ? &w[index] : NULL;
}

size_t ht_model_tensor_count(const struct ht_model *model, enum ht_view view)
{
    size_t n = 0;
    if (model && (unsigned)view <= HT_VIEW_GGUF) weights(model, view, &n);
    return n;
}

/* Of the native view, the tensor's own; GGUF lists dimensions innermost first. */
static void put_shape(const struct ht__weight *w, struct ht_tensor_info *info)
{
    info->n_dims = w->n_dims;
    for (int i = 0; i < w->n_dims && i < HT_TENSOR_DIMS; i++)
        info->shape[i] = w->tensor ? w->tensor->shape[i] : w->ne[w->n_dims - 1 - i];
}

bool ht_model_tensor_at(const struct ht_model *model, enum ht_view view, size_t index, struct ht_tensor_info *info)
{
    const struct ht__weight *w = weight_at(model, view, index);
    if (!w) return false;
    struct ht_tensor_info full = {.name = w->name,
                                  .dtype = w->source->name,
                                  .n_rows = w->rows->n_rows,
                                  .row_len = w->rows->row_len,
                                  .role = ht__role_at(w->slot.role)->name,
                                  .layer = w->slot.layer,
                                  .expert = w->slot.expert,
                                  .bias = w->slot.bias,
                                  .linear = w->linear};
    put_shape(w, &full);
    if (w->packed) ht__scheme_text(&w->packed->params, full.scheme, sizeof full.scheme);
    return ht__sized_give(info, &full, sizeof full);
}

bool ht_model_tensor_find(const struct ht_model *model, enum ht_view view, const char *name, size_t *index)
{
    const struct ht__weight *w;
    for (size_t i = 0; name && index && (w = weight_at(model, view, i)) != NULL; i++)
        if (strcmp(w->name, name) == 0) return *index = i, true;
    return false;
}

/* ---- rows --------------------------------------------------------------------------------------- */

/* Rows to read at a time: what is needed meanwhile grows with them, and between them a cancellation is seen. */
static int64_t step_of(const struct ht__rows *rows)
{
    enum { CHUNK = 1 << 20 };
    int64_t weights = rows->chunk_weights > CHUNK ? rows->chunk_weights : CHUNK, together = rows->together;
    int64_t step = rows->row_len > 0 ? weights / rows->row_len : 1;
    if (together > 1 && step > together) step -= step % together;
    return step > 0 ? step : 1;
}

static enum ht_err read_rows(const struct ht_model *m, const struct ht__weight *w, int64_t row, int64_t n, float *dst,
                             struct ht_diag *diag)
{
    int64_t step = step_of(w->rows);
    struct ht__arena scratch;
    enum ht_err err = HT_OK;
    ht__arena_init(&scratch, m->alloc);
    for (int64_t done = 0; !err && done < n; done += step) {
        int64_t now = n - done < step ? n - done : step;
        ht__arena_reset(&scratch);
        err = atomic_load_explicit(&m->cancelled, memory_order_relaxed)
                  ? ht__fail(diag, HT_ERR_CANCELLED, w->name, -1, "cancelled")
                  : w->rows->read(w->rows, row + done, now, dst + done * w->rows->row_len, &scratch, diag);
    }
    ht__arena_close(&scratch);
    return err;
}

enum ht_err ht_model_read_rows(const struct ht_model *model, enum ht_view view, size_t index, int64_t row, int64_t n,
                               float *dst, struct ht_diag *diag)
{
    const struct ht__weight *w = weight_at(model, view, index);
    ht__diag_clear(diag);
    if (!model || (unsigned)view > HT_VIEW_GGUF || (!dst && n != 0))
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a model, one of its views, and room for the rows");
    if (!w)
        return ht__fail(diag, HT_ERR_USAGE, "tensor", -1, "there is no tensor number %zu: the model has %zu", index,
                        ht_model_tensor_count(model, view));
    if (row < 0 || n < 0 || row > w->rows->n_rows || n > w->rows->n_rows - row)
        return ht__fail(diag, HT_ERR_USAGE, w->name, -1, "there are no %lld rows from row %lld: the tensor has %lld",
                        (long long)n, (long long)row, (long long)w->rows->n_rows);
    return read_rows(model, w, row, n, dst, diag);
}
