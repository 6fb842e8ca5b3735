/*
 * Memory ends at the Nth allocation of the database or of JSON, for every N, once and for good: each call
 * answers with a result, nothing crashes, and what was promised is there afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/effort.h"
#include "service/artifacts/dir.h"
#include "service/events/events.h"
#include "service/store/claims.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    sqlite3_mem_methods real;
    long left;    /* allocations that succeed; negative: all */
    bool forever; /* fails from then on, not only once */
} memory;

static bool is_refused(void)
{
    if (memory.left < 0) return false;
    if (memory.left > 0) return memory.left--, false;
    if (!memory.forever) memory.left = -1;
    return true;
}

static void *sqlite_malloc(int n)
{
    return is_refused() ? NULL : memory.real.xMalloc(n);
}

static void *sqlite_realloc(void *p, int n)
{
    return is_refused() ? NULL : memory.real.xRealloc(p, n);
}

static void *json_malloc(size_t n)
{
    return is_refused() ? NULL : malloc(n);
}

/* What a day brings. Counts how many of its calls said that all was well. */
static int day(const char *folder, char promised[STORE_ID_SIZE])
{
    char why[300], ids[1][STORE_ID_SIZE], token[STORE_ID_SIZE];
    struct store *store;
    struct store_claim claim;
    enum store_result result;
    bool replayed, cancel;
    int well = 0;
    promised[0] = '\0';
    if (!store_open(folder, &store, why, sizeof why)) return 0;
    json_t *request = json_pack("{s:s, s:s, s:[s]}", "name", "x", "source_model", "a/b", "gguf_quant_types", "Q8_0");
    const json_t *list[] = {request};
    if (request && store_submit(store, list, 1, "me", "key", "body", 0, ids, &replayed) == STORE_OK)
        well++, strcpy(promised, ids[0]);
    json_t *jobs = store_jobs(store, &(struct job_filter){.search = "x", .limit = 1}, &result);
    well += jobs != NULL;
    json_decref(jobs);
    if (store_claim_next(store, "embedded", 1000000, &claim) == STORE_OK) {
        well += store_heartbeat(store, &claim, &cancel) == STORE_OK;
        well += store_log_append(store, claim.id, "info", "a\nb") == STORE_OK;
        json_t *log = store_log(store, claim.id, 0, 0), *back = store_request(store, claim.id);
        well += log && back;
        json_decref(log);
        json_decref(back);
        well += store_release(store, &claim) == STORE_OK;
    }
    well += store_token_check(store, "00", token) == SCOPE_NONE;
    struct events *events = events_open(store);
    if (events) well += events_publish(events, "job", "x", json_pack("{s:i}", "a", 1)) > 0;
    events_close(&events);
    json_decref(request);
    store_close(&store);
    return well;
}

static void check_sound(const char *folder, const char *promised)
{
    char why[300];
    struct store *store;
    if (!store_open(folder, &store, why, sizeof why)) fail_msg("%s", why);
    json_t *job = *promised ? store_job(store, promised) : NULL;
    if (*promised && !job) {
        store_why(store, why, sizeof why);
        fail_msg("n lost: \"%s\" %s", promised, why);
    }
    json_decref(job);
    store_close(&store);
}

static void test_memory_ends(void **state)
{
    char folder[64], promised[STORE_ID_SIZE];
    int full = 0, well = -1;
    (void)state;
    strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/test_memory_XXXXXX" : "/tmp/test_memory_XXXXXX");
    assert_non_null(mkdtemp(folder));
    memory.left = -1;
    full = day(folder, promised);
    assert_int_equal(full, 8);
    for (int forever = 0; forever < 2; forever++) {
        well = -1;
        for (long n = 0;; n += 1 + n / effort(15, 60, 600)) { /* each of the first, then fewer */
            memory.left = n;
            memory.forever = forever;
            well = day(folder, promised);
            bool ended = memory.left > 0; /* it never came to the end of its memory */
            memory.left = -1;
            check_sound(folder, promised);
            if (ended) break;
        }
        assert_int_equal(well, full);
    }
    dir_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory_ends)};
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory.real);
    sqlite3_mem_methods methods = memory.real;
    methods.xMalloc = sqlite_malloc;
    methods.xRealloc = sqlite_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
    json_set_alloc_funcs(json_malloc, free);
    memory.left = -1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
