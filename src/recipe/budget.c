#include "recipe/budget.h"
#include "base/arena.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STATES = 1 << 21 }; /* 24 bytes each, of all groups together */

/* An option that is worth a look: of its group none is as small and as cheap. */
struct option {
    uint64_t bytes;
    double cost;
    uint32_t at; /* in the caller's list */
};
struct group {
    struct option *options; /* by bytes; costs fall */
    size_t n;
    uint32_t *hull; /* corners of their convex hull */
    size_t n_hull;
    size_t best; /* the least of cost + m bytes */
    double gap;  /* from it to the next one; the groups with small gaps come last */
    uint32_t at; /* in the caller's list */
};
/* From one corner of a group's hull to the next. */
struct step {
    uint32_t group, to;
    uint64_t bytes;
    double gain, rate; /* cost that it saves; the same a byte */
};
struct state {
    uint64_t bytes;
    double cost;
    uint32_t from, option; /* the state of the group before; the option that was taken */
};

struct solver {
    struct ht__arena arena;
    struct group *groups;
    size_t n;
    struct step *steps;
    size_t n_steps;
};

/* ---- options, hulls, steps ---- */

static int by_bytes(const void *a, const void *b)
{
    const struct option *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static double rate(const struct option *a, const struct option *b)
{
    return (a->cost - b->cost) / (double)(b->bytes - a->bytes);
}

static void find_hull(struct group *g)
{
    for (size_t i = 0; i < g->n; i++) {
        while (g->n_hull > 1 && rate(&g->options[g->hull[g->n_hull - 1]], &g->options[i]) >=
                                    rate(&g->options[g->hull[g->n_hull - 2]], &g->options[g->hull[g->n_hull - 1]]))
            g->n_hull--;
        g->hull[g->n_hull++] = (uint32_t)i;
    }
}

static bool open_group(struct solver *s, const struct ht__budget_group *from, struct group *g)
{
    struct option *all = ht__arena_array(&s->arena, from->n, sizeof *all);
    g->hull = ht__arena_array(&s->arena, from->n, sizeof *g->hull);
    if (!all || !g->hull) return false;
    for (size_t i = 0; i < from->n; i++)
        all[i] = (struct option){from->options[i].bytes, from->options[i].cost, (uint32_t)i};
    qsort(all, from->n, sizeof *all, by_bytes);
    for (size_t i = 0; i < from->n; i++)
        if (g->n == 0 || all[i].cost < all[g->n - 1].cost) all[g->n++] = all[i];
    g->options = all;
    find_hull(g);
    return true;
}

/* The best rate first; within a group rates fall from corner to corner, so that its own order stays. */
static int by_rate(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    if (x->rate != y->rate) return x->rate > y->rate ? -1 : 1;
    if (x->group != y->group) return x->group < y->group ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

static bool list_steps(struct solver *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->groups[i].n_hull - 1;
    s->steps = ht__arena_array(&s->arena, n + 1, sizeof *s->steps);
    if (!s->steps) return false;
    for (size_t i = 0; i < s->n; i++) {
        const struct group *g = &s->groups[i];
        for (uint32_t k = 1; k < g->n_hull; k++) {
            const struct option *a = &g->options[g->hull[k - 1]], *b = &g->options[g->hull[k]];
            s->steps[s->n_steps++] = (struct step){(uint32_t)i, k, b->bytes - a->bytes, a->cost - b->cost, rate(a, b)};
        }
    }
    qsort(s->steps, s->n_steps, sizeof *s->steps, by_rate);
    return true;
}

static enum ht_err open_solver(struct solver *s, const struct ht__budget_group *groups, size_t n,
                               const struct ht__alloc *alloc, struct ht_diag *diag)
{
    memset(s, 0, sizeof *s);
    ht__arena_init(&s->arena, alloc);
    s->n = n;
    s->groups = ht__arena_array(&s->arena, n + 1, sizeof *s->groups);
    if (!s->groups) return ht__fail_memory(diag, "budget");
    for (size_t i = 0; i < n; i++) {
        if (!open_group(s, &groups[i], &s->groups[i])) return ht__fail_memory(diag, "budget");
        s->groups[i].at = (uint32_t)i;
    }
    return list_steps(s) ? HT_OK : ht__fail_memory(diag, "budget");
}

static struct ht__budget_sum smallest(const struct solver *s)
{
    struct ht__budget_sum sum = {0, 0};
    for (size_t i = 0; i < s->n; i++) {
        sum.bytes += s->groups[i].options[0].bytes;
        sum.cost += s->groups[i].options[0].cost;
    }
    return sum;
}

uint64_t ht__budget_least(const struct ht__budget_group *groups, size_t n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t least = groups[i].options[0].bytes;
        for (size_t k = 1; k < groups[i].n; k++)
            if (groups[i].options[k].bytes < least) least = groups[i].options[k].bytes;
        sum += least;
    }
    return sum;
}

enum ht_err ht__budget_curve(const struct ht__budget_group *groups, size_t n, const struct ht__alloc *alloc,
                             size_t most, struct ht__budget_sum *points, size_t *n_points, struct ht_diag *diag)
{
    struct solver s;
    *n_points = 0;
    enum ht_err err = open_solver(&s, groups, n, alloc, diag);
    if (err == HT_OK) {
        struct ht__budget_sum sum = smallest(&s), last = sum;
        uint64_t all = 0, gone = 0;
        for (size_t i = 0; i < s.n_steps; i++)
            all += s.steps[i].bytes;
        if (most) points[(*n_points)++] = sum;
        for (size_t i = 0; i < s.n_steps; i++) {
            gone += s.steps[i].bytes;
            last.bytes = sum.bytes += s.steps[i].bytes;
            last.cost = sum.cost -= s.steps[i].gain;
            bool due = (double)gone * (double)(most - 1) >= (double)all * (double)*n_points;
            if (*n_points < most && (due || i + 1 == s.n_steps)) points[(*n_points)++] = last;
        }
    }
    ht__arena_close(&s.arena);
    return err;
}

/* ---- the exact solution ---- */

struct search {
    struct solver *s;
    uint64_t limit;
    double m; /* cost of a byte */
    /* from each group on: the least bytes; cost and bytes of the best by m */
    uint64_t *least, *best_bytes;
    double *best_cost;
    struct state **states; /* by group: those behind it */
    size_t *n_states, total;
    /* the best solution known: the state, behind how many groups; the rest takes what is best by m. level SIZE_MAX: `greedy` */
    double cost;
    size_t level;
    uint32_t state;
    uint32_t *greedy; /* by group, an option */
    bool dropped;
};

/* Steps in their order, as far as they fit; m is the rate of the first that does not. */
static void be_greedy(struct search *q)
{
    struct solver *s = q->s;
    struct ht__budget_sum sum = smallest(s);
    bool stopped = false;
    for (size_t i = 0; i < s->n_steps; i++) {
        const struct step *t = &s->steps[i];
        struct group *g = &s->groups[t->group];
        bool next = q->greedy[t->group] == g->hull[t->to - 1];
        if (next && t->bytes <= q->limit - sum.bytes) {
            sum.bytes += t->bytes;
            sum.cost -= t->gain;
            q->greedy[t->group] = g->hull[t->to];
        } else if (!stopped) {
            q->m = t->rate;
            stopped = true;
        }
    }
    q->level = SIZE_MAX;
    q->cost = 0;
    for (size_t i = 0; i < s->n; i++)
        q->cost += s->groups[i].options[q->greedy[i]].cost;
}

static double priced(const struct search *q, const struct option *o)
{
    return o->cost + q->m * (double)o->bytes;
}

static void price_group(const struct search *q, struct group *g)
{
    g->best = 0;
    g->gap = DBL_MAX;
    for (size_t i = 1; i < g->n; i++)
        if (priced(q, &g->options[i]) < priced(q, &g->options[g->best])) g->best = i;
    for (size_t i = 0; i < g->n; i++) {
        double gap = priced(q, &g->options[i]) - priced(q, &g->options[g->best]);
        if (i != g->best && gap < g->gap) g->gap = gap;
    }
}

static int by_gap(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->gap != y->gap) return x->gap > y->gap ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static bool open_search(struct search *q)
{
    struct solver *s = q->s;
    q->greedy = ht__arena_array(&s->arena, s->n + 1, sizeof *q->greedy);
    q->least = ht__arena_array(&s->arena, s->n + 1, sizeof *q->least);
    q->best_bytes = ht__arena_array(&s->arena, s->n + 1, sizeof *q->best_bytes);
    q->best_cost = ht__arena_array(&s->arena, s->n + 1, sizeof *q->best_cost);
    q->states = ht__arena_array(&s->arena, s->n + 1, sizeof *q->states);
    q->n_states = ht__arena_array(&s->arena, s->n + 1, sizeof *q->n_states);
    return q->greedy && q->least && q->best_bytes && q->best_cost && q->states && q->n_states;
}

/* `greedy` is by the caller's order until here, and by that of the groups behind. */
static bool order_groups(struct search *q)
{
    struct solver *s = q->s;
    uint32_t *by_caller = ht__arena_array(&s->arena, s->n + 1, sizeof *by_caller);
    if (!by_caller) return false;
    memcpy(by_caller, q->greedy, s->n * sizeof *by_caller);
    for (size_t i = 0; i < s->n; i++)
        price_group(q, &s->groups[i]);
    qsort(s->groups, s->n, sizeof *s->groups, by_gap);
    for (size_t i = 0; i < s->n; i++)
        q->greedy[i] = by_caller[s->groups[i].at];
    for (size_t i = s->n; i-- > 0;) {
        const struct group *g = &s->groups[i];
        q->least[i] = q->least[i + 1] + g->options[0].bytes;
        q->best_bytes[i] = q->best_bytes[i + 1] + g->options[g->best].bytes;
        q->best_cost[i] = q->best_cost[i + 1] + g->options[g->best].cost;
    }
    return true;
}

/* What no solution that goes on from here can go below. */
static double bound(const struct search *q, size_t level, uint64_t bytes, double cost)
{
    double rest = q->best_cost[level] + q->m * (double)q->best_bytes[level];
    return cost + rest - q->m * (double)(q->limit - bytes);
}

/* The states of one option, in order: those of the level before, moved. */
struct stream {
    const struct option *option;
    size_t at;
};

static struct state next_state(const struct search *q, size_t level, const struct stream *t)
{
    const struct state *from = &q->states[level][t->at];
    uint32_t option = (uint32_t)(t->option - q->s->groups[level].options);
    return (struct state){from->bytes + t->option->bytes, from->cost + t->option->cost, (uint32_t)t->at, option};
}

/* The next in order of bytes, then of cost. */
static struct stream *first_of(const struct search *q, size_t level, struct stream *streams, size_t n,
                               struct state *state)
{
    struct stream *first = NULL;
    for (size_t i = 0; i < n; i++) {
        if (streams[i].at >= q->n_states[level]) continue;
        struct state one = next_state(q, level, &streams[i]);
        if (first && (one.bytes > state->bytes || (one.bytes == state->bytes && one.cost >= state->cost))) continue;
        first = &streams[i];
        *state = one;
    }
    return first;
}

/* If the rest takes what is best by m, is that the best solution yet? */
static void try_to_end(struct search *q, size_t level, const struct state *state, uint32_t at)
{
    double cost = state->cost + q->best_cost[level];
    if (q->best_bytes[level] > q->limit - state->bytes || cost >= q->cost) return;
    q->cost = cost;
    q->level = level;
    q->state = at;
}

static bool is_hopeless(const struct search *q, size_t level, const struct state *state)
{
    return q->least[level] > q->limit || state->bytes > q->limit - q->least[level] ||
           bound(q, level, state->bytes, state->cost) >= q->cost;
}

static bool one_level(struct search *q, size_t level, struct stream *streams)
{
    const struct group *g = &q->s->groups[level];
    size_t room = q->n_states[level] * g->n, n = 0;
    if (room > MOST_STATES - q->total) room = MOST_STATES - q->total;
    struct state *out = ht__new_array(q->s->arena.alloc, room + 1, sizeof *out), state;
    if (!out) return false;
    for (size_t i = 0; i < g->n; i++)
        streams[i] = (struct stream){&g->options[i], 0};
    for (struct stream *t; (t = first_of(q, level, streams, g->n, &state)) != NULL; t->at++) {
        if ((n && state.cost >= out[n - 1].cost) || is_hopeless(q, level + 1, &state)) continue;
        if (n == room) {
            q->dropped = true;
            break;
        }
        out[n] = state;
        try_to_end(q, level + 1, &state, (uint32_t)n++);
    }
    q->states[level + 1] = ht__arena_array(&q->s->arena, n + 1, sizeof *out);
    if (q->states[level + 1]) memcpy(q->states[level + 1], out, n * sizeof *out);
    ht__free(q->s->arena.alloc, out);
    q->n_states[level + 1] = n;
    q->total += n;
    return q->states[level + 1] != NULL;
}

static void take_solution(const struct search *q, uint32_t *chosen, struct ht__budget_sum *sum)
{
    const struct solver *s = q->s;
    uint32_t state = q->state;
    *sum = (struct ht__budget_sum){0, 0};
    for (size_t i = s->n; i-- > 0;) {
        const struct group *g = &s->groups[i];
        uint32_t option = q->level == SIZE_MAX ? q->greedy[i] : (uint32_t)g->best;
        if (q->level != SIZE_MAX && i < q->level) {
            option = q->states[i + 1][state].option;
            state = q->states[i + 1][state].from;
        }
        chosen[g->at] = g->options[option].at;
        sum->bytes += g->options[option].bytes;
        sum->cost += g->options[option].cost;
    }
}

static enum ht_err search(struct search *q, struct ht_diag *diag)
{
    struct solver *s = q->s;
    size_t most = 1;
    if (!open_search(q)) return ht__fail_memory(diag, "budget");
    be_greedy(q);
    if (!order_groups(q)) return ht__fail_memory(diag, "budget");
    for (size_t i = 0; i < s->n; i++)
        if (s->groups[i].n > most) most = s->groups[i].n;
    struct stream *streams = ht__arena_array(&s->arena, most, sizeof *streams);
    q->states[0] = ht__arena_new(&s->arena, sizeof **q->states);
    if (!streams || !q->states[0]) return ht__fail_memory(diag, "budget");
    q->n_states[0] = 1;
    try_to_end(q, 0, q->states[0], 0);
    for (size_t i = 0; i < s->n; i++)
        if (!one_level(q, i, streams)) return ht__fail_memory(diag, "budget");
    return HT_OK;
}

enum ht_err ht__budget_solve(const struct ht__budget_group *groups, size_t n, uint64_t limit,
                             const struct ht__alloc *alloc, uint32_t *chosen, struct ht__budget_sum *sum,
                             double *lowest, bool *exact, struct ht_diag *diag)
{
    struct solver s;
    struct search q = {.s = &s, .limit = limit};
    if (ht__budget_least(groups, n) > limit)
        return ht__fail(diag, HT_ERR_LIMIT, "budget", -1, "the smallest choice is larger than the limit");
    enum ht_err err = open_solver(&s, groups, n, alloc, diag);
    if (err == HT_OK) err = search(&q, diag);
    if (err == HT_OK) {
        take_solution(&q, chosen, sum);
        *exact = !q.dropped;
        double least = bound(&q, 0, 0, 0);
        *lowest = q.dropped && least < sum->cost ? least : sum->cost;
    }
    ht__arena_close(&s.arena);
    return err;
}
