/* Cards by name: how much they hold, and how fast they read it. */
#ifndef HT_ADVISE_GPUS_H
#define HT_ADVISE_GPUS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__gpu {
    const char *name;
    uint64_t memory;    /* bytes; 0: shared with the processor, of several sizes */
    uint64_t bandwidth; /* bytes a second */
};

/* By index; NULL past the end. */
const struct ht__gpu *ht__gpu_at(size_t index);
/* By name, as people write it: case, blanks and hyphens do not matter, and maker and series ("NVIDIA GeForce RTX")
 * may be left out where that leaves one card. HT_ERR_USAGE names those that come near. */
HT_MUST_CHECK enum ht_err ht__gpu_by_name(const char *name, const struct ht__gpu **gpu, struct ht_diag *diag);
/* What the graphics part of a chip that shares `memory` bytes may use of it. */
uint64_t ht__gpu_share(const struct ht__gpu *gpu, uint64_t memory);

#endif
