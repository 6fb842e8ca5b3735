/* A tokenizer of small files, converted to the metadata of a GGUF, and what is in them. */
#ifndef HT_TESTS_LIB_VOCAB_H
#define HT_TESTS_LIB_VOCAB_H

#include "formats/kv.h"
#include "lib/folder.h"

/* a, b, Ġ (a space), ab, Ġab; merges in the form that is asked for. */
#define VOCAB_BPE(merges, pre_tokenizer, more)                                                                         \
    "{\"added_tokens\": [{\"id\": 5, \"content\": \"<|end|>\", \"special\": true},"                                    \
    "{\"id\": 6, \"content\": \"<x>\", \"special\": false},"                                                           \
    "{\"id\": 7, \"content\": \"<|tool|>\", \"special\": false}],"                                                     \
    "\"normalizer\": null, \"pre_tokenizer\": " pre_tokenizer ", \"decoder\": {\"type\": \"ByteLevel\"}, " more        \
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"Ġ\": 2, \"ab\": 3,"                             \
    "\"Ġab\": 4}, \"merges\": " merges "}}"
#define VOCAB_BYTE_LEVEL "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}"
#define VOCAB_JOINED "[\"a b\", \"Ġ ab\"]"

struct vocab_run {
    struct folder folder; /* of the tokenizer's files, put there by the test */
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht_diag diag;
    char log[4096]; /* its warnings */
    const char *arch;
    uint64_t rows; /* of the embedding */
};

struct vocab_run vocab_start(const char *arch, uint64_t rows);
/* The tokenizer of a folder, with the settings of its config.json. */
enum ht_err vocab_convert(struct vocab_run *run, const char *dir);
/* That of the run's own folder, without an error. */
void vocab_must(struct vocab_run *run);
void vocab_finish(struct vocab_run *run);

/* A SentencePiece model (kind 1 unigram, 2 BPE) of <unk>, <s>, </s>, 256 bytes, "▁a", "▁▁", "b". */
void vocab_put_spm(struct vocab_run *run, int kind, bool prefix, bool remove_extra);

/* What must be there. */
void vocab_has_text(const struct vocab_run *run, const char *key, const char *want);
void vocab_has_id(const struct vocab_run *run, const char *key, uint32_t want);
void vocab_has_switch(const struct vocab_run *run, const char *key, bool want);
void vocab_has_not(const struct vocab_run *run, const char *key);
void vocab_has_string(const struct vocab_run *run, const char *key, uint32_t i, const char *want);
void vocab_has_token(const struct vocab_run *run, uint32_t id, const char *text, int type);
float vocab_score(const struct vocab_run *run, uint32_t id);
uint64_t vocab_size(const struct vocab_run *run);

#endif
