/* A model card's table of quality, as Markdown. */
#include "eval/parts.h"

/* A bar would end the cell. */
static void put_cell(struct ht__buf *out, const char *text)
{
    ht__buf_str(out, "| ");
    for (; *text; text++) {
        if (*text == '|') ht__buf_str(out, "\\");
        ht__buf_put(out, *text == '\n' ? " " : text, 1);
    }
    ht__buf_str(out, " ");
}

static void put_row(const struct ht__eval *e, const struct ht__eval_model *m, struct ht__buf *out)
{
    const struct ht__divergence_result *r = &m->result;
    put_cell(out, m->label);
    put_cell(out, m->type);
    ht__buf_printf(out, "| %.2f | %.3f | %.4f ± %.4f ", (double)m->size_bytes / 1e6, m->bpw, r->perplexity.value,
                   r->perplexity.error);
    if (m->scored.divergence.against)
        ht__buf_printf(out, "| %.6f ± %.6f | %.6f | %.2f %% | %.5f ", r->kld.value, r->kld.error,
                       ht__percentile(m->scored.divergence.kld, m->scored.divergence.n, .99), 100 * r->same.value,
                       r->ratio.value);
    else if (e->reference)
        ht__buf_str(out, "| | | | ");
    if (e->settings->retention && m->n_prompts)
        ht__buf_printf(out, "| %.1f %% ", 100.0 * m->n_equal / m->n_prompts);
    else if (e->settings->retention)
        ht__buf_str(out, "| ");
    ht__buf_str(out, "|\n");
}

void ht__eval_card(const struct ht__eval *e, struct ht__buf *out)
{
    ht__buf_str(out, "# Quality\n\n| Model | Type | MB | Bits a weight | Perplexity |");
    if (e->reference) ht__buf_str(out, " KL divergence, mean | 99 % | Same likeliest token | Perplexity ratio |");
    if (e->settings->retention) ht__buf_str(out, " Retention |");
    ht__buf_str(out, "\n|---|---|--:|--:|--:|");
    if (e->reference) ht__buf_str(out, "--:|--:|--:|--:|");
    if (e->settings->retention) ht__buf_str(out, "--:|");
    ht__buf_str(out, "\n");
    if (e->reference) put_row(e, e->reference, out);
    for (size_t i = 0; i < e->n_models; i++)
        if (&e->models[i] != e->reference) put_row(e, &e->models[i], out);
    ht__buf_printf(out,
                   "\nMeasured by halftone %s on %zu chunks of %d tokens of a text of %zu tokens (%s); the "
                   "second half of each chunk is scored.",
                   HT_VERSION, e->n_chunks, e->n_ctx, e->n_tokens, ht__path_base(e->text_name));
    if (e->reference)
        ht__buf_str(out, " Divergence, in nats a token, and agreement are against the first row, "
                         "in the same run.");
    ht__buf_str(out, e->settings->fast ? " Activations were rounded to eight bits." : " Activations were floats.");
    if (e->settings->retention)
        ht__buf_printf(out, " Retention: greedy continuations of %d tokens that stay equal to the first row's.",
                       e->settings->retention);
    ht__buf_str(out, "\n");
}
