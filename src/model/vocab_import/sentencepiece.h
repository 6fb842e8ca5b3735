/* The SentencePiece model file (tokenizer.model): a protocol-buffer message. */
#ifndef HT_MODEL_VOCAB_IMPORT_SENTENCEPIECE_H
#define HT_MODEL_VOCAB_IMPORT_SENTENCEPIECE_H

#include "model/vocab_import/vocab.h"

enum ht__sentencepiece_kind { /* numbers of the file format */
                              HT__SENTENCEPIECE_UNIGRAM = 1,
                              HT__SENTENCEPIECE_BPE = 2,
                              HT__SENTENCEPIECE_WORD = 3,
                              HT__SENTENCEPIECE_CHAR = 4,
};

struct ht__sentencepiece {
    int kind;
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_as_suffix;
    int64_t unk_id, bos_id, eos_id, pad_id; /* -1: none */
    struct ht__str charsmap;                /* normalization table; borrowed from the input */
    uint32_t n_bytes;                       /* pieces of type byte */
};

/* Puts the pieces into the vocabulary, ids in the order of the file, and fills *model. */
HT_MUST_CHECK enum ht_err ht__sentencepiece_parse(const void *data, size_t size, struct ht__vocab *vocab,
                                                  struct ht__sentencepiece *model, struct ht_diag *diag);
/* Checks that a normalization table has the shape that runtimes rely on. */
HT_MUST_CHECK enum ht_err ht__charsmap_check(struct ht__str map, const char *where, struct ht_diag *diag);

#endif
