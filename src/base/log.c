#include "base/log.h"
#include "base/escape.h"

#include <stdio.h>
#include <string.h>

void ht__log_printf(const struct ht__log *log, enum ht__log_level level, const char *fmt, ...)
{
    if (!log || !log->line) return;
    char line[1024], shown[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    ht__escape(line, strlen(line), shown, sizeof shown);
    log->line(log->ctx, level, shown);
}
