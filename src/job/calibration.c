#include "job/calibration.h"
#include "base/hash.h"
#include "calibrate/default_text.h"
#include "engine/score.h"
#include "job/meter.h"
#include "model/text/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONTEXT = 512, /* the field's */
    LEAST_CONTEXT = 16,
    LARGEST_TEXT = 1 << 30,
    RANDOM_SHARE = 8, /* the text that the program brings is followed by an eighth of random tokens */
    SEED = 1,
};

#define DEFAULT_TEXT "default"
#define DEFAULT_DATASET "halftone default calibration text 1" /* the number changes with the text */

static const char *name_of(const struct ht__model *model)
{
    return model->checkpoint->n_files ? model->checkpoint->files[0].path : "model";
}

/* The field's context, or the model's where that is shorter. */
static enum ht_err read_context(struct ht__calibration *cal, struct ht_job *job, const char *wanted,
                                const struct ht__model *model, struct ht_diag *diag)
{
    struct ht__hyper hyper;
    uint64_t ctx = CONTEXT;
    HT_TRY(ht__hyper_read(model, name_of(model), &hyper, diag));
    if (wanted)
        HT_TRY(ht__parse_count("ctx", wanted, LEAST_CONTEXT, 1 << 20, &ctx, diag));
    else if (hyper.n_ctx_train > 0 && hyper.n_ctx_train < CONTEXT)
        ctx = (uint64_t)hyper.n_ctx_train;
    if (hyper.n_ctx_train > 0 && ctx > (uint64_t)hyper.n_ctx_train)
        ht__log_printf(&job->log, HT__LOG_WARNING, "%s was trained with contexts of %d tokens; chunks have %d", name_of(model),
                       hyper.n_ctx_train, (int)ctx);
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

static enum ht_err take_ids(struct ht__calibration *cal, const struct ht__tokens *tokens, struct ht_diag *diag)
{
    cal->tokens = ht__new_array(cal->alloc, tokens->n + 1, sizeof *cal->tokens);
    if (!cal->tokens) return ht__fail_memory(diag, cal->dataset);
    if (tokens->n) memcpy(cal->tokens, tokens->ids, tokens->n * sizeof *tokens->ids);
    cal->n_tokens = tokens->n;
    return HT_OK;
}

static enum ht_err encode_file(const struct ht__calibration *cal, const struct ht__text *t, struct ht__tokens *tokens,
                               struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, cal->alloc);
    enum ht_err err = ht__file_load(cal->dataset, LARGEST_TEXT, &text, diag);
    if (err == HT_OK)
        err = ht__text_encode(t, (const char *)text.data, text.len, HT__TEXT_ADD_SPECIAL, tokens, diag);
    ht__buf_close(&text);
    return err;
}

static bool is_text(const void *ctx, int32_t id)
{
    return !ht__text_is_control(ctx, id);
}

/* The text in whole chunks, then windows of random tokens, which reach experts and columns that no text does. */
static enum ht_err encode_default(const struct ht__calibration *cal, const struct ht__text *t, struct ht__tokens *tokens,
                                  struct ht_diag *diag)
{
    size_t len, n_ctx = (size_t)cal->n_ctx;
    const char *text = ht__calibration_text(HT__TEXT_CALIBRATE, &len);
    HT_TRY(ht__text_encode(t, text, len, HT__TEXT_ADD_SPECIAL, tokens, diag));
    size_t chunks = tokens->n / n_ctx, windows = (chunks + RANDOM_SHARE - 1) / RANDOM_SHARE;
    if (windows == 0) windows = 1;
    size_t from = chunks * n_ctx, to = (chunks + windows) * n_ctx;
    if (chunks == 0) from = tokens->n; /* a context longer than the text: filled up */
    if (to > tokens->n && !ht__tokens_reserve(tokens, to - tokens->n)) return ht__fail_memory(diag, cal->dataset);
    tokens->n = to;
    if (!ht__random_tokens(SEED, ht__text_size(t), is_text, t, tokens->ids + from, to - from))
        return ht__fail(diag, HT_ERR_UNSUPPORTED, cal->dataset, -1, "the model's vocabulary has no text");
    return HT_OK;
}

static enum ht_err tokenize(struct ht__calibration *cal, const struct ht__model *model, bool is_default,
                            struct ht_diag *diag)
{
    struct ht__text *t;
    struct ht__tokens tokens;
    HT_TRY(ht__text_open_model(model, name_of(model), cal->alloc, &t, diag));
    ht__tokens_init(&tokens, cal->alloc);
    if (ht__text_adds_bos(t)) cal->bos = ht__text_bos(t);
    enum ht_err err = (is_default ? encode_default : encode_file)(cal, t, &tokens, diag);
    if (err == HT_OK && tokens.failed) err = ht__fail_memory(diag, cal->dataset);
    if (err == HT_OK) err = take_ids(cal, &tokens, diag);
    ht__tokens_close(&tokens);
    ht__text_close(&t);
    return err;
}

/* Whole chunks only; from the one asked for, as many as asked for. */
static enum ht_err cut(struct ht__calibration *cal, const struct ht__calibration_request *o, struct ht_diag *diag)
{
    uint64_t from = 0, most = UINT32_MAX, all = cal->n_tokens / (size_t)cal->n_ctx;
    if (o->from_chunk) HT_TRY(ht__parse_count("from-chunk", o->from_chunk, 0, UINT32_MAX, &from, diag));
    if (o->chunks) HT_TRY(ht__parse_count("chunks", o->chunks, 1, UINT32_MAX, &most, diag));
    if (all == 0)
        return ht__fail(diag, HT_ERR_USAGE, cal->dataset, -1,
                        "%zu tokens; at least one chunk of %d is needed (--ctx makes chunks shorter)", cal->n_tokens, cal->n_ctx);
    if (all <= from)
        return ht__fail(diag, HT_ERR_USAGE, cal->dataset, -1, "%zu tokens are %llu chunks of %d; none is left after %llu",
                        cal->n_tokens, (unsigned long long)all, cal->n_ctx, (unsigned long long)from);
    cal->n_chunks = (size_t)(all - from < most ? all - from : most);
    memmove(cal->tokens, cal->tokens + from * (uint64_t)cal->n_ctx, cal->n_chunks * (size_t)cal->n_ctx * sizeof *cal->tokens);
    if ((size_t)cal->n_seqs > cal->n_chunks) cal->n_seqs = (int)cal->n_chunks;
    return HT_OK;
}

enum ht_err ht__calibration_open(struct ht__calibration *cal, struct ht_job *job, const struct ht__model *model,
                                 const struct ht__calibration_request *request, struct ht_diag *diag)
{
    bool is_default = !request->text || strcmp(request->text, DEFAULT_TEXT) == 0;
    *cal = (struct ht__calibration){.alloc = job->alloc, .bos = -1};
    cal->dataset = is_default ? DEFAULT_DATASET : request->text;
    HT_TRY(read_context(cal, job, request->ctx, model, diag));
    HT_TRY(request->tokens ? load_ids(cal, request->tokens, model, diag) : tokenize(cal, model, is_default, diag));
    return cut(cal, request, diag);
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

/* Without --memory: everything in memory, as long as that is no more than half of what the machine has. */
static uint64_t memory_for(const struct ht__model *model)
{
    uint64_t bytes = 0, half = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[i];
        bytes += (uint64_t)w->rows->n_rows * ht__codec_bytes(w->source, (uint64_t)w->rows->row_len);
    }
    return bytes > half ? half : 0;
}

static enum ht_err open_engine(const struct ht__calibration *cal, struct ht_job *job, const struct ht__model *model,
                               struct ht__engine **engine, struct ht_diag *diag)
{
    struct ht__engine_params params = {
        .n_ctx = cal->n_ctx,
        .n_seqs = cal->n_seqs,
        .n_batch = cal->n_seqs * cal->n_ctx,
        .memory = memory_for(model),
        .spill_dir = job->options.layer_cache,
        .cancelled = &job->cancelled,
        .name = name_of(model),
    };
    HT_TRY(ht__calibration_threads(job, &params.n_threads, diag));
    if (job->options.memory) HT_TRY(ht__parse_size("memory", job->options.memory, &params.memory, diag));
    return ht__engine_open(model, &params, job->alloc, engine, diag);
}

enum ht_err ht__calibration_run(struct ht__calibration *cal, struct ht_job *job, const struct ht__model *model,
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
    enum ht_err err = ht__engine_check_tokens(engine, cal->dataset, cal->tokens, cal->n_chunks * (size_t)cal->n_ctx, diag);
    if (err == HT_OK) err = ht__collect(engine, imp, &params, state, diag);
    cal->layers = *ht__engine_stats(engine);
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
