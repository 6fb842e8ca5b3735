/* The verbs eval and compare. */
#ifndef HT_JOB_EVAL_H
#define HT_JOB_EVAL_H

#include "job/job.h"

/* *json is malloc's. */
HT_MUST_CHECK enum ht_err ht__job_eval(struct ht_job *job, bool compare, char **json, struct ht_diag *diag);

#endif
