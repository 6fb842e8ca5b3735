#include "hub/api.h"
#include "base/json_write.h"
#include "base/map.h"

#include <stdio.h>
#include <string.h>

enum { LARGEST_ANSWER = 64 << 20, MAX_FILES = 1 << 17 };

void ht__repo_init(struct ht__repo *repo, const struct ht__hub_name *name, const struct ht__alloc *alloc)
{
    memset(repo, 0, sizeof *repo);
    repo->name = *name;
    ht__arena_init(&repo->arena, alloc);
}

void ht__repo_close(struct ht__repo *repo)
{
    ht__arena_close(&repo->arena);
    repo->n = 0;
}

const struct ht__repo_file *ht__repo_find(const struct ht__repo *repo, const char *name)
{
    for (size_t i = 0; i < repo->n; i++)
        if (strcmp(repo->files[i].name, name) == 0) return &repo->files[i];
    return NULL;
}

/* ---- addresses ---- */

/* Everything but letters, digits and -._~ as %XX; '/' stays where paths go on. */
static void put_escaped(struct ht__buf *out, const char *text, bool path)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c);
        if (plain || (path && c == '/'))
            ht__buf_put(out, &c, 1);
        else
            ht__buf_printf(out, "%%%02X", c);
    }
}

static enum ht_err take(struct ht__buf *buf, char url[HT__URL_MAX], struct ht_diag *diag)
{
    const char *text = ht__buf_text(buf);
    bool failed = buf->failed, fits = !failed && buf->len < HT__URL_MAX;
    if (fits) memcpy(url, text, buf->len + 1);
    ht__buf_close(buf);
    if (failed) return ht__fail_memory(diag, "hub");
    return fits ? HT_OK : ht__fail(diag, HT_ERR_LIMIT, "hub", -1, "the address is too long");
}

enum ht_err ht__api_url(const struct ht__hub *hub, const struct ht__repo *repo, const char *file, char url[HT__URL_MAX],
                        struct ht_diag *diag)
{
    struct ht__buf buf;
    ht__buf_init(&buf, hub->alloc);
    ht__buf_printf(&buf, "%s/%s/resolve/%s/", hub->settings.endpoint, repo->name.id, repo->commit);
    put_escaped(&buf, file, true);
    return take(&buf, url, diag);
}

static enum ht_err files_url(const struct ht__hub *hub, const struct ht__hub_name *name, char url[HT__URL_MAX],
                             struct ht_diag *diag)
{
    struct ht__buf buf;
    ht__buf_init(&buf, hub->alloc);
    ht__buf_printf(&buf, "%s/api/models/%s/revision/", hub->settings.endpoint, name->id);
    put_escaped(&buf, name->revision, false);
    ht__buf_str(&buf, "?blobs=true");
    return take(&buf, url, diag);
}

/* ---- refusals ---- */

/* Strangers are told that a private model does not exist, with the same words as for one that does not. */
static enum ht_err unknown_model(const struct ht__hub *hub, const struct ht__hub_name *name, enum ht_err code,
                                 struct ht_diag *diag)
{
    return ht__fail(
        diag, code, name->id, -1,
        hub->settings.token
            ? "%s has no such model, or this token may not read it, and there is no such folder here: check the name"
            : "%s has no such model, and there is no such folder here: check the name, or set HF_TOKEN if it "
              "is private",
        hub->settings.endpoint);
}

static enum ht_err gated(const struct ht__hub *hub, const struct ht__hub_name *name, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_DENIED, name->id, -1,
                    hub->settings.token
                        ? "the model is gated and this token's owner has no access: ask for it at %s/%s"
                        : "the model is gated: accept its terms at %s/%s, then set HF_TOKEN to a token of that account",
                    hub->settings.endpoint, name->id);
}

enum ht_err ht__api_refused(const struct ht__hub *hub, const struct ht__hub_name *name, const char *file,
                            const struct ht__reply *r, struct ht_diag *diag)
{
    bool denied = r->status == 401 || r->status == 403;
    if (strcmp(r->code, "GatedRepo") == 0) return gated(hub, name, diag);
    if (strcmp(r->code, "RevisionNotFound") == 0)
        return ht__fail(diag, HT_ERR_NOT_FOUND, name->id, -1, "the model has no branch, tag or commit \"%s\"",
                        name->revision);
    if (strcmp(r->code, "EntryNotFound") == 0 || (r->status == 404 && file))
        return ht__fail(diag, HT_ERR_NOT_FOUND, name->id, -1, "the model has no file \"%.200s\"", file ? file : "");
    if (strcmp(r->code, "RepoNotFound") == 0 || r->status == 404)
        return unknown_model(hub, name, HT_ERR_NOT_FOUND, diag);
    if (r->status == 401 && !hub->settings.token) return unknown_model(hub, name, HT_ERR_DENIED, diag);
    if (r->status == 401)
        return ht__fail(diag, HT_ERR_DENIED, name->id, -1, "the hub rejects this token: it may have expired");
    if (denied)
        return ht__fail(diag, HT_ERR_DENIED, name->id, -1, "the hub refuses access%s%.200s", r->message[0] ? ": " : "",
                        r->message);
    return ht__fail(diag, HT_ERR_IO, name->id, -1, "the hub answers with status %d%s%.200s", r->status,
                    r->message[0] ? ": " : "", r->message);
}

/* ---- asking ---- */

static enum ht_err append(void *ctx, const void *data, size_t n, struct ht_diag *diag)
{
    struct ht__buf *buf = ctx;
    ht__buf_put(buf, data, n);
    return buf->failed ? ht__fail_memory(diag, "hub") : HT_OK;
}

static enum ht_err begin_again(void *ctx, const struct ht__reply *reply, struct ht_diag *diag)
{
    (void)reply, (void)diag;
    ((struct ht__buf *)ctx)->len = 0; /* what an attempt before left */
    return HT_OK;
}

/* A small answer, whole; with patience. Statuses that pass are waited out, others are the caller's. */
static enum ht_err ask(struct ht__link *link, const char *url, struct ht__buf *out, struct ht__reply *reply,
                       int attempts_less, struct ht_diag *diag)
{
    struct ht__request q = {.url = url,
                            .head = !out,
                            .at_home = !out,
                            .limit = LARGEST_ANSWER,
                            .begin = begin_again,
                            .sink = append,
                            .ctx = out};
    struct ht__patience patience = {attempts_less};
    for (;;) {
        enum ht_err err = ht__link_send(link, &q, reply, diag);
        if (err == HT_OK && !ht__reply_is_busy(reply)) return HT_OK;
        if (err != HT_OK && !reply->lost) return err;
        HT_TRY(ht__link_wait(link, &patience, reply, diag));
    }
}

enum ht_err ht__api_files(struct ht__link *link, struct ht__repo *repo, bool hasty, bool *lost, struct ht_diag *diag)
{
    const struct ht__hub *hub = ht__link_hub(link);
    char url[HT__URL_MAX];
    struct ht__buf text;
    struct ht__reply reply;
    HT_TRY(files_url(hub, &repo->name, url, diag));
    ht__buf_init(&text, hub->alloc);
    enum ht_err err = ask(link, url, &text, &reply, hasty ? hub->settings.n_tries - 2 : 0, diag);
    *lost = err != HT_OK && reply.lost;
    if (err == HT_OK && reply.status != 200) err = ht__api_refused(hub, &repo->name, NULL, &reply, diag);
    if (err == HT_OK) err = ht__api_read_files(repo, (const char *)text.data, text.len, repo->name.id, diag);
    ht__buf_close(&text);
    if (err == HT_OK && repo->n_odd)
        ht__log_printf(hub->settings.log, HT__LOG_WARNING,
                       "%zu files of %s have names that are no paths, such as \"%.60s\": passed over", repo->n_odd,
                       repo->name.id, repo->odd);
    return err;
}

enum ht_err ht__api_file(struct ht__link *link, const struct ht__repo *repo, struct ht__repo_file *file,
                         struct ht_diag *diag)
{
    const struct ht__hub *hub = ht__link_hub(link);
    char url[HT__URL_MAX];
    struct ht__reply r;
    HT_TRY(ht__api_url(hub, repo, file->name, url, diag));
    HT_TRY(ask(link, url, NULL, &r, 0, diag));
    bool sent_on = r.status >= 300 && r.status < 400;
    if (r.status != 200 && !sent_on) return ht__api_refused(hub, &repo->name, file->name, &r, diag);
    const char *etag = r.linked_etag[0] ? r.linked_etag : r.etag;
    uint64_t size = r.linked_size != UINT64_MAX ? r.linked_size : sent_on ? UINT64_MAX : r.length;
    if (ht__etag_kind(etag) == HT__ETAG_NONE || size == UINT64_MAX)
        return ht__fail(diag, HT_ERR_FORMAT, repo->name.id, -1,
                        "the hub does not give the length of \"%.200s\" is and what its content is called", file->name);
    memcpy(file->etag, etag, strlen(etag) + 1); /* of one of the two lengths */
    file->size = size;
    return HT_OK;
}

/* ---- reading the list of files ---- */

/* A large file is named by its SHA-256, any other as git names it. */
static void read_content(struct ht__repo_file *file, const struct ht__jnode *entry)
{
    const struct ht__jnode *lfs = ht__jget(entry, "lfs");
    const char *etag = lfs ? ht__jstr(lfs, "sha256", ht__jstr(lfs, "oid", "")) : ht__jstr(entry, "blobId", "");
    int64_t size = lfs ? ht__jint(lfs, "size", ht__jint(entry, "size", -1)) : ht__jint(entry, "size", -1);
    enum ht__etag_kind kind = ht__etag_kind(etag);
    file->size = size >= 0 ? (uint64_t)size : UINT64_MAX;
    if (kind == (lfs ? HT__ETAG_SHA256 : HT__ETAG_GIT)) snprintf(file->etag, sizeof file->etag, "%s", etag);
    if (!file->etag[0] || size < 0) { /* both are asked for, then */
        file->etag[0] = '\0';
        file->size = UINT64_MAX;
    }
}

static enum ht_err read_entry(struct ht__repo *repo, const struct ht__jnode *entry, struct ht__map *seen,
                              const char *where, struct ht_diag *diag)
{
    const struct ht__jnode *name = ht__jget(entry, "rfilename");
    if (!name || name->type != HT__JSON_STRING)
        return ht__fail(diag, HT_ERR_FORMAT, where, -1, "the hub lists a file without a name");
    if (strlen(name->text) != name->len || !ht__hub_is_file(name->text)) {
        repo->n_odd++;
        repo->odd = repo->odd ? repo->odd : ht__arena_copy(&repo->arena, name->text, strlen(name->text));
        return repo->odd ? HT_OK : ht__fail_memory(diag, where);
    }
    struct ht__repo_file *file = &repo->files[repo->n];
    file->name = ht__arena_copy(&repo->arena, name->text, name->len);
    if (!file->name) return ht__fail_memory(diag, where);
    switch (ht__map_put(seen, file->name, name->len, 0)) {
    case HT__MAP_NO_MEMORY: return ht__fail_memory(diag, where);
    case HT__MAP_PRESENT: return ht__fail(diag, HT_ERR_FORMAT, where, -1, "the hub lists \"%.200s\" twice", file->name);
    default: break;
    }
    read_content(file, entry);
    repo->n++;
    return HT_OK;
}

static bool is_gated(const struct ht__jnode *model)
{
    const struct ht__jnode *gate = ht__jget(model, "gated"); /* false, "auto" or "manual" */
    return gate && (gate->type == HT__JSON_STRING || (gate->type == HT__JSON_BOOL && gate->boolean));
}

/* The licence among a model's tags ("license:apache-2.0"): an identifier, so that it can be shown anywhere. */
static void read_license(const struct ht__jnode *model, char license[HT__LICENSE_MAX + 1])
{
    const struct ht__jnode *tags = ht__jget(model, "tags");
    license[0] = '\0';
    for (size_t i = 0; tags && tags->type == HT__JSON_ARRAY && i < tags->n; i++) {
        const struct ht__jnode *tag = &tags->children[i];
        if (tag->type != HT__JSON_STRING || strncmp(tag->text, "license:", 8) != 0) continue;
        size_t n = strspn(tag->text + 8, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_+");
        if (n == 0 || n > HT__LICENSE_MAX || n != tag->len - 8) continue;
        memcpy(license, tag->text + 8, n + 1);
        return;
    }
}

static enum ht_err read_root(struct ht__repo *repo, const struct ht__jnode *root, const char *where,
                             struct ht_diag *diag)
{
    const struct ht__jnode *list = ht__jget(root, "siblings");
    const char *commit = ht__jstr(root, "sha", "");
    if (!ht__hub_is_commit(commit)) return ht__fail(diag, HT_ERR_FORMAT, where, -1, "the hub's answer names no commit");
    if (!list || list->type != HT__JSON_ARRAY)
        return ht__fail(diag, HT_ERR_FORMAT, where, -1, "the hub lists no files");
    if (list->n > MAX_FILES) return ht__fail(diag, HT_ERR_LIMIT, where, -1, "more than %d files", MAX_FILES);
    memcpy(repo->commit, commit, sizeof repo->commit);
    repo->gated = is_gated(root);
    read_license(root, repo->license);
    repo->files = ht__arena_array(&repo->arena, list->n, sizeof *repo->files);
    if (!repo->files) return ht__fail_memory(diag, where);
    struct ht__map seen;
    ht__map_init(&seen, repo->arena.alloc);
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < list->n && err == HT_OK; i++)
        err = read_entry(repo, &list->children[i], &seen, where, diag);
    ht__map_close(&seen);
    return err;
}

enum ht_err ht__api_read_files(struct ht__repo *repo, const char *text, size_t size, const char *where,
                               struct ht_diag *diag)
{
    struct ht__arena tree;
    struct ht__jnode *root;
    ht__arena_init(&tree, repo->arena.alloc);
    enum ht_err err = ht__json_parse(&tree, text, size, where, &root, diag);
    if (err == HT_OK) err = read_root(repo, root, where, diag);
    ht__arena_close(&tree);
    return err;
}

/* ---- search ---- */

static void put_known(struct ht__jw *w, const char *key, const char *text)
{
    if (text) ht__jw_str(w, key, text);
}

static void put_model(struct ht__jw *w, const struct ht__jnode *m, const char *id)
{
    char license[HT__LICENSE_MAX + 1];
    read_license(m, license);
    ht__jw_object(w, NULL);
    ht__jw_str(w, "id", id);
    ht__jw_int(w, "downloads", ht__jint(m, "downloads", 0));
    ht__jw_int(w, "likes", ht__jint(m, "likes", 0));
    ht__jw_bool(w, "gated", is_gated(m));
    ht__jw_bool(w, "private", ht__jbool(m, "private", false));
    put_known(w, "updated", ht__jstr(m, "lastModified", ht__jstr(m, "createdAt", NULL)));
    put_known(w, "license", *license ? license : NULL);
    put_known(w, "task", ht__jstr(m, "pipeline_tag", NULL));
    put_known(w, "library", ht__jstr(m, "library_name", NULL));
    ht__jw_end(w);
}

enum ht_err ht__api_read_search(const char *text, size_t size, const char *where, struct ht__buf *json,
                                const struct ht__alloc *alloc, struct ht_diag *diag)
{
    struct ht__arena tree;
    struct ht__jnode *root;
    ht__arena_init(&tree, alloc);
    enum ht_err err = ht__json_parse(&tree, text, size, where, &root, diag);
    if (err == HT_OK && root->type != HT__JSON_ARRAY)
        err = ht__fail(diag, HT_ERR_FORMAT, where, -1, "the hub answers a search with something other than a list");
    struct ht__jw w = ht__jw_line(json);
    ht__jw_object(&w, NULL);
    ht__jw_array(&w, "models");
    for (size_t i = 0; err == HT_OK && i < root->n; i++) {
        struct ht__hub_name name;
        const char *id = ht__jstr(&root->children[i], "id", ht__jstr(&root->children[i], "modelId", ""));
        if (ht__hub_name_parse(id, &name, NULL) != HT_OK || strcmp(name.id, id) != 0)
            continue; /* none that we could fetch */
        put_model(&w, &root->children[i], id);
    }
    ht__jw_end(&w);
    ht__jw_end(&w);
    ht__arena_close(&tree);
    return err == HT_OK && !ht__jw_done(&w) ? ht__fail_memory(diag, where) : err;
}

enum ht_err ht__api_search(struct ht__link *link, const char *text, int limit, struct ht__buf *json,
                           struct ht_diag *diag)
{
    const struct ht__hub *hub = ht__link_hub(link);
    char url[HT__URL_MAX];
    struct ht__buf buf;
    struct ht__reply r;
    ht__buf_init(&buf, hub->alloc);
    ht__buf_printf(&buf, "%s/api/models?search=", hub->settings.endpoint);
    put_escaped(&buf, text, false);
    ht__buf_printf(&buf, "&limit=%d&sort=downloads&direction=-1", limit);
    HT_TRY(take(&buf, url, diag));
    ht__buf_init(&buf, hub->alloc);
    enum ht_err err = ask(link, url, &buf, &r, 0, diag);
    if (err == HT_OK && r.status != 200)
        err =
            ht__fail(diag, r.status == 401 || r.status == 403 ? HT_ERR_DENIED : HT_ERR_IO, "hub", -1,
                     "the hub answers a search with status %d%s%.200s", r.status, r.message[0] ? ": " : "", r.message);
    if (err == HT_OK) err = ht__api_read_search((const char *)buf.data, buf.len, "search", json, hub->alloc, diag);
    ht__buf_close(&buf);
    return err;
}
