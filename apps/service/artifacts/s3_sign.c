/*
 * Addresses. A link carries its signature in the query (Signature Version 4, "presigned"): a hash of the request as it will
 * be made, under a key that is derived from the secret, the day, the region and the service. Requests of this program are
 * signed by libcurl; see s3_client.c.
 */
#include "service/artifacts/s3.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

bool s3__escape(const char *text, bool slash, char *out, size_t size)
{
    size_t n = 0;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '.' || c == '_' || c == '~' || (c == '/' && !slash);
        if (n + 4 >= size) return false;
        n += (size_t)snprintf(out + n, size - n, plain ? "%c" : "%%%02X", c);
    }
    out[n] = '\0';
    return n < size;
}

static bool path_of(const struct s3 *s, const char *name, char *path, size_t size)
{
    char whole[1600];
    int n = snprintf(whole, sizeof whole, "%s%s%s", s->base, name ? s->prefix : "", name ? name : "");
    return n < (int)sizeof whole && s3__escape(whole, false, path, size);
}

bool s3__address(const struct s3 *s, const char *endpoint, const char *name, char *url, size_t size)
{
    char path[S3_URL_SIZE];
    return path_of(s, name, path, sizeof path) && snprintf(url, size, "%s%s", endpoint, path) < (int)size;
}

static void hex_of(const unsigned char *bytes, char *text)
{
    for (int i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static void hash(const char *text, char hex[65])
{
    unsigned char bytes[EVP_MAX_MD_SIZE] = {0};
    EVP_Digest(text, strlen(text), bytes, NULL, EVP_sha256(), NULL);
    hex_of(bytes, hex);
}

static void step(unsigned char key[32], size_t key_len, const unsigned char *with, const char *text)
{
    unsigned n = 32;
    HMAC(EVP_sha256(), with, (int)key_len, (const unsigned char *)text, strlen(text), key, &n);
}

static void sign(const struct s3 *s, const char *day, const char *text, char hex[65])
{
    char first[300];
    unsigned char key[32];
    snprintf(first, sizeof first, "AWS4%s", s->secret);
    step(key, strlen(first), (const unsigned char *)first, day);
    step(key, 32, key, s->region);
    step(key, 32, key, "s3");
    step(key, 32, key, "aws4_request");
    step(key, 32, key, text);
    hex_of(key, hex);
    memset(first, 0, sizeof first);
}

/* attachment; filename*=UTF-8''NAME, escaped once for the header and once more for the query. */
static bool disposition(const char *as, char *out, size_t size)
{
    char name[800], header[900];
    if (!s3__escape(as, true, name, sizeof name)) return false;
    snprintf(header, sizeof header, "attachment; filename*=UTF-8''%s", name);
    return s3__escape(header, true, out, size);
}

bool s3__link(const struct s3 *s, const char *name, const char *as, int seconds, int64_t now, char *url, size_t size)
{
    char path[S3_URL_SIZE], query[12000], token[8200] = "", shown[2400], time_text[20], day[12], key[300], hashed[65];
    char canonical[18000], wanted[200], signature[65];
    struct tm t;
    time_t moment = (time_t)now;
    const char *host = strstr(s->public_url, "://");
    if (!host || !gmtime_r(&moment, &t) || !path_of(s, name, path, sizeof path)) return false;
    strftime(time_text, sizeof time_text, "%Y%m%dT%H%M%SZ", &t);
    strftime(day, sizeof day, "%Y%m%d", &t);
    if (!s3__escape(s->key, true, key, sizeof key) || !disposition(as, shown, sizeof shown)) return false;
    if (*s->token) {
        strcpy(token, "&X-Amz-Security-Token=");
        if (!s3__escape(s->token, true, token + strlen(token), sizeof token - strlen(token))) return false;
    }
    int n =
        snprintf(query, sizeof query,
                 "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%s%%2F%s%%2F%s%%2Fs3%%2Faws4_request&X-Amz-Date=%s"
                 "&X-Amz-Expires=%d%s&X-Amz-SignedHeaders=host&response-content-disposition=%s",
                 key, day, s->region, time_text, seconds, token, shown);
    if (n >= (int)sizeof query) return false;
    snprintf(canonical, sizeof canonical, "GET\n%s\n%s\nhost:%s\n\nhost\nUNSIGNED-PAYLOAD", path, query, host + 3);
    hash(canonical, hashed);
    snprintf(wanted, sizeof wanted, "AWS4-HMAC-SHA256\n%s\n%s/%s/s3/aws4_request\n%s", time_text, day, s->region,
             hashed);
    sign(s, day, wanted, signature);
    return snprintf(url, size, "%s%s?%s&X-Amz-Signature=%s", s->public_url, path, query, signature) < (int)size;
}
