/*
 * A scheme: how one matrix of n_out rows and n_in columns is stored as several tensors ("parts": packed codes, scales,
 * zero points …), as bitsandbytes, GPTQ, AWQ, compressed-tensors and others do. Each is one unit in this folder and one
 * row in schemes.def; types of GGUF files are blocks of a single tensor and live in kernels/.
 *
 * Between the weights and the parts stand codes (struct ht__codes): one number a weight, and a scale and a zero point a
 * group of weights. A method (src/methods) chooses codes and knows nothing of parts; a scheme lays them out and knows
 * nothing of methods. So a new scheme is calibrated by every method at once, and layouts share their numbers.
 *
 * All functions are pure: no allocation, no I/O, no errors. Callers prove the preconditions: the scheme suits the
 * matrix, floats are finite, rows are taken in multiples of ht__scheme_rows(). The bytes do not depend on how
 * rows are grouped into calls, nor on the processor.
 */
#ifndef HT_SCHEMES_SCHEME_H
#define HT_SCHEMES_SCHEME_H

#include "base/arena.h"
#include "base/err.h"
#include "kernels/codec.h"
#include "schemes/options.h"

struct ht__jw; /* base/json_write.h */
struct ht__scheme;

enum { HT__SCHEME_OPTIONS = 12, HT__SCHEME_PARTS = 8, HT__PART_DIMS = 4 };

/* A scheme with its options' values, by their places in scheme->options. */
struct ht__scheme_params {
    const struct ht__scheme *scheme;
    double option[HT__SCHEME_OPTIONS];
};

/* What is stored. */
struct ht__matrix {
    int64_t n_out, n_in;
    const struct ht__codec *dtype; /* of the model's floats: f16, bf16 or f32. Scales follow it where a format says so,
                                      and programs that load it compute in it */
    float amax; /* largest magnitude of it and of the matrices that a runtime fuses with it; only for NEEDS_AMAX */
    /* The rows are those of this many experts' matrices, one expert after the other, which a model keeps in one tensor of
     * three dimensions; 0: it is a matrix of its own. */
    int64_t n_experts;
    /* The group of each column, where a method made the groups (HT__SCHEME_LISTED); NULL: groups follow one another. */
    const int32_t *column_group;
};

/*
 * How rows of the matrix lie in a part.
 *   ROWS:    one after the other: every `rows` of them take `bytes` bytes.
 *   COLUMNS: along the part's last dimension: in each line (there are as many as the other dimensions say), every `rows`
 *            rows of the matrix take `bytes` bytes.
 *   FOLDED:  like ROWS, but rows far apart share bytes: behind the part's end they begin at its start again. Never written.
 *   WHOLE:   not by rows: finish() fills it, or it is the same for every matrix of this shape.
 *   WORK:    like ROWS, but kept in memory until finish(), and never in a file.
 * The last rows of a matrix, fewer than `rows`, take what is left.
 */
enum ht__part_place { HT__PART_ROWS, HT__PART_COLUMNS, HT__PART_FOLDED, HT__PART_WHOLE, HT__PART_WORK };
struct ht__part {
    const char *suffix; /* after the module's name: ".qweight" */
    const struct ht__codec *dtype;
    int n_dims;
    int64_t shape[HT__PART_DIMS]; /* outermost first */
    enum ht__part_place place;
    int64_t rows;
    uint64_t bytes;
    /* WHOLE: JSON whose length is known only when finish() has filled it. shape and size are for the longest; blanks
     * follow a shorter one, which readers of JSON ignore. */
    bool text;
};

/* Codes of some rows of a matrix: [row, row + n). Groups are counted from the first of these rows. */
struct ht__codes {
    int64_t row, n_rows;
    uint8_t *q;   /* n_rows x n_in, one a weight */
    float *scale; /* one a group: ht__scheme_groups() */
    float *zero;  /* likewise; NULL where the scheme has no zero points */
    /* The group of each column, where a file lists them (GPTQ's act-order); NULL: groups follow one another. unpack()
     * sets it to memory of the part that it reads. fit() takes the columns of a group together all the same. */
    const int32_t *column_group;
};

enum ht__scheme_flags {
    HT__SCHEME_NEEDS_AMAX = 1, /* matrix.amax must be known before fit */
    HT__SCHEME_ZERO = 2,       /* codes have zero points */
    HT__SCHEME_READ_ONLY = 4,  /* what other programs wrote can be read; never written: no fit, nearest, pack, config */
    HT__SCHEME_SHARED = 8,     /* matrices that a runtime fuses (q, k, v; gate, up) must share the amax */
    HT__SCHEME_STACKS = 32,    /* for experts of a layer that lie in one tensor, and for nothing else */
    HT__SCHEME_NO_EXPERTS = 16,   /* programs that load it cannot load experts so */
    HT__SCHEME_LISTED = 64,       /* its files list the group of each column, which a method is to choose */
    HT__SCHEME_INT8_INPUTS = 256, /* programs that load it round activations to 8 bits, with a scale a token */
    HT__SCHEME_CONV1D = 128,      /* programs that load it replace GPT-2's Conv1D too, whose weight is turned round */
};

enum ht__scheme_loader { HT__LOADED_BY_TRANSFORMERS = 1, HT__LOADED_BY_VLLM = 2 };

/* A Linear of the model, for a configuration. */
struct ht__scheme_module {
    const char *name;                       /* "model.layers.0.self_attn.q_proj" */
    const struct ht__scheme_params *params; /* NULL: it stays as it is */
};
/* A whole folder, for a configuration: its Linears in the order of the model. */
struct ht__scheme_package {
    const struct ht__scheme_params *params; /* what most of it has */
    const struct ht__scheme_module *modules;
    size_t n_modules;
    const struct ht__codec *dtype; /* of the model's floats */
};

struct ht__scheme {
    const char *name;    /* as behind -t: "nf4" */
    const char *label;   /* in folder names and tables: "NF4" */
    const char *family;  /* the program or format: "bitsandbytes" */
    const char *about;   /* one line: "4 bits, normal-float codes" */
    const char *loaders; /* programs that load it: "transformers, vLLM" */
    /* Those of them whose memory is known (HT__LOADED_BY_…), and those that hold the floats of all its weights while they
     * run, whatever the folder holds. */
    unsigned loaded_by, unpacked_by;
    unsigned flags;
    const struct ht__scheme_option *options; /* ends with name == NULL; NULL: none */
    /* Flags that these options add to `flags`; NULL: none. Ask ht__scheme_flags(). */
    unsigned (*flags_with)(const struct ht__scheme_params *);
    /* Why the matrix cannot be stored so ("rows of 100 do not divide into groups of 128"), or NULL: it can. */
    const char *(*unsuited)(const struct ht__scheme_params *, const struct ht__matrix *);
    int (*parts)(const struct ht__scheme_params *, const struct ht__matrix *, struct ht__part out[HT__SCHEME_PARTS]);
    /* Rows that share parameters (blocks of 128 x 128): 128; NULL: 1. */
    int64_t (*rows)(const struct ht__scheme_params *, const struct ht__matrix *);
    /* Groups of n_rows rows. */
    int64_t (*groups)(const struct ht__scheme_params *, const struct ht__matrix *, int64_t n_rows);
    /* Scales (and zero points) of these rows, each the number that will be read back. importance: n_in floats or NULL. */
    void (*fit)(const struct ht__scheme_params *, const struct ht__matrix *, const float *x, const float *importance,
                struct ht__codes *);
    /* The code nearest to each weight under codes->scale and zero. */
    void (*nearest)(const struct ht__scheme_params *, const struct ht__matrix *, const float *x, struct ht__codes *);
    /* What a program that loads the parts computes with, bit by bit: its dequantized weights, as floats. */
    void (*value)(const struct ht__scheme_params *, const struct ht__matrix *, const struct ht__codes *, float *dst);
    /* dst[i]: these rows of part i: for COLUMNS, line after line, each with these rows' bytes alone; for WHOLE, NULL. */
    void (*pack)(const struct ht__scheme_params *, const struct ht__matrix *, const struct ht__codes *,
                 void *const dst[]);
    /* Once all rows are packed: whole[i] is a part that is WHOLE (to be filled) or WORK (filled), otherwise NULL.
     * NULL where there are none. */
    void (*finish)(const struct ht__scheme_params *, const struct ht__matrix *, void *const whole[]);
    /* The reverse of pack. src[i]: these rows of part i as for pack; WHOLE parts complete. There is no WORK then. */
    void (*unpack)(const struct ht__scheme_params *, const struct ht__matrix *, const void *const src[],
                   struct ht__codes *);
    /* What is wrong with parts that are WHOLE (src[i], others NULL), as read from a file; NULL: nothing. NULL: no such parts.
     * *part is the one that is. */
    const char *(*complaint)(const struct ht__scheme_params *, const struct ht__matrix *, const void *const src[],
                             int *part);
    /* Why the configuration of a folder that mostly has `params` cannot say that some modules have `other`; NULL: it can.
     * NULL: it knows one kind alone, and which modules are left out. Ask ht__scheme_apart(). */
    const char *(*apart)(const struct ht__scheme_params *params, const struct ht__scheme_params *other);
    /* The members of config.json's "quantization_config" object, which is open. NULL: READ_ONLY. */
    void (*config)(const struct ht__scheme_package *, struct ht__jw *);
    const void *family_data; /* what the units of a family say to each other, as its header tells; or NULL */
    /* Another file of the folder with settings, or NULL: its name, and its members (the object is open). Where there are
     * no members, there is no file. */
    const char *side_file;
    void (*side)(const struct ht__scheme_package *, struct ht__jw *);
};

/* By index, in the order of schemes.def, registered ones (see below) after them; NULL past the end. */
const struct ht__scheme *ht__scheme_at(size_t index);
/* By name, whatever the case; or NULL. */
const struct ht__scheme *ht__scheme_by_name(const char *name, size_t len);
/* The name of the scheme nearest to a mistyped one; NULL: none is near. */
const char *ht__scheme_nearest(const char *word);
/* "gptq:bits=3,group=64". HT_ERR_NOT_FOUND, without a diagnosis: there is no such scheme. */
HT_MUST_CHECK enum ht_err ht__scheme_parse(const char *text, struct ht__scheme_params *params, struct ht_diag *diag);
/* The same for what is read: options and schemes too that only other programs write. */
HT_MUST_CHECK enum ht_err ht__scheme_parse_reading(const char *text, struct ht__scheme_params *params,
                                                   struct ht_diag *diag);
/* Every option at its default. */
void ht__scheme_defaults(const struct ht__scheme *scheme, struct ht__scheme_params *params);
/* The option with this name; it must exist. */
double ht__scheme_get(const struct ht__scheme_params *params, const char *option);
void ht__scheme_set(struct ht__scheme_params *params, const char *option, double value);
/* The name, and those options that are not at their defaults: what ht__scheme_parse takes. */
const char *ht__scheme_text(const struct ht__scheme_params *params, char *buffer, size_t size);

/* The flags of the scheme with these options. */
unsigned ht__scheme_flags(const struct ht__scheme_params *params);
/* The same scheme with the same options; either may be NULL, which is like nothing but itself. */
bool ht__scheme_same(const struct ht__scheme_params *a, const struct ht__scheme_params *b);

/* Why some modules of a folder with `params` cannot have `other`; NULL: they can. */
const char *ht__scheme_apart(const struct ht__scheme_params *params, const struct ht__scheme_params *other);

/* Rows are taken in multiples of this (but for the last ones of a matrix). */
int64_t ht__scheme_rows(const struct ht__scheme_params *params, const struct ht__matrix *matrix);

uint64_t ht__part_bytes(const struct ht__part *part);
/* Bytes of n rows from `row` on, in all lines. */
uint64_t ht__part_rows_bytes(const struct ht__part *part, const struct ht__matrix *matrix, int64_t row, int64_t n);
/* Where rows [row, row + n) lie: piece i of the part's bytes; false past the last. A ROWS part has one piece, a COLUMNS
 * part one a line, a FOLDED part one a fold that the rows lie in. `packed` is where the piece lies in what pack() gives. */
struct ht__part_piece {
    uint64_t offset, packed, n_bytes;
};
bool ht__part_piece(const struct ht__part *part, const struct ht__matrix *matrix, int64_t row, int64_t n, uint64_t i,
                    struct ht__part_piece *piece);

/* How a whole matrix is worked on. Memory is asked for by the calling thread alone, which calls progress(), too. */
struct ht__scheme_run {
    const float *importance; /* n_in floats or NULL */
    int n_threads;           /* 0: every core */
    const struct ht__alloc *alloc;
    const struct ht__codec *from; /* in which weights are given that are quantized; NULL: floats */
    bool (*progress)(void *ctx, int64_t n_done, int64_t n_out); /* rows; false: stop. Or NULL */
    void *ctx;
};
/* Parts of a whole matrix in memory, rounded to nearest: parts[i] has ht__part_bytes() bytes (WORK parts too). */
HT_MUST_CHECK enum ht_err ht__matrix_quantize(const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                                              const void *x, void *const parts[], const struct ht__scheme_run *run,
                                              struct ht_diag *diag);
/* The reverse: n_out x n_in floats, as the programs that load it see them. Parts that are WORK may be NULL. */
HT_MUST_CHECK enum ht_err ht__matrix_dequantize(const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                                                const void *const parts[], float *x, const struct ht__scheme_run *run,
                                                struct ht_diag *diag);
/* The same on one thread. */
HT_MUST_CHECK enum ht_err ht__scheme_quantize(const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                                              const float *x, void *const parts[], struct ht__arena *scratch,
                                              struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__scheme_dequantize(const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                                                const void *const parts[], float *x, struct ht__arena *scratch,
                                                struct ht_diag *diag);

/* Codes for n_rows rows, in an arena; false: memory is out. */
bool ht__codes_new(struct ht__codes *codes, const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                   int64_t row, int64_t n_rows, struct ht__arena *arena);

/* For tests: adds a scheme at the end of the list, for the life of the process. */
void ht__scheme_register(const struct ht__scheme *scheme);

#define HT_SCHEME(id) extern const struct ht__scheme ht__scheme_##id;
#include "schemes/schemes.def"
#undef HT_SCHEME

#endif
