/*
 * What a hub answers: the first byte says what the rest is. Lists of files, searches, header lines, indexes of
 * weights, and names of models; whatever comes out must be such as may become a path.
 */
#include "base/json.h"
#include "hub/headers.h"
#include "hub/select.h"
#include "lib/pieces.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ht__hub_name name = {"org/model", "main", ""};

static void check(const struct ht__repo *repo)
{
    if (!ht__hub_is_commit(repo->commit)) abort();
    for (size_t i = 0; i < repo->n; i++) {
        const struct ht__repo_file *f = &repo->files[i];
        if (!ht__hub_is_file(f->name)) abort();
        if (f->etag[0] ? ht__etag_kind(f->etag) == HT__ETAG_NONE || f->size > INT64_MAX : f->size != UINT64_MAX)
            abort();
    }
}

static void list(const char *text, size_t size)
{
    struct ht__repo repo;
    struct ht__selection companions = {0}, weights = {0};
    const struct ht__repo_file *index;
    struct ht_diag diag = {0};
    ht__repo_init(&repo, &name, &pieces);
    if (ht__api_read_files(&repo, text, size, "list", &diag) == HT_OK) {
        check(&repo);
        if (ht__select_companions(&repo, &companions, &diag) != HT_OK) abort();
        if (ht__select_weights(&repo, &weights, &index, &diag) == HT_OK && weights.n == 0) abort();
        if (weights.n > repo.n || companions.n > repo.n) abort();
    } else if (diag.code == HT_OK) {
        abort();
    }
    ht__repo_close(&repo);
}

/* An index over a repository that has what real ones have. */
static void indexed(const char *text, size_t size)
{
    static const char files[] = "{\"sha\": \"0123456789abcdef0123456789abcdef01234567\", \"siblings\": ["
                                "{\"rfilename\": \"model-00001-of-00002.safetensors\"},"
                                "{\"rfilename\": \"model-00002-of-00002.safetensors\"}, {\"rfilename\": \"a/b\"}]}";
    struct ht__repo repo;
    struct ht__selection weights = {0};
    struct ht_diag diag = {0};
    ht__repo_init(&repo, &name, &pieces);
    if (ht__api_read_files(&repo, files, sizeof files - 1, "list", &diag) != HT_OK) abort();
    if (ht__select_indexed(&repo, "index", text, size, &weights, &diag) == HT_OK && (weights.n == 0 || weights.n > 2))
        abort();
    ht__repo_close(&repo);
}

static void search(const char *text, size_t size)
{
    struct ht__buf json;
    struct ht__arena tree;
    struct ht__jnode *root;
    ht__buf_init(&json, &pieces);
    ht__arena_init(&tree, &pieces);
    if (ht__api_read_search(text, size, "search", &json, &pieces, NULL) == HT_OK &&
        ht__json_parse(&tree, (const char *)json.data, json.len, "ours", &root, NULL) != HT_OK)
        abort();
    ht__arena_close(&tree);
    ht__buf_close(&json);
}

static bool is_line(const char *text, size_t room)
{
    size_t n = strnlen(text, room);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < 0x20 || (unsigned char)text[i] > 0x7e) return false;
    return n < room;
}

static void headers(const char *text, size_t size)
{
    static struct ht__reply r;
    ht__reply_begin(&r, true);
    for (const char *p = text, *end = text + size; p < end;) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        size_t n = line ? (size_t)(line - p) + 1 : (size_t)(end - p);
        ht__reply_header(&r, p, n, true, 1700000000);
        p += n;
    }
    if (!is_line(r.etag, sizeof r.etag) || !is_line(r.linked_etag, sizeof r.linked_etag) ||
        !is_line(r.code, sizeof r.code) || !is_line(r.message, sizeof r.message) ||
        !is_line(r.location, sizeof r.location) || !is_line(r.next, sizeof r.next) ||
        !is_line(r.commit, sizeof r.commit))
        abort();
    if (r.first != UINT64_MAX && r.first >= r.total) abort();
}

static void named(const char *text, size_t size)
{
    struct ht__hub_name n;
    char *copy = malloc(size + 1), folder[HT__HUB_MAX_FOLDER];
    if (!copy) abort();
    memcpy(copy, text, size);
    copy[size] = '\0';
    if (ht__hub_name_parse(copy, &n, NULL) == HT_OK) {
        ht__hub_folder_name(&n, folder);
        if (strstr(n.id, "..") || strstr(n.revision, "..") || strchr(folder, '/') ||
            strncmp(folder, "models--", 8) != 0)
            abort();
        if (n.file[0] && !ht__hub_is_file(n.file)) abort();
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;
    if (size == 0) return 0;
    switch (data[0]) {
    case 'l': list(text, size - 1); break;
    case 's': search(text, size - 1); break;
    case 'h': headers(text, size - 1); break;
    case 'i': indexed(text, size - 1); break;
    case 'n': named(text, size - 1); break;
    default: break;
    }
    return 0;
}
