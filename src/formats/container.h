/*
 * A container: a kind of file that holds named tensors. It recognises and reads such files, and lays out those that are
 * to be written: everything but the tensors' bytes is there, and the place of each of them is known, before the first
 * is written.
 */
#ifndef HT_FORMATS_CONTAINER_H
#define HT_FORMATS_CONTAINER_H

#include "base/buf.h"
#include "base/err.h"
#include "formats/checkpoint.h"
#include "formats/kv.h"

enum { HT__GGUF_ALIGNMENT = 32 };

/* Which view of a model its files hold. */
enum ht__dialect {
    HT__DIALECT_NATIVE, /* the checkpoint's names and orientation; a folder with config.json and tokenizer files */
    HT__DIALECT_GGUF,   /* GGUF's names, metadata in the file itself */
    HT__N_DIALECTS
};

/* A tensor in a file that is to be written. */
struct ht__extent {
    const struct ht__extent
        *shares; /* an earlier one whose bytes are this one's too (containers with `shares`); or NULL */
    const char *name;
    const struct ht__codec *type;
    int n_dims;
    int64_t shape[HT__MAX_DIMS]; /* outermost first, as in struct ht__tensor */
    uint64_t n_bytes;            /* set by lay_out */
    uint64_t offset;             /* from the start of the file; set by lay_out */
};

/* What lies between the tensors of a file and after them. */
struct ht__rest {
    struct ht__buf bytes;  /* of all pieces, one after the other */
    struct ht__buf pieces; /* struct ht__piece each, in order of place */
};
struct ht__piece {
    uint64_t at, n; /* in the file */
};
void ht__rest_init(struct ht__rest *rest, const struct ht__alloc *alloc);
void ht__rest_close(struct ht__rest *rest);
/* Appended to the last piece where it follows that. Failure is sticky, in rest->bytes. */
void ht__rest_put(struct ht__rest *rest, uint64_t at, const void *data, size_t n);

struct ht__layout {
    struct ht__extent *extents; /* in the order in which they should lie, where the container leaves a choice */
    size_t n;
    const struct ht__kvs *kvs; /* metadata of a GGUF file */
    struct ht__buf *head;      /* everything before the first tensor is appended to it */
    struct ht__rest *rest;     /* and what does not lie there to this; NULL: there is no such place */
    uint64_t size;             /* of the whole file; set by lay_out */
};

struct ht__container {
    const char *name;          /* "safetensors" */
    const char *title, *about; /* in lists: "Hugging Face folder", and one line */
    const char *suffix;        /* ".safetensors" */
    enum ht__dialect dialect;
    const char *stem; /* of a folder's files: "model" in model.safetensors and model.safetensors.index.json */
    /* By a file's first bytes, n of them. */
    bool (*probe)(const unsigned char *head, uint64_t n);
    /* Adds a file's tensors to the checkpoint; `file` is an index in checkpoint->files. */
    enum ht_err (*open)(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag);
    /* The same of one file alone, without those that belong to it. */
    enum ht_err (*open_alone)(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag);
    bool sorted; /* a folder's tensors are taken by name, not as they lie in the file */
    bool shares; /* two tensors can be the same bytes of a file */
    /* Fails on overflow, and on names and types that such a file cannot have. NULL: it is only read. */
    enum ht_err (*lay_out)(struct ht__layout *layout, struct ht_diag *diag);
    /* Where head and rest depend on the tensors' bytes: makes both anew, of the same lengths, with the CRC-32 of each
     * extent. NULL: they do not. */
    enum ht_err (*seal)(struct ht__layout *layout, const uint32_t *crc, struct ht_diag *diag);
};

/* By index, in the order of formats.def; NULL past the end. */
const struct ht__container *ht__container_at(size_t index);
/* By name, whatever the case; or NULL. */
const struct ht__container *ht__container_by_name(const char *name);
/* "gguf, safetensors or pytorch": those that can be written. */
enum { HT__CONTAINER_NAMES = 200 };
const char *ht__container_written(char names[HT__CONTAINER_NAMES]);

/* For tests: one more at the end of the list, for the life of the process. */
void ht__container_register(const struct ht__container *container);
/* Fills an extent's n_bytes; its product is checked. */
HT_MUST_CHECK enum ht_err ht__extent_size(struct ht__extent *extent, struct ht_diag *diag);

#define HT_FORMAT(id) extern const struct ht__container ht__container_##id;
#include "formats/formats.def"
#undef HT_FORMAT

#endif
