/* From a GGUF file's metadata to the tokenizer files of a folder: what vocab_import reads, written again. */
#ifndef HT_MODEL_VOCAB_EXPORT_EXPORT_H
#define HT_MODEL_VOCAB_EXPORT_EXPORT_H

#include "base/buf.h"
#include "base/log.h"
#include "formats/kv.h"

enum { HT__EXPORT_FILES = 3 };

struct ht__vocab_export {
    struct {
        const char *name; /* "tokenizer.json" */
        struct ht__buf data;
    } files[HT__EXPORT_FILES];
    size_t n;
    char missing[240]; /* why there are no tokenizer files; empty: they are there */
};

/*
 * tokenizer.json, tokenizer_config.json and generation_config.json. A tokenizer that cannot be written is no error: it
 * leaves `missing`, which is for people to read, and generation_config.json alone. arch: general.architecture. The files
 * are the caller's, by ht__vocab_export_close, also after an error.
 */
HT_MUST_CHECK enum ht_err ht__vocab_export(const struct ht__kvs *kvs, const char *arch, const struct ht__alloc *alloc,
                                           struct ht__vocab_export *out, struct ht_diag *diag);
void ht__vocab_export_close(struct ht__vocab_export *out);

#endif
