/*
 * Files from a server: into NAME.part, continued where an earlier try ended, hashed on the way, renamed when size
 * and hash are right. The server's entity tag is the hash, so that a part is only continued with the same file.
 */
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 20, STALL_SECONDS = 60, MOST_TRIES = 5 };

struct download {
    const struct remote *remote;
    const struct remote_file *file;
    EVP_MD_CTX *sha;
    CURL *curl;
    char part[4200];
    int fd;
    uint64_t done, started_at;
    int error;    /* errno of a write */
    bool checked; /* the answer's status was looked at */
    bool grows;   /* more came than the file has */
    double start, shown;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void show(struct download *d, bool last)
{
    char done[32], all[32], rate[32], left[32];
    double t = now(), speed = t > d->start ? (double)(d->done - d->started_at) / (t - d->start) : 0;
    if (d->file->quiet || !isatty(STDERR_FILENO) || (!last && t - d->shown < .2)) return;
    d->shown = t;
    fprintf(stderr, "\r\033[K%s of %s  %s/s  left %s%s", human_bytes((double)d->done, done),
            human_bytes((double)d->file->size, all), human_bytes(speed, rate),
            speed > 0 ? human_time((double)(d->file->size - d->done) / speed, left) : "?", last ? "\r\033[K" : "");
}

static int told(const struct download *d, int status, const char *why)
{
    fprintf(stderr, "halftone %s: %s: %s\n", d->remote->command->name, d->file->to, why);
    return status;
}

/* Back to an empty part. */
static bool start_over(struct download *d)
{
    d->done = 0;
    return ftruncate(d->fd, 0) == 0 && lseek(d->fd, 0, SEEK_SET) == 0 &&
           EVP_DigestInit_ex(d->sha, EVP_sha256(), NULL) == 1;
}

static bool write_all(struct download *d, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t put = write(d->fd, data, n);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            d->error = errno;
            return false;
        }
        EVP_DigestUpdate(d->sha, data, (size_t)put);
        d->done += (uint64_t)put;
        data += put;
        n -= (size_t)put;
    }
    return true;
}

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    struct download *d = ctx;
    long http = 0;
    if (!d->checked) {
        d->checked = true;
        curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &http);
        if (http == 200 && d->done > 0 && !start_over(d)) d->error = errno;
    }
    if (size * n > d->file->size - d->done) d->grows = true;
    if (d->error || d->grows || !write_all(d, data, size * n)) return 0;
    show(d, false);
    return size * n;
}

/* What an earlier try left is read for its hash; more than the file has is not of it. */
static bool hash_part(struct download *d)
{
    struct stat info;
    unsigned char *piece = malloc(PIECE);
    ssize_t n = piece && EVP_DigestInit_ex(d->sha, EVP_sha256(), NULL) == 1 && fstat(d->fd, &info) == 0 ? 1 : -1;
    if (n > 0 && (uint64_t)info.st_size > d->file->size) {
        free(piece);
        return start_over(d);
    }
    while (n > 0) {
        n = read(d->fd, piece, PIECE);
        if (n > 0) EVP_DigestUpdate(d->sha, piece, (size_t)n);
        if (n > 0) d->done += (uint64_t)n;
    }
    free(piece);
    return n == 0;
}

/* away: not the server, but where it sent us. There neither the token is shown nor is the tag of the file known, whose hash is
 * compared at the end anyway. */
static struct curl_slist *headers_of(const struct download *d, bool away)
{
    char header[128];
    struct curl_slist *headers = NULL;
    for (const struct curl_slist *h = away ? NULL : d->remote->headers; h; h = h->next)
        headers = curl_slist_append(headers, h->data);
    snprintf(header, sizeof header, "If-Range: \"%s\"", d->file->sha256);
    return d->done > 0 && !away ? curl_slist_append(headers, header) : headers;
}

/* *next: where the file is to be had instead, the caller's; NULL: here. */
static CURLcode fetch(struct download *d, const char *url, bool away, char **next, char *fault)
{
    char range[32], *elsewhere = NULL;
    long status = 0;
    CURL *c = d->curl = curl_easy_duphandle(d->remote->curl);
    *next = NULL;
    if (!c) return CURLE_OUT_OF_MEMORY;
    struct curl_slist *headers = headers_of(d, away);
    if (d->done > 0) {
        snprintf(range, sizeof range, "%llu-", (unsigned long long)d->done);
        curl_easy_setopt(c, CURLOPT_RANGE, range);
    }
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, NULL);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 0L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 512L << 10);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, fault);
    d->checked = false;
    d->started_at = d->done;
    d->start = now();
    CURLcode code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c, CURLINFO_REDIRECT_URL, &elsewhere);
    if (code == CURLE_OK && status == 307 && elsewhere && !away) *next = strdup(elsewhere);
    curl_easy_cleanup(c);
    curl_slist_free_all(headers);
    return code;
}

/* Once from the server, which may say that the file lies in a bucket: then from there. */
static CURLcode fetch_once(struct download *d, const char *url, char *fault)
{
    char *next, *none;
    CURLcode code = fetch(d, url, false, &next, fault);
    if (!next) return code;
    code = fetch(d, next, true, &none, fault);
    free(next);
    return code;
}

/* Until it is whole; a connection that ends is made again, as long as something comes. */
static int fetch_all(struct download *d)
{
    char url[4096], fault[CURL_ERROR_SIZE] = "";
    if (snprintf(url, sizeof url, "%s%s", d->remote->server, d->file->path) >= (int)sizeof url)
        return told(d, EXIT_USAGE, "the address is too long");
    for (int tries = 0; d->done < d->file->size;) {
        uint64_t before = d->done;
        CURLcode code = fetch_once(d, url, fault);
        if (d->error)
            return told(d, d->error == ENOSPC || d->error == EDQUOT ? EXIT_RESOURCES : EXIT_FAILED, strerror(d->error));
        if (d->grows) return told(d, EXIT_FAILED, "the server sends more than the file has");
        if (d->done == d->file->size) break;
        tries = d->done > before ? 0 : tries + 1;
        if (code == CURLE_HTTP_RETURNED_ERROR || tries == MOST_TRIES) {
            show(d, true);
            return told(d, EXIT_FAILED, fault[0] ? fault : curl_easy_strerror(code));
        }
        if (tries) sleep(1);
    }
    show(d, true);
    return EXIT_DONE;
}

static int publish(struct download *d)
{
    unsigned char digest[32];
    char hex[65];
    EVP_DigestFinal_ex(d->sha, digest, NULL);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    if (strcmp(hex, d->file->sha256) != 0) {
        unlink(d->part);
        return told(d, EXIT_FAILED, "the SHA-256 of what came is not the file's; it was thrown away");
    }
    if (fsync(d->fd) != 0) return told(d, EXIT_FAILED, strerror(errno));
    unsigned flags = d->file->overwrite ? 0 : RENAME_NOREPLACE;
    int failed = renameat2(AT_FDCWD, d->part, AT_FDCWD, d->file->to, flags);
    if (failed && flags && errno == EINVAL)
        failed = rename(d->part, d->file->to); /* a file system that cannot; it was looked at */
    return failed ? told(d, EXIT_FAILED, strerror(errno)) : EXIT_DONE;
}

static int check_place(const struct download *d)
{
    char folder[4200];
    struct stat info;
    struct statvfs fs;
    if (!d->file->overwrite && lstat(d->file->to, &info) == 0)
        return told(d, EXIT_USAGE, "it exists; --overwrite replaces it");
    if (strspn(d->file->sha256, "0123456789abcdef") != 64 || strlen(d->file->sha256) != 64)
        return told(d, EXIT_FAILED, "the server does not say its SHA-256");
    snprintf(folder, sizeof folder, "%s", d->file->to);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    if (statvfs(slash ? folder : ".", &fs) != 0) return told(d, EXIT_INPUT, strerror(errno));
    uint64_t space = (uint64_t)fs.f_bavail * fs.f_frsize + (stat(d->part, &info) == 0 ? (uint64_t)info.st_size : 0);
    return space < d->file->size ? told(d, EXIT_RESOURCES, "there is not enough space for it on the disk") : EXIT_DONE;
}

int remote_download(struct remote *r, const struct remote_file *file)
{
    struct download d = {.remote = r, .file = file, .fd = -1};
    if (snprintf(d.part, sizeof d.part, "%s.part", file->to) >= 4100)
        return told(&d, EXIT_USAGE, "the name is too long");
    int status = check_place(&d);
    if (status != EXIT_DONE) return status;
    d.fd = open(d.part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (d.fd < 0) return told(&d, EXIT_FAILED, strerror(errno));
    if (flock(d.fd, LOCK_EX | LOCK_NB) != 0) {
        close(d.fd);
        return told(&d, EXIT_FAILED, "it is being downloaded already");
    }
    d.sha = EVP_MD_CTX_new();
    if (!d.sha || !hash_part(&d)) status = told(&d, EXIT_FAILED, "what an earlier try left cannot be read");
    if (status == EXIT_DONE) status = fetch_all(&d);
    if (status == EXIT_DONE) status = publish(&d);
    EVP_MD_CTX_free(d.sha);
    close(d.fd);
    return status;
}
