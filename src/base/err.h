/* Filling a diagnosis at the point of detection, and passing errors on. */
#ifndef HT_BASE_ERR_H
#define HT_BASE_ERR_H

#include "halftone/err.h"

#include <stdarg.h>

#if defined(__GNUC__)
#define HT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define HT_MUST_CHECK __attribute__((warn_unused_result))
#define HT_LIKELY(x) __builtin_expect(!!(x), 1)
#define HT_UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define HT_PRINTF(fmt, args)
#define HT_MUST_CHECK
#define HT_LIKELY(x) (x)
#define HT_UNLIKELY(x) (x)
#endif

/*
 * Fills `diag` (may be NULL) and returns `code`, so that a check reads
 *     return ht__fail(diag, HT_ERR_FORMAT, path, offset, "header of %zu bytes", n);
 * The first diagnosis wins: a diag that already carries a code is left as it is.
 * `where` may be NULL; `offset` -1 when there is none. Both texts are escaped (base/escape.h): names from files may
 * be passed as they are.
 */
enum ht_err ht__fail(struct ht_diag *diag, enum ht_err code, const char *where, int64_t offset, const char *fmt, ...)
    HT_PRINTF(5, 6);

/* As ht__fail, with errno's text appended, HT_ERR_NO_SPACE for ENOSPC and EDQUOT, else HT_ERR_IO. */
enum ht_err ht__fail_errno(struct ht_diag *diag, int error, const char *where, const char *fmt, ...) HT_PRINTF(4, 5);

/* Out of memory: where the request was made. */
enum ht_err ht__fail_memory(struct ht_diag *diag, const char *where);

/* Empties a diagnosis before a call. NULL-safe. */
void ht__diag_clear(struct ht_diag *diag);

#define HT_TRY(expr)                                                                                                   \
    do {                                                                                                               \
        enum ht_err ht_try_err_ = (expr);                                                                              \
        if (HT_UNLIKELY(ht_try_err_ != HT_OK)) return ht_try_err_;                                                     \
    } while (0)

#endif
