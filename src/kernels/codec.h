/*
 * The descriptor of a numeric format and the contract of its kernels.
 *
 * Kernels are pure: no allocation, no I/O, no errors. Callers prove the preconditions:
 *   - n_weights and row_len are multiples of block_len; pointers are not NULL for n > 0;
 *   - encode input is finite (the pipeline refuses NaN and infinity by the tensor's name);
 *   - importance, where given, is finite and not negative.
 * `src` of float data is aligned to 4 bytes and packed data to 1: nothing more may be assumed.
 * Exactness: encode, decode and check give the same bytes on every CPU level.
 */
#ifndef HT_KERNELS_CODEC_H
#define HT_KERNELS_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * src: n_rows x row_len floats, rows adjacent. importance: row_len floats (the same for all rows) or NULL.
 * dst: n_rows x row_len / block_len blocks. Kernels receive many rows so that SIMD variants can put
 * super-blocks or rows in lanes; the bytes never depend on how rows are grouped into calls.
 */
typedef void ht__encode_fn(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst);
/* src: n_weights / block_len blocks; dst: n_weights floats. */
typedef void ht__decode_fn(const void *src, int64_t n_weights, float *dst);
/* Index of the first block that no encoder would write and no decoder accepts (non-finite scale,
 * reserved code), or -1 when all are sound. */
typedef int64_t ht__check_fn(const void *src, int64_t n_blocks);

enum ht__codec_flags {
    HT__CODEC_USES_IMPORTANCE = 1,  /* encode looks at importance */
    HT__CODEC_NEEDS_IMPORTANCE = 2, /* encode must not be called with NULL importance */
    HT__CODEC_SOURCE_ONLY = 4,      /* a checkpoint dtype that is decoded but never written (encode NULL) */
    HT__CODEC_PLAIN = 8,            /* not quantized: one weight an element (F32, F16, BF16, integers) */
};

#define HT__NO_GGML_ID UINT32_MAX

/*
 * The codes of a block apart from its scales, for methods that choose codes by themselves: the weight of code c is
 * scale * value(c) + offset, in this order of operations as decode computes it, bit by bit (but for the sign of zero).
 * The types whose codes are points of a lattice (IQ1, IQ2, IQ3) have none.
 */
struct ht__grid {
    int n_codes; /* codes are 0 … n_codes - 1, their values ascending */
    int group;   /* weights in a row that share scale and offset; divides block_len */
    /* The value of each code (the four-bit floats have two zeros, all others no two alike); NULL: the code itself. */
    const int8_t *values;
    /* One block that encode wrote: block_len codes, and block_len / group scales (of either sign, or 0) and offsets. */
    void (*read)(const void *block, uint8_t *codes, float *scale, float *offset);
    /* Replaces the codes; the scales stay. */
    void (*write)(void *block, const uint8_t *codes);
};

struct ht__codec {
    const char *name;            /* lower case, as the CLI prints it: "q4_k" */
    const char *label;           /* as llama.cpp writes it: "Q4_K" */
    uint32_t ggml_id;            /* type id in a GGUF file, or HT__NO_GGML_ID */
    uint32_t block_len;          /* weights a block */
    uint32_t block_size;         /* bytes a block */
    unsigned flags;              /* enum ht__codec_flags */
    const char *fallback;        /* type taken where a row is not a multiple of block_len, or NULL */
    float rmse_bound;            /* relative RMSE on gaussian rows that encode must stay under (tests) */
    ht__encode_fn *encode;       /* scalar reference; NULL for SOURCE_ONLY */
    ht__decode_fn *decode;       /* scalar reference, never NULL */
    ht__check_fn *check;         /* NULL: every byte pattern is sound */
    const struct ht__grid *grid; /* NULL: codes and scales do not come apart */
    /* As encode, slower and better: importance is exactly what the squared error of a weight counts. NULL: none. */
    ht__encode_fn *encode_best;
};

/* CPU levels, each a bundle that includes the ones before it of the same family of processors. */
#define HT__CPU_LEVELS(X) X(scalar) X(avx2) X(avx512) X(avx512bf16) X(amx) X(neon)
enum ht__cpu_level {
#define HT__CPU_ENUM(name) HT__CPU_##name,
    HT__CPU_LEVELS(HT__CPU_ENUM)
#undef HT__CPU_ENUM
        HT__CPU_N_LEVELS
};
/*
 * avx2:   AVX2, FMA, F16C, BMI1, BMI2        (Haswell and Zen on)
 * avx512: AVX-512 F, BW, CD, DQ, VL, VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ  (Ice Lake and Zen 4 on)
 * avx512bf16: the same and AVX-512's BF16  (Zen 4, Cooper Lake and Sapphire Rapids on)
 * amx:    the same and AMX's tiles, INT8 and BF16, where the system grants them  (Sapphire Rapids on)
 * neon:   64-bit ARM with the dot products of bytes  (ARMv8.2 on: Cortex-A76, Neoverse N1, Graviton 2, Apple M1)
 * Other processors run the scalar code.
 */

/* Codec by name (case-insensitive) or GGUF type id; NULL if unknown. */
const struct ht__codec *ht__codec_by_name(const char *name);
const struct ht__codec *ht__codec_by_ggml_id(uint32_t id);
/* Codecs in the order of types.def. */
size_t ht__codec_count(void);
const struct ht__codec *ht__codec_at(size_t index);

/* The best kernel at or below `level`; the scalar one where there is no variant. */
ht__encode_fn *ht__encoder(const struct ht__codec *codec, enum ht__cpu_level level);
ht__decode_fn *ht__decoder(const struct ht__codec *codec, enum ht__cpu_level level);
ht__check_fn *ht__checker(const struct ht__codec *codec, enum ht__cpu_level level);

/* What this machine can run, and whether variants of a level may run here (tests walk the levels). */
enum ht__cpu_level ht__cpu_best(void);
bool ht__cpu_has(enum ht__cpu_level level);
const char *ht__cpu_level_name(enum ht__cpu_level level);
/* Bytes by which weights that are read once are to be asked for ahead; 0: the processor does that better by itself. */
size_t ht__cpu_row_ahead(void);

/* Bytes of n weights; n must be a multiple of block_len. */
static inline size_t ht__codec_bytes(const struct ht__codec *codec, uint64_t n)
{
    return (size_t)(n / codec->block_len * codec->block_size);
}

/* Declarations of every codec and variant, from the lists. */
#define HT_TYPE(id) extern const struct ht__codec ht__codec_##id;
#include "kernels/types.def"
#undef HT_TYPE
#define HT_VARIANT(id, op, level) ht__##op##_fn ht__##id##_##op##_##level;
#include "kernels/variants.def"
#undef HT_VARIANT

#endif
