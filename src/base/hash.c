#include "base/hash.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* Frees the state: the hash will be empty. */
static void give_up(struct ht__sha256 *sha)
{
    EVP_MD_CTX_free(sha->state);
    sha->state = NULL;
}

void ht__sha256_begin(struct ht__sha256 *sha)
{
    sha->state = EVP_MD_CTX_new();
    if (sha->state && EVP_DigestInit_ex(sha->state, EVP_sha256(), NULL) != 1) give_up(sha);
}

void ht__sha256_add(struct ht__sha256 *sha, const void *data, size_t n)
{
    if (sha->state && n && EVP_DigestUpdate(sha->state, data, n) != 1) give_up(sha);
}

void ht__sha256_end(struct ht__sha256 *sha, char hex[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    unsigned int n = 0;
    if (sha->state && EVP_DigestFinal_ex(sha->state, digest, &n) != 1) n = 0;
    for (unsigned int i = 0; i < n && i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    hex[n == 32 ? 64 : 0] = '\0';
    give_up(sha);
}
