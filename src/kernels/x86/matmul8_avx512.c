/*
 * Products of quantized rows with activations in eight bits. Sixteen rows of a matrix are in lanes: their codes are
 * turned so that a vector holds four neighbouring codes of each row, which one dot-product instruction multiplies
 * with four activations of a token. What a type must do is unpack one block of sixteen rows (struct panel); the sums
 * are the same for all.
 */
#include "kernels/codec/k_block.h"
#include "kernels/half.h"
#include "kernels/ops/ops_list.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 16, SUPER = 256, TILE = 8 };

/* 256 weights of sixteen rows: w = scale * (code - offset) - min, with code 0 … 255. */
struct panel {
    __m512i codes[SUPER / 4]; /* four codes of each row */
    __m512 scales[SUPER / 16], mins[SUPER / 32];
};

struct form {
    int sub;     /* weights a scale: 16 or 32 */
    int offset;  /* taken off every code */
    bool mins;   /* a minimum for each 32 */
};

struct rows {
    const uint8_t *at[ROWS];
};

/* ---- turning ---- */

/* Dword j of sixteen rows of 64 bytes goes to out[j]. */
INLINE void turn64(const struct rows *r, size_t offset, __m512i out[16])
{
    __m512i a[16], t[16];
    for (int i = 0; i < 16; i++)
        a[i] = _mm512_loadu_si512(r->at[i] + offset);
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            a[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            a[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
        }
    for (int j = 0; j < 4; j++) {
        __m512i p = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x88), q = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0x88);
        __m512i s = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xdd), u = _mm512_shuffle_i32x4(a[8 + j], a[12 + j], 0xdd);
        out[j] = _mm512_shuffle_i32x4(p, q, 0x88);
        out[8 + j] = _mm512_shuffle_i32x4(p, q, 0xdd);
        out[4 + j] = _mm512_shuffle_i32x4(s, u, 0x88);
        out[12 + j] = _mm512_shuffle_i32x4(s, u, 0xdd);
    }
}

/* The same of 32 bytes: eight dwords. */
INLINE void turn32(const struct rows *r, size_t offset, __m512i out[8])
{
    __m512i a[8], t[8];
    for (int i = 0; i < 8; i++) { /* rows i and i + 4 in halves, for the first eight rows and for the last */
        int row = i / 4 * 8 + i % 4;
        __m256i low = _mm256_loadu_si256((const __m256i *)(r->at[row] + offset));
        a[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low),
                                  _mm256_loadu_si256((const __m256i *)(r->at[row + 4] + offset)), 1);
    }
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            a[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            a[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
        }
    for (int j = 0; j < 4; j++) {
        out[j] = _mm512_shuffle_i32x4(a[j], a[4 + j], 0x88);
        out[4 + j] = _mm512_shuffle_i32x4(a[j], a[4 + j], 0xdd);
    }
}

/* The same of 16 bytes: four dwords. */
INLINE void turn16(const struct rows *r, size_t offset, __m512i out[4])
{
    __m512i a[4], t[4];
    for (int i = 0; i < 4; i++) {
        __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(r->at[i] + offset)));
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(r->at[4 + i] + offset)), 1);
        v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(r->at[8 + i] + offset)), 2);
        a[i] = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(r->at[12 + i] + offset)), 3);
    }
    for (int i = 0; i < 2; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    for (int j = 0; j < 2; j++) {
        out[2 * j] = _mm512_unpacklo_epi64(t[j], t[2 + j]);
        out[2 * j + 1] = _mm512_unpackhi_epi64(t[j], t[2 + j]);
    }
}

/* A half of each row. */
INLINE __m512 halves(const struct rows *r, size_t offset)
{
    uint16_t h[ROWS];
    for (int i = 0; i < ROWS; i++)
        memcpy(&h[i], r->at[i] + offset, 2);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)h));
}

INLINE __m512i low_nibbles(__m512i v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
INLINE __m512i high_nibbles(__m512i v) { return low_nibbles(_mm512_srli_epi16(v, 4)); }

/* Bits of each byte of a dword: (v >> shift & mask) << up. */
INLINE __m512i bits(__m512i v, int shift, int mask, int up)
{
    v = _mm512_and_si512(_mm512_srli_epi32(v, (unsigned)shift), _mm512_set1_epi8((char)mask));
    return _mm512_slli_epi32(v, (unsigned)up);
}

/* ---- unpacking, one function a type ---- */

/* Eight blocks of 32 in a panel, or fewer where the row ends. */
INLINE void unpack_q8_0(const struct rows *r, int n_blocks, struct panel *p)
{
    for (int b = 0; b < n_blocks; b++) {
        __m512i t[8];
        size_t at = (size_t)b * 34;
        turn32(r, at + 2, t);
        for (int j = 0; j < 8; j++) /* signed to 0 … 255 */
            p->codes[8 * b + j] = _mm512_xor_si512(t[j], _mm512_set1_epi8((char)0x80));
        p->scales[b] = halves(r, at);
    }
}

INLINE void unpack_q4_0(const struct rows *r, int n_blocks, struct panel *p)
{
    for (int b = 0; b < n_blocks; b++) {
        __m512i t[4];
        size_t at = (size_t)b * 18;
        turn16(r, at + 2, t);
        for (int j = 0; j < 4; j++) {
            p->codes[8 * b + j] = low_nibbles(t[j]);
            p->codes[8 * b + 4 + j] = high_nibbles(t[j]);
        }
        p->scales[b] = halves(r, at);
    }
}

/* The six-bit scales and minima of Q4_K and Q5_K, all rows at once; head: d and dmin, then twelve bytes. */
INLINE void unpack_k_scales(const __m512i head[4], struct panel *p)
{
    __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(head[0]));
    __m512 dmin = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(head[0], 16)));
    const __m512i six = _mm512_set1_epi32(63), four = _mm512_set1_epi32(15), two = _mm512_set1_epi32(0x30);
    for (unsigned j = 0; j < 4; j++) {
        __m512i s = _mm512_srli_epi32(head[1], 8 * j), m = _mm512_srli_epi32(head[2], 8 * j);
        __m512i both = _mm512_srli_epi32(head[3], 8 * j);
        p->scales[j] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_and_si512(s, six)));
        p->mins[j] = _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(_mm512_and_si512(m, six)));
        __m512i high_s = _mm512_and_si512(_mm512_srli_epi32(s, 2), two), high_m = _mm512_and_si512(_mm512_srli_epi32(m, 2), two);
        s = _mm512_or_si512(_mm512_and_si512(both, four), high_s);
        m = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi32(both, 4), four), high_m);
        p->scales[4 + j] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(s));
        p->mins[4 + j] = _mm512_mul_ps(dmin, _mm512_cvtepi32_ps(m));
    }
}

INLINE void unpack_q4_k(const struct rows *r, int n_blocks, struct panel *p)
{
    __m512i head[4], t[16];
    (void)n_blocks;
    turn16(r, 0, head);
    unpack_k_scales(head, p);
    for (int half = 0; half < 2; half++) {
        turn64(r, 16 + 64 * (size_t)half, t);
        for (int g = 0; g < 2; g++) /* 32 bytes: the low nibbles are 32 weights, the high ones the next 32 */
            for (int j = 0; j < 8; j++) {
                p->codes[32 * half + 16 * g + j] = low_nibbles(t[8 * g + j]);
                p->codes[32 * half + 16 * g + 8 + j] = high_nibbles(t[8 * g + j]);
            }
    }
}

INLINE void unpack_q5_k(const struct rows *r, int n_blocks, struct panel *p)
{
    __m512i head[4], high[8], t[16];
    (void)n_blocks;
    turn16(r, 0, head);
    unpack_k_scales(head, p);
    turn32(r, 16, high);
    for (int half = 0; half < 2; half++) {
        turn64(r, 48 + 64 * (size_t)half, t);
        for (int g = 0; g < 2; g++)
            for (int j = 0; j < 8; j++) {
                int at = 4 * half + 2 * g;
                p->codes[32 * half + 16 * g + j] = _mm512_or_si512(low_nibbles(t[8 * g + j]), bits(high[j], at, 1, 4));
                p->codes[32 * half + 16 * g + 8 + j] =
                    _mm512_or_si512(high_nibbles(t[8 * g + j]), bits(high[j], at + 1, 1, 4));
            }
    }
}

INLINE void unpack_q6_k(const struct rows *r, int n_blocks, struct panel *p)
{
    __m512i low[16], high[16], scales[4];
    (void)n_blocks;
    turn64(r, 128, high);
    for (int half = 0; half < 2; half++) {
        turn64(r, 64 * (size_t)half, low);
        for (int j = 0; j < 8; j++) {
            __m512i *c = p->codes + 32 * half + j, h = high[8 * half + j];
            c[0] = _mm512_or_si512(low_nibbles(low[j]), bits(h, 0, 3, 4));
            c[8] = _mm512_or_si512(low_nibbles(low[8 + j]), bits(h, 2, 3, 4));
            c[16] = _mm512_or_si512(high_nibbles(low[j]), bits(h, 4, 3, 4));
            c[24] = _mm512_or_si512(high_nibbles(low[8 + j]), bits(h, 6, 3, 4));
        }
    }
    turn16(r, 192, scales);
    __m512 d = halves(r, 208);
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++) { /* a signed byte of the dword */
            __m512i s = _mm512_srai_epi32(_mm512_slli_epi32(scales[j], (unsigned)(24 - 8 * i)), 24);
            p->scales[4 * j + i] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(s));
        }
}

/* ---- sums ---- */

/* n tokens (a constant where this is inlined) with a panel of n_subs sub-blocks. */
INLINE void panel_tile(const struct form f, int n, int n_subs, const struct panel *p, const struct ht__activations *x,
                       int64_t token, int64_t at, float *sums)
{
    __m512 sum[TILE];
    const int8_t *codes[TILE];
    const float *scales[TILE];
    const int32_t *wholes[TILE];
    for (int t = 0; t < n; t++) {
        sum[t] = _mm512_loadu_ps(sums + t * ROWS);
        codes[t] = x->codes + (token + t) * x->n_in + at;
        scales[t] = x->scales + ((token + t) * x->n_in + at) / 32;
        wholes[t] = x->sums + ((token + t) * x->n_in + at) / 16;
    }
    for (int s = 0; s < n_subs; s++) {
        __m512i acc[TILE];
        for (int t = 0; t < n; t++) {
            int32_t whole = f.sub == 16 ? wholes[t][s] : wholes[t][2 * s] + wholes[t][2 * s + 1];
            acc[t] = f.offset ? _mm512_set1_epi32(-f.offset * whole) : _mm512_setzero_si512();
        }
        for (int j = 0; j < f.sub / 4; j++) {
            __m512i c = p->codes[s * (f.sub / 4) + j];
            for (int t = 0; t < n; t++) {
                int32_t four;
                memcpy(&four, codes[t] + s * f.sub + 4 * j, 4);
                acc[t] = _mm512_dpbusd_epi32(acc[t], c, _mm512_set1_epi32(four));
            }
        }
        for (int t = 0; t < n; t++) {
            float scale = scales[t][s * f.sub / 32];
            sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[t]), _mm512_mul_ps(p->scales[s], _mm512_set1_ps(scale)), sum[t]);
            if (f.mins) {
                float whole = scale * (float)(wholes[t][2 * s] + wholes[t][2 * s + 1]);
                sum[t] = _mm512_fnmadd_ps(p->mins[s], _mm512_set1_ps(whole), sum[t]);
            }
        }
    }
    for (int t = 0; t < n; t++)
        _mm512_storeu_ps(sums + t * ROWS, sum[t]);
}

/* With few tokens memory is the limit, and sixteen rows side by side are more streams than processors foresee: the
 * part of the next sixteen rows, which lie behind these, that corresponds to a block of these. */
INLINE void fetch_ahead(const struct ht__matmul_weights *w, int row, int64_t k, int depth)
{
    const char *next = (const char *)w->rows + (size_t)(row + ROWS) * w->row_bytes;
    size_t size = ROWS * w->row_bytes, from = size * (size_t)k / (size_t)w->n_in;
    size_t to = size * (size_t)(k + depth) / (size_t)w->n_in;
    for (size_t i = from / 64 * 64; i < to; i += 64)
        _mm_prefetch(next + i, _MM_HINT_T0);
}

enum { TOKENS = 64 }; /* whose sums stay at hand while a block is unpacked once */

typedef void unpack_fn(const struct rows *r, int n_blocks, struct panel *p);

INLINE void sixteen_rows(const struct form f, unpack_fn *unpack, const struct ht__matmul_weights *w, int row, int n_rows,
                         const struct ht__activations *x, int64_t token, int n, float *y, int64_t ldy)
{
    float sums[TOKENS * ROWS] = {0};
    struct rows r;
    struct panel p;
    for (int i = 0; i < ROWS; i++)
        r.at[i] = (const uint8_t *)w->rows + (size_t)(row + (i < n_rows ? i : n_rows - 1)) * w->row_bytes;
    for (int64_t k = 0; k < w->n_in; k += SUPER) {
        int depth = (int)(w->n_in - k < SUPER ? w->n_in - k : SUPER);
        if (n <= TILE) fetch_ahead(w, row, k, depth);
        unpack(&r, depth / 32, &p);
        int t = 0;
        for (; t + TILE <= n; t += TILE)
            panel_tile(f, TILE, depth / f.sub, &p, x, token + t, k, sums + t * ROWS);
        for (; t + 2 <= n; t += 2)
            panel_tile(f, 2, depth / f.sub, &p, x, token + t, k, sums + t * ROWS);
        if (t < n) panel_tile(f, 1, depth / f.sub, &p, x, token + t, k, sums + t * ROWS);
        for (int i = 0; i < ROWS; i++)
            r.at[i] += (size_t)(depth / (int)w->block_len) * w->block_size;
    }
    __mmask16 mask = (__mmask16)((1u << n_rows) - 1);
    for (int t = 0; t < n; t++)
        _mm512_mask_storeu_ps(y + t * ldy + row, mask, _mm512_loadu_ps(sums + t * ROWS));
}

INLINE void matmul8(const struct form f, unpack_fn *unpack, const struct ht__matmul_weights *w,
                    const struct ht__activations *x, int64_t n_tokens, float *y, int64_t ldy)
{
    for (int64_t t = 0; t < n_tokens; t += TOKENS)
        for (int row = 0; row < w->n_rows; row += ROWS) {
            int n_rows = w->n_rows - row < ROWS ? w->n_rows - row : ROWS;
            int n = (int)(n_tokens - t < TOKENS ? n_tokens - t : TOKENS);
            sixteen_rows(f, unpack, w, row, n_rows, x, t, n, y + t * ldy, ldy);
        }
}

/*
 * Q8_0 and one token: a row at a time, as nothing is to be unpacked and one stream is read faster than sixteen. Eight
 * blocks: their scales, then two blocks a vector.
 */
INLINE __m512 eight_blocks_q8_0(const uint8_t *in, const int8_t *codes, const float *scales, __m512 sum)
{
    uint16_t h[8];
    for (int b = 0; b < 8; b++)
        memcpy(&h[b], in + 34 * b, 2);
    __m256 d = _mm256_mul_ps(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h)), _mm256_loadu_ps(scales));
    __m512 both = _mm512_castps256_ps512(d);
    for (int b = 0; b < 8; b += 2) {
        __m512i w = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(in + 34 * b + 2)));
        w = _mm512_inserti64x4(w, _mm256_loadu_si256((const __m256i *)(in + 34 * b + 36)), 1);
        __m512i x = _mm512_loadu_si512(codes + 32 * b);
        x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
        __m512i whole = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_abs_epi8(w), x);
        __m512i pick = _mm512_mask_set1_epi32(_mm512_set1_epi32(b), 0xff00, b + 1);
        sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_permutexvar_ps(pick, both), sum);
    }
    return sum;
}

static void one_token_q8_0(const struct ht__matmul_weights *w, const struct ht__activations *x, float *y)
{
    for (int r = 0; r < w->n_rows; r++) {
        const uint8_t *in = (const uint8_t *)w->rows + (size_t)r * w->row_bytes;
        __m512 sum = _mm512_setzero_ps();
        for (int64_t k = 0; k < w->n_in; k += SUPER, in += 8 * 34)
            sum = eight_blocks_q8_0(in, x->codes + k, x->scales + k / 32, sum);
        y[r] = _mm512_reduce_add_ps(sum);
    }
}

/* name, weights a scale, offset, minima */
#define TYPES(X) X(q8_0, 32, 128, false) X(q4_0, 32, 8, false) X(q4_k, 32, 0, true) X(q5_k, 32, 0, true) X(q6_k, 16, 32, false)

#define FUNCTION(id, sub, offset, mins)                                                                        \
    static void matmul_##id(const struct ht__matmul_weights *w, const struct ht__activations *x,              \
                            int64_t n_tokens, float *y, int64_t ldy)                                           \
    {                                                                                                          \
        if (&ht__codec_##id == &ht__codec_q8_0 && n_tokens == 1 && w->n_in % SUPER == 0)                       \
            one_token_q8_0(w, x, y);                                                                           \
        else                                                                                                   \
            matmul8((struct form){sub, offset, mins}, unpack_##id, w, x, n_tokens, y, ldy);                    \
    }
TYPES(FUNCTION)
#undef FUNCTION

ht__matmul8_fn *ht__matmul8_avx512(const struct ht__codec *codec)
{
#define ROW(id, sub, offset, mins) if (codec == &ht__codec_##id) return matmul_##id;
    TYPES(ROW)
#undef ROW
    return NULL;
}

/* ---- one token, float formats ---- */

INLINE __m512 load_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}

INLINE __m512 load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

#define VECTOR(id, load)                                                                                       \
    static void vector_##id(const struct ht__matmul_weights *w, const float *x, float *y)                     \
    {                                                                                                          \
        for (int r = 0; r < w->n_rows; r++) {                                                                  \
            const uint8_t *row = (const uint8_t *)w->rows + (size_t)r * w->row_bytes;                          \
            __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()}; \
            int64_t k = 0;                                                                                     \
            for (; k + 64 <= w->n_in; k += 64)                                                                 \
                for (int i = 0; i < 4; i++)                                                                    \
                    sum[i] = _mm512_fmadd_ps(load(row + 2 * (k + 16 * i)), _mm512_loadu_ps(x + k + 16 * i), sum[i]); \
            float rest[64], total;                                                                             \
            total = _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3]))); \
            if (k < w->n_in) w->decode(row + 2 * k, w->n_in - k, rest);                                        \
            for (int64_t i = k; i < w->n_in; i++)                                                              \
                total += rest[i - k] * x[i];                                                                   \
            y[r] = total;                                                                                      \
        }                                                                                                      \
    }
VECTOR(bf16, load_bf16)
VECTOR(f16, load_f16)
#undef VECTOR

ht__vector_fn *ht__vector_avx512(const struct ht__codec *codec)
{
    return codec == &ht__codec_bf16 ? vector_bf16 : codec == &ht__codec_f16 ? vector_f16 : NULL;
}
