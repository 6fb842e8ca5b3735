#include "hub/pull.h"
#include "base/file.h"
#include "base/json_write.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LARGEST_INDEX = 256 << 20 };

struct pull {
    struct ht__hub *hub;
    const struct ht__pull_request *request;
    struct ht__pulled *out;
    struct ht_diag *diag;
};

/* ---- what is in the cache already ---- */

static enum ht_err add_here(struct pull *p, const char *name, uint64_t size)
{
    struct ht__repo *repo = &p->out->repo;
    struct ht__selection *s = &p->out->files;
    enum { MOST = 4096 };
    if (!s->files) s->files = ht__arena_array(&repo->arena, MOST, sizeof *s->files);
    struct ht__repo_file *file = ht__arena_new(&repo->arena, sizeof *file);
    if (!s->files || !file || !(file->name = ht__arena_str(&repo->arena, name)))
        return ht__fail_memory(p->diag, repo->name.id);
    file->size = size;
    if (s->n < MOST) s->files[s->n++] = file;
    return HT_OK;
}

static enum ht_err list_here(struct pull *p)
{
    DIR *dir = opendir(p->out->folder);
    enum ht_err err = HT_OK;
    for (struct dirent *e; dir && err == HT_OK && (e = readdir(dir)) != NULL;) {
        char path[HT__CACHE_PATH + 300];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", p->out->folder, e->d_name);
        if (e->d_name[0] != '.' && stat(path, &st) == 0 && S_ISREG(st.st_mode))
            err = add_here(p, e->d_name, (uint64_t)st.st_size);
    }
    if (dir) closedir(dir);
    return err;
}

/* A snapshot that has only GGUF files is one of them. */
static enum ht_err choose_here(struct pull *p)
{
    const struct ht__repo_file *only = NULL;
    const char *file = p->out->repo.name.file;
    for (size_t i = 0; i < p->out->files.n && !file[0]; i++) {
        const char *name = p->out->files.files[i]->name;
        size_t n = strlen(name);
        if (strcmp(name, "config.json") == 0) return HT_OK;
        if (n > 5 && strcmp(name + n - 5, ".gguf") == 0)
            only = !only || strcmp(name, only->name) < 0 ? p->out->files.files[i] : only;
    }
    if (only) file = only->name;
    if (!file[0]) return HT_OK;
    HT_TRY(ht__path_join(p->out->model, sizeof p->out->model, p->out->folder, file, p->diag));
    if (ht__path_exists(p->out->model)) return HT_OK;
    return ht__fail(p->diag, HT_ERR_NOT_FOUND, p->out->repo.name.id, -1,
                    "\"%.200s\" is not in the cache, and --offline forbids asking the hub", file);
}

static enum ht_err set_folder(struct pull *p)
{
    struct ht__pulled *out = p->out;
    HT_TRY(ht__cache_snapshot(&out->cache, out->repo.commit, out->folder, p->diag));
    memcpy(out->model, out->folder, sizeof out->model);
    return HT_OK;
}

static bool is_here(struct pull *p)
{
    struct ht__pulled *out = p->out;
    return ht__cache_commit(&out->cache, out->repo.name.revision, out->repo.commit) && set_folder(p) == HT_OK &&
           ht__path_is_dir(out->folder);
}

static enum ht_err use_cache(struct pull *p)
{
    const struct ht__hub_name *name = &p->out->repo.name;
    if (!is_here(p))
        return ht__fail(p->diag, HT_ERR_NOT_FOUND, name->id, -1,
                        "revision \"%s\" is not in the cache, and --offline forbids asking the hub", name->revision);
    HT_TRY(list_here(p));
    return choose_here(p);
}

/* ---- what the hub has ---- */

static enum ht_err fetch(struct pull *p, const struct ht__selection *files)
{
    struct ht__fetch f = {p->hub, &p->out->repo, &p->out->cache, p->request->tell, p->request->ctx};
    return ht__fetch_files(&f, files, p->diag);
}

static enum ht_err merge(struct pull *p, const struct ht__selection *more)
{
    struct ht__selection *s = &p->out->files;
    size_t room = s->n + more->n;
    struct ht__repo_file **all = ht__arena_array(&p->out->repo.arena, room + 1, sizeof *all);
    if (!all) return ht__fail_memory(p->diag, p->out->repo.name.id);
    if (s->n) memcpy(all, s->files, s->n * sizeof *all);
    s->files = all;
    for (size_t i = 0; i < more->n; i++) {
        bool have = false;
        for (size_t k = 0; k < s->n && !have; k++)
            have = all[k] == more->files[i];
        if (!have) all[s->n++] = more->files[i];
    }
    return HT_OK;
}

static enum ht_err read_index(struct pull *p, const struct ht__repo_file *index, struct ht__selection *weights)
{
    char path[HT__CACHE_PATH];
    struct ht__buf text;
    HT_TRY(ht__cache_file(&p->out->cache, p->out->repo.commit, index->name, path, p->diag));
    ht__buf_init(&text, p->hub->alloc);
    enum ht_err err = ht__file_load(path, LARGEST_INDEX, &text, p->diag);
    weights->n = 0; /* the index itself is no weights */
    if (err == HT_OK)
        err = ht__select_indexed(&p->out->repo, index->name, (const char *)text.data, text.len, weights, p->diag);
    ht__buf_close(&text);
    return err;
}

static enum ht_err open_model(struct pull *p, const struct ht__selection *weights)
{
    const char *name = weights->n ? weights->files[0]->name : "";
    size_t n = strlen(name);
    if (n < 5 || strcmp(name + n - 5, ".gguf") != 0) return HT_OK;
    return ht__path_join(p->out->model, sizeof p->out->model, p->out->folder, name, p->diag);
}

/* Weights that an earlier run or another program fetched are not remote. */
static enum ht_err leave_weights(struct pull *p, struct ht__selection *weights)
{
    struct ht__selection here = {0};
    here.files = ht__arena_array(&p->out->repo.arena, weights->n + 1, sizeof *here.files);
    p->out->weights.files = ht__arena_array(&p->out->repo.arena, weights->n + 1, sizeof *here.files);
    if (!here.files || !p->out->weights.files) return ht__fail_memory(p->diag, p->out->repo.name.id);
    for (size_t i = 0; i < weights->n; i++) {
        struct ht__selection one = {1, &weights->files[i]};
        bool have =
            weights->files[i]->etag[0] && ht__fetch_missing(&p->out->cache, &one) == 0 && weights->files[i]->size;
        struct ht__selection *to = have ? &here : &p->out->weights;
        to->files[to->n++] = weights->files[i];
    }
    HT_TRY(fetch(p, &here)); /* links alone */
    return merge(p, &here);
}

/* The index says which files the weights are: it is small, and comes first and untold. */
static enum ht_err bring_index(struct pull *p, const struct ht__repo_file *index, struct ht__selection *weights)
{
    struct ht__repo_file *one = &p->out->repo.files[index - p->out->repo.files];
    struct ht__selection alone = {1, &one};
    struct ht__fetch f = {p->hub, &p->out->repo, &p->out->cache, NULL, NULL};
    HT_TRY(ht__fetch_files(&f, &alone, p->diag));
    HT_TRY(merge(p, &alone));
    return read_index(p, index, weights);
}

static enum ht_err remember_lacking(struct pull *p)
{
    const char *name;
    for (size_t at = 0; (name = ht__select_lacking(&p->out->repo, &at)) != NULL;)
        HT_TRY(ht__cache_lacks(&p->out->cache, p->out->repo.commit, name, p->diag));
    return HT_OK;
}

/* All in one go, so that progress is of the whole. */
static enum ht_err model_files(struct pull *p)
{
    struct ht__repo *repo = &p->out->repo;
    struct ht__selection weights = {0}, companions = {0};
    const struct ht__repo_file *index = NULL;
    bool one = repo->name.file[0] != '\0';
    HT_TRY(one ? ht__select_file(repo, repo->name.file, &weights, p->diag)
               : ht__select_weights(repo, &weights, &index, p->diag));
    if (index) HT_TRY(bring_index(p, index, &weights));
    if (!one) HT_TRY(ht__select_companions(repo, &companions, p->diag));
    HT_TRY(merge(p, &companions));
    HT_TRY(open_model(p, &weights));
    if (!p->request->no_weights) HT_TRY(merge(p, &weights));
    HT_TRY(fetch(p, &p->out->files));
    if (!one) HT_TRY(remember_lacking(p));
    return p->request->no_weights ? leave_weights(p, &weights) : HT_OK;
}

static enum ht_err matching_files(struct pull *p)
{
    HT_TRY(ht__select_matching(&p->out->repo, p->request->globs, p->request->n_globs, &p->out->files, p->diag));
    return fetch(p, &p->out->files);
}

static enum ht_err ask(struct pull *p, bool *lost)
{
    struct ht__link *link;
    char commit[41];
    *lost = false;
    HT_TRY(ht__link_open(p->hub, &link, p->diag));
    bool known = ht__cache_commit(&p->out->cache, p->out->repo.name.revision, commit);
    enum ht_err err = ht__api_files(link, &p->out->repo, known, lost, p->diag);
    ht__link_close(&link);
    return err;
}

static enum ht_err pull(struct pull *p)
{
    struct ht__pulled *out = p->out;
    bool lost;
    HT_TRY(ht__cache_repo(&out->cache, p->hub->settings.cache, &out->repo.name, p->diag));
    if (p->hub->settings.offline) return use_cache(p);
    enum ht_err err = ask(p, &lost);
    if (err != HT_OK && lost && is_here(p)) {
        ht__diag_clear(p->diag);
        ht__log_printf(p->hub->settings.log, HT__LOG_WARNING,
                       "the hub cannot be reached: %s is taken from the cache as it is", out->repo.name.id);
        return use_cache(p);
    }
    if (err != HT_OK) return err;
    HT_TRY(set_folder(p));
    HT_TRY(ht__make_dirs(p->hub->settings.cache, p->diag));
    HT_TRY(p->request->n_globs ? matching_files(p) : model_files(p));
    return ht__cache_remember(&out->cache, out->repo.name.revision, out->repo.commit, p->diag);
}

enum ht_err ht__pull(struct ht__hub *hub, const struct ht__pull_request *request, struct ht__pulled *out,
                     struct ht_diag *diag)
{
    struct pull p = {hub, request, out, diag};
    struct ht__hub_name name = {.id = ""};
    memset(out, 0, sizeof *out);
    enum ht_err err = ht__hub_name_parse(request->name, &name, diag);
    ht__repo_init(&out->repo, &name, hub->alloc);
    return err == HT_OK ? pull(&p) : err;
}

void ht__pulled_close(struct ht__pulled *pulled)
{
    ht__repo_close(&pulled->repo);
}

void ht__pulled_json(const struct ht__pulled *pulled, struct ht__buf *out)
{
    struct ht__jw w = ht__jw_line(out);
    ht__jw_object(&w, NULL);
    ht__jw_str(&w, "path", pulled->model);
    ht__jw_str(&w, "snapshot", pulled->folder);
    ht__jw_str(&w, "id", pulled->repo.name.id);
    ht__jw_str(&w, "revision", pulled->repo.name.revision);
    ht__jw_str(&w, "commit", pulled->repo.commit);
    ht__jw_array(&w, "files");
    for (size_t i = 0; i < pulled->files.n; i++) {
        ht__jw_object(&w, NULL);
        ht__jw_str(&w, "name", pulled->files.files[i]->name);
        ht__jw_uint(&w, "size", pulled->files.files[i]->size);
        ht__jw_end(&w);
    }
    ht__jw_end(&w);
    ht__jw_end(&w);
}
