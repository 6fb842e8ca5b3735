/*
 * The verb imatrix: a text through the model, sums of files added, one file out.
 *
 * An unfinished run stands in OUTPUT.partial, an importance file of the field's form with the exact sums besides:
 * written every --save-every chunks and when the run is cancelled, gone when it is finished.
 */
#include "job/imatrix.h"
#include "base/json.h"
#include "calibrate/statistics.h"
#include "job/calibration.h"
#include "job/hub.h"
#include "job/meter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEGACY_CHUNK = 512 }; /* tokens a chunk of a legacy file, which does not say */

struct collection {
    struct ht_job *job;
    struct ht__arena arena;
    struct ht__checkpoint *checkpoint; /* or NULL: files are merged, nothing is run */
    struct ht__model *model;
    struct ht__calibration cal;
    struct ht__importance imp;
    struct ht__sums_state state;
    char partial[4096];
    uint64_t save_every;  /* chunks; 0: only when cancelled */
    size_t saved_at;      /* chunks */
    const char **datasets; /* of the files and of the text */
    size_t n_datasets;
    uint32_t chunk_size;
    double seconds;
    uint64_t tokens; /* that were run */
};

/* The sums with what describes them. */
static void describe(struct collection *c, struct ht__sums_file *file)
{
    ht__importance_list(&c->imp, file);
    file->datasets = c->datasets;
    file->n_datasets = c->n_datasets;
    file->chunk_size = c->chunk_size;
    file->chunk_count = ht__importance_chunks(&c->imp, c->chunk_size);
}

/* ---- unfinished runs ---- */

static enum ht_err save(struct collection *c, struct ht_diag *diag)
{
    struct ht__sums_file file;
    describe(c, &file);
    file.state = c->state;
    return ht__sums_write(c->partial, &file, true, c->job->alloc, diag);
}

static enum ht_err after_pass(void *ctx, size_t passes, struct ht_diag *diag)
{
    struct collection *c = ctx;
    size_t chunks = passes * (size_t)c->cal.n_seqs;
    if (c->save_every == 0 || chunks - c->saved_at < c->save_every || chunks >= c->cal.n_chunks) return HT_OK;
    c->saved_at = chunks;
    c->state.passes = (uint32_t)passes;
    c->state.layers = 0;
    return save(c, diag);
}

static enum ht_err take_up(struct collection *c, struct ht_diag *diag)
{
    struct ht__sums_file file;
    if (!c->job->options.resume) return HT_OK;
    if (!ht__path_exists(c->partial)) {
        ht__log_printf(&c->job->log, HT__LOG_INFO, "no earlier run to continue: starting anew");
        return HT_OK;
    }
    HT_TRY(ht__sums_read(c->partial, c->chunk_size, &c->arena, &file, diag));
    if (strcmp(file.state.identity, c->state.identity) != 0)
        return ht__fail(diag, HT_ERR_USAGE, c->partial, -1,
                        "it is of another model, text or cutting into chunks; without --resume it is replaced");
    uint64_t chunks = (uint64_t)file.state.passes * (uint64_t)c->cal.n_seqs;
    if (chunks >= c->cal.n_chunks || file.state.layers > c->model->n_layers)
        return ht__fail(diag, HT_ERR_FORMAT, c->partial, -1, "%u passes and %u layers of a run of %zu chunks", file.state.passes,
                        file.state.layers, c->cal.n_chunks);
    c->state = file.state;
    c->saved_at = (size_t)chunks;
    return ht__importance_merge(&c->imp, &file, c->partial, diag);
}

/* ---- running ---- */

static enum ht_err open_model(struct collection *c, struct ht_diag *diag)
{
    const struct ht__options *o = &c->job->options;
    HT_TRY(ht__hub_source(c->job, false, diag));
    HT_TRY(ht__checkpoint_open(o->source, c->job->alloc, &c->checkpoint, diag));
    HT_TRY(ht__model_open(c->checkpoint, c->job->alloc, &c->job->log, &c->model, diag));
    struct ht__calibration_request request = {o->text, o->tokens, o->ctx, o->chunks, o->from_chunk};
    HT_TRY(ht__calibration_open(&c->cal, c->job, c->model, &request, diag));
    c->chunk_size = (uint32_t)c->cal.n_ctx;
    c->datasets[c->n_datasets++] = c->cal.dataset;
    return ht__calibration_identity(&c->cal, c->model, o->process_output, c->state.identity, diag);
}

static enum ht_err collect(struct collection *c, struct ht_diag *diag)
{
    struct ht__calibration_watch watch = {after_pass, c};
    HT_TRY(open_model(c, diag));
    HT_TRY(take_up(c, diag));
    double start = ht__seconds();
    uint64_t chunks = c->cal.n_chunks - c->saved_at;
    enum ht_err err = ht__calibration_run(&c->cal, c->job, c->model, &c->imp, &c->state, &watch, diag);
    c->seconds = ht__seconds() - start;
    c->tokens = chunks * (uint64_t)c->cal.n_ctx;
    /* what was done is kept, unless it is nothing; when even that fails the run was cancelled all the same */
    if (err == HT_ERR_CANCELLED && (c->state.passes || c->state.layers) && save(c, NULL) == HT_OK)
        ht__log_printf(&c->job->log, HT__LOG_INFO, "what was collected stands in %s: --resume goes on from there", c->partial);
    return err;
}

/* ---- files that are added ---- */

static enum ht_err merge_files(struct collection *c, struct ht_diag *diag)
{
    const struct ht__list *list = &c->job->options.in_file;
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

static void put_str(struct ht__buf *out, const char *key, const char *text)
{
    ht__buf_printf(out, "\"%s\": ", key);
    ht__json_quote(out, text, strlen(text));
}

static void put_statistics(struct ht__buf *out, const struct ht__sums_file *file, size_t item)
{
    const struct ht__sums *s = &file->items[item];
    struct ht__statistics st;
    ht__statistics_of(file, item, &st);
    ht__buf_str(out, item ? ", {" : "{");
    put_str(out, "tensor", s->name);
    ht__buf_printf(out, ", \"n\": %llu, \"sum\": %.9g, \"min\": %.9g, \"max\": %.9g, \"mean\": %.9g, \"deviation\": %.9g",
                   (unsigned long long)st.n, st.sum, st.min, st.max, st.mean, st.deviation);
    ht__buf_printf(out, ", \"active\": %.6f, \"entropy\": %.6f, \"z_share\": %.6f, \"similarity\": ", st.active, st.entropy,
                   st.z_share);
    if (isfinite(st.similarity))
        ht__buf_printf(out, "%.6f", st.similarity);
    else
        ht__buf_str(out, "null");
    ht__buf_str(out, ", \"top_columns\": [");
    for (int i = 0; i < st.n_top; i++)
        ht__buf_printf(out, "%s%llu", i ? ", " : "", (unsigned long long)st.top[i]);
    ht__buf_str(out, "]}");
}

/* Experts that no token reached, by tensor. */
static void put_unreached(struct ht__buf *out, const struct ht__sums_file *file)
{
    bool any = false;
    ht__buf_str(out, "\"experts_without_data\": [");
    for (size_t i = 0; i < file->n; i++) {
        const struct ht__sums *s = &file->items[i];
        bool first = true;
        for (uint64_t k = 0; s->n_counts > 1 && k < s->n_counts; k++) {
            if (s->counts[k] > 0) continue;
            if (first) {
                ht__buf_str(out, any ? ", {" : "{");
                put_str(out, "tensor", s->name);
                ht__buf_printf(out, ", \"of\": %llu, \"experts\": [", (unsigned long long)s->n_counts);
            }
            ht__buf_printf(out, "%s%llu", first ? "" : ", ", (unsigned long long)k);
            first = false;
            any = true;
        }
        if (!first) ht__buf_str(out, "]}");
    }
    ht__buf_str(out, "], ");
}

static void put_report(struct collection *c, struct ht__buf *out)
{
    const struct ht__options *o = &c->job->options;
    struct ht__sums_file file;
    describe(c, &file);
    ht__buf_printf(out, "{\"halftone\": \"%s\", \"verb\": \"imatrix\", ", HT_VERSION);
    if (o->source) {
        put_str(out, "source", o->source);
        ht__buf_str(out, ", ");
    }
    if (o->output) {
        put_str(out, "path", o->output);
        ht__buf_str(out, ", ");
    }
    ht__buf_str(out, "\"datasets\": [");
    for (size_t i = 0; i < c->n_datasets; i++) {
        if (i) ht__buf_str(out, ", ");
        ht__json_quote(out, c->datasets[i], strlen(c->datasets[i]));
    }
    ht__buf_printf(out, "], \"entries\": %zu, \"chunks\": %u, \"ctx\": %u, \"tokens\": %llu, \"seconds\": %.3f, ", file.n,
                   file.chunk_count, file.chunk_size, (unsigned long long)c->tokens, c->seconds);
    ht__buf_printf(out, "\"tokens_per_second\": %.1f, ", c->seconds > 0 ? (double)c->tokens / c->seconds : 0);
    ht__weights_put_stats(&c->cal.layers, out);
    put_unreached(out, &file);
    ht__buf_str(out, "\"statistics\": [");
    for (size_t i = 0; i < file.n; i++)
        put_statistics(out, &file, i);
    ht__buf_str(out, "]}");
}

/* free() frees *json, whatever the job's allocator is. */
static enum ht_err report(struct collection *c, char **json, struct ht_diag *diag)
{
    const char *path = c->job->options.report;
    struct ht__buf buf;
    ht__buf_init(&buf, c->job->alloc);
    put_report(c, &buf);
    const char *text = ht__buf_text(&buf);
    enum ht_err err = buf.failed ? ht__fail_memory(diag, "report") : HT_OK;
    if (err == HT_OK && path) err = ht__file_publish(path, buf.data, buf.len, diag);
    if (err == HT_OK && json && !(*json = strdup(text))) err = ht__fail_memory(diag, "report");
    ht__buf_close(&buf);
    return err;
}

/* ---- the whole ---- */

static enum ht_err check_options(struct collection *c, struct ht_diag *diag)
{
    const struct ht__options *o = &c->job->options;
    if (!o->source && o->in_file.n == 0)
        return ht__fail(diag, HT_ERR_USAGE, "model", -1, "a model to run is wanted, or files to merge (--in-file)");
    if (!o->source && (o->text || o->tokens)) return ht__fail(diag, HT_ERR_USAGE, "model", -1, "no model was named");
    if (o->text && o->tokens) return ht__fail(diag, HT_ERR_USAGE, "text", -1, "a text or token ids, not both");
    if (!o->output && !(o->statistics && !o->source))
        return ht__fail(diag, HT_ERR_USAGE, "output", -1, "where to write is wanted: -o FILE.gguf");
    if (o->output && !o->overwrite && ht__path_exists(o->output))
        return ht__fail(diag, HT_ERR_EXISTS, o->output, -1, "the file exists; --overwrite replaces it");
    if (o->output && (size_t)snprintf(c->partial, sizeof c->partial, "%s.partial", o->output) >= sizeof c->partial)
        return ht__fail(diag, HT_ERR_LIMIT, o->output, -1, "the path is too long");
    return o->save_every ? ht__parse_count("save-every", o->save_every, 1, UINT32_MAX, &c->save_every, diag) : HT_OK;
}

static enum ht_err run(struct collection *c, char **json, struct ht_diag *diag)
{
    const struct ht__options *o = &c->job->options;
    int n_threads;
    struct ht__sums_file file;
    HT_TRY(check_options(c, diag));
    HT_TRY(ht__calibration_threads(c->job, &n_threads, diag));
    HT_TRY(ht__importance_open(&c->imp, n_threads, c->job->alloc, diag));
    c->imp.process_output = o->process_output;
    c->datasets = ht__arena_array(&c->arena, 1, sizeof *c->datasets);
    if (!c->datasets) return ht__fail_memory(diag, "importance");
    if (o->source) HT_TRY(collect(c, diag));
    HT_TRY(merge_files(c, diag));
    ht__calibration_warn(c->job, &c->imp);
    HT_TRY(report(c, json, diag));
    if (!o->output) return HT_OK;
    describe(c, &file);
    HT_TRY(ht__sums_write(o->output, &file, o->overwrite, c->job->alloc, diag));
    unlink(c->partial);
    return HT_OK;
}

enum ht_err ht__job_imatrix(struct ht_job *job, char **json, struct ht_diag *diag)
{
    struct collection c = {.job = job};
    ht__arena_init(&c.arena, job->alloc);
    if (json) *json = NULL;
    enum ht_err err = run(&c, json, diag);
    if (err != HT_OK && json) {
        free(*json);
        *json = NULL;
    }
    ht__calibration_close(&c.cal);
    ht__importance_close(&c.imp);
    ht__model_close(&c.model);
    ht__checkpoint_close(&c.checkpoint);
    ht__arena_close(&c.arena);
    return err;
}
