/* What a file or folder is: by its tensors, whatever its name says. A child looks into it, once for each state of the file. */
#ifndef HT_SERVICE_LEVELS_KINDS_H
#define HT_SERVICE_LEVELS_KINDS_H

#include "service/child/confine.h"
#include "service/levels/level.h"

#include <stdbool.h>

struct kinds;

struct kind {
    enum level level; /* UNSET: it cannot be told, fault says why */
    char type[64];    /* what most of its weights are stored as: "q4_k", "nf4" */
    double bits;      /* a weight of that */
    char fault[300];
};

struct kinds *kinds_open(const struct confine_roots *roots); /* NULL: no memory */
void kinds_close(struct kinds **kinds);
/* stop may be NULL. */
void kinds_of(struct kinds *kinds, const char *path, struct child_stop *stop, struct kind *kind);

#endif
