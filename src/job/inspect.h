/* What is inside a file or folder. */
#ifndef HT_JOB_INSPECT_H
#define HT_JOB_INSPECT_H

#include "base/buf.h"
#include "base/err.h"

/* flags: enum ht_inspect_flags. Appends a JSON object. */
HT_MUST_CHECK enum ht_err ht__inspect(const char *path, unsigned flags, struct ht__buf *out,
                                      struct ht_diag *diag);

#endif
