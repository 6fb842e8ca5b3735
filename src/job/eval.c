/* The verbs eval and compare. */
#include "job/eval.h"
#include "eval/parts.h"
#include "job/hub.h"
#include "job/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All is made before anything is published, so that a failure leaves no file. */
static enum ht_err publish(const struct ht__eval_job_settings *s, struct ht__eval *e, const char *verb, char **json,
                           struct ht_diag *diag)
{
    struct ht__buf report, page;
    ht__buf_init(&report, e->run.alloc);
    ht__buf_init(&page, e->run.alloc);
    ht__eval_json(e, verb, &report);
    enum ht_err err = report.failed ? ht__fail_memory(diag, "report") : HT_OK;
    if (!err && s->html) err = ht__eval_html(e, NULL, &page, diag);
    if (!err && json) err = ht__buf_hand_out(&report, "report", json, diag);
    if (!err && s->html) err = ht__file_publish(s->html, page.data, page.len, diag);
    if (!err && s->report) err = ht__file_publish(s->report, report.data, report.len, diag);
    if (err && json) {
        free(*json);
        *json = NULL;
    }
    ht__buf_close(&report);
    ht__buf_close(&page);
    return err;
}

static enum ht_err name_subject(struct ht_job *job, struct ht__eval_subject *subject, const char *name,
                                struct ht_diag *diag)
{
    const char *path;
    HT_TRY(ht__hub_path(job, name, &path, diag));
    snprintf(subject->path, sizeof subject->path, "%s", path);
    subject->name = name;
    return HT_OK;
}

static enum ht_err measure(struct ht_job *job, const struct ht__settings *settings, bool compare, struct ht__eval **e,
                           struct ht_diag *diag)
{
    const struct ht__eval_job_settings *s = &settings->eval;
    struct ht__eval_subject *subjects = ht__new_array(job->alloc, s->n_models, sizeof *subjects);
    if (!subjects) return ht__fail_memory(diag, "models");
    struct ht__eval_request request = {
        .subjects = subjects, .n = s->n_models, .against_name = s->against, .default_largest = compare};
    enum ht_err err = ht__hub_path(job, s->against, &request.against, diag);
    for (size_t i = 0; i < s->n_models && err == HT_OK; i++)
        err = name_subject(job, &subjects[i], s->models[i], diag);
    if (err == HT_OK) err = ht__eval_run(&s->eval, &settings->run, &request, e, diag);
    ht__free(job->alloc, subjects);
    return err;
}

enum ht_err ht__job_eval(struct ht_job *job, bool compare, char **json, struct ht_diag *diag)
{
    struct ht__settings settings;
    struct ht__eval *e = NULL;
    if (json) *json = NULL;
    enum ht_err err = ht__settings_parse(&settings, job, HT__VERB_EVAL, diag);
    if (err == HT_OK) err = measure(job, &settings, compare, &e, diag);
    if (err == HT_OK) err = publish(&settings.eval, e, compare ? "compare" : "eval", json, diag);
    ht__eval_close(&e);
    ht__settings_close(&settings);
    return err;
}
