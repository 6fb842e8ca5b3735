/* Running a plan to the end. */
#ifndef HT_PIPELINE_RUN_H
#define HT_PIPELINE_RUN_H

#include "pipeline/plan.h"

/* Opens outputs, encodes, verifies, measures, writes the report, and publishes last of all, when nothing is left that
 * could fail but the renames. *json gets the report, malloc's; json may be NULL. */
HT_MUST_CHECK enum ht_err ht__plan_run(struct ht__plan *plan, char **json, struct ht_diag *diag);

/* Would the run be refused: outputs that exist, too little space on the disk? */
HT_MUST_CHECK enum ht_err ht__plan_check(const struct ht__plan *plan, struct ht_diag *diag);

#endif
