/* The last bytes of outputs whose container stores checksums of the weights: they are read back for it, so that nothing
 * of them needs to be kept while the job runs, or for one that is resumed. */
#ifndef HT_PIPELINE_SEAL_H
#define HT_PIPELINE_SEAL_H

#include "pipeline/plan.h"

/* When all weights are written: writes what lies between and after them. */
HT_MUST_CHECK enum ht_err ht__seal_all(struct ht__plan *plan, struct ht_diag *diag);

#endif
