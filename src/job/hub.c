#include "job/hub.h"
#include "base/json.h"
#include "hub/name.h"
#include "job/meter.h"

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
    int *number = number_option(&job->hub.settings, name);
    uint64_t v;
    if (!text && !number) return ht__fail(diag, HT_ERR_USAGE, name, -1, "there is no such option");
    if (number) {
        if (!value) return ht__fail(diag, HT_ERR_USAGE, name, -1, "a number is wanted");
        HT_TRY(ht__parse_count(name, value, 1, 86400, &v, diag));
        *number = (int)v;
        return HT_OK;
    }
    *text = value ? ht__arena_str(&job->arena, value) : NULL;
    return value && !*text ? ht__fail_memory(diag, "options") : HT_OK;
}

static bool stopped(void *ctx)
{
    return ht__job_cancelled(ctx);
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
    struct ht_job *job;
    struct ht__meter meter;
    uint64_t total;
    bool begun;
};

static bool tell(void *ctx, uint64_t done, uint64_t total, const char *file)
{
    struct telling *t = ctx;
    if (!t->begun || t->total != total) ht__meter_begin(&t->meter, t->job, "download", "bytes", total);
    t->begun = true;
    t->total = total;
    bool stop = ht__meter_tell(&t->meter, done, file);
    if (stop) ht_job_cancel(t->job);
    return stop || ht__job_cancelled(t->job);
}

static enum ht_err pull(struct ht_job *job, struct ht__hub *hub, const char *name, bool no_weights,
                        struct ht__pulled *pulled, struct ht_diag *diag)
{
    struct telling telling = {.job = job};
    struct ht__pull_request request = {.name = name,
                                       .globs = job->options.include.items,
                                       .n_globs = job->options.include.n,
                                       .no_weights = no_weights,
                                       .tell = tell,
                                       .ctx = &telling};
    return ht__pull(hub, &request, pulled, diag);
}

/* The whole model, or for those that want its vocabulary alone, what holds that: a GGUF file holds both. */
static enum ht_err pull_wanted(struct ht_job *job, struct ht__hub *hub, const char *name,
                               struct ht__pulled *pulled, struct ht_diag *diag)
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
    ht__remote_close(&h->remote);
    if (h->is_pulled) ht__pulled_close(&h->pulled);
    h->is_pulled = false;
    ht__hub_close(&h->hub);
}

void ht__hub_job_close(struct ht_job *job)
{
    forget(&job->hub);
}

static enum ht_err bring(struct ht_job *job, bool headers, struct ht_diag *diag)
{
    struct ht__job_hub *h = &job->hub;
    HT_TRY(open_hub(job, &h->hub, diag));
    h->is_pulled = true;
    HT_TRY(pull(job, h->hub, h->asked, headers || job->options.vocab_only, &h->pulled, diag));
    if (h->pulled.weights.n) HT_TRY(ht__remote_open(h->hub, &h->pulled, &h->remote, diag));
    h->path = ht__arena_str(&job->arena, h->pulled.model);
    h->named = ht__arena_str(&job->arena, strcmp(h->pulled.model, h->pulled.folder) == 0
                                              ? ht__hub_short_name(&h->pulled.repo.name)
                                              : ht__path_base(h->pulled.model));
    if (!h->path || !h->named) return ht__fail_memory(diag, h->asked);
    job->options.source = h->path;
    return HT_OK;
}

static void warn_of_passes(struct ht_job *job)
{
    const struct ht__options *o = &job->options;
    if (job->hub.remote && o->no_cache && (o->calibration || o->measure || o->fail_if.n || o->html))
        ht__log_printf(&job->log, HT__LOG_WARNING,
                       "with --no-cache the weights come over the network again each time that the model is run: "
                       "--layer-cache keeps its layers");
}

enum ht_err ht__hub_source(struct ht_job *job, bool headers, struct ht_diag *diag)
{
    struct ht__job_hub *h = &job->hub;
    const char *source = job->options.source;
    bool again = source && source == h->path; /* a second run of the job */
    forget(h);
    if (!source || (!again && !is_wanted(job, source))) {
        h->path = h->named = NULL;
        return HT_OK;
    }
    if (!again) h->asked = source;
    HT_TRY(bring(job, headers, diag));
    warn_of_passes(job);
    return HT_OK;
}

const struct ht__remote_folder *ht__hub_remote(const struct ht_job *job)
{
    return job->hub.remote ? ht__remote_folder(job->hub.remote) : NULL;
}

uint64_t ht__hub_missing(const struct ht_job *job)
{
    const struct ht__selection *s = &job->hub.pulled.weights;
    uint64_t n = 0;
    for (size_t i = 0; job->hub.remote && i < s->n; i++)
        n += s->files[i]->size;
    return n;
}

uint64_t ht__hub_memory(const struct ht_job *job)
{
    return job->hub.remote && job->options.no_cache ? HT__REMOTE_MEMORY : 0;
}

const char *ht__hub_named(const struct ht_job *job)
{
    return job->options.source && job->options.source == job->hub.path ? job->hub.named : NULL;
}

const char *ht__hub_sha256(const struct ht_job *job, const char *path)
{
    const struct ht__selection *s = &job->hub.pulled.weights;
    size_t n = strlen(job->hub.pulled.folder);
    for (size_t i = 0; job->hub.remote && i < s->n; i++)
        if (strncmp(path, job->hub.pulled.folder, n) == 0 && path[n] == '/' &&
            strcmp(path + n + 1, s->files[i]->name) == 0 && ht__etag_kind(s->files[i]->etag) == HT__ETAG_SHA256)
            return s->files[i]->etag;
    return "";
}

void ht__hub_report(const struct ht_job *job, struct ht__buf *out)
{
    const struct ht__job_hub *h = &job->hub;
    if (!ht__hub_named(job)) return;
    ht__buf_str(out, "\"hub\": {\"id\": ");
    ht__json_quote(out, h->pulled.repo.name.id, strlen(h->pulled.repo.name.id));
    ht__buf_str(out, ", \"revision\": ");
    ht__json_quote(out, h->pulled.repo.name.revision, strlen(h->pulled.repo.name.revision));
    ht__buf_printf(out, ", \"commit\": \"%s\", \"not_downloaded_bytes\": %llu", h->pulled.repo.commit,
                   (unsigned long long)ht__hub_missing(job));
    if (h->remote)
        ht__buf_printf(out, ", \"received_bytes\": %llu", (unsigned long long)ht__remote_received(h->remote));
    ht__buf_str(out, "}, ");
}

/* ---- verbs ---- */

static enum ht_err hand_out(struct ht__buf *buf, char **json, struct ht_diag *diag)
{
    const char *text = ht__buf_text(buf);
    *json = buf->failed ? NULL : strdup(text);
    ht__buf_close(buf);
    return *json ? HT_OK : ht__fail_memory(diag, "hub");
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
               ? ht__fail(diag, HT_ERR_USAGE, "offline", -1, "only the hub could answer this, and it is not asked")
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
    ht__buf_printf(out, "{\"id\": \"%s\", \"revision\": \"%s\", \"commit\": \"%s\", \"files\": [", repo->name.id,
                   repo->name.revision, repo->commit);
    for (size_t i = 0; i < repo->n; i++) {
        const struct ht__repo_file *f = &repo->files[i];
        ht__buf_str(out, i ? ", {\"name\": " : "{\"name\": ");
        ht__json_quote(out, f->name, strlen(f->name));
        if (f->size != UINT64_MAX) ht__buf_printf(out, ", \"size\": %llu", (unsigned long long)f->size);
        if (ht__etag_kind(f->etag) == HT__ETAG_SHA256) ht__buf_printf(out, ", \"sha256\": \"%s\"", f->etag);
        ht__buf_str(out, "}");
        if (f->size != UINT64_MAX) total += f->size;
    }
    ht__buf_printf(out, "], \"bytes\": %llu}", (unsigned long long)total);
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
