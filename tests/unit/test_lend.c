/* Bytes lent over a socket: they are the file's, and neither side believes the other. */
#include "hub/lend_parts.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 3 * HT__LEND_MOST + 12345 };
static unsigned char *content;
static uint64_t expected_at, expected_n;

static enum ht_err read_content(void *ctx, uint64_t offset, void *dst, uint64_t n, struct ht_diag *diag)
{
    (void)ctx;
    if (offset == 7) return ht__fail(diag, HT_ERR_DENIED, "big.bin", 7, "the hub says no");
    memcpy(dst, content + offset, n);
    return HT_OK;
}

static void expect_content(void *ctx, uint64_t offset, uint64_t n)
{
    (void)ctx;
    expected_at = offset;
    expected_n = n;
}

static void close_content(void *ctx)
{
    (void)ctx;
}

static const struct ht__file_backend backend = {read_content, expect_content, close_content};

static enum ht_err open_content(void *ctx, size_t index, struct ht__file *file, struct ht_diag *diag)
{
    (void)ctx, (void)index, (void)diag;
    file->size = SIZE;
    file->backend = &backend;
    return HT_OK;
}

/* The hub gave it once, however often it is lent. */
static uint64_t received(void *ctx)
{
    (void)ctx;
    return SIZE;
}

struct lender {
    int socket;
    pthread_t thread;
    enum ht_err err;
};

static void *lend(void *ctx)
{
    struct lender *l = ctx;
    static struct ht__repo_file file = {"big.bin", SIZE, "0123456789abcdef0123456789abcdef01234567"};
    static struct ht__repo_file *files[] = {&file};
    static const char *const names[] = {"big.bin"};
    struct ht__remote_folder folder = {"/cache/models--a--b/snapshots/1", 1, names, open_content, NULL, received};
    struct ht__pulled *pulled = calloc(1, sizeof *pulled);
    struct ht_diag diag = {0};
    snprintf(pulled->folder, sizeof pulled->folder, "%s", folder.dir);
    snprintf(pulled->model, sizeof pulled->model, "%s", folder.dir);
    snprintf(pulled->repo.name.id, sizeof pulled->repo.name.id, "a/b");
    snprintf(pulled->repo.name.revision, sizeof pulled->repo.name.revision, "main");
    snprintf(pulled->repo.commit, sizeof pulled->repo.commit, "0123456789abcdef0123456789abcdef01234567");
    pulled->weights = (struct ht__selection){1, files};
    l->err = ht__lend(l->socket, pulled, &folder, NULL, &diag);
    close(l->socket);
    free(pulled);
    return NULL;
}

static int start(struct lender *l)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    *l = (struct lender){.socket = pair[0]};
    assert_int_equal(pthread_create(&l->thread, NULL, lend, l), 0);
    return pair[1];
}

static void ranges(void **state)
{
    struct lender l;
    struct ht__lent *lent;
    struct ht__pulled *pulled = calloc(1, sizeof *pulled);
    struct ht_diag diag = {0};
    struct ht__file file = {.fd = -1};
    unsigned char *got = malloc(SIZE);
    (void)state;
    assert_int_equal(ht__lent_open(start(&l), NULL, pulled, &lent, &diag), HT_OK);
    assert_string_equal(pulled->repo.name.id, "a/b");
    assert_string_equal(pulled->folder, "/cache/models--a--b/snapshots/1");
    assert_int_equal(pulled->weights.n, 1);
    const struct ht__remote_folder *folder = ht__lent_folder(lent);
    assert_int_equal(ht__file_open_in(folder, &file, "/cache/models--a--b/snapshots/1/big.bin", &diag), HT_OK);
    static const uint64_t cases[][2] = {
        {0, SIZE}, {0, 1}, {SIZE - 1, 1}, {HT__LEND_MOST - 3, 7}, {5, 2 * HT__LEND_MOST}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(got, 0, SIZE);
        assert_int_equal(ht__file_read(&file, cases[i][0], got, cases[i][1], &diag), HT_OK);
        assert_memory_equal(got, content + cases[i][0], cases[i][1]);
    }
    assert_int_equal(ht__lent_received(lent), SIZE);
    ht__file_expect(&file, 100, 200);
    assert_int_equal(ht__file_read(&file, 7, got, 10, &diag), HT_ERR_DENIED); /* the lender's own words */
    assert_string_equal(diag.message, "the hub says no");
    assert_int_equal(expected_at, 100);
    assert_int_equal(expected_n, 200);
    assert_int_equal(ht__file_read(&file, 0, got, 10, &diag), HT_OK); /* and it goes on */
    ht__file_close(&file);
    ht__lent_close(&lent);
    pthread_join(l.thread, NULL);
    assert_int_equal(l.err, HT_OK);
    ht__pulled_close(pulled);
    free(pulled);
    free(got);
}

/* A reader that a hostile file took over. */
static void odd_requests(void **state)
{
    static const struct lend_request cases[] = {
        {LEND_READ, 1, 0, 1},
        {LEND_READ, UINT32_MAX, 0, 1},
        {LEND_READ, 0, SIZE, 1},
        {LEND_READ, 0, 0, HT__LEND_MOST + 1},
        {LEND_READ, 0, UINT64_MAX, 2},
        {LEND_READ, 0, 1, UINT64_MAX},
        {LEND_EXPECT, 0, 0, SIZE + 1},
        {LEND_EXPECT, 9, 0, 1},
        {0, 0, 0, 0},
        {3, 0, 0, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct lender l;
        char rest[64];
        bool ended;
        uint32_t n;
        int socket = start(&l);
        assert_true(ht__lend_receive(socket, &n, sizeof n, &ended));
        char *greeting = malloc(n);
        assert_true(ht__lend_receive(socket, greeting, n, &ended));
        free(greeting);
        assert_true(ht__lend_send(socket, &cases[i], sizeof cases[i]));
        assert_int_equal(recv(socket, rest, sizeof rest, 0), 0); /* not a byte comes back */
        pthread_join(l.thread, NULL);
        assert_int_equal(l.err, HT_ERR_USAGE);
        close(socket);
    }
}

/* What a lender may say that a reader does not take. */
static void odd_greetings(void **state)
{
    static const char *const cases[] = {
        "",
        "{",
        "[]",
        "{\"model\": \"m\"}",
        "{\"model\":\"m\",\"folder\":\"f\",\"id\":\"a/b\",\"revision\":\"r\",\"commit\":\"c\",\"weights\":[{}]}",
        "{\"model\":\"m\",\"folder\":\"f\",\"id\":\"a/b\",\"revision\":\"r\",\"commit\":\"c\",\"weights\":[{\"name\":\"../x\","
        "\"size\":1,\"etag\":\"\"}]}",
        "{\"model\":\"m\",\"folder\":\"f\",\"id\":\"a/b\",\"revision\":\"r\",\"commit\":\"c\",\"weights\":[{\"name\":\"x\","
        "\"size\":-1,\"etag\":\"\"}]}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int cut = 0; cut < 2; cut++) {
            int pair[2];
            struct ht__lent *lent;
            struct ht__pulled *pulled = calloc(1, sizeof *pulled);
            struct ht_diag diag = {0};
            uint32_t n = (uint32_t)strlen(cases[i]) + (uint32_t)cut;
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
            assert_true(ht__lend_send(pair[0], &n, sizeof n) && ht__lend_send(pair[0], cases[i], strlen(cases[i])));
            close(pair[0]);
            assert_int_not_equal(ht__lent_open(pair[1], NULL, pulled, &lent, &diag), HT_OK);
            assert_true(diag.message[0]);
            ht__lent_close(&lent);
            ht__pulled_close(pulled);
            free(pulled);
        }
}

static void lender_that_ends(void **state)
{
    static const char greeting[] =
        "{\"model\":\"m\",\"folder\":\"f\",\"id\":\"a/b\",\"revision\":\"r\",\"commit\":\"c\","
        "\"weights\":[{\"name\":\"x\",\"size\":1000,\"etag\":\"\"}]}";
    int pair[2];
    struct ht__lent *lent;
    struct ht__pulled *pulled = calloc(1, sizeof *pulled);
    struct ht_diag diag = {0};
    struct ht__file file = {.fd = -1};
    char got[100];
    uint32_t n = sizeof greeting - 1;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_true(ht__lend_send(pair[0], &n, sizeof n) && ht__lend_send(pair[0], greeting, n));
    struct lend_answer answer = {HT_OK, 100, 0};
    assert_true(ht__lend_send(pair[0], &answer, sizeof answer) && ht__lend_send(pair[0], "half", 4));
    close(pair[0]);
    assert_int_equal(ht__lent_open(pair[1], NULL, pulled, &lent, &diag), HT_OK);
    assert_int_equal(ht__file_open_in(ht__lent_folder(lent), &file, "f/x", &diag), HT_OK);
    for (int i = 0; i < 2; i++) { /* whatever comes next would be taken for something else */
        ht__diag_clear(&diag);
        assert_int_equal(ht__file_read(&file, 0, got, 100, &diag), HT_ERR_IO);
    }
    ht__lent_close(&lent);
    ht__pulled_close(pulled);
    free(pulled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranges), cmocka_unit_test(odd_requests),
                                       cmocka_unit_test(odd_greetings), cmocka_unit_test(lender_that_ends)};
    content = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (unsigned char)(i * 2654435761u >> 13);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(content);
    return failed;
}
