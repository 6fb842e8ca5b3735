/*
 * Matrices of small floats with a scale for each block of weights: FP8, NVFP4, MXFP4 and MXFP8 in the forms of several
 * programs. A scheme says in a struct ht__scaled how its form lies in tensors and how programs compute with it; parts,
 * rounding, packing and unpacking are the same for all and are here. The code of a weight is its small float.
 */
#ifndef HT_SCHEMES_SCALED_H
#define HT_SCHEMES_SCALED_H

#include "schemes/compressed_tensors.h"
#include "schemes/scheme.h"

enum ht__scaled_element { HT__E4M3, HT__E2M1 };
/* How a tensor of several experts lies: [experts, rows, blocks of a row, bytes of a block], or [experts, rows, columns]. */
enum ht__scaled_experts { HT__NO_EXPERTS, HT__EXPERT_BLOCKS, HT__EXPERT_ROWS };

struct ht__scaled {
    enum ht__scaled_element element;
    int64_t block_rows, block_columns;   /* weights that share a scale; 0: all rows, all columns */
    bool whole_blocks;                   /* the matrix must divide into blocks */
    enum ht__scaled_experts experts;     /* otherwise only matrices of their own are stored so */
    const char *unsuited;                /* why these options suit no matrix, or NULL */
    const char *weight, *scale;          /* suffixes: ".weight", ".weight_scale_inv" */
    const struct ht__codec *scale_dtype; /* f32, bf16, f16; f8_e4m3 below a global scale; u8, f8_e8m0: powers of two */
    int scale_dims;                      /* of that part: 0, 1, 2; 4 for [rows, 1, columns, 1] */
    bool scale_covers;                   /* powers of two so large that no weight is clamped; otherwise as MX rounds */
    float empty;                         /* scale of a block of zeros, as it is stored */
    const char *global;                  /* suffix of an F32 scale of the whole matrix; NULL: there is none */
    int global_dims;                     /* 0, 1 */
    bool global_divides;                 /* scales are divided by it; otherwise multiplied */
    /* What these are rounded to on the way: F32, BF16 or F16. */
    const struct ht__codec *quotient; /* weight / scale, before it becomes a small float */
    const struct ht__codec *value;    /* small float x scale */
};

/* What family_data of such a scheme points at. */
struct ht__scaled_scheme {
    struct ht__ct_scheme compressed_tensors; /* first: ht__ct_config takes family_data for it */
    void (*form)(const struct ht__scheme_params *, const struct ht__matrix *, struct ht__scaled *);
};

struct ht__scaled ht__scaled_form(const struct ht__scheme_params *, const struct ht__matrix *);

/*
 * The type of GGUF files that holds these blocks as they are, MXFP4 or NVFP4; NULL: none does. NVFP4 lacks the global scale:
 * llama.cpp multiplies by it as a tensor of its own, ".scale" beside ".weight".
 */
const struct ht__codec *ht__scaled_gguf(const struct ht__scheme_params *, const struct ht__matrix *);
/* n_rows rows of the parts, as for unpack(), in that type. */
void ht__scaled_gguf_rows(const struct ht__scheme_params *, const struct ht__matrix *, const void *const src[],
                          int64_t n_rows, void *dst);
/* What the weights are multiplied by; 1 where the type holds all of them. */
float ht__scaled_gguf_scale(const struct ht__scheme_params *, const struct ht__matrix *, const void *const src[]);

/* The functions of struct ht__scheme. */
const char *ht__scaled_unsuited(const struct ht__scheme_params *, const struct ht__matrix *);
int ht__scaled_parts(const struct ht__scheme_params *, const struct ht__matrix *, struct ht__part out[]);
int64_t ht__scaled_rows(const struct ht__scheme_params *, const struct ht__matrix *);
int64_t ht__scaled_groups(const struct ht__scheme_params *, const struct ht__matrix *, int64_t n_rows);
void ht__scaled_fit(const struct ht__scheme_params *, const struct ht__matrix *, const float *x,
                    const float *importance, struct ht__codes *);
void ht__scaled_nearest(const struct ht__scheme_params *, const struct ht__matrix *, const float *x,
                        struct ht__codes *);
void ht__scaled_value(const struct ht__scheme_params *, const struct ht__matrix *, const struct ht__codes *,
                      float *dst);
void ht__scaled_pack(const struct ht__scheme_params *, const struct ht__matrix *, const struct ht__codes *,
                     void *const dst[]);
void ht__scaled_finish(const struct ht__scheme_params *, const struct ht__matrix *, void *const whole[]);
void ht__scaled_unpack(const struct ht__scheme_params *, const struct ht__matrix *, const void *const src[],
                       struct ht__codes *);
const char *ht__scaled_complaint(const struct ht__scheme_params *, const struct ht__matrix *, const void *const src[],
                                 int *part);

#define HT__SCALED_FUNCTIONS                                                                                           \
    .unsuited = ht__scaled_unsuited, .parts = ht__scaled_parts, .rows = ht__scaled_rows, .groups = ht__scaled_groups,  \
    .fit = ht__scaled_fit, .nearest = ht__scaled_nearest, .value = ht__scaled_value, .pack = ht__scaled_pack,          \
    .finish = ht__scaled_finish, .unpack = ht__scaled_unpack, .complaint = ht__scaled_complaint

#endif
