/*
 * What every place for finished files has to do, tried on a folder and, where HT_TEST_S3 names one (s3://BUCKET/PREFIX, the
 * keys in the environment), on a bucket. HT_TEST_S3_LACKS names what that server is known not to do: "conditions".
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "lib/folder.h"
#include "service/artifacts/artifacts.h"
#include "service/artifacts/dir.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BIG = 11 << 20, SMALL = 700 }; /* three parts of 5 MiB, and one part */

struct place {
    struct artifacts *a;
    struct folder data;
    bool far, conditions;
};

static unsigned char byte_of(size_t i, unsigned seed)
{
    return (unsigned char)((i * 2654435761u + seed * 97u) >> 11);
}

static void put(const char *folder, const char *name, size_t size, unsigned seed, json_t *files)
{
    char path[1000], hex[65];
    unsigned char digest[EVP_MAX_MD_SIZE], *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_of(i, seed);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    EVP_Digest(bytes, size, digest, NULL, EVP_sha256(), NULL);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "name", name, "size", (json_int_t)size, "sha256", hex));
    free(bytes);
}

/* A finished attempt: a large file, one in a folder whose name has to be escaped, an empty one. The caller's. */
static json_t *make_out(const struct place *p, const char *name, unsigned seed, char out[600])
{
    char inner[900];
    json_t *files = json_array();
    snprintf(out, 600, "%.400s/jobs/%s", p->data.path, name);
    assert_int_equal(mkdir(out, 0700), 0);
    put(out, "model-Q8_0.gguf", BIG, seed, files);
    put(out, "empty.txt", 0, seed, files);
    snprintf(inner, sizeof inner, "%s/model (a+b) ä", out);
    assert_int_equal(mkdir(inner, 0700), 0);
    put(out, "model (a+b) ä/config & more=1.json", SMALL, seed + 1, files);
    return files;
}

struct got {
    unsigned char *bytes;
    size_t n, most;
};

static bool take(void *ctx, const void *data, size_t len)
{
    struct got *g = ctx;
    assert_true(g->n + len <= g->most);
    memcpy(g->bytes + g->n, data, len);
    g->n += len;
    return true;
}

static void check_range(struct place *p, const char *name, size_t size, unsigned seed, uint64_t from, uint64_t len)
{
    struct artifacts_call call = {0};
    size_t want = from >= size ? 0 : size - from < len ? size - from : len;
    struct got g = {malloc(want + 1), 0, want};
    enum artifacts_result result = artifacts_read(p->a, name, from, len, take, &g, &call);
    if (result != ARTIFACTS_OK) fail_msg("%s: %s", name, call.why);
    assert_int_equal(g.n, want);
    for (size_t i = 0; i < want; i++)
        if (g.bytes[i] != byte_of(from + i, seed)) fail_msg("%s: byte %zu is another", name, from + i);
    free(g.bytes);
}

static void check_files(struct place *p, const char *place, unsigned seed)
{
    char name[400];
    static const uint64_t ranges[][2] = {{0, BIG},     {0, 1},         {1, 1},      {5242879, 3},
                                         {BIG - 1, 1}, {BIG - 1, 100}, {BIG + 5, 9}};
    snprintf(name, sizeof name, "%s/model-Q8_0.gguf", place);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        check_range(p, name, BIG, seed, ranges[i][0], ranges[i][1]);
    snprintf(name, sizeof name, "%s/model (a+b) ä/config & more=1.json", place);
    check_range(p, name, SMALL, seed + 1, 0, 10000);
    snprintf(name, sizeof name, "%s/empty.txt", place);
    check_range(p, name, 0, 0, 0, 10);
}

static bool count(void *ctx, const char *name, uint64_t size)
{
    json_object_set_new(ctx, name, json_integer((json_int_t)size));
    return true;
}

static json_t *listed(struct place *p, const char *prefix)
{
    struct artifacts_call call = {0};
    json_t *names = json_object();
    if (artifacts_list(p->a, prefix, count, names, &call) != ARTIFACTS_OK) fail_msg("%s", call.why);
    return names;
}

static bool exists(struct place *p, const char *place)
{
    struct artifacts_call call = {0};
    uint64_t size;
    char name[400], sha256[65];
    snprintf(name, sizeof name, "%s/model-Q8_0.gguf", place);
    enum artifacts_result result = artifacts_look(p->a, name, &size, sha256, &call);
    assert_true(result == ARTIFACTS_OK || result == ARTIFACTS_MISSING);
    return result == ARTIFACTS_OK;
}

static json_t *staged(struct place *p, const char *out, const char *place, const json_t *files)
{
    struct artifacts_call call = {0};
    json_t *tickets = artifacts_stage(p->a, out, place, files, &call);
    if (!tickets) fail_msg("%s", call.why);
    return tickets;
}

/* ---- the suite ---- */

static void publishes(struct place *p)
{
    char out[600];
    struct artifacts_call call = {0};
    json_t *files = make_out(p, "one", 1, out), *tickets = staged(p, out, "objects/m-1.e1", files);
    assert_false(exists(p, "objects/m-1.e1")); /* nobody sees what is only staged */
    json_t *names = listed(p, "objects");
    assert_int_equal(json_object_size(names), 0);
    json_decref(names);
    if (artifacts_publish(p->a, out, "objects/m-1.e1", files, tickets, &call) != ARTIFACTS_OK) fail_msg("%s", call.why);
    check_files(p, "objects/m-1.e1", 1);
    names = listed(p, "objects");
    assert_int_equal(json_object_size(names), 3);
    assert_int_equal(json_integer_value(json_object_get(names, "objects/m-1.e1/model-Q8_0.gguf")), BIG);
    json_decref(names);
    /* asked again, as after an answer that was lost */
    if (artifacts_publish(p->a, out, "objects/m-1.e1", files, tickets, &call) != ARTIFACTS_OK) fail_msg("%s", call.why);
    check_files(p, "objects/m-1.e1", 1);
    json_decref(tickets);
    json_decref(files);
}

static void overwrites_nothing(struct place *p)
{
    char out[600];
    struct artifacts_call call = {0};
    json_t *files = make_out(p, "two", 2, out), *tickets = staged(p, out, "objects/m-1.e1", files);
    if (p->conditions) {
        files = (json_decref(files), json_array());
        put(out, "model-Q8_0.gguf", BIG + 1, 2, files); /* another size, so that a folder can tell, too */
        json_decref(tickets);
        tickets = staged(p, out, "objects/m-1.e1", files);
        assert_int_equal(artifacts_publish(p->a, out, "objects/m-1.e1", files, tickets, &call), ARTIFACTS_CONFLICT);
        check_files(p, "objects/m-1.e1", 1);
    }
    artifacts_discard(p->a, "objects/m-1.e1", tickets);
    json_decref(tickets);
    json_decref(files);
}

/* What was staged is not what the hash says: nothing of it is published. */
static void compares(struct place *p)
{
    char out[600];
    struct artifacts_call call = {0};
    if (!p->far) return; /* of a folder the runner compares, which has read the files */
    json_t *files = make_out(p, "three", 3, out);
    json_object_set_new(json_array_get(files, 0), "sha256",
                        json_string("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"));
    json_t *tickets = staged(p, out, "objects/m-3.e1", files);
    assert_int_equal(artifacts_publish(p->a, out, "objects/m-3.e1", files, tickets, &call), ARTIFACTS_FAILED);
    assert_non_null(strstr(call.why, "SHA-256"));
    json_t *names = listed(p, "objects/m-3.e1");
    assert_int_equal(json_object_size(names), 0);
    json_decref(names);
    json_decref(tickets);
    json_decref(files);
}

static bool stop_at_once(void *ctx)
{
    (void)ctx;
    return false;
}

static bool any(void *ctx, const char *name)
{
    assert_non_null(strstr(name, "m-4.e1"));
    ++*(int *)ctx;
    return true;
}

static void ends_what_is_stale(struct place *p)
{
    char out[600];
    int n = 0;
    struct artifacts_call call = {0}, hasty = {.goes_on = stop_at_once};
    json_t *files = make_out(p, "four", 4, out), *tickets = staged(p, out, "objects/m-4.e1", files);
    assert_int_equal(artifacts_end_stale(p->a, "objects/m-4", any, &n, &call), ARTIFACTS_OK);
    if (p->far) {
        char gone[1000];
        assert_int_equal(n, 3);
        snprintf(gone, sizeof gone, "%s/nowhere", p->data.path);
        assert_int_equal(artifacts_publish(p->a, gone, "objects/m-4.e1", files, tickets, &call), ARTIFACTS_FAILED);
        assert_null(artifacts_stage(p->a, out, "objects/m-4.e2", files, &hasty));
    }
    assert_false(exists(p, "objects/m-4.e1"));
    json_decref(tickets);
    json_decref(files);
}

static void links(struct place *p)
{
    char url[8000];
    struct got g = {malloc(SMALL), 0, SMALL};
    bool there = artifacts_link(p->a, "objects/m-1.e1/model (a+b) ä/config & more=1.json", "a \"b\" ä.json", 60, url,
                                sizeof url);
    assert_int_equal(there, p->far);
    if (there) {
        char path[1000];
        long status = 0;
        CURL *c = curl_easy_init();
        snprintf(path, sizeof path, "%s/fetched", p->data.path);
        FILE *to = fopen(path, "w+b");
        curl_easy_setopt(c, CURLOPT_URL, url);
        curl_easy_setopt(c, CURLOPT_WRITEDATA, to);
        curl_easy_setopt(c, CURLOPT_RANGE, "3-9");
        assert_int_equal(curl_easy_perform(c), CURLE_OK);
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        assert_int_equal(status, 206);
        rewind(to);
        assert_int_equal(fread(g.bytes, 1, SMALL, to), 7);
        for (size_t i = 0; i < 7; i++)
            assert_int_equal(g.bytes[i], byte_of(3 + i, 2));
        fclose(to);
        curl_easy_cleanup(c);
    }
    free(g.bytes);
}

static void keeps_copies(struct place *p)
{
    char path[4400], sha256[65];
    uint64_t size;
    struct stat st;
    struct artifacts_call call = {0};
    json_t *files = json_array();
    put(p->data.path, "same", BIG, 1, files);
    snprintf(sha256, sizeof sha256, "%s", json_string_value(json_object_get(json_array_get(files, 0), "sha256")));
    for (int i = 0; i < 2; i++) {
        enum artifacts_result result =
            artifacts_copy(p->a, "objects/m-1.e1/model-Q8_0.gguf", BIG, sha256, path, sizeof path, &call);
        if (result != ARTIFACTS_OK) fail_msg("%s", call.why);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, BIG);
    }
    if (p->far) {
        assert_int_equal(artifacts_look(p->a, "objects/m-1.e1/model-Q8_0.gguf", &size, path, &call), ARTIFACTS_OK);
        snprintf(path, sizeof path, "%s/objects/m-1.e1/model-Q8_0.gguf", p->data.path);
        artifacts_set_copies(p->a, BIG);
        artifacts_trim(p->a, NULL);
        assert_int_equal(stat(path, &st), 0);
        artifacts_set_copies(p->a, BIG - 1);
        artifacts_trim(p->a, NULL);
        assert_int_not_equal(stat(path, &st), 0);
        assert_int_equal(artifacts_copy(p->a, "objects/m-1.e1/model-Q8_0.gguf", BIG, "00", path, sizeof path, &call),
                         ARTIFACTS_FAILED);
        assert_int_not_equal(stat(path, &st), 0); /* nothing that is wrong gets the name */
    }
    assert_int_equal(artifacts_copy(p->a, "objects/m-1.e1/none", 1, sha256, path, sizeof path, &call),
                     ARTIFACTS_MISSING);
    assert_int_equal(artifacts_copy(p->a, "../etc/passwd", 1, sha256, path, sizeof path, &call), ARTIFACTS_MISSING);
    json_decref(files);
}

static void removes(struct place *p)
{
    struct artifacts_call call = {0};
    json_t *names;
    assert_int_equal(artifacts_remove(p->a, "objects/m-1.e1/model-Q8_0.gguf", &call), ARTIFACTS_OK);
    assert_false(exists(p, "objects/m-1.e1"));
    assert_int_equal(artifacts_remove(p->a, "objects/m-1.e1/model-Q8_0.gguf", &call), ARTIFACTS_OK);
    assert_int_equal(artifacts_remove(p->a, "objects/m-1.e1", &call), ARTIFACTS_OK);
    names = listed(p, "objects");
    assert_int_equal(json_object_size(names), 0);
    json_decref(names);
}

static void suite(const char *url)
{
    char why[500], path[1000];
    const char *note, *lacks = getenv("HT_TEST_S3_LACKS");
    struct place p = {.data = folder_make()};
    snprintf(path, sizeof path, "%s/jobs", p.data.path);
    dir_make(path);
    snprintf(path, sizeof path, "%s/objects", p.data.path);
    dir_make(path);
    if (!artifacts_open(url, p.data.path, &p.a, why, sizeof why)) fail_msg("%s", why);
    p.far = artifacts_are_far(p.a);
    if (!artifacts_probe(p.a, "0123", &note, why, sizeof why)) fail_msg("%s", why);
    p.conditions = !p.far || !note;
    assert_int_equal(note == NULL, !(p.far && lacks && strstr(lacks, "conditions")));
    publishes(&p);
    overwrites_nothing(&p);
    compares(&p);
    ends_what_is_stale(&p);
    links(&p);
    keeps_copies(&p);
    removes(&p);
    artifacts_close(&p.a);
    assert_true(dir_remove(p.data.path));
}

static void test_folder(void **state)
{
    (void)state;
    suite(NULL);
    suite("file:///of/the/data");
}

static void test_bucket(void **state)
{
    const char *url = getenv("HT_TEST_S3");
    (void)state;
    if (!url) {
        print_message("SKIPPED: no bucket (HT_TEST_S3): tests/server/test_s3.py starts one\n");
        skip();
    }
    char own[300];
    snprintf(own, sizeof own, "%.200s/%ld", url, (long)getpid());
    suite(own);
}

static void test_refused(void **state)
{
    struct artifacts *a;
    char why[500];
    (void)state;
    static const char *const wrong[] = {"s3://",     "s3://UPPER/x",  "s3://ab", "s3://bucket/../x",
                                        "ftp://h/x", "s3://bucket/.x"};
    setenv("AWS_ACCESS_KEY_ID", "k", 0);
    setenv("AWS_SECRET_ACCESS_KEY", "s", 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(artifacts_open(wrong[i], "/tmp", &a, why, sizeof why));
    static const char *const names[] = {"", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a\nb"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(artifacts_is_name(names[i]));
    assert_true(artifacts_is_name("objects/m-1.e1/model (a+b) ä/x..y"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folder), cmocka_unit_test(test_bucket),
                                       cmocka_unit_test(test_refused)};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
