/* Written files, read back. */
#ifndef HT_PIPELINE_VERIFY_H
#define HT_PIPELINE_VERIFY_H

#include "base/progress.h"
#include "pipeline/plan.h"

/* Re-opens a written file with our own reader: metadata, tensor list and sizes must be the plan's, every
 * block sound. Fills file->sha256. `done` grows by the bytes read. */
HT_MUST_CHECK enum ht_err ht__verify_file(const struct ht__plan *plan, struct ht__plan_file *file,
                                          struct ht__progress *progress, uint64_t *done, struct ht_diag *diag);

#endif
