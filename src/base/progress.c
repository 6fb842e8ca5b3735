/* Progress with the rate of the last seconds and the time left. */
#include "base/progress.h"

void ht__progress_begin(struct ht__progress *m, const struct ht__run *run, const char *step, const char *unit,
                        uint64_t total)
{
    *m = (struct ht__progress){.run = run};
    m->now.step = step;
    m->now.unit = unit;
    m->now.tensor = "";
    m->now.total = total;
    m->now.seconds_left = -1;
    m->start = m->window_start = ht__seconds();
    m->window_done = UINT64_MAX; /* set by the first call: resumed work has no rate */
}

/* The rate is that of a window that slides by halves: steady, but not of long ago. */
bool ht__progress_tell(struct ht__progress *m, uint64_t done, const char *tensor)
{
    enum { WINDOW = 6 };
    double now = ht__seconds();
    if (m->window_done == UINT64_MAX) m->window_done = done;
    double span = now - m->window_start;
    if (span > 0.2 && done > m->window_done) {
        m->now.rate = (double)(done - m->window_done) / span;
        m->now.seconds_left = done < m->now.total ? (double)(m->now.total - done) / m->now.rate : 0;
    }
    if (span > WINDOW) {
        m->window_start = now;
        m->window_done = done;
    }
    m->now.done = done;
    m->now.tensor = tensor;
    m->now.seconds = now - m->start;
    if (m->run->progress && m->run->progress(m->run->progress_ctx, &m->now) != 0) ht__cancel(m->run);
    return ht__cancelled(m->run);
}
