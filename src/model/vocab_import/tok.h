/* One tokenizer on its way from a folder to metadata: what the units of this folder share. */
#ifndef HT_MODEL_VOCAB_IMPORT_TOK_H
#define HT_MODEL_VOCAB_IMPORT_TOK_H

#include "base/file.h"
#include "model/vocab_import/sentencepiece.h"
#include "model/vocab_import/import.h"
#include "model/vocab_import/tokenizer_json.h"
#include "model/vocab_import/vocab.h"

struct ht__tok {
    const struct ht__vocab_import_job *job;
    struct ht__kvs *kvs;
    struct ht_diag *diag;
    struct ht__arena scratch;
    struct ht__vocab vocab;              /* what will be written */
    const struct ht__jnode *settings;    /* tokenizer_config.json, or NULL */
    const struct ht__jnode *special_map; /* special_tokens_map.json, or NULL */
    bool has_json;                       /* tokenizer.json was read */
    struct ht__tokenizer_json json;      /* its parts */
    struct ht__vocab beside;             /* its vocabulary, where tokenizer.model is the truth */
    const struct ht__vocab *json_vocab;  /* where its added tokens went: vocab or beside */
    size_t n_json_added;                 /* this many of them, from the first, are its own */
    struct ht__buf data;                 /* of tokenizer.model: the charsmap points into it */
    struct ht__sentencepiece model;
    const char *kind;  /* "llama", "gpt2", "t5", "bert" */
    const char *pre;   /* of "gpt2" */
    bool add_prefix;   /* a space goes before the text */
    bool remove_extra; /* runs of spaces become one */
    struct ht__str charsmap;
};

/* Key names. */
#define HT__TOK_KEY(name) "tokenizer.ggml." name

/* tokenizer.c: places the vocabulary in the rows of the embedding, and warns of tokens beyond them. */
HT_MUST_CHECK enum ht_err ht__tok_place(struct ht__tok *tok);

/* added.c: gathers the added tokens of the files beside tokenizer.json into tok->vocab. */
HT_MUST_CHECK enum ht_err ht__tok_gather_added(struct ht__tok *tok);
/* Marks those of the given sources in the placed table; those beyond it are left out with a
 * warning. keep_settled: control, unknown and byte tokens of the model stay as they are. */
HT_MUST_CHECK enum ht_err ht__tok_apply_added(struct ht__tok *tok, unsigned sources, bool keep_settled, float score);
/* Writes U+2581 in user-defined tokens as spaces. */
HT_MUST_CHECK enum ht_err ht__tok_plain_user_tokens(struct ht__tok *tok);
/* The text of a special token ("bos", "eos", ...) as the folder names it, or NULL. */
const char *ht__tok_special_text(const struct ht__tok *tok, const char *type);

/* The kinds: each places the vocabulary and writes model, pre, tokens, scores, types (and merges). */
HT_MUST_CHECK enum ht_err ht__tok_write_spm(struct ht__tok *tok);           /* spm.c: "llama" */
HT_MUST_CHECK enum ht_err ht__tok_write_byte_fallback(struct ht__tok *tok); /* spm.c: "llama" */
HT_MUST_CHECK enum ht_err ht__tok_write_bpe(struct ht__tok *tok);           /* "gpt2" */
HT_MUST_CHECK enum ht_err ht__tok_write_unigram(struct ht__tok *tok);       /* "t5" */
HT_MUST_CHECK enum ht_err ht__tok_write_wordpiece(struct ht__tok *tok);     /* "bert" */

/* vocab_merges.c: files of older tokenizers. */
HT_MUST_CHECK enum ht_err ht__tok_load_vocab_json(struct ht__tok *tok, const char *vocab_path, const char *merges_path);
HT_MUST_CHECK enum ht_err ht__tok_load_vocab_txt(struct ht__tok *tok, const char *path);
/* Lines of merges.txt. */
HT_MUST_CHECK enum ht_err ht__merges_parse(const char *text, size_t size, const char *where, struct ht__vocab *vocab,
                                           struct ht__merges *merges, struct ht_diag *diag);

/* bpe.c: every merge joins known tokens to a known one. */
HT_MUST_CHECK enum ht_err ht__tok_check_merges(struct ht__tok *tok);

/* pretok.c: the runtime's name for what the folder's pre-tokenizer does; warns where it is a guess. */
HT_MUST_CHECK enum ht_err ht__tok_pre_of_json(struct ht__tok *tok);
void ht__tok_pre_of_class(struct ht__tok *tok);

/* normalizer.c: what normalizer, pre-tokenizer and decoder of tokenizer.json say. */
HT_MUST_CHECK enum ht_err ht__tok_read_normalizer(struct ht__tok *tok);
bool ht__tok_is_byte_level(const struct ht__tokenizer_json *json);
bool ht__tok_falls_back_to_bytes(const struct ht__tokenizer_json *json);
void ht__tok_write_case(const struct ht__tok *tok);
void ht__tok_warn_of_changes(const struct ht__tok *tok);

/* tokenizer.c: an architecture that is converted as Llama is. */
bool ht__tok_is_of_llama(const struct ht__tok *tok);

/* special.c: ids of special tokens and add_* switches. */
HT_MUST_CHECK enum ht_err ht__tok_write_special(struct ht__tok *tok);
/* chat_template.c */
HT_MUST_CHECK enum ht_err ht__tok_write_chat_template(struct ht__tok *tok);

#endif
