/*
 * GGUF version 3, little endian:
 *   "GGUF" | u32 version | i64 tensors | i64 pairs | pairs | tensor list | padding to 32 | weights
 * Each tensor's bytes are padded to 32 too, the last one's included. Trailing dimensions of 1 are
 * dropped. The alignment is always 32, so a general.alignment of another value must not be written.
 */
#include "formats/gguf_write.h"
#include "base/check.h"

#include <string.h>

enum { MAX_NAME = 63 };

static int n_dims(const struct ht__gguf_entry *e)
{
    int n = 4;
    while (n > 1 && e->ne[n - 1] == 1)
        n--;
    return n;
}

static enum ht_err size_of(struct ht__gguf_entry *e, struct ht_diag *diag)
{
    uint64_t n, bytes;
    if (strlen(e->name) > MAX_NAME)
        return ht__fail(diag, HT_ERR_LIMIT, e->name, -1, "GGUF allows tensor names of %d bytes",
                        MAX_NAME);
    if (!ht__extents_ok(e->ne, 4, &n) || e->ne[0] % e->type->block_len != 0 ||
        !ht__mul_ok(n / e->type->block_len, e->type->block_size, &bytes) || bytes > INT64_MAX / 2)
        return ht__fail(diag, HT_ERR_LIMIT, e->name, -1, "%lld weights a row do not make whole %s blocks",
                        (long long)e->ne[0], e->type->label);
    e->n_bytes = bytes;
    return HT_OK;
}

static void write_entry(struct ht__buf *head, const struct ht__gguf_entry *e, uint64_t offset)
{
    int n = n_dims(e);
    ht__buf_u64(head, strlen(e->name));
    ht__buf_str(head, e->name);
    ht__buf_u32(head, (uint32_t)n);
    ht__buf_put(head, e->ne, (size_t)n * sizeof e->ne[0]);
    ht__buf_u32(head, e->type->ggml_id);
    ht__buf_u64(head, offset);
}

enum ht_err ht__gguf_layout(const struct ht__kvs *kvs, struct ht__gguf_entry *entries, size_t n,
                            struct ht__buf *head, uint64_t *file_size, struct ht_diag *diag)
{
    size_t start = head->len;
    ht__buf_put(head, "GGUF", 4);
    ht__buf_u32(head, 3);
    ht__buf_u64(head, n);
    ht__buf_u64(head, kvs->n);
    for (size_t i = 0; i < kvs->n; i++)
        ht__kv_write(head, &kvs->items[i]);
    uint64_t data = 0;
    for (size_t i = 0; i < n; i++) {
        HT_TRY(size_of(&entries[i], diag));
        write_entry(head, &entries[i], data);
        entries[i].offset = data;
        if (!ht__add_ok(data, entries[i].n_bytes, &data) ||
            !ht__align_ok(data, HT__GGUF_ALIGNMENT, &data) || data > INT64_MAX / 2)
            return ht__fail(diag, HT_ERR_LIMIT, entries[i].name, -1, "the file would be too large");
    }
    size_t used = head->len - start;
    ht__buf_zeros(head, (HT__GGUF_ALIGNMENT - used % HT__GGUF_ALIGNMENT) % HT__GGUF_ALIGNMENT);
    if (head->failed || kvs->failed) return ht__fail_memory(diag, "GGUF header");
    for (size_t i = 0; i < n; i++)
        entries[i].offset += head->len - start;
    *file_size = head->len - start + data;
    return HT_OK;
}
