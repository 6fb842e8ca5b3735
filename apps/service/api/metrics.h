/* Counters of the service, for /metrics. Any thread; adding never waits. */
#ifndef HT_SERVICE_API_METRICS_H
#define HT_SERVICE_API_METRICS_H

#include <stddef.h>
#include <stdint.h>

struct metrics;

struct metrics *metrics_open(void); /* NULL: no memory */
void metrics_close(struct metrics **metrics);
void metrics_request(struct metrics *metrics, int status, uint64_t bytes, double seconds);
void metrics_upload(struct metrics *metrics, uint64_t bytes);
void metrics_busy(struct metrics *metrics); /* the database was in use for too long */

#endif
