/*
 * How a matrix is stored, as the methods that choose codes see it: rows of codes, each code a level, and a scale and an
 * offset for every group of a row's weights:
 *
 *   weight = scale * level[code] + offset
 *
 * Types of GGUF files and schemes of folders are both made into this. What was chosen for a matrix is a "coded" matrix, whose
 * bytes only the coder understands.
 */
#ifndef HT_METHODS_CODER_H
#define HT_METHODS_CODER_H

#include "schemes/scheme.h"

struct ht__coder {
    int64_t n_out, n_in;
    int64_t rows; /* encode() begins at multiples of this, and takes multiples of it but for the last rows */
    size_t size;  /* of the coded matrix */
    /* n_codes 0: codes and scales do not come apart, and only encode() and decode() can be called. */
    int n_codes, group; /* group: weights of a row that share scale and offset; divides n_in */
    /* Where groups are listed: the columns by groups, those of group g from g * group on. NULL: groups follow one another. */
    const int32_t *order;
    const float *level; /* n_codes of them, ascending */

    /* Scales that fit the rows, and the nearest codes. x: n_rows x n_in; importance: n_in floats or NULL; sorted:
     * (n_rows + 1) x n_in floats to work in where groups are listed, otherwise not touched. */
    void (*encode)(const struct ht__coder *coder, const float *x, int64_t row, int64_t n_rows, const float *importance,
                   float *sorted, void *coded);
    /* What the program that loads it computes with. */
    void (*decode)(const struct ht__coder *coder, const void *coded, int64_t row, int64_t n_rows, float *x);
    /* Codes of rows that are encoded (n_rows x n_in: indices of levels), and their groups' scales and offsets (n_rows x n_in /
     * group; a scale is of either sign, or 0). All within the same multiple of `rows`. */
    void (*read)(const struct ht__coder *coder, const void *coded, int64_t row, int64_t n_rows, uint8_t *codes,
                 float *scale, float *offset);
    /* Replaces the codes; the scales stay. */
    void (*write)(const struct ht__coder *coder, const uint8_t *codes, int64_t row, int64_t n_rows, void *coded);

    /* Replaces scales of rows within the same multiple of `rows` (as read() gives them, offsets in proportion); what read() gives
     * then is the nearest that can be stored. False: memory is out. NULL: scales are few, or shared, and stay as they are. */
    bool (*rescale)(const struct ht__coder *coder, const float *scale, int64_t row, int64_t n_rows, void *coded);

    /* the implementations' own */
    enum ht__cpu_level cpu;
    const struct ht__codec *type;
    const struct ht__scheme_params *params;
    struct ht__matrix matrix;
    const uint8_t *code;  /* of each level, as the scheme has it */
    const uint8_t *place; /* of each of the scheme's codes among the levels */
    const int32_t *map;   /* rows x n_in / group: in which of the scheme's groups they are */
    float per_zero;       /* offset / (scale * zero point) */
    void **whole;         /* for rescale: the scheme's parts that are WHOLE */
};

/* Of a type; level memory in the arena. */
HT_MUST_CHECK enum ht_err ht__coder_of_type(struct ht__coder *coder, const struct ht__codec *type,
                                            enum ht__cpu_level cpu, int64_t n_out, int64_t n_in,
                                            struct ht__arena *arena, struct ht_diag *diag);

/* Can codes of the matrix be chosen one by one? Not where scales span more rows than are worked on at a time. */
bool ht__coder_takes(const struct ht__scheme_params *params, const struct ht__matrix *matrix);
/* Of a scheme that takes the matrix. What its numbers are is found by asking it. params, and matrix->column_group, outlive the
 * coder. */
HT_MUST_CHECK enum ht_err ht__coder_of_scheme(struct ht__coder *coder, const struct ht__scheme_params *params,
                                              const struct ht__matrix *matrix, struct ht__arena *arena,
                                              struct ht_diag *diag);
/* The bytes of a coded matrix of a scheme, and rows of it as the scheme knows them. */
size_t ht__coded_size(const struct ht__scheme_params *params, const struct ht__matrix *matrix);
struct ht__codes ht__coded_rows(const struct ht__scheme_params *params, const struct ht__matrix *matrix, void *coded,
                                int64_t row, int64_t n_rows);

/* Column i of group g of a row. */
static inline int64_t ht__coder_column(const struct ht__coder *coder, int64_t g, int64_t i)
{
    int64_t at = g * coder->group + i;
    return coder->order ? coder->order[at] : at;
}
/* The group of a column. */
static inline int64_t ht__coder_group(const struct ht__coder *coder, int64_t column)
{
    return coder->matrix.column_group ? coder->matrix.column_group[column] : column / coder->group;
}

#endif
