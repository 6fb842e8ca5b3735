/*
 * A part of a run: some of its tensors, or some of their rows, made for a run that takes them all together (--part,
 * --take-from). What a part has follows from the plan alone, so that every machine divides it alike.
 */
#ifndef HT_PIPELINE_PART_H
#define HT_PIPELINE_PART_H

#include "pipeline/rows_driver.h"

/* HT_ERR_UNSUPPORTED: not such a run. Before anything is measured or collected. */
HT_MUST_CHECK enum ht_err ht__part_check(const struct ht__pipeline_settings *settings, struct ht_diag *diag);
/* The same of the outputs, once they are known; before importance is collected. */
HT_MUST_CHECK enum ht_err ht__part_check_layers(const struct ht__plan *plan, struct ht_diag *diag);
/* Can it be made in parts (a measured run, too: parts are made, and the whole is measured)? */
bool ht__part_possible(const struct ht__plan *plan);
/* Is there importance to be collected before, which can be done in parts, too (--collect-part)? */
bool ht__part_collects(const struct ht__plan *plan);
/* Leaves the part's tensors in plan->work, their rows in plan->ranges, about as much work as in the other parts, and its
 * bytes in plan->out_bytes.
 * HT_ERR_UNSUPPORTED: tensors of this plan are not made independently of each other. */
HT_MUST_CHECK enum ht_err ht__part_choose(struct ht__plan *plan, struct ht_diag *diag);

#endif
