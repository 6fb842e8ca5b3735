/* The command line: what its commands share. It sees only the public headers of the library. */
#ifndef HT_CLI_H
#define HT_CLI_H

#include <halftone/halftone.h>
#include <jansson.h>

#include <stdbool.h>

/* Exit statuses that others rely on. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INPUT = 3, EXIT_RESOURCES = 4, EXIT_INTERRUPTED = 130 };

struct command {
    const char *name, *usage, *about;
    const char *details; /* shown by --help after the options: a paragraph and examples */
    int (*run)(const struct command *command, int argc, char **argv);
};

extern const struct command *const commands[]; /* ends with NULL */

int run_quantize(const struct command *command, int argc, char **argv);
int run_eval(const struct command *command, int argc, char **argv);
int run_estimate(const struct command *command, int argc, char **argv);
int run_jobs(const struct command *command, int argc, char **argv);
int run_registry(const struct command *command, int argc, char **argv);
int run_recommend(const struct command *command, int argc, char **argv);
int run_gpus(const struct command *command, int argc, char **argv);
int run_imatrix(const struct command *command, int argc, char **argv);
int run_inspect(const struct command *command, int argc, char **argv);
int run_generate(const struct command *command, int argc, char **argv);
int run_tokenize(const struct command *command, int argc, char **argv);
int run_serve(const struct command *command, int argc, char **argv);
int run_pull(const struct command *command, int argc, char **argv);
int run_hub(const struct command *command, int argc, char **argv);
int run_types(const struct command *command, int argc, char **argv);
int run_archs(const struct command *command, int argc, char **argv);
int run_completion(const struct command *command, int argc, char **argv);
int run_man(const struct command *command, int argc, char **argv);

/* The options of all commands, those of jobs and of generators; false past the end. */
bool option_at(size_t index, struct ht_option_info *option);
/* Does the library list this option for the command? */
bool option_is_for(const struct ht_option_info *option, const char *verb);

void print_help(const struct command *command);
/* "halftone quantize: message", then where help is. Returns EXIT_USAGE. */
int usage_error(const struct command *command, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Prints a diagnosis (as JSON when json) and returns the exit status of its code. */
int report_error(const struct command *command, enum ht_err err, const struct ht_diag *diag, bool json);

/* What a command's arguments were, beside the options that went to the job. */
struct arguments {
    const char *model;
    bool json, quiet, dry_run, help;
};
/* Reads argv[1..]; options that the library knows for this verb are set in the job. EXIT_DONE or a status. */
int parse_job_arguments(const struct command *command, int argc, char **argv, struct ht_job *job,
                        struct arguments *args);

/* Is it --offline? For the commands that have no options of a job. */
bool hub_flag(const char *argument);
/* Tells the job how the environment says that the hub is reached. */
void hub_from_environment(struct ht_job *job);
/* A hub's model is fetched (its tokenizer alone: without weights), and *model becomes its path, which lives as long as
 * the program; another stays as it is. EXIT_DONE or a status. */
int hub_model(const struct command *command, const char **model, bool tokenizer, bool json);

/* Progress to stderr when it is a terminal, or JSON lines to stdout. */
void watch_job(struct ht_job *job, bool json, bool quiet);
void progress_done(void);

/* Sizes and times for people. */
const char *human_bytes(double bytes, char buffer[32]);
const char *human_time(double seconds, char buffer[32]);

#endif
