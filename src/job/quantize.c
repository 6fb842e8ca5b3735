/* The verbs that make a plan: settings in, a report out. */
#include "job/quantize.h"
#include "advise/estimate.h"
#include "advise/recommend.h"
#include "job/hub.h"
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

enum ht_err ht__job_run(struct ht_job *job, char **json, struct ht_diag *diag)
{
    return do_verb(job, HT__VERB_QUANTIZE, job->options.no_cache, run, json, diag);
}

enum ht_err ht__job_estimate(struct ht_job *job, char **json, struct ht_diag *diag)
{
    return do_verb(job, HT__VERB_ESTIMATE, true, estimate, json, diag);
}

enum ht_err ht__job_recommend(struct ht_job *job, char **json, struct ht_diag *diag)
{
    return do_verb(job, HT__VERB_RECOMMEND, true, recommend, json, diag);
}
