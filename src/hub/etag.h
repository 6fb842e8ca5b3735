/*
 * What a file's content is called. A hub says so in its ETag: a small file is named as git names it, the SHA-1 of
 * "blob SIZE\0" and the content; a large one by the SHA-256 of its content. So both can be verified.
 */
#ifndef HT_HUB_ETAG_H
#define HT_HUB_ETAG_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HT__ETAG_MAX = 64 };

enum ht__etag_kind { HT__ETAG_NONE, HT__ETAG_GIT, HT__ETAG_SHA256 };

/* 40 or 64 lower-case hexadecimal digits and nothing else: what may become a blob's file name. */
enum ht__etag_kind ht__etag_kind(const char *etag);
/* The value of an ETag header: without W/ and quotes. false when it does not fit or has odd characters. */
bool ht__etag_read(const char *header, size_t len, char *out, size_t size);

/* Verifying content that comes in pieces. */
struct ht__etag_check {
    void *state;
    enum ht__etag_kind kind;
};
/* size: of the whole content. */
HT_MUST_CHECK enum ht_err ht__etag_check_begin(struct ht__etag_check *check, enum ht__etag_kind kind, uint64_t size,
                                               struct ht_diag *diag);
void ht__etag_check_add(struct ht__etag_check *check, const void *data, size_t n);
/* The digits; "" when memory was out. Frees the state. */
void ht__etag_check_end(struct ht__etag_check *check, char hex[HT__ETAG_MAX + 1]);
void ht__etag_check_drop(struct ht__etag_check *check);

/* Is this the text that stands in git for a file which lies elsewhere? */
bool ht__is_lfs_pointer(const void *data, size_t n);

#endif
