/* The store on a real database in a folder of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "service/artifacts/dir.h"
#include "service/store/claims.h"
#include "lib/store_place.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char folder[64];
    struct store *store;
    int64_t now;
};

static int64_t clock_of(void *ctx)
{
    return ((struct fixture *)ctx)->now;
}

static void reopen(struct fixture *f)
{
    char why[300];
    store_close(&f->store);
    if (!store_place_open(f->folder, &f->store, why, sizeof why)) fail_msg("%s", why);
    store_set_clock(f->store, clock_of, f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->folder, "/tmp/test_store_XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    f->now = 1000000;
    reopen(f);
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

static json_t *request(const char *name, int priority)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:[s, s], s:i, s:{s:b}, s:{s:s}, s:s}", "name", name, "source_model",
                     "org/model", "source_type", "local", "source_path", "/m/model", "gguf_quant_types", "Q4_K_M",
                     "Q8_0", "priority", priority, "config", "use_imatrix", 1, "options", "threads", "2", "command",
                     "halftone quantize org/model");
}

static enum store_result submit_keyed(struct fixture *f, const char *name, int priority, const char *key,
                                      const char *body, char id[STORE_ID_SIZE], bool *replayed)
{
    char ids[1][STORE_ID_SIZE] = {""};
    json_t *r = request(name, priority);
    const json_t *list[] = {r};
    enum store_result result = store_submit(f->store, list, 1, "me", key, body, 0, ids, replayed);
    json_decref(r);
    strcpy(id, ids[0]);
    return result;
}

static void submit(struct fixture *f, const char *name, int priority, char id[STORE_ID_SIZE])
{
    bool replayed;
    assert_int_equal(submit_keyed(f, name, priority, NULL, NULL, id, &replayed), STORE_OK);
}

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A job is in this state; returns nothing else. */
static void assert_status(struct fixture *f, const char *id, const char *status)
{
    json_t *job = store_job(f->store, id);
    assert_non_null(job);
    assert_string_equal(text(job, "status"), status);
    json_decref(job);
}

static void test_submit_and_show(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE];
    submit(f, "first \"quoted\" 日本", 3, id);
    reopen(f); /* a 201 means that it is on the disk */
    json_t *job = store_job(f->store, id);
    assert_string_equal(text(job, "name"), "first \"quoted\" 日本");
    assert_string_equal(text(job, "status"), "queued");
    assert_string_equal(text(job, "source_model"), "org/model");
    assert_null(json_object_get(job, "source_path")); /* is nobody's business */
    assert_int_equal(json_integer_value(json_object_get(job, "priority")), 3);
    assert_int_equal(json_integer_value(json_object_get(job, "total_outputs")), 2);
    assert_int_equal(json_array_size(json_object_get(job, "outputs")), 2);
    const json_t *output = json_array_get(json_object_get(job, "outputs"), 1);
    assert_string_equal(text(output, "quant_type"), "Q8_0");
    assert_string_equal(text(output, "name"), "model-Q8_0.gguf");
    assert_string_equal(text(output, "status"), "pending");
    assert_true(json_is_null(json_object_get(output, "url")));
    assert_true(json_is_true(json_object_get(json_object_get(job, "config"), "use_imatrix")));
    json_decref(job);
    assert_null(store_job(f->store, "0123"));
    assert_null(store_outputs(f->store, "0123"));
}

static void test_idempotency(void **state)
{
    struct fixture *f = *state;
    char first[STORE_ID_SIZE], again[STORE_ID_SIZE];
    bool replayed;
    assert_int_equal(submit_keyed(f, "a", 0, "key", "body", first, &replayed), STORE_OK);
    assert_false(replayed);
    reopen(f);
    assert_int_equal(submit_keyed(f, "a", 0, "key", "body", again, &replayed), STORE_OK);
    assert_true(replayed);
    assert_string_equal(first, again);
    assert_int_equal(submit_keyed(f, "b", 0, "key", "other", again, &replayed), STORE_CONFLICT);
    assert_int_equal(submit_keyed(f, "a", 0, "key 2", "body", again, &replayed), STORE_OK);
    assert_string_not_equal(first, again);
    enum store_result result;
    json_t *list = store_jobs(f->store, &(struct job_filter){0}, &result);
    assert_int_equal(json_integer_value(json_object_get(list, "total")), 2);
    json_decref(list);
}

static void test_batch_is_all_or_none(void **state)
{
    struct fixture *f = *state;
    char ids[3][STORE_ID_SIZE];
    bool replayed;
    enum store_result result;
    json_t *good = request("good", 0), *bad = request("bad", 0);
    json_object_del(bad, "source_model");
    const json_t *list[] = {good, good, bad};
    assert_int_not_equal(store_submit(f->store, list, 3, NULL, NULL, NULL, 0, ids, &replayed), STORE_OK);
    json_t *jobs = store_jobs(f->store, &(struct job_filter){0}, &result);
    assert_int_equal(json_integer_value(json_object_get(jobs, "total")), 0);
    json_decref(jobs);
    assert_int_equal(store_submit(f->store, list, 2, NULL, NULL, NULL, 0, ids, &replayed), STORE_OK);
    assert_true(strcmp(ids[0], ids[1]) < 0); /* in the order of the request */
    json_decref(good);
    json_decref(bad);
}

/* Walks a list by cursors with `limit` a page; the names in order, separated by blanks. */
static void walk(struct fixture *f, const char *sort, const char *status, const char *search, int limit, char *names)
{
    char cursor[4096] = "";
    names[0] = '\0';
    for (int pages = 0; pages < 20; pages++) {
        enum store_result result;
        struct job_filter filter = {
            .sort = sort, .status = status, .search = search, .limit = limit, .cursor = *cursor ? cursor : NULL};
        json_t *page = store_jobs(f->store, &filter, &result), *job;
        assert_non_null(page);
        size_t i;
        assert_true((int)json_array_size(json_object_get(page, "jobs")) <= limit);
        json_array_foreach(json_object_get(page, "jobs"), i, job) {
            strcat(names, text(job, "name"));
            strcat(names, " ");
        }
        const char *next = text(page, "next_cursor");
        strcpy(cursor, next ? next : "");
        json_decref(page);
        if (!*cursor) return;
    }
    fail_msg("the list does not end");
}

static void test_lists(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE], names[400];
    const char *all[] = {"delta", "Alpha", "charlie", "bravo", "echo", "100%_x", "100 x"};
    for (int i = 0; i < 7; i++)
        submit(f, all[i], i % 3, id);
    assert_int_equal(store_cancel(f->store, id), STORE_OK);
    walk(f, "name", NULL, NULL, 2, names);
    assert_string_equal(names, "100 x 100%_x Alpha bravo charlie delta echo ");
    walk(f, "-name", NULL, NULL, 3, names);
    assert_string_equal(names, "echo delta charlie bravo Alpha 100%_x 100 x ");
    walk(f, "created", NULL, NULL, 7, names); /* the page is exactly full: no empty one follows */
    assert_string_equal(names, "delta Alpha charlie bravo echo 100%_x 100 x ");
    walk(f, "-priority", NULL, NULL, 2, names);
    assert_string_equal(names, "100%_x charlie echo Alpha 100 x bravo delta ");
    walk(f, "created", "cancelled,failed", NULL, 10, names);
    assert_string_equal(names, "100 x ");
    walk(f, "created", NULL, "100%_", 10, names); /* wildcards mean themselves */
    assert_string_equal(names, "100%_x ");
    walk(f, "created", NULL, "ALPH", 10, names);
    assert_string_equal(names, "Alpha ");
    enum store_result result;
    json_t *page = store_jobs(f->store, &(struct job_filter){.sort = "name", .limit = 2, .offset = 5}, &result);
    assert_int_equal(json_array_size(json_object_get(page, "jobs")), 2);
    assert_int_equal(json_integer_value(json_object_get(page, "total")), 7);
    assert_true(json_is_null(json_object_get(page, "next_cursor")));
    json_decref(page);
    const char *bad[] = {"zz", "5b", "5b226e616d65225d", "6e6f"};
    for (int i = 0; i < 4; i++) {
        assert_null(store_jobs(f->store, &(struct job_filter){.sort = "name", .cursor = bad[i]}, &result));
        assert_int_equal(result, STORE_CONFLICT);
    }
    assert_null(store_jobs(f->store, &(struct job_filter){.sort = "id; DROP TABLE jobs"}, &result));
    assert_int_equal(result, STORE_CONFLICT);
    json_t *counts = store_job_counts(f->store);
    assert_int_equal(json_integer_value(json_object_get(counts, "queued")), 6);
    assert_int_equal(json_integer_value(json_object_get(counts, "cancelled")), 1);
    assert_int_equal(json_object_size(counts), 9);
    json_decref(counts);
}

static void test_what_users_may(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE];
    struct store_claim claim;
    bool cancel;
    submit(f, "a", 0, id);
    assert_int_equal(store_cancel(f->store, "nobody"), STORE_NOT_FOUND);
    assert_int_equal(store_retry(f->store, id), STORE_CONFLICT);
    assert_int_equal(store_set_priority(f->store, id, 9), STORE_OK);
    assert_int_equal(store_cancel(f->store, id), STORE_OK);
    assert_status(f, id, "cancelled");
    assert_int_equal(store_cancel(f->store, id), STORE_CONFLICT);
    assert_int_equal(store_set_priority(f->store, id, 1), STORE_CONFLICT);
    assert_int_equal(store_retry(f->store, id), STORE_OK);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
    assert_int_equal(store_delete(f->store, id), STORE_CONFLICT);
    assert_int_equal(store_cancel(f->store, id), STORE_OK); /* a wish */
    assert_status(f, id, "preparing");
    assert_int_equal(store_heartbeat(f->store, &claim, &cancel), STORE_OK);
    assert_true(cancel);
    assert_int_equal(store_publish(f->store, &claim, "models/x", NULL, NULL, NULL), STORE_CONFLICT);
    assert_int_equal(store_cancelled(f->store, &claim), STORE_OK);
    assert_status(f, id, "cancelled");
    assert_int_equal(store_log_append(f->store, id, "info", "one\ntwo"), STORE_OK);
    assert_int_equal(store_delete(f->store, id), STORE_OK);
    assert_int_equal(store_delete(f->store, id), STORE_NOT_FOUND);
    assert_null(store_log(f->store, id, 0, 0));
    assert_int_equal(store_log_append(f->store, id, "info", "late"), STORE_NOT_FOUND);
}

static void test_claims_by_priority_then_age(void **state)
{
    struct fixture *f = *state;
    char ids[4][STORE_ID_SIZE];
    struct store_claim claim;
    const int priority[] = {0, 5, 0, 5}, order[] = {1, 3, 0, 2};
    for (int i = 0; i < 4; i++)
        submit(f, "x", priority[i], ids[i]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
        assert_string_equal(claim.id, ids[order[i]]);
    }
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_NOT_FOUND);
}

static bool never(void *ctx)
{
    *(bool *)ctx = true;
    return true;
}

static void test_stale_epoch_changes_nothing(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE];
    struct store_claim old, new;
    bool cancel, moved = false;
    submit(f, "a", 0, id);
    assert_int_equal(store_claim_next(f->store, "remote", 3, &old), STORE_OK);
    f->now += LEASE_SECONDS * 1000 - 1;
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &new), STORE_NOT_FOUND);
    f->now += 1;
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &new), STORE_OK);
    assert_true(new.epoch > old.epoch);
    assert_int_equal(new.attempt, 2);
    json_t *before = store_job(f->store, id), *what = json_pack("{s:[]}", "outputs");
    assert_int_equal(store_heartbeat(f->store, &old, &cancel), STORE_CONFLICT);
    assert_int_equal(store_update_job(f->store, &old, &(struct store_update){.status = "measuring", .progress = 50}),
                     STORE_CONFLICT);
    assert_int_equal(store_set_outputs(f->store, &old, what), STORE_CONFLICT);
    assert_int_equal(store_output_status(f->store, &old, NULL, "writing"), STORE_CONFLICT);
    assert_int_equal(store_publish(f->store, &old, "models/x", what, never, &moved), STORE_CONFLICT);
    assert_int_equal(store_fail(f->store, &old, "e", "a"), STORE_CONFLICT);
    assert_int_equal(store_cancelled(f->store, &old), STORE_CONFLICT);
    assert_int_equal(store_release(f->store, &old), STORE_CONFLICT);
    assert_false(moved);
    json_t *after = store_job(f->store, id);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
    json_decref(what);
    assert_int_equal(store_heartbeat(f->store, &new, &cancel), STORE_OK);
}

static void test_attempts_are_bounded(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE];
    struct store_claim claim;
    submit(f, "a", 0, id);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
        assert_int_equal(claim.attempt, i);
        if (i == 2) assert_int_equal(store_release(f->store, &claim), STORE_OK); /* a proper stop is not counted */
        if (i == 2) assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
        assert_int_equal(claim.attempt, i);
        f->now += LEASE_SECONDS * 1000;
    }
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_CONFLICT);
    assert_string_equal(claim.id, id);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_NOT_FOUND);
    json_t *job = store_job(f->store, id);
    assert_string_equal(text(job, "status"), "failed");
    assert_non_null(strstr(text(job, "error"), "3 attempts"));
    assert_non_null(text(job, "error_advice"));
    json_decref(job);
    assert_int_equal(store_retry(f->store, id), STORE_OK);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
    assert_int_equal(claim.attempt, 1);
}

static void test_restart_ends_embedded_leases(void **state)
{
    struct fixture *f = *state;
    char a[STORE_ID_SIZE], b[STORE_ID_SIZE];
    struct store_claim claim;
    submit(f, "a", 1, a);
    submit(f, "b", 0, b);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
    assert_int_equal(store_claim_next(f->store, "remote-1", 3, &claim), STORE_OK);
    f->now = 5; /* after a reboot the clock of leases starts anew */
    reopen(f);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
    assert_string_equal(claim.id, a);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_NOT_FOUND);
}

static void test_progress_only_rises(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE];
    struct store_claim claim;
    submit(f, "a", 0, id);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
    const double steps[] = {10, 5, -1, 30.5}, shown[] = {10, 10, 10, 30.5};
    for (int i = 0; i < 4; i++) {
        struct store_update u = {
            .status = "quantizing", .progress = steps[i], .estimated_disk_gb = -1, .estimated_time_minutes = -1};
        assert_int_equal(store_update_job(f->store, &claim, &u), STORE_OK);
        json_t *job = store_job_brief(f->store, id);
        assert_true(json_number_value(json_object_get(job, "progress")) == shown[i]);
        assert_null(json_object_get(job, "options"));
        json_decref(job);
    }
    assert_int_equal(store_update_job(f->store, &claim, &(struct store_update){.status = "nonsense", .progress = -1}),
                     STORE_CONFLICT);
    assert_status(f, id, "quantizing");
}

static bool make_files(void *ctx)
{
    char path[200];
    snprintf(path, sizeof path, "%s/models/place", (const char *)ctx);
    dir_make(path);
    const char *names[] = {"a b.gguf", "model-Q8_0.gguf", "report.json"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/models/place/%s", (const char *)ctx, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        if (fd < 0) return false;
        close(fd);
    }
    return true;
}

static void publish(struct fixture *f, const char *id)
{
    struct store_claim claim;
    const char *hash = "0123456789012345678901234567890123456789012345678901234567890123";
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
    assert_string_equal(claim.id, id);
    json_t *outputs = json_pack("[{s:s, s:s, s:s, s:i, s:f, s:{s:i}}, {s:s, s:s, s:s, s:i, s:f}]", "name", "a b.gguf",
                                "format", "gguf", "quant_type", "Q4_K_M", "file_size", 10, "bits_per_weight", 4.5,
                                "run_memory", "ctx", 512, "name", "model-Q8_0.gguf", "format", "gguf", "quant_type",
                                "Q8_0", "file_size", 20, "bits_per_weight", 8.5);
    assert_int_equal(store_set_outputs(f->store, &claim, outputs), STORE_OK);
    json_t *what = json_pack("{s:s, s:i, s:O}", "architecture", "llama", "parameters", 8000, "outputs", outputs), *o;
    size_t i;
    json_array_foreach(outputs, i, o) {
        json_object_set_new(o, "sha256", json_string(hash));
        json_object_set_new(
            o, "quality",
            json_pack("{s:f, s:{s:f}, s:f}", "perplexity", 7.5, "kld", "mean", 0.01, "top1_agreement", 0.95));
    }
    assert_int_equal(store_publish(f->store, &claim, "models/place", what, make_files, f->folder), STORE_OK);
    json_decref(outputs);
    json_decref(what);
}

static void test_publish_and_registry(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE], path[200];
    struct store_file file;
    enum store_result result;
    submit(f, "a", 0, id);
    assert_int_equal(store_output_file(f->store, id, "model-Q8_0.gguf", &file), STORE_CONFLICT);
    json_t *submitted = store_outputs(f->store, id);
    publish(f, id);
    json_t *job = store_job(f->store, id);
    for (size_t i = 0; i < 2; i++) /* who saw an output's id at the submission finds it by that */
        assert_string_equal(text(json_array_get(json_object_get(job, "outputs"), i), "id"),
                            text(json_array_get(submitted, i), "id"));
    json_decref(submitted);
    assert_string_equal(text(job, "status"), "completed");
    assert_true(json_number_value(json_object_get(job, "progress")) == 100);
    assert_int_equal(json_integer_value(json_object_get(job, "completed_outputs")), 2);
    const json_t *output = json_array_get(json_object_get(job, "outputs"), 0);
    assert_non_null(strstr(text(output, "url"), "/outputs/a%20b.gguf"));
    assert_true(json_number_value(json_object_get(output, "perplexity")) == 7.5);
    json_decref(job);
    assert_int_equal(store_output_file(f->store, id, "a b.gguf", &file), STORE_OK);
    assert_int_equal(access(file.path, R_OK), 0);
    assert_int_equal(file.size, 10);
    json_t *models = store_models(f->store, &(struct model_filter){.search = "ORG"}, &result);
    const json_t *model = json_array_get(json_object_get(models, "models"), 0);
    const json_t *variant = json_array_get(json_object_get(model, "variants"), 0);
    char model_id[STORE_ID_SIZE], variant_id[STORE_ID_SIZE];
    strcpy(model_id, text(model, "id"));
    strcpy(variant_id, text(variant, "id"));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(variant, "run_memory"), "ctx")), 512);
    json_decref(models);
    json_t *tags = json_pack("[s, s, s]", "good", "small", "good");
    assert_int_equal(store_model_set_tags(f->store, model_id, tags), STORE_OK);
    assert_int_equal(store_model_set_tags(f->store, "nobody", tags), STORE_NOT_FOUND);
    json_decref(tags);
    models = store_models(f->store, &(struct model_filter){.tag = "small"}, &result);
    assert_int_equal(json_integer_value(json_object_get(models, "total")), 1);
    assert_int_equal(json_array_size(json_object_get(json_array_get(json_object_get(models, "models"), 0), "tags")), 2);
    json_decref(models);
    /* The job goes, its files stay and keep their address. */
    assert_int_equal(store_delete(f->store, id), STORE_OK);
    assert_int_equal(store_output_file(f->store, id, "a b.gguf", &file), STORE_OK);
    assert_int_equal(store_variant_file(f->store, model_id, variant_id, &file), STORE_OK);
    assert_true(store_folder_used(f->store, "models/place"));
    assert_false(store_folder_used(f->store, "models/plac"));
    assert_int_equal(store_variant_delete(f->store, model_id, "nobody"), STORE_NOT_FOUND);
    assert_int_equal(store_variant_delete(f->store, model_id, variant_id), STORE_OK);
    assert_int_not_equal(access(file.path, F_OK), 0);
    snprintf(path, sizeof path, "%s/models/place", f->folder);
    assert_true(dir_exists(path));
    assert_int_equal(store_model_delete(f->store, model_id), STORE_OK);
    assert_false(dir_exists(path));
    assert_null(store_model(f->store, model_id));
    assert_int_equal(store_model_delete(f->store, model_id), STORE_NOT_FOUND);
}

static void test_deleting_a_variant_shows_in_its_job(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE];
    struct store_file file;
    enum store_result result;
    submit(f, "a", 0, id);
    publish(f, id);
    json_t *models = store_models(f->store, &(struct model_filter){0}, &result);
    const char *model = text(json_array_get(json_object_get(models, "models"), 0), "id");
    assert_int_equal(store_model_delete(f->store, model), STORE_OK);
    json_decref(models);
    json_t *outputs = store_outputs(f->store, id);
    assert_string_equal(text(json_array_get(outputs, 0), "status"), "deleted");
    json_decref(outputs);
    assert_int_equal(store_output_file(f->store, id, "a b.gguf", &file), STORE_CONFLICT);
}

static bool make_folder(void *ctx)
{
    char path[300];
    const char *const names[] = {"", "/toy-nf4", "/toy-nf4/config.json", "/toy-nf4/a b.safetensors", "/toy-Q8_0.gguf"};
    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/models/place%s", (const char *)ctx, names[i]);
        if (i < 2 ? mkdir(path, 0700) != 0 : close(open(path, O_WRONLY | O_CREAT, 0600)) != 0) return false;
    }
    return true;
}

/* An output that is a folder: one row with its files, each found by name, gone together. */
static void test_folders(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE], path[300];
    const char *hash = "0123456789012345678901234567890123456789012345678901234567890123";
    struct store_claim claim;
    struct store_file folder, file;
    struct store_part *parts;
    enum store_result result;
    size_t n;
    json_t *request = json_pack("{s:s, s:s, s:s, s:[{s:s, s:s, s:{s:i}, s:s}, {s:s, s:s, s:{}, s:s}]}", "name", "n",
                                "source_model", "org/toy", "source_type", "huggingface", "requested", "format",
                                "safetensors", "type", "nf4", "options", "block", 128, "quant_type", "nf4:block=128",
                                "format", "gguf", "type", "Q8_0", "options", "quant_type", "Q8_0");
    const json_t *one = request;
    bool replayed;
    char ids[1][STORE_ID_SIZE];
    assert_int_equal(store_submit(f->store, &one, 1, NULL, NULL, NULL, 0, ids, &replayed), STORE_OK);
    strcpy(id, ids[0]);
    json_t *job = store_job(f->store, id);
    assert_true(json_equal(json_object_get(job, "requested"), json_object_get(request, "requested")));
    const json_t *output = json_array_get(json_object_get(job, "outputs"), 0);
    assert_string_equal(text(output, "name"), "toy-nf4-block128");
    assert_string_equal(text(output, "format"), "safetensors");
    assert_string_equal(text(output, "quant_type"), "nf4:block=128");
    assert_true(json_is_null(json_object_get(output, "files")));
    json_decref(job);
    json_decref(request);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
    json_t *what = json_pack(
        "{s:[{s:s, s:s, s:s, s:i, s:[{s:s, s:i, s:s}, {s:s, s:i, s:s}]}, {s:s, s:s, s:s, s:i, s:s}]}", "outputs",
        "name", "toy-nf4", "format", "safetensors", "quant_type", "nf4:block=128", "file_size", 30, "files", "name",
        "config.json", "size", 10, "sha256", hash, "name", "a b.safetensors", "size", 20, "sha256", hash, "name",
        "toy-Q8_0.gguf", "format", "gguf", "quant_type", "Q8_0", "file_size", 7, "sha256", hash);
    assert_int_equal(store_publish(f->store, &claim, "models/place", what, make_folder, f->folder), STORE_OK);
    json_decref(what);
    json_t *outputs = store_outputs(f->store, id);
    assert_int_equal(json_array_size(outputs), 2);
    const json_t *files = json_object_get(json_array_get(outputs, 0), "files");
    assert_int_equal(json_array_size(files), 2);
    assert_string_equal(text(json_array_get(files, 0), "name"), "config.json");
    snprintf(path, sizeof path, "/api/v1/quantize/jobs/%s/outputs/toy-nf4/files/a%%20b.safetensors", id);
    assert_string_equal(text(json_array_get(files, 1), "url"), path);
    assert_true(json_is_null(json_object_get(json_array_get(outputs, 0), "sha256")));
    assert_true(json_is_null(json_object_get(json_array_get(outputs, 1), "files")));
    json_decref(outputs);
    assert_int_equal(store_output_file(f->store, id, "toy-nf4", &folder), STORE_OK);
    assert_string_equal(folder.sha256, "");
    assert_int_equal(store_parts(f->store, &folder, &parts, &n), STORE_OK);
    assert_int_equal(n, 2);
    assert_string_equal(parts[1].name, "a b.safetensors");
    assert_int_equal(parts[1].size, 20);
    free(parts);
    assert_int_equal(store_part_file(f->store, &folder, "config.json", &file), STORE_OK);
    assert_int_equal(access(file.path, R_OK), 0);
    assert_string_equal(file.sha256, hash);
    assert_int_equal(store_part_file(f->store, &folder, "../toy-Q8_0.gguf", &file), STORE_NOT_FOUND);
    assert_int_equal(store_output_file(f->store, id, "toy-Q8_0.gguf", &file), STORE_OK);
    assert_int_equal(store_parts(f->store, &file, &parts, &n), STORE_NOT_FOUND);
    /* The job goes, the folder stays in the registry; then it goes, and the file beside it stays. */
    assert_int_equal(store_delete(f->store, id), STORE_OK);
    json_t *models = store_models(f->store, &(struct model_filter){0}, &result);
    const json_t *model = json_array_get(json_object_get(models, "models"), 0), *variant = NULL;
    for (size_t i = 0; i < 2; i++)
        if (strcmp(text(json_array_get(json_object_get(model, "variants"), i), "format"), "gguf") != 0)
            variant = json_array_get(json_object_get(model, "variants"), i);
    assert_int_equal(json_array_size(json_object_get(variant, "files")), 2);
    assert_int_equal(store_variant_file(f->store, text(model, "id"), text(variant, "id"), &file), STORE_OK);
    assert_string_equal(file.path, folder.path);
    assert_int_equal(store_variant_delete(f->store, text(model, "id"), text(variant, "id")), STORE_OK);
    json_decref(models);
    assert_false(dir_exists(folder.path));
    assert_int_equal(store_part_file(f->store, &folder, "config.json", &file), STORE_NOT_FOUND);
    snprintf(path, sizeof path, "%s/models/place/toy-Q8_0.gguf", f->folder);
    assert_int_equal(access(path, F_OK), 0);
}

/* A database of the version before is brought up: its jobs say what they asked for. */
static void test_older_database(void **state)
{
    struct fixture *f = *state;
    if (store_place_is_postgres()) skip(); /* it looks into SQLite's file */
    char id[STORE_ID_SIZE], why[300], path[200];
    submit(f, "a", 0, id);
    publish(f, id);
    store_close(&f->store);
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/halftone.db", f->folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(
            db,
            "ALTER TABLE jobs DROP COLUMN requested; DROP TABLE files; DROP TABLE workers; DROP TABLE tasks;"
            "DROP INDEX jobs_queued; DROP INDEX jobs_in_parts; DROP INDEX jobs_leased;"
            "CREATE INDEX jobs_waiting ON jobs(priority DESC, id) WHERE lease_until IS NOT NULL; PRAGMA user_version=3",
            NULL, NULL, NULL),
        SQLITE_OK);
    sqlite3_close(db);
    assert_true(store_open(f->folder, &f->store, why, sizeof why));
    json_t *job = store_job(f->store, id);
    const json_t *requested = json_object_get(job, "requested"),
                 *output = json_array_get(json_object_get(job, "outputs"), 0);
    assert_int_equal(json_array_size(requested), 2);
    assert_string_equal(text(json_array_get(requested, 0), "format"), "gguf");
    assert_string_equal(text(json_array_get(requested, 0), "quant_type"), "Q4_K_M");
    assert_true(json_is_null(json_object_get(output, "files")));
    json_decref(job);
}

/* The estimate's rows could not be written: the outputs are there all the same. */
static void test_publish_without_rows(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE];
    struct store_claim claim;
    submit(f, "a", 0, id);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &claim), STORE_OK);
    json_t *what = json_pack("{s:[{s:s, s:s, s:s, s:i}]}", "outputs", "name", "true-Q8_0.gguf", "format", "gguf",
                             "quant_type", "Q8_0", "file_size", 20);
    assert_int_equal(store_publish(f->store, &claim, "models/place", what, make_files, f->folder), STORE_OK);
    json_decref(what);
    json_t *outputs = store_outputs(f->store, id);
    assert_int_equal(json_array_size(outputs), 1);
    assert_string_equal(text(json_array_get(outputs, 0), "name"), "true-Q8_0.gguf");
    assert_string_equal(text(json_array_get(outputs, 0), "status"), "completed");
    json_decref(outputs);
}

static void test_tokens(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE], found[STORE_ID_SIZE];
    assert_int_equal(store_token_count(f->store), 0);
    assert_int_equal(store_token_add(f->store, "ci", SCOPE_SUBMIT, "aa", id), STORE_OK);
    assert_int_equal(store_token_add(f->store, "ci", SCOPE_READ, "bb", found), STORE_CONFLICT);
    assert_int_equal(store_token_add(f->store, "other", SCOPE_READ, "aa", found), STORE_CONFLICT);
    assert_int_equal(store_token_check(f->store, "aa", found), SCOPE_SUBMIT);
    assert_string_equal(found, id);
    assert_int_equal(store_token_check(f->store, "ab", found), SCOPE_NONE);
    assert_string_equal(found, "");
    assert_int_equal(store_tokens_used(f->store, &id, 1), STORE_OK);
    assert_int_equal(store_token_remove(f->store, id, true), STORE_CONFLICT); /* the last one */
    json_t *tokens = store_tokens(f->store);
    assert_int_equal(json_array_size(tokens), 1);
    assert_string_equal(text(json_array_get(tokens, 0), "scope"), "submit");
    assert_non_null(text(json_array_get(tokens, 0), "last_used_at"));
    assert_null(json_object_get(json_array_get(tokens, 0), "sha256"));
    json_decref(tokens);
    assert_int_equal(store_token_remove(f->store, id, false), STORE_OK);
    assert_int_equal(store_token_remove(f->store, id, false), STORE_NOT_FOUND);
    assert_int_equal(store_token_check(f->store, "aa", found), SCOPE_NONE);
}

static void test_log_is_bounded(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE], *many = malloc(30000);
    submit(f, "a", 0, id);
    many[0] = '\0';
    for (int i = 0; i < 2500; i++)
        sprintf(many + strlen(many), "line %d\n", i);
    assert_int_equal(store_log_append(f->store, id, "info", many), STORE_OK);
    free(many);
    json_t *log = store_log(f->store, id, 0, 10);
    assert_int_equal(json_array_size(json_object_get(log, "lines")), 10);
    assert_string_equal(text(json_array_get(json_object_get(log, "lines"), 0), "line"), "line 500");
    json_int_t next = json_integer_value(json_object_get(log, "next_after"));
    json_decref(log);
    log = store_log(f->store, id, next, 0);
    assert_string_equal(text(json_array_get(json_object_get(log, "lines"), 0), "line"), "line 510");
    json_decref(log);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    if (store_place_is_postgres()) skip();
    struct store *second;
    char why[300], path[200];
    assert_false(store_open(f->folder, &second, why, sizeof why));
    assert_non_null(strstr(why, "in use"));
    assert_null(second);
    assert_false(store_open("/proc/nowhere", &second, why, sizeof why));
    store_close(&f->store);
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/halftone.db", f->folder);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_false(store_open(f->folder, &second, why, sizeof why));
    assert_non_null(strstr(why, "later version"));
}

/* Bytes inside a page are overwritten; without the mark of a clean end the check finds it. */
static void test_damage_is_found(void **state)
{
    struct fixture *f = *state;
    if (store_place_is_postgres()) skip();
    struct store *second;
    char id[STORE_ID_SIZE], why[300], path[200];
    for (int i = 0; i < 50; i++)
        submit(f, "a job with a name that fills the page", 0, id);
    store_close(&f->store);
    snprintf(path, sizeof path, "%s/halftone.db", f->folder);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM meta WHERE name='clean'", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    sqlite3_close(db);
    int fd = open(path, O_WRONLY);
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    off_t size = lseek(fd, 0, SEEK_END);
    for (off_t at = 4096 * 20; at < size && at < 4096 * 30; at += 4096)
        assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
    close(fd);
    assert_false(store_open(f->folder, &second, why, sizeof why));
    assert_non_null(strstr(why, "damaged"));
}

/* Files may not grow: what a full disk does to the database. Every write is refused with a result, what was there
 * stays readable, and afterwards all goes on. */
static void test_full_disk(void **state)
{
    struct fixture *f = *state;
    if (store_place_is_postgres()) skip(); /* its disk is its server's */
    char id[STORE_ID_SIZE], other[STORE_ID_SIZE], why[256] = "";
    bool replayed;
    struct rlimit old;
    submit(f, "a", 0, id);
    getrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){4096, old.rlim_max});
    enum store_result result = STORE_OK;
    for (int i = 0; i < 200 && result == STORE_OK; i++)
        result = submit_keyed(f, "b", 0, NULL, NULL, other, &replayed);
    store_why(f->store, why, sizeof why);
    enum store_result ping = store_state(f->store);
    uint64_t block = store_event_block(f->store, 10);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(result, STORE_FULL);
    assert_int_equal(ping, STORE_FULL);
    assert_int_equal(block, 0);
    assert_string_not_equal(why, "");
    assert_status(f, id, "queued");
    submit(f, "c", 0, other);
    assert_int_equal(store_state(f->store), STORE_OK);
}

static void test_event_blocks_rise(void **state)
{
    struct fixture *f = *state;
    uint64_t first = store_event_block(f->store, 100);
    assert_int_equal(first, 1);
    reopen(f);
    assert_int_equal(store_event_block(f->store, 100), 101);
}

/* Another service on the same database: it sees every job, takes what is free and nothing else, and its start ends no
 * lease of the first. */
static void test_two_services(void **state)
{
    struct fixture *f = *state, other = {.now = f->now};
    char id[STORE_ID_SIZE], why[300];
    struct store_claim one, two;
    bool cancel;
    if (!store_place_is_postgres()) skip(); /* SQLite's has one process */
    submit(f, "a", 0, id);
    assert_int_equal(store_claim_next(f->store, store_embedded_name(f->store), 3, &one), STORE_OK);
    strcpy(other.folder, "/tmp/test_store_XXXXXX");
    assert_non_null(mkdtemp(other.folder));
    if (!store_place_open_of(f->folder, other.folder, &other.store, why, sizeof why)) fail_msg("%s", why);
    store_set_clock(other.store, clock_of, &other);
    assert_int_equal(store_claim_next(other.store, "remote", 3, &two), STORE_NOT_FOUND);
    assert_int_equal(store_heartbeat(f->store, &one, &cancel), STORE_OK);
    assert_int_equal(store_cancel(other.store, id), STORE_OK);
    assert_int_equal(store_heartbeat(f->store, &one, &cancel), STORE_OK);
    assert_true(cancel);
    other.now += LEASE_SECONDS * 1000;
    assert_int_equal(store_claim_next(other.store, "remote", 3, &two), STORE_OK);
    assert_int_equal(store_heartbeat(f->store, &one, &cancel), STORE_CONFLICT);
    assert_int_equal(store_cancelled(f->store, &one), STORE_CONFLICT);
    assert_int_equal(store_cancelled(other.store, &two), STORE_OK);
    assert_true(store_event_block(f->store, 10) < store_event_block(other.store, 10));
    store_close(&other.store);
    dir_remove(other.folder);
}

/* By capability: what does not suit is passed over, and nobody else's lease is touched. */
static bool is_small(void *ctx, const json_t *job)
{
    (void)ctx;
    return strcmp(json_string_value(json_array_get(json_object_get(job, "gguf_quant_types"), 0)), "Q4_K_M") != 0;
}

static void test_claims_by_what_suits(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE];
    struct store_claim c;
    submit(f, "a", 0, id);
    assert_int_equal(store_claim_suited(f->store, "remote", 3, is_small, NULL, &c), STORE_NOT_FOUND);
    assert_int_equal(store_claim_next(f->store, "remote", 3, &c), STORE_OK);
    assert_int_equal(store_claim_holds(f->store, &c), STORE_OK);
    assert_false(store_claim_completed(f->store, &c));
    c.epoch++;
    assert_int_equal(store_claim_holds(f->store, &c), STORE_CONFLICT);
}

static void test_workers(void **state)
{
    struct fixture *f = *state;
    char id[STORE_ID_SIZE], again[STORE_ID_SIZE];
    struct store_claim c;
    json_t *who = json_pack("{s:s, s:s, s:i, s:[s], s:{s:i}}", "name", "one", "version", "0.1.0", "slots", 2, "labels",
                            "gpu", "machine", "threads", 8);
    assert_int_equal(store_worker_add(f->store, who, id), STORE_OK);
    submit(f, "a", 0, again);
    assert_int_equal(store_claim_next(f->store, id, 3, &c), STORE_OK);
    assert_int_equal(store_worker_seen(f->store, id, NULL, true), STORE_OK);
    assert_int_equal(store_worker_seen(f->store, c.id, NULL, false), STORE_NOT_FOUND);
    json_t *list = store_workers(f->store), *worker = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(text(worker, "name"), "one");
    assert_true(json_is_true(json_object_get(worker, "draining")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(worker, "machine"), "threads")), 8);
    assert_string_equal(text(json_array_get(json_object_get(worker, "tasks"), 0), "job_id"), c.id);
    json_decref(list);
    assert_int_equal(store_worker_remove(f->store, id), STORE_OK);
    assert_int_equal(store_worker_remove(f->store, id), STORE_NOT_FOUND);
    json_decref(who);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_submit_and_show),
                                       T(test_idempotency),
                                       T(test_batch_is_all_or_none),
                                       T(test_lists),
                                       T(test_what_users_may),
                                       T(test_claims_by_priority_then_age),
                                       T(test_stale_epoch_changes_nothing),
                                       T(test_attempts_are_bounded),
                                       T(test_restart_ends_embedded_leases),
                                       T(test_progress_only_rises),
                                       T(test_publish_and_registry),
                                       T(test_deleting_a_variant_shows_in_its_job),
                                       T(test_folders),
                                       T(test_older_database),
                                       T(test_publish_without_rows),
                                       T(test_tokens),
                                       T(test_log_is_bounded),
                                       T(test_refusals),
                                       T(test_damage_is_found),
                                       T(test_full_disk),
                                       T(test_event_blocks_rise),
                                       T(test_claims_by_what_suits),
                                       T(test_workers),
                                       T(test_two_services)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
