/* The pure parts of the HTTP adapter: ranges, targets, cookies, and the guard's verdicts. */
#include "net/http.h"
#include "net/http_parts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A copy that ends where its allocation does, so that a sanitizer sees any byte read past it. */
static char *exact(const char *text)
{
    char *copy = strdup(text);
    if (!copy) abort();
    return copy;
}

/* -- Ranges. -- */

#define MAX UINT64_MAX
enum { NONE = HT__RANGE_NONE, ONE = HT__RANGE_ONE, UNSATISFIABLE = HT__RANGE_UNSATISFIABLE };

static const struct {
    const char *header;
    uint64_t size;
    int expect;
    uint64_t first, len;
} ranges[] = {
    /* first-last */
    {"bytes=0-0", 10, ONE, 0, 1},
    {"bytes=0-9", 10, ONE, 0, 10},
    {"bytes=0-10", 10, ONE, 0, 10},
    {"bytes=0-999999", 10, ONE, 0, 10},
    {"bytes=5-5", 10, ONE, 5, 1},
    {"bytes=9-9", 10, ONE, 9, 1},
    {"bytes=9-10", 10, ONE, 9, 1},
    {"bytes=10-10", 10, UNSATISFIABLE, 0, 0},
    {"bytes=10-20", 10, UNSATISFIABLE, 0, 0},
    {"bytes=5-4", 10, NONE, 0, 0},
    {"bytes=20-10", 10, NONE, 0, 0},
    {"bytes=00-01", 10, ONE, 0, 2},
    {"bytes=000000000000000000000000001-2", 10, ONE, 1, 2},
    {"bytes=0-0", 1, ONE, 0, 1},
    {"bytes=0-0", 0, UNSATISFIABLE, 0, 0},
    {"bytes=1-1", 1, UNSATISFIABLE, 0, 0},
    /* first- */
    {"bytes=0-", 10, ONE, 0, 10},
    {"bytes=9-", 10, ONE, 9, 1},
    {"bytes=10-", 10, UNSATISFIABLE, 0, 0},
    {"bytes=11-", 10, UNSATISFIABLE, 0, 0},
    {"bytes=0-", 0, UNSATISFIABLE, 0, 0},
    {"bytes=0-", MAX, ONE, 0, MAX},
    /* -length */
    {"bytes=-1", 10, ONE, 9, 1},
    {"bytes=-10", 10, ONE, 0, 10},
    {"bytes=-11", 10, ONE, 0, 10},
    {"bytes=-0", 10, UNSATISFIABLE, 0, 0},
    {"bytes=-00", 10, UNSATISFIABLE, 0, 0},
    {"bytes=-0", 0, UNSATISFIABLE, 0, 0},
    {"bytes=-1", 0, NONE, 0, 0},
    {"bytes=-1", MAX, ONE, MAX - 1, 1},
    /* large numbers are large, not small */
    {"bytes=0-18446744073709551615", 10, ONE, 0, 10},
    {"bytes=0-18446744073709551616", 10, ONE, 0, 10},
    {"bytes=0-99999999999999999999999999", MAX, ONE, 0, MAX},
    {"bytes=18446744073709551614-18446744073709551615", MAX, ONE, MAX - 1, 1},
    {"bytes=18446744073709551615-", MAX, UNSATISFIABLE, 0, 0},
    {"bytes=18446744073709551616-", MAX, UNSATISFIABLE, 0, 0},
    {"bytes=18446744073709551617-1", MAX, NONE, 0, 0},
    {"bytes=-18446744073709551617", 10, ONE, 0, 10},
    {"bytes=99999999999999999999-", 10, UNSATISFIABLE, 0, 0},
    {"bytes=4294967296-4294967297", 5000000000, ONE, 4294967296, 2},
    {"bytes=9223372036854775807-", 9223372036854775808u, ONE, 9223372036854775807, 1},
    /* a list of one */
    {"bytes=,0-1", 10, ONE, 0, 2},
    {"bytes=0-1,", 10, ONE, 0, 2},
    {"bytes= , , 0-1 ,\t,", 10, ONE, 0, 2},
    {"bytes= 0-1", 10, ONE, 0, 2},
    {"bytes=\t0-1\t", 10, ONE, 0, 2},
    {"BYTES=0-1", 10, ONE, 0, 2},
    {"Bytes=0-1", 10, ONE, 0, 2},
    /* several: served whole */
    {"bytes=0-1,3-4", 10, NONE, 0, 0},
    {"bytes=0-1, -1", 10, NONE, 0, 0},
    {"bytes=0-,0-", 10, NONE, 0, 0},
    {"bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 10, NONE, 0, 0},
    /* nonsense */
    {NULL, 10, NONE, 0, 0},
    {"", 10, NONE, 0, 0},
    {"bytes", 10, NONE, 0, 0},
    {"bytes=", 10, NONE, 0, 0},
    {"bytes=,", 10, NONE, 0, 0},
    {"bytes=-", 10, NONE, 0, 0},
    {"bytes=--1", 10, NONE, 0, 0},
    {"bytes=1--2", 10, NONE, 0, 0},
    {"bytes=1", 10, NONE, 0, 0},
    {"bytes=1,", 10, NONE, 0, 0},
    {"bytes=a-b", 10, NONE, 0, 0},
    {"bytes=1-b", 10, NONE, 0, 0},
    {"bytes=a-1", 10, NONE, 0, 0},
    {"bytes=+1-2", 10, NONE, 0, 0},
    {"bytes=1-+2", 10, NONE, 0, 0},
    {"bytes=-+1", 10, NONE, 0, 0},
    {"bytes=0x0-1", 10, NONE, 0, 0},
    {"bytes=0-0x1", 10, NONE, 0, 0},
    {"bytes=0.0-1", 10, NONE, 0, 0},
    {"bytes=1e0-", 10, NONE, 0, 0},
    {"bytes=0 -1", 10, NONE, 0, 0},
    {"bytes=0- 1", 10, NONE, 0, 0},
    {"bytes= - 1", 10, NONE, 0, 0},
    {"bytes=0-1 2", 10, NONE, 0, 0},
    {"bytes=0-1;2-3", 10, NONE, 0, 0},
    {"bytes =0-1", 10, NONE, 0, 0},
    {" bytes=0-1", 10, NONE, 0, 0},
    {"bytes:0-1", 10, NONE, 0, 0},
    {"bytes 0-1", 10, NONE, 0, 0},
    {"byte=0-1", 10, NONE, 0, 0},
    {"bytess=0-1", 10, NONE, 0, 0},
    {"items=0-1", 10, NONE, 0, 0},
    {"none", 10, NONE, 0, 0},
    {"0-1", 10, NONE, 0, 0},
    {"bytes=0-1\n", 10, NONE, 0, 0},
    {"bytes=\xef\xbc\x90-1", 10, NONE, 0, 0},
};

static void ranges_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        uint64_t first = 77, len = 77;
        char *header = ranges[i].header ? exact(ranges[i].header) : NULL;
        int got = (int)ht__http_range(header, ranges[i].size, &first, &len);
        free(header);
        if (got != ranges[i].expect) fail_msg("%s of %llu", ranges[i].header, (unsigned long long)ranges[i].size);
        if (got != HT__RANGE_ONE) continue;
        assert_true(first == ranges[i].first);
        assert_true(len == ranges[i].len);
    }
}

/* Every range of a small size, against its definition. */
static void small_ranges_are_complete(void **state)
{
    (void)state;
    for (unsigned size = 0; size < 6; size++)
        for (unsigned a = 0; a < 8; a++)
            for (unsigned b = 0; b < 8; b++) {
                char header[32];
                uint64_t first, len;
                snprintf(header, sizeof header, "bytes=%u-%u", a, b);
                enum ht__range got = ht__http_range(header, size, &first, &len);
                assert_int_equal(got, a > b ? NONE : a >= size ? UNSATISFIABLE : ONE);
                if (got != HT__RANGE_ONE) continue;
                assert_true(first == a && first + len == (b + 1 < size ? b + 1 : size));
            }
}

/* -- Targets. -- */

static void paths_are_decoded_once(void **state)
{
    static const struct {
        const char *raw, *path; /* NULL: refused */
    } cases[] = {
        /* clang-format off */
        {"/", "/"}, {"/a", "/a"}, {"/a/", "/a/"}, {"/a/b", "/a/b"}, {"/%41", "/A"}, {"/%2541", "/%41"}, {"/a+b", "/a+b"},
        {"/a%2Fb", "/a/b"}, {"/a%2fb", "/a/b"}, {"/%C3%A9", "/\xc3\xa9"}, {"/...", "/..."}, {"/..a", "/..a"}, {"/a..", "/a.."},
        {"/.a", "/.a"}, {"/a.", "/a."}, {"/a;b", "/a;b"}, {"/a%5cb", "/a\\b"}, {"/%F0%9F%98%80", "/\xf0\x9f\x98\x80"},
        {"", NULL}, {"a", NULL}, {"*", NULL}, {"//", NULL}, {"//a", NULL}, {"/a//b", NULL}, {"/a//", NULL}, {"/%2f", NULL},
        {"/..", NULL}, {"/../", NULL}, {"/a/..", NULL}, {"/a/../b", NULL}, {"/.", NULL}, {"/./", NULL}, {"/a/.", NULL}, {"/%2e", NULL},
        {"/%2e%2e", NULL}, {"/.%2E/", NULL}, {"/a%2f..", NULL}, {"/a%2f%2e%2e%2fb", NULL}, {"/%", NULL}, {"/%1", NULL}, {"/%%", NULL},
        {"/%zz", NULL}, {"/%0z", NULL}, {"/%z0", NULL}, {"/%00", NULL}, {"/%01", NULL}, {"/%09", NULL}, {"/%0a", NULL}, {"/%1f", NULL},
        {"/%7f", NULL}, {"/%80", NULL}, {"/%ff", NULL}, {"/%c0%af", NULL}, {"/%c3", NULL}, {"/%c3%28", NULL}, {"/%ed%a0%80", NULL},
        {"/%f4%90%80%80", NULL}, {"/\xc3\xa9", NULL}, {"/ ", NULL}, {"/\t", NULL}, {"/\x7f", NULL}, {"/\x01", NULL}, {"%2fa", NULL},
        /* clang-format on */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].raw);
        char *raw = malloc(len ? len : 1), *out = malloc(len + 1);
        if (!raw || !out) abort();
        memcpy(raw, cases[i].raw, len); /* no NUL after it */
        bool ok = ht__http_path_decode(raw, len, out);
        if (ok != (cases[i].path != NULL)) fail_msg("%s", cases[i].raw);
        if (ok) assert_string_equal(out, cases[i].path);
        free(raw);
        free(out);
    }
}

static void queries_are_split(void **state)
{
    static const struct {
        const char *raw, *text; /* pairs as [name=value], NULL: refused */
    } cases[] = {
        /* clang-format off */
        {"", ""}, {"a", "[a=]"}, {"a=", "[a=]"}, {"a=1", "[a=1]"}, {"a=1&b=2", "[a=1][b=2]"}, {"=1", "[=1]"}, {"=", "[=]"},
        {"&", ""}, {"&&a&&", "[a=]"}, {"a=1&a=2", "[a=1][a=2]"}, {"a=b=c", "[a=b=c]"}, {"a+b=c+d", "[a b=c d]"}, {"a%3Db=c%26d", "[a=b=c&d]"},
        {"a=%2b", "[a=+]"}, {"a=%20", "[a= ]"}, {"a=%250a", "[a=%0a]"}, {"a=%C3%A9", "[a=\xc3\xa9]"}, {"a;b=1", "[a;b=1]"}, {"a[]=1", "[a[]=1]"},
        {"a=%0A%09%0d", "[a=\n\t\r]"}, {"a=/?:@", "[a=/?:@]"}, {"a=%", NULL}, {"a=%2", NULL}, {"a=%2x", NULL}, {"%=1", NULL}, {"a=1&%zz", NULL},
        {"a=%00", NULL}, {"%00=a", NULL}, {"a=%1b", NULL}, {"a=%7f", NULL}, {"a=%ff", NULL}, {"a=\xff", NULL}, {"a= ", NULL}, {"a=%c3", NULL},
        /* clang-format on */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = strlen(cases[i].raw);
        char *raw = malloc(len ? len : 1), *out = malloc(len + 1), text[256] = "";
        struct ht__http_pair pairs[8];
        if (!raw || !out) abort();
        memcpy(raw, cases[i].raw, len);
        int n = ht__http_query_split(raw, len, out, pairs, 8);
        if ((n >= 0) != (cases[i].text != NULL)) fail_msg("%s", cases[i].raw);
        for (int k = 0; k < n; k++) {
            strcat(strcat(strcat(text, "["), pairs[k].name), "=");
            strcat(strcat(text, pairs[k].value), "]");
        }
        if (n >= 0) assert_string_equal(text, cases[i].text);
        free(raw);
        free(out);
    }
}

static void queries_have_a_limit(void **state)
{
    char out[64];
    struct ht__http_pair pairs[3];
    (void)state;
    assert_int_equal(ht__http_query_split("a&b&c", 5, out, pairs, 3), 3);
    assert_int_equal(ht__http_query_split("a&b&c&", 6, out, pairs, 3), 3);
    assert_int_equal(ht__http_query_split("a&b&c&d", 7, out, pairs, 3), -2);
}

/* -- Cookies. -- */

static void cookies_are_split(void **state)
{
    static const struct {
        const char *raw, *text;
    } cases[] = {
        /* clang-format off */
        {"", ""}, {"a=b", "[a=b]"}, {"a=b; c=d", "[a=b][c=d]"}, {"a=b;c=d", "[a=b][c=d]"}, {"a=b;", "[a=b]"}, {";;a=b;;", "[a=b]"},
        {" a = b ", "[a=b]"}, {"\ta\t=\tb\t", "[a=b]"}, {"a=", "[a=]"}, {"=b", ""}, {"a", ""}, {"a; b=c", "[b=c]"}, {"a=b=c", "[a=b=c]"},
        {"a=\"b\"", "[a=b]"}, {"a=\"\"", "[a=]"}, {"a=\"", "[a=\"]"}, {"a=\"b", "[a=\"b]"}, {"a=b\"", "[a=b\"]"}, {"a=\"b c\"", "[a=b c]"},
        {"a b=c", ""}, {"a,b=c", ""}, {"a=b, c=d", "[a=b, c=d]"}, {"a=1; a=2", "[a=1][a=2]"}, {"a=%41", "[a=%41]"}, {"A=b", "[A=b]"},
        {" ; ; ", ""}, {"a=b;c", "[a=b]"}, {"$Version=1; a=b", "[$Version=1][a=b]"}, {"(=b; c=d", "[c=d]"},
        {"a=1;b=2;c=3;d=4;e=5;f=6;g=7;h=8;i=9", "[a=1][b=2][c=3][d=4][e=5][f=6][g=7][h=8]"},
        /* clang-format on */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *raw = exact(cases[i].raw), text[256] = "";
        struct ht__http_pair pairs[8];
        int n = ht__http_cookie_split(raw, pairs, 8);
        for (int k = 0; k < n; k++) {
            strcat(strcat(strcat(text, "["), pairs[k].name), "=");
            strcat(strcat(text, pairs[k].value), "]");
        }
        if (strcmp(text, cases[i].text) != 0) fail_msg("%s: %s", cases[i].raw, text);
        free(raw);
    }
}

static void tokens_and_values(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char text[4] = {'a', (char)c, 'b', 0};
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        assert_int_equal(ht__http_is_token(text), alnum || strchr("!#$%&'*+-.^_`|~", c) != NULL);
        assert_int_equal(ht__http_is_value(text), c == '\t' || (c >= 0x20 && c != 0x7f));
    }
    assert_false(ht__http_is_token(""));
    assert_true(ht__http_is_value(""));
    assert_true(ht__http_same_name("Content-Length", "cONTENT-lENGTH"));
    assert_false(ht__http_same_name("a", "ab"));
}

/* -- The guard. -- */

/* "Name: value|Name: value" */
static struct ht__http_verdict guard(const char *method, const char *target, int minor, const char *headers)
{
    struct ht__http_pair pairs[200];
    char *text = exact(headers);
    int n = 0;
    for (char *rest = NULL, *line = strtok_r(text, "|", &rest); line; line = strtok_r(NULL, "|", &rest)) {
        char *colon = strchr(line, ':');
        if (!colon) abort();
        *colon = '\0';
        pairs[n++] = (struct ht__http_pair){line, colon[1] == ' ' ? colon + 2 : colon + 1};
    }
    struct ht__http_verdict v = ht__http_guard(
        &(struct ht__http_head){.method = method, .target = target, .minor = minor, .headers = pairs, .n_headers = n});
    free(text);
    return v;
}

static void heads_are_judged(void **state)
{
    static const struct {
        const char *method, *target;
        int minor;
        const char *headers;
        int status;
        uint64_t body;
    } cases[] = {
        /* clang-format off */
        {"GET", "/", 1, "Host: a", 0, 0},
        {"GET", "/", 0, "", 0, 0},
        {"GET", "/", 0, "Host: a", 0, 0},
        {"GET", "/", 0, "Host: a|Host: b", 400, 0},
        {"GET", "/", 1, "", 400, 0},
        {"GET", "/", 1, "Host: a|host: a", 400, 0},
        {"GET", "/", 1, "Host: ", 400, 0},
        {"GET", "/", 1, "Host: a:80", 0, 0},
        {"GET", "/", 1, "Host: a:", 0, 0},
        {"GET", "/", 1, "Host: [::1]:80", 0, 0},
        {"GET", "/", 1, "Host: [::1]", 0, 0},
        {"GET", "/", 1, "Host: []", 0, 0}, /* no address: not the guard's to know */
        {"GET", "/", 1, "Host: [::1", 400, 0},
        {"GET", "/", 1, "Host: [", 400, 0},
        {"GET", "/", 1, "Host: a@b", 400, 0},
        {"GET", "/", 1, "Host: a:b", 400, 0},
        {"GET", "/", 1, "Host: a:123456", 400, 0},
        {"POST", "/", 1, "Host: a|Content-Length: 5", 0, 5},
        {"POST", "/", 1, "Host: a|Content-Length: 999999999999999999", 0, 999999999999999999},
        {"POST", "/", 1, "Host: a|Content-Length: 1000000000000000000", 400, 0},
        {"POST", "/", 1, "Host: a|Content-Length: 5|Content-Length: 5", 400, 0},
        {"POST", "/", 1, "Host: a|Content-Length: ", 400, 0},
        {"POST", "/", 1, "Host: a|Content-Length: +5", 400, 0},
        {"POST", "/", 1, "Host: a|Content-Length: 5 ", 400, 0},
        {"POST", "/", 1, "Host: a|Content-Length: 5,5", 400, 0},
        {"POST", "/", 1, "Host: a|Transfer-Encoding: chunked", 0, UINT64_MAX},
        {"POST", "/", 1, "Host: a|transfer-encoding: Chunked", 0, UINT64_MAX},
        {"POST", "/", 1, "Host: a|Transfer-Encoding: chunked ", 400, 0},
        {"POST", "/", 1, "Host: a|Transfer-Encoding: gzip, chunked", 400, 0},
        {"POST", "/", 1, "Host: a|Transfer-Encoding: ", 400, 0},
        {"POST", "/", 1, "Host: a|Transfer-Encoding: chunked|Transfer-Encoding: chunked", 400, 0},
        {"POST", "/", 1, "Host: a|Transfer-Encoding: chunked|Content-Length: 0", 400, 0},
        {"POST", "/", 0, "Host: a|Transfer-Encoding: chunked", 400, 0},
        {"POST", "/", 1, "Host: a|Expect: 100-continue", 0, 0},
        {"POST", "/", 1, "Host: a|Expect: 100-CONTINUE", 0, 0},
        {"POST", "/", 1, "Host: a|Expect: x", 417, 0},
        {"POST", "/", 1, "Host: a|Expect: ", 417, 0},
        {"GET", "/", 1, "Host: a|Range: bytes=0-|Range: bytes=1-", 400, 0},
        {"GET", "/", 1, "Host: a|Accept: a|Accept: b", 0, 0},
        {"GET", "/", 1, "Host: a|X Y: 1", 400, 0},
        {"GET", "/", 1, "Host: a|: 1", 400, 0},
        {"GET", "/", 1, "Host: a|X: a\rb", 400, 0},
        {"GET", "/", 1, "Host: a|X: a\tb", 0, 0},
        {"G T", "/", 1, "Host: a", 400, 0},
        {"", "/", 1, "Host: a", 400, 0},
        {"TRACE", "/", 1, "Host: a", 501, 0},
        {"CONNECT", "/", 1, "Host: a", 501, 0},
        {"GET", "", 1, "Host: a", 400, 0},
        {"GET", "*", 1, "Host: a", 400, 0},
        {"GET", "a", 1, "Host: a", 400, 0},
        {"GET", "/#", 1, "Host: a", 400, 0},
        {"GET", "/ ", 1, "Host: a", 400, 0},
        {"GET", "http://a/", 1, "Host: a", 0, 0},
        {"GET", "http://a", 1, "Host: a", 400, 0},
        {"GET", "http://A:1/x", 1, "Host: a:1", 0, 0},
        {"GET", "http://a:1/", 1, "Host: a", 400, 0},
        {"GET", "http://b/", 1, "Host: a", 400, 0},
        {"GET", "http://b/", 0, "", 400, 0},
        {"GET", "https://a/", 1, "Host: a", 400, 0},
        /* clang-format on */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ht__http_verdict v = guard(cases[i].method, cases[i].target, cases[i].minor, cases[i].headers);
        if (v.status != cases[i].status) fail_msg("%zu %s %s: %d", i, cases[i].target, cases[i].headers, v.status);
        if (v.status == 0) assert_true(v.body_size == cases[i].body);
        if (v.status != 0) assert_non_null(v.reason);
    }
}

static void targets_are_found(void **state)
{
    (void)state;
    struct ht__http_verdict v = guard("GET", "/a/b?c=d?e", 1, "Host: h");
    assert_string_equal(v.path, "/a/b?c=d?e");
    assert_int_equal(v.path_len, 4);
    assert_string_equal(v.query, "c=d?e");
    v = guard("GET", "http://h:1/x", 1, "Host: h:1");
    assert_string_equal(v.path, "/x");
    assert_null(v.query);
    assert_true(guard("GET", "/", 1, "Host: h|Expect: 100-continue").expects_continue);
}

static void headers_have_a_limit(void **state)
{
    char text[4096] = "Host: a";
    (void)state;
    for (int i = 1; i < HT__HTTP_MAX_HEADERS; i++)
        strcat(text, "|X: 1");
    assert_int_equal(guard("GET", "/", 1, text).status, 0);
    assert_int_equal(guard("GET", "/", 1, strcat(text, "|X: 1")).status, 431);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_read),        cmocka_unit_test(small_ranges_are_complete),
        cmocka_unit_test(paths_are_decoded_once), cmocka_unit_test(queries_are_split),
        cmocka_unit_test(queries_have_a_limit),   cmocka_unit_test(cookies_are_split),
        cmocka_unit_test(tokens_and_values),      cmocka_unit_test(heads_are_judged),
        cmocka_unit_test(targets_are_found),      cmocka_unit_test(headers_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
