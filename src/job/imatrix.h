/* Collecting and merging importance files. */
#ifndef HT_JOB_IMATRIX_H
#define HT_JOB_IMATRIX_H

#include "job/job.h"

/* The job's options say what: json may be NULL; what it gets is malloc's. */
HT_MUST_CHECK enum ht_err ht__job_imatrix(struct ht_job *job, char **json, struct ht_diag *diag);

#endif
