/*
 * The journal of a run: which tensors, or rows of them, are finished and safely on the disk, so that --resume continues
 * a killed run. It lies beside the first output as "<file>.journal" and goes when the run ends. Whoever has
 * locked that output's .part owns the journal too.
 */
#ifndef HT_PIPELINE_JOURNAL_H
#define HT_PIPELINE_JOURNAL_H

#include "pipeline/plan.h"

struct ht__tensor_stats;

struct ht__journal {
    int fd; /* -1: no journal */
    char path[4096];
    bool *finished;           /* by item: every row was finished when this run began; in the plan's arena */
    struct ht__row_set *done; /* by item: rows that are finished; in the plan's arena */
    char source[65], content[65], recipe[65]; /* what the run is: hashes */
};

/* Nothing is finished. */
HT_MUST_CHECK enum ht_err ht__journal_open(struct ht__journal *journal, struct ht__plan *plan, struct ht_diag *diag);
/* The path of the plan's journal. */
HT_MUST_CHECK enum ht_err ht__journal_init(struct ht__journal *journal, const struct ht__plan *plan,
                                           struct ht_diag *diag);
/*
 * Takes up the journal of an earlier run: its finished tensors are marked and their stats filled in. The outputs are
 * open, as that run left them. *found is false when there is no journal, or when one of the .part files is not that
 * run's (which is logged): then everything is made anew. An earlier run of something else (source, types, options or
 * program differ) is refused.
 */
HT_MUST_CHECK enum ht_err ht__journal_load(struct ht__journal *journal, const struct ht__plan *plan,
                                           struct ht__tensor_stats *stats, bool *found, struct ht_diag *diag);
/* Reads what the journal has as finished back from the .part files: tensors that are not as they were written are not
 * finished. */
HT_MUST_CHECK enum ht_err ht__journal_check(struct ht__journal *journal, const struct ht__plan *plan,
                                            struct ht__tensor_stats *stats, struct ht_diag *diag);
/*
 * Takes what an unfinished run has finished in another folder, where that run had the same outputs of the same source:
 * copies the tensors that this one lacks, and reads its own copies back. The outputs are open. Nobody but this run writes
 * its outputs, so whatever the other run's process still does, it does to files of its own. What cannot be taken is logged.
 */
HT_MUST_CHECK enum ht_err ht__journal_take(struct ht__journal *journal, struct ht__plan *plan,
                                           struct ht__tensor_stats *stats, const char *folder, struct ht_diag *diag);
/* Writes the journal of this run, with what is finished, and opens it for more. The outputs are open. */
HT_MUST_CHECK enum ht_err ht__journal_start(struct ht__journal *journal, const struct ht__plan *plan,
                                            const struct ht__tensor_stats *stats, struct ht_diag *diag);
/* Appends tensors whose bytes are on the disk (the caller synced the outputs first), and syncs. */
HT_MUST_CHECK enum ht_err ht__journal_add(struct ht__journal *journal, const struct ht__plan *plan,
                                          const struct ht__tensor_stats *stats, const uint32_t *weights, size_t n,
                                          struct ht_diag *diag);
/* keep: the file stays, for --resume. */
void ht__journal_close(struct ht__journal *journal, const struct ht__plan *plan, bool keep);

#endif
