/* The client's commands: what jobs and registry share. */
#ifndef HT_CLI_JOBS_H
#define HT_CLI_JOBS_H

#include "remote.h"

/* A command of `halftone jobs` or `halftone registry`: argv[0] is its name. */
struct remote_verb {
    const char *name;
    int least, most; /* arguments behind it */
    const char *wants;
    int (*run)(struct remote *remote, int argc, char **argv);
};
/* Takes the options, finds the verb (the first where none is named), opens the server and runs it. */
int remote_main(const struct command *command, const struct remote_verb *verbs, int argc, char **argv);

/* A job by its id, by the end of it (four characters or more), or "last". EXIT_DONE or a status. */
int find_job(struct remote *remote, const char *text, char id[33]);
/* jobs_submit.c, jobs_watch.c */
int jobs_submit(struct remote *remote, int argc, char **argv);
int jobs_watch(struct remote *remote, int argc, char **argv);
int watch_remote_job(struct remote *remote, const char *id);

/* Takes NAME VALUE or NAME=VALUE at argv[*i], which is left on the last argument of it. false: it is another. */
bool take_value(const char *name, int argc, char **argv, int *i, const char **value);

#endif
