/* The records of a ZIP archive that is stored without compression. */
#ifndef HT_FORMATS_ZIP_H
#define HT_FORMATS_ZIP_H

#include "base/arena.h"
#include "base/file.h"
#include "base/map.h"

struct ht__zip_record {
    const char *name; /* without the archive's root folder */
    uint64_t offset, size;
};

struct ht__zip {
    struct ht__zip_record *records;
    uint32_t n;
    struct ht__map by_name;
};

/* Everything but by_name lives in the arena; the caller closes by_name, also after an error. */
HT_MUST_CHECK enum ht_err ht__zip_open(struct ht__zip *zip, const struct ht__file *file,
                                       struct ht__arena *arena, struct ht_diag *diag);
const struct ht__zip_record *ht__zip_find(const struct ht__zip *zip, const char *name);

#endif
