/* The program: which command is run, and what happens to errors and to the output. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int status_of(enum ht_err err)
{
    switch (err) {
    case HT_OK: return EXIT_DONE;
    case HT_ERR_USAGE:
    case HT_ERR_EXISTS: return EXIT_USAGE;
    case HT_ERR_NOT_FOUND:
    case HT_ERR_DENIED:
    case HT_ERR_FORMAT:
    case HT_ERR_UNSUPPORTED:
    case HT_ERR_NONFINITE:
    case HT_ERR_LIMIT: return EXIT_INPUT;
    case HT_ERR_MEMORY:
    case HT_ERR_NO_SPACE:
    case HT_ERR_NO_MEMORY_BUDGET: return EXIT_RESOURCES;
    case HT_ERR_CANCELLED: return EXIT_INTERRUPTED;
    default: return EXIT_FAILED;
    }
}

int report_error(const struct command *c, enum ht_err err, const struct ht_diag *diag, bool json)
{
    const char *message = diag->message[0] ? diag->message : ht_err_text(err);
    const char *colon = diag->where[0] ? ": " : "";
    if (json) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:I}", "event", "error", "code", ht_err_name(err), "where",
                                 diag->where, "message", message, "offset", (json_int_t)diag->offset);
        char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
        puts(text ? text : "{\"event\": \"error\"}");
        free(text);
        json_decref(line);
    }
    if (err == HT_ERR_CANCELLED) {
        fprintf(stderr, "halftone %s: interrupted%s\n", c->name,
                strcmp(c->name, "imatrix") == 0 ? "" /* it says itself what it left */
                : strcmp(c->name, "pull") == 0  ? "; what came is kept, and the next run continues from there"
                                                : "; nothing was left behind");
        return status_of(err);
    }
    struct option o;
    char name[80];
    snprintf(name, sizeof name, "--%.70s", diag->where);
    bool option = err == HT_ERR_USAGE && find_option(c->name, name, &o);
    fprintf(stderr, "halftone %s: %s%s%s", c->name, option ? name : diag->where, colon, message);
    if (diag->offset >= 0) fprintf(stderr, " (at byte %lld)", (long long)diag->offset);
    fputc('\n', stderr);
    return status_of(err);
}

/* Descriptors 0 to 2 are always open, so that no file of ours becomes the standard output by its number. Where there is
 * no output, writing to it must fail, not vanish: it is opened for reading. */
static void open_standard_files(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(EXIT_FAILED);
}

/* The one place that says whether everything that was printed has arrived; stdio remembers what failed before. */
static int finish(const char *name, int status)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) != 0) failed = true;
    if (!failed) return status;
    fprintf(stderr, "halftone%s%s: the standard output is incomplete: %s\n", *name ? " " : "", name,
            errno ? strerror(errno) : "writing to it failed");
    return status == EXIT_DONE ? EXIT_FAILED : status;
}

static int run(int argc, char **argv, const char *name)
{
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("halftone %s\n", ht_version());
        return EXIT_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    const struct command *c = find_command(name);
    if (c && asks_for_help(c, argc - 1, argv + 1)) return print_help(c), EXIT_DONE;
    if (c) return c->run(c, argc - 1, argv + 1);
    if (!*name) {
        print_commands();
        return EXIT_USAGE;
    }
    const char *nearest = ht_text_nearest(name, command_name_at, NULL);
    fprintf(stderr, "halftone: there is no command \"");
    put_safe(stderr, name);
    fprintf(stderr, "\"%s%s%s\n`halftone --help` lists the commands.\n", nearest ? "; did you mean " : "",
            nearest ? nearest : "", nearest ? "?" : "");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error that cleans up, not the end */
    signal(SIGPIPE, SIG_DFL); /* a reader that has seen enough is no error */
    open_standard_files();
    const char *name = argc > 1 ? argv[1] : "";
    return finish(name[0] == '-' ? "" : name, run(argc, argv, name));
}
