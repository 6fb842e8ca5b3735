/* Names, metadata and layout of one output's files. */
#ifndef HT_PIPELINE_LAYOUT_H
#define HT_PIPELINE_LAYOUT_H

#include "pipeline/plan.h"

/* The path of an output, without what follows its type: "DIR/NAME-TYPE". */
HT_MUST_CHECK enum ht_err ht__plan_prefix(struct ht__plan *plan, const struct ht__plan_output *out, const char **prefix,
                                          struct ht_diag *diag);
/* Fills out->files and out->places; its types are chosen already. */
HT_MUST_CHECK enum ht_err ht__plan_layout(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag);

#endif
