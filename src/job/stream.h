/* Streaming: rows are read once, encoded for every output, and written where the plan says. */
#ifndef HT_JOB_STREAM_H
#define HT_JOB_STREAM_H

#include "job/journal.h"
#include "job/meter.h"
#include "job/plan.h"

/* What is known of a tensor when it is done. */
struct ht__tensor_stats {
    double sum_squares; /* of the weights */
    double *errors;     /* by output: sum of squared differences after decoding; 0 where copied */
};

struct ht__stream_result {
    struct ht__tensor_stats *stats; /* by weight; in the plan's arena */
    uint64_t bytes_read, bytes_written, weights_resumed;
    double seconds;
};

/* Writes every tensor of every output. Outputs are open; with --resume, tensors that the journal has
 * as finished are not written again. Reports progress from the calling thread. */
HT_MUST_CHECK enum ht_err ht__stream_run(struct ht__plan *plan, struct ht__journal *journal,
                                         struct ht__stream_result *result, struct ht_diag *diag);

#endif
