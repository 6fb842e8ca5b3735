/*
 * JSON against jansson: on thousands of documents made at random, sound and damaged, both must agree on
 * whether it is one and on every value in it. And what is ours alone: the depth limit, exact diagnoses,
 * numbers at the edges of their types.
 */
#include "base/json.h"
#include "lib/pieces.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static unsigned seed;

static unsigned roll(unsigned n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* ---- documents made at random ---- */

static void make_space(struct ht__buf *out)
{
    static const char *const spaces[] = {"", "", "", " ", "\n", "\t", "\r\n", "  "};
    ht__buf_str(out, spaces[roll(8)]);
}

static void make_string(struct ht__buf *out)
{
    static const char *const parts[] = {
        "a",
        "key",
        " ",
        "",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\b\\f\\r\\t",
        "\\u0041",
        "\\u00e9",
        "\\u20AC",
        "\\uD83D\\uDE00",
        "\\uFFFF",
        "é",
        "€",
        "🚀",
        "\x7f",
        "0",
        "{",
        "]",
        ",",
        "\\u0000",
        "\\u001f",
    };
    ht__buf_str(out, "\"");
    for (unsigned n = roll(4); n > 0; n--)
        ht__buf_str(out, parts[roll(sizeof parts / sizeof parts[0])]);
    ht__buf_str(out, "\"");
}

static void make_number(struct ht__buf *out)
{
    static const char *const numbers[] = {
        "0",
        "-0",
        "1",
        "-1",
        "10",
        "123456789",
        "9223372036854775807",
        "-9223372036854775808",
        "0.5",
        "-0.0",
        "1e5",
        "1E+2",
        "1e-7",
        "2.5e3",
        "123.456",
        "1e308",
        "4.9e-324",
        "1e-400",
        "0.1",
        "3.141592653589793",
        "17976931348623157e292",
        "9007199254740993.0",
        "0e0",
    };
    if (roll(3) == 0) {
        ht__buf_printf(out, "%d.%ue%d", (int)roll(2000) - 1000, roll(1000000), (int)roll(80) - 40);
        return;
    }
    ht__buf_str(out, numbers[roll(sizeof numbers / sizeof numbers[0])]);
}

static void make_value(struct ht__buf *out, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    unsigned kind = roll(depth > 5 ? 4 : 8);
    make_space(out);
    if (kind == 0) {
        ht__buf_str(out, words[roll(3)]);
    } else if (kind == 1) {
        make_number(out);
    } else if (kind < 4) {
        make_string(out);
    } else {
        bool object = kind < 6;
        ht__buf_str(out, object ? "{" : "[");
        unsigned n = roll(5);
        for (unsigned i = 0; i < n; i++) {
            if (i) ht__buf_str(out, ",");
            if (object) {
                make_space(out);
                if (roll(8)) /* else perhaps one that is there already */
                    ht__buf_printf(out, "\"k%u\"", i);
                else
                    make_string(out);
                make_space(out);
                ht__buf_str(out, ":");
            }
            make_value(out, depth + 1);
        }
        make_space(out);
        ht__buf_str(out, object ? "}" : "]");
    }
    make_space(out);
}

static void damage(struct ht__buf *doc)
{
    static const char telling[] = "{}[]\",:\\/0123456789.eE+-tfn u\x01\n\t\x7f\x80\xc3\xff\xed";
    for (unsigned n = 1 + roll(2); n > 0 && doc->len; n--) {
        size_t at = roll((unsigned)doc->len);
        unsigned kind = roll(4);
        if (kind == 0)
            doc->len = at;
        else if (kind == 1)
            memmove(doc->data + at, doc->data + at + 1, --doc->len - at);
        else
            doc->data[at] = (unsigned char)telling[roll(sizeof telling - 1)];
    }
}

/* ---- comparison ---- */

static bool same(const struct ht__jnode *a, const json_t *b);

static bool same_children(const struct ht__jnode *a, const json_t *b)
{
    bool object = a->type == HT__JSON_OBJECT;
    if (a->n != (object ? json_object_size(b) : json_array_size(b))) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!same(&a->children[i], object ? json_object_get(b, a->keys[i]) : json_array_get(b, i))) return false;
    return true;
}

static bool same(const struct ht__jnode *a, const json_t *b)
{
    double number = b ? json_number_value(b) : 0;
    if (!b) return false;
    switch (a->type) {
    case HT__JSON_NULL: return json_is_null(b);
    case HT__JSON_BOOL: return json_is_boolean(b) && a->boolean == json_is_true(b);
    case HT__JSON_STRING:
        return json_is_string(b) && a->len == json_string_length(b) &&
               memcmp(a->text, json_string_value(b), a->len + 1) == 0;
    case HT__JSON_NUMBER:
        if (a->is_int != json_is_integer(b) || !json_is_number(b)) return false;
        return a->is_int ? a->integer == json_integer_value(b) && a->number == (double)a->integer
                         : memcmp(&a->number, &number, sizeof number) == 0;
    case HT__JSON_ARRAY: return json_is_array(b) && same_children(a, b);
    case HT__JSON_OBJECT: return json_is_object(b) && same_children(a, b);
    default: return false;
    }
}

/* true when both take it. The text is exactly as long as it says, for sanitizers. */
static bool agree(const unsigned char *doc, size_t n)
{
    struct ht__arena arena;
    struct ht__jnode *ours;
    struct ht_diag diag = {0};
    json_error_t why;
    char *text = malloc(n ? n : 1);
    if (n) memcpy(text, doc, n);
    ht__arena_init(&arena, &pieces);
    enum ht_err err = ht__json_parse(&arena, text, n, "text", &ours, &diag);
    json_t *theirs = json_loadb(text, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    /* numbers beyond their types: refused there, infinity or not an integer here */
    bool overflow = !theirs && json_error_code(&why) == json_error_numeric_overflow;
    bool nul_key = !theirs && json_error_code(&why) == json_error_null_byte_in_key;
    if (!overflow && (err == HT_OK) != (theirs != NULL))
        fail_msg("%.*s\nours: %s; theirs: %s", (int)n, text, err ? diag.message : "sound", theirs ? "sound" : why.text);
    if (nul_key) assert_int_equal(err, HT_ERR_FORMAT);
    if (err == HT_OK && theirs && !same(ours, theirs)) fail_msg("%.*s\nread differently", (int)n, text);
    if (err != HT_OK && (err != HT_ERR_FORMAT || !diag.message[0] || diag.offset < 0 || diag.offset > (int64_t)n))
        fail_msg("%.*s\n%s at %lld", (int)n, text, diag.message, (long long)diag.offset);
    json_decref(theirs);
    ht__arena_close(&arena);
    free(text);
    return err == HT_OK;
}

static void against_jansson(void **state)
{
    (void)state;
    enum { N = 20000 };
    int n_sound = 0, n_damaged = 0;
    for (int i = 0; i < N; i++) {
        struct ht__buf doc;
        ht__buf_init(&doc, NULL);
        seed = (unsigned)i;
        make_value(&doc, 0);
        n_sound += agree(doc.data, doc.len);
        for (int k = 0; k < 4; k++) {
            struct ht__buf copy;
            ht__buf_init(&copy, NULL);
            ht__buf_put(&copy, doc.data, doc.len);
            damage(&copy);
            n_damaged += agree(copy.data, copy.len);
            ht__buf_close(&copy);
        }
        ht__buf_close(&doc);
    }
    print_message("%d of %d documents are sound, %d of %d damaged ones\n", n_sound, N, n_damaged, 4 * N);
    assert_true(n_sound > N / 2 && n_sound < N && n_damaged > N / 10 && n_damaged < 4 * N);
}

/* Every byte at every place of short texts of all kinds. */
static void every_byte_everywhere(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"a\":[1,2]}",      "[true,null]", "\"\\u00e9x\"",          "-12.5e+3",
        "\"\\ud83d\\ude00\"", " [ ] ",       "{\"a\":{},\"b\":\"\"}", "\"\xe2\x82\xac\""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t n = strlen(texts[i]);
        unsigned char text[64];
        for (size_t at = 0; at < n; at++)
            for (int byte = 0; byte < 256; byte++) {
                memcpy(text, texts[i], n);
                text[at] = (unsigned char)byte;
                agree(text, n);
            }
        for (size_t len = 0; len <= n; len++)
            agree((const unsigned char *)texts[i], len);
    }
}

/* ---- what is ours ---- */

static enum ht_err parse(const char *text, size_t n, struct ht__arena *arena, struct ht__jnode **root,
                         struct ht_diag *diag)
{
    memset(diag, 0, sizeof *diag);
    return ht__json_parse(arena, text, n, "text", root, diag);
}

static void refused(const char *text, size_t n, const char *words, int64_t offset)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    struct ht_diag diag;
    ht__arena_init(&arena, NULL);
    assert_int_equal(parse(text, n, &arena, &root, &diag), HT_ERR_FORMAT);
    assert_null(root);
    if (!strstr(diag.message, words)) fail_msg("%s: \"%s\", not \"%s\"", text, diag.message, words);
    if (offset >= 0 && diag.offset != offset) fail_msg("%s: at %lld", text, (long long)diag.offset);
    ht__arena_close(&arena);
}

static void diagnoses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
        int64_t offset;
    } cases[] = {
        {"", "ends too early", 0},
        {"{\"a\": 1, \"a\": 2}", "duplicate key \"a\"", -1},
        {"{\"a\": {\"b\": 1, \"\\u0062\": 2}}", "duplicate key \"b\"", -1},
        {"{\"a\\u0000b\": 1}", "NUL", -1},
        {"\"\\ud800\"", "escape", -1},
        {"\"\\udc00\"", "escape", -1},
        {"\"\\ud800\\u0041\"", "escape", -1},
        {"\"\\ud800\\ud800\"", "escape", -1},
        {"\"\\u12g4\"", "escape", -1},
        {"\"a\xff\"", "UTF-8", 2},
        {"\"a\nb\"", "control", 2},
        {"\"abc", "does not end", 4},
        {"[1 2]", "comma", 3},
        {"[1,]", "unexpected", 3},
        {"{\"a\" 1}", "colon", 5},
        {"{1: 2}", "name", 1},
        {"01", "number", 0},
        {"1.", "number", 0},
        {"-", "number", 0},
        {"1e", "number", 0},
        {"+1", "unexpected", 0},
        {"NaN", "unexpected", 0},
        {"-Infinity", "number", 0},
        {"'a'", "unexpected", 0},
        {"[1] [2]", "after the end", 4},
        {"// a\n1", "unexpected", 0},
        {"\xef\xbb\xbf{}", "unexpected", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(cases[i].text, strlen(cases[i].text), cases[i].words, cases[i].offset);
    refused("1\0", 2, "after the end", 1);
    refused("\"a\0\"", 4, "control", 2);
    char digits[600];
    memset(digits, '1', sizeof digits);
    refused(digits, sizeof digits, "500 characters", -1);
}

static void depth(void **state)
{
    (void)state;
    for (int object = 0; object < 2; object++)
        for (int n = HT__JSON_MAX_DEPTH - 1; n <= HT__JSON_MAX_DEPTH + 1; n++) {
            struct ht__buf text;
            struct ht__arena arena;
            struct ht__jnode *root;
            struct ht_diag diag;
            ht__buf_init(&text, NULL);
            ht__arena_init(&arena, NULL);
            for (int i = 0; i < n; i++)
                ht__buf_str(&text, !object ? "[" : i < n - 1 ? "{\"a\":" : "{");
            for (int i = 0; i < n; i++)
                ht__buf_str(&text, object ? "}" : "]");
            enum ht_err err = parse((char *)text.data, text.len, &arena, &root, &diag);
            assert_int_equal(err, n <= HT__JSON_MAX_DEPTH ? HT_OK : HT_ERR_FORMAT);
            if (err) assert_non_null(strstr(diag.message, "too deeply"));
            ht__arena_close(&arena);
            ht__buf_close(&text);
        }
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_int;
        int64_t integer;
        double number;
    } cases[] = {
        {"0", true, 0, 0},
        {"-0", true, 0, -0.0},
        {"9223372036854775807", true, INT64_MAX, 9223372036854775807.0},
        {"-9223372036854775808", true, INT64_MIN, -9223372036854775808.0},
        {"9223372036854775808", false, 0, 9223372036854775808.0},
        {"-9223372036854775809", false, 0, -9223372036854775809.0},
        {"1.0", false, 0, 1},
        {"1e2", false, 0, 100},
        {"5e-324", false, 0, 5e-324},
        {"1e-999", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__arena arena;
        struct ht__jnode *root;
        struct ht_diag diag;
        ht__arena_init(&arena, NULL);
        assert_int_equal(parse(cases[i].text, strlen(cases[i].text), &arena, &root, &diag), HT_OK);
        assert_int_equal(root->is_int, cases[i].is_int);
        if (root->is_int) assert_true(root->integer == cases[i].integer);
        assert_memory_equal(&root->number, &cases[i].number, sizeof(double));
        ht__arena_close(&arena);
    }
}

/* What is quoted reads back, whatever the bytes; those that are no UTF-8 become U+FFFD. */
static void quoting(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char raw[8];
        struct ht__buf text;
        struct ht__arena arena;
        struct ht__jnode *root;
        struct ht_diag diag;
        seed = (unsigned)i;
        size_t n = roll(sizeof raw + 1);
        for (size_t k = 0; k < n; k++)
            raw[k] = (char)(i % 2 ? roll(128) : roll(256));
        ht__buf_init(&text, NULL);
        ht__arena_init(&arena, NULL);
        ht__json_quote(&text, raw, n);
        assert_int_equal(parse((char *)text.data, text.len, &arena, &root, &diag), HT_OK);
        if (i % 2) {
            assert_int_equal(root->len, n);
            assert_memory_equal(root->text, raw, n);
        }
        ht__arena_close(&arena);
        ht__buf_close(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_jansson), cmocka_unit_test(every_byte_everywhere),
        cmocka_unit_test(diagnoses),       cmocka_unit_test(depth),
        cmocka_unit_test(numbers),         cmocka_unit_test(quoting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
