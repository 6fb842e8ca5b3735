#include "model/chat/value.h"
#include "base/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool ht__chat_is(struct ht__str text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.text, word, text.len) == 0;
}

void ht__chat_fail(struct ht__chat_run *r, enum ht_err err, const char *fmt, ...)
{
    char text[320], where[64];
    va_list args;
    if (r->err) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    /* a message may hold a stranger's text: cut, it must still be UTF-8 */
    text[ht__utf8_valid(text, strlen(text))] = '\0';
    snprintf(where, sizeof where, "chat template, line %d", r->line);
    r->err = ht__fail(r->diag, err, where, -1, "%s", text);
}

void *ht__chat_new(struct ht__chat_run *r, size_t n, size_t size)
{
    if (r->err) return NULL;
    if (n > HT__CHAT_MAX_BYTES / size || r->arena->total > HT__CHAT_MAX_BYTES) {
        ht__chat_fail(r, HT_ERR_LIMIT, "it takes more than %d MB of memory", HT__CHAT_MAX_BYTES >> 20);
        return NULL;
    }
    void *p = ht__arena_array(r->arena, n ? n : 1, size);
    if (!p) r->err = ht__fail_memory(r->diag, "chat template");
    return p;
}

struct ht__chat_value ht__chat_join(struct ht__chat_run *r, struct ht__str a, struct ht__str b)
{
    if (a.len == 0) return ht__chat_str(b.text, b.len);
    if (b.len == 0) return ht__chat_str(a.text, a.len);
    char *text = ht__chat_new(r, a.len + b.len + 1, 1);
    if (!text) return ht__chat_str("", 0);
    memcpy(text, a.text, a.len);
    memcpy(text + a.len, b.text, b.len);
    return ht__chat_str(text, a.len + b.len);
}

struct ht__chat_value ht__chat_copy(struct ht__chat_run *r, const char *text, size_t len)
{
    char *copy = ht__chat_new(r, len + 1, 1);
    if (!copy) return ht__chat_str("", 0);
    if (len) memcpy(copy, text, len);
    return ht__chat_str(copy, len);
}

struct ht__chat_value ht__chat_take(struct ht__chat_run *r, struct ht__buf *buf)
{
    if (buf->failed && !r->err) r->err = ht__fail_memory(r->diag, "chat template");
    struct ht__chat_value v = ht__chat_copy(r, (const char *)buf->data, buf->failed ? 0 : buf->len);
    ht__buf_close(buf);
    return v;
}

struct ht__chat_value ht__chat_new_list(struct ht__chat_run *r)
{
    struct ht__chat_list *list = ht__chat_new(r, 1, sizeof *list);
    return list ? (struct ht__chat_value){.type = HT__CHAT_LIST, .list = list} : ht__chat_undefined;
}

struct ht__chat_value ht__chat_new_dict(struct ht__chat_run *r)
{
    struct ht__chat_dict *dict = ht__chat_new(r, 1, sizeof *dict);
    return dict ? (struct ht__chat_value){.type = HT__CHAT_DICT, .dict = dict} : ht__chat_undefined;
}

void ht__chat_append(struct ht__chat_run *r, struct ht__chat_value list, struct ht__chat_value item)
{
    if (r->err || list.type != HT__CHAT_LIST) return;
    struct ht__chat_list *l = list.list;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 8;
        struct ht__chat_value *items = ht__chat_new(r, cap, sizeof *items);
        if (!items) return;
        if (l->n) memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        l->cap = cap;
    }
    l->items[l->n++] = item;
}

enum { NUMBER_KEY = 1 }; /* a control character, then the digits */

struct ht__str ht__chat_key(struct ht__chat_run *r, struct ht__chat_value v)
{
    char text[32];
    if (v.type == HT__CHAT_STR) return v.str;
    if (v.type != HT__CHAT_INT) ht__chat_fail(r, HT_ERR_UNSUPPORTED, "%s as a key", ht__chat_type_name(v));
    snprintf(text, sizeof text, "%c%lld", NUMBER_KEY, (long long)v.integer);
    return ht__chat_copy(r, text, strlen(text)).str;
}

struct ht__chat_value ht__chat_key_value(struct ht__str key)
{
    char text[32] = "";
    if (key.len < 2 || key.len >= sizeof text || key.text[0] != NUMBER_KEY) return ht__chat_str(key.text, key.len);
    memcpy(text, key.text + 1, key.len - 1);
    return ht__chat_int(strtoll(text, NULL, 10));
}

static int64_t index_of(const struct ht__chat_dict *d, struct ht__str key)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->keys[i].len == key.len && memcmp(d->keys[i].text, key.text, key.len) == 0) return (int64_t)i;
    return -1;
}

void ht__chat_put(struct ht__chat_run *r, struct ht__chat_value dict, struct ht__str key, struct ht__chat_value value)
{
    if (r->err || dict.type != HT__CHAT_DICT) return;
    struct ht__chat_dict *d = dict.dict;
    int64_t at = index_of(d, key);
    if (at >= 0) {
        d->values[at] = value;
        return;
    }
    if (d->n == 4096) return ht__chat_fail(r, HT_ERR_LIMIT, "more than 4096 names at once"); /* looked up one by one */
    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 8;
        struct ht__str *keys = ht__chat_new(r, cap, sizeof *keys);
        struct ht__chat_value *values = ht__chat_new(r, cap, sizeof *values);
        if (!keys || !values) return;
        if (d->n) memcpy(keys, d->keys, d->n * sizeof *keys);
        if (d->n) memcpy(values, d->values, d->n * sizeof *values);
        d->keys = keys;
        d->values = values;
        d->cap = cap;
    }
    d->keys[d->n] = key;
    d->values[d->n++] = value;
}

const struct ht__chat_value *ht__chat_find(struct ht__chat_value dict, struct ht__str key)
{
    int64_t at = dict.type == HT__CHAT_DICT ? index_of(dict.dict, key) : -1;
    return at >= 0 ? &dict.dict->values[at] : NULL;
}

bool ht__chat_true(struct ht__chat_value v)
{
    switch (v.type) {
    case HT__CHAT_UNDEFINED:
    case HT__CHAT_NONE: return false;
    case HT__CHAT_BOOL: return v.boolean;
    case HT__CHAT_INT: return v.integer != 0;
    case HT__CHAT_FLOAT: return v.number != 0;
    case HT__CHAT_STR: return v.str.len > 0;
    case HT__CHAT_LIST: return v.list->n > 0;
    case HT__CHAT_DICT: return v.is_namespace || v.dict->n > 0;
    default: return true;
    }
}

static bool is_number(struct ht__chat_value v, double *number)
{
    *number = v.type == HT__CHAT_BOOL ? v.boolean : v.type == HT__CHAT_INT ? (double)v.integer : v.number;
    return v.type == HT__CHAT_BOOL || v.type == HT__CHAT_INT || v.type == HT__CHAT_FLOAT;
}

static bool equal_items(struct ht__chat_run *r, struct ht__chat_value a, struct ht__chat_value b)
{
    if (a.type == HT__CHAT_LIST) {
        if (a.list->n != b.list->n) return false;
        for (size_t i = 0; i < a.list->n; i++)
            if (!ht__chat_equal(r, a.list->items[i], b.list->items[i])) return false;
        return true;
    }
    if (a.dict->n != b.dict->n) return false;
    for (size_t i = 0; i < a.dict->n; i++) {
        const struct ht__chat_value *other = ht__chat_find(b, a.dict->keys[i]);
        if (!other || !ht__chat_equal(r, a.dict->values[i], *other)) return false;
    }
    return true;
}

bool ht__chat_equal(struct ht__chat_run *r, struct ht__chat_value a, struct ht__chat_value b)
{
    double x, y;
    if (is_number(a, &x) && is_number(b, &y)) return x == y;
    if (a.type != b.type) return false;
    if (++r->steps > HT__CHAT_MAX_STEPS || r->depth >= HT__CHAT_MAX_RUN_DEPTH) {
        ht__chat_fail(r, HT_ERR_LIMIT, "it compares too much");
        return false;
    }
    r->depth++;
    bool equal = a.type == HT__CHAT_STR ? a.str.len == b.str.len && memcmp(a.str.text, b.str.text, a.str.len) == 0
                 : a.type == HT__CHAT_LIST || a.type == HT__CHAT_DICT ? equal_items(r, a, b)
                                                                      : true;
    r->depth--;
    return equal;
}

int ht__chat_order(struct ht__chat_run *r, struct ht__chat_value a, struct ht__chat_value b)
{
    double x, y;
    if (is_number(a, &x) && is_number(b, &y)) return x < y ? -1 : x > y;
    if (a.type == HT__CHAT_STR && b.type == HT__CHAT_STR) {
        size_t n = a.str.len < b.str.len ? a.str.len : b.str.len;
        int c = n ? memcmp(a.str.text, b.str.text, n) : 0;
        return c ? (c < 0 ? -1 : 1) : a.str.len < b.str.len ? -1 : a.str.len > b.str.len;
    }
    ht__chat_fail(r, HT_ERR_UNSUPPORTED, "%s and %s have no order", ht__chat_type_name(a), ht__chat_type_name(b));
    return 0;
}

const char *ht__chat_type_name(struct ht__chat_value v)
{
    static const char *const names[] = {"an undefined value", "none",   "a boolean",    "an integer", "a number",
                                        "a string",           "a list", "a dictionary", "a macro",    "a function"};
    return names[v.type];
}

struct ht__str ht__chat_text(struct ht__chat_run *r, struct ht__chat_value v)
{
    char text[64] = "";
    switch (v.type) {
    case HT__CHAT_STR: return v.str;
    case HT__CHAT_UNDEFINED: return (struct ht__str){"", 0};
    case HT__CHAT_NONE: return (struct ht__str){"None", 4};
    case HT__CHAT_BOOL: return v.boolean ? (struct ht__str){"True", 4} : (struct ht__str){"False", 5};
    case HT__CHAT_INT: snprintf(text, sizeof text, "%lld", (long long)v.integer); break;
    case HT__CHAT_FLOAT:
        /* the shortest that reads back as the same */
        for (int digits = 1; digits <= 17; digits++) {
            double back;
            snprintf(text, sizeof text, "%.*g", digits, v.number);
            if (sscanf(text, "%lf", &back) == 1 && back == v.number) break;
        }
        text[strcspn(text, ",")] = text[strcspn(text, ",")] ? '.' : '\0'; /* in the host program's locale */
        if (isfinite(v.number) && !strpbrk(text, ".e")) strcat(text, ".0");
        break;
    default: ht__chat_fail(r, HT_ERR_UNSUPPORTED, "%s cannot be printed", ht__chat_type_name(v));
    }
    return ht__chat_copy(r, text, strlen(text)).str;
}

static size_t char_len(struct ht__str s, size_t at)
{
    uint32_t code;
    int len = ht__utf8_get(s.text + at, s.len - at, &code);
    return len > 0 ? (size_t)len : 1;
}

int64_t ht__chat_length(struct ht__chat_value v)
{
    int64_t n = 0;
    switch (v.type) {
    case HT__CHAT_UNDEFINED: return 0;
    case HT__CHAT_STR:
        for (size_t at = 0; at < v.str.len; at += char_len(v.str, at))
            n++;
        return n;
    case HT__CHAT_LIST: return (int64_t)v.list->n;
    case HT__CHAT_DICT: return (int64_t)v.dict->n;
    default: return -1;
    }
}

size_t ht__chat_offset(struct ht__str s, int64_t i)
{
    size_t at = 0;
    while (at < s.len && i-- > 0)
        at += char_len(s, at);
    return at;
}

struct ht__chat_list *ht__chat_items(struct ht__chat_run *r, struct ht__chat_value v)
{
    if (v.type == HT__CHAT_LIST) return v.list;
    struct ht__chat_value list = ht__chat_new_list(r);
    if (v.type == HT__CHAT_STR)
        for (size_t at = 0; at < v.str.len && !r->err;) {
            size_t len = char_len(v.str, at);
            ht__chat_append(r, list, ht__chat_str(v.str.text + at, len));
            at += len;
        }
    else if (v.type == HT__CHAT_DICT)
        for (size_t i = 0; i < v.dict->n && !r->err; i++)
            ht__chat_append(r, list, ht__chat_key_value(v.dict->keys[i]));
    else if (v.type != HT__CHAT_UNDEFINED)
        ht__chat_fail(r, HT_ERR_UNSUPPORTED, "%s cannot be iterated over", ht__chat_type_name(v));
    return r->err ? NULL : list.list;
}

/* Python's white space. */
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool strips(struct ht__str s, size_t at, size_t len, const struct ht__str *chars)
{
    uint32_t code = 0;
    if (chars) return memmem(chars->text, chars->len, s.text + at, len) != NULL;
    return ht__utf8_get(s.text + at, len, &code) > 0 && is_space(code);
}

struct ht__str ht__chat_strip(struct ht__str s, const struct ht__str *chars, bool left, bool right)
{
    while (left && s.len) {
        size_t len = char_len(s, 0);
        if (!strips(s, 0, len, chars)) break;
        s.text += len;
        s.len -= len;
    }
    while (right && s.len) {
        size_t at = s.len - 1;
        while (at > 0 && ((unsigned char)s.text[at] & 0xc0) == 0x80)
            at--;
        if (!strips(s, at, s.len - at, chars)) break;
        s.len = at;
    }
    return s;
}
