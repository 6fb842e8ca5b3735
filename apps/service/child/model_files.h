/* Which files a model is: those that are read with it, for whoever brings it to another machine. */
#ifndef HT_SERVICE_CHILD_MODEL_FILES_H
#define HT_SERVICE_CHILD_MODEL_FILES_H

#include <jansson.h>

#include <stdbool.h>

/* Is `name` read together with the model file `model` of the same folder? The other parts of a split GGUF are; beside
 * other files it is what may describe a model: configuration, tokenizer, template, card. */
bool model_reads_with(const char *name, const char *model);

/*
 * Of the model at `path` (without links): {"name": its last part, "folder": is it one, "files": [{"name", "size",
 * "modified_ns"}]}; names of a folder's are relative to it, those of a file's to the folder that it is in. Of several
 * kinds of weights in a folder those that are read. NULL: it cannot be read, or has too many files.
 */
json_t *model_files(const char *path);

#endif
