/*
 * A whole job on a model of a few thousand weights: a source folder of one of several kinds, a folder for
 * outputs, and what must hold whatever becomes of the job.
 */
#ifndef HT_TESTS_LIB_TINY_H
#define HT_TESTS_LIB_TINY_H

#include "folder.h"
#include "job/quantize.h"

enum tiny_kind {
    TINY_SAFETENSORS, /* two shards and their index, tokenizer.json with a pre-tokenizer not in the list */
    TINY_PYTORCH,     /* a zip of a pickle, tokenizer.model; options in a recipe file */
    TINY_GGUF,        /* what TINY_SAFETENSORS converts to, with an importance file */
    TINY_UNDONE,      /* the same, to a folder of a scheme */
    TINY_N_KINDS
};
extern const char *const tiny_names[TINY_N_KINDS];

struct tiny {
    enum tiny_kind kind;
    struct folder in, out;
    char source[512], imatrix[512], recipe[512];
    int width; /* of rows */
    /* options that a test may set after making it */
    const char *types; /* "Q8_0,Q4_0" otherwise */
    bool overwrite;
};

enum { TINY_WIDTH = 64, TINY_WIDE = 256 }; /* rows for the smallest blocks, and for all */

void tiny_make(struct tiny *tiny, enum tiny_kind kind, int width);
void tiny_remove(struct tiny *tiny);

/* Opens a job, sets its options and runs it: two types, a rule for tensors, a report. *json is freed by
 * the caller. */
enum ht_err tiny_run(const struct tiny *tiny, const struct ht__alloc *alloc, char **json, struct ht_diag *diag);

/* Every file in the output folder, and in folders that it holds, with its bytes, sorted by name, without the report (it holds
 * times). Files are removed as they are read, so that the folder is empty for the next run. */
void tiny_collect(const struct tiny *tiny, struct ht__buf *bytes);
/* Names in the output folder, for messages; "" when it is empty. */
const char *tiny_left(const struct tiny *tiny);

#endif
