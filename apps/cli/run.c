/* run: a conversation with a model on the terminal. */
#include "chat.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char quotes[] = "\"\"\"";

/* ---- arguments ---------------------------------------------------------------------------------- */

/* An option with its value, which may follow as the next argument. Returns how many were taken. */
static int take_option(struct chat *chat, int argc, char **argv, int i, int *status)
{
    const char *equals = strchr(argv[i], '='), *value = equals ? equals + 1 : NULL;
    struct option o;
    int used = 1;
    if (hub_flag(argv[i])) return 1;
    if (!find_option(chat->command->name, argv[i], &o)) return *status = unknown_argument(chat->command, argv[i]), 1;
    if (!value && o.kind != HT_OPTION_FLAG) {
        if (i + 1 >= argc) return *status = usage_error(chat->command, "%s needs a value", argv[i]), 1;
        value = argv[i + 1];
        used = 2;
    }
    if (strcmp(o.name, "verbose") == 0)
        chat->out.figures = true;
    else
        *status = strcmp(o.name, "system") == 0 ? chat_system(chat, value) : chat_set(chat, o.name, value);
    return used;
}

static int read_args(struct chat *chat, int argc, char **argv, const char **model)
{
    int status = EXIT_DONE;
    bool options = true;
    for (int i = 1; i < argc && status == EXIT_DONE;) {
        if (options && strcmp(argv[i], "--") == 0)
            options = false, i++;
        else if (options && argv[i][0] == '-' && argv[i][1])
            i += take_option(chat, argc, argv, i, &status);
        else if (*model)
            return usage_error(chat->command, "expected one model, got \"%s\" and \"%s\"", *model, argv[i]);
        else
            *model = argv[i++];
    }
    if (status == EXIT_DONE && !*model)
        return usage_error(chat->command, "which model? Give a file, a folder or ORG/NAME");
    return status;
}

/* ---- what is said -------------------------------------------------------------------------------- */

/* Adds a line to the text. */
static bool add_line(char **text, size_t *len, const char *line, size_t n, bool first)
{
    char *grown = realloc(*text, *len + n + 2);
    if (!grown) return false;
    if (!first) grown[(*len)++] = '\n';
    memcpy(grown + *len, line, n);
    grown[ *len += n] = '\0';
    *text = grown;
    return true;
}

int chat_read_long(struct chat *chat, const char *first, char **text)
{
    const char *from = first + 3;
    char *line = NULL;
    size_t len = 0, n = strlen(from);
    enum line_end end = LINE_READ;
    bool begun = n > 0, good = true;
    *text = NULL;
    if (!add_line(text, &len, from, n, true)) return EXIT_RESOURCES;
    while (good && end == LINE_READ && !strstr(*text, quotes)) {
        end = line_read(&chat->in, "... ", &line, &n);
        if (end == LINE_READ) good = add_line(text, &len, line, n, !begun);
        begun = true;
        free(line);
    }
    char *close = strstr(*text, quotes);
    if (close) *close = '\0';
    if (good && close) return EXIT_DONE;
    if (!good) return EXIT_RESOURCES;
    if (end == LINE_INTERRUPTED) return EXIT_INTERRUPTED;
    return usage_error(chat->command, "the text that begins with %s has no end", quotes);
}

/* A line may be a message, its beginning, or a command. */
static int obey(struct chat *chat, const char *line, size_t len)
{
    char *text = NULL;
    if (len == strspn(line, " \t\n")) return EXIT_DONE;
    line_remember(&chat->in, line, len);
    if (*line == '/' && !memchr(line, '\n', len)) return chat_command(chat, line);
    if (strncmp(line, quotes, 3) != 0) return chat_say(chat, line, len);
    int status = chat_read_long(chat, line, &text);
    if (status == EXIT_DONE) status = chat_say(chat, text, strlen(text));
    free(text);
    return status;
}

/* Does the conversation go on? A person is told of a mistake, and a script ends with it. */
static bool goes_on(const struct chat *chat, int status)
{
    if (chat->ended) return false;
    return status == EXIT_DONE || (chat->person && status != EXIT_FAILED);
}

/* Lines in, answers out, until the input ends. */
static int converse(struct chat *chat)
{
    int status = EXIT_DONE;
    do {
        char *line;
        size_t len;
        enum line_end end = line_read(&chat->in, ">>> ", &line, &len);
        if (end == LINE_READ) status = obey(chat, line, len);
        free(line);
        if (end == LINE_AT_END) return chat->person ? EXIT_DONE : status;
        if (end == LINE_INTERRUPTED) fputs("Ctrl-D or /bye ends the program.\n", stderr);
        if (end == LINE_FAILED) {
            fprintf(stderr, "halftone run: the standard input: %s\n", strerror(errno));
            return EXIT_FAILED;
        }
    } while (goes_on(chat, status));
    return chat->ended ? EXIT_DONE : status;
}

int run_chat(const struct command *c, int argc, char **argv)
{
    struct chat chat = {.command = c, .person = isatty(STDIN_FILENO), .settings = json_array()};
    const char *model = NULL;
    if (!chat.settings) return EXIT_RESOURCES;
    output_init(&chat.out, c, false, false);
    chat.out.figures = false;
    line_open(&chat.in);
    int status = read_args(&chat, argc, argv, &model);
    if (status == EXIT_DONE) status = chat_load(&chat, model);
    if (status == EXIT_DONE && chat.person) fputs("/help lists the commands.\n", stderr);
    if (status == EXIT_DONE) status = converse(&chat);
    chat_close(&chat);
    return status;
}
