#include "base/yaml.h"
#include "base/map.h"

#include <string.h>
#include <yaml.h>

enum { MOST_SHARED = 1 << 16 }; /* values that aliases expand to, in the whole text */

struct anchored {
    struct ht__jnode node;
    size_t n;  /* values in it, those of its aliases included */
    int depth; /* of containers in it */
};

struct reader {
    yaml_parser_t parser;
    struct ht__arena *arena;
    const char *where;
    struct ht_diag *diag;
    int depth, deepest;
    size_t n, shared;        /* values so far; those from expanded aliases */
    struct ht__map anchors;  /* name -> place in anchored */
    struct ht__buf anchored; /* struct anchored */
    size_t size, held;       /* of the text; of the arena at first */
};

/* Children are gathered in a list while their number is not known. */
struct link {
    struct link *next;
    const char *key;
    struct ht__jnode node;
};

static enum ht_err fault(struct reader *r, size_t line, const char *message)
{
    return ht__fail(r->diag, HT_ERR_FORMAT, r->where, -1, "line %zu: %s", line + 1, message);
}

/* The next event; the caller deletes it, also when it is refused. */
static enum ht_err next(struct reader *r, yaml_event_t *event)
{
    memset(event, 0, sizeof *event);
    if (!yaml_parser_parse(&r->parser, event)) {
        memset(event, 0, sizeof *event);
        if (r->parser.error == YAML_MEMORY_ERROR) return ht__fail_memory(r->diag, r->where);
        return fault(r, r->parser.problem_mark.line, r->parser.problem ? r->parser.problem : "not YAML");
    }
    return HT_OK;
}

static const char *anchor_of(const yaml_event_t *e)
{
    if (e->type == YAML_SCALAR_EVENT) return (const char *)e->data.scalar.anchor;
    if (e->type == YAML_SEQUENCE_START_EVENT) return (const char *)e->data.sequence_start.anchor;
    if (e->type == YAML_MAPPING_START_EVENT) return (const char *)e->data.mapping_start.anchor;
    return NULL;
}

/* A value is known by its anchor once it is complete, so none can hold itself. A name may be given anew. */
static enum ht_err remember(struct reader *r, const char *anchor, const struct anchored *value)
{
    uint32_t at = (uint32_t)(r->anchored.len / sizeof *value);
    const char *name = ht__arena_str(r->arena, anchor);
    ht__buf_put(&r->anchored, value, sizeof *value);
    enum ht__map_put put = name ? ht__map_put(&r->anchors, name, strlen(name), at) : HT__MAP_NO_MEMORY;
    if (put == HT__MAP_NO_MEMORY || r->anchored.failed) return ht__fail_memory(r->diag, r->where);
    if (put == HT__MAP_PRESENT) *ht__map_get(&r->anchors, name, strlen(name)) = at;
    return HT_OK;
}

static enum ht_err recall(struct reader *r, const yaml_event_t *e, struct ht__jnode *node)
{
    const char *name = (const char *)e->data.alias.anchor;
    const uint32_t *at = ht__map_get(&r->anchors, name, strlen(name));
    if (!at) return fault(r, e->start_mark.line, "an alias without an anchor before it");
    const struct anchored *value = (const struct anchored *)(const void *)r->anchored.data + *at;
    r->n += value->n - 1;
    r->shared += value->n;
    if (r->depth + value->depth > r->deepest) r->deepest = r->depth + value->depth;
    if (r->deepest > HT__JSON_MAX_DEPTH) return fault(r, e->start_mark.line, "nested too deeply");
    if (r->shared > MOST_SHARED)
        return ht__fail(r->diag, HT_ERR_LIMIT, r->where, -1, "line %zu: aliases stand for more than %d values",
                        e->start_mark.line + 1, MOST_SHARED);
    *node = value->node;
    return HT_OK;
}

static bool is_null(const yaml_event_t *e)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp((const char *)e->data.scalar.value, words[i]) == 0) return true;
    return false;
}

static enum ht_err check_room(const struct reader *r, size_t n, size_t size)
{
    return ht__tree_has_room(r->arena, r->held, r->size, (uint64_t)n * size)
               ? HT_OK
               : ht__tree_too_large(r->where, r->size, r->diag);
}

/* <<: *name or <<: [*name, ...] */
static bool is_merge(const struct link *link)
{
    if (!link->key || strcmp(link->key, "<<") != 0) return false;
    const struct ht__jnode *v = &link->node;
    bool all = v->type == HT__JSON_ARRAY;
    for (size_t i = 0; all && i < v->n; i++)
        all = v->children[i].type == HT__JSON_OBJECT;
    return all || v->type == HT__JSON_OBJECT;
}

static void put_members(const struct ht__jnode *from, struct ht__jnode *to)
{
    for (size_t i = 0; i < from->n; i++) {
        to->keys[to->n] = from->keys[i];
        to->children[to->n++] = from->children[i];
    }
}

static size_t count_merged(const struct link *list)
{
    size_t n = 0;
    for (; list; list = list->next) {
        if (!is_merge(list)) continue;
        bool many = list->node.type == HT__JSON_ARRAY;
        for (size_t i = 0; i < (many ? list->node.n : 1); i++)
            n += many ? list->node.children[i].n : list->node.n;
    }
    return n;
}

/* Merged members come first, the first mapping's last: of equal keys the last counts, and the mapping's own most. */
static enum ht_err lay_out_merged(struct reader *r, const struct link *list, size_t merged, struct ht__jnode *node)
{
    HT_TRY(check_room(r, node->n + merged, sizeof *node->children + sizeof *node->keys));
    node->children = ht__arena_array(r->arena, node->n + merged, sizeof *node->children);
    node->keys = ht__arena_array(r->arena, node->n + merged, sizeof *node->keys);
    if (!node->children || !node->keys) return ht__fail_memory(r->diag, r->where);
    node->n = 0;
    for (const struct link *l = list; l; l = l->next) {
        if (!is_merge(l)) continue;
        if (l->node.type == HT__JSON_OBJECT) put_members(&l->node, node);
        for (size_t i = l->node.type == HT__JSON_ARRAY ? l->node.n : 0; i-- > 0;)
            put_members(&l->node.children[i], node);
    }
    for (; list; list = list->next) {
        if (is_merge(list)) continue;
        node->keys[node->n] = list->key;
        node->children[node->n++] = list->node;
    }
    return HT_OK;
}

static enum ht_err lay_out(struct reader *r, const struct link *list, bool mapping, struct ht__jnode *node)
{
    for (const struct link *l = mapping ? list : NULL; l; l = l->next)
        if (is_merge(l)) return lay_out_merged(r, list, count_merged(list), node);
    HT_TRY(check_room(r, node->n, sizeof *node->children + sizeof *node->keys));
    node->children = ht__arena_array(r->arena, node->n, sizeof *node->children);
    node->keys = mapping ? ht__arena_array(r->arena, node->n, sizeof *node->keys) : NULL;
    if (!node->children || (mapping && !node->keys)) return ht__fail_memory(r->diag, r->where);
    for (size_t i = 0; i < node->n; i++, list = list->next) {
        node->children[i] = list->node;
        if (mapping) node->keys[i] = list->key;
    }
    return HT_OK;
}

static enum ht_err build(struct reader *r, const yaml_event_t *event, struct ht__jnode *node);

/* One element, or one key with its value; *end at the container's end. */
static enum ht_err child(struct reader *r, bool mapping, struct link *link, bool *end)
{
    yaml_event_t event, value;
    enum ht_err err = next(r, &event);
    *end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
    if (err == HT_OK && !*end && mapping) {
        struct ht__jnode key = {0};
        err = build(r, &event, &key);
        link->key = key.text;
        if (err == HT_OK && !key.text) err = fault(r, event.start_mark.line, "a key is not plain text");
        if (err == HT_OK) {
            err = next(r, &value);
            if (err == HT_OK) err = build(r, &value, &link->node);
            yaml_event_delete(&value);
        }
    } else if (err == HT_OK && !*end) {
        err = build(r, &event, &link->node);
    }
    yaml_event_delete(&event);
    return err;
}

static enum ht_err children(struct reader *r, bool mapping, struct ht__jnode *node)
{
    struct link *first = NULL, **tail = &first;
    if (++r->depth > HT__JSON_MAX_DEPTH) return fault(r, r->parser.mark.line, "nested too deeply");
    if (r->depth > r->deepest) r->deepest = r->depth;
    for (;;) {
        bool end;
        HT_TRY(check_room(r, 1, sizeof(struct link)));
        struct link *link = ht__arena_new(r->arena, sizeof *link);
        if (!link) return ht__fail_memory(r->diag, r->where);
        HT_TRY(child(r, mapping, link, &end));
        if (end) break;
        *tail = link;
        tail = &link->next;
        node->n++;
    }
    r->depth--;
    return lay_out(r, first, mapping, node);
}

static enum ht_err build_plain(struct reader *r, const yaml_event_t *event, struct ht__jnode *node)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT: return recall(r, event, node);
    case YAML_SCALAR_EVENT:
        node->type = is_null(event) ? HT__JSON_NULL : HT__JSON_STRING;
        node->len = event->data.scalar.length;
        node->text = ht__arena_copy(r->arena, (const char *)event->data.scalar.value, node->len);
        return node->text ? HT_OK : ht__fail_memory(r->diag, r->where);
    case YAML_MAPPING_START_EVENT: node->type = HT__JSON_OBJECT; return children(r, true, node);
    case YAML_SEQUENCE_START_EVENT: node->type = HT__JSON_ARRAY; return children(r, false, node);
    default: return fault(r, event->start_mark.line, "expected a value");
    }
}

static enum ht_err build(struct reader *r, const yaml_event_t *event, struct ht__jnode *node)
{
    const char *anchor = anchor_of(event);
    size_t before = r->n++;
    int outside = r->deepest;
    r->deepest = r->depth;
    HT_TRY(build_plain(r, event, node));
    const struct anchored value = {*node, r->n - before, r->deepest - r->depth};
    if (outside > r->deepest) r->deepest = outside;
    return anchor ? remember(r, anchor, &value) : HT_OK;
}

static enum ht_err document(struct reader *r, struct ht__jnode **root)
{
    for (;;) { /* the starts of the stream and of the document */
        yaml_event_t event;
        enum ht_err err = next(r, &event);
        bool start = event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_START_EVENT;
        bool end = event.type == YAML_STREAM_END_EVENT;
        if (err == HT_OK && !start && !end) {
            struct ht__jnode *node = ht__arena_new(r->arena, sizeof *node);
            err = node ? build(r, &event, node) : ht__fail_memory(r->diag, r->where);
            if (err == HT_OK) *root = node;
        }
        yaml_event_delete(&event);
        if (err != HT_OK || !start) return err;
    }
}

enum ht_err ht__yaml_parse(struct ht__arena *arena, const char *text, size_t size, const char *where,
                           struct ht__jnode **root, struct ht_diag *diag)
{
    struct reader r = {.arena = arena, .where = where, .diag = diag, .size = size, .held = arena->total};
    *root = NULL;
    if (!yaml_parser_initialize(&r.parser)) return ht__fail_memory(diag, where);
    ht__map_init(&r.anchors, arena->alloc);
    ht__buf_init(&r.anchored, arena->alloc);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    enum ht_err err = document(&r, root);
    ht__buf_close(&r.anchored);
    ht__map_close(&r.anchors);
    yaml_parser_delete(&r.parser);
    return err;
}
