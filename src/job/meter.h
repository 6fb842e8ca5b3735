/* How far a step is, with rate and time left. */
#ifndef HT_JOB_METER_H
#define HT_JOB_METER_H

#include "job/job.h"

/* Telling the caller how far a step is; true when the caller asks to stop. */
struct ht__meter {
    struct ht_job *job;
    struct ht_progress now;
    double start, window_start; /* monotonic seconds */
    uint64_t window_done;
};
void ht__meter_begin(struct ht__meter *meter, struct ht_job *job, const char *step,
                     const char *unit, uint64_t total);
bool ht__meter_tell(struct ht__meter *meter, uint64_t done, const char *tensor);
double ht__seconds(void);

#endif
