/* What reaches a terminal cannot steer it. */
#include "base/escape.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "halftone/halftone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void shows(const char *text, const char *expected)
{
    char out[256];
    assert_int_equal(ht_text_escape(text, strlen(text), out, sizeof out), strlen(expected));
    assert_string_equal(out, expected);
}

static void known_texts(void **state)
{
    (void)state;
    shows("model.layers.0.weight", "model.layers.0.weight");
    shows("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07");
    shows("a\nb\tc\r", "a\\nb\\tc\\x0d");
    shows("\x7f\xc2\x9b"
          "31m",
          "\\x7f\\u009b31m"); /* DEL; C1's CSI, well-formed */
    shows("\x9b"
          "31m\xff",
          "\\x9b31m\\xff"); /* and as a byte of its own */
    shows("safe\xe2\x80\xae"
          "txt.exe",
          "safe\\u202etxt.exe"); /* right-to-left override */
    shows("\xe2\x81\xa6\xe2\x80\xa8\xd8\x9c", "\\u2066\\u2028\\u061c");
    shows("Größe ▁the 😀", "Größe ▁the 😀");
    shows("cut \xe2\x82", "cut \\xe2\\x82");
    shows("\xed\xa0\x80\xc0\xaf", "\\xed\\xa0\\x80\\xc0\\xaf"); /* a surrogate, an overlong slash */
}

static void a_nul_is_shown_too(void **state)
{
    (void)state;
    char out[16];
    assert_int_equal(ht__escape("a\0b", 3, out, sizeof out), 6);
    assert_string_equal(out, "a\\x00b");
}

/* At every size: the longest whole prefix, and the same length returned. */
static void never_half(void **state)
{
    (void)state;
    const char *text = "ä\x1b€\xff";
    char whole[32], out[32];
    size_t n = ht__escape(text, strlen(text), whole, sizeof whole);
    assert_string_equal(whole, "ä\\x1b€\\xff");
    assert_int_equal(ht__escape(text, strlen(text), NULL, 0), n);
    static const size_t ends[] = {0, 2, 6, 9, 13};
    for (size_t size = 1; size <= n + 1; size++) {
        size_t fits = 0;
        for (size_t i = 0; i < 5; i++)
            if (ends[i] < size) fits = ends[i];
        memset(out, '#', sizeof out);
        assert_int_equal(ht__escape(text, strlen(text), out, size), n);
        assert_int_equal(strlen(out), fits);
        assert_memory_equal(out, whole, fits);
    }
}

static void assert_harmless(const char *text)
{
    for (size_t i = 0, len = strlen(text); i < len;) {
        uint32_t code = 0;
        int n = ht__utf8_get(text + i, len - i, &code);
        assert_true(n > 0);
        assert_false(ht__is_unprintable(code));
        i += (size_t)n;
    }
}

/* Every pair of bytes, alone and where texts are cut. */
static void any_bytes_are_harmless(void **state)
{
    (void)state;
    char out[64];
    struct ht_diag diag;
    for (int a = 1; a < 256; a++)
        for (int b = 1; b < 256; b++) {
            char text[] = {(char)a, (char)b, 'x', '\0'};
            ht__escape(text, 3, out, sizeof out);
            assert_harmless(out);
            ht__diag_clear(&diag);
            ht__fail(&diag, HT_ERR_FORMAT, text, -1, "%508.508s%s", "", text);
            assert_harmless(diag.where);
            assert_harmless(diag.message);
        }
}

static void diagnoses(void **state)
{
    (void)state;
    struct ht_diag diag;
    ht__diag_clear(&diag);
    ht__fail_errno(&diag, 2, "dir/\x1b[31m.gguf", "cannot open \"%s\"", "\x1b[0m");
    assert_string_equal(diag.where, "dir/\\x1b[31m.gguf");
    assert_non_null(strstr(diag.message, "cannot open \"\\x1b[0m\": "));
}

static void keep(void *ctx, enum ht__log_level level, const char *line)
{
    (void)level;
    snprintf(ctx, 64, "%s", line);
}

static void log_lines(void **state)
{
    (void)state;
    char line[64] = "";
    struct ht__log log = {keep, line};
    ht__log_printf(&log, HT__LOG_WARNING, "odd name %s", "\x1b]52;c;\x07");
    assert_string_equal(line, "odd name \\x1b]52;c;\\x07");
}

static void json(void **state)
{
    (void)state;
    struct ht__buf buf;
    ht__buf_init(&buf, NULL);
    const char *text = "\x1b\x7f\xc2\x9b\xe2\x80\xae\xff ä";
    ht__json_quote(&buf, text, strlen(text));
    assert_string_equal(ht__buf_text(&buf), "\"\\u001b\\u007f\\u009b\\u202e\\ufffd ä\"");
    ht__buf_close(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts), cmocka_unit_test(a_nul_is_shown_too),
        cmocka_unit_test(never_half),  cmocka_unit_test(any_bytes_are_harmless),
        cmocka_unit_test(diagnoses),   cmocka_unit_test(log_lines),
        cmocka_unit_test(json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
