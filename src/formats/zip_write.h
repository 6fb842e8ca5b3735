/*
 * Laying out a ZIP archive as torch.save does: stored entries, the bytes of each at a multiple of 64, its CRC-32 behind
 * them. torch.load can then map storages, and knows where each lies without reading the headers between them.
 */
#ifndef HT_FORMATS_ZIP_WRITE_H
#define HT_FORMATS_ZIP_WRITE_H

#include "formats/container.h"

enum { HT__ZIP_ALIGNMENT = 64 };

struct ht__zip_writer {
    struct ht__buf *head;
    struct ht__rest *rest;
    size_t start;             /* of the archive in head */
    uint64_t at;              /* how long the archive is */
    struct ht__buf directory; /* of the entries so far */
    uint64_t n;
    bool too_large;
};

void ht__zip_begin(struct ht__zip_writer *zip, struct ht__layout *layout);
void ht__zip_close(struct ht__zip_writer *zip);
void ht__zip_add(struct ht__zip_writer *zip, const char *name, const void *data, size_t n);
/* An entry whose bytes are written later: where they are to lie. */
uint64_t ht__zip_reserve(struct ht__zip_writer *zip, const char *name, uint64_t n, uint32_t crc);
/* The directory. Fails when memory has run out, or the archive is too large. */
HT_MUST_CHECK enum ht_err ht__zip_end(struct ht__zip_writer *zip, struct ht_diag *diag);

#endif
