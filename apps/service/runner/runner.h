/*
 * The worker inside the server: threads that claim jobs and run them through their states with children.
 *
 * The folder offers: the scheduler (here), and the command line that a job is (command.h).
 *
 * After a change that did not come from here (store_submit, store_retry, store_set_priority) call
 * scheduler_changed: it publishes the job's event and wakes a worker. Everything from any thread.
 */
#ifndef HT_SERVICE_RUNNER_RUNNER_H
#define HT_SERVICE_RUNNER_RUNNER_H

#include "service/artifacts/artifacts.h"
#include "service/child/roots.h"
#include "service/events/events.h"
#include "service/store/store.h"

struct scheduler;

struct scheduler_settings {
    const char *program;                /* NULL: /proc/self/exe */
    int parallel;                       /* jobs at a time; 0: none here */
    int threads;                        /* that a job's child computes with; 0: its own default */
    int max_attempts;                   /* 0: 3 */
    uint64_t memory_limit;              /* a child's, in bytes; 0: none */
    const char *const *hub_environment; /* "HF_TOKEN=…", "HF_ENDPOINT=…", "HF_HOME=…"; ends with NULL; only `pull`,
                                           and estimates of hub ids, get it */
    const struct roots *roots;          /* folders of local models; outlives the scheduler */
    struct artifacts *artifacts; /* where finished files go; NULL: the store's folder. It outlives the scheduler */
    void (*on_log)(void *ctx, const char *level, const char *job_id, const char *text); /* may be NULL */
    void *ctx;
    void (*on_work)(void *ctx); /* a job may be there for somebody else; may be NULL. Any thread; must not block */
    void *work_ctx;
};

/* Copies the settings. Starts the threads at once. false: why. */
bool scheduler_open(struct store *store, struct events *events, const struct scheduler_settings *settings,
                    struct scheduler **scheduler, char *why, size_t size);
/* The same for a worker of another process: jobs come by the link, which the scheduler owns, also when this fails.
 * folder: absolute, with jobs/ inside. Of the functions below, only closing and the state are for it. */
struct worker_link;
bool scheduler_open_elsewhere(struct worker_link *link, const char *folder, const struct scheduler_settings *settings,
                              struct scheduler **scheduler, char *why, size_t size);
/* Children end at once, their jobs go back to queued and resume from their last finished tensor the next
 * time. Returns within about three seconds. NULL-safe. */
void scheduler_close(struct scheduler **scheduler);

/* The job was submitted, retried, re-prioritised: publishes `job`, wakes a worker. */
void scheduler_changed(struct scheduler *scheduler, const char *id);
/* store_cancel, the event, and the runner is told at once: work has stopped within two seconds. */
enum store_result scheduler_cancel(struct scheduler *scheduler, const char *id);
/* store_delete, the event `removed`, and the work folder goes. */
enum store_result scheduler_delete(struct scheduler *scheduler, const char *id);

/* Fills live, progress, step, current_step of a REST job object (or of each in an array) when it runs here. */
void scheduler_add_live(struct scheduler *scheduler, json_t *job_or_jobs);

/* {"tensors": [{name, shape [..], weights, source_type, outputs {Q4_K_M: {type, bytes, relative_rmse|null}}}]}: of the
 * plan while the job runs, then of its report; empty before. NULL: no such job. The caller's. Reads files. */
json_t *scheduler_tensors(struct scheduler *scheduler, const char *id);

struct scheduler_state {
    int workers, busy;                              /* threads, and how many have a job */
    uint64_t claimed, completed, failed, cancelled; /* since the start */
    uint64_t heartbeats_missed, fenced;             /* for /metrics */
    double weights_per_second;                      /* measured: the latest finished job's, 0: none yet */
};
void scheduler_state(struct scheduler *scheduler, struct scheduler_state *state);

#endif
