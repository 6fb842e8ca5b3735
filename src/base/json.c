/* The pull parser: see json.h. */
#include "base/json.h"
#include "base/escape.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ht__json_init(struct ht__json *json, const char *text, size_t size, const char *where,
                   const struct ht__alloc *alloc, struct ht_diag *diag)
{
    memset(json, 0, sizeof *json);
    json->text = text;
    json->size = size;
    json->where = where;
    json->diag = diag;
    json->first = true;
    ht__buf_init(&json->scratch[0], alloc);
    ht__buf_init(&json->scratch[1], alloc);
}

void ht__json_close(struct ht__json *json)
{
    ht__buf_close(&json->scratch[0]);
    ht__buf_close(&json->scratch[1]);
    if (json->locale) freelocale(json->locale);
    json->locale = NULL;
}

enum ht_err ht__json_fail(struct ht__json *json, const char *fmt, ...)
{
    if (json->err) return json->err;
    char message[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    json->err = ht__fail(json->diag, HT_ERR_FORMAT, json->where, (int64_t)json->pos, "%s", message);
    return json->err;
}

static struct ht__json_value fault(struct ht__json *json, const char *message)
{
    ht__json_fail(json, "JSON: %s", message);
    return (struct ht__json_value){.type = HT__JSON_ERROR};
}

static int peek(struct ht__json *json)
{
    while (json->pos < json->size) {
        char c = json->text[json->pos];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return (unsigned char)c;
        json->pos++;
    }
    return -1;
}

static int hex4(const char *p, const char *end, uint32_t *out)
{
    if (end - p < 4) return 0;
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit > 15) return 0;
        v = v << 4 | digit;
    }
    *out = v;
    return 4;
}

/* \uXXXX, with its low surrogate where it is a high one. Returns the bytes read after "\u", or 0. */
static int unicode_escape(const char *p, const char *end, char out[4], int *out_len)
{
    uint32_t high, low;
    if (!hex4(p, end, &high)) return 0;
    int used = 4;
    if (high >= 0xd800 && high < 0xdc00) {
        if (end - p < 10 || p[4] != '\\' || p[5] != 'u' || !hex4(p + 6, end, &low) || low < 0xdc00 || low > 0xdfff)
            return 0;
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        used = 10;
    }
    *out_len = ht__utf8_put(high, out);
    return *out_len ? used : 0;
}

static bool unescape(struct ht__json *json, const char *p, const char *end, struct ht__buf *out)
{
    out->len = 0;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        if (!slash) slash = end;
        ht__buf_put(out, p, (size_t)(slash - p));
        p = slash;
        if (p == end) break;
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *known = p + 1 < end ? memchr(from, p[1], sizeof from - 1) : NULL;
        char utf8[4];
        int len = 0, used;
        if (known) {
            ht__buf_put(out, &to[known - from], 1);
            p += 2;
        } else if (p + 1 < end && p[1] == 'u' && (used = unicode_escape(p + 2, end, utf8, &len)) > 0) {
            ht__buf_put(out, utf8, (size_t)len);
            p += 2 + used;
        } else {
            ht__json_fail(json, "JSON: bad escape in a string");
            return false;
        }
    }
    if (out->failed) json->err = ht__fail_memory(json->diag, json->where);
    return !out->failed;
}

/* At the opening quote. The text is borrowed unless it has escapes. */
static bool string(struct ht__json *json, struct ht__buf *scratch, const char **text, size_t *len)
{
    size_t start = ++json->pos, i = start;
    bool escapes = false, ascii = true;
    for (;; i++) {
        if (i >= json->size) {
            json->pos = json->size;
            ht__json_fail(json, "JSON: a string does not end");
            return false;
        }
        unsigned char c = (unsigned char)json->text[i];
        if (c == '"') break;
        if (c < 0x20) {
            json->pos = i;
            ht__json_fail(json, "JSON: control character in a string");
            return false;
        }
        if (c >= 0x80) ascii = false;
        if (c == '\\') {
            escapes = true;
            i++;
        }
    }
    const char *body = json->text + start;
    *text = body;
    *len = i - start;
    size_t valid = ascii ? *len : ht__utf8_valid(body, *len);
    if (valid != *len) {
        json->pos = start + valid;
        ht__json_fail(json, "JSON: a string is not valid UTF-8");
        return false;
    }
    if (escapes) {
        if (!unescape(json, body, body + *len, scratch)) return false;
        *text = scratch->len ? (const char *)scratch->data : "";
        *len = scratch->len;
    }
    json->pos = i + 1;
    return true;
}

static size_t digits(const char *text, size_t size, size_t i)
{
    while (i < size && text[i] >= '0' && text[i] <= '9')
        i++;
    return i;
}

/* A whole number that a double holds exactly: no library is needed. -0 is left to it. */
static bool small_integer(const char *text, size_t n, struct ht__json_value *v)
{
    enum { MOST_DIGITS = 15 }; /* 10^15 < 2^53 */
    bool negative = text[0] == '-';
    int64_t value = 0;
    if (n - negative > MOST_DIGITS || (negative && text[1] == '0')) return false;
    for (size_t i = negative; i < n; i++)
        value = value * 10 + (text[i] - '0');
    v->integer = negative ? -value : value;
    v->number = (double)v->integer;
    v->is_int = true;
    return true;
}

/* The grammar is checked by hand, so that strtod sees only what JSON allows, whatever the locale. */
static struct ht__json_value number(struct ht__json *json)
{
    const char *t = json->text;
    size_t n = json->size, start = json->pos, i = start + (t[start] == '-');
    size_t int_end = digits(t, n, i);
    if (int_end == i || (t[i] == '0' && int_end - i > 1)) return fault(json, "bad number");
    bool whole = true;
    i = int_end;
    if (i < n && t[i] == '.') {
        size_t end = digits(t, n, i + 1);
        if (end == i + 1) return fault(json, "bad number");
        i = end;
        whole = false;
    }
    if (i < n && (t[i] == 'e' || t[i] == 'E')) {
        size_t sign = i + 1 < n && (t[i + 1] == '+' || t[i + 1] == '-');
        size_t end = digits(t, n, i + 1 + sign);
        if (end == i + 1 + sign) return fault(json, "bad number");
        i = end;
        whole = false;
    }
    char copy[512];
    struct ht__json_value v = {.type = HT__JSON_NUMBER, .text = t + start, .len = i - start};
    json->pos = i;
    if (whole && small_integer(t + start, i - start, &v)) return v;
    json->pos = start;
    if (i - start >= sizeof copy) return fault(json, "number of more than 500 characters");
    memcpy(copy, t + start, i - start);
    copy[i - start] = '\0';
    if (!json->locale) json->locale = newlocale(LC_ALL_MASK, "C", NULL);
    v.number = json->locale ? strtod_l(copy, NULL, json->locale) : strtod(copy, NULL);
    if (whole) {
        errno = 0;
        v.integer = strtoll(copy, NULL, 10);
        v.is_int = errno == 0;
    }
    json->pos = i;
    return v;
}

static bool word(struct ht__json *json, const char *expected)
{
    size_t len = strlen(expected);
    if (json->size - json->pos < len || memcmp(json->text + json->pos, expected, len) != 0) return false;
    json->pos += len;
    return true;
}

static bool not_finite(struct ht__json *json, struct ht__json_value *v)
{
    v->type = HT__JSON_NUMBER;
    v->text = json->text + json->pos;
    v->number = word(json, "NaN") ? (double)NAN : word(json, "Infinity") ? (double)INFINITY : 0;
    if (v->number == 0 && word(json, "-Infinity")) v->number = -(double)INFINITY;
    v->len = (size_t)(json->text + json->pos - v->text);
    return !isfinite(v->number);
}

static struct ht__json_value value_at(struct ht__json *json, int c)
{
    struct ht__json_value v = {0};
    if (c == '{' || c == '[') {
        if (json->depth == HT__JSON_MAX_DEPTH) return fault(json, "nested too deeply");
        json->stack[json->depth++] = (char)c;
        json->first = true;
        json->pos++;
        v.type = c == '{' ? HT__JSON_OBJECT : HT__JSON_ARRAY;
        return v;
    }
    if (c == '"') {
        v.type = HT__JSON_STRING;
        if (!string(json, &json->scratch[0], &v.text, &v.len)) v.type = HT__JSON_ERROR;
        return v;
    }
    if (json->python && not_finite(json, &v)) return v;
    if (c == '-' || (c >= '0' && c <= '9')) return number(json);
    v.type = HT__JSON_BOOL;
    if (word(json, "true")) {
        v.boolean = true;
        return v;
    }
    if (word(json, "false")) return v;
    v.type = HT__JSON_NULL;
    if (word(json, "null")) return v;
    return fault(json, c < 0 ? "the text ends too early" : "unexpected character");
}

/* Moves to the next element of the container on top: its first character, or 0 when the container
 * ended and was left, or -1 on error. */
static int next_element(struct ht__json *json)
{
    int c = peek(json);
    char close = json->stack[json->depth - 1] == '{' ? '}' : ']';
    if (c == close) {
        json->pos++;
        json->depth--;
        json->first = false;
        return 0;
    }
    if (!json->first) {
        if (c != ',') {
            fault(json, c < 0 ? "the text ends too early" : "expected a comma or the end");
            return -1;
        }
        json->pos++;
        c = peek(json);
    }
    json->first = false;
    if (c < 0) fault(json, "the text ends too early");
    return c;
}

struct ht__json_value ht__json_next(struct ht__json *json)
{
    struct ht__json_value none = {.type = json->err ? HT__JSON_ERROR : HT__JSON_END};
    if (json->err) return none;
    if (json->depth == 0) {
        int c = peek(json);
        if (json->first) {
            json->first = false;
            return value_at(json, c);
        }
        return c < 0 ? none : fault(json, "text after the end");
    }
    int c = next_element(json);
    if (c == 0) return none;
    if (c < 0) return (struct ht__json_value){.type = HT__JSON_ERROR};
    return value_at(json, c);
}

bool ht__json_member(struct ht__json *json, const char **key, size_t *key_len, struct ht__json_value *value)
{
    *value = (struct ht__json_value){.type = json->err ? HT__JSON_ERROR : HT__JSON_END};
    if (json->err) return false;
    int c = next_element(json);
    if (c <= 0) return false;
    if (c != '"') {
        fault(json, "expected a member's name");
        return false;
    }
    if (!string(json, &json->scratch[1], key, key_len)) return false;
    if (peek(json) != ':') {
        fault(json, "expected a colon");
        return false;
    }
    json->pos++;
    *value = value_at(json, peek(json));
    return json->err == HT_OK;
}

void ht__json_skip(struct ht__json *json, const struct ht__json_value *value)
{
    if (value->type != HT__JSON_OBJECT && value->type != HT__JSON_ARRAY) return;
    int outside = json->depth - 1;
    while (!json->err && json->depth > outside) {
        const char *key;
        size_t len;
        struct ht__json_value v;
        if (json->stack[json->depth - 1] == '{')
            ht__json_member(json, &key, &len, &v);
        else
            ht__json_next(json);
    }
}

void ht__json_quote(struct ht__buf *buf, const char *text, size_t len)
{
    ht__buf_put(buf, "\"", 1);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        uint32_t code = 0;
        int n = ht__utf8_get(text + i, len - i, &code);
        if (c == '"' || c == '\\') {
            ht__buf_printf(buf, "\\%c", c);
        } else if (c == '\n') {
            ht__buf_str(buf, "\\n");
        } else if (n == 0) {
            ht__buf_str(buf, "\\ufffd");       /* a byte that is not UTF-8 */
        } else if (ht__is_unprintable(code)) { /* also where JSON would allow it: the line may reach a terminal */
            ht__buf_printf(buf, "\\u%04x", code);
            i += (size_t)n - 1;
        } else {
            ht__buf_put(buf, text + i, (size_t)n);
            i += (size_t)n - 1;
        }
    }
    ht__buf_put(buf, "\"", 1);
}
