/* Conversations in JSON, from a program; and what a model was made for. */
#include "halftone/batch.h"

#include "api/model.h"
#include "base/file.h"
#include "model/chat/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- conversations ------------------------------------------------------------------------------ */

static enum ht_err check(const struct ht__jnode *names, struct ht_diag *diag)
{
    const struct ht__jnode *messages = ht__jget(names, "messages");
    if (names->type != HT__JSON_OBJECT || !messages || messages->type != HT__JSON_ARRAY)
        return ht__fail(diag, HT_ERR_USAGE, "chat", -1, "expected an object with a list \"messages\"");
    for (size_t i = 0; i < messages->n; i++)
        if (messages->children[i].type != HT__JSON_OBJECT || !ht__jstr(&messages->children[i], "role", NULL))
            return ht__fail(diag, HT_ERR_USAGE, "chat", -1, "message %zu: expected an object with a \"role\"", i);
    return HT_OK;
}

static enum ht_err render(const struct ht__tokenizer *text, const struct ht__jnode *names, const char *source,
                          const struct ht__alloc *alloc, struct ht__buf *out, struct ht_diag *diag)
{
    struct ht__chat chat = ht__chat_of(text, source);
    time_t seconds = time(NULL);
    struct tm now;
    HT_TRY(check(names, diag));
    if (!chat.source) return ht__fail(diag, HT_ERR_UNSUPPORTED, "chat", -1, "the model has no chat template");
    localtime_r(&seconds, &now);
    chat.now = &now;
    chat.names = names;
    chat.text = text;
    return ht__chat_render(&chat, alloc, out, diag);
}

static enum ht_err hand_out(const struct ht__tokens *found, int32_t **ids, size_t *n, struct ht_diag *diag)
{
    *ids = malloc((found->n + 1) * sizeof **ids); /* what the caller frees comes from malloc */
    if (!*ids) return ht__fail_memory(diag, "chat");
    if (found->n) memcpy(*ids, found->ids, found->n * sizeof **ids);
    *n = found->n;
    return HT_OK;
}

enum ht_err ht_model_chat_ids(struct ht_model *model, const char *json, size_t len, const char *template_text,
                              int32_t **ids, size_t *n, struct ht_diag *diag)
{
    const struct ht__tokenizer *text;
    struct ht__arena arena;
    struct ht__jnode *names;
    struct ht__buf out;
    struct ht__tokens found;
    ht__diag_clear(diag);
    if (!model || !json || !ids || !n)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a model, a conversation and places for the ids");
    *ids = NULL;
    *n = 0;
    HT_TRY(ht__handle_text(model, &text, diag));
    ht__arena_init(&arena, model->alloc);
    ht__buf_init(&out, model->alloc);
    ht__tokens_init(&found, model->alloc);
    enum ht_err err = ht__json_parse(&arena, json, len, "chat", &names, diag);
    if (err == HT_OK) err = render(text, names, template_text, model->alloc, &out, diag);
    if (err == HT_OK)
        err = ht__tokenizer_encode(text, ht__buf_text(&out), out.len,
                                   HT__TOKENIZER_PARSE_SPECIAL | HT__TOKENIZER_MARKED, &found, diag);
    if (err == HT_OK) err = hand_out(&found, ids, n, diag);
    ht__tokens_close(&found);
    ht__buf_close(&out);
    ht__arena_close(&arena);
    return err;
}

/* ---- pooling ------------------------------------------------------------------------------------ */

/* As sentence-transformers keeps it: 1_Pooling/config.json. */
static const char *pooling_of_folder(const struct ht_model *m)
{
    static const struct {
        const char *key, *pooling;
    } modes[] = {
        {"pooling_mode_mean_tokens", "mean"}, {"pooling_mode_lasttoken", "last"}, {"pooling_mode_cls_token", "first"}};
    const char *found = NULL;
    struct ht__jnode *root;
    struct ht__arena arena;
    char path[4200];
    if (m->model->from_gguf || !m->checkpoint->dir) return NULL;
    if (snprintf(path, sizeof path, "%s/1_Pooling/config.json", m->checkpoint->dir) >= (int)sizeof path) return NULL;
    ht__arena_init(&arena, m->alloc);
    if (ht__json_load(&arena, path, 1 << 20, &root, NULL) == HT_OK)
        for (size_t i = 0; i < sizeof modes / sizeof *modes && !found; i++)
            if (ht__jbool(root, modes[i].key, false)) found = modes[i].pooling;
    ht__arena_close(&arena);
    return found;
}

const char *ht_model_pooling(struct ht_model *model)
{
    static const char *const kinds[] = {NULL, "mean", "first", "last"}; /* by the numbers of GGUF files */
    char key[160];
    if (!model) return NULL;
    snprintf(key, sizeof key, "%s.pooling_type", model->model->arch);
    const struct ht__kv *kv = ht__kv_get(&model->model->kvs, key);
    uint64_t kind = kv && kv->type != HT__KV_STR && kv->type != HT__KV_ARR ? kv->u : 0;
    return kv && kind < sizeof kinds / sizeof *kinds ? kinds[kind] : pooling_of_folder(model);
}
