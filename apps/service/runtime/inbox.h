/* Lines of JSON from a socket, read by a thread of their own: whoever writes them never waits for a step to end. */
#ifndef HT_SERVICE_RUNTIME_INBOX_H
#define HT_SERVICE_RUNTIME_INBOX_H

#include <jansson.h>
#include <stdbool.h>

struct inbox;

struct inbox *inbox_open(int fd); /* NULL: no memory, no thread */
/* The next value, the caller's. NULL: there is none now; with `wait`: the other side has gone. */
json_t *inbox_next(struct inbox *inbox, bool wait);
bool inbox_ended(struct inbox *inbox);

#endif
