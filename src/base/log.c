#include "base/log.h"

#include <stdio.h>

void ht__log_printf(const struct ht__log *log, enum ht__log_level level, const char *fmt, ...)
{
    if (!log || !log->line) return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    log->line(log->ctx, level, line);
}
