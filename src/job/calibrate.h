/* Keeping statistics of activations for many runs, merging and showing them. */
#ifndef HT_JOB_CALIBRATE_H
#define HT_JOB_CALIBRATE_H

#include "job/job.h"

/* The job's options say what: json may be NULL; what it gets is malloc's. */
HT_MUST_CHECK enum ht_err ht__job_calibrate(struct ht_job *job, char **json, struct ht_diag *diag);

#endif
