/* Pages of lists: what is told when a row cannot be made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/store_place.h"
#include "service/artifacts/dir.h"
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    char folder[64];
    struct store *store;
};

static int setup(void **state)
{
    char why[300], id[1][STORE_ID_SIZE];
    bool replayed;
    struct fixture *f = calloc(1, sizeof *f);
    json_t *r = json_pack("{s:s, s:s, s:[s]}", "name", "x", "source_model", "m", "gguf_quant_types", "Q8_0");
    const json_t *list[] = {r};
    strcpy(f->folder, "/tmp/test_list_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    if (!store_place_open(f->folder, &f->store, why, sizeof why)) fail_msg("%s", why);
    assert_int_equal(store_submit(f->store, list, 1, NULL, NULL, NULL, 0, id, &replayed), STORE_OK);
    json_decref(r);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    store_close(&f->store);
    assert_true(dir_remove(f->folder));
    free(f);
    return 0;
}

static void bind_nothing(void *ctx, struct statement *statement)
{
    (void)ctx;
    (void)statement;
}

/* As one whose own reading finds the database gone. */
static json_t *row_without_database(struct store *s, struct connection *c, struct statement *statement)
{
    (void)c;
    (void)statement;
    store__failed(s, STORE_BUSY, "database: read: the server closed the connection");
    return NULL;
}

static json_t *row_without_memory(struct store *s, struct connection *c, struct statement *statement)
{
    (void)s;
    (void)c;
    (void)statement;
    return NULL;
}

static enum store_result listed(struct store *s,
                                json_t *(*row)(struct store *, struct connection *, struct statement *))
{
    static const struct list_column columns[] = {{"created", "created_at"}, {NULL, NULL}};
    struct list_query q = {.key = "jobs",
                           .columns_sql = "SELECT id",
                           .table = "jobs",
                           .count_sql = "SELECT count(*) FROM jobs",
                           .where = "1 = 1",
                           .bind = bind_nothing,
                           .row = row,
                           .columns = columns,
                           .sort = "created"};
    enum store_result result;
    json_t *page = store__list(s, &q, &result);
    assert_null(page);
    return result;
}

/* "Later" stays "later", however deep it was found; and what failed before is not what fails now. */
static void test_rows_tell_why(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(listed(f->store, row_without_database), STORE_BUSY);
    assert_int_equal(listed(f->store, row_without_memory), STORE_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_rows_tell_why, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
