/* Figures of each model at each level, since the start: calls, times, tokens, memory as measured. */
#ifndef HT_SERVICE_LEVELS_STATS_H
#define HT_SERVICE_LEVELS_STATS_H

#include "service/runtime/runtime.h"

struct stats;

struct stats *stats_open(void); /* NULL: no memory */
void stats_close(struct stats **stats);
/* struct runtime_settings.on_done, with the stats as its ctx. */
void stats_done(void *stats, const struct runtime_done *done);
/* {calls, succeeded, failed, left, rate (of those that ended), average_seconds, least_seconds, most_seconds (of those that
 * succeeded), tokens, tokens_per_second, memory_bytes, most_memory_bytes}: null where nothing was measured. */
json_t *stats_json(struct stats *stats, const char *path);

#endif
