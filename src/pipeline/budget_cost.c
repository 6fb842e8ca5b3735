/* What every type of every matrix costs the model. */
#include "pipeline/budget_parts.h"

#include <math.h>

/* Bits a weight of the types that are measured: two on either side of where budgets lie, or one between. */
static const double bits_of_two[] = {2.7, 4.4}, bits_of_one[] = {3.5};
/* Work that is done without --budget-time, in products of two floats: an hour or so of a small machine. */
static const double most_work = 1e14;
enum { CHECKS = 8 }; /* of whole models, that follow */

struct costing {
    struct ht__plan *plan;
    struct ht__budget_plan *b;
    struct ht__sense *sense;
};

/* ---- how much can be measured ---- */

static size_t n_probes(enum ht__budget_way way)
{
    return way == HT__BUDGET_TWO ? 2 : 1;
}

/* Passes of all tokens through a layer, or the output. */
static double passes_of(const struct costing *c, enum ht__budget_way way)
{
    double layers = (double)c->sense->n_layers, sum = 2 * layers + CHECKS * (layers + 1);
    bool shared = way == HT__BUDGET_LAYERS;
    for (size_t i = 0; i < c->b->n; i++) {
        int32_t layer = c->b->matrices[i].slot.layer;
        bool output = ht__slot_is(c->b->matrices[i].slot, HT__ROLE_OUTPUT);
        double to_end = (output ? 0 : layer < 0 ? layers : layers - layer) + 1;
        sum += shared && layer >= 0 ? 2 : (double)n_probes(way) * to_end;
    }
    return sum + (shared ? layers * (layers + 1) / 2 : 0);
}

static double layer_weights(const struct costing *c)
{
    double sum = 0;
    for (size_t i = 0; i < c->plan->model->n_weights; i++) {
        const struct ht__weight *w = &c->plan->model->weights[i];
        if (w->slot.layer >= 0) sum += (double)w->rows->n_rows * (double)w->ne[0];
    }
    return sum / (double)c->sense->n_layers;
}

/* The finest way that the time, or the work, allows; then fewer chunks of the coarsest. */
static void choose_way(struct costing *c, double seconds)
{
    struct ht__sense *s = c->sense;
    double tokens = (double)(s->n_chunks * s->cal.n_ctx), asked = c->plan->settings->budget.seconds;
    double passes = asked > 0 ? asked / (seconds / (double)s->n_layers) : most_work / (tokens * layer_weights(c));
    while (c->b->way + 1 < HT__N_BUDGET_WAYS && passes_of(c, c->b->way) > passes)
        c->b->way++;
    double share = passes / passes_of(c, c->b->way);
    if (share < 1) s->n_chunks = share * (double)s->n_chunks > 1 ? (int64_t)(share * (double)s->n_chunks) : 1;
    if (s->cal.n_seqs > s->n_chunks) s->cal.n_seqs = (int)s->n_chunks;
    c->b->n_tokens = (size_t)s->n_chunks * (size_t)s->cal.n_ctx;
    double total = passes_of(c, c->b->way) * (double)c->b->n_tokens;
    ht__progress_begin(&s->progress, &c->plan->run, "budget", "tokens x layers", (uint64_t)total);
    s->done = 0;
    s->tells = true;
}

/* ---- one matrix ---- */

static size_t nearest(const struct ht__budget_matrix *m, double bits)
{
    size_t best = 0;
    double least = INFINITY;
    for (size_t i = 0; i < m->n; i++) {
        double away = m->bits[i] > 0 ? fabs(log(m->bits[i] / bits)) : INFINITY;
        if (m->errors[i] <= 0 || away >= least) continue;
        least = away;
        best = i;
    }
    return best;
}

/* Of the line through what was measured: of one measured type, cost is in proportion to error. */
static double slope_of(const struct ht__budget_matrix *m)
{
    double slope = 1;
    const double *cost = m->measured;
    bool two = m->n_probes > 1 && m->probes[0] != m->probes[1] && cost[0] > 0 && cost[1] > 0;
    if (two && m->errors[m->probes[0]] != m->errors[m->probes[1]])
        slope = log(cost[0] / cost[1]) / log(m->errors[m->probes[0]] / m->errors[m->probes[1]]);
    return !(slope > .5) ? .5 : slope > 2 ? 2 : slope;
}

/* By the line through what is nearest. */
static double cost_of(const struct ht__budget_matrix *m, double error, double slope)
{
    double away[2] = {INFINITY, INFINITY};
    for (size_t k = 0; k < m->n_probes; k++)
        away[k] = fabs(log(error / m->errors[m->probes[k]]));
    size_t near = away[1] < away[0];
    return error > 0 ? m->measured[near] * pow(error / m->errors[m->probes[near]], slope) : 0;
}

/* What the method leaves of an error; of schemes it is not known. */
static double left_of(const struct costing *c, const struct ht__budget_matrix *m, size_t option)
{
    return m->types ? ht__budget_left(c->b, m->slot.role, m->types[option]) : 1;
}

static void spread(const struct costing *c, struct ht__budget_matrix *m)
{
    double slope = slope_of(m);
    for (size_t i = 0; i < m->n; i++) {
        m->rounded[i] = cost_of(m, m->errors[i], slope);
        m->options[i].cost = cost_of(m, m->errors[i] * left_of(c, m, i), slope);
    }
}

static enum ht_err take_errors(struct costing *c, struct ht__budget_matrix *m, struct ht_diag *diag)
{
    if (!m->types) return ht__budget_scheme_errors(c->sense, m, diag);
    return ht__sense_errors(c->sense, &c->plan->model->weights[m->weight], m->types, m->n, m->errors, diag);
}

static enum ht_err put(struct costing *c, const struct ht__budget_matrix *m, size_t option, struct ht_diag *diag)
{
    if (!m->types) return ht__budget_put_scheme(c->sense, m, option, diag);
    return ht__sense_put(c->sense, &c->plan->model->weights[m->weight], m->types[option], diag);
}

/* The engine does not compute with it, as far as what was measured tells. */
static bool is_unseen(const struct costing *c, const struct ht__budget_matrix *m)
{
    return (m->types && !c->sense->asked[m->weight]) || m->measured[0] <= 0;
}

static bool is_output(const struct costing *c, const struct ht__weight *w)
{
    const struct ht__weight *output = ht__model_find(c->plan->model, HT__ROLE_OUTPUT);
    return output ? w == output : ht__slot_is(w->slot, HT__ROLE_EMBEDDING);
}

/* Alone, to the end of the model. */
static enum ht_err measure_matrix(struct costing *c, struct ht__budget_matrix *m, struct ht_diag *diag)
{
    bool two = c->b->way == HT__BUDGET_TWO, first = ht__slot_is(m->slot, HT__ROLE_EMBEDDING);
    const double *bits = two ? bits_of_two : bits_of_one;
    m->n_probes = n_probes(c->b->way);
    HT_TRY(take_errors(c, m, diag));
    if (m->types) c->sense->asked[m->weight] = first;
    for (size_t k = 0; k < m->n_probes; k++) {
        m->probes[k] = nearest(m, bits[k]);
        HT_TRY(put(c, m, m->probes[k], diag));
        HT_TRY(ht__sense_divergence(c->sense, &m->measured[k], diag));
        ht__sense_clear(c->sense);
    }
    m->unseen = is_unseen(c, m);
    return HT_OK;
}

static enum ht_err measure_each(struct costing *c, int32_t layer, struct ht_diag *diag)
{
    for (size_t i = 0; i < c->b->n; i++) {
        struct ht__budget_matrix *m = &c->b->matrices[i];
        if (m->slot.layer == layer) HT_TRY(measure_matrix(c, m, diag));
    }
    return HT_OK;
}

/* ---- a layer at once ---- */

static void share_out(struct costing *c, int32_t layer, double cost, const double *streams, double sum)
{
    for (size_t i = 0; i < c->b->n; i++) {
        struct ht__budget_matrix *m = &c->b->matrices[i];
        if (m->slot.layer != layer) continue;
        m->n_probes = 1;
        m->probes[0] = nearest(m, bits_of_one[0]);
        m->measured[0] = sum > 0 ? cost * streams[i] / sum : 0;
        m->unseen = is_unseen(c, m);
    }
}

static enum ht_err put_layer(struct costing *c, int32_t layer, struct ht_diag *diag)
{
    uint32_t *probes = ht__arena_array(&c->plan->arena, c->b->n, sizeof *probes);
    if (!probes) return ht__fail_memory(diag, "budget");
    for (size_t i = 0; i < c->b->n; i++) {
        const struct ht__budget_matrix *m = &c->b->matrices[i];
        if (m->slot.layer != layer) continue;
        probes[i] = (uint32_t)nearest(m, bits_of_one[0]);
        if (m->types) HT_TRY(put(c, m, probes[i], diag));
    }
    return c->b->mix ? HT_OK : ht__budget_put_layer(c->sense, c->b, probes, layer, diag);
}

static enum ht_err measure_layer(struct costing *c, int32_t layer, struct ht_diag *diag)
{
    double cost = 0, sum = 0, *streams = ht__arena_array(&c->plan->arena, c->b->n, sizeof *streams);
    if (!streams) return ht__fail_memory(diag, "budget");
    for (size_t i = 0; i < c->b->n; i++) {
        struct ht__budget_matrix *m = &c->b->matrices[i];
        if (m->slot.layer != layer) continue;
        HT_TRY(take_errors(c, m, diag));
        if (m->types) c->sense->asked[m->weight] = false;
        HT_TRY(put(c, m, nearest(m, bits_of_one[0]), diag));
        HT_TRY(ht__sense_stream(c->sense, &streams[i], diag));
        ht__sense_clear(c->sense);
        sum += streams[i];
    }
    HT_TRY(put_layer(c, layer, diag));
    HT_TRY(ht__sense_divergence(c->sense, &cost, diag));
    ht__sense_clear(c->sense);
    share_out(c, layer, cost, streams, sum);
    return HT_OK;
}

/* ---- all of them ---- */

/* The output's matrix after the last layer, everything else outside the layers before the first. */
static enum ht_err measure_outside(struct costing *c, bool end, struct ht_diag *diag)
{
    for (size_t i = 0; i < c->b->n; i++) {
        if (c->b->matrices[i].slot.layer >= 0) continue;
        const struct ht__weight *w = &c->plan->model->weights[c->b->matrices[i].weight];
        bool at_end = is_output(c, w) && !ht__slot_is(w->slot, HT__ROLE_EMBEDDING);
        if (at_end == end) HT_TRY(measure_matrix(c, &c->b->matrices[i], diag));
    }
    return HT_OK;
}

static enum ht_err measure_all(struct costing *c, struct ht_diag *diag)
{
    HT_TRY(measure_outside(c, false, diag));
    for (int32_t layer = 0; layer < c->sense->n_layers; layer++) {
        if (c->b->mix) HT_TRY(ht__budget_sample(c->plan, c->b, c->sense, diag));
        HT_TRY((c->b->way == HT__BUDGET_LAYERS ? measure_layer : measure_each)(c, layer, diag));
        HT_TRY(ht__sense_next(c->sense, diag));
    }
    HT_TRY(measure_outside(c, true, diag));
    for (size_t i = 0; i < c->b->n; i++)
        spread(c, &c->b->matrices[i]);
    return HT_OK;
}

enum ht_err ht__budget_measure(struct ht__plan *plan, struct ht__budget_plan *b, struct ht__sense *sense,
                               struct ht_diag *diag)
{
    struct costing c = {.plan = plan, .b = b, .sense = sense};
    HT_TRY(ht__sense_open(sense, plan, SIZE_MAX, diag));
    choose_way(&c, sense->seconds);
    return measure_all(&c, diag);
}
