/* What is a model, by the names of files. */
#ifndef HT_SERVICE_ARTIFACTS_CHECKPOINTS_H
#define HT_SERVICE_ARTIFACTS_CHECKPOINTS_H

#include <stdint.h>

/* The format of a file by its name: "gguf", "safetensors", "pytorch"; NULL: no model, or a later part of one. */
const char *checkpoints_file(const char *name);
/* The format of a folder that holds a checkpoint, with the size of its weights; NULL: it holds none. parent: a descriptor. */
const char *checkpoints_folder(int parent, const char *name, int64_t *size);

#endif
