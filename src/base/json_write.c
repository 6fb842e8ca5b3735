/* The JSON writer: see json_write.h. */
#include "base/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ht__jw begin(struct ht__buf *out, bool indented)
{
    return (struct ht__jw){.out = out, .indented = indented};
}

struct ht__jw ht__jw_line(struct ht__buf *out)
{
    return begin(out, false);
}

struct ht__jw ht__jw_indented(struct ht__buf *out)
{
    return begin(out, true);
}

bool ht__jw_done(const struct ht__jw *w)
{
    return w->begun && w->depth == 0 && !w->wrong && !w->out->failed;
}

static bool misuse(struct ht__jw *w)
{
    w->wrong = w->out->failed = true;
    return false;
}

static void new_line(struct ht__jw *w)
{
    if (w->indented) ht__buf_printf(w->out, "\n%*s", 2 * w->depth, "");
}

/* What comes before a value: the comma, the line's beginning, the name. false when no value may come here. */
static bool place(struct ht__jw *w, const char *key)
{
    if (w->wrong) return false;
    if (w->depth == 0) {
        if (w->begun || key) return misuse(w);
        return w->begun = true;
    }
    if (w->level[w->depth - 1].object != (key != NULL)) return misuse(w);
    if (!w->level[w->depth - 1].empty) ht__buf_str(w->out, w->indented ? "," : ", ");
    w->level[w->depth - 1].empty = false;
    new_line(w);
    if (!key) return true;
    ht__json_quote(w->out, key, strlen(key));
    ht__buf_str(w->out, ": ");
    return true;
}

/* ---- containers ---- */

static void enter(struct ht__jw *w, const char *key, bool object)
{
    if (!place(w, key)) return;
    if (w->depth == HT__JSON_MAX_DEPTH) {
        misuse(w);
        return;
    }
    ht__buf_str(w->out, object ? "{" : "[");
    w->level[w->depth].object = object;
    w->level[w->depth++].empty = true;
}

void ht__jw_object(struct ht__jw *w, const char *key)
{
    enter(w, key, true);
}

void ht__jw_array(struct ht__jw *w, const char *key)
{
    enter(w, key, false);
}

void ht__jw_end(struct ht__jw *w)
{
    if (w->depth == 0) misuse(w);
    if (w->wrong) return;
    w->depth--;
    if (!w->level[w->depth].empty) new_line(w);
    ht__buf_str(w->out, w->level[w->depth].object ? "}" : "]");
}

/* ---- values ---- */

static void word(struct ht__jw *w, const char *key, const char *text)
{
    if (place(w, key)) ht__buf_str(w->out, text);
}

void ht__jw_str(struct ht__jw *w, const char *key, const char *text)
{
    if (text)
        ht__jw_text(w, key, text, strlen(text));
    else
        ht__jw_null(w, key);
}

void ht__jw_text(struct ht__jw *w, const char *key, const char *text, size_t len)
{
    if (place(w, key)) ht__json_quote(w->out, text, len);
}

void ht__jw_int(struct ht__jw *w, const char *key, int64_t value)
{
    if (place(w, key)) ht__buf_printf(w->out, "%" PRId64, value);
}

void ht__jw_uint(struct ht__jw *w, const char *key, uint64_t value)
{
    if (place(w, key)) ht__buf_printf(w->out, "%" PRIu64, value);
}

void ht__jw_bool(struct ht__jw *w, const char *key, bool value)
{
    word(w, key, value ? "true" : "false");
}

void ht__jw_null(struct ht__jw *w, const char *key)
{
    word(w, key, "null");
}

void ht__jw_report(struct ht__jw *w, const char *verb)
{
    ht__jw_object(w, NULL);
    ht__jw_str(w, "halftone", HT_VERSION);
    ht__jw_str(w, "verb", verb);
}

/* ---- doubles ---- */

/* printf's text of a double with the locale's decimal separator, of one or more bytes, made a point. */
static void put_with_point(struct ht__jw *w, const char *text)
{
    static const char ours[] = "+-0123456789e";
    size_t before = strspn(text, ours), separator = strcspn(text + before, ours);
    ht__buf_put(w->out, text, before);
    if (!separator) return;
    ht__buf_str(w->out, ".");
    ht__buf_str(w->out, text + before + separator);
}

static void formatted(struct ht__jw *w, const char *key, double value, bool fixed, int precision)
{
    char text[400]; /* %f of the largest double has 309 digits before the point */
    if (!isfinite(value)) {
        ht__jw_null(w, key);
    } else if (precision < 0 || precision > 40) {
        misuse(w);
    } else if (place(w, key)) {
        snprintf(text, sizeof text, fixed ? "%.*f" : "%.*g", precision, value);
        put_with_point(w, text);
    }
}

void ht__jw_fixed(struct ht__jw *w, const char *key, double value, int decimals)
{
    formatted(w, key, value, true, decimals);
}

void ht__jw_digits(struct ht__jw *w, const char *key, double value, int digits)
{
    formatted(w, key, value, false, digits);
}

enum { MOST_DIGITS = 17 }; /* tell every double from its neighbours */

/* value = 0.DIGITS * 10^exponent, with the fewest digits. Returns how many. */
static int fewest_digits(double value, char digits[MOST_DIGITS], int *exponent)
{
    char text[40];
    for (int precision = 0; precision < MOST_DIGITS; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, value);
        if (strtod(text, NULL) == value) break;
    }
    const char *e = strchr(text, 'e');
    int n = 0;
    for (const char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    *exponent = atoi(e + 1) + 1;
    return n;
}

/* Between 0.0001 and 10^16 without an exponent, as Python does. */
static void put_plain(struct ht__buf *out, const char *digits, int n, int exponent)
{
    static const char zeros[] = "0000000000000000";
    int whole = exponent < 0 ? 0 : exponent < n ? exponent : n;
    ht__buf_put(out, whole ? digits : "0", whole ? (size_t)whole : 1);
    if (exponent > n) ht__buf_put(out, zeros, (size_t)(exponent - n));
    ht__buf_str(out, ".");
    if (exponent < 0) ht__buf_put(out, zeros, (size_t)-exponent);
    ht__buf_put(out, whole < n ? digits + whole : "0", whole < n ? (size_t)(n - whole) : 1);
}

void ht__jw_double(struct ht__jw *w, const char *key, double value)
{
    if (!isfinite(value)) {
        ht__jw_null(w, key);
        return;
    }
    if (!place(w, key)) return;
    char digits[MOST_DIGITS];
    int exponent, n = fewest_digits(fabs(value), digits, &exponent);
    if (signbit(value)) ht__buf_str(w->out, "-");
    if (exponent > -4 && exponent <= 16) {
        put_plain(w->out, digits, n, exponent);
        return;
    }
    ht__buf_put(w->out, digits, 1);
    if (n > 1) ht__buf_str(w->out, ".");
    ht__buf_put(w->out, digits + 1, (size_t)n - 1);
    ht__buf_printf(w->out, "e%+03d", exponent - 1);
}

/* ---- what is JSON already ---- */

/* Is the text one value? A number, if it has to be one. */
static bool is_value(const struct ht__jw *w, const char *text, size_t len, bool number)
{
    struct ht__json json;
    ht__json_init(&json, text, len, NULL, w->out->alloc, NULL);
    struct ht__json_value v = ht__json_next(&json);
    ht__json_skip(&json, &v);
    bool is = json.err == HT_OK && ht__json_next(&json).type == HT__JSON_END;
    ht__json_close(&json);
    return is && (!number || v.type == HT__JSON_NUMBER);
}

void ht__jw_number(struct ht__jw *w, const char *key, const char *text)
{
    if (!is_value(w, text, strlen(text), true))
        misuse(w);
    else
        word(w, key, text);
}

void ht__jw_raw(struct ht__jw *w, const char *key, const char *json, size_t len)
{
    if (!is_value(w, json, len, false))
        misuse(w);
    else if (place(w, key))
        ht__buf_put(w->out, json, len);
}

/* ---- trees ---- */

void ht__jw_node(struct ht__jw *w, const char *key, const struct ht__jnode *node)
{
    switch (node->type) {
    case HT__JSON_NULL: ht__jw_null(w, key); break;
    case HT__JSON_BOOL: ht__jw_bool(w, key, node->boolean); break;
    case HT__JSON_NUMBER:
        if (node->text)
            word(w, key, node->text);
        else
            ht__jw_int(w, key, node->integer);
        break;
    case HT__JSON_STRING: ht__jw_text(w, key, node->text, node->len); break;
    case HT__JSON_ARRAY:
        ht__jw_array(w, key);
        for (size_t i = 0; i < node->n && !w->wrong; i++)
            ht__jw_node(w, NULL, &node->children[i]);
        ht__jw_end(w);
        break;
    case HT__JSON_OBJECT:
        ht__jw_object(w, key);
        ht__jw_members(w, node, NULL, 0);
        ht__jw_end(w);
        break;
    default: misuse(w);
    }
}

static bool is_one_of(const char *key, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, names[i]) == 0) return true;
    return false;
}

void ht__jw_members(struct ht__jw *w, const struct ht__jnode *object, const char *const *without, size_t n_without)
{
    if (object->type != HT__JSON_OBJECT) misuse(w);
    for (size_t i = 0; i < object->n && !w->wrong; i++)
        if (!is_one_of(object->keys[i], without, n_without)) ht__jw_node(w, object->keys[i], &object->children[i]);
}
