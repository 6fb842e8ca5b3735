#include "model/card.h"
#include "base/yaml.h"
#include "model/model_name.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_CARD = 16 << 20, MOST_ORIGINS = 1024 /* each is four keys, of which readers take 65,536 */ };

/* Single values in the order in which they are written, and under which keys cards have them. */
enum field { NAME, AUTHOR, VERSION, ORGANIZATION, FINETUNE, BASENAME, DESCRIPTION, SIZE_LABEL, N_FIELDS = 15 };
static const struct {
    const char *key, *in_card;
} fields[N_FIELDS] = {
    {"general.name", "name model_name"},
    {"general.author", "author model_author model_creator"},
    {"general.version", "version model_version"},
    {"general.organization", "organization model_organization"},
    {"general.finetune", "finetune model_finetune"},
    {"general.basename", "basename model_basename model_type"},
    {"general.description", "description model_description"},
    {"general.size_label", "size_label model_size_label"},
    {"general.license", "license"},
    {"general.license.name", "license_name"},
    {"general.license.link", "license_link"},
    {"general.source.url", "url model_url"},
    {"general.source.doi", "doi model_doi"},
    {"general.source.uuid", "uuid model_uuid"},
    {"general.source.repo_url", "repo_url model_repo_url"},
};

struct card {
    const struct ht__card_job *job;
    struct ht__kvs *kvs;
    const struct ht__jnode *front; /* the front matter, or NULL */
    const char *values[N_FIELDS];
    uint64_t n_weights; /* 0: not known */
    bool no_memory;
};

/* ---- the front matter ---- */

/* README.md's lines between a first "---" and the next. A bare `- no` is Norwegian, and tabs are blanks. */
static void cut_front_matter(const char *text, size_t size, struct ht__buf *out)
{
    bool first = true;
    for (size_t at = 0; at < size;) {
        size_t end = at;
        while (end < size && text[end] != '\n' && text[end] != '\r')
            end++;
        const char *line = text + at;
        size_t len = end - at;
        bool rule = len == 3 && memcmp(line, "---", 3) == 0;
        if (rule != first) return; /* no front matter, or its end */
        bool norwegian = len >= 4 && memcmp(line + len - 4, "- no", 4) == 0;
        for (size_t i = 0; !first && i < len - (norwegian ? 2 : 0); i++)
            ht__buf_put(out, line[i] == '\t' ? "  " : line + i, line[i] == '\t' ? 2 : 1);
        ht__buf_str(out, norwegian ? "\"no\"\n" : "\n"); /* one for the rule too: lines keep their numbers */
        first = false;
        at = end + 1 + (end + 1 < size && text[end] == '\r' && text[end + 1] == '\n');
    }
}

static enum ht_err read_front_matter(struct card *c, const char *path, struct ht_diag *why)
{
    struct ht__buf text, front;
    struct ht__jnode *root = NULL;
    ht__buf_init(&text, c->job->tmp->alloc);
    ht__buf_init(&front, c->job->tmp->alloc);
    enum ht_err err = ht__file_load(path, LARGEST_CARD, &text, why);
    if (err == HT_OK) cut_front_matter((const char *)text.data, text.len, &front);
    if (front.failed) err = ht__fail_memory(why, path);
    if (err == HT_OK && front.len)
        err = ht__yaml_parse(c->job->tmp, (const char *)front.data, front.len, path, &root, why);
    if (err == HT_OK && root && root->type == HT__JSON_OBJECT) c->front = root;
    ht__buf_close(&front);
    ht__buf_close(&text);
    return err;
}

/* For optional files: a damaged one is left out with a warning, one that cannot be read is an error. */
static enum ht_err leave_out(struct card *c, const char *path, enum ht_err err, const struct ht_diag *why,
                             struct ht_diag *diag)
{
    if (err != HT_OK && err != HT_ERR_FORMAT && err != HT_ERR_LIMIT)
        return ht__fail(diag, err, path, why->offset, "%s", why->message);
    if (err != HT_OK)
        ht__log_printf(c->job->log, HT__LOG_WARNING, "%s is left out of the metadata: %s", path, why->message);
    return HT_OK;
}

static enum ht_err load_card(struct card *c, struct ht_diag *diag)
{
    char path[4096];
    struct ht_diag why = {0};
    HT_TRY(ht__path_join(path, sizeof path, c->job->dir, "README.md", diag));
    return ht__path_exists(path) ? leave_out(c, path, read_front_matter(c, path, &why), &why, diag) : HT_OK;
}

/* A member, also when it is null; the last one of that name, as PyYAML has it. */
static const struct ht__jnode *member(const struct ht__jnode *node, const char *key)
{
    for (size_t i = node && node->type == HT__JSON_OBJECT ? node->n : 0; i-- > 0;)
        if (strcmp(node->keys[i], key) == 0) return &node->children[i];
    return NULL;
}

/* The first of the names that has a value. */
static const struct ht__jnode *any_member(const struct ht__jnode *node, const char *names)
{
    char name[64];
    int used;
    for (; sscanf(names, "%63s%n", name, &used) == 1; names += used) {
        const struct ht__jnode *v = member(node, name);
        if (v && v->type != HT__JSON_NULL) return v;
    }
    return NULL;
}

/* Texts of a list with a separator; the text itself when it is one. NULL for anything else. */
static const char *joined(struct card *c, const struct ht__jnode *v, const char *separator)
{
    if (!v || v->type == HT__JSON_STRING) return v ? v->text : NULL;
    if (v->type != HT__JSON_ARRAY) return NULL;
    struct ht__buf out;
    ht__buf_init(&out, c->job->tmp->alloc);
    for (size_t i = 0, n = 0; i < v->n; i++) {
        if (v->children[i].type != HT__JSON_STRING) continue;
        if (n++) ht__buf_str(&out, separator);
        ht__buf_str(&out, v->children[i].text);
    }
    const char *text = ht__arena_str(c->job->tmp, ht__buf_text(&out));
    if (out.failed || !text) c->no_memory = true;
    ht__buf_close(&out);
    return text;
}

static void fields_of_card(struct card *c)
{
    for (int i = 0; i < N_FIELDS; i++) {
        const struct ht__jnode *v = any_member(c->front, fields[i].in_card);
        bool license = strcmp(fields[i].in_card, "license") == 0;
        if (v && (v->type == HT__JSON_STRING || license)) c->values[i] = joined(c, v, ",");
    }
}

/* ---- names ---- */

static void fill(struct card *c, enum field field, const char *value)
{
    if (!c->values[field]) c->values[field] = value;
}

/* A text that was asked for: without one memory is out, and that must not pass for "says nothing". */
static const char *made(struct card *c, const char *text)
{
    if (!text) c->no_memory = true;
    return text;
}

static void fields_of_name(struct card *c, const char *id)
{
    struct ht__model_name n;
    if (!id || !ht__model_name_parse(c->job->tmp, id, c->n_weights, &n)) {
        c->no_memory = true;
        return;
    }
    fill(c, NAME, made(c, ht__model_title(c->job->tmp, n.name)));
    if (n.organization) fill(c, ORGANIZATION, made(c, ht__model_title(c->job->tmp, n.organization)));
    fill(c, BASENAME, n.basename);
    fill(c, FINETUNE, n.finetune);
    fill(c, VERSION, n.version);
    fill(c, SIZE_LABEL, n.size_label);
}

/* .../models--ORG--NAME/snapshots/COMMIT: a hub's cache. The commit is no name, the repository's is. */
static bool name_in_cache(char *path, char id[512])
{
    static const char folder[] = "/snapshots", prefix[] = "models--";
    char *commit = strrchr(path, '/');
    if (!commit || (size_t)(commit - path) < sizeof folder) return false;
    char *at = commit - (sizeof folder - 1);
    if (memcmp(at, folder, sizeof folder - 1) != 0) return false;
    *at = '\0';
    const char *repo = ht__path_base(path);
    if (strncmp(repo, prefix, sizeof prefix - 1) != 0) return false;
    snprintf(id, 512, "%s", repo + sizeof prefix - 1);
    char *dashes = strstr(id, "--");
    if (dashes) {
        *dashes = '/';
        memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    }
    return true;
}

static void fields_of_folder(struct card *c)
{
    char real[4096], given[4096], id[512];
    snprintf(given, sizeof given, "%s", c->job->dir);
    for (size_t n = strlen(given); n > 1 && given[n - 1] == '/'; n--)
        given[n - 1] = '\0';
    if (!realpath(given, real)) snprintf(real, sizeof real, "%s", given);
    const char *base = ht__path_base(given);
    if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) base = ht__path_base(real);
    char *copy = ht__arena_str(c->job->tmp, base);
    if (!copy)
        c->no_memory = true;
    else if (name_in_cache(real, id))
        fields_of_name(c, ht__arena_str(c->job->tmp, id));
    else
        fields_of_name(c, copy);
}

/* What somebody's training script called the model, unless it is a path of their disk. */
static void fields_of_config(struct card *c)
{
    const char *id = ht__jstr(c->job->config, "_name_or_path", ""), *slash = strchr(id, '/');
    if (*id && (!slash || !strchr(slash + 1, '/'))) fields_of_name(c, id);
}

/* ---- what it was made from ---- */

struct origin {
    const char *key; /* "general.base_model" */
    const char *in_card[3];
};

static void put_origin(struct card *c, const char *prefix, size_t i, const char *what, const char *text)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%zu.%s", prefix, i, what);
    if (text && *text) ht__kv_str(c->kvs, key, text);
}

static void origin_of_id(struct card *c, const char *prefix, size_t i, const char *id, const char *url)
{
    struct ht__model_name n;
    struct ht__arena *tmp = c->job->tmp;
    if (!ht__model_name_parse(tmp, id, c->n_weights, &n)) {
        c->no_memory = true;
        return;
    }
    put_origin(c, prefix, i, "name", made(c, ht__model_title(tmp, n.name)));
    put_origin(c, prefix, i, "version", n.version);
    if (n.organization) put_origin(c, prefix, i, "organization", made(c, ht__model_title(tmp, n.organization)));
    if (url)
        put_origin(c, prefix, i, "repo_url", url);
    else if (n.organization)
        put_origin(c, prefix, i, "repo_url",
                   made(c, ht__arena_printf(tmp, "https://huggingface.co/%s/%s", n.organization, n.name)));
}

/* The id inside an address of the hub: after the host exactly two names. NULL for other addresses. */
static const char *id_of_url(const char *url)
{
    static const char host[] = "huggingface.co/";
    const char *at = strncmp(url, "https://", 8) == 0 ? url + 8 : strncmp(url, "http://", 7) == 0 ? url + 7 : "";
    if (strncmp(at, host, sizeof host - 1) != 0) return NULL;
    at += sizeof host - 1;
    const char *slash = strchr(at, '/');
    return slash && slash > at && slash[1] && !strchr(slash + 1, '/') ? at : NULL;
}

static void origin_of_text(struct card *c, const char *prefix, size_t i, const char *text)
{
    bool url = strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0 || strncmp(text, "ssh://", 6) == 0;
    const char *id = url ? id_of_url(text) : text;
    if (id)
        origin_of_id(c, prefix, i, id, url ? text : NULL);
    else
        put_origin(c, prefix, i, "repo_url", text);
}

static void origin_of_mapping(struct card *c, const char *prefix, size_t i, const struct ht__jnode *node)
{
    static const char *const keys[] = {"name", "author", "version", "organization", "description",
                                       "url",  "doi",    "uuid",    "repo_url"};
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        const struct ht__jnode *v = member(node, keys[k]);
        if (v && v->type == HT__JSON_STRING) put_origin(c, prefix, i, keys[k], v->text);
    }
}

/* Each is an id, an address or a mapping; the count comes first. */
static void put_origins(struct card *c, const struct origin *origin)
{
    const struct ht__jnode *list = NULL;
    for (int i = 0; i < 3 && !list; i++)
        list = member(c->front, origin->in_card[i]);
    if (!list) return;
    char count[64];
    size_t n = list->type == HT__JSON_ARRAY ? list->n : list->type == HT__JSON_STRING;
    if (n > MOST_ORIGINS) {
        ht__log_printf(c->job->log, HT__LOG_WARNING, "README.md names %zu under %s: the first %d are kept", n,
                       origin->in_card[0], MOST_ORIGINS);
        n = MOST_ORIGINS;
    }
    snprintf(count, sizeof count, "%s.count", origin->key);
    ht__kv_u32(c->kvs, count, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        const struct ht__jnode *v = list->type == HT__JSON_ARRAY ? &list->children[i] : list;
        if (v->type == HT__JSON_STRING)
            origin_of_text(c, origin->key, i, v->text);
        else
            origin_of_mapping(c, origin->key, i, v);
    }
}

/* Texts under both names, one after the other. */
static void put_texts(struct card *c, const char *key, const char *first, const char *second)
{
    const struct ht__jnode *lists[2] = {member(c->front, first), member(c->front, second)};
    size_t n = 0, most = 0;
    for (int i = 0; i < 2; i++)
        if (lists[i]) most += lists[i]->type == HT__JSON_ARRAY ? lists[i]->n : 1;
    struct ht__arena *arena = &c->job->model->arena;
    struct ht__str *texts = most ? ht__arena_array(arena, most, sizeof *texts) : NULL;
    if (most && !texts) c->no_memory = true;
    for (int i = 0; texts && i < 2; i++) {
        bool many = lists[i] && lists[i]->type == HT__JSON_ARRAY;
        for (size_t k = 0; lists[i] && k < (many ? lists[i]->n : 1); k++) {
            const struct ht__jnode *v = many ? &lists[i]->children[k] : lists[i];
            if (v->type != HT__JSON_STRING) continue;
            texts[n] = (struct ht__str){ht__arena_copy(arena, v->text, v->len), v->len};
            if (!texts[n++].text) c->no_memory = true;
        }
    }
    if (n && !c->no_memory) ht__kv_strs_ref(c->kvs, key, texts, n);
}

/* ---- numbers ---- */

/* A setting for sampling that generation_config.json has. */
static void put_setting(struct card *c, const char *key, char kind, const struct ht__jnode *v)
{
    if (kind == 's' && v->type == HT__JSON_STRING && v->len) ht__kv_str(c->kvs, key, v->text);
    if (kind == 'i' && v->is_int && v->integer >= INT32_MIN && v->integer <= INT32_MAX)
        ht__kv_i32(c->kvs, key, (int32_t)v->integer);
    if (kind == 'f' && v->type == HT__JSON_NUMBER && isfinite(v->number)) ht__kv_f32(c->kvs, key, (float)v->number);
}

static enum ht_err sampling_keys(struct card *c, struct ht_diag *diag)
{
    static const struct {
        const char *from, *key;
        char kind;
    } keys[] = {
        {"sequence", "general.sampling.sequence", 's'},
        {"top_k", "general.sampling.top_k", 'i'},
        {"top_p", "general.sampling.top_p", 'f'},
        {"min_p", "general.sampling.min_p", 'f'},
        {"xtc_probability", "general.sampling.xtc_probability", 'f'},
        {"xtc_threshold", "general.sampling.xtc_threshold", 'f'},
        {"temperature", "general.sampling.temp", 'f'},
        {"penalty_last_n", "general.sampling.penalty_last_n", 'i'},
        {"penalty_repeat repetition_penalty", "general.sampling.penalty_repeat", 'f'},
        {"mirostat", "general.sampling.mirostat", 'i'},
        {"mirostat_tau", "general.sampling.mirostat_tau", 'f'},
        {"mirostat_eta", "general.sampling.mirostat_eta", 'f'},
    };
    char path[4096];
    struct ht__jnode *g = NULL;
    struct ht_diag why = {0};
    HT_TRY(ht__path_join(path, sizeof path, c->job->dir, "generation_config.json", diag));
    if (!ht__path_exists(path)) return HT_OK;
    HT_TRY(leave_out(c, path, ht__json_load(c->job->tmp, path, LARGEST_CARD, &g, &why), &why, diag));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct ht__jnode *v = any_member(g, keys[i].from);
        if (v) put_setting(c, keys[i].key, keys[i].kind, v);
    }
    return HT_OK;
}

/* Where the name does not say it: the weights, those of experts counted once. */
static const char *size_of_weights(struct card *c)
{
    uint64_t one = 0, experts = 0, stacks = 0;
    for (size_t i = 0; i < c->job->model->n_weights; i++) {
        const struct ht__weight *w = &c->job->model->weights[i];
        uint64_t n = (uint64_t)w->rows->n_rows * (uint64_t)w->rows->row_len;
        bool stack = ht__slot_of_experts(w->slot) && w->n_dims >= 3 && w->ne[2] > 0;
        one += stack ? n / (uint64_t)w->ne[2] : n;
        experts += stack ? (uint64_t)w->ne[2] : 0;
        stacks += stack;
    }
    char label[48];
    ht__size_label(one, stacks ? experts / stacks : 0, label);
    char *copy = ht__arena_str(c->job->tmp, label);
    if (!copy) c->no_memory = true;
    return copy;
}

enum ht_err ht__card_keys(const struct ht__card_job *job, struct ht_diag *diag)
{
    static const struct origin base = {"general.base_model", {"base_model", "base_models", "base_model_sources"}},
                               data = {"general.dataset", {"datasets", "dataset", "dataset_sources"}};
    struct card c = {.job = job, .kvs = &job->model->kvs};
    for (size_t i = 0; i < job->model->n_weights; i++) {
        const struct ht__rows *rows = job->model->weights[i].rows;
        c.n_weights += (uint64_t)rows->n_rows * (uint64_t)rows->row_len;
    }
    HT_TRY(load_card(&c, diag));
    HT_TRY(sampling_keys(&c, diag));
    fields_of_card(&c);
    fields_of_config(&c);
    fields_of_folder(&c);
    if (c.n_weights && !c.values[SIZE_LABEL]) c.values[SIZE_LABEL] = size_of_weights(&c);
    for (int i = 0; i < N_FIELDS; i++)
        if (c.values[i] && *c.values[i]) ht__kv_str(c.kvs, fields[i].key, c.values[i]);
    put_origins(&c, &base);
    put_origins(&c, &data);
    put_texts(&c, "general.tags", "tags", "pipeline_tag");
    put_texts(&c, "general.languages", "languages", "language");
    return c.no_memory || c.kvs->failed ? ht__fail_memory(diag, "metadata") : HT_OK;
}
