#include "service/api/ask_model.h"

#include "service/system/steady.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct asking {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct asked *asked;
    bool (*wanted)(void *ctx);
    void *ctx;
    bool over;
};

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static void take_piece(struct asked *a, const json_t *event)
{
    const json_t *piece = json_object_get(event, "text");
    size_t n = json_string_length(piece);
    char *grown = realloc(a->text, a->len + n + 1);
    if (!grown) return; /* the text is shorter then; tokens are what is compared */
    a->text = grown;
    memcpy(grown + a->len, json_string_value(piece) ? json_string_value(piece) : "", n);
    a->len += n;
    grown[a->len] = '\0';
    json_array_extend(a->tokens, json_object_get(event, "tokens"));
}

static void on_event(void *ctx, const json_t *event)
{
    struct asking *a = ctx;
    const char *kind = text_of(event, "event");
    bool end = strcmp(kind, "end") == 0, error = strcmp(kind, "error") == 0, gone = strcmp(kind, "gone") == 0;
    pthread_mutex_lock(&a->lock);
    if (strcmp(kind, "piece") == 0) take_piece(a->asked, event);
    if (end) a->asked->end = json_deep_copy(event);
    if (error) {
        snprintf(a->asked->code, sizeof a->asked->code, "%s", text_of(event, "code"));
        snprintf(a->asked->why, sizeof a->asked->why, "%s", text_of(event, "message"));
    }
    if (end || error || gone) {
        a->over = true;
        pthread_cond_signal(&a->changed);
    }
    pthread_mutex_unlock(&a->lock);
}

static bool wanted(void *ctx)
{
    const struct asking *a = ctx;
    return a->wanted(a->ctx);
}

bool ask_model(struct runtime *runtime, const struct runtime_model *model, json_t *request, const char *who,
               bool (*still)(void *ctx), void *ctx, struct asked *asked)
{
    struct asking a = {.asked = asked, .wanted = still, .ctx = ctx};
    double since = steady_seconds();
    *asked = (struct asked){.tokens = json_array()};
    pthread_mutex_init(&a.lock, NULL);
    steady_cond_init(&a.changed);
    struct runtime_task task = {
        .request = request, .who = who, .keep_alive = (double)NAN, .wanted = wanted, .on_event = on_event, .ctx = &a};
    runtime_submit(runtime, model, &task);
    pthread_mutex_lock(&a.lock);
    while (!a.over)
        pthread_cond_wait(&a.changed, &a.lock);
    pthread_mutex_unlock(&a.lock);
    pthread_cond_destroy(&a.changed);
    pthread_mutex_destroy(&a.lock);
    asked->seconds = steady_seconds() - since;
    return asked->end != NULL;
}

void asked_free(struct asked *asked)
{
    json_decref(asked->tokens);
    json_decref(asked->end);
    free(asked->text);
}
