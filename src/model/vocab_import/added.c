/*
 * Added tokens. Four files may name them: tokenizer.json (read before), added_tokens.json,
 * tokenizer_config.json ("added_tokens_decoder"), and the names of special tokens.
 */
#include "model/vocab_import/tok.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 16 << 20 };

const char *ht__tok_special_text(const struct ht__tok *tok, const char *type)
{
    const struct ht__jnode *places[] = {tok->settings, tok->special_map};
    char key[64] = "";
    strncat(key, type, 40);
    strncat(key, "_token", 8);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const struct ht__jnode *v = ht__jget(places[i], key);
        if (v && v->type == HT__JSON_STRING) return v->text;
        if (v && v->type == HT__JSON_OBJECT) return ht__jstr(v, "content", NULL);
    }
    return NULL;
}

/* {"<pad>": 32000}: text and id, no more is known. */
static enum ht_err from_added_tokens(struct ht__tok *tok)
{
    char path[4096];
    struct ht__jnode *map;
    HT_TRY(ht__path_join(path, sizeof path, tok->job->dir, "added_tokens.json", tok->diag));
    if (!ht__path_exists(path)) return HT_OK;
    HT_TRY(ht__json_load(&tok->scratch, path, MAX_FILE, &map, tok->diag));
    for (size_t i = 0; map->type == HT__JSON_OBJECT && i < map->n; i++) {
        const struct ht__jnode *id = &map->children[i];
        if (id->type != HT__JSON_NUMBER || !id->is_int || id->integer < 0)
            return ht__fail(tok->diag, HT_ERR_FORMAT, path, -1, "the id of \"%s\" is not a whole number from 0",
                            map->keys[i]);
        /* tokenizer.json knows more of the same token */
        if (ht__vocab_has_added(&tok->vocab, (uint64_t)id->integer)) continue;
        HT_TRY(ht__vocab_add(&tok->vocab, (uint64_t)id->integer, map->keys[i], strlen(map->keys[i]), false,
                             HT__ADDED_MAP, tok->diag));
    }
    return HT_OK;
}

/* {"added_tokens_decoder": {"32000": {"content": "<pad>", "special": true}}} */
static enum ht_err from_decoder(struct ht__tok *tok)
{
    const struct ht__jnode *map = ht__jget(tok->settings, "added_tokens_decoder");
    for (size_t i = 0; map && map->type == HT__JSON_OBJECT && i < map->n; i++) {
        const struct ht__jnode *token = &map->children[i];
        const struct ht__jnode *text = ht__jget(token, "content");
        char *end;
        unsigned long long id = strtoull(map->keys[i], &end, 10);
        if (map->keys[i][0] < '0' || map->keys[i][0] > '9' || *end || strlen(map->keys[i]) > 9)
            return ht__fail(tok->diag, HT_ERR_FORMAT, "tokenizer_config.json", -1,
                            "added_tokens_decoder: \"%s\" is not an id", map->keys[i]);
        if (!text || text->type != HT__JSON_STRING)
            return ht__fail(tok->diag, HT_ERR_FORMAT, "tokenizer_config.json", -1,
                            "added_tokens_decoder: token %s has no \"content\"", map->keys[i]);
        HT_TRY(ht__vocab_add(&tok->vocab, id, text->text, text->len, ht__jbool(token, "special", false),
                             HT__ADDED_DECODER, tok->diag));
    }
    return HT_OK;
}

static enum ht_err add_named(struct ht__tok *tok, const char *text)
{
    int64_t id = text ? ht__vocab_find(&tok->vocab, text, strlen(text)) : -1;
    if (id < 0 || ht__vocab_has_added(&tok->vocab, (uint64_t)id)) return HT_OK;
    return ht__vocab_add(&tok->vocab, (uint64_t)id, text, strlen(text), true, HT__ADDED_NAME, tok->diag);
}

/* A token that is named bos, eos ... is special, whatever other files say of it. */
static enum ht_err from_names(struct ht__tok *tok)
{
    static const char *const types[] = {"bos", "eos", "unk", "sep", "pad", "cls", "mask"};
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        HT_TRY(add_named(tok, ht__tok_special_text(tok, types[i])));
    for (size_t i = 0; i < 2 * sizeof lists / sizeof *lists; i++) {
        const struct ht__jnode *list = ht__jget(i % 2 ? tok->special_map : tok->settings, lists[i / 2]);
        for (size_t k = 0; list && k < list->n; k++) {
            const struct ht__jnode *v = &list->children[k];
            if (v->type == HT__JSON_STRING) HT_TRY(add_named(tok, v->text));
            if (v->type == HT__JSON_OBJECT) HT_TRY(add_named(tok, ht__jstr(v, "content", NULL)));
        }
    }
    return HT_OK;
}

enum ht_err ht__tok_gather_added(struct ht__tok *tok)
{
    HT_TRY(from_added_tokens(tok));
    HT_TRY(from_decoder(tok));
    return from_names(tok);
}

/* Runtimes look for such tokens in the text before spaces become U+2581. Where the spelling with
 * spaces is a token of its own, both stay as they are. */
static enum ht_err plain_spaces(struct ht__tok *tok, struct ht__str *text)
{
    static const char mark[] = "\xe2\x96\x81";
    if (!memmem(text->text, text->len, mark, 3)) return HT_OK;
    char *copy = ht__arena_copy(tok->kvs->arena, text->text, text->len);
    if (!copy) return ht__fail_memory(tok->diag, tok->vocab.where);
    size_t n = 0;
    for (size_t i = 0; i < text->len;) {
        bool space = text->len - i >= 3 && memcmp(text->text + i, mark, 3) == 0;
        copy[n++] = space ? ' ' : text->text[i];
        i += space ? 3 : 1;
    }
    if (ht__vocab_find(&tok->vocab, copy, n) < 0) *text = (struct ht__str){copy, n};
    return HT_OK;
}

/* What the model itself says is kept where it contradicts an added token. */
static bool settled(const struct ht__token *token)
{
    return token->type == HT__TOKEN_CONTROL || token->type == HT__TOKEN_UNKNOWN || token->type == HT__TOKEN_BYTE;
}

static enum ht_err apply(struct ht__tok *tok, const struct ht__added *added, float score)
{
    struct ht__vocab *vocab = &tok->vocab;
    struct ht__str text = added->text;
    bool control = added->special || (added->source != HT__ADDED_MAP && ht__token_looks_special(text.text, text.len));
    if (!control) HT_TRY(plain_spaces(tok, &text));
    vocab->table[added->id] = (struct ht__token){
        .text = text, .id = added->id, .score = score, .type = control ? HT__TOKEN_CONTROL : HT__TOKEN_USER};
    return HT_OK;
}

enum ht_err ht__tok_apply_added(struct ht__tok *tok, unsigned sources, bool keep_settled, float score)
{
    struct ht__vocab *vocab = &tok->vocab;
    for (size_t i = 0; i < ht__vocab_added_count(vocab); i++) {
        const struct ht__added *added = ht__vocab_added_at(vocab, i);
        char show[64];
        if (added->text.len == 0 || !(added->source & sources)) continue;
        if (added->id >= vocab->n) {
            ht__log_printf(tok->job->log, HT__LOG_WARNING,
                           "tokenizer: the added token %u (\"%s\") is beyond the embedding's %u "
                           "rows and is left out",
                           added->id, ht__token_show(show, added->text.text, added->text.len), vocab->n);
            continue;
        }
        if (keep_settled && settled(&vocab->table[added->id])) continue;
        HT_TRY(apply(tok, added, score));
    }
    return HT_OK;
}

enum ht_err ht__tok_plain_user_tokens(struct ht__tok *tok)
{
    for (uint32_t id = 0; id < tok->vocab.n; id++)
        if (tok->vocab.table[id].type == HT__TOKEN_USER) HT_TRY(plain_spaces(tok, &tok->vocab.table[id].text));
    return HT_OK;
}
