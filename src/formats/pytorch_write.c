/*
 * A PyTorch checkpoint as torch.save writes it: data.pkl with a dictionary of tensors, each a view of a whole storage,
 * three small entries that say how the archive is laid out, the storages data/0, data/1 …, and the version. The pickle
 * is plain: nothing is put into the memo, and every name is written again where it is used.
 */
#include "base/check.h"
#include "formats/pytorch_parts.h"
#include "formats/zip_write.h"

#include <stdio.h>
#include <string.h>

/* ---- the pickle, protocol 2 ---- */

static void op(struct ht__buf *b, char code)
{
    ht__buf_put(b, &code, 1);
}

static void put_text(struct ht__buf *b, const char *text)
{
    op(b, 'X');
    ht__buf_u32(b, (uint32_t)strlen(text));
    ht__buf_str(b, text);
}

static void put_int(struct ht__buf *b, uint64_t value)
{
    int64_t number = (int64_t)value;
    unsigned char byte = (unsigned char)value;
    uint32_t word = (uint32_t)value;
    if (value <= UINT8_MAX) {
        op(b, 'K');
        ht__buf_put(b, &byte, 1);
    } else if (value <= INT32_MAX) {
        op(b, 'J');
        ht__buf_u32(b, word);
    } else { /* LONG1 of 8 bytes */
        ht__buf_put(b, "\x8a\x08", 2);
        ht__buf_put(b, &number, sizeof number);
    }
}

/* "torch FloatStorage": the module, a blank, the name. */
static void put_global(struct ht__buf *b, const char *global)
{
    const char *blank = strchr(global, ' ');
    ht__buf_printf(b, "c%.*s\n%s\n", (int)(blank - global), global, blank + 1);
}

static void put_storage(struct ht__buf *b, const struct ht__extent *e, const char *storage, uint64_t key)
{
    char text[24];
    op(b, '(');
    put_text(b, "storage");
    put_global(b, storage ? storage : "torch.storage UntypedStorage");
    snprintf(text, sizeof text, "%llu", (unsigned long long)key);
    put_text(b, text);
    put_text(b, "cpu");
    put_int(b, storage ? e->n_bytes / e->type->block_size : e->n_bytes);
    ht__buf_put(b, "tQ", 2);
}

static void put_shape(struct ht__buf *b, const struct ht__extent *e)
{
    op(b, '(');
    for (int i = 0; i < e->n_dims; i++)
        put_int(b, (uint64_t)e->shape[i]);
    op(b, 't');
}

static void put_strides(struct ht__buf *b, const struct ht__extent *e)
{
    uint64_t strides[HT__MAX_DIMS], stride = 1;
    for (int i = e->n_dims; i-- > 0;) {
        strides[i] = stride;
        stride *= e->shape[i] > 1 ? (uint64_t)e->shape[i] : 1;
    }
    op(b, '(');
    for (int i = 0; i < e->n_dims; i++)
        put_int(b, strides[i]);
    op(b, 't');
}

/* Dtypes that are younger than storages with a type are given by themselves. */
static void put_tensor(struct ht__buf *b, const struct ht__extent *e, uint64_t key)
{
    const char *storage = ht__pytorch_global(e->type, true);
    put_text(b, e->name);
    put_global(b, storage ? "torch._utils _rebuild_tensor_v2" : "torch._utils _rebuild_tensor_v3");
    op(b, '(');
    put_storage(b, e, storage, key);
    put_int(b, 0);
    put_shape(b, e);
    put_strides(b, e);
    op(b, '\x89'); /* requires no gradient, and has no hooks */
    put_global(b, "collections OrderedDict");
    ht__buf_put(b, ")R", 2);
    if (!storage) put_global(b, ht__pytorch_global(e->type, false));
    ht__buf_put(b, "tR", 2);
}

static void put_pickle(struct ht__buf *b, const struct ht__layout *layout, const uint64_t *keys)
{
    ht__buf_put(b, "\x80\x02}(", 4);
    for (size_t i = 0; i < layout->n; i++)
        put_tensor(b, &layout->extents[i], keys[i]);
    ht__buf_put(b, "u.", 2);
}

/* ---- the archive ---- */

static enum ht_err check(struct ht__extent *e, struct ht_diag *diag)
{
    if (!ht__pytorch_global(e->type, true) && !ht__pytorch_global(e->type, false))
        return ht__fail(diag, HT_ERR_UNSUPPORTED, e->name, -1, "PyTorch has no type %s", e->type->label);
    return ht__extent_size(e, diag);
}

/* One storage for each tensor, but for those that share one: numbered in order of first use. */
static enum ht_err number(struct ht__layout *layout, uint64_t *keys, struct ht_diag *diag)
{
    uint64_t n = 0;
    for (size_t i = 0; i < layout->n; i++) {
        const struct ht__extent *shares = layout->extents[i].shares;
        HT_TRY(check(&layout->extents[i], diag));
        keys[i] = shares ? keys[shares - layout->extents] : n++;
    }
    return HT_OK;
}

static void put_storages(struct ht__zip_writer *zip, struct ht__layout *layout, const uint64_t *keys,
                         const uint32_t *crc)
{
    char name[40];
    for (size_t i = 0; i < layout->n; i++) {
        struct ht__extent *e = &layout->extents[i];
        if (e->shares) {
            e->offset = e->shares->offset;
            continue;
        }
        snprintf(name, sizeof name, "archive/data/%llu", (unsigned long long)keys[i]);
        e->offset = ht__zip_reserve(zip, name, e->n_bytes, crc ? crc[i] : 0);
    }
}

/* The entries .format_version and .storage_alignment say that the storages lie as torch.save lays them. */
static enum ht_err put_archive(struct ht__layout *layout, const uint64_t *keys, const uint32_t *crc,
                               struct ht__buf *pickle, struct ht_diag *diag)
{
    struct ht__zip_writer zip;
    put_pickle(pickle, layout, keys);
    if (pickle->failed) return ht__fail_memory(diag, "data.pkl");
    ht__zip_begin(&zip, layout);
    ht__zip_add(&zip, "archive/data.pkl", pickle->data, pickle->len);
    ht__zip_add(&zip, "archive/.format_version", "1", 1);
    ht__zip_add(&zip, "archive/.storage_alignment", "64", 2);
    ht__zip_add(&zip, "archive/byteorder", "little", 6);
    put_storages(&zip, layout, keys, crc);
    ht__zip_add(&zip, "archive/version", "3\n", 2);
    enum ht_err err = ht__zip_end(&zip, diag);
    layout->size = zip.at;
    ht__zip_close(&zip);
    return err;
}

enum ht_err ht__pytorch_seal(struct ht__layout *layout, const uint32_t *crc, struct ht_diag *diag)
{
    struct ht__buf pickle;
    uint64_t *keys = ht__new_array(layout->head->alloc, layout->n ? layout->n : 1, sizeof *keys);
    if (!keys) return ht__fail_memory(diag, "data.pkl");
    layout->head->len = layout->rest->bytes.len = layout->rest->pieces.len = 0;
    ht__buf_init(&pickle, layout->head->alloc);
    enum ht_err err = number(layout, keys, diag);
    if (err == HT_OK) err = put_archive(layout, keys, crc, &pickle, diag);
    ht__buf_close(&pickle);
    ht__free(layout->head->alloc, keys);
    return err;
}

enum ht_err ht__pytorch_lay_out(struct ht__layout *layout, struct ht_diag *diag)
{
    return ht__pytorch_seal(layout, NULL, diag);
}
