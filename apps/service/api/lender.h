/* Workers of other machines that wait for a job: their requests are answered when there is one. Any thread. */
#ifndef HT_SERVICE_API_LENDER_H
#define HT_SERVICE_API_LENDER_H

#include "service/api/api.h"

struct lender;

struct lender *lender_open(struct server *server); /* NULL: no memory, no thread */
/* Who waits is told that there is none. NULL-safe. */
void lender_close(struct lender **lender);
/* A job may be there. lender NULL: nobody waits. */
void lender_ring(struct lender *lender);
/* Answers the deferred call: with a job for the worker of this machine, or 204 after some seconds. Steals machine. false:
 * too many wait, and it is the caller's to answer. */
bool lender_wait(struct lender *lender, struct api_call *call, const char *worker, json_t *machine, double seconds);
/* A random text that lies in DATA/.share-NAME: who reads it there has the service's folder. */
const char *lender_share(const struct lender *lender);

#endif
