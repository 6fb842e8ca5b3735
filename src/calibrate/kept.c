/* What files of statistics are like, for those who read and who write them; and whose they are. */
#include "calibrate/kept.h"
#include "base/hash.h"
#include "base/text.h"
#include "model/rows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

static const char *const site_names[] = {
    [HT__SITE_ATTENTION] = "attention",
    [HT__SITE_QUERY_LATENT] = "query_latent",
    [HT__SITE_KV_LATENT] = "kv_latent",
    [HT__SITE_QUERY] = "query",
    [HT__SITE_ATTENDED_LATENT] = "attended_latent",
    [HT__SITE_ATTENTION_OUT] = "attention_out",
    [HT__SITE_FEED_FORWARD] = "feed_forward",
    [HT__SITE_FEED_FORWARD_OUT] = "feed_forward_out",
    [HT__SITE_EXPERTS] = "experts",
    [HT__SITE_EXPERTS_OUT] = "experts_out",
    [HT__SITE_SHARED_OUT] = "shared_out",
    [HT__SITE_OUTPUT] = "output",
};

const char *ht__kept_site_name(enum ht__site_kind kind)
{
    return (size_t)kind < sizeof site_names / sizeof site_names[0] ? site_names[kind] : NULL;
}

void ht__kept_file_name(const struct ht__kept_layer *layer, char name[48])
{
    char of[24] = "output", group[20] = "";
    if (layer->layer >= 0) snprintf(of, sizeof of, "layer-%04d", layer->layer);
    if (layer->group) snprintf(group, sizeof group, ".group-%02u", layer->group);
    snprintf(name, 48, "%s%s.safetensors", of, group);
}

/* ---- the head of a layer's file ------------------------------------------------------------------- */

struct head {
    struct ht__jw w;
    uint64_t at; /* bytes of data before */
};

static void put_tensor(struct head *h, const char *site, const char *what, bool doubles, uint64_t rows,
                       uint64_t columns)
{
    char name[64];
    uint64_t bytes = rows * columns * (doubles ? sizeof(double) : sizeof(float));
    snprintf(name, sizeof name, "%s.%s", site, what);
    ht__jw_object(&h->w, name);
    ht__jw_str(&h->w, "dtype", doubles ? "F64" : "F32");
    ht__jw_array(&h->w, "shape");
    ht__jw_uint(&h->w, NULL, rows);
    ht__jw_uint(&h->w, NULL, columns);
    ht__jw_end(&h->w);
    ht__jw_array(&h->w, "data_offsets");
    ht__jw_uint(&h->w, NULL, h->at);
    ht__jw_uint(&h->w, NULL, h->at += bytes);
    ht__jw_end(&h->w);
    ht__jw_end(&h->w);
}

/* Small arrays of all sites come first: they are read alone where nobody needs the others. */
void ht__kept_head(const struct ht__kept_layer *layer, struct ht__buf *out)
{
    uint8_t size[8] = {0};
    size_t start = out->len;
    ht__buf_put(out, size, sizeof size);
    struct head h = {.w = ht__jw_line(out)};
    ht__jw_object(&h.w, NULL);
    for (size_t i = 0; i < layer->n; i++) {
        const struct ht__kept_site *s = &layer->sites[i];
        const char *name = ht__kept_site_name(s->site.kind);
        put_tensor(&h, name, "squares", true, s->n_mat, s->n_in);
        put_tensor(&h, name, "sums", true, s->n_mat, s->n_in);
        put_tensor(&h, name, "magnitudes", true, s->n_mat, s->n_in);
    }
    for (size_t i = 0; i < layer->n; i++) {
        const struct ht__kept_site *s = &layer->sites[i];
        if (!s->dense) continue;
        put_tensor(&h, ht__kept_site_name(s->site.kind), "gram", layer->group == 0, 1, s->n_in * (s->n_in + 1) / 2);
        put_tensor(&h, ht__kept_site_name(s->site.kind), "held_out", false, s->n_held, s->n_in);
    }
    ht__jw_end(&h.w);
    while (!out->failed && (out->len - start) % sizeof(double) != 0)
        ht__buf_put(out, " ", 1);
    for (int i = 0; i < 8 && !out->failed; i++)
        out->data[start + (size_t)i] = (uint8_t)((uint64_t)(out->len - start - 8) >> 8 * i);
}

uint64_t ht__kept_bytes(const struct ht__kept_layer *layer)
{
    struct ht__buf head;
    uint64_t bytes = 0;
    ht__buf_init(&head, NULL);
    ht__kept_head(layer, &head);
    bytes = head.len;
    ht__buf_close(&head);
    for (size_t i = 0; i < layer->n; i++) {
        const struct ht__kept_site *s = &layer->sites[i];
        bytes += 3 * s->n_mat * s->n_in * sizeof(double);
        uint64_t number = layer->group ? sizeof(float) : sizeof(double);
        if (s->dense) bytes += s->n_in * (s->n_in + 1) / 2 * number + s->n_held * s->n_in * sizeof(float);
    }
    return bytes;
}

/* ---- whose they are ------------------------------------------------------------------------------- */

/* The first row, the last, and one between. */
static enum ht_err add_weight(struct ht__sha256 *sha, const struct ht__weight *w, const struct ht__alloc *alloc,
                              struct ht_diag *diag)
{
    const int64_t rows[] = {0, w->rows->n_rows / 2, w->rows->n_rows - 1};
    char line[200];
    int n =
        snprintf(line, sizeof line, "%s %" PRId64 " %" PRId64 " %" PRId64 "\n", w->name, w->ne[0], w->ne[1], w->ne[2]);
    float *row = ht__new_array(alloc, (size_t)w->rows->row_len, sizeof *row);
    struct ht__arena scratch;
    enum ht_err err = row ? HT_OK : ht__fail_memory(diag, w->name);
    ht__sha256_add(sha, line, (size_t)n);
    for (size_t i = 0; err == HT_OK && i < sizeof rows / sizeof rows[0]; i++) {
        ht__arena_init(&scratch, alloc);
        err = w->rows->read(w->rows, rows[i], 1, row, &scratch, diag);
        ht__arena_close(&scratch);
        if (err == HT_OK) ht__sha256_add(sha, row, (size_t)w->rows->row_len * sizeof *row);
    }
    ht__free(alloc, row);
    return err;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct ht__weight *const *)a)->name, (*(const struct ht__weight *const *)b)->name);
}

enum ht_err ht__fingerprint(const struct ht__model *model, char hex[65], struct ht_diag *diag)
{
    const struct ht__alloc *alloc = model->arena.alloc;
    const struct ht__weight **order = ht__new_array(alloc, model->n_weights + 1, sizeof *order);
    struct ht__sha256 sha;
    enum ht_err err = HT_OK;
    if (!order) return ht__fail_memory(diag, "fingerprint");
    for (size_t i = 0; i < model->n_weights; i++)
        order[i] = &model->weights[i];
    qsort(order, model->n_weights, sizeof *order, by_name);
    ht__sha256_begin(&sha);
    ht__sha256_add(&sha, model->arch, strlen(model->arch) + 1);
    for (size_t i = 0; err == HT_OK && i < model->n_weights; i++)
        err = order[i]->rows->n_rows > 0 ? add_weight(&sha, order[i], alloc, diag) : HT_OK;
    ht__sha256_end(&sha, hex);
    ht__free(alloc, order);
    return err == HT_OK && !hex[0] ? ht__fail_memory(diag, "fingerprint") : err;
}
