/* The "gpt2" tokenizer of the runtimes: byte-level BPE, tokens in the alphabet of 256 printable
 * characters that stand for bytes, and merges by rank. */
#include "model/vocab_import/tok.h"

#include <string.h>

static enum ht_err unknown_part(struct ht__tok *tok, size_t i, const char *what, const char *text, size_t len)
{
    char show[64];
    return ht__fail(tok->diag, HT_ERR_FORMAT, tok->vocab.where, -1, "merge %zu: %s \"%s\" is not in the vocabulary", i,
                    what, ht__token_show(show, text, len));
}

enum ht_err ht__tok_check_merges(struct ht__tok *tok)
{
    const struct ht__vocab *vocab = &tok->vocab;
    for (size_t i = 0; i < ht__merges_count(&tok->json.merges); i++) {
        const struct ht__merge *m = ht__merges_at(&tok->json.merges, i);
        size_t both = (size_t)m->left + m->right;
        if (ht__vocab_find(vocab, m->text, m->left) < 0) return unknown_part(tok, i, "the left part", m->text, m->left);
        if (ht__vocab_find(vocab, m->text + m->left, m->right) < 0)
            return unknown_part(tok, i, "the right part", m->text + m->left, m->right);
        if (ht__vocab_find(vocab, m->text, both) < 0) return unknown_part(tok, i, "the product", m->text, both);
    }
    return HT_OK;
}

/* Runtimes split a merge at its space, so a space inside a part is written as the byte-level
 * alphabet has it: U+0120. Returns the end. */
static char *put_part(char *to, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == ' ')
            *to++ = '\xc4', *to++ = '\xa0';
        else
            *to++ = text[i];
    }
    return to;
}

/* A merge of which a token was left out goes with it. */
static bool is_known(const struct ht__vocab *vocab, const struct ht__merge *m)
{
    return vocab->n_beyond == 0 ||
           (ht__vocab_find(vocab, m->text, m->left) >= 0 && ht__vocab_find(vocab, m->text + m->left, m->right) >= 0 &&
            ht__vocab_find(vocab, m->text, (size_t)m->left + m->right) >= 0);
}

/* All merges' texts in one block. */
static enum ht_err write_merges(struct ht__tok *tok)
{
    size_t n = ht__merges_count(&tok->json.merges), bytes = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        const struct ht__merge *m = ht__merges_at(&tok->json.merges, i);
        bytes += 1 + 2 * ((size_t)m->left + m->right);
    }
    struct ht__str *strs = ht__arena_array(tok->kvs->arena, n ? n : 1, sizeof *strs);
    char *to = ht__arena_new(tok->kvs->arena, bytes ? bytes : 1);
    if (!strs || !to) return ht__fail_memory(tok->diag, tok->vocab.where);
    for (size_t i = 0; i < n; i++) {
        const struct ht__merge *m = ht__merges_at(&tok->json.merges, i);
        if (!is_known(&tok->vocab, m)) continue;
        strs[kept].text = to;
        to = put_part(to, m->text, m->left);
        *to++ = ' ';
        to = put_part(to, m->text + m->left, m->right);
        strs[kept].len = (size_t)(to - strs[kept].text);
        kept++;
    }
    ht__kv_strs_ref(tok->kvs, HT__TOK_KEY("merges"), strs, kept);
    return HT_OK;
}

enum ht_err ht__tok_write_bpe(struct ht__tok *tok)
{
    if ((tok->json.prefix && *tok->json.prefix) || (tok->json.suffix && *tok->json.suffix))
        return ht__fail(tok->diag, HT_ERR_UNSUPPORTED, tok->vocab.where, -1,
                        "a BPE with continuing_subword_prefix or end_of_word_suffix has no "
                        "counterpart in GGUF");
    HT_TRY(ht__tok_check_merges(tok));
    HT_TRY(ht__tok_place(tok));
    HT_TRY(ht__tok_apply_added(tok, ~0u, false, 0));
    HT_TRY(ht__vocab_finish(&tok->vocab, 0, tok->diag));
    ht__kv_str(tok->kvs, HT__TOK_KEY("model"), tok->kind);
    ht__kv_str(tok->kvs, HT__TOK_KEY("pre"), tok->pre);
    ht__vocab_write(&tok->vocab, false, tok->kvs);
    return write_merges(tok);
}
