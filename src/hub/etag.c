#include "hub/etag.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum ht__etag_kind ht__etag_kind(const char *etag)
{
    size_t n = strspn(etag, "0123456789abcdef");
    if (etag[n] != '\0') return HT__ETAG_NONE;
    return n == 40 ? HT__ETAG_GIT : n == 64 ? HT__ETAG_SHA256 : HT__ETAG_NONE;
}

bool ht__etag_read(const char *header, size_t len, char *out, size_t size)
{
    if (len >= 2 && header[0] == 'W' && header[1] == '/') {
        header += 2;
        len -= 2;
    }
    if (len >= 2 && header[0] == '"' && header[len - 1] == '"') {
        header++;
        len -= 2;
    }
    out[0] = '\0';
    if (len == 0 || len >= size) return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)header[i] <= 0x20 || (unsigned char)header[i] >= 0x7f || header[i] == '"') return false;
    memcpy(out, header, len);
    out[len] = '\0';
    return true;
}

enum ht_err ht__etag_check_begin(struct ht__etag_check *check, enum ht__etag_kind kind, uint64_t size,
                                 struct ht_diag *diag)
{
    char head[40];
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)size) + 1; /* with the NUL */
    *check = (struct ht__etag_check){NULL, kind};
    if (kind == HT__ETAG_NONE) return HT_OK;
    check->state = EVP_MD_CTX_new();
    if (check->state && EVP_DigestInit_ex(check->state, kind == HT__ETAG_GIT ? EVP_sha1() : EVP_sha256(), NULL) != 1)
        ht__etag_check_drop(check);
    if (!check->state) return ht__fail_memory(diag, "hash");
    if (kind == HT__ETAG_GIT) ht__etag_check_add(check, head, (size_t)n);
    return HT_OK;
}

void ht__etag_check_add(struct ht__etag_check *check, const void *data, size_t n)
{
    if (check->state && n && EVP_DigestUpdate(check->state, data, n) != 1) ht__etag_check_drop(check);
}

void ht__etag_check_end(struct ht__etag_check *check, char hex[HT__ETAG_MAX + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (check->state && EVP_DigestFinal_ex(check->state, digest, &n) != 1) n = 0;
    for (unsigned int i = 0; i < n && i < HT__ETAG_MAX / 2; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    hex[2 * n <= HT__ETAG_MAX ? 2 * n : 0] = '\0';
    ht__etag_check_drop(check);
}

void ht__etag_check_drop(struct ht__etag_check *check)
{
    EVP_MD_CTX_free(check->state);
    check->state = NULL;
}

bool ht__is_lfs_pointer(const void *data, size_t n)
{
    static const char start[] = "version https://git-lfs.github.com/spec/";
    return n >= sizeof start - 1 && n < 1024 && memcmp(data, start, sizeof start - 1) == 0;
}
