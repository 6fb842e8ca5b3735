/*
 * GGUF version 3, little endian:
 *   "GGUF" | u32 version | i64 tensors | i64 pairs | pairs | tensor list | padding to 32 | weights
 * Each tensor's bytes are padded to 32 too, the last one's included. The alignment is always 32, so a general.alignment of another value must not be written.
 */
#include "base/check.h"
#include "formats/gguf_parts.h"

#include <string.h>

enum { MAX_NAME = 63, MAX_DIMS = 4 };

static enum ht_err check(struct ht__extent *e, struct ht_diag *diag)
{
    if (strlen(e->name) > MAX_NAME)
        return ht__fail(diag, HT_ERR_LIMIT, e->name, -1, "GGUF allows tensor names of %d bytes", MAX_NAME);
    if (e->n_dims < 1 || e->n_dims > MAX_DIMS)
        return ht__fail(diag, HT_ERR_LIMIT, e->name, -1, "GGUF allows 1 to %d dimensions, it has %d", MAX_DIMS,
                        e->n_dims);
    if (e->type->ggml_id == HT__NO_GGML_ID)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, e->name, -1, "GGUF has no type %s", e->type->label);
    return ht__extent_size(e, diag);
}

static void write_entry(struct ht__buf *head, const struct ht__extent *e, uint64_t offset)
{
    ht__buf_u64(head, strlen(e->name));
    ht__buf_str(head, e->name);
    ht__buf_u32(head, (uint32_t)e->n_dims);
    for (int i = e->n_dims; i-- > 0;) /* innermost first */
        ht__buf_u64(head, (uint64_t)e->shape[i]);
    ht__buf_u32(head, e->type->ggml_id);
    ht__buf_u64(head, offset);
}

enum ht_err ht__gguf_lay_out(struct ht__layout *layout, struct ht_diag *diag)
{
    struct ht__buf *head = layout->head;
    struct ht__extent *extents = layout->extents;
    const struct ht__kvs *kvs = layout->kvs;
    size_t start = head->len;
    ht__buf_put(head, "GGUF", 4);
    ht__buf_u32(head, 3);
    ht__buf_u64(head, layout->n);
    ht__buf_u64(head, kvs->n);
    for (size_t i = 0; i < kvs->n; i++)
        ht__kv_write(head, &kvs->items[i]);
    uint64_t data = 0;
    for (size_t i = 0; i < layout->n; i++) {
        HT_TRY(check(&extents[i], diag));
        write_entry(head, &extents[i], data);
        extents[i].offset = data;
        if (!ht__add_ok(data, extents[i].n_bytes, &data) || !ht__align_ok(data, HT__GGUF_ALIGNMENT, &data) ||
            data > INT64_MAX / 2)
            return ht__fail(diag, HT_ERR_LIMIT, extents[i].name, -1, "the file would be too large");
    }
    size_t used = head->len - start;
    ht__buf_zeros(head, (HT__GGUF_ALIGNMENT - used % HT__GGUF_ALIGNMENT) % HT__GGUF_ALIGNMENT);
    if (head->failed || kvs->failed) return ht__fail_memory(diag, "GGUF header");
    for (size_t i = 0; i < layout->n; i++)
        extents[i].offset += head->len - start;
    layout->size = head->len - start + data;
    return HT_OK;
}
