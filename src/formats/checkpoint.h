/*
 * A checkpoint: named tensors in one or more files, opened by header alone. Weights are read on
 * demand, by ranges; nothing loads a tensor whole, let alone a model.
 */
#ifndef HT_FORMATS_CHECKPOINT_H
#define HT_FORMATS_CHECKPOINT_H

#include "base/arena.h"
#include "base/file.h"
#include "base/map.h"
#include "formats/kv.h"
#include "kernels/codec.h"

enum { HT__MAX_DIMS = 8 };

struct ht__tensor {
    const char *name;
    const struct ht__codec *dtype;
    int n_dims;                  /* 0: a scalar */
    int64_t shape[HT__MAX_DIMS]; /* outermost first, as PyTorch says it; GGUF's ne reversed */
    const int64_t *strides;      /* in elements, n_dims of them; NULL: contiguous */
    uint64_t n_weights;          /* product of shape */
    uint32_t file;               /* index in files */
    bool big_endian;
    uint64_t offset;  /* of the first weight, in the file */
    uint64_t n_bytes; /* contiguous: exactly n_weights; strided: up to the last weight that is reached */
};

struct ht__container; /* formats/container.h */

struct ht__checkpoint {
    struct ht__arena arena;                /* everything below */
    const struct ht__container *container; /* what its files are; NULL: opened without weights */
    const char *dir; /* where config.json and the tokenizer lie: the folder, or the file's folder */
    bool is_folder;  /* opened as a folder rather than as a file */
    bool no_weights; /* opened for its configuration and tokenizer alone */
    const struct ht__remote_folder *remote; /* files that are not on the disk; NULL: none */
    uint32_t n_files;
    struct ht__file *files;
    uint32_t n_tensors, cap_tensors;
    struct ht__tensor *tensors; /* by file and name; PyTorch and GGUF: as the file has them. Not in the arena: it
                                   may grow to a million, and the system moves pages where we would copy */
    struct ht__map by_name;     /* name -> index in tensors */
    struct ht__kvs *kvs;        /* GGUF: its metadata (of the first split); otherwise NULL */
    uint32_t *split_of;         /* GGUF in splits: shard index of each tensor; otherwise NULL */
};

/*
 * Opens a Hugging Face folder (formats/folder.h says which of its files), a .safetensors file, a PyTorch zip file, or a .gguf file (the first split brings the others).
 * Formats are detected by content, never by extension.
 * On success *out is owned by the caller. The allocator is kept until close.
 */
HT_MUST_CHECK enum ht_err ht__checkpoint_open(const char *path, const struct ht__alloc *alloc,
                                              struct ht__checkpoint **out, struct ht_diag *diag);
/* The same where some files may lie elsewhere; `remote` (or NULL) outlives the checkpoint. */
HT_MUST_CHECK enum ht_err ht__checkpoint_open_in(const struct ht__remote_folder *remote, const char *path,
                                                 const struct ht__alloc *alloc, struct ht__checkpoint **out,
                                                 struct ht_diag *diag);
/* A folder without looking at weights, which need not be there. */
HT_MUST_CHECK enum ht_err ht__checkpoint_open_empty(const char *path, const struct ht__alloc *alloc,
                                                    struct ht__checkpoint **out, struct ht_diag *diag);
/* Opens one file by itself: a shard without its siblings. */
HT_MUST_CHECK enum ht_err ht__checkpoint_open_shard(const char *path, const struct ht__alloc *alloc,
                                                    struct ht__checkpoint **out, struct ht_diag *diag);
void ht__checkpoint_close(struct ht__checkpoint **checkpoint);

/* Bytes that it holds. */
uint64_t ht__checkpoint_memory(const struct ht__checkpoint *checkpoint);

/* By name, or NULL. */
const struct ht__tensor *ht__checkpoint_find(const struct ht__checkpoint *checkpoint, const char *name);

/*
 * Weights [first, first + n) of the tensor in row-major order, decoded to float. first and n are
 * multiples of the dtype's block_len, within n_weights. Thread-safe; `scratch` is the caller's own.
 * NaN and infinity pass through and are the caller's to refuse.
 */
HT_MUST_CHECK enum ht_err ht__tensor_read(const struct ht__checkpoint *checkpoint, const struct ht__tensor *tensor,
                                          uint64_t first, uint64_t n, float *dst, struct ht__arena *scratch,
                                          struct ht_diag *diag);
/* The same weights as stored (little-endian); only for contiguous tensors. */
HT_MUST_CHECK enum ht_err ht__tensor_read_raw(const struct ht__checkpoint *checkpoint, const struct ht__tensor *tensor,
                                              uint64_t first, uint64_t n, void *dst, struct ht_diag *diag);

/* Bytes [at, at + n) of it as stored, within n_bytes. */
HT_MUST_CHECK enum ht_err ht__tensor_read_bytes(const struct ht__checkpoint *checkpoint,
                                                const struct ht__tensor *tensor, uint64_t at, uint64_t n, void *dst,
                                                struct ht_diag *diag);

/* Called with every range of a tensor's bytes that this thread reads: where in the file, and what was there. */
struct ht__tensor_watch {
    void (*read)(void *ctx, const struct ht__checkpoint *checkpoint, const struct ht__tensor *tensor, uint64_t at,
                 const void *data, uint64_t n);
    void *ctx;
};
/* For the calling thread, until it is replaced; NULL: nothing is called. */
void ht__tensor_watch(const struct ht__tensor_watch *watch);

/* These weights will be read soon, in small pieces; only for contiguous tensors. */
void ht__tensor_expect(const struct ht__checkpoint *checkpoint, const struct ht__tensor *tensor, uint64_t first,
                       uint64_t n);

/* Readers, one a container, used by ht__checkpoint_open (and by fuzzers). Each adds its tensors to the
 * checkpoint; `file` is an index in checkpoint->files. */
HT_MUST_CHECK enum ht_err ht__safetensors_open(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__pytorch_open(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__gguf_open_shard(struct ht__checkpoint *checkpoint, uint32_t file, struct ht__kvs *kvs,
                                              struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__gguf_open(struct ht__checkpoint *checkpoint, uint32_t file, struct ht_diag *diag);

#endif
