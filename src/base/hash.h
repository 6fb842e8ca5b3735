/* SHA-256, as sha256sum prints it. */
#ifndef HT_BASE_HASH_H
#define HT_BASE_HASH_H

#include <stddef.h>

struct ht__sha256 {
    void *state; /* NULL when memory was out: the hash is then empty */
};

void ht__sha256_begin(struct ht__sha256 *sha);
void ht__sha256_add(struct ht__sha256 *sha, const void *data, size_t n);
/* 64 hexadecimal digits and a NUL, or nothing and a NUL when memory was out; frees the state. */
void ht__sha256_end(struct ht__sha256 *sha, char hex[65]);

#endif
