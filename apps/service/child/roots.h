/* The folders under which local models may be named. Everything a client names is resolved here and nowhere else. */
#ifndef HT_SERVICE_CHILD_ROOTS_H
#define HT_SERVICE_CHILD_ROOTS_H

#include "service/child/confine.h"
#include "service/settings/settings.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct roots;

enum roots_result { ROOTS_OK, ROOTS_OUTSIDE, ROOTS_MISSING };

/* Folders that are not there are an error: why. */
bool roots_open(const struct settings_list *folders, struct roots **roots, char *why, size_t size);
void roots_close(struct roots **roots);
size_t roots_count(const struct roots *roots);
/* Their descriptors, open as long as the roots are. */
const struct confine_roots *roots_held(const struct roots *roots);
const char *roots_path(const struct roots *roots, size_t i); /* without links */

/*
 * Where a name lies: absolute, or relative to one of the folders (the first that has it). OUTSIDE: it leaves its
 * folder, by name or by a link on the way. On OK real has no links and no "..", root is the folder's number (may be
 * NULL), info is its stat (may be NULL).
 */
enum roots_result roots_resolve(const struct roots *roots, const char *name, char real[PATH_MAX], size_t *root,
                                struct stat *info);
/* The same, and an open descriptor for reading (a file or a folder); -1 when not OK. */
int roots_open_at(const struct roots *roots, const char *name, char real[PATH_MAX], size_t *root,
                  enum roots_result *result);
/*
 * Why a model may not be read, for people; NULL: it may, and real is where it lies. Besides its own place every link
 * that is read with it has to stay under the allowed folders: those in its folder, the other parts of a split file,
 * what lies beside a file and describes it. Children are confined to the folders as well (confine.h); this tells the
 * reason, and is the only wall on a kernel without Landlock.
 */
const char *roots_model_fault(const struct roots *roots, const char *name, char real[PATH_MAX]);

#endif
