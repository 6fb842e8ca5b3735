/* What a planned job will take: disk, memory, time; and what running its outputs will. */
#ifndef HT_JOB_ESTIMATE_H
#define HT_JOB_ESTIMATE_H

#include "job/fit.h"
#include "job/space.h"

struct ht__estimate {
    const struct ht__plan *plan;
    struct ht__fit_shape shape;
    struct ht_diag no_shape;             /* why the memory to run it is not told; HT_OK: it is */
    const struct ht__codec *cache_type;
    uint64_t ctx;
    struct ht__space space;
    uint64_t download; /* bytes to fetch first; 0 where the source lies on this machine, or is not kept */
    uint64_t temporary; /* bytes on the disk beside the outputs, while it runs */
    double seconds, engine_seconds; /* the latter: of them, for collecting importance and measuring */
};

/* Takes a third of a second: this machine's rates are measured. */
HT_MUST_CHECK enum ht_err ht__estimate_make(const struct ht__plan *plan, struct ht__estimate *estimate,
                                            struct ht_diag *diag);
/* Members of the answer: `"download_bytes": …, … "fits": …, "reasons": […], `. */
void ht__estimate_put(struct ht__buf *out, const struct ht__estimate *estimate);
/* Members of an output: `"format": …, … "run_memory": {…}, `. */
void ht__estimate_put_output(struct ht__buf *out, const struct ht__estimate *estimate, const struct ht__plan_output *output);

#endif
