/*
 * Weights that stay on the hub, read by ranges as if they lay in the snapshot's folder. What was asked for and
 * what is announced comes in blocks, neighbours in one request, several requests at once; a connection that breaks
 * off goes on where it ended.
 */
#ifndef HT_HUB_REMOTE_H
#define HT_HUB_REMOTE_H

#include "base/file.h"
#include "hub/pull.h"

struct ht__remote;

enum { HT__REMOTE_MEMORY = 64 << 20 }; /* bytes of blocks at most */

/* The files of pulled->weights; `hub` and `pulled` outlive it. */
HT_MUST_CHECK enum ht_err ht__remote_open(struct ht__hub *hub, struct ht__pulled *pulled, struct ht__remote **remote,
                                          struct ht_diag *diag);
/* Ends requests under way. Files that were opened must be closed, or not used any more. NULL-safe. */
void ht__remote_close(struct ht__remote **remote);
const struct ht__remote_folder *ht__remote_folder(const struct ht__remote *remote);
/* Bytes that came over the network. */
uint64_t ht__remote_received(struct ht__remote *remote);

#endif
