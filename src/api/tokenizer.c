/* A model's tokenizer, from a program. */
#include "api/model.h"
#include "model/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* A folder's weights need not be there. */
static enum ht_err open_files(const char *path, struct ht__checkpoint **checkpoint, struct ht_diag *diag)
{
    return ht__path_is_dir(path) ? ht__checkpoint_open_empty(path, NULL, checkpoint, diag)
                                 : ht__checkpoint_open(path, NULL, checkpoint, diag);
}

static enum ht_err open_text(const char *path, struct ht__tokenizer **text, struct ht_diag *diag)
{
    struct ht__checkpoint *checkpoint = NULL;
    struct ht__model *model = NULL;
    enum ht_err err = open_files(path, &checkpoint, diag);
    if (err == HT_OK) err = ht__model_open(checkpoint, NULL, NULL, &model, diag);
    if (err == HT_OK) err = ht__tokenizer_open_model(model, path, NULL, text, diag);
    ht__model_close(&model);
    ht__checkpoint_close(&checkpoint);
    return err;
}

enum ht_err ht_tokenizer_open(const char *path, struct ht_tokenizer **tokenizer, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!path || !tokenizer) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no path or no place for the tokenizer");
    *tokenizer = NULL;
    struct ht_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return ht__fail_memory(diag, path);
    enum ht_err err = open_text(path, &t->text, diag);
    if (err != HT_OK) ht_tokenizer_close(&t);
    *tokenizer = t;
    return err;
}

/* ---- of an open model --------------------------------------------------------------------------- */

enum ht_err ht__handle_text(struct ht_model *m, const struct ht__tokenizer **text, struct ht_diag *diag)
{
    if (!m->text.text) HT_TRY(ht__tokenizer_open_model(m->model, ht__handle_name(m), m->alloc, &m->text.text, diag));
    *text = m->text.text;
    return HT_OK;
}

enum ht_err ht_model_tokenizer(struct ht_model *model, const struct ht_tokenizer **tokenizer, struct ht_diag *diag)
{
    const struct ht__tokenizer *text;
    ht__diag_clear(diag);
    if (tokenizer) *tokenizer = NULL;
    if (!model || !tokenizer) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no model or no place for the tokenizer");
    HT_TRY(ht__handle_text(model, &text, diag));
    *tokenizer = &model->text;
    return HT_OK;
}

/* ---- using it ----------------------------------------------------------------------------------- */

void ht_tokenizer_close(struct ht_tokenizer **tokenizer)
{
    if (!tokenizer || !*tokenizer) return;
    ht__tokenizer_close(&(*tokenizer)->text);
    free(*tokenizer);
    *tokenizer = NULL;
}

enum ht_err ht_tokenizer_encode(const struct ht_tokenizer *tokenizer, const char *text, size_t len, unsigned flags,
                                int32_t **ids, size_t *n, struct ht_diag *diag)
{
    struct ht__tokens out;
    ht__diag_clear(diag);
    if (!tokenizer || (!text && len) || !ids || !n)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a tokenizer, a text and places for the ids");
    *ids = NULL;
    *n = 0;
    ht__tokens_init(&out, NULL);
    if (!ht__tokens_reserve(&out, 1)) return ht__fail_memory(diag, NULL);
    enum ht_err err = ht__tokenizer_encode(tokenizer->text, text ? text : "", len,
                                           (flags & HT_TOKENIZE_AROUND ? HT__TOKENIZER_ADD_SPECIAL : 0u) |
                                               (flags & HT_TOKENIZE_SPECIAL ? HT__TOKENIZER_PARSE_SPECIAL : 0u),
                                           &out, diag);
    if (err != HT_OK) return ht__tokens_close(&out), err;
    *ids = out.ids;
    *n = out.n;
    return HT_OK;
}

enum ht_err ht_tokenizer_decode(const struct ht_tokenizer *tokenizer, const int32_t *ids, size_t n, unsigned flags,
                                char **text, size_t *len, struct ht_diag *diag)
{
    struct ht__buf out;
    ht__diag_clear(diag);
    if (!tokenizer || (!ids && n) || !text || !len)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a tokenizer, ids and places for the text");
    *text = NULL;
    *len = 0;
    ht__buf_init(&out, NULL);
    enum ht_err err = ht__tokenizer_decode(tokenizer->text, ids, n,
                                           (flags & HT_TOKENIZE_SPECIAL ? 0u : HT__TOKENIZER_SKIP_SPECIAL) |
                                               (flags & HT_TOKENIZE_WITHIN ? HT__TOKENIZER_WITHIN : 0u),
                                           &out);
    if (err == HT_ERR_USAGE)
        ht__fail(diag, err, NULL, -1, "an id is not in the vocabulary of %d tokens",
                 ht__tokenizer_size(tokenizer->text));
    if (err == HT_OK) {
        *text = malloc(out.len + 1);
        if (*text) memcpy(*text, ht__buf_text(&out), out.len + 1);
        *len = out.len;
        if (!*text) err = HT_ERR_MEMORY;
    }
    ht__buf_close(&out);
    return err == HT_ERR_MEMORY ? ht__fail_memory(diag, NULL) : err;
}

int ht_tokenizer_size(const struct ht_tokenizer *tokenizer)
{
    return ht__tokenizer_size(tokenizer->text);
}
int32_t ht_tokenizer_bos(const struct ht_tokenizer *tokenizer)
{
    return ht__tokenizer_bos(tokenizer->text);
}
int32_t ht_tokenizer_eos(const struct ht_tokenizer *tokenizer)
{
    return ht__tokenizer_eos(tokenizer->text);
}
bool ht_tokenizer_is_end(const struct ht_tokenizer *tokenizer, int32_t id)
{
    return ht__tokenizer_is_end(tokenizer->text, id);
}
