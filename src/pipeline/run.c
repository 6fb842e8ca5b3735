/* The stages after planning. Whatever fails, nothing is left that looks finished. */
#include "pipeline/budget.h"
#include "pipeline/folder_publish.h"
#include "pipeline/layers_driver.h"
#include "pipeline/measure.h"
#include "pipeline/part.h"
#include "pipeline/report.h"
#include "pipeline/run.h"
#include "pipeline/seal.h"
#include "pipeline/source.h"
#include "pipeline/space.h"
#include "pipeline/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum ht_err make_folder(const char *path, struct ht_diag *diag)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder) return HT_OK;
    *slash = '\0';
    return ht__make_dirs(folder, diag);
}

/* All outputs go to one folder: its free space against what they need. A resumed run has its space. */
static enum ht_err check_disk(const struct ht__plan *plan, bool resuming, struct ht_diag *diag)
{
    struct ht__space space;
    HT_TRY(ht__space_ask(plan, &space, diag));
    return resuming ? HT_OK : ht__space_check_disk(plan, &space, diag);
}

/* An output must never be one of the files that are read. */
static enum ht_err check_paths(const struct ht__plan *plan, const struct ht__plan_file *file, struct ht_diag *diag)
{
    char real[4096], out[4096];
    if (!realpath(file->path, out)) return HT_OK; /* does not exist */
    for (uint32_t i = 0; i < plan->checkpoint->n_files; i++)
        if (realpath(plan->checkpoint->files[i].path, real) && strcmp(real, out) == 0)
            return ht__fail(diag, HT_ERR_USAGE, file->path, -1, "the output would replace the source");
    return HT_OK;
}

static int by_path(const void *a, const void *b)
{
    const struct ht__plan_file *const *x = a, *const *y = b;
    return strcmp((*x)->path, (*y)->path);
}

/* Every file of every output, by path: runs that share outputs lock them in the same order, so that one gets them all. */
static enum ht_err list_files(struct ht__plan *plan, struct ht__plan_file ***files, size_t *n, struct ht_diag *diag)
{
    *n = 0;
    for (size_t i = 0; i < plan->n_outputs; i++)
        *n += plan->outputs[i].n_files;
    *files = ht__arena_array(&plan->arena, *n, sizeof **files);
    if (!*files) return ht__fail_memory(diag, "plan");
    for (size_t i = 0, at = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            (*files)[at++] = &plan->outputs[i].files[f];
    qsort(*files, *n, sizeof **files, by_path);
    return HT_OK;
}

static enum ht_err open_output(struct ht__plan *plan, struct ht__plan_file *file, bool resuming, struct ht_diag *diag)
{
    HT_TRY(check_paths(plan, file, diag));
    /* in a folder that is being made, nothing is anybody else's */
    bool overwrite = plan->settings->publish.overwrite || file->made != file->path;
    uint64_t reserved = plan->settings->publish.parts ? 0 : file->size; /* of a part the rest is never written */
    HT_TRY(ht__output_open(&file->out, file->made, reserved, overwrite, resuming, diag));
    file->out.keep = file->out.resumed; /* until it is known whose it is */
    return HT_OK;
}

/* Opens and locks the outputs; with `resuming`, as an earlier run left them. */
static enum ht_err open_outputs(struct ht__plan *plan, bool resuming, struct ht_diag *diag)
{
    struct ht__plan_file **files;
    size_t n;
    bool unlocked = false;
    HT_TRY(list_files(plan, &files, &n, diag));
    for (size_t i = 0; i < plan->n_outputs; i++)
        if (plan->outputs[i].folder) HT_TRY(ht__folder_begin(plan, &plan->outputs[i], diag));
    for (size_t i = 0; i < n; i++) {
        HT_TRY(open_output(plan, files[i], resuming, diag));
        unlocked |= files[i]->out.unlocked;
    }
    if (unlocked)
        ht__log_printf(plan->run.log, HT__LOG_WARNING,
                       "the file system of %s has no locks: make sure that no other run writes the same outputs",
                       plan->outputs[0].files[0].path);
    return HT_OK;
}

/* What an earlier run left and cannot be continued is replaced by new files. */
static enum ht_err start_outputs(struct ht__plan *plan, bool continued, struct ht_diag *diag)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            struct ht__plan_file *file = &plan->outputs[i].files[f];
            file->out.keep = false;
            if (!continued && file->out.resumed) {
                ht__output_close(&file->out);
                HT_TRY(open_output(plan, file, false, diag));
            }
            HT_TRY(ht__output_write(&file->out, 0, file->head.data, file->head.len, diag));
        }
    return HT_OK;
}

static void keep_outputs(struct ht__plan *plan)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            plan->outputs[i].files[f].out.keep = true;
}

/* Between tensors and after the last there is padding; a file that is written anew has zeros there by
 * itself, a resumed one too: its length never changes. */
static enum ht_err verify_all(struct ht__plan *plan, struct ht_diag *diag)
{
    struct ht__progress progress;
    uint64_t done = 0;
    ht__progress_begin(&progress, &plan->run, "verify", "bytes", plan->out_bytes);
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            HT_TRY(ht__verify_file(plan, &plan->outputs[i].files[f], &progress, &done, diag));
    return HT_OK;
}

/* Syncing is what may fail, so it comes first; then the renames. When one fails all the same, what was
 * published before it goes again. */
static enum ht_err publish_all(struct ht__plan *plan, struct ht_diag *diag)
{
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < plan->n_outputs && err == HT_OK; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files && err == HT_OK; f++)
            err = ht__output_sync(&plan->outputs[i].files[f].out, diag);
    for (size_t i = 0; i < plan->n_outputs && err == HT_OK; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files && err == HT_OK; f++)
            err = ht__output_publish(&plan->outputs[i].files[f].out, diag);
    for (size_t i = 0; i < plan->n_outputs && err == HT_OK; i++)
        if (plan->outputs[i].folder) err = ht__folder_publish(&plan->outputs[i], diag);
    return err;
}

static void retract_all(struct ht__plan *plan)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        if (plan->outputs[i].folder) ht__folder_retract(&plan->outputs[i]);
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            ht__output_retract(&plan->outputs[i].files[f].out);
}

static enum ht_err prepare(struct ht__plan *plan, struct ht__stream_result *result, struct ht__journal *journal,
                           struct ht_diag *diag)
{
    size_t n = plan->n_items;
    result->stats = ht__arena_array(&plan->arena, n, sizeof *result->stats);
    double *errors = ht__arena_array(&plan->arena, n * plan->n_outputs, sizeof *errors);
    struct ht__sum *written = ht__arena_array(&plan->arena, n * plan->n_outputs, sizeof *written);
    if (!result->stats || !errors || !written) return ht__fail_memory(diag, "plan");
    HT_TRY(ht__journal_open(journal, plan, diag));
    for (size_t i = 0; i < n; i++) {
        result->stats[i].errors = errors + i * plan->n_outputs;
        result->stats[i].written = written + i * plan->n_outputs;
        ht__buf_init(&result->stats[i].readings, plan->run.alloc);
    }
    return make_folder(plan->outputs[0].files[0].made, diag);
}

static void close_result(const struct ht__plan *plan, struct ht__stream_result *result)
{
    for (size_t i = 0; result->stats && i < plan->n_items; i++)
        ht__buf_close(&result->stats[i].readings);
}

/* What a resumed run needs must all be there, or it starts anew. */
static bool parts_exist(const struct ht__plan *plan)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            char part[4200];
            snprintf(part, sizeof part, "%s.part", plan->outputs[i].files[f].made);
            if (!ht__path_exists(part)) return false;
        }
    return true;
}

/* Outputs and journal, new or as an earlier run left them. The outputs are locked before the journal is touched. */
static enum ht_err begin(struct ht__plan *plan, struct ht__stream_result *result, struct ht__journal *journal,
                         struct ht_diag *diag)
{
    const struct ht__list *taken = &plan->settings->publish.take_from;
    bool resume = plan->settings->publish.resume, found = false;
    HT_TRY(check_disk(plan, resume && parts_exist(plan), diag));
    HT_TRY(ht__journal_init(journal, plan, diag));
    HT_TRY(open_outputs(plan, resume, diag));
    if (resume) HT_TRY(ht__journal_load(journal, plan, result->stats, &found, diag));
    if (resume && !found) ht__log_printf(plan->run.log, HT__LOG_INFO, "no earlier run to continue: starting anew");
    if (found) HT_TRY(ht__journal_check(journal, plan, result->stats, diag));
    HT_TRY(start_outputs(plan, found, diag));
    for (size_t i = 0; i < taken->n; i++)
        HT_TRY(ht__journal_take(journal, plan, result->stats, taken->items[i], diag));
    return ht__journal_start(journal, plan, result->stats, diag);
}

static enum ht_err quantize(struct ht__plan *plan, struct ht__journal *journal, struct ht__stream_result *result,
                            struct ht_diag *diag)
{
    struct ht__stream *stream = NULL;
    enum ht_err err = ht__stream_open(plan, journal, result, &stream, diag);
    if (err == HT_OK)
        err = ht__layers_wanted(plan) ? ht__layers_run(plan, journal, stream, diag)
                                      : ht__stream_items(stream, NULL, diag);
    ht__stream_close(&stream);
    return err;
}

/* Only the part's tensors, left as an interrupted run leaves them. */
static enum ht_err make_part(struct ht__plan *plan, struct ht__stream_result *result, struct ht__journal *journal,
                             struct ht_diag *diag)
{
    if (plan->settings->importance.parts) { /* that was all */
        plan->n_work = 0;
        return HT_OK;
    }
    HT_TRY(ht__part_choose(plan, diag));
    HT_TRY(begin(plan, result, journal, diag));
    return quantize(plan, journal, result, diag);
}

static enum ht_err work(struct ht__plan *plan, struct ht__stream_result *result, struct ht__journal *journal,
                        struct ht_diag *diag)
{
    struct ht__source_hash *hash;
    HT_TRY(begin(plan, result, journal, diag));
    HT_TRY(ht__source_hash_start(plan, &hash, diag));
    enum ht_err err = quantize(plan, journal, result, diag);
    if (err == HT_OK) err = ht__seal_all(plan, diag);
    if (err == HT_OK) err = verify_all(plan, diag);
    if (err == HT_OK) err = ht__source_hash_wait(hash, diag);
    if (err == HT_OK) err = ht__source_hash_compare(hash, result, diag);
    ht__source_hash_close(&hash);
    return err;
}

/* A run that was asked to resume, and is interrupted, can be resumed once more. */
static bool keep_for_later(struct ht__plan *plan, const struct ht__journal *journal, enum ht_err err)
{
    bool part = err == HT_OK && plan->settings->publish.parts;
    bool interrupted = err == HT_ERR_CANCELLED && plan->settings->publish.resume;
    if ((!part && !interrupted) || journal->fd < 0) return false;
    keep_outputs(plan);
    if (part) return true;
    ht__log_printf(plan->run.log, HT__LOG_INFO, "what is finished is kept: --resume continues from there");
    return true;
}

/* The recipe of a budget, under a temporary name. */
static enum ht_err write_recipe(const struct ht__plan *plan, struct ht__output *file, struct ht_diag *diag)
{
    struct ht__buf buf;
    char path[4200];
    ht__buf_init(&buf, plan->run.alloc);
    ht__budget_yaml(plan, &buf);
    enum ht_err err = buf.failed ? ht__fail_memory(diag, "recipe") : HT_OK;
    if (err == HT_OK) err = ht__output_open(file, ht__budget_path(plan, path, sizeof path), 0, true, false, diag);
    if (err == HT_OK) err = ht__output_write(file, 0, buf.data, buf.len, diag);
    ht__buf_close(&buf);
    return err;
}

/* The report is on the disk before the outputs are published: a run that cannot report
 * what it did has failed, and leaves nothing. */
static enum ht_err report_and_publish(struct ht__plan *plan, const struct ht__stream_result *result,
                                      struct ht__measured *measured, char **json, struct ht_diag *diag)
{
    const char *path = plan->settings->publish.report;
    struct ht__output file = {.fd = -1}, recipe = {.fd = -1};
    struct ht__buf buf;
    ht__buf_init(&buf, plan->run.alloc);
    enum ht_err err = ht__report(plan, result, NULL, &buf, diag);
    if (err == HT_OK && json) err = ht__buf_hand_out(&buf, "report", json, diag);
    if (err == HT_OK && path) err = ht__output_open(&file, path, 0, true, false, diag);
    if (err == HT_OK && path) err = ht__output_write(&file, 0, buf.data, buf.len, diag);
    if (err == HT_OK && plan->budget) err = write_recipe(plan, &recipe, diag);
    if (err == HT_OK) err = ht__measured_write(measured, plan->settings->publish.html, diag);
    if (err == HT_OK) err = publish_all(plan, diag);
    if (err == HT_OK) err = ht__measured_publish(measured, diag);
    if (err == HT_OK && path) err = ht__output_publish(&file, diag);
    if (err == HT_OK && plan->budget) err = ht__output_publish(&recipe, diag);
    if (err != HT_OK) {
        retract_all(plan);
        if (json) {
            free(*json);
            *json = NULL;
        }
    }
    ht__output_close(&file);
    ht__output_close(&recipe);
    ht__buf_close(&buf);
    return err;
}

static enum ht_err run_part(struct ht__plan *plan, char **json, struct ht_diag *diag)
{
    struct ht__stream_result result = {0};
    struct ht__journal journal = {.fd = -1};
    struct ht__buf buf;
    ht__buf_init(&buf, plan->run.alloc);
    enum ht_err err = prepare(plan, &result, &journal, diag);
    if (err == HT_OK) err = make_part(plan, &result, &journal, diag);
    if (err == HT_OK) err = ht__sources_unchanged(plan, diag);
    if (err == HT_OK) err = ht__report(plan, &result, NULL, &buf, diag);
    if (err == HT_OK && plan->settings->publish.report)
        err = ht__file_publish(plan->settings->publish.report, buf.data, buf.len, diag);
    if (err == HT_OK && json) err = ht__buf_hand_out(&buf, "report", json, diag);
    ht__journal_close(&journal, plan, keep_for_later(plan, &journal, err));
    close_result(plan, &result);
    ht__buf_close(&buf);
    return err;
}

enum ht_err ht__plan_run(struct ht__plan *plan, char **json, struct ht_diag *diag)
{
    struct ht__stream_result result = {0};
    struct ht__journal journal = {.fd = -1};
    if (plan->settings->publish.parts || plan->settings->importance.parts) return run_part(plan, json, diag);
    struct ht__measured measured;
    HT_TRY(ht__measure_check(plan, diag));
    ht__measured_init(&measured, plan->run.alloc);
    enum ht_err err = prepare(plan, &result, &journal, diag);
    if (err == HT_OK) err = work(plan, &result, &journal, diag);
    if (err == HT_OK) err = ht__measure_run(plan, &measured, diag);
    if (err == HT_OK) err = ht__sources_unchanged(plan, diag);
    if (err == HT_OK) err = report_and_publish(plan, &result, &measured, json, diag);
    ht__measured_close(&measured);
    ht__journal_close(&journal, plan, keep_for_later(plan, &journal, err));
    close_result(plan, &result);
    return err;
}

enum ht_err ht__plan_check(const struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__publish_settings *s = &plan->settings->publish;
    for (size_t i = 0; i < plan->n_outputs && !s->overwrite; i++)
        if (plan->outputs[i].folder && ht__path_exists(plan->outputs[i].folder))
            return ht__fail(diag, HT_ERR_EXISTS, plan->outputs[i].folder, -1,
                            "the folder exists; --overwrite replaces it");
    for (size_t i = 0; i < plan->n_outputs && !s->overwrite; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            if (ht__path_exists(plan->outputs[i].files[f].path))
                return ht__fail(diag, HT_ERR_EXISTS, plan->outputs[i].files[f].path, -1,
                                "the file exists; --overwrite replaces it");
    return check_disk(plan, s->resume, diag);
}
