/* The verbs that make a plan: settings in, a report out. */
#include "job/quantize.h"
#include "advise/estimate.h"
#include "advise/recommend.h"
#include "job/hub.h"
#include "job/named.h"
#include "job/settings.h"
#include "pipeline/run.h"

/* Collecting importance takes minutes or hours: what can be refused is refused before. */
static enum ht_err rehearse(const struct ht__settings *settings, struct ht_diag *diag)
{
    struct ht__plan *plan;
    struct ht__run quiet = settings->run;
    quiet.log = NULL; /* the run itself will log all of it */
    HT_TRY(ht__plan_open(&settings->pipeline, HT__REHEARSE, &quiet, &plan, diag));
    enum ht_err err = ht__plan_check(plan, diag);
    ht__plan_close(&plan);
    return err;
}

static enum ht_err run(const struct ht__settings *s, char **json, struct ht_diag *diag)
{
    struct ht__plan *plan;
    if (s->pipeline.importance.collect) HT_TRY(rehearse(s, diag));
    HT_TRY(ht__plan_open(&s->pipeline, HT__RUN, &s->run, &plan, diag));
    enum ht_err err = ht__plan_run(plan, json, diag);
    ht__plan_close(&plan);
    return err;
}

static enum ht_err estimate(const struct ht__settings *s, char **json, struct ht_diag *diag)
{
    struct ht__plan *plan;
    struct ht__buf report;
    HT_TRY(ht__plan_open(&s->pipeline, HT__ESTIMATE, &s->run, &plan, diag));
    ht__buf_init(&report, s->run.alloc);
    enum ht_err err = ht__estimate(plan, &s->advice, &report, diag);
    if (err == HT_OK) err = ht__buf_hand_out(&report, "report", json, diag);
    ht__buf_close(&report);
    ht__plan_close(&plan);
    return err;
}

static enum ht_err recommend(const struct ht__settings *s, char **json, struct ht_diag *diag)
{
    struct ht__plan *plan;
    struct ht__buf report;
    struct ht__run quiet = s->run;
    quiet.log = NULL; /* a warning for each of two dozen mixes helps nobody */
    HT_TRY(ht__plan_open(&s->pipeline, HT__SURVEY, &quiet, &plan, diag));
    ht__buf_init(&report, s->run.alloc);
    enum ht_err err = ht__recommend(plan, &s->advice, &report, diag);
    if (err == HT_OK) err = ht__buf_hand_out(&report, "report", json, diag);
    ht__buf_close(&report);
    ht__plan_close(&plan);
    return err;
}

typedef enum ht_err verb_fn(const struct ht__settings *settings, char **json, struct ht_diag *diag);

/* headers: of a model on a hub, the weights stay there. */
static enum ht_err do_verb(struct ht_job *job, enum ht__verb verb, bool headers, verb_fn *fn, char **json,
                           struct ht_diag *diag)
{
    struct ht__settings settings;
    if (json) *json = NULL;
    enum ht_err err = ht__settings_parse(&settings, job, verb, diag);
    if (err == HT_OK) err = ht__hub_source(job, headers, &settings.pipeline.source, diag);
    if (err == HT_OK) err = fn(&settings, json, diag);
    ht__settings_close(&settings);
    return err;
}

/* A method in one word becomes options, which are put back at the end. What does not suit the model leaves its place to
 * what may take it; if that cannot be done either, the first reason is the one to tell. */
static enum ht_err do_method(struct ht_job *job, enum ht__verb verb, bool headers, verb_fn *fn, char **json,
                             struct ht_diag *diag)
{
    const struct ht__options given = job->options;
    struct ht_diag first = {0}, second = {0};
    enum ht_err err = ht__named_apply(job, false, NULL, &first);
    if (!err) err = do_verb(job, verb, headers, fn, json, &first);
    if (err == HT_ERR_UNSUPPORTED && ht__named_has_instead(job)) {
        job->options = given;
        enum ht_err again = ht__named_apply(job, true, first.message, &second);
        if (!again) again = do_verb(job, verb, headers, fn, json, &second);
        if (again != HT_ERR_UNSUPPORTED) err = again, first = second;
    }
    job->options = given;
    if (err && diag) *diag = first;
    return err;
}

enum ht_err ht__job_run(struct ht_job *job, char **json, struct ht_diag *diag)
{
    return do_method(job, HT__VERB_QUANTIZE, job->options.no_cache, run, json, diag);
}

enum ht_err ht__job_estimate(struct ht_job *job, char **json, struct ht_diag *diag)
{
    return do_method(job, HT__VERB_ESTIMATE, true, estimate, json, diag);
}

enum ht_err ht__job_recommend(struct ht_job *job, char **json, struct ht_diag *diag)
{
    return do_verb(job, HT__VERB_RECOMMEND, true, recommend, json, diag);
}
