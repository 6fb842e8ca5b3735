/* Files that are read whole. */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int read_file(const struct command *c, const char *path, char **text, size_t *len)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    size_t cap = 0, got = 1;
    *text = NULL;
    *len = 0;
    while (file && got > 0) {
        if (*len == cap) {
            char *grown = realloc(*text, cap = cap ? 2 * cap : 4096);
            if (!grown) break;
            *text = grown;
        }
        *len += got = fread(*text + *len, 1, cap - *len, file);
    }
    bool bad = !file || got > 0 || ferror(file);
    if (bad) fprintf(stderr, "halftone %s: %s: %s\n", c->name, path, strerror(errno));
    if (file && file != stdin) fclose(file);
    return bad ? EXIT_INPUT : EXIT_DONE;
}
