/* Folders that appear whole or not at all: made under another name beside their place, and renamed into it. */
#ifndef HT_BASE_MADE_FOLDER_H
#define HT_BASE_MADE_FOLDER_H

#include "base/err.h"

#include <stdbool.h>

/*
 * May a folder be published there? What --overwrite may take away is a folder that has the file `marker` and nothing but
 * files; another is HT_ERR_EXISTS, as more than `what` ("a model's") files.
 */
HT_MUST_CHECK enum ht_err ht__made_folder_check(const char *path, bool overwrite, const char *marker, const char *what,
                                                struct ht_diag *diag);
/* Renames `made` to `path`, and syncs the folder above. A folder that is there goes (*replaced). */
HT_MUST_CHECK enum ht_err ht__made_folder_publish(const char *made, const char *path, bool *replaced,
                                                  struct ht_diag *diag);
/* Removes a folder that has nothing but files; what cannot be removed stays. */
void ht__made_folder_remove(const char *path);

#endif
