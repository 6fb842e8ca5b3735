/* tokenizer.json, the file of the `tokenizers` library. */
#ifndef HT_MODEL_VOCAB_IMPORT_TOKENIZER_JSON_H
#define HT_MODEL_VOCAB_IMPORT_TOKENIZER_JSON_H

#include "base/json.h"
#include "model/vocab_import/vocab.h"

enum ht__json_model {
    HT__MODEL_UNKNOWN,
    HT__MODEL_BPE,
    HT__MODEL_WORDPIECE,
    HT__MODEL_UNIGRAM,
    HT__MODEL_WORDLEVEL,
};

/* Left and right part, one behind the other: what the merge makes. */
struct ht__merge {
    const char *text;
    uint32_t left, right; /* bytes */
};

struct ht__merges {
    struct ht__buf items; /* struct ht__merge */
};

static inline size_t ht__merges_count(const struct ht__merges *merges)
{
    return merges->items.len / sizeof(struct ht__merge);
}
static inline const struct ht__merge *ht__merges_at(const struct ht__merges *merges, size_t i)
{
    return (const struct ht__merge *)(const void *)merges->items.data + i;
}

struct ht__tokenizer_json {
    enum ht__json_model model;
    bool byte_fallback, ignore_merges;
    const char *unk_token, *prefix, *suffix; /* of a subword that continues, of a word's end; or NULL */
    int64_t unk_id;                          /* unigram; -1: none */
    struct ht__merges merges;
    const struct ht__jnode *normalizer, *pre_tokenizer, *post_processor, *decoder; /* or NULL */
};

/* The file's vocabulary and added tokens go into `vocab`, the rest into *out, with small parts in
 * the scratch arena. Without `with_model` vocabulary and merges are passed over (where
 * tokenizer.model has them already). Close *out also after an error. */
HT_MUST_CHECK enum ht_err ht__tokenizer_json_parse(const char *text, size_t size, bool with_model,
                                                   struct ht__arena *scratch, struct ht__vocab *vocab,
                                                   struct ht__tokenizer_json *out, struct ht_diag *diag);
void ht__tokenizer_json_close(struct ht__tokenizer_json *json);

/* {"token": id, ...}, at the object that was just entered. */
HT_MUST_CHECK enum ht_err ht__vocab_read_json(struct ht__json *json, struct ht__vocab *vocab);
/* One merge; its text is copied. */
HT_MUST_CHECK enum ht_err ht__merges_put(struct ht__merges *merges, struct ht__vocab *vocab, const char *left,
                                         size_t left_len, const char *right, size_t right_len, struct ht_diag *diag);

#endif
