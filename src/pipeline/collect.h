/* Importance for a plan that asks for --calibration. */
#ifndef HT_PIPELINE_COLLECT_H
#define HT_PIPELINE_COLLECT_H

#include "pipeline/plan.h"

/* Runs the calibration text through the model as the checkpoint has it (before layers are pruned), and fills
 * plan->imatrix and plan->collect_memory. Only a run does so: for other purposes every matrix of the layers has
 * importance of ones. */
HT_MUST_CHECK enum ht_err ht__collect_importance(struct ht__plan *plan, struct ht_diag *diag);

/* The same of the statistics that the settings name: they are read, and the model is not run. */
HT_MUST_CHECK enum ht_err ht__kept_importance_of(struct ht__plan *plan, struct ht_diag *diag);

#endif
