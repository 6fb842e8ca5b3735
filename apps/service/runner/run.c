/* A job from its claim to its end. */
#include "service/artifacts/dir.h"
#include "service/runner/run.h"
#include "service/system/steady.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define LOCK_SECONDS 5

/* Replaces the data folder's name: clients are not told where the service keeps its files. */
void run__hide_folder(const struct run *run, const char *text, char *out, size_t size)
{
    const char *folder = run->scheduler->folder;
    size_t n = strlen(folder), len = 0;
    while (*text && len + 1 < size) {
        if (strncmp(text, folder, n) == 0) {
            text += n + (text[n] == '/');
        } else {
            out[len++] = *text++;
        }
    }
    out[len] = '\0';
}

void run__log(struct run *run, const char *level, const char *text)
{
    char shown[1400];
    run__hide_folder(run, text, shown, sizeof shown);
    struct worker_link *link = run->scheduler->link;
    link->operations->log(link, &run->claim, level, shown);
    scheduler__tell(run->scheduler, level, run->claim.id, text);
}

static void name_folders(struct run *run)
{
    const char *folder = run->scheduler->folder;
    struct worker_link *link = run->scheduler->link;
    link->operations->work(link, &run->claim, run->work, sizeof run->work - 16);
    snprintf(run->out, sizeof run->out, "%s/out", run->work);
    name_place(run->request, &run->claim, artifacts_are_far(run->scheduler->settings.artifacts), run->place_name,
               sizeof run->place_name);
    snprintf(run->place, sizeof run->place, "%.3000s/%s", folder, run->place_name);
}

/* The lock is the children's too: while one of an earlier attempt lives, nobody else writes here. */
static bool lock_work(struct run *run)
{
    char path[4200];
    if (!dir_make(run->work)) return false;
    snprintf(path, sizeof path, "%s/lock", run->work);
    run->lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (run->lock < 0) return false;
    for (int i = 0; i < LOCK_SECONDS * 20; i++) {
        if (flock(run->lock, LOCK_EX | LOCK_NB) == 0) return true;
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
    errno = EWOULDBLOCK;
    return false;
}

static void suspend(struct run *run)
{
    pthread_mutex_lock(&run->lock_live);
    run->suspended = true;
    pthread_mutex_unlock(&run->lock_live);
}

/* The quantizer takes its journal away after it has put its report in place: killed in between, it leaves it. */
static void drop_journals(const char *folder)
{
    static const char end[] = ".journal";
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        size_t n = strlen(e->d_name);
        if (n > sizeof end - 1 && strcmp(e->d_name + n - (sizeof end - 1), end) == 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    }
    if (dir) closedir(dir);
}

static void work(struct run *run)
{
    char why[200];
    if (!lock_work(run) && errno == EWOULDBLOCK) {
        suspend(run); /* a child of an earlier attempt lives on: the job waits until it has noticed */
        return;
    }
    if (run->lock < 0) {
        snprintf(why, sizeof why, "the work folder cannot be used: %s", strerror(errno));
        run__fail(run, why, NULL);
        return;
    }
    run__count_passes(run);
    if (run->claim.parts) {
        run__part(run);
        return;
    }
    run->report = read_report(run->place);
    if (!run->report) {
        dir_remove(run->place); /* never whole without a report */
        run->report = read_report(run->out);
        if (run->report) drop_journals(run->out);
    }
    if (!run->report) {
        if (!run__may_go_on(run) || !run__download(run) || !run__may_go_on(run) || !run__prepare(run) ||
            !run__may_go_on(run) || run__split(run) || !run__quantize(run) || !run__may_go_on(run))
            return;
        run->report = read_report(run->out);
    }
    if (run->report && run__may_go_on(run))
        run__publish(run);
    else
        run__fail(run, "the quantizer ended without a report of what it wrote", NULL);
}

static void count(struct scheduler *s, uint64_t *counter)
{
    pthread_mutex_lock(&s->lock);
    ++*counter;
    pthread_mutex_unlock(&s->lock);
}

/* After the work: cancelling, stopping and a lost claim are handled now. */
static void settle(struct run *run)
{
    struct scheduler *s = run->scheduler;
    pthread_mutex_lock(&run->lock_live);
    bool cancel = run->cancel, lost = run->lost, suspended = run->suspended;
    run->ending = true;
    pthread_mutex_unlock(&run->lock_live);
    if (run->published || run->failed || run->handed_over) return;
    if (lost || (cancel && run->claim.parts)) {
        scheduler__tell(s, "warning", run->claim.id, "another worker has this job: this attempt ends without a trace");
    } else if (cancel) {
        dir_remove(run->out);
        dir_remove(run->place);
        if (run__insist(run, NULL, NULL) == STORE_OK)
            count(s, &s->state.cancelled);
        else
            suspend(run); /* as it was: the wish stays in the store */
    } else if (suspended) {
        run__keep_progress(run);
        run__end_as(run, LINK_RELEASED, NULL, NULL);
    } else {
        char why[300];
        s->link->operations->why(s->link, why, sizeof why);
        run__fail(run, why[0] ? why : "the job ended without a reason", NULL);
    }
}

/* The files of a job that ended for good go; those of one that may be continued stay. */
static void clean_up(struct run *run)
{
    pthread_mutex_lock(&run->lock_live);
    bool keep = !run->published && (run->lost || run->suspended || run->failed);
    /* on another machine nobody continues here what another one has */
    if (run->fenced && !run->scheduler->store) keep = false;
    if (run->claim.parts) keep = run->handed_over || (run->suspended && !run->cancel);
    pthread_mutex_unlock(&run->lock_live);
    if (!keep) dir_remove(run->work);
    if (run->lock >= 0) close(run->lock);
}

static void free_run(struct run *run)
{
    json_decref(run->request);
    json_decref(run->report);
    json_decref(run->brief);
    run__free_earlier(run);
    child_stop_free(&run->stop);
    pthread_mutex_destroy(&run->lock_live);
    pthread_cond_destroy(&run->ended);
    free(run);
}

static struct run *new_run(struct scheduler *s, const struct store_claim *claim)
{
    struct run *run = calloc(1, sizeof *run);
    if (!run) return NULL;
    run->scheduler = s;
    run->claim = *claim;
    run->lock = -1;
    pthread_mutex_init(&run->lock_live, NULL);
    steady_cond_init(&run->ended);
    run->request = s->link->operations->request(s->link, claim);
    if (child_stop_init(&run->stop) && run->request) return run;
    free_run(run);
    return NULL;
}

/* In the scheduler's list it can be found by those who cancel or close. */
static void enlist(struct run *run)
{
    struct scheduler *s = run->scheduler;
    pthread_mutex_lock(&s->lock);
    run->next = s->runs;
    s->runs = run;
    s->state.claimed++;
    s->state.busy++;
    run->suspended = s->closing;
    pthread_mutex_unlock(&s->lock);
}

static void delist(struct run *run)
{
    struct scheduler *s = run->scheduler;
    pthread_mutex_lock(&s->lock);
    for (struct run **at = &s->runs; *at; at = &(*at)->next)
        if (*at == run) {
            *at = run->next;
            break;
        }
    s->state.busy--;
    pthread_mutex_unlock(&s->lock);
}

void run__job(struct scheduler *s, const struct store_claim *claim)
{
    struct run *run = new_run(s, claim);
    if (!run) { /* no memory for it now: later there may be */
        s->link->operations->end(s->link, claim, LINK_RELEASED, NULL, NULL);
        nanosleep(&(struct timespec){1, 0}, NULL);
        return;
    }
    name_folders(run);
    enlist(run);
    run__refresh(run);
    if (run__begin(run))
        work(run);
    else
        suspend(run);
    settle(run);
    run__end(run);
    clean_up(run);
    delist(run);
    /* a heartbeat after the commit finds no claim, and calls it lost: the end is told all the same */
    if (!run->lost || run->published) run__refresh(run);
    s->link->operations->finished(s->link, claim);
    if (s->settings.on_work) s->settings.on_work(s->settings.work_ctx); /* others may wait for what it held up */
    free_run(run);
}
