#include "engine/json_schema.h"

#include <string.h>

enum { MOST_NODES = 4096, MOST_DEPTH = 48, MOST_MEMBERS = 256, MOST_COUNT = 1 << 20 };

static enum ht_err refuse(enum ht_err err, const char *what, struct ht_diag *diag)
{
    return ht__fail(diag, err, "schema", -1, "%s", what);
}

static enum ht_err add(struct ht__schema *s, const struct ht__jnode *from, int *index, struct ht_diag *diag)
{
    if (s->n == MOST_NODES) return refuse(HT_ERR_LIMIT, "it is too large", diag);
    if (s->n == s->cap) {
        int cap = s->cap ? 2 * s->cap : 64;
        struct ht__schema_node *grown = ht__arena_raw(&s->arena, (size_t)cap * sizeof *grown);
        if (!grown) return ht__fail_memory(diag, "schema");
        if (s->n) memcpy(grown, s->nodes, (size_t)s->n * sizeof *grown);
        s->nodes = grown;
        s->cap = cap;
    }
    s->nodes[s->n] = (struct ht__schema_node){.kind = HT__SCHEMA_ANY, .from = from, .other = 1, .most = -1};
    *index = s->n++;
    return HT_OK;
}

static enum ht_err compile(struct ht__schema *s, const struct ht__jnode *from, int *index, struct ht_diag *diag);

/* ---- texts -------------------------------------------------------------------------------------- */

static void print(struct ht__buf *out, const struct ht__jnode *v)
{
    switch (v->type) {
    case HT__JSON_NULL: ht__buf_str(out, "null"); return;
    case HT__JSON_BOOL: ht__buf_str(out, v->boolean ? "true" : "false"); return;
    case HT__JSON_STRING: ht__json_quote(out, v->text, v->len); return;
    case HT__JSON_NUMBER:
        if (v->text)
            ht__buf_put(out, v->text, v->len);
        else
            ht__buf_printf(out, "%lld", (long long)v->integer);
        return;
    default: break;
    }
    bool object = v->type == HT__JSON_OBJECT;
    ht__buf_str(out, object ? "{" : "[");
    for (size_t i = 0; i < v->n; i++) {
        if (i) ht__buf_str(out, ", ");
        if (object) ht__json_quote(out, v->keys[i], strlen(v->keys[i]));
        if (object) ht__buf_str(out, ": ");
        print(out, &v->children[i]);
    }
    ht__buf_str(out, object ? "}" : "]");
}

static enum ht_err text_of(struct ht__schema *s, struct ht__buf *from, struct ht__schema_text *text,
                           struct ht_diag *diag)
{
    char *copy = from->failed ? NULL : ht__arena_raw(&s->arena, from->len + 1);
    if (copy) memcpy(copy, from->data, from->len);
    *text = (struct ht__schema_text){copy, from->len};
    ht__buf_close(from);
    return copy ? HT_OK : ht__fail_memory(diag, "schema");
}

static enum ht_err printed(struct ht__schema *s, const struct ht__jnode *value, struct ht__schema_text *text,
                           struct ht_diag *diag)
{
    struct ht__buf out;
    ht__buf_init(&out, s->arena.alloc);
    print(&out, value);
    return text_of(s, &out, text, diag);
}

static enum ht_err quoted(struct ht__schema *s, const char *key, struct ht__schema_text *text, struct ht_diag *diag)
{
    struct ht__buf out;
    ht__buf_init(&out, s->arena.alloc);
    ht__json_quote(&out, key, strlen(key));
    return text_of(s, &out, text, diag);
}

static enum ht_err constants(struct ht__schema *s, int index, const struct ht__jnode *values, size_t n,
                             struct ht_diag *diag)
{
    if (n == 0 || n > MOST_MEMBERS) return refuse(HT_ERR_UNSUPPORTED, "\"enum\" with no or too many values", diag);
    struct ht__schema_text *texts = ht__arena_raw(&s->arena, n * sizeof *texts);
    if (!texts) return ht__fail_memory(diag, "schema");
    for (size_t i = 0; i < n; i++)
        HT_TRY(printed(s, &values[i], &texts[i], diag));
    s->nodes[index].kind = HT__SCHEMA_TEXTS;
    s->nodes[index].texts = texts;
    s->nodes[index].n = (int)n;
    return HT_OK;
}

static enum ht_err word(struct ht__schema *s, int index, const char *const *words, int n, struct ht_diag *diag)
{
    struct ht__schema_text *texts = ht__arena_raw(&s->arena, (size_t)n * sizeof *texts);
    if (!texts) return ht__fail_memory(diag, "schema");
    for (int i = 0; i < n; i++)
        texts[i] = (struct ht__schema_text){words[i], strlen(words[i])};
    s->nodes[index].kind = HT__SCHEMA_TEXTS;
    s->nodes[index].texts = texts;
    s->nodes[index].n = n;
    return HT_OK;
}

/* ---- types -------------------------------------------------------------------------------------- */

static enum ht_err bounds(struct ht__schema *s, int index, const struct ht__jnode *from, const char *least,
                          const char *most, struct ht_diag *diag)
{
    int64_t low = ht__jint(from, least, 0), high = ht__jint(from, most, -1);
    if (low < 0 || low > MOST_COUNT || (ht__jget(from, most) && (high < low || high > MOST_COUNT)))
        return refuse(HT_ERR_USAGE, "a least or most count makes no sense", diag);
    s->nodes[index].least = low;
    s->nodes[index].most = high;
    return HT_OK;
}

static bool is_required(const struct ht__jnode *from, const char *key)
{
    const struct ht__jnode *list = ht__jget(from, "required");
    for (size_t i = 0; list && i < list->n; i++)
        if (list->children[i].type == HT__JSON_STRING && strcmp(list->children[i].text, key) == 0) return true;
    return false;
}

static enum ht_err object(struct ht__schema *s, int index, const struct ht__jnode *from, struct ht_diag *diag)
{
    const struct ht__jnode *given = ht__jget(from, "properties"), *other = ht__jget(from, "additionalProperties"),
                           *required = ht__jget(from, "required");
    size_t n = given && given->type == HT__JSON_OBJECT ? given->n : 0, found = 0;
    if (n > MOST_MEMBERS) return refuse(HT_ERR_LIMIT, "an object has too many properties", diag);
    struct ht__schema_property *properties = n ? ht__arena_raw(&s->arena, n * sizeof *properties) : NULL;
    if (n && !properties) return ht__fail_memory(diag, "schema");
    s->nodes[index].kind = HT__SCHEMA_OBJECT;
    for (size_t i = 0; i < n; i++) {
        HT_TRY(quoted(s, given->keys[i], &properties[i].key, diag));
        HT_TRY(compile(s, &given->children[i], &properties[i].node, diag));
        properties[i].required = is_required(from, given->keys[i]);
        found += properties[i].required;
    }
    if (required && found < required->n)
        return refuse(HT_ERR_UNSUPPORTED, "\"required\" names what \"properties\" does not", diag);
    s->nodes[index].properties = properties;
    s->nodes[index].n_properties = (int)n;
    if (n || !other) return HT_OK;
    if (other->type == HT__JSON_BOOL) return s->nodes[index].other = other->boolean ? 1 : -1, HT_OK;
    int node;
    HT_TRY(compile(s, other, &node, diag));
    return s->nodes[index].other = node, HT_OK;
}

static enum ht_err array(struct ht__schema *s, int index, const struct ht__jnode *from, struct ht_diag *diag)
{
    const struct ht__jnode *items = ht__jget(from, "items");
    int node = 1;
    if (items && items->type == HT__JSON_OBJECT) HT_TRY(compile(s, items, &node, diag));
    s->nodes[index].kind = HT__SCHEMA_ARRAY;
    s->nodes[index].other = node;
    return bounds(s, index, from, "minItems", "maxItems", diag);
}

static enum ht_err of_type(struct ht__schema *s, int index, const struct ht__jnode *from, const char *type,
                           struct ht_diag *diag)
{
    static const char *const booleans[] = {"true", "false"}, *const null[] = {"null"};
    if (strcmp(type, "object") == 0) return object(s, index, from, diag);
    if (strcmp(type, "array") == 0) return array(s, index, from, diag);
    if (strcmp(type, "boolean") == 0) return word(s, index, booleans, 2, diag);
    if (strcmp(type, "null") == 0) return word(s, index, null, 1, diag);
    if (strcmp(type, "string") == 0) {
        s->nodes[index].kind = HT__SCHEMA_STRING;
        return bounds(s, index, from, "minLength", "maxLength", diag);
    }
    bool number = strcmp(type, "number") == 0;
    if (!number && strcmp(type, "integer") != 0)
        return refuse(HT_ERR_USAGE, "a \"type\" that JSON does not have", diag);
    s->nodes[index].kind = number ? HT__SCHEMA_NUMBER : HT__SCHEMA_INTEGER;
    return HT_OK;
}

static enum ht_err alternatives(struct ht__schema *s, int index, const struct ht__jnode *list, struct ht_diag *diag)
{
    if (list->type != HT__JSON_ARRAY || list->n == 0 || list->n > MOST_MEMBERS)
        return refuse(HT_ERR_USAGE, "\"anyOf\" and \"oneOf\" are lists of schemas", diag);
    int *nodes = ht__arena_raw(&s->arena, list->n * sizeof *nodes);
    if (!nodes) return ht__fail_memory(diag, "schema");
    for (size_t i = 0; i < list->n; i++)
        HT_TRY(compile(s, &list->children[i], &nodes[i], diag));
    s->nodes[index].kind = HT__SCHEMA_ONE_OF;
    s->nodes[index].nodes = nodes;
    s->nodes[index].n = (int)list->n;
    return HT_OK;
}

static enum ht_err types(struct ht__schema *s, int index, const struct ht__jnode *from, const struct ht__jnode *list,
                         struct ht_diag *diag)
{
    if (list->n == 0 || list->n > 7) return refuse(HT_ERR_USAGE, "\"type\" is a name or a list of them", diag);
    int *nodes = ht__arena_raw(&s->arena, list->n * sizeof *nodes);
    if (!nodes) return ht__fail_memory(diag, "schema");
    for (size_t i = 0; i < list->n; i++) {
        if (list->children[i].type != HT__JSON_STRING) return refuse(HT_ERR_USAGE, "a \"type\" is a text", diag);
        HT_TRY(add(s, NULL, &nodes[i], diag));
        HT_TRY(of_type(s, nodes[i], from, list->children[i].text, diag));
    }
    s->nodes[index].kind = HT__SCHEMA_ONE_OF;
    s->nodes[index].nodes = nodes;
    s->nodes[index].n = (int)list->n;
    return HT_OK;
}

/* ---- references --------------------------------------------------------------------------------- */

/* "#", "#/$defs/NAME": what it points to, or NULL. */
static const struct ht__jnode *pointed(const struct ht__schema *s, const char *ref)
{
    const struct ht__jnode *at = s->root;
    char name[256];
    if (*ref++ != '#') return NULL;
    while (at && *ref == '/') {
        size_t n = strcspn(++ref, "/");
        if (n >= sizeof name) return NULL;
        memcpy(name, ref, n);
        name[n] = '\0';
        at = ht__jget(at, name);
        ref += n;
    }
    return *ref ? NULL : at;
}

/* A schema that is pointed to from several places, or from within, is one node. */
static bool known(const struct ht__schema *s, const struct ht__jnode *from, int *index)
{
    for (int i = 0; i < s->n; i++)
        if (s->nodes[i].from == from) return *index = i, true;
    return false;
}

static const char *unsupported(const struct ht__jnode *from)
{
    static const char *const words[] = {"pattern",
                                        "not",
                                        "if",
                                        "prefixItems",
                                        "patternProperties",
                                        "minimum",
                                        "maximum",
                                        "multipleOf",
                                        "uniqueItems",
                                        "exclusiveMinimum",
                                        "exclusiveMaximum",
                                        "contains",
                                        "minProperties",
                                        "maxProperties",
                                        "dependentRequired",
                                        "propertyNames"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const struct ht__jnode *found = ht__jget(from, words[i]);
        if (found && !(found->type == HT__JSON_BOOL && !found->boolean)) return words[i];
    }
    return NULL;
}

static enum ht_err fill(struct ht__schema *s, int index, const struct ht__jnode *from, struct ht_diag *diag)
{
    const struct ht__jnode *one = ht__jget(from, "const"), *values = ht__jget(from, "enum"),
                           *type = ht__jget(from, "type");
    const struct ht__jnode *any = ht__jget(from, "anyOf"), *all = ht__jget(from, "allOf");
    const char *word_ = unsupported(from);
    if (!any) any = ht__jget(from, "oneOf");
    if (word_) return ht__fail(diag, HT_ERR_UNSUPPORTED, "schema", -1, "\"%s\" cannot be guaranteed", word_);
    if (all && (all->type != HT__JSON_ARRAY || all->n != 1))
        return refuse(HT_ERR_UNSUPPORTED, "\"allOf\" of several schemas cannot be guaranteed", diag);
    if (one) return constants(s, index, one, 1, diag);
    if (values) return constants(s, index, values->children, values->type == HT__JSON_ARRAY ? values->n : 0, diag);
    if (any) return alternatives(s, index, any, diag);
    if (all) return alternatives(s, index, all, diag);
    if (type && type->type == HT__JSON_ARRAY) return types(s, index, from, type, diag);
    if (type && type->type != HT__JSON_STRING)
        return refuse(HT_ERR_USAGE, "\"type\" is a name or a list of them", diag);
    if (type) return of_type(s, index, from, type->text, diag);
    if (ht__jget(from, "properties")) return object(s, index, from, diag);
    if (ht__jget(from, "items")) return array(s, index, from, diag);
    return HT_OK;
}

static enum ht_err compile(struct ht__schema *s, const struct ht__jnode *from, int *index, struct ht_diag *diag)
{
    for (int hops = 0; from->type == HT__JSON_OBJECT && ht__jget(from, "$ref"); hops++) {
        const char *ref = ht__jstr(from, "$ref", "");
        from = pointed(s, ref);
        if (!from || hops > 16)
            return ht__fail(diag, HT_ERR_USAGE, "schema", -1, "\"$ref\": \"%.100s\" leads nowhere here", ref);
    }
    if (from->type == HT__JSON_BOOL && from->boolean) return *index = 1, HT_OK;
    if (from->type != HT__JSON_OBJECT) return refuse(HT_ERR_USAGE, "a schema is an object", diag);
    if (known(s, from, index)) return HT_OK;
    if (++s->depth > MOST_DEPTH) return refuse(HT_ERR_LIMIT, "it is nested too deeply", diag);
    HT_TRY(add(s, from, index, diag));
    enum ht_err err = fill(s, *index, from, diag);
    s->depth--;
    return err;
}

enum ht_err ht__schema_open(struct ht__schema *s, const char *json, const struct ht__alloc *alloc, struct ht_diag *diag)
{
    int top = 0, any = 1;
    *s = (struct ht__schema){.n = 0};
    ht__arena_init(&s->arena, alloc);
    HT_TRY(add(s, NULL, &top, diag));
    HT_TRY(add(s, NULL, &any, diag));
    s->nodes[top].kind = HT__SCHEMA_OBJECT;
    if (!*json) return HT_OK;
    HT_TRY(ht__json_parse(&s->arena, json, strlen(json), "schema", &s->root, diag));
    int root;
    HT_TRY(compile(s, s->root, &root, diag));
    s->nodes[top] = s->nodes[root];
    s->nodes[top].from = NULL;
    return HT_OK;
}

void ht__schema_close(struct ht__schema *s)
{
    ht__arena_close(&s->arena);
}
