/* GGUF metadata: typed key-value pairs in order, in an arena. */
#ifndef HT_FORMATS_KV_H
#define HT_FORMATS_KV_H

#include "base/arena.h"
#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

/* The ids of the file format. */
enum ht__kv_type {
    HT__KV_U8,
    HT__KV_I8,
    HT__KV_U16,
    HT__KV_I16,
    HT__KV_U32,
    HT__KV_I32,
    HT__KV_F32,
    HT__KV_BOOL,
    HT__KV_STR,
    HT__KV_ARR,
    HT__KV_U64,
    HT__KV_I64,
    HT__KV_F64,
    HT__KV_N_TYPES
};

struct ht__str {
    const char *text; /* not necessarily NUL-terminated */
    size_t len;
};

struct ht__kv {
    const char *key; /* NUL-terminated */
    enum ht__kv_type type;
    enum ht__kv_type elem; /* of an array */
    uint64_t n;            /* of an array */
    union {
        uint64_t u; /* unsigned types and bool */
        int64_t i;  /* signed types */
        double f;   /* F32 (exactly the float) and F64 */
        struct ht__str str;
        const void *data;           /* array of a fixed-size type: n packed elements */
        const struct ht__str *strs; /* array of strings */
    };
};

struct ht__kvs {
    struct ht__arena *arena; /* not owned */
    struct ht__kv *items;
    size_t n, cap;
    uint32_t *index; /* 2 * cap slots, open addressing: number of the item + 1, or 0 */
    bool in_place;   /* a key that is set anew keeps its place, as in a dictionary of Python */
    bool failed;     /* memory ran out in a setter: checked once by the caller */
};

void ht__kvs_init(struct ht__kvs *kvs, struct ht__arena *arena);

/* Setters copy the key; a key that is present is removed and appended anew, as llama.cpp's C writer does.
 * Strings and array data are copied too, but for the _ref forms, whose data must outlive the kvs. */
void ht__kv_u32(struct ht__kvs *kvs, const char *key, uint32_t v);
void ht__kv_u16(struct ht__kvs *kvs, const char *key, uint16_t v);
void ht__kv_i32(struct ht__kvs *kvs, const char *key, int32_t v);
void ht__kv_f32(struct ht__kvs *kvs, const char *key, float v);
void ht__kv_bool(struct ht__kvs *kvs, const char *key, bool v);
void ht__kv_str(struct ht__kvs *kvs, const char *key, const char *text);
void ht__kv_strn(struct ht__kvs *kvs, const char *key, const char *text, size_t len);
void ht__kv_array(struct ht__kvs *kvs, const char *key, enum ht__kv_type elem, const void *data, uint64_t n);
void ht__kv_array_ref(struct ht__kvs *kvs, const char *key, enum ht__kv_type elem, const void *data, uint64_t n);
void ht__kv_strs_ref(struct ht__kvs *kvs, const char *key, const struct ht__str *strs, uint64_t n);
/* Appends a copy of the item itself (its data is shared). */
void ht__kv_put(struct ht__kvs *kvs, const struct ht__kv *item);
void ht__kv_remove(struct ht__kvs *kvs, const char *key);

/* By key, or NULL. */
const struct ht__kv *ht__kv_get(const struct ht__kvs *kvs, const char *key);
/* A scalar of any integer type that is not negative; false otherwise. */
bool ht__kv_get_u64(const struct ht__kvs *kvs, const char *key, uint64_t *v);
/* A scalar of exactly the type; false otherwise. */
bool ht__kv_get_u32(const struct ht__kvs *kvs, const char *key, uint32_t *v);
bool ht__kv_get_str(const struct ht__kvs *kvs, const char *key, struct ht__str *v);

/* Bytes of one element of a fixed-size type; 0 for strings and arrays. */
size_t ht__kv_type_size(enum ht__kv_type type);
const char *ht__kv_type_name(enum ht__kv_type type);

/* Appends the pair as a file stores it. */
void ht__kv_write(struct ht__buf *buf, const struct ht__kv *item);

#endif
