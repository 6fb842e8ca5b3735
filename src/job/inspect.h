/* What is inside a file or folder. */
#ifndef HT_JOB_INSPECT_H
#define HT_JOB_INSPECT_H

#include "base/file.h"
#include "base/json_write.h"
#include "formats/checkpoint.h"

/* flags: enum ht_inspect_flags. Appends a JSON object. remote: files that are not on the disk, or NULL. */
HT_MUST_CHECK enum ht_err ht__inspect(const struct ht__remote_folder *remote, const char *path, unsigned flags,
                                      struct ht__buf *out, struct ht_diag *diag);

/* The member "model", or "model_unknown" with the reason. */
void ht__inspect_model(const struct ht__checkpoint *checkpoint, struct ht__jw *w);

#endif
