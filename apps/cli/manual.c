/* Manual pages, from the same lists as the help. */
#include "cli.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The day on which the pages' texts were last looked through. */
static const char date[] = "November 28, 2026";

static const char exit_status[] =
    "0: done. 1: failed while running. 2: wrong usage. 3: bad or unsupported input. 4: not "
    "enough disk or memory. 130: interrupted.";

/* The character at *p, which is moved to the last byte of it. */
static unsigned character(const char **p)
{
    const unsigned char *c = (const unsigned char *)*p;
    int more = c[0] >= 0xf0 ? 3 : c[0] >= 0xe0 ? 2 : c[0] >= 0xc0 ? 1 : 0;
    unsigned value = more ? c[0] & (0x3fu >> more) : c[0];
    for (int i = 1; i <= more; i++)
        value = value << 6 | (c[i] & 0x3f);
    *p += more;
    return value;
}

/* What roff would obey is escaped, and what is not ASCII has a name; `raw`: a hyphen is a minus, to be copied. */
static void put_text(const char *text, bool raw)
{
    bool start = true;
    for (const char *p = text; *p; p++) {
        unsigned c = character(&p);
        if (start && (c == '.' || c == '\'')) fputs("\\&", stdout);
        if (c == '\\')
            fputs("\\e", stdout);
        else if (c == '-' && raw)
            fputs("\\-", stdout);
        else if (c > 0x7e)
            printf("\\[u%04X]", c);
        else
            putchar((int)c);
        start = c == '\n';
    }
}

/* Running text, a word or several a line: filled by the formatter. */
static void put_filled(const char *text)
{
    int at = 0;
    for (const char *p = text; *p;) {
        if (strncmp(p, "\n\n", 2) == 0) {
            fputs("\n.Pp\n", stdout);
            p += 2;
            at = 0;
            continue;
        }
        char word[256];
        int n = (int)strcspn(p, " \n");
        snprintf(word, sizeof word, "%.*s", n, p);
        if (at && at + n > 76) at = 0, putchar('\n');
        if (at) putchar(' ');
        if (!at && (*word == '.' || *word == '\'')) fputs("\\&", stdout);
        put_text(word, strncmp(word, "--", 2) == 0 || strncmp(word, "(--", 3) == 0);
        at += n + 1;
        p += n;
        if (*p == ' ') p++;
    }
    putchar('\n');
}

static void put_option(const struct option *o)
{
    char text[512];
    fputs(".It ", stdout);
    if (*o->letter) printf("Fl %s , ", o->letter);
    printf("Fl \\-%s", o->name);
    if (*o->metavar) fputs(" Ar ", stdout);
    put_text(o->metavar, false);
    putchar('\n');
    option_text(o, text, sizeof text);
    put_filled(text);
}

static void put_options(const struct command *c)
{
    struct option o;
    const char *group;
    printf(".Sh OPTIONS\n");
    for (size_t g = 0; (group = group_of(c, g)) != NULL; g++) {
        printf(".Ss %s\n.Bl -tag -width Ds\n", group);
        for (size_t i = 0; option_of(c->name, i, &o); i++)
            if (strcmp(o.group, group) == 0) put_option(&o);
        printf(".El\n");
    }
}

static void put_subcommands(const struct command *c)
{
    const struct subcommand *s;
    if (!subcommand_at(c, 0)) return;
    printf(".Sh COMMANDS\n.Bl -tag -width Ds\n");
    for (size_t i = 0; (s = subcommand_at(c, i)) != NULL; i++) {
        printf(".It Cm %s%s", s->name, *s->arguments ? " Ar " : "");
        put_text(s->arguments, false);
        putchar('\n');
        put_filled(s->about);
    }
    printf(".El\n");
}

static void put_header(const char *title, const char *name, const char *about)
{
    printf(".Dd %s\n.Dt HALFTONE%s 1\n.Os\n.Sh NAME\n.Nm %s\n.Nd %s\n.Sh SYNOPSIS\n.Nm\n", date, title, name, about);
}

static void put_end(void)
{
    printf(".Sh EXIT STATUS\n");
    put_filled(exit_status);
}

static void manual_of(const struct command *c)
{
    char title[64] = "-", name[64];
    for (size_t i = 0; c->name[i] && i + 2 < sizeof title; i++)
        title[i + 1] = (char)toupper((unsigned char)c->name[i]), title[i + 2] = '\0';
    snprintf(name, sizeof name, "\"halftone %s\"", c->name);
    put_header(title, name, c->about);
    put_text(c->usage, false);
    putchar('\n');
    if (*c->description) printf(".Sh DESCRIPTION\n"), put_filled(c->description);
    put_subcommands(c);
    put_options(c);
    if (*c->examples) {
        printf(".Sh EXAMPLES\n.Bd -literal\n");
        put_text(c->examples, true);
        printf(".Ed\n");
    }
    put_end();
    printf(".Sh SEE ALSO\n.Xr halftone 1\n");
}

static void overview(void)
{
    put_header("", "halftone", "quantize language-model checkpoints");
    printf(".Ar command\n.Op Ar arguments\n.Sh COMMANDS\n"
           "Each command has a manual page of its own, such as\n.Xr halftone-quantize 1 .\n.Bl -tag -width estimate\n");
    for (const struct command *c = commands; c->name; c++) {
        printf(".It Cm %s\n", c->name);
        put_filled(c->about);
    }
    printf(".El\n");
    put_end();
}

int run_man(const struct command *c, int argc, char **argv)
{
    if (argc > 2) return usage_error(c, "expected one command, got %d", argc - 1);
    const struct command *which = argc > 1 ? find_command(argv[1]) : NULL;
    if (argc > 1 && !which) return unknown_name(c, "command", argv[1], command_name_at, NULL);
    if (which)
        manual_of(which);
    else
        overview();
    return EXIT_DONE;
}
