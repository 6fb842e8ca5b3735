/* A switch of a model to another level: found or made, loaded, then the old one goes. */
#ifndef HT_SERVICE_API_LEVEL_SWITCH_H
#define HT_SERVICE_API_LEVEL_SWITCH_H

#include "service/api/server.h"
#include "service/levels/levels.h"

struct level_switch {
    struct server *server;
    char name[512], family[512]; /* as it is shown, and as it is compared */
    enum level to;
    bool passing;            /* until the service ends: config.json stays as it is */
    bool make;               /* a level that is not there is made */
    char kind[24], why[900]; /* of a failure: a problem's kind (problems.def), and what to tell */
    json_t *report;          /* of a success: {name, to, from, answers, made, job, seconds {find, make, load}} */
};

/* The family that a name means. false: there is no such model. */
bool level_switch_find(struct level_switch *s, struct server *server, const json_t *list, const char *name);
/* Does it; takes as long as it takes. false: kind and why. The report is the caller's. */
bool level_switch_run(struct level_switch *s, struct child_stop *stop);

#endif
