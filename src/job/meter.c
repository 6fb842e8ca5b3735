/* Progress with the rate of the last seconds and the time left. */
#include "job/meter.h"

#include <time.h>

double ht__seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void ht__meter_begin(struct ht__meter *m, struct ht_job *job, const char *step, const char *unit, uint64_t total)
{
    *m = (struct ht__meter){.job = job};
    m->now.step = step;
    m->now.unit = unit;
    m->now.tensor = "";
    m->now.total = total;
    m->now.seconds_left = -1;
    m->start = m->window_start = ht__seconds();
    m->window_done = UINT64_MAX; /* set by the first call: resumed work has no rate */
}

/* The rate is that of a window that slides by halves: steady, but not of long ago. */
bool ht__meter_tell(struct ht__meter *m, uint64_t done, const char *tensor)
{
    enum { WINDOW = 6 };
    double now = ht__seconds();
    if (m->window_done == UINT64_MAX) m->window_done = done;
    double span = now - m->window_start;
    if (span > 0.2 && done > m->window_done) {
        m->now.rate = (double)(done - m->window_done) / span;
        m->now.seconds_left = (double)(m->now.total - done) / m->now.rate;
    }
    if (span > WINDOW) {
        m->window_start = now;
        m->window_done = done;
    }
    m->now.done = done;
    m->now.tensor = tensor;
    m->now.seconds = now - m->start;
    return m->job->progress && m->job->progress(m->job->progress_ctx, &m->now) != 0;
}
