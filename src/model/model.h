/*
 * A model: metadata and tensors as GGUF names them, whatever checkpoint they come from. Tensors are
 * rows on demand: an architecture composes row sources (permuted, transposed, stacked, scaled …) over
 * the checkpoint's tensors, and the pipeline asks for any range of rows, from any thread.
 */
#ifndef HT_MODEL_MODEL_H
#define HT_MODEL_MODEL_H

#include "base/arena.h"
#include "base/log.h"
#include "formats/checkpoint.h"
#include "formats/kv.h"
#include "model/slot.h"

struct ht__rows;
struct ht__packed_source;

typedef enum ht_err ht__rows_read_fn(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                                     struct ht__arena *scratch, struct ht_diag *diag);
typedef enum ht_err ht__rows_raw_fn(const struct ht__rows *rows, int64_t row, int64_t n, void *dst,
                                    struct ht__arena *scratch, struct ht_diag *diag);

typedef enum ht_err ht__rows_part_fn(const struct ht__rows *rows, int64_t row, int64_t n, int64_t column,
                                     int64_t n_columns, float *dst, struct ht__arena *scratch, struct ht_diag *diag);
typedef enum ht_err ht__rows_step_fn(const struct ht__rows *rows, int64_t row, int64_t step, int64_t n, float *dst,
                                     struct ht__arena *scratch, struct ht_diag *diag);

/* A matrix that is produced by rows. Immutable once built; lives in the model's arena. */
struct ht__rows {
    int64_t n_rows, row_len;
    /* Rows [row, row + n) as floats, adjacent. Thread-safe; scratch is the caller's own, who resets it
     * between calls: take buffers with ht__arena_raw, never free. */
    ht__rows_read_fn *read;
    /* Where the rows exist already encoded (a GGUF tensor, a repacked MXFP4): that type and its bytes;
     * otherwise NULL. */
    const struct ht__codec *raw_type;
    ht__rows_raw_fn *read_raw;
    /* What read_raw gives where it is a dtype of checkpoints, which GGUF files may lack (U8, F8_E4M3 …); otherwise NULL. */
    const struct ht__codec *stored;
    /* Columns [column, column + n_columns) of rows [row, row + n), adjacent, without reading the others;
     * NULL where only whole rows can be had. */
    ht__rows_part_fn *read_part;
    /* n rows from `row`, every step-th, where that costs less than one by one; otherwise NULL. */
    ht__rows_step_fn *read_step;
    /* How many weights to ask for at a time, where that matters: a strip of columns costs a read for each row of
     * the source, however wide it is. 0: as the caller likes. */
    int64_t chunk_weights;
    int64_t together; /* rows that cost as much to read as one of them, as they share scales; 0: each costs its own */
    const struct ht__rows *first; /* the source that is read first, where rows come from others; or NULL */
    void (*prefetch)(const struct ht__rows *rows); /* see ht__rows_prefetch; NULL: nobody needs to know */
    const void *ctx;                               /* the implementation's own */
};

enum { HT__GGUF_DIMS = 4, HT__GGUF_MAX_NAME = 63 };

struct ht__weight {
    const char *name;     /* as in a GGUF file: "blk.0.attn_q.weight" */
    struct ht__slot slot; /* what it is for, and where it belongs */
    int n_dims;
    int64_t ne[HT__GGUF_DIMS];       /* ne[0] is the row length; 1 beyond n_dims */
    const struct ht__codec *source;  /* the dtype it is stored in (of its largest part) */
    const struct ht__rows *rows;     /* ne[1]*ne[2]*ne[3] rows of ne[0] */
    bool keep_f32;                   /* conversion always writes it as F32 (norms, biases, routers) */
    uint32_t split;                  /* shard it came from (--keep-split) */
    const struct ht__tensor *tensor; /* of the native view: with its own dimensions, of which ne has but the last */
    const struct ht__packed_source
        *packed;     /* its parts, where another program packed it (schemes/packing.h); otherwise NULL */
    uint32_t native; /* of the native view: its place there */
    /* Of the native view: all experts of a layer in one tensor of three dimensions, as rows of their inputs, or a matrix
     * that the model's code keeps as [in, out], turned round: the form in which a scheme can pack them. NULL: it is
     * none. */
    const struct ht__weight *stack;
    bool is_stack;     /* this is the form of another weight */
    int64_t n_stacked; /* of that form: experts; 0: one matrix, turned round */
    bool linear;       /* of the native view: what the model's code calls Linear, [out, in] of one matrix */
    /* Of a GGUF file's native view: the type of the blocks that it is decoded from; NULL: it is of floats there, too. */
    const struct ht__codec *blocks;
};

struct ht__model {
    struct ht__arena arena;
    struct ht__arena undone;                 /* of the native view of a GGUF file */
    const struct ht__checkpoint *checkpoint; /* not owned; outlives the model */
    const char *arch;                        /* general.architecture */
    bool from_gguf;
    const char *packed_as;           /* "bitsandbytes nf4": what most packed weights are; NULL: there are none */
    size_t file_type_at, version_at; /* before which of kvs the two keys that kvs lacks go; SIZE_MAX: at the end */
    struct ht__kvs kvs;              /* all metadata but general.file_type and general.quantization_version */
    size_t n_weights, n_weights_cap;
    struct ht__weight *weights; /* the GGUF view, in the order in which conversion would write them */
    size_t n_native, n_native_cap;
    struct ht__weight *native; /* the native view (view_native.h), in the checkpoint's order; of a GGUF file there is
                                  none before ht__model_undo */
    const char *config;        /* config.json of a GGUF file's folder, by ht__model_undo; otherwise NULL */
    uint32_t n_layers;
    uint32_t n_heads, n_kv_heads; /* of layer 0 */
    uint32_t n_experts;
};

/*
 * Builds the model of a checkpoint: for a folder by its config.json (architecture, tensors, tokenizer),
 * for a GGUF file as it is. An architecture that is not known is refused with the list of those known.
 */
HT_MUST_CHECK enum ht_err ht__model_open(const struct ht__checkpoint *checkpoint, const struct ht__alloc *alloc,
                                         const struct ht__log *log, struct ht__model **out, struct ht_diag *diag);
void ht__model_close(struct ht__model **model);
/*
 * The native view of a GGUF file's model, and its config.json: the transforms of conversion undone. What cannot be undone
 * is refused, with the tensor or key that is the reason: an architecture without a way back, tensors or metadata that no
 * folder gives. The proof is made on the way: the folder, converted, would have the file's tensors and keys.
 */
HT_MUST_CHECK enum ht_err ht__model_undo(struct ht__model *model, const struct ht__log *log, struct ht_diag *diag);
/* The weight, not the bias, of a role outside the layers; NULL: the model has none. */
const struct ht__weight *ht__model_find(const struct ht__model *model, enum ht__role role);

/* The architectures that can be converted, in the order of archs.def: GGUF name and, as one string
 * separated by blanks, the Hugging Face class names. index >= count gives NULL. */
const char *ht__arch_at(size_t index, const char **classes);

#endif
