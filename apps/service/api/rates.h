/* Token buckets by name: a limited average rate, and a limited burst. Any thread. */
#ifndef HT_SERVICE_API_RATES_H
#define HT_SERVICE_API_RATES_H

#include <stdbool.h>

struct rates;

/* rate 0: never a wait. NULL: no memory. */
struct rates *rates_open(double rate, double burst);
void rates_close(struct rates **rates);
/* 0: go on (and one is taken, when `take`); otherwise whole seconds until there is one again. */
int rates_wait(struct rates *rates, const char *who, bool take);

#endif
