/* The "bert" tokenizer of the runtimes: WordPiece, with the mark on words' starts (U+2581) instead
 * of on their continuations ("##"). */
#include "model/vocab_import/tok.h"

#include <string.h>

static enum ht_err respell(struct ht__tok *tok, struct ht__token *token)
{
    const char *prefix = tok->json.prefix ? tok->json.prefix : "##";
    size_t n = strlen(prefix);
    struct ht__str *text = &token->text;
    if (text->len > n && n > 0 && memcmp(text->text, prefix, n) == 0) {
        *text = (struct ht__str){text->text + n, text->len - n};
        return HT_OK;
    }
    char *copy = ht__arena_new(tok->kvs->arena, text->len + 3);
    if (!copy) return ht__fail_memory(tok->diag, tok->vocab.where);
    memcpy(copy, "\xe2\x96\x81", 3);
    if (text->len) memcpy(copy + 3, text->text, text->len);
    *text = (struct ht__str){copy, text->len + 3};
    return HT_OK;
}

enum ht_err ht__tok_write_wordpiece(struct ht__tok *tok)
{
    struct ht__vocab *vocab = &tok->vocab;
    HT_TRY(ht__tok_place(tok));
    HT_TRY(ht__tok_apply_added(tok, ~0u, false, 0));
    for (uint32_t id = 0; id < vocab->n; id++)
        if (vocab->table[id].type == HT__TOKEN_NORMAL) HT_TRY(respell(tok, &vocab->table[id]));
    HT_TRY(ht__vocab_finish(vocab, 0, tok->diag));
    ht__kv_u32(tok->kvs, HT__TOK_KEY("token_type_count"), (uint32_t)ht__jint(tok->job->config, "type_vocab_size", 1));
    ht__kv_str(tok->kvs, HT__TOK_KEY("model"), tok->kind);
    ht__kv_str(tok->kvs, HT__TOK_KEY("pre"), "default");
    ht__vocab_write(vocab, false, tok->kvs);
    ht__tok_write_case(tok);
    return HT_OK;
}
