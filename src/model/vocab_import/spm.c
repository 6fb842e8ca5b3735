/*
 * The "llama" tokenizer of the runtimes: pieces with scores, pairs merged by the best score of what
 * they make, bytes as tokens of their own. It comes from a SentencePiece model of the BPE kind, or
 * from a tokenizer.json whose BPE falls back to bytes.
 */
#include "model/vocab_import/tok.h"

#include <string.h>

/* As llama.cpp's converter writes them. */
static const float added_score = -1000, pad_score = -10000;

static void write_all(struct ht__tok *tok)
{
    ht__kv_str(tok->kvs, HT__TOK_KEY("model"), tok->kind);
    ht__kv_str(tok->kvs, HT__TOK_KEY("pre"), "default");
    ht__vocab_write(&tok->vocab, true, tok->kvs);
}

/* A runtime that meets a character without a token takes its bytes' tokens: all or none. */
static enum ht_err check_bytes(struct ht__tok *tok)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < tok->vocab.n; id++)
        n += tok->vocab.table[id].type == HT__TOKEN_BYTE;
    if (n == 0)
        ht__log_printf(tok->job->log, HT__LOG_WARNING,
                       "tokenizer: %s has no byte tokens; runtimes cannot read text with "
                       "characters outside the vocabulary",
                       tok->vocab.where);
    if (n != 0 && n != 256)
        return ht__fail(tok->diag, HT_ERR_FORMAT, tok->vocab.where, -1, "%u of the 256 byte tokens are there", n);
    return HT_OK;
}

/* Pieces come from tokenizer.model, added tokens from the files beside it. */
static enum ht_err added_of_spm(struct ht__tok *tok)
{
    bool has_decoder = ht__jget(tok->settings, "added_tokens_decoder") != NULL;
    bool phi3 = strcmp(tok->job->arch, "phi3") == 0;
    HT_TRY(ht__tok_apply_added(tok, HT__ADDED_MAP | HT__ADDED_DECODER, false, added_score));
    if (phi3 || !has_decoder) HT_TRY(ht__tok_apply_added(tok, HT__ADDED_JSON, !phi3, added_score));
    HT_TRY(ht__tok_apply_added(tok, HT__ADDED_NAME, true, added_score));
    return ht__tok_plain_user_tokens(tok);
}

enum ht_err ht__tok_write_spm(struct ht__tok *tok)
{
    HT_TRY(ht__tok_place(tok));
    HT_TRY(added_of_spm(tok));
    HT_TRY(check_bytes(tok));
    HT_TRY(ht__vocab_finish(&tok->vocab, pad_score, tok->diag));
    if (tok->model.charsmap.len || tok->model.whitespace_as_suffix)
        ht__log_printf(tok->job->log, HT__LOG_WARNING,
                       "tokenizer: %s normalizes text (%s), which runtimes do not do for this kind", tok->vocab.where,
                       tok->model.charsmap.len ? "charsmap" : "whitespace as suffix");
    write_all(tok);
    return HT_OK;
}

/*
 * Scores for a vocabulary that has merges instead. The runtime merges the pair that makes the token
 * of the best score; the merges' order says which that is. So the first product gets 0, the next
 * -1 and so on, and then, as SentencePiece does it, the tokens that no merge makes.
 */
static enum ht_err score_by_merges(struct ht__tok *tok)
{
    struct ht__vocab *vocab = &tok->vocab;
    bool *done = ht__arena_array(&tok->scratch, vocab->n, sizeof *done);
    float next = 0;
    if (!done) return ht__fail_memory(tok->diag, vocab->where);
    for (size_t i = 0; i < ht__merges_count(&tok->json.merges); i++) {
        const struct ht__merge *merge = ht__merges_at(&tok->json.merges, i);
        int64_t id = ht__vocab_find(vocab, merge->text, (size_t)merge->left + merge->right);
        if (id < 0 || done[id]) continue;
        done[id] = true;
        vocab->table[id].score = next--;
    }
    for (uint32_t id = 0; id < vocab->n; id++)
        if (!done[id] && vocab->table[id].type == HT__TOKEN_NORMAL) vocab->table[id].score = next--;
    return HT_OK;
}

enum ht_err ht__tok_write_byte_fallback(struct ht__tok *tok)
{
    struct ht__vocab *vocab = &tok->vocab;
    HT_TRY(ht__tok_check_merges(tok));
    HT_TRY(ht__tok_place(tok));
    for (uint32_t id = 0; id < vocab->n; id++)
        if (ht__token_byte(vocab->table[id].text.text, vocab->table[id].text.len) >= 0)
            vocab->table[id].type = HT__TOKEN_BYTE;
    const char *unk = tok->json.unk_token;
    int64_t unk_id = unk ? ht__vocab_find(vocab, unk, strlen(unk)) : -1;
    if (unk_id >= 0) vocab->table[unk_id].type = HT__TOKEN_UNKNOWN;
    HT_TRY(score_by_merges(tok));
    HT_TRY(ht__tok_apply_added(tok, ~0u, false, added_score));
    HT_TRY(check_bytes(tok));
    HT_TRY(ht__vocab_finish(vocab, pad_score, tok->diag));
    write_all(tok);
    return HT_OK;
}
