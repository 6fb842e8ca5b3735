/* Error codes as text, and the filling of a diagnosis. */
#include "base/err.h"
#include "base/escape.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *ht_err_text(enum ht_err code)
{
    switch (code) {
#define HT_ERR_TEXT(name, number, text)                                                                                \
    case name: return text;
        HT_ERR_LIST(HT_ERR_TEXT)
#undef HT_ERR_TEXT
    }
    return "unknown error";
}

const char *ht_err_name(enum ht_err code)
{
    switch (code) {
#define HT_ERR_NAME(name, number, text)                                                                                \
    case name: return #name;
        HT_ERR_LIST(HT_ERR_NAME)
#undef HT_ERR_NAME
    }
    return "HT_ERR_UNKNOWN";
}

void ht__diag_clear(struct ht_diag *diag)
{
    if (!diag) return;
    diag->code = HT_OK;
    diag->offset = -1;
    diag->where[0] = diag->message[0] = '\0';
}

/* Names in it may come from a file: they are escaped, or a tensor's name could steer the reader's terminal. */
static void copy(char *out, size_t size, const char *text)
{
    ht__escape(text, strlen(text), out, size);
}

HT_PRINTF(6, 0)
static enum ht_err fill(struct ht_diag *diag, enum ht_err code, const char *where, int64_t offset, const char *reason,
                        const char *fmt, va_list args)
{
    char message[2 * sizeof diag->message];
    if (!diag || diag->code != HT_OK) return code;
    int n = vsnprintf(message, sizeof message, fmt, args);
    if (reason && n >= 0 && (size_t)n < sizeof message)
        snprintf(message + n, sizeof message - (size_t)n, ": %s", reason);
    diag->code = code;
    diag->offset = offset;
    copy(diag->where, sizeof diag->where, where ? where : "");
    copy(diag->message, sizeof diag->message, message);
    return code;
}

enum ht_err ht__fail(struct ht_diag *diag, enum ht_err code, const char *where, int64_t offset, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fill(diag, code, where, offset, NULL, fmt, args);
    va_end(args);
    return code;
}

enum ht_err ht__fail_errno(struct ht_diag *diag, int error, const char *where, const char *fmt, ...)
{
    enum ht_err code = error == ENOSPC || error == EDQUOT ? HT_ERR_NO_SPACE
                       : error == ENOENT                  ? HT_ERR_NOT_FOUND
                       : error == EEXIST                  ? HT_ERR_EXISTS
                       : error == ENOMEM                  ? HT_ERR_MEMORY
                                                          : HT_ERR_IO;
    va_list args;
    va_start(args, fmt);
    fill(diag, code, where, -1, strerror(error), fmt, args);
    va_end(args);
    return code;
}

enum ht_err ht__fail_memory(struct ht_diag *diag, const char *where)
{
    return ht__fail(diag, HT_ERR_MEMORY, where, -1, "out of memory");
}
