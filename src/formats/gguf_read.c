/*
 * GGUF version 2 and 3, little endian (see gguf_write.c for the layout). The head is read through a
 * growing window; every count is checked against the bytes that are there before anything is allocated.
 */
#include "base/check.h"
#include "base/cursor.h"
#include "formats/gguf_parts.h"
#include "formats/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_KEYS = 1 << 16,
    MAX_STRING = 64 << 20,
    MAX_ARRAY = 1 << 24,
    MAX_KEY = 4096,
    MAX_TENSOR_NAME = 63,
    MAX_HEAD = 1 << 30,
    FIRST_WINDOW = 1 << 20,
};

struct reader {
    struct ht__checkpoint *ck;
    uint32_t file;
    const char *path;
    struct ht__cursor in;
    uint32_t first_tensor;
    struct ht__kvs kvs;
    uint64_t alignment;
    struct ht_diag *diag;
};

static enum ht_err fault(struct reader *r, const char *where, const char *message)
{
    return ht__fail(r->diag, HT_ERR_FORMAT, where ? ht__table_where(r->ck, r->file, where) : r->path,
                    (int64_t)r->in.pos, "%s", message);
}

static struct ht__str take_str(struct reader *r, uint64_t limit)
{
    uint64_t len = ht__cursor_u64(&r->in);
    struct ht__str s = {0};
    if (len > limit) r->in.bad = true;
    const uint8_t *p = ht__cursor_take(&r->in, len);
    if (p) s = (struct ht__str){(const char *)p, (size_t)len};
    return s;
}

/* The window over the head is freed after reading: what stays is copied to the arena. */
static enum ht_err keep_str(struct reader *r, struct ht__str *s, const char *where)
{
    char *copy = ht__arena_copy(&r->ck->arena, s->text ? s->text : "", s->len);
    if (!copy) return ht__fail_memory(r->diag, where);
    s->text = copy;
    return HT_OK;
}

static enum ht_err read_strings(struct reader *r, struct ht__kv *kv)
{
    if (kv->n > ht__cursor_left(&r->in) / 8) return fault(r, kv->key, "more strings than bytes");
    struct ht__str *strs = ht__arena_array(&r->ck->arena, (size_t)kv->n, sizeof *strs);
    if (!strs) return ht__fail_memory(r->diag, kv->key);
    kv->strs = strs;
    size_t start = r->in.pos;
    for (uint64_t i = 0; i < kv->n; i++)
        strs[i] = take_str(r, MAX_STRING);
    if (r->in.bad) return fault(r, kv->key, "a string goes past the end of the file");
    /* one copy for all of them */
    char *copy = ht__arena_copy(&r->ck->arena, (const char *)r->in.data + start, r->in.pos - start);
    if (!copy) return ht__fail_memory(r->diag, kv->key);
    for (uint64_t i = 0; i < kv->n; i++)
        strs[i].text = copy + (strs[i].text - ((const char *)r->in.data + start));
    return HT_OK;
}

static enum ht_err read_array(struct reader *r, struct ht__kv *kv)
{
    uint32_t elem = ht__cursor_u32(&r->in);
    kv->n = ht__cursor_u64(&r->in);
    if (r->in.bad) return fault(r, kv->key, "the file ends inside an array");
    if (elem >= HT__KV_N_TYPES || elem == HT__KV_ARR) return fault(r, kv->key, "an array of an unknown or nested type");
    if (kv->n > MAX_ARRAY) return fault(r, kv->key, "an array of more than 16 million elements");
    kv->elem = (enum ht__kv_type)elem;
    if (kv->elem == HT__KV_STR) return read_strings(r, kv);
    uint64_t bytes = kv->n * ht__kv_type_size(kv->elem);
    const uint8_t *p = ht__cursor_take(&r->in, bytes);
    if (!p) return fault(r, kv->key, "an array goes past the end of the file");
    void *copy = ht__arena_new(&r->ck->arena, (size_t)bytes);
    if (!copy) return ht__fail_memory(r->diag, kv->key);
    memcpy(copy, p, (size_t)bytes);
    kv->data = copy;
    return HT_OK;
}

static enum ht_err read_value(struct reader *r, struct ht__kv *kv)
{
    switch (kv->type) {
    case HT__KV_U8: kv->u = ht__cursor_u8(&r->in); break;
    case HT__KV_I8: kv->i = (int8_t)ht__cursor_u8(&r->in); break;
    case HT__KV_U16: kv->u = ht__cursor_u16(&r->in); break;
    case HT__KV_I16: kv->i = (int16_t)ht__cursor_u16(&r->in); break;
    case HT__KV_U32: kv->u = ht__cursor_u32(&r->in); break;
    case HT__KV_I32: kv->i = ht__cursor_i32(&r->in); break;
    case HT__KV_F32: kv->f = (double)ht__cursor_f32(&r->in); break;
    case HT__KV_U64: kv->u = ht__cursor_u64(&r->in); break;
    case HT__KV_I64: kv->i = ht__cursor_i64(&r->in); break;
    case HT__KV_F64: kv->f = ht__cursor_f64(&r->in); break;
    case HT__KV_BOOL:
        kv->u = ht__cursor_u8(&r->in);
        if (kv->u > 1) return fault(r, kv->key, "a bool that is neither 0 nor 1");
        break;
    case HT__KV_STR:
        kv->str = take_str(r, MAX_STRING);
        if (!r->in.bad) HT_TRY(keep_str(r, &kv->str, kv->key));
        break;
    case HT__KV_ARR: return read_array(r, kv);
    default: return fault(r, kv->key, "an unknown value type");
    }
    return r->in.bad ? fault(r, kv->key, "its value goes past the end of the file") : HT_OK;
}

static enum ht_err read_pair(struct reader *r)
{
    struct ht__str key = take_str(r, MAX_KEY);
    if (r->in.bad) return fault(r, NULL, "a metadata key is too long or cut off");
    if (key.len == 0 || memchr(key.text, '\0', key.len))
        return fault(r, NULL, "a metadata key is empty or holds a NUL");
    HT_TRY(keep_str(r, &key, r->path));
    struct ht__kv kv = {.key = key.text};
    uint32_t type = ht__cursor_u32(&r->in);
    if (r->in.bad || type >= HT__KV_N_TYPES) return fault(r, kv.key, "an unknown value type");
    kv.type = (enum ht__kv_type)type;
    HT_TRY(read_value(r, &kv));
    if (ht__kv_get(&r->kvs, kv.key)) return fault(r, kv.key, "the key is given twice");
    ht__kv_put(&r->kvs, &kv);
    return r->kvs.failed ? ht__fail_memory(r->diag, r->path) : HT_OK;
}

static enum ht_err read_alignment(struct reader *r)
{
    const struct ht__kv *kv = ht__kv_get(&r->kvs, "general.alignment");
    r->alignment = 32;
    if (!kv) return HT_OK;
    if (kv->type != HT__KV_U32 || kv->u < 8 || kv->u > 65536 || (kv->u & (kv->u - 1)) != 0)
        return fault(r, kv->key, "not a power of two from 8 to 65536 of type u32");
    r->alignment = kv->u;
    return HT_OK;
}

static enum ht_err read_dims(struct reader *r, struct ht__tensor *t)
{
    uint32_t n = ht__cursor_u32(&r->in);
    if (r->in.bad || n > 4) return fault(r, t->name, "more than 4 dimensions");
    t->n_dims = (int)n;
    for (uint32_t i = 0; i < n; i++) { /* ne[0] is the innermost */
        int64_t ne = ht__cursor_i64(&r->in);
        if (ne < 1 && !r->in.bad) return fault(r, t->name, "a dimension of less than 1");
        t->shape[n - 1 - i] = ne;
    }
    uint32_t type = ht__cursor_u32(&r->in);
    if (r->in.bad) return fault(r, t->name, "the file ends inside the tensor list");
    t->dtype = ht__codec_by_ggml_id(type);
    if (!t->dtype)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, ht__table_where(r->ck, r->file, t->name), -1,
                        "tensor type %u is not known", type);
    return HT_OK;
}

/* Offsets follow each other without a gap, as llama.cpp and other readers demand. */
static enum ht_err read_tensor(struct reader *r, uint64_t *next)
{
    struct ht__str name = take_str(r, MAX_TENSOR_NAME);
    if (r->in.bad) return fault(r, NULL, "a tensor's name is longer than 63 bytes or cut off");
    if (name.len == 0 || memchr(name.text, '\0', name.len))
        return fault(r, NULL, "a tensor's name is empty or holds a NUL");
    HT_TRY(keep_str(r, &name, r->path));
    struct ht__tensor t = {.name = name.text, .file = r->file};
    HT_TRY(read_dims(r, &t));
    uint64_t offset = ht__cursor_u64(&r->in), bytes;
    if (r->in.bad) return fault(r, t.name, "the file ends inside the tensor list");
    int64_t row = t.n_dims ? t.shape[t.n_dims - 1] : 1;
    if (!ht__extents_ok(t.shape, t.n_dims, &t.n_weights) || row % t.dtype->block_len != 0 ||
        !ht__mul_ok(t.n_weights / t.dtype->block_len, t.dtype->block_size, &bytes))
        return fault(r, t.name, "its dimensions overflow or do not divide into blocks");
    if (offset != *next)
        return ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(r->ck, r->file, t.name), (int64_t)r->in.pos,
                        "offset %" PRIu64 " where %" PRIu64 " is due", offset, *next);
    if (!ht__add_ok(offset, bytes, next) || !ht__align_ok(*next, r->alignment, next))
        return fault(r, t.name, "its size overflows");
    t.offset = offset;
    t.n_bytes = bytes;
    return ht__table_add(r->ck, &t, r->diag);
}

static enum ht_err place_weights(struct reader *r)
{
    uint64_t start, size = r->ck->files[r->file].size;
    if (!ht__align_ok(r->in.pos, r->alignment, &start)) return fault(r, NULL, "too large");
    for (uint32_t i = r->first_tensor; i < r->ck->n_tensors; i++) {
        struct ht__tensor *t = &r->ck->tensors[i];
        if (!ht__add_ok(start, t->offset, &t->offset) || !ht__range_ok(t->offset, t->n_bytes, size))
            return ht__fail(r->diag, HT_ERR_FORMAT, ht__table_where(r->ck, r->file, t->name), (int64_t)t->offset,
                            "its %" PRIu64 " bytes go past the end of the file: it is truncated", t->n_bytes);
    }
    return HT_OK;
}

static enum ht_err read_preamble(struct reader *r, uint64_t *n_tensors, uint64_t *n_kvs)
{
    const uint8_t *magic = ht__cursor_take(&r->in, 4);
    uint32_t version = ht__cursor_u32(&r->in);
    if (!magic || memcmp(magic, "GGUF", 4) != 0) return fault(r, NULL, "not a GGUF file");
    if (version && (version & 0xffff) == 0)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, r->path, 4, "a big-endian GGUF file");
    if (version < 2 || version > 3)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, r->path, 4, "GGUF version %u; versions 2 and 3 are read", version);
    *n_tensors = ht__cursor_u64(&r->in);
    *n_kvs = ht__cursor_u64(&r->in);
    if (r->in.bad) return fault(r, NULL, "the file ends inside its head");
    /* a tensor takes at least 24 bytes, a pair 13 */
    if (*n_tensors > HT__MAX_TENSORS || *n_tensors > r->in.size / 24)
        return fault(r, NULL, "more tensors than the file can hold");
    if (*n_kvs > MAX_KEYS || *n_kvs > r->in.size / 13) return fault(r, NULL, "more metadata than the file can hold");
    return HT_OK;
}

static enum ht_err read_head(struct reader *r)
{
    uint64_t n_tensors = 0, n_kvs = 0, next = 0;
    HT_TRY(read_preamble(r, &n_tensors, &n_kvs));
    for (uint64_t i = 0; i < n_kvs; i++)
        HT_TRY(read_pair(r));
    HT_TRY(read_alignment(r));
    for (uint64_t i = 0; i < n_tensors; i++)
        HT_TRY(read_tensor(r, &next));
    return place_weights(r);
}

/*
 * The head's length is not known before it is read: a window at the start of the file grows until the
 * cursor stays inside it or the file ends. What a failed try added is taken back.
 */
static enum ht_err read_growing(struct reader *r, struct ht__buf *head)
{
    const struct ht__file *file = &r->ck->files[r->file];
    uint64_t limit = file->size < MAX_HEAD ? file->size : MAX_HEAD;
    for (uint64_t window = FIRST_WINDOW;; window *= 8) {
        if (window > limit) window = limit;
        uint64_t have = head->len;
        void *more = ht__buf_grow(head, (size_t)(window - have));
        if (!more && window > have) return ht__fail_memory(r->diag, r->path);
        HT_TRY(ht__file_read(file, have, more, window - have, r->diag));
        r->in = ht__cursor_of(head->data, head->len);
        ht__kvs_init(&r->kvs, &r->ck->arena);
        struct ht_diag tried = {0}, *diag = r->diag;
        r->diag = &tried;
        enum ht_err err = read_head(r);
        r->diag = diag;
        bool more_helps = err == HT_ERR_FORMAT && window < limit;
        if (!more_helps) {
            if (err != HT_OK && diag && diag->code == HT_OK) *diag = tried;
            return err;
        }
        while (r->ck->n_tensors > r->first_tensor) /* names of this try are forgotten */
            r->ck->n_tensors--;
        ht__map_close(&r->ck->by_name);
        for (uint32_t i = 0; i < r->ck->n_tensors; i++) {
            const char *name = r->ck->tensors[i].name;
            if (ht__map_put(&r->ck->by_name, name, strlen(name), i) == HT__MAP_NO_MEMORY)
                return ht__fail_memory(diag, r->path);
        }
    }
}

/* "<prefix>-00001-of-00003.gguf" with this shard's number put in. */
static enum ht_err shard_path(struct reader *r, uint64_t index, uint64_t count, char path[4200])
{
    size_t len = strlen(r->path);
    char tail[32];
    snprintf(tail, sizeof tail, "-%05u-of-%05u.gguf", 1, (unsigned)count);
    size_t tail_len = strlen(tail);
    if (len <= tail_len || strcmp(r->path + len - tail_len, tail) != 0)
        return ht__fail(r->diag, HT_ERR_FORMAT, r->path, -1, "the first of %" PRIu64 " files must be called \"…%s\"",
                        count, tail);
    snprintf(tail, sizeof tail, "-%05u-of-%05u.gguf", (unsigned)index + 1, (unsigned)count);
    snprintf(path, 4200, "%.*s%s", (int)(len - tail_len), r->path, tail);
    return HT_OK;
}

enum ht_err ht__gguf_open_shard(struct ht__checkpoint *ck, uint32_t file, struct ht__kvs *kvs, struct ht_diag *diag)
{
    struct reader r = {
        .ck = ck, .file = file, .path = ck->files[file].path, .first_tensor = ck->n_tensors, .diag = diag};
    struct ht__buf head;
    ht__buf_init(&head, ck->arena.alloc);
    enum ht_err err = read_growing(&r, &head);
    ht__buf_close(&head);
    *kvs = r.kvs;
    return err;
}

static enum ht_err read_others(struct reader *r, uint64_t count)
{
    struct ht__checkpoint *ck = r->ck;
    uint32_t *ends = ht__arena_array(&ck->arena, (size_t)count, sizeof *ends);
    if (!ends) return ht__fail_memory(r->diag, r->path);
    ends[0] = ck->n_tensors;
    for (uint64_t i = 1; i < count; i++) {
        char path[4200];
        uint32_t file;
        struct ht__kvs kvs;
        uint64_t no, shards;
        HT_TRY(shard_path(r, i, count, path));
        HT_TRY(ht__table_open(ck, path, &file, r->diag));
        HT_TRY(ht__gguf_open_shard(ck, file, &kvs, r->diag));
        if (!ht__kv_get_u64(&kvs, "split.no", &no) || !ht__kv_get_u64(&kvs, "split.count", &shards) || no != i ||
            shards != count)
            return ht__fail(r->diag, HT_ERR_FORMAT, path, -1,
                            "its split.no and split.count do not say that it is number %" PRIu64 " of %" PRIu64, i,
                            count);
        ends[i] = ck->n_tensors;
    }
    ck->split_of = ht__arena_array(&ck->arena, ck->n_tensors, sizeof *ck->split_of);
    if (!ck->split_of) return ht__fail_memory(r->diag, r->path);
    for (uint32_t i = 0, shard = 0; i < ck->n_tensors; i++) {
        while (i >= ends[shard])
            shard++;
        ck->split_of[i] = shard;
    }
    return HT_OK;
}

enum ht_err ht__gguf_open(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag)
{
    struct ht__checkpoint *ck = checkpoint;
    ck->kvs = ht__arena_new(&ck->arena, sizeof *ck->kvs);
    if (!ck->kvs) return ht__fail_memory(diag, "GGUF");
    HT_TRY(ht__gguf_open_shard(ck, file, ck->kvs, diag));
    struct reader r = {.ck = ck, .file = file, .path = ck->files[file].path, .diag = diag};
    uint64_t count = 1, total, no = 0;
    if (!ht__kv_get_u64(ck->kvs, "split.count", &count) || count < 2) return HT_OK;
    if (count > 65535 || !ht__kv_get_u64(ck->kvs, "split.no", &no) || no != 0)
        return ht__fail(diag, HT_ERR_FORMAT, r.path, -1,
                        "this is file %" PRIu64 " of a split model; name the first one", no + 1);
    HT_TRY(read_others(&r, count));
    if (!ht__kv_get_u64(ck->kvs, "split.tensors.count", &total) || total != ck->n_tensors)
        return ht__fail(diag, HT_ERR_FORMAT, r.path, -1, "split.tensors.count differs from the %u tensors in the files",
                        ck->n_tensors);
    return HT_OK;
}

static bool probe(const unsigned char *head, uint64_t n)
{
    return n >= 4 && memcmp(head, "GGUF", 4) == 0;
}

static enum ht_err open_alone(struct ht__checkpoint *ck, uint32_t file, struct ht_diag *diag)
{
    ck->kvs = ht__arena_new(&ck->arena, sizeof *ck->kvs);
    return ck->kvs ? ht__gguf_open_shard(ck, file, ck->kvs, diag) : ht__fail_memory(diag, "GGUF");
}

const struct ht__container ht__container_gguf = {
    .name = "gguf",
    .title = "GGUF",
    .about = "One file that llama.cpp, Ollama and LM Studio run on processors and graphics cards",
    .suffix = ".gguf",
    .dialect = HT__DIALECT_GGUF,
    .probe = probe,
    .open = ht__gguf_open,
    .open_alone = open_alone,
    .lay_out = ht__gguf_lay_out,
};
