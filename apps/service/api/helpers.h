/* Threads that wait for children, so that those that answer requests need not. */
#ifndef HT_SERVICE_API_HELPERS_H
#define HT_SERVICE_API_HELPERS_H

#include "service/child/child.h"

struct helpers;

/* Run once in a helper; when the service closes, too, with the wish to stop: it must answer all the same. */
typedef void helper_fn(void *ctx, struct child_stop *stop);

struct helpers *helpers_open(int threads, int most_waiting); /* NULL: no memory, no threads */
/* Stops children, runs what waits, joins. NULL-safe. */
void helpers_close(struct helpers **helpers);
/* false: too much waits already. */
bool helpers_do(struct helpers *helpers, helper_fn *fn, void *ctx);

#endif
