/* Claims that are served together: what each gets, and that nobody gets anything when it could not be committed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/store_place.h"
#include "service/artifacts/dir.h"
#include "service/store/sql.h"

#include <sched.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 7, PARTS = 5, MANY = 120, THREADS = 8 };

struct fixture {
    char folder[64];
    struct store *store;
    _Atomic int64_t now;
};

static int64_t clock_of(void *ctx)
{
    return ((struct fixture *)ctx)->now;
}

static int setup(void **state)
{
    char why[300];
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/test_claims_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->now = 1000000;
    if (!store_place_open(f->folder, &f->store, why, sizeof why)) fail_msg("%s", why);
    store_set_clock(f->store, clock_of, f);
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

static void submit(struct fixture *f, const char *type, int priority, char id[STORE_ID_SIZE])
{
    bool replayed;
    char ids[1][STORE_ID_SIZE];
    json_t *r = json_pack("{s:s, s:s, s:[s], s:i}", "name", "x", "source_model", "m", "gguf_quant_types", type,
                          "priority", priority);
    const json_t *list[] = {r};
    assert_int_equal(store_submit(f->store, list, 1, NULL, NULL, NULL, 0, ids, &replayed), STORE_OK);
    strcpy(id, ids[0]);
    json_decref(r);
}

/* A job of that priority in PARTS parts. Nothing else may wait with more. */
static void divide(struct fixture *f, int priority, char id[STORE_ID_SIZE])
{
    struct store_claim c;
    submit(f, "Q8_0", priority, id);
    assert_int_equal(store_claim_next(f->store, "divides", 3, &c), STORE_OK);
    assert_string_equal(c.id, id);
    assert_int_equal(store_split(f->store, &c, PARTS), STORE_OK);
}

static bool takes_q8(void *ctx, const json_t *job)
{
    (void)ctx;
    return strcmp(json_string_value(json_array_get(json_object_get(job, "gguf_quant_types"), 0)), "Q8_0") == 0;
}

static bool takes_whole(void *ctx, const json_t *job)
{
    (void)ctx;
    return !json_is_true(json_object_get(job, "split"));
}

/* n who ask, in one transaction. */
static void ask(struct fixture *f, struct asking *a, int n)
{
    struct asking *all[STORE__MOST_ASKING];
    for (int i = 0; i < n; i++) {
        all[i] = &a[i];
        a[i].worker = "remote";
        if (!a[i].max_attempts) a[i].max_attempts = 3;
    }
    assert_int_equal(store__begin(f->store), STORE_OK);
    assert_int_equal(store__end(f->store, store__choose(f->store, all, n)), STORE_OK);
}

static void assert_got(const struct asking *a, const char *id, int part)
{
    assert_int_equal(a->result, STORE_OK);
    assert_string_equal(a->claim.id, id);
    assert_int_equal(a->claim.part, part);
}

/* In the order of priority and age, tasks among jobs, to each what suits it. */
static void test_order_and_suits(void **state)
{
    struct fixture *f = *state;
    char parts[STORE_ID_SIZE], high[STORE_ID_SIZE], low[STORE_ID_SIZE], old[STORE_ID_SIZE];
    divide(f, 5, parts);
    submit(f, "Q4_K_M", 2, old);
    submit(f, "Q8_0", 2, low);
    submit(f, "Q8_0", 9, high);
    struct asking a[9] = {{.suits = NULL}, {.suits = takes_whole}, {.suits = takes_q8}, {.suits = NULL}};
    a[6].suits = takes_whole; /* of what is left: the last whole one, after which only parts wait */
    ask(f, a, 9);
    assert_got(&a[0], high, 0);
    assert_got(&a[1], old, 0);
    assert_got(&a[2], parts, 1);
    assert_got(&a[3], parts, 2);
    assert_got(&a[4], parts, 3);
    assert_got(&a[5], parts, 4);
    assert_got(&a[6], low, 0);
    assert_got(&a[7], parts, 5);
    assert_int_equal(a[8].result, STORE_NOT_FOUND);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(store_claim_holds(f->store, &a[i].claim), STORE_OK);
        for (int k = 0; k < i; k++)
            assert_false(strcmp(a[i].claim.id, a[k].claim.id) == 0 && a[i].claim.epoch == a[k].claim.epoch);
        assert_int_equal(a[i].claim.attempt, 1);
    }
}

/* After their lease all of them wait again, and who had them has them no more. */
static void test_epochs_fence(void **state)
{
    struct fixture *f = *state;
    char parts[STORE_ID_SIZE], id[STORE_ID_SIZE];
    bool cancel;
    divide(f, 1, parts);
    submit(f, "Q8_0", 0, id);
    struct asking a[PARTS + 1] = {{.result = STORE_OK}}, b[PARTS + 1] = {{.result = STORE_OK}};
    ask(f, a, PARTS + 1);
    f->now += LEASE_SECONDS * 1000;
    ask(f, b, PARTS + 1);
    for (int i = 0; i <= PARTS; i++) {
        assert_string_equal(a[i].claim.id, b[i].claim.id);
        assert_int_equal(a[i].claim.part, b[i].claim.part);
        assert_true(b[i].claim.epoch > a[i].claim.epoch);
        assert_int_equal(b[i].claim.attempt, 2);
        assert_int_equal(store_heartbeat(f->store, &a[i].claim, &cancel), STORE_CONFLICT);
        assert_int_equal(store_release(f->store, &a[i].claim), STORE_CONFLICT);
        assert_int_equal(store_heartbeat(f->store, &b[i].claim, &cancel), STORE_OK);
    }
}

/* Who meets a job that has used up its attempts is told so; the others get what comes behind it, but no part of a job that failed. */
static void test_worn_out_among_others(void **state)
{
    struct fixture *f = *state;
    char parts[STORE_ID_SIZE], worn[STORE_ID_SIZE], next[STORE_ID_SIZE];
    divide(f, 9, parts);
    submit(f, "Q8_0", 5, worn);
    submit(f, "Q8_0", 1, next);
    struct asking first[2] = {{.suits = takes_whole}, {.suits = NULL}}; /* worn, and the first part */
    ask(f, first, 2);
    assert_got(&first[0], worn, 0);
    assert_got(&first[1], parts, 1);
    f->now += LEASE_SECONDS * 1000;
    struct asking a[5] = {{.suits = takes_whole, .max_attempts = 1},
                          {.suits = takes_whole, .max_attempts = 1},
                          {.max_attempts = 1},
                          {.max_attempts = 1}};
    ask(f, a, 5);
    assert_int_equal(a[0].result, STORE_CONFLICT);
    assert_string_equal(a[0].claim.id, worn);
    assert_got(&a[1], next, 0);
    assert_int_equal(a[2].result, STORE_CONFLICT);
    assert_string_equal(a[2].claim.id, parts);
    assert_int_equal(a[3].result, STORE_NOT_FOUND);
    assert_int_equal(a[4].result, STORE_NOT_FOUND);
    const char *const ids[] = {worn, parts};
    for (int i = 0; i < 2; i++) {
        json_t *job = store_job(f->store, ids[i]);
        assert_string_equal(json_string_value(json_object_get(job, "status")), "failed");
        json_decref(job);
    }
}

/* Behind more jobs than are looked at first. */
static void test_long_look(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE], last[STORE_ID_SIZE];
    for (int i = 0; i < 20; i++)
        submit(f, "Q4_K_M", 1, id);
    submit(f, "Q8_0", 0, last);
    struct asking a[3] = {{.suits = NULL}, {.suits = takes_q8}, {.suits = takes_q8}};
    ask(f, a, 3);
    assert_int_equal(a[0].result, STORE_OK);
    assert_string_not_equal(a[0].claim.id, last);
    assert_got(&a[1], last, 0);
    assert_int_equal(a[2].result, STORE_NOT_FOUND);
}

/* ---- by threads ---- */

struct asker {
    struct fixture *f;
    bool holds_up, breaks;
    atomic_bool chooses; /* nobody comes to those that are served with it any more */
    enum store_result result, failure;
    struct store_claim claim;
};

static int waiting(struct store *s)
{
    int n = 0;
    pthread_mutex_lock(&s->asked);
    for (const struct asking *a = s->first_asking; a; a = a->next)
        n++;
    pthread_mutex_unlock(&s->asked);
    return n;
}

static int refuse(void *ctx)
{
    *(bool *)ctx = true;
    return 1;
}

static bool refused;

/* The transaction that is open now will not be committed. */
static void break_commit(struct store *s)
{
    if (!store_place_is_postgres())
        sqlite3_commit_hook(s->writer.db, refuse, &refused);
    else
        refused =
            s->driver->script(&s->writer, "CREATE TEMP TABLE twice(x INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED);"
                                          "INSERT INTO twice VALUES(1), (1)");
}

/* Who is served first, alone, waits until all others stand in line: they are then served together. */
static bool holds_up(void *ctx, const json_t *job)
{
    struct asker *a = ctx;
    (void)job;
    atomic_store(&a->chooses, true);
    while (a->holds_up && waiting(a->f->store) < TOGETHER)
        sched_yield();
    if (a->breaks) break_commit(a->f->store);
    return true;
}

static void *ask_once(void *ctx)
{
    struct asker *a = ctx;
    store_failure_clear();
    a->result = store_claim_suited(a->f->store, "remote", 3, holds_up, a, &a->claim);
    a->failure = store_failure();
    return NULL;
}

static void test_failed_commit_tells_nobody(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE], parts[STORE_ID_SIZE];
    pthread_t threads[1 + TOGETHER];
    struct asker askers[1 + TOGETHER] = {{.f = f, .holds_up = true}};
    divide(f, 5, parts);
    for (int i = 0; i < 1 + TOGETHER; i++)
        submit(f, "Q8_0", 0, id);
    assert_int_equal(pthread_create(&threads[0], NULL, ask_once, &askers[0]), 0);
    while (!atomic_load(&askers[0].chooses))
        sched_yield();
    refused = false;
    for (int i = 1; i <= TOGETHER; i++) {
        askers[i].f = f;
        askers[i].breaks = i == 1;
        assert_int_equal(pthread_create(&threads[i], NULL, ask_once, &askers[i]), 0);
    }
    for (int i = 0; i <= TOGETHER; i++)
        pthread_join(threads[i], NULL);
    if (!store_place_is_postgres()) sqlite3_commit_hook(f->store->writer.db, NULL, NULL);
    assert_true(refused);
    assert_int_equal(askers[0].result, STORE_OK);
    for (int i = 1; i <= TOGETHER; i++) {
        assert_int_equal(askers[i].result, STORE_FAILED);
        assert_int_equal(askers[i].failure, STORE_FAILED); /* in the thread that asked, too */
        assert_string_equal(askers[i].claim.id, "");
    }
    json_t *left = store_waiting(f->store, 100);
    assert_int_equal(json_array_size(left), PARTS + TOGETHER);
    json_decref(left);
    struct asking again[1 + TOGETHER + PARTS] = {{.result = STORE_OK}};
    ask(f, again, 1 + TOGETHER + PARTS);
    for (int i = 0; i < 1 + TOGETHER + PARTS; i++)
        assert_int_equal(again[i].result, i < PARTS + TOGETHER ? STORE_OK : STORE_NOT_FOUND);
}

struct many {
    struct fixture *f;
    struct store_claim claims[MANY + 1];
    int n;
};

static void *ask_all(void *ctx)
{
    struct many *m = ctx;
    while (m->n <= MANY && store_claim_next(m->f->store, "remote", 3, &m->claims[m->n]) == STORE_OK)
        m->n++;
    return NULL;
}

/* Everything once, whoever stands beside whom. */
static void test_nothing_twice(void **state)
{
    struct fixture *f = *state;
    char ids[MANY - PARTS][STORE_ID_SIZE], parts[STORE_ID_SIZE];
    static struct many askers[THREADS];
    pthread_t threads[THREADS];
    int given[MANY] = {0}, all = 0;
    divide(f, 1, parts);
    for (int i = 0; i < MANY - PARTS; i++)
        submit(f, "Q8_0", i % 3, ids[i]);
    for (int i = 0; i < THREADS; i++) {
        askers[i] = (struct many){.f = f};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_all, &askers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        for (int k = 0; k < askers[i].n; k++, all++) {
            const struct store_claim *c = &askers[i].claims[k];
            int at = c->part ? MANY - PARTS + c->part - 1 : 0;
            while (!c->part && at < MANY - PARTS && strcmp(ids[at], c->id) != 0)
                at++;
            assert_in_range(at, 0, MANY - 1);
            assert_int_equal(given[at]++, 0);
            assert_int_equal(store_claim_holds(f->store, c), STORE_OK);
        }
    assert_int_equal(all, MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order_and_suits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_epochs_fence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_worn_out_among_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_look, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_commit_tells_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_twice, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
