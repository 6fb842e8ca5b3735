/* The page inside the program: every file whole in both encodings, tags that differ, names that are refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "service/page/page.h"
#include "service/page/page_data.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static void root_is_html(void **state)
{
    struct page_file f;
    assert_true(page_find("/", &f));
    assert_string_equal(f.content_type, "text/html; charset=utf-8");
    assert_non_null(memmem(f.data, f.size, "<title>", 7));
    assert_false(f.immutable);
    assert_string_equal(page_cache_control(&f), "no-cache");
}

static void others_are_not_found(void **state)
{
    static const char *const names[] = {"", "/index.html/", "//", "/..", "/assets", "/assets/", "/api/v1/system"};
    struct page_file f;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(page_find(names[i], &f));
}

static void gzip_is_the_same(void **state)
{
    for (size_t i = 0; i < page_n_files; i++) {
        const struct page_file *f = &page_files[i];
        if (!f->gzip) continue;
        unsigned char *out = malloc(f->size + 1);
        z_stream z = {.next_in = (unsigned char *)(size_t)f->gzip,
                      .avail_in = (uInt)f->gzip_size,
                      .next_out = out,
                      .avail_out = (uInt)f->size + 1};
        assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
        assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
        assert_int_equal(z.total_out, f->size);
        assert_memory_equal(out, f->data, f->size);
        inflateEnd(&z);
        free(out);
        assert_true(f->gzip_size < f->size);
    }
}

static void tags_and_names_differ(void **state)
{
    assert_true(page_n_files >= 2);
    for (size_t i = 0; i < page_n_files; i++) {
        assert_int_equal(page_files[i].etag[0], '"');
        assert_string_not_equal(page_files[i].etag, page_files[i].gzip_etag);
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(page_files[i].path, page_files[k].path);
            assert_string_not_equal(page_files[i].etag, page_files[k].etag);
        }
    }
}

/* The policy forbids inline scripts and styles, so the page must not have any. */
static void nothing_inline(void **state)
{
    struct page_file f;
    assert_true(page_find("/", &f));
    assert_null(memmem(f.data, f.size, "<style", 6));
    assert_null(memmem(f.data, f.size, " style=", 7));
    assert_null(memmem(f.data, f.size, "<script>", 8));
    assert_null(memmem(f.data, f.size, "src=\"http", 9));
    assert_non_null(strstr(PAGE_CSP, "default-src 'self'"));
    assert_null(strstr(PAGE_CSP, "unsafe"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(root_is_html),     cmocka_unit_test(others_are_not_found),
        cmocka_unit_test(gzip_is_the_same), cmocka_unit_test(tags_and_names_differ),
        cmocka_unit_test(nothing_inline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
