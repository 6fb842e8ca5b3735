/* Tokens and sessions. A token is 32 random bytes; the store knows its hash alone. */
#include "service/api/access.h"

#include "service/api/rates.h"
#include "service/system/steady.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { MAX_SESSIONS = 1024, MAX_PER_TOKEN = 32, SESSION_SECONDS = 12 * 3600, MAX_USED = 64 };

struct session {
    char cookie[65], token[65]; /* hashes of both: asking the store each time ends a session with its token */
    double until;               /* CLOCK_MONOTONIC */
};

struct access {
    struct store *store;
    bool loopback;
    atomic_bool wants_token;
    pthread_mutex_t lock; /* owns the next three */
    struct session sessions[MAX_SESSIONS];
    char used[MAX_USED][STORE_ID_SIZE]; /* tokens, not yet noted in the store */
    size_t n_used;
    struct rates *requests, *guesses;
};

struct access *access_open(struct store *store, bool loopback, int rate)
{
    struct access *access = calloc(1, sizeof *access);
    if (!access) return NULL;
    pthread_mutex_init(&access->lock, NULL);
    access->store = store;
    access->loopback = loopback;
    access->requests = rates_open(rate, rate * 2.0);
    access->guesses = rates_open(0.2, 10);
    int n = store_token_count(store);
    atomic_store(&access->wants_token, !loopback || n != 0);
    if (!access->requests || !access->guesses || n < 0) access_close(&access);
    return access;
}

void access_close(struct access **access)
{
    if (!*access) return;
    rates_close(&(*access)->requests);
    rates_close(&(*access)->guesses);
    pthread_mutex_destroy(&(*access)->lock);
    OPENSSL_cleanse((*access)->sessions, sizeof(*access)->sessions);
    free(*access);
    *access = NULL;
}

void access_tokens_changed(struct access *access)
{
    if (store_token_count(access->store) != 0)
        atomic_store(&access->wants_token, true); /* unknown: treated as if there were one */
}

bool access_wants_token(struct access *access)
{
    return atomic_load(&access->wants_token);
}

static void hex(const unsigned char *bytes, size_t n, char *text)
{
    for (size_t i = 0; i < n; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

void access_hash(const char *text, size_t len, char sha256[65])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)text, len, digest);
    hex(digest, sizeof digest, sha256);
}

static bool random_hex(char text[65])
{
    unsigned char bytes[32];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
    hex(bytes, sizeof bytes, text);
    return true;
}

bool access_new_secret(char secret[72], char sha256[65])
{
    memcpy(secret, "ht_", 4);
    if (!random_hex(secret + 3)) return false;
    access_hash(secret, strlen(secret), sha256);
    return true;
}

static enum store_scope check(struct access *access, const char *sha256, char token_id[STORE_ID_SIZE])
{
    enum store_scope scope = store_token_check(access->store, sha256, token_id);
    if (scope == SCOPE_NONE) return scope;
    pthread_mutex_lock(&access->lock);
    size_t i = 0;
    while (i < access->n_used && strcmp(access->used[i], token_id) != 0)
        i++;
    if (i == access->n_used && i < MAX_USED) memcpy(access->used[access->n_used++], token_id, STORE_ID_SIZE);
    pthread_mutex_unlock(&access->lock);
    return scope;
}

void access_note_uses(struct access *access)
{
    char used[MAX_USED][STORE_ID_SIZE];
    pthread_mutex_lock(&access->lock);
    size_t n = access->n_used;
    memcpy(used, access->used, n * sizeof *used);
    access->n_used = 0;
    pthread_mutex_unlock(&access->lock);
    if (n) store_tokens_used(access->store, used, n); /* not worth failing anything */
}

enum store_scope access_token(struct access *access, const char *token, char token_id[STORE_ID_SIZE])
{
    char sha256[65];
    access_hash(token, strlen(token), sha256);
    return check(access, sha256, token_id);
}

/* The session of a cookie's hash, or NULL; every one is compared, each in constant time. Under the lock. */
static struct session *find(struct access *access, const char cookie[65])
{
    struct session *found = NULL;
    for (int i = 0; i < MAX_SESSIONS; i++)
        if (access->sessions[i].until && CRYPTO_memcmp(access->sessions[i].cookie, cookie, 64) == 0)
            found = &access->sessions[i];
    return found;
}

static bool belongs_to(const struct session *s, const char *token)
{
    return s->until > 0 && strcmp(s->token, token) == 0;
}

static int sessions_of(const struct access *access, const char *token)
{
    int n = 0;
    for (int i = 0; i < MAX_SESSIONS; i++)
        n += belongs_to(&access->sessions[i], token);
    return n;
}

/* Of all tokens the one with the most sessions: whoever opens many sessions makes room for others. */
static const char *greediest(const struct access *access)
{
    const char *token = access->sessions[0].token;
    int most = 0;
    for (int i = 0; i < MAX_SESSIONS; i++) {
        int n = sessions_of(access, access->sessions[i].token);
        if (n > most) most = n, token = access->sessions[i].token;
    }
    return token;
}

/* The oldest session of `token`; NULL for the token: a place that is free. NULL: there is none. */
static struct session *place(struct access *access, const char *token)
{
    struct session *oldest = NULL;
    for (int i = 0; i < MAX_SESSIONS; i++) {
        struct session *s = &access->sessions[i];
        if (token ? !belongs_to(s, token) : s->until > steady_seconds()) continue;
        if (!oldest || s->until < oldest->until) oldest = s;
    }
    return oldest;
}

bool access_session_open(struct access *access, const char *token, char cookie[65])
{
    char sha256[65];
    if (!random_hex(cookie)) return false;
    access_hash(token, strlen(token), sha256);
    pthread_mutex_lock(&access->lock);
    struct session *s = place(access, sessions_of(access, sha256) >= MAX_PER_TOKEN ? sha256 : NULL);
    if (!s) s = place(access, greediest(access));
    access_hash(cookie, 64, s->cookie);
    memcpy(s->token, sha256, sizeof s->token);
    s->until = steady_seconds() + SESSION_SECONDS;
    pthread_mutex_unlock(&access->lock);
    return true;
}

enum store_scope access_session(struct access *access, const char *cookie, struct caller *caller)
{
    char token[65] = "";
    access_hash(cookie, strlen(cookie), caller->session);
    pthread_mutex_lock(&access->lock);
    struct session *s = find(access, caller->session);
    if (s && s->until > steady_seconds()) {
        memcpy(token, s->token, sizeof token);
        caller->until = s->until;
    }
    pthread_mutex_unlock(&access->lock);
    *caller->token_id = '\0';
    return *token ? check(access, token, caller->token_id) : SCOPE_NONE;
}

void access_session_close(struct access *access, const char *cookie, char session[65])
{
    access_hash(cookie, strlen(cookie), session);
    pthread_mutex_lock(&access->lock);
    struct session *s = find(access, session);
    if (s) OPENSSL_cleanse(s, sizeof *s);
    pthread_mutex_unlock(&access->lock);
}

int access_wait(struct access *access, const char *who)
{
    return rates_wait(access->requests, who, true);
}

int access_wrong_token(struct access *access, const char *peer)
{
    return rates_wait(access->guesses, peer, true);
}
