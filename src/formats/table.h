/* Collecting a checkpoint's tensors while files are read. */
#ifndef HT_FORMATS_TABLE_H
#define HT_FORMATS_TABLE_H

#include "formats/checkpoint.h"

enum {
    HT__MAX_TENSORS = 1 << 20,
    HT__MAX_FILES = 1 << 16,
    HT__MAX_NAME = 4096,
};

/* Appends a tensor; a name that was there already is an error. `tensor->name` must live in the arena. */
HT_MUST_CHECK enum ht_err ht__table_add(struct ht__checkpoint *ck, const struct ht__tensor *tensor,
                                        struct ht_diag *diag);
/* Opens a file and appends it to ck->files. */
HT_MUST_CHECK enum ht_err ht__table_open(struct ht__checkpoint *ck, const char *path, uint32_t *index,
                                         struct ht_diag *diag);
/* "file: tensor", for a diagnosis; borrowed from the arena, never NULL. */
const char *ht__table_where(struct ht__checkpoint *ck, uint32_t file, const char *tensor);

#endif
