/* Time that only goes forward. Everything that waits or measures uses it: a wall clock can be set back. */
#ifndef HT_SERVICE_SYSTEM_STEADY_H
#define HT_SERVICE_SYSTEM_STEADY_H

#include <pthread.h>

/* Since an arbitrary start: only differences mean something. */
double steady_seconds(void);
/* A condition whose timed waits use this clock. */
void steady_cond_init(pthread_cond_t *cond);
/* Waits for a signal, at most that long. Wakes spuriously, as all do. */
void steady_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, double seconds);

#endif
