#include "calibrate/gather.h"
#include "base/progress.h"
#include "calibrate/groups.h"
#include "calibrate/merge.h"
#include "calibrate/site.h"

#include <math.h>
#include <string.h>

enum { MOST_SITES = 32, MOST_NAMES = 64, COLUMNS = 256 };

/* A site of the layer at hand. */
struct site {
    struct ht__kept_site kept;       /* of the group at hand */
    struct ht__kept_site whole;      /* of those before it, where they are added */
    const struct ht__weight *adding; /* whose rows are added: those of the others are the same */
    struct ht__site_stats stats;     /* of a dense one */
    const char *names[MOST_NAMES];
};

struct gather {
    const struct ht__calibration *cal;
    const struct ht__run *run;
    const struct ht__gather_share *share;
    struct ht__engine *engine;
    struct ht__pool *pool;
    const struct ht__ops *ops;
    const struct ht__weight *output; /* NULL: it has none of its own */
    struct ht__progress progress;
    struct ht__arena arena;            /* of the layer */
    int64_t n_embd, most_held, widest; /* most_held: of a group */
    float *x, *rows;                   /* residual stream of the share's tokens; rows of a pass that are not held out */
    struct site sites[MOST_SITES];
    size_t n;
    size_t group, chunk; /* of the pass at hand */
    int n_seqs;
    struct ht_diag *diag;
    enum ht_err err; /* of what observers did */
};

/* ---- groups --------------------------------------------------------------------------------------- */

static size_t group_begin(const struct gather *g, size_t group)
{
    return ht__group_begin(g->cal->windows.n, group);
}

/* Rows that the windows before a chunk hold out, of those that are kept of the text. */
static int64_t held_before(const struct ht__calibration *cal, size_t chunk)
{
    int64_t n = 0;
    for (size_t i = 0; i < chunk; i++)
        n += cal->windows.at[i].held_out ? cal->n_ctx - 1 : 0;
    return n < HT__KEPT_HELD ? n : HT__KEPT_HELD;
}

static int64_t held_of_group(const struct ht__calibration *cal, size_t group)
{
    size_t n = cal->windows.n;
    return held_before(cal, ht__group_begin(n, group + 1)) - held_before(cal, ht__group_begin(n, group));
}

static int64_t most_of_groups(const struct ht__calibration *cal, const struct ht__gather_share *share)
{
    int64_t most = 0;
    for (size_t i = share->from; i < share->to; i++)
        if (held_of_group(cal, i) > most) most = held_of_group(cal, i);
    return most;
}

struct ht__gather_share ht__gather_whole(const struct ht__calibration *cal)
{
    return (struct ht__gather_share){0, ht__groups_of(cal->windows.n), false};
}

struct ht__gather_share ht__gather_part(const struct ht__calibration *cal, uint32_t part, uint32_t parts)
{
    size_t n = ht__groups_of(cal->windows.n);
    return (struct ht__gather_share){ht__groups_before(n, part - 1, parts), ht__groups_before(n, part, parts), true};
}

/* ---- sites ---------------------------------------------------------------------------------------- */

static struct site *add_site(struct gather *g, const struct ht__weight *w, const struct ht__site *site)
{
    if (g->n == MOST_SITES) return NULL;
    struct site *s = &g->sites[g->n];
    *s = (struct site){.adding = w, .stats = {.alloc = g->run->alloc}};
    struct ht__kept_site *k = &s->kept;
    *k = (struct ht__kept_site){.site = *site, .n_in = (uint64_t)w->ne[0], .n_mat = (uint64_t)w->ne[2]};
    k->dense = k->n_mat == 1 && !ht__slot_of_experts(w->slot);
    k->weights = s->names;
    size_t n = (size_t)(k->n_in * k->n_mat);
    k->rows = ht__arena_array(&g->arena, (size_t)k->n_mat, sizeof *k->rows);
    k->squares = ht__arena_array(&g->arena, n, sizeof *k->squares);
    k->sums = ht__arena_array(&g->arena, n, sizeof *k->sums);
    k->magnitudes = ht__arena_array(&g->arena, n, sizeof *k->magnitudes);
    bool good = k->rows && k->squares && k->sums && k->magnitudes;
    if (!good) g->err = ht__fail_memory(g->diag, w->name);
    g->n++;
    if (good && k->dense) g->err = ht__site_open_float(&s->stats, w->ne[0], g->most_held, g->run->alloc, g->diag);
    s->stats.most_held = held_of_group(g->cal, g->group);
    return g->err == HT_OK ? s : NULL;
}

/* For the next group. */
static void clear_site(const struct gather *g, struct site *s)
{
    struct ht__kept_site *k = &s->kept;
    size_t n = (size_t)(k->n_in * k->n_mat);
    memset(k->rows, 0, (size_t)k->n_mat * sizeof *k->rows);
    memset(k->squares, 0, n * sizeof *k->squares);
    memset(k->sums, 0, n * sizeof *k->sums);
    memset(k->magnitudes, 0, n * sizeof *k->magnitudes);
    if (s->stats.gram) memset(s->stats.gram, 0, (size_t)ht__lower_size((int64_t)k->n_in) * sizeof *s->stats.gram);
    s->stats.n_rows = s->stats.n_held = 0;
    s->stats.most_held = held_of_group(g->cal, g->group);
}

static void close_sites(struct gather *g)
{
    for (size_t i = 0; i < g->n; i++)
        ht__site_close(&g->sites[i].stats);
    g->n = 0;
    ht__arena_reset(&g->arena);
}

static bool has_name(const struct site *s, const char *name)
{
    for (size_t i = 0; i < s->kept.n_weights; i++)
        if (strcmp(s->names[i], name) == 0) return true;
    return false;
}

/* The site of a weight that is multiplied now; NULL: its rows are not to be added. */
static struct site *find_site(struct gather *g, const struct ht__weight *w)
{
    struct ht__site site = ht__slot_site(w->slot);
    struct site *s = NULL;
    if (site.kind == HT__SITE_NONE || g->err != HT_OK) return NULL;
    for (size_t i = 0; i < g->n && !s; i++)
        if (memcmp(&g->sites[i].kept.site, &site, sizeof site) == 0) s = &g->sites[i];
    if (!s) s = add_site(g, w, &site);
    if (!s || s->kept.n_in != (uint64_t)w->ne[0] || s->kept.n_mat != (uint64_t)w->ne[2]) return NULL;
    if (!has_name(s, w->name) && s->kept.n_weights < MOST_NAMES) s->names[s->kept.n_weights++] = w->name;
    return s->adding == w ? s : NULL;
}

/* ---- rows ----------------------------------------------------------------------------------------- */

struct rows {
    const float *x;
    int64_t n_rows, n_in;
    double *squares, *sums, *magnitudes;
};

/* In the order of the rows, whatever the columns' grouping: each column's sums are its own. */
static void add_columns(void *ctx, int64_t task, int thread)
{
    const struct rows *r = ctx;
    int64_t from = task * COLUMNS, to = from + COLUMNS < r->n_in ? from + COLUMNS : r->n_in;
    (void)thread;
    for (int64_t t = 0; t < r->n_rows; t++)
        for (int64_t j = from; j < to; j++) {
            double x = (double)r->x[t * r->n_in + j];
            r->squares[j] += x * x;
            r->sums[j] += x;
            r->magnitudes[j] += fabs(x);
        }
}

static void add_sums(struct gather *g, struct site *s, int64_t mat, const float *x, int64_t n_rows)
{
    int64_t n_in = (int64_t)s->kept.n_in, at = mat * n_in;
    struct rows r = {x, n_rows, n_in, s->kept.squares + at, s->kept.sums + at, s->kept.magnitudes + at};
    ht__pool_run(g->pool, (n_in + COLUMNS - 1) / COLUMNS, add_columns, &r);
    s->kept.rows[mat] += (double)n_rows;
}

/* All tokens of the pass: the first of each chunk is left out, and some chunks are held out. */
static void add_dense(struct gather *g, struct site *s, const float *x)
{
    int64_t n_ctx = g->cal->n_ctx, n_in = (int64_t)s->kept.n_in, n = 0;
    for (int i = 0; i < g->n_seqs; i++) {
        const float *from = x + (i * n_ctx + 1) * n_in;
        add_sums(g, s, 0, from, n_ctx - 1);
        if (g->cal->windows.at[g->chunk + (size_t)i].held_out) {
            ht__site_hold(&s->stats, NULL, from, NULL, n_ctx - 1);
            continue;
        }
        memcpy(g->rows + n * n_in, from, (size_t)((n_ctx - 1) * n_in) * sizeof *from);
        n += n_ctx - 1;
    }
    g->err = ht__site_add(&s->stats, NULL, g->rows, NULL, n, g->ops, g->pool, g->diag);
}

static void watch(void *ctx, const struct ht__weight *w, int64_t mat, const float *x, int64_t n_rows, int64_t n_in)
{
    struct gather *g = ctx;
    struct site *s = find_site(g, w);
    if (!s || (uint64_t)n_in != s->kept.n_in || (uint64_t)mat >= s->kept.n_mat) return;
    if (n_rows != (int64_t)g->n_seqs * g->cal->n_ctx) s->kept.dense = false;
    if (s->kept.dense)
        add_dense(g, s, x);
    else
        add_sums(g, s, mat, x, n_rows);
}

/* A sum of squares is no number from the first activation on that is none. */
static enum ht_err check_finite(const struct gather *g, int layer)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct ht__kept_site *k = &g->sites[i].kept;
        for (uint64_t j = 0; j < k->n_in * k->n_mat; j++)
            if (!isfinite(k->squares[j]))
                return ht__fail(g->diag, HT_ERR_NONFINITE, ht__engine_name(g->engine), -1,
                                "layer %d: what %s takes is not finite in column %llu, from chunk %zu of the text on",
                                layer, g->sites[i].adding->name, (unsigned long long)(j % k->n_in), g->chunk);
    }
    return HT_OK;
}

/* ---- layers --------------------------------------------------------------------------------------- */

/* A pass ends where its group does. */
static int seqs_of(const struct gather *g, size_t chunk, size_t end)
{
    size_t left = end - chunk;
    return left < (size_t)g->cal->n_seqs ? (int)left : g->cal->n_seqs;
}

static float *stream(const struct gather *g, size_t chunk)
{
    return g->x + (int64_t)(chunk - group_begin(g, g->share->from)) * g->cal->n_ctx * g->n_embd;
}

/* Chunks of the share. */
static size_t n_chunks(const struct gather *g)
{
    return group_begin(g, g->share->to) - group_begin(g, g->share->from);
}

static enum ht_err tell(struct gather *g, int layer)
{
    uint64_t tokens = n_chunks(g) * (uint64_t)g->cal->n_ctx;
    size_t chunks = g->chunk + (size_t)g->n_seqs - group_begin(g, g->share->from);
    uint64_t done = chunks * (uint64_t)g->cal->n_ctx;
    const char *name = g->n ? g->sites[0].adding->name : "";
    bool stop = ht__progress_tell(&g->progress, tokens * (uint64_t)layer + done, name);
    return stop ? ht__fail(g->diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : HT_OK;
}

/* What the group at hand has: a gram's lower triangle moved together, of floats. */
static struct ht__kept_site *of_group(struct site *s)
{
    struct ht__kept_site *k = &s->kept;
    if (!k->dense) return k;
    k->gram_rows = (uint64_t)s->stats.n_rows;
    k->n_held = (uint64_t)s->stats.n_held;
    k->held = s->stats.held_q;
    k->gram = s->stats.gram;
    for (uint64_t row = 0, at = 0; row < k->n_in; row++)
        for (uint64_t j = 0; j <= row; j++, at++)
            k->gram[at] = (double)(float)k->gram[ht__lower_row((int64_t)row) + (int64_t)j];
    return k;
}

static enum ht_err add_group(struct gather *g, struct site *s)
{
    uint64_t most = (uint64_t)held_before(g->cal, g->cal->windows.n);
    if (!s->whole.squares) HT_TRY(ht__merge_begin(&s->kept, most, &g->arena, &s->whole, g->diag));
    ht__merge_group(&s->whole, of_group(s), most);
    return HT_OK;
}

/* A group is over: it is handed over, or added to those before it, and these are handed over after the last. */
static enum ht_err end_group(struct gather *g, int32_t layer, ht__gather_fn *done, void *ctx)
{
    struct ht__kept_site sites[MOST_SITES];
    bool last = g->group + 1 == g->share->to, apart = g->share->apart;
    struct ht__kept_layer out = {
        .layer = layer, .group = apart ? (uint32_t)g->group + 1 : 0, .sites = sites, .n = g->n};
    for (size_t i = 0; i < g->n; i++) {
        if (!apart) HT_TRY(add_group(g, &g->sites[i]));
        sites[i] = apart ? *of_group(&g->sites[i]) : g->sites[i].whole;
    }
    if (apart || last) HT_TRY(done(ctx, &out, g->diag));
    g->group++;
    for (size_t i = 0; !last && i < g->n; i++)
        clear_site(g, &g->sites[i]);
    return HT_OK;
}

/* What the engine finds behind a layer was first seen by one of its sites. */
static enum ht_err carry(struct gather *g, int layer)
{
    struct ht_diag found = {0};
    enum ht_err err = ht__engine_layer(g->engine, layer, stream(g, g->chunk), g->n_seqs, g->cal->n_ctx, &found);
    if (g->err != HT_OK) return g->err;
    if (err == HT_OK || err == HT_ERR_NONFINITE) HT_TRY(check_finite(g, layer));
    return err == HT_OK ? HT_OK : ht__fail(g->diag, err, found.where, found.offset, "%s", found.message);
}

/* What a layer, or the output, does with the pass at hand. */
typedef enum ht_err pass_fn(struct gather *g, int layer, float *x);

static enum ht_err each_group(struct gather *g, int layer, int32_t as, pass_fn *pass, float *x, ht__gather_fn *done,
                              void *ctx)
{
    enum ht_err err = HT_OK;
    g->group = g->share->from;
    while (err == HT_OK && g->group < g->share->to) {
        size_t end = group_begin(g, g->group + 1);
        for (g->chunk = group_begin(g, g->group); err == HT_OK && g->chunk < end; g->chunk += (size_t)g->n_seqs) {
            g->n_seqs = seqs_of(g, g->chunk, end);
            err = pass(g, layer, x);
        }
        if (err == HT_OK) err = end_group(g, as, done, ctx);
    }
    close_sites(g);
    return err;
}

static enum ht_err pass_layer(struct gather *g, int layer, float *x)
{
    (void)x;
    HT_TRY(carry(g, layer));
    return tell(g, layer);
}

static enum ht_err pass_output(struct gather *g, int n_layers, float *x)
{
    const struct ht__weight *w = g->output;
    ht__engine_output_input(g->engine, stream(g, g->chunk), g->n_seqs * g->cal->n_ctx, x);
    watch(g, w, 0, x, g->n_seqs * g->cal->n_ctx, g->n_embd);
    HT_TRY(g->err);
    return check_finite(g, n_layers);
}

/* What the output matrix takes, where it is one of its own. */
static enum ht_err output(struct gather *g, int n_layers, ht__gather_fn *done, void *ctx)
{
    size_t rows = (size_t)g->cal->n_seqs * (size_t)g->cal->n_ctx;
    float *x = ht__new_array(g->run->alloc, rows, (size_t)g->n_embd * sizeof *x);
    enum ht_err err = x ? HT_OK : ht__fail_memory(g->diag, "activations");
    if (err == HT_OK) err = each_group(g, n_layers, -1, pass_output, x, done, ctx);
    ht__free(g->run->alloc, x);
    return err;
}

static enum ht_err embed(struct gather *g)
{
    const struct ht__windows *w = &g->cal->windows;
    size_t n_ctx = (size_t)g->cal->n_ctx, end = group_begin(g, g->share->to);
    for (size_t c = 0; g->cal->bos >= 0 && c < w->n; c++)
        w->tokens[c * n_ctx] = g->cal->bos;
    HT_TRY(ht__engine_check_tokens(g->engine, g->cal->dataset, w->tokens, w->n * n_ctx, g->diag));
    for (size_t c = group_begin(g, g->share->from); c < end; c += (size_t)g->cal->n_seqs)
        HT_TRY(ht__engine_embed(g->engine, w->tokens + c * n_ctx, seqs_of(g, c, end), g->cal->n_ctx, stream(g, c),
                                g->diag));
    return HT_OK;
}

static enum ht_err all(struct gather *g, const struct ht__model *model, ht__gather_fn *done, void *ctx)
{
    int n = ht__engine_hparams(g->engine)->n_layers;
    g->output = ht__model_find(model, HT__ROLE_OUTPUT);
    ht__progress_begin(&g->progress, g->run, "calibrate", "tokens",
                       n_chunks(g) * (uint64_t)g->cal->n_ctx * (uint64_t)n);
    HT_TRY(embed(g));
    ht__engine_observe(g->engine, watch, g);
    for (int i = 0; i < n; i++)
        HT_TRY(each_group(g, i, i, pass_layer, NULL, done, ctx));
    ht__engine_observe(g->engine, NULL, NULL);
    return g->output ? output(g, n, done, ctx) : HT_OK;
}

/* ---- what it takes -------------------------------------------------------------------------------- */

/* Of all layers, each kind of site once, with so many rows held out and bytes for a number of a gram; and the widest input. */
static enum ht_err sites_need(const struct ht__model *model, uint64_t held, uint64_t number, uint64_t *bytes,
                              int64_t *widest, struct ht_diag *diag)
{
    unsigned *seen = ht__new_array(model->arena.alloc, (size_t)model->n_layers + 1, sizeof *seen);
    if (!seen) return ht__fail_memory(diag, "statistics");
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[i];
        struct ht__site site = ht__slot_site(w->slot);
        size_t at = site.layer < 0 ? model->n_layers : (size_t)site.layer;
        uint64_t n = (uint64_t)w->ne[0], n_mat = (uint64_t)w->ne[2];
        if (site.kind == HT__SITE_NONE || w->slot.bias || at > model->n_layers || (seen[at] >> site.kind & 1)) continue;
        seen[at] |= 1U << site.kind;
        if (w->ne[0] > *widest) *widest = w->ne[0];
        *bytes += 3 * n * n_mat * sizeof(double);
        if (n_mat == 1 && !ht__slot_of_experts(w->slot)) *bytes += n * (n + 1) / 2 * number + held * n * sizeof(float);
    }
    ht__free(model->arena.alloc, seen);
    return HT_OK;
}

enum ht_err ht__gather_size(const struct ht__calibration *cal, const struct ht__model *model,
                            const struct ht__gather_share *share, uint64_t *bytes, struct ht_diag *diag)
{
    int64_t widest = 0;
    uint64_t one = 0;
    *bytes = 0;
    if (!share->apart)
        return sites_need(model, (uint64_t)held_before(cal, cal->windows.n), sizeof(double), bytes, &widest, diag);
    for (size_t i = share->from; i < share->to; i++, *bytes += one, one = 0)
        HT_TRY(sites_need(model, (uint64_t)held_of_group(cal, i), sizeof(float), &one, &widest, diag));
    return HT_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

static enum ht_err open_parts(struct gather *g, struct ht__calibration *cal, const struct ht__model *model)
{
    struct ht__hparams h;
    uint64_t bytes = 0;
    size_t pass = (size_t)cal->n_seqs * (size_t)cal->n_ctx;
    HT_TRY(ht__hparams_read(model, "model", &h, g->diag));
    g->n_embd = h.n_embd;
    g->most_held = most_of_groups(cal, g->share);
    g->widest = h.n_embd;
    HT_TRY(sites_need(model, 0, 0, &bytes, &g->widest, g->diag));
    g->x = ht__new_array(g->run->alloc, n_chunks(g) * (size_t)cal->n_ctx, (size_t)g->n_embd * sizeof *g->x);
    g->rows = ht__new_array(g->run->alloc, pass, (size_t)g->widest * sizeof *g->rows);
    if (!g->x || !g->rows) return ht__fail_memory(g->diag, "activations");
    HT_TRY(ht__pool_open(g->run->n_threads, g->run->alloc, &g->pool, g->diag));
    return ht__calibration_engine(cal, g->run, model, &g->engine, g->diag);
}

enum ht_err ht__gather(struct ht__calibration *cal, const struct ht__run *run, const struct ht__model *model,
                       const struct ht__gather_share *share, ht__gather_fn *done, void *ctx, struct ht_diag *diag)
{
    if (share->from == share->to) return HT_OK; /* a part of a text with fewer groups than parts */
    struct gather *g = ht__new(run->alloc, sizeof *g);
    if (!g) return ht__fail_memory(diag, "statistics");
    *g = (struct gather){.cal = cal, .run = run, .share = share, .ops = ht__ops(ht__cpu_best()), .diag = diag};
    ht__arena_init(&g->arena, run->alloc);
    enum ht_err err = open_parts(g, cal, model);
    if (err == HT_OK) err = all(g, model, done, ctx);
    cal->layers = g->engine ? ht__engine_stats(g->engine) : cal->layers;
    close_sites(g);
    ht__engine_close(&g->engine);
    ht__pool_close(&g->pool);
    ht__arena_close(&g->arena);
    ht__free(run->alloc, g->x);
    ht__free(run->alloc, g->rows);
    ht__free(run->alloc, g);
    return err;
}
