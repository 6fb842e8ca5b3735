/* How a job fails: the reason in words, and what may be done about it. */
#include "service/artifacts/dir.h"
#include "service/runner/run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct {
    const char *code, *advice;
} advices[] = {
    {"HT_ERR_NO_SPACE", "Free disk space in the data folder, or ask for fewer or smaller types, then retry."},
    {"HT_ERR_NO_MEMORY_BUDGET", "Give the job more memory (the option `memory`), then retry."},
    {"HT_ERR_MEMORY",
     "Close other programs or raise the service's memory limit, then retry: the job continues where it was."},
    {"HT_ERR_NOT_FOUND", "Check the model's name or path; for a private or gated one set HF_TOKEN for the service."},
    {"HT_ERR_FORMAT", "The file is damaged or incomplete: fetch it again and compare its hash with the publisher's."},
    {"HT_ERR_UNSUPPORTED",
     "This architecture or format is not supported; see `halftone types` and the manual for what is."},
    {"HT_ERR_NONFINITE", "The source holds NaN or infinity: fetch it again, or ask its publisher."},
    {"HT_ERR_VERIFY",
     "What was written could not be read back, or lost more than allowed. When it happens again, check the disk."},
    {"HT_ERR_IO", "Reading or writing failed: check the disk and the connection, then retry."},
    {"HT_ERR_USAGE", "An option of the job does not fit; change it and submit the job again."},
    {"HT_ERR_LIMIT", "A limit that protects the service was exceeded."},
};

static const char *advice_for(const char *code)
{
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
        if (strcmp(advices[i].code, code) == 0) return advices[i].advice;
    return "See the job's log for what happened last.";
}

static bool is_full(const struct run *run, const char *error)
{
    return strcmp(run->failure_code, "HT_ERR_NO_SPACE") == 0 || strstr(error, "No space left") ||
           strstr(error, "File too large") || strstr(error, "quota exceeded");
}

enum store_result run__end_as(struct run *run, enum link_end how, const char *error, const char *advice)
{
    struct worker_link *link = run->scheduler->link;
    return link->operations->end(link, &run->claim, how, error, advice);
}

static bool is_hopeless(struct run *run)
{
    pthread_mutex_lock(&run->lock_live);
    bool hopeless = run->suspended || run->lost;
    pthread_mutex_unlock(&run->lock_live);
    return hopeless;
}

enum store_result run__insist(struct run *run, const char *error, const char *advice)
{
    for (int tries = 1;; tries++) {
        enum store_result result = run__end_as(run, error ? LINK_FAILED : LINK_CANCELLED, error, advice);
        if (result == STORE_OK || result == STORE_CONFLICT) return result;
        for (int i = 0; i < (tries < 5 ? 2 : 50); i++) { /* five quick ones, then every five seconds */
            if (is_hopeless(run)) return result;
            nanosleep(&(struct timespec){0, 100000000}, NULL);
        }
    }
}

void run__fail(struct run *run, const char *error, const char *advice)
{
    char shown[1200];
    if (!run__may_go_on(run)) return; /* the end has another cause */
    run__hide_folder(run, error, shown, sizeof shown);
    bool full = is_full(run, error);
    if (full) { /* gives back what it took; other failures may be continued by a retry */
        dir_remove(run->out);
        if (!advice) advice = advice_for("HT_ERR_NO_SPACE");
    }
    run__log(run, "error", shown);
    pthread_mutex_lock(&run->lock_live);
    run->ending = true;
    pthread_mutex_unlock(&run->lock_live);
    enum store_result result = run__insist(run, shown, advice ? advice : advice_for(run->failure_code));
    run->failed = result == STORE_OK;
    pthread_mutex_lock(&run->scheduler->lock);
    run->scheduler->state.failed += result == STORE_OK;
    pthread_mutex_unlock(&run->scheduler->lock);
}

void run__fail_child(struct run *run, const char *what, const struct child_exit *exit)
{
    char error[1400];
    const char *last = strrchr(exit->error_text, '\n');
    last = last ? last + 1 : exit->error_text;
    if (run->failure[0] && exit->end == CHILD_EXITED)
        snprintf(error, sizeof error, "%s", run->failure);
    else
        snprintf(error, sizeof error, "%s %s%s%.900s", what, exit->reason, *last ? ": " : "", last);
    if (exit->end == CHILD_KILLED && exit->code == 9)
        run__fail(run, error, advice_for("HT_ERR_MEMORY"));
    else if (exit->end == CHILD_KILLED)
        run__fail(
            run, error,
            "The program crashed on this input; other jobs are not concerned. Please report it with the job's log.");
    else
        run__fail(run, error, NULL);
}
