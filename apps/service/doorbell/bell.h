/*
 * The doorbell of a service, in Redis: an entry in a stream for each job that waits, which wakes one worker. The store remains
 * the truth. A thread compares the two, at once when something changed and every few seconds: what waits and has no entry
 * gets one (so that after FLUSHALL all is there again), an entry whose job does not wait goes. An entry that a worker
 * took and about which nothing was heard for twice the lease is given out anew, five times at most; then it
 * lies among the dead, and the job waits for a worker that asks without being woken.
 *
 * Any thread. Nothing here waits for Redis but the thread.
 */
#ifndef HT_SERVICE_DOORBELL_BELL_H
#define HT_SERVICE_DOORBELL_BELL_H

#include "service/log/log.h"
#include "service/store/store.h"

struct bell;

bool bell_open(const char *url, struct store *store, struct log *log, double idle_seconds, struct bell **bell,
               char *why, size_t size);
void bell_close(struct bell **bell); /* NULL-safe */
/* Jobs may wait, or wait no more. NULL-safe. */
void bell_ring(struct bell *bell);
/* The worker that was woken by this entry has asked, and was answered. Only its owner's word counts. NULL-safe. */
void bell_done(struct bell *bell, const char *entry, const char *consumer);

struct bell_figures {
    bool reached;
    uint64_t added, acknowledged, refused, reclaimed, dead, failures; /* refused: it was another's by then */
    uint64_t entries;
};
void bell_figures(struct bell *bell, struct bell_figures *figures); /* zeros for NULL */

#endif
