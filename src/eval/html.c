/*
 * The report as one page: a table and plots, nothing fetched, no script. Colours follow the
 * reader's light or dark setting; tables and points can be reached with the keyboard.
 */
#include "eval/parts.h"
#include "eval/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Hues are spread so that neighbours differ; lightness is chosen for contrast on either background. */
static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1b1f;--paper:#fff;--faint:#d9d9de;--l:38%}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e8e8ec;--paper:#16161a;--faint:#3a3a42;--l:68%}"
    "}"
    "body{font:16px/1.5 "
    "system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:88rem;margin:2rem "
    "auto;padding:0 1rem}"
    "h1{font-size:1.6rem;margin:0}.scroll{overflow-x:auto}table{border-collapse:collapse;font-"
    "variant-numeric:tabular-nums;margin:1rem 0;font-size:.875rem}"
    "caption{text-align:left;font-weight:600;padding:.3rem 0}th,td{padding:.25rem "
    ".6rem;text-align:right;border-bottom:1px solid var(--faint);vertical-align:bottom}"
    "td,th:first-child{white-space:nowrap}th:first-child,td:first-child{text-align:left}"
    "td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:14ch}"
    "figure{margin:2rem 0;max-width:64rem}figcaption{font-weight:600}"
    "svg{width:100%;height:auto;font:12px system-ui,sans-serif}svg "
    "text{fill:var(--ink)}.tick{font-size:11px}"
    ".grid{stroke:var(--faint);fill:none}.line{fill:none;stroke-width:2}.ring{fill:none;stroke-"
    "width:1.5}"
    ":focus-visible{outline:3px solid hsl(215 90% 55%);outline-offset:2px}summary{cursor:pointer}";

static void put_style(struct ht__buf *out)
{
    ht__buf_str(out, "<style>");
    ht__buf_str(out, style);
    for (int i = 0; i < 12; i++) {
        int hue = i * 137 % 360;
        ht__buf_printf(out,
                       ".c%d circle{fill:hsl(%d 70%% var(--l))}.c%d .line,.c%d .ring{stroke:hsl(%d "
                       "70%% var(--l));fill:none}",
                       i, hue, i, i, hue);
    }
    ht__buf_str(out, "</style>\n");
}

static void put_row(const struct ht__eval *e, const struct ht__eval_model *m, struct ht__buf *out)
{
    const struct ht__divergence_result *r = &m->result;
    ht__buf_str(out, "<tr><td>");
    ht__html_text(out, m->label);
    if (m == e->reference) ht__buf_str(out, " (reference)");
    if (m->front)
        ht__buf_str(out, " <abbr title='no other model is both smaller and nearer to the "
                         "reference'>front</abbr>");
    ht__buf_printf(out, "<td>%.2f<td>%.3f<td>%.4f ± %.4f", (double)m->size_bytes / 1e6, m->bpw, r->perplexity.value,
                   r->perplexity.error);
    if (m->scored.divergence.against)
        ht__buf_printf(out, "<td>%.6f ± %.6f<td>%.6f<td>%.6f<td>%.2f<td>%.3f<td>%.5f", r->kld.value, r->kld.error,
                       ht__percentile(m->scored.divergence.kld, m->scored.divergence.n, .5),
                       ht__percentile(m->scored.divergence.kld, m->scored.divergence.n, .99), 100 * r->same.value,
                       100 * r->dp_rms.value, r->ratio.value);
    else if (e->reference)
        ht__buf_str(out, "<td><td><td><td><td><td>");
    if (e->settings->retention && m->n_prompts) ht__buf_printf(out, "<td>%.1f", 100.0 * m->n_equal / m->n_prompts);
    if (e->settings->retention && !m->n_prompts) ht__buf_str(out, "<td>");
    if (m->n_tasks)
        ht__buf_printf(out, "<td>%.2f<td>%.2f", 100 * (double)m->n_right / (double)m->n_tasks,
                       100 * (double)m->n_right_by_length / (double)m->n_tasks);
    ht__buf_printf(out, "<td>%.0f<td>%.1f</tr>\n",
                   m->scored.seconds > 0 ? (double)m->scored.tokens / m->scored.seconds : 0,
                   (double)ht__eval_memory(e, m) / 1e6);
}

static void put_table(const struct ht__eval *e, struct ht__buf *out)
{
    ht__buf_str(out, "<div class=scroll tabindex=0 role=region "
                     "aria-label='Figures'><table><caption>Figures</caption><thead><tr>"
                     "<th>Model<th>MB<th>Bits a weight<th>Perplexity");
    if (e->reference)
        ht__buf_str(out, "<th>KL divergence, mean<th>median<th>99&nbsp;%<th>Same likeliest token, "
                         "%<th>Token probability, RMS change, %"
                         "<th>Perplexity ratio");
    if (e->settings->retention) ht__buf_str(out, "<th>Retention, %");
    if (e->models[0].n_tasks) ht__buf_str(out, "<th>Choices, %<th>by length, %");
    ht__buf_str(out, "<th>Tokens/s<th>Memory, MB</tr></thead><tbody>\n");
    if (e->reference == &e->models[e->n_models]) put_row(e, e->reference, out);
    for (size_t i = 0; i < e->n_models; i++)
        put_row(e, &e->models[i], out);
    ht__buf_str(out, "</tbody></table></div>\n");
}

/* Where the models' names begin to differ: plots have no room for what they share. */
static size_t shared_start(const struct ht__eval *e)
{
    size_t n = SIZE_MAX, cut = 0;
    for (size_t i = 0; i < e->n_models; i++) {
        const char *a = e->models[0].label, *b = e->models[i].label;
        size_t same = 0;
        if (&e->models[i] == e->reference) continue;
        while (a[same] && a[same] == b[same])
            same++;
        n = same < n ? same : n;
    }
    for (size_t i = 0; i < n && e->models[0].label[i]; i++)
        if (strchr("-_.", e->models[0].label[i])) cut = i + 1;
    return e->models[0].label[cut] ? cut : 0;
}

struct plots {
    size_t skip; /* of labels */
    struct ht__series *series;
    size_t n;
    double *values;
    size_t used;
};

static void put_sizes(const struct ht__eval *e, struct plots *p, struct ht__buf *out)
{
    p->n = 0;
    p->used = 0;
    for (size_t i = 0; i < e->n_models; i++) {
        const struct ht__eval_model *m = &e->models[i];
        if (m == e->reference) continue;
        double *v = p->values + p->used;
        p->used += 2;
        v[0] = (double)m->size_bytes / 1e6;
        v[1] = m->result.kld.value;
        p->series[p->n++] = (struct ht__series){.name = m->label + p->skip,
                                                .x = v,
                                                .y = v + 1,
                                                .n = 1,
                                                .points = true,
                                                .marked = m->front,
                                                .colour = (int)(i % 12)};
    }
    struct ht__plot plot = {"Quality against size (rings: no other is both smaller and nearer)",
                            "size of the files, MB",
                            "mean KL divergence, nats a token",
                            false,
                            true,
                            p->series,
                            p->n};
    ht__plot_put(&plot, out);
}

/* Figures by layer of every model that has them. */
static void put_layers(const struct ht__eval *e, struct plots *p, bool kld, const char *title, const char *y_label,
                       struct ht__buf *out)
{
    p->n = 0;
    p->used = 0;
    for (size_t i = 0; i < e->n_models; i++) {
        const struct ht__eval_model *m = &e->models[i];
        const double *by_layer = kld ? m->scored.layer_kld : m->scored.layer_error;
        if (!by_layer) continue;
        double *x = p->values + p->used, *y = x + m->scored.n_layers;
        p->used += 2 * (size_t)m->scored.n_layers;
        for (int l = 0; l < m->scored.n_layers; l++) {
            x[l] = l;
            y[l] = by_layer[l];
        }
        p->series[p->n++] = (struct ht__series){
            .name = m->label + p->skip, .x = x, .y = y, .n = (size_t)m->scored.n_layers, .colour = (int)(i % 12)};
    }
    struct ht__plot plot = {title, "layer", y_label, false, true, p->series, p->n};
    if (p->n) ht__plot_put(&plot, out);
}

/* Tokens by decade of their divergence, five bins a decade. */
enum { BINS = 60, A_DECADE = 5, LOWEST = -10 };

static void put_distribution(const struct ht__eval *e, struct plots *p, struct ht__buf *out)
{
    p->n = 0;
    p->used = 0;
    for (size_t i = 0; i < e->n_models; i++) {
        const struct ht__divergence *t = &e->models[i].scored.divergence;
        if (!t->against || t->n == 0) continue;
        double *x = p->values + p->used, *y = x + BINS;
        size_t n = 0;
        memset(y, 0, BINS * sizeof *y);
        for (size_t k = 0; k < t->n; k++) {
            if (!(t->kld[k] > 0)) continue;
            int bin = (int)floor((log10((double)t->kld[k]) - LOWEST) * A_DECADE);
            if (bin >= 0 && bin < BINS) y[bin] += 100.0 / (double)t->n;
        }
        for (int b = 0; b < BINS; b++) {
            if (y[b] <= 0) continue; /* only from the first to the last bin that has tokens */
            x[n] = pow(10, LOWEST + (b + 0.5) / A_DECADE);
            y[n++] = y[b];
        }
        p->used += 2 * BINS;
        p->series[p->n++] =
            (struct ht__series){.name = e->models[i].label + p->skip, .x = x, .y = y, .n = n, .colour = (int)(i % 12)};
    }
    struct ht__plot plot = {"Distribution of the divergence over tokens",
                            "KL divergence, nats",
                            "% of tokens, by fifth of a decade",
                            true,
                            false,
                            p->series,
                            p->n};
    if (p->n) ht__plot_put(&plot, out);
}

static void put_layer_table(const struct ht__eval *e, bool kld, const char *title, struct ht__buf *out)
{
    bool any = false;
    for (size_t i = 0; i < e->n_models; i++) {
        const struct ht__eval_model *m = &e->models[i];
        const double *by_layer = kld ? m->scored.layer_kld : m->scored.layer_error;
        if (!by_layer) continue;
        if (!any)
            ht__buf_printf(out,
                           "<details><summary>%s, as numbers</summary><div class=scroll tabindex=0 role=region "
                           "aria-label='%s'><table>\n",
                           title, title);
        any = true;
        ht__buf_str(out, "<tr><th scope=row>");
        ht__html_text(out, m->label);
        for (int l = 0; l < m->scored.n_layers; l++)
            ht__buf_printf(out, "<td>%.4g", by_layer[l]);
        ht__buf_str(out, "</tr>\n");
    }
    if (any) ht__buf_str(out, "</table></div></details>\n");
}

static int lens_positions(const struct ht__eval *e)
{
    int n = 0;
    for (size_t i = 0; i < e->n_models; i++)
        if (e->models[i].scored.layer_kld) n = e->models[i].scored.lens_positions;
    return n;
}

static void put_plots(const struct ht__eval *e, struct plots *p, struct ht__buf *out)
{
    char title[128];
    put_sizes(e, p, out);
    put_distribution(e, p, out);
    snprintf(title, sizeof title, "KL divergence after each layer (%d positions)", lens_positions(e));
    put_layers(e, p, true, title, "mean KL divergence, nats", out);
    put_layer_table(e, true, title, out);
    if (lens_positions(e))
        ht__buf_str(
            out,
            "<p>After each layer, the model's own final norm and output matrix turn the activations into probabilities; "
            "the last point is the divergence of the whole model at these positions.</p>\n");
    put_layers(e, p, false, "Error of the activations after each layer", "relative RMSE of the residual stream", out);
    put_layer_table(e, false, "Error of the activations after each layer", out);
}

enum ht_err ht__eval_html(const struct ht__eval *e, const struct ht__html_more *more, struct ht__buf *out,
                          struct ht_diag *diag)
{
    ht__buf_str(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
                     "content='width=device-width'>"
                     "<title>Quality of ");
    ht__html_text(out, e->models[0].label);
    ht__buf_str(out, e->n_models > 1 ? " and others</title>" : "</title>");
    put_style(out);
    ht__buf_str(out, "</head><body><main>\n<h1>What quantizing lost</h1>\n<p>Measured on ");
    ht__html_text(out, ht__path_base(e->text_name));
    ht__buf_printf(out, ": %zu chunks of %d tokens, their second halves scored.", e->n_chunks, e->n_ctx);
    if (e->reference) {
        ht__buf_str(out, " Reference: ");
        ht__html_text(out, e->reference->label);
        ht__buf_str(out, ".");
    }
    ht__buf_str(out, "</p>\n");
    put_table(e, out);
    if (e->reference) {
        size_t values = 2 * BINS;
        for (size_t i = 0; i < e->n_models; i++)
            if (2 * (size_t)e->models[i].scored.n_layers > values) values = 2 * (size_t)e->models[i].scored.n_layers;
        struct plots p = {.skip = shared_start(e),
                          .series = ht__new_array(e->run.alloc, e->n_models, sizeof *p.series),
                          .values = ht__new_array(e->run.alloc, e->n_models, values * sizeof *p.values)};
        if (p.series && p.values)
            put_plots(e, &p, out);
        else
            out->failed = true;
        ht__free(e->run.alloc, p.series);
        ht__free(e->run.alloc, p.values);
    }
    if (more && more->put) more->put(more->ctx, out);
    ht__buf_printf(out, "<p>Made by halftone %s.</p>\n</main></body></html>\n", HT_VERSION);
    return out->failed ? ht__fail_memory(diag, "report") : HT_OK;
}
