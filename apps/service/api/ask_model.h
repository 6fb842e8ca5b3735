/* A task of a model, and its whole answer: for what the service asks itself. Blocks; never in a thread that answers requests. */
#ifndef HT_SERVICE_API_ASK_MODEL_H
#define HT_SERVICE_API_ASK_MODEL_H

#include "service/runtime/runtime.h"

struct asked {
    json_t *tokens; /* as runtime/model.h has them, of all pieces */
    json_t *end;    /* the last event; NULL: it failed */
    char *text;
    size_t len;
    double seconds;
    char code[64], why[800]; /* of a failure; code "": nobody wanted it any more */
};

/* request is stolen. false: see code and why. asked_free in both cases. */
bool ask_model(struct runtime *runtime, const struct runtime_model *model, json_t *request, const char *who,
               bool (*wanted)(void *ctx), void *ctx, struct asked *asked);
void asked_free(struct asked *asked);

#endif
