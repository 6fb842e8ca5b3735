/*
 * One connection to the hub and to where it sends us. Redirects are followed by hand: each hop is checked for
 * protocol and address, and only the endpoint's own host sees the token.
 */
#ifndef HT_HUB_LINK_H
#define HT_HUB_LINK_H

#include "hub/etag.h"
#include "hub/hub.h"

struct ht__link; /* for one thread at a time */

HT_MUST_CHECK enum ht_err ht__link_open(struct ht__hub *hub, struct ht__link **link, struct ht_diag *diag);
void ht__link_close(struct ht__link **link);

enum { HT__URL_MAX = 8192 };

struct ht__reply {
    int status;            /* of the last hop; 0: none came */
    bool lost;             /* the connection failed, or broke off: worth another attempt */
    char etag[160];        /* of the last hop */
    char linked_etag[160]; /* of the endpoint: what the content is called */
    uint64_t linked_size;  /* of the endpoint; UINT64_MAX: not said */
    char commit[48];
    uint64_t length;             /* of the body that the last hop announced; UINT64_MAX: not said */
    uint64_t first, total;       /* Content-Range; UINT64_MAX: not said */
    double wait;                 /* Retry-After or RateLimit: seconds; < 0: not said */
    char code[64], message[256]; /* X-Error-Code, X-Error-Message: of the hub, for people */
    char next[1024];             /* Link: rel="next" */
    char url[HT__URL_MAX];       /* of the last hop */
    char location[HT__URL_MAX];
};

struct ht__request {
    const char *url;
    bool head;
    bool at_home;         /* redirects to another host are not followed, but answered */
    uint64_t first, len;  /* a range; len 0: all from first */
    const char *if_range; /* the content must still be called so; NULL: whatever it is */
    uint64_t limit;       /* a longer body is an error */
    /* The body of a 2xx is about to come. May be NULL. */
    enum ht_err (*begin)(void *ctx, const struct ht__reply *reply, struct ht_diag *diag);
    enum ht_err (*sink)(void *ctx, const void *data, size_t n, struct ht_diag *diag);
    void *ctx;
};

/* HT_OK: an answer of whatever status, whole. Otherwise reply->lost tells whether another attempt is worth it. */
HT_MUST_CHECK enum ht_err ht__link_send(struct ht__link *link, const struct ht__request *request,
                                        struct ht__reply *reply, struct ht_diag *diag);

/*
 * How patient one piece of work is: attempts in a row that brought nothing are counted, with pauses that double.
 * What the server asks for (429, 503) is waited for as it says. HT_OK: try again; otherwise why not.
 */
struct ht__patience {
    int failures;
};
HT_MUST_CHECK enum ht_err ht__link_wait(struct ht__link *link, struct ht__patience *patience,
                                        const struct ht__reply *reply, struct ht_diag *diag);
/* Is this status one that passes? */
bool ht__reply_is_busy(const struct ht__reply *reply);

struct ht__hub *ht__link_hub(struct ht__link *link);

#endif
