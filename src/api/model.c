/* Running a model from a program. */
#include "api/export.h"
#include "engine/engine.h"
#include "halftone/halftone.h"

#include <stdlib.h>

struct ht_model {
    struct ht__checkpoint *checkpoint;
    struct ht__model *model;
    struct ht__engine *engine;
};

static enum ht_err open_parts(struct ht_model *m, const char *path, int n_ctx, int n_threads, uint64_t memory,
                              unsigned flags, struct ht_diag *diag)
{
    HT_TRY(ht__checkpoint_open(path, NULL, &m->checkpoint, diag));
    HT_TRY(ht__model_open(m->checkpoint, NULL, NULL, &m->model, diag));
    struct ht__engine_params params = {.n_threads = n_threads, .memory = memory, .n_ctx = n_ctx, .cache = true,
                                       .fast = flags & HT_MODEL_FAST};
    return ht__engine_open(m->model, &params, NULL, &m->engine, diag);
}

HT_EXPORT enum ht_err ht_model_open(const char *path, int n_ctx, int n_threads, uint64_t memory,
                                    unsigned flags, struct ht_model **model, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!path || !model) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no path or no place for the model");
    *model = NULL;
    struct ht_model *m = calloc(1, sizeof *m);
    if (!m) return ht__fail_memory(diag, path);
    enum ht_err err = open_parts(m, path, n_ctx, n_threads, memory, flags, diag);
    if (err)
        ht_model_close(&m);
    *model = m;
    return err;
}

HT_EXPORT void ht_model_close(struct ht_model **model)
{
    if (!model || !*model) return;
    struct ht_model *m = *model;
    ht__engine_close(&m->engine);
    ht__model_close(&m->model);
    ht__checkpoint_close(&m->checkpoint);
    free(m);
    *model = NULL;
}

HT_EXPORT int ht_model_vocabulary(const struct ht_model *model)
{
    return ht__engine_hyper(model->engine)->n_vocab;
}

HT_EXPORT enum ht_err ht_model_logits(struct ht_model *model, const int32_t *tokens, int n_tokens, int at, int n_logits,
                                      float *logits, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!model || !tokens || !logits || n_tokens < 1 || n_logits < 1 || n_logits > n_tokens)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "model, tokens and room for logits are all wanted");
    HT_TRY(ht__engine_pass(model->engine, tokens, 1, n_tokens, at, diag));
    return ht__engine_logits(model->engine, 0, n_tokens - n_logits, n_logits, logits, diag);
}
