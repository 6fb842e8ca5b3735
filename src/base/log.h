/* Messages for people. The library never prints: it hands lines to whoever called it. */
#ifndef HT_BASE_LOG_H
#define HT_BASE_LOG_H

#include "base/err.h"

enum ht__log_level { HT__LOG_INFO, HT__LOG_WARNING };

struct ht__log {
    /* May be called from any thread. `line` is borrowed, and escaped (base/escape.h). */
    void (*line)(void *ctx, enum ht__log_level level, const char *line);
    void *ctx;
};

/* NULL-safe: without a log, or without a callback, the line is dropped. */
void ht__log_printf(const struct ht__log *log, enum ht__log_level level, const char *fmt, ...) HT_PRINTF(3, 4);

#endif
