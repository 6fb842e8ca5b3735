/* What the two halves of remote reading share: blocks and those who want them, and requests that fill them. */
#ifndef HT_HUB_REMOTE_PARTS_H
#define HT_HUB_REMOTE_PARTS_H

#include "hub/remote.h"

#include <pthread.h>

enum {
    BLOCK = 256 << 10,
    MAX_BLOCKS = HT__REMOTE_MEMORY / BLOCK,
    MAX_RUN = 16,                   /* blocks of one request: 4 MiB */
    MAX_AHEAD = MAX_BLOCKS * 3 / 4, /* blocks that were announced but not read */
    MAX_FETCHERS = 8,
};

struct remote_file {
    struct ht__remote *remote;
    struct ht__repo_file *file;
    char *url;                         /* where the endpoint sent us; NULL: ask it */
    char etag[160];                    /* of that host */
    uint64_t announced, announced_end; /* blocks that were wanted ahead last: not looked for again */
};

enum block_state { BLOCK_EMPTY, BLOCK_WANTED, BLOCK_LOADING, BLOCK_READY, BLOCK_FAILED };

struct block {
    struct remote_file *file;
    uint64_t index; /* in the file */
    enum block_state state;
    bool demanded;  /* somebody waits for it */
    bool fresh;     /* nobody read it yet */
    int users;      /* copying from it, or waiting for it */
    uint64_t order; /* when it was wanted, later when it was read last */
    unsigned char *data;
};

struct ht__remote {
    struct ht__hub *hub;
    struct ht__pulled *pulled;
    struct ht__remote_folder folder;
    struct remote_file *files;
    pthread_mutex_t lock;   /* for all below, and for files' url and etag */
    pthread_cond_t changed; /* a block is ready or failed, or one became free */
    pthread_cond_t work;    /* a block was asked for */
    struct block blocks[MAX_BLOCKS];
    int n_blocks;
    uint64_t clock, received;
    bool closing;
    enum ht_err err; /* the first failure: nothing is tried after it */
    struct ht_diag diag;
    pthread_t threads[MAX_FETCHERS];
    int n_threads;
};

/* A thread that fills wanted blocks until the remote is closing. */
void *ht__remote_work(void *remote);

static inline uint64_t block_size(const struct block *b)
{
    uint64_t left = b->file->file->size - b->index * BLOCK;
    return left < BLOCK ? left : BLOCK;
}

#endif
