/* Laying out a GGUF file: everything but the weights' bytes, and where those go. */
#ifndef HT_FORMATS_GGUF_WRITE_H
#define HT_FORMATS_GGUF_WRITE_H

#include "base/buf.h"
#include "formats/kv.h"
#include "kernels/codec.h"

enum { HT__GGUF_ALIGNMENT = 32 };

struct ht__gguf_entry {
    const char *name;
    int64_t ne[4]; /* 1 beyond the last dimension */
    const struct ht__codec *type;
    uint64_t n_bytes; /* set by ht__gguf_layout */
    uint64_t offset;  /* from the start of the file; set by ht__gguf_layout */
};

/*
 * Appends the file's head (magic, version 3, metadata, tensor list, padding) to `head`, fills the
 * entries' sizes and offsets, and gives the size of the whole file, padding after the last tensor
 * included. Fails on overflow, on a name of more than 63 bytes and on rows that do not divide.
 */
HT_MUST_CHECK enum ht_err ht__gguf_layout(const struct ht__kvs *kvs, struct ht__gguf_entry *entries,
                                          size_t n, struct ht__buf *head, uint64_t *file_size,
                                          struct ht_diag *diag);

#endif
