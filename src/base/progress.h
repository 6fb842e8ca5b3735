/* How far a step is, with rate and time left. */
#ifndef HT_BASE_PROGRESS_H
#define HT_BASE_PROGRESS_H

#include "base/clock.h"
#include "base/run.h"

struct ht__progress {
    const struct ht__run *run;
    struct ht_progress now;
    double start, window_start; /* monotonic seconds */
    uint64_t window_done;
};
void ht__progress_begin(struct ht__progress *progress, const struct ht__run *run, const char *step, const char *unit,
                        uint64_t total);
/* Tells the caller. False: go on. True: the work is to stop, because the caller's answer says so (the run is cancelled
 * then) or somebody cancelled it. */
bool ht__progress_tell(struct ht__progress *progress, uint64_t done, const char *tensor);

#endif
