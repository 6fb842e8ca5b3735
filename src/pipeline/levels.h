/* Which level of a ladder each Linear gets: by a look at the weights, before anything is laid out. */
#ifndef HT_PIPELINE_LEVELS_H
#define HT_PIPELINE_LEVELS_H

#include "pipeline/plan.h"

/* For the Linears that no rule decides: out->linears gets their level, and why. Reads their weights once for each level
 * that is tried; in a rehearsal nothing is read, and all have the first level. */
HT_MUST_CHECK enum ht_err ht__levels_choose(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag);

#endif
