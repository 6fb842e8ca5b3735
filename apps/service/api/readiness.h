/* Can the service take work? Looked at in the background, so that a probe costs nothing and changes nothing. */
#ifndef HT_SERVICE_API_READINESS_H
#define HT_SERVICE_API_READINESS_H

#include "service/api/server.h"

struct readiness;

struct readiness_state {
    enum store_result database;
    bool room; /* what a database needs to go on: less is no place to take work for */
};

/* Looks once, and from then on every two seconds in a thread of its own, which logs changes. NULL: no memory, or no
 * thread. */
struct readiness *readiness_open(struct server *server);
void readiness_close(struct readiness **readiness); /* NULL-safe */
struct readiness_state readiness_state(struct readiness *readiness);

#endif
