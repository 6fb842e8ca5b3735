/* Running a plan to the end, and telling about it. */
#ifndef HT_JOB_RUN_H
#define HT_JOB_RUN_H

#include "job/estimate.h"
#include "job/stream.h"

/* Plans and tells: *json is malloc's. */
HT_MUST_CHECK enum ht_err ht__job_estimate(struct ht_job *job, char **json, struct ht_diag *diag);
/* Plans, opens outputs, streams, verifies, writes the report, and publishes last of all, when nothing is
 * left that could fail but the renames. json may be NULL. */
HT_MUST_CHECK enum ht_err ht__job_run(struct ht_job *job, char **json, struct ht_diag *diag);

/* Re-opens a written file with our own reader: metadata, tensor list and sizes must be the plan's, every
 * block sound. Fills file->sha256. `done` grows by the bytes read. */
HT_MUST_CHECK enum ht_err ht__verify_file(const struct ht__plan *plan, struct ht__plan_file *file,
                                          struct ht__meter *meter, uint64_t *done,
                                          struct ht_diag *diag);

/* The run report (with a result), or the estimate, as JSON. */
HT_MUST_CHECK enum ht_err ht__report(const struct ht__plan *plan, const struct ht__stream_result *result,
                                     const struct ht__estimate *estimate, struct ht__buf *out, struct ht_diag *diag);

#endif
