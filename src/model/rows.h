/*
 * Row sources: how an output tensor's rows come from a checkpoint's tensors. They compose: a stack of
 * slices of a scaled tensor is still rows on demand. All live in an arena; NULL when memory is out.
 */
#ifndef HT_MODEL_ROWS_H
#define HT_MODEL_ROWS_H

#include "model/model.h"
#include "schemes/scheme.h"

/* These rows will be read soon, from the beginning. Costs nothing where the file is on this machine. */
void ht__rows_prefetch(const struct ht__rows *rows);

/*
 * Other floats in the place of a tensor's rows, for what the calling thread reads as floats, whatever the rows are made
 * into on the way. The function gives all rows of a source (of ht__rows_tensor or ht__rows_packed), or NULL: as they are.
 * NULL ends it.
 */
struct ht__rows_overlay {
    const float *(*floats)(void *ctx, const struct ht__rows *rows);
    void *ctx;
};
void ht__rows_overlay(const struct ht__rows_overlay *overlay);
/* For sources: copies columns [column, column + n_columns) of n rows, adjacent; false: there is nothing in their place. */
bool ht__rows_overlaid(const struct ht__rows *rows, int64_t row, int64_t n, int64_t column, int64_t n_columns,
                       float *dst);

/*
 * Other numbers from now on, for whoever reads the source: given ones, or the file's times a scale for each row and each
 * column; what is NULL is left out. They outlive the rows. For sources of plain floats, before anything else reads them.
 * False: memory is out.
 */
struct ht__rows_scales {
    const float *values, *rows, *columns; /* n_rows x row_len; n_rows; row_len */
};
bool ht__rows_scalable(const struct ht__rows *rows);
bool ht__rows_scale(struct ht__arena *arena, struct ht__rows *rows, const struct ht__rows_scales *by);
/* Is it of ht__rows_tensor, as it was made? */
bool ht__rows_is_tensor(const struct ht__rows *rows);

/* A tensor as a matrix of rows of its last dimension (or of row_len, where given; 0: the last). */
struct ht__rows *ht__rows_tensor(struct ht__arena *arena, const struct ht__checkpoint *ck,
                                 const struct ht__tensor *tensor, int64_t row_len);
/* Rows [first, first + step*n) of a source, every step-th: slices and de-interleaving. */
struct ht__rows *ht__rows_slice(struct ht__arena *arena, const struct ht__rows *of, int64_t first, int64_t step,
                                int64_t n);
/* Sources of the same row length, one after the other. */
struct ht__rows *ht__rows_concat(struct ht__arena *arena, const struct ht__rows *const *parts, int64_t n_parts);
/* Row i of the result is row map(ctx, i) of the source. */
typedef int64_t ht__row_map_fn(const int64_t *params, int64_t row);
struct ht__rows *ht__rows_permute(struct ht__arena *arena, const struct ht__rows *of, ht__row_map_fn *map,
                                  const int64_t params[4]);
/* Weight i of the result, counted over all rows, is weight map(params, i) of the source: for biases and other
 * small tensors, as the source is read whole. */
struct ht__rows *ht__rows_pick(struct ht__arena *arena, const struct ht__rows *of, int64_t row_len, ht__row_map_fn *map,
                               const int64_t params[4]);
/*
 * The columns of each slab of slab_rows rows become rows: [slabs, slab_rows, row_len] gives
 * [slabs, row_len, slab_rows].
 */
const struct ht__rows *ht__rows_transpose(struct ht__arena *arena, const struct ht__rows *of, int64_t slab_rows);
/* x * scale + offset */
struct ht__rows *ht__rows_affine(struct ht__arena *arena, const struct ht__rows *of, float scale, float offset);
/* A matrix that another program packed; tensors: by the scheme's parts, each contiguous. whole: its parts that are
 * WHOLE, read and accepted; NULL: they are read each time. Blocks of MXFP4 raw too, in GGUF's order. */
struct ht__rows *ht__rows_packed(struct ht__arena *arena, const struct ht__checkpoint *ck,
                                 const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                                 const struct ht__tensor *const tensors[], const void *const whole[]);
/* Floats that were computed; the data is copied. */
struct ht__rows *ht__rows_floats(struct ht__arena *arena, const float *values, int64_t n_rows, int64_t row_len);
/* Q/K rows from half-split to interleaved rotation: params {rows of a head}. */
ht__row_map_fn ht__map_rope;
/* And back. */
ht__row_map_fn ht__map_rope_back;
/* [groups, parts, n] rows to all of part 0, all of part 1 …: params {groups, parts, n}. */
ht__row_map_fn ht__map_regroup;
/* Every second one, the first being params {0 or 1}: weight i is 2*i + first. Halves the number. */
ht__row_map_fn ht__map_every_second;
/* falcon's qkv [groups, q + 2, n]: all q, then all k, then all v: params {groups, q, n}. */
ht__row_map_fn ht__map_falcon_qkv;
/* And back. */
ht__row_map_fn ht__map_falcon_qkv_back;

#endif
