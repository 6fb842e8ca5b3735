#include "service/worker/far.h"

#include "service/artifacts/dir.h"
#include "service/system/machine.h"
#include "service/system/steady.h"

#include <halftone/halftone.h>

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { MOST_ANSWER = 64 << 20, CONNECT_SECONDS = 10, ANSWER_SECONDS = 30, STILL_SECONDS = 60 };
enum { TRIES = 6, MOST_PAUSE = 5 };

void far_fail(struct far *f, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    pthread_mutex_lock(&f->lock);
    vsnprintf(f->why, sizeof f->why, format, values);
    pthread_mutex_unlock(&f->lock);
    va_end(values);
}

void far_why(struct far *f, char *why, size_t size)
{
    pthread_mutex_lock(&f->lock);
    snprintf(why, size, "%s", f->why);
    pthread_mutex_unlock(&f->lock);
}

static CURL *take_handle(struct far *f)
{
    pthread_mutex_lock(&f->lock);
    CURL *c = f->n_idle ? f->idle[--f->n_idle] : NULL;
    pthread_mutex_unlock(&f->lock);
    return c ? c : curl_easy_init();
}

static void give_handle(struct far *f, CURL *c)
{
    curl_easy_reset(c);
    pthread_mutex_lock(&f->lock);
    bool kept = f->n_idle < FAR_HANDLES;
    if (kept) f->idle[f->n_idle++] = c;
    pthread_mutex_unlock(&f->lock);
    if (!kept) curl_easy_cleanup(c);
}

struct exchange {
    struct far *far;
    struct asked *asked;
    CURL *curl;
    char *data;
    size_t len;
    uint64_t came;
    bool disk_failed;
};

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
    struct exchange *x = ctx;
    size_t len = size * n;
    long status = 0;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    if (x->asked->to > 0 && status >= 200 && status < 300) {
        if (x->asked->from > 0 && status != 206) return 0; /* not what was asked for */
        for (size_t done = 0; done < len;) {
            ssize_t wrote = write(x->asked->to, data + done, len - done);
            if (wrote <= 0) return x->disk_failed = true, 0;
            done += (size_t)wrote;
        }
        x->came += len;
        if (x->asked->came) x->asked->came(x->asked->ctx, x->came);
        return len;
    }
    if (len > MOST_ANSWER - x->len) return 0;
    char *grown = realloc(x->data, x->len + len + 1);
    if (!grown) return 0;
    memcpy(grown + x->len, data, len);
    x->data = grown;
    x->len += len;
    x->data[x->len] = '\0';
    return len;
}

static int look(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct exchange *x = ctx;
    (void)a, (void)b, (void)c, (void)d;
    if (x->asked->until_stopped && atomic_load(&x->far->stopped)) return 1;
    return x->asked->goes_on && !x->asked->goes_on(x->asked->ctx);
}

static struct curl_slist *headers_of(const struct far *f, const struct asked *a)
{
    char text[700];
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    if (f->token) {
        snprintf(text, sizeof text, "Authorization: Bearer %.600s", f->token);
        list = curl_slist_append(list, text);
    }
    if (a->body) list = curl_slist_append(list, "Content-Type: application/json");
    if (a->digest) {
        snprintf(text, sizeof text, "Content-Digest: %.200s", a->digest);
        list = curl_slist_append(list, text);
    }
    return list;
}

static void set_up(struct exchange *x, const char *url, char *fault, struct curl_slist *headers, const char *text)
{
    CURL *c = x->curl;
    const struct asked *a = x->asked;
    bool long_one = a->file || a->to > 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, fault);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "halftone-worker/" HT_VERSION);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L); /* the token is for this server alone */
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    if (!long_one)
        curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)((a->seconds > 0 ? a->seconds : ANSWER_SECONDS) * 1000));
    if (long_one) curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    if (long_one) curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)STILL_SECONDS);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, look);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, x);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, a->method);
    if (text) curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
    if (text) curl_easy_setopt(c, CURLOPT_POSTFIELDS, text);
    if (a->from > 0) curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)a->from);
    if (!a->file) return;
    curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(c, CURLOPT_READDATA, a->file);
    curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)a->size);
}

static enum store_result result_of(long status)
{
    if (status >= 200 && status < 300) return STORE_OK;
    return status == 404                    ? STORE_NOT_FOUND
           : status == 409                  ? STORE_CONFLICT
           : status == 429 || status == 503 ? STORE_BUSY
           : status == 507                  ? STORE_FULL
                                            : STORE_FAILED;
}

static enum store_result judge(struct exchange *x, json_t **answer)
{
    long status = 0;
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    json_t *value = x->len ? json_loadb(x->data, x->len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    enum store_result result = result_of(status);
    const char *detail = json_string_value(json_object_get(value, "detail"));
    if (result == STORE_OK && x->len && !value) {
        far_fail(x->far, "%s is no Halftone server: its answer is no JSON", x->far->server);
        result = STORE_FAILED;
    } else if (result != STORE_OK && detail) {
        far_fail(x->far, "%.450s", detail);
    } else if (result != STORE_OK) {
        far_fail(x->far, "%s answered with status %ld", x->far->server, status);
    }
    if (answer && result == STORE_OK)
        *answer = value;
    else
        json_decref(value);
    return result;
}

enum store_result far_ask(struct far *f, struct asked *a, json_t **answer)
{
    struct exchange x = {.far = f, .asked = a, .curl = take_handle(f)};
    char url[2048], fault[CURL_ERROR_SIZE] = "", *text = a->body ? json_dumps(a->body, JSON_COMPACT) : NULL;
    struct curl_slist *headers = headers_of(f, a);
    enum store_result result = STORE_FAILED;
    if (answer) *answer = NULL;
    if (a->file) rewind(a->file);
    if (!x.curl || !headers || (a->body && !text) ||
        snprintf(url, sizeof url, "%s/api/v1%s", f->server, a->path) >= (int)sizeof url) {
        far_fail(f, "out of memory, or a name that is too long");
    } else {
        set_up(&x, url, fault, headers, text);
        CURLcode code = curl_easy_perform(x.curl);
        if (code == CURLE_OK)
            result = judge(&x, answer);
        else if (x.disk_failed)
            far_fail(f, "the file cannot be written here: No space left on device, or no permission");
        else
            far_fail(f, "%s cannot be reached: %s", f->server, fault[0] ? fault : curl_easy_strerror(code));
    }
    if (x.curl) give_handle(f, x.curl);
    curl_slist_free_all(headers);
    json_decref(a->body);
    a->body = NULL;
    free(text);
    free(x.data);
    return result;
}

bool far_again(const struct far *f, struct patience *p, bool (*goes_on)(void *ctx), void *ctx)
{
    double now = steady_seconds(), pause = p->tries < MOST_PAUSE ? p->tries : MOST_PAUSE;
    if (p->tries++ == 0) p->began = now;
    if (p->tries > TRIES && now - p->began > 2 * f->link.silence_seconds) return false;
    for (double until = now + pause; steady_seconds() < until && goes_on(ctx);)
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    return goes_on(ctx);
}

void far_escape(const char *name, char *text, size_t size)
{
    size_t n = 0;
    for (; *name && n + 4 < size; name++) {
        bool plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                     (*name >= '0' && *name <= '9') || strchr("-._~/", *name);
        n += (size_t)snprintf(text + n, size - n, plain ? "%c" : "%%%02X", (unsigned char)*name);
    }
    text[n] = '\0';
}

/* ---- who this is ---- */

static json_t *formats(void)
{
    struct ht_container_info c = {.size = sizeof c};
    json_t *list = json_array();
    for (size_t i = 0; ht_container_at(i, &c); i++)
        if (c.can_write) json_array_append_new(list, json_string(c.name));
    return list;
}

json_t *far_machine(const struct far *f)
{
    uint64_t total, available;
    struct statvfs v;
    char host[256] = "";
    json_t *cpu = machine_cpu();
    machine_memory(&total, &available);
    gethostname(host, sizeof host - 1);
    json_int_t disk =
        statvfs(f->share ? f->share : f->folder, &v) == 0 ? (json_int_t)v.f_bavail * (json_int_t)v.f_frsize : 0;
    json_t *machine = json_pack(
        "{s:s, s:O, s:O, s:O, s:O, s:I, s:I, s:I, s:o, s:b}", "hostname", host, "cpu", json_object_get(cpu, "name"),
        "cpu_levels", json_object_get(cpu, "levels"), "threads", json_object_get(cpu, "threads"), "load",
        json_array_get(json_object_get(cpu, "load"), 0), "memory_bytes", (json_int_t)total, "memory_available_bytes",
        (json_int_t)available, "disk_free_bytes", disk, "formats", formats(), "share", f->share != NULL);
    json_decref(cpu);
    return machine;
}

/* Jobs of which something lies here. */
static void add_held(json_t *list, const char *folder, const char *inside)
{
    char path[4200];
    struct dirent *e;
    snprintf(path, sizeof path, "%s/%s", folder, inside);
    DIR *dir = opendir(path);
    while (dir && (e = readdir(dir)) != NULL && json_array_size(list) < 10000) {
        const json_t *known;
        size_t i;
        bool there = strlen(e->d_name) != STORE_ID_SIZE - 1;
        json_array_foreach(list, i, known)
            there = there || strcmp(json_string_value(known), e->d_name) == 0;
        if (!there) json_array_append_new(list, json_string(e->d_name));
    }
    if (dir) closedir(dir);
}

/* Names that the server gives back are looked at like any other. */
static void drop(const struct far *f, const json_t *ids)
{
    static const char *const places[] = {"jobs", "uploads"};
    const json_t *id;
    size_t i;
    json_array_foreach(ids, i, id) {
        const char *name = json_string_value(id);
        char path[4200];
        if (!name || strlen(name) != STORE_ID_SIZE - 1 || strspn(name, "0123456789abcdef") != STORE_ID_SIZE - 1)
            continue;
        for (int k = 0; k < 2; k++) {
            snprintf(path, sizeof path, "%s/%s/%s", f->folder, places[k], name);
            dir_remove(path);
        }
    }
}

enum store_result far_introduce(struct far *f)
{
    json_t *holds = json_array(), *answer;
    add_held(holds, f->folder, "jobs");
    add_held(holds, f->folder, "uploads");
    struct asked a = {.method = "POST",
                      .path = "/workers",
                      .until_stopped = true,
                      .body =
                          json_pack("{s:s, s:s, s:i, s:O, s:o, s:o}", "name", f->name, "version", HT_VERSION, "slots",
                                    f->slots, "labels", f->labels, "machine", far_machine(f), "holds", holds)};
    enum store_result result = far_ask(f, &a, &answer);
    if (result != STORE_OK) return result;
    const char *id = json_string_value(json_object_get(answer, "id"));
    double lease = json_number_value(json_object_get(answer, "lease_seconds"));
    bool sane = id && strlen(id) == STORE_ID_SIZE - 1 && lease >= 1;
    if (sane && f->share && !far_check_share(f, id, json_string_value(json_object_get(answer, "share")))) {
        json_decref(answer);
        return STORE_FAILED;
    }
    const char *bucket = json_string_value(json_object_get(answer, "artifacts"));
    if (sane && f->bucket && (!bucket || strcmp(bucket, artifacts_url(f->bucket)) != 0)) {
        far_fail(f, "--artifacts: %s keeps its files in %s, and not in %s", f->server,
                 bucket ? bucket : "its own folder", artifacts_url(f->bucket));
        json_decref(answer);
        return STORE_FAILED;
    }
    if (sane) {
        drop(f, json_object_get(answer, "drop"));
        f->link.silence_seconds = lease * 2 / 3;
        f->link.beat_seconds = lease >= 10 ? 2 : lease / 5;
        pthread_mutex_lock(&f->lock);
        snprintf(f->id, sizeof f->id, "%s", id);
        pthread_mutex_unlock(&f->lock);
        log_event(f->log, LOG_LEVEL_ALWAYS, "working", "{s:s, s:s, s:s, s:i, s:s}", "worker_id", id, "name", f->name,
                  "server", f->server, "slots", f->slots, "version", HT_VERSION);
    } else {
        far_fail(f, "%s is no Halftone server", f->server);
    }
    json_decref(answer);
    return sane ? STORE_OK : STORE_FAILED;
}

void far_leave(struct far *f)
{
    char path[80];
    if (!*f->id) return;
    snprintf(path, sizeof path, "/workers/%s", f->id);
    struct asked a = {.method = "DELETE", .path = path, .seconds = 5};
    far_ask(f, &a, NULL);
}
