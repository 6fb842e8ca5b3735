/* What was measured, as JSON. */
#include "base/json.h"
#include "job/eval_parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static const struct share {
    const char *key;
    double share;
} shares[] = {{"p99_9", .999}, {"p99", .99},   {"p95", .95},  {"p90", .9},
              {"p75", .75},    {"median", .5}, {"p25", .25},  {"p10", .1},
              {"p5", .05},     {"p1", .01},    {"p0_1", .001}};

static void put_text(struct ht__buf *out, const char *key, const char *text)
{
    ht__buf_printf(out, "\"%s\": ", key);
    ht__json_quote(out, text, strlen(text));
    ht__buf_str(out, ", ");
}

/* JSON knows no infinity; a perplexity may be one when a model is broken. */
static void put_number(struct ht__buf *out, const char *key, double value)
{
    if (isfinite(value))
        ht__buf_printf(out, "\"%s\": %.8g, ", key, value);
    else
        ht__buf_printf(out, "\"%s\": null, ", key);
}

static void put_estimate(struct ht__buf *out, const char *key, struct ht__estimate e)
{
    char name[64];
    put_number(out, key, e.value);
    snprintf(name, sizeof name, "%s_error", key);
    put_number(out, name, e.error);
}

/* Takes the comma behind the last member back. */
static void end(struct ht__buf *out, const char *with)
{
    if (out->len >= 2 && !out->failed && out->data[out->len - 2] == ',') out->len -= 2;
    ht__buf_str(out, with);
}

static void put_distribution(struct ht__buf *out, const float *sorted, size_t n)
{
    put_number(out, "max", ht__percentile(sorted, n, 1));
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        put_number(out, shares[i].key, ht__percentile(sorted, n, shares[i].share));
    put_number(out, "min", ht__percentile(sorted, n, 0));
}

static void put_layer_kld(const struct ht__scored *s, struct ht__buf *out)
{
    if (!s->layer_kld) return;
    ht__buf_printf(out, "\"layer_kld_positions\": %d, \"layer_kld\": [", s->lens_positions);
    for (int i = 0; i < s->n_layers; i++)
        if (isfinite(s->layer_kld[i]))
            ht__buf_printf(out, "%.6g, ", s->layer_kld[i]);
        else
            ht__buf_str(out, "null, ");
    end(out, "], ");
}

static void put_against(const struct ht__eval_model *m, struct ht__buf *out)
{
    const struct ht__tally_result *r = &m->result;
    const struct ht__tally *t = &m->scored.tally;
    ht__buf_str(out, "\"kld\": {");
    put_estimate(out, "mean", r->kld);
    put_distribution(out, t->kld, t->n);
    end(out, "}, ");
    put_estimate(out, "top1_agreement", r->same);
    ht__buf_str(out, "\"token_probability_change\": {");
    put_estimate(out, "mean", r->dp);
    put_estimate(out, "rms", r->dp_rms);
    put_distribution(out, t->dp, t->n);
    end(out, "}, ");
    put_estimate(out, "perplexity_ratio", r->ratio);
    put_estimate(out, "perplexity_ln_ratio", r->ln_ratio);
    put_estimate(out, "perplexity_difference", r->difference);
    put_number(out, "perplexity_correlation", r->correlation);
    if (m->scored.layer_error) {
        ht__buf_str(out, "\"layer_error\": [");
        for (int i = 0; i < m->scored.n_layers; i++)
            ht__buf_printf(out, "%.6g, ", m->scored.layer_error[i]);
        end(out, "], ");
    }
    put_layer_kld(&m->scored, out);
}

/* A share of n, with its binomial error. */
static struct ht__estimate share_of(double hits, double n)
{
    double p = n > 0 ? hits / n : 0;
    return (struct ht__estimate){p, n > 1 ? sqrt(p * (1 - p) / (n - 1)) : 0};
}

static void put_tasks(const struct ht__eval *e, const struct ht__eval_model *m, struct ht__buf *out)
{
    if (m->n_prompts > 0) {
        ht__buf_printf(out,
                       "\"retention\": {\"continuations\": %d, \"tokens\": %d, \"equal\": %d, ",
                       m->n_prompts, e->retention, m->n_equal);
        put_estimate(out, "share", share_of(m->n_equal, m->n_prompts));
        put_number(out, "mean_equal_tokens", m->equal_tokens / m->n_prompts);
        end(out, "}, ");
    }
    if (m->n_tasks > 0) {
        ht__buf_printf(out, "\"choices\": {\"tasks\": %zu, ", m->n_tasks);
        put_estimate(out, "accuracy", share_of((double)m->n_right, (double)m->n_tasks));
        put_estimate(out, "accuracy_by_length",
                     share_of((double)m->n_right_by_length, (double)m->n_tasks));
        end(out, "}, ");
    }
}

void ht__eval_put_model(const struct ht__eval *e, const struct ht__eval_model *m,
                        struct ht__buf *out)
{
    put_text(out, "model", m->path);
    put_text(out, "label", m->label);
    put_text(out, "type", m->type);
    put_text(out, "architecture", m->model->arch);
    ht__buf_printf(out, "\"size_bytes\": %llu, \"bpw\": %.4f, ", (unsigned long long)m->size_bytes,
                   m->bpw);
    put_estimate(out, "perplexity", m->result.perplexity);
    ht__buf_printf(out, "\"tokens\": %zu, ", m->result.n);
    put_number(out, "tokens_per_second",
               m->scored.seconds > 0 ? (double)m->scored.tokens / m->scored.seconds : 0);
    ht__buf_printf(out, "\"memory_bytes\": %llu, ", (unsigned long long)ht__eval_memory(e, m));
    const struct ht__weights_stats *layers =
        m->scored.engine ? ht__engine_stats(m->scored.engine) : NULL;
    if (layers) ht__weights_put_stats(layers, out);
    if (m->scored.tally.against) {
        put_against(m, out);
        ht__buf_printf(out, "\"pareto_front\": %s, ", m->front ? "true" : "false");
    }
    put_tasks(e, m, out);
    if (m == e->reference) ht__buf_str(out, "\"is_reference\": true, ");
    end(out, "");
}

void ht__eval_put_quality(const struct ht__eval *e, size_t index, struct ht__buf *out)
{
    put_text(out, "text", e->text_name);
    ht__buf_printf(out, "\"context\": %d, \"chunks\": %zu, ", e->n_ctx, e->n_chunks);
    ht__eval_put_model(e, &e->models[index], out);
}

/* A mapped file counts whole: what of it is read stays in memory while there is room. */
uint64_t ht__eval_memory(const struct ht__eval *e, const struct ht__eval_model *m)
{
    bool mapped = m->checkpoint->kind == HT__KIND_GGUF && !e->job->options.memory;
    return m->memory.most + (mapped ? m->size_bytes : 0);
}

/* A single model's figures stand in the object itself too, where scripts look for them first. */
void ht__eval_json(const struct ht__eval *e, const char *verb, struct ht__buf *out)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    ht__buf_printf(out, "{\"halftone\": \"%s\", ", HT_VERSION);
    put_text(out, "verb", verb);
    put_text(out, "text", e->text_name);
    put_text(out, "activations", e->job->options.fast ? "eight bits" : "float");
    ht__buf_printf(out, "\"context\": %d, \"chunks\": %zu, \"text_tokens\": %zu, ", e->n_ctx,
                   e->n_chunks, e->n_tokens);
    if (e->n_models == 1) {
        ht__eval_put_model(e, &e->models[0], out);
        ht__buf_str(out, ", ");
    }
    if (e->reference) {
        ht__buf_str(out, "\"reference\": {");
        ht__eval_put_model(e, e->reference, out);
        ht__buf_str(out, "}, ");
    }
    ht__buf_str(out, "\"models\": [");
    for (size_t i = 0; i < e->n_models; i++) {
        ht__buf_str(out, i ? ", {" : "{");
        ht__eval_put_model(e, &e->models[i], out);
        ht__buf_str(out, "}");
    }
    ht__buf_printf(out, "], \"seconds\": %.3f, \"peak_rss_bytes\": %llu}", e->seconds,
                   (unsigned long long)usage.ru_maxrss * 1024);
}
