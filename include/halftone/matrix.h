/*
 * Halftone: one matrix by a scheme, as bitsandbytes, GPTQ, AWQ, compressed-tensors and others store it.
 *
 *     struct ht_matrix m = {.size = sizeof m, .n_out = 4096, .n_in = 4096, .dtype = "bf16"};
 *     struct ht_part parts[HT_MATRIX_PARTS] = {{.size = sizeof parts[0]}};
 *     size_t n = HT_MATRIX_PARTS;
 *     err = ht_matrix_parts("nf4:block=64", &m, parts, &n, &diag);
 *     for (size_t i = 0; i < n; i++) parts[i].data = malloc(parts[i].n_bytes);
 *     err = ht_matrix_quantize("nf4:block=64", &m, weights, parts, n, &diag);
 */
#ifndef HALFTONE_MATRIX_H
#define HALFTONE_MATRIX_H

#include "halftone/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- lists ----------------------------------------------------------------------------------- */

struct ht_scheme_info {
    size_t size;
    const char *name;    /* "nf4", as ht_matrix_quantize takes it */
    const char *label;   /* in file names and tables: "NF4" */
    const char *family;  /* the program or format that it is of: "bitsandbytes" */
    const char *about;   /* one line */
    const char *loaders; /* programs that load it */
    bool can_write;      /* otherwise only ht_matrix_dequantize takes it */
    bool shares_amax;    /* matrices that programs fuse (q, k, v; gate, up) are given one ht_matrix.amax */
    /* What folders of it lost on the example model, with options at their defaults and codes rounded, in nats a token, and
     * the share of tokens whose likeliest successor stayed the same; divergence 0: it was not measured. */
    double divergence, same_top_token;
};
HT_API size_t ht_scheme_count(void);
/* false past the end. Set info->size before. */
HT_API bool ht_scheme_at(size_t index, struct ht_scheme_info *info);

/* Ladders of schemes: a job's type beside the schemes. Each matrix has the first level that loses little enough. */
struct ht_ladder_info {
    size_t size;
    const char *name;   /* "adaptive" */
    const char *levels; /* as a job's type too: "w4a16>w8a16>none" */
    const char *about;  /* one line */
    char first[64];     /* the first level, which most matrices have */
};
/* false past the end. Set info->size before. */
HT_API bool ht_ladder_at(size_t index, struct ht_ladder_info *info);

struct ht_scheme_option_info {
    size_t size;
    const char *name, *about;
    const char *choices; /* separated by blanks; NULL: a number from `least` to `most` */
    char otherwise[32];  /* the value where none is given */
    double least, most;
    bool reading; /* only ht_matrix_dequantize takes it: what other programs write and Halftone does not */
};
/* The options of a scheme, which stand behind a colon ("gptq:bits=3,group=64"); false past the end. Set info->size
 * before. */
HT_API bool ht_scheme_option_at(const char *scheme, size_t index, struct ht_scheme_option_info *info);
/* The same of a method (ht_method_at), whose options stand behind its name: "gptq:bits=3@best:order=group". */
HT_API bool ht_method_option_at(const char *method, size_t index, struct ht_scheme_option_info *info);

/* ---- matrices -------------------------------------------------------------------------------- */

/* What is quantized: a Linear's weight with n_out rows of n_in floats. */
struct ht_matrix {
    size_t size;
    int64_t n_out, n_in;
    const char *dtype;       /* of the model that it belongs to: "f32", "f16" or "bf16" */
    const float *importance; /* n_in floats, not negative, or NULL */
    float amax;              /* largest magnitude of all matrices that are fused with it; 0: of this one alone */
    int n_threads;           /* 0 takes every core */
    const struct ht_allocator *allocator; /* for what is needed meanwhile, or NULL */
    /* Rows that are done; called from the calling thread. false: stop, with HT_ERR_CANCELLED. May be NULL. */
    bool (*progress)(void *ctx, int64_t n_done, int64_t n_out);
    void *ctx;
    /* The rows are those of this many experts' matrices, one expert after the other, which a model keeps in one tensor
     * of three dimensions; 0: it is a matrix of its own. */
    int64_t n_experts;
    const char *x_dtype; /* in which ht_matrix_quantize is given the weights: "f32" (or NULL), "f16" or "bf16" */
};

enum { HT_MATRIX_PARTS = 8, HT_PART_DIMS = 4 };
/* One of the tensors that a matrix is stored as. */
struct ht_part {
    size_t size;
    const char *suffix; /* behind the module's name: ".weight.absmax" */
    const char *dtype;  /* "u8", "i32", "f16" … */
    int n_dims;
    int64_t shape[HT_PART_DIMS]; /* outermost first */
    uint64_t n_bytes;
    void *data; /* n_bytes of the caller's */
};

/*
 * The parts of a matrix: names, shapes and sizes; nothing is allocated. *n_parts: in, the room of `parts`; out, how many
 * there are. parts[0].size must be set; parts may be NULL to count them. HT_ERR_UNSUPPORTED: the matrix's shape does
 * not suit the scheme.
 */
HT_API enum ht_err ht_matrix_parts(const char *scheme, const struct ht_matrix *matrix, struct ht_part *parts,
                                   size_t *n_parts, struct ht_diag *diag);
/*
 * Fills the parts, as ht_matrix_parts gave them, each with `data` set. x: n_out x n_in numbers of x_dtype, aligned as
 * these are, which the matrix's dtype can hold.
 * A part that is text can become shorter than ht_matrix_parts said; its shape and n_bytes then say so. What parts hold
 * after an error is undefined.
 */
HT_API enum ht_err ht_matrix_quantize(const char *scheme, const struct ht_matrix *matrix, const void *x,
                                      struct ht_part *parts, size_t n_parts, struct ht_diag *diag);
/* The reverse: the floats that programs which load the parts compute with, bit by bit. The parts may be in any order,
 * and are checked. */
HT_API enum ht_err ht_matrix_dequantize(const char *scheme, const struct ht_matrix *matrix, const struct ht_part *parts,
                                        size_t n_parts, float *x, struct ht_diag *diag);

#ifdef __cplusplus
}
#endif
#endif
