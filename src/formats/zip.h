/* The part of ZIP that PyTorch writes: stored entries, found through the central directory. */
#ifndef HT_FORMATS_ZIP_H
#define HT_FORMATS_ZIP_H

#include "base/arena.h"
#include "base/file.h"
#include "base/map.h"

struct ht__zip_entry {
    const char *name; /* without the archive's root folder */
    uint64_t offset;  /* of its bytes in the file */
    uint64_t size;
};

struct ht__zip {
    struct ht__zip_entry *entries;
    uint32_t n;
    struct ht__map by_name;
};

/* Entries live in the arena; by_name is the caller's to close, also after an error. Only stored entries
 * (method 0), no encryption; every entry inside the file and no two overlapping. */
HT_MUST_CHECK enum ht_err ht__zip_open(struct ht__zip *zip, const struct ht__file *file, struct ht__arena *arena,
                                       struct ht_diag *diag);
/* By name, or NULL. */
const struct ht__zip_entry *ht__zip_find(const struct ht__zip *zip, const char *name);

#endif
