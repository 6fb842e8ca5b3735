#include "service/doorbell/redis.h"

#include <stdio.h>
#include <string.h>

bool redis_is_open_secret(const char *url)
{
    const char *from = url ? strstr(url, "://") : NULL, *at = from ? strchr(from, '@') : NULL;
    return at && memchr(from + 3, ':', (size_t)(at - from - 3));
}

#ifdef HAVE_HIREDIS

#include <ctype.h>
#include <dlfcn.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>

#define FUNCTIONS(X)                                                                                                   \
    X(redisConnectWithTimeout)                                                                                         \
    X(redisConnectUnixWithTimeout)                                                                                     \
    X(redisSetTimeout) X(redisEnableKeepAlive) X(redisCommandArgv) X(freeReplyObject) X(redisFree)

static struct {
#define FIELD(name) __typeof__(name) *name;
    FUNCTIONS(FIELD)
#undef FIELD
} hi;
static bool loaded;
static pthread_once_t load_once = PTHREAD_ONCE_INIT;

#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)

static void load(void)
{
    void *library = dlopen("libhiredis.so." TEXT_OF(HIREDIS_SONAME), RTLD_NOW | RTLD_LOCAL);
    loaded = library != NULL;
#define FIND(name)                                                                                                     \
    if (library) hi.name = (__typeof__(hi.name))dlsym(library, #name);                                                 \
    loaded = loaded && hi.name;
    FUNCTIONS(FIND)
#undef FIND
}

enum { CONNECT_SECONDS = 5, ANSWER_SECONDS = 5, MOST_WORDS = 24 };

struct redis {
    redisContext *context;
    redisReply *reply;
    char host[256], path[256], user[128], password[512], where[300], why[600];
    int port, database;
};

static bool refuse(char *why, size_t size, const char *text)
{
    snprintf(why, size, "%s", text);
    return false;
}

static bool copy(char *to, size_t size, const char *from, size_t len)
{
    if (len >= size) return false;
    memcpy(to, from, len);
    to[len] = '\0';
    return true;
}

/* What an address cannot hold as it is (@ : / %) stands there as %XX. */
static bool unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        char digits[3] = {0};
        if (*from != '%') {
            *to = *from++;
            continue;
        }
        if (!isxdigit((unsigned char)from[1]) || !isxdigit((unsigned char)from[2])) return false;
        memcpy(digits, from + 1, 2);
        *to = (char)strtol(digits, NULL, 16);
        if (!*to) return false;
        from += 3;
    }
    *to = '\0';
    return true;
}

static bool number(const char *text, size_t len, long most, int *value)
{
    char digits[8], *end;
    if (len == 0 || !copy(digits, sizeof digits, text, len)) return false;
    long n = strtol(digits, &end, 10);
    *value = (int)n;
    return !*end && n >= 0 && n <= most;
}

/* [USER[:PASSWORD]@]HOST[:PORT][/DB] */
static bool read_url(struct redis *r, const char *url)
{
    const char *rest = url + 8, *at = strchr(rest, '@');
    bool right = true;
    if (at) {
        const char *colon = memchr(rest, ':', (size_t)(at - rest)), *end = colon ? colon : at;
        right = copy(r->user, sizeof r->user, rest, (size_t)(end - rest));
        if (colon) right = right && copy(r->password, sizeof r->password, colon + 1, (size_t)(at - colon - 1));
        right = right && unescape(r->user) && unescape(r->password);
        rest = at + 1;
    }
    size_t n = strcspn(rest, "/");
    const char *database = rest[n] == '/' && rest[n + 1] ? rest + n + 1 : NULL;
    const char *bracket = *rest == '[' ? memchr(rest, ']', n) : NULL;
    const char *from = bracket ? bracket : rest, *colon = memchr(from, ':', n - (size_t)(from - rest));
    size_t host = bracket ? (size_t)(bracket - rest) - 1 : colon ? (size_t)(colon - rest) : n;
    right = right && host > 0 && copy(r->host, sizeof r->host, rest + (bracket != NULL), host);
    if (colon) right = right && number(colon + 1, n - (size_t)(colon + 1 - rest), 65535, &r->port);
    if (database) right = right && number(database, strlen(database), 1000000, &r->database);
    snprintf(r->where, sizeof r->where, "redis://%.200s:%d", r->host, r->port);
    return right;
}

bool redis_open(const char *url, struct redis **redis, char *why, size_t size)
{
    struct redis *r = calloc(1, sizeof *r);
    const char *password = getenv("REDIS_PASSWORD");
    *redis = r;
    if (!r) return refuse(why, size, "not enough memory");
    r->port = 6379;
    pthread_once(&load_once, load);
    bool right = false;
    if (!loaded)
        refuse(why, size, "libhiredis.so." TEXT_OF(HIREDIS_SONAME) " is not installed (Debian: libhiredis0.14)");
    else if (strncmp(url, "rediss://", 9) == 0)
        refuse(why, size, "rediss:// is not spoken: put a TLS tunnel (stunnel) on this machine, and give its address");
    else if (strncmp(url, "unix:///", 8) == 0)
        right = copy(r->path, sizeof r->path, url + 7, strlen(url + 7)) &&
                snprintf(r->where, sizeof r->where, "%s", url) > 0;
    else if (strncmp(url, "redis://", 8) == 0 && read_url(r, url))
        right = true;
    else
        refuse(why, size, "redis://[USER@]HOST[:PORT][/DB] or unix:///PATH is wanted");
    if (right && password && *password) snprintf(r->password, sizeof r->password, "%s", password);
    if (!right) redis_close(redis);
    return right;
}

static void disconnect(struct redis *r)
{
    if (r->reply) hi.freeReplyObject(r->reply);
    if (r->context) hi.redisFree(r->context);
    r->reply = NULL;
    r->context = NULL;
}

void redis_close(struct redis **redis)
{
    struct redis *r = *redis;
    *redis = NULL;
    if (!r) return;
    disconnect(r);
    memset(r->password, 0, sizeof r->password);
    free(r);
}

const char *redis_where(const struct redis *r)
{
    return r->where;
}

const char *redis_why(const struct redis *r)
{
    return r->why;
}

static struct redis_answer answer_of(const redisReply *reply)
{
    struct redis_answer a = {.inside = reply};
    switch (reply->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS: a.kind = REDIS_TEXT, a.text = reply->str; break;
    case REDIS_REPLY_ERROR: a.kind = REDIS_ERROR, a.text = reply->str; break;
    case REDIS_REPLY_INTEGER: a.kind = REDIS_NUMBER, a.number = reply->integer; break;
    case REDIS_REPLY_ARRAY: a.kind = REDIS_LIST, a.n = reply->elements; break;
    default: a.kind = REDIS_NIL;
    }
    return a;
}

bool redis_at(const struct redis_answer *list, size_t i, struct redis_answer *answer)
{
    const redisReply *reply = list->inside;
    if (list->kind != REDIS_LIST || i >= list->n) return false;
    *answer = answer_of(reply->element[i]);
    return true;
}

const char *redis_text(const struct redis_answer *list, size_t i)
{
    struct redis_answer a;
    return redis_at(list, i, &a) && a.kind == REDIS_TEXT ? a.text : "";
}

static bool command(struct redis *r, double wait, int n, const char **words)
{
    struct timeval patience = {.tv_sec = (long)(ANSWER_SECONDS + wait)};
    if (r->reply) hi.freeReplyObject(r->reply);
    hi.redisSetTimeout(r->context, patience);
    r->reply = hi.redisCommandArgv(r->context, n, words, NULL);
    if (r->reply) return true;
    snprintf(r->why, sizeof r->why, "%s: %.200s", r->where, r->context->errstr);
    disconnect(r);
    return false;
}

static bool must(struct redis *r, int n, const char **words)
{
    if (!command(r, 0, n, words)) return false;
    if (r->reply->type != REDIS_REPLY_ERROR) return true;
    snprintf(r->why, sizeof r->why, "%s: %.200s", r->where, r->reply->str);
    disconnect(r);
    return false;
}

static bool connect_now(struct redis *r)
{
    struct timeval patience = {.tv_sec = CONNECT_SECONDS};
    char database[16];
    r->context = *r->path ? hi.redisConnectUnixWithTimeout(r->path, patience)
                          : hi.redisConnectWithTimeout(r->host, r->port, patience);
    if (!r->context || r->context->err) {
        snprintf(r->why, sizeof r->why, "%s: %.200s", r->where, r->context ? r->context->errstr : "not enough memory");
        disconnect(r);
        return false;
    }
    hi.redisEnableKeepAlive(r->context);
    snprintf(database, sizeof database, "%d", r->database);
    const char *named[] = {"AUTH", r->user, r->password}, *plain[] = {"AUTH", r->password},
               *select[] = {"SELECT", database};
    if (*r->password && !(*r->user ? must(r, 3, named) : must(r, 2, plain))) return false;
    return r->database == 0 || must(r, 2, select);
}

bool redis_ask(struct redis *r, double wait, struct redis_answer *answer, const char *word, ...)
{
    const char *words[MOST_WORDS];
    int n = 0;
    va_list values;
    va_start(values, word);
    for (; word && n < MOST_WORDS; word = va_arg(values, const char *))
        words[n++] = word;
    va_end(values);
    if (!r->context && !connect_now(r)) return false;
    if (!command(r, wait, n, words)) return false;
    *answer = answer_of(r->reply);
    if (answer->kind == REDIS_ERROR) snprintf(r->why, sizeof r->why, "%s: %.200s", r->where, answer->text);
    return true;
}

#else /* built without hiredis */

bool redis_open(const char *url, struct redis **redis, char *why, size_t size)
{
    (void)url;
    *redis = NULL;
    snprintf(why, size, "this program was built without hiredis (Debian: libhiredis-dev)");
    return false;
}

void redis_close(struct redis **redis)
{
    *redis = NULL;
}

const char *redis_where(const struct redis *r)
{
    (void)r;
    return "";
}

const char *redis_why(const struct redis *r)
{
    (void)r;
    return "";
}

bool redis_at(const struct redis_answer *list, size_t i, struct redis_answer *answer)
{
    (void)list, (void)i, (void)answer;
    return false;
}

const char *redis_text(const struct redis_answer *list, size_t i)
{
    (void)list, (void)i;
    return "";
}

bool redis_ask(struct redis *r, double wait, struct redis_answer *answer, const char *word, ...)
{
    (void)r, (void)wait, (void)answer, (void)word;
    return false;
}
#endif
