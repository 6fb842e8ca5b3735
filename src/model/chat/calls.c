/* Functions of templates, and methods of strings and dictionaries. */
#include "model/chat/syntax.h"

#include <locale.h>
#include <string.h>

typedef struct ht__chat_value value;

/* ---- functions ---------------------------------------------------------------------------------- */

static value raise_exception(struct ht__chat_run *r, const struct ht__chat_args *args)
{
    struct ht__str why = ht__chat_text(r, ht__chat_arg(args, 0, "message"));
    ht__chat_fail(r, HT_ERR_USAGE, "the model's template refuses: %.*s", (int)(why.len < 200 ? why.len : 200),
                  why.text);
    return ht__chat_undefined;
}

static value strftime_now(struct ht__chat_run *r, const struct ht__chat_args *args)
{
    struct ht__str format = ht__chat_text(r, ht__chat_arg(args, 0, "format"));
    char pattern[128], text[256];
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    size_t n = 0;
    if (plain == (locale_t)0) {
        r->err = ht__fail_memory(r->diag, "chat template");
        return ht__chat_undefined;
    }
    if (format.len < sizeof pattern) {
        memcpy(pattern, format.text, format.len);
        pattern[format.len] = '\0';
        n = strftime_l(text, sizeof text, pattern, r->now, plain);
    }
    freelocale(plain);
    return ht__chat_copy(r, text, n);
}

static value make_namespace(struct ht__chat_run *r, const struct ht__chat_args *args)
{
    value dict = ht__chat_new_dict(r);
    for (size_t i = 0; i < args->n_named; i++)
        ht__chat_put(r, dict, args->names[i], args->named[i]);
    return dict;
}

static value range(struct ht__chat_run *r, const struct ht__chat_args *args)
{
    value list = ht__chat_new_list(r);
    int64_t v[3] = {0, 0, 1};
    for (size_t i = 0; i < args->n && i < 3; i++)
        if (args->values[i].type != HT__CHAT_INT)
            ht__chat_fail(r, HT_ERR_UNSUPPORTED, "a range of something other than numbers");
    for (size_t i = 0; i < args->n && i < 3 && !r->err; i++)
        v[i] = args->values[i].integer;
    if (args->n == 1) v[1] = v[0], v[0] = 0;
    if (args->n < 1 || v[2] == 0) ht__chat_fail(r, HT_ERR_UNSUPPORTED, "a range without end");
    int64_t i = v[0];
    for (int64_t k = 0; !r->err && (v[2] > 0 ? i < v[1] : i > v[1]); k++) {
        if (k == 100000) ht__chat_fail(r, HT_ERR_LIMIT, "a range of more than 100,000 numbers");
        ht__chat_append(r, list, ht__chat_int(i));
        if (__builtin_add_overflow(i, v[2], &i)) break;
    }
    return list;
}

bool ht__chat_has_function(struct ht__str name)
{
    static const char *const names[] = {"raise_exception", "strftime_now", "namespace", "range", "dict"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (ht__chat_is(name, names[i])) return true;
    return false;
}

value ht__chat_function(struct ht__chat_run *r, struct ht__str name, const struct ht__chat_args *args)
{
    if (ht__chat_is(name, "raise_exception")) return raise_exception(r, args);
    if (ht__chat_is(name, "strftime_now")) return strftime_now(r, args);
    if (ht__chat_is(name, "range")) return range(r, args);
    value dict = make_namespace(r, args);
    dict.is_namespace = ht__chat_is(name, "namespace");
    return dict;
}

/* ---- strings ------------------------------------------------------------------------------------ */

static value split(struct ht__chat_run *r, struct ht__str s, value by, int64_t most)
{
    value list = ht__chat_new_list(r);
    bool spaces = by.type != HT__CHAT_STR;
    if (!spaces && by.str.len == 0) ht__chat_fail(r, HT_ERR_UNSUPPORTED, "split at nothing");
    for (int64_t n = 0; !r->err; n++) {
        if (spaces) s = ht__chat_strip(s, NULL, true, n == 0);
        if (spaces && s.len == 0) break;
        size_t end = s.len, skip = 0;
        if (most < 0 || n < most) {
            const char *at = spaces ? NULL : memmem(s.text, s.len, by.str.text, by.str.len);
            if (at) end = (size_t)(at - s.text), skip = by.str.len;
            for (size_t i = 0; spaces && i < s.len; i++)
                if (strchr(" \t\n\r\v\f", s.text[i]) && s.text[i]) {
                    end = i;
                    skip = 1;
                    break;
                }
        }
        ht__chat_append(r, list, ht__chat_str(s.text, end));
        if (!skip) break;
        s.text += end + skip;
        s.len -= end + skip;
    }
    return list;
}

static value replace(struct ht__chat_run *r, struct ht__str s, struct ht__str from, struct ht__str to, int64_t most)
{
    struct ht__buf out;
    ht__buf_init(&out, r->arena->alloc);
    for (int64_t n = 0; s.len && from.len && (most < 0 || n < most); n++) {
        const char *at = memmem(s.text, s.len, from.text, from.len);
        if (!at) break;
        ht__buf_put(&out, s.text, (size_t)(at - s.text));
        ht__buf_put(&out, to.text, to.len);
        s.len -= (size_t)(at - s.text) + from.len;
        s.text = at + from.len;
        if (out.len > HT__CHAT_MAX_BYTES) ht__chat_fail(r, HT_ERR_LIMIT, "a text is too long");
        if (r->err) break;
    }
    ht__buf_put(&out, s.text, s.len);
    return ht__chat_take(r, &out);
}

/* ASCII letters: roles and names, which is what templates change. */
static value change_case(struct ht__chat_run *r, struct ht__str s, char how)
{
    value v = ht__chat_copy(r, s.text, s.len);
    char *out = r->err ? NULL : (char *)(uintptr_t)v.str.text;
    bool inside = false;
    for (size_t i = 0; out && i < s.len; i++) {
        char c = out[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool up = how == 'u' || (how == 't' && !inside) || (how == 'c' && i == 0);
        if (letter) out[i] = (char)(up ? c & ~32 : c | 32);
        inside = letter || (unsigned char)c >= 0x80;
    }
    return v;
}

static bool affix(struct ht__str s, value v, bool start)
{
    if (v.type == HT__CHAT_LIST) {
        for (size_t i = 0; i < v.list->n; i++)
            if (v.list->items[i].type == HT__CHAT_STR && affix(s, v.list->items[i], start)) return true;
        return false;
    }
    return v.type == HT__CHAT_STR && v.str.len <= s.len &&
           memcmp(start ? s.text : s.text + s.len - v.str.len, v.str.text, v.str.len) == 0;
}

static value find_text(struct ht__str s, value what)
{
    const char *at = what.type == HT__CHAT_STR && s.len ? memmem(s.text, s.len, what.str.text, what.str.len) : NULL;
    return ht__chat_int(at ? ht__chat_length(ht__chat_str(s.text, (size_t)(at - s.text))) : -1);
}

static int64_t count_of(const struct ht__chat_args *args, size_t i, const char *name)
{
    value v = ht__chat_arg(args, i, name);
    return v.type == HT__CHAT_INT ? v.integer : -1;
}

static value unknown(struct ht__chat_run *r, value self, struct ht__str name)
{
    ht__chat_fail(r, HT_ERR_UNSUPPORTED, "%s has no method \"%.*s\" here", ht__chat_type_name(self),
                  (int)(name.len < 60 ? name.len : 60), name.text);
    return ht__chat_undefined;
}

static value string_method(struct ht__chat_run *r, value self, struct ht__str name, const struct ht__chat_args *args)
{
    struct ht__str s = self.str;
    value first = ht__chat_arg(args, 0, "chars");
    const struct ht__str *chars = first.type == HT__CHAT_STR ? &first.str : NULL;
    bool strip = ht__chat_is(name, "strip"), left = ht__chat_is(name, "lstrip"), right = ht__chat_is(name, "rstrip");
    if (strip || left || right) {
        s = ht__chat_strip(s, chars, strip || left, strip || right);
        return ht__chat_str(s.text, s.len);
    }
    if (ht__chat_is(name, "split")) return split(r, s, ht__chat_arg(args, 0, "sep"), count_of(args, 1, "maxsplit"));
    if (ht__chat_is(name, "startswith")) return ht__chat_bool(affix(s, first, true));
    if (ht__chat_is(name, "endswith")) return ht__chat_bool(affix(s, first, false));
    if (ht__chat_is(name, "removeprefix") && chars && affix(s, first, true))
        return ht__chat_str(s.text + chars->len, s.len - chars->len);
    if (ht__chat_is(name, "removesuffix") && chars && affix(s, first, false))
        return ht__chat_str(s.text, s.len - chars->len);
    if (ht__chat_is(name, "removeprefix") || ht__chat_is(name, "removesuffix")) return self;
    if (ht__chat_is(name, "upper")) return change_case(r, s, 'u');
    if (ht__chat_is(name, "lower")) return change_case(r, s, 'l');
    if (ht__chat_is(name, "title")) return change_case(r, s, 't');
    if (ht__chat_is(name, "capitalize")) return change_case(r, s, 'c');
    if (ht__chat_is(name, "find")) return find_text(s, first);
    value to = ht__chat_arg(args, 1, "new");
    if (ht__chat_is(name, "replace") && chars && to.type == HT__CHAT_STR)
        return replace(r, s, *chars, to.str, count_of(args, 2, "count"));
    if (ht__chat_is(name, "join")) {
        struct ht__chat_args one = {.n = 1, .values = {self}};
        return ht__chat_filter(r, first, (struct ht__str){"join", 4}, &one);
    }
    return unknown(r, self, name);
}

/* ---- dictionaries ------------------------------------------------------------------------------- */

static value dict_method(struct ht__chat_run *r, value self, struct ht__str name, const struct ht__chat_args *args)
{
    value first = ht__chat_arg(args, 0, "key"), list;
    bool items = ht__chat_is(name, "items"), keys = ht__chat_is(name, "keys"), values = ht__chat_is(name, "values");
    if (ht__chat_is(name, "get") && (first.type == HT__CHAT_STR || first.type == HT__CHAT_INT)) {
        const value *found = ht__chat_find(self, ht__chat_key(r, first));
        value otherwise = ht__chat_arg(args, 1, "default");
        if (found) return *found;
        return otherwise.type == HT__CHAT_UNDEFINED ? (value){.type = HT__CHAT_NONE} : otherwise;
    }
    if (ht__chat_is(name, "cycle") && args->n > 0) { /* of a loop */
        const value *at = ht__chat_find(self, (struct ht__str){"index0", 6});
        if (at && at->type == HT__CHAT_INT && at->integer >= 0) return args->values[(size_t)at->integer % args->n];
    }
    if (!items && !keys && !values) return unknown(r, self, name);
    list = ht__chat_new_list(r);
    for (size_t i = 0; i < self.dict->n && !r->err; i++) {
        value key = ht__chat_key_value(self.dict->keys[i]), pair = self.dict->values[i];
        if (keys) pair = key;
        if (items) {
            pair = ht__chat_new_list(r);
            ht__chat_append(r, pair, key);
            ht__chat_append(r, pair, self.dict->values[i]);
        }
        ht__chat_append(r, list, pair);
    }
    return list;
}

value ht__chat_method(struct ht__chat_run *r, value self, struct ht__str name, const struct ht__chat_args *args)
{
    if (self.type == HT__CHAT_STR) return string_method(r, self, name, args);
    if (self.type == HT__CHAT_DICT) return dict_method(r, self, name, args);
    return unknown(r, self, name);
}
