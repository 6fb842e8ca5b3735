#include "base/yaml.h"

#include <string.h>
#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    struct ht__arena *arena;
    const char *where;
    struct ht_diag *diag;
    int depth;
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
    const unsigned char *anchor = NULL;
    if (event->type == YAML_SCALAR_EVENT) anchor = event->data.scalar.anchor;
    if (event->type == YAML_SEQUENCE_START_EVENT) anchor = event->data.sequence_start.anchor;
    if (event->type == YAML_MAPPING_START_EVENT) anchor = event->data.mapping_start.anchor;
    if (event->type == YAML_ALIAS_EVENT || anchor)
        return fault(r, event->start_mark.line, "anchors and aliases are not read");
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

static enum ht_err lay_out(struct reader *r, const struct link *list, bool mapping, struct ht__jnode *node)
{
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
        if (event.type != YAML_SCALAR_EVENT)
            err = fault(r, event.start_mark.line, "a key is not plain text");
        else if (!(link->key = ht__arena_str(r->arena, (const char *)event.data.scalar.value)))
            err = ht__fail_memory(r->diag, r->where);
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
    for (;;) {
        bool end;
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

static enum ht_err build(struct reader *r, const yaml_event_t *event, struct ht__jnode *node)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        node->type = is_null(event) ? HT__JSON_NULL : HT__JSON_STRING;
        node->len = event->data.scalar.length;
        node->text = ht__arena_copy(r->arena, (const char *)event->data.scalar.value, node->len);
        return node->text ? HT_OK : ht__fail_memory(r->diag, r->where);
    case YAML_MAPPING_START_EVENT:
        node->type = HT__JSON_OBJECT;
        return children(r, true, node);
    case YAML_SEQUENCE_START_EVENT:
        node->type = HT__JSON_ARRAY;
        return children(r, false, node);
    default: return fault(r, event->start_mark.line, "a value is wanted here");
    }
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
    struct reader r = {.arena = arena, .where = where, .diag = diag};
    *root = NULL;
    if (!yaml_parser_initialize(&r.parser)) return ht__fail_memory(diag, where);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    enum ht_err err = document(&r, root);
    yaml_parser_delete(&r.parser);
    return err;
}
