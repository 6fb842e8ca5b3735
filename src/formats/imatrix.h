/* Importance files: for each weight matrix, how much its input columns matter. */
#ifndef HT_FORMATS_IMATRIX_H
#define HT_FORMATS_IMATRIX_H

#include "base/arena.h"
#include "base/map.h"

#include <stdint.h>

struct ht__imatrix_entry {
    const char *name;        /* of the weight: "blk.0.attn_q.weight" */
    uint64_t n_mat;          /* matrices: experts, or 1 */
    uint64_t n_cols;         /* columns a matrix */
    const float *values;     /* n_mat x n_cols, mean of squared activations; 1 for a matrix without data */
    uint64_t n_without_data; /* matrices (experts) that no token reached */
    uint32_t calls;          /* of a legacy file: chunks that were collected; otherwise 0 */
};

struct ht__imatrix {
    struct ht__arena arena; /* everything below */
    size_t n_entries;
    struct ht__imatrix_entry *entries; /* sorted by name */
    struct ht__map by_name;
    size_t n_datasets;
    const char **datasets;
    uint32_t chunk_count, chunk_size; /* 0: not said by the file */
};

/* Reads llama-imatrix's GGUF file or a legacy .dat, detected by content. Values are finite and not negative. */
HT_MUST_CHECK enum ht_err ht__imatrix_open(const char *path, const struct ht__alloc *alloc, struct ht__imatrix **out,
                                           struct ht_diag *diag);
/* What reading the file would give that these sums are written to. */
struct ht__sums_file;
struct ht__sums;
HT_MUST_CHECK enum ht_err ht__imatrix_of_sums(const struct ht__sums_file *sums, const struct ht__alloc *alloc,
                                              struct ht__imatrix **out, struct ht_diag *diag);
/* Other sums for an entry, of the same shape, as ht__imatrix_of_sums makes them; where there is none, nothing. */
void ht__imatrix_replace(struct ht__imatrix *imatrix, const struct ht__sums *sums);
void ht__imatrix_close(struct ht__imatrix **imatrix);
/* NULL when absent, or when imatrix is NULL. */
const struct ht__imatrix_entry *ht__imatrix_find(const struct ht__imatrix *imatrix, const char *name);
/* Bytes held; 0 for NULL. */
uint64_t ht__imatrix_memory(const struct ht__imatrix *imatrix);

#endif
