/* Inside this folder: one job that is being run. */
#ifndef HT_SERVICE_RUNNER_RUN_H
#define HT_SERVICE_RUNNER_RUN_H

#include "service/child/child.h"
#include "service/queue/queue.h"
#include "service/runner/link.h"
#include "service/runner/names.h"
#include "service/runner/runner.h"

#include <pthread.h>

/* Passes over the model's weights, the measure of progress. */
enum pass { PASS_DOWNLOAD, PASS_CALIBRATE, PASS_QUANTIZE, PASS_VERIFY, PASS_MEASURE, PASSES };

struct run {
    struct run *next; /* of the scheduler's list */
    struct scheduler *scheduler;
    struct store_claim claim;
    json_t *request;                   /* store_request */
    char work[4096], out[4112];        /* DATA/jobs/ID, and …/out, which becomes: */
    char place[4352], place_name[256]; /* DATA/models/SLUG-ID, and relative to DATA */
    char **earlier;                    /* what other attempts left unfinished: their …/out */
    size_t n_earlier;
    int lock; /* of the work folder; children hold it too */
    struct child_stop stop;
    double pass_size[PASSES]; /* in passes; 0: the job does not do it */
    int lines_logged;
    char failure_code[40], failure[1024]; /* what the child said itself */
    json_t *report;
    double bytes;           /* of the outputs, as estimated */
    bool divisible;         /* so that each part can be made alone */
    bool collects;          /* something over a text first, which can be done in parts, too */
    bool published, failed; /* the store has it */
    bool handed_over;       /* the same: divided into tasks, or a part that is done */

    pthread_mutex_t lock_live; /* owns the rest */
    pthread_cond_t ended;      /* for the heartbeat */
    pthread_t heart;
    bool beating, over;
    bool cancel, lost, suspended; /* why it must not go on */
    bool fenced;                  /* lost, because another has it */
    bool ending;                  /* the claim may be gone because the job is done */
    json_t *brief;                /* the event's object */
    char step[24];
    double progress, told_at, kept_at, beat_at;
    double rate; /* weights a second, of the quantize step */
    double fetch_began;
};

struct scheduler {
    struct worker_link *link;
    char folder[3008];                  /* absolute: of unfinished work and, of a server, of all else */
    struct store *store;                /* NULL: this is a worker elsewhere */
    struct events *events;              /* the same */
    struct scheduler_settings settings; /* copies inside */
    char *program;
    char **hub_environment;
    struct remote *remote; /* jobs that run elsewhere; NULL: as the store */
    pthread_t *threads;
    int n_threads;
    pthread_t sweeper; /* see bucket.c */
    bool sweeping;
    pthread_mutex_t lock; /* owns the rest */
    struct run *runs;
    bool closing;
    struct scheduler_state state;
};

/* To the job's log, for its owner (without the data folder's name), and the server's. */
void run__log(struct run *run, const char *level, const char *text);
/* The text without the data folder's name: clients are not told where the service keeps its files. */
void run__hide_folder(const struct run *run, const char *text, char *out, size_t size);

/* scheduler.c */
void scheduler__tell_job(struct scheduler *s, const char *id); /* an event, of the job as it is now */
void scheduler__remove_remains(struct scheduler *s, const char *id);
void scheduler__tell(struct scheduler *s, const char *level, const char *job_id, const char *text);

/* run.c: from a claim to its end. */
void run__job(struct scheduler *s, const struct store_claim *claim);

/* earlier.c: fills run->earlier. Less of it than there is only costs time. */
void run__find_earlier(struct run *run);
void run__free_earlier(struct run *run);

/* live.c: figures, events, the heartbeat. */
bool run__begin(struct run *run);     /* starts the heartbeat; false: no thread */
void run__end(struct run *run);       /* stops it */
bool run__may_go_on(struct run *run); /* not cancelled, lost, suspended */
void run__learn(struct run *run);     /* a word was refused: is it cancelled, or another's? The next heartbeat knows */
/* A step begins: status as the store has it, step for programs, text for people. False: the claim is lost. A store
 * that cannot be written just now is no reason to stop: the work goes on, and what it leads to is recorded later. */
bool run__step(struct run *run, const char *status, const char *step, const char *text);
/* A line of a child: progress. */
void run__progress(struct run *run, const json_t *event);
enum store_result run__update(struct run *run, const struct store_update *update);
void run__keep_progress(struct run *run); /* to the store */
void run__refresh(struct run *run);       /* reads the job anew from the store, and publishes it */
void run__add_live(struct run *run, json_t *job);

/* steps.c: the children. Each: true: go on; false: ended (failed: run__fail was called). */
void run__count_passes(struct run *run); /* over the weights, that the job will make */
bool run__download(struct run *run);
bool run__prepare(struct run *run);
bool run__quantize(struct run *run);

/* parts.c */
/* True: the job is divided, and others go on. */
bool run__split(struct run *run);
void run__part(struct run *run); /* from the source to the finished part */

/* tensors.c */
/* A JSON file that is plain and of a sane size; NULL: none. */
json_t *run__load(const char *path);
/* The plan goes to the work folder, for scheduler_tensors. */
void run__keep_plan(const struct run *run, const json_t *estimate);

/* output.c: an output of a report or an estimate. */
const char *run__base_name(const char *path);     /* NULL for NULL */
const char *run__folder_of(const json_t *output); /* the folder's name; NULL: it is files */
/* Format and type in one, as `--type` takes them; the caller's. */
json_t *run__quant_type(const json_t *output);
double run__bytes_of(const json_t *output);                /* of its files together */
bool run__is_whole(const char *out, const json_t *report); /* is everything in the folder `out` as the report says? */

/* publish.c */
json_t *read_report(const char *folder); /* of a finished run; NULL: there is none */
/* Moves a finished folder to its place, and records it. staged: what a worker brought to the bucket itself, or NULL. why is
 * "" where the store knows. */
enum store_result publish_folder(struct store *store, struct artifacts *artifacts,
                                 const struct publication *publication, const json_t *staged, char *why, size_t size);
bool run__publish(struct run *run);

/* bucket.c */
void run__sweep_bucket(struct scheduler *s);
void run__sweep_end(struct scheduler *s); /* once it is closing */

/* remote.c */
struct remote *remote__open(void); /* NULL: no memory */
void remote__close(struct remote **remote);
void remote__add_live(struct remote *remote, json_t *job);
void remote__cancelling(struct remote *remote, const char *id);

/* link_here.c; artifacts NULL: the store's folder. NULL: no memory. */
struct worker_link *link_here(struct store *store, struct artifacts *artifacts, struct events *events,
                              int max_attempts);

/* fail.c */
/* The end of a job must get into the store, however long the disk stays full: tries until it is there, the claim
 * is lost, or the service closes. error NULL: cancelled. */
enum store_result run__end_as(struct run *run, enum link_end how, const char *error, const char *advice);
enum store_result run__insist(struct run *run, const char *error, const char *advice);
void run__fail(struct run *run, const char *error, const char *advice);
/* A child's end that was no success. */
void run__fail_child(struct run *run, const char *what, const struct child_exit *exit);

#endif
