/* The "t5" tokenizer of the runtimes: the cut of the text with the best sum of scores. */
#include "model/vocab_import/tok.h"

#include <string.h>

static const float added_score = -1000, pad_score = -10000;

static enum ht_err mark_unknown(struct ht__tok *tok)
{
    struct ht__vocab *vocab = &tok->vocab;
    int64_t id = tok->json.unk_id;
    if (!tok->has_json || id < 0) return HT_OK;
    if (id >= (int64_t)vocab->n || vocab->table[id].type == HT__TOKEN_NONE)
        return ht__fail(tok->diag, HT_ERR_FORMAT, vocab->where, -1, "unk_id is %lld, but there are %u tokens",
                        (long long)id, vocab->n);
    vocab->table[id].type = HT__TOKEN_UNKNOWN;
    return HT_OK;
}

enum ht_err ht__tok_write_unigram(struct ht__tok *tok)
{
    struct ht__vocab *vocab = &tok->vocab;
    HT_TRY(ht__tok_place(tok));
    for (uint32_t id = 0; tok->json.byte_fallback && id < vocab->n; id++)
        if (ht__token_byte(vocab->table[id].text.text, vocab->table[id].text.len) >= 0)
            vocab->table[id].type = HT__TOKEN_BYTE;
    HT_TRY(mark_unknown(tok));
    HT_TRY(ht__tok_apply_added(tok, ~0u, true, added_score));
    HT_TRY(ht__tok_plain_user_tokens(tok));
    HT_TRY(ht__vocab_finish(vocab, pad_score, tok->diag));
    ht__kv_str(tok->kvs, HT__TOK_KEY("model"), tok->kind);
    ht__kv_str(tok->kvs, HT__TOK_KEY("pre"), "default");
    ht__vocab_write(vocab, true, tok->kvs);
    ht__kv_bool(tok->kvs, HT__TOK_KEY("add_space_prefix"), tok->add_prefix);
    ht__kv_bool(tok->kvs, HT__TOK_KEY("remove_extra_whitespaces"), tok->remove_extra);
    if (tok->charsmap.len)
        ht__kv_array(tok->kvs, HT__TOK_KEY("precompiled_charsmap"), HT__KV_U8, tok->charsmap.text, tok->charsmap.len);
    return HT_OK;
}
