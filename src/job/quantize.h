/* The verbs that make a plan: quantize and convert, estimate, recommend. */
#ifndef HT_JOB_QUANTIZE_H
#define HT_JOB_QUANTIZE_H

#include "job/job.h"

/* quantize and convert. json may be NULL; *json is malloc's, as that of the others. */
HT_MUST_CHECK enum ht_err ht__job_run(struct ht_job *job, char **json, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__job_estimate(struct ht_job *job, char **json, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__job_recommend(struct ht_job *job, char **json, struct ht_diag *diag);

#endif
