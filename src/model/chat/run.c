/* Running a template: statements print, expressions have values. */
#include "model/chat/syntax.h"

#include <math.h>
#include <string.h>

typedef struct ht__chat_node node;
typedef struct ht__chat_value value;

static bool enter(struct ht__chat_run *r)
{
    if (++r->steps > HT__CHAT_MAX_STEPS) ht__chat_fail(r, HT_ERR_LIMIT, "it takes too many steps");
    if (++r->depth > HT__CHAT_MAX_RUN_DEPTH) ht__chat_fail(r, HT_ERR_LIMIT, "it is nested too deeply");
    return !r->err;
}

/* ---- names -------------------------------------------------------------------------------------- */

static value look_up(struct ht__chat_run *r, struct ht__str name)
{
    for (const struct ht__chat_scope *s = r->scope; s; s = s->parent) {
        const value *found = ht__chat_find(s->names, name);
        if (found) return *found;
    }
    if (ht__chat_has_function(name)) return (value){.type = HT__CHAT_FUNCTION, .function = "function"};
    return ht__chat_undefined;
}

static void assign_one(struct ht__chat_run *r, const node *target, value v)
{
    if (target->kind == HT__CHAT_NAME) return ht__chat_put(r, r->scope->names, target->name, v);
    value whole = look_up(r, target->a->name);
    if (whole.type != HT__CHAT_DICT || !whole.is_namespace)
        return ht__chat_fail(r, HT_ERR_UNSUPPORTED, "only a namespace can be assigned to");
    ht__chat_put(r, whole, target->name, v);
}

static void assign(struct ht__chat_run *r, const node *targets, value v)
{
    if (!targets->next) return assign_one(r, targets, v);
    struct ht__chat_list *items = ht__chat_items(r, v);
    size_t i = 0;
    for (const node *t = targets; t && items; t = t->next, i++) {
        if (i >= items->n || (!t->next && i + 1 < items->n))
            return ht__chat_fail(r, HT_ERR_UNSUPPORTED,
                                 "%zu values cannot be unpacked into a different number of names", items->n);
        assign_one(r, t, items->items[i]);
    }
}

static struct ht__chat_scope new_scope(struct ht__chat_run *r, struct ht__chat_scope *parent)
{
    return (struct ht__chat_scope){.names = ht__chat_new_dict(r), .parent = parent};
}

/* ---- expressions -------------------------------------------------------------------------------- */

value ht__chat_attribute(struct ht__chat_run *r, value v, struct ht__str name)
{
    const value *found = ht__chat_find(v, name);
    if (found) return *found;
    if (v.type == HT__CHAT_UNDEFINED)
        ht__chat_fail(r, HT_ERR_UNSUPPORTED, "\"%.*s\" of an undefined value", (int)(name.len < 60 ? name.len : 60),
                      name.text);
    return ht__chat_undefined;
}

static value item_of(struct ht__chat_run *r, value whole, value index)
{
    if (index.type == HT__CHAT_STR) return ht__chat_attribute(r, whole, index.str);
    if (whole.type == HT__CHAT_UNDEFINED) {
        ht__chat_fail(r, HT_ERR_UNSUPPORTED, "an item of an undefined value");
        return ht__chat_undefined;
    }
    int64_t n = ht__chat_length(whole), i = index.integer;
    if (index.type != HT__CHAT_INT || n < 0) return ht__chat_undefined;
    if (whole.type == HT__CHAT_DICT) return ht__chat_attribute(r, whole, ht__chat_key(r, index));
    if (i < 0) i += n;
    if (i < 0 || i >= n) return ht__chat_undefined;
    if (whole.type == HT__CHAT_LIST) return whole.list->items[i];
    size_t from = ht__chat_offset(whole.str, i), to = ht__chat_offset(whole.str, i + 1);
    return ht__chat_str(whole.str.text + from, to - from);
}

static int64_t bound(struct ht__chat_run *r, const node *n, int64_t otherwise, int64_t length, int64_t low,
                     int64_t high)
{
    value v = n ? ht__chat_value_of(r, n) : ht__chat_undefined;
    if (!n || v.type == HT__CHAT_NONE) return otherwise;
    if (v.type != HT__CHAT_INT) {
        ht__chat_fail(r, HT_ERR_UNSUPPORTED, "a slice from %s", ht__chat_type_name(v));
        return otherwise;
    }
    int64_t i = v.integer < 0 ? v.integer + length : v.integer;
    return i < low ? low : i > high ? high : i;
}

static value slice_of(struct ht__chat_run *r, const node *n)
{
    value whole = ht__chat_value_of(r, n->a), step_value = n->d ? ht__chat_value_of(r, n->d) : ht__chat_int(1);
    int64_t length = ht__chat_length(whole), step = step_value.type == HT__CHAT_INT ? step_value.integer : 1;
    if (r->err) return ht__chat_undefined;
    if ((whole.type != HT__CHAT_LIST && whole.type != HT__CHAT_STR) || step == 0 || step > INT32_MAX ||
        step < INT32_MIN) {
        ht__chat_fail(r, HT_ERR_UNSUPPORTED, "a slice of %s", ht__chat_type_name(whole));
        return ht__chat_undefined;
    }
    int64_t low = step > 0 ? 0 : -1, high = step > 0 ? length : length - 1;
    int64_t from = bound(r, n->b, step > 0 ? low : high, length, low, high);
    int64_t to = bound(r, n->c, step > 0 ? high : low, length, low, high);
    if (whole.type == HT__CHAT_STR && step == 1) {
        size_t start = ht__chat_offset(whole.str, from), end = ht__chat_offset(whole.str, to > from ? to : from);
        return ht__chat_str(whole.str.text + start, end - start);
    }
    struct ht__chat_list *items = ht__chat_items(r, whole);
    value list = ht__chat_new_list(r), text = ht__chat_str("", 0);
    for (int64_t i = from; items && !r->err && (step > 0 ? i < to : i > to); i += step) {
        ht__chat_append(r, list, items->items[i]);
        if (whole.type == HT__CHAT_STR) text = ht__chat_join(r, text.str, items->items[i].str);
    }
    return whole.type == HT__CHAT_STR ? text : list;
}

static value cannot(struct ht__chat_run *r, int op, value a, value b)
{
    ht__chat_fail(r, HT_ERR_UNSUPPORTED, "\"%c\" of %s and %s", op & 0xff, ht__chat_type_name(a),
                  ht__chat_type_name(b));
    return ht__chat_undefined;
}

static value int_math(struct ht__chat_run *r, int op, int64_t a, int64_t b)
{
    int64_t c = 0;
    bool bad = false;
    if (op == '+') bad = __builtin_add_overflow(a, b, &c);
    if (op == '-') bad = __builtin_sub_overflow(a, b, &c);
    if (op == '*') bad = __builtin_mul_overflow(a, b, &c);
    if (op == '%' || op == HT__CHAT_OP('/', '/')) {
        bad = b == 0 || (a == INT64_MIN && b == -1);
        if (!bad) c = op == '%' ? a % b : a / b;
        if (!bad && a % b != 0 && (a < 0) != (b < 0)) c += op == '%' ? b : -1; /* rounded down, as Python does */
    }
    if (bad) ht__chat_fail(r, HT_ERR_UNSUPPORTED, "a number is too large, or divided by 0");
    return ht__chat_int(c);
}

static value float_math(struct ht__chat_run *r, int op, double a, double b)
{
    double c = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
    if (op == '%') c = a - floor(a / b) * b;
    if (op == HT__CHAT_OP('/', '/')) c = floor(c);
    if (!isfinite(c)) ht__chat_fail(r, HT_ERR_UNSUPPORTED, "a number is too large, or divided by 0");
    return (value){.type = HT__CHAT_FLOAT, .number = c};
}

static value repeat(struct ht__chat_run *r, struct ht__str s, int64_t times)
{
    value all = ht__chat_str("", 0);
    if (s.len == 0 || times <= 0) return all;
    if (times > HT__CHAT_MAX_BYTES / (int64_t)s.len) return ht__chat_fail(r, HT_ERR_LIMIT, "a text is too long"), all;
    char *text = ht__chat_new(r, s.len * (size_t)times, 1);
    for (int64_t i = 0; text && i < times; i++)
        memcpy(text + (size_t)i * s.len, s.text, s.len);
    return text ? ht__chat_str(text, s.len * (size_t)times) : all;
}

static value math(struct ht__chat_run *r, int op, value a, value b)
{
    bool whole =
        (a.type == HT__CHAT_INT || a.type == HT__CHAT_BOOL) && (b.type == HT__CHAT_INT || b.type == HT__CHAT_BOOL);
    int64_t i = a.type == HT__CHAT_BOOL ? a.boolean : a.integer, j = b.type == HT__CHAT_BOOL ? b.boolean : b.integer;
    if (r->err) return ht__chat_undefined;
    if (op == '~') {
        struct ht__str first = ht__chat_text(r, a), second = ht__chat_text(r, b);
        return r->err ? ht__chat_undefined : ht__chat_join(r, first, second);
    }
    if (a.type == HT__CHAT_STR && b.type == HT__CHAT_STR && op == '+') return ht__chat_join(r, a.str, b.str);
    if (a.type == HT__CHAT_STR && b.type == HT__CHAT_INT && op == '*') return repeat(r, a.str, b.integer);
    if (a.type == HT__CHAT_LIST && b.type == HT__CHAT_LIST && op == '+') {
        value list = ht__chat_new_list(r);
        for (size_t k = 0; k < a.list->n + b.list->n && !r->err; k++)
            ht__chat_append(r, list, k < a.list->n ? a.list->items[k] : b.list->items[k - a.list->n]);
        return list;
    }
    if (whole && op != '/') return int_math(r, op, i, j);
    bool numbers = (whole || a.type == HT__CHAT_FLOAT || b.type == HT__CHAT_FLOAT) && a.type >= HT__CHAT_BOOL &&
                   a.type <= HT__CHAT_FLOAT && b.type >= HT__CHAT_BOOL && b.type <= HT__CHAT_FLOAT;
    if (!numbers) return cannot(r, op, a, b);
    return float_math(r, op, a.type == HT__CHAT_FLOAT ? a.number : (double)i,
                      b.type == HT__CHAT_FLOAT ? b.number : (double)j);
}

static value compare(struct ht__chat_run *r, const node *n)
{
    value a = ht__chat_value_of(r, n->a);
    for (const node *k = n->kids; k && !r->err; k = k->next) {
        value b = ht__chat_value_of(r, k->a);
        bool holds = false;
        if (r->err) break;
        switch (k->op) {
        case HT__CHAT_OP('=', '='): holds = ht__chat_equal(r, a, b); break;
        case HT__CHAT_OP('!', '='): holds = !ht__chat_equal(r, a, b); break;
        case 'i': holds = ht__chat_contains(r, b, a); break;
        case 'n': holds = !ht__chat_contains(r, b, a); break;
        case '<': holds = ht__chat_order(r, a, b) < 0; break;
        case '>': holds = ht__chat_order(r, a, b) > 0; break;
        case HT__CHAT_OP('<', '='): holds = ht__chat_order(r, a, b) <= 0; break;
        default: holds = ht__chat_order(r, a, b) >= 0; break;
        }
        if (!holds) return ht__chat_bool(false);
        a = b;
    }
    return ht__chat_bool(true);
}

/* ---- calls -------------------------------------------------------------------------------------- */

value ht__chat_arg(const struct ht__chat_args *args, size_t i, const char *name)
{
    for (size_t k = 0; k < args->n_named; k++)
        if (ht__chat_is(args->names[k], name)) return args->named[k];
    return i < args->n ? args->values[i] : ht__chat_undefined;
}

static void gather(struct ht__chat_run *r, const node *kids, struct ht__chat_args *args)
{
    args->n = args->n_named = 0;
    for (const node *k = kids; k && !r->err; k = k->next) {
        if (k->kind == HT__CHAT_NAMED) {
            args->names[args->n_named] = k->name;
            args->named[args->n_named++] = ht__chat_value_of(r, k->a);
        } else {
            args->values[args->n++] = ht__chat_value_of(r, k);
        }
    }
}

/* What the statements print, as a string. */
static value printed(struct ht__chat_run *r, const node *body)
{
    struct ht__buf buf, *out = r->out;
    ht__buf_init(&buf, r->arena->alloc);
    r->out = &buf;
    ht__chat_statements(r, body);
    r->out = out;
    return ht__chat_take(r, &buf);
}

static value call_macro(struct ht__chat_run *r, const node *macro, const struct ht__chat_args *args)
{
    struct ht__chat_scope scope = new_scope(r, r->top), *before = r->scope;
    size_t i = 0;
    r->scope = &scope;
    for (const node *p = macro->kids; p && !r->err; p = p->next, i++) {
        char name[64];
        if (p->name.len >= sizeof name) ht__chat_fail(r, HT_ERR_LIMIT, "a name is too long");
        if (r->err) break;
        memcpy(name, p->name.text, p->name.len);
        name[p->name.len] = '\0';
        value v = ht__chat_arg(args, i, name);
        if (v.type == HT__CHAT_UNDEFINED && p->a) v = ht__chat_value_of(r, p->a);
        ht__chat_put(r, scope.names, p->name, v);
    }
    if (args->n > i) ht__chat_fail(r, HT_ERR_UNSUPPORTED, "a macro has too many arguments");
    value v = r->err ? ht__chat_undefined : printed(r, macro->body);
    r->scope = before;
    return v;
}

static value call(struct ht__chat_run *r, const node *n)
{
    struct ht__chat_args args;
    const node *callee = n->a;
    if (callee->kind == HT__CHAT_ATTR) {
        value self = ht__chat_value_of(r, callee->a);
        gather(r, n->kids, &args);
        return r->err ? ht__chat_undefined : ht__chat_method(r, self, callee->name, &args);
    }
    value f = callee->kind == HT__CHAT_NAME ? look_up(r, callee->name) : ht__chat_undefined;
    gather(r, n->kids, &args);
    if (r->err) return ht__chat_undefined;
    if (f.type == HT__CHAT_MACRO) return call_macro(r, f.macro, &args);
    if (f.type == HT__CHAT_FUNCTION) return ht__chat_function(r, callee->name, &args);
    ht__chat_fail(r, HT_ERR_UNSUPPORTED, "\"%.*s\" is not a function",
                  (int)(callee->name.len < 60 ? callee->name.len : 60), callee->name.text ? callee->name.text : "");
    return ht__chat_undefined;
}

static value filter_or_test(struct ht__chat_run *r, const node *n)
{
    struct ht__chat_args args;
    value v = ht__chat_value_of(r, n->a);
    gather(r, n->kids, &args);
    if (r->err) return ht__chat_undefined;
    if (n->kind == HT__CHAT_FILTER) return ht__chat_filter(r, v, n->name, &args);
    return ht__chat_bool(ht__chat_test(r, v, n->name, &args) != (n->op == 1));
}

static value collect(struct ht__chat_run *r, const node *n)
{
    bool dict = n->kind == HT__CHAT_DICT_OF;
    value all = dict ? ht__chat_new_dict(r) : ht__chat_new_list(r);
    for (const node *k = n->kids; k && !r->err; k = k->next) {
        value v = ht__chat_value_of(r, k);
        if (dict && (k = k->next)) {
            value item = ht__chat_value_of(r, k);
            if (!r->err) ht__chat_put(r, all, ht__chat_key(r, v), item);
        } else {
            ht__chat_append(r, all, v);
        }
    }
    return all;
}

static value negated(struct ht__chat_run *r, value v, bool minus)
{
    return math(r, minus ? '-' : '+', ht__chat_int(0), v);
}

static value value_of(struct ht__chat_run *r, const node *n)
{
    value a;
    switch (n->kind) {
    case HT__CHAT_CONST: return n->value;
    case HT__CHAT_NAME: return look_up(r, n->name);
    case HT__CHAT_LIST_OF:
    case HT__CHAT_DICT_OF: return collect(r, n);
    case HT__CHAT_NOT: return ht__chat_bool(!ht__chat_true(ht__chat_value_of(r, n->a)));
    case HT__CHAT_NEGATE: return negated(r, ht__chat_value_of(r, n->a), true);
    case HT__CHAT_PLUS: return negated(r, ht__chat_value_of(r, n->a), false);
    case HT__CHAT_AND: return a = ht__chat_value_of(r, n->a), ht__chat_true(a) ? ht__chat_value_of(r, n->b) : a;
    case HT__CHAT_OR: return a = ht__chat_value_of(r, n->a), ht__chat_true(a) ? a : ht__chat_value_of(r, n->b);
    case HT__CHAT_MATH: return a = ht__chat_value_of(r, n->a), math(r, n->op, a, ht__chat_value_of(r, n->b));
    case HT__CHAT_COMPARE: return compare(r, n);
    case HT__CHAT_CHOICE:
        if (ht__chat_true(ht__chat_value_of(r, n->b))) return ht__chat_value_of(r, n->a);
        return n->c ? ht__chat_value_of(r, n->c) : ht__chat_undefined;
    case HT__CHAT_ATTR: return ht__chat_attribute(r, ht__chat_value_of(r, n->a), n->name);
    case HT__CHAT_ITEM: return a = ht__chat_value_of(r, n->a), item_of(r, a, ht__chat_value_of(r, n->b));
    case HT__CHAT_SLICE: return slice_of(r, n);
    case HT__CHAT_CALL: return call(r, n);
    case HT__CHAT_FILTER:
    case HT__CHAT_TEST: return filter_or_test(r, n);
    default: return ht__chat_undefined;
    }
}

value ht__chat_value_of(struct ht__chat_run *r, const node *n)
{
    value v = enter(r) ? value_of(r, n) : ht__chat_undefined;
    r->depth--;
    return r->err ? ht__chat_undefined : v;
}

/* ---- statements --------------------------------------------------------------------------------- */

static void put_word(struct ht__chat_run *r, value dict, const char *name, value v)
{
    ht__chat_put(r, dict, (struct ht__str){name, strlen(name)}, v);
}

static value loop_info(struct ht__chat_run *r, const struct ht__chat_list *items, size_t i)
{
    value loop = ht__chat_new_dict(r);
    int64_t n = (int64_t)items->n, at = (int64_t)i;
    put_word(r, loop, "index", ht__chat_int(at + 1));
    put_word(r, loop, "index0", ht__chat_int(at));
    put_word(r, loop, "revindex", ht__chat_int(n - at));
    put_word(r, loop, "revindex0", ht__chat_int(n - at - 1));
    put_word(r, loop, "length", ht__chat_int(n));
    put_word(r, loop, "first", ht__chat_bool(i == 0));
    put_word(r, loop, "last", ht__chat_bool(at == n - 1));
    if (i > 0) put_word(r, loop, "previtem", items->items[i - 1]);
    if (at < n - 1) put_word(r, loop, "nextitem", items->items[i + 1]);
    return loop;
}

/* The items for which the loop's condition holds. */
static struct ht__chat_list *chosen(struct ht__chat_run *r, const node *n, struct ht__chat_list *items)
{
    value list = ht__chat_new_list(r);
    for (size_t i = 0; i < items->n && !r->err; i++) {
        struct ht__chat_scope scope = new_scope(r, r->scope), *before = r->scope;
        r->scope = &scope;
        assign(r, n->kids, items->items[i]);
        if (!r->err && ht__chat_true(ht__chat_value_of(r, n->b))) ht__chat_append(r, list, items->items[i]);
        r->scope = before;
    }
    return r->err ? NULL : list.list;
}

static void run_for(struct ht__chat_run *r, const node *n)
{
    value what = ht__chat_value_of(r, n->a);
    struct ht__chat_list *items = r->err ? NULL : ht__chat_items(r, what);
    if (items && n->b) items = chosen(r, n, items);
    if (!items) return;
    size_t count = items->n;
    for (size_t i = 0; i < count && !r->err; i++) {
        struct ht__chat_scope scope = new_scope(r, r->scope), *before = r->scope;
        r->scope = &scope;
        assign(r, n->kids, items->items[i]);
        put_word(r, scope.names, "loop", loop_info(r, items, i));
        ht__chat_statements(r, n->body);
        r->scope = before;
        int leaving = r->leaving;
        r->leaving = 0;
        if (leaving == 'b') break;
    }
    if (count == 0) ht__chat_statements(r, n->other);
}

static void print(struct ht__chat_run *r, struct ht__str text)
{
    if (text.len > HT__CHAT_MAX_BYTES || r->out->len > HT__CHAT_MAX_BYTES - text.len)
        return ht__chat_fail(r, HT_ERR_LIMIT, "it writes more than %d MB", HT__CHAT_MAX_BYTES >> 20);
    ht__buf_put(r->out, text.text, text.len);
}

static void run_statement(struct ht__chat_run *r, const node *n)
{
    value v;
    switch (n->kind) {
    case HT__CHAT_TEXT: return print(r, n->name);
    case HT__CHAT_PRINT:
        v = ht__chat_value_of(r, n->a);
        if (!r->err) print(r, ht__chat_text(r, v));
        return;
    case HT__CHAT_IF:
        v = ht__chat_value_of(r, n->a);
        if (r->err) return;
        if (ht__chat_true(v)) return ht__chat_statements(r, n->body);
        if (n->other && n->other->kind == HT__CHAT_IF) return ht__chat_statements(r, n->other);
        return ht__chat_statements(r, n->other);
    case HT__CHAT_FOR: return run_for(r, n);
    case HT__CHAT_SET:
        v = n->a ? ht__chat_value_of(r, n->a) : printed(r, n->body);
        if (!r->err) assign(r, n->kids, v);
        return;
    case HT__CHAT_MACRO_DEF:
        return ht__chat_put(r, r->scope->names, n->name, (value){.type = HT__CHAT_MACRO, .macro = n});
    case HT__CHAT_GROUP: return ht__chat_statements(r, n->body);
    case HT__CHAT_LEAVE: r->leaving = n->op; return;
    default: return;
    }
}

void ht__chat_statements(struct ht__chat_run *r, const node *n)
{
    for (; n && !r->err && !r->leaving; n = n->next) {
        r->line = n->line;
        if (enter(r)) run_statement(r, n);
        r->depth--;
    }
}
