/* How much memory the layers driver takes, whatever the text is. */
#include "engine/memory.h"
#include "pipeline/layers_parts.h"

int64_t ht__layers_most_held(const struct ht__layers *d)
{
    const struct ht__windows *w = &d->cal.windows;
    int64_t rows = 0;
    for (size_t i = 0; i < w->n; i++)
        rows += w->at[i].held_out ? d->cal.n_ctx - 1 : 0;
    return w->n == 0 || rows > HT__MOST_HELD ? HT__MOST_HELD : rows;
}

static uint64_t most_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Bytes of a weight's codes in an output; where the budget has yet to say in which type, or the folder cuts it otherwise, as many as
 * they may be. */
static uint64_t code_bytes(const struct ht__plan *plan, const struct ht__plan_output *out, size_t weight)
{
    const struct ht__rows *rows = plan->model->weights[weight].rows;
    uint64_t n_rows = (uint64_t)rows->n_rows, row_len = (uint64_t)rows->row_len;
    bool native = out->target->container->dialect == HT__DIALECT_NATIVE;
    const struct ht__codec *type = native || plan->budget || !out->choices ? NULL : out->choices[weight].type;
    return n_rows * (type ? ht__codec_bytes(type, row_len) : row_len * 2);
}

/* In the output that has the most, or in all. */
static uint64_t all_code_bytes(const struct ht__plan *plan, size_t weight, bool in_all)
{
    uint64_t sum = 0, most = 0;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        if (!ht__layers_output(plan, &plan->outputs[i])) continue;
        uint64_t bytes = code_bytes(plan, &plan->outputs[i], weight);
        sum += bytes;
        most = most_of(most, bytes);
    }
    return in_all ? sum : most;
}

/* Rows that are kept of a site. */
static uint64_t held_bytes(const struct ht__layers *d, uint64_t n, bool cross, bool adds)
{
    uint64_t columns = (cross ? 2 : 1) * n + (adds ? (uint64_t)d->n_embd : 0);
    return columns * ((uint64_t)ht__layers_most_held(d) + 1) * sizeof(float);
}

/* While a site is looked at: its products, and rows of a pass, some of them three times. */
static uint64_t looking_bytes(const struct ht__layers *d, uint64_t n, bool cross, bool adds)
{
    uint64_t rows = (uint64_t)d->cal.n_seqs * (uint64_t)d->cal.n_ctx, embd = adds ? (uint64_t)d->n_embd : 0;
    uint64_t products = ((uint64_t)ht__lower_size((int64_t)n) + (cross ? n * n : 0) + n * embd) * sizeof(double);
    return products + rows * ((cross ? 6 : 4) * n + 5 * embd) * sizeof(float);
}

/* While the codes of w are chosen: rows of it by thread, and candidates beside what is taken. Statistics that were kept stay for the next output. */
static uint64_t choosing_bytes(const struct ht__layers *d, const struct ht__weight *w, bool cross, bool adds)
{
    enum { BESIDE = 3, ROWS = 32, FLOATS = 9 };
    uint64_t n = (uint64_t)w->ne[0], embd = adds ? (uint64_t)d->n_embd : 0, threads = (uint64_t)d->plan->run.n_threads;
    uint64_t stream = ht__best_lean((int64_t)n) ? 0 : n * embd * sizeof(double);
    uint64_t half = d->plan->settings->importance.stats ? (uint64_t)ht__lower_size((int64_t)n) * sizeof(double) : 0;
    if (threads == 0) threads = (uint64_t)ht__core_count();
    uint64_t by_thread = ROWS * n * FLOATS * sizeof(float) + 2 * ROWS * HT__MOST_HELD * sizeof(float) + (1 << 19);
    return ht__best_bytes((int64_t)n, (int64_t)embd, cross) + stream + half + threads * by_thread +
           BESIDE * all_code_bytes(d->plan, (size_t)(w - d->plan->model->weights), false) / (uint64_t)w->ne[2];
}

/* In between: what is copied becomes floats while it is there. */
static uint64_t copying_bytes(const struct ht__layers *d, uint64_t n, bool cross, bool adds)
{
    uint64_t half = (uint64_t)ht__lower_size((int64_t)n) * sizeof(double), embd = adds ? (uint64_t)d->n_embd : 0;
    uint64_t floats = n * n * sizeof(float), stream = n * embd * sizeof(double);
    uint64_t crossed = cross ? floats : 0, first = half + stream + (cross ? 3 * floats : 0);
    if (ht__best_lean((int64_t)n)) {
        uint64_t second = half + crossed + stream + stream / 2;
        first = second > first ? second : first;
        stream /= 2;
    }
    uint64_t last = half + crossed + stream + floats;
    return first > last ? first : last;
}

/* What is left of it where so much is given back meanwhile. */
static uint64_t less(uint64_t bytes, uint64_t back)
{
    return bytes > back ? bytes - back : 0;
}

/* Beside an engine that holds all it may. The products with the float activations are needed where the residual stream does not say what they are for: see
 * ht__layers_find. */
static uint64_t site_bytes(const struct ht__layers *d, const struct ht__weight *w)
{
    bool adds = w->slot.role == HT__ROLE_ATTN_OUTPUT || w->slot.role == HT__ROLE_FFN_DOWN;
    bool cross = !(adds && d->says_wanted), runs = !d->plan->settings->importance.stats;
    struct ht__engine_need need = {0};
    if (runs) need = ht__engine_need(d->plan->model, NULL);
    uint64_t n = (uint64_t)w->ne[0], looking = less(looking_bytes(d, n, cross, adds), need.outside);
    uint64_t back = need.outside + (w->slot.layer >= 0 && ht__best_lean(w->ne[0]) ? need.turns : 0);
    uint64_t choosing = most_of(copying_bytes(d, n, cross, adds), choosing_bytes(d, w, cross, adds));
    return held_bytes(d, n, cross, adds) + most_of(looking, less(choosing, back));
}

/* What rows are rounded in; and of folders, whose codes come apart from what the model is run with, floats of both. */
static uint64_t float_bytes(const struct ht__layers *d, uint64_t layer)
{
    enum { ROUNDED = 16 << 20 };
    return ROUNDED + layer * d->n_folders * 2 * sizeof(float);
}

/* The chunks that an embedding is judged by in four streams, beside its codes in every output. */
static uint64_t embedding_bytes(const struct ht__layers *d)
{
    const struct ht__model *m = d->plan->model;
    const struct ht__weight *e = ht__model_find(m, HT__ROLE_EMBEDDING);
    uint64_t codes = e ? all_code_bytes(d->plan, (size_t)(e - m->weights), true) : 0;
    return codes + 4 * HT__MOST_JUDGED * (uint64_t)d->n_embd * sizeof(float);
}

/* Beside the engine: by what the largest layer and the most that a site takes are, whether or not they come together. */
uint64_t ht__layers_besides(const struct ht__layers *d)
{
    const struct ht__model *m = d->plan->model;
    uint64_t site = 0, most = 0, layer = 0, codes = 0, most_codes = 0, experts = 0;
    int32_t at = -1;
    for (size_t i = 0; i < m->n_weights; i++) {
        const struct ht__weight *w = &m->weights[d->plan->order[i]];
        if (w->slot.layer != at) layer = codes = 0;
        at = w->slot.layer;
        if (w->slot.bias || (at < 0 && w->slot.role != HT__ROLE_OUTPUT)) continue;
        if (ht__slot_of_experts(w->slot) && w->ne[2] > 1) experts = most_of(experts, ht__layers_expert_bytes(d, w));
        layer += (uint64_t)w->rows->n_rows * (uint64_t)w->rows->row_len;
        codes += all_code_bytes(d->plan, (size_t)(w - m->weights), true);
        most = most_of(most, layer);
        most_codes = most_of(most_codes, codes);
        if (ht__slot_site(w->slot).kind != HT__SITE_NONE) site = most_of(site, site_bytes(d, w));
    }
    uint64_t streams = (uint64_t)(d->n_tokens * d->n_embd) * sizeof(float) * (1 + d->n_courses + d->n_starts);
    uint64_t kept = ht__layers_kept_bytes(d, d->most_kept);
    uint64_t routes = (uint64_t)d->n_tokens * (uint64_t)d->n_used * sizeof(struct ht__route);
    uint64_t of_layer = experts + site + most_codes + float_bytes(d, most);
    return streams + kept + routes + most_of(embedding_bytes(d), of_layer);
}
