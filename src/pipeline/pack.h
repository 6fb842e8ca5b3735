/* Rows of a Linear into the parts of its scheme, on the disk. */
#ifndef HT_PIPELINE_PACK_H
#define HT_PIPELINE_PACK_H

#include "base/sum.h"
#include "pipeline/plan.h"

#include <pthread.h>

struct ht__packing {
    struct ht__packed *packed;
    struct ht__plan_file *file;
    int64_t row, n_rows;
    const float *x;          /* these rows */
    float *again;            /* as programs that load it will see them */
    const float *importance; /* one a column, or NULL */
    void *coded;             /* the whole matrix, where its codes were chosen before (methods/coder.h); or NULL */
    pthread_mutex_t *lock;   /* of all workers */
    const char *name;
    const struct ht__alloc *alloc;
};

/* Rounds, or takes what was chosen, packs and writes the rows; `written` grows by the sums of the bytes, by their places among those of all parts. */
HT_MUST_CHECK enum ht_err ht__pack_rows(const struct ht__packing *job, struct ht__arena *arena, struct ht__sum *written,
                                        uint64_t *bytes, struct ht_diag *diag);
/* After the last row: the parts that are not by rows. */
HT_MUST_CHECK enum ht_err ht__pack_finish(struct ht__packed *packed, struct ht__plan_file *file,
                                          const struct ht__alloc *alloc, struct ht__sum *written, uint64_t *bytes,
                                          struct ht_diag *diag);
/* Frees what an unfinished matrix holds. */
void ht__pack_close(struct ht__packed *packed, const struct ht__alloc *alloc);

#endif
