/* A model's tokenizer, from a program. */
#include "api/export.h"
#include "model/model.h"
#include "model/text/text.h"

#include <stdlib.h>
#include <string.h>

struct ht_tokenizer {
    struct ht__text *text;
};

/* A folder's weights need not be there. */
static enum ht_err open_files(const char *path, struct ht__checkpoint **checkpoint,
                              struct ht_diag *diag)
{
    return ht__path_is_dir(path) ? ht__checkpoint_open_empty(path, NULL, checkpoint, diag)
                                 : ht__checkpoint_open(path, NULL, checkpoint, diag);
}

static enum ht_err open_text(const char *path, struct ht__text **text, struct ht_diag *diag)
{
    struct ht__checkpoint *checkpoint = NULL;
    struct ht__model *model = NULL;
    enum ht_err err = open_files(path, &checkpoint, diag);
    if (err == HT_OK) err = ht__model_open(checkpoint, NULL, NULL, &model, diag);
    if (err == HT_OK) err = ht__text_open_model(model, path, NULL, text, diag);
    ht__model_close(&model);
    ht__checkpoint_close(&checkpoint);
    return err;
}

HT_EXPORT enum ht_err ht_tokenizer_open(const char *path, struct ht_tokenizer **tokenizer,
                                        struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!path || !tokenizer)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no path or no place for the tokenizer");
    *tokenizer = NULL;
    struct ht_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return ht__fail_memory(diag, path);
    enum ht_err err = open_text(path, &t->text, diag);
    if (err != HT_OK) ht_tokenizer_close(&t);
    *tokenizer = t;
    return err;
}

HT_EXPORT void ht_tokenizer_close(struct ht_tokenizer **tokenizer)
{
    if (!tokenizer || !*tokenizer) return;
    ht__text_close(&(*tokenizer)->text);
    free(*tokenizer);
    *tokenizer = NULL;
}

HT_EXPORT enum ht_err ht_tokenizer_encode(const struct ht_tokenizer *tokenizer, const char *text,
                                          size_t len, unsigned flags, int32_t **ids, size_t *n,
                                          struct ht_diag *diag)
{
    struct ht__tokens out;
    ht__diag_clear(diag);
    if (!tokenizer || (!text && len) || !ids || !n)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1,
                        "a tokenizer, a text and places for the ids are all wanted");
    *ids = NULL;
    *n = 0;
    ht__tokens_init(&out, NULL);
    if (!ht__tokens_reserve(&out, 1)) return ht__fail_memory(diag, NULL);
    enum ht_err err =
        ht__text_encode(tokenizer->text, text ? text : "", len,
                        (flags & HT_TOKENIZE_AROUND ? HT__TEXT_ADD_SPECIAL : 0u) |
                            (flags & HT_TOKENIZE_SPECIAL ? HT__TEXT_PARSE_SPECIAL : 0u),
                        &out, diag);
    if (err != HT_OK) return ht__tokens_close(&out), err;
    *ids = out.ids;
    *n = out.n;
    return HT_OK;
}

HT_EXPORT enum ht_err ht_tokenizer_decode(const struct ht_tokenizer *tokenizer, const int32_t *ids,
                                          size_t n, unsigned flags, char **text, size_t *len,
                                          struct ht_diag *diag)
{
    struct ht__buf out;
    ht__diag_clear(diag);
    if (!tokenizer || (!ids && n) || !text || !len)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1,
                        "a tokenizer, ids and places for the text are all wanted");
    *text = NULL;
    *len = 0;
    ht__buf_init(&out, NULL);
    enum ht_err err = ht__text_decode(
        tokenizer->text, ids, n, flags & HT_TOKENIZE_SPECIAL ? 0u : HT__TEXT_SKIP_SPECIAL, &out);
    if (err == HT_ERR_USAGE)
        ht__fail(diag, err, NULL, -1, "an id is not in the vocabulary of %d tokens",
                 ht__text_size(tokenizer->text));
    if (err == HT_OK) {
        *text = malloc(out.len + 1);
        if (*text) memcpy(*text, ht__buf_text(&out), out.len + 1);
        *len = out.len;
        if (!*text) err = HT_ERR_MEMORY;
    }
    ht__buf_close(&out);
    return err == HT_ERR_MEMORY ? ht__fail_memory(diag, NULL) : err;
}

HT_EXPORT int ht_tokenizer_size(const struct ht_tokenizer *tokenizer)
{
    return ht__text_size(tokenizer->text);
}
HT_EXPORT int32_t ht_tokenizer_bos(const struct ht_tokenizer *tokenizer)
{
    return ht__text_bos(tokenizer->text);
}
HT_EXPORT int32_t ht_tokenizer_eos(const struct ht_tokenizer *tokenizer)
{
    return ht__text_eos(tokenizer->text);
}
HT_EXPORT bool ht_tokenizer_is_end(const struct ht_tokenizer *tokenizer, int32_t id)
{
    return ht__text_is_end(tokenizer->text, id);
}
