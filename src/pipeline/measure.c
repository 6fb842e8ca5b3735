#include "pipeline/measure.h"
#include "engine/memory.h"
#include "eval/eval.h"
#include "eval/limit.h"
#include "pipeline/budget.h"
#include "pipeline/method_card.h"

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

enum ht_err ht__measure_check(const struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__measure_settings *s = &plan->settings->measure;
    if (!s->wanted) return HT_OK;
    return ht__eval_check(&s->eval, &plan->run, plan->model, plan->settings->source.path, NULL, diag);
}

enum ht_err ht__measure_memory(struct ht__plan *plan, uint64_t fixed, uint64_t *total, struct ht_diag *diag)
{
    struct ht__engine_use use = {.n_models = plan->n_outputs + 1,
                                 .text_bytes = ht__engine_text_bytes(plan->settings->measure.eval.text)};
    uint64_t besides;
    HT_TRY(
        ht__eval_use(&plan->settings->measure.eval, &plan->run, plan->model, plan->settings->source.path, &use, diag));
    HT_TRY(ht__engine_besides(plan->model, &use, &besides, diag));
    struct ht__engine_need sum = ht__engine_need(plan->model, NULL);
    const struct ht__codec **types = ht__arena_array(&plan->arena, plan->model->n_weights, sizeof *types);
    if (!types) return ht__fail_memory(diag, "measure");
    for (size_t i = 0; i < plan->n_outputs; i++) {
        for (size_t w = 0; w < plan->model->n_weights; w++)
            types[w] = plan->outputs[i].choices[w].type;
        /* a folder's matrices are run as floats, like the source's */
        bool native = plan->outputs[i].target->container->dialect == HT__DIALECT_NATIVE;
        struct ht__engine_need one = ht__engine_need(plan->model, native ? NULL : types);
        sum.all += one.all;
        sum.least += one.least;
    }
    ht__engine_fit(plan->memory_limit, fixed + besides, &sum, total, &plan->measure_matrices);
    return HT_OK;
}

/* ---- the outputs under their final names ------------------------------------------------------ */

/* Shards find each other by their names, which the files do not have yet: a folder beside them has
 * links that do. */
struct stage {
    char folder[4200];
    struct ht__eval_subject *subjects;
};

/* Where links to the output's files lie. */
static void folder_of(const struct stage *stage, const struct ht__plan_output *o, char *path, size_t size)
{
    snprintf(path, size, "%s%s%s", stage->folder, o->folder ? "/" : "", o->folder ? ht__path_base(o->folder) : "");
}

static enum ht_err link_file(const char *folder, const struct ht__plan_file *file, struct ht_diag *diag)
{
    char path[4600], target[4300];
    snprintf(path, sizeof path, "%s/%s", folder, ht__path_base(file->path));
    if (!realpath(file->out.part_path, target)) return ht__fail_errno(diag, errno, file->out.part_path, "cannot find");
    if (symlink(target, path) == 0) return HT_OK;
    return ht__fail_errno(diag, errno, path, "cannot make a link to measure");
}

static enum ht_err open_stage(const struct ht__plan *plan, struct stage *stage, struct ht_diag *diag)
{
    const struct ht__plan_output *first = &plan->outputs[0];
    snprintf(stage->folder, sizeof stage->folder, "%s.measure", first->folder ? first->folder : first->files[0].path);
    stage->subjects = ht__new_array(plan->run.alloc, plan->n_outputs, sizeof *stage->subjects);
    if (!stage->subjects) return ht__fail_memory(diag, "measure");
    if (mkdir(stage->folder, 0777) != 0 && errno != EEXIST)
        return ht__fail_errno(diag, errno, stage->folder, "cannot make a folder");
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const struct ht__plan_output *o = &plan->outputs[i];
        struct ht__eval_subject *s = &stage->subjects[i];
        char folder[4500];
        folder_of(stage, o, folder, sizeof folder);
        if (o->folder && mkdir(folder, 0777) != 0 && errno != EEXIST)
            return ht__fail_errno(diag, errno, folder, "cannot make a folder");
        for (uint32_t f = 0; f < o->n_files; f++)
            HT_TRY(link_file(folder, &o->files[f], diag));
        snprintf(s->path, sizeof s->path, "%s%s%s", folder, o->folder ? "" : "/",
                 o->folder ? "" : ht__path_base(o->files[0].path));
        s->name = o->folder ? o->folder : o->files[0].path;
    }
    return HT_OK;
}

static void close_stage(const struct ht__plan *plan, struct stage *stage)
{
    for (size_t i = 0; i < plan->n_outputs; i++) {
        const struct ht__plan_output *o = &plan->outputs[i];
        char folder[4500], path[4800];
        folder_of(stage, o, folder, sizeof folder);
        for (uint32_t f = 0; f < o->n_files; f++) {
            snprintf(path, sizeof path, "%s/%s", folder, ht__path_base(o->files[f].path));
            unlink(path);
        }
        if (o->folder) rmdir(folder);
    }
    rmdir(stage->folder);
    ht__free(plan->run.alloc, stage->subjects);
}

/* ---- what becomes of the figures -------------------------------------------------------------- */

static enum ht_err keep_figures(struct ht__plan *plan, const struct ht__eval *eval, struct ht_diag *diag)
{
    for (size_t i = 0; i < plan->n_outputs; i++) {
        struct ht__buf buf;
        ht__buf_init(&buf, plan->run.alloc);
        ht__eval_put_quality(eval, i, &buf);
        plan->outputs[i].quality = buf.failed ? NULL : ht__arena_copy(&plan->arena, (const char *)buf.data, buf.len);
        ht__buf_close(&buf);
        if (!plan->outputs[i].quality) return ht__fail_memory(diag, "report");
    }
    return HT_OK;
}

static enum ht_err hold_limits(const struct ht__plan *plan, const struct ht__eval *eval, struct ht_diag *diag)
{
    const struct ht__measure_settings *s = &plan->settings->measure;
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (size_t l = 0; l < s->n_limits; l++) {
            const struct ht__limit *limit = &s->limits[l];
            double value = ht__eval_figure(eval, i, limit->figure);
            if (!ht__limit_broken(limit, value)) continue;
            return ht__fail(diag, HT_ERR_VERIFY, plan->outputs[i].files[0].path, -1,
                            "%s is %.6g: nothing is published, as --fail-if '%s' asks", ht__figure_name(limit->figure),
                            value, limit->text);
        }
    return HT_OK;
}

/* Beside the files, named as the first of them without its type: "out/model.quality.md". */
static void name_card(const struct ht__plan *plan, char path[4096])
{
    const struct ht__plan_output *o = &plan->outputs[0];
    snprintf(path, 4096 - 16, "%s", o->folder ? o->folder : o->files[0].path);
    char *dot = o->folder ? NULL : strrchr(path, '.'), *base = strrchr(path, '/'), *dash;
    base = base ? base : path;
    if (dot && dot > base) *dot = '\0';
    if (o->n_files > 1 && (dash = strstr(base, "-00001-of-"))) *dash = '\0';
    const char *name = o->mix ? o->mix->name : o->target->type;
    size_t len = strlen(path), type = strlen(name);
    if (len > type + 1 && strcmp(path + len - type, name) == 0 && path[len - type - 1] == '-')
        path[len - type - 1] = '\0';
    strcat(path, ".quality.md");
}

static enum ht_err use_figures(struct ht__plan *plan, const struct ht__eval *eval, struct ht__measured *measured,
                               struct ht_diag *diag)
{
    HT_TRY(hold_limits(plan, eval, diag));
    HT_TRY(keep_figures(plan, eval, diag));
    name_card(plan, measured->card_path);
    ht__eval_card(eval, &measured->card);
    HT_TRY(ht__method_card(plan, &measured->card, diag));
    if (measured->card.failed) return ht__fail_memory(diag, "model card");
    struct ht__html_more more = {plan->budget && plan->budget->measured ? ht__budget_html : NULL, plan};
    return plan->settings->publish.html ? ht__eval_html(eval, &more, &measured->html, diag) : HT_OK;
}

enum ht_err ht__measure_run(struct ht__plan *plan, struct ht__measured *measured, struct ht_diag *diag)
{
    struct stage stage = {.subjects = NULL};
    struct ht__eval *eval = NULL;
    if (!plan->settings->measure.wanted) return HT_OK;
    enum ht_err err = open_stage(plan, &stage, diag);
    struct ht__eval_request request = {.subjects = stage.subjects,
                                       .n = plan->n_outputs,
                                       .against = plan->settings->source.path,
                                       .remote = plan->settings->source.remote,
                                       .within = true,
                                       .memory = plan->measure_matrices,
                                       .against_name = plan->settings->source.name};
    if (!err) err = ht__eval_run(&plan->settings->measure.eval, &plan->run, &request, &eval, diag);
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

enum ht_err ht__measured_write(struct ht__measured *m, const char *html, struct ht_diag *diag)
{
    HT_TRY(write_file(&m->card_file, m->card_path, &m->card, diag));
    return write_file(&m->html_file, html, &m->html, diag);
}

enum ht_err ht__measured_publish(struct ht__measured *m, struct ht_diag *diag)
{
    if (m->card.len) HT_TRY(ht__output_publish(&m->card_file, diag));
    return m->html.len ? ht__output_publish(&m->html_file, diag) : HT_OK;
}
