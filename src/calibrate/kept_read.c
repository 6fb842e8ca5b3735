/* Reading a folder of statistics, which may be anything. */
#include "base/check.h"
#include "base/file.h"
#include "base/hash.h"
#include "calibrate/groups.h"
#include "calibrate/kept.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char marker[] = "statistics.json";
enum { MOST_JSON = 64 << 20, MOST_COLUMNS = 1 << 22, MOST_MATRICES = 1 << 16, PIECE = 1 << 20 };

bool ht__kept_is_there(const char *path)
{
    char file[HT__KEPT_PATH];
    return ht__path_is_dir(path) && ht__path_join(file, sizeof file, path, marker, NULL) == HT_OK &&
           ht__path_exists(file);
}

/* ---- statistics.json ------------------------------------------------------------------------------ */

struct reader {
    struct ht__kept *kept;
    char file[HT__KEPT_PATH];
    struct ht_diag *diag;
};

static enum ht_err wrong(const struct reader *r, const char *why)
{
    return ht__fail(r->diag, HT_ERR_FORMAT, r->file, -1, "%s", why);
}

static bool is_hash(const char *text)
{
    return text && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static enum ht_err read_text(const struct reader *r, const struct ht__jnode *node, struct ht__kept_text *t)
{
    t->name = ht__jstr(node, "text", NULL);
    const char *sha256 = ht__jstr(node, "sha256", NULL);
    int64_t seed = ht__jint(node, "seed", -1), chunks = ht__jint(node, "chunks", -1), ctx = ht__jint(node, "ctx", -1);
    if (!t->name || !is_hash(sha256) || seed < 0 || chunks < 1 || ctx < 1) return wrong(r, "a text is not described");
    memcpy(t->sha256, sha256, sizeof t->sha256);
    t->seed = (uint64_t)seed;
    t->chunks = (uint64_t)chunks;
    t->ctx = (uint64_t)ctx;
    return HT_OK;
}

static bool find_kind(const char *name, enum ht__site_kind *kind)
{
    for (int i = HT__SITE_NONE + 1; name && i <= HT__SITE_OUTPUT; i++)
        if (strcmp(name, ht__kept_site_name((enum ht__site_kind)i)) == 0) return *kind = (enum ht__site_kind)i, true;
    return false;
}

static enum ht_err read_names(const struct reader *r, const struct ht__jnode *node, struct ht__kept_site *s)
{
    const struct ht__jnode *list = ht__jget(node, "weights");
    if (!list || list->type != HT__JSON_ARRAY || list->n == 0) return wrong(r, "a site has no weights");
    s->weights = ht__arena_array(&r->kept->arena, list->n, sizeof *s->weights);
    if (!s->weights) return ht__fail_memory(r->diag, r->file);
    for (size_t i = 0; i < list->n; i++) {
        if (list->children[i].type != HT__JSON_STRING) return wrong(r, "the name of a weight is no text");
        s->weights[i] = list->children[i].text;
    }
    s->n_weights = list->n;
    return HT_OK;
}

static enum ht_err read_rows(const struct reader *r, const struct ht__jnode *node, struct ht__kept_site *s)
{
    const struct ht__jnode *list = ht__jget(node, "rows");
    if (!list || list->type != HT__JSON_ARRAY || list->n != s->n_mat)
        return wrong(r, "a site has no number of rows for each matrix");
    s->rows = ht__arena_array(&r->kept->arena, list->n, sizeof *s->rows);
    if (!s->rows) return ht__fail_memory(r->diag, r->file);
    for (size_t i = 0; i < list->n; i++) {
        const struct ht__jnode *n = &list->children[i];
        if (n->type != HT__JSON_NUMBER || !n->is_int || n->integer < 0) return wrong(r, "a number of rows is none");
        s->rows[i] = (double)n->integer;
    }
    return HT_OK;
}

static enum ht_err read_site(const struct reader *r, const struct ht__jnode *node, int32_t layer,
                             struct ht__kept_site *s)
{
    int64_t columns = ht__jint(node, "columns", 0), matrices = ht__jint(node, "matrices", 0);
    int64_t gram_rows = ht__jint(node, "gram_rows", -1), held = ht__jint(node, "held_out_rows", -1);
    s->site = (struct ht__site){layer, HT__SITE_NONE, -1};
    s->dense = ht__jbool(node, "gram", false);
    if (!find_kind(ht__jstr(node, "site", NULL), &s->site.kind)) return wrong(r, "a site of an unknown kind");
    if (columns < 1 || columns > MOST_COLUMNS || matrices < 1 || matrices > MOST_MATRICES ||
        (s->dense && matrices != 1) || gram_rows < 0 || held < 0 || held > INT32_MAX ||
        (!s->dense && (gram_rows || held)))
        return wrong(r, "the numbers of a site make no sense");
    s->n_in = (uint64_t)columns;
    s->n_mat = (uint64_t)matrices;
    s->gram_rows = (uint64_t)gram_rows;
    s->n_held = (uint64_t)held;
    HT_TRY(read_rows(r, node, s));
    return read_names(r, node, s);
}

/* The file is as large as what it is said to hold: then as much memory may be taken for it. */
static enum ht_err check_size(const struct reader *r, const struct ht__kept_layer *layer)
{
    struct ht__file file;
    char name[48], path[HT__KEPT_PATH + 50];
    ht__kept_file_name(layer, name);
    snprintf(path, sizeof path, "%s/%s", r->kept->path, name);
    HT_TRY(ht__file_open(&file, path, r->diag));
    uint64_t want = ht__kept_bytes(layer), got = file.size;
    ht__file_close(&file);
    if (want == got) return HT_OK;
    return ht__fail(r->diag, HT_ERR_FORMAT, path, -1, "it has %llu bytes, but statistics.json describes %llu",
                    (unsigned long long)got, (unsigned long long)want);
}

static enum ht_err read_layer(const struct reader *r, const struct ht__jnode *node, size_t index,
                              struct ht__kept_layer *layer)
{
    const struct ht__jnode *sites = ht__jget(node, "sites");
    const char *sha256 = ht__jstr(node, "sha256", NULL);
    int64_t at = ht__jint(node, "layer", INT64_MIN), group = ht__jint(node, "group", 0);
    size_t groups = r->kept->n_groups ? r->kept->to_group - r->kept->from_group : 1;
    int64_t want = r->kept->n_groups ? (int64_t)(r->kept->from_group + index % groups + 1) : 0;
    bool last = index / groups + 1 == r->kept->n_layers / groups;
    if ((at != (int64_t)(index / groups) && !(at == -1 && last)) || group != want)
        return wrong(r, "the layers are not in their order");
    if (!is_hash(sha256) || !sites || sites->type != HT__JSON_ARRAY) return wrong(r, "a layer is not described");
    layer->layer = (int32_t)at;
    layer->group = (uint32_t)group;
    layer->n = sites->n;
    memcpy(layer->sha256, sha256, sizeof layer->sha256);
    layer->sites = ht__arena_array(&r->kept->arena, sites->n + 1, sizeof *layer->sites);
    if (!layer->sites) return ht__fail_memory(r->diag, r->file);
    unsigned seen = 0;
    for (size_t i = 0; i < sites->n; i++) {
        HT_TRY(read_site(r, &sites->children[i], layer->layer, &layer->sites[i]));
        unsigned bit = 1U << layer->sites[i].site.kind;
        if (seen & bit) return wrong(r, "a layer has two sites of one kind");
        seen |= bit;
    }
    return check_size(r, layer);
}

/* Of which groups of chunks they are; a part may have none. */
static enum ht_err read_groups(const struct reader *r, const struct ht__jnode *root, size_t n_layers)
{
    struct ht__kept *k = r->kept;
    const struct ht__jnode *groups = ht__jget(root, "groups");
    if (!groups) return n_layers > 0 ? HT_OK : wrong(r, "it lacks the model, the texts or the layers");
    int64_t of = ht__jint(groups, "of", 0), from = ht__jint(groups, "from", -1), to = ht__jint(groups, "to", -1);
    if (of < 1 || of > HT__GROUPS || from < 0 || to < from || to > of ||
        (from == to ? n_layers > 0 : n_layers == 0 || n_layers % (size_t)(to - from) != 0))
        return wrong(r, "the groups of chunks make no sense");
    k->n_groups = (uint32_t)of;
    k->from_group = (uint32_t)from;
    k->to_group = (uint32_t)to;
    return HT_OK;
}

static enum ht_err read_all(const struct reader *r, const struct ht__jnode *root)
{
    struct ht__kept *k = r->kept;
    const struct ht__jnode *texts = ht__jget(root, "texts"), *layers = ht__jget(root, "layers");
    const char *model = ht__jstr(root, "model_sha256", NULL);
    k->arch = ht__jstr(root, "architecture", NULL);
    if (ht__jint(root, "halftone_statistics", 0) != 1)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, r->file, -1, "it is no version of statistics that is known here");
    if (!k->arch || !is_hash(model) || !texts || texts->type != HT__JSON_ARRAY || texts->n == 0 || !layers ||
        layers->type != HT__JSON_ARRAY)
        return wrong(r, "it lacks the model, the texts or the layers");
    memcpy(k->model, model, sizeof k->model);
    k->texts = ht__arena_array(&k->arena, texts->n, sizeof *k->texts);
    k->layers = ht__arena_array(&k->arena, layers->n + 1, sizeof *k->layers);
    if (!k->texts || !k->layers) return ht__fail_memory(r->diag, r->file);
    k->n_texts = texts->n;
    k->n_layers = layers->n;
    HT_TRY(read_groups(r, root, layers->n));
    for (size_t i = 0; i < texts->n; i++)
        HT_TRY(read_text(r, &texts->children[i], &k->texts[i]));
    for (size_t i = 0; i < layers->n; i++)
        HT_TRY(read_layer(r, &layers->children[i], i, &k->layers[i]));
    return HT_OK;
}

enum ht_err ht__kept_open(struct ht__kept *kept, const char *path, const struct ht__alloc *alloc, struct ht_diag *diag)
{
    struct reader r = {.kept = kept, .diag = diag};
    struct ht__jnode *root;
    *kept = (struct ht__kept){.path = path};
    ht__arena_init(&kept->arena, alloc);
    if (!ht__kept_is_there(path))
        return ht__fail(diag, HT_ERR_NOT_FOUND, path, -1,
                        "there are no statistics: expected a folder that `halftone calibrate` wrote");
    HT_TRY(ht__path_join(r.file, sizeof r.file, path, marker, diag));
    HT_TRY(ht__json_load(&kept->arena, r.file, MOST_JSON, &root, diag));
    return read_all(&r, root);
}

void ht__kept_close(struct ht__kept *kept)
{
    ht__arena_close(&kept->arena);
}

enum ht_err ht__kept_check(const struct ht__kept *kept, const struct ht__model *model, struct ht_diag *diag)
{
    char mine[65];
    if (kept->n_groups)
        return ht__fail(
            diag, HT_ERR_USAGE, kept->path, -1,
            "the statistics are of a part of the text: merge all of its parts first (halftone calibrate --in-stats)");
    HT_TRY(ht__fingerprint(model, mine, diag));
    if (strcmp(kept->arch, model->arch) == 0 && strcmp(kept->model, mine) == 0) return HT_OK;
    return ht__fail(diag, HT_ERR_USAGE, kept->path, -1,
                    "the statistics are of another model (%.60s, %.12s…) than this one (%.60s, %.12s…)", kept->arch,
                    kept->model, model->arch, mine);
}

/* ---- a layer's file ------------------------------------------------------------------------------- */

struct in {
    struct ht__file file;
    struct ht__sha256 sha;
    uint64_t at;
    struct ht__arena *arena;
    struct ht_diag *diag;
};

/* The next n bytes, into memory of the arena's. */
static enum ht_err take(struct in *in, uint64_t n, void **data)
{
    *data = ht__arena_raw(in->arena, (size_t)n + 1);
    if (!*data) return ht__fail_memory(in->diag, in->file.path);
    HT_TRY(ht__file_read(&in->file, in->at, *data, n, in->diag));
    ht__sha256_add(&in->sha, *data, (size_t)n);
    in->at += n;
    return HT_OK;
}

static enum ht_err no_number(const struct in *in, const struct ht__kept_site *s)
{
    return ht__fail(in->diag, HT_ERR_FORMAT, in->file.path, (int64_t)in->at, "%s: a statistic is no number",
                    ht__kept_site_name(s->site.kind));
}

static enum ht_err take_doubles(struct in *in, const struct ht__kept_site *s, uint64_t n, double least, double **x)
{
    void *data;
    HT_TRY(take(in, n * sizeof(double), &data));
    *x = data;
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite((*x)[i]) || (*x)[i] < least) return no_number(in, s);
    return HT_OK;
}

static enum ht_err take_small(struct in *in, struct ht__kept_site *s)
{
    uint64_t n = s->n_mat * s->n_in;
    HT_TRY(take_doubles(in, s, n, 0, &s->squares));
    HT_TRY(take_doubles(in, s, n, -INFINITY, &s->sums));
    return take_doubles(in, s, n, 0, &s->magnitudes);
}

static enum ht_err take_floats(struct in *in, const struct ht__kept_site *s, uint64_t n, float **x)
{
    void *data;
    HT_TRY(take(in, n * sizeof(float), &data));
    *x = data;
    for (uint64_t i = 0; i < n; i++)
        if (!isfinite((*x)[i])) return no_number(in, s);
    return HT_OK;
}

/* A group's is of floats. */
static enum ht_err take_gram(struct in *in, struct ht__kept_site *s, bool floats)
{
    uint64_t n = s->n_in * (s->n_in + 1) / 2;
    float *x;
    if (!floats) return take_doubles(in, s, n, -INFINITY, &s->gram);
    HT_TRY(take_floats(in, s, n, &x));
    s->gram = ht__arena_raw(in->arena, (size_t)n * sizeof *s->gram);
    if (!s->gram) return ht__fail_memory(in->diag, in->file.path);
    for (uint64_t i = 0; i < n; i++)
        s->gram[i] = (double)x[i];
    return HT_OK;
}

static enum ht_err take_large(struct in *in, struct ht__kept_site *s, bool floats)
{
    if (!s->dense) return HT_OK;
    HT_TRY(take_gram(in, s, floats));
    for (uint64_t i = 0; i < s->n_in; i++)
        if (s->gram[i * (i + 3) / 2] < 0) return no_number(in, s);
    return take_floats(in, s, s->n_held * s->n_in, &s->held);
}

/* What a head says follows from statistics.json: it is that, byte by byte, or the file is another one. */
static enum ht_err take_head(struct in *in, const struct ht__kept_layer *layer)
{
    struct ht__buf head;
    void *data = NULL;
    ht__buf_init(&head, NULL);
    ht__kept_head(layer, &head);
    enum ht_err err = head.failed ? ht__fail_memory(in->diag, in->file.path) : take(in, head.len, &data);
    bool same = err == HT_OK && memcmp(data, head.data, head.len) == 0;
    ht__buf_close(&head);
    if (err != HT_OK || same) return err;
    return ht__fail(in->diag, HT_ERR_FORMAT, in->file.path, 0, "it holds something else than statistics.json says");
}

static enum ht_err take_layer(struct in *in, const struct ht__kept_layer *layer, bool all)
{
    char sha256[65];
    HT_TRY(take_head(in, layer));
    for (size_t i = 0; i < layer->n; i++)
        HT_TRY(take_small(in, &layer->sites[i]));
    for (size_t i = 0; all && i < layer->n; i++)
        HT_TRY(take_large(in, &layer->sites[i], layer->group > 0));
    if (!all) return HT_OK;
    ht__sha256_end(&in->sha, sha256);
    ht__sha256_begin(&in->sha);
    if (!sha256[0]) return ht__fail_memory(in->diag, in->file.path);
    if (strcmp(sha256, layer->sha256) == 0) return HT_OK;
    return ht__fail(in->diag, HT_ERR_VERIFY, in->file.path, -1,
                    "it was changed after it was written: its SHA-256 is another one");
}

enum ht_err ht__kept_read(const struct ht__kept *kept, size_t layer, bool all, struct ht__arena *arena,
                          struct ht__kept_layer *out, struct ht_diag *diag)
{
    struct in in = {.arena = arena, .diag = diag};
    char name[48], path[HT__KEPT_PATH + 50], ignored[65];
    *out = kept->layers[layer];
    ht__kept_file_name(out, name);
    snprintf(path, sizeof path, "%s/%s", kept->path, name);
    struct ht__kept_site *sites = ht__arena_array(arena, out->n + 1, sizeof *sites);
    if (!sites) return ht__fail_memory(diag, path);
    memcpy(sites, out->sites, out->n * sizeof *sites);
    out->sites = sites;
    HT_TRY(ht__file_open(&in.file, path, diag));
    ht__sha256_begin(&in.sha);
    enum ht_err err = in.file.size == ht__kept_bytes(out)
                          ? take_layer(&in, out, all)
                          : ht__fail(diag, HT_ERR_VERIFY, path, -1, "its size changed while it was in use");
    ht__sha256_end(&in.sha, ignored);
    ht__file_close(&in.file);
    return err;
}

/* ---- as importance -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ht__sums *)a)->name, ((const struct ht__sums *)b)->name);
}

enum ht_err ht__kept_importance(const struct ht__kept *kept, struct ht__arena *arena, struct ht__sums_file *out,
                                struct ht_diag *diag)
{
    size_t n = 0;
    for (size_t i = 0; i < kept->n_layers; i++)
        for (size_t j = 0; j < kept->layers[i].n; j++)
            n += kept->layers[i].sites[j].n_weights;
    *out = (struct ht__sums_file){.items = ht__arena_array(arena, n + 1, sizeof *out->items)};
    if (!out->items) return ht__fail_memory(diag, kept->path);
    for (size_t i = 0; i < kept->n_layers; i++) {
        struct ht__kept_layer layer;
        HT_TRY(ht__kept_read(kept, i, false, arena, &layer, diag));
        for (size_t j = 0; j < layer.n; j++)
            for (size_t k = 0; k < layer.sites[j].n_weights; k++) {
                const struct ht__kept_site *s = &layer.sites[j];
                out->items[out->n++] =
                    (struct ht__sums){s->weights[k], s->n_in, s->n_mat, s->n_mat, s->squares, s->rows};
            }
    }
    qsort(out->items, out->n, sizeof *out->items, by_name);
    for (size_t i = 1; i < out->n; i++)
        if (strcmp(out->items[i - 1].name, out->items[i].name) == 0)
            return ht__fail(diag, HT_ERR_FORMAT, kept->path, -1, "%s: it is there twice", out->items[i].name);
    out->chunk_size = (uint32_t)kept->texts[0].ctx;
    for (size_t i = 0; i < kept->n_texts; i++)
        out->chunk_count += (uint32_t)kept->texts[i].chunks;
    return HT_OK;
}
