/* Tokens and sessions. A token is 32 random bytes; the store knows its hash alone. */
#include "server/api/access.h"

#include "server/api/rates.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { MAX_SESSIONS = 1024, SESSION_SECONDS = 12 * 3600 };

struct session {
    char cookie[65], token[65]; /* hashes of both: asking the store each time ends a session with its token */
    time_t until;               /* CLOCK_MONOTONIC */
};

struct access {
    struct store *store;
    bool loopback;
    atomic_int n_tokens;
    pthread_mutex_t lock;
    struct session sessions[MAX_SESSIONS];
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
    access_tokens_changed(access);
    if (!access->requests || !access->guesses || atomic_load(&access->n_tokens) < 0) access_close(&access);
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
    atomic_store(&access->n_tokens, store_token_count(access->store));
}

bool access_wants_token(struct access *access)
{
    return !access->loopback || atomic_load(&access->n_tokens) != 0; /* not known: as if there were */
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

enum store_scope access_token(struct access *access, const char *token, char token_id[STORE_ID_SIZE])
{
    char sha256[65];
    access_hash(token, strlen(token), sha256);
    return store_token_check(access->store, sha256, token_id);
}

static time_t seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
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

bool access_session_open(struct access *access, const char *token, char cookie[65])
{
    if (!random_hex(cookie)) return false;
    pthread_mutex_lock(&access->lock);
    struct session *s = &access->sessions[0]; /* a free one, or the one that ends first */
    for (int i = 1; i < MAX_SESSIONS; i++)
        if (access->sessions[i].until < s->until) s = &access->sessions[i];
    access_hash(cookie, 64, s->cookie);
    access_hash(token, strlen(token), s->token);
    s->until = seconds_now() + SESSION_SECONDS;
    pthread_mutex_unlock(&access->lock);
    return true;
}

enum store_scope access_session(struct access *access, const char *cookie, char token_id[STORE_ID_SIZE])
{
    char hash[65], token[65] = "";
    access_hash(cookie, strlen(cookie), hash);
    pthread_mutex_lock(&access->lock);
    struct session *s = find(access, hash);
    if (s && s->until > seconds_now()) memcpy(token, s->token, sizeof token);
    pthread_mutex_unlock(&access->lock);
    *token_id = '\0';
    return *token ? store_token_check(access->store, token, token_id) : SCOPE_NONE;
}

void access_session_close(struct access *access, const char *cookie)
{
    char hash[65];
    access_hash(cookie, strlen(cookie), hash);
    pthread_mutex_lock(&access->lock);
    struct session *s = find(access, hash);
    if (s) OPENSSL_cleanse(s, sizeof *s);
    pthread_mutex_unlock(&access->lock);
}

int access_wait(struct access *access, const char *who)
{
    return rates_wait(access->requests, who, true);
}

int access_guesses_wait(struct access *access, const char *peer, bool count)
{
    return rates_wait(access->guesses, peer, count);
}
