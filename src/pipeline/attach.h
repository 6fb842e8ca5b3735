/* Which importance belongs to which tensor. */
#ifndef HT_PIPELINE_ATTACH_H
#define HT_PIPELINE_ATTACH_H

#include "pipeline/plan.h"

/* Reads or collects importance, where the settings say so, and fills plan->importance. */
HT_MUST_CHECK enum ht_err ht__plan_importance(struct ht__plan *plan, struct ht_diag *diag);

#endif
