/* Importance for a plan that asks for --calibration. */
#ifndef HT_JOB_COLLECT_H
#define HT_JOB_COLLECT_H

#include "formats/imatrix.h"
#include "job/job.h"

struct ht__checkpoint;

/* Runs the option's text through the model as the checkpoint has it (before layers are pruned). In a rehearsal
 * nothing is run, and every matrix of the layers has importance of ones. */
HT_MUST_CHECK enum ht_err ht__collect_importance(struct ht_job *job, const struct ht__checkpoint *checkpoint,
                                                 struct ht__imatrix **out, struct ht_diag *diag);

#endif
