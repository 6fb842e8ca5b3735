/* Files: whole or one range, by hash, resumable. */
#include "server/api/downloads.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* attachment; filename="ASCII"; filename*=UTF-8''… (RFC 6266, RFC 8187) */
static void add_disposition(struct api_call *call, const char *name)
{
    char text[1200], plain[256];
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof plain; n++)
        plain[n] = (unsigned char)name[n] < 0x20 || (unsigned char)name[n] >= 0x7f || strchr("\"\\", name[n])
                       ? '_'
                       : name[n];
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

static enum ht__range range_of(struct api_call *call, const struct store_file *file, const char *tag, uint64_t *first,
                               uint64_t *len)
{
    const char *range = ht__http_header(call->request, "Range"),
               *only_if = ht__http_header(call->request, "If-Range");
    if (!range || !api_is(call, "GET")) return HT__RANGE_NONE;
    if (only_if && strcmp(only_if, tag) != 0) return HT__RANGE_NONE; /* it changed, or may have: all of it again */
    return ht__http_range(range, file->size, first, len);
}

void download_answer(struct api_call *call, const struct store_file *file)
{
    char tag[80], content_range[80];
    uint64_t first = 0, len = file->size;
    const char *known = ht__http_header(call->request, "If-None-Match");
    snprintf(tag, sizeof tag, "\"%s\"", file->sha256);
    int fd = open_whole(file);
    if (fd < 0) {
        log_event(call->server->log, LOG_LEVEL_ERROR, "file_missing", "{s:s}", "file", file->path);
        api_problem(call, "conflict", "the file is not on the disk as it was published");
        return;
    }
    api_header(call, "ETag", tag);
    api_header(call, "Accept-Ranges", "bytes");
    api_header(call, "Cache-Control", "private, no-cache");
    enum ht__range range = known && tag_in(known, tag) ? HT__RANGE_NONE : range_of(call, file, tag, &first, &len);
    if ((known && tag_in(known, tag)) || range == HT__RANGE_UNSATISFIABLE) {
        close(fd);
        snprintf(content_range, sizeof content_range, "bytes */%llu", (unsigned long long)file->size);
        if (range == HT__RANGE_UNSATISFIABLE) api_header(call, "Content-Range", content_range);
        if (range == HT__RANGE_UNSATISFIABLE)
            api_problem(call, "range", "the file has %llu bytes", (unsigned long long)file->size);
        else
            api_empty(call, 304);
        return;
    }
    bool whole = range == HT__RANGE_NONE;
    if (whole) first = 0, len = file->size;
    snprintf(content_range, sizeof content_range, "bytes %llu-%llu/%llu", (unsigned long long)first,
             (unsigned long long)(first + len - 1), (unsigned long long)file->size);
    if (!whole) api_header(call, "Content-Range", content_range);
    add_disposition(call, file->name);
    add_digests(call, file->sha256, whole);
    api_common_headers(call->request);
    ht__http_answer_file(call->request, whole ? 200 : 206, "application/octet-stream", fd, first, len);
}

void api_outputs_download(struct api_call *call)
{
    struct store_file file;
    enum store_result result = store_output_file(call->server->store, call->segments[0], call->segments[1], &file);
    if (result == STORE_OK)
        download_answer(call, &file);
    else if (result == STORE_CONFLICT)
        api_problem(call, "conflict", "the output is not finished");
    else
        api_store_problem(call, result, "output");
}

void api_variant_download(struct api_call *call)
{
    struct store_file file;
    enum store_result result = store_variant_file(call->server->store, call->segments[0], call->segments[1], &file);
    if (result == STORE_OK)
        download_answer(call, &file);
    else
        api_store_problem(call, result, "variant");
}
