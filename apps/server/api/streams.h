/* Clients that listen to events (text/event-stream). */
#ifndef HT_SERVER_API_STREAMS_H
#define HT_SERVER_API_STREAMS_H

#include "server/events.h"

struct ht__http_stream;
struct streams;

struct streams *
streams_open(struct events *events); /* starts the thread that pings and clears up; NULL: it could not */
/* Ends every stream. No request may be in flight that calls streams_add. NULL-safe. */
void streams_close(struct streams **streams);
/* Owns the stream. job_id NULL: all jobs; after: go on behind this event, 0: from now. false: no memory; it was
 * ended. */
bool streams_add(struct streams *streams, struct ht__http_stream *stream, const char *job_id, uint64_t after);
int streams_count(struct streams *streams);

#endif
