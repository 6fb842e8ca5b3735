/* What goes on after its request was let in, such as a download or an upload: it ends with the token or the session that
 * let it in. Any thread. */
#ifndef HT_SERVICE_API_GRANTS_H
#define HT_SERVICE_API_GRANTS_H

#include "service/api/api.h"

struct grants;
struct grant;

struct grants *grants_open(void); /* NULL: no memory */
/* Every grant was given back. NULL-safe. */
void grants_close(struct grants **grants);

/* For as long as something goes on. NULL: no memory. */
struct grant *grants_take(const struct api_call *call);
bool grant_holds(const struct grant *grant);
void grant_give_back(struct grant **grant); /* NULL-safe */

/* A token (its id) or a session (its hash) is not valid any more. */
void grants_end_of(struct grants *grants, const char *who);

#endif
