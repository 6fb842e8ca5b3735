/* UTF-8 against the definition, spelled out: every code point, every sequence of up to three bytes, and the
 * edges of those of four. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The table of well-formed byte sequences, row by row; returns the length or 0. */
static int well_formed(const unsigned char *p, size_t n)
{
    static const unsigned char rows[][8] = {
        /* first byte, second byte, then how many more of 80..BF */
        {0x00, 0x7F, 0, 0, 0},       {0xC2, 0xDF, 0x80, 0xBF, 0}, {0xE0, 0xE0, 0xA0, 0xBF, 1},
        {0xE1, 0xEC, 0x80, 0xBF, 1}, {0xED, 0xED, 0x80, 0x9F, 1}, {0xEE, 0xEF, 0x80, 0xBF, 1},
        {0xF0, 0xF0, 0x90, 0xBF, 2}, {0xF1, 0xF3, 0x80, 0xBF, 2}, {0xF4, 0xF4, 0x80, 0x8F, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const unsigned char *r = rows[i];
        if (n < 1 || p[0] < r[0] || p[0] > r[1]) continue;
        if (r[3] == 0) return 1;
        if (n < 2u + r[4] || p[1] < r[2] || p[1] > r[3]) return 0;
        for (int k = 0; k < r[4]; k++)
            if (p[2 + k] < 0x80 || p[2 + k] > 0xBF) return 0;
        return 2 + r[4];
    }
    return 0;
}

static void every_code_point(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x120000; code++) {
        char text[4] = {0};
        uint32_t again = UINT32_MAX;
        int n = ht__utf8_put(code, text);
        bool exists = code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
        assert_int_equal(n, !exists ? 0 : code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
        if (!exists) continue;
        assert_int_equal(well_formed((unsigned char *)text, (size_t)n), n);
        assert_int_equal(ht__utf8_get(text, (size_t)n, &again), n);
        assert_int_equal(again, code);
        if (n > 1) assert_int_equal(ht__utf8_get(text, (size_t)n - 1, &again), 0);
    }
    char text[4] = {0};
    assert_int_equal(ht__utf8_put(UINT32_MAX, text), 0);
}

/* Exactly n bytes on the heap, so that a sanitizer sees a read past them. */
static void check(const unsigned char *bytes, size_t n)
{
    uint32_t code;
    char *text = calloc(n ? n : 1, 1);
    memcpy(text, bytes, n);
    if (ht__utf8_get(text, n, &code) != well_formed(bytes, n))
        fail_msg("%02x %02x %02x %02x of %zu", bytes[0], bytes[1], bytes[2], bytes[3], n);
    free(text);
}

static void every_sequence(void **state)
{
    (void)state;
    static const unsigned char edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF};
    enum { N = sizeof edges };
    unsigned char p[4] = {0};
    check(p, 0);
    for (unsigned a = 0; a < 256; a++) {
        p[0] = (unsigned char)a;
        check(p, 1);
        for (unsigned b = 0; b < 256; b++) {
            p[1] = (unsigned char)b;
            check(p, 2);
            for (unsigned c = 0; c < N; c++) {
                p[2] = edges[c];
                check(p, 3);
                for (unsigned d = 0; a >= 0xE0 && d < N; d++) {
                    p[3] = edges[d];
                    check(p, 4);
                }
                p[3] = 0;
            }
            p[2] = 0;
        }
        p[1] = 0;
    }
}

static size_t prefix(const unsigned char *p, size_t n)
{
    size_t i = 0;
    for (int len; i < n && (len = well_formed(p + i, n - i)) > 0;)
        i += (size_t)len;
    return i;
}

/* The fast way takes eight ASCII bytes at once: faults at every distance from such a run. */
static void prefixes(void **state)
{
    (void)state;
    static const char *const odd[] = {"\xC3\xA9",     "\xE2\x82\xAC", "\xF0\x9F\x9A\x80", "\xFF", "\xC3",
                                      "\xED\xA0\x80", "\x80"};
    for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++)
        for (size_t at = 0; at < 40; at++)
            for (size_t tail = 0; tail < 20; tail++) {
                size_t n = at + strlen(odd[k]) + tail;
                unsigned char *text = malloc(n);
                memset(text, 'x', n);
                memcpy(text + at, odd[k], strlen(odd[k]));
                assert_int_equal(ht__utf8_valid((char *)text, n), prefix(text, n));
                free(text);
            }
    assert_int_equal(ht__utf8_valid("", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(every_sequence),
        cmocka_unit_test(prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
