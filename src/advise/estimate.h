/* What a planned job will take: disk, memory, time; and what running its outputs will. */
#ifndef HT_ADVISE_ESTIMATE_H
#define HT_ADVISE_ESTIMATE_H

#include "advise/settings.h"
#include "pipeline/plan.h"

/* The plan's report with what is estimated. Takes a third of a second: this machine's rates are measured. */
HT_MUST_CHECK enum ht_err ht__estimate(const struct ht__plan *plan, const struct ht__advice_settings *settings,
                                       struct ht__buf *out, struct ht_diag *diag);

#endif
