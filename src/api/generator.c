/* Text from a model, from a program. */
#include "api/generator.h"
#include "base/file.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CONTEXT = 4096, DEFAULT_TOKENS = 256, MAX_TEMPLATE = 4 << 20 };

/* ---- opening ------------------------------------------------------------------------------------ */

enum ht_err ht_model_generator(struct ht_model *model, struct ht_generator **generator, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (generator) *generator = NULL;
    if (!model || !generator) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no model or no place for the generator");
    struct ht_generator *g = ht__new(model->alloc, sizeof *g);
    if (!g) return ht__fail_memory(diag, "generator");
    g->alloc = model->alloc;
    g->model = model;
    g->sampling = ht__sampler_defaults();
    g->max_tokens = DEFAULT_TOKENS;
    g->engine.fast = true;
    g->engine.cancelled = &g->cancelled;
    g->options_changed = true;
    ht__buf_init(&g->answer, g->alloc);
    enum ht_err err = ht__handle_text(model, &g->text, diag);
    if (err) ht_generator_close(&g);
    *generator = g;
    return err;
}

enum ht_err ht_generator_open(const char *path, struct ht_generator **generator, struct ht_diag *diag)
{
    struct ht_model *model;
    ht__diag_clear(diag);
    if (generator) *generator = NULL;
    if (!path || !generator) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no path or no place for the generator");
    HT_TRY(ht_model_open_with(path, NULL, &model, diag));
    enum ht_err err = ht_model_generator(model, generator, diag);
    if (err)
        ht_model_close(&model);
    else
        (*generator)->owns_model = true;
    return err;
}

void ht_generator_close(struct ht_generator **generator)
{
    if (!generator || !*generator) return;
    struct ht_generator *g = *generator;
    const struct ht__alloc *alloc = g->alloc;
    struct ht_model *own = g->owns_model ? g->model : NULL;
    ht__generator_close(&g->generator);
    for (size_t i = 0; i < g->n_stops; i++)
        ht__free(alloc, g->stops[i]);
    ht__free(alloc, g->stops);
    ht__conversation_close(g);
    ht__free(alloc, g);
    ht_model_close(&own);
    *generator = NULL;
}

/* The weights come with the first prompt: a wrong option or prompt is told before they are read. */
static enum ht_err open_engine(struct ht_generator *g, struct ht_diag *diag)
{
    if (g->generator) return HT_OK;
    struct ht__hparams *hparams;
    HT_TRY(ht__handle_hparams(g->model, &hparams, diag));
    g->trained_context = hparams->n_ctx_train;
    ht__free(g->alloc, hparams);
    if (g->engine.n_ctx == 0)
        g->engine.n_ctx = g->trained_context < DEFAULT_CONTEXT ? g->trained_context : DEFAULT_CONTEXT;
    g->engine.name = ht__handle_name(g->model);
    return ht__generator_open(g->model->model, g->text, &g->engine, g->alloc, &g->generator, diag);
}

/* ---- options ------------------------------------------------------------------------------------ */

static const struct ht_option_info options[] = {
#define HT_OPT(name_, kind_, group_, metavar_, help_)                                                                  \
    {.name = name_,                                                                                                    \
     .kind = HT_OPTION_##kind_,                                                                                        \
     .verbs = "generate run",                                                                                          \
     .group = group_,                                                                                                  \
     .metavar = metavar_,                                                                                              \
     .help = help_},
#include "api/generator_options.def"
#undef HT_OPT
};

bool ht_generator_option_at(size_t index, struct ht_option_info *info)
{
    if (index >= sizeof options / sizeof options[0]) return false;
    *info = options[index];
    return true;
}

/* A decimal point is a point wherever the host program lives. */
static enum ht_err parse_number(const char *name, const char *text, double *number, struct ht_diag *diag)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    char *end = NULL;
    if (plain == (locale_t)0) return ht__fail_memory(diag, name);
    double value = strtod_l(text, &end, plain);
    freelocale(plain);
    if (end == text || *end) return ht__fail(diag, HT_ERR_USAGE, name, -1, "\"%s\" is not a number", text);
    *number = value;
    return HT_OK;
}

static enum ht_err set_count(const char *name, const char *text, uint64_t least, int *value, struct ht_diag *diag)
{
    uint64_t n;
    HT_TRY(ht__parse_count(name, text, least, INT32_MAX, &n, diag));
    *value = (int)n;
    return HT_OK;
}

char *ht__generator_copy(const struct ht_generator *g, const char *text, size_t len)
{
    char *copy = ht__resize(g->alloc, NULL, len + 1);
    if (!copy) return NULL;
    if (len) memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

static enum ht_err add_stop(struct ht_generator *g, const char *value, struct ht_diag *diag)
{
    char **grown = ht__resize(g->alloc, g->stops, (g->n_stops + 1) * sizeof *grown);
    if (!grown) return ht__fail_memory(diag, "stop");
    g->stops = grown;
    if (!(g->stops[g->n_stops] = ht__generator_copy(g, value, strlen(value)))) return ht__fail_memory(diag, "stop");
    g->n_stops++;
    return HT_OK;
}

static enum ht_err read_template(struct ht_generator *g, const char *path, struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, g->alloc);
    enum ht_err err = ht__file_load(path, MAX_TEMPLATE, &text, diag);
    char *copy = err ? NULL : ht__generator_copy(g, ht__buf_text(&text), text.len);
    if (!err && !copy) err = ht__fail_memory(diag, path);
    bool whole = copy && strlen(copy) == text.len;
    ht__buf_close(&text);
    if (!err && !whole) err = ht__fail(diag, HT_ERR_FORMAT, path, -1, "a template is text; this has a NUL");
    if (err) return ht__free(g->alloc, copy), err;
    ht__free(g->alloc, g->chat_template);
    g->chat_template = copy;
    return HT_OK;
}

/* HT_ERR_NOT_FOUND: no such option here. */
static enum ht_err set_sampling(struct ht_generator *g, const char *name, const char *value, struct ht_diag *diag)
{
    struct ht__sampler_params p = g->sampling;
    struct {
        const char *name;
        double *number;
        int *count;
    } slots[] = {{"temperature", &p.temperature, NULL},
                 {"top-k", NULL, &p.top_k},
                 {"top-p", &p.top_p, NULL},
                 {"min-p", &p.min_p, NULL},
                 {"repeat-last", NULL, &p.repeat_last},
                 {"repeat-penalty", &p.repeat_penalty, NULL}};
    if (strcmp(name, "seed") == 0) {
        HT_TRY(ht__parse_count(name, value, 0, UINT64_MAX - 1, &p.seed, diag)); /* a larger one reads as UINT64_MAX */
        return g->sampling = p, HT_OK;
    }
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        if (strcmp(name, slots[i].name) != 0) continue;
        HT_TRY(slots[i].number ? parse_number(name, value, slots[i].number, diag)
                               : set_count(name, value, 0, slots[i].count, diag));
        HT_TRY(ht__sampler_check(&p, diag));
        return g->sampling = p, HT_OK;
    }
    return HT_ERR_NOT_FOUND;
}

static enum ht_err set_engine(struct ht_generator *g, const char *name, const char *value, struct ht_diag *diag)
{
    static const char *const names[] = {"ctx", "threads", "memory", "exact"};
    int which = 0;
    while (which < 4 && strcmp(name, names[which]) != 0)
        which++;
    if (which == 4) return HT_ERR_NOT_FOUND;
    struct ht__engine_params p = g->engine;
    switch (which) {
    case 0: HT_TRY(set_count(name, value, 1, &p.n_ctx, diag)); break;
    case 1: HT_TRY(set_count(name, value, 0, &p.n_threads, diag)); break;
    case 2: HT_TRY(ht__parse_size(name, value, &p.memory, diag)); break;
    default: p.fast = strcmp(value, "false") == 0;
    }
    HT_TRY(ht__conversation_pause(g, diag));
    ht__generator_close(&g->generator); /* the next prompt opens it again */
    g->engine = p;
    return HT_OK;
}

static const struct ht_option_info *find_option(const char *name)
{
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (strcmp(options[i].name, name) == 0) return &options[i];
    return NULL;
}

enum ht_err ht_generator_set(struct ht_generator *g, const char *name, const char *value, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!g || !name) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a generator and an option");
    const struct ht_option_info *option = find_option(name);
    if (!option) return ht__fail(diag, HT_ERR_USAGE, name, -1, "no such option");
    if (option->kind == HT_OPTION_FLAG && !value) value = "true";
    if (!value || !*value) return ht__fail(diag, HT_ERR_USAGE, name, -1, "expected a value");
    if (option->kind == HT_OPTION_FLAG && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return ht__fail(diag, HT_ERR_USAGE, name, -1, "expected true or false, got \"%s\"", value);
    g->options_changed = true;
    if (strcmp(name, "max-tokens") == 0) return ht__parse_count(name, value, 1, INT32_MAX, &g->max_tokens, diag);
    if (strcmp(name, "stop") == 0) return add_stop(g, value, diag);
    if (strcmp(name, "chat-template") == 0) return read_template(g, value, diag);
    enum ht_err err = set_sampling(g, name, value, diag);
    return err == HT_ERR_NOT_FOUND ? set_engine(g, name, value, diag) : err;
}

/* ---- prompts ------------------------------------------------------------------------------------ */

enum ht_err ht__generator_start(struct ht_generator *g, const struct ht__tokens *ids, unsigned flags,
                                struct ht_diag *diag)
{
    HT_TRY(open_engine(g, diag));
    atomic_store(&g->cancelled, false); /* a wish to end the text before this one, which had ended by itself */
    if (g->options_changed) {
        HT_TRY(ht__generator_sampling(g->generator, &g->sampling, diag));
        HT_TRY(ht__generator_stops(g->generator, (const char *const *)g->stops, g->n_stops, diag));
        g->options_changed = false;
    }
    return ht__generator_begin(g->generator, ids->ids, ids->n, (int)g->max_tokens, flags, diag);
}

static enum ht_err encode(const struct ht_generator *g, const char *text, size_t len, struct ht__tokens *ids,
                          struct ht_diag *diag)
{
    int32_t bos = ht__tokenizer_bos(g->text);
    bool put = bos >= 0 && ht__tokenizer_adds_bos(g->text);
    if (put) ht__tokens_put(ids, bos);
    HT_TRY(ht__tokenizer_encode(g->text, text, len, HT__TOKENIZER_PARSE_SPECIAL, ids, diag));
    if (ids->failed) return ht__fail_memory(diag, "prompt");
    if (put && ids->n > 1 && ids->ids[1] == bos) memmove(ids->ids, ids->ids + 1, --ids->n * sizeof *ids->ids);
    if (ids->n == 0 && bos >= 0) ht__tokens_put(ids, bos);
    return ids->failed ? ht__fail_memory(diag, "prompt") : HT_OK;
}

enum ht_err ht_generator_prompt(struct ht_generator *g, const char *text, size_t len, struct ht_diag *diag)
{
    struct ht__tokens ids;
    ht__diag_clear(diag);
    if (!g || (!text && len)) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a generator and a text");
    ht__tokens_init(&ids, g->alloc);
    enum ht_err err = encode(g, text ? text : "", len, &ids, diag);
    if (err == HT_OK) err = ht__generator_start(g, &ids, 0, diag);
    g->answering = false;
    ht__tokens_close(&ids);
    return err;
}

/* ---- what comes out ----------------------------------------------------------------------------- */

enum ht_err ht_generator_next(struct ht_generator *g, const char **text, size_t *len, struct ht_diag *diag)
{
    struct ht__str piece;
    ht__diag_clear(diag);
    if (!g || !text || !len || !g->generator)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a generator with a prompt and places for the text");
    enum ht_err err = ht__generator_next(g->generator, &piece, diag);
    if (err == HT_ERR_CANCELLED) atomic_store(&g->cancelled, false);
    if (err == HT_OK) err = ht__conversation_heard(g, piece, diag);
    *text = piece.text;
    *len = piece.len;
    return err;
}

void ht_generator_rest(struct ht_generator *g, const char **text, size_t *len)
{
    struct ht__str piece = {"", 0};
    if (g->generator) piece = ht__generator_rest(g->generator);
    if (g->generator && ht__conversation_heard(g, piece, NULL) != HT_OK) piece.len = 0;
    *text = piece.text;
    *len = piece.len;
}

void ht_generator_stats(const struct ht_generator *g, struct ht_generator_stats *stats)
{
    static const char *const reasons[] = {[HT__ENDED_BY_MODEL] = "end",
                                          [HT__ENDED_BY_STOP] = "stop",
                                          [HT__ENDED_BY_COUNT] = "length",
                                          [HT__ENDED_BY_CONTEXT] = "length"};
    *stats = (struct ht_generator_stats){.context = g->engine.n_ctx, .trained_context = g->trained_context};
    if (!g->generator) return;
    const struct ht__generator_stats *s = ht__generator_stats(g->generator);
    stats->prompt_tokens = s->n_prompt;
    stats->read_tokens = s->n_read;
    stats->new_tokens = s->n_new;
    stats->prompt_seconds = s->prompt_seconds;
    stats->seconds = s->seconds;
    stats->reason = s->ending == HT__GOING_ON ? NULL : reasons[s->ending];
    stats->context_full = s->ending == HT__ENDED_BY_CONTEXT;
}

void ht_generator_cancel(struct ht_generator *g)
{
    if (g) atomic_store_explicit(&g->cancelled, true, memory_order_relaxed);
}
