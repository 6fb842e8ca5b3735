/* What an importance file holds before the division: sums of squared inputs and how many rows they are of. */
#ifndef HT_FORMATS_IMATRIX_SUMS_H
#define HT_FORMATS_IMATRIX_SUMS_H

#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>

struct ht__sums {
    const char *name;       /* of the weight: "blk.0.attn_q.weight" */
    uint64_t n_cols, n_mat; /* matrices of n_cols columns: experts, heads, or 1 */
    uint64_t n_counts;      /* n_mat where each matrix has its own count (experts); 1 where all saw the same rows */
    double *sums;           /* n_mat x n_cols */
    double *counts;         /* n_counts */
};

/* How far an unfinished collection got, and which run it belongs to. */
struct ht__sums_state {
    char identity[65]; /* hexadecimal; empty: the file is no unfinished one */
    uint32_t passes;   /* finished: of a text its groups of chunks */
    uint32_t layers;   /* finished of the next pass: their sums hold it already */
};

struct ht__sums_file {
    size_t n;
    struct ht__sums *items; /* sorted by name */
    size_t n_datasets;
    const char **datasets;
    uint32_t chunk_count, chunk_size; /* 0: not said by the file */
    struct ht__sums_state state;
};

/*
 * Reads llama-imatrix's GGUF file or a legacy .dat; everything is allocated in the arena, which the caller closes on
 * failure too. A legacy file counts in chunks: `chunk_size` says of how many tokens. A file with state is read
 * from it, exactly.
 */
HT_MUST_CHECK enum ht_err ht__sums_read(const char *path, uint32_t chunk_size, struct ht__arena *arena,
                                        struct ht__sums_file *out, struct ht_diag *diag);

/*
 * Writes llama-imatrix's GGUF file. With a state the doubles are written too, so that reading gives them back to
 * the bit. Sums beyond a float are HT_ERR_NONFINITE.
 */
HT_MUST_CHECK enum ht_err ht__sums_write(const char *path, const struct ht__sums_file *file, bool overwrite,
                                         const struct ht__alloc *alloc, struct ht_diag *diag);

#endif
