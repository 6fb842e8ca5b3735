/* Tensors that are the same bytes of the source (a tied output, saved by PyTorch) are the same bytes of a file that can
 * say so. */
#include "pipeline/folder.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    const struct ht__tensor *tensor;
    const struct ht__codec *type; /* as it is written */
    struct ht__place place;
};

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* Those that may share come together, the one that lies first in front. */
static int by_source(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = compare(x->tensor->file, y->tensor->file);
    if (!order) order = compare(x->tensor->offset, y->tensor->offset);
    if (!order) order = compare(x->place.file, y->place.file);
    return order ? order : compare(x->place.entry, y->place.entry);
}

static bool same(const struct entry *x, const struct entry *y)
{
    const struct ht__tensor *a = x->tensor, *b = y->tensor;
    size_t dims = (size_t)a->n_dims * sizeof a->shape[0];
    bool alike = a->file == b->file && a->offset == b->offset && a->n_bytes == b->n_bytes && a->n_bytes > 0 &&
                 a->dtype == b->dtype && a->n_dims == b->n_dims && memcmp(a->shape, b->shape, dims) == 0;
    if (!alike || !a->strides != !b->strides) return false;
    if (a->strides && memcmp(a->strides, b->strides, dims) != 0) return false;
    return x->type == y->type && x->place.file == y->place.file;
}

enum ht_err ht__folder_share(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    struct entry *list = ht__new_array(plan->run.alloc, plan->n_items ? plan->n_items : 1, sizeof *list);
    size_t n = 0, first = 0;
    if (!list) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct ht__weight *w = ht__item_in(plan, out, i);
        if (w && w->tensor && !w->packed && !out->packed[i])
            list[n++] = (struct entry){w->tensor, out->choices[i].type, out->places[i]};
    }
    qsort(list, n, sizeof *list, by_source);
    for (size_t i = 1; i < n; i++) {
        struct ht__extent *entries = out->files[list[i].place.file].entries;
        if (same(&list[first], &list[i]))
            entries[list[i].place.entry].shares = &entries[list[first].place.entry];
        else
            first = i;
    }
    ht__free(plan->run.alloc, list);
    return HT_OK;
}
