/* Names, metadata and layout of one output's files. */
#ifndef HT_JOB_LAYOUT_H
#define HT_JOB_LAYOUT_H

#include "job/plan.h"

/* Fills out->files and out->places; its types are chosen already. */
HT_MUST_CHECK enum ht_err ht__plan_layout(struct ht__plan *plan, struct ht__plan_output *out,
                                          struct ht_diag *diag);

#endif
