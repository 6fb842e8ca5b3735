/* What the normalizer, the pre-tokenizer and the decoder of a tokenizer.json say about spaces, case
 * and bytes. */
#include "model/vocab_import/tok.h"

#include <string.h>

/* Components nest only in sequences, whose lists go by these names. */
static const struct ht__jnode *parts_of(const struct ht__jnode *node)
{
    static const char *const names[] = {"normalizers", "pretokenizers", "decoders", "processors"};
    const struct ht__jnode *list = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && !list; i++)
        list = ht__jget(node, names[i]);
    return list && list->type == HT__JSON_ARRAY ? list : NULL;
}

/* The first component of the type in the tree, or NULL. The tree's depth is the parser's limit. */
static const struct ht__jnode *find(const struct ht__jnode *node, const char *type)
{
    if (!node) return NULL;
    if (strcmp(ht__jstr(node, "type", ""), type) == 0) return node;
    const struct ht__jnode *list = parts_of(node), *found = NULL;
    for (size_t i = 0; list && i < list->n && !found; i++)
        found = find(&list->children[i], type);
    return found;
}

bool ht__tok_is_byte_level(const struct ht__tokenizer_json *json)
{
    return find(json->pre_tokenizer, "ByteLevel") || find(json->decoder, "ByteLevel") ||
           find(json->normalizer, "ByteLevel");
}

bool ht__tok_falls_back_to_bytes(const struct ht__tokenizer_json *json)
{
    return json->byte_fallback || find(json->decoder, "ByteFallback");
}

/* Replace of " {2,}" by one space: runs of spaces become one. */
static bool squeezes(const struct ht__jnode *node)
{
    const struct ht__jnode *list = parts_of(node);
    const char *regex = ht__jstr(ht__jget(node, "pattern"), "Regex", "");
    if (strcmp(ht__jstr(node, "type", ""), "Replace") == 0 && strcmp(regex, " {2,}") == 0) return true;
    for (size_t i = 0; list && i < list->n; i++)
        if (squeezes(&list->children[i])) return true;
    return false;
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c ? strchr(digits, c) : NULL;
    return p ? (int)(p - digits) : -1;
}

static enum ht_err decode_base64(struct ht__tok *tok, const struct ht__jnode *text, struct ht__str *out)
{
    unsigned char *to = ht__arena_new(tok->kvs->arena, text->len / 4 * 3 + 3);
    uint32_t bits = 0;
    size_t n = 0, end = text->len;
    if (!to) return ht__fail_memory(tok->diag, tok->vocab.where);
    while (end > 0 && text->len - end < 2 && text->text[end - 1] == '=')
        end--;
    for (size_t i = 0; i < end; i++) {
        int v = base64_value(text->text[i]);
        if (v < 0 || text->len % 4 != 0)
            return ht__fail(tok->diag, HT_ERR_FORMAT, tok->vocab.where, -1, "precompiled_charsmap is not base64");
        bits = bits << 6 | (uint32_t)v;
        if (i % 4) to[n++] = (unsigned char)(bits >> (6 - 2 * (i % 4)));
    }
    *out = (struct ht__str){(const char *)to, n};
    return HT_OK;
}

enum ht_err ht__tok_read_normalizer(struct ht__tok *tok)
{
    const struct ht__tokenizer_json *json = &tok->json;
    const struct ht__jnode *metaspace = find(json->pre_tokenizer, "Metaspace");
    const struct ht__jnode *map = ht__jget(find(json->normalizer, "Precompiled"), "precompiled_charsmap");
    tok->add_prefix = find(json->normalizer, "Prepend") != NULL;
    if (metaspace) {
        const char *scheme = ht__jstr(metaspace, "prepend_scheme", NULL);
        tok->add_prefix |= scheme ? strcmp(scheme, "never") != 0 : ht__jbool(metaspace, "add_prefix_space", true);
    }
    tok->remove_extra = squeezes(json->normalizer) || find(json->pre_tokenizer, "WhitespaceSplit");
    if (!map || map->type != HT__JSON_STRING || map->len == 0) return HT_OK;
    HT_TRY(decode_base64(tok, map, &tok->charsmap));
    return ht__charsmap_check(tok->charsmap, tok->vocab.where, tok->diag);
}

/* The first normalizer that is not of the given type, or NULL. */
static const char *other_than(const struct ht__jnode *node, const char *type)
{
    const struct ht__jnode *list = parts_of(node);
    const char *own = ht__jstr(node, "type", ""), *found = NULL;
    if (!node) return NULL;
    if (strcmp(own, "Sequence") != 0) return strcmp(own, type) != 0 ? own : NULL;
    for (size_t i = 0; list && i < list->n && !found; i++)
        found = other_than(&list->children[i], type);
    return found;
}

/* A runtime with byte-level BPE takes the text as it is. (NFC is left aside: nearly all text is in
 * that form, and half of the models have it.) */
void ht__tok_warn_of_changes(const struct ht__tok *tok)
{
    const char *normalizer = other_than(tok->json.normalizer, "NFC");
    const struct ht__jnode *bytes = find(tok->json.pre_tokenizer, "ByteLevel");
    if (normalizer)
        ht__log_printf(tok->job->log, HT__LOG_WARNING,
                       "tokenizer: %s: the normalizer %.60s changes the text, which runtimes do not "
                       "do for this kind",
                       tok->vocab.where, normalizer);
    if (ht__jbool(bytes, "add_prefix_space", false))
        ht__log_printf(tok->job->log, HT__LOG_WARNING,
                       "tokenizer: %s: a space goes before the text (add_prefix_space), which "
                       "runtimes do not do for this kind",
                       tok->vocab.where);
}

/* BERT's normalizer, for WordPiece. */
void ht__tok_write_case(const struct ht__tok *tok)
{
    const struct ht__jnode *bert = find(tok->json.normalizer, "BertNormalizer");
    bool lower = bert ? ht__jbool(bert, "lowercase", true) : find(tok->json.normalizer, "Lowercase") != NULL;
    const struct ht__jnode *strip = ht__jget(bert, "strip_accents");
    bool accents = strip && strip->type == HT__JSON_BOOL ? strip->boolean
                                                         : lower || find(tok->json.normalizer, "StripAccents") != NULL;
    if (!tok->has_json) lower = accents = ht__jbool(tok->settings, "do_lower_case", true);
    ht__kv_bool(tok->kvs, HT__TOK_KEY("normalizer.lowercase"), lower);
    ht__kv_bool(tok->kvs, HT__TOK_KEY("normalizer.strip_accents"), accents);
}
