/* The client's commands: what jobs and registry share. */
#ifndef HT_CLI_JOBS_H
#define HT_CLI_JOBS_H

#include "remote.h"

/* A command of `halftone jobs` or `halftone registry`: argv[0] is its name. */
struct remote_verb {
    const char *name;
    int least, most; /* arguments behind it */
    int (*run)(struct remote *remote, int argc, char **argv);
};
/* Takes the options, finds the verb (the first where none is named), opens the server and runs it. */
int remote_main(const struct remote_kind *kind, const struct command *command, const struct remote_verb *verbs,
                int argc, char **argv);

/* A job by its id, by the end of it (four characters or more), or "last". EXIT_DONE or a status. */
int find_job(struct remote *remote, const char *text, char id[33]);
/* jobs_submit.c, jobs_watch.c */
int jobs_submit(struct remote *remote, int argc, char **argv);
int jobs_watch(struct remote *remote, int argc, char **argv);
int watch_remote_job(struct remote *remote, const char *id);

/* jobs_download.c: what `download` was asked for: an output or variant by id, name or type, or a file of one. */
struct wish {
    const char *name, *to, *file;
    bool overwrite;
};
/* From argv[2] on. EXIT_DONE or a status. */
int read_wish(const struct command *command, int argc, char **argv, struct wish *wish);
const json_t *find_wished(const json_t *list, const char *name); /* NULL: none */
/* The item (an output, a variant) at the path, which is freed. */
int download_item(struct remote *remote, char *path, const json_t *item, const struct wish *wish);
void print_files(const json_t *files); /* of a folder, a line each */

/* Takes NAME VALUE or NAME=VALUE at argv[*i], which is left on the last argument of it. false: it is another. */
bool take_value(const char *name, int argc, char **argv, int *i, const char **value);

#endif
