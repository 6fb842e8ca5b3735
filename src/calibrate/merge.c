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

static bool same_sites(const struct ht__kept_layer *a, const struct ht__kept_layer *b)
{
    if (a->layer != b->layer || a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!same_site(&a->sites[i], &b->sites[i])) return false;
    return true;
}

/* ---- whose they are ---- */

static size_t groups_in(const struct ht__kept *k)
{
    return k->n_groups ? k->to_group - k->from_group : 1;
}

/* A part of a text that has fewer groups than parts may have nothing. */
static const struct ht__kept *first_of(const struct ht__kept *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (all[i].n_layers) return &all[i];
    return &all[0];
}

size_t ht__merge_layers(const struct ht__kept *all, size_t n)
{
    const struct ht__kept *first = first_of(all, n);
    return first->n_layers ? first->n_layers / groups_in(first) : 0;
}

static bool same_layers(const struct ht__kept *a, const struct ht__kept *b)
{
    if (b->n_layers == 0) return true;
    if (a->n_layers / groups_in(a) != b->n_layers / groups_in(b)) return false;
    for (size_t i = 0; i < b->n_layers; i++)
        if (!same_sites(&a->layers[i / groups_in(b) * groups_in(a)], &b->layers[i])) return false;
    return true;
}

static bool same_texts(const struct ht__kept *a, const struct ht__kept *b)
{
    if (a->n_texts != b->n_texts) return false;
    for (size_t i = 0; i < a->n_texts; i++) {
        const struct ht__kept_text *s = &a->texts[i], *t = &b->texts[i];
        if (strcmp(s->sha256, t->sha256) != 0 || s->seed != t->seed || s->chunks != t->chunks || s->ctx != t->ctx)
            return false;
    }
    return true;
}

static bool has_group(const struct ht__kept *k, size_t group)
{
    return group >= k->from_group && group < k->to_group;
}

/* Each group in one of them. */
static enum ht_err check_groups(const struct ht__kept *all, size_t n, struct ht_diag *diag)
{
    for (size_t group = 0; group < all[0].n_groups; group++) {
        const struct ht__kept *in = NULL;
        for (size_t i = 0; i < n; i++) {
            if (!has_group(&all[i], group)) continue;
            if (in)
                return ht__fail(diag, HT_ERR_USAGE, all[i].path, -1, "group %zu of %u is in %s too", group + 1,
                                all[0].n_groups, in->path);
            in = &all[i];
        }
        if (!in)
            return ht__fail(
                diag, HT_ERR_USAGE, all[0].path, -1,
                "group %zu of the %u that the text's chunks are summed in is in none of the parts: all parts "
                "of the text are merged together",
                group + 1, all[0].n_groups);
    }
    return HT_OK;
}

static enum ht_err check_alike(const struct ht__kept *a, const struct ht__kept *b, struct ht_diag *diag)
{
    if (strcmp(a->model, b->model) != 0 || strcmp(a->arch, b->arch) != 0)
        return ht__fail(diag, HT_ERR_USAGE, b->path, -1, "the statistics are of another model than those of %s",
                        a->path);
    if (!same_layers(a, b)) return ht__fail(diag, HT_ERR_FORMAT, b->path, -1, "it has other sites than %s", a->path);
    if (!a->n_groups != !b->n_groups)
        return ht__fail(
            diag, HT_ERR_USAGE, b->path, -1,
            "parts of a text are merged by themselves, and what comes of them with others: one of this and %s "
            "is a part",
            a->path);
    if (a->n_groups && (a->n_groups != b->n_groups || !same_texts(a, b)))
        return ht__fail(diag, HT_ERR_USAGE, b->path, -1, "it is a part of another text than %s", a->path);
    return HT_OK;
}

enum ht_err ht__merge_check(const struct ht__kept *all, size_t n, struct ht_diag *diag)
{
    const struct ht__kept *first = first_of(all, n);
    for (size_t i = 0; i < n; i++)
        HT_TRY(check_alike(first, &all[i], diag));
    return check_groups(all, n, diag);
}

/* ---- sums ---- */

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

enum ht_err ht__merge_begin(const struct ht__kept_site *group, uint64_t most_held, struct ht__arena *arena,
                            struct ht__kept_site *whole, struct ht_diag *diag)
{
    size_t n = (size_t)(group->n_in * group->n_mat), n_in = (size_t)group->n_in;
    *whole = *group;
    whole->gram_rows = whole->n_held = 0;
    whole->rows = ht__arena_array(arena, (size_t)group->n_mat, sizeof *whole->rows);
    whole->squares = ht__arena_array(arena, n, sizeof *whole->squares);
    whole->sums = ht__arena_array(arena, n, sizeof *whole->sums);
    whole->magnitudes = ht__arena_array(arena, n, sizeof *whole->magnitudes);
    bool good = whole->rows && whole->squares && whole->sums && whole->magnitudes;
    if (good && group->dense) {
        whole->gram = ht__arena_array(arena, n_in * (n_in + 1) / 2, sizeof *whole->gram);
        whole->held = ht__arena_array(arena, (size_t)most_held + 1, n_in * sizeof *whole->held);
        good = whole->gram && whole->held;
    }
    return good ? HT_OK : ht__fail_memory(diag, "statistics");
}

void ht__merge_group(struct ht__kept_site *whole, const struct ht__kept_site *group, uint64_t most_held)
{
    whole->dense = whole->dense && group->dense;
    add_site(whole, group);
    if (!whole->dense) return;
    uint64_t room = most_held - whole->n_held, n = group->n_held < room ? group->n_held : room;
    if (n) memcpy(whole->held + whole->n_held * whole->n_in, group->held, (size_t)(n * whole->n_in) * sizeof(float));
    whole->n_held += n;
}

/* ---- groups of one text ---- */

static const struct ht__kept *with_group(const struct ht__kept *all, size_t n, size_t group)
{
    for (size_t i = 0; i < n; i++)
        if (has_group(&all[i], group)) return &all[i];
    return NULL;
}

static size_t index_of(const struct ht__kept *k, size_t layer, size_t group)
{
    return layer * groups_in(k) + group - k->from_group;
}

/* Rows that groups held out of a site: as many as one run would have. */
static uint64_t held_of(const struct ht__kept *all, size_t n, size_t layer, size_t site)
{
    uint64_t held = 0;
    for (size_t g = 0; g < all[0].n_groups; g++) {
        const struct ht__kept *k = with_group(all, n, g);
        held += k->layers[index_of(k, layer, g)].sites[site].n_held;
    }
    return held < HT__KEPT_HELD ? held : HT__KEPT_HELD;
}

static enum ht_err add_group(const struct ht__kept *all, size_t n, size_t at, size_t group, struct ht__kept_layer *out,
                             struct ht_diag *diag)
{
    const struct ht__kept *k = with_group(all, n, group);
    struct ht__kept_layer layer;
    struct ht__arena arena;
    ht__arena_init(&arena, k->arena.alloc);
    enum ht_err err = ht__kept_read(k, index_of(k, at, group), true, &arena, &layer, diag);
    for (size_t i = 0; err == HT_OK && i < out->n; i++)
        ht__merge_group(&out->sites[i], &layer.sites[i], held_of(all, n, at, i));
    ht__arena_close(&arena);
    return err;
}

static enum ht_err merge_groups(const struct ht__kept *all, size_t n, size_t at, struct ht__arena *arena,
                                struct ht__kept_layer *out, struct ht_diag *diag)
{
    const struct ht__kept *k = with_group(all, n, 0);
    const struct ht__kept_layer *first = &k->layers[index_of(k, at, 0)];
    *out = *first;
    out->group = 0;
    out->sites = ht__arena_array(arena, first->n + 1, sizeof *out->sites);
    if (!out->sites) return ht__fail_memory(diag, "statistics");
    for (size_t i = 0; i < first->n; i++)
        HT_TRY(ht__merge_begin(&first->sites[i], held_of(all, n, at, i), arena, &out->sites[i], diag));
    for (size_t g = 0; g < all[0].n_groups; g++)
        HT_TRY(add_group(all, n, at, g, out, diag));
    return HT_OK;
}

/* ---- whole texts ---- */

enum ht_err ht__merge_layer(const struct ht__kept *all, size_t n, size_t layer, struct ht__arena *arena,
                            struct ht__kept_layer *out, struct ht_diag *diag)
{
    if (all[0].n_groups) return merge_groups(all, n, layer, arena, out, diag);
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
