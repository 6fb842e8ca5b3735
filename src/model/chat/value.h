/* Values of a chat template: what Jinja's are in Python, as far as templates of models use them. */
#ifndef HT_MODEL_CHAT_VALUE_H
#define HT_MODEL_CHAT_VALUE_H

#include "base/arena.h"
#include "base/buf.h"
#include "formats/kv.h"

#include <time.h>

struct ht__chat_run;
struct ht__chat_node;

enum ht__chat_type {
    HT__CHAT_UNDEFINED,
    HT__CHAT_NONE,
    HT__CHAT_BOOL,
    HT__CHAT_INT,
    HT__CHAT_FLOAT,
    HT__CHAT_STR,
    HT__CHAT_LIST,
    HT__CHAT_DICT,
    HT__CHAT_MACRO,
    HT__CHAT_FUNCTION
};

struct ht__chat_value {
    enum ht__chat_type type;
    bool is_namespace; /* a dict that can be assigned to */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct ht__str str;
        struct ht__chat_list *list;
        struct ht__chat_dict *dict;
        const struct ht__chat_node *macro;
        const char *function;
    };
};

struct ht__chat_list {
    size_t n, cap;
    struct ht__chat_value *items;
};
struct ht__chat_dict {
    size_t n, cap;
    struct ht__str *keys;
    struct ht__chat_value *values;
};

/* What hostile templates run into. */
enum {
    HT__CHAT_MAX_BYTES = 64 << 20,
    HT__CHAT_MAX_STEPS = 2000000,
    HT__CHAT_MAX_DEPTH = 400,
    HT__CHAT_MAX_RUN_DEPTH = 1000 /* expressions within macros within macros */
};

/* Failure is sticky: the first one stays, and values after it mean nothing. */
struct ht__chat_run {
    struct ht__arena *arena;
    struct ht_diag *diag;
    enum ht_err err;
    int line; /* of the statement that is run */
    int64_t steps;
    int depth;
    const struct tm *now;
    struct ht__chat_scope *scope, *top;
    struct ht__buf *out;
    int leaving; /* a loop: 0, 'b'reak or 'c'ontinue */
};

static const struct ht__chat_value ht__chat_undefined = {.type = HT__CHAT_UNDEFINED};

static inline struct ht__chat_value ht__chat_bool(bool b)
{
    return (struct ht__chat_value){.type = HT__CHAT_BOOL, .boolean = b};
}
static inline struct ht__chat_value ht__chat_int(int64_t i)
{
    return (struct ht__chat_value){.type = HT__CHAT_INT, .integer = i};
}
static inline struct ht__chat_value ht__chat_str(const char *text, size_t len)
{
    return (struct ht__chat_value){.type = HT__CHAT_STR, .str = {text, len}};
}
bool ht__chat_is(struct ht__str text, const char *word);

/* "chat template, line 7: …" */
void ht__chat_fail(struct ht__chat_run *r, enum ht_err err, const char *fmt, ...) HT_PRINTF(3, 4);
/* Zeroed memory within the limit, or NULL with the failure noted. */
void *ht__chat_new(struct ht__chat_run *r, size_t n, size_t size);
/* Copies of bytes, and of two strings one after the other. */
struct ht__chat_value ht__chat_copy(struct ht__chat_run *r, const char *text, size_t len);
struct ht__chat_value ht__chat_join(struct ht__chat_run *r, struct ht__str a, struct ht__str b);
/* The buffer's text; the buffer is emptied. */
struct ht__chat_value ht__chat_take(struct ht__chat_run *r, struct ht__buf *buf);

struct ht__chat_value ht__chat_new_list(struct ht__chat_run *r);
struct ht__chat_value ht__chat_new_dict(struct ht__chat_run *r);
void ht__chat_append(struct ht__chat_run *r, struct ht__chat_value list, struct ht__chat_value item);
void ht__chat_put(struct ht__chat_run *r, struct ht__chat_value dict, struct ht__str key, struct ht__chat_value value);
/* Keys are strings; a whole number is kept as one that no template spells, and given back as a number. */
struct ht__str ht__chat_key(struct ht__chat_run *r, struct ht__chat_value v);
struct ht__chat_value ht__chat_key_value(struct ht__str key);
/* NULL: not there. */
const struct ht__chat_value *ht__chat_find(struct ht__chat_value dict, struct ht__str key);

bool ht__chat_true(struct ht__chat_value v);
bool ht__chat_equal(struct ht__chat_run *r, struct ht__chat_value a, struct ht__chat_value b);
/* -1, 0, 1; what has no order is a failure. */
int ht__chat_order(struct ht__chat_run *r, struct ht__chat_value a, struct ht__chat_value b);
/* As it is printed. */
struct ht__str ht__chat_text(struct ht__chat_run *r, struct ht__chat_value v);
/* Characters, items or keys; -1: it has no length. */
int64_t ht__chat_length(struct ht__chat_value v);
/* What a loop goes over: a list of items, of keys or of characters. Nothing to go over is a failure. */
struct ht__chat_list *ht__chat_items(struct ht__chat_run *r, struct ht__chat_value v);
const char *ht__chat_type_name(struct ht__chat_value v);

/* Byte offset of the i-th character, or the length. */
size_t ht__chat_offset(struct ht__str s, int64_t i);
/* Without white space, or the characters given, at its start and end. */
struct ht__str ht__chat_strip(struct ht__str s, const struct ht__str *chars, bool left, bool right);

/* json.c: appends the value; indent < 0: on one line. */
void ht__chat_json(struct ht__chat_run *r, struct ht__buf *out, struct ht__chat_value v, int indent, int level);

#endif
