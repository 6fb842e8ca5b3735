/* generate: a model goes on with a text, or answers. */
#include "generate.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct generate_args {
    const char *model, *prompt, *file, *system;
    bool chat, json, quiet;
};

/* ---- arguments ---------------------------------------------------------------------------------- */

static const char *long_name(const char *arg)
{
    if (strcmp(arg, "-n") == 0) return "max-tokens";
    if (strcmp(arg, "-p") == 0) return "prompt";
    if (strcmp(arg, "-f") == 0) return "file";
    return arg[0] == '-' && arg[1] == '-' ? arg + 2 : NULL;
}

static bool own_flag(const char *name, struct generate_args *a)
{
    bool *flag = strcmp(name, "chat") == 0    ? &a->chat
                 : strcmp(name, "json") == 0  ? &a->json
                 : strcmp(name, "quiet") == 0 ? &a->quiet
                                              : NULL;
    if (flag) *flag = true;
    return flag != NULL;
}

static const char **own_text(const char *name, size_t len, struct generate_args *a)
{
    if (len == 6 && strncmp(name, "prompt", len) == 0) return &a->prompt;
    if (len == 4 && strncmp(name, "file", len) == 0) return &a->file;
    if (len == 6 && strncmp(name, "system", len) == 0) return &a->system;
    return NULL;
}

/* An option with its value, which may follow as the next argument. Options of the library go to the generator;
 * without one they are only looked at. Returns how many arguments were taken. */
static int take_option(const struct command *c, int argc, char **argv, int i, struct ht_generator *g,
                       struct generate_args *a, int *status)
{
    const char *name = long_name(argv[i]), *value = NULL;
    struct ht_option_info o = {0};
    struct ht_diag diag = {0};
    if (!name) return *status = unknown_argument(c, argv[i]), 1;
    if (own_flag(name, a) || hub_flag(argv[i])) return 1;
    size_t len = strcspn(name, "=");
    const char **own = own_text(name, len, a);
    bool found = own != NULL;
    for (size_t at = 0; !found && ht_generator_option_at(at, &o); at++)
        found = strlen(o.name) == len && strncmp(o.name, name, len) == 0;
    if (!found) return *status = unknown_argument(c, argv[i]), 1;
    int used = 1;
    if (name[len] == '=') {
        value = name + len + 1;
    } else if (own || o.kind != HT_OPTION_FLAG) {
        if (i + 1 >= argc) return *status = usage_error(c, "%s needs a value", argv[i]), 1;
        value = argv[i + 1];
        used = 2;
    }
    if (own) *own = value;
    if (own || !g) return used;
    enum ht_err err = ht_generator_set(g, o.name, value, &diag);
    if (err) *status = report_error(c, err, &diag, a->json);
    return used;
}

/* Twice: without a generator, to see whether all is well and which model is meant; then with it. */
static int read_args(const struct command *c, int argc, char **argv, struct ht_generator *g, struct generate_args *a)
{
    int status = EXIT_DONE;
    bool options = true;
    for (int i = 1; i < argc && status == EXIT_DONE;) {
        const char *arg = argv[i];
        if (options && strcmp(arg, "--") == 0) {
            options = false;
            i++;
        } else if (options && arg[0] == '-' && arg[1]) {
            i += take_option(c, argc, argv, i, g, a, &status);
        } else if (a->model && a->model != arg) {
            return usage_error(c, "expected one model, got \"%s\" and \"%s\"", a->model, arg);
        } else {
            a->model = arg;
            i++;
        }
    }
    return status;
}

static int check_args(const struct command *c, const struct generate_args *a)
{
    if (!a->model) return usage_error(c, "which model? Give a file, a folder or ORG/NAME");
    if (a->prompt && a->file) return usage_error(c, "give either -p or -f, not both");
    if (!a->prompt && !a->file && !a->chat)
        return usage_error(c, "give a prompt with -p TEXT or -f FILE, or use --chat");
    if (a->system && !a->chat) return usage_error(c, "--system needs --chat");
    return EXIT_DONE;
}

/* ---- answers ------------------------------------------------------------------------------------ */

static int begun(const struct command *c, struct ht_generator *g, const struct generate_args *a, enum ht_err err,
                 const struct ht_diag *diag)
{
    if (err) return report_error(c, err, diag, a->json);
    if (!a->quiet) warn_of_context(c, g);
    answer_begins(g);
    return EXIT_DONE;
}

/* One text that goes on, or one answer. */
static int say_once(const struct command *c, struct ht_generator *g, const struct generate_args *a, const char *text,
                    size_t len)
{
    struct ht_diag diag = {0};
    struct output out;
    bool interrupted = false;
    output_init(&out, c, a->json, a->quiet);
    enum ht_err err =
        a->chat ? ht_generator_say(g, "user", text, len, &diag) : ht_generator_prompt(g, text, len, &diag);
    int status = begun(c, g, a, err, &diag);
    if (status == EXIT_DONE) status = write_answer(c, g, &out, &interrupted, false);
    answer_ends();
    return interrupted && status == EXIT_DONE ? EXIT_INTERRUPTED : status;
}

/* A message the template or the context refuses ends a script, but not a conversation of a person. */
static int refused(int status, bool person)
{
    return person && (status == EXIT_USAGE || status == EXIT_INPUT) ? EXIT_DONE : status;
}

/* Lines in, answers out, until the input ends. Ctrl-C ends an answer; between answers it ends the program. */
static int converse(const struct command *c, struct ht_generator *g, const struct generate_args *a)
{
    bool person = isatty(STDIN_FILENO) && !a->json, interrupted = false, warned = false;
    struct output out;
    char *line = NULL;
    size_t cap = 0;
    int status = EXIT_DONE;
    output_init(&out, c, a->json, a->quiet);
    while (status == EXIT_DONE) {
        struct ht_diag diag = {0};
        if (person) fputs("> ", stderr);
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0) break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            n--;
        if (n == 0) continue;
        enum ht_err err = ht_generator_say(g, "user", line, (size_t)n, &diag);
        if (err) status = refused(report_error(c, err, &diag, a->json), person);
        if (err) continue;
        if (!warned && !a->quiet) warn_of_context(c, g);
        warned = true;
        answer_begins(g);
        status = write_answer(c, g, &out, &interrupted, !a->json && !out.terminal);
        answer_ends();
        if (interrupted && !person) status = EXIT_INTERRUPTED;
    }
    if (person && status == EXIT_DONE) fputc('\n', stderr);
    free(line);
    return status;
}

static int generate(const struct command *c, struct ht_generator *g, const struct generate_args *a)
{
    struct ht_diag diag = {0};
    char *text = NULL;
    size_t len = 0;
    int status = EXIT_DONE;
    if (a->system && ht_generator_say(g, "system", a->system, strlen(a->system), &diag) != HT_OK)
        return report_error(c, diag.code, &diag, a->json);
    if (!a->prompt && !a->file) return converse(c, g, a);
    if (a->file) status = read_file(c, a->file, &text, &len);
    if (status == EXIT_DONE)
        status = say_once(c, g, a, text ? text : a->prompt ? a->prompt : "", a->file ? len : strlen(a->prompt));
    free(text);
    return status;
}

int run_generate(const struct command *c, int argc, char **argv)
{
    struct generate_args a = {0};
    struct ht_generator *g = NULL;
    struct ht_diag diag = {0};
    int status = read_args(c, argc, argv, NULL, &a);
    if (status == EXIT_DONE) status = check_args(c, &a);
    if (status != EXIT_DONE) return status;
    const char *path = a.model;
    status = hub_model(c, &path, false, a.json);
    if (status != EXIT_DONE) return status;
    catch_interrupts(false);
    enum ht_err err = ht_generator_open(path, &g, &diag);
    if (err) return report_error(c, err, &diag, a.json);
    status = read_args(c, argc, argv, g, &a);
    if (status == EXIT_DONE) status = generate(c, g, &a);
    ht_generator_close(&g);
    return status;
}
