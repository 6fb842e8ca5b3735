/*
 * Models that answer: each in a process of its own, loaded when something is asked of it and unloaded when nothing was for
 * a while, or when another needs its memory.
 *
 *     task -> its model's queue -> (loading) -> the model's process -> events -> whoever asked
 *
 * A model takes some tasks at once; the others wait, and whoever has the fewest running comes next. Nothing is loaded
 * until it is asked for.
 */
#ifndef HT_SERVICE_RUNTIME_RUNTIME_H
#define HT_SERVICE_RUNTIME_RUNTIME_H

#include "service/child/confine.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct runtime;

struct runtime_model;

/* A task that ended; "load" is none. */
struct runtime_done {
    const struct runtime_model *model;
    bool ok, left;                /* left: the client did not wait for the end */
    double seconds;               /* since it was asked for: waiting and loading too */
    const json_t *event;          /* the last one: model.h */
    uint64_t memory, most_memory; /* resident bytes of the model's process now, and the most so far; 0: unknown */
};

struct runtime_settings {
    uint64_t memory_limit; /* bytes, of all models together */
    double keep_alive;     /* seconds after the last task */
    int context, texts;    /* of each model: tokens of a text, texts at the same time; 0: as the model has it */
    int threads;           /* 0: every core */
    bool exact;
    const struct confine_roots *roots;
    /* A line for the log; may be NULL. From any thread. */
    void (*on_log)(void *ctx, const char *level, const char *text);
    void *ctx;
    /* Statistics; may be NULL. From any thread, under no lock. */
    void (*on_done)(void *ctx, const struct runtime_done *done);
    void *done_ctx;
};

struct runtime *runtime_open(const struct runtime_settings *settings); /* NULL: no memory */
/* Ends every process; tasks get their last event. NULL-safe. */
void runtime_close(struct runtime **runtime);

/* What is to be run: a file or folder, and by which name it is known. */
struct runtime_model {
    char name[512], path[4096];
    uint64_t size;
};

/* "HT_ERR_…" of the model's process, or: */
#define RUNTIME_ENDED "ended" /* the model's process was lost */
#define RUNTIME_FULL "full"   /* too many tasks wait */
#define RUNTIME_ROOM "room"   /* the model does not fit the memory limit */
#define RUNTIME_STOP "stop"   /* the service stops */

struct runtime_task {
    json_t *request;   /* see model.h, without id; or {"do": "load"}. Stolen */
    const char *who;   /* asks: turns are given to these */
    double keep_alive; /* seconds; NaN: as the settings have it; below 0: for ever */
    /* Does somebody still wait? Asked a few times a second, briefly. */
    bool (*wanted)(void *ctx);
    /* See model.h; after "end", "error", or "gone" (nobody wanted it) none follows, and ctx is the receiver's to free. "ready"
     * comes first, with what the model's process said and "load_seconds". Events come one after the other. */
    void (*on_event)(void *ctx, const json_t *event);
    void *ctx;
};

void runtime_submit(struct runtime *runtime, const struct runtime_model *model, const struct runtime_task *task);
/* Ends the model's process as soon as nothing runs in it. */
void runtime_unload(struct runtime *runtime, const char *path);
/* How much all models may take, from now on: at most what the settings say; 0: that. Idle ones go where it is too little. */
void runtime_limit(struct runtime *runtime, uint64_t bytes);
uint64_t runtime_limit_now(struct runtime *runtime);
/* What a model of this size is taken to need until it is loaded, and whether that fits beside what is loaded now. */
uint64_t runtime_need(uint64_t size);
bool runtime_fits(struct runtime *runtime, uint64_t size);
/* [{name, path, state, size, memory, keep_seconds (null: for ever), running, waiting, resident, most_resident (bytes; 0: unknown), ready: what it said when it was}] */
json_t *runtime_list(struct runtime *runtime);

#endif
