/*
 * Inside this folder: S3, as Amazon's service and those that speak its protocol offer it.
 *
 * s3.c         the driver: stage by multipart upload, publish by completing it if nobody has
 * s3_client.c  one request and its answer, signed, tried again where that helps
 * s3_sign.c    addresses: escaped names, and links that carry their own signature
 *
 * From the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; AWS_REGION or AWS_DEFAULT_REGION
 * (us-east-1); AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL (Amazon's); HALFTONE_S3_PUBLIC_URL, where clients reach the
 * endpoint under another address.
 */
#ifndef HT_SERVICE_ARTIFACTS_S3_H
#define HT_SERVICE_ARTIFACTS_S3_H

#include "service/artifacts/driver.h"

#include <curl/curl.h>

enum { S3_HANDLES = 16, S3_URL_SIZE = 4096 };

struct s3 {
    struct artifacts *artifacts;
    char bucket[64], prefix[512];        /* prefix: "" or "a/b/" */
    char endpoint[512], public_url[512]; /* "https://host", with the bucket where the address has it in front */
    char base[96];                       /* what comes before the key: "/bucket/" or "/" */
    char region[64], key[256], secret[256], token[4096];
    pthread_mutex_t lock; /* owns the rest */
    CURL *idle[S3_HANDLES];
    int n_idle;
};

/* One request. name NULL: the bucket. query: sorted by name, values escaped, "name=" where there is none. */
struct s3_request {
    const char *method, *name, *query;
    const char *headers[5]; /* NULL-terminated */
    const void *body;
    size_t size;
    const char *sha256; /* of the body, in hex; NULL: it is worked out */
    /* The body of a success goes there; more than once from the start of what was asked for, when `again` is not NULL and
     * says that it may (it was cut). */
    artifacts_sink *sink;
    uint64_t (*again)(void *ctx); /* how much came; the request goes on there */
    void *ctx;
    uint64_t from, to; /* a range, both included; to 0: all */
    bool once;         /* not tried again */
    /* the answer */
    long status;
    char *text; /* of what did not go to the sink; the caller frees it */
    size_t len;
    char etag[128], sha256_meta[80];
    uint64_t length;
    bool enough; /* the sink said so */
};

/* True: there is an answer, with any status. False: call->why. */
bool s3__ask(struct s3 *s, struct s3_request *r, struct artifacts_call *call);
/* What an answer that is no success means; its code and message go to call->why. */
enum artifacts_result s3__judge(struct s3 *s, const struct s3_request *r, struct artifacts_call *call);
/* The text between <tag> and </tag> after *at, which moves behind it; entities are resolved. False: none. */
bool s3__element(const char **at, const char *tag, char *text, size_t size);

/* Everything but unreserved characters is escaped; '/' as `slash` says. False: it does not fit. */
bool s3__escape(const char *text, bool slash, char *out, size_t size);
/* The address of a name (NULL: of the bucket), without a query. */
bool s3__address(const struct s3 *s, const char *endpoint, const char *name, char *url, size_t size);
bool s3__link(const struct s3 *s, const char *name, const char *as, int seconds, int64_t now, char *url, size_t size);

#endif
