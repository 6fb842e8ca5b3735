/* The syntax tree of a chat template. */
#ifndef HT_MODEL_CHAT_SYNTAX_H
#define HT_MODEL_CHAT_SYNTAX_H

#include "model/chat/value.h"

/* clang-format off: what stands beside a value belongs to its line */
enum ht__chat_word {
    HT__CHAT_W_END,
    HT__CHAT_W_TEXT, /* between tags */
    HT__CHAT_W_OUT,
    HT__CHAT_W_OUT_END, /* {{ }} */
    HT__CHAT_W_TAG,
    HT__CHAT_W_TAG_END, /* {% %} */
    HT__CHAT_W_NAME,
    HT__CHAT_W_STR,
    HT__CHAT_W_NUMBER,
    HT__CHAT_W_OP, /* op: its characters, the second one in the upper byte */
};
struct ht__chat_token {
    enum ht__chat_word word;
    int line, op;
    struct ht__str text;         /* of a name or a text */
    struct ht__chat_value value; /* of a string or number */
};
#define HT__CHAT_OP(a, b) ((a) | (b) << 8)

/* Cuts a template into tokens, the last of them HT__CHAT_W_END. Spaces around tags are dealt with as Jinja does with
 * trim_blocks and lstrip_blocks. NULL after a failure. */
struct ht__chat_token *ht__chat_cut(struct ht__chat_run *r, const char *text, size_t len);

enum ht__chat_kind {
    /* statements; `next` leads to the one after */
    HT__CHAT_TEXT,      /* name */
    HT__CHAT_PRINT,     /* a */
    HT__CHAT_IF,        /* a: condition; body; other: else */
    HT__CHAT_FOR,       /* kids: targets; a: what; b: filter; body; other */
    HT__CHAT_SET,       /* kids: targets, names or attributes; a, or body */
    HT__CHAT_MACRO_DEF, /* name; kids: parameters, with a: default; body */
    HT__CHAT_GROUP,     /* body */
    HT__CHAT_LEAVE,     /* op: 'b' or 'c' */
    /* expressions */
    HT__CHAT_CONST,   /* value */
    HT__CHAT_NAME,    /* name */
    HT__CHAT_LIST_OF, /* kids */
    HT__CHAT_DICT_OF, /* kids: key, value, key, value … */
    HT__CHAT_NOT,
    HT__CHAT_NEGATE,
    HT__CHAT_PLUS, /* a */
    HT__CHAT_AND,
    HT__CHAT_OR,      /* a, b */
    HT__CHAT_MATH,    /* op; a, b */
    HT__CHAT_COMPARE, /* a; kids: each with op and a */
    HT__CHAT_CHOICE,  /* a if b else c */
    HT__CHAT_ATTR,    /* a.name */
    HT__CHAT_ITEM,    /* a[b] */
    HT__CHAT_SLICE,   /* a[b:c:d] */
    HT__CHAT_CALL,    /* a(kids); named ones have a name and a */
    HT__CHAT_FILTER,  /* a | name(kids) */
    HT__CHAT_TEST,    /* a is name(kids); op 1: is not */
    HT__CHAT_NAMED,   /* an argument: name = a */
};
/* clang-format on */
struct ht__chat_node {
    enum ht__chat_kind kind;
    int op, line, depth;
    struct ht__str name;
    struct ht__chat_value value;
    struct ht__chat_node *a, *b, *c, *d, *kids, *body, *other, *next;
};

/* The statements of a template; NULL when there are none, or after a failure (run->err). */
struct ht__chat_node *ht__chat_parse(struct ht__chat_run *r, const char *text, size_t len);

/* run.c */
struct ht__chat_scope {
    struct ht__chat_value names; /* a dict */
    struct ht__chat_scope *parent;
};
void ht__chat_statements(struct ht__chat_run *r, const struct ht__chat_node *n);
struct ht__chat_value ht__chat_value_of(struct ht__chat_run *r, const struct ht__chat_node *n);

/* What a call, filter or test was given. */
enum { HT__CHAT_MAX_ARGS = 16 };
struct ht__chat_args {
    size_t n, n_named;
    struct ht__chat_value values[HT__CHAT_MAX_ARGS], named[HT__CHAT_MAX_ARGS];
    struct ht__str names[HT__CHAT_MAX_ARGS];
};
/* The i-th argument, or the one of that name; undefined when there is neither. */
struct ht__chat_value ht__chat_arg(const struct ht__chat_args *args, size_t i, const char *name);
struct ht__chat_value ht__chat_attribute(struct ht__chat_run *r, struct ht__chat_value v, struct ht__str name);

/* calls.c, filters.c */
struct ht__chat_value ht__chat_method(struct ht__chat_run *r, struct ht__chat_value self, struct ht__str name,
                                      const struct ht__chat_args *args);
struct ht__chat_value ht__chat_function(struct ht__chat_run *r, struct ht__str name, const struct ht__chat_args *args);
bool ht__chat_has_function(struct ht__str name);
struct ht__chat_value ht__chat_filter(struct ht__chat_run *r, struct ht__chat_value v, struct ht__str name,
                                      const struct ht__chat_args *args);
bool ht__chat_test(struct ht__chat_run *r, struct ht__chat_value v, struct ht__str name,
                   const struct ht__chat_args *args);
bool ht__chat_contains(struct ht__chat_run *r, struct ht__chat_value whole, struct ht__chat_value part);

#endif
