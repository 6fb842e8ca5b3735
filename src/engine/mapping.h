/*
 * A file of weights that is mapped, and, where it is read over and over, moved into huge pages: pages of 4 KB keep a processor
 * from reading ahead past their ends and cost it a third of the memory's bandwidth. What is moved takes the place of the mapping,
 * so that addresses stay.
 */
#ifndef HT_ENGINE_MAPPING_H
#define HT_ENGINE_MAPPING_H

#include "base/file.h"
#include "base/pool.h"

struct ht__mapping {
    uint8_t *base;               /* aligned to a huge page */
    size_t size;                 /* of the file */
    const struct ht__file *file; /* it outlives the mapping */
    size_t moved;                /* bytes from the start; they are no file any more */
};

HT_MUST_CHECK enum ht_err ht__mapping_open(struct ht__mapping *mapping, const struct ht__file *file,
                                           struct ht_diag *diag);
void ht__mapping_close(struct ht__mapping *mapping);
/* Whole huge pages of the file that are still to be moved, in bytes. */
size_t ht__mapping_left(const struct ht__mapping *mapping);
/* Does the kernel give huge pages to who asks? */
bool ht__mapping_can_move(void);
/* Moves about n bytes more, while nobody reads them; false where that is not possible (the mapping is whole all the same). */
bool ht__mapping_move(struct ht__mapping *mapping, size_t n, struct ht__pool *pool);

#endif
