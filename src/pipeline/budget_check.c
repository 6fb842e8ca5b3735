/* What was solved is run, and so is what lies near it, and the named mix that it must not lose to. */
#include "pipeline/budget_parts.h"
#include "recipe/quality.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SWAPS = 5 };

struct check {
    struct ht__plan *plan;
    struct ht__budget_plan *b;
    struct ht__sense *sense;
    const struct ht__codec **types; /* by weight */
    const uint32_t *chosen;         /* of a folder */
};

static enum ht_err put_schemes(void *ctx, int32_t layer, struct ht_diag *diag)
{
    struct check *c = ctx;
    return ht__budget_put_layer(c->sense, c->b, c->chosen, layer, diag);
}

/* Runs the choice rounded; with a method the divergence is told in proportion to what it leaves of the cost. */
static enum ht_err run(struct check *c, const uint32_t *chosen, double *kld, struct ht_diag *diag)
{
    c->b->n_tried++;
    if (c->b->mix) {
        memset(c->types, 0, c->plan->model->n_weights * sizeof *c->types);
        ht__budget_types(c->b, chosen, c->types);
        HT_TRY(ht__sense_model(c->sense, c->types, kld, diag));
    } else {
        c->chosen = chosen;
        HT_TRY(ht__sense_model_of(c->sense, put_schemes, c, kld, diag));
    }
    /* what is written will have lost less than what was run here */
    double rounded = ht__budget_rounded(c->b, chosen);
    if (rounded > 0) *kld *= ht__budget_sum_of(c->b, chosen).cost / rounded;
    return HT_OK;
}

/* ---- swaps: one matrix gets a smaller type, another the bytes ---- */

struct swap {
    uint32_t down, up; /* matrices */
    uint32_t down_to, up_to;
    double cost; /* that it adds, as estimated */
};

static int by_cost(const void *a, const void *b)
{
    const struct swap *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    if (x->down != y->down) return x->down < y->down ? -1 : 1;
    return x->up < y->up ? -1 : x->up > y->up;
}

/* The next smaller type that is worth it: the one that costs least a byte. */
static uint32_t step_down(const struct ht__budget_matrix *m, uint32_t from)
{
    uint32_t best = from;
    double rate = INFINITY;
    for (uint32_t i = 0; i < m->n; i++) {
        if (m->options[i].bytes >= m->options[from].bytes) continue;
        double one =
            (m->options[i].cost - m->options[from].cost) / (double)(m->options[from].bytes - m->options[i].bytes);
        if (one < rate) rate = one, best = i;
    }
    return best;
}

/* The type that saves most with these bytes more. */
static uint32_t step_up(const struct ht__budget_matrix *m, uint32_t from, uint64_t bytes)
{
    uint32_t best = from;
    for (uint32_t i = 0; i < m->n; i++)
        if (m->options[i].bytes <= m->options[from].bytes + bytes && m->options[i].cost < m->options[best].cost)
            best = i;
    return best;
}

/* For each matrix that can become smaller, the best use of its bytes. */
static size_t list_swaps(const struct ht__budget_plan *b, const uint32_t *chosen, struct swap *swaps)
{
    uint64_t left = b->limit - ht__budget_sum_of(b, chosen).bytes;
    size_t n = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct ht__budget_matrix *m = &b->matrices[i];
        struct swap best = {.down = i, .down_to = step_down(m, chosen[i]), .cost = INFINITY};
        if (best.down_to == chosen[i]) continue;
        uint64_t freed = m->options[chosen[i]].bytes - m->options[best.down_to].bytes + left;
        double lost = m->options[best.down_to].cost - m->options[chosen[i]].cost;
        for (uint32_t k = 0; k < b->n; k++) {
            const struct ht__budget_matrix *other = &b->matrices[k];
            uint32_t to = k == i ? chosen[k] : step_up(other, chosen[k], freed);
            double cost = lost + other->options[to].cost - other->options[chosen[k]].cost;
            if (to == chosen[k] || cost >= best.cost) continue;
            best.up = k;
            best.up_to = to;
            best.cost = cost;
        }
        if (isfinite(best.cost)) swaps[n++] = best;
    }
    qsort(swaps, n, sizeof *swaps, by_cost);
    return n;
}

static enum ht_err try_swaps(struct check *c, uint32_t *chosen, double *kld, struct ht_diag *diag)
{
    struct ht__arena *arena = &c->plan->arena;
    struct swap *swaps = ht__arena_array(arena, c->b->n + 1, sizeof *swaps);
    uint32_t *other = ht__arena_array(arena, c->b->n + 1, sizeof *other);
    if (!swaps || !other) return ht__fail_memory(diag, "budget");
    size_t n = list_swaps(c->b, chosen, swaps);
    for (size_t i = 0; i < n && i < SWAPS; i++) {
        double one;
        memcpy(other, chosen, c->b->n * sizeof *other);
        other[swaps[i].down] = swaps[i].down_to;
        other[swaps[i].up] = swaps[i].up_to;
        if (ht__budget_sum_of(c->b, other).bytes > c->b->limit) continue; /* an earlier swap took the bytes */
        HT_TRY(run(c, other, &one, diag));
        if (one >= *kld) continue;
        *kld = one;
        memcpy(chosen, other, c->b->n * sizeof *other);
        c->b->taken = "swapped";
    }
    return HT_OK;
}

/* ---- the named mix ---- */

static void note_named(struct ht__budget_plan *b, const char *name, uint64_t size, const uint32_t *one, uint32_t *best)
{
    double cost = ht__budget_sum_of(b, one).cost;
    if (b->named && cost >= b->named_estimated) return;
    b->named = name;
    b->named_size = size;
    b->named_estimated = cost;
    memcpy(best, one, b->n * sizeof *best);
}

/* One scheme of all matrices. */
static bool find_uniform(struct check *c, uint32_t *best, uint32_t *one)
{
    const char *name;
    uint64_t size;
    bool fits;
    for (size_t i = 0; ht__budget_uniform(c->plan, c->b, i, one, &name, &size, &fits); i++)
        if (fits) note_named(c->b, name, size, one, best);
    return c->b->named != NULL;
}

/* Of those that meet the budget the one that should lose least. */
static bool find_named(struct check *c, uint32_t *best, uint32_t *one)
{
    struct ht__budget_plan *b = c->b;
    uint64_t size;
    for (size_t i = 0; ht__quality_at(i); i++) {
        if (ht__quality_at(i)->scheme) continue;
        const struct ht__mix *mix = ht__mix_by_name(ht__quality_at(i)->type);
        if (!ht__budget_named(c->plan, b, mix, one, &size) || size > b->limit) continue;
        note_named(b, mix->name, size, one, best);
    }
    return b->named != NULL;
}

static enum ht_err compare_named(struct check *c, uint32_t *chosen, double *kld, struct ht_diag *diag)
{
    struct ht__arena *arena = &c->plan->arena;
    uint32_t *named = ht__arena_array(arena, c->b->n + 1, sizeof *named);
    uint32_t *one = ht__arena_array(arena, c->b->n + 1, sizeof *one);
    if (!named || !one) return ht__fail_memory(diag, "budget");
    if (!(c->b->mix ? find_named : find_uniform)(c, named, one)) return HT_OK;
    HT_TRY(run(c, named, &c->b->named_divergence, diag));
    if (c->b->named_divergence >= *kld) return HT_OK;
    *kld = c->b->named_divergence;
    memcpy(chosen, named, c->b->n * sizeof *named);
    c->b->taken = "named";
    return HT_OK;
}

enum ht_err ht__budget_check(struct ht__plan *plan, struct ht__budget_plan *b, struct ht__sense *sense,
                             uint32_t *chosen, struct ht_diag *diag)
{
    struct check c = {.plan = plan, .b = b, .sense = sense};
    c.types = ht__arena_array(&plan->arena, plan->model->n_weights + 1, sizeof *c.types);
    if (!c.types) return ht__fail_memory(diag, "budget");
    b->taken = "solved";
    b->named = NULL; /* of an earlier check, with other bytes left */
    HT_TRY(run(&c, chosen, &b->divergence, diag));
    HT_TRY(try_swaps(&c, chosen, &b->divergence, diag));
    HT_TRY(compare_named(&c, chosen, &b->divergence, diag));
    b->estimated = ht__budget_sum_of(b, chosen).cost;
    return HT_OK;
}
