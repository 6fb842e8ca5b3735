/* The JSON tree: built on the pull parser, for configuration files. */
#include "base/file.h"
#include "base/json.h"
#include "base/map.h"

#include <math.h>
#include <string.h>

/* Children are gathered in a list while their number is not known, then laid out as an array. */
struct link {
    struct link *next;
    const char *key;
    struct ht__jnode node;
};

#define FREE_MEMORY ((uint64_t)16 << 20)
enum { MEMORY_A_BYTE = 16 };

bool ht__tree_has_room(const struct ht__arena *arena, size_t held, size_t text_size, uint64_t more)
{
    return arena->total - held + more <= FREE_MEMORY + (uint64_t)text_size * MEMORY_A_BYTE;
}

enum ht_err ht__tree_too_large(const char *where, size_t text_size, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_LIMIT, where, -1,
                    "its %zu bytes hold too many values: they would need more than %llu bytes of memory", text_size,
                    (unsigned long long)(FREE_MEMORY + (uint64_t)text_size * MEMORY_A_BYTE));
}

/* Before the room is taken. */
static enum ht_err check_room(struct ht__json *json, const struct ht__arena *arena, size_t n, size_t size)
{
    if (ht__tree_has_room(arena, json->held, json->size, (uint64_t)n * size)) return HT_OK;
    return json->err = ht__tree_too_large(json->where, json->size, json->diag);
}

static enum ht_err build(struct ht__json *json, struct ht__arena *arena, const struct ht__json_value *v,
                         struct ht__jnode *node);

static enum ht_err unique_keys(struct ht__json *json, struct ht__arena *arena, const struct ht__jnode *node)
{
    struct ht__map seen;
    ht__map_init(&seen, arena->alloc);
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < node->n && err == HT_OK; i++) {
        enum ht__map_put put = ht__map_put(&seen, node->keys[i], strlen(node->keys[i]), 0);
        if (put == HT__MAP_PRESENT) err = ht__json_fail(json, "JSON: duplicate key \"%s\"", node->keys[i]);
        if (put == HT__MAP_NO_MEMORY) err = ht__fail_memory(json->diag, json->where);
    }
    ht__map_close(&seen);
    return err;
}

static enum ht_err lay_out(struct ht__json *json, struct ht__arena *arena, struct link *list, bool object,
                           struct ht__jnode *node)
{
    HT_TRY(check_room(json, arena, node->n, sizeof *node->children + (object ? sizeof *node->keys : 0)));
    node->children = ht__arena_array(arena, node->n, sizeof *node->children);
    node->keys = object ? ht__arena_array(arena, node->n, sizeof *node->keys) : NULL;
    if (!node->children || (object && !node->keys)) return ht__fail_memory(json->diag, json->where);
    for (size_t i = 0; i < node->n; i++, list = list->next) {
        node->children[i] = list->node;
        if (object) node->keys[i] = list->key;
    }
    return object ? unique_keys(json, arena, node) : HT_OK;
}

static enum ht_err children(struct ht__json *json, struct ht__arena *arena, bool object, struct ht__jnode *node)
{
    struct link *first = NULL, **tail = &first;
    for (;;) {
        const char *key = NULL;
        size_t len = 0;
        struct ht__json_value v;
        if (object ? !ht__json_member(json, &key, &len, &v) : (v = ht__json_next(json)).type == HT__JSON_END) break;
        if (json->err) return json->err;
        /* names are compared as C strings: with a NUL inside, two different names would compare equal */
        if (object && memchr(key, 0, len)) return ht__json_fail(json, "JSON: NUL in a member's name");
        HT_TRY(check_room(json, arena, 1, sizeof(struct link)));
        struct link *link = ht__arena_new(arena, sizeof *link);
        if (!link || (object && !(link->key = ht__arena_copy(arena, key, len))))
            return ht__fail_memory(json->diag, json->where);
        HT_TRY(build(json, arena, &v, &link->node));
        *tail = link;
        tail = &link->next;
        node->n++;
    }
    if (json->err) return json->err;
    return lay_out(json, arena, first, object, node);
}

/* Its digits alone tell the text: integers but for -0, and those beyond 64 bits. */
static bool is_usual_integer(const struct ht__json_value *v)
{
    return v->is_int && !(v->integer == 0 && v->len > 1);
}

static enum ht_err keep_text(struct ht__json *json, struct ht__arena *arena, const struct ht__json_value *v,
                             struct ht__jnode *node)
{
    node->text = ht__arena_copy(arena, v->text, v->len);
    node->len = v->len;
    return node->text ? HT_OK : ht__fail_memory(json->diag, json->where);
}

static enum ht_err build(struct ht__json *json, struct ht__arena *arena, const struct ht__json_value *v,
                         struct ht__jnode *node)
{
    node->type = v->type;
    node->boolean = v->boolean;
    node->is_int = v->is_int;
    node->integer = v->integer;
    node->number = v->number;
    switch (v->type) {
    case HT__JSON_STRING: return keep_text(json, arena, v, node);
    case HT__JSON_NUMBER: return is_usual_integer(v) ? HT_OK : keep_text(json, arena, v, node);
    case HT__JSON_OBJECT: return children(json, arena, true, node);
    case HT__JSON_ARRAY: return children(json, arena, false, node);
    case HT__JSON_ERROR: return json->err;
    default: return HT_OK;
    }
}

static enum ht_err parse(struct ht__arena *arena, const char *text, size_t size, const char *where, bool python,
                         struct ht__jnode **root, struct ht_diag *diag)
{
    struct ht__json json;
    ht__json_init(&json, text, size, where, arena->alloc, diag);
    json.python = python;
    json.held = arena->total;
    struct ht__json_value v = ht__json_next(&json);
    struct ht__jnode *node = ht__arena_new(arena, sizeof *node);
    enum ht_err err = node ? build(&json, arena, &v, node) : ht__fail_memory(diag, where);
    if (err == HT_OK && ht__json_next(&json).type != HT__JSON_END) err = json.err;
    ht__json_close(&json);
    *root = err == HT_OK ? node : NULL;
    return err;
}

enum ht_err ht__json_parse(struct ht__arena *arena, const char *text, size_t size, const char *where,
                           struct ht__jnode **root, struct ht_diag *diag)
{
    return parse(arena, text, size, where, false, root, diag);
}

enum ht_err ht__json_load(struct ht__arena *arena, const char *path, uint64_t limit, struct ht__jnode **root,
                          struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, arena->alloc);
    enum ht_err err = ht__file_load(path, limit, &text, diag);
    if (err == HT_OK) err = parse(arena, (const char *)text.data, text.len, path, true, root, diag);
    ht__buf_close(&text);
    return err;
}

const struct ht__jnode *ht__jget(const struct ht__jnode *node, const char *key)
{
    if (!node || node->type != HT__JSON_OBJECT) return NULL;
    for (size_t i = 0; i < node->n; i++)
        if (strcmp(node->keys[i], key) == 0) return node->children[i].type == HT__JSON_NULL ? NULL : &node->children[i];
    return NULL;
}

int64_t ht__jint(const struct ht__jnode *node, const char *key, int64_t otherwise)
{
    const struct ht__jnode *v = ht__jget(node, key);
    return v && v->type == HT__JSON_NUMBER && v->is_int ? v->integer : otherwise;
}

double ht__jnum(const struct ht__jnode *node, const char *key, double otherwise)
{
    const struct ht__jnode *v = ht__jget(node, key);
    return v && v->type == HT__JSON_NUMBER && isfinite(v->number) ? v->number : otherwise;
}

bool ht__jbool(const struct ht__jnode *node, const char *key, bool otherwise)
{
    const struct ht__jnode *v = ht__jget(node, key);
    return v && v->type == HT__JSON_BOOL ? v->boolean : otherwise;
}

const char *ht__jstr(const struct ht__jnode *node, const char *key, const char *otherwise)
{
    const struct ht__jnode *v = ht__jget(node, key);
    return v && v->type == HT__JSON_STRING ? v->text : otherwise;
}
