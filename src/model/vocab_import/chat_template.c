/* Chat templates: in tokenizer_config.json as a text or a list of named ones, else in
 * chat_template.jinja (more of them in additional_chat_templates/), else in chat_template.json. */
#include "model/vocab_import/tok.h"
#include "base/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEMPLATE = 4 << 20, MAX_TEMPLATES = 64, MAX_NAME = 64 };

struct names {
    struct ht__str list[MAX_TEMPLATES];
    size_t n;
};

/* Metadata keys are made of letters and digits. */
static void key_name(const char *name, char out[MAX_NAME + 1])
{
    size_t n = 0;
    for (; name[n] && n < MAX_NAME; n++) {
        char c = name[n];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        out[n] = plain ? c : '_';
    }
    out[n] = '\0';
}

static enum ht_err put(struct ht__tok *tok, struct names *names, const char *name, const char *text, size_t len)
{
    char key[MAX_NAME + 1], full[MAX_NAME + 32] = "tokenizer.chat_template.";
    key_name(name, key);
    if (key[0] == '\0' || strcmp(key, "default") == 0) return HT_OK;
    strcat(full, key);
    if (ht__kv_get(tok->kvs, full))
        return ht__fail(tok->diag, HT_ERR_FORMAT, "chat templates", -1, "\"%s\" occurs twice", key);
    if (names->n == MAX_TEMPLATES)
        return ht__fail(tok->diag, HT_ERR_LIMIT, "chat templates", -1, "more than %d", MAX_TEMPLATES);
    char *kept = ht__arena_str(tok->kvs->arena, key);
    if (!kept) return ht__fail_memory(tok->diag, "chat templates");
    names->list[names->n++] = (struct ht__str){kept, strlen(kept)};
    ht__kv_strn(tok->kvs, full, text, len);
    return HT_OK;
}

static enum ht_err finish(struct ht__tok *tok, const struct names *names, const char *text, size_t len)
{
    if (names->n) {
        struct ht__str *list = ht__arena_array(tok->kvs->arena, names->n, sizeof *list);
        if (!list) return ht__fail_memory(tok->diag, "chat templates");
        memcpy(list, names->list, names->n * sizeof *list);
        ht__kv_strs_ref(tok->kvs, "tokenizer.chat_templates", list, names->n);
    }
    if (text) ht__kv_strn(tok->kvs, "tokenizer.chat_template", text, len);
    return HT_OK;
}

/* "...", or [{"name": "default", "template": "..."}, ...] */
static enum ht_err write_node(struct ht__tok *tok, const struct ht__jnode *node)
{
    struct names names = {.n = 0};
    const struct ht__jnode *main = NULL;
    if (node->type == HT__JSON_STRING) return finish(tok, &names, node->text, node->len);
    if (node->type != HT__JSON_ARRAY) {
        ht__log_printf(tok->job->log, HT__LOG_WARNING,
                       "tokenizer: chat_template is neither a text nor a list and is left out");
        return HT_OK;
    }
    for (size_t i = 0; i < node->n; i++) {
        const struct ht__jnode *text = ht__jget(&node->children[i], "template");
        const char *name = ht__jstr(&node->children[i], "name", "");
        if (!text || text->type != HT__JSON_STRING) continue;
        if (strcmp(name, "default") == 0) main = text;
        HT_TRY(put(tok, &names, name, text->text, text->len));
    }
    return finish(tok, &names, main ? main->text : NULL, main ? main->len : 0);
}

static enum ht_err load_text(struct ht__tok *tok, const char *path, struct ht__buf *text)
{
    text->len = 0;
    HT_TRY(ht__file_load(path, MAX_TEMPLATE, text, tok->diag));
    size_t valid = ht__utf8_valid((const char *)text->data, text->len);
    if (valid != text->len) return ht__fail(tok->diag, HT_ERR_FORMAT, path, (int64_t)valid, "not valid UTF-8");
    return HT_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* File names that end in .jinja, sorted, so that the output does not depend on the file system. */
static enum ht_err list_templates(struct ht__tok *tok, const char *dir, char **list, size_t *n)
{
    DIR *d = opendir(dir);
    enum ht_err err = HT_OK;
    *n = 0;
    if (!d) return errno == ENOENT || errno == ENOTDIR ? HT_OK : ht__fail_errno(tok->diag, errno, dir, "cannot list");
    for (struct dirent *e; err == HT_OK && (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (len <= 6 || strcmp(e->d_name + len - 6, ".jinja") != 0) continue;
        if (*n == MAX_TEMPLATES)
            err = ht__fail(tok->diag, HT_ERR_LIMIT, dir, -1, "more than %d templates", MAX_TEMPLATES);
        else if (!(list[(*n)++] = ht__arena_str(&tok->scratch, e->d_name)))
            err = ht__fail_memory(tok->diag, dir);
    }
    closedir(d);
    if (err == HT_OK) qsort(list, *n, sizeof *list, by_name);
    return err;
}

static enum ht_err write_additional(struct ht__tok *tok, struct names *names, struct ht__buf *text)
{
    char dir[4096], path[4096], *files[MAX_TEMPLATES];
    size_t n;
    HT_TRY(ht__path_join(dir, sizeof dir, tok->job->dir, "additional_chat_templates", tok->diag));
    HT_TRY(list_templates(tok, dir, files, &n));
    for (size_t i = 0; i < n; i++) {
        HT_TRY(ht__path_join(path, sizeof path, dir, files[i], tok->diag));
        HT_TRY(load_text(tok, path, text));
        files[i][strlen(files[i]) - 6] = '\0';
        HT_TRY(put(tok, names, files[i], (const char *)text->data, text->len));
    }
    return HT_OK;
}

static enum ht_err write_jinja(struct ht__tok *tok, const char *path)
{
    struct names names = {.n = 0};
    struct ht__buf main, other;
    ht__buf_init(&main, tok->vocab.alloc);
    ht__buf_init(&other, tok->vocab.alloc);
    enum ht_err err = load_text(tok, path, &main);
    if (err == HT_OK) err = write_additional(tok, &names, &other);
    if (err == HT_OK) err = finish(tok, &names, main.len ? (const char *)main.data : "", main.len);
    ht__buf_close(&main);
    ht__buf_close(&other);
    return err;
}

enum ht_err ht__tok_write_chat_template(struct ht__tok *tok)
{
    char path[4096];
    struct ht__jnode *root;
    const struct ht__jnode *node = ht__jget(tok->settings, "chat_template");
    if (node) return write_node(tok, node);
    HT_TRY(ht__path_join(path, sizeof path, tok->job->dir, "chat_template.jinja", tok->diag));
    if (ht__path_exists(path)) return write_jinja(tok, path);
    HT_TRY(ht__path_join(path, sizeof path, tok->job->dir, "chat_template.json", tok->diag));
    if (!ht__path_exists(path)) return HT_OK;
    HT_TRY(ht__json_load(&tok->scratch, path, MAX_TEMPLATE, &root, tok->diag));
    node = ht__jget(root, "chat_template");
    return node ? write_node(tok, node) : HT_OK;
}
