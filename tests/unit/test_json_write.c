/*
 * The JSON writer: its text, in both styles; what it refuses to write; doubles against strtod; trees written back
 * with their numbers as they stood; memory that runs out at each request.
 */
#include "base/json_write.h"
#include "lib/counting.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void write_example(struct ht__jw *w)
{
    ht__jw_object(w, NULL);
    ht__jw_str(w, "text", "a \"b\"\n\x01");
    ht__jw_str(w, "none", NULL);
    ht__jw_text(w, "part", "abc", 2);
    ht__jw_array(w, "shape");
    ht__jw_int(w, NULL, INT64_MIN);
    ht__jw_uint(w, NULL, UINT64_MAX);
    ht__jw_object(w, NULL);
    ht__jw_end(w);
    ht__jw_end(w);
    ht__jw_array(w, "empty");
    ht__jw_end(w);
    ht__jw_object(w, "key \"\xc3\xa9\"");
    ht__jw_bool(w, "yes", true);
    ht__jw_bool(w, "no", false);
    ht__jw_null(w, "null");
    ht__jw_end(w);
    ht__jw_fixed(w, "fixed", 2.0 / 3, 3);
    ht__jw_digits(w, "digits", 1e-9 / 3, 6);
    ht__jw_double(w, "double", 0.1);
    ht__jw_number(w, "number", "1.50e+3");
    ht__jw_raw(w, "raw", "[1,{}]", 6);
    ht__jw_end(w);
}

static const char example_line[] =
    "{\"text\": \"a \\\"b\\\"\\n\\u0001\", \"none\": null, \"part\": \"ab\", \"shape\": [-9223372036854775808, "
    "18446744073709551615, {}], \"empty\": [], \"key \\\"\xc3\xa9\\\"\": {\"yes\": true, \"no\": false, "
    "\"null\": null}, \"fixed\": 0.667, \"digits\": 3.33333e-10, \"double\": 0.1, \"number\": 1.50e+3, \"raw\": "
    "[1,{}]}";
static const char example_indented[] = "{\n"
                                       "  \"text\": \"a \\\"b\\\"\\n\\u0001\",\n"
                                       "  \"none\": null,\n"
                                       "  \"part\": \"ab\",\n"
                                       "  \"shape\": [\n"
                                       "    -9223372036854775808,\n"
                                       "    18446744073709551615,\n"
                                       "    {}\n"
                                       "  ],\n"
                                       "  \"empty\": [],\n"
                                       "  \"key \\\"\xc3\xa9\\\"\": {\n"
                                       "    \"yes\": true,\n"
                                       "    \"no\": false,\n"
                                       "    \"null\": null\n"
                                       "  },\n"
                                       "  \"fixed\": 0.667,\n"
                                       "  \"digits\": 3.33333e-10,\n"
                                       "  \"double\": 0.1,\n"
                                       "  \"number\": 1.50e+3,\n"
                                       "  \"raw\": [1,{}]\n"
                                       "}";

static void both_styles(void **state)
{
    (void)state;
    for (int indented = 0; indented < 2; indented++) {
        struct ht__buf out;
        ht__buf_init(&out, NULL);
        ht__buf_str(&out, "before ");
        struct ht__jw w = indented ? ht__jw_indented(&out) : ht__jw_line(&out);
        assert_false(ht__jw_done(&w));
        write_example(&w);
        assert_true(ht__jw_done(&w));
        assert_string_equal(ht__buf_text(&out) + 7, indented ? example_indented : example_line);
        ht__buf_close(&out);
    }
}

static void a_report(void **state)
{
    (void)state;
    struct ht__buf out;
    ht__buf_init(&out, NULL);
    struct ht__jw w = ht__jw_line(&out);
    ht__jw_report(&w, "eval");
    ht__jw_int(&w, "n", 1);
    ht__jw_end(&w);
    assert_true(ht__jw_done(&w));
    assert_string_equal(ht__buf_text(&out), "{\"halftone\": \"" HT_VERSION "\", \"verb\": \"eval\", \"n\": 1}");
    ht__buf_close(&out);
}

static void values_at_the_top(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        static const char *const texts[] = {"null", "\"\"", "[]", "{}"};
        struct ht__buf out;
        ht__buf_init(&out, NULL);
        struct ht__jw w = ht__jw_indented(&out);
        if (kind == 0) ht__jw_null(&w, NULL);
        if (kind == 1) ht__jw_str(&w, NULL, "");
        if (kind == 2) ht__jw_array(&w, NULL);
        if (kind == 3) ht__jw_object(&w, NULL);
        if (kind > 1) assert_false(ht__jw_done(&w));
        if (kind > 1) ht__jw_end(&w);
        assert_true(ht__jw_done(&w));
        assert_string_equal(ht__buf_text(&out), texts[kind]);
        ht__buf_close(&out);
    }
}

/* ---- what is no JSON ---- */

static void name_at_the_top(struct ht__jw *w)
{
    ht__jw_int(w, "a", 1);
}
static void two_at_the_top(struct ht__jw *w)
{
    ht__jw_int(w, NULL, 1);
    ht__jw_int(w, NULL, 2);
}
static void second_object(struct ht__jw *w)
{
    ht__jw_object(w, NULL);
    ht__jw_end(w);
    ht__jw_object(w, NULL);
    ht__jw_end(w);
}
static void no_name_in_object(struct ht__jw *w)
{
    ht__jw_object(w, NULL);
    ht__jw_str(w, NULL, "a");
    ht__jw_end(w);
}
static void name_in_array(struct ht__jw *w)
{
    ht__jw_array(w, NULL);
    ht__jw_array(w, "a");
    ht__jw_end(w);
    ht__jw_end(w);
}
static void end_of_nothing(struct ht__jw *w)
{
    ht__jw_end(w);
    ht__jw_int(w, NULL, 1);
}
static void one_end_too_many(struct ht__jw *w)
{
    ht__jw_array(w, NULL);
    ht__jw_end(w);
    ht__jw_end(w);
}
static void no_end(struct ht__jw *w)
{
    ht__jw_array(w, NULL);
    ht__jw_object(w, NULL);
    ht__jw_end(w);
}
static void no_number(struct ht__jw *w)
{
    ht__jw_number(w, NULL, "01");
}
static void a_word_as_number(struct ht__jw *w)
{
    ht__jw_number(w, NULL, "NaN");
}
static void text_as_number(struct ht__jw *w)
{
    ht__jw_number(w, NULL, "\"1\"");
}
static void unbalanced_raw(struct ht__jw *w)
{
    ht__jw_raw(w, NULL, "[1", 2);
}
static void two_raw(struct ht__jw *w)
{
    ht__jw_raw(w, NULL, "1, 2", 4);
}
static void raw_of_nothing(struct ht__jw *w)
{
    ht__jw_raw(w, NULL, "", 0);
}
static void members_of_an_array(struct ht__jw *w)
{
    static const struct ht__jnode array = {.type = HT__JSON_ARRAY};
    ht__jw_object(w, NULL);
    ht__jw_members(w, &array, NULL, 0);
    ht__jw_end(w);
}
static void node_of_no_type(struct ht__jw *w)
{
    static const struct ht__jnode none = {.type = HT__JSON_END};
    ht__jw_node(w, NULL, &none);
}
static void too_many_decimals(struct ht__jw *w)
{
    ht__jw_fixed(w, NULL, 1, 400);
}

static void misuses(void **state)
{
    (void)state;
    static void (*const cases[])(struct ht__jw *) = {
        name_at_the_top,  two_at_the_top, second_object,       no_name_in_object, name_in_array,     end_of_nothing,
        one_end_too_many, no_end,         no_number,           a_word_as_number,  text_as_number,    unbalanced_raw,
        two_raw,          raw_of_nothing, members_of_an_array, node_of_no_type,   too_many_decimals,
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__buf out;
        ht__buf_init(&out, NULL);
        struct ht__jw w = ht__jw_line(&out);
        cases[i](&w);
        if (ht__jw_done(&w)) fail_msg("case %zu was written: %s", i, ht__buf_text(&out));
        assert_int_equal(out.failed, cases[i] != no_end); /* what is open may still be closed */
        ht__buf_close(&out);
    }
}

static void depth(void **state)
{
    (void)state;
    for (int n = HT__JSON_MAX_DEPTH; n <= HT__JSON_MAX_DEPTH + 1; n++) {
        struct ht__buf out;
        struct ht__arena arena;
        struct ht__jnode *root;
        ht__buf_init(&out, NULL);
        ht__arena_init(&arena, NULL);
        struct ht__jw w = ht__jw_indented(&out);
        for (int i = 0; i < n; i++)
            ht__jw_array(&w, NULL);
        for (int i = 0; i < n; i++)
            ht__jw_end(&w);
        assert_int_equal(ht__jw_done(&w), n == HT__JSON_MAX_DEPTH);
        if (n == HT__JSON_MAX_DEPTH) /* the reader takes as many levels */
            assert_int_equal(ht__json_parse(&arena, (char *)out.data, out.len, "text", &root, NULL), HT_OK);
        ht__arena_close(&arena);
        ht__buf_close(&out);
    }
}

/* ---- doubles ---- */

static const char *double_text(struct ht__buf *out, double value)
{
    out->len = 0;
    struct ht__jw w = ht__jw_line(out);
    ht__jw_double(&w, NULL, value);
    assert_true(ht__jw_done(&w));
    return ht__buf_text(out);
}

/* What Python's repr() says of each. */
static const struct {
    double value;
    const char *text;
} reprs[] = {
    {0.0, "0.0"},
    {-0.0, "-0.0"},
    {1, "1.0"},
    {-12, "-12.0"},
    {10000, "10000.0"},
    {0.1, "0.1"},
    {1e-05, "1e-05"},
    {0.0001, "0.0001"},
    {0.00012345, "0.00012345"},
    {1.5e-05, "1.5e-05"},
    {1e15, "1000000000000000.0"},
    {1e16, "1e+16"},
    {123456789012345678.0, "1.2345678901234568e+17"},
    {1234567890123456.7, "1234567890123456.8"},
    {9007199254740993.0, "9007199254740992.0"},
    {1.0 / 3, "0.3333333333333333"},
    {2.0 / 3, "0.6666666666666666"},
    {123.456, "123.456"},
    {5e-324, "5e-324"},
    {1.7976931348623157e308, "1.7976931348623157e+308"},
    {-2.2250738585072014e-308, "-2.2250738585072014e-308"},
    {1e100, "1e+100"},
    {INFINITY, "null"},
    {-INFINITY, "null"},
    {NAN, "null"},
};

static void doubles(void **state)
{
    (void)state;
    struct ht__buf out;
    ht__buf_init(&out, NULL);
    for (size_t i = 0; i < sizeof reprs / sizeof reprs[0]; i++)
        assert_string_equal(double_text(&out, reprs[i].value), reprs[i].text);
    uint64_t bits = 1;
    for (int i = 0; i < 50000; i++) { /* of all exponents, and of the usual ones */
        double value, back;
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        memcpy(&value, &bits, sizeof value);
        if (i % 2) value = (double)(int64_t)(bits >> 34) / 1000;
        if (!isfinite(value)) continue;
        back = strtod(double_text(&out, value), NULL);
        if (memcmp(&back, &value, sizeof value) != 0) fail_msg("%.17g became %s", value, ht__buf_text(&out));
    }
    ht__buf_close(&out);
}

/* Makes a locale of the C library's sources, and sets it. false where there are none. */
static bool set_locale(const char *folder, const char *name)
{
    char command[256];
    snprintf(command, sizeof command, "localedef -i %s -f UTF-8 %s/%s.UTF-8 >/dev/null 2>&1", name, folder, name);
    if (system(command) != 0) return false;
    snprintf(command, sizeof command, "%s.UTF-8", name);
    return setlocale(LC_ALL, command) != NULL;
}

/* A program that uses the library may have set a locale whose decimal separator is a comma, or no ASCII at all. */
static void locales(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE", "ps_AF"};
    static const char *const separators[] = {",", "\xd9\xab"};
    char folder[] = "/tmp/test_json_write_XXXXXX", command[64];
    struct ht__buf out;
    assert_non_null(mkdtemp(folder));
    setenv("LOCPATH", folder, 1);
    ht__buf_init(&out, NULL);
    for (size_t i = 0; i < 2; i++) {
        if (!set_locale(folder, names[i])) {
            print_message("SKIPPED the locale %s: localedef cannot make it here\n", names[i]);
            continue;
        }
        assert_string_equal(localeconv()->decimal_point, separators[i]);
        out.len = 0;
        struct ht__jw w = ht__jw_line(&out);
        write_example(&w);
        assert_true(ht__jw_done(&w));
        assert_string_equal(ht__buf_text(&out), example_line);
    }
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    ht__buf_close(&out);
}

static void not_finite(void **state)
{
    (void)state;
    struct ht__buf out;
    ht__buf_init(&out, NULL);
    struct ht__jw w = ht__jw_line(&out);
    ht__jw_array(&w, NULL);
    ht__jw_fixed(&w, NULL, NAN, 2);
    ht__jw_digits(&w, NULL, -INFINITY, 6);
    ht__jw_fixed(&w, NULL, -1.7976931348623157e308, 2);
    ht__jw_end(&w);
    assert_true(ht__jw_done(&w));
    assert_memory_equal(ht__buf_text(&out), "[null, null, -17976931348623157", 31);
    ht__buf_close(&out);
}

/* ---- trees ---- */

/* As transformers writes it, numbers in every form. */
static const char config[] = "{\n"
                             "  \"architectures\": [\n"
                             "    \"LlamaForCausalLM\"\n"
                             "  ],\n"
                             "  \"rms_norm_eps\": 1e-05,\n"
                             "  \"rope_theta\": 10000.0,\n"
                             "  \"rope_scaling\": null,\n"
                             "  \"big\": 123456789012345678901234567890,\n"
                             "  \"exact\": 0.30000000000000004000,\n"
                             "  \"more\": [\n"
                             "    -0,\n"
                             "    -0.0,\n"
                             "    0,\n"
                             "    -7,\n"
                             "    9223372036854775807,\n"
                             "    9223372036854775808,\n"
                             "    1E+2\n"
                             "  ],\n"
                             "  \"quantization_config\": {\n"
                             "    \"bits\": 4\n"
                             "  },\n"
                             "  \"empty\": {},\n"
                             "  \"tie_word_embeddings\": false,\n"
                             "  \"name\": \"\xe2\x82\xac \\u0001\"\n"
                             "}";

static struct ht__jnode *parsed(struct ht__arena *arena, const char *text)
{
    struct ht__jnode *root = NULL;
    struct ht_diag diag = {0};
    if (ht__json_parse(arena, text, strlen(text), "text", &root, &diag)) fail_msg("%s", diag.message);
    return root;
}

static void trees(void **state)
{
    (void)state;
    struct ht__buf out;
    struct ht__arena arena;
    ht__buf_init(&out, NULL);
    ht__arena_init(&arena, NULL);
    struct ht__jw w = ht__jw_indented(&out);
    ht__jw_node(&w, NULL, parsed(&arena, config));
    assert_true(ht__jw_done(&w));
    assert_string_equal(ht__buf_text(&out), config);
    ht__arena_close(&arena);
    ht__buf_close(&out);
}

static void one_key_replaced(void **state)
{
    (void)state;
    static const char *const without[] = {"quantization_config", "more", "exact", "architectures", "big"};
    struct ht__buf out;
    struct ht__arena arena;
    ht__buf_init(&out, NULL);
    ht__arena_init(&arena, NULL);
    struct ht__jw w = ht__jw_line(&out);
    ht__jw_object(&w, NULL);
    ht__jw_members(&w, parsed(&arena, config), without, sizeof without / sizeof without[0]);
    ht__jw_object(&w, "quantization_config");
    ht__jw_str(&w, "quant_method", "bitsandbytes");
    ht__jw_end(&w);
    ht__jw_end(&w);
    assert_true(ht__jw_done(&w));
    assert_string_equal(ht__buf_text(&out),
                        "{\"rms_norm_eps\": 1e-05, \"rope_theta\": 10000.0, \"rope_scaling\": null, \"empty\": {}, "
                        "\"tie_word_embeddings\": false, \"name\": \"\xe2\x82\xac \\u0001\", "
                        "\"quantization_config\": {\"quant_method\": \"bitsandbytes\"}}");
    ht__arena_close(&arena);
    ht__buf_close(&out);
}

/* Python's words, which only files may hold: they go back as they came. */
static void python_words(void **state)
{
    (void)state;
    static const char text[] = "[NaN, Infinity, -Infinity, 0]";
    char path[] = "/tmp/test_json_write_XXXXXX";
    struct ht__buf out;
    struct ht__arena arena;
    struct ht__jnode *root;
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    ht__buf_init(&out, NULL);
    ht__arena_init(&arena, NULL);
    assert_int_equal(ht__json_load(&arena, path, 1000, &root, NULL), HT_OK);
    struct ht__jw w = ht__jw_line(&out);
    ht__jw_node(&w, NULL, root);
    assert_true(ht__jw_done(&w));
    assert_string_equal(ht__buf_text(&out), text);
    ht__arena_close(&arena);
    ht__buf_close(&out);
    remove(path);
}

/* A tree and what is around it, with the n-th request for memory failing: never a whole value then. */
static void memory_runs_out(void **state)
{
    (void)state;
    struct ht__arena arena;
    ht__arena_init(&arena, NULL);
    const struct ht__jnode *root = parsed(&arena, config);
    long n = 0;
    for (bool whole = false; !whole;) {
        struct counting counting;
        struct ht__buf out;
        counting_begin(&counting, ++n, false);
        ht__buf_init(&out, &counting.alloc);
        struct ht__jw w = ht__jw_line(&out);
        ht__jw_array(&w, NULL);
        ht__jw_node(&w, NULL, root);
        ht__jw_raw(&w, NULL, "[\"\\n\"]", 6); /* its check takes memory too */
        write_example(&w);
        ht__jw_end(&w);
        whole = counting.requests < n;
        assert_int_equal(ht__jw_done(&w), whole);
        ht__buf_close(&out);
        assert_int_equal(counting.live, 0);
    }
    assert_true(n > 4);
    ht__arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_styles),      cmocka_unit_test(a_report),     cmocka_unit_test(values_at_the_top),
        cmocka_unit_test(misuses),          cmocka_unit_test(depth),        cmocka_unit_test(doubles),
        cmocka_unit_test(locales),          cmocka_unit_test(not_finite),   cmocka_unit_test(trees),
        cmocka_unit_test(one_key_replaced), cmocka_unit_test(python_words), cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
