/*
 * Names of models on a hub: ORG/NAME, ORG/NAME@REVISION, ORG/NAME:FILE.gguf, ORG/NAME@REVISION:FILE.gguf.
 * They become parts of addresses and of paths, so that what is accepted here is all that ever gets there.
 */
#ifndef HT_HUB_NAME_H
#define HT_HUB_NAME_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { HT__HUB_MAX_ID = 96, HT__HUB_MAX_REVISION = 128, HT__HUB_MAX_FILE = 512 };

struct ht__hub_name {
    char id[HT__HUB_MAX_ID + 1];             /* "ORG/NAME" */
    char revision[HT__HUB_MAX_REVISION + 1]; /* a branch, a tag or a commit; "main" when none was given */
    char file[HT__HUB_MAX_FILE + 1];         /* "" when none was given */
};

HT_MUST_CHECK enum ht_err ht__hub_name_parse(const char *text, struct ht__hub_name *name, struct ht_diag *diag);
/* Is a hub's model meant? The text has a name's shape, and nothing on the disk is called so: what is here wins. */
bool ht__hub_is_wanted(const char *text);

/* A file inside a repository: relative, of plain components, never out of its folder. */
bool ht__hub_is_file(const char *path);
/* A commit: 40 hexadecimal digits, as the hub writes them. */
bool ht__hub_is_commit(const char *text);
/* The part after the '/', for naming outputs. */
const char *ht__hub_short_name(const struct ht__hub_name *name);

/* "models--ORG--NAME". */
enum { HT__HUB_MAX_FOLDER = HT__HUB_MAX_ID + 16 };
void ht__hub_folder_name(const struct ht__hub_name *name, char out[HT__HUB_MAX_FOLDER]);

#endif
