/*
 * What other attempts of a job have left in the same folder: a child takes from there what it finds finished, and works in
 * its own attempt's folder. An attempt that lost its job and does not know it goes on in its own folder, where nobody
 * publishes anything from; what is taken is copied and read back before it counts.
 */
#include "service/artifacts/dir.h"
#include "service/runner/run.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static void add(struct run *run, const char *folder, const char *name)
{
    char path[4700];
    snprintf(path, sizeof path, "%s/%s/out", folder, name);
    char **grown = dir_exists(path) ? realloc(run->earlier, (run->n_earlier + 1) * sizeof *grown) : NULL;
    if (!grown) return;
    run->earlier = grown;
    if ((grown[run->n_earlier] = strdup(path))) run->n_earlier++;
}

void run__find_earlier(struct run *run)
{
    char folder[4096], id[STORE_ID_SIZE];
    snprintf(folder, sizeof folder, "%s", run->work);
    char *own = strrchr(folder, '/');
    if (!own) return;
    *own++ = '\0';
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && run->n_earlier < MOST && (e = readdir(dir)) != NULL;)
        if (name_id(e->d_name, id) && strcmp(id, run->claim.id) == 0 && strcmp(e->d_name, own) != 0)
            add(run, folder, e->d_name);
    if (dir) closedir(dir);
}

void run__free_earlier(struct run *run)
{
    while (run->n_earlier)
        free(run->earlier[--run->n_earlier]);
    free(run->earlier);
    run->earlier = NULL;
}
