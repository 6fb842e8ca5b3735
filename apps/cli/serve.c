/* serve: the service is a part of its own. */
#include "cli.h"

#include "server/serve.h"

#include <string.h>

int run_serve(const struct command *c, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return print_help(c), EXIT_DONE;
    return server_main(argc, argv);
}
