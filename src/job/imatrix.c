/*
 * The verb imatrix: a text through the model, sums of files added, one file out.
 *
 * An unfinished run is kept in OUTPUT.partial, an importance file that also holds the exact sums:
 * written every --save-every chunks (after a group of chunks: calibrate/groups.h) and when the run is cancelled, gone when it is
 * finished.
 */
#include "job/imatrix.h"
#include "base/json_write.h"
#include "calibrate/groups.h"
#include "calibrate/statistics.h"
#include "calibrate/calibration.h"
#include "job/hub.h"
#include "job/settings.h"
#include "base/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEGACY_CHUNK = 512 }; /* tokens a chunk of a legacy file, which does not say */

struct collection {
    struct ht_job *job; /* fetches the model */
    const struct ht__imatrix_settings *settings;
    const struct ht__run *run;
    struct ht__source source;
    struct ht__arena arena;
    struct ht__checkpoint *checkpoint; /* or NULL: files are merged, nothing is run */
    struct ht__model *model;
    struct ht__calibration cal;
    struct ht__importance imp;
    struct ht__sums_state state;
    char partial[4096];
    size_t saved_at;       /* chunks */
    const char **datasets; /* of the files and of the text */
    size_t n_datasets;
    uint32_t chunk_size;
    double seconds;
    uint64_t tokens; /* that were run */
};

/* The sums with what describes them. */
static enum ht_err describe(struct collection *c, struct ht__sums_file *file, struct ht_diag *diag)
{
    HT_TRY(ht__importance_list(&c->imp, file, diag));
    file->datasets = c->datasets;
    file->n_datasets = c->n_datasets;
    file->chunk_size = c->chunk_size;
    file->chunk_count = ht__importance_chunks(&c->imp, c->chunk_size);
    return HT_OK;
}

/* ---- unfinished runs ---- */

static enum ht_err save(struct collection *c, struct ht_diag *diag)
{
    struct ht__sums_file file;
    HT_TRY(describe(c, &file, diag));
    file.state = c->state;
    return ht__sums_write(c->partial, &file, true, c->run->alloc, diag);
}

static enum ht_err after_group(void *ctx, size_t groups, struct ht_diag *diag)
{
    struct collection *c = ctx;
    size_t chunks = ht__group_begin(c->cal.windows.n, groups);
    if (c->settings->save_every == 0 || chunks - c->saved_at < c->settings->save_every || chunks >= c->cal.windows.n)
        return HT_OK;
    c->saved_at = chunks;
    return save(c, diag);
}

static enum ht_err take_up(struct collection *c, struct ht_diag *diag)
{
    struct ht__sums_file file;
    if (!c->settings->resume) return HT_OK;
    if (!ht__path_exists(c->partial)) {
        ht__log_printf(c->run->log, HT__LOG_INFO, "no earlier run to continue: starting anew");
        return HT_OK;
    }
    HT_TRY(ht__sums_read(c->partial, c->chunk_size, &c->arena, &file, diag));
    if (strcmp(file.state.identity, c->state.identity) != 0)
        return ht__fail(
            diag, HT_ERR_USAGE, c->partial, -1,
            "it was collected with another model, text or division into chunks; run without --resume to replace it");
    size_t n = c->cal.windows.n;
    if (file.state.passes >= ht__groups_of(n) || file.state.layers > 0)
        return ht__fail(diag, HT_ERR_FORMAT, c->partial, -1,
                        "it claims %u groups of chunks and %u layers, but a run of %zu chunks has %zu groups",
                        file.state.passes, file.state.layers, n, ht__groups_of(n));
    uint64_t chunks = ht__group_begin(n, file.state.passes);
    c->state = file.state;
    c->saved_at = (size_t)chunks;
    return ht__importance_resume(&c->imp, c->model, &file, c->partial, diag);
}

/* ---- running ---- */

static enum ht_err open_model(struct collection *c, struct ht_diag *diag)
{
    HT_TRY(ht__hub_source(c->job, false, &c->source, diag));
    HT_TRY(ht__checkpoint_open(c->source.path, c->run->alloc, &c->checkpoint, diag));
    HT_TRY(ht__model_open(c->checkpoint, c->run->alloc, c->run->log, &c->model, diag));
    HT_TRY(ht__calibration_open(&c->cal, &c->settings->calibration, c->run, c->model, diag));
    c->chunk_size = (uint32_t)c->cal.n_ctx;
    c->datasets[c->n_datasets++] = c->cal.dataset;
    return ht__calibration_identity(&c->cal, c->model, c->state.identity, diag);
}

static enum ht_err collect(struct collection *c, struct ht_diag *diag)
{
    struct ht__calibration_watch watch = {.done = after_group, .ctx = c};
    HT_TRY(open_model(c, diag));
    HT_TRY(take_up(c, diag));
    double start = ht__seconds();
    uint64_t chunks = c->cal.windows.n - c->saved_at;
    enum ht_err err = ht__calibration_run(&c->cal, c->run, c->model, &c->imp, &c->state, &watch, diag);
    c->seconds = ht__seconds() - start;
    c->tokens = chunks * (uint64_t)c->cal.n_ctx;
    /* what was done, if anything, is kept; if saving it fails, the run still counts as cancelled */
    if (err == HT_ERR_CANCELLED && c->state.passes && save(c, NULL) == HT_OK)
        ht__log_printf(c->run->log, HT__LOG_INFO, "what was collected is in %s: --resume continues from there",
                       c->partial);
    return err;
}

/* ---- files that are added ---- */

static enum ht_err merge_files(struct collection *c, struct ht_diag *diag)
{
    const struct ht__list *list = &c->settings->in_files;
    for (size_t i = 0; i < list->n; i++) {
        struct ht__sums_file file;
        uint32_t legacy = c->chunk_size ? c->chunk_size : LEGACY_CHUNK;
        HT_TRY(ht__sums_read(list->items[i], legacy, &c->arena, &file, diag));
        HT_TRY(ht__importance_merge(&c->imp, &file, list->items[i], diag));
        if (c->chunk_size == 0) c->chunk_size = file.chunk_size ? file.chunk_size : legacy;
        const char **names = ht__arena_array(&c->arena, c->n_datasets + file.n_datasets + 1, sizeof *names);
        if (!names) return ht__fail_memory(diag, list->items[i]);
        memcpy(names, c->datasets, c->n_datasets * sizeof *names);
        if (file.n_datasets) memcpy(names + c->n_datasets, file.datasets, file.n_datasets * sizeof *names);
        c->datasets = names;
        c->n_datasets += file.n_datasets;
    }
    return HT_OK;
}

/* ---- the report ---- */

static void put_statistics(struct ht__jw *w, const struct ht__sums_file *file, size_t item)
{
    enum { DIGITS = 9, DECIMALS = 6 };
    struct ht__statistics st;
    ht__statistics_of(file, item, &st);
    ht__jw_object(w, NULL);
    ht__jw_str(w, "tensor", file->items[item].name);
    ht__jw_uint(w, "n", st.n);
    ht__jw_digits(w, "sum", st.sum, DIGITS);
    ht__jw_digits(w, "min", st.min, DIGITS);
    ht__jw_digits(w, "max", st.max, DIGITS);
    ht__jw_digits(w, "mean", st.mean, DIGITS);
    ht__jw_digits(w, "deviation", st.deviation, DIGITS);
    ht__jw_fixed(w, "active", st.active, DECIMALS);
    ht__jw_fixed(w, "entropy", st.entropy, DECIMALS);
    ht__jw_fixed(w, "z_share", st.z_share, DECIMALS);
    ht__jw_fixed(w, "similarity", st.similarity, DECIMALS);
    ht__jw_array(w, "top_columns");
    for (int i = 0; i < st.n_top; i++)
        ht__jw_uint(w, NULL, st.top[i]);
    ht__jw_end(w);
    ht__jw_end(w);
}

static bool all_reached(const struct ht__sums *s)
{
    for (uint64_t k = 0; s->n_counts > 1 && k < s->n_counts; k++)
        if (!(s->counts[k] > 0)) return false;
    return true;
}

/* Experts that no token reached, by tensor. */
static void put_unreached(struct ht__jw *w, const struct ht__sums_file *file)
{
    ht__jw_array(w, "experts_without_data");
    for (size_t i = 0; i < file->n; i++) {
        const struct ht__sums *s = &file->items[i];
        if (all_reached(s)) continue;
        ht__jw_object(w, NULL);
        ht__jw_str(w, "tensor", s->name);
        ht__jw_uint(w, "of", s->n_counts);
        ht__jw_array(w, "experts");
        for (uint64_t k = 0; k < s->n_counts; k++)
            if (!(s->counts[k] > 0)) ht__jw_uint(w, NULL, k);
        ht__jw_end(w);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

static void put_report(const struct collection *c, const struct ht__sums_file *file, struct ht__buf *out)
{
    struct ht__jw w = ht__jw_line(out);
    ht__jw_report(&w, "imatrix");
    if (c->source.path) ht__jw_str(&w, "source", c->source.path);
    if (c->settings->output) ht__jw_str(&w, "path", c->settings->output);
    ht__jw_array(&w, "datasets");
    for (size_t i = 0; i < c->n_datasets; i++)
        ht__jw_str(&w, NULL, c->datasets[i]);
    ht__jw_end(&w);
    ht__jw_uint(&w, "entries", file->n);
    ht__jw_uint(&w, "chunks", file->chunk_count);
    ht__jw_uint(&w, "ctx", file->chunk_size);
    ht__jw_uint(&w, "tokens", c->tokens);
    ht__jw_fixed(&w, "seconds", c->seconds, 3);
    ht__jw_fixed(&w, "tokens_per_second", c->seconds > 0 ? (double)c->tokens / c->seconds : 0, 1);
    ht__weights_put_stats(&c->cal.layers, &w);
    put_unreached(&w, file);
    ht__jw_array(&w, "statistics");
    for (size_t i = 0; i < file->n; i++)
        put_statistics(&w, file, i);
    ht__jw_end(&w);
    ht__jw_end(&w);
}

static enum ht_err report(struct collection *c, const struct ht__sums_file *file, char **json, struct ht_diag *diag)
{
    const char *path = c->settings->report;
    struct ht__buf buf;
    ht__buf_init(&buf, c->run->alloc);
    put_report(c, file, &buf);
    enum ht_err err = buf.failed ? ht__fail_memory(diag, "report") : HT_OK;
    if (err == HT_OK && path) err = ht__file_publish(path, buf.data, buf.len, diag);
    if (err == HT_OK && json) err = ht__buf_hand_out(&buf, "report", json, diag);
    ht__buf_close(&buf);
    return err;
}

/* ---- the whole ---- */

static enum ht_err check_output(struct collection *c, struct ht_diag *diag)
{
    const char *output = c->settings->output;
    if (output && !c->settings->overwrite && ht__path_exists(output))
        return ht__fail(diag, HT_ERR_EXISTS, output, -1, "the file exists; --overwrite replaces it");
    if (output && (size_t)snprintf(c->partial, sizeof c->partial, "%s.partial", output) >= sizeof c->partial)
        return ht__fail(diag, HT_ERR_LIMIT, output, -1, "the path is too long");
    return HT_OK;
}

static enum ht_err run(struct collection *c, char **json, struct ht_diag *diag)
{
    const struct ht__imatrix_settings *s = c->settings;
    struct ht__sums_file file;
    HT_TRY(check_output(c, diag));
    HT_TRY(ht__importance_open(&c->imp, c->run->n_threads, c->run->alloc, diag));
    c->imp.process_output = s->calibration.process_output;
    c->datasets = ht__arena_array(&c->arena, 1, sizeof *c->datasets);
    if (!c->datasets) return ht__fail_memory(diag, "importance");
    if (s->source) HT_TRY(collect(c, diag));
    HT_TRY(merge_files(c, diag));
    ht__calibration_warn(c->run->log, &c->imp);
    HT_TRY(describe(c, &file, diag));
    HT_TRY(report(c, &file, json, diag));
    if (!s->output) return HT_OK;
    HT_TRY(ht__sums_write(s->output, &file, s->overwrite, c->run->alloc, diag));
    unlink(c->partial);
    return HT_OK;
}

enum ht_err ht__job_imatrix(struct ht_job *job, char **json, struct ht_diag *diag)
{
    struct ht__settings settings;
    struct collection c = {.job = job, .settings = &settings.imatrix, .run = &settings.run};
    ht__arena_init(&c.arena, job->alloc);
    if (json) *json = NULL;
    enum ht_err err = ht__settings_parse(&settings, job, HT__VERB_IMATRIX, diag);
    if (err == HT_OK) err = run(&c, json, diag);
    if (err != HT_OK && json) {
        free(*json);
        *json = NULL;
    }
    ht__calibration_close(&c.cal);
    ht__importance_close(&c.imp);
    ht__model_close(&c.model);
    ht__checkpoint_close(&c.checkpoint);
    ht__arena_close(&c.arena);
    ht__settings_close(&settings);
    return err;
}
