/* One tokenizer on its way from metadata to a folder: what the units of this folder share. */
#ifndef HT_MODEL_VOCAB_EXPORT_PARTS_H
#define HT_MODEL_VOCAB_EXPORT_PARTS_H

#include "base/json_write.h"
#include "base/map.h"
#include "model/vocab_export/export.h"
#include "model/vocab_import/vocab.h"

struct ht__export {
    const struct ht__kvs *kvs;
    const char *arch;
    struct ht__arena *arena;
    struct ht_diag *diag;
    struct ht__vocab_export *out;
    const struct ht__str *tokens, *merges;
    const int32_t *types; /* NULL: all are normal */
    const float *scores;  /* NULL: none */
    uint32_t n;
    uint64_t n_merges;
    struct ht__map ids; /* text -> id, of those that are in the vocabulary */
    bool byte_level;    /* BPE over bytes; otherwise pieces that fall back to bytes */
};

static inline enum ht__token_type ht__export_type(const struct ht__export *e, uint32_t id)
{
    return e->types ? (enum ht__token_type)e->types[id] : HT__TOKEN_NORMAL;
}
/* Special tokens, and those that are matched in the text before anything else. */
static inline bool ht__export_is_added(const struct ht__export *e, uint32_t id)
{
    enum ht__token_type type = ht__export_type(e, id);
    return type == HT__TOKEN_CONTROL || type == HT__TOKEN_USER || type == HT__TOKEN_UNKNOWN;
}
/* The token under a key "tokenizer.ggml.<name>", or what runtimes take without the key; -1: none. */
int64_t ht__export_id(const struct ht__export *e, const char *name, int otherwise);
bool ht__export_switch(const struct ht__export *e, const char *name, bool otherwise);
/* There are no tokenizer files, and why. */
void ht__export_without(struct ht__export *e, const char *why);

/* pieces.c: merges by rank for a vocabulary that has scores instead, as one array of the JSON object that is open. */
HT_MUST_CHECK enum ht_err ht__export_scored_merges(struct ht__export *e, struct ht__jw *w);
/* splits.c: the pre-tokenizer of that name, and whether there is one; nfc: text is composed before. */
struct ht__pre_facts {
    const char *steps;
    bool nfc, ignores_merges, adds_bos;
};
HT_MUST_CHECK bool ht__export_pre(const char *name, struct ht__pre_facts *facts);
void ht__export_put_splits(struct ht__jw *w, const char *key, const char *steps);
/* settings.c */
HT_MUST_CHECK enum ht_err ht__export_settings(struct ht__export *e, bool add_bos, bool add_eos);
HT_MUST_CHECK enum ht_err ht__export_generation(struct ht__export *e);
/* A file of the folder, still empty. */
struct ht__buf *ht__export_file(struct ht__export *e, const char *name);

#endif
