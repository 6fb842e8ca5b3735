/* The service's log: one JSON object a line, whole lines only, from any thread. Logging never waits for the reader. */
#ifndef HT_SERVICE_LOG_LOG_H
#define HT_SERVICE_LOG_LOG_H

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

/* ALWAYS is information that no setting hides. */
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR, LOG_LEVEL_ALWAYS };

struct log;

/* fd stays the caller's. NULL: no memory, or no thread. */
struct log *log_open(int fd, enum log_level least);
/* Waits while lines go out, but not for a reader that takes none. NULL-safe. */
void log_close(struct log **log);
/* Between the two nothing is written (closing ends it, too): lines wait, and those of LOG_LEVEL_ALWAYS go in front of all
 * others, the last of them first. Thus whoever starts a service reads the lines that he waits for before any of a job. */
void log_hold(struct log *log);
void log_release(struct log *log);
/* Lines that were lost because the reader did not take them in time. */
uint64_t log_dropped(struct log *log);
bool log_wants(const struct log *log, enum log_level level);
/* {"time", "level", "event", …}: format and what follows are json_pack's, of an object that holds the rest
 * ("{s:s}", "job_id", id); NULL: nothing more. */
void log_event(struct log *log, enum log_level level, const char *event, const char *format, ...);
/* A level by name: debug, info, warning, error. */
bool log_level_named(const char *name, enum log_level *level);

/* "2026-01-31T12:00:00.123Z" */
void log_time(char text[32]);

#endif
