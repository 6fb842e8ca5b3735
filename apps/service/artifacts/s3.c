/*
 * Files in a bucket. To stage is to upload the parts, each with its SHA-256 that the service compares; to publish is to
 * complete the upload if nothing has the name (If-None-Match: *), and to read back what is there: what is recorded
 * afterwards is what was read. An attempt has names of its own, so one whose job is another's can overwrite nothing.
 */
#include "service/artifacts/s3.h"

#include "service/artifacts/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* S3 takes 10,000 parts. Fewer, so that what a worker tells of all its files fits a request. */
enum { MOST_PARTS = 1000, COMPLETE_TRIES = 5 };
#define LEAST_PART ((uint64_t)5 << 20)
#define USUAL_PART ((uint64_t)16 << 20)
#define LARGE_FILE ((uint64_t)1 << 30)
#define LARGE_PART ((uint64_t)64 << 20)

static struct s3 *of(struct artifacts *a)
{
    return a->own;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

/* Asked, judged, and the answer's text forgotten. */
static enum artifacts_result ask(struct s3 *s, struct s3_request *r, struct artifacts_call *call)
{
    enum artifacts_result result;
    if (!s3__ask(s, r, call))
        result = artifacts__goes_on(call) ? ARTIFACTS_FAILED : ARTIFACTS_STOPPED;
    else
        result = r->enough || (r->status >= 200 && r->status < 300) ? ARTIFACTS_OK : s3__judge(s, r, call);
    free(r->text);
    r->text = NULL;
    return result;
}

/* ---- staging: parts ---- */

static uint64_t part_size(uint64_t size)
{
    uint64_t part = (size + MOST_PARTS - 1) / MOST_PARTS;
    const char *wanted = getenv("HALFTONE_S3_PART_SIZE"); /* for tests: parts of files that are not large */
    uint64_t usual = wanted ? strtoull(wanted, NULL, 10) : size > LARGE_FILE ? LARGE_PART : USUAL_PART;
    if (usual < LEAST_PART) usual = LEAST_PART;
    part = (part + 4095) / 4096 * 4096;
    return part > usual ? part : usual;
}

static bool begin_upload(struct s3 *s, const char *name, const char *sha256, char *upload, size_t size,
                         struct artifacts_call *call)
{
    char header[120];
    snprintf(header, sizeof header, "x-amz-meta-sha256: %.64s", sha256);
    struct s3_request r = {
        .method = "POST", .name = name, .query = "uploads=", .headers = {"x-amz-checksum-algorithm: SHA256", header}};
    bool done = s3__ask(s, &r, call);
    const char *at = r.text;
    if (done && r.status != 200) done = s3__judge(s, &r, call) == ARTIFACTS_OK;
    if (done && !s3__element(&at, "UploadId", upload, size)) {
        artifacts__fail(call, ARTIFACTS_FAILED, "s3://%s began no upload", s->bucket);
        done = false;
    }
    free(r.text);
    return done;
}

static void abort_upload(struct s3 *s, const char *name, const char *upload)
{
    char query[1200] = "uploadId=";
    struct artifacts_call call = {0};
    if (!s3__escape(upload, true, query + 9, sizeof query - 9)) return;
    struct s3_request r = {.method = "DELETE", .name = name, .query = query};
    ask(s, &r, &call);
}

/* {etag, sha256 in base64}; NULL: failed. */
static json_t *send_part(struct s3 *s, const char *name, const char *upload, int number, const void *data, size_t len,
                         struct artifacts_call *call)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    char query[1300], escaped[1200], header[120] = "x-amz-checksum-sha256: ", hex[65],
                                     *base64 = header + strlen(header);
    if (EVP_Digest(data, len, bytes, NULL, EVP_sha256(), NULL) != 1 ||
        !s3__escape(upload, true, escaped, sizeof escaped))
        return NULL;
    EVP_EncodeBlock((unsigned char *)base64, bytes, 32);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    snprintf(query, sizeof query, "partNumber=%d&uploadId=%s", number, escaped);
    struct s3_request r = {
        .method = "PUT", .name = name, .query = query, .headers = {header}, .body = data, .size = len, .sha256 = hex};
    if (ask(s, &r, call) != ARTIFACTS_OK) return NULL;
    if (*r.etag) return json_pack("{s:s, s:s}", "etag", r.etag, "sha256", base64);
    artifacts__fail(call, ARTIFACTS_FAILED, "s3://%s gave a part no ETag", s->bucket);
    return NULL;
}

static bool read_all(int fd, unsigned char *data, size_t len, uint64_t from)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, data + done, len - done, (off_t)(from + done));
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static bool send_parts(struct s3 *s, const char *name, const char *upload, int fd, uint64_t size, json_t *parts,
                       struct artifacts_call *call)
{
    uint64_t part = part_size(size), at = 0;
    unsigned char *data = malloc(size < part ? (size_t)size + 1 : (size_t)part);
    bool done = data != NULL;
    if (!done) artifacts__fail(call, ARTIFACTS_FAILED, "out of memory");
    for (int number = 1; done && (at < size || number == 1); number++) {
        size_t len = size - at < part ? (size_t)(size - at) : (size_t)part;
        if (!read_all(fd, data, len, at)) {
            artifacts__fail(call, ARTIFACTS_FAILED, "a file became shorter while it was sent");
            done = false;
            break;
        }
        json_t *sent = send_part(s, name, upload, number, data, len, call);
        done = sent && json_array_append_new(parts, sent) == 0 && artifacts__goes_on(call);
        at += len;
    }
    free(data);
    return done;
}

/* {name, upload, parts}; NULL: failed, and nothing is left. */
static json_t *stage_file(struct s3 *s, const char *from, const char *place, const json_t *file,
                          struct artifacts_call *call)
{
    char path[5300], name[1100], upload[800];
    struct stat st;
    snprintf(path, sizeof path, "%s/%.1000s", from, text_of(file, "name"));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    json_t *parts = json_array(), *ticket = NULL;
    if (snprintf(name, sizeof name, "%s/%s", place, text_of(file, "name")) >= (int)sizeof name)
        artifacts__fail(call, ARTIFACTS_FAILED, "a name is too long");
    else if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
             st.st_size != json_integer_value(json_object_get(file, "size")))
        artifacts__fail(call, ARTIFACTS_FAILED, "%s is not as it was written", text_of(file, "name"));
    else if (begin_upload(s, name, text_of(file, "sha256"), upload, sizeof upload, call)) {
        if (send_parts(s, name, upload, fd, (uint64_t)st.st_size, parts, call))
            ticket =
                json_pack("{s:O, s:s, s:O}", "name", json_object_get(file, "name"), "upload", upload, "parts", parts);
        else
            abort_upload(s, name, upload);
    }
    json_decref(parts);
    if (fd >= 0) close(fd);
    return ticket;
}

static void discard(struct artifacts *a, const char *place, const json_t *staged)
{
    const json_t *ticket;
    size_t i;
    json_array_foreach(staged, i, ticket) {
        char name[1100];
        if (snprintf(name, sizeof name, "%s/%s", place, text_of(ticket, "name")) < (int)sizeof name)
            abort_upload(of(a), name, text_of(ticket, "upload"));
    }
}

static json_t *stage(struct artifacts *a, const char *from, const char *place, const json_t *files,
                     struct artifacts_call *call)
{
    const json_t *file;
    size_t i;
    json_t *staged = json_array();
    json_array_foreach(files, i, file) {
        json_t *ticket = stage_file(of(a), from, place, file, call);
        if (ticket && json_array_append_new(staged, ticket) == 0) continue;
        discard(a, place, staged);
        json_decref(staged);
        return NULL;
    }
    return staged;
}

/* ---- publishing ---- */

static char *completion(const json_t *parts)
{
    char *text = NULL;
    size_t size, i;
    const json_t *part;
    FILE *to = open_memstream(&text, &size);
    if (!to) return NULL;
    fprintf(to, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    json_array_foreach(parts, i, part) {
        const char *etag = text_of(part, "etag"), *sha256 = text_of(part, "sha256");
        fprintf(to, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
        for (; *etag; etag++)
            if (*etag == '"')
                fputs("&quot;", to);
            else if (!strchr("<>&", *etag))
                fputc(*etag, to);
        fprintf(to, "</ETag><ChecksumSHA256>%.64s</ChecksumSHA256></Part>", strpbrk(sha256, "<>&") ? "" : sha256);
    }
    fprintf(to, "</CompleteMultipartUpload>");
    if (fclose(to) == 0) return text;
    free(text);
    return NULL;
}

static enum artifacts_result look(struct artifacts *a, const char *name, uint64_t *size, char sha256[65],
                                  struct artifacts_call *call)
{
    struct s3_request r = {.method = "HEAD", .name = name};
    enum artifacts_result result = ask(of(a), &r, call);
    *size = r.length;
    bool known = strlen(r.sha256_meta) == 64 && strspn(r.sha256_meta, "0123456789abcdef") == 64;
    snprintf(sha256, 65, "%.64s", known ? r.sha256_meta : "");
    return result;
}

/* Has the very file the name already? Then an earlier answer was lost, or the same was published before. */
static enum artifacts_result is_there(struct artifacts *a, const char *name, const json_t *file,
                                      struct artifacts_call *call)
{
    uint64_t size;
    char sha256[65];
    struct artifacts_call quiet = *call;
    enum artifacts_result result = look(a, name, &size, sha256, &quiet);
    if (result != ARTIFACTS_OK) return result;
    bool same = size == (uint64_t)json_integer_value(json_object_get(file, "size")) &&
                strcmp(sha256, text_of(file, "sha256")) == 0;
    return same ? ARTIFACTS_OK : artifacts__fail(call, ARTIFACTS_CONFLICT, "%s holds something else", name);
}

/* Its answer may be 200 and an error all the same: the first byte was sent before the end was known. MISSING: the upload is
 * gone, or lost a race: it has to be sent again. */
static enum artifacts_result complete(struct artifacts *a, const char *name, const json_t *file, const json_t *ticket,
                                      struct artifacts_call *call)
{
    struct s3 *s = of(a);
    char query[1200] = "uploadId=", *text = completion(json_object_get(ticket, "parts"));
    enum artifacts_result result = ARTIFACTS_FAILED;
    bool again = text && s3__escape(text_of(ticket, "upload"), true, query + 9, sizeof query - 9);
    for (int i = 0; again && i < COMPLETE_TRIES; i++) {
        struct s3_request r = {.method = "POST",
                               .name = name,
                               .query = query,
                               .headers = {"If-None-Match: *"},
                               .body = text,
                               .size = strlen(text)};
        if (!s3__ask(s, &r, call)) {
            result = artifacts__goes_on(call) ? ARTIFACTS_FAILED : ARTIFACTS_STOPPED;
            free(r.text);
            break;
        }
        bool failed = r.text && strstr(r.text, "<Error>");
        result = r.status == 200 && !failed ? ARTIFACTS_OK : s3__judge(s, &r, call);
        again = (r.status == 200 && failed) || r.status == 409;
        if (r.status == 409) result = ARTIFACTS_MISSING;
        free(r.text);
        if (again) nanosleep(&(struct timespec){0, 200000000}, NULL);
    }
    free(text);
    if (result == ARTIFACTS_CONFLICT || result == ARTIFACTS_MISSING) {
        enum artifacts_result there = is_there(a, name, file, call);
        if (there == ARTIFACTS_OK || there == ARTIFACTS_CONFLICT) return there;
    }
    return result;
}

struct reading {
    struct artifacts_hash *hash;
    uint64_t n;
    bool limited;
};

static bool hash_piece(void *ctx, const void *data, size_t len)
{
    struct reading *r = ctx;
    r->n += len;
    return artifacts__hash_add(r->hash, data, len);
}

static enum artifacts_result read_range(struct artifacts *a, const char *name, uint64_t from, uint64_t len,
                                        artifacts_sink *sink, void *sink_ctx, struct artifacts_call *call);

/* Reads what is there, as whoever downloads it will. */
static enum artifacts_result verify(struct artifacts *a, const char *name, const json_t *file,
                                    struct artifacts_call *call)
{
    char sha256[65];
    uint64_t size = (uint64_t)json_integer_value(json_object_get(file, "size")), there;
    enum artifacts_result result = look(a, name, &there, sha256, call);
    struct reading r = {.hash = result == ARTIFACTS_OK ? artifacts__hash_open() : NULL};
    if (result != ARTIFACTS_OK) return result;
    if (!r.hash) return artifacts__fail(call, ARTIFACTS_FAILED, "out of memory");
    result = read_range(a, name, 0, there, hash_piece, &r, call);
    artifacts__hash_end(r.hash, sha256);
    if (result != ARTIFACTS_OK) return result;
    if (r.n == size && strcmp(sha256, text_of(file, "sha256")) == 0) return ARTIFACTS_OK;
    return artifacts__fail(call, ARTIFACTS_FAILED, "%s is not what was sent: its SHA-256 is another", name);
}

static const json_t *ticket_of(const json_t *staged, const char *name)
{
    const json_t *ticket;
    size_t i;
    json_array_foreach(staged, i, ticket)
        if (strcmp(text_of(ticket, "name"), name) == 0) return ticket;
    return NULL;
}

static enum artifacts_result publish_file(struct artifacts *a, const char *from, const char *place, const json_t *file,
                                          const json_t *staged, struct artifacts_call *call)
{
    char name[1100];
    const json_t *ticket = ticket_of(staged, text_of(file, "name"));
    if (snprintf(name, sizeof name, "%s/%s", place, text_of(file, "name")) >= (int)sizeof name || !ticket)
        return artifacts__fail(call, ARTIFACTS_FAILED, "%s was not brought", text_of(file, "name"));
    enum artifacts_result result = complete(a, name, file, ticket, call);
    if (result == ARTIFACTS_MISSING && from) {
        json_t *again = stage_file(of(a), from, place, file, call);
        if (again) result = complete(a, name, file, again, call);
        json_decref(again);
    }
    if (result == ARTIFACTS_OK) result = verify(a, name, file, call);
    return result == ARTIFACTS_MISSING ? ARTIFACTS_FAILED : result;
}

static enum artifacts_result publish(struct artifacts *a, const char *from, const char *place, const json_t *files,
                                     const json_t *staged, struct artifacts_call *call)
{
    const json_t *file;
    size_t i;
    json_array_foreach(files, i, file) {
        enum artifacts_result result = publish_file(a, from, place, file, staged, call);
        if (result == ARTIFACTS_OK) continue;
        if (result == ARTIFACTS_CONFLICT || result == ARTIFACTS_STOPPED) return result;
        struct artifacts_call quiet = {0};
        for (size_t k = 0; k <= i; k++) { /* all or none: the place is this attempt's alone */
            char name[1100];
            snprintf(name, sizeof name, "%s/%.500s", place, text_of(json_array_get(files, k), "name"));
            struct s3_request r = {.method = "DELETE", .name = name};
            ask(of(a), &r, &quiet);
        }
        return result;
    }
    return ARTIFACTS_OK;
}

/* ---- reading ---- */

struct passing {
    artifacts_sink *sink;
    void *ctx;
    uint64_t left; /* a server that knows no ranges sends more */
};

static bool pass(void *ctx, const void *data, size_t len)
{
    struct passing *p = ctx;
    size_t n = len < p->left ? len : (size_t)p->left;
    p->left -= n;
    return p->sink(p->ctx, data, n) && n == len;
}

static uint64_t goes_on_behind(void *ctx)
{
    (void)ctx;
    return 0;
}

/* `last`: of the last byte; what is behind the end may be refused. */
static enum artifacts_result read_to(struct artifacts *a, const char *name, uint64_t from, uint64_t last,
                                     struct passing *p, long *status, struct artifacts_call *call)
{
    struct s3_request r = {
        .method = "GET", .name = name, .sink = pass, .again = goes_on_behind, .ctx = p, .from = from, .to = last};
    if (last == 0) r.headers[0] = "Range: bytes=0-0"; /* `to` 0 would say "all" */
    enum artifacts_result result = ask(of(a), &r, call);
    *status = r.status;
    return result;
}

static enum artifacts_result read_range(struct artifacts *a, const char *name, uint64_t from, uint64_t len,
                                        artifacts_sink *sink, void *sink_ctx, struct artifacts_call *call)
{
    struct passing p = {sink, sink_ctx, len};
    uint64_t size;
    char sha256[65];
    long status;
    if (len == 0) return ARTIFACTS_OK;
    uint64_t last = len - 1 > INT64_MAX - from ? INT64_MAX : from + len - 1;
    enum artifacts_result result = read_to(a, name, from, last, &p, &status, call);
    if (status != 416 && status != 400) return result;
    result = look(a, name, &size, sha256, call); /* it ends before */
    if (result != ARTIFACTS_OK || from >= size) return result;
    return read_to(a, name, from, size - 1, &p, &status, call);
}

static bool link_for(struct artifacts *a, const char *name, const char *as, int seconds, char *url, size_t size)
{
    return s3__link(of(a), name, as, seconds, (int64_t)time(NULL), url, size);
}

/* One page of a list: what `each` does with every element called `tag`; *more: what comes next. */
typedef bool page_fn(void *ctx, const char *element);

static enum artifacts_result page(struct artifacts *a, const char *query, const char *tag, page_fn *each, void *ctx,
                                  char *next, size_t size, const char *next_tag, bool *enough,
                                  struct artifacts_call *call)
{
    enum { ELEMENT = 8192 };
    struct s3_request r = {.method = "GET", .query = query};
    char *element = malloc(ELEMENT);
    enum artifacts_result result = ARTIFACTS_FAILED;
    next[0] = '\0';
    if (element && s3__ask(of(a), &r, call)) {
        const char *at = r.text, *end = r.text;
        result = r.status == 200 ? ARTIFACTS_OK : s3__judge(of(a), &r, call);
        while (result == ARTIFACTS_OK && !*enough && s3__element(&at, tag, element, ELEMENT))
            *enough = !each(ctx, element);
        if (result == ARTIFACTS_OK) s3__element(&end, next_tag, next, size);
    }
    free(element);
    free(r.text);
    return result;
}

struct listing {
    const struct s3 *s;
    artifacts_found *found;
    void *ctx;
};

/* An element's text has its entities resolved already, which in keys of this program changes nothing. */
static bool list_one(void *ctx, const char *element)
{
    struct listing *l = ctx;
    char key[1700], size[32] = "0";
    const char *at = element, *again = element;
    size_t n = strlen(l->s->prefix);
    if (!s3__element(&at, "Key", key, sizeof key) || strncmp(key, l->s->prefix, n) != 0) return true;
    s3__element(&again, "Size", size, sizeof size);
    return l->found(l->ctx, key + n, strtoull(size, NULL, 10));
}

static enum artifacts_result list(struct artifacts *a, const char *prefix, artifacts_found *found, void *found_ctx,
                                  struct artifacts_call *call)
{
    struct listing l = {of(a), found, found_ctx};
    char whole[1700], escaped[3400], next[1200] = "", query[8000], token[3700];
    bool enough = false;
    snprintf(whole, sizeof whole, "%s%s", of(a)->prefix, prefix);
    if (!s3__escape(whole, true, escaped, sizeof escaped)) return artifacts__fail(call, ARTIFACTS_FAILED, "too long");
    do {
        s3__escape(next, true, token, sizeof token);
        snprintf(query, sizeof query, "%s%s%slist-type=2&prefix=%s", *next ? "continuation-token=" : "",
                 *next ? token : "", *next ? "&" : "", escaped);
        enum artifacts_result result =
            page(a, query, "Contents", list_one, &l, next, sizeof next, "NextContinuationToken", &enough, call);
        if (result != ARTIFACTS_OK) return result;
        if (!artifacts__goes_on(call)) return ARTIFACTS_STOPPED;
    } while (*next && !enough);
    return ARTIFACTS_OK;
}

/* ---- removing ---- */

static bool keep_name(void *ctx, const char *name, uint64_t size)
{
    json_t *list = ctx;
    (void)size;
    return json_array_append_new(list, json_string(name)) == 0 && json_array_size(list) < 100000;
}

static enum artifacts_result delete_key(struct artifacts *a, const char *name, struct artifacts_call *call)
{
    struct s3_request r = {.method = "DELETE", .name = name};
    enum artifacts_result result = ask(of(a), &r, call);
    return result == ARTIFACTS_MISSING ? ARTIFACTS_OK : result;
}

static enum artifacts_result remove_one(struct artifacts *a, const char *name, struct artifacts_call *call)
{
    char inside[1200], path[4352];
    const json_t *item;
    size_t i;
    json_t *names = json_array();
    snprintf(inside, sizeof inside, "%s/", name);
    enum artifacts_result result = list(a, inside, keep_name, names, call);
    json_array_foreach(names, i, item)
        if (result == ARTIFACTS_OK) result = delete_key(a, json_string_value(item), call);
    if (result == ARTIFACTS_OK && i == 0) result = delete_key(a, name, call); /* no folder, it seems */
    json_decref(names);
    snprintf(path, sizeof path, "%s/%.1100s", a->folder, name);
    if (unlink(path) != 0) dir_remove(path); /* the copy */
    return result;
}

struct ending {
    const struct s3 *s;
    const char *wanted; /* what every key begins with: not every server looks at the prefix */
    bool (*unwanted)(void *ctx, const char *name);
    void *ctx;
    json_t *found;
};

static bool end_one(void *ctx, const char *element)
{
    struct ending *e = ctx;
    char key[1700], upload[800];
    const char *at = element, *again = element;
    size_t n = strlen(e->s->prefix);
    if (!s3__element(&at, "Key", key, sizeof key) || strncmp(key, e->wanted, strlen(e->wanted)) != 0 ||
        !s3__element(&again, "UploadId", upload, sizeof upload) || !e->unwanted(e->ctx, key + n))
        return true;
    return json_array_append_new(e->found, json_pack("{s:s, s:s}", "name", key + n, "upload", upload)) == 0;
}

/* Up to a thousand uploads; the rest the next time, or the bucket's rule for unfinished uploads ends them. */
static enum artifacts_result end_stale(struct artifacts *a, const char *prefix,
                                       bool (*unwanted)(void *ctx, const char *name), void *unwanted_ctx,
                                       struct artifacts_call *call)
{
    char whole[1700], escaped[3400], query[3600], next[16];
    const json_t *item;
    size_t i;
    bool enough = false;
    snprintf(whole, sizeof whole, "%s%s", of(a)->prefix, prefix);
    struct ending e = {of(a), whole, unwanted, unwanted_ctx, json_array()};
    enum artifacts_result result = ARTIFACTS_FAILED;
    if (s3__escape(whole, true, escaped, sizeof escaped)) {
        snprintf(query, sizeof query, "prefix=%s&uploads=", escaped);
        result = page(a, query, "Upload", end_one, &e, next, sizeof next, "NextUploadIdMarker", &enough, call);
    }
    json_array_foreach(e.found, i, item)
        abort_upload(of(a), text_of(item, "name"), text_of(item, "upload"));
    json_decref(e.found);
    return result;
}

/* ---- opening ---- */

static bool put_probe(struct s3 *s, const char *name, long *status, struct artifacts_call *call)
{
    struct s3_request r = {
        .method = "PUT", .name = name, .headers = {"If-None-Match: *"}, .body = "halftone", .size = 8};
    bool answered = s3__ask(s, &r, call);
    *status = r.status;
    if (answered && r.status >= 300 && r.status != 412) answered = s3__judge(s, &r, call) == ARTIFACTS_OK;
    free(r.text);
    return answered;
}

static bool count_piece(void *ctx, const void *data, size_t len)
{
    struct reading *r = ctx;
    r->limited = r->n == 0 && len == 3 && memcmp(data, "fto", 3) == 0;
    r->n += len;
    return true;
}

static bool probe(struct artifacts *a, const char *id, const char **note, struct artifacts_call *call)
{
    char name[100];
    long first = 0, second = 0;
    struct reading range = {0};
    snprintf(name, sizeof name, "probe-%.60s", id);
    bool works = put_probe(of(a), name, &first, call) && put_probe(of(a), name, &second, call) &&
                 read_range(a, name, 3, 3, count_piece, &range, call) == ARTIFACTS_OK;
    if (works && !(range.limited && range.n == 3)) {
        artifacts__fail(call, ARTIFACTS_FAILED, "%s does not give ranges of files", a->url);
        works = false;
    }
    if (works && second != 412)
        *note = "the bucket takes no conditional writes (If-None-Match): names that differ by attempt are all that "
                "keeps one file from another";
    struct artifacts_call quiet = {0};
    struct s3_request r = {.method = "DELETE", .name = name};
    if (first) ask(of(a), &r, &quiet);
    return works;
}

static void close_s3(struct artifacts *a)
{
    struct s3 *s = of(a);
    if (!s) return;
    for (int i = 0; i < s->n_idle; i++)
        curl_easy_cleanup(s->idle[i]);
    pthread_mutex_destroy(&s->lock);
    memset(s->secret, 0, sizeof s->secret);
    free(s);
}

static const char *from_environment(const char *name, const char *other, const char *otherwise)
{
    const char *value = getenv(name);
    if ((!value || !*value) && other) value = getenv(other);
    return value && *value ? value : otherwise;
}

static bool take_url(char *to, size_t size, const char *url)
{
    bool fits = snprintf(to, size, "%s", url) < (int)size;
    size_t n = strlen(to);
    if (n > 0 && to[n - 1] == '/') to[n - 1] = '\0';
    bool plain = strncmp(to, "http://", 7) == 0 || strncmp(to, "https://", 8) == 0;
    return fits && plain && !strchr(to, '@') && !strchr(strstr(to, "://") + 3, '/');
}

/* Amazon's addresses have the bucket in the host; those of other services, and buckets with dots, behind it. */
static bool find_endpoint(struct s3 *s, char *why, size_t size)
{
    char usual[300];
    const char *given = from_environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", NULL);
    bool behind = given || strchr(s->bucket, '.');
    snprintf(usual, sizeof usual, "https://%s%ss3.%s.amazonaws.com", behind ? "" : s->bucket, behind ? "" : ".",
             s->region);
    snprintf(s->base, sizeof s->base, "/%s%s", behind ? s->bucket : "", behind ? "/" : "");
    const char *endpoint = given ? given : usual;
    const char *shown = from_environment("HALFTONE_S3_PUBLIC_URL", NULL, endpoint);
    if (take_url(s->endpoint, sizeof s->endpoint, endpoint) && take_url(s->public_url, sizeof s->public_url, shown))
        return true;
    snprintf(why, size, "AWS_ENDPOINT_URL is to be http://HOST or https://HOST, with no path and no secret");
    return false;
}

static bool find_keys(struct s3 *s, char *why, size_t size)
{
    const char *key = from_environment("AWS_ACCESS_KEY_ID", NULL, ""),
               *secret = from_environment("AWS_SECRET_ACCESS_KEY", NULL, ""),
               *token = from_environment("AWS_SESSION_TOKEN", NULL, "");
    bool fits = snprintf(s->key, sizeof s->key, "%s", key) < (int)sizeof s->key &&
                snprintf(s->secret, sizeof s->secret, "%s", secret) < (int)sizeof s->secret &&
                snprintf(s->token, sizeof s->token, "%s", token) < (int)sizeof s->token;
    if (*key && *secret && fits && !strpbrk(token, "\r\n") && !strpbrk(key, ":\r\n")) return true;
    snprintf(why, size, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are wanted in the environment");
    return false;
}

static bool find_bucket(struct s3 *s, const char *url, char *why, size_t size)
{
    const char *bucket = url + 5, *prefix = strchr(bucket, '/');
    size_t n = prefix ? (size_t)(prefix - bucket) : strlen(bucket);
    const char *rest = prefix ? prefix + 1 : "";
    size_t len = strlen(rest);
    while (len > 0 && rest[len - 1] == '/')
        len--;
    bool plain = n >= 3 && n <= 63 && strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") >= n && len < 500;
    snprintf(s->bucket, sizeof s->bucket, "%.*s", plain ? (int)n : 0, bucket);
    snprintf(s->prefix, sizeof s->prefix, "%.*s%s", plain ? (int)len : 0, rest, len ? "/" : "");
    char name[520];
    snprintf(name, sizeof name, "%.*s", plain ? (int)len : 0, rest);
    if (plain && (len == 0 || artifacts_is_name(name))) return true;
    snprintf(why, size, "s3://BUCKET/PREFIX is wanted, the bucket of 3 to 63 small letters, digits, dots and hyphens");
    return false;
}

bool artifacts__open_s3(struct artifacts *a, const char *url, char *why, size_t size)
{
    struct s3 *s = calloc(1, sizeof *s);
    if (!s) return false;
    a->own = s;
    s->artifacts = a;
    pthread_mutex_init(&s->lock, NULL);
    snprintf(s->region, sizeof s->region, "%s", from_environment("AWS_REGION", "AWS_DEFAULT_REGION", "us-east-1"));
    if (strspn(s->region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(s->region)) {
        snprintf(why, size, "AWS_REGION: small letters, digits and hyphens");
        return false;
    }
    if (!find_bucket(s, url, why, size) || !find_keys(s, why, size) || !find_endpoint(s, why, size)) return false;
    snprintf(a->url, sizeof a->url, "s3://%s%s%.*s", s->bucket, *s->prefix ? "/" : "",
             (int)(strlen(s->prefix) - (*s->prefix != '\0')), s->prefix);
    return true;
}

const struct artifacts_driver artifacts__s3 = {.name = "s3",
                                               .far = true,
                                               .probe = probe,
                                               .stage = stage,
                                               .publish = publish,
                                               .discard = discard,
                                               .read = read_range,
                                               .look = look,
                                               .link = link_for,
                                               .remove = remove_one,
                                               .list = list,
                                               .end_stale = end_stale,
                                               .close = close_s3};
