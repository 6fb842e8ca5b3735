/* Stepping down and up through the levels by what the machine's readings say: a thread of its own. */
#ifndef HT_SERVICE_API_ADJUST_H
#define HT_SERVICE_API_ADJUST_H

#include "service/api/server.h"

#include <jansson.h>
#include <stddef.h>

struct adjuster;

/* trace: recorded readings in the place of the machine's; NULL or "": none. NULL: why. */
struct adjuster *adjust_open(struct server *server, const char *trace, char *why, size_t size);
/* Ends the thread; what it waits for is stopped. */
void adjust_close(struct adjuster **adjuster);
/* The settings changed: it looks at once. */
void adjust_wake(struct adjuster *adjuster);
/* {settings, source, reading, gauges, reason, stepped, decisions}: the caller's. */
json_t *adjust_json(struct adjuster *adjuster);

#endif
