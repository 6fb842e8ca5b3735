/* The hub client's parts that need no network: names, addresses, content names, and the cache's layout. */
#include "base/file.h"
#include "hub/address.h"
#include "hub/cache.h"
#include "hub/etag.h"
#include "hub/headers.h"
#include "hub/name.h"
#include "hub/select.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char *test_folder(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/halftone-hub-XXXXXX");
    if (!mkdtemp(path)) abort();
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st, (void)type, (void)where;
    return remove(path);
}

static void test_folder_remove(const char *path)
{
    assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void names_that_are(void **state)
{
    (void)state;
    static const struct {
        const char *text, *id, *revision, *file;
    } cases[] = {
        {"meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B", "main", ""},
        {"a/b", "a/b", "main", ""},
        {"_x/y_", "_x/y_", "main", ""},
        {"org/Model.v1@v2.0", "org/Model.v1", "v2.0", ""},
        {"org/m@refs/pr/1", "org/m", "refs/pr/1", ""},
        {"org/m@0123456789abcdef0123456789abcdef01234567", "org/m", "0123456789abcdef0123456789abcdef01234567", ""},
        {"org/m-GGUF:m-Q4_K_M.gguf", "org/m-GGUF", "main", "m-Q4_K_M.gguf"},
        {"org/m@dev:sub/m.gguf", "org/m", "dev", "sub/m.gguf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__hub_name name;
        struct ht_diag diag = {0};
        if (ht__hub_name_parse(cases[i].text, &name, &diag) != HT_OK) fail_msg("%s is refused", cases[i].text);
        assert_string_equal(name.id, cases[i].id);
        assert_string_equal(name.revision, cases[i].revision);
        assert_string_equal(name.file, cases[i].file);
        assert_true(ht__hub_is_wanted(cases[i].text));
    }
}

#define FIFTY "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TOO_LONG FIFTY "/" FIFTY

static void names_that_are_not(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",           "/",        "a/",         "/b",
        "model",      "a/b/c",    "./model",    "../model",
        "a/..",       "../..",    "a/b@",       "a/b:",
        "a/b@:x",     "a//b",     "-a/b",       "a-/b",
        ".a/b",       "a/b.",     "a/b--c",     "a/b..c",
        "a/b.git",    "a/b c",    "a/b\n",      "a/b?x",
        "a/b#x",      "a/b%2f",   "a\\b/c",     "a/b@../x",
        "a/b@x/../y", "a/b@/x",   "a/b@x/",     "a/b@x//y",
        "a/b@.x",     "a/b:../x", "a/b:/x",     "a/b:x/../y",
        "a/b:x//y",   "a/b:.",    "a/b:x/",     "a/b:x\\y",
        "a/b:x\x01",  "a/b:\xff", "a/\xc3\xa4", "https://example.com/a/b",
        TOO_LONG,
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__hub_name name;
        struct ht_diag diag = {0};
        if (ht__hub_name_parse(cases[i], &name, &diag) != HT_ERR_USAGE) fail_msg("\"%s\" is accepted", cases[i]);
        assert_false(ht__hub_is_wanted(cases[i]));
    }
}

static void what_lies_here_wins(void **state)
{
    (void)state;
    char *folder = test_folder(), here[512], before[4096];
    snprintf(here, sizeof here, "%s/org/model", folder);
    assert_int_equal(ht__make_dirs(here, NULL), HT_OK);
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    assert_false(ht__hub_is_wanted("org/model"));
    assert_true(ht__hub_is_wanted("org/other"));
    assert_int_equal(chdir(before), 0);
    test_folder_remove(folder);
}

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        enum ht__address_class class;
    } cases[] = {
        {"8.8.8.8", HT__ADDRESS_PUBLIC},
        {"127.0.0.1", HT__ADDRESS_LOOPBACK},
        {"127.255.255.254", HT__ADDRESS_LOOPBACK},
        {"10.1.2.3", HT__ADDRESS_PRIVATE},
        {"172.16.0.1", HT__ADDRESS_PRIVATE},
        {"172.31.255.255", HT__ADDRESS_PRIVATE},
        {"172.32.0.1", HT__ADDRESS_PUBLIC},
        {"192.168.1.1", HT__ADDRESS_PRIVATE},
        {"192.169.1.1", HT__ADDRESS_PUBLIC},
        {"169.254.169.254", HT__ADDRESS_LINK_LOCAL},
        {"100.64.0.1", HT__ADDRESS_PRIVATE},
        {"100.128.0.1", HT__ADDRESS_PUBLIC},
        {"0.0.0.0", HT__ADDRESS_RESERVED},
        {"224.0.0.1", HT__ADDRESS_RESERVED},
        {"255.255.255.255", HT__ADDRESS_RESERVED},
        {"2130706433", HT__ADDRESS_LOOPBACK},
        {"0x7f.1", HT__ADDRESS_LOOPBACK},
        {"017700000001", HT__ADDRESS_LOOPBACK},
        {"[::1]", HT__ADDRESS_LOOPBACK},
        {"::", HT__ADDRESS_RESERVED},
        {"[::ffff:10.0.0.1]", HT__ADDRESS_PRIVATE},
        {"::ffff:8.8.8.8", HT__ADDRESS_PUBLIC},
        {"64:ff9b::169.254.169.254", HT__ADDRESS_LINK_LOCAL},
        {"2002:7f00:1::", HT__ADDRESS_LOOPBACK},
        {"fe80::1%eth0", HT__ADDRESS_LINK_LOCAL},
        {"fd00::1", HT__ADDRESS_PRIVATE},
        {"fc00::", HT__ADDRESS_PRIVATE},
        {"ff02::1", HT__ADDRESS_RESERVED},
        {"2600:9000::1", HT__ADDRESS_PUBLIC},
        {"2001:db8::1", HT__ADDRESS_RESERVED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum ht__address_class class;
        if (!ht__address_of_host(cases[i].host, &class)) fail_msg("%s is no number", cases[i].host);
        if (class != cases[i].class) fail_msg("%s: class %d, not %d", cases[i].host, class, cases[i].class);
    }
    enum ht__address_class class;
    assert_false(ht__address_of_host("huggingface.co", &class));
    assert_true(ht__address_allowed(HT__ADDRESS_PUBLIC, HT__ADDRESS_PRIVATE));
    assert_true(ht__address_allowed(HT__ADDRESS_LOOPBACK, HT__ADDRESS_LOOPBACK));
    assert_false(ht__address_allowed(HT__ADDRESS_LINK_LOCAL, HT__ADDRESS_LOOPBACK));
    assert_false(ht__address_allowed(HT__ADDRESS_PRIVATE, HT__ADDRESS_PUBLIC));
    assert_false(ht__address_allowed(HT__ADDRESS_RESERVED, HT__ADDRESS_RESERVED));
}

static void content_names(void **state)
{
    (void)state;
    char out[80], hex[HT__ETAG_MAX + 1];
    struct ht__etag_check check;
    assert_true(ht__etag_read("\"abc\"", 5, out, sizeof out));
    assert_string_equal(out, "abc");
    assert_true(ht__etag_read("W/\"abc\"", 7, out, sizeof out));
    assert_string_equal(out, "abc");
    assert_false(ht__etag_read("\"a\nb\"", 5, out, sizeof out));
    assert_false(ht__etag_read("\"\"", 2, out, sizeof out));
    assert_int_equal(ht__etag_kind("../../../../../../../../../../etc/passwd"), HT__ETAG_NONE);
    assert_int_equal(ht__etag_kind("ABCDEF0123456789abcdef0123456789abcdef01"), HT__ETAG_NONE);
    assert_int_equal(ht__etag_kind("abcdef0123456789abcdef0123456789abcdef01"), HT__ETAG_GIT);
    /* `printf 'hello\n' | git hash-object --stdin` and `| sha256sum` */
    assert_int_equal(ht__etag_check_begin(&check, HT__ETAG_GIT, 6, NULL), HT_OK);
    ht__etag_check_add(&check, "hel", 3);
    ht__etag_check_add(&check, "lo\n", 3);
    ht__etag_check_end(&check, hex);
    assert_string_equal(hex, "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_int_equal(ht__etag_check_begin(&check, HT__ETAG_SHA256, 6, NULL), HT_OK);
    ht__etag_check_add(&check, "hello\n", 6);
    ht__etag_check_end(&check, hex);
    assert_string_equal(hex, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    assert_true(ht__is_lfs_pointer(pointer, sizeof pointer - 1));
    assert_false(ht__is_lfs_pointer("{}", 2));
}

static bool at_once(void *ctx)
{
    ++*(int *)ctx;
    return true;
}

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define ETAG "ce013625030ba8dba906f756967f9e9ca394464a"

static void cache_layout(void **state)
{
    (void)state;
    char *folder = test_folder(), path[HT__CACHE_PATH], want[HT__CACHE_PATH], commit[41], link[256];
    struct ht__hub_name name;
    struct ht__cache_repo repo;
    struct ht__cache_lock lock, other;
    assert_int_equal(ht__hub_name_parse("org/model@refs/pr/1", &name, NULL), HT_OK);
    assert_int_equal(ht__cache_repo(&repo, folder, &name, NULL), HT_OK);
    assert_string_equal(repo.folder, "models--org--model");
    assert_false(ht__cache_commit(&repo, "refs/pr/1", commit));
    assert_int_equal(ht__cache_remember(&repo, "refs/pr/1", COMMIT, NULL), HT_OK);
    assert_true(ht__cache_commit(&repo, "refs/pr/1", commit));
    assert_string_equal(commit, COMMIT);
    snprintf(path, sizeof path, "%s/models--org--model/refs/refs/pr/1", folder);
    assert_true(ht__path_exists(path));
    assert_int_equal(ht__cache_link(&repo, COMMIT, "sub/x.json", ETAG, NULL), HT_OK);
    assert_int_equal(ht__cache_link(&repo, COMMIT, "sub/x.json", ETAG, NULL), HT_OK);
    snprintf(path, sizeof path, "%s/models--org--model/snapshots/" COMMIT "/sub/x.json", folder);
    link[readlink(path, link, sizeof link - 1)] = '\0';
    assert_string_equal(link, "../../../blobs/" ETAG);
    assert_int_equal(ht__cache_lacks(&repo, COMMIT, "none.json", NULL), HT_OK);
    snprintf(want, sizeof want, "%s/models--org--model/.no_exist/" COMMIT "/none.json", folder);
    assert_true(ht__path_exists(want));
    assert_int_equal(ht__cache_link(&repo, COMMIT, "../../x", ETAG, NULL), HT_ERR_FORMAT);
    assert_int_equal(ht__cache_link(&repo, COMMIT, "x", "../../x", NULL), HT_ERR_FORMAT);
    assert_int_equal(ht__cache_file(&repo, "main", "x", path, NULL), HT_ERR_FORMAT);
    assert_int_equal(ht__cache_lock(&repo, ETAG, &lock, NULL, NULL, NULL), HT_OK);
    snprintf(path, sizeof path, "%s/.locks/models--org--model/" ETAG ".lock", folder);
    assert_true(ht__path_exists(path));
    int asked = 0;
    assert_int_equal(ht__cache_lock(&repo, ETAG, &other, at_once, &asked, NULL), HT_ERR_CANCELLED);
    assert_int_equal(asked, 1);
    ht__cache_unlock(&lock);
    assert_int_equal(ht__cache_lock(&repo, ETAG, &other, NULL, NULL, NULL), HT_OK);
    ht__cache_unlock(&other);
    test_folder_remove(folder);
}

static void put_headers(struct ht__reply *r, bool endpoint, const char *const *lines)
{
    ht__reply_begin(r, true);
    for (; *lines; lines++)
        ht__reply_header(r, *lines, strlen(*lines), endpoint, 1000000000);
}

static void headers(void **state)
{
    (void)state;
    static struct ht__reply r;
    static const char *const file[] = {"ETag: \"abc\"\r\n",
                                       "x-linked-etag:\"def\"\r\n",
                                       "X-Linked-Size:  12  \r\n",
                                       "X-Repo-Commit: c0ffee\r\n",
                                       "Location: https://x/y\r\n",
                                       "Content-Length: 7\r\n",
                                       "Content-Range: bytes 5-9/20\r\n",
                                       NULL};
    put_headers(&r, true, file);
    assert_string_equal(r.etag, "abc");
    assert_string_equal(r.linked_etag, "def");
    assert_string_equal(r.commit, "c0ffee");
    assert_string_equal(r.location, "https://x/y");
    assert_true(r.linked_size == 12 && r.length == 7 && r.first == 5 && r.total == 20 && r.wait < 0);
    put_headers(&r, false, file); /* another host does not say what the hub's file is */
    assert_string_equal(r.linked_etag, "");
    assert_string_equal(r.commit, "");
    assert_true(r.linked_size == UINT64_MAX && r.length == 7);
    ht__reply_begin(&r, false);
    assert_string_equal(r.etag, "");
    static const struct {
        const char *line;
        double wait;
    } waits[] = {{"Retry-After: 7", 7},
                 {"Retry-After: Sun, 09 Sep 2001 01:47:40 GMT", 60},
                 {"Retry-After: Sat, 08 Sep 2001 01:47:40 GMT", 0},
                 {"Retry-After: soon", -1},
                 {"RateLimit: \"api\";r=0;t=55", 55},
                 {"RateLimit: \"api\";r=3;t=55", -1},
                 {"RateLimit: ", -1}};
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++) {
        put_headers(&r, true, (const char *const[]){waits[i].line, NULL});
        if (r.wait != waits[i].wait) fail_msg("%s: %g", waits[i].line, r.wait);
    }
    static const char *const odd[] = {
        "Content-Length: 1x",         "Content-Length: ", "Content-Range: bytes 9-5/20", "Content-Range: bytes 5-20/20",
        "Content-Range: items 1-2/3", "Location: a b",    "X-Linked-Size: -1",           NULL};
    put_headers(&r, true, odd);
    assert_true(r.length == UINT64_MAX && r.first == UINT64_MAX && r.linked_size == UINT64_MAX && !r.location[0]);
}

/* A repository of these files, as its list would give it. */
static void make_repo(struct ht__repo *repo, const char *const *names)
{
    struct ht__hub_name name;
    struct ht__buf text;
    assert_int_equal(ht__hub_name_parse("org/model", &name, NULL), HT_OK);
    ht__repo_init(repo, &name, NULL);
    ht__buf_init(&text, NULL);
    ht__buf_str(&text, "{\"sha\": \"" COMMIT "\", \"siblings\": [");
    for (size_t i = 0; names[i]; i++)
        ht__buf_printf(&text, "%s{\"rfilename\": \"%s\"}", i ? "," : "", names[i]);
    ht__buf_str(&text, "]}");
    assert_int_equal(ht__api_read_files(repo, (const char *)text.data, text.len, "list", NULL), HT_OK);
    ht__buf_close(&text);
}

/* A licence is shown on terminals and pages: only what is an identifier counts. */
static void licenses(void **state)
{
    (void)state;
    static const struct {
        const char *more, *license;
        bool gated;
    } cases[] = {
        {"", "", false},
        {", \"tags\": [\"pytorch\", \"license:apache-2.0\"], \"gated\": false", "apache-2.0", false},
        {", \"tags\": [\"license:llama3.1\"], \"gated\": \"manual\"", "llama3.1", true},
        {", \"tags\": [\"license:\", \"license:mit\"], \"gated\": true", "mit", true},
        {", \"tags\": [\"license:a\\u001b[2J\"]", "", false},
        {", \"tags\": [\"license:mit\\u0000x\"]", "", false},
        {", \"tags\": [7, null, {}]", "", false},
        {", \"tags\": \"license:mit\", \"gated\": 1", "", false},
        {", \"tags\": [\"license:0123456789012345678901234567890123456789012345678901234567890123456789\"]", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__repo repo;
        struct ht__hub_name name;
        char text[400];
        assert_int_equal(ht__hub_name_parse("org/model", &name, NULL), HT_OK);
        ht__repo_init(&repo, &name, NULL);
        int n = snprintf(text, sizeof text, "{\"sha\": \"" COMMIT "\", \"siblings\": []%s}", cases[i].more);
        assert_int_equal(ht__api_read_files(&repo, text, (size_t)n, "list", NULL), HT_OK);
        assert_string_equal(repo.license, cases[i].license);
        assert_int_equal(repo.gated, cases[i].gated);
        ht__repo_close(&repo);
    }
}

static void weights(void **state)
{
    (void)state;
    static const struct {
        const char *names[8], *chosen; /* the first, "index:NAME", or the error */
        size_t n;
        enum ht_err err;
    } cases[] = {
        {{"model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"}, "model.safetensors", 1, HT_OK},
        {{"pytorch_model.bin", "model.safetensors.index.json"}, "index:model.safetensors.index.json", 1, HT_OK},
        {{"pytorch_model.bin", "optimizer.pt", "model.onnx"}, "pytorch_model.bin", 1, HT_OK},
        {{"pytorch_model.bin.index.json", "x.gguf"}, "index:pytorch_model.bin.index.json", 1, HT_OK},
        {{"model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"},
         "model-00002-of-00002.safetensors",
         2,
         HT_OK},
        {{"model-00001-of-00002.safetensors"}, "1 of the model's 2 files", 0, HT_ERR_NOT_FOUND},
        {{"model-00001-of-00002.safetensors", "model-00001-of-00003.safetensors"}, "two models", 0, HT_ERR_FORMAT},
        {{"a.gguf", "README.md"}, "a.gguf", 1, HT_OK},
        {{"a.gguf", "b.gguf"}, "2 GGUF files (a.gguf, b.gguf)", 0, HT_ERR_USAGE},
        {{"a-00001-of-00002.gguf", "a-00002-of-00002.gguf"}, "a-00001-of-00002.gguf", 2, HT_OK},
        {{"a-00001-of-00002.gguf"}, "no file \"a-00002-of-00002.gguf\"", 0, HT_ERR_NOT_FOUND},
        {{"adapter_model.safetensors"}, "an adapter", 0, HT_ERR_UNSUPPORTED},
        {{"sub/model.safetensors"}, "name of a whole", 0, HT_ERR_UNSUPPORTED},
        {{"README.md"}, "holds no weights", 0, HT_ERR_NOT_FOUND},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__repo repo;
        struct ht__selection s = {0};
        const struct ht__repo_file *index;
        struct ht_diag diag = {0};
        make_repo(&repo, cases[i].names);
        enum ht_err err = ht__select_weights(&repo, &s, &index, &diag);
        if (err != cases[i].err) fail_msg("case %zu: %d, %s", i, err, diag.message);
        if (err != HT_OK && !strstr(diag.message, cases[i].chosen)) fail_msg("case %zu: %s", i, diag.message);
        if (err == HT_OK) {
            bool is_index = strncmp(cases[i].chosen, "index:", 6) == 0;
            assert_int_equal(s.n, cases[i].n);
            assert_string_equal(s.files[0]->name, cases[i].chosen + (is_index ? 6 : 0));
            assert_int_equal(index != NULL, is_index);
        }
        ht__repo_close(&repo);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_are), cmocka_unit_test(names_that_are_not), cmocka_unit_test(what_lies_here_wins),
        cmocka_unit_test(addresses),      cmocka_unit_test(content_names),      cmocka_unit_test(cache_layout),
        cmocka_unit_test(headers),        cmocka_unit_test(licenses),           cmocka_unit_test(weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
