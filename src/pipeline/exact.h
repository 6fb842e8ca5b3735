/* Whether floats fit a smaller type. */
#ifndef HT_PIPELINE_EXACT_H
#define HT_PIPELINE_EXACT_H

#include "pipeline/plan.h"

/* Does the type hold every weight exactly? The weight is read, up to the first that does not fit. */
HT_MUST_CHECK enum ht_err ht__is_exact(const struct ht__plan *plan, const struct ht__weight *weight,
                                       const struct ht__codec *type, bool *exact, struct ht_diag *diag);

#endif
