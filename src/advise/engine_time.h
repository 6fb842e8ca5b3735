/* How long the model itself will run in a planned job: for collecting importance, and for measuring what was lost. */
#ifndef HT_ADVISE_ENGINE_TIME_H
#define HT_ADVISE_ENGINE_TIME_H

#include "base/run.h"
#include "eval/settings.h"

struct ht__model;

struct ht__engine_task {
    const struct ht__run *run;
    const struct ht__eval_settings *eval; /* what measuring does */
    const char *source;                   /* the model's path, for messages */
    struct ht__model *model;
    int n_threads;
    uint32_t n_ctx, n_chunks; /* importance is collected on these; 0: on nothing */
    size_t n_outputs;         /* that are measured beside their source; 0: nothing is measured */
};

/* Seconds; 0 where neither is done. Takes about `budget` seconds, for measuring this machine's rate. Fails where the
 * run would: no tokenizer, too short a text. */
HT_MUST_CHECK enum ht_err ht__engine_time(const struct ht__engine_task *task, double budget, double *seconds,
                                          struct ht_diag *diag);

#endif
