/* Files, and folders as archives: whole or one range, by what is in them, resumable. */
#include "service/api/access.h"
#include "service/api/grants.h"
#include "service/api/helpers.h"
#include "service/artifacts/archive.h"
#include "service/artifacts/artifacts.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* attachment; filename="ASCII"; filename*=UTF-8''… (RFC 6266, RFC 8187) */
static void add_disposition(struct api_call *call, const char *name)
{
    char text[1200], plain[256];
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof plain; n++)
        plain[n] =
            (unsigned char)name[n] < 0x20 || (unsigned char)name[n] >= 0x7f || strchr("\"\\", name[n]) ? '_' : name[n];
    plain[n] = '\0';
    int at = snprintf(text, sizeof text, "attachment; filename=\"%s\"; filename*=UTF-8''", plain);
    for (const char *p = name; *p && at + 4 < (int)sizeof text; p++) {
        bool keep = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                    strchr("!#$&+-.^_`|~", *p);
        at += snprintf(text + at, sizeof text - (size_t)at, keep ? "%c" : "%%%02X", (unsigned char)*p);
    }
    api_header(call, "Content-Disposition", text);
}

/* Digests of the whole file (RFC 9530): of the representation always, of the content when that is all of it. */
static void add_digests(struct api_call *call, const char *sha256, bool whole)
{
    unsigned char bytes[32];
    char text[80] = "sha-256=:";
    for (int i = 0; i < 32; i++)
        if (sscanf(sha256 + 2 * i, "%2hhx", &bytes[i]) != 1) return;
    EVP_EncodeBlock((unsigned char *)text + 9, bytes, sizeof bytes);
    strcat(text, ":");
    api_header(call, "Repr-Digest", text);
    if (whole) api_header(call, "Content-Digest", text);
}

/* Is the tag in a list of tags ("*" is every one)? Weak ones count where the comparison is weak. */
static bool tag_in(const char *list, const char *tag)
{
    size_t n = strlen(tag);
    if (strcmp(list, "*") == 0) return true;
    for (const char *p = list; (p = strstr(p, tag)) != NULL; p += n) {
        const char *before = p;
        if (before - list >= 2 && strncmp(before - 2, "W/", 2) == 0) before -= 2;
        bool starts = before == list || strchr(", \t", before[-1]), ends = p[n] == '\0' || strchr(", \t", p[n]);
        if (starts && ends) return true;
    }
    return false;
}

static int open_whole(const struct store_file *file)
{
    struct stat info;
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || (uint64_t)info.st_size != file->size)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* What is sent: of a file fd and sha256, of a folder the archive. */
struct content {
    const char *name, *type, *sha256;
    uint64_t size;
    char tag[80]; /* quoted */
    int fd;
    struct archive *archive;
};

static void drop(struct content *c)
{
    if (c->fd >= 0) close(c->fd);
    archive_close(&c->archive);
}

static enum ht__range range_of(struct api_call *call, const struct content *c, uint64_t *first, uint64_t *len)
{
    const char *range = ht__http_header(call->request, "Range"), *only_if = ht__http_header(call->request, "If-Range");
    if (!range || !api_is(call, "GET")) return HT__RANGE_NONE;
    if (only_if && strcmp(only_if, c->tag) != 0) return HT__RANGE_NONE; /* it changed, or may have: all of it again */
    return ht__http_range(range, c->size, first, len);
}

/* ---- sending: slice by slice, each only while the token or session holds ---- */

enum { SLICE = 1 << 20 };

struct sending {
    struct grant *grant;
    struct archive *archive;   /* NULL: a file, which is one piece */
    struct archive_piece left; /* of the piece that is sent; fd < 0: none is held */
};

static bool next_slice(void *ctx, struct ht__http_piece *slice)
{
    struct sending *s = ctx;
    struct archive_piece *p = &s->left;
    if (!grant_holds(s->grant)) return false;
    if (p->len == 0 && !(s->archive && archive_next(s->archive, p))) return false;
    *slice = (struct ht__http_piece){.data = p->data, .fd = p->fd, .offset = p->offset, .len = p->len};
    if (!p->data && p->len > SLICE) {
        slice->len = SLICE;
        slice->fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
        p->offset += SLICE;
        p->len -= SLICE;
        return slice->fd >= 0;
    }
    *p = (struct archive_piece){.fd = -1};
    return true;
}

static void free_sending(void *ctx)
{
    struct sending *s = ctx;
    if (s->left.fd >= 0) close(s->left.fd);
    archive_close(&s->archive);
    grant_give_back(&s->grant);
    free(s);
}

static void send_content(struct api_call *call, struct content *c, int status, uint64_t first, uint64_t len)
{
    struct sending *s = calloc(1, sizeof *s);
    if (s) s->grant = grants_take(call);
    if (!s || !s->grant) {
        free(s);
        drop(c);
        api_problem(call, "internal", "not enough memory");
        return;
    }
    s->archive = c->archive;
    s->left = c->archive ? (struct archive_piece){.fd = -1} : (struct archive_piece){NULL, c->fd, first, len};
    if (c->archive) archive_seek(c->archive, first);
    api_common_headers(call->request);
    ht__http_answer_pieces(call->request, status, c->type,
                           &(struct ht__http_pieces){.next = next_slice, .free = free_sending, .ctx = s}, len);
}

/* Owns what is in the content. */
static void answer_content(struct api_call *call, struct content *c)
{
    char content_range[80];
    uint64_t first = 0, len = c->size;
    const char *known = ht__http_header(call->request, "If-None-Match");
    bool same = known && tag_in(known, c->tag);
    api_header(call, "ETag", c->tag);
    api_header(call, "Accept-Ranges", "bytes");
    api_header(call, "Cache-Control", "private, no-cache");
    enum ht__range range = same ? HT__RANGE_NONE : range_of(call, c, &first, &len);
    if (same) {
        drop(c);
        api_empty(call, 304);
        return;
    }
    if (range == HT__RANGE_UNSATISFIABLE) {
        drop(c);
        snprintf(content_range, sizeof content_range, "bytes */%llu", (unsigned long long)c->size);
        api_header(call, "Content-Range", content_range);
        api_problem(call, "range", "the file has %llu bytes", (unsigned long long)c->size);
        return;
    }
    bool whole = range == HT__RANGE_NONE;
    if (whole) first = 0, len = c->size;
    snprintf(content_range, sizeof content_range, "bytes %llu-%llu/%llu", (unsigned long long)first,
             (unsigned long long)(first + len - 1), (unsigned long long)c->size);
    if (!whole) api_header(call, "Content-Range", content_range);
    add_disposition(call, c->name);
    if (c->sha256) add_digests(call, c->sha256, whole);
    send_content(call, c, whole ? 200 : 206, first, len);
}

static void answer_missing(struct api_call *call, const char *path)
{
    log_event(call->server->log, LOG_LEVEL_ERROR, "file_missing", "{s:s}", "file", path);
    api_problem(call, "conflict", "the file is not on the disk as it was published");
}

/* ---- what lies in a bucket ---- */

enum { LINK_SECONDS = 3600 };

/* What has to be here before the answer; `folder`: the archive. */
struct bringing_here {
    struct store_file file;
    bool folder;
};

static void answer_file(struct api_call *call, const struct store_file *file);
static void answer_folder(struct api_call *call, const struct store_file *folder);

static bool not_stopped(void *ctx)
{
    struct child_stop *stop = ctx;
    return !stop || atomic_load(&stop->wished) == 0;
}

static enum artifacts_result bring_parts(struct server *server, const struct store_file *folder,
                                         struct artifacts_call *wait)
{
    struct store_part *parts = NULL;
    size_t n = 0;
    const char *far = store_far_name(server->store, folder->path);
    enum artifacts_result result =
        store_parts(server->store, folder, &parts, &n) == STORE_OK ? ARTIFACTS_OK : ARTIFACTS_FAILED;
    for (size_t i = 0; i < n && result == ARTIFACTS_OK; i++) {
        char name[1100], path[4400];
        snprintf(name, sizeof name, "%.800s/%s", far, parts[i].name);
        result = artifacts_copy(server->artifacts, name, parts[i].size, parts[i].sha256, path, sizeof path, wait);
    }
    free(parts);
    return result;
}

/* In a thread that may wait: the copy, and then the answer as of any file. */
static void bring_here(void *ctx, struct child_stop *stop)
{
    struct api_call *call = ctx;
    struct bringing_here *b = call->state;
    struct server *server = call->server;
    char path[4400];
    struct artifacts_call wait = {.goes_on = not_stopped, .ctx = stop};
    enum artifacts_result result = b->folder
                                       ? bring_parts(server, &b->file, &wait)
                                       : artifacts_copy(server->artifacts, store_far_name(server->store, b->file.path),
                                                        b->file.size, b->file.sha256, path, sizeof path, &wait);
    if (result == ARTIFACTS_OK && b->folder)
        answer_folder(call, &b->file);
    else if (result == ARTIFACTS_OK)
        answer_file(call, &b->file);
    else {
        log_event(server->log, LOG_LEVEL_ERROR, "artifact", "{s:s, s:s}", "file", b->file.path, "text", wait.why);
        api_header(call, "Retry-After", "5");
        api_problem(call, "unavailable", "the file cannot be had from the bucket just now");
    }
}

static void answer_later(struct api_call *call, const struct store_file *file, bool folder)
{
    struct bringing_here *b = malloc(sizeof *b);
    if (!b) {
        api_problem(call, "internal", "not enough memory");
        return;
    }
    b->file = *file;
    b->folder = folder;
    call->state = b;
    call->free_state = free;
    ht__http_defer(call->request);
    if (helpers_do(call->server->fetchers, bring_here, call)) return;
    api_header(call, "Retry-After", "5");
    api_problem(call, "busy", "too many files are being fetched");
}

/* The client is sent to the bucket, with a link that holds for a while. False: it cannot be. */
static bool redirect(struct api_call *call, const struct store_file *file, const char *far)
{
    char url[16000];
    struct server *server = call->server;
    if (strcmp(server->settings->downloads, "redirect") != 0) return false;
    if (!artifacts_link(server->artifacts, far, file->name, LINK_SECONDS, url, sizeof url)) return false;
    api_header(call, "Location", url);
    api_header(call, "Cache-Control", "no-store");
    api_empty(call, 307);
    return true;
}

/* True: answered, or it will be. */
static bool answer_far(struct api_call *call, const struct store_file *file, struct content *c)
{
    const char *far = store_far_name(call->server->store, file->path),
               *known = ht__http_header(call->request, "If-None-Match");
    if (!far || call->state) return false;
    if (api_is(call, "HEAD") || (known && tag_in(known, c->tag)))
        answer_content(call, c); /* headers alone */
    else if (!redirect(call, file, far))
        answer_later(call, file, false);
    return true;
}

static void answer_file(struct api_call *call, const struct store_file *file)
{
    struct content c = {.name = file->name,
                        .type = "application/octet-stream",
                        .sha256 = file->sha256,
                        .size = file->size,
                        .fd = open_whole(file)};
    snprintf(c.tag, sizeof c.tag, "\"%s\"", file->sha256);
    if (c.fd >= 0)
        answer_content(call, &c);
    else if (!answer_far(call, file, &c))
        answer_missing(call, file->path);
}

/* Everything that the archive's bytes depend on. */
static void tag_archive(const struct store_file *folder, const struct store_part *parts, size_t n, char tag[80])
{
    char *text = NULL, sha256[65] = "";
    size_t size;
    FILE *to = open_memstream(&text, &size);
    tag[0] = '\0';
    if (!to) return;
    fprintf(to, "tar 1\n%s\n%lld\n", folder->name, (long long)folder->published);
    for (size_t i = 0; i < n; i++)
        fprintf(to, "%s %llu %s\n", parts[i].name, (unsigned long long)parts[i].size, parts[i].sha256);
    if (fclose(to) == 0) access_hash(text, size, sha256);
    free(text);
    snprintf(tag, 80, "\"tar-%s\"", sha256);
}

static struct archive *open_folder(const struct store_file *folder, const struct store_part *parts, size_t n)
{
    struct archive_file *files = calloc(n, sizeof *files);
    struct archive *archive = NULL;
    for (size_t i = 0; files && i < n; i++) {
        snprintf(files[i].name, sizeof files[i].name, "%s", parts[i].name);
        files[i].size = parts[i].size;
    }
    if (files) archive = archive_open(folder->path, folder->name, files, n, folder->published);
    free(files);
    return archive;
}

static void answer_folder(struct api_call *call, const struct store_file *folder)
{
    struct store_part *parts;
    char name[264];
    size_t n;
    enum store_result result = store_parts(call->server->store, folder, &parts, &n);
    if (result != STORE_OK) {
        api_store_problem(call, result, "output");
        return;
    }
    struct content c = {.name = name, .type = "application/x-tar", .fd = -1};
    snprintf(name, sizeof name, "%s.tar", folder->name);
    tag_archive(folder, parts, n, c.tag);
    c.archive = open_folder(folder, parts, n);
    free(parts);
    if (!c.archive && !call->state && store_far_name(call->server->store, folder->path)) {
        answer_later(call, folder, true);
        return;
    }
    if (!c.archive) {
        answer_missing(call, folder->path);
        return;
    }
    c.size = archive_size(c.archive);
    answer_content(call, &c);
}

/* A published output, or, where `part` names one, a file of its folder. */
static void answer(struct api_call *call, enum store_result result, const struct store_file *file, const char *part,
                   const char *what)
{
    struct store_file one;
    bool folder = result == STORE_OK && !*file->sha256;
    if (result == STORE_OK && part) {
        result = folder ? store_part_file(call->server->store, file, part, &one) : STORE_NOT_FOUND;
        file = &one;
        folder = false;
        what = "file";
    }
    if (result == STORE_CONFLICT)
        api_problem(call, "conflict", "the output is not finished");
    else if (result != STORE_OK)
        api_store_problem(call, result, what);
    else if (folder)
        answer_folder(call, file);
    else
        answer_file(call, file);
}

static void answer_output(struct api_call *call, const char *part)
{
    struct store_file file;
    enum store_result result = store_output_file(call->server->store, call->segments[0], call->segments[1], &file);
    answer(call, result, &file, part, "output");
}

void api_outputs_download(struct api_call *call)
{
    answer_output(call, NULL);
}

void api_outputs_file(struct api_call *call)
{
    answer_output(call, call->segments[2]);
}

static void answer_variant(struct api_call *call, const char *part)
{
    struct store_file file;
    enum store_result result = store_variant_file(call->server->store, call->segments[0], call->segments[1], &file);
    answer(call, result, &file, part, "variant");
}

void api_variant_download(struct api_call *call)
{
    answer_variant(call, NULL);
}

void api_variant_file(struct api_call *call)
{
    answer_variant(call, call->segments[2]);
}

/* The quality report of a measured job: a page of its own, with no script and nothing fetched. */
void api_jobs_report(struct api_call *call)
{
    struct stat info;
    char path[4300];
    enum store_result result = store_published_folder(call->server->store, call->segments[0], path, sizeof path - 16);
    int fd = -1;
    if (result == STORE_OK) {
        strcat(path, "/quality.html");
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    }
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        if (fd >= 0) close(fd);
        api_problem(call, "not-found", "this job has no quality report: it was not measured, or is not completed");
        return;
    }
    api_document_headers(call->request);
    api_header(call, "Cache-Control", "private, no-cache");
    ht__http_answer_file(call->request, 200, "text/html; charset=utf-8", fd, 0, (uint64_t)info.st_size);
}
