/* Time that only goes forward: waits and rates are not affected when the wall clock is set. */
#ifndef HT_BASE_CLOCK_H
#define HT_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

/* Since an arbitrary start: only differences mean something. */
double ht__seconds(void);
int64_t ht__milliseconds(void);

/* A condition whose timed waits use this clock; the error of pthread_cond_init, or 0. */
int ht__cond_init(pthread_cond_t *cond);
/* Waits for a signal for at most that long; the condition is one of ht__cond_init. Wakes spuriously, as all do. */
void ht__cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ms);

#endif
