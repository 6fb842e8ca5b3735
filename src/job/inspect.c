/* Inspecting: metadata, tensors, sizes; with verification every block and every value. */
#include "job/inspect.h"
#include "formats/container.h"
#include "halftone/halftone.h"

#include <math.h>
#include <string.h>

enum { DIGITS = 9 }; /* tell every float from its neighbours */

static void put_number(struct ht__jw *w, const char *key, enum ht__kv_type type, const unsigned char *p)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        float f32;
        uint64_t u64;
        int64_t i64;
        double f64;
    } v = {0};
    memcpy(&v, p, ht__kv_type_size(type));
    switch (type) {
    case HT__KV_U8: ht__jw_uint(w, key, v.u8); break;
    case HT__KV_I8: ht__jw_int(w, key, v.i8); break;
    case HT__KV_U16: ht__jw_uint(w, key, v.u16); break;
    case HT__KV_I16: ht__jw_int(w, key, v.i16); break;
    case HT__KV_U32: ht__jw_uint(w, key, v.u32); break;
    case HT__KV_I32: ht__jw_int(w, key, v.i32); break;
    case HT__KV_BOOL: ht__jw_bool(w, key, v.u8); break;
    case HT__KV_U64: ht__jw_uint(w, key, v.u64); break;
    case HT__KV_I64: ht__jw_int(w, key, v.i64); break;
    case HT__KV_F32: ht__jw_digits(w, key, (double)v.f32, DIGITS); break;
    default: ht__jw_digits(w, key, v.f64, DIGITS); break;
    }
}

/* Long arrays (vocabularies) are shown by their beginning; "length" says how long they are. */
static void put_array(struct ht__jw *w, const struct ht__kv *kv)
{
    enum { SHOWN = 8 };
    uint64_t n = kv->n < SHOWN ? kv->n : SHOWN;
    ht__jw_object(w, kv->key);
    ht__jw_str(w, "array", ht__kv_type_name(kv->elem));
    ht__jw_uint(w, "length", kv->n);
    ht__jw_array(w, "first");
    for (uint64_t i = 0; i < n; i++)
        if (kv->elem == HT__KV_STR)
            ht__jw_text(w, NULL, kv->strs[i].text, kv->strs[i].len);
        else
            put_number(w, NULL, kv->elem, (const unsigned char *)kv->data + i * ht__kv_type_size(kv->elem));
    ht__jw_end(w);
    ht__jw_end(w);
}

static void put_kv(struct ht__jw *w, const struct ht__kv *kv)
{
    float f = (float)kv->f;
    switch (kv->type) {
    case HT__KV_STR: ht__jw_text(w, kv->key, kv->str.text, kv->str.len); break;
    case HT__KV_ARR: put_array(w, kv); break;
    case HT__KV_F32: put_number(w, kv->key, kv->type, (const unsigned char *)&f); break;
    default: put_number(w, kv->key, kv->type, (const unsigned char *)&kv->u);
    }
}

static void put_metadata(struct ht__jw *w, const struct ht__kvs *kvs)
{
    ht__jw_object(w, "metadata");
    for (size_t i = 0; i < kvs->n; i++)
        put_kv(w, &kvs->items[i]);
    ht__jw_end(w);
}

static void put_tensor(struct ht__jw *w, const struct ht__checkpoint *ck, const struct ht__tensor *t)
{
    ht__jw_object(w, NULL);
    ht__jw_str(w, "name", t->name);
    ht__jw_str(w, "type", t->dtype->name);
    ht__jw_array(w, "shape");
    for (int i = 0; i < t->n_dims; i++)
        ht__jw_int(w, NULL, t->shape[i]);
    ht__jw_end(w);
    ht__jw_uint(w, "bytes", t->n_bytes);
    ht__jw_uint(w, "offset", t->offset);
    ht__jw_str(w, "file", ht__path_base(ck->files[t->file].path));
    ht__jw_end(w);
}

/* Weights by type: how many tensors, weights and bytes; in the order of the types' list. */
static enum ht_err put_types(struct ht__jw *w, const struct ht__checkpoint *ck, struct ht_diag *diag)
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
    ht__jw_object(w, "types");
    for (c = 0; c < ht__codec_count(); c++) {
        if (sums[c].tensors == 0) continue;
        ht__jw_object(w, ht__codec_at(c)->name);
        ht__jw_uint(w, "tensors", sums[c].tensors);
        ht__jw_uint(w, "weights", sums[c].weights);
        ht__jw_uint(w, "bytes", sums[c].bytes);
        ht__jw_end(w);
    }
    ht__jw_end(w);
    ht__free(ck->arena.alloc, sums);
    return HT_OK;
}

/* Blocks by the codec's check; where it has none, decoded values must be finite. */
static enum ht_err verify_tensor(const struct ht__checkpoint *ck, const struct ht__tensor *t, struct ht__arena *scratch,
                                 struct ht_diag *diag)
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
                                "that is not finite)",
                                t->name, (unsigned long long)(at + (uint64_t)bad * t->dtype->block_len));
            continue;
        }
        HT_TRY(ht__tensor_read(ck, t, at, n, x, scratch, diag));
        for (uint64_t i = 0; i < n; i++)
            if (!isfinite(x[i]))
                return ht__fail(diag, HT_ERR_NONFINITE, path, -1, "%s: weight %llu is not finite", t->name,
                                (unsigned long long)(at + i));
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

static enum ht_err put_checkpoint(struct ht__jw *w, const struct ht__checkpoint *ck, const char *path, unsigned flags,
                                  struct ht_diag *diag)
{
    uint64_t bytes = 0, weights = 0;
    for (uint32_t i = 0; i < ck->n_files; i++)
        bytes += ck->files[i].size;
    for (uint32_t i = 0; i < ck->n_tensors; i++)
        weights += ck->tensors[i].n_weights;
    ht__jw_report(w, "inspect");
    ht__jw_str(w, "path", path);
    ht__jw_str(w, "kind", ck->container ? ck->container->name : "safetensors");
    ht__jw_uint(w, "files", ck->n_files);
    ht__jw_uint(w, "bytes", bytes);
    ht__jw_uint(w, "tensor_count", ck->n_tensors);
    ht__jw_uint(w, "parameters", weights);
    HT_TRY(put_types(w, ck, diag));
    ht__inspect_model(ck, w);
    if (ck->kvs) put_metadata(w, ck->kvs);
    if (flags & HT_INSPECT_VERIFY) ht__jw_bool(w, "verified", true);
    ht__jw_array(w, "tensors");
    for (uint32_t i = 0; flags & HT_INSPECT_TENSORS && i < ck->n_tensors; i++)
        put_tensor(w, ck, &ck->tensors[i]);
    ht__jw_end(w);
    ht__jw_end(w);
    return ht__jw_done(w) ? HT_OK : ht__fail_memory(diag, path);
}

enum ht_err ht__inspect(const struct ht__remote_folder *remote, const char *path, unsigned flags, struct ht__buf *out,
                        struct ht_diag *diag)
{
    struct ht__checkpoint *ck;
    struct ht__jw w = ht__jw_line(out);
    HT_TRY(ht__checkpoint_open_in(remote, path, NULL, &ck, diag));
    enum ht_err err = flags & HT_INSPECT_VERIFY ? verify(ck, diag) : HT_OK;
    if (err == HT_OK) err = put_checkpoint(&w, ck, path, flags, diag);
    ht__checkpoint_close(&ck);
    return err;
}
