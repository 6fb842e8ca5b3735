/*
 * Which files a run is made from, and their SHA-256.
 *
 * The pipeline reads rows in an order of its own, so that hashing is a second reading. It runs beside the
 * work in one thread of the lowest priority: it takes cores and disk only while nobody else wants them,
 * which is at the latest while outputs are verified, and mostly finds in the system's cache what was read
 * before. In a hub's cache the name of a blob is its SHA-256 already: nothing is read again then.
 */
#ifndef HT_JOB_SOURCE_H
#define HT_JOB_SOURCE_H

#include "job/stream.h"

/* Fills plan->sources: the weights' files, what lies beside them (configuration, tokenizer, model card)
 * and the importance file. Known hashes are filled in. */
HT_MUST_CHECK enum ht_err ht__sources_list(struct ht__plan *plan, struct ht_diag *diag);

struct ht__source_hash;

/* Starts hashing the files whose hashes are not known. *out is NULL when there is nothing to do. */
HT_MUST_CHECK enum ht_err ht__source_hash_start(struct ht__plan *plan, struct ht__source_hash **out,
                                                struct ht_diag *diag);
/* Waits for the hashes, with progress; plan->sources has them then. */
HT_MUST_CHECK enum ht_err ht__source_hash_wait(struct ht__source_hash *hash, struct ht_diag *diag);
/* Stops within one window of reading. NULL-safe. */
void ht__source_hash_close(struct ht__source_hash **hash);

#endif
