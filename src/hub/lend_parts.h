/* What both ends of a loan share. */
#ifndef HT_HUB_LEND_PARTS_H
#define HT_HUB_LEND_PARTS_H

#include "hub/lend.h"

enum { LEND_READ = 1, LEND_EXPECT = 2, LEND_GREETING_MOST = 64 << 20 };

struct lend_request {
    uint32_t op, file;
    uint64_t offset, n;
};

struct lend_answer {
    uint32_t err, n;   /* err: enum ht_err; then n bytes are a struct ht_diag */
    uint64_t received; /* what the lender has taken from the hub until now */
};

/* All n bytes, or false with errno. *ended: the other side closed before the first one. */
bool ht__lend_send(int socket, const void *data, size_t n);
bool ht__lend_receive(int socket, void *data, size_t n, bool *ended);

#endif
