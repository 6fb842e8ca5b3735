/* Texts held against schemas byte by byte: what fits goes on to its end, and every byte that does not is refused. */
#include "engine/json_machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct ht__json_ways ways[2];

/* -1: every byte fits and the text may end; -2: it fits and may not end; otherwise the byte that does not fit. */
static int hold(const char *json, const char *text)
{
    struct ht__schema schema;
    struct ht_diag diag = {0};
    int k = 0;
    assert_int_equal(ht__schema_open(&schema, json, NULL, &diag), HT_OK);
    ht__json_begin(&ways[0]);
    for (int i = 0; text[i]; i++, k ^= 1)
        if (!ht__json_step(&schema, &ways[k], (unsigned char)text[i], &ways[k ^ 1])) {
            ht__schema_close(&schema);
            return i;
        }
    ht__schema_close(&schema);
    return ht__json_may_end(&ways[k]) ? -1 : -2;
}

static void test_any_object(void **state)
{
    (void)state;
    const char *const good[] = {"{}", " { }", "{\"a\": [1, -0.5e3, true, false, null, {\"b\": \"x\\n\\u00e9\\\"\"}]}",
                                "{\"\xc3\xa9\": \"\xf0\x9f\x98\x80\"}", "{\"a\":[]}"};
    assert_int_equal(hold("", "{}"), -1);
    assert_int_equal(hold("", "{\"a\": 1"), -2);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(hold("", good[i]), -1);
    assert_int_equal(hold("", "[1]"), 0);
    assert_int_equal(hold("", "{,"), 1);
    assert_int_equal(hold("", "{\"a\" 1"), 5);
    assert_int_equal(hold("", "{\"a\":01"), 6);
    assert_int_equal(hold("", "{\"a\":1.}"), 7);
    assert_int_equal(hold("", "{\"a\":tru3"), 8);
    assert_int_equal(hold("", "{\"a\":\"\n"), 6);
    assert_int_equal(hold("", "{\"a\":\"\\x"), 7);
    assert_int_equal(hold("", "{\"a\":\"\\ud8"), 9);
    assert_int_equal(hold("", "{\"a\":\"\xc0\x80"), 6);
    assert_int_equal(hold("", "{\"a\":\"\xed\xa0"), 7);
    assert_int_equal(hold("", "{\"a\":1,}"), 7);
    assert_int_equal(hold("", "{\"a\":[1,]"), 8);
    assert_int_equal(hold("", "{}x"), 2);
}

static void test_properties(void **state)
{
    (void)state;
    const char *schema =
        "{\"type\": \"object\", \"properties\": {\"name\": {\"type\": \"string\", \"maxLength\": 3}, \"age\": "
        "{\"type\": \"integer\"}, \"kind\": {\"enum\": [\"cat\", \"cow\", 7]}}, \"required\": [\"name\", \"kind\"]}";
    assert_int_equal(hold(schema, "{\"name\": \"Tom\", \"kind\": \"cow\"}"), -1);
    assert_int_equal(hold(schema, "{\"name\":\"\",\"age\":-12,\"kind\":7}"), -1);
    assert_int_equal(hold(schema, "{\"age\""), 2);
    assert_int_equal(hold(schema, "{\"name\":\"Toms"), 12);
    assert_int_equal(hold(schema, "{\"name\":\"T\"}"), 11);
    assert_int_equal(hold(schema, "{\"name\":\"T\",\"age\":1.5"), 19);
    assert_int_equal(hold(schema, "{\"name\":\"T\",\"kind\":\"dog"), 20);
    assert_int_equal(hold(schema, "{\"name\":\"T\",\"kind\":7,"), 20);
}

static void test_alternatives_and_references(void **state)
{
    (void)state;
    const char *tree =
        "{\"$ref\": \"#/$defs/tree\", \"$defs\": {\"tree\": {\"type\": \"object\", \"properties\": {\"v\": {\"type\": "
        "[\"integer\", \"null\"]}, \"l\": {\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/tree\"}, "
        "\"minItems\": 1, \"maxItems\": 2}}, \"required\": [\"v\"]}}}";
    assert_int_equal(hold(tree, "{\"v\": 1, \"l\": [{\"v\": null}, {\"v\": 3}]}"), -1);
    assert_int_equal(hold(tree, "{\"v\":1,\"l\":[]"), 12);
    assert_int_equal(hold(tree, "{\"v\":1,\"l\":[{\"v\":1},{\"v\":1},"), 27);
    const char *any =
        "{\"anyOf\": [{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"number\"}}, \"required\": [\"a\"]}, "
        "{\"type\": \"object\", \"properties\": {\"ab\": {\"type\": \"boolean\"}}, \"required\": [\"ab\"]}, {\"const\": 12}]}";
    assert_int_equal(hold(any, "{\"a\": 1.5}"), -1);
    assert_int_equal(hold(any, "{\"ab\": true}"), -1);
    assert_int_equal(hold(any, "{\"ab\": 1"), 7);
    assert_int_equal(hold(any, "12"), -1);
    assert_int_equal(hold("{\"type\": \"number\"}", "-1.25e-7"), -1);
    assert_int_equal(hold("{\"type\": \"number\"}", "-"), -2);
}

static void test_refusals(void **state)
{
    (void)state;
    const char *const wrong[] = {"{",
                                 "5",
                                 "[]",
                                 "{\"type\": \"strings\"}",
                                 "{\"type\": 5}",
                                 "{\"type\": []}",
                                 "{\"pattern\": \"a+\"}",
                                 "{\"type\": \"integer\", \"minimum\": 3}",
                                 "{\"$ref\": \"#/nowhere\"}",
                                 "{\"$ref\": \"#\"}",
                                 "{\"$ref\": \"http://x/\"}",
                                 "{\"not\": {}}",
                                 "{\"enum\": []}",
                                 "{\"anyOf\": []}",
                                 "{\"anyOf\": 5}",
                                 "{\"allOf\": [{}, {}]}",
                                 "{\"type\": \"object\", \"required\": [\"a\"]}",
                                 "{\"type\": \"object\", \"properties\": {\"a\": 5}}",
                                 "{\"type\": \"array\", \"minItems\": -1}",
                                 "{\"type\": \"array\", \"minItems\": 3, \"maxItems\": 2}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct ht__schema schema;
        struct ht_diag diag = {0};
        assert_int_not_equal(ht__schema_open(&schema, wrong[i], NULL, &diag), HT_OK);
        assert_true(diag.message[0] != '\0');
        ht__schema_close(&schema);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_object), cmocka_unit_test(test_properties),
                                       cmocka_unit_test(test_alternatives_and_references),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
