/*
 * Reading a hub's weights without reaching the hub. One process has the token and the network and never looks into a
 * file; another parses, computes, and has neither. They share a socket:
 *
 *   lender:   length (u32), JSON {model, folder, id, revision, commit, weights: [{name, size, etag}]}
 *   borrower: {op (u32), file (u32), offset (u64), n (u64)}, op READ or EXPECT, as often as it likes
 *   lender, for each READ: {err (u32), n (u32), received (u64)}, then n bytes: of the file, or of a diagnosis
 *
 * The lender checks every request against the files that it lent, since a hostile file may have taken over its
 * borrower. Small files (configuration, tokenizer) lie in the cache, which the borrower can read.
 */
#ifndef HT_HUB_LEND_H
#define HT_HUB_LEND_H

#include "base/file.h"
#include "hub/pull.h"

enum { HT__LEND_MOST = 1 << 20 }; /* bytes of one answer */

/* Serves until the borrower closes its end, which is no error. folder NULL: every file is in the cache. */
HT_MUST_CHECK enum ht_err ht__lend(int socket, const struct ht__pulled *pulled, const struct ht__remote_folder *folder,
                                   const struct ht__alloc *alloc, struct ht_diag *diag);

struct ht__lent;

/* Reads the lender's greeting; fills `pulled` as a pull without weights does. Both are closed by the caller. */
HT_MUST_CHECK enum ht_err ht__lent_open(int socket, const struct ht__alloc *alloc, struct ht__pulled *pulled,
                                        struct ht__lent **lent, struct ht_diag *diag);
/* Closes the socket. NULL-safe. */
void ht__lent_close(struct ht__lent **lent);
/* NULL: nothing was lent. */
const struct ht__remote_folder *ht__lent_folder(const struct ht__lent *lent);
/* What the lender received from the hub, as of its last answer: a byte that is read twice is received once. */
uint64_t ht__lent_received(struct ht__lent *lent);

#endif
