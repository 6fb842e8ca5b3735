/* Streaming: rows are read once, encoded for every output, and written where the plan says. What is read and written is
 * summed up, for the journal and for the comparison with the source's hash. */
#ifndef HT_PIPELINE_ROWS_DRIVER_H
#define HT_PIPELINE_ROWS_DRIVER_H

#include "kernels/sum.h"
#include "pipeline/journal.h"
#include "base/progress.h"
#include "pipeline/plan.h"

/* What was read of one tensor of the source. */
struct ht__reading {
    uint32_t tensor;    /* in the checkpoint */
    struct ht__sum sum; /* by places in the file */
};

/* Adds to the reading of that tensor in a buffer of them; a failure is the buffer's. */
void ht__reading_add(struct ht__buf *readings, uint32_t tensor, const struct ht__sum *sum);

/* What is known of a tensor when it is done. */
struct ht__tensor_stats {
    double sum_squares;      /* of the weights */
    double *errors;          /* by output: sum of squared differences after decoding; 0 where copied */
    struct ht__sum *written; /* by output, by places in the tensor */
    struct ht__buf readings; /* struct ht__reading */
};

struct ht__stream_result {
    struct ht__tensor_stats *stats; /* by weight; in the plan's arena */
    uint64_t bytes_read, bytes_written, weights_resumed;
    double seconds;
};

struct ht__stream;

/* Writes tensors of every output. Outputs are open; with --resume, tensors that the journal has as finished are not
 * written again. Reports progress from the calling thread. The result's stats are the caller's; close it on failure too. */
HT_MUST_CHECK enum ht_err ht__stream_open(struct ht__plan *plan, struct ht__journal *journal,
                                          struct ht__stream_result *result, struct ht__stream **out,
                                          struct ht_diag *diag);
/* The items of plan->work that `now` marks (by item; NULL: all of them). */
HT_MUST_CHECK enum ht_err ht__stream_items(struct ht__stream *stream, const bool *now, struct ht_diag *diag);
void ht__stream_close(struct ht__stream **stream);

#endif
