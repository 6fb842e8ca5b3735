/* Completion for shells, from the same lists as the help. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* What is said for an option's value, and for the arguments of commands. */
static const char *const values[][2] = {
    {"cpu", "scalar avx2 avx512 avx512bf16 amx neon"},
    {"cache-type", "f16 q8_0 q4_0 f32"},
    {"scope", "read submit admin"},
    {"log-level", "debug info warning error"},
    {"text", "default"},
    {"calibration", "default"},
    {"status", "queued completed failed cancelled"},
};

static void put_types(void)
{
    struct ht_mix_info m;
    for (size_t i = 0; ht_mix_at(i, &m); i++)
        printf("%s%s", i ? " " : "", m.name);
}

static void put_commands(void)
{
    for (const struct command *c = commands; c->name; c++)
        printf("%s%s", c == commands ? "" : " ", c->name);
}

static bool is_in(const char *verb, const char *name)
{
    struct option o;
    for (size_t i = 0; option_of(verb, i, &o); i++)
        if (strcmp(o.name, name) == 0) return true;
    return false;
}

/* Options of a command; `jobs submit` takes those of quantize too. */
static void put_options(const char *verb)
{
    struct option o;
    for (size_t i = 0; option_of(verb, i, &o); i++)
        printf(" --%s", o.name);
    for (size_t i = 0; strcmp(verb, "jobs") == 0 && option_of("quantize", i, &o); i++)
        if (!is_in("jobs", o.name)) printf(" --%s", o.name);
}

static void put_subcommands(const struct command *c, const char *before)
{
    const struct subcommand *s;
    for (size_t i = 0; (s = subcommand_at(c, i)) != NULL; i++)
        printf("%s%s", i ? " " : before, s->name);
}

/* Behind a comma the next type is completed; a card's name holds blanks, so that a line is a name. */
static void bash_values(void)
{
    printf("  case ${COMP_WORDS[COMP_CWORD-1]} in\n  -t|--type)\n    [[ $word == *,* ]] && before=${word%%,*},\n"
           "    compopt -o nospace 2>/dev/null\n    COMPREPLY=($(compgen -P \"$before\" -W \"");
    put_types();
    printf("\" -- \"${word##*,}\"))\n    return ;;\n"
           "  --gpu)\n    word=${word#[\\\"\\']}\n    while IFS= read -r line; do\n"
           "      [[ ${line,,} == *\"${word,,}\"* ]] && COMPREPLY+=(\"$(printf %%q \"$line\")\")\n"
           "    done <<'CARDS'\n");
    struct ht_gpu_info gpu;
    for (size_t i = 0; ht_gpu_at(i, &gpu); i++)
        printf("%s\n", gpu.name);
    printf("CARDS\n    return ;;\n");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        printf("  --%s) words=\"%s\" ;;\n", values[i][0], values[i][1]);
    printf("  esac\n");
}

static void bash_script(void)
{
    printf("_halftone() {\n  local word=${COMP_WORDS[COMP_CWORD]} words= before= line=\n  COMPREPLY=()\n"
           "  case ${COMP_WORDS[1]} in\n");
    for (const struct command *c = commands; c->name; c++) {
        printf("  %s) words=\"", c->name);
        put_options(c->name);
        printf("\"");
        if (subcommand_at(c, 0)) {
            printf("; [ \"$COMP_CWORD\" -eq 2 ] && words=\"");
            put_subcommands(c, "");
            printf(" $words\"");
        }
        printf(" ;;\n");
    }
    printf("  esac\n  if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"");
    put_commands();
    printf("\"; fi\n  if [ \"$COMP_CWORD\" -eq 2 ]; then\n    case ${COMP_WORDS[1]} in\n    man|help) words=\"");
    put_commands();
    printf("\" ;;\n    completion) words=\"bash zsh fish\" ;;\n    esac\n  fi\n");
    bash_values();
    printf("  COMPREPLY=($(compgen -W \"$words\" -- \"$word\") $(compgen -f -- \"$word\"))\n}\n"
           "complete -o filenames -F _halftone halftone\n");
}

static void zsh_script(void)
{
    printf("#compdef halftone\nautoload -U +X bashcompinit && bashcompinit\n");
    bash_script();
}

/* In single quotes. */
static void put_quoted(const char *text)
{
    putchar('\'');
    for (const char *p = text; *p; p++)
        printf("%s%c", *p == '\'' || *p == '\\' ? "\\" : "", *p);
    putchar('\'');
}

static void fish_option(const char *verb, const struct option *o)
{
    printf("complete -c halftone -n '__fish_seen_subcommand_from %s' -l %s", verb, o->name);
    if (*o->letter) printf(" -s %s", o->letter);
    if (o->kind != HT_OPTION_FLAG) printf(" -r");
    if (strcmp(o->name, "type") == 0) printf(" -f -a '(__halftone_types)'");
    if (strcmp(o->name, "gpu") == 0) printf(" -f -a '(__halftone_cards)'");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        if (strcmp(o->name, values[i][0]) == 0) printf(" -a '%s'", values[i][1]);
    printf(" -d ");
    put_quoted(o->help);
    putchar('\n');
}

static void fish_script(void)
{
    struct option o;
    struct ht_gpu_info gpu;
    const struct subcommand *s;
    printf("function __halftone_types\n    set -l before (string replace -r '[^,]*$' '' -- (commandline -ct))\n"
           "    for type in ");
    put_types();
    printf("\n        echo $before$type\n    end\nend\nfunction __halftone_cards\n");
    for (size_t i = 0; ht_gpu_at(i, &gpu); i++) {
        printf("    echo ");
        put_quoted(gpu.name);
        putchar('\n');
    }
    printf("end\n");
    for (const struct command *c = commands; c->name; c++) {
        printf("complete -c halftone -n __fish_use_subcommand -a %s -d ", c->name);
        put_quoted(c->about);
        putchar('\n');
        for (size_t i = 0; (s = subcommand_at(c, i)) != NULL; i++) {
            printf("complete -c halftone -n '__fish_seen_subcommand_from %s' -a %s -d ", c->name, s->name);
            put_quoted(s->about);
            putchar('\n');
        }
        for (size_t i = 0; option_of(c->name, i, &o); i++)
            fish_option(c->name, &o);
    }
    for (size_t i = 0; option_of("quantize", i, &o); i++)
        if (!is_in("jobs", o.name)) fish_option("jobs", &o);
    printf("complete -c halftone -f -n '__fish_seen_subcommand_from man help' -a '");
    put_commands();
    printf("'\ncomplete -c halftone -f -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n");
}

int run_completion(const struct command *c, int argc, char **argv)
{
    if (argc != 2) return usage_error(c, "expected the name of a shell: bash, zsh or fish");
    if (strcmp(argv[1], "bash") == 0)
        bash_script();
    else if (strcmp(argv[1], "zsh") == 0)
        zsh_script();
    else if (strcmp(argv[1], "fish") == 0)
        fish_script();
    else
        return usage_error(c, "there is no completion for \"%s\"; expected bash, zsh or fish", argv[1]);
    return EXIT_DONE;
}
