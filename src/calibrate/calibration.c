#include "calibrate/calibration.h"
#include "base/hash.h"
#include "calibrate/default_text.h"
#include "calibrate/documents.h"
#include "calibrate/groups.h"
#include "calibrate/kept.h"
#include "calibrate/random.h"
#include "engine/memory.h"
#include "base/progress.h"
#include "model/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CONTEXT = 512, /* llama-imatrix's default */
    LARGEST_TEXT = 1 << 30,
    IMPORTANCE_TOKENS = 16384, /* of the built-in text, where no number of chunks is given */
    CODES_TOKENS = 65536,      /* the same, where codes are chosen on it */
    SEED = 1,                  /* where none is given */
};

#define DEFAULT_DATASET "halftone default calibration text 2" /* the number changes with the text */

static const char *name_of(const struct ht__model *model)
{
    return model->checkpoint->n_files ? model->checkpoint->files[0].path : "model";
}

/* That context, or the model's where that is shorter. */
static enum ht_err read_context(struct ht__calibration *cal, const struct ht__log *log, const struct ht__model *model,
                                struct ht_diag *diag)
{
    struct ht__hparams hparams;
    int ctx = CONTEXT;
    HT_TRY(ht__hparams_read(model, name_of(model), &hparams, diag));
    if (cal->settings->n_ctx)
        ctx = (int)cal->settings->n_ctx;
    else if (hparams.n_ctx_train > 0 && hparams.n_ctx_train < CONTEXT)
        ctx = hparams.n_ctx_train;
    if (hparams.n_ctx_train > 0 && ctx > hparams.n_ctx_train)
        ht__log_printf(log, HT__LOG_WARNING, "%s was trained with contexts of %d tokens; chunks have %d",
                       name_of(model), hparams.n_ctx_train, ctx);
    cal->n_ctx = ctx;
    cal->n_vocab = hparams.n_vocab;
    cal->n_seqs = ht__engine_seqs(model, cal->n_ctx);
    return HT_OK;
}

static int32_t bos_of(const struct ht__kvs *kvs)
{
    uint64_t bos;
    const struct ht__kv *adds = ht__kv_get(kvs, "tokenizer.ggml.add_bos_token");
    bool wanted = adds && adds->type == HT__KV_BOOL && adds->u;
    return wanted && ht__kv_get_u64(kvs, "tokenizer.ggml.bos_token_id", &bos) && bos <= INT32_MAX ? (int32_t)bos : -1;
}

/* ---- the texts as tokens ---- */

/* One domain for each file, several for the built-in text. */
struct texts {
    struct ht__calibration *cal;
    const struct ht__log *log;
    struct ht__tokenizer *tokenizer; /* NULL: ids are given */
    int32_t n_vocab;
    struct ht_diag *diag;
    size_t n;
    struct ht__domain_text domains[HT__MOST_DOMAINS];
    struct ht__tokens ids[HT__MOST_DOMAINS];
};

static void close_texts(struct texts *t)
{
    for (size_t i = 0; i < t->n; i++)
        ht__tokens_close(&t->ids[i]);
    ht__tokenizer_close(&t->tokenizer);
}

static struct ht__tokens *add_domain(struct texts *t, const char *name, uint32_t weight)
{
    t->domains[t->n] = (struct ht__domain_text){.name = name, .weight = weight};
    ht__tokens_init(&t->ids[t->n], t->cal->alloc);
    return &t->ids[t->n++];
}

/* 32-bit ids, one after the other. */
static enum ht_err load_ids(struct texts *t, const char *path, const struct ht__model *model)
{
    struct ht__buf file;
    struct ht__tokens *ids = add_domain(t, path, 1);
    ht__buf_init(&file, t->cal->alloc);
    enum ht_err err = ht__file_load(path, LARGEST_TEXT, &file, t->diag);
    size_t n = file.len / sizeof *ids->ids;
    if (err == HT_OK && (n == 0 || file.len % sizeof *ids->ids != 0))
        err = ht__fail(t->diag, HT_ERR_FORMAT, path, (int64_t)file.len, "not a sequence of 32-bit token ids");
    if (err == HT_OK && !ht__tokens_reserve(ids, n)) err = ht__fail_memory(t->diag, path);
    if (err == HT_OK) {
        memcpy(ids->ids, file.data, file.len);
        ids->n = n;
    }
    ht__buf_close(&file);
    t->cal->bos = bos_of(&model->kvs);
    t->cal->dataset = path;
    return err;
}

static enum ht_err encode(const struct texts *t, const char *where, const struct ht__buf *text, bool lines,
                          struct ht__tokens *ids)
{
    struct ht__documents d = {.tokenizer = t->tokenizer, .alloc = t->cal->alloc, .log = t->log, .where = where};
    HT_TRY((lines ? ht__documents_lines : ht__documents_text)(&d, (const char *)text->data, text->len, ids, t->diag));
    return ids->failed ? ht__fail_memory(t->diag, where) : HT_OK;
}

static enum ht_err read_file(struct texts *t, const char *path, uint32_t weight)
{
    struct ht__buf text;
    struct ht__tokens *ids = add_domain(t, path, weight);
    ht__buf_init(&text, t->cal->alloc);
    enum ht_err err = ht__file_load(path, LARGEST_TEXT, &text, t->diag);
    if (err == HT_OK) err = encode(t, path, &text, ht__documents_are_lines(path), ids);
    ht__buf_close(&text);
    return err;
}

/* A domain of the built-in text; left out where a chunk is longer than it. */
static enum ht_err read_default(struct texts *t, const struct ht__default_domain *domain, uint32_t weight)
{
    struct ht__buf text;
    struct ht__tokens *ids = add_domain(t, domain->name, weight * domain->weight);
    ht__buf_init(&text, t->cal->alloc);
    enum ht_err err = ht__default_text(domain, &text, t->diag);
    if (err == HT_OK) err = encode(t, domain->name, &text, domain->lines, ids);
    ht__buf_close(&text);
    if (err || ids->n >= (size_t)t->cal->n_ctx) return err;
    ht__log_printf(t->log, HT__LOG_WARNING, "the built-in %s is left out: it has %zu tokens, and chunks have %d",
                   domain->name, ids->n, t->cal->n_ctx);
    ht__tokens_close(ids);
    t->n--;
    return HT_OK;
}

/* And windows of random tokens, which reach experts and columns that no text does. */
static enum ht_err read_defaults(struct texts *t, uint32_t weight)
{
    size_t before = t->n;
    for (size_t i = 0; i < HT__DEFAULT_DOMAINS; i++)
        HT_TRY(read_default(t, &ht__default_domains[i], weight));
    if (t->n == before)
        return ht__fail(t->diag, HT_ERR_USAGE, DEFAULT_DATASET, -1,
                        "it is shorter than a chunk of %d tokens (--ctx makes chunks shorter)", t->cal->n_ctx);
    (void)add_domain(t, "random tokens", weight * HT__DEFAULT_RANDOM_WEIGHT);
    return HT_OK;
}

static enum ht_err read_parts(struct texts *t)
{
    enum { HUNDREDTHS = 100 };
    const struct ht__calibration_settings *s = t->cal->settings;
    for (size_t i = 0; i < s->n_parts; i++) {
        const struct ht__calibration_part *part = &s->parts[i];
        HT_TRY(part->path ? read_file(t, part->path, part->weight * HUNDREDTHS) : read_defaults(t, part->weight));
    }
    return HT_OK;
}

static enum ht_err tokenize(struct texts *t, const struct ht__model *model)
{
    struct ht__calibration *cal = t->cal;
    HT_TRY(ht__tokenizer_open_model(model, name_of(model), cal->alloc, &t->tokenizer, t->diag));
    if (ht__tokenizer_adds_bos(t->tokenizer)) cal->bos = ht__tokenizer_bos(t->tokenizer);
    t->n_vocab = ht__tokenizer_size(t->tokenizer);
    if (cal->n_vocab > 0 && cal->n_vocab < t->n_vocab) t->n_vocab = cal->n_vocab;
    return read_parts(t);
}

/* ---- the texts as chunks ---- */

static bool is_text(const void *ctx, int32_t id)
{
    return !ht__tokenizer_is_control(ctx, id);
}

static bool random_window(const void *ctx, uint64_t seed, int32_t *ids, size_t n)
{
    const struct texts *t = ctx;
    return ht__random_tokens(seed, t->n_vocab, is_text, t->tokenizer, ids, n);
}

static bool is_lone_file(const struct ht__calibration_settings *s)
{
    return s->tokens || (s->n_parts == 1 && s->parts[0].path);
}

static bool is_default(const struct ht__calibration_settings *s)
{
    return !s->tokens && s->n_parts == 1 && !s->parts[0].path;
}

/* Chunks to take: of the built-in text alone as many as are needed, if no number is given. */
static size_t most_chunks(const struct ht__calibration *cal)
{
    const struct ht__calibration_settings *s = cal->settings;
    if (s->n_chunks != UINT32_MAX || !is_default(s)) return s->n_chunks;
    int tokens = s->for_codes ? CODES_TOKENS : IMPORTANCE_TOKENS;
    return cal->n_ctx < tokens ? (size_t)(tokens / cal->n_ctx) : 1;
}

static enum ht_err cut(struct texts *t)
{
    struct ht__calibration *cal = t->cal;
    const struct ht__calibration_settings *s = cal->settings;
    struct ht__windows_params params = {.texts = t->domains,
                                        .n_texts = t->n,
                                        .n_ctx = cal->n_ctx,
                                        .from = s->from_chunk,
                                        .most = most_chunks(cal),
                                        .seed = s->seed ? s->seed : SEED,
                                        .in_order = s->seed == 0 && is_lone_file(s),
                                        .random = random_window,
                                        .ctx = t};
    for (size_t i = 0; i < t->n; i++) {
        t->domains[i].ids = t->ids[i].ids;
        t->domains[i].n_ids = t->ids[i].n;
    }
    HT_TRY(ht__windows_mix(&cal->windows, &params, cal->alloc, t->diag));
    const struct ht__windows *w = &cal->windows;
    if (w->ended != SIZE_MAX && !is_lone_file(s))
        ht__log_printf(t->log, HT__LOG_INFO, "%zu chunks of %d tokens: %s has no more text for its weight", w->n,
                       w->n_ctx, w->domains[w->ended].name);
    if ((size_t)cal->n_seqs > w->n) cal->n_seqs = (int)w->n;
    return HT_OK;
}

enum ht_err ht__calibration_open(struct ht__calibration *cal, const struct ht__calibration_settings *settings,
                                 const struct ht__run *run, const struct ht__model *model, struct ht_diag *diag)
{
    *cal = (struct ht__calibration){.alloc = run->alloc, .settings = settings, .bos = -1};
    struct texts texts = {.cal = cal, .log = run->log, .diag = diag};
    cal->dataset = is_default(settings) ? DEFAULT_DATASET : settings->text;
    HT_TRY(read_context(cal, run->log, model, diag));
    enum ht_err err = settings->tokens ? load_ids(&texts, settings->tokens, model) : tokenize(&texts, model);
    if (err == HT_OK) err = cut(&texts);
    close_texts(&texts);
    return err;
}

void ht__calibration_close(struct ht__calibration *cal)
{
    ht__windows_close(&cal->windows);
}

enum ht_err ht__calibration_identity(const struct ht__calibration *cal, const struct ht__model *model, char hex[65],
                                     struct ht_diag *diag)
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
    int n = snprintf(line, sizeof line, "%zu chunks of %d in groups, bos %d, output %d\n", cal->windows.n, cal->n_ctx,
                     cal->bos, cal->settings->process_output);
    ht__sha256_add(&sha, line, n > 0 ? (size_t)n : 0);
    ht__sha256_add(&sha, cal->windows.tokens, cal->windows.n * (size_t)cal->n_ctx * sizeof *cal->windows.tokens);
    ht__sha256_end(&sha, hex);
    return hex[0] ? HT_OK : ht__fail_memory(diag, "importance");
}

enum ht_err ht__calibration_text_identity(const struct ht__calibration *cal, const struct ht__model *model,
                                          char hex[65], struct ht_diag *diag)
{
    struct ht__sha256 sha;
    char line[200];
    HT_TRY(ht__fingerprint(model, hex, diag));
    ht__sha256_begin(&sha);
    int n = snprintf(line, sizeof line, "%s %.64s: %zu chunks of %d, bos %d, output %d\n", HT_VERSION, hex,
                     cal->windows.n, cal->n_ctx, cal->bos, cal->settings->process_output);
    ht__sha256_add(&sha, line, (size_t)n);
    ht__sha256_add(&sha, cal->windows.tokens, cal->windows.n * (size_t)cal->n_ctx * sizeof *cal->windows.tokens);
    ht__sha256_end(&sha, hex);
    return hex[0] ? HT_OK : ht__fail_memory(diag, "importance");
}

/* ---- running ---- */

struct collecting {
    struct ht__calibration *cal;
    const struct ht__run *run;
    const struct ht__model *model;
    const struct ht__calibration_watch *watch;
    struct ht__engine *engine; /* from the first group on that is run */
    struct ht__importance *imp;
    struct ht__progress progress;
    size_t from, group; /* the first group, and that at hand */
};

static size_t chunk_of(const struct collecting *c, size_t group)
{
    return ht__group_begin(c->cal->windows.n, group);
}

static void tell(void *ctx, uint64_t tokens)
{
    struct collecting *c = ctx;
    uint64_t before = (chunk_of(c, c->group) - chunk_of(c, c->from)) * (uint64_t)c->cal->n_ctx;
    (void)ht__progress_tell(&c->progress, before + tokens, ""); /* the engine looks at the run's cancellation itself */
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

enum ht_err ht__calibration_memory(const struct ht__calibration *cal, const struct ht__run *run,
                                   const struct ht__model *model, uint64_t *total, uint64_t *matrices,
                                   struct ht_diag *diag)
{
    uint64_t besides, sums = 0;
    struct ht__engine_use use = {.n_threads = run->n_threads ? run->n_threads : ht__core_count(),
                                 .n_ctx = cal->n_ctx,
                                 .n_seqs = cal->n_seqs,
                                 .n_batch = cal->n_seqs * cal->n_ctx,
                                 .n_models = 1,
                                 .text_bytes = cal->windows.n * (size_t)cal->n_ctx * sizeof *cal->windows.tokens};
    HT_TRY(ht__engine_besides(model, &use, &besides, diag));
    for (size_t i = 0; i < model->n_weights; i++)
        sums += (uint64_t)model->weights[i].ne[0] * (uint64_t)model->weights[i].ne[2];
    besides += ht__checkpoint_memory(model->checkpoint) + model->arena.total + sums * 2 * sizeof(double);
    struct ht__engine_need need = ht__engine_need(model, NULL);
    if (cal->one_layer) need.least = need.one;
    ht__engine_fit(ht__memory_limit(run), besides, &need, total, matrices);
    return HT_OK;
}

enum ht_err ht__calibration_engine(const struct ht__calibration *cal, const struct ht__run *run,
                                   const struct ht__model *model, struct ht__engine **engine, struct ht_diag *diag)
{
    struct ht__engine_params params = {
        .n_ctx = cal->n_ctx,
        .n_seqs = cal->n_seqs,
        .n_batch = cal->n_seqs * cal->n_ctx,
        .n_threads = run->n_threads,
        .memory = run->memory ? run->memory : memory_for(model),
        .spill_dir = cal->settings->layer_cache,
        .cancelled = run->cancelled,
        .name = name_of(model),
    };
    uint64_t total;
    if (cal->settings->within) HT_TRY(ht__calibration_memory(cal, run, model, &total, &params.memory, diag));
    return ht__engine_open(model, &params, run->alloc, engine, diag);
}

static enum ht_err open_engine(struct collecting *c, struct ht_diag *diag)
{
    const struct ht__windows *w = &c->cal->windows;
    if (c->engine) return HT_OK;
    HT_TRY(ht__calibration_engine(c->cal, c->run, c->model, &c->engine, diag));
    return ht__engine_check_tokens(c->engine, c->cal->dataset, w->tokens, w->n * (size_t)c->cal->n_ctx, diag);
}

static enum ht_err run_group(struct collecting *c, struct ht__importance *sums, struct ht_diag *diag)
{
    size_t first = chunk_of(c, c->group);
    struct ht__sums_state ignored;
    struct ht__collect_params params = {
        .tokens = c->cal->windows.tokens + first * (size_t)c->cal->n_ctx,
        .n_chunks = chunk_of(c, c->group + 1) - first,
        .n_ctx = c->cal->n_ctx,
        .n_seqs = c->cal->n_seqs,
        .bos = c->cal->bos,
        .tell = tell,
        .ctx = c,
    };
    HT_TRY(open_engine(c, diag));
    HT_TRY(ht__collect(c->engine, sums, &params, &ignored, diag));
    return c->watch && c->watch->keep ? c->watch->keep(c->watch->ctx, c->group, sums, diag) : HT_OK;
}

static enum ht_err one_group(struct collecting *c, struct ht_diag *diag)
{
    struct ht__importance sums;
    bool known = false;
    HT_TRY(ht__importance_open(&sums, c->run->n_threads, c->run->alloc, diag));
    sums.process_output = c->imp->process_output;
    enum ht_err err = c->watch && c->watch->take ? c->watch->take(c->watch->ctx, c->group, &sums, &known, diag) : HT_OK;
    if (err == HT_OK && !known) err = run_group(c, &sums, diag);
    if (err == HT_OK) err = ht__importance_add_group(c->imp, &sums, diag);
    ht__importance_close(&sums);
    return err;
}

static enum ht_err all_groups(struct collecting *c, size_t to, struct ht__sums_state *state, struct ht_diag *diag)
{
    for (c->group = c->from + state->passes; c->group < to; c->group++) {
        tell(c, 0);
        HT_TRY(one_group(c, diag));
        state->passes++;
        if (c->watch && c->watch->done) HT_TRY(c->watch->done(c->watch->ctx, state->passes, diag));
    }
    return HT_OK;
}

enum ht_err ht__calibration_run(struct ht__calibration *cal, const struct ht__run *run, const struct ht__model *model,
                                struct ht__importance *imp, struct ht__sums_state *state,
                                const struct ht__calibration_watch *watch, struct ht_diag *diag)
{
    struct collecting c = {.cal = cal, .run = run, .model = model, .watch = watch, .imp = imp};
    size_t to = watch && watch->to ? watch->to : ht__groups_of(cal->windows.n);
    c.from = watch ? watch->from : 0;
    ht__progress_begin(&c.progress, run, "calibrate", "tokens",
                       (chunk_of(&c, to) - chunk_of(&c, c.from)) * (uint64_t)cal->n_ctx);
    enum ht_err err = all_groups(&c, to, state, diag);
    if (c.engine) cal->layers = ht__engine_stats(c.engine);
    ht__engine_close(&c.engine);
    return err;
}

/* ---- experts without data ---- */

static void warn_of(const struct ht__log *log, const struct ht__sums *s)
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
        ht__log_printf(log, HT__LOG_WARNING,
                       "%s: no token reached %zu of %" PRIu64 " experts (%s); all of their columns get importance 1",
                       s->name, n, s->n_counts, list);
}

void ht__calibration_warn(const struct ht__log *log, const struct ht__importance *imp)
{
    for (size_t i = 0; i < imp->n; i++) {
        struct ht__sums s = ht__importance_at(imp, i);
        if (s.n_counts > 1) warn_of(log, &s);
    }
}
