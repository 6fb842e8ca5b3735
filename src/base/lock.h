/* Advisory locks on files that are being written. They end with the process, however it ends. */
#ifndef HT_BASE_LOCK_H
#define HT_BASE_LOCK_H

#include "base/err.h"

#include <stdbool.h>

/*
 * Locks the open file until its descriptor is closed; waits for up to a second for it. HT_ERR_EXISTS when somebody else has it locked: the message says
 * which process, where and since when, as far as this machine knows. *supported is false on a file system without
 * locks; that is no error.
 */
HT_MUST_CHECK enum ht_err ht__lock_file(int fd, const char *path, bool *supported, struct ht_diag *diag);

#endif
