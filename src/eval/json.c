/* What was measured, as JSON. */
#include "base/json_write.h"
#include "formats/container.h"
#include "eval/parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static const struct share {
    const char *key;
    double share;
} shares[] = {{"p99_9", .999}, {"p99", .99}, {"p95", .95}, {"p90", .9}, {"p75", .75},  {"median", .5},
              {"p25", .25},    {"p10", .1},  {"p5", .05},  {"p1", .01}, {"p0_1", .001}};

enum { DIGITS = 8, LAYER_DIGITS = 6 };

static void put_number(struct ht__jw *w, const char *key, double value)
{
    ht__jw_digits(w, key, value, DIGITS);
}

static void put_estimate(struct ht__jw *w, const char *key, struct ht__mean e)
{
    char name[64];
    put_number(w, key, e.value);
    snprintf(name, sizeof name, "%s_error", key);
    put_number(w, name, e.error);
}

static void put_distribution(struct ht__jw *w, const float *sorted, size_t n)
{
    put_number(w, "max", ht__percentile(sorted, n, 1));
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        put_number(w, shares[i].key, ht__percentile(sorted, n, shares[i].share));
    put_number(w, "min", ht__percentile(sorted, n, 0));
}

static void put_layers(struct ht__jw *w, const char *key, const double *values, int n)
{
    ht__jw_array(w, key);
    for (int i = 0; i < n; i++)
        ht__jw_digits(w, NULL, values[i], LAYER_DIGITS);
    ht__jw_end(w);
}

static void put_against(const struct ht__eval_model *m, struct ht__jw *w)
{
    const struct ht__divergence_result *r = &m->result;
    const struct ht__divergence *t = &m->scored.divergence;
    ht__jw_object(w, "kld");
    put_estimate(w, "mean", r->kld);
    put_distribution(w, t->kld, t->n);
    ht__jw_end(w);
    put_estimate(w, "top1_agreement", r->same);
    ht__jw_object(w, "token_probability_change");
    put_estimate(w, "mean", r->dp);
    put_estimate(w, "rms", r->dp_rms);
    put_distribution(w, t->dp, t->n);
    ht__jw_end(w);
    put_estimate(w, "perplexity_ratio", r->ratio);
    put_estimate(w, "perplexity_ln_ratio", r->ln_ratio);
    put_estimate(w, "perplexity_difference", r->difference);
    put_number(w, "perplexity_correlation", r->correlation);
    if (m->scored.layer_error) put_layers(w, "layer_error", m->scored.layer_error, m->scored.n_layers);
    if (!m->scored.layer_kld) return;
    ht__jw_int(w, "layer_kld_positions", m->scored.lens_positions);
    put_layers(w, "layer_kld", m->scored.layer_kld, m->scored.n_layers);
}

/* A share of n, with its binomial error. */
static struct ht__mean share_of(double hits, double n)
{
    double p = n > 0 ? hits / n : 0;
    return (struct ht__mean){p, n > 1 ? sqrt(p * (1 - p) / (n - 1)) : 0};
}

static void put_tasks(const struct ht__eval *e, const struct ht__eval_model *m, struct ht__jw *w)
{
    if (m->n_prompts > 0) {
        ht__jw_object(w, "retention");
        ht__jw_int(w, "continuations", m->n_prompts);
        ht__jw_int(w, "tokens", e->settings->retention);
        ht__jw_int(w, "equal", m->n_equal);
        put_estimate(w, "share", share_of(m->n_equal, m->n_prompts));
        put_number(w, "mean_equal_tokens", m->equal_tokens / m->n_prompts);
        ht__jw_end(w);
    }
    if (m->n_tasks > 0) {
        ht__jw_object(w, "choices");
        ht__jw_uint(w, "tasks", m->n_tasks);
        put_estimate(w, "accuracy", share_of((double)m->n_right, (double)m->n_tasks));
        put_estimate(w, "accuracy_by_length", share_of((double)m->n_right_by_length, (double)m->n_tasks));
        ht__jw_end(w);
    }
}

static void put_size(const struct ht__eval_model *m, struct ht__jw *w)
{
    ht__jw_uint(w, "size_bytes", m->size_bytes);
    ht__jw_fixed(w, "bpw", m->bpw, 4);
    put_estimate(w, "perplexity", m->result.perplexity);
}

/* The members of an object that is open. */
static void put_model(const struct ht__eval *e, const struct ht__eval_model *m, struct ht__jw *w)
{
    ht__jw_str(w, "model", m->path);
    ht__jw_str(w, "label", m->label);
    ht__jw_str(w, "type", m->type);
    ht__jw_str(w, "architecture", m->model->arch);
    put_size(m, w);
    ht__jw_uint(w, "tokens", m->result.n);
    put_number(w, "tokens_per_second", m->scored.seconds > 0 ? (double)m->scored.tokens / m->scored.seconds : 0);
    ht__jw_uint(w, "memory_bytes", ht__eval_memory(e, m));
    if (m->scored.engine) {
        struct ht__weights_stats layers = ht__engine_stats(m->scored.engine);
        ht__weights_put_stats(&layers, w);
    }
    if (m->scored.divergence.against) {
        put_against(m, w);
        ht__jw_bool(w, "pareto_front", m->front);
    }
    put_tasks(e, m, w);
    if (m == e->reference) ht__jw_bool(w, "is_reference", true);
}

/* The reference of the losses. Its path is left out, because quality is published with the file. */
static void put_reference(const struct ht__eval_model *m, struct ht__jw *w)
{
    ht__jw_object(w, "reference");
    ht__jw_str(w, "label", m->label);
    ht__jw_str(w, "type", m->type);
    put_size(m, w);
    ht__jw_end(w);
}

void ht__eval_put_quality(const struct ht__eval *e, size_t index, struct ht__buf *out)
{
    struct ht__jw w = ht__jw_line(out);
    ht__jw_object(&w, NULL);
    ht__jw_str(&w, "text", e->text_name);
    ht__jw_int(&w, "context", e->n_ctx);
    ht__jw_uint(&w, "chunks", e->n_chunks);
    if (e->reference) put_reference(e->reference, &w);
    put_model(e, &e->models[index], &w);
    ht__jw_end(&w);
}

/* A mapped file counts whole: what of it is read stays in memory while there is room. */
uint64_t ht__eval_memory(const struct ht__eval *e, const struct ht__eval_model *m)
{
    bool mapped = m->checkpoint->container == &ht__container_gguf && !e->run.memory;
    return m->memory.most + (mapped ? m->size_bytes : 0);
}

/* Of a part the figures are those of its passes. */
static void put_part(const struct ht__eval *e, struct ht__jw *w)
{
    if (e->settings->parts == 0) return;
    ht__jw_object(w, "part");
    ht__jw_uint(w, "number", e->settings->part);
    ht__jw_uint(w, "of", e->settings->parts);
    ht__jw_uint(w, "passes", e->passes.to - e->passes.from);
    ht__jw_uint(w, "passes_of_text", e->passes.n);
    ht__jw_end(w);
}

/* A single model's figures are also members of the object itself, where scripts look for them first. */
void ht__eval_json(const struct ht__eval *e, const char *verb, struct ht__buf *out)
{
    struct rusage usage;
    struct ht__jw w = ht__jw_line(out);
    getrusage(RUSAGE_SELF, &usage);
    ht__jw_report(&w, verb);
    ht__jw_str(&w, "text", e->text_name);
    ht__jw_str(&w, "activations", e->settings->fast ? "eight bits" : "float");
    ht__jw_int(&w, "context", e->n_ctx);
    ht__jw_uint(&w, "chunks", e->n_chunks);
    ht__jw_uint(&w, "text_tokens", e->n_tokens);
    put_part(e, &w);
    if (e->n_models == 1) put_model(e, &e->models[0], &w);
    if (e->reference) {
        ht__jw_object(&w, "reference");
        put_model(e, e->reference, &w);
        ht__jw_end(&w);
    }
    ht__jw_array(&w, "models");
    for (size_t i = 0; i < e->n_models; i++) {
        ht__jw_object(&w, NULL);
        put_model(e, &e->models[i], &w);
        ht__jw_end(&w);
    }
    ht__jw_end(&w);
    ht__jw_fixed(&w, "seconds", e->seconds, 3);
    ht__jw_uint(&w, "peak_rss_bytes", (uint64_t)usage.ru_maxrss * 1024);
    ht__jw_end(&w);
}
