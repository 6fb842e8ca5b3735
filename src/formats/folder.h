/* Which of a folder's files hold the model's weights. */
#ifndef HT_FORMATS_FOLDER_H
#define HT_FORMATS_FOLDER_H

#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"

struct ht__folder_weights {
    const char *index;  /* the index that names the files; NULL: those below */
    const char **files; /* in the order of their numbers */
    size_t n;
};

/*
 * As transformers chooses: the one safetensors file, an index of several, then the same for PyTorch's. Beyond
 * that a complete set of numbered files does without its index. Anything else is refused with what was found.
 */
HT_MUST_CHECK enum ht_err ht__folder_choose(const char *dir, const struct ht__remote_folder *remote,
                                            struct ht__arena *arena, struct ht__folder_weights *out,
                                            struct ht_diag *diag);

#endif
