/* Threads that share out the tasks of one call at a time. */
#ifndef HT_BASE_POOL_H
#define HT_BASE_POOL_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdint.h>

struct ht__pool;

/* n_threads counts the caller; 0 takes every core that the process may use. */
HT_MUST_CHECK enum ht_err ht__pool_open(int n_threads, const struct ht__alloc *alloc, struct ht__pool **pool,
                                        struct ht_diag *diag);
void ht__pool_close(struct ht__pool **pool);
int ht__pool_threads(const struct ht__pool *pool);

/* One task; thread is 0 … threads-1, for buffers of its own. */
typedef void ht__task_fn(void *ctx, int64_t task, int thread);
/* Runs tasks 0 … n-1, in no order, and returns when all are done. Not to be nested. */
void ht__pool_run(struct ht__pool *pool, int64_t n, ht__task_fn *fn, void *ctx);

/* Cores that the process may use. */
int ht__core_count(void);

#endif
