/* What is read: the model's tensors in both views, those that are the same rows in both as one. */
#ifndef HT_PIPELINE_ITEMS_H
#define HT_PIPELINE_ITEMS_H

#include "base/map.h"
#include "pipeline/plan.h"

/* Fills plan->items. */
HT_MUST_CHECK enum ht_err ht__plan_items(struct ht__plan *plan, struct ht_diag *diag);
/* Fills plan->work, once plan->order is there, and the outputs' items are known. */
HT_MUST_CHECK enum ht_err ht__plan_work(struct ht__plan *plan, struct ht_diag *diag);

#endif
