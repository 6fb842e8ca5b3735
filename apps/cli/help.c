/* Help: what a command takes, in groups, within 100 columns. */
#include "cli.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 100, LEFT = 31 };

int text_width(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* The text from column `at` on, its further lines indented, and a newline. */
static void put_wrapped(const char *text, int indent, int at)
{
    bool first = true;
    for (const char *p = text; *p; p += strspn(p, " ")) {
        char word[256];
        int n = (int)strcspn(p, " "), width;
        snprintf(word, sizeof word, "%.*s", n, p);
        width = text_width(word);
        if (!first && at + 1 + width > WIDTH) {
            printf("\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += printf("%s", first ? "" : " ") + width;
        fputs(word, stdout);
        first = false;
        p += n;
    }
    putchar('\n');
}

static void put_paragraphs(const char *text)
{
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t n = end ? (size_t)(end - text) : strlen(text);
        char *paragraph = strndup(text, n);
        if (!paragraph) return;
        putchar('\n');
        put_wrapped(paragraph, 0, 0);
        free(paragraph);
        text += n + strspn(text + n, "\n");
    }
}

/* A left side that is too long has a line of its own. */
static void put_row(const char *left, const char *text)
{
    printf("  %s", left);
    int at = 2 + text_width(left);
    if (at > LEFT - 1) {
        putchar('\n');
        at = 0;
    }
    printf("%*s", LEFT - at, "");
    put_wrapped(text, LEFT, LEFT);
}

void option_text(const struct option *o, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s%s%s", o->help, *o->preset ? " (default: " : "", o->preset, *o->preset ? ")" : "", "");
}

static void put_option(const struct option *o)
{
    char left[128], text[512];
    snprintf(left, sizeof left, "%s%s%s--%s%s%s", *o->letter ? "-" : "", o->letter, *o->letter ? ", " : "", o->name,
             *o->metavar ? " " : "", o->metavar);
    option_text(o, text, sizeof text);
    put_row(left, text);
}

static bool is_new_group(const struct command *c, size_t index, const char *group)
{
    struct option o;
    for (size_t i = 0; i < index && option_of(c->name, i, &o); i++)
        if (strcmp(o.group, group) == 0) return false;
    return true;
}

const char *group_of(const struct command *c, size_t index)
{
    struct option o;
    for (size_t i = 0; option_of(c->name, i, &o); i++)
        if (is_new_group(c, i, o.group) && index-- == 0) return o.group;
    return NULL;
}

void print_help(const struct command *c)
{
    const struct subcommand *s;
    const char *group;
    struct option o;
    char left[128];
    printf("usage: halftone %s %s\n\n%c%s.\n", c->name, c->usage, toupper((unsigned char)c->about[0]), c->about + 1);
    put_paragraphs(c->description);
    for (size_t i = 0; (s = subcommand_at(c, i)) != NULL; i++) {
        if (i == 0) printf("\nCommands:\n");
        snprintf(left, sizeof left, "%s%s%s", s->name, *s->arguments ? " " : "", s->arguments);
        put_row(left, s->about);
    }
    for (size_t g = 0; (group = group_of(c, g)) != NULL; g++) {
        printf("\n%s:\n", group);
        for (size_t i = 0; option_of(c->name, i, &o); i++)
            if (strcmp(o.group, group) == 0) put_option(&o);
    }
    if (*c->examples) printf("\nExample%s:\n%s", strchr(c->examples, '\n')[1] ? "s" : "", c->examples);
}

void print_commands(void)
{
    printf("usage: halftone COMMAND [arguments]\n\nQuantizes language-model checkpoints.\n\nCommands:\n");
    for (const struct command *c = commands; c->name; c++)
        printf("  %-11s %s\n", c->name, c->about);
    printf("\n`halftone help COMMAND` shows the options and examples of a command.\n");
}

int run_help(const struct command *c, int argc, char **argv)
{
    if (argc > 2) return usage_error(c, "expected one command, got %d", argc - 1);
    const struct command *which = argc > 1 ? find_command(argv[1]) : NULL;
    if (argc > 1 && !which) return unknown_name(c, "command", argv[1], command_name_at, NULL);
    if (which)
        print_help(which);
    else
        print_commands();
    return EXIT_DONE;
}

/* An option's value is none, whatever it is. */
bool asks_for_help(const struct command *c, int argc, char **argv)
{
    struct option o;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
        bool known =
            find_option(c->name, argv[i], &o) || (strcmp(c->name, "jobs") == 0 && find_option("quantize", argv[i], &o));
        if (known && o.kind != HT_OPTION_FLAG && !strchr(argv[i], '=')) i++;
    }
    return false;
}

/* ---- mistakes ----------------------------------------------------------------------------------- */

static int where_help_is(const struct command *c)
{
    fprintf(stderr, "`halftone help %s` shows its options.\n", c->name);
    return EXIT_USAGE;
}

int usage_error(const struct command *c, const char *fmt, ...)
{
    char message[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    fprintf(stderr, "halftone %s: ", c->name);
    put_safe(stderr, message);
    fputc('\n', stderr);
    return where_help_is(c);
}

int unknown_name(const struct command *c, const char *what, const char *name,
                 const char *(*name_at)(void *ctx, size_t index), void *ctx)
{
    const char *nearest = ht_text_nearest(name, name_at, ctx);
    if (nearest) return usage_error(c, "there is no %s \"%.100s\"; did you mean %s?", what, name, nearest);
    return usage_error(c, "there is no %s \"%.100s\"", what, name);
}

int unknown_argument(const struct command *c, const char *arg)
{
    struct option o;
    char name[128];
    if (arg[0] != '-') return usage_error(c, "unexpected argument \"%.200s\"", arg);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(arg, "="), arg);
    const char *nearest = arg[1] == '-' ? ht_text_nearest(name + 2, option_name_at, (void *)(uintptr_t)c->name) : NULL;
    if (find_option(c->name, name, &o)) return usage_error(c, "%s needs a value", name);
    if (nearest) return usage_error(c, "there is no option %s; did you mean --%s?", name, nearest);
    return usage_error(c, "there is no option %s", name);
}
