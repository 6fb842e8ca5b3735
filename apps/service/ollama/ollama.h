/*
 * /api as Ollama's clients expect it. The folder offers the handlers (api.h names them) and the callbacks of the port that
 * such programs look for.
 *
 *   models.c    tags, show, ps, version        what there is
 *   make.c      generate, chat                 lines of JSON as the text is made
 *   embed.c     embed, embeddings
 *   manage.c    copy, delete, create, blobs, pull
 */
#ifndef HT_SERVICE_OLLAMA_OLLAMA_H
#define HT_SERVICE_OLLAMA_OLLAMA_H

#include "service/api/run.h"

/* The callback of a port of its own for such programs: as api_begin, but that / says "Ollama is running". */
void ollama_begin(void *ctx, struct ht__http_request *r);

/* "2026-11-29T16:10:08.123456789Z"; seconds since 1970. */
enum { OLLAMA_TIME = 40 };
void ollama_time(double seconds, char text[OLLAMA_TIME]);
void ollama_now(char text[OLLAMA_TIME]);
/* A name with a tag: "lines" is "lines:latest". */
json_t *ollama_name(const json_t *entry);
/* 64 hexadecimal digits; of what has no hash, those of its path, size and time. */
void ollama_digest(const json_t *entry, char digest[65]);
json_t *ollama_details(const json_t *entry);

/* What is asked for: "model", or "name" as older clients say. NULL: it was answered. */
const char *ollama_model(struct api_call *call);
/* Seconds: a number, or a text as Go's durations ("5m", "1h30m", "-1"); below 0: for ever; NaN: it was not said. false:
 * it was answered. */
bool ollama_keep_alive(struct api_call *call, double *seconds);
/* The members of "options", as a request of the model's process has them (runtime/model.h). false: it was answered. */
bool ollama_options(struct api_call *call, const json_t *options, json_t *request);
/* "format": "json" or a JSON Schema. false: it was answered. */
bool ollama_format(struct api_call *call, json_t *request);
/* Letters, digits and ._-:/, 120 at most. */
bool ollama_name_allowed(const char *name);
/* A name of the client's for an entry, as own.h keeps it. */
json_t *ollama_own(const char *name, const json_t *entry);
bool ollama_fault(struct api_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
