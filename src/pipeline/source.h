/*
 * Which files a run is made from, and their SHA-256.
 *
 * The pipeline reads rows in an order of its own, so hashing reads the files a second time, through the descriptors that
 * are open already. It runs beside the work in one thread, and mostly finds in the system's cache what was read
 * before, or brings there what will be. It has the priority of all others: hashing cannot be divided among threads, and
 * what were left of it at the end would run alone. In a hub's cache the name of a blob is its SHA-256 already: nothing is read again then.
 *
 * A source may change while it is read. Two things find that. The files' times, sizes and places are compared at the
 * end with what they were when they were opened. And each tensor's bytes are summed up both as they are quantized and
 * as they are hashed: the sums must agree, also those of tensors that an earlier run finished (--resume). Tensors of
 * which only a part is read, or some parts more often than others, have no such sum.
 */
#ifndef HT_PIPELINE_SOURCE_H
#define HT_PIPELINE_SOURCE_H

#include "pipeline/rows_driver.h"

/* Fills plan->sources, once the checkpoint is open and before the model is read: the weights' files, what lies beside
 * them (configuration, tokenizer, model card) and the importance file. Known hashes are filled in. */
HT_MUST_CHECK enum ht_err ht__sources_list(struct ht__plan *plan, struct ht_diag *diag);

/* At the end: HT_ERR_VERIFY when a file is not what it was when it was opened. */
HT_MUST_CHECK enum ht_err ht__sources_unchanged(const struct ht__plan *plan, struct ht_diag *diag);
/* What the files are, for a later run: names, sizes, times, and a hash of headers and of a sample of the data. anywhere:
 * for a run on another machine, without folders and times. */
HT_MUST_CHECK enum ht_err ht__sources_identity(const struct ht__plan *plan, bool anywhere, char hex[65],
                                               struct ht_diag *diag);
/* Closes the files that the list opened. */
void ht__sources_close(struct ht__plan *plan);

struct ht__source_hash;

/* Starts hashing the files whose hashes are not known. *out is NULL when there is nothing to do. */
HT_MUST_CHECK enum ht_err ht__source_hash_start(struct ht__plan *plan, struct ht__source_hash **out,
                                                struct ht_diag *diag);
/* Waits for the hashes, with progress; plan->sources has them then. */
HT_MUST_CHECK enum ht_err ht__source_hash_wait(struct ht__source_hash *hash, struct ht_diag *diag);
/* After that: HT_ERR_VERIFY when a tensor that was read is not what was hashed. NULL-safe. */
HT_MUST_CHECK enum ht_err ht__source_hash_compare(const struct ht__source_hash *hash,
                                                  const struct ht__stream_result *result, struct ht_diag *diag);
/* Stops within one window of reading. NULL-safe. */
void ht__source_hash_close(struct ht__source_hash **hash);

#endif
