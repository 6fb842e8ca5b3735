#include "formats/kv.h"
#include "base/map.h"

#include <string.h>

void ht__kvs_init(struct ht__kvs *kvs, struct ht__arena *arena)
{
    memset(kvs, 0, sizeof *kvs);
    kvs->arena = arena;
}

/* The slot of a key, or the empty one where it would go. */
static uint32_t *slot_of(const struct ht__kvs *kvs, const char *key)
{
    size_t mask = 2 * kvs->cap - 1, i = ht__hash(key, strlen(key)) & mask;
    while (kvs->index[i] && strcmp(kvs->items[kvs->index[i] - 1].key, key) != 0)
        i = (i + 1) & mask;
    return &kvs->index[i];
}

static struct ht__kv *find(const struct ht__kvs *kvs, const char *key)
{
    uint32_t at = kvs->cap ? *slot_of(kvs, key) : 0;
    return at ? &kvs->items[at - 1] : NULL;
}

static void index_all(struct ht__kvs *kvs)
{
    memset(kvs->index, 0, 2 * kvs->cap * sizeof *kvs->index);
    for (size_t i = 0; i < kvs->n; i++)
        *slot_of(kvs, kvs->items[i].key) = (uint32_t)i + 1;
}

void ht__kv_remove(struct ht__kvs *kvs, const char *key)
{
    struct ht__kv *item = find(kvs, key);
    if (!item) return;
    size_t after = (size_t)(kvs->items + kvs->n - (item + 1));
    memmove(item, item + 1, after * sizeof *item);
    kvs->n--;
    index_all(kvs); /* the others moved up */
}

static bool make_room(struct ht__kvs *kvs)
{
    if (kvs->n < kvs->cap) return true;
    size_t cap = kvs->cap ? kvs->cap * 2 : 64;
    struct ht__kv *items = ht__arena_array(kvs->arena, cap, sizeof *items);
    uint32_t *index = ht__arena_array(kvs->arena, 2 * cap, sizeof *index);
    if (!items || !index) return false;
    if (kvs->n) memcpy(items, kvs->items, kvs->n * sizeof *items);
    kvs->items = items;
    kvs->index = index;
    kvs->cap = cap;
    index_all(kvs);
    return true;
}

void ht__kv_put(struct ht__kvs *kvs, const struct ht__kv *item)
{
    uint32_t *present = kvs->in_place && kvs->n ? slot_of(kvs, item->key) : NULL;
    if (present && *present) {
        const char *same = kvs->items[*present - 1].key;
        kvs->items[*present - 1] = *item;
        kvs->items[*present - 1].key = same;
        return;
    }
    char *key = ht__arena_str(kvs->arena, item->key);
    if (!key || !make_room(kvs)) {
        kvs->failed = true;
        return;
    }
    struct ht__kv copy = *item;
    copy.key = key;
    ht__kv_remove(kvs, key);
    kvs->items[kvs->n++] = copy;
    *slot_of(kvs, key) = (uint32_t)kvs->n;
}

void ht__kv_u32(struct ht__kvs *kvs, const char *key, uint32_t v)
{
    ht__kv_put(kvs, &(struct ht__kv){.key = key, .type = HT__KV_U32, .u = v});
}

void ht__kv_u16(struct ht__kvs *kvs, const char *key, uint16_t v)
{
    ht__kv_put(kvs, &(struct ht__kv){.key = key, .type = HT__KV_U16, .u = v});
}

void ht__kv_i32(struct ht__kvs *kvs, const char *key, int32_t v)
{
    ht__kv_put(kvs, &(struct ht__kv){.key = key, .type = HT__KV_I32, .i = v});
}

void ht__kv_f32(struct ht__kvs *kvs, const char *key, float v)
{
    ht__kv_put(kvs, &(struct ht__kv){.key = key, .type = HT__KV_F32, .f = (double)v});
}

void ht__kv_bool(struct ht__kvs *kvs, const char *key, bool v)
{
    ht__kv_put(kvs, &(struct ht__kv){.key = key, .type = HT__KV_BOOL, .u = v});
}

void ht__kv_strn(struct ht__kvs *kvs, const char *key, const char *text, size_t len)
{
    char *copy = ht__arena_copy(kvs->arena, text, len);
    if (!copy) kvs->failed = true;
    if (copy) ht__kv_put(kvs, &(struct ht__kv){.key = key, .type = HT__KV_STR, .str = {copy, len}});
}

void ht__kv_str(struct ht__kvs *kvs, const char *key, const char *text)
{
    ht__kv_strn(kvs, key, text, strlen(text));
}

void ht__kv_array_ref(struct ht__kvs *kvs, const char *key, enum ht__kv_type elem, const void *data, uint64_t n)
{
    ht__kv_put(kvs, &(struct ht__kv){.key = key, .type = HT__KV_ARR, .elem = elem, .n = n, .data = data});
}

void ht__kv_array(struct ht__kvs *kvs, const char *key, enum ht__kv_type elem, const void *data, uint64_t n)
{
    void *copy = ht__arena_array(kvs->arena, (size_t)n, ht__kv_type_size(elem));
    if (!copy) {
        kvs->failed = true;
        return;
    }
    if (n) memcpy(copy, data, (size_t)n * ht__kv_type_size(elem));
    ht__kv_array_ref(kvs, key, elem, copy, n);
}

void ht__kv_strs_ref(struct ht__kvs *kvs, const char *key, const struct ht__str *strs, uint64_t n)
{
    ht__kv_put(kvs, &(struct ht__kv){.key = key, .type = HT__KV_ARR, .elem = HT__KV_STR, .n = n, .strs = strs});
}

const struct ht__kv *ht__kv_get(const struct ht__kvs *kvs, const char *key)
{
    return find(kvs, key);
}

bool ht__kv_get_u64(const struct ht__kvs *kvs, const char *key, uint64_t *v)
{
    const struct ht__kv *item = find(kvs, key);
    if (!item) return false;
    switch (item->type) {
    case HT__KV_U8:
    case HT__KV_U16:
    case HT__KV_U32:
    case HT__KV_U64: *v = item->u; return true;
    case HT__KV_I8:
    case HT__KV_I16:
    case HT__KV_I32:
    case HT__KV_I64: *v = (uint64_t)item->i; return item->i >= 0;
    default: return false;
    }
}

bool ht__kv_get_u32(const struct ht__kvs *kvs, const char *key, uint32_t *v)
{
    const struct ht__kv *item = find(kvs, key);
    if (!item || item->type != HT__KV_U32) return false;
    *v = (uint32_t)item->u;
    return true;
}

bool ht__kv_get_str(const struct ht__kvs *kvs, const char *key, struct ht__str *v)
{
    const struct ht__kv *item = find(kvs, key);
    if (!item || item->type != HT__KV_STR) return false;
    *v = item->str;
    return true;
}

static const struct {
    const char *name;
    size_t size;
} types[HT__KV_N_TYPES] = {
    [HT__KV_U8] = {"u8", 1},   [HT__KV_I8] = {"i8", 1},   [HT__KV_U16] = {"u16", 2}, [HT__KV_I16] = {"i16", 2},
    [HT__KV_U32] = {"u32", 4}, [HT__KV_I32] = {"i32", 4}, [HT__KV_F32] = {"f32", 4}, [HT__KV_BOOL] = {"bool", 1},
    [HT__KV_STR] = {"str", 0}, [HT__KV_ARR] = {"arr", 0}, [HT__KV_U64] = {"u64", 8}, [HT__KV_I64] = {"i64", 8},
    [HT__KV_F64] = {"f64", 8},
};

size_t ht__kv_type_size(enum ht__kv_type type)
{
    return type < HT__KV_N_TYPES ? types[type].size : 0;
}

const char *ht__kv_type_name(enum ht__kv_type type)
{
    return type < HT__KV_N_TYPES ? types[type].name : "unknown";
}

static void write_str(struct ht__buf *buf, struct ht__str str)
{
    ht__buf_u64(buf, str.len);
    ht__buf_put(buf, str.text, str.len);
}

static void write_scalar(struct ht__buf *buf, const struct ht__kv *item)
{
    if (item->type == HT__KV_F32) {
        float f = (float)item->f;
        ht__buf_put(buf, &f, sizeof f);
    } else if (item->type == HT__KV_F64) {
        ht__buf_put(buf, &item->f, sizeof item->f);
    } else {
        ht__buf_put(buf, &item->u, ht__kv_type_size(item->type)); /* little endian: low bytes first */
    }
}

void ht__kv_write(struct ht__buf *buf, const struct ht__kv *item)
{
    write_str(buf, (struct ht__str){item->key, strlen(item->key)});
    ht__buf_u32(buf, item->type);
    if (item->type == HT__KV_STR) {
        write_str(buf, item->str);
    } else if (item->type == HT__KV_ARR) {
        ht__buf_u32(buf, item->elem);
        ht__buf_u64(buf, item->n);
        if (item->elem != HT__KV_STR) ht__buf_put(buf, item->data, (size_t)item->n * ht__kv_type_size(item->elem));
        for (uint64_t i = 0; item->elem == HT__KV_STR && i < item->n; i++)
            write_str(buf, item->strs[i]);
    } else {
        write_scalar(buf, item);
    }
}
