/*
 * A worker that has the service's folder (--artifacts): its work lies there, in a folder of the attempt, and is published by
 * the service in one rename, so that nothing is sent.
 */
#include "service/worker/far.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- is it the service's, and does it behave? ---- */

static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;
    if (fd >= 0) close(fd);
    if (n >= 0) text[n] = '\0';
    return n > 0;
}

/* Each service that has the folder writes a file of its own. */
static bool is_marked(const char *folder, const char *wanted)
{
    static const char begin[] = ".share";
    char path[4500], text[128];
    struct dirent *e;
    bool found = false;
    DIR *dir = opendir(folder);
    while (dir && !found && (e = readdir(dir)) != NULL) {
        if (strncmp(e->d_name, begin, sizeof begin - 1) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        found = read_text(path, text, sizeof text) && strcmp(text, wanted) == 0;
    }
    if (dir) closedir(dir);
    return found;
}

bool far_check_share(struct far *f, const char *id, const char *wanted)
{
    if (!wanted || !*wanted || !is_marked(f->share, wanted)) {
        far_fail(f, "--artifacts: %s is not the data folder of %s", f->share, f->server);
        return false;
    }
    const char *note;
    struct artifacts *folder;
    char why[500];
    bool behaves =
        artifacts_open(NULL, f->share, &folder, why, sizeof why) && artifacts_probe(folder, id, &note, why, sizeof why);
    if (!behaves) far_fail(f, "--artifacts: %.450s", why);
    artifacts_close(&folder);
    return behaves;
}

/* ---- where the work lies ---- */

void far_work(struct worker_link *link, const struct store_claim *claim, char *work, size_t size)
{
    const struct far *f = (struct far *)link;
    if (f->share)
        snprintf(work, size, "%s/jobs/%s.e%lld", f->share, claim->id, (long long)claim->epoch);
    else
        snprintf(work, size, "%s/jobs/%s", f->folder, claim->id);
}
