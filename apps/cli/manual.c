/* Manual pages and shell completion, from the same lists as the help. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* A line of mdoc must not begin with a dot or an apostrophe; backslashes are doubled. */
static void mdoc_text(const char *text)
{
    bool start = true;
    for (const char *p = text; *p; p++) {
        if (start && (*p == '.' || *p == '\'')) fputs("\\&", stdout);
        if (*p == '\\') fputs("\\e", stdout);
        else putchar(*p);
        start = *p == '\n';
    }
}

static void manual_of(const struct command *c)
{
    struct ht_option_info o;
    printf(".Dd $Mdocdate$\n.Dt HALFTONE-%s 1\n.Os\n.Sh NAME\n.Nm \"halftone %s\"\n.Nd %s\n", c->name, c->name, c->about);
    printf(".Sh SYNOPSIS\n.Nm\n");
    mdoc_text(c->usage);
    printf("\n.Sh OPTIONS\n.Bl -tag -width Ds\n");
    for (size_t i = 0; option_at(i, &o); i++) {
        if (!option_is_for(&o, c->name)) continue;
        printf(".It Fl -%s%s", o.name, *o.metavar ? " Ar " : "");
        mdoc_text(o.metavar);
        printf("\n");
        mdoc_text(o.help);
        printf(".\n");
    }
    printf(".It Fl -help\nShow the options and examples.\n.El\n");
    if (*c->details) {
        printf(".Sh DESCRIPTION\n.Bd -literal\n");
        mdoc_text(c->details);
        printf(".Ed\n");
    }
    printf(".Sh EXIT STATUS\n0 done, 1 failed while running, 2 wrong usage, 3 bad or unsupported input,\n"
           "4 not enough disk or memory, 130 interrupted.\n");
}

static void overview(void)
{
    printf(".Dd $Mdocdate$\n.Dt HALFTONE 1\n.Os\n.Sh NAME\n.Nm halftone\n.Nd quantize language-model checkpoints\n"
           ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar arguments\n.Sh COMMANDS\n.Bl -tag -width estimate\n");
    for (int i = 0; commands[i]; i++)
        printf(".It Cm %s\n%s.\n", commands[i]->name, commands[i]->about);
    printf(".El\n.Sh EXIT STATUS\n0 done, 1 failed while running, 2 wrong usage, 3 bad or unsupported input,\n"
           "4 not enough disk or memory, 130 interrupted.\n");
}

static const struct command *find(const char *name)
{
    for (int i = 0; commands[i]; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

int run_man(const struct command *c, int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") == 0) return print_help(c), EXIT_DONE;
    if (argc > 2) return usage_error(c, "one command is wanted");
    if (argc < 2) return overview(), EXIT_DONE;
    const struct command *which = find(argv[1]);
    if (!which) return usage_error(c, "there is no command \"%s\"", argv[1]);
    manual_of(which);
    return EXIT_DONE;
}

static void print_words(const char *verb, const char *before)
{
    struct ht_option_info o;
    for (size_t i = 0; option_at(i, &o); i++)
        if (option_is_for(&o, verb)) printf("%s--%s", before, o.name);
    printf("%s--json%s--help", before, before);
}

static void bash_script(void)
{
    printf("_halftone() {\n  local word=${COMP_WORDS[COMP_CWORD]} words=\n  case ${COMP_WORDS[1]} in\n");
    for (int i = 0; commands[i]; i++) {
        printf("  %s) words=\"", commands[i]->name);
        print_words(commands[i]->name, " ");
        printf("\" ;;\n");
    }
    printf("  esac\n  if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"");
    for (int i = 0; commands[i]; i++)
        printf(" %s", commands[i]->name);
    printf("\"; fi\n  case ${COMP_WORDS[COMP_CWORD-1]} in\n  -t|--type) words=\"");
    struct ht_mix_info m;
    for (size_t i = 0; ht_mix_at(i, &m); i++)
        printf(" %s", m.name);
    printf("\" ;;\n  esac\n  COMPREPLY=($(compgen -W \"$words\" -- \"$word\") $(compgen -f -- \"$word\"))\n}\n"
           "complete -o filenames -F _halftone halftone\n");
}

static void zsh_script(void)
{
    printf("#compdef halftone\nautoload -U +X bashcompinit && bashcompinit\n");
    bash_script();
}

static void fish_script(void)
{
    struct ht_option_info o;
    for (int i = 0; commands[i]; i++) {
        printf("complete -c halftone -n __fish_use_subcommand -a %s -d '%s'\n", commands[i]->name, commands[i]->about);
        for (size_t j = 0; option_at(j, &o); j++)
            if (option_is_for(&o, commands[i]->name))
                printf("complete -c halftone -n '__fish_seen_subcommand_from %s' -l %s%s\n", commands[i]->name, o.name,
                       o.kind == HT_OPTION_FLAG ? "" : " -r");
    }
}

int run_completion(const struct command *c, int argc, char **argv)
{
    const char *shell = argc > 1 ? argv[1] : "";
    if (strcmp(shell, "--help") == 0) print_help(c);
    else if (strcmp(shell, "bash") == 0) bash_script();
    else if (strcmp(shell, "zsh") == 0) zsh_script();
    else if (strcmp(shell, "fish") == 0) fish_script();
    else return usage_error(c, "bash, zsh or fish is wanted");
    return EXIT_DONE;
}
