/* A Hugging Face tokenizer as GGUF metadata (keys tokenizer.*). */
#ifndef HT_MODEL_VOCAB_IMPORT_IMPORT_H
#define HT_MODEL_VOCAB_IMPORT_IMPORT_H

#include "base/json.h"
#include "base/log.h"
#include "formats/kv.h"

struct ht__vocab_import_job {
    const char *dir;                /* folder with tokenizer.json, tokenizer.model, vocab.json … */
    const char *arch;               /* GGUF architecture name */
    const struct ht__jnode *config; /* config.json (text_config merged over it); may be NULL */
    uint64_t vocab_size;            /* rows of the embedding: the token list is padded to it; 0: not known */
    const struct ht__log *log;      /* warnings: an unrecognised pre-tokenizer and what was chosen */
};

/* Appends the tokenizer's keys to kvs, whose arena holds the data. A folder without a tokenizer is
 * HT_ERR_NOT_FOUND; kvs is then as it was. */
HT_MUST_CHECK enum ht_err ht__vocab_import_metadata(const struct ht__vocab_import_job *job, struct ht__kvs *kvs,
                                                    struct ht_diag *diag);

#endif
