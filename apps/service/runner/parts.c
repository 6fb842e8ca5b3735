/*
 * One job over many workers. Who claims a job estimates it; when its outputs are large and their tensors do not depend on
 * each other, it is divided and given back. Its parts are claimed like jobs. Each is made in the folder of its own attempt, where
 * it stays; whoever claims the job when all are done takes the finished tensors from all of its folders (earlier.c), and
 * verifies, reports and publishes as ever.
 *
 * Where importance is collected first, the text is divided, too: those parts come before, and leave sums in their folders; who
 * claims the job when they are done divides it once more. Everybody takes the sums from the folders, and collects what is not there.
 */
#include "service/runner/run.h"
#include "service/system/steady.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_COLLECTING = 16 }; /* a text's chunks are in as many groups, and a part has whole ones */

/* As store_split takes them; 0: it is not divided, or all of it is done. */
static int parts_for(const struct run *run)
{
    const json_t *tasks = json_object_get(run->request, "tasks");
    double each = json_number_value(json_object_get(run->request, "task_bytes"));
    int known = (int)json_integer_value(json_object_get(tasks, "parts")),
        collecting = (int)json_integer_value(json_object_get(tasks, "collecting"));
    if (json_integer_value(json_object_get(tasks, "left")) > 0) return known ? known : -collecting;
    if (known || !run->divisible || each < 1 || run->bytes < each) return 0;
    int parts = run->bytes / each + 1 < STORE_MOST_PARTS ? (int)(run->bytes / each + 1) : STORE_MOST_PARTS;
    if (!run->collects || collecting) return parts;
    return parts < MOST_COLLECTING ? -parts : -MOST_COLLECTING;
}

bool run__split(struct run *run)
{
    char text[80];
    struct worker_link *link = run->scheduler->link;
    int parts = link->apart ? 0 : parts_for(run);
    if (parts > -2 && parts < 2) return false;
    snprintf(text, sizeof text, parts < 0 ? "the calibration text is divided into %d parts" : "divided into %d parts",
             abs(parts));
    run__log(run, "info", text);
    pthread_mutex_lock(&run->lock_live);
    run->ending = true; /* the claim is over with the next word */
    pthread_mutex_unlock(&run->lock_live);
    enum store_result result = link->operations->split(link, &run->claim, parts);
    pthread_mutex_lock(&run->lock_live);
    run->ending = false;
    pthread_mutex_unlock(&run->lock_live);
    run->handed_over = result == STORE_OK;
    return run->handed_over; /* otherwise it is made here, or ends as the next heartbeat says */
}

void run__part(struct run *run)
{
    struct worker_link *link = run->scheduler->link;
    if (!run__may_go_on(run) || !run__download(run) || !run__may_go_on(run) || !run__quantize(run) ||
        !run__may_go_on(run))
        return;
    pthread_mutex_lock(&run->lock_live);
    run->ending = true;
    pthread_mutex_unlock(&run->lock_live);
    enum store_result result = STORE_BUSY;
    double until = steady_seconds() + link->silence_seconds; /* the server may be away so long, here as everywhere */
    while (result != STORE_OK && result != STORE_CONFLICT && run__may_go_on(run) && steady_seconds() < until) {
        result = link->operations->part_done(link, &run->claim);
        if (result != STORE_OK && result != STORE_CONFLICT) usleep(200000);
    }
    run->handed_over = result == STORE_OK;
    if (result == STORE_OK) return;
    pthread_mutex_lock(&run->lock_live);
    run->lost = true; /* that nobody hears of it is no fault of the job: its lease ends, and counts */
    pthread_mutex_unlock(&run->lock_live);
}
