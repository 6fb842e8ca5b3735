#include "calibrate/merge.h"

#include <string.h>

static bool same_site(const struct ht__kept_site *a, const struct ht__kept_site *b)
{
    if (a->site.kind != b->site.kind || a->n_in != b->n_in || a->n_mat != b->n_mat || a->dense != b->dense ||
        a->n_weights != b->n_weights)
        return false;
    for (size_t i = 0; i < a->n_weights; i++)
        if (strcmp(a->weights[i], b->weights[i]) != 0) return false;
    return true;
}

static bool same_layers(const struct ht__kept *a, const struct ht__kept *b)
{
    if (a->n_layers != b->n_layers) return false;
    for (size_t i = 0; i < a->n_layers; i++) {
        if (a->layers[i].layer != b->layers[i].layer || a->layers[i].n != b->layers[i].n) return false;
        for (size_t j = 0; j < a->layers[i].n; j++)
            if (!same_site(&a->layers[i].sites[j], &b->layers[i].sites[j])) return false;
    }
    return true;
}

enum ht_err ht__merge_check(const struct ht__kept *all, size_t n, struct ht_diag *diag)
{
    for (size_t i = 1; i < n; i++) {
        if (strcmp(all[0].model, all[i].model) != 0 || strcmp(all[0].arch, all[i].arch) != 0)
            return ht__fail(diag, HT_ERR_USAGE, all[i].path, -1, "the statistics are of another model than those of %s",
                            all[0].path);
        if (!same_layers(&all[0], &all[i]))
            return ht__fail(diag, HT_ERR_FORMAT, all[i].path, -1, "it has other sites than %s", all[0].path);
    }
    return HT_OK;
}

static void add(double *to, const double *from, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        to[i] += from[i];
}

static void add_site(struct ht__kept_site *to, const struct ht__kept_site *from)
{
    uint64_t n = to->n_in * to->n_mat;
    add(to->rows, from->rows, to->n_mat);
    add(to->squares, from->squares, n);
    add(to->sums, from->sums, n);
    add(to->magnitudes, from->magnitudes, n);
    to->gram_rows += from->gram_rows;
    if (to->dense) add(to->gram, from->gram, to->n_in * (to->n_in + 1) / 2);
}

/* The rows held out of all runs, one behind the other, as if they were one array: those that are kept. */
static bool join_held(struct ht__arena *arena, const struct ht__kept_layer *layers, size_t n, size_t site,
                      struct ht__kept_site *out)
{
    uint64_t all = 0, width = out->n_in * sizeof(float), kept;
    for (size_t i = 0; i < n; i++)
        all += layers[i].sites[site].n_held;
    kept = all < HT__KEPT_HELD ? all : HT__KEPT_HELD;
    float *held = ht__arena_raw(arena, (size_t)(kept * width) + 1);
    if (!held) return false;
    for (uint64_t row = 0, before = 0, run = 0; row < kept; row++) {
        uint64_t from = row * all / kept;
        while (from >= before + layers[run].sites[site].n_held)
            before += layers[run++].sites[site].n_held;
        memcpy(held + row * out->n_in, layers[run].sites[site].held + (from - before) * out->n_in, (size_t)width);
    }
    out->held = held;
    out->n_held = kept;
    return true;
}

enum ht_err ht__merge_layer(const struct ht__kept *all, size_t n, size_t layer, struct ht__arena *arena,
                            struct ht__kept_layer *out, struct ht_diag *diag)
{
    struct ht__kept_layer *layers = ht__arena_array(arena, n, sizeof *layers);
    if (!layers) return ht__fail_memory(diag, "statistics");
    for (size_t i = 0; i < n; i++)
        HT_TRY(ht__kept_read(&all[i], layer, true, arena, &layers[i], diag));
    *out = layers[0];
    for (size_t j = 0; j < out->n; j++) {
        struct ht__kept_site *s = &out->sites[j];
        double *rows =
            ht__arena_array(arena, (size_t)s->n_mat, sizeof *rows); /* its own: the first run keeps what it says */
        if (!rows) return ht__fail_memory(diag, "statistics");
        memcpy(rows, s->rows, (size_t)s->n_mat * sizeof *rows);
        s->rows = rows;
        struct ht__kept_site joined = *s;
        if (s->dense && !join_held(arena, layers, n, j, &joined)) return ht__fail_memory(diag, "statistics");
        for (size_t i = 1; i < n; i++)
            add_site(s, &layers[i].sites[j]);
        s->held = joined.held;
        s->n_held = joined.n_held;
    }
    return HT_OK;
}
