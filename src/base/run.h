/*
 * What every long call is given instead of the job: where memory comes from, whom to tell, when to stop, and how much
 * of the machine it may take.
 */
#ifndef HT_BASE_RUN_H
#define HT_BASE_RUN_H

#include "halftone/halftone.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ht__run {
    const struct ht__alloc *alloc;
    const struct ht__log *log; /* NULL: nobody listens */
    atomic_bool *cancelled;    /* set by the caller, by a progress function that asks to stop, or by a stage that failed
                                   while its threads still work */
    ht_progress_fn *progress;  /* or NULL */
    void *progress_ctx;
    int n_threads;   /* 0: one for each core */
    uint64_t memory; /* bytes; 0: no limit was given */
};

static inline bool ht__cancelled(const struct ht__run *run)
{
    return atomic_load_explicit(run->cancelled, memory_order_relaxed);
}

static inline void ht__cancel(const struct ht__run *run)
{
    atomic_store_explicit(run->cancelled, true, memory_order_relaxed);
}

/* Bytes that quantizing takes where no limit was given. */
enum { HT__DEFAULT_MEMORY = 512 << 20 };

static inline uint64_t ht__memory_limit(const struct ht__run *run)
{
    return run->memory ? run->memory : HT__DEFAULT_MEMORY;
}

/* HT_ERR_NO_MEMORY_BUDGET, with the least that works. */
enum ht_err ht__memory_too_small(uint64_t least, uint64_t limit, struct ht_diag *diag);

#endif
