/* Statuses of what takes a while: lines as they come, or the last one alone. */
#ifndef HT_SERVICE_OLLAMA_PROGRESS_H
#define HT_SERVICE_OLLAMA_PROGRESS_H

#include "service/ollama/ollama.h"

struct progress {
    struct api_call *call; /* until it is answered */
    struct ht__http_stream *stream;
    bool streams;
    json_t *last;
};

/* {"status": …}, stolen. */
void progress_say(struct progress *p, json_t *status);
void progress_status(struct progress *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One of these ends it. */
void progress_success(struct progress *p);
void progress_failure(struct progress *p, const char *kind, const char *message);
/* Is the client still there? For the `unwanted` of a child. */
bool progress_left(void *progress);

#endif
