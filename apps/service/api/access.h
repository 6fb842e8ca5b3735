/* Who may ask what, and how often: tokens, sessions of the page, rates. Any thread. */
#ifndef HT_SERVICE_API_ACCESS_H
#define HT_SERVICE_API_ACCESS_H

#include "service/api/api.h"

struct access;

/* rate: requests a second for each token or address, 0: no limit. NULL: no memory, or the store failed. */
struct access *access_open(struct store *store, bool loopback, int rate);
void access_close(struct access **access);

/* Is a token required? Always beyond loopback; there, as soon as there is one, and then until the end. */
bool access_wants_token(struct access *access);
/* Writes down which tokens were used since the last time. */
void access_note_uses(struct access *access);
/* Tokens were added or removed. */
void access_tokens_changed(struct access *access);

/* A new secret "ht_…" and its SHA-256 as the store keeps it. false: no randomness. */
bool access_new_secret(char secret[72], char sha256[65]);
void access_hash(const char *text, size_t len, char sha256[65]);
/* SCOPE_NONE: unknown. */
enum store_scope access_token(struct access *access, const char *token, char token_id[STORE_ID_SIZE]);

/* A cookie for a token that was found right. Sessions end after twelve hours, with the token, or with the server; a
 * token has at most MAX_PER_TOKEN, of which the oldest makes room. */
bool access_session_open(struct access *access, const char *token, char cookie[65]);
/* Fills the caller's token, session and its end. */
enum store_scope access_session(struct access *access, const char *cookie, struct caller *caller);
void access_session_close(struct access *access, const char *cookie, char session[65]);

/* One request of somebody (a token's id, an address). 0: go on; otherwise seconds to wait. */
int access_wait(struct access *access, const char *who);
/* A token was wrong: twelve a minute are answered for each address. 0: it was one of them; otherwise seconds to wait.
 * A valid token is never held up by wrong ones: many clients may share an address. */
int access_wrong_token(struct access *access, const char *peer);

/* The pure parts of the guards. */
/* A Host header's name without port, in lower case and without a last dot; false: it is none. */
bool access_host_name(const char *header, char name[256]);
bool access_host_allowed(const char *header, const char *address, const struct settings_list *names);
/* Is the Origin header of the site that Host names? */
bool access_same_site(const char *origin, const char *host);

#endif
