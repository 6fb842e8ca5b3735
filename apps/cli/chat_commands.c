/* What a person says to the program rather than to the model: lines that begin with a slash. */
#include "chat.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct slash {
    const char *name, *arguments, *about;
    int (*run)(struct chat *chat, char *rest);
};

/* The next word of *rest, which moves behind it; "" at the end. */
static char *take_word(char **rest)
{
    char *word = *rest + strspn(*rest, " \t");
    char *end = word + strcspn(word, " \t");
    *rest = *end ? end + 1 : end;
    *end = '\0';
    *rest += strspn(*rest, " \t");
    return word;
}

static int wrong(const struct chat *chat, const char *usage)
{
    fprintf(stderr, "halftone %s: usage: %s\n", chat->command->name, usage);
    return EXIT_USAGE;
}

/* ---- /set ---------------------------------------------------------------------------------------- */

static int set_system(struct chat *chat, char *rest)
{
    char *text = NULL;
    if (strncmp(rest, "\"\"\"", 3) != 0) return chat_system(chat, rest);
    int status = chat_read_long(chat, rest, &text);
    if (status == EXIT_DONE) status = chat_system(chat, text);
    free(text);
    return status;
}

/* "/set temperature 0.7", or as Ollama has it "/set parameter temperature 0.7". */
static int set_parameter(struct chat *chat, const char *name, char *value)
{
    if (!*name || !*value) return wrong(chat, "/set parameter NAME VALUE");
    for (size_t n = strlen(value); n && isspace((unsigned char)value[n - 1]); n--)
        value[n - 1] = '\0';
    return chat_set(chat, name, value);
}

static int set(struct chat *chat, char *rest)
{
    const char *what = take_word(&rest);
    if (!*what) return wrong(chat, "/set NAME VALUE, /set system TEXT, /set verbose|quiet, /set history|nohistory");
    if (strcmp(what, "system") == 0) return set_system(chat, rest);
    if (strcmp(what, "parameter") == 0) {
        what = take_word(&rest);
        return set_parameter(chat, what, rest);
    }
    bool history = strcmp(what, "history") == 0, verbose = strcmp(what, "verbose") == 0;
    if (history || strcmp(what, "nohistory") == 0) return chat->in.keep = history, EXIT_DONE;
    if (verbose || strcmp(what, "quiet") == 0) return chat->out.figures = verbose, EXIT_DONE;
    return set_parameter(chat, what, rest);
}

/* ---- /show --------------------------------------------------------------------------------------- */

static void show_text(const char *text)
{
    for (const char *p = text; *p;) { /* line by line: a newline is no control character to be shown */
        size_t n = strcspn(p, "\n");
        char *line = strndup(p, n);
        if (line) print_safe(line, 0);
        free(line);
        putchar('\n');
        p += n + (p[n] == '\n');
    }
}

static void show_model(const struct chat *chat)
{
    struct ht_model_info info = {.size = sizeof info};
    if (!ht_model_info(chat->model, &info)) return;
    fputs("model         ", stdout);
    print_safe(chat->name, 0);
    fputs("\narchitecture  ", stdout);
    print_safe(info.architecture, 0);
    printf("\nlayers        %d\ncontext       %d\nvocabulary    %d\n", info.n_layers, info.n_ctx_train,
           info.vocabulary);
}

static void show_parameters(const struct chat *chat)
{
    const json_t *pair;
    size_t i;
    json_array_foreach(chat->settings, i, pair) {
        const char *value = json_string_value(json_array_get(pair, 1));
        print_safe(json_string_value(json_array_get(pair, 0)), 15);
        putchar(' ');
        print_safe(value ? value : "", 0);
        putchar('\n');
    }
}

static int show(struct chat *chat, char *rest)
{
    const char *what = take_word(&rest);
    if (strcmp(what, "info") == 0 || !*what)
        show_model(chat);
    else if (strcmp(what, "parameters") == 0)
        show_parameters(chat);
    else if (strcmp(what, "system") == 0)
        show_text(chat->system ? chat->system : "");
    else if (strcmp(what, "template") == 0)
        show_text(ht_model_chat_template(chat->model) ? ht_model_chat_template(chat->model) : "");
    else
        return wrong(chat, "/show [info|parameters|system|template]");
    return EXIT_DONE;
}

/* ---- the others ---------------------------------------------------------------------------------- */

static int load(struct chat *chat, char *rest)
{
    for (size_t n = strlen(rest); n && isspace((unsigned char)rest[n - 1]); n--)
        rest[n - 1] = '\0';
    return *rest ? chat_load(chat, rest) : wrong(chat, "/load MODEL");
}

static int clear(struct chat *chat, char *rest)
{
    (void)rest;
    return chat_clear(chat);
}

static int bye(struct chat *chat, char *rest)
{
    (void)rest;
    chat->ended = true;
    return EXIT_DONE;
}

static int help(struct chat *chat, char *rest);

static const struct slash slashes[] = {
    {"/set", "NAME VALUE", "set an option, such as temperature, top-p, seed, ctx or max-tokens", set},
    {"/set", "system TEXT", "set the system message; without a text there is none", NULL},
    {"/set", "verbose|quiet", "print figures behind each answer, or none", NULL},
    {"/set", "history|nohistory", "keep what is entered for later sessions, or not", NULL},
    {"/show", "[info|parameters|system|template]", "show the model, or what is set", show},
    {"/load", "MODEL", "continue with another model, in a new conversation", load},
    {"/clear", "", "forget the conversation", clear},
    {"/bye", "", "end the program", bye},
    {"/help", "", "show this list", help},
    {"/?", "", "", help},
    {NULL, NULL, NULL, NULL},
};

static int help(struct chat *chat, char *rest)
{
    (void)chat;
    (void)rest;
    for (const struct slash *s = slashes; s->name; s++)
        if (*s->about) printf("%-7s %-40s %s\n", s->name, s->arguments, s->about);
    printf(
        "\n\"\"\" begins a message of several lines, which ends with the next \"\"\"; Alt-Enter makes a new line too.\n"
        "Ctrl-C ends an answer; Ctrl-D ends the program; the up and down arrows bring back earlier lines.\n");
    return EXIT_DONE;
}

static const char *slash_at(void *ctx, size_t index)
{
    (void)ctx;
    return index < sizeof slashes / sizeof slashes[0] ? slashes[index].name : NULL;
}

int chat_command(struct chat *chat, const char *line)
{
    char *copy = strdup(line), *rest = copy;
    if (!copy) return EXIT_RESOURCES;
    const char *name = take_word(&rest);
    const struct slash *s = slashes;
    while (s->name && (!s->run || strcmp(s->name, name) != 0))
        s++;
    int status = s->run ? s->run(chat, rest) : unknown_name(chat->command, "command", name, slash_at, NULL);
    free(copy);
    fflush(stdout);
    return status;
}
