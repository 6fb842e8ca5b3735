/* Files of older tokenizers: vocab.json with merges.txt, and vocab.txt. */
#include "model/vocab_import/tok.h"

#include <string.h>

enum { MAX_FILE = 128 << 20 };

/* The next line without its end; false at the end of the text. */
static bool next_line(const char **p, const char *end, const char **line, size_t *len)
{
    if (*p == end) return false;
    const char *stop = memchr(*p, '\n', (size_t)(end - *p));
    *line = *p;
    *len = (size_t)((stop ? stop : end) - *p);
    *p = stop ? stop + 1 : end;
    if (*len && (*line)[*len - 1] == '\r') --*len;
    return true;
}

enum ht_err ht__merges_parse(const char *text, size_t size, const char *where, struct ht__vocab *vocab,
                             struct ht__merges *merges, struct ht_diag *diag)
{
    const char *p = text, *line = text;
    size_t len = 0;
    for (size_t i = 1; next_line(&p, text + size, &line, &len); i++) {
        if (len == 0 || (i == 1 && len >= 8 && memcmp(line, "#version", 8) == 0)) continue;
        const char *space = memchr(line, ' ', len);
        size_t left = space ? (size_t)(space - line) : 0, right = space ? len - left - 1 : 0;
        if (left == 0 || right == 0 || memchr(space + 1, ' ', right))
            return ht__fail(diag, HT_ERR_FORMAT, where, (int64_t)(line - text),
                            "line %zu is not two parts with one space between", i);
        HT_TRY(ht__merges_put(merges, vocab, line, left, space + 1, right, diag));
    }
    return HT_OK;
}

static enum ht_err parse_vocab(struct ht__tok *tok, const struct ht__buf *text)
{
    struct ht__json json;
    enum ht_err err;
    ht__json_init(&json, (const char *)text->data, text->len, tok->vocab.where, tok->vocab.alloc, tok->diag);
    struct ht__json_value v = ht__json_next(&json);
    if (v.type == HT__JSON_OBJECT)
        err = ht__vocab_read_json(&json, &tok->vocab);
    else
        err = ht__json_fail(&json, "not an object");
    if (err == HT_OK && ht__json_next(&json).type != HT__JSON_END) err = json.err;
    ht__json_close(&json);
    return err;
}

enum ht_err ht__tok_load_vocab_json(struct ht__tok *tok, const char *vocab_path, const char *merges_path)
{
    struct ht__buf text;
    ht__buf_init(&text, tok->vocab.alloc);
    enum ht_err err = ht__file_load(vocab_path, MAX_FILE, &text, tok->diag);
    if (err == HT_OK) err = parse_vocab(tok, &text);
    text.len = 0;
    if (err == HT_OK) err = ht__file_load(merges_path, MAX_FILE, &text, tok->diag);
    if (err == HT_OK)
        err =
            ht__merges_parse((const char *)text.data, text.len, merges_path, &tok->vocab, &tok->json.merges, tok->diag);
    ht__buf_close(&text);
    return err;
}

enum ht_err ht__tok_load_vocab_txt(struct ht__tok *tok, const char *path)
{
    struct ht__buf text;
    ht__buf_init(&text, tok->vocab.alloc);
    enum ht_err err = ht__file_load(path, MAX_FILE, &text, tok->diag);
    const char *p = (const char *)text.data, *end = p + text.len, *line;
    size_t len;
    for (uint64_t id = 0; err == HT_OK && p && next_line(&p, end, &line, &len); id++)
        err = ht__vocab_put(&tok->vocab, id, line, len, 0, HT__TOKEN_NORMAL, tok->diag);
    ht__buf_close(&text);
    return err;
}
