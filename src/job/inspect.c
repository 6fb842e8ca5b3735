/* Inspecting: metadata, tensors, sizes; with verification every block and every value. */
#include "job/inspect.h"
#include "base/json.h"
#include "formats/checkpoint.h"
#include "halftone/halftone.h"

#include <math.h>
#include <string.h>

static void put_str(struct ht__buf *out, const char *text, size_t len)
{
    ht__json_quote(out, text, len);
}

static void put_number(struct ht__buf *out, double v)
{
    if (isfinite(v))
        ht__buf_printf(out, "%.9g", v);
    else
        ht__buf_str(out, "null"); /* JSON has no infinity */
}

static void put_element(struct ht__buf *out, enum ht__kv_type type, const unsigned char *p)
{
    union {
        uint8_t u8; int8_t i8; uint16_t u16; int16_t i16; uint32_t u32; int32_t i32; float f32;
        uint64_t u64; int64_t i64; double f64;
    } v = {0};
    memcpy(&v, p, ht__kv_type_size(type));
    switch (type) {
    case HT__KV_U8: ht__buf_printf(out, "%u", v.u8); break;
    case HT__KV_I8: ht__buf_printf(out, "%d", v.i8); break;
    case HT__KV_U16: ht__buf_printf(out, "%u", v.u16); break;
    case HT__KV_I16: ht__buf_printf(out, "%d", v.i16); break;
    case HT__KV_U32: ht__buf_printf(out, "%u", v.u32); break;
    case HT__KV_I32: ht__buf_printf(out, "%d", v.i32); break;
    case HT__KV_BOOL: ht__buf_str(out, v.u8 ? "true" : "false"); break;
    case HT__KV_U64: ht__buf_printf(out, "%llu", (unsigned long long)v.u64); break;
    case HT__KV_I64: ht__buf_printf(out, "%lld", (long long)v.i64); break;
    case HT__KV_F32: put_number(out, (double)v.f32); break;
    default: put_number(out, v.f64); break;
    }
}

/* Long arrays (vocabularies) are shown by their beginning; "length" says how long they are. */
static void put_array(struct ht__buf *out, const struct ht__kv *kv)
{
    enum { SHOWN = 8 };
    uint64_t n = kv->n < SHOWN ? kv->n : SHOWN;
    ht__buf_printf(out, "{\"array\": \"%s\", \"length\": %llu, \"first\": [", ht__kv_type_name(kv->elem),
                   (unsigned long long)kv->n);
    for (uint64_t i = 0; i < n; i++) {
        if (i) ht__buf_str(out, ", ");
        if (kv->elem == HT__KV_STR)
            put_str(out, kv->strs[i].text, kv->strs[i].len);
        else
            put_element(out, kv->elem, (const unsigned char *)kv->data + i * ht__kv_type_size(kv->elem));
    }
    ht__buf_str(out, "]}");
}

static void put_kv(struct ht__buf *out, const struct ht__kv *kv)
{
    put_str(out, kv->key, strlen(kv->key));
    ht__buf_str(out, ": ");
    if (kv->type == HT__KV_STR) {
        put_str(out, kv->str.text, kv->str.len);
    } else if (kv->type == HT__KV_ARR) {
        put_array(out, kv);
    } else if (kv->type == HT__KV_F32) {
        float f = (float)kv->f;
        put_element(out, kv->type, (const unsigned char *)&f);
    } else {
        put_element(out, kv->type, (const unsigned char *)&kv->u);
    }
}

static void put_metadata(struct ht__buf *out, const struct ht__kvs *kvs)
{
    ht__buf_str(out, "\"metadata\": {");
    for (size_t i = 0; i < kvs->n; i++) {
        if (i) ht__buf_str(out, ", ");
        put_kv(out, &kvs->items[i]);
    }
    ht__buf_str(out, "}, ");
}

static void put_tensor(struct ht__buf *out, const struct ht__checkpoint *ck, const struct ht__tensor *t)
{
    ht__buf_str(out, "{\"name\": ");
    put_str(out, t->name, strlen(t->name));
    ht__buf_printf(out, ", \"type\": \"%s\", \"shape\": [", t->dtype->name);
    for (int i = 0; i < t->n_dims; i++)
        ht__buf_printf(out, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
    ht__buf_printf(out, "], \"bytes\": %llu, \"offset\": %llu, \"file\": ",
                   (unsigned long long)t->n_bytes, (unsigned long long)t->offset);
    const char *file = ht__path_base(ck->files[t->file].path);
    put_str(out, file, strlen(file));
    ht__buf_str(out, "}");
}

/* Weights by type: how many tensors, weights and bytes; in the order of the types' list. */
static enum ht_err put_types(struct ht__buf *out, const struct ht__checkpoint *ck, struct ht_diag *diag)
{
    struct sums {
        uint64_t tensors, weights, bytes;
    } *sums = ht__new_array(ck->arena.alloc, ht__codec_count(), sizeof *sums);
    if (!sums) return ht__fail_memory(diag, "inspect");
    size_t c = 0; /* neighbours are mostly of one type */
    for (uint32_t i = 0; i < ck->n_tensors; i++) {
        const struct ht__tensor *t = &ck->tensors[i];
        while (ht__codec_at(c) != t->dtype)
            c = (c + 1) % ht__codec_count();
        sums[c].tensors++;
        sums[c].weights += t->n_weights;
        sums[c].bytes += t->n_bytes;
    }
    const char *comma = "";
    ht__buf_str(out, "\"types\": {");
    for (c = 0; c < ht__codec_count(); c++) {
        if (sums[c].tensors == 0) continue;
        ht__buf_printf(out, "%s\"%s\": {\"tensors\": %llu, \"weights\": %llu, \"bytes\": %llu}", comma,
                       ht__codec_at(c)->name, (unsigned long long)sums[c].tensors,
                       (unsigned long long)sums[c].weights, (unsigned long long)sums[c].bytes);
        comma = ", ";
    }
    ht__buf_str(out, "}, ");
    ht__free(ck->arena.alloc, sums);
    return HT_OK;
}

/* Blocks by the codec's check; where it has none, decoded values must be finite. */
static enum ht_err verify_tensor(const struct ht__checkpoint *ck, const struct ht__tensor *t,
                                 struct ht__arena *scratch, struct ht_diag *diag)
{
    enum { STEP = 1 << 18 };
    const char *path = ck->files[t->file].path;
    for (uint64_t at = 0; at < t->n_weights; at += STEP) {
        uint64_t n = t->n_weights - at < STEP ? t->n_weights - at : STEP;
        ht__arena_reset(scratch);
        float *x = ht__arena_raw(scratch, n * sizeof *x);
        if (!x) return ht__fail_memory(diag, t->name);
        if (t->dtype->check && !t->strides && !t->big_endian) {
            void *raw = ht__arena_raw(scratch, ht__codec_bytes(t->dtype, n));
            if (!raw) return ht__fail_memory(diag, t->name);
            HT_TRY(ht__tensor_read_raw(ck, t, at, n, raw, diag));
            int64_t bad = ht__checker(t->dtype, ht__cpu_best())(raw, (int64_t)(n / t->dtype->block_len));
            if (bad >= 0)
                return ht__fail(diag, HT_ERR_NONFINITE, path, -1,
                                "%s: weight %llu belongs to a block that is not sound (a scale or value "
                                "that is not finite)", t->name,
                                (unsigned long long)(at + (uint64_t)bad * t->dtype->block_len));
            continue;
        }
        HT_TRY(ht__tensor_read(ck, t, at, n, x, scratch, diag));
        for (uint64_t i = 0; i < n; i++)
            if (!isfinite(x[i]))
                return ht__fail(diag, HT_ERR_NONFINITE, path, -1, "%s: weight %llu is not finite",
                                t->name, (unsigned long long)(at + i));
    }
    return HT_OK;
}

static enum ht_err verify(const struct ht__checkpoint *ck, struct ht_diag *diag)
{
    struct ht__arena scratch;
    ht__arena_init(&scratch, ck->arena.alloc);
    enum ht_err err = HT_OK;
    for (uint32_t i = 0; err == HT_OK && i < ck->n_tensors; i++)
        err = verify_tensor(ck, &ck->tensors[i], &scratch, diag);
    ht__arena_close(&scratch);
    return err;
}

static enum ht_err put_checkpoint(struct ht__buf *out, const struct ht__checkpoint *ck, const char *path,
                                  unsigned flags, struct ht_diag *diag)
{
    static const char *const kinds[] = {"safetensors", "pytorch", "gguf"};
    uint64_t bytes = 0, weights = 0;
    for (uint32_t i = 0; i < ck->n_files; i++)
        bytes += ck->files[i].size;
    for (uint32_t i = 0; i < ck->n_tensors; i++)
        weights += ck->tensors[i].n_weights;
    ht__buf_str(out, "{\"path\": ");
    put_str(out, path, strlen(path));
    ht__buf_printf(out, ", \"kind\": \"%s\", \"files\": %u, \"bytes\": %llu, \"tensor_count\": %u, "
                        "\"parameters\": %llu, ",
                   kinds[ck->kind], ck->n_files, (unsigned long long)bytes, ck->n_tensors,
                   (unsigned long long)weights);
    HT_TRY(put_types(out, ck, diag));
    if (ck->kvs) put_metadata(out, ck->kvs);
    if (flags & HT_INSPECT_VERIFY) ht__buf_str(out, "\"verified\": true, ");
    ht__buf_str(out, "\"tensors\": [");
    for (uint32_t i = 0; flags & HT_INSPECT_TENSORS && i < ck->n_tensors; i++) {
        if (i) ht__buf_str(out, ", ");
        put_tensor(out, ck, &ck->tensors[i]);
    }
    ht__buf_str(out, "]}");
    return HT_OK;
}

enum ht_err ht__inspect(const struct ht__remote_folder *remote, const char *path, unsigned flags, struct ht__buf *out,
                        struct ht_diag *diag)
{
    struct ht__checkpoint *ck;
    HT_TRY(ht__checkpoint_open_in(remote, path, NULL, &ck, diag));
    enum ht_err err = flags & HT_INSPECT_VERIFY ? verify(ck, diag) : HT_OK;
    if (err == HT_OK) err = put_checkpoint(out, ck, path, flags, diag);
    if (err == HT_OK && out->failed) err = ht__fail_memory(diag, path);
    ht__checkpoint_close(&ck);
    return err;
}
