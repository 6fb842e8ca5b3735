#include "advise/recommend.h"

#include "base/text.h"
#include "advise/fit.h"
#include "advise/program.h"
#include "pipeline/plan.h"
#include "pipeline/space.h"
#include "advise/gpus.h"
#include "recipe/quality.h"

#include <stdarg.h>
#include <stdio.h>
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
    uint64_t stored;          /* bytes of weights in the files */
    uint64_t active;          /* bytes that are read for one token, the cache apart */
    bool unpacked;            /* the program holds the floats of all weights */
    bool fits;
    uint64_t layers; /* on the cards, where not all fit; from the last */
    uint64_t rest;   /* bytes in the machine's memory then, with their margin */
};

struct choice {
    const struct ht__plan *plan;
    struct ht__fit_shape shape;
    const struct ht__codec *cache_type;
    const struct ht__program *program;
    uint64_t ctx;
    struct place place;
    struct option options[64]; /* best first */
    size_t n, best;            /* best == n: none fits */
};

static struct place place_of(const struct ht__advice_settings *s)
{
    if (!s->gpu) return (struct place){.gpus = 1, .memory = s->memory ? s->memory : ht__machine_memory()};
    return (struct place){.gpu = s->gpu,
                          .gpus = s->n_gpus,
                          .memory = ht__gpu_share(s->gpu, s->memory) * s->n_gpus,
                          .ram = s->gpu->memory ? s->memory : 0};
}

/* As the program holds it. */
static uint64_t weight_bytes(const struct ht__plan_output *o, size_t item, bool unpacked)
{
    const struct ht__extent *entries = o->files[o->places[item].file].entries;
    const struct ht__packed *p = o->packed ? o->packed[item] : NULL;
    uint64_t bytes = 0, codes = 0;
    if (!p) return entries[o->places[item].entry].n_bytes;
    for (int i = 0; i < p->n_parts; i++) {
        uint64_t n = p->entry[i] != UINT32_MAX ? entries[p->entry[i]].n_bytes : 0;
        bytes += n;
        if (n > codes) codes = n;
    }
    if (!unpacked) return bytes;
    /* floats in place of the codes; the scales stay beside them */
    return bytes - codes + ht__codec_bytes(p->matrix.dtype, (uint64_t)p->matrix.n_in) * (uint64_t)p->matrix.n_out;
}

struct bytes {
    uint64_t all, embedding, apart; /* apart: neither embedding nor of a layer */
    uint64_t stored;                /* all, in the files */
    uint64_t largest;               /* of one packed matrix as floats of 16 bits */
    uint64_t active;
    uint64_t layers[HT__FIT_LAYERS];
};

static uint64_t as_floats(const struct ht__plan_output *o, size_t item)
{
    const struct ht__packed *p = o->packed ? o->packed[item] : NULL;
    uint64_t matrices = p && p->matrix.n_experts ? (uint64_t)p->matrix.n_experts : 1;
    return p ? 2 * (uint64_t)p->matrix.n_out / matrices * (uint64_t)p->matrix.n_in : 0;
}

static void count_bytes(const struct choice *c, const struct option *option, struct bytes *b)
{
    const struct ht__model *m = c->plan->model;
    const struct ht__plan_output *o = option->output;
    bool untied = ht__model_find(m, HT__ROLE_OUTPUT) != NULL;
    memset(b, 0, sizeof *b);
    for (size_t i = 0; i < c->plan->n_items; i++) {
        const struct ht__weight *w = ht__item_in(c->plan, o, i);
        if (!w) continue;
        uint64_t n = weight_bytes(o, i, option->unpacked);
        b->stored += weight_bytes(o, i, false);
        if (as_floats(o, i) > b->largest) b->largest = as_floats(o, i);
        int32_t layer = w->slot.layer;
        bool embedding = untied && ht__slot_is(w->slot, HT__ROLE_EMBEDDING);
        bool experts = ht__slot_of_experts(w->slot) && c->shape.experts;
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

/* As llama.cpp does: the output goes to the cards first, then the layers from the last one on. */
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
    bool card = c->place.gpu && c->place.gpu->memory && c->program->splits;
    const struct ht__scheme_params *scheme = o->output->target->scheme;
    o->unpacked = scheme && scheme->scheme->unpacked_by & c->program->loads;
    count_bytes(c, o, b);
    o->beside = card ? b->embedding : 0;
    o->active = b->active;
    o->stored = b->stored;
    const struct ht__program_load load = {b->all - o->beside, o->unpacked ? 0 : b->largest};
    o->need = c->program->need(&c->shape, &load, c->ctx, c->cache_type);
    o->need.overhead *= c->place.gpus; /* each card has buffers of its own */
    o->need.total = o->need.weights + o->need.cache + o->need.overhead;
    o->need.with_margin = with_margin(o->need.total);
    o->fits = o->need.with_margin <= c->place.memory;
    if (!o->fits && card) count_layers(c, b, o);
}

static const struct ht__quality *quality_of(const struct ht__plan_output *o)
{
    return o->mix ? ht__quality_of(o->mix) : ht__quality_of_scheme(o->target->scheme);
}

static enum ht_err weigh_all(struct choice *c, struct ht_diag *diag)
{
    const struct ht__plan *plan = c->plan;
    struct bytes *b = ht__new(plan->run.alloc, sizeof *b);
    if (!b) return ht__fail_memory(diag, "recommend");
    for (size_t q = 0; ht__quality_at(q); q++)
        for (size_t i = 0; i < plan->n_outputs; i++) {
            if (plan->outputs[i].refused || quality_of(&plan->outputs[i]) != ht__quality_at(q)) continue;
            c->options[c->n] = (struct option){.output = &plan->outputs[i], .quality = ht__quality_at(q)};
            weigh(c, &c->options[c->n++], b);
        }
    ht__free(plan->run.alloc, b);
    for (c->best = 0; c->best < c->n && !c->options[c->best].fits;)
        c->best++;
    return HT_OK;
}

static bool can_split(const struct choice *c)
{
    return c->place.gpu && c->place.gpu->memory && c->program->splits;
}

static void put_offload(struct ht__jw *w, const struct choice *c, const struct option *o)
{
    ht__jw_object(w, "offload");
    ht__jw_uint(w, "gpu_layers", o->layers);
    ht__jw_uint(w, "layers", c->shape.n_layers);
    ht__jw_uint(w, "ram_bytes", o->rest);
    ht__jw_end(w);
}

/* An upper bound: weights and cache are read once for each token, and nothing else costs time. */
static double speed(const struct choice *c, const struct option *o)
{
    return (double)c->place.gpu->bandwidth / (double)(o->active + o->need.cache);
}

static void put_option(struct ht__jw *w, const char *key, const struct choice *c, const struct option *o)
{
    const struct ht__plan_output *p = o->output;
    double bits = (double)o->stored * 8, weights = (double)c->plan->n_weights;
    ht__jw_object(w, key);
    ht__jw_str(w, "type", p->target->type);
    ht__jw_str(w, "hint", p->mix ? ht__quality_hint(p->mix) : p->target->scheme->scheme->about);
    ht__jw_uint(w, "size_bytes", p->size);
    ht__jw_fixed(w, "bits_per_weight", weights > 0 ? bits / weights : 0, 4);
    ht__jw_bool(w, "with_importance", p->with_importance);
    ht__quality_put(w, o->quality);
    ht__fit_put_need(w, &o->need, c->cache_type);
    ht__jw_bool(w, "unpacked", o->unpacked);
    ht__jw_uint(w, "beside_gpu_bytes", o->beside);
    ht__jw_bool(w, "fits", o->fits);
    ht__jw_uint(w, "missing_bytes", o->fits ? 0 : o->need.with_margin - c->place.memory);
    if (!o->fits && can_split(c)) put_offload(w, c, o);
    if (o->fits && c->place.gpu) ht__jw_digits(w, "tokens_per_second_at_most", speed(c, o), 3);
    ht__jw_end(w);
}

/* The i-th option; null past the last. */
static void put_chosen(struct ht__jw *w, const char *key, const struct choice *c, size_t i)
{
    if (i < c->n)
        put_option(w, key, c, &c->options[i]);
    else
        ht__jw_null(w, key);
}

/* A type that loses more than another and is no smaller is left out. */
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

static void put_sentence(struct ht__jw *w, const char *fmt, ...) HT_PRINTF(2, 3);
static void put_sentence(struct ht__jw *w, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    ht__jw_str(w, NULL, text);
}

static void put_why_best(struct ht__jw *w, const struct choice *c)
{
    const struct option *o = &c->options[c->best];
    size_t better = next_better(c);
    char total[24], weights[24], cache[24], buffers[24], margin[24], all[24];
    put_sentence(
        w,
        "%s needs %s with a context of %llu tokens (weights %s, cache %s, buffers %s): %s with 20 %% headroom, "
        "of %s available",
        o->output->target->type, ht__text_bytes(o->need.total, total), (unsigned long long)c->ctx,
        ht__text_bytes(o->need.weights, weights), ht__text_bytes(o->need.cache, cache),
        ht__text_bytes(o->need.overhead, buffers), ht__text_bytes(o->need.with_margin, margin),
        ht__text_bytes(c->place.memory, all));
    put_sentence(w,
                 "on Halftone's example model the most likely token stayed the same for %.1f %% of tokens (KL "
                 "divergence %.5f); large models lose less",
                 o->quality->same * 100, o->quality->divergence);
    if (c->program->counted) put_sentence(w, "%s", c->program->counted);
    if (o->unpacked)
        put_sentence(w,
                     "%s unpacks these weights and keeps them as floats while it runs: a small folder, but not less "
                     "memory",
                     c->program->name);
    if (better < c->n)
        put_sentence(w, "the next better type, %s, needs %s more", c->options[better].output->target->type,
                     ht__text_bytes(c->options[better].need.with_margin - c->place.memory, margin));
    else
        put_sentence(w, "no measured type loses less");
    if (o->output->with_importance)
        put_sentence(w, "it needs an importance matrix: --imatrix FILE, or --calibration default");
    if (o->quality->divergence > .03)
        put_sentence(w, "this few bits lose a lot: a smaller model with more bits is likely to be better");
}

/* The largest type up to Q4_K_M that can be run partly on the card: below it, speed costs too much quality. */
static size_t offloadable(const struct choice *c)
{
    size_t i = 0;
    while (i < c->n &&
           (strcmp(c->options[i].output->target->type, "Q4_K_M") != 0 && c->options[i].quality->divergence < .0027))
        i++;
    while (i < c->n && (c->options[i].layers == 0 || (c->place.ram && c->options[i].rest > c->place.ram)))
        i++;
    return i;
}

static void put_why_none(struct ht__jw *w, const struct choice *c)
{
    size_t i = can_split(c) ? offloadable(c) : c->n;
    if (c->n == 0) {
        put_sentence(w, "this model cannot be quantized in any of the types: %s",
                     c->plan->n_outputs && c->plan->outputs[0].refused ? c->plan->outputs[0].refused : "none is known");
        return;
    }
    const struct option *last = &c->options[c->n - 1];
    char need[24], all[24], more[24];
    put_sentence(w, "even the smallest type, %s, does not fit: it needs %s, %s more than the %s available",
                 last->output->target->type, ht__text_bytes(last->need.with_margin, need),
                 ht__text_bytes(last->need.with_margin - c->place.memory, more), ht__text_bytes(c->place.memory, all));
    if (i < c->n)
        put_sentence(w, "%s runs with %llu of %llu layers on the card and %s of the machine's own memory",
                     c->options[i].output->target->type, (unsigned long long)c->options[i].layers,
                     (unsigned long long)c->shape.n_layers, ht__text_bytes(c->options[i].rest, need));
    if (c->ctx > 1024)
        put_sentence(w, c->program->loads
                            ? "a shorter context (--ctx) needs less memory"
                            : "a shorter context (--ctx) or a smaller cache (--cache-type q8_0) needs less memory");
}

static void put_source(struct ht__jw *w, const struct choice *c)
{
    ht__jw_object(w, "source");
    ht__jw_str(w, "path", c->plan->settings->source.path);
    ht__jw_str(w, "architecture", c->plan->model->arch);
    ht__jw_uint(w, "parameters", c->plan->n_weights);
    ht__jw_uint(w, "context_length", c->shape.n_ctx_train);
    ht__jw_end(w);
}

static void put_place(struct ht__jw *w, const struct place *p)
{
    ht__jw_object(w, "place");
    if (p->gpu) {
        ht__jw_str(w, "gpu", p->gpu->name);
        ht__jw_uint(w, "gpu_count", p->gpus);
        ht__jw_uint(w, "bandwidth_bytes_per_second", p->gpu->bandwidth);
    }
    if (p->ram) ht__jw_uint(w, "ram_bytes", p->ram);
    ht__jw_uint(w, "memory_bytes", p->memory);
    ht__jw_end(w);
}

static void put_reasons(struct ht__jw *w, const struct choice *c)
{
    ht__jw_array(w, "reasons");
    if (c->best < c->n)
        put_why_best(w, c);
    else
        put_why_none(w, c);
    if (c->ctx > c->shape.n_ctx_train)
        put_sentence(w, "the model was trained on %llu tokens of context; quality may drop beyond that",
                     (unsigned long long)c->shape.n_ctx_train);
    ht__jw_end(w);
}

static void put_not_possible(struct ht__jw *w, const struct ht__plan *plan)
{
    ht__jw_array(w, "not_possible");
    for (size_t i = 0; i < plan->n_outputs; i++) {
        if (!plan->outputs[i].refused) continue;
        ht__jw_object(w, NULL);
        ht__jw_str(w, "type", plan->outputs[i].target->type);
        ht__jw_str(w, "reason", plan->outputs[i].refused);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

static void put_answer(struct ht__jw *w, const struct choice *c)
{
    ht__jw_report(w, "recommend");
    put_source(w, c);
    ht__jw_str(w, "program", c->program->name);
    put_place(w, &c->place);
    put_chosen(w, "recommended", c, c->best);
    put_chosen(w, "next_better", c, c->best < c->n ? next_better(c) : c->n);
    put_chosen(w, "next_smaller", c, c->best < c->n ? next_smaller(c, c->best) : c->n);
    put_chosen(w, "offload", c, c->best < c->n || !can_split(c) ? c->n : offloadable(c));
    put_reasons(w, c);
    ht__jw_array(w, "types");
    for (size_t i = 0; i < c->n; i++)
        put_option(w, NULL, c, &c->options[i]);
    ht__jw_end(w);
    put_not_possible(w, c->plan);
    ht__jw_end(w);
}

static enum ht_err answer(struct choice *c, struct ht__buf *out, struct ht_diag *diag)
{
    HT_TRY(ht__fit_shape(c->plan->model, &c->shape, diag));
    if (!c->ctx) c->ctx = ht__fit_default_ctx(&c->shape);
    HT_TRY(weigh_all(c, diag));
    struct ht__jw w = ht__jw_line(out);
    put_answer(&w, c);
    return ht__jw_done(&w) ? HT_OK : ht__fail_memory(diag, "recommend");
}

enum ht_err ht__recommend(const struct ht__plan *plan, const struct ht__advice_settings *settings, struct ht__buf *out,
                          struct ht_diag *diag)
{
    struct choice *c = ht__new(plan->run.alloc, sizeof *c);
    if (!c) return ht__fail_memory(diag, "recommend");
    c->plan = plan;
    c->place = place_of(settings);
    c->cache_type = settings->cache_type;
    c->program = settings->program;
    c->ctx = settings->ctx;
    enum ht_err err = answer(c, out, diag);
    ht__free(plan->run.alloc, c);
    return err;
}
