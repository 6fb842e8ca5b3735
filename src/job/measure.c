#include "job/measure.h"
#include "job/eval.h"
#include "job/hub.h"
#include "job/limit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void ht__measured_init(struct ht__measured *m, const struct ht__alloc *alloc)
{
    ht__buf_init(&m->card, alloc);
    ht__buf_init(&m->html, alloc);
    m->card_file = m->html_file = (struct ht__output){.fd = -1};
    m->card_path[0] = '\0';
}

void ht__measured_close(struct ht__measured *m)
{
    ht__output_close(&m->card_file);
    ht__output_close(&m->html_file);
    ht__buf_close(&m->card);
    ht__buf_close(&m->html);
}

bool ht__measure_wanted(const struct ht_job *job)
{
    return job->options.measure || job->options.fail_if.n > 0;
}

enum ht_err ht__measure_check(const struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__list *limits = &plan->job->options.fail_if;
    struct ht__limit limit;
    if (!ht__measure_wanted(plan->job)) return HT_OK;
    for (size_t i = 0; i < limits->n; i++)
        HT_TRY(ht__limit_parse(limits->items[i], &limit, diag));
    return ht__eval_check(plan->job, plan->model, plan->job->options.source, NULL, diag);
}

/* ---- the outputs under their final names ------------------------------------------------------
 */

/* Shards find each other by their names, which the files do not have yet: a folder beside them has
 * links that do. */
struct stage {
    char folder[4200];
    struct ht__eval_subject *subjects;
};

static enum ht_err link_file(const struct stage *stage, const struct ht__plan_file *file,
                             struct ht_diag *diag)
{
    char path[4600], target[4300];
    snprintf(path, sizeof path, "%s/%s", stage->folder, ht__path_base(file->path));
    snprintf(target, sizeof target, "../%s", ht__path_base(file->out.part_path));
    if (symlink(target, path) == 0) return HT_OK;
    return ht__fail_errno(diag, errno, path, "cannot make a link to measure");
}

static enum ht_err open_stage(const struct ht__plan *plan, struct stage *stage,
                              struct ht_diag *diag)
{
    snprintf(stage->folder, sizeof stage->folder, "%s.measure", plan->outputs[0].files[0].path);
    stage->subjects = ht__new_array(plan->job->alloc, plan->n_outputs, sizeof *stage->subjects);
    if (!stage->subjects) return ht__fail_memory(diag, "measure");
    if (mkdir(stage->folder, 0777) != 0 && errno != EEXIST)
        return ht__fail_errno(diag, errno, stage->folder, "cannot make a folder");
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const struct ht__plan_output *o = &plan->outputs[i];
        for (uint32_t f = 0; f < o->n_files; f++)
            HT_TRY(link_file(stage, &o->files[f], diag));
        struct ht__eval_subject *s = &stage->subjects[i];
        snprintf(s->path, sizeof s->path, "%s/%s", stage->folder, ht__path_base(o->files[0].path));
        s->name = o->files[0].path;
    }
    return HT_OK;
}

static void close_stage(const struct ht__plan *plan, struct stage *stage)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            char path[4600];
            snprintf(path, sizeof path, "%s/%s", stage->folder,
                     ht__path_base(plan->outputs[i].files[f].path));
            unlink(path);
        }
    rmdir(stage->folder);
    ht__free(plan->job->alloc, stage->subjects);
}

/* ---- what becomes of the figures --------------------------------------------------------------
 */

static enum ht_err keep_figures(struct ht__plan *plan, const struct ht__eval *eval,
                                struct ht_diag *diag)
{
    for (size_t i = 0; i < plan->n_outputs; i++) {
        struct ht__buf buf;
        ht__buf_init(&buf, plan->job->alloc);
        ht__eval_put_quality(eval, i, &buf);
        plan->outputs[i].quality =
            buf.failed ? NULL : ht__arena_copy(&plan->arena, (const char *)buf.data, buf.len);
        ht__buf_close(&buf);
        if (!plan->outputs[i].quality) return ht__fail_memory(diag, "report");
    }
    return HT_OK;
}

static enum ht_err hold_limits(const struct ht__plan *plan, const struct ht__eval *eval,
                               struct ht_diag *diag)
{
    const struct ht__list *limits = &plan->job->options.fail_if;
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (size_t l = 0; l < limits->n; l++) {
            struct ht__limit limit;
            HT_TRY(ht__limit_parse(limits->items[l], &limit, diag));
            double value = ht__eval_figure(eval, i, limit.figure);
            if (!ht__limit_broken(&limit, value)) continue;
            return ht__fail(diag, HT_ERR_VERIFY, plan->outputs[i].files[0].path, -1,
                            "%s is %.6g: nothing is published, as --fail-if '%s' asks",
                            ht__figure_name(limit.figure), value, limits->items[l]);
        }
    return HT_OK;
}

/* Beside the files, named as the first of them without its type: "out/model.quality.md". */
static void name_card(const struct ht__plan *plan, char path[4096])
{
    const struct ht__plan_output *o = &plan->outputs[0];
    snprintf(path, 4096 - 16, "%s", o->files[0].path);
    char *dot = strrchr(path, '.'), *base = strrchr(path, '/'), *dash;
    base = base ? base : path;
    if (dot && dot > base) *dot = '\0';
    if (o->n_files > 1 && (dash = strstr(base, "-00001-of-"))) *dash = '\0';
    size_t len = strlen(path), type = strlen(o->mix->name);
    if (len > type + 1 && strcmp(path + len - type, o->mix->name) == 0 &&
        path[len - type - 1] == '-')
        path[len - type - 1] = '\0';
    strcat(path, ".quality.md");
}

static enum ht_err use_figures(struct ht__plan *plan, const struct ht__eval *eval,
                               struct ht__measured *measured, struct ht_diag *diag)
{
    HT_TRY(hold_limits(plan, eval, diag));
    HT_TRY(keep_figures(plan, eval, diag));
    name_card(plan, measured->card_path);
    ht__eval_card(eval, &measured->card);
    if (measured->card.failed) return ht__fail_memory(diag, "model card");
    return plan->job->options.html ? ht__eval_html(eval, &measured->html, diag) : HT_OK;
}

enum ht_err ht__measure_run(struct ht__plan *plan, struct ht__measured *measured,
                            struct ht_diag *diag)
{
    struct stage stage = {.subjects = NULL};
    struct ht__eval *eval = NULL;
    if (!ht__measure_wanted(plan->job)) return HT_OK;
    enum ht_err err = open_stage(plan, &stage, diag);
    struct ht__eval_request request = {
        .subjects = stage.subjects, .n = plan->n_outputs, .against = plan->job->options.source,
        .against_name = ht__hub_named(plan->job)};
    if (!err) err = ht__eval_run(plan->job, &request, &eval, diag);
    if (!err) err = use_figures(plan, eval, measured, diag);
    ht__eval_close(&eval);
    close_stage(plan, &stage);
    return err;
}

static enum ht_err write_file(struct ht__output *file, const char *path, const struct ht__buf *buf,
                              struct ht_diag *diag)
{
    if (buf->len == 0) return HT_OK;
    HT_TRY(ht__output_open(file, path, 0, true, false, diag));
    return ht__output_write(file, 0, buf->data, buf->len, diag);
}

enum ht_err ht__measured_write(struct ht__measured *m, const struct ht_job *job,
                               struct ht_diag *diag)
{
    HT_TRY(write_file(&m->card_file, m->card_path, &m->card, diag));
    return write_file(&m->html_file, job->options.html, &m->html, diag);
}

enum ht_err ht__measured_publish(struct ht__measured *m, struct ht_diag *diag)
{
    if (m->card.len) HT_TRY(ht__output_publish(&m->card_file, diag));
    return m->html.len ? ht__output_publish(&m->html_file, diag) : HT_OK;
}
