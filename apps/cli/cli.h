/* The command line: what its commands share. It sees only the public headers of the library. */
#ifndef HT_CLI_H
#define HT_CLI_H

#include <halftone/halftone.h>
#include <jansson.h>

#include <stdbool.h>
#include <stdio.h>

/* Exit statuses that others rely on. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INPUT = 3, EXIT_RESOURCES = 4, EXIT_INTERRUPTED = 130 };

/* ---- commands: commands.def, subcommands.def ---------------------------------------------------- */

struct command {
    const char *name, *usage, *about;
    const char *description, *examples; /* or "" */
    int (*run)(const struct command *command, int argc, char **argv);
};
extern const struct command commands[]; /* ends with one whose name is NULL */

#define COMMAND(name, run, usage, about, description, examples)                                                        \
    int run(const struct command *command, int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

struct subcommand {
    const char *name, *arguments, *about;
};
const struct command *find_command(const char *name);
/* By index; NULL past the end. */
const struct subcommand *subcommand_at(const struct command *command, size_t index);
/* For ht_text_nearest; ctx of the second: a struct command. */
const char *command_name_at(void *ctx, size_t index);
const char *subcommand_name_at(void *ctx, size_t index);

/* ---- options: options.def, and the lists of the library and the service -------------------------- */

struct option {
    const char *verbs, *group, *letter, *name, *metavar, *help;
    const char *preset; /* the default, where help does not say it; or "" */
    enum ht_option_kind kind;
};
/* An option of the command; false past the end. */
bool option_of(const char *verb, size_t index, struct option *option);
/* The option that "--name", "--name=value" or "-x" is. */
bool find_option(const char *verb, const char *argument, struct option *option);
/* Headings of a command's options, in order; NULL past the end. */
const char *group_of(const struct command *command, size_t index);
/* What an option does, with its default. */
void option_text(const struct option *option, char *text, size_t size);
/* For ht_text_nearest; ctx: the command's name. */
const char *option_name_at(void *ctx, size_t index);

/* ---- help and mistakes --------------------------------------------------------------------------- */

void print_help(const struct command *command);
void print_commands(void);
bool asks_for_help(const struct command *command, int argc, char **argv);
/* "halftone quantize: message", then where help is. Returns EXIT_USAGE. */
int usage_error(const struct command *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for what is not in a list, with the nearest that is; and for an argument that the command does not take. */
int unknown_name(const struct command *command, const char *what, const char *name,
                 const char *(*name_at)(void *ctx, size_t index), void *ctx);
int unknown_argument(const struct command *command, const char *argument);
/* Prints a diagnosis (as JSON when json) and returns the exit status of its code. */
int report_error(const struct command *command, enum ht_err err, const struct ht_diag *diag, bool json);

/* ---- commands that run a job --------------------------------------------------------------------- */

/* What a command's arguments were, beside the options that went to the job. */
struct arguments {
    const char *model, *types, *to_ollama;
    bool json, quiet, dry_run, tensors, verify;
};
struct job_verb {
    void (*prepare)(const struct command *command, struct ht_job *job); /* or NULL, like the other two */
    /* Before the job, and after its success: exit statuses. */
    int (*check)(const struct command *command, const struct arguments *args);
    int (*after)(const struct command *command, const json_t *result, const struct arguments *args);
    enum ht_err (*run)(struct ht_job *job, const struct command *command, const struct arguments *args, char **json,
                       struct ht_diag *diag);
    void (*show)(const struct command *command, const json_t *result, const struct arguments *args);
    int (*status)(const json_t *result); /* of a success; NULL: EXIT_DONE */
    bool needs_model;                    /* the command checks it, rather than the library */
    bool one_object;                     /* with --json progress is not printed */
};
/* Reads the arguments, runs the job and shows what came of it: as JSON, or by `show`. Returns the exit status. */
int run_job(const struct command *command, int argc, char **argv, const struct job_verb *verb);
/* EXIT_DONE where the model is there, or is a hub's; else it has been told what is wrong. */
int check_model(const struct command *command, const char *model, bool json);

/* Is it --offline? For the commands that have no options of a job. */
bool hub_flag(const char *argument);
/* Tells the job how the environment says that the hub is reached. */
void hub_from_environment(struct ht_job *job);
/* A hub's model is fetched (its tokenizer alone: without weights), and *model becomes its path, which lives as long as
 * the program; another stays as it is, and must be there. EXIT_DONE or a status. */
int hub_model(const struct command *command, const char **model, bool tokenizer, bool json);

/* Progress to stderr when it is a terminal, or JSON lines to stdout (not `one_object`); Ctrl-C cancels the job. */
void watch_job(struct ht_job *job, const struct arguments *args, bool one_object);
void progress_done(void);

/* ---- text ---------------------------------------------------------------------------------------- */

/* Columns that a text takes. */
int text_width(const char *text);
/* Prints text from a file or server, padded to a width: control characters are shown and do not reach the terminal. */
void print_safe(const char *text, int width);
/* The same to another file, no more than 1000 bytes. */
void put_safe(FILE *to, const char *text);
/* Sizes and times for people. */
const char *human_bytes(double bytes, char buffer[32]);
const char *human_time(double seconds, char buffer[32]);
/* The whole of a file; "-" is the standard input. *text is the caller's (free). EXIT_DONE, or what went wrong has been
 * told. */
int read_file(const struct command *command, const char *path, char **text, size_t *len);
/* Members of an object: "" and 0 where they are not there. */
const char *text_of(const json_t *object, const char *key);
double number_of(const json_t *object, const char *key);
/* Prints JSON and frees it. */
int print_answer(json_t *answer);

#endif
