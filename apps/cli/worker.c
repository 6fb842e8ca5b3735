/* worker: works for a service elsewhere; a part of the service. */
#include "cli.h"

#include "service/serve.h"

#include <string.h>

/* Unknown options are reported here, with the nearest one; the worker reads the others. */
int run_worker(const struct command *c, int argc, char **argv)
{
    struct option o;
    for (int i = 1; i < argc; i++) {
        if (!find_option(c->name, argv[i], &o)) return unknown_argument(c, argv[i]);
        if (o.kind != HT_OPTION_FLAG && !strchr(argv[i], '=')) i++;
    }
    return worker_main(argc, argv);
}
