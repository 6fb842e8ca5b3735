/* Rows of a Linear into the parts of its scheme, on the disk. */
#ifndef HT_PIPELINE_PACK_H
#define HT_PIPELINE_PACK_H

#include "kernels/sum.h"
#include "pipeline/plan.h"

#include <pthread.h>

/* A chunk's rows for one output, worked on strip after strip. */
struct ht__packing {
    struct ht__packed *packed;
    struct ht__plan_file *file;
    int64_t row, n_rows;
    const float *importance; /* one a column, or NULL */
    void *coded;             /* the whole matrix, where its codes were chosen before (methods/coder.h); or NULL */
    pthread_mutex_t *lock;   /* of all workers */
    const char *name;
    const struct ht__alloc *alloc;
    struct ht__codes codes; /* of all these rows; ht__pack_open makes them */
};

HT_MUST_CHECK enum ht_err ht__pack_open(struct ht__packing *job, struct ht__arena *arena, struct ht_diag *diag);
/* Rounds, unless the codes were chosen before, n_rows of the rows from `from` on (counted from the chunk's first), whose weights are x. again: as programs that
 * load them will see them. */
bool ht__pack_strip(const struct ht__packing *job, int64_t from, int64_t n_rows, const float *x, float *again);
/* Packs and writes the rows; `written` grows by the sums of the bytes, by their places among those of all parts. */
HT_MUST_CHECK enum ht_err ht__pack_write(const struct ht__packing *job, struct ht__arena *arena,
                                         struct ht__sum *written, uint64_t *bytes, struct ht_diag *diag);
/* After the last row: the parts that are not by rows. */
HT_MUST_CHECK enum ht_err ht__pack_finish(struct ht__packed *packed, struct ht__plan_file *file,
                                          const struct ht__alloc *alloc, struct ht__sum *written, uint64_t *bytes,
                                          struct ht_diag *diag);
/* Frees what an unfinished matrix holds. */
void ht__pack_close(struct ht__packed *packed, const struct ht__alloc *alloc);

#endif
