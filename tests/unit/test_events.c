/* Events: order, replay, restarts, losses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "service/artifacts/dir.h"
#include "service/events/events.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    char folder[64];
    struct store *store;
    struct events *events;
};

struct heard {
    int n, resyncs;
    uint64_t first, last;
    bool disordered;
    char kind[16], data[100];
};

static void on_event(void *ctx, const struct event *event)
{
    struct heard *h = ctx;
    if (strcmp(event->kind, "resync") == 0)
        h->resyncs++;
    else if (h->n++ == 0)
        h->first = event->id;
    if (event->id <= h->last && h->last) h->disordered = true;
    h->last = event->id;
    snprintf(h->kind, sizeof h->kind, "%s", event->kind);
    snprintf(h->data, sizeof h->data, "%s", event->data);
    assert_int_equal(strlen(event->data), event->data_len);
}

static void open_all(struct fixture *f)
{
    char why[300];
    assert_true(store_open(f->folder, &f->store, why, sizeof why));
    f->events = events_open(f->store);
    assert_non_null(f->events);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/test_events_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    open_all(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    events_close(&f->events);
    store_close(&f->store);
    dir_remove(f->folder);
    free(f);
    return 0;
}

static uint64_t tell(struct fixture *f, const char *job, int i)
{
    return events_publish(f->events, "job", job, json_pack("{s:i}", "i", i));
}

static void test_subscribe_and_replay(void **state)
{
    struct fixture *f = *state;
    struct heard all = {0}, one = {0}, late = {0};
    struct events_subscription *a = events_subscribe(f->events, NULL, 0, on_event, &all);
    struct events_subscription *b = events_subscribe(f->events, "b", 0, on_event, &one);
    uint64_t first = tell(f, "a", 1), second = tell(f, "b", 2), third = tell(f, "a", 3);
    assert_true(first < second && second < third);
    assert_int_equal(all.n, 3);
    assert_int_equal(one.n, 1);
    assert_string_equal(one.data, "{\"i\":2}");
    struct events_subscription *c = events_subscribe(f->events, NULL, first, on_event, &late);
    assert_int_equal(late.n, 2); /* what came after the first */
    assert_int_equal(late.first, second);
    events_publish(f->events, "shutdown", NULL, NULL);
    assert_int_equal(one.n, 2); /* concerns everybody */
    assert_string_equal(one.kind, "shutdown");
    assert_int_equal(events_subscribers(f->events), 3);
    events_unsubscribe(f->events, b);
    tell(f, "b", 4);
    assert_int_equal(one.n, 2);
    events_unsubscribe(f->events, a);
    events_unsubscribe(f->events, c);
    assert_false(all.disordered || late.disordered);
}

static void test_too_old_is_told(void **state)
{
    struct fixture *f = *state;
    struct heard old = {0}, new = {0}, future = {0};
    uint64_t first = tell(f, "a", 0), last = 0;
    for (int i = 0; i < 6000; i++)
        last = tell(f, "a", i);
    struct events_subscription *a = events_subscribe(f->events, NULL, first, on_event, &old);
    assert_int_equal(old.resyncs, 1);
    assert_int_equal(old.n, 0);
    assert_int_equal(old.last, last);
    struct events_subscription *b = events_subscribe(f->events, NULL, last - 10, on_event, &new);
    assert_int_equal(new.resyncs, 0);
    assert_int_equal(new.n, 10);
    struct events_subscription *c = events_subscribe(f->events, NULL, last + 1000000, on_event, &future);
    assert_int_equal(future.resyncs, 1); /* of another database */
    events_unsubscribe(f->events, a);
    events_unsubscribe(f->events, b);
    events_unsubscribe(f->events, c);
}

static void test_ids_rise_across_restarts(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 7000; i++) { /* crosses blocks */
            uint64_t id = tell(f, "a", i);
            assert_true(id > last);
            last = id;
        }
        events_close(&f->events);
        store_close(&f->store);
        open_all(f);
        struct heard h = {0};
        struct events_subscription *s = events_subscribe(f->events, NULL, last, on_event, &h);
        assert_int_equal(h.resyncs, 1); /* it cannot know whether something was missed */
        events_unsubscribe(f->events, s);
    }
}

static void *publish_many(void *ctx)
{
    for (int i = 0; i < 2000; i++)
        tell(ctx, i % 2 ? "a" : "b", i);
    return NULL;
}

/* Publishers and subscribers that come and go: each listener hears ids that rise, and all that came. */
static void test_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[4];
    struct heard whole = {0};
    struct events_subscription *s = events_subscribe(f->events, NULL, 0, on_event, &whole);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, publish_many, f), 0);
    for (int i = 0; i < 200; i++) {
        struct heard h = {0};
        events_unsubscribe(f->events, events_subscribe(f->events, "a", events_latest(f->events), on_event, &h));
        assert_false(h.disordered);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(whole.n, 8000);
    assert_false(whole.disordered);
    events_unsubscribe(f->events, s);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_subscribe_and_replay), T(test_too_old_is_told),
                                       T(test_ids_rise_across_restarts), T(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
