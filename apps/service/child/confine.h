/*
 * What a process that parses strangers' files may reach: the folders of models, held open since the start; its
 * model's own folder where that lies among uploads or in the hub's cache; nothing to write but the job's own folder;
 * no network, no secrets. The same for jobs and for what is done before them (estimates, the check of an upload).
 */
#ifndef HT_SERVICE_CHILD_CONFINE_H
#define HT_SERVICE_CHILD_CONFINE_H

#include "service/child/child.h"

/* The folders under which local models lie, as they were at the start. */
struct confine_roots {
    const int *fds;
    size_t n;
};

/* What the settings of one child point to. */
struct confined {
    char folder[4096];
    const char *readable[2];
    const char **more; /* what else it reads, behind a first place for the folder; ends with NULL; NULL: nothing else */
};

/* Confines settings to reading `roots` and the place of the request's source. data: the service's folder. */
void confine_child(struct child_settings *settings, struct confined *confined, const struct confine_roots *roots,
                   const char *data, const json_t *request);
/* And these, which confined->more becomes. */
void confine_add(struct child_settings *settings, struct confined *confined, const char **more);
/* Adds the repository in the hub's cache that the path is in. */
void confine_to_repository(struct child_settings *settings, struct confined *confined, const char *path);
/* The same for one file or folder alone. */
void confine_child_to(struct child_settings *settings, struct confined *confined, const char *path);

/* The most memory of a child that reads headers only, under the limit of jobs (0: none). */
uint64_t confine_headers_memory(uint64_t limit);

#endif
