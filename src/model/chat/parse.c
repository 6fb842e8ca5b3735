/* Statements of a template. */
#include "model/chat/parse.h"

#include <string.h>

struct ht__chat_node *ht__chat_node_new(struct ht__chat_parser *p, enum ht__chat_kind kind)
{
    struct ht__chat_node *n = ht__chat_new(p->r, 1, sizeof *n);
    if (!n) return &p->nowhere;
    n->kind = kind;
    n->line = p->r->line = p->at->line;
    n->depth = 1;
    return n;
}

/* A tree is walked by recursion: its depth is limited while it is built. */
struct ht__chat_node *ht__chat_deepen(struct ht__chat_parser *p, struct ht__chat_node *n,
                                      const struct ht__chat_node *child)
{
    if (child && child->depth >= n->depth) n->depth = child->depth + 1;
    if (n->depth > HT__CHAT_MAX_DEPTH) ht__chat_fail(p->r, HT_ERR_LIMIT, "it is nested too deeply");
    return n;
}

bool ht__chat_at_op(const struct ht__chat_parser *p, int op)
{
    return p->at->word == HT__CHAT_W_OP && p->at->op == op;
}
bool ht__chat_at_name(const struct ht__chat_parser *p, const char *name)
{
    return p->at->word == HT__CHAT_W_NAME && ht__chat_is(p->at->text, name);
}
void ht__chat_go_on(struct ht__chat_parser *p)
{
    if (p->at->word != HT__CHAT_W_END) p->at++;
    p->r->line = p->at->line;
}
bool ht__chat_skip_op(struct ht__chat_parser *p, int op)
{
    if (!ht__chat_at_op(p, op)) return false;
    ht__chat_go_on(p);
    return true;
}
bool ht__chat_skip_name(struct ht__chat_parser *p, const char *name)
{
    if (!ht__chat_at_name(p, name)) return false;
    ht__chat_go_on(p);
    return true;
}
void ht__chat_want_op(struct ht__chat_parser *p, int op)
{
    if (!ht__chat_skip_op(p, op)) ht__chat_fail(p->r, HT_ERR_FORMAT, "expected \"%c\"", op & 0xff);
}
struct ht__str ht__chat_want_name(struct ht__chat_parser *p)
{
    struct ht__str name = p->at->text;
    if (p->at->word != HT__CHAT_W_NAME) {
        ht__chat_fail(p->r, HT_ERR_FORMAT, "expected a name");
        return (struct ht__str){"", 0};
    }
    ht__chat_go_on(p);
    return name;
}

static void want_word(struct ht__chat_parser *p, enum ht__chat_word word, const char *what)
{
    if (p->at->word != word) return ht__chat_fail(p->r, HT_ERR_FORMAT, "expected %s", what);
    ht__chat_go_on(p);
}

/* Names to be assigned to: a, or a, b, or a.b; with or without brackets around. */
static struct ht__chat_node *targets(struct ht__chat_parser *p, bool attributes)
{
    struct ht__chat_node *first = NULL, **last = &first;
    bool bracket = ht__chat_skip_op(p, '(');
    do {
        struct ht__chat_node *n = ht__chat_node_new(p, HT__CHAT_NAME);
        n->name = ht__chat_want_name(p);
        if (attributes && ht__chat_skip_op(p, '.')) {
            struct ht__chat_node *whole = ht__chat_node_new(p, HT__CHAT_ATTR);
            whole->a = n;
            whole->name = ht__chat_want_name(p);
            n = whole;
        }
        *last = n;
        last = &n->next;
    } while (!p->r->err && ht__chat_skip_op(p, ','));
    if (bracket) ht__chat_want_op(p, ')');
    return first;
}

static struct ht__chat_node *statements(struct ht__chat_parser *p, const char *const *ends);

/* "{% end… %}" up to one of the names; the name is skipped, the tag's end is not. */
static struct ht__chat_node *body_of(struct ht__chat_parser *p, struct ht__chat_node *owner, const char *const *ends)
{
    want_word(p, HT__CHAT_W_TAG_END, "the tag's end");
    if (++p->depth > HT__CHAT_MAX_DEPTH / 4) ht__chat_fail(p->r, HT_ERR_LIMIT, "tags are nested too deeply");
    struct ht__chat_node *body = p->r->err ? NULL : statements(p, ends);
    p->depth--;
    if (p->r->err) return NULL;
    for (const struct ht__chat_node *n = body; n; n = n->next)
        ht__chat_deepen(p, owner, n);
    return body;
}

static struct ht__chat_node *parse_if(struct ht__chat_parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const end[] = {"endif", NULL};
    struct ht__chat_node *n = ht__chat_node_new(p, HT__CHAT_IF);
    ht__chat_deepen(p, n, n->a = ht__chat_expression(p));
    n->body = body_of(p, n, ends);
    if (p->r->err || ht__chat_skip_name(p, "endif")) return n;
    if (ht__chat_skip_name(p, "elif")) {
        if (++p->depth > HT__CHAT_MAX_DEPTH / 4) ht__chat_fail(p->r, HT_ERR_LIMIT, "tags are nested too deeply");
        if (!p->r->err) ht__chat_deepen(p, n, n->other = parse_if(p));
        p->depth--;
        return n;
    }
    ht__chat_skip_name(p, "else");
    n->other = body_of(p, n, end);
    ht__chat_skip_name(p, "endif");
    return n;
}

static struct ht__chat_node *parse_for(struct ht__chat_parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL}, *const end[] = {"endfor", NULL};
    struct ht__chat_node *n = ht__chat_node_new(p, HT__CHAT_FOR);
    n->kids = targets(p, false);
    if (!ht__chat_skip_name(p, "in")) ht__chat_fail(p->r, HT_ERR_FORMAT, "expected \"in\"");
    ht__chat_deepen(p, n, n->a = ht__chat_expression_without_if(p));
    if (ht__chat_skip_name(p, "if")) ht__chat_deepen(p, n, n->b = ht__chat_expression(p));
    p->loops++;
    n->body = body_of(p, n, ends);
    p->loops--;
    if (p->r->err || ht__chat_skip_name(p, "endfor")) return n;
    ht__chat_skip_name(p, "else");
    n->other = body_of(p, n, end);
    ht__chat_skip_name(p, "endfor");
    return n;
}

static struct ht__chat_node *parse_set(struct ht__chat_parser *p)
{
    static const char *const end[] = {"endset", NULL};
    struct ht__chat_node *n = ht__chat_node_new(p, HT__CHAT_SET);
    n->kids = targets(p, true);
    if (ht__chat_skip_op(p, '=')) return ht__chat_deepen(p, n, n->a = ht__chat_expression_list(p));
    n->body = body_of(p, n, end);
    ht__chat_skip_name(p, "endset");
    return n;
}

static struct ht__chat_node *parse_macro(struct ht__chat_parser *p)
{
    static const char *const end[] = {"endmacro", NULL};
    struct ht__chat_node *n = ht__chat_node_new(p, HT__CHAT_MACRO_DEF), **last = &n->kids;
    int loops = p->loops;
    n->name = ht__chat_want_name(p);
    ht__chat_want_op(p, '(');
    while (!p->r->err && !ht__chat_at_op(p, ')')) {
        struct ht__chat_node *parameter = ht__chat_node_new(p, HT__CHAT_NAMED);
        parameter->name = ht__chat_want_name(p);
        if (ht__chat_skip_op(p, '=')) ht__chat_deepen(p, n, parameter->a = ht__chat_expression(p));
        *last = parameter;
        last = &parameter->next;
        if (!ht__chat_skip_op(p, ',')) break;
    }
    ht__chat_want_op(p, ')');
    p->loops = 0;
    n->body = body_of(p, n, end);
    p->loops = loops;
    ht__chat_skip_name(p, "endmacro");
    return n;
}

/* Marks what the model itself wrote, for training: here it is only a group. */
static struct ht__chat_node *parse_generation(struct ht__chat_parser *p)
{
    static const char *const end[] = {"endgeneration", NULL};
    struct ht__chat_node *n = ht__chat_node_new(p, HT__CHAT_GROUP);
    n->body = body_of(p, n, end);
    ht__chat_skip_name(p, "endgeneration");
    return n;
}

static struct ht__chat_node *parse_leave(struct ht__chat_parser *p, int how)
{
    struct ht__chat_node *n = ht__chat_node_new(p, HT__CHAT_LEAVE);
    n->op = how;
    if (p->loops == 0) ht__chat_fail(p->r, HT_ERR_FORMAT, "there is no loop to leave");
    return n;
}

static struct ht__chat_node *parse_tag(struct ht__chat_parser *p)
{
    struct ht__str name = ht__chat_want_name(p);
    if (ht__chat_is(name, "if")) return parse_if(p);
    if (ht__chat_is(name, "for")) return parse_for(p);
    if (ht__chat_is(name, "set")) return parse_set(p);
    if (ht__chat_is(name, "macro")) return parse_macro(p);
    if (ht__chat_is(name, "generation")) return parse_generation(p);
    if (ht__chat_is(name, "break")) return parse_leave(p, 'b');
    if (ht__chat_is(name, "continue")) return parse_leave(p, 'c');
    ht__chat_fail(p->r, HT_ERR_UNSUPPORTED, "the tag \"%.*s\" is not known", (int)(name.len < 40 ? name.len : 40),
                  name.text);
    return &p->nowhere;
}

static bool ends_here(const struct ht__chat_parser *p, const char *const *ends)
{
    if (p->at->word != HT__CHAT_W_TAG) return false;
    for (; *ends; ends++)
        if (p->at[1].word == HT__CHAT_W_NAME && ht__chat_is(p->at[1].text, *ends)) return true;
    return false;
}

static struct ht__chat_node *parse_one(struct ht__chat_parser *p)
{
    struct ht__chat_node *n;
    if (p->at->word == HT__CHAT_W_TEXT) {
        n = ht__chat_node_new(p, HT__CHAT_TEXT);
        n->name = p->at->text;
        ht__chat_go_on(p);
        return n;
    }
    bool out = p->at->word == HT__CHAT_W_OUT;
    ht__chat_go_on(p);
    if (!out) {
        n = parse_tag(p);
        want_word(p, HT__CHAT_W_TAG_END, "the tag's end");
        return n;
    }
    n = ht__chat_node_new(p, HT__CHAT_PRINT);
    ht__chat_deepen(p, n, n->a = ht__chat_expression_list(p));
    want_word(p, HT__CHAT_W_OUT_END, "\"}}\"");
    return n;
}

static struct ht__chat_node *statements(struct ht__chat_parser *p, const char *const *ends)
{
    struct ht__chat_node *first = NULL, **last = &first;
    while (!p->r->err && !ends_here(p, ends)) {
        if (p->at->word == HT__CHAT_W_END) {
            if (*ends) ht__chat_fail(p->r, HT_ERR_FORMAT, "\"%s\" is missing", *ends);
            return first;
        }
        struct ht__chat_node *n = parse_one(p);
        *last = n;
        last = &n->next;
    }
    if (!p->r->err) ht__chat_go_on(p); /* {%; what ends is next */
    return first;
}

struct ht__chat_node *ht__chat_parse(struct ht__chat_run *r, const char *text, size_t len)
{
    static const char *const none[] = {NULL};
    struct ht__chat_parser p = {.r = r, .at = ht__chat_cut(r, text, len)};
    if (!p.at) return NULL;
    struct ht__chat_node *first = statements(&p, none);
    return r->err ? NULL : first;
}
