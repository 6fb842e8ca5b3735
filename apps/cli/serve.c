/* serve: the service is a part of its own. */
#include "cli.h"

#include "service/serve.h"

#include <string.h>

/* Unknown options are reported here, with the nearest one; the service reads the others. */
int run_serve(const struct command *c, int argc, char **argv)
{
    struct option o;
    if (argc > 1 && strcmp(argv[1], "--as-model") == 0) return model_main(argc, argv);
    for (int i = 1; i < argc; i++) {
        if (!find_option(c->name, argv[i], &o)) return unknown_argument(c, argv[i]);
        if (o.kind != HT_OPTION_FLAG && !strchr(argv[i], '=')) i++;
    }
    return server_main(argc, argv);
}
