/* The verb calibrate: a text through the model, and what its sites show kept in a folder; or folders added, or shown. */
#include "job/calibrate.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "calibrate/gather.h"
#include "calibrate/groups.h"
#include "calibrate/merge.h"
#include "job/hub.h"
#include "job/settings.h"

#include <stdlib.h>
#include <string.h>

struct calibration {
    struct ht_job *job; /* fetches the model */
    const struct ht__calibrate_settings *settings;
    const struct ht__run *run;
    struct ht__source source;
    struct ht__arena arena;
    struct ht__checkpoint *checkpoint; /* or NULL: folders are read, nothing is run */
    struct ht__model *model;
    struct ht__calibration cal;
    struct ht__gather_share share;
    struct ht__kept about; /* of a run: whose statistics they are, on what */
    struct ht__kept *read; /* folders of statistics */
    size_t n_read;
    struct ht__keeper keeper;
    struct ht__buf sites; /* their part of the report */
    size_t n_sites;
    uint64_t bytes, tokens;
    double seconds;
};

/* ---- the report ----------------------------------------------------------------------------------- */

static void put_column(struct ht__jw *w, const struct ht__kept_site *s)
{
    enum { DIGITS = 9 };
    uint64_t n = s->n_in * s->n_mat, largest = 0;
    double rows = 0, squares = 0, magnitudes = 0;
    for (uint64_t i = 0; i < s->n_mat; i++)
        rows += s->rows[i];
    for (uint64_t i = 0; i < n; i++) {
        squares += s->squares[i];
        magnitudes += s->magnitudes[i];
        if (s->squares[i] > s->squares[largest]) largest = i;
    }
    rows = rows > 0 ? rows * (double)s->n_in : 1;
    ht__jw_digits(w, "mean_square", squares / rows, DIGITS);
    ht__jw_digits(w, "mean_magnitude", magnitudes / rows, DIGITS);
    ht__jw_uint(w, "largest_column", largest % s->n_in);
}

static void put_site(struct calibration *c, const struct ht__kept_layer *layer, const struct ht__kept_site *s)
{
    double rows = 0;
    uint64_t unreached = 0;
    if (c->sites.len) ht__buf_str(&c->sites, ", ");
    struct ht__jw w = ht__jw_line(&c->sites);
    for (uint64_t i = 0; i < s->n_mat; i++) {
        rows += s->rows[i];
        unreached += !(s->rows[i] > 0);
    }
    ht__jw_object(&w, NULL);
    if (s->site.layer >= 0) ht__jw_int(&w, "layer", s->site.layer);
    if (layer->group) ht__jw_uint(&w, "group", layer->group);
    ht__jw_str(&w, "site", ht__kept_site_name(s->site.kind));
    ht__jw_uint(&w, "columns", s->n_in);
    ht__jw_uint(&w, "matrices", s->n_mat);
    ht__jw_uint(&w, "rows", (uint64_t)rows);
    if (s->n_mat > 1) ht__jw_uint(&w, "matrices_without_rows", unreached);
    ht__jw_bool(&w, "gram", s->dense);
    ht__jw_uint(&w, "held_out_rows", s->n_held);
    put_column(&w, s);
    ht__jw_end(&w);
    c->n_sites++;
}

static void note_layer(struct calibration *c, const struct ht__kept_layer *layer)
{
    c->bytes += ht__kept_bytes(layer);
    for (size_t i = 0; i < layer->n; i++)
        put_site(c, layer, &layer->sites[i]);
}

static void put_texts(struct ht__jw *w, const struct ht__kept *kept)
{
    ht__jw_array(w, "texts");
    for (size_t i = 0; i < kept->n_texts; i++) {
        const struct ht__kept_text *t = &kept->texts[i];
        ht__jw_object(w, NULL);
        ht__jw_str(w, "text", t->name);
        ht__jw_str(w, "sha256", t->sha256);
        ht__jw_uint(w, "seed", t->seed);
        ht__jw_uint(w, "chunks", t->chunks);
        ht__jw_uint(w, "ctx", t->ctx);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

/* What of the text a part ran: groups of chunks, from 1. */
static void put_part(struct ht__jw *w, const struct calibration *c)
{
    if (c->settings->parts == 0) return;
    ht__jw_object(w, "part");
    ht__jw_uint(w, "number", c->settings->part);
    ht__jw_uint(w, "of", c->settings->parts);
    ht__jw_uint(w, "groups", c->share.to - c->share.from);
    ht__jw_uint(w, "groups_of_text", c->about.n_groups);
    ht__jw_uint(w, "chunks", c->tokens / (uint64_t)c->cal.n_ctx);
    ht__jw_end(w);
}

static bool put_report(const struct calibration *c, const struct ht__kept *kept, struct ht__buf *out)
{
    struct ht__jw w = ht__jw_line(out);
    struct ht__buf sites;
    ht__buf_init(&sites, c->run->alloc);
    ht__buf_printf(&sites, "[%s]", c->sites.len ? (const char *)c->sites.data : "");
    ht__jw_report(&w, "calibrate");
    if (c->source.path) ht__jw_str(&w, "source", c->source.path);
    if (c->settings->output) ht__jw_str(&w, "path", c->settings->output);
    ht__jw_str(&w, "architecture", kept->arch);
    ht__jw_str(&w, "model_sha256", kept->model);
    put_texts(&w, kept);
    put_part(&w, c);
    ht__jw_uint(&w, "size_bytes", c->bytes);
    ht__jw_uint(&w, "tokens", c->tokens);
    ht__jw_fixed(&w, "seconds", c->seconds, 3);
    ht__jw_fixed(&w, "tokens_per_second", c->seconds > 0 ? (double)c->tokens / c->seconds : 0, 1);
    ht__jw_raw(&w, "sites", (const char *)sites.data, sites.len);
    ht__jw_end(&w);
    bool good = ht__jw_done(&w) && !sites.failed;
    ht__buf_close(&sites);
    return good;
}

static enum ht_err report(struct calibration *c, const struct ht__kept *kept, char **json, struct ht_diag *diag)
{
    const char *path = c->settings->report;
    struct ht__buf buf;
    ht__buf_text(&c->sites); /* with a NUL */
    ht__buf_init(&buf, c->run->alloc);
    enum ht_err err = !c->sites.failed && put_report(c, kept, &buf) ? HT_OK : ht__fail_memory(diag, "report");
    if (err == HT_OK && path) err = ht__file_publish(path, buf.data, buf.len, diag);
    if (err == HT_OK && json) err = ht__buf_hand_out(&buf, "report", json, diag);
    ht__buf_close(&buf);
    return err;
}

/* ---- running a model ------------------------------------------------------------------------------ */

static void hash_tokens(const struct ht__calibration *cal, char hex[65])
{
    struct ht__sha256 sha;
    ht__sha256_begin(&sha);
    ht__sha256_add(&sha, cal->windows.tokens, cal->windows.n * (size_t)cal->n_ctx * sizeof *cal->windows.tokens);
    ht__sha256_end(&sha, hex);
}

static enum ht_err describe(struct calibration *c, struct ht_diag *diag)
{
    struct ht__kept_text *t = ht__arena_array(&c->arena, 1, sizeof *t);
    if (!t) return ht__fail_memory(diag, "statistics");
    c->about.texts = t;
    c->about.n_texts = 1;
    c->about.arch = c->model->arch;
    t->name = c->cal.dataset;
    t->seed = c->settings->calibration.seed;
    t->chunks = c->cal.windows.n;
    t->ctx = (uint64_t)c->cal.n_ctx;
    hash_tokens(&c->cal, t->sha256);
    if (!t->sha256[0]) return ht__fail_memory(diag, "statistics");
    return ht__fingerprint(c->model, c->about.model, diag);
}

static enum ht_err open_model(struct calibration *c, struct ht_diag *diag)
{
    HT_TRY(ht__hub_source(c->job, false, &c->source, diag));
    HT_TRY(ht__checkpoint_open(c->source.path, c->run->alloc, &c->checkpoint, diag));
    HT_TRY(ht__model_open(c->checkpoint, c->run->alloc, c->run->log, &c->model, diag));
    HT_TRY(ht__calibration_open(&c->cal, &c->settings->calibration, c->run, c->model, diag));
    HT_TRY(describe(c, diag));
    c->share = ht__gather_whole(&c->cal);
    if (c->settings->parts == 0) return HT_OK;
    c->about.n_groups = (uint32_t)c->share.to;
    c->share = ht__gather_part(&c->cal, c->settings->part, c->settings->parts);
    c->about.from_group = (uint32_t)c->share.from;
    c->about.to_group = (uint32_t)c->share.to;
    return HT_OK;
}

/* Before the work: as far as can be told without running the model. */
static enum ht_err check_disk(const struct calibration *c, struct ht_diag *diag)
{
    uint64_t needed, there;
    HT_TRY(ht__gather_size(&c->cal, c->model, &c->share, &needed, diag));
    HT_TRY(ht__disk_free(c->keeper.part, &there, diag));
    if (needed <= there) return HT_OK;
    return ht__fail(diag, HT_ERR_NO_SPACE, c->settings->output, -1,
                    "the statistics take about %.2f GB, and the disk has %.2f", (double)needed / 1e9,
                    (double)there / 1e9);
}

static enum ht_err keep(void *ctx, const struct ht__kept_layer *layer, struct ht_diag *diag)
{
    struct calibration *c = ctx;
    HT_TRY(ht__keeper_put(&c->keeper, layer, diag));
    note_layer(c, layer);
    return HT_OK;
}

static enum ht_err run_model(struct calibration *c, struct ht_diag *diag)
{
    HT_TRY(open_model(c, diag));
    HT_TRY(ht__keeper_open(&c->keeper, c->settings->output, c->settings->overwrite, c->run->alloc, diag));
    HT_TRY(check_disk(c, diag));
    double start = ht__seconds();
    HT_TRY(ht__gather(&c->cal, c->run, c->model, &c->share, keep, c, diag));
    c->seconds = ht__seconds() - start;
    size_t n = c->cal.windows.n;
    c->tokens = (ht__group_begin(n, c->share.to) - ht__group_begin(n, c->share.from)) * (uint64_t)c->cal.n_ctx;
    return ht__keeper_publish(&c->keeper, &c->about, diag);
}

/* ---- folders that are there ----------------------------------------------------------------------- */

static enum ht_err open_folders(struct calibration *c, struct ht_diag *diag)
{
    const struct ht__list *list = &c->settings->in_stats;
    c->read = ht__arena_array(&c->arena, list->n, sizeof *c->read);
    if (!c->read) return ht__fail_memory(diag, "statistics");
    for (size_t i = 0; i < list->n; i++) {
        c->n_read++; /* to be closed, whatever comes of it */
        HT_TRY(ht__kept_open(&c->read[i], list->items[i], c->run->alloc, diag));
    }
    return ht__merge_check(c->read, c->n_read, diag);
}

/* All texts; one that is there twice counts twice. */
static enum ht_err join_texts(struct calibration *c, struct ht_diag *diag)
{
    size_t n = 0, folders = c->read[0].n_groups ? 1 : c->n_read; /* parts are of one text */
    for (size_t i = 0; i < folders; i++)
        n += c->read[i].n_texts;
    c->about.texts = ht__arena_array(&c->arena, n, sizeof *c->about.texts);
    if (!c->about.texts) return ht__fail_memory(diag, "statistics");
    for (size_t i = 0; i < folders; i++)
        for (size_t j = 0; j < c->read[i].n_texts; j++) {
            const struct ht__kept_text *t = &c->read[i].texts[j];
            for (size_t k = 0; k < c->about.n_texts; k++)
                if (strcmp(c->about.texts[k].sha256, t->sha256) == 0)
                    ht__log_printf(c->run->log, HT__LOG_WARNING, "%s: %s is there twice, and counts twice",
                                   c->read[i].path, t->name);
            c->about.texts[c->about.n_texts++] = *t;
        }
    c->about.arch = c->read[0].arch;
    memcpy(c->about.model, c->read[0].model, sizeof c->about.model);
    return HT_OK;
}

static enum ht_err merge_layer(struct calibration *c, size_t i, struct ht__arena *arena, struct ht_diag *diag)
{
    struct ht__kept_layer layer;
    HT_TRY(ht__merge_layer(c->read, c->n_read, i, arena, &layer, diag));
    if (c->settings->output) HT_TRY(ht__keeper_put(&c->keeper, &layer, diag));
    note_layer(c, &layer);
    return ht__cancelled(c->run) ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : HT_OK;
}

static enum ht_err merge_folders(struct calibration *c, struct ht_diag *diag)
{
    struct ht__arena arena;
    enum ht_err err = HT_OK;
    HT_TRY(open_folders(c, diag));
    HT_TRY(join_texts(c, diag));
    if (c->settings->output)
        HT_TRY(ht__keeper_open(&c->keeper, c->settings->output, c->settings->overwrite, c->run->alloc, diag));
    for (size_t i = 0; err == HT_OK && i < ht__merge_layers(c->read, c->n_read); i++) {
        ht__arena_init(&arena, c->run->alloc);
        err = merge_layer(c, i, &arena, diag);
        ht__arena_close(&arena);
    }
    HT_TRY(err);
    return c->settings->output ? ht__keeper_publish(&c->keeper, &c->about, diag) : HT_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------ */

static enum ht_err run(struct calibration *c, char **json, struct ht_diag *diag)
{
    HT_TRY(c->settings->source ? run_model(c, diag) : merge_folders(c, diag));
    return report(c, &c->about, json, diag);
}

enum ht_err ht__job_calibrate(struct ht_job *job, char **json, struct ht_diag *diag)
{
    struct ht__settings settings;
    struct calibration c = {.job = job, .settings = &settings.calibrate, .run = &settings.run};
    ht__arena_init(&c.arena, job->alloc);
    ht__buf_init(&c.sites, job->alloc);
    if (json) *json = NULL;
    enum ht_err err = ht__settings_parse(&settings, job, HT__VERB_CALIBRATE, diag);
    if (err == HT_OK) err = run(&c, json, diag);
    ht__keeper_close(&c.keeper);
    for (size_t i = 0; i < c.n_read; i++)
        ht__kept_close(&c.read[i]);
    ht__calibration_close(&c.cal);
    ht__model_close(&c.model);
    ht__checkpoint_close(&c.checkpoint);
    ht__buf_close(&c.sites);
    ht__arena_close(&c.arena);
    ht__settings_close(&settings);
    return err;
}
