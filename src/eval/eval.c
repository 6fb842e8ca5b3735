/* Opening what is measured, and measuring it. */
#include "eval/parts.h"
#include "recipe/file_type.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory of a model ------------------------------------------------------------------------ */

/* A block's size is stored before it, in 16 bytes, so that malloc's alignment is kept. */
enum { HEADER = 16 };

static void *counted(void *ctx, void *ptr, size_t size)
{
    struct ht__eval_memory *m = ctx;
    unsigned char *raw = ptr ? (unsigned char *)ptr - HEADER : NULL;
    uint64_t before = 0;
    if (raw) memcpy(&before, raw, sizeof before);
    if (size > SIZE_MAX - HEADER) return NULL;
    unsigned char *now = ht__resize(m->from, raw, size ? size + HEADER : 0);
    if (size && !now) return NULL;
    uint64_t held = __atomic_add_fetch(&m->now, (uint64_t)size - before, __ATOMIC_RELAXED);
    uint64_t most = __atomic_load_n(&m->most, __ATOMIC_RELAXED);
    while (held > most &&
           !__atomic_compare_exchange_n(&m->most, &most, held, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    if (!size) return NULL;
    uint64_t total = size;
    memcpy(now, &total, sizeof total);
    return now + HEADER;
}

/* ---- opening ---------------------------------------------------------------------------------- */

static void name_model(struct ht__eval *e, struct ht__eval_model *m)
{
    size_t len = strlen(m->path);
    while (len > 1 && m->path[len - 1] == '/')
        len--;
    size_t start = len;
    while (start > 0 && m->path[start - 1] != '/')
        start--;
    if (len - start > 5 && strncmp(m->path + len - 5, ".gguf", 5) == 0) len -= 5;
    m->label = ht__arena_copy(&e->arena, m->path + start, len - start);
}

static void measure_size(struct ht__eval_model *m)
{
    uint64_t bytes = 0, weights = 0;
    for (uint32_t i = 0; i < m->checkpoint->n_files; i++)
        m->size_bytes += m->checkpoint->files[i].size;
    for (uint32_t i = 0; i < m->checkpoint->n_tensors; i++) {
        bytes += m->checkpoint->tensors[i].n_bytes;
        weights += m->checkpoint->tensors[i].n_weights;
    }
    m->bpw = weights ? (double)bytes * 8 / (double)weights : 0;
}

static enum ht_err open_model(struct ht__eval *e, struct ht__eval_model *m, const struct ht__remote_folder *remote,
                              const char *path, const char *name, struct ht_diag *diag)
{
    m->path = name;
    m->memory.from = e->run.alloc;
    m->alloc = (struct ht__alloc){.resize = counted, .ctx = &m->memory};
    name_model(e, m);
    if (!m->label) return ht__fail_memory(diag, path);
    HT_TRY(ht__checkpoint_open_in(remote, path, &m->alloc, &m->checkpoint, diag));
    HT_TRY(ht__model_open(m->checkpoint, &m->alloc, e->run.log, &m->model, diag));
    measure_size(m);
    m->type = ht__file_type_name(m->checkpoint);
    return HT_OK;
}

/* The one model of the list that is the reference: a path given for both, or by default the
 * largest. */
static struct ht__eval_model *listed_reference(struct ht__eval *e, const struct ht__eval_request *request)
{
    struct ht__eval_model *largest = NULL;
    if (request->against || !request->default_largest || e->n_models < 2) return NULL;
    for (size_t i = 0; i < e->n_models; i++)
        if (!largest || e->models[i].size_bytes > largest->size_bytes) largest = &e->models[i];
    return largest;
}

static enum ht_err open_models(struct ht__eval *e, const struct ht__eval_request *request, struct ht_diag *diag)
{
    if (request->n < 1)
        return ht__fail(diag, HT_ERR_USAGE, "model", -1, "which model? Give a file, a folder or ORG/NAME");
    e->models = ht__new_array(e->run.alloc, request->n + 1, sizeof *e->models);
    if (!e->models) return ht__fail_memory(diag, "models");
    e->n_models = request->n;
    e->n_all = e->n_models + (request->against ? 1 : 0);
    for (size_t i = 0; i < e->n_all; i++)
        HT_TRY(i < e->n_models ? open_model(e, &e->models[i], request->remote, request->subjects[i].path,
                                            request->subjects[i].name, diag)
                               : open_model(e, &e->models[i], request->remote, request->against,
                                            request->against_name ? request->against_name : request->against, diag));
    e->reference = request->against ? &e->models[e->n_models] : listed_reference(e, request);
    for (size_t i = 0; i < e->n_all; i++)
        HT_TRY(ht__eval_same_vocabulary(&e->models[i], e->reference ? e->reference : &e->models[0], diag));
    return HT_OK;
}

/* ---- measuring -------------------------------------------------------------------------------- */

bool ht__eval_tell(void *ctx, uint64_t tokens)
{
    struct ht__eval *e = ctx;
    return ht__progress_tell(&e->progress, e->progress_base + tokens, "");
}

enum ht_err ht__eval_open_engine(struct ht__eval *e, struct ht__eval_model *m, const struct ht__engine_params *params,
                                 struct ht_diag *diag)
{
    struct ht__engine_params p = *params;
    struct ht__engine_need need = ht__engine_need(m->model, NULL);
    p.memory = e->memory ? ht__engine_share(e->memory, &need, &e->needs) : 0;
    p.spill_dir = e->settings->layer_cache;
    p.n_threads = e->run.n_threads;
    p.fast = p.wide = e->settings->fast; /* as programs that run GGUF files do */
    p.cancelled = e->run.cancelled;
    p.name = m->label;
    HT_TRY(ht__engine_open(m->model, &p, &m->alloc, &m->scored.engine, diag));
    int trained = ht__engine_hparams(m->scored.engine)->n_ctx_train;
    if (e->n_ctx > trained && trained > 0)
        ht__log_printf(e->run.log, HT__LOG_WARNING, "%s was trained with contexts of %d tokens; chunks have %d",
                       m->label, trained, e->n_ctx);
    return HT_OK;
}

/* How much matrices may take, and whether that is enough: each model gets its least, and a share of the rest. */
static enum ht_err read_memory(struct ht__eval *e, const struct ht__eval_request *request, struct ht_diag *diag)
{
    e->memory = request->within ? request->memory : e->run.memory;
    for (size_t i = 0; i < e->n_all; i++) {
        struct ht__engine_need need = ht__engine_need(e->models[i].model, NULL);
        e->needs.all += need.all;
        e->needs.least += need.least;
    }
    if (request->within || !e->run.memory || e->needs.least <= e->memory) return HT_OK;
    return ht__memory_too_small(e->needs.least, e->memory, diag);
}

/* n_seqs is known. */
static void plan_batch(const struct ht__eval *e, int *longest, int *n_batch)
{
    *longest = e->settings->retention ? HT__PROMPT_TOKENS + e->settings->retention : 0;
    if (*longest < e->n_ctx) *longest = e->n_ctx;
    *n_batch = e->n_ctx * e->n_seqs > *longest ? e->n_ctx * e->n_seqs : *longest;
}

enum ht_err ht__eval_use(const struct ht__eval_settings *settings, const struct ht__run *run,
                         const struct ht__model *model, const char *path, struct ht__engine_use *use,
                         struct ht_diag *diag)
{
    struct ht__hparams hparams;
    struct ht__eval e = {.settings = settings, .n_ctx = settings->n_ctx, .n_chunks = settings->n_chunks};
    e.n_seqs = ht__engine_seqs(model, e.n_ctx);
    if ((size_t)e.n_seqs > e.n_chunks) e.n_seqs = (int)e.n_chunks;
    use->n_threads = run->n_threads ? run->n_threads : ht__core_count();
    plan_batch(&e, &use->n_ctx, &use->n_batch);
    use->n_seqs = e.n_seqs;
    use->cache = settings->retention > 0;
    use->fast = settings->fast;
    HT_TRY(ht__hparams_read(model, path, &hparams, diag));
    use->more_bytes = ht__perplexity_bytes(&hparams, use);
    return HT_OK;
}

static enum ht_err open_engines(struct ht__eval *e, struct ht_diag *diag)
{
    int longest;
    e->n_seqs = INT32_MAX;
    for (size_t i = 0; i < e->n_all; i++) {
        int n = ht__engine_seqs(e->models[i].model, e->n_ctx);
        e->n_seqs = n < e->n_seqs ? n : e->n_seqs;
    }
    if ((size_t)e->n_seqs > e->n_chunks) e->n_seqs = (int)e->n_chunks; /* no more sequences than chunks */
    plan_batch(e, &longest, &e->n_batch);
    struct ht__engine_params params = {.n_ctx = longest, .n_seqs = e->n_seqs, .n_batch = e->n_batch};
    for (size_t i = 0; i < e->n_all; i++)
        HT_TRY(ht__eval_open_engine(e, &e->models[i], &params, diag));
    for (size_t i = 0; i < e->n_all; i++)
        HT_TRY(ht__engine_check_tokens(e->models[i].scored.engine, e->text_name, e->tokens, e->n_tokens, diag));
    return HT_OK;
}

static enum ht_err score(struct ht__eval *e, struct ht_diag *diag)
{
    struct ht__perplexity_params params = {.tokens = e->tokens,
                                           .n_chunks = e->n_chunks,
                                           .n_ctx = e->n_ctx,
                                           .n_seqs = e->n_seqs,
                                           .bos = e->bos,
                                           .n_threads = e->run.n_threads,
                                           .tell = ht__eval_tell,
                                           .tell_ctx = e,
                                           .alloc = e->run.alloc};
    struct ht__scored **all = ht__arena_array(&e->arena, e->n_all, sizeof *all);
    if (!all) return ht__fail_memory(diag, "models");
    for (size_t i = 0; i < e->n_all; i++)
        all[i] = &e->models[i].scored;
    HT_TRY(ht__eval_open_passes(e, &params, diag));
    if (e->passes.at) params.passes = &e->passes;
    ht__progress_begin(&e->progress, &e->run, "measure", "tokens",
                       (uint64_t)e->n_chunks * (uint64_t)e->n_ctx * e->n_all);
    HT_TRY(ht__perplexity_run(all, e->n_all, e->reference ? &e->reference->scored : NULL, &params, diag));
    for (size_t i = 0; i < e->n_all; i++) {
        ht__divergence_sort(&e->models[i].scored.divergence);
        ht__divergence_result(&e->models[i].scored.divergence, &e->models[i].result);
    }
    return HT_OK;
}

/* The front of size against divergence: no other model is nearer and no larger, or as
 * near and smaller. */
static void find_front(struct ht__eval *e)
{
    for (size_t i = 0; e->reference && i < e->n_models; i++) {
        struct ht__eval_model *m = &e->models[i];
        m->front = m != e->reference;
        for (size_t j = 0; j < e->n_models && m->front; j++) {
            const struct ht__eval_model *o = &e->models[j];
            if (o == m || o == e->reference) continue;
            bool no_worse = o->size_bytes <= m->size_bytes && o->result.kld.value <= m->result.kld.value;
            bool better = o->size_bytes < m->size_bytes || o->result.kld.value < m->result.kld.value;
            if (no_worse && better) m->front = false;
        }
    }
}

static enum ht_err measure(struct ht__eval *e, const struct ht__eval_request *request, struct ht_diag *diag)
{
    double start = ht__seconds();
    HT_TRY(open_models(e, request, diag));
    HT_TRY(read_memory(e, request, diag));
    HT_TRY(ht__eval_read_text(e, diag));
    HT_TRY(open_engines(e, diag));
    HT_TRY(score(e, diag));
    find_front(e);
    if (e->settings->parts) {
        HT_TRY(ht__eval_keep_passes(e, diag));
    } else {
        HT_TRY(ht__eval_choices(e, diag));
        HT_TRY(ht__eval_retention(e, diag));
    }
    e->seconds = ht__seconds() - start;
    return HT_OK;
}

/* e is all zero. */
static void set_up(struct ht__eval *e, const struct ht__eval_settings *settings, const struct ht__run *run)
{
    e->run = *run;
    e->settings = settings;
    e->n_ctx = settings->n_ctx;
    e->n_chunks = settings->n_chunks;
    e->bos = -1;
    ht__arena_init(&e->arena, run->alloc);
}

enum ht_err ht__eval_run(const struct ht__eval_settings *settings, const struct ht__run *run,
                         const struct ht__eval_request *request, struct ht__eval **out, struct ht_diag *diag)
{
    struct ht__eval *e = ht__new(run->alloc, sizeof *e);
    *out = e;
    if (!e) return ht__fail_memory(diag, "eval");
    set_up(e, settings, run);
    enum ht_err err = measure(e, request, diag);
    if (err) ht__eval_close(out);
    return err;
}

enum ht_err ht__eval_check(const struct ht__eval_settings *settings, const struct ht__run *run, struct ht__model *model,
                           const char *path, struct ht__eval_size *size, struct ht_diag *diag)
{
    struct ht__eval_model subject = {.path = path, .label = path, .model = model};
    struct ht__eval e = {.models = &subject, .n_models = 1, .n_all = 1};
    if (!ht__arch_compute_of(model->arch))
        return ht__fail(diag, HT_ERR_UNSUPPORTED, path, -1,
                        "models of the architecture %s cannot be run, so they cannot be measured", model->arch);
    set_up(&e, settings, run);
    enum ht_err err = ht__eval_read_text(&e, diag);
    if (!err && size) *size = (struct ht__eval_size){e.n_ctx, e.n_chunks, ht__eval_continued(&e)};
    ht__free(run->alloc, e.tokens);
    ht__arena_close(&e.arena);
    return err;
}

double ht__eval_figure(const struct ht__eval *e, size_t index, enum ht__figure figure)
{
    const struct ht__eval_model *m = &e->models[index];
    const struct ht__divergence *t = &m->scored.divergence;
    if (figure == HT__FIGURE_PERPLEXITY) return m->result.perplexity.value;
    if (figure == HT__FIGURE_RETENTION) return m->n_prompts ? (double)m->n_equal / m->n_prompts : NAN;
    if (!t->against) return NAN;
    switch (figure) {
    case HT__FIGURE_KLD: return m->result.kld.value;
    case HT__FIGURE_KLD_MEDIAN: return ht__percentile(t->kld, t->n, .5);
    case HT__FIGURE_KLD_P99: return ht__percentile(t->kld, t->n, .99);
    case HT__FIGURE_KLD_MAX: return ht__percentile(t->kld, t->n, 1);
    case HT__FIGURE_TOP1: return m->result.same.value;
    case HT__FIGURE_PPL_RATIO: return m->result.ratio.value;
    default: return NAN;
    }
}

void ht__eval_close(struct ht__eval **eval)
{
    struct ht__eval *e = *eval;
    if (!e) return;
    for (size_t i = 0; e->models && i < e->n_all; i++) {
        struct ht__eval_model *m = &e->models[i];
        ht__scored_close(&m->scored, e->run.alloc);
        ht__engine_close(&m->scored.engine);
        ht__model_close(&m->model);
        ht__checkpoint_close(&m->checkpoint);
    }
    const struct ht__alloc *alloc = e->run.alloc;
    ht__passes_close(&e->passes);
    ht__free(alloc, e->models);
    ht__free(alloc, e->tokens);
    ht__arena_close(&e->arena);
    ht__free(alloc, e);
    *eval = NULL;
}
