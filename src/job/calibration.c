#include "job/calibration.h"
#include "base/hash.h"
#include "engine/score.h"
#include "job/meter.h"
#include "model/text/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { CONTEXT = 512, LEAST_CONTEXT = 16, LARGEST_TEXT = 1 << 30 };

static const char *name_of(const struct ht__model *model)
{
    return model->checkpoint->n_files ? model->checkpoint->files[0].path : "model";
}

/* The field's context, or the model's where that is shorter. */
static enum ht_err read_context(struct ht__calibration *cal, struct ht_job *job, const struct ht__model *model,
                                struct ht_diag *diag)
{
    struct ht__hyper hyper;
    uint64_t ctx = CONTEXT;
    HT_TRY(ht__hyper_read(model, name_of(model), &hyper, diag));
    if (job->options.ctx)
        HT_TRY(ht__parse_count("ctx", job->options.ctx, LEAST_CONTEXT, 1 << 20, &ctx, diag));
    else if (hyper.n_ctx_train > 0 && hyper.n_ctx_train < CONTEXT)
        ctx = (uint64_t)hyper.n_ctx_train;
    cal->n_ctx = (int)ctx;
    cal->n_seqs = ht__score_seqs(model, cal->n_ctx);
    return HT_OK;
}

static int32_t bos_of(const struct ht__kvs *kvs)
{
    uint64_t bos;
    const struct ht__kv *adds = ht__kv_get(kvs, "tokenizer.ggml.add_bos_token");
    bool wanted = adds && adds->type == HT__KV_BOOL && adds->u;
    return wanted && ht__kv_get_u64(kvs, "tokenizer.ggml.bos_token_id", &bos) && bos <= INT32_MAX ? (int32_t)bos : -1;
}

/* 32-bit ids, one after the other. */
static enum ht_err load_ids(struct ht__calibration *cal, const char *path, const struct ht__model *model,
                            struct ht_diag *diag)
{
    struct ht__buf ids;
    ht__buf_init(&ids, cal->alloc);
    enum ht_err err = ht__file_load(path, LARGEST_TEXT, &ids, diag);
    if (err == HT_OK && (ids.len == 0 || ids.len % sizeof(int32_t) != 0))
        err = ht__fail(diag, HT_ERR_FORMAT, path, (int64_t)ids.len, "not a row of 32-bit token ids");
    cal->n_tokens = ids.len / sizeof(int32_t);
    if (err == HT_OK && !(cal->tokens = ht__new_array(cal->alloc, cal->n_tokens, sizeof(int32_t))))
        err = ht__fail_memory(diag, path);
    if (err == HT_OK) memcpy(cal->tokens, ids.data, ids.len);
    ht__buf_close(&ids);
    cal->bos = bos_of(&model->kvs);
    cal->dataset = path;
    return err;
}

static enum ht_err encode(struct ht__calibration *cal, const struct ht__text *t, const char *text, size_t len,
                          struct ht_diag *diag)
{
    struct ht__tokens tokens;
    ht__tokens_init(&tokens, cal->alloc);
    enum ht_err err = ht__text_encode(t, text, len, HT__TEXT_ADD_SPECIAL, &tokens, diag);
    if (err == HT_OK && !(cal->tokens = ht__new_array(cal->alloc, tokens.n + 1, sizeof(int32_t))))
        err = ht__fail_memory(diag, cal->dataset);
    if (err == HT_OK && tokens.n) memcpy(cal->tokens, tokens.ids, tokens.n * sizeof *tokens.ids);
    cal->n_tokens = err == HT_OK ? tokens.n : 0;
    ht__tokens_close(&tokens);
    return err;
}

static enum ht_err load_text(struct ht__calibration *cal, const struct ht__text *t, const char *path, struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, cal->alloc);
    cal->dataset = path;
    enum ht_err err = ht__file_load(path, LARGEST_TEXT, &text, diag);
    if (err == HT_OK) err = encode(cal, t, (const char *)text.data, text.len, diag);
    ht__buf_close(&text);
    return err;
}

static enum ht_err tokenize(struct ht__calibration *cal, const char *path, const struct ht__model *model,
                            struct ht_diag *diag)
{
    struct ht__text *t;
    HT_TRY(ht__text_open(&model->kvs, name_of(model), cal->alloc, &t, diag));
    if (ht__text_adds_bos(t)) cal->bos = ht__text_bos(t);
    enum ht_err err = load_text(cal, t, path, diag);
    ht__text_close(&t);
    return err;
}

/* Whole chunks only; from the one asked for, as many as asked for. */
static enum ht_err cut(struct ht__calibration *cal, const struct ht__options *o, struct ht_diag *diag)
{
    uint64_t from = 0, most = UINT32_MAX, all = cal->n_tokens / (size_t)cal->n_ctx;
    if (o->from_chunk) HT_TRY(ht__parse_count("from-chunk", o->from_chunk, 0, UINT32_MAX, &from, diag));
    if (o->chunks) HT_TRY(ht__parse_count("chunks", o->chunks, 1, UINT32_MAX, &most, diag));
    if (all <= from)
        return ht__fail(diag, HT_ERR_USAGE, cal->dataset, -1, "%zu tokens are %llu chunks of %d; none is left after %llu",
                        cal->n_tokens, (unsigned long long)all, cal->n_ctx, (unsigned long long)from);
    cal->n_chunks = (size_t)(all - from < most ? all - from : most);
    memmove(cal->tokens, cal->tokens + from * (uint64_t)cal->n_ctx, cal->n_chunks * (size_t)cal->n_ctx * sizeof *cal->tokens);
    if ((size_t)cal->n_seqs > cal->n_chunks) cal->n_seqs = (int)cal->n_chunks;
    return HT_OK;
}

enum ht_err ht__calibration_open(struct ht__calibration *cal, struct ht_job *job, const struct ht__model *model,
                                 const char *text, struct ht_diag *diag)
{
    const struct ht__options *o = &job->options;
    *cal = (struct ht__calibration){.alloc = job->alloc, .bos = -1};
    HT_TRY(read_context(cal, job, model, diag));
    HT_TRY(o->tokens ? load_ids(cal, o->tokens, model, diag) : tokenize(cal, text, model, diag));
    return cut(cal, o, diag);
}

void ht__calibration_close(struct ht__calibration *cal)
{
    ht__free(cal->alloc, cal->tokens);
    cal->tokens = NULL;
}

enum ht_err ht__calibration_identity(const struct ht__calibration *cal, const struct ht__model *model,
                                     bool process_output, char hex[65], struct ht_diag *diag)
{
    struct ht__sha256 sha;
    char line[4300];
    ht__sha256_begin(&sha);
    for (uint32_t i = 0; i < model->checkpoint->n_files; i++) {
        const struct ht__file *file = &model->checkpoint->files[i];
        struct stat st = {0};
        fstat(file->fd, &st);
        int n = snprintf(line, sizeof line, "%s %" PRIu64 " %lld.%09ld\n", file->path, file->size,
                         (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        ht__sha256_add(&sha, line, n > 0 ? (size_t)n : 0);
    }
    int n = snprintf(line, sizeof line, "%zu chunks of %d, %d a pass, bos %d, output %d\n", cal->n_chunks, cal->n_ctx,
                     cal->n_seqs, cal->bos, process_output);
    ht__sha256_add(&sha, line, n > 0 ? (size_t)n : 0);
    ht__sha256_add(&sha, cal->tokens, cal->n_chunks * (size_t)cal->n_ctx * sizeof *cal->tokens);
    ht__sha256_end(&sha, hex);
    return hex[0] ? HT_OK : ht__fail_memory(diag, "importance");
}

/* ---- running ---- */

struct run {
    struct ht_job *job;
    struct ht__meter meter;
    const struct ht__calibration_watch *watch;
};

static void tell(void *ctx, uint64_t tokens)
{
    struct run *r = ctx;
    if (ht__meter_tell(&r->meter, tokens, "")) ht_job_cancel(r->job);
}

static enum ht_err after_pass(void *ctx, size_t passes, struct ht_diag *diag)
{
    struct run *r = ctx;
    return r->watch && r->watch->pass ? r->watch->pass(r->watch->ctx, passes, diag) : HT_OK;
}

enum ht_err ht__calibration_threads(const struct ht_job *job, int *n, struct ht_diag *diag)
{
    uint64_t threads = 0;
    if (job->options.threads) HT_TRY(ht__parse_count("threads", job->options.threads, 1, 1024, &threads, diag));
    *n = (int)threads;
    return HT_OK;
}

static enum ht_err open_engine(const struct ht__calibration *cal, struct ht_job *job, const struct ht__model *model,
                               struct ht__engine **engine, struct ht_diag *diag)
{
    struct ht__engine_params params = {
        .n_ctx = cal->n_ctx,
        .n_seqs = cal->n_seqs,
        .n_batch = cal->n_seqs * cal->n_ctx,
        .cancelled = &job->cancelled,
    };
    HT_TRY(ht__calibration_threads(job, &params.n_threads, diag));
    if (job->options.memory) HT_TRY(ht__parse_size("memory", job->options.memory, &params.memory, diag));
    return ht__engine_open(model, &params, job->alloc, engine, diag);
}

enum ht_err ht__calibration_run(const struct ht__calibration *cal, struct ht_job *job, const struct ht__model *model,
                                struct ht__importance *imp, struct ht__sums_state *state,
                                const struct ht__calibration_watch *watch, struct ht_diag *diag)
{
    struct ht__engine *engine;
    struct run r = {.job = job, .watch = watch};
    struct ht__collect_params params = {
        .tokens = cal->tokens,
        .n_chunks = cal->n_chunks,
        .n_ctx = cal->n_ctx,
        .n_seqs = cal->n_seqs,
        .bos = cal->bos,
        .from = *state,
        .tell = tell,
        .pass = after_pass,
        .ctx = &r,
    };
    ht__meter_begin(&r.meter, job, "calibrate", "tokens", cal->n_chunks * (uint64_t)cal->n_ctx);
    HT_TRY(open_engine(cal, job, model, &engine, diag));
    tell(&r, (uint64_t)state->passes * (uint64_t)cal->n_seqs * (uint64_t)cal->n_ctx);
    enum ht_err err = ht__collect(engine, imp, &params, state, diag);
    ht__engine_close(&engine);
    return err;
}

/* ---- experts without data ---- */

static void warn_of(struct ht_job *job, const struct ht__sums *s)
{
    char list[160] = "";
    size_t n = 0, len = 0;
    for (uint64_t i = 0; i < s->n_counts; i++) {
        if (s->counts[i] > 0) continue;
        n++;
        if (len < sizeof list - 16)
            len += (size_t)snprintf(list + len, sizeof list - len, "%s%" PRIu64, len ? ", " : "", i);
        else if (len < sizeof list - 4)
            len += (size_t)snprintf(list + len, sizeof list - len, " …");
    }
    if (n)
        ht__log_printf(&job->log, HT__LOG_WARNING,
                       "%s: no token reached %zu of %" PRIu64 " experts (%s); their columns count alike (importance 1)", s->name,
                       n, s->n_counts, list);
}

void ht__calibration_warn(struct ht_job *job, const struct ht__importance *imp)
{
    for (size_t i = 0; i < imp->n; i++)
        if (imp->items[i].n_counts > 1) warn_of(job, &imp->items[i]);
}
