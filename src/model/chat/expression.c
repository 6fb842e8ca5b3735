/*
 * Expressions of a template, loosest first:
 *     a if b else c    or    and    not    == != < <= > >= in    + -    ~    * / // %    unary - +
 *     a.b  a[b]  a(b)  a | filter  a is test
 */
#include "model/chat/parse.h"

#include <string.h>

typedef struct ht__chat_node node;

static node *two(struct ht__chat_parser *p, enum ht__chat_kind kind, int op, node *a, node *b)
{
    node *n = ht__chat_node_new(p, kind);
    n->op = op;
    ht__chat_deepen(p, n, n->a = a);
    return ht__chat_deepen(p, n, n->b = b);
}

static node *constant(struct ht__chat_parser *p, struct ht__chat_value value)
{
    node *n = ht__chat_node_new(p, HT__CHAT_CONST);
    n->value = value;
    return n;
}

static void add_kid(struct ht__chat_parser *p, node *owner, node ***last, node *kid)
{
    **last = kid;
    *last = &kid->next;
    ht__chat_deepen(p, owner, kid);
}

/* [a, b] and {a: b}; the opening bracket is skipped. */
static node *parse_list(struct ht__chat_parser *p, int closing)
{
    node *n = ht__chat_node_new(p, HT__CHAT_LIST_OF), **last = &n->kids;
    while (!p->r->err && !ht__chat_at_op(p, closing)) {
        add_kid(p, n, &last, ht__chat_expression(p));
        if (!ht__chat_skip_op(p, ',')) break;
    }
    ht__chat_want_op(p, closing);
    return n;
}

static node *parse_dict(struct ht__chat_parser *p)
{
    node *n = ht__chat_node_new(p, HT__CHAT_DICT_OF), **last = &n->kids;
    while (!p->r->err && !ht__chat_at_op(p, '}')) {
        add_kid(p, n, &last, ht__chat_expression(p));
        ht__chat_want_op(p, ':');
        add_kid(p, n, &last, ht__chat_expression(p));
        if (!ht__chat_skip_op(p, ',')) break;
    }
    ht__chat_want_op(p, '}');
    return n;
}

/* (a) is a; (a, b), (a,) and () are lists, which stand for tuples. */
static node *parse_brackets(struct ht__chat_parser *p)
{
    if (ht__chat_at_op(p, ')')) return parse_list(p, ')');
    node *first = ht__chat_expression(p);
    if (!ht__chat_skip_op(p, ',')) return ht__chat_want_op(p, ')'), first;
    node *n = parse_list(p, ')');
    first->next = n->kids;
    n->kids = first;
    return ht__chat_deepen(p, n, first);
}

static node *parse_name(struct ht__chat_parser *p)
{
    static const struct {
        const char *name;
        struct ht__chat_value value;
    } words[] = {{"true", {.type = HT__CHAT_BOOL, .boolean = true}},
                 {"True", {.type = HT__CHAT_BOOL, .boolean = true}},
                 {"false", {.type = HT__CHAT_BOOL, .boolean = false}},
                 {"False", {.type = HT__CHAT_BOOL, .boolean = false}},
                 {"none", {.type = HT__CHAT_NONE}},
                 {"None", {.type = HT__CHAT_NONE}}};
    struct ht__str name = ht__chat_want_name(p);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (ht__chat_is(name, words[i].name)) return constant(p, words[i].value);
    node *n = ht__chat_node_new(p, HT__CHAT_NAME);
    n->name = name;
    return n;
}

/* 'a' 'b' is 'ab', as in Python. */
static node *parse_string(struct ht__chat_parser *p)
{
    struct ht__chat_value text = p->at->value;
    ht__chat_go_on(p);
    for (; p->at->word == HT__CHAT_W_STR; ht__chat_go_on(p))
        text = ht__chat_join(p->r, text.str, p->at->value.str);
    return constant(p, text);
}

static node *parse_primary(struct ht__chat_parser *p)
{
    if (p->at->word == HT__CHAT_W_STR) return parse_string(p);
    if (p->at->word == HT__CHAT_W_NUMBER) {
        node *n = constant(p, p->at->value);
        ht__chat_go_on(p);
        return n;
    }
    if (p->at->word == HT__CHAT_W_NAME) return parse_name(p);
    if (ht__chat_skip_op(p, '(')) return parse_brackets(p);
    if (ht__chat_skip_op(p, '[')) return parse_list(p, ']');
    if (ht__chat_skip_op(p, '{')) return parse_dict(p);
    ht__chat_fail(p->r, HT_ERR_FORMAT, "expected an expression");
    return &p->nowhere;
}

/* (a, b=c); the opening bracket is skipped. */
static void parse_arguments(struct ht__chat_parser *p, node *call)
{
    node **last = &call->kids;
    int n = 0;
    while (!p->r->err && !ht__chat_at_op(p, ')')) {
        bool named = p->at->word == HT__CHAT_W_NAME && p->at[1].word == HT__CHAT_W_OP && p->at[1].op == '=';
        node *argument = NULL;
        if (named) {
            argument = ht__chat_node_new(p, HT__CHAT_NAMED);
            argument->name = ht__chat_want_name(p);
            ht__chat_want_op(p, '=');
            ht__chat_deepen(p, argument, argument->a = ht__chat_expression(p));
        } else {
            argument = ht__chat_expression(p);
        }
        if (++n > HT__CHAT_MAX_ARGS) ht__chat_fail(p->r, HT_ERR_LIMIT, "more than %d arguments", HT__CHAT_MAX_ARGS);
        add_kid(p, call, &last, argument);
        if (!ht__chat_skip_op(p, ',')) break;
    }
    ht__chat_want_op(p, ')');
}

static node *parse_item(struct ht__chat_parser *p, node *whole)
{
    node *from = NULL, *n;
    if (!ht__chat_at_op(p, ':')) from = ht__chat_expression(p);
    if (!ht__chat_skip_op(p, ':')) {
        ht__chat_want_op(p, ']');
        return two(p, HT__CHAT_ITEM, 0, whole, from);
    }
    n = two(p, HT__CHAT_SLICE, 0, whole, from);
    if (!ht__chat_at_op(p, ':') && !ht__chat_at_op(p, ']')) ht__chat_deepen(p, n, n->c = ht__chat_expression(p));
    if (ht__chat_skip_op(p, ':') && !ht__chat_at_op(p, ']')) ht__chat_deepen(p, n, n->d = ht__chat_expression(p));
    ht__chat_want_op(p, ']');
    return n;
}

static node *parse_postfix(struct ht__chat_parser *p, node *n, bool filters);

static node *parse_filter(struct ht__chat_parser *p, node *of)
{
    node *n = ht__chat_node_new(p, HT__CHAT_FILTER);
    ht__chat_deepen(p, n, n->a = of);
    n->name = ht__chat_want_name(p);
    if (ht__chat_skip_op(p, '(')) parse_arguments(p, n);
    return n;
}

/* a is test, a is not test(b), a is test b. */
static node *parse_test(struct ht__chat_parser *p, node *of)
{
    node *n = ht__chat_node_new(p, HT__CHAT_TEST);
    ht__chat_deepen(p, n, n->a = of);
    n->op = ht__chat_skip_name(p, "not");
    n->name = ht__chat_want_name(p);
    enum ht__chat_word word = p->at->word;
    bool argument =
        word == HT__CHAT_W_STR || word == HT__CHAT_W_NUMBER || ht__chat_at_op(p, '[') || ht__chat_at_op(p, '{');
    static const char *const not_these[] = {"else", "or", "and", "is", "if", "in", "not"};
    if (word == HT__CHAT_W_NAME) {
        argument = true;
        for (size_t i = 0; i < sizeof not_these / sizeof not_these[0]; i++)
            argument &= !ht__chat_at_name(p, not_these[i]);
    }
    if (ht__chat_skip_op(p, '('))
        parse_arguments(p, n);
    else if (argument)
        ht__chat_deepen(p, n, n->kids = parse_postfix(p, parse_primary(p), false));
    return n;
}

static node *parse_postfix(struct ht__chat_parser *p, node *n, bool filters)
{
    while (!p->r->err) {
        if (ht__chat_skip_op(p, '.')) {
            node *whole = n;
            n = ht__chat_node_new(p, HT__CHAT_ATTR);
            ht__chat_deepen(p, n, n->a = whole);
            n->name = ht__chat_want_name(p);
        } else if (ht__chat_skip_op(p, '[')) {
            n = parse_item(p, n);
        } else if (ht__chat_skip_op(p, '(')) {
            node *callee = n;
            n = ht__chat_node_new(p, HT__CHAT_CALL);
            ht__chat_deepen(p, n, n->a = callee);
            parse_arguments(p, n);
        } else if (filters && ht__chat_skip_op(p, '|')) {
            n = parse_filter(p, n);
        } else if (filters && ht__chat_skip_name(p, "is")) {
            n = parse_test(p, n);
        } else {
            break;
        }
    }
    return n;
}

static node *parse_unary(struct ht__chat_parser *p, bool filters)
{
    int sign = ht__chat_at_op(p, '-') ? '-' : ht__chat_at_op(p, '+') ? '+' : 0;
    node *n;
    if (++p->depth > HT__CHAT_MAX_DEPTH) ht__chat_fail(p->r, HT_ERR_LIMIT, "it is nested too deeply");
    if (p->r->err) {
        n = &p->nowhere;
    } else if (sign) {
        ht__chat_go_on(p);
        n = two(p, sign == '-' ? HT__CHAT_NEGATE : HT__CHAT_PLUS, 0, parse_unary(p, false), NULL);
    } else {
        n = parse_postfix(p, parse_primary(p), false);
    }
    if (filters) n = parse_postfix(p, n, true);
    p->depth--;
    return n;
}

static node *parse_product(struct ht__chat_parser *p)
{
    static const int ops[] = {'*', '/', '%', HT__CHAT_OP('/', '/')};
    node *n = parse_unary(p, true);
    for (size_t i = 0; i < 4 && !p->r->err; i++) {
        if (!ht__chat_skip_op(p, ops[i])) continue;
        n = two(p, HT__CHAT_MATH, ops[i], n, parse_unary(p, true));
        i = (size_t)-1;
    }
    return n;
}

static node *parse_concat(struct ht__chat_parser *p)
{
    node *n = parse_product(p);
    while (!p->r->err && ht__chat_skip_op(p, '~'))
        n = two(p, HT__CHAT_MATH, '~', n, parse_product(p));
    return n;
}

static node *parse_sum(struct ht__chat_parser *p)
{
    node *n = parse_concat(p);
    while (!p->r->err && (ht__chat_at_op(p, '+') || ht__chat_at_op(p, '-'))) {
        int op = p->at->op;
        ht__chat_go_on(p);
        n = two(p, HT__CHAT_MATH, op, n, parse_concat(p));
    }
    return n;
}

/* The operator here, or 0; 'i' is in, 'n' is not in. It is skipped. */
static int comparison(struct ht__chat_parser *p)
{
    static const int ops[] = {
        HT__CHAT_OP('=', '='), HT__CHAT_OP('!', '='), HT__CHAT_OP('<', '='), HT__CHAT_OP('>', '='), '<', '>'};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (ht__chat_skip_op(p, ops[i])) return ops[i];
    if (ht__chat_skip_name(p, "in")) return 'i';
    if (!ht__chat_at_name(p, "not") || p->at[1].word != HT__CHAT_W_NAME || !ht__chat_is(p->at[1].text, "in")) return 0;
    ht__chat_go_on(p);
    ht__chat_go_on(p);
    return 'n';
}

static node *parse_comparison(struct ht__chat_parser *p)
{
    node *n = parse_sum(p), *whole = NULL, **last = NULL;
    for (int op; !p->r->err && (op = comparison(p)) != 0;) {
        if (!whole) {
            whole = ht__chat_node_new(p, HT__CHAT_COMPARE);
            ht__chat_deepen(p, whole, whole->a = n);
            last = &whole->kids;
        }
        add_kid(p, whole, &last, two(p, HT__CHAT_GROUP, op, parse_sum(p), NULL));
    }
    return whole ? whole : n;
}

static node *parse_not(struct ht__chat_parser *p)
{
    if (!ht__chat_at_name(p, "not")) return parse_comparison(p);
    ht__chat_go_on(p);
    if (++p->depth > HT__CHAT_MAX_DEPTH) ht__chat_fail(p->r, HT_ERR_LIMIT, "it is nested too deeply");
    node *n = p->r->err ? &p->nowhere : two(p, HT__CHAT_NOT, 0, parse_not(p), NULL);
    p->depth--;
    return n;
}

static node *parse_and(struct ht__chat_parser *p)
{
    node *n = parse_not(p);
    while (!p->r->err && ht__chat_skip_name(p, "and"))
        n = two(p, HT__CHAT_AND, 0, n, parse_not(p));
    return n;
}

static node *parse_or(struct ht__chat_parser *p)
{
    node *n = parse_and(p);
    while (!p->r->err && ht__chat_skip_name(p, "or"))
        n = two(p, HT__CHAT_OR, 0, n, parse_and(p));
    return n;
}

node *ht__chat_expression_without_if(struct ht__chat_parser *p)
{
    return p->r->err ? &p->nowhere : parse_or(p);
}

node *ht__chat_expression(struct ht__chat_parser *p)
{
    if (++p->depth > HT__CHAT_MAX_DEPTH) ht__chat_fail(p->r, HT_ERR_LIMIT, "it is nested too deeply");
    node *n = ht__chat_expression_without_if(p);
    while (!p->r->err && ht__chat_skip_name(p, "if")) {
        n = two(p, HT__CHAT_CHOICE, 0, n, parse_or(p));
        if (ht__chat_skip_name(p, "else")) ht__chat_deepen(p, n, n->c = ht__chat_expression(p));
    }
    p->depth--;
    return n;
}

node *ht__chat_expression_list(struct ht__chat_parser *p)
{
    node *first = ht__chat_expression(p);
    if (!ht__chat_at_op(p, ',')) return first;
    node *n = ht__chat_node_new(p, HT__CHAT_LIST_OF), **last = &n->kids;
    add_kid(p, n, &last, first);
    while (!p->r->err && ht__chat_skip_op(p, ','))
        add_kid(p, n, &last, ht__chat_expression(p));
    return n;
}
