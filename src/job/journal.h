/*
 * The journal of a run: which tensors are finished and safely on the disk, so that --resume continues
 * a killed run. It lies beside the first output as "<file>.journal" and goes when the run ends.
 */
#ifndef HT_JOB_JOURNAL_H
#define HT_JOB_JOURNAL_H

#include "job/plan.h"

struct ht__tensor_stats;

struct ht__journal {
    int fd; /* -1: no journal */
    char path[4096];
    bool *finished; /* by weight; in the plan's arena */
};

/*
 * Starts a journal, or with `resume` takes up the earlier one: its finished tensors are marked and their
 * stats filled in. An earlier run of something else (source, types or options differ) is refused.
 * *resumed tells whether an earlier journal was found.
 */
HT_MUST_CHECK enum ht_err ht__journal_open(struct ht__journal *journal, const struct ht__plan *plan,
                                           struct ht__tensor_stats *stats, bool resume,
                                           bool *resumed, struct ht_diag *diag);
/* Is there a journal of an earlier run for this plan? */
bool ht__journal_exists(const struct ht__plan *plan);
/* Appends tensors whose bytes are on the disk (the caller synced the outputs first), and syncs. */
HT_MUST_CHECK enum ht_err ht__journal_add(struct ht__journal *journal, const struct ht__plan *plan,
                                          const struct ht__tensor_stats *stats,
                                          const uint32_t *weights, size_t n, struct ht_diag *diag);
/* keep: the file stays, for --resume. */
void ht__journal_close(struct ht__journal *journal, bool keep);

#endif
