/* What a job would take: asked of the program itself, in a helper. */
#ifndef HT_SERVICE_API_ESTIMATES_H
#define HT_SERVICE_API_ESTIMATES_H

#include "service/api/api.h"
#include "service/api/helpers.h"
#include "service/child/confine.h"

/* Answers the call, later, with the estimate of each request; steals requests. */
void estimates_answer(struct api_call *call, json_t *requests, bool several);

/* Runs `run` in a helper, which answers the call; state is freed with the call. false: it was answered (busy), state
 * too. */
bool api_later(struct api_call *call, helper_fn *run, void *state, void (*free_state)(void *));
/* The last JSON line that a child wrote, the caller's. NULL: it failed, and the call was answered: what it said of
 * its input is 422 or 404, of itself 502. `what` begins the detail. */
json_t *api_ask_child(struct api_call *call, const struct child_settings *settings, struct child_stop *stop,
                      const char *what);
/* The most memory of a child that reads the headers of a model. */
uint64_t api_headers_memory(const struct server *server);
/* As api_ask_child, for one that parses the model of a request: confined to it, and limited. What is on the hub is lent
 * to it by another child (lend.h). */
json_t *api_ask_reader(struct api_call *call, struct child_settings *settings, const json_t *request,
                       struct child_stop *stop, const char *what);
/* For settings.unwanted of a child that computes an answer and nothing else, with the request as its ctx: nobody waits for
 * the answer any more. */
bool api_client_left(void *request);
/* Text without the folders of paths that are not under the allowed ones. */
void api_hide_paths(const struct roots *roots, const char *text, char *shown, size_t size);

/* Answers that were given a moment ago, by the text of what was asked. The caller's, or NULL. */
struct answers *answers_open(void);
void answers_close(struct answers **answers);
json_t *answers_find(struct answers *answers, const char *asked);
void answers_keep(struct answers *answers, const char *asked, const json_t *answer);

#endif
