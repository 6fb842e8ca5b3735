/* value | filter, and value is test. */
#include "model/chat/syntax.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct ht__chat_value value;

bool ht__chat_contains(struct ht__chat_run *r, value whole, value part)
{
    if (whole.type == HT__CHAT_STR && part.type == HT__CHAT_STR)
        return part.str.len == 0 ||
               (whole.str.len && memmem(whole.str.text, whole.str.len, part.str.text, part.str.len));
    if (whole.type == HT__CHAT_DICT && part.type == HT__CHAT_STR) return ht__chat_find(whole, part.str) != NULL;
    if (whole.type == HT__CHAT_LIST)
        for (size_t i = 0; i < whole.list->n && !r->err; i++)
            if (ht__chat_equal(r, whole.list->items[i], part)) return true;
    if (whole.type != HT__CHAT_LIST && whole.type != HT__CHAT_DICT && whole.type != HT__CHAT_UNDEFINED)
        ht__chat_fail(r, HT_ERR_UNSUPPORTED, "%s in %s", ht__chat_type_name(part), ht__chat_type_name(whole));
    return false;
}

/* ---- tests -------------------------------------------------------------------------------------- */

static bool type_test(value v, struct ht__str name, bool *holds)
{
    static const struct {
        const char *name;
        unsigned types;
    } tests[] = {
#define BIT(t) (1u << HT__CHAT_##t)
        {"undefined", BIT(UNDEFINED)},
        {"defined", ~BIT(UNDEFINED)},
        {"none", BIT(NONE)},
        {"boolean", BIT(BOOL)},
        {"integer", BIT(INT)},
        {"float", BIT(FLOAT)},
        {"number", BIT(INT) | BIT(FLOAT) | BIT(BOOL)},
        {"string", BIT(STR)},
        {"mapping", BIT(DICT)},
        {"iterable", BIT(STR) | BIT(LIST) | BIT(DICT) | BIT(UNDEFINED)},
        {"sequence", BIT(STR) | BIT(LIST) | BIT(DICT) | BIT(UNDEFINED)},
        {"callable", BIT(MACRO) | BIT(FUNCTION)},
#undef BIT
    };
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        if (!ht__chat_is(name, tests[i].name)) continue;
        *holds = tests[i].types >> v.type & 1;
        return true;
    }
    return false;
}

bool ht__chat_test(struct ht__chat_run *r, value v, struct ht__str name, const struct ht__chat_args *args)
{
    bool holds;
    value other = args->n ? args->values[0] : ht__chat_undefined;
    if (type_test(v, name, &holds)) return holds;
    if (ht__chat_is(name, "true") || ht__chat_is(name, "false"))
        return v.type == HT__CHAT_BOOL && v.boolean == ht__chat_is(name, "true");
    if (ht__chat_is(name, "eq") || ht__chat_is(name, "equalto") || ht__chat_is(name, "sameas"))
        return ht__chat_equal(r, v, other);
    if (ht__chat_is(name, "ne")) return !ht__chat_equal(r, v, other);
    if (ht__chat_is(name, "in")) return ht__chat_contains(r, other, v);
    if (v.type == HT__CHAT_INT && ht__chat_is(name, "odd")) return v.integer % 2 != 0;
    if (v.type == HT__CHAT_INT && ht__chat_is(name, "even")) return v.integer % 2 == 0;
    if (v.type == HT__CHAT_INT && ht__chat_is(name, "divisibleby") && other.type == HT__CHAT_INT && other.integer > 0)
        return v.integer % other.integer == 0;
    ht__chat_fail(r, HT_ERR_UNSUPPORTED, "the test \"%.*s\" is not known for %s", (int)(name.len < 60 ? name.len : 60),
                  name.text, ht__chat_type_name(v));
    return false;
}

/* ---- filters ------------------------------------------------------------------------------------ */

static value join(struct ht__chat_run *r, value v, const struct ht__chat_args *args)
{
    struct ht__str by = ht__chat_text(r, ht__chat_arg(args, 0, "d"));
    value attribute = ht__chat_arg(args, 1, "attribute");
    struct ht__chat_list *items = ht__chat_items(r, v);
    struct ht__buf out;
    ht__buf_init(&out, r->arena->alloc);
    for (size_t i = 0; items && i < items->n && !r->err; i++) {
        value item = items->items[i];
        if (attribute.type == HT__CHAT_STR) item = ht__chat_attribute(r, item, attribute.str);
        struct ht__str text = ht__chat_text(r, item);
        if (i) ht__buf_put(&out, by.text, by.len);
        ht__buf_put(&out, text.text, text.len);
        if (out.len > HT__CHAT_MAX_BYTES) ht__chat_fail(r, HT_ERR_LIMIT, "a text is too long");
    }
    return ht__chat_take(r, &out);
}

/* map(attribute='x'), map('filter'); select('test'), reject; selectattr('x', 'test', value), rejectattr. */
static value each(struct ht__chat_run *r, value v, struct ht__str name, const struct ht__chat_args *args)
{
    value list = ht__chat_new_list(r), attribute = ht__chat_arg(args, (size_t)-1, "attribute");
    struct ht__chat_list *items = ht__chat_true(v) ? ht__chat_items(r, v) : NULL; /* none and the like are empty here */
    bool map = ht__chat_is(name, "map"), by_attr = name.len > 6, wanted = name.text[0] == 's';
    size_t used = by_attr ? 1 : 0;
    struct ht__chat_args rest = {.n = args->n > used + 1 ? args->n - used - 1 : 0};
    for (size_t i = 0; i < rest.n; i++)
        rest.values[i] = args->values[used + 1 + i];
    value how = args->n > used ? args->values[used] : ht__chat_undefined;
    if (by_attr) attribute = args->n ? args->values[0] : ht__chat_undefined;
    for (size_t i = 0; items && i < items->n && !r->err; i++) {
        value item = items->items[i], x = item;
        if (attribute.type == HT__CHAT_STR) x = ht__chat_attribute(r, item, attribute.str);
        if (map && how.type == HT__CHAT_STR) x = ht__chat_filter(r, x, how.str, &rest);
        bool holds = map                        ? true
                     : how.type == HT__CHAT_STR ? ht__chat_test(r, x, how.str, &rest) == wanted
                                                : ht__chat_true(x) == wanted;
        if (holds) ht__chat_append(r, list, map ? x : item);
    }
    return list;
}

static value edge(struct ht__chat_run *r, value v, bool last)
{
    struct ht__chat_list *items = ht__chat_items(r, v);
    return items && items->n ? items->items[last ? items->n - 1 : 0] : ht__chat_undefined;
}

static value reverse(struct ht__chat_run *r, value v)
{
    value list = ht__chat_new_list(r), text = ht__chat_str("", 0);
    struct ht__chat_list *items = ht__chat_items(r, v);
    for (size_t i = items ? items->n : 0; i-- > 0 && !r->err;) {
        ht__chat_append(r, list, items->items[i]);
        if (v.type == HT__CHAT_STR) text = ht__chat_join(r, text.str, items->items[i].str);
    }
    return v.type == HT__CHAT_STR ? text : list;
}

/* What a value is sorted by: itself, or the first of a pair; letters without their case. */
static value sort_key(struct ht__chat_run *r, value v, bool pairs)
{
    if (pairs) v = v.list->items[0];
    struct ht__chat_args none = {0};
    return v.type == HT__CHAT_STR ? ht__chat_method(r, v, (struct ht__str){"lower", 5}, &none) : v;
}

/* sort, and dictsort: pairs by their keys. By insertion: the lists of templates are short, and steps are counted. */
static value sort(struct ht__chat_run *r, value v, bool pairs, const struct ht__chat_args *args)
{
    struct ht__chat_args none = {0};
    if (args->n || args->n_named) ht__chat_fail(r, HT_ERR_UNSUPPORTED, "sorting in another order than the usual one");
    if (!r->err && pairs) v = ht__chat_method(r, v, (struct ht__str){"items", 5}, &none);
    struct ht__chat_list *items = r->err ? NULL : ht__chat_items(r, v);
    value list = ht__chat_new_list(r);
    for (size_t i = 0; items && i < items->n && !r->err; i++) {
        ht__chat_append(r, list, items->items[i]);
        value key = sort_key(r, items->items[i], pairs);
        for (size_t at = i; at > 0 && !r->err; at--) {
            value *here = list.list->items + at;
            if (++r->steps > HT__CHAT_MAX_STEPS) ht__chat_fail(r, HT_ERR_LIMIT, "it takes too many steps");
            if (ht__chat_order(r, sort_key(r, here[-1], pairs), key) <= 0) break;
            here[0] = here[-1];
            here[-1] = items->items[i];
        }
    }
    return list;
}

static value indent(struct ht__chat_run *r, struct ht__str s, const struct ht__chat_args *args)
{
    value width = ht__chat_arg(args, 0, "width");
    int64_t n = width.type == HT__CHAT_INT && width.integer >= 0 && width.integer < 100 ? width.integer : 4;
    bool first = ht__chat_true(ht__chat_arg(args, 1, "first")), blank = ht__chat_true(ht__chat_arg(args, 2, "blank"));
    struct ht__buf out;
    ht__buf_init(&out, r->arena->alloc);
    for (size_t i = 0; i < s.len && out.len <= HT__CHAT_MAX_BYTES; i++) {
        bool start = i == 0 ? first : s.text[i - 1] == '\n' && (blank || s.text[i] != '\n');
        if (start) ht__buf_printf(&out, "%*s", (int)n, "");
        ht__buf_put(&out, s.text + i, 1);
    }
    if (out.len > HT__CHAT_MAX_BYTES) ht__chat_fail(r, HT_ERR_LIMIT, "a text is too long");
    return ht__chat_take(r, &out);
}

static value to_number(struct ht__chat_run *r, value v, bool whole)
{
    struct ht__str s = ht__chat_strip(ht__chat_text(r, v), NULL, true, true);
    char text[64], *end = text;
    double x = 0;
    if (s.len > 0 && s.len < sizeof text) {
        memcpy(text, s.text, s.len);
        text[s.len] = '\0';
        x = v.type == HT__CHAT_BOOL ? v.boolean : strtod(text, &end);
        if (v.type != HT__CHAT_BOOL && *end) x = 0;
    }
    if (!whole) return (value){.type = HT__CHAT_FLOAT, .number = x};
    return v.type == HT__CHAT_INT ? v : ht__chat_int(fabs(x) < 9e15 ? (int64_t)x : 0);
}

static value to_json(struct ht__chat_run *r, value v, const struct ht__chat_args *args)
{
    value width = ht__chat_arg(args, (size_t)-1, "indent");
    struct ht__buf out;
    ht__buf_init(&out, r->arena->alloc);
    ht__chat_json(r, &out, v,
                  width.type == HT__CHAT_INT && width.integer >= 0 && width.integer < 100 ? (int)width.integer : -1, 0);
    return ht__chat_take(r, &out);
}

static value list_of(struct ht__chat_run *r, value v)
{
    struct ht__chat_list *items = ht__chat_items(r, v);
    return items ? (value){.type = HT__CHAT_LIST, .list = items} : ht__chat_undefined;
}

static bool is_method(struct ht__str name)
{
    static const char *const names[] = {"upper", "lower", "title", "capitalize", "replace"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (ht__chat_is(name, names[i])) return true;
    return false;
}

value ht__chat_filter(struct ht__chat_run *r, value v, struct ht__str name, const struct ht__chat_args *args)
{
    if (r->err) return ht__chat_undefined;
    if (ht__chat_is(name, "trim")) {
        value chars = ht__chat_arg(args, 0, "chars");
        struct ht__str s =
            ht__chat_strip(ht__chat_text(r, v), chars.type == HT__CHAT_STR ? &chars.str : NULL, true, true);
        return ht__chat_str(s.text, s.len);
    }
    if (ht__chat_is(name, "length") || ht__chat_is(name, "count")) {
        int64_t n = ht__chat_length(v);
        if (n < 0) ht__chat_fail(r, HT_ERR_UNSUPPORTED, "the length of %s", ht__chat_type_name(v));
        return ht__chat_int(n);
    }
    if (ht__chat_is(name, "default") || ht__chat_is(name, "d")) {
        bool empty =
            v.type == HT__CHAT_UNDEFINED || (ht__chat_true(ht__chat_arg(args, 1, "boolean")) && !ht__chat_true(v));
        return empty ? ht__chat_arg(args, 0, "default_value") : v;
    }
    if (ht__chat_is(name, "tojson")) return to_json(r, v, args);
    if (ht__chat_is(name, "join")) return join(r, v, args);
    if (ht__chat_is(name, "map") || ht__chat_is(name, "select") || ht__chat_is(name, "reject") ||
        ht__chat_is(name, "selectattr") || ht__chat_is(name, "rejectattr"))
        return each(r, v, name, args);
    if (ht__chat_is(name, "first")) return edge(r, v, false);
    if (ht__chat_is(name, "last")) return edge(r, v, true);
    if (ht__chat_is(name, "list")) return list_of(r, v);
    if (ht__chat_is(name, "reverse")) return reverse(r, v);
    if (ht__chat_is(name, "sort") || ht__chat_is(name, "dictsort")) return sort(r, v, name.len > 4, args);
    if (ht__chat_is(name, "string") || ht__chat_is(name, "safe")) {
        struct ht__str s = ht__chat_text(r, v);
        return ht__chat_str(s.text, s.len);
    }
    if (ht__chat_is(name, "indent")) return indent(r, ht__chat_text(r, v), args);
    if (ht__chat_is(name, "int")) return to_number(r, v, true);
    if (ht__chat_is(name, "float")) return to_number(r, v, false);
    if (ht__chat_is(name, "items")) return ht__chat_method(r, v, name, args);
    if (is_method(name)) {
        struct ht__str s = ht__chat_text(r, v);
        return r->err ? ht__chat_undefined : ht__chat_method(r, ht__chat_str(s.text, s.len), name, args);
    }
    ht__chat_fail(r, HT_ERR_UNSUPPORTED, "the filter \"%.*s\" is not known", (int)(name.len < 60 ? name.len : 60),
                  name.text);
    return ht__chat_undefined;
}
