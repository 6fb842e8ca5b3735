#include "job/recommend.h"

#include "base/json.h"
#include "job/fit.h"
#include "job/hub.h"
#include "job/space.h"
#include "recipe/gpus.h"
#include "recipe/quality.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where the model is to run. */
struct place {
    const struct ht__gpu *gpu; /* NULL: the machine's memory alone */
    uint64_t gpus, memory;     /* cards; bytes of all that must hold the model */
    uint64_t ram;              /* bytes beside the cards; 0: not told */
};

struct option {
    const struct ht__plan_output *output;
    const struct ht__quality *quality;
    struct ht__fit_need need; /* of the memory that counts: the cards', or the machine's */
    uint64_t beside;          /* bytes of weights in the machine's memory when all layers are on the cards */
    uint64_t active;          /* bytes that are read for one token, the cache apart */
    bool fits;
    uint64_t layers; /* on the cards, where not all fit; from the last */
    uint64_t rest;   /* bytes in the machine's memory then, with their margin */
};

struct choice {
    const struct ht__plan *plan;
    struct ht__fit_shape shape;
    const struct ht__codec *cache_type;
    uint64_t ctx;
    struct place place;
    struct option options[64]; /* best first */
    size_t n, best;            /* best == n: none fits */
};

static enum ht_err read_place(const struct ht__options *o, struct place *p, struct ht_diag *diag)
{
    uint64_t memory = 0;
    *p = (struct place){.gpus = 1};
    if (o->memory) HT_TRY(ht__parse_size("memory", o->memory, &memory, diag));
    if (o->memory && !memory) return ht__fail(diag, HT_ERR_USAGE, "memory", -1, "no memory at all holds no model");
    if (o->gpu_count) HT_TRY(ht__parse_count("gpu-count", o->gpu_count, 1, 64, &p->gpus, diag));
    if (!o->gpu) {
        if (o->gpu_count) return ht__fail(diag, HT_ERR_USAGE, "gpu-count", -1, "of which card? --gpu NAME says it");
        p->memory = memory ? memory : ht__machine_memory();
        return HT_OK;
    }
    HT_TRY(ht__gpu_by_name(o->gpu, &p->gpu, diag));
    if (!p->gpu->memory && !memory)
        return ht__fail(diag, HT_ERR_USAGE, "memory", -1,
                        "%s comes with memory of several sizes: --memory SIZE says which", p->gpu->name);
    p->memory = ht__gpu_share(p->gpu, memory) * p->gpus;
    p->ram = p->gpu->memory ? memory : 0;
    return HT_OK;
}

static uint64_t weight_bytes(const struct ht__plan_output *o, size_t w)
{
    return o->files[o->places[w].file].entries[o->places[w].entry].n_bytes;
}

static bool has_output_matrix(const struct ht__model *m)
{
    for (size_t i = 0; i < m->n_weights; i++)
        if (strcmp(m->weights[i].name, "output.weight") == 0) return true;
    return false;
}

/* The layer that a weight is of, or -1. */
static long layer_of(const struct ht__weight *w)
{
    return strncmp(w->name, "blk.", 4) == 0 ? strtol(w->name + 4, NULL, 10) : -1;
}

struct bytes {
    uint64_t all, embedding, apart; /* apart: neither embedding nor of a layer */
    uint64_t active;
    uint64_t layers[HT__FIT_LAYERS];
};

static void count_bytes(const struct choice *c, const struct ht__plan_output *o, struct bytes *b)
{
    const struct ht__model *m = c->plan->model;
    bool untied = has_output_matrix(m);
    memset(b, 0, sizeof *b);
    for (size_t i = 0; i < m->n_weights; i++) {
        const struct ht__weight *w = &m->weights[i];
        uint64_t n = weight_bytes(o, i);
        long layer = layer_of(w);
        bool embedding = untied && strcmp(w->name, "token_embd.weight") == 0;
        bool experts = strstr(w->name, "_exps.") && c->shape.experts;
        b->all += n;
        if (embedding)
            b->embedding += n; /* a row of it is read for a token */
        else
            b->active += experts ? n / c->shape.experts * c->shape.experts_used : n;
        if (layer >= 0 && layer < HT__FIT_LAYERS)
            b->layers[layer] += n;
        else if (!embedding)
            b->apart += n;
    }
}

static uint64_t with_margin(uint64_t n)
{
    return n + n / 5;
}

/* Layers go to the cards from the last, and what stands after them first, as llama.cpp puts them. */
static void count_layers(const struct choice *c, const struct bytes *b, struct option *o)
{
    uint64_t used = o->need.overhead, left = b->all + o->need.cache;
    for (uint64_t i = c->shape.n_layers; i-- > 0;) {
        uint64_t more = b->layers[i] + ht__fit_cache_of_layer(&c->shape, i, c->ctx, c->cache_type);
        if (with_margin(used + more) > c->place.memory) break;
        used += more;
        left -= more;
        o->layers++;
    }
    o->rest = with_margin(left + o->need.overhead);
}

static void weigh(struct choice *c, struct option *o, struct bytes *b)
{
    bool card = c->place.gpu && c->place.gpu->memory;
    count_bytes(c, o->output, b);
    o->beside = card ? b->embedding : 0;
    o->active = b->active;
    o->need = ht__fit_need(&c->shape, b->all - o->beside, c->ctx, c->cache_type);
    o->need.overhead *= c->place.gpus; /* each card has buffers of its own */
    o->need.total = o->need.weights + o->need.cache + o->need.overhead;
    o->need.with_margin = with_margin(o->need.total);
    o->fits = o->need.with_margin <= c->place.memory;
    if (!o->fits && card) count_layers(c, b, o);
}

static enum ht_err weigh_all(struct choice *c, struct ht_diag *diag)
{
    const struct ht__plan *plan = c->plan;
    struct bytes *b = ht__new(plan->job->alloc, sizeof *b);
    if (!b) return ht__fail_memory(diag, "recommend");
    for (size_t q = 0; ht__quality_at(q); q++)
        for (size_t i = 0; i < plan->n_outputs; i++) {
            if (plan->outputs[i].refused || strcmp(plan->outputs[i].mix->name, ht__quality_at(q)->mix) != 0)
                continue;
            c->options[c->n] = (struct option){.output = &plan->outputs[i], .quality = ht__quality_at(q)};
            weigh(c, &c->options[c->n++], b);
        }
    ht__free(plan->job->alloc, b);
    for (c->best = 0; c->best < c->n && !c->options[c->best].fits;)
        c->best++;
    return HT_OK;
}

static void put_str(struct ht__buf *out, const char *key, const char *text)
{
    ht__buf_printf(out, "\"%s\": ", key);
    ht__json_quote(out, text, strlen(text));
    ht__buf_str(out, ", ");
}

/* An upper bound: weights and cache are read once for each token, and nothing else costs time. */
static void put_speed(struct ht__buf *out, const struct choice *c, const struct option *o)
{
    if (c->place.gpu && o->fits)
        ht__buf_printf(out, ", \"tokens_per_second_at_most\": %.3g",
                       (double)c->place.gpu->bandwidth / (double)(o->active + o->need.cache));
}

static void put_option(struct ht__buf *out, const struct choice *c, const struct option *o)
{
    const struct ht__plan_output *p = o->output;
    uint64_t bytes = o->need.weights + o->beside;
    ht__buf_str(out, "{");
    put_str(out, "type", p->mix->name);
    put_str(out, "hint", ht__quality_hint(p->mix));
    ht__buf_printf(
        out,
        "\"size_bytes\": %llu, \"bits_per_weight\": %.4f, \"with_importance\": %s, "
        "\"measured\": {\"divergence\": %g, \"same_top_token\": %g}, "
        "\"run_memory\": {\"ctx\": %llu, \"cache_type\": \"%s\", \"weights_bytes\": %llu, \"kv_cache_bytes\": "
        "%llu, "
        "\"overhead_bytes\": %llu, \"total_bytes\": %llu, \"with_margin_bytes\": %llu}, \"beside_gpu_bytes\": "
        "%llu, ",
        (unsigned long long)p->size, c->plan->n_weights ? (double)bytes * 8 / (double)c->plan->n_weights : 0,
        p->with_importance ? "true" : "false", o->quality->divergence, o->quality->same, (unsigned long long)c->ctx,
        c->cache_type->name, (unsigned long long)o->need.weights, (unsigned long long)o->need.cache,
        (unsigned long long)o->need.overhead, (unsigned long long)o->need.total,
        (unsigned long long)o->need.with_margin, (unsigned long long)o->beside);
    ht__buf_printf(out, "\"fits\": %s, \"missing_bytes\": %llu", o->fits ? "true" : "false",
                   (unsigned long long)(o->fits ? 0 : o->need.with_margin - c->place.memory));
    if (!o->fits && c->place.gpu && c->place.gpu->memory)
        ht__buf_printf(out, ", \"offload\": {\"gpu_layers\": %llu, \"layers\": %llu, \"ram_bytes\": %llu}",
                       (unsigned long long)o->layers, (unsigned long long)c->shape.n_layers,
                       (unsigned long long)o->rest);
    put_speed(out, c, o);
    ht__buf_str(out, "}");
}

static void put_member(struct ht__buf *out, const char *key, const struct choice *c, size_t i)
{
    ht__buf_printf(out, "\"%s\": ", key);
    if (i < c->n)
        put_option(out, c, &c->options[i]);
    else
        ht__buf_str(out, "null");
    ht__buf_str(out, ", ");
}

/* A type that loses more and is no smaller is nobody's choice. */
static size_t next_smaller(const struct choice *c, size_t from)
{
    size_t i = from + 1;
    while (i < c->n && c->options[i].output->size >= c->options[from].output->size)
        i++;
    return i;
}

static size_t next_better(const struct choice *c)
{
    return c->best > 0 ? c->best - 1 : c->n;
}

static void put_sentence(struct ht__buf *out, bool *first, const char *fmt, ...) HT_PRINTF(3, 4);
static void put_sentence(struct ht__buf *out, bool *first, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!*first) ht__buf_str(out, ", ");
    *first = false;
    ht__json_quote(out, text, strlen(text));
}

static void put_why_best(struct ht__buf *out, const struct choice *c, bool *first)
{
    const struct option *o = &c->options[c->best];
    size_t better = next_better(c);
    put_sentence(out, first,
                 "%s takes %.2f GB at %llu tokens (weights %.2f, cache %.2f, buffers %.2f), %.2f GB with a fifth "
                 "to spare, of %.2f GB",
                 o->output->mix->name, (double)o->need.total / 1e9, (unsigned long long)c->ctx,
                 (double)o->need.weights / 1e9, (double)o->need.cache / 1e9, (double)o->need.overhead / 1e9,
                 (double)o->need.with_margin / 1e9, (double)c->place.memory / 1e9);
    put_sentence(out, first,
                 "in our measurements it lost %g nats a token, and %.1f %% of the likeliest tokens stayed the same",
                 o->quality->divergence, o->quality->same * 100);
    if (better < c->n)
        put_sentence(out, first, "%s, the next better, lacks %.2f GB", c->options[better].output->mix->name,
                     (double)(c->options[better].need.with_margin - c->place.memory) / 1e9);
    else
        put_sentence(out, first, "no type that is measured loses less");
    if (o->output->with_importance)
        put_sentence(out, first, "it is to be made with importance: --imatrix FILE or --calibration default");
    if (o->quality->divergence > .03)
        put_sentence(out, first, "so few bits lose much: a smaller model in more bits is likely to be better");
}

/* The largest type up to Q4_K_M that can be run partly on the card: below it, speed is bought dearly. */
static size_t offloadable(const struct choice *c)
{
    size_t i = 0;
    while (i < c->n &&
           (strcmp(c->options[i].output->mix->name, "Q4_K_M") != 0 && c->options[i].quality->divergence < .0027))
        i++;
    while (i < c->n && (c->options[i].layers == 0 || (c->place.ram && c->options[i].rest > c->place.ram)))
        i++;
    return i;
}

static void put_why_none(struct ht__buf *out, const struct choice *c, bool *first)
{
    size_t i = c->place.gpu && c->place.gpu->memory ? offloadable(c) : c->n;
    if (c->n == 0) {
        put_sentence(out, first, "this model cannot be quantized in any of the types: %s",
                     c->plan->n_outputs && c->plan->outputs[0].refused ? c->plan->outputs[0].refused
                                                                       : "none is known");
        return;
    }
    const struct option *last = &c->options[c->n - 1];
    put_sentence(out, first, "not even %s fits: it lacks %.2f GB of %.2f GB", last->output->mix->name,
                 (double)(last->need.with_margin - c->place.memory) / 1e9, (double)c->place.memory / 1e9);
    if (i < c->n)
        put_sentence(out, first,
                     "%s with %llu of %llu layers on the card needs %.2f GB of the machine's memory beside it",
                     c->options[i].output->mix->name, (unsigned long long)c->options[i].layers,
                     (unsigned long long)c->shape.n_layers, (double)c->options[i].rest / 1e9);
    if (c->ctx > 1024)
        put_sentence(out, first, "a shorter context (--ctx) or a smaller cache (--cache-type q8_0) takes less");
}

static void put_place(struct ht__buf *out, const struct place *p)
{
    ht__buf_str(out, "\"place\": {");
    if (p->gpu) {
        put_str(out, "gpu", p->gpu->name);
        ht__buf_printf(out, "\"gpu_count\": %llu, \"bandwidth_bytes_per_second\": %llu, ",
                       (unsigned long long)p->gpus, (unsigned long long)p->gpu->bandwidth);
    }
    if (p->ram) ht__buf_printf(out, "\"ram_bytes\": %llu, ", (unsigned long long)p->ram);
    ht__buf_printf(out, "\"memory_bytes\": %llu}, ", (unsigned long long)p->memory);
}

static void put_answer(struct ht__buf *out, const struct choice *c)
{
    bool first = true;
    ht__buf_str(out, "{\"source\": {");
    put_str(out, "path", c->plan->job->options.source);
    put_str(out, "architecture", c->plan->model->arch);
    ht__buf_printf(out, "\"parameters\": %llu, \"context_length\": %llu}, ", (unsigned long long)c->plan->n_weights,
                   (unsigned long long)c->shape.n_ctx_train);
    put_place(out, &c->place);
    put_member(out, "recommended", c, c->best);
    put_member(out, "next_better", c, c->best < c->n ? next_better(c) : c->n);
    put_member(out, "next_smaller", c, c->best < c->n ? next_smaller(c, c->best) : c->n);
    put_member(out, "offload", c, c->best < c->n || !c->place.gpu || !c->place.gpu->memory ? c->n : offloadable(c));
    ht__buf_str(out, "\"reasons\": [");
    if (c->best < c->n)
        put_why_best(out, c, &first);
    else
        put_why_none(out, c, &first);
    if (c->ctx > c->shape.n_ctx_train)
        put_sentence(out, &first, "the model was trained on %llu tokens: beyond them it may lose the thread",
                     (unsigned long long)c->shape.n_ctx_train);
    ht__buf_str(out, "], \"types\": [");
    for (size_t i = 0; i < c->n; i++) {
        if (i) ht__buf_str(out, ", ");
        put_option(out, c, &c->options[i]);
    }
    ht__buf_str(out, "], \"not_possible\": [");
    first = true;
    for (size_t i = 0; i < c->plan->n_outputs; i++) {
        if (!c->plan->outputs[i].refused) continue;
        ht__buf_str(out, first ? "{" : ", {");
        put_str(out, "type", c->plan->outputs[i].mix->name);
        ht__buf_str(out, "\"reason\": ");
        ht__json_quote(out, c->plan->outputs[i].refused, strlen(c->plan->outputs[i].refused));
        ht__buf_str(out, "}");
        first = false;
    }
    ht__buf_str(out, "]}");
}

static enum ht_err answer(struct choice *c, char **json, struct ht_diag *diag)
{
    const struct ht__options *o = &c->plan->job->options;
    struct ht__buf buf;
    HT_TRY(ht__fit_shape(c->plan->model, &c->shape, diag));
    c->ctx = ht__fit_default_ctx(&c->shape);
    if (o->ctx) HT_TRY(ht__parse_count("ctx", o->ctx, 1, HT__FIT_MOST_CTX, &c->ctx, diag));
    HT_TRY(weigh_all(c, diag));
    ht__buf_init(&buf, c->plan->job->alloc);
    put_answer(&buf, c);
    const char *text = ht__buf_text(&buf);
    if (!buf.failed) *json = strdup(text);
    ht__buf_close(&buf);
    return *json ? HT_OK : ht__fail_memory(diag, "recommend");
}

/* Every measured mix as a type of the job's, for as long as the plan is made. */
static enum ht_err open_survey(struct ht_job *job, struct ht__plan **plan, struct ht_diag *diag)
{
    const char *names[64];
    struct ht__list types = {names, 0, 64}, given = job->options.type;
    struct ht__log log = job->log;
    for (; ht__quality_at(types.n) && types.n < types.cap; types.n++)
        names[types.n] = ht__quality_at(types.n)->mix;
    job->options.type = types;
    job->log.line = NULL; /* a warning for each of two dozen mixes helps nobody */
    job->survey = job->rehearsal = job->estimating = true;
    enum ht_err err = ht__plan_open(job, plan, diag);
    job->survey = job->rehearsal = job->estimating = false;
    job->log = log;
    job->options.type = given;
    return err;
}

enum ht_err ht__job_recommend(struct ht_job *job, char **json, struct ht_diag *diag)
{
    *json = NULL;
    struct choice *c = ht__new(job->alloc, sizeof *c);
    struct ht__plan *plan = NULL;
    if (!c) return ht__fail_memory(diag, "recommend");
    enum ht_err err = read_place(&job->options, &c->place, diag);
    if (err == HT_OK) err = ht__fit_cache_type(job->options.cache_type, &c->cache_type, diag);
    if (err == HT_OK) err = ht__hub_source(job, true, diag);
    if (err == HT_OK) err = open_survey(job, &plan, diag);
    c->plan = plan;
    if (err == HT_OK) err = answer(c, json, diag);
    ht__plan_close(&plan);
    ht__free(job->alloc, c);
    return err;
}
