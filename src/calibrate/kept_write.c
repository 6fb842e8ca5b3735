/* Writing a folder of statistics: beside its place, and into it by one rename. */
#include "base/file.h"
#include "base/hash.h"
#include "base/made_folder.h"
#include "calibrate/kept.h"

#include <stdio.h>
#include <string.h>

static const char marker[] = "statistics.json";

enum ht_err ht__keeper_open(struct ht__keeper *k, const char *path, bool overwrite, const struct ht__alloc *alloc,
                            struct ht_diag *diag)
{
    *k = (struct ht__keeper){.alloc = alloc};
    ht__buf_init(&k->layers, alloc);
    int n = snprintf(k->path, sizeof k->path, "%s", path);
    while (n > 1 && n < (int)sizeof k->path && k->path[n - 1] == '/')
        k->path[--n] = '\0';
    if (n > 4000 || snprintf(k->part, sizeof k->part, "%s.part", k->path) < n)
        return ht__fail(diag, HT_ERR_LIMIT, path, -1, "the path is too long");
    HT_TRY(ht__made_folder_check(k->path, overwrite, marker, "statistics'", diag));
    ht__made_folder_remove(k->part); /* of a run that was killed */
    HT_TRY(ht__make_dirs(k->part, diag));
    k->begun = true;
    return HT_OK;
}

void ht__keeper_close(struct ht__keeper *k)
{
    if (k->begun && !k->published) ht__made_folder_remove(k->part);
    ht__buf_close(&k->layers);
    k->begun = false;
}

/* ---- a layer's file ------------------------------------------------------------------------------- */

struct out {
    struct ht__output file;
    struct ht__sha256 sha;
    uint64_t at;
};

static enum ht_err put(struct out *o, const void *data, uint64_t n, struct ht_diag *diag)
{
    HT_TRY(ht__output_write(&o->file, o->at, data, n, diag));
    ht__sha256_add(&o->sha, data, (size_t)n);
    o->at += n;
    return HT_OK;
}

/* As floats, which they are: a piece at a time. */
static enum ht_err put_floats(struct out *o, const double *x, uint64_t n, struct ht_diag *diag)
{
    enum { PIECE = 4096 };
    float piece[PIECE];
    for (uint64_t at = 0; at < n;) {
        uint64_t some = n - at < PIECE ? n - at : PIECE;
        for (uint64_t i = 0; i < some; i++)
            piece[i] = (float)x[at + i];
        HT_TRY(put(o, piece, some * sizeof *piece, diag));
        at += some;
    }
    return HT_OK;
}

static enum ht_err put_gram(struct out *o, const struct ht__kept_site *s, bool floats, struct ht_diag *diag)
{
    uint64_t n = s->n_in * (s->n_in + 1) / 2;
    return floats ? put_floats(o, s->gram, n, diag) : put(o, s->gram, n * sizeof(double), diag);
}

static enum ht_err put_arrays(struct out *o, const struct ht__kept_layer *layer, struct ht_diag *diag)
{
    for (size_t i = 0; i < layer->n; i++) {
        const struct ht__kept_site *s = &layer->sites[i];
        uint64_t n = s->n_mat * s->n_in * sizeof(double);
        HT_TRY(put(o, s->squares, n, diag));
        HT_TRY(put(o, s->sums, n, diag));
        HT_TRY(put(o, s->magnitudes, n, diag));
    }
    for (size_t i = 0; i < layer->n; i++) {
        const struct ht__kept_site *s = &layer->sites[i];
        if (!s->dense) continue;
        HT_TRY(put_gram(o, s, layer->group > 0, diag));
        if (s->n_held) HT_TRY(put(o, s->held, s->n_held * s->n_in * sizeof(float), diag));
    }
    return HT_OK;
}

static enum ht_err put_file(const struct ht__keeper *k, const struct ht__kept_layer *layer, char sha256[65],
                            struct ht_diag *diag)
{
    struct out o = {.at = 0};
    struct ht__buf head;
    char name[48], path[HT__KEPT_PATH + 50];
    ht__kept_file_name(layer, name);
    snprintf(path, sizeof path, "%s/%s", k->part, name);
    HT_TRY(ht__output_open(&o.file, path, ht__kept_bytes(layer), false, false, diag));
    ht__sha256_begin(&o.sha);
    ht__buf_init(&head, k->alloc);
    ht__kept_head(layer, &head);
    enum ht_err err = head.failed ? ht__fail_memory(diag, path) : put(&o, head.data, head.len, diag);
    if (err == HT_OK) err = put_arrays(&o, layer, diag);
    if (err == HT_OK) err = ht__output_publish(&o.file, diag);
    ht__output_close(&o.file);
    ht__buf_close(&head);
    ht__sha256_end(&o.sha, sha256);
    return err == HT_OK && !sha256[0] ? ht__fail_memory(diag, path) : err;
}

static void put_site(struct ht__jw *w, const struct ht__kept_site *s)
{
    ht__jw_object(w, NULL);
    ht__jw_str(w, "site", ht__kept_site_name(s->site.kind));
    ht__jw_uint(w, "columns", s->n_in);
    ht__jw_uint(w, "matrices", s->n_mat);
    ht__jw_array(w, "rows");
    for (uint64_t i = 0; i < s->n_mat; i++)
        ht__jw_uint(w, NULL, (uint64_t)s->rows[i]);
    ht__jw_end(w);
    ht__jw_bool(w, "gram", s->dense);
    ht__jw_uint(w, "gram_rows", s->gram_rows);
    ht__jw_uint(w, "held_out_rows", s->n_held);
    ht__jw_array(w, "weights");
    for (size_t i = 0; i < s->n_weights; i++)
        ht__jw_str(w, NULL, s->weights[i]);
    ht__jw_end(w);
    ht__jw_end(w);
}

enum ht_err ht__keeper_put(struct ht__keeper *k, const struct ht__kept_layer *layer, struct ht_diag *diag)
{
    char sha256[65], name[48];
    HT_TRY(put_file(k, layer, sha256, diag));
    if (k->layers.len) ht__buf_str(&k->layers, ", ");
    struct ht__jw w = ht__jw_line(&k->layers);
    ht__kept_file_name(layer, name);
    ht__jw_object(&w, NULL);
    ht__jw_int(&w, "layer", layer->layer);
    if (layer->group) ht__jw_uint(&w, "group", layer->group);
    ht__jw_str(&w, "file", name);
    ht__jw_uint(&w, "size_bytes", ht__kept_bytes(layer));
    ht__jw_str(&w, "sha256", sha256);
    ht__jw_array(&w, "sites");
    for (size_t i = 0; i < layer->n; i++)
        put_site(&w, &layer->sites[i]);
    ht__jw_end(&w);
    ht__jw_end(&w);
    return ht__jw_done(&w) ? HT_OK : ht__fail_memory(diag, k->path);
}

/* ---- statistics.json, and the end ----------------------------------------------------------------- */

static void put_text(struct ht__jw *w, const struct ht__kept_text *t)
{
    ht__jw_object(w, NULL);
    ht__jw_str(w, "text", t->name);
    ht__jw_str(w, "sha256", t->sha256);
    ht__jw_uint(w, "seed", t->seed);
    ht__jw_uint(w, "chunks", t->chunks);
    ht__jw_uint(w, "ctx", t->ctx);
    ht__jw_end(w);
}

static void put_groups(struct ht__jw *w, const struct ht__kept *about)
{
    ht__jw_object(w, "groups");
    ht__jw_uint(w, "of", about->n_groups);
    ht__jw_uint(w, "from", about->from_group);
    ht__jw_uint(w, "to", about->to_group);
    ht__jw_end(w);
}

static bool put_about(const struct ht__keeper *k, const struct ht__kept *about, struct ht__buf *out)
{
    struct ht__buf layers;
    struct ht__jw w = ht__jw_line(out);
    ht__buf_init(&layers, k->alloc);
    ht__buf_printf(&layers, "[%s]", k->layers.len ? (const char *)k->layers.data : "");
    ht__jw_object(&w, NULL);
    ht__jw_uint(&w, "halftone_statistics", 1);
    ht__jw_str(&w, "architecture", about->arch);
    ht__jw_str(&w, "model_sha256", about->model);
    ht__jw_array(&w, "texts");
    for (size_t i = 0; i < about->n_texts; i++)
        put_text(&w, &about->texts[i]);
    ht__jw_end(&w);
    if (about->n_groups) put_groups(&w, about);
    ht__jw_raw(&w, "layers", (const char *)layers.data, layers.len);
    ht__jw_end(&w);
    ht__buf_str(out, "\n");
    bool good = ht__jw_done(&w) && !layers.failed;
    ht__buf_close(&layers);
    return good;
}

enum ht_err ht__keeper_publish(struct ht__keeper *k, const struct ht__kept *about, struct ht_diag *diag)
{
    struct ht__buf text;
    char path[HT__KEPT_PATH + 40];
    bool replaced;
    ht__buf_text(&k->layers); /* with a NUL */
    snprintf(path, sizeof path, "%s/%s", k->part, marker);
    ht__buf_init(&text, k->alloc);
    enum ht_err err = !k->layers.failed && put_about(k, about, &text) ? HT_OK : ht__fail_memory(diag, path);
    if (err == HT_OK) err = ht__file_publish(path, text.data, text.len, diag);
    ht__buf_close(&text);
    if (err == HT_OK) err = ht__made_folder_publish(k->part, k->path, &replaced, diag);
    k->published = err == HT_OK;
    return err;
}
