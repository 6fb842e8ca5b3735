/* admin: a service's data, from outside of it; a part of the service. */
#include "cli.h"

#include "service/serve.h"

#include <string.h>

/* Unknown commands and options are reported here, with the nearest one; the service reads the others. */
int run_admin(const struct command *c, int argc, char **argv)
{
    const struct subcommand *s = NULL;
    struct option o;
    for (size_t i = 0; argc > 1 && (s = subcommand_at(c, i)) != NULL && strcmp(s->name, argv[1]) != 0; i++)
        ;
    if (argc > 1 && !s && argv[1][0] != '-')
        return usage_error(c, "there is no command \"%s\"; it is check or migrate", argv[1]);
    if (!s) return usage_error(c, "check or migrate?");
    for (int i = 2; i < argc; i++) {
        if (!find_option(c->name, argv[i], &o)) return unknown_argument(c, argv[i]);
        if (o.kind != HT_OPTION_FLAG && !strchr(argv[i], '=')) i++;
    }
    return admin_main(argc, argv);
}
