#include "job/hub.h"
#include "base/json_write.h"
#include "hub/lend.h"
#include "hub/name.h"
#include "base/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- how the hub is reached ---- */

static const char **text_option(struct ht__hub_settings *s, const char *name)
{
    const struct {
        const char *name, **field;
    } texts[] = {
        {"hub-token", &s->token}, {"hub-endpoint", &s->endpoint}, {"hub-cache", &s->cache},
        {"hub-proxy", &s->proxy}, {"hub-no-proxy", &s->no_proxy}, {"hub-ca-file", &s->ca_file},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(name, texts[i].name) == 0) return texts[i].field;
    return NULL;
}

static int *number_option(struct ht__hub_settings *s, const char *name)
{
    return strcmp(name, "hub-tries") == 0      ? &s->n_tries
           : strcmp(name, "hub-timeout") == 0  ? &s->timeout
           : strcmp(name, "hub-parallel") == 0 ? &s->n_parallel
                                               : NULL;
}

enum ht_err ht__hub_option(struct ht_job *job, const char *name, const char *value, struct ht_diag *diag)
{
    const char **text = text_option(&job->hub.settings, name);
    int *number = strcmp(name, "hub-socket") == 0 ? &job->hub.socket : number_option(&job->hub.settings, name);
    uint64_t v;
    if (!text && !number) return ht__fail(diag, HT_ERR_USAGE, name, -1, "no such option");
    if (number) {
        if (!value) return ht__fail(diag, HT_ERR_USAGE, name, -1, "expected a number, got nothing");
        HT_TRY(ht__parse_count(name, value, 1, 86400, &v, diag));
        *number = (int)v;
        return HT_OK;
    }
    *text = value ? ht__arena_str(&job->arena, value) : NULL;
    return value && !*text ? ht__fail_memory(diag, "options") : HT_OK;
}

static bool stopped(void *ctx)
{
    struct ht_job *job = ctx;
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed);
}

static enum ht_err open_hub(struct ht_job *job, struct ht__hub **hub, struct ht_diag *diag)
{
    struct ht__hub_settings s = job->hub.settings;
    s.offline = job->options.offline;
    s.log = &job->log;
    s.stopped = stopped;
    s.stopped_ctx = job;
    return ht__hub_open(&s, job->alloc, hub, diag);
}

/* ---- fetching, with progress ---- */

struct telling {
    struct ht__run run;
    struct ht__progress progress;
    uint64_t total;
    bool begun;
};

static bool tell(void *ctx, uint64_t done, uint64_t total, const char *file)
{
    struct telling *t = ctx;
    if (!t->begun || t->total != total) ht__progress_begin(&t->progress, &t->run, "download", "bytes", total);
    t->begun = true;
    t->total = total;
    return ht__progress_tell(&t->progress, done, file);
}

static enum ht_err pull(struct ht_job *job, struct ht__hub *hub, const char *name, bool no_weights,
                        struct ht__pulled *pulled, struct ht_diag *diag)
{
    struct telling telling = {.run = ht__job_run_context(job)};
    struct ht__pull_request request = {.name = name,
                                       .globs = job->options.include.items,
                                       .n_globs = job->options.include.n,
                                       .no_weights = no_weights,
                                       .tell = tell,
                                       .ctx = &telling};
    return ht__pull(hub, &request, pulled, diag);
}

/* The whole model, or for those that want its vocabulary alone, what holds that: a GGUF file holds both. */
static enum ht_err pull_wanted(struct ht_job *job, struct ht__hub *hub, const char *name, struct ht__pulled *pulled,
                               struct ht_diag *diag)
{
    HT_TRY(pull(job, hub, name, job->options.vocab_only, pulled, diag));
    if (pulled->weights.n == 0 || strcmp(pulled->model, pulled->folder) == 0) return HT_OK;
    ht__pulled_close(pulled);
    return pull(job, hub, name, false, pulled, diag);
}

static bool is_wanted(const struct ht_job *job, const char *name)
{
    return job->hub.settings.cache && ht__hub_is_wanted(name);
}

enum ht_err ht__hub_path(struct ht_job *job, const char *name, const char **path, struct ht_diag *diag)
{
    struct ht__hub *hub;
    struct ht__pulled pulled;
    *path = name;
    if (!name || !is_wanted(job, name)) return HT_OK;
    HT_TRY(open_hub(job, &hub, diag));
    enum ht_err err = pull_wanted(job, hub, name, &pulled, diag);
    if (err == HT_OK && !(*path = ht__arena_str(&job->arena, pulled.model))) err = ht__fail_memory(diag, name);
    ht__pulled_close(&pulled);
    ht__hub_close(&hub);
    return err;
}

/* ---- the source ---- */

static void forget(struct ht__job_hub *h)
{
    ht__lent_close(&h->lent);
    ht__remote_close(&h->remote);
    if (h->is_pulled) ht__pulled_close(&h->pulled);
    h->is_pulled = false;
    ht__hub_close(&h->hub);
}

void ht__hub_job_close(struct ht_job *job)
{
    forget(&job->hub);
}

static enum ht_err fetch(struct ht_job *job, bool headers, struct ht_diag *diag)
{
    struct ht__job_hub *h = &job->hub;
    HT_TRY(open_hub(job, &h->hub, diag));
    h->is_pulled = true;
    HT_TRY(pull(job, h->hub, h->asked, headers || job->options.vocab_only, &h->pulled, diag));
    return h->pulled.weights.n ? ht__remote_open(h->hub, &h->pulled, &h->remote, diag) : HT_OK;
}

/* Another process reaches the hub: this one has neither its token nor a network. */
static enum ht_err borrow(struct ht_job *job, struct ht_diag *diag)
{
    job->hub.is_pulled = true;
    return ht__lent_open(job->hub.socket, job->alloc, &job->hub.pulled, &job->hub.lent, diag);
}

static enum ht_err bring(struct ht_job *job, bool headers, struct ht_diag *diag)
{
    struct ht__job_hub *h = &job->hub;
    HT_TRY(h->socket ? borrow(job, diag) : fetch(job, headers, diag));
    h->path = ht__arena_str(&job->arena, h->pulled.model);
    h->named = ht__arena_str(&job->arena, strcmp(h->pulled.model, h->pulled.folder) == 0
                                              ? ht__hub_short_name(&h->pulled.repo.name)
                                              : ht__path_base(h->pulled.model));
    if (!h->path || !h->named) return ht__fail_memory(diag, h->asked);
    job->options.source = h->path;
    return HT_OK;
}

/* Files that stayed on the hub; NULL: none. */
static const struct ht__remote_folder *remote_of(const struct ht__job_hub *h)
{
    return h->lent ? ht__lent_folder(h->lent) : h->remote ? ht__remote_folder(h->remote) : NULL;
}

static uint64_t missing_bytes(const struct ht__job_hub *h)
{
    const struct ht__selection *s = &h->pulled.weights;
    uint64_t n = 0;
    for (size_t i = 0; remote_of(h) && i < s->n; i++)
        n += s->files[i]->size;
    return n;
}

/* The SHA-256 that the hub gives for a file that stayed there, or "". */
static const char *sha256_of(const void *ctx, const char *path)
{
    const struct ht__job_hub *h = ctx;
    const struct ht__selection *s = &h->pulled.weights;
    size_t n = strlen(h->pulled.folder);
    for (size_t i = 0; remote_of(h) && i < s->n; i++)
        if (strncmp(path, h->pulled.folder, n) == 0 && path[n] == '/' && strcmp(path + n + 1, s->files[i]->name) == 0 &&
            ht__etag_kind(s->files[i]->etag) == HT__ETAG_SHA256)
            return s->files[i]->etag;
    return "";
}

/* The member "hub" of the report. */
static void put_report(const void *ctx, struct ht__jw *w)
{
    const struct ht__job_hub *h = ctx;
    ht__jw_object(w, "hub");
    ht__jw_str(w, "id", h->pulled.repo.name.id);
    ht__jw_str(w, "revision", h->pulled.repo.name.revision);
    ht__jw_str(w, "commit", h->pulled.repo.commit);
    ht__jw_uint(w, "not_downloaded_bytes", missing_bytes(h));
    if (h->remote || h->lent)
        ht__jw_uint(w, "received_bytes", h->lent ? ht__lent_received(h->lent) : ht__remote_received(h->remote));
    ht__jw_end(w);
}

static void describe(const struct ht_job *job, struct ht__source *source)
{
    const struct ht__job_hub *h = &job->hub;
    bool named = h->path && job->options.source == h->path;
    source->path = job->options.source;
    source->name = named ? h->named : NULL;
    source->remote = remote_of(h);
    source->missing_bytes = job->options.no_cache ? 0 : missing_bytes(h);
    source->reading_memory = h->remote && job->options.no_cache ? HT__REMOTE_MEMORY : 0;
    source->sha256 = sha256_of;
    source->report = named ? put_report : NULL;
    source->ctx = h;
}

static void warn_of_passes(struct ht_job *job)
{
    const struct ht__options *o = &job->options;
    if (remote_of(&job->hub) && o->no_cache &&
        (o->calibration || o->measure || o->fail_if.n || o->html || o->fit || o->bpw || o->gpu))
        ht__log_printf(&job->log, HT__LOG_WARNING,
                       "with --no-cache the weights come over the network again each time that the model is run: "
                       "--layer-cache keeps its layers");
}

static enum ht_err find(struct ht_job *job, bool headers, struct ht_diag *diag)
{
    struct ht__job_hub *h = &job->hub;
    const char *source = job->options.source;
    bool again = source && source == h->path; /* a second run of the job */
    if (again && h->lent) return HT_OK;
    forget(h);
    if (!source || (!again && !h->socket && !is_wanted(job, source))) {
        h->path = h->named = NULL;
        return HT_OK;
    }
    if (!again) h->asked = source;
    HT_TRY(bring(job, headers, diag));
    warn_of_passes(job);
    return HT_OK;
}

enum ht_err ht__hub_source(struct ht_job *job, bool headers, struct ht__source *source, struct ht_diag *diag)
{
    HT_TRY(find(job, headers, diag));
    describe(job, source);
    return HT_OK;
}

/* ---- verbs ---- */

enum ht_err ht__hub_lend(struct ht_job *job, const char *name, int socket, void (*ready)(void *ctx, const char *json),
                         void *ctx, struct ht_diag *diag)
{
    struct ht__hub *hub;
    struct ht__pulled pulled;
    struct ht__remote *remote = NULL;
    struct ht__buf buf;
    HT_TRY(open_hub(job, &hub, diag));
    enum ht_err err = pull(job, hub, name, true, &pulled, diag);
    if (err == HT_OK && pulled.weights.n) err = ht__remote_open(hub, &pulled, &remote, diag);
    ht__buf_init(&buf, job->alloc);
    if (err == HT_OK) {
        ht__pulled_json(&pulled, &buf);
        const char *text = ht__buf_text(&buf);
        if (buf.failed)
            err = ht__fail_memory(diag, "hub");
        else
            ready(ctx, text);
    }
    if (err == HT_OK) err = ht__lend(socket, &pulled, remote ? ht__remote_folder(remote) : NULL, job->alloc, diag);
    ht__buf_close(&buf);
    ht__remote_close(&remote);
    ht__pulled_close(&pulled);
    ht__hub_close(&hub);
    return err;
}

static enum ht_err hand_out(struct ht__buf *buf, char **json, struct ht_diag *diag)
{
    enum ht_err err = ht__buf_hand_out(buf, "hub", json, diag);
    ht__buf_close(buf);
    return err;
}

enum ht_err ht__hub_pull(struct ht_job *job, const char *name, char **json, struct ht_diag *diag)
{
    struct ht__hub *hub;
    struct ht__pulled pulled;
    struct ht__buf buf;
    *json = NULL;
    HT_TRY(open_hub(job, &hub, diag));
    enum ht_err err = pull_wanted(job, hub, name, &pulled, diag);
    ht__buf_init(&buf, job->alloc);
    if (err == HT_OK) {
        ht__pulled_json(&pulled, &buf);
        err = hand_out(&buf, json, diag);
    }
    ht__pulled_close(&pulled);
    ht__hub_close(&hub);
    return err;
}

static enum ht_err refuse_offline(const struct ht_job *job, struct ht_diag *diag)
{
    return job->options.offline
               ? ht__fail(diag, HT_ERR_USAGE, "offline", -1, "only the hub can answer this, but offline is set")
               : HT_OK;
}

enum ht_err ht__hub_search(struct ht_job *job, const char *text, int limit, char **json, struct ht_diag *diag)
{
    struct ht__hub *hub;
    struct ht__link *link = NULL;
    struct ht__buf buf;
    *json = NULL;
    HT_TRY(refuse_offline(job, diag));
    HT_TRY(open_hub(job, &hub, diag));
    ht__buf_init(&buf, job->alloc);
    enum ht_err err = ht__link_open(hub, &link, diag);
    if (err == HT_OK) err = ht__api_search(link, text, limit, &buf, diag);
    if (err == HT_OK)
        err = hand_out(&buf, json, diag);
    else
        ht__buf_close(&buf);
    ht__link_close(&link);
    ht__hub_close(&hub);
    return err;
}

static void put_files(const struct ht__repo *repo, struct ht__buf *out)
{
    uint64_t total = 0;
    struct ht__jw w = ht__jw_line(out);
    ht__jw_object(&w, NULL);
    ht__jw_str(&w, "id", repo->name.id);
    ht__jw_str(&w, "revision", repo->name.revision);
    ht__jw_str(&w, "commit", repo->commit);
    ht__jw_array(&w, "files");
    for (size_t i = 0; i < repo->n; i++) {
        const struct ht__repo_file *f = &repo->files[i];
        ht__jw_object(&w, NULL);
        ht__jw_str(&w, "name", f->name);
        if (f->size != UINT64_MAX) ht__jw_uint(&w, "size", f->size);
        if (ht__etag_kind(f->etag) == HT__ETAG_SHA256) ht__jw_str(&w, "sha256", f->etag);
        ht__jw_end(&w);
        if (f->size != UINT64_MAX) total += f->size;
    }
    ht__jw_end(&w);
    ht__jw_uint(&w, "bytes", total);
    ht__jw_bool(&w, "gated", repo->gated);
    ht__jw_str(&w, "license", repo->license[0] ? repo->license : NULL);
    ht__jw_end(&w);
}

enum ht_err ht__hub_info(struct ht_job *job, const char *name, char **json, struct ht_diag *diag)
{
    struct ht__hub_name parsed;
    struct ht__hub *hub;
    struct ht__link *link = NULL;
    struct ht__repo repo;
    struct ht__buf buf;
    bool lost;
    *json = NULL;
    HT_TRY(ht__hub_name_parse(name, &parsed, diag));
    HT_TRY(refuse_offline(job, diag));
    HT_TRY(open_hub(job, &hub, diag));
    ht__repo_init(&repo, &parsed, job->alloc);
    enum ht_err err = ht__link_open(hub, &link, diag);
    if (err == HT_OK) err = ht__api_files(link, &repo, false, &lost, diag);
    if (err == HT_OK) {
        ht__buf_init(&buf, job->alloc);
        put_files(&repo, &buf);
        err = hand_out(&buf, json, diag);
    }
    ht__repo_close(&repo);
    ht__link_close(&link);
    ht__hub_close(&hub);
    return err;
}
