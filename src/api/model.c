/* An open model: opening it from a path or a hub, and running it. */
#include "api/model.h"
#include "job/hub.h"
#include "model/tokenizer/tokenizer.h"

#include <string.h>

/* ---- opening ------------------------------------------------------------------------------------ */

static enum ht_err set_hub(struct ht_job *job, const char *const *option, struct ht_diag *diag)
{
    for (; option[0]; option += 2) {
        bool flag = strcmp(option[0], "offline") == 0;
        if (!flag && strncmp(option[0], "hub-", 4) != 0)
            return ht__fail(diag, HT_ERR_USAGE, option[0], -1,
                            "not an option of hubs: those begin with hub-, or are offline");
        if (!option[1]) return ht__fail(diag, HT_ERR_USAGE, option[0], -1, "expected a value behind this name");
        HT_TRY(flag ? ht__options_set(job, option[0], option[1], diag)
                    : ht__hub_option(job, option[0], option[1], diag));
    }
    return HT_OK;
}

/* What to open; the job stays open, as it may have to bring the rows. */
static enum ht_err find_source(struct ht_model *m, const char *source, const struct ht_model_options *options,
                               struct ht__source *found, struct ht_diag *diag)
{
    *found = (struct ht__source){.path = source};
    if (!options->hub) return HT_OK;
    if (ht__job_open(m->alloc, &m->job) != HT_OK) return ht__fail_memory(diag, source);
    m->job->progress = options->progress;
    m->job->progress_ctx = options->ctx;
    HT_TRY(set_hub(m->job, options->hub, diag));
    HT_TRY(ht__options_set(m->job, "source", source, diag));
    return ht__hub_source(m->job, options->flags & HT_MODEL_STREAM, found, diag);
}

static enum ht_err open_parts(struct ht_model *m, const char *source, const struct ht_model_options *options,
                              struct ht_diag *diag)
{
    static const struct ht__log quiet = {0};
    struct ht__source found;
    if (options->n_ctx < 0 || options->n_threads < 0 || options->flags & ~(unsigned)(HT_MODEL_FAST | HT_MODEL_STREAM))
        return ht__fail(diag, HT_ERR_USAGE, "options", -1, "n_ctx or n_threads is negative, or a flag is not known");
    m->params = (struct ht__engine_params){.n_threads = options->n_threads,
                                           .memory = options->memory,
                                           .n_ctx = options->n_ctx,
                                           .cache = true,
                                           .fast = options->flags & HT_MODEL_FAST,
                                           .cancelled = &m->cancelled};
    HT_TRY(find_source(m, source, options, &found, diag));
    HT_TRY(ht__checkpoint_open_in(found.remote, found.path, m->alloc, &m->checkpoint, diag));
    return ht__model_open(m->checkpoint, m->alloc, &quiet, &m->model, diag);
}

enum ht_err ht_model_open_with(const char *source, const struct ht_model_options *options, struct ht_model **model,
                               struct ht_diag *diag)
{
    struct ht_model_options o = {0};
    struct ht__alloc room;
    const struct ht__alloc *alloc;
    ht__diag_clear(diag);
    if (model) *model = NULL;
    if (!source || !model) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no path or no place for the model");
    if (options && !ht__sized_take(&o, options, sizeof o))
        return ht__fail(diag, HT_ERR_USAGE, "options", -1, "options->size is not set");
    HT_TRY(ht__allocator_take(o.allocator, &room, &alloc, diag));
    struct ht_model *m = ht__new(alloc, sizeof *m);
    if (!m) return ht__fail_memory(diag, source);
    if (alloc) m->room = room;
    m->alloc = alloc ? &m->room : NULL;
    enum ht_err err = open_parts(m, source, &o, diag);
    if (err) ht_model_close(&m);
    *model = m;
    return err;
}

void ht_model_close(struct ht_model **model)
{
    if (!model || !*model) return;
    struct ht_model *m = *model;
    struct ht__alloc room = m->room;
    const struct ht__alloc *alloc = m->alloc ? &room : NULL;
    ht__engine_close(&m->engine);
    ht__tokenizer_close(&m->text.text);
    ht__model_close(&m->model);
    ht__checkpoint_close(&m->checkpoint);
    ht__job_close(&m->job);
    ht__free(alloc, m);
    *model = NULL;
}

void ht_model_cancel(struct ht_model *model, bool cancelled)
{
    if (model) atomic_store_explicit(&model->cancelled, cancelled, memory_order_relaxed);
}

/* ---- what it is --------------------------------------------------------------------------------- */

const char *ht__handle_name(const struct ht_model *m)
{
    return m->checkpoint->n_files ? m->checkpoint->files[0].path : m->checkpoint->dir;
}

enum ht_err ht__handle_hparams(const struct ht_model *m, struct ht__hparams **out, struct ht_diag *diag)
{
    *out = ht__new(m->alloc, sizeof **out);
    if (!*out) return ht__fail_memory(diag, "engine");
    enum ht_err err = ht__hparams_read(m->model, ht__handle_name(m), *out, diag);
    if (!err) return HT_OK;
    ht__free(m->alloc, *out);
    *out = NULL;
    return err;
}

/* Of a model that cannot be run, 0 for both. */
static void read_sizes(const struct ht_model *m, int *vocabulary, int *n_ctx_train)
{
    struct ht__hparams *h;
    if (ht__handle_hparams(m, &h, NULL) != HT_OK) return;
    *vocabulary = h->n_vocab;
    *n_ctx_train = h->n_ctx_train;
    ht__free(m->alloc, h);
}

bool ht_model_info(const struct ht_model *model, struct ht_model_info *info)
{
    if (!model) return false;
    const struct ht__model *m = model->model;
    struct ht_model_info full = {.path = ht__handle_name(model),
                                 .architecture = m->arch,
                                 .packed_as = m->packed_as,
                                 .is_gguf = m->from_gguf,
                                 .n_layers = (int)m->n_layers,
                                 .n_heads = (int)m->n_heads,
                                 .n_kv_heads = (int)m->n_kv_heads,
                                 .n_experts = (int)m->n_experts};
    read_sizes(model, &full.vocabulary, &full.n_ctx_train);
    return ht__sized_give(info, &full, sizeof full);
}

/* ---- running ------------------------------------------------------------------------------------ */

static enum ht_err open_engine(struct ht_model *m, struct ht_diag *diag)
{
    if (m->engine) return HT_OK;
    m->params.name = ht__handle_name(m);
    return ht__engine_open(m->model, &m->params, m->alloc, &m->engine, diag);
}

enum ht_err ht_model_open(const char *path, int n_ctx, int n_threads, uint64_t memory, unsigned flags,
                          struct ht_model **model, struct ht_diag *diag)
{
    const struct ht_model_options options = {.size = sizeof options,
                                             .flags = flags & HT_MODEL_FAST,
                                             .n_ctx = n_ctx > 0 ? n_ctx : 0,
                                             .n_threads = n_threads > 0 ? n_threads : 0,
                                             .memory = memory};
    HT_TRY(ht_model_open_with(path, &options, model, diag));
    enum ht_err err = open_engine(*model, diag);
    if (err) ht_model_close(model);
    return err;
}

int ht_model_vocabulary(const struct ht_model *model)
{
    int vocabulary = 0, n_ctx_train;
    if (model && model->engine) return ht__engine_hparams(model->engine)->n_vocab;
    if (model) read_sizes(model, &vocabulary, &n_ctx_train);
    return vocabulary;
}

enum { PASS_TOKENS = 512 }; /* no more than the engine takes at once by default */

/* A pass of some of the tokens, and the logits of those that are asked for: behind the first `skip` of all tokens. */
static enum ht_err logits_of(struct ht_model *model, const int32_t *tokens, int from, int n, int at, int skip,
                             float *logits, struct ht_diag *diag)
{
    int first = skip > from ? skip : from;
    HT_TRY(ht__engine_pass(model->engine, tokens + from, 1, n, at + from, diag));
    if (first >= from + n) return HT_OK;
    float *rows = logits + (size_t)(first - skip) * (size_t)ht_model_vocabulary(model);
    return ht__engine_logits(model->engine, 0, first - from, from + n - first, rows, diag);
}

enum ht_err ht_model_logits(struct ht_model *model, const int32_t *tokens, int n_tokens, int at, int n_logits,
                            float *logits, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!model || !tokens || !logits || n_tokens < 1 || n_logits < 1 || n_logits > n_tokens)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a model, tokens and room for the logits");
    HT_TRY(open_engine(model, diag));
    for (int from = 0; from < n_tokens; from += PASS_TOKENS) {
        int n = n_tokens - from < PASS_TOKENS ? n_tokens - from : PASS_TOKENS;
        HT_TRY(logits_of(model, tokens, from, n, at, n_tokens - n_logits, logits, diag));
    }
    return HT_OK;
}
