/*
 * HQQ's solver (half-quadratic quantization, Badri and Shaji, https://mobiusml.github.io/hqq_blog/), for grids of whole
 * numbers: nothing but the weights is looked at.
 *
 *   argmin sum |w - w^|^p over scales and zero points, p below 1: a few large errors matter less than many small ones.
 *   It is split: E = shrink(w - w^) takes the large errors away, and scales and zero points are fitted to w - E, in turns.
 *
 * HQQ keeps zero points as floats; in the formats that this is for they are whole, which costs a little.
 */
#include "methods/method.h"

#include <math.h>
#include <string.h>

enum option { POWER, ROUNDS };

struct group {
    const struct ht__method_params *method;
    const struct ht__scheme_params *params;
    struct ht__matrix matrix; /* of one row, the group */
    const float *x, *importance;
    struct ht__codes codes;
    float *pulled, *value; /* w - E; w^ */
    float *scale, *zero;   /* the best so far */
};

static double weight_of(const struct group *g, int64_t i)
{
    return g->importance ? (double)g->importance[i] : 1;
}

/* Codes and values under the scale and zero point at hand. */
static void look(struct group *g, const float *x)
{
    g->params->scheme->nearest(g->params, &g->matrix, x, &g->codes);
    g->params->scheme->value(g->params, &g->matrix, &g->codes, g->value);
}

static double loss(const struct group *g)
{
    double sum = 0;
    for (int64_t i = 0; i < g->matrix.n_in; i++)
        sum += weight_of(g, i) * pow(fabs((double)g->x[i] - (double)g->value[i]), g->method->option[POWER]);
    return sum;
}

/* E of the errors, in steps of the scale: sign(e) max(|e| - |e|^(p - 1) / beta, 0). */
static void pull(struct group *g, double beta)
{
    double step = fabs((double)g->codes.scale[0]), p = g->method->option[POWER];
    for (int64_t i = 0; i < g->matrix.n_in; i++) {
        double e = (double)g->x[i] - (double)g->value[i], size = fabs(e) / step;
        double left = size > 0 ? size - pow(size, p - 1) / beta : 0;
        g->pulled[i] = (float)((double)g->x[i] - (left > 0 ? copysign(left * step, e) : 0));
    }
}

static void solve(struct group *g)
{
    double beta = 2, least;
    g->params->scheme->fit(g->params, &g->matrix, g->x, g->importance, &g->codes);
    look(g, g->x);
    least = loss(g);
    *g->scale = *g->codes.scale;
    *g->zero = *g->codes.zero;
    for (int i = 0; i < (int)g->method->option[ROUNDS]; i++, beta *= 1.2) {
        pull(g, beta);
        g->params->scheme->fit(g->params, &g->matrix, g->pulled, g->importance, &g->codes);
        look(g, g->x);
        double here = loss(g);
        if (!(here < least)) continue;
        least = here;
        *g->scale = *g->codes.scale;
        *g->zero = *g->codes.zero;
    }
    *g->codes.scale = *g->scale;
    *g->codes.zero = *g->zero;
    look(g, g->x);
}

static bool rows(const struct ht__method_params *method, const struct ht__scheme_params *params,
                 const struct ht__matrix *matrix, const float *x, const float *importance, struct ht__codes *codes)
{
    int64_t n_groups = params->scheme->groups(params, matrix, 1), n = matrix->n_in / n_groups;
    struct ht__arena arena;
    struct group g = {.method = method, .params = params, .matrix = *matrix};
    ht__arena_init(&arena, NULL);
    g.matrix.n_out = 1;
    g.matrix.n_in = n;
    g.pulled = ht__arena_array(&arena, (size_t)n, 2 * sizeof(float));
    float best[2];
    g.scale = &best[0];
    g.zero = &best[1];
    if (g.pulled) g.value = g.pulled + n;
    for (int64_t i = 0; g.pulled && i < codes->n_rows * n_groups; i++) {
        g.x = x + i * n;
        g.importance = importance ? importance + i % n_groups * n : NULL;
        g.codes =
            (struct ht__codes){.n_rows = 1, .q = codes->q + i * n, .scale = codes->scale + i, .zero = codes->zero + i};
        solve(&g);
    }
    bool done = g.pulled != NULL;
    ht__arena_close(&arena);
    return done;
}

static const char *unsuited(const struct ht__scheme_params *params)
{
    bool whole = ht__scheme_flags(params) & HT__SCHEME_ZERO && !params->scheme->rows;
    return whole ? NULL : "HQQ's solver is for whole numbers with zero points";
}

static const struct ht__scheme_option options[] = {
    [POWER] = {"power", "the power of errors that is summed", NULL, .otherwise = 0.7, .least = 0.1, .most = 4},
    [ROUNDS] = {"rounds", "times that scales are fitted anew", NULL, .otherwise = 20, .least = 0, .most = 200},
    {.name = NULL},
};

const struct ht__method ht__method_hqq = {
    .name = "hqq",
    .about = "scales and zero points by HQQ's half-quadratic solver, without calibration",
    .options = options,
    .unsuited = unsuited,
    .rows = rows,
};
