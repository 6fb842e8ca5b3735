/* The list of commands. */
#include "cli.h"

#include <string.h>

const struct command commands[] = {
#define COMMAND(name_, run_, usage_, about_, description_, examples_)                                                  \
    {.name = #name_, .usage = usage_, .about = about_, .description = description_, .examples = examples_, .run = run_},
#include "cli/commands.def"
#undef COMMAND
    {.name = NULL},
};

static const struct {
    const char *command;
    struct subcommand it;
} subcommands[] = {
#define SUBCOMMAND(command_, name_, arguments_, about_) {command_, {name_, arguments_, about_}},
#include "cli/subcommands.def"
#undef SUBCOMMAND
};

const struct command *find_command(const char *name)
{
    for (const struct command *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}

const char *command_name_at(void *ctx, size_t index)
{
    (void)ctx;
    return index < sizeof commands / sizeof commands[0] ? commands[index].name : NULL;
}

const struct subcommand *subcommand_at(const struct command *c, size_t index)
{
    for (size_t i = 0; i < sizeof subcommands / sizeof subcommands[0]; i++)
        if (strcmp(subcommands[i].command, c->name) == 0 && index-- == 0) return &subcommands[i].it;
    return NULL;
}

const char *subcommand_name_at(void *ctx, size_t index)
{
    const struct subcommand *s = subcommand_at(ctx, index);
    return s ? s->name : NULL;
}
