/* Clients that listen to events (text/event-stream). */
#ifndef HT_SERVICE_API_STREAMS_H
#define HT_SERVICE_API_STREAMS_H

#include "service/events/events.h"

struct ht__http_stream;
struct caller; /* api/api.h: by whose token, which session; the stream ends with it */
struct streams;

struct streams *
streams_open(struct events *events); /* starts the thread that pings and clears up; NULL: it could not */
/* Ends every stream. No request may be in flight that calls streams_add. NULL-safe. */
void streams_close(struct streams **streams);
/* Owns the stream. job_id NULL: all jobs; after: go on behind this event, 0: from now. false: no memory; it was
 * ended. */
bool streams_add(struct streams *streams, struct ht__http_stream *stream, const char *job_id, uint64_t after,
                 const struct caller *by);
/* Ends the streams of a token (its id) or a session (its hash) that is not valid any more. */
void streams_end_of(struct streams *streams, const char *who);
int streams_count(struct streams *streams);

#endif
