/*
 * Products of a row with one token in eight bits: codes are unpacked in their order, nothing is
 * turned, and rows are one stream. Memory is the limit of most formats then.
 */
#include "kernels/codec/fp4.h"
#include "kernels/codec/iq4.h"
#include "kernels/ops/ops_list.h"
#include "kernels/x86/ahead.h"
#include "kernels/x86/vec_avx512.h"

#include <string.h>

typedef __m512i vi;

enum { SUPER = 256 };

/* 256 weights in order, w = scale * (code - offset) - min; scales and minima of each 16. */
struct line {
    vi codes[4];
    vf scales, mins;
};

/* ---- pieces ---- */

VEC uint32_t word_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

VEC vf half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)h));
}

/* Eight floats, each twice. */
VEC vf twice(__m256 v)
{
    const vi pairs = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(pairs, _mm512_castps256_ps512(v));
}

/* Eight bytes as floats, each twice, less an offset. */
VEC vf bytes_twice(uint64_t bytes, int offset)
{
    __m128i v = _mm_cvtsi64_si128((long long)bytes);
    vi all = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(v, v));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(all, _mm512_set1_epi32(offset)));
}

/* Halves at the head of eight blocks. */
VEC vf heads(const uint8_t *in, size_t size)
{
    uint16_t h[8];
    for (int b = 0; b < 8; b++)
        memcpy(&h[b], in + (size_t)b * size, 2);
    return twice(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h)));
}

/* Bytes of a qword shifted right by `low` bits in the first 32 bytes and by `high` in the others. */
VEC vi shifted(vi v, int low, int high)
{
    const long long bytes = 0x3830282018100800;
    long long a = bytes + 0x0101010101010101 * low, b = bytes + 0x0101010101010101 * high;
    return _mm512_multishift_epi64_epi8(_mm512_setr_epi64(a, a, a, a, b, b, b, b), v);
}

VEC vi twice_32(const uint8_t *p)
{
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
}
VEC vi mask8(vi v, int mask)
{
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}
VEC vi plus_where(vi v, __mmask64 m, int a)
{
    return _mm512_mask_add_epi8(v, m, v, _mm512_set1_epi8((char)a));
}

/* Where bit 2v of the first 32 bytes is set, and bit 2v + 1 of the other 32. */
VEC __mmask64 bits_of(vi v, int number)
{
    const char a = (char)(1 << 2 * number), b = (char)(2 << 2 * number);
    return _mm512_test_epi8_mask(v, _mm512_inserti64x4(_mm512_set1_epi8(a), _mm256_set1_epi8(b), 1));
}

/* Two blocks of nibbles: 16 bytes each, low ones before high ones. */
VEC vi nibbles_of_two(const uint8_t *first, const uint8_t *second)
{
    const long long low = 0x3830282018100800, high = 0x3c342c241c140c04;
    vi v = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)first));
    v = _mm512_mask_broadcast_i32x4(v, 0xff00, _mm_loadu_si128((const __m128i *)second));
    return mask8(_mm512_multishift_epi64_epi8(_mm512_setr_epi64(low, low, high, high, low, low, high, high), v), 15);
}

VEC void nibbles_of_eight(const uint8_t *in, size_t size, size_t at, vi codes[4])
{
    for (size_t v = 0; v < 4; v++)
        codes[v] = nibbles_of_two(in + 2 * v * size + at, in + (2 * v + 1) * size + at);
}

VEC void fifth_bits(const uint8_t *in, size_t size, size_t at, vi codes[4])
{
    for (size_t v = 0; v < 4; v++) {
        uint64_t both = word_at(in + 2 * v * size + at) | (uint64_t)word_at(in + (2 * v + 1) * size + at) << 32;
        codes[v] = plus_where(codes[v], both, 16);
    }
}

VEC void look_up(const int8_t *table, int offset, vi codes[4])
{
    vi values = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
    for (int v = 0; v < 4; v++)
        codes[v] = _mm512_add_epi8(_mm512_shuffle_epi8(values, codes[v]), _mm512_set1_epi8((char)offset));
}

/* ---- formats ---- */

VEC void line_q8_0(const uint8_t *in, struct line *l)
{
    for (int v = 0; v < 4; v++) {
        vi c = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(in + 68 * v + 2)));
        c = _mm512_inserti64x4(c, _mm256_loadu_si256((const __m256i *)(in + 68 * v + 36)), 1);
        l->codes[v] = _mm512_xor_si512(c, _mm512_set1_epi8((char)0x80));
    }
    l->scales = heads(in, 34);
}

VEC void line_q4_0(const uint8_t *in, struct line *l)
{
    nibbles_of_eight(in, 18, 2, l->codes);
    l->scales = heads(in, 18);
}

VEC void line_q4_1(const uint8_t *in, struct line *l)
{
    nibbles_of_eight(in, 20, 4, l->codes);
    l->scales = heads(in, 20);
    l->mins = _mm512_sub_ps(_mm512_setzero_ps(), heads(in + 2, 20));
}

VEC void line_q5_0(const uint8_t *in, struct line *l)
{
    nibbles_of_eight(in, 22, 6, l->codes);
    fifth_bits(in, 22, 2, l->codes);
    l->scales = heads(in, 22);
}

VEC void line_q5_1(const uint8_t *in, struct line *l)
{
    nibbles_of_eight(in, 24, 8, l->codes);
    fifth_bits(in, 24, 4, l->codes);
    l->scales = heads(in, 24);
    l->mins = _mm512_sub_ps(_mm512_setzero_ps(), heads(in + 2, 24));
}

VEC void line_iq4_nl(const uint8_t *in, struct line *l)
{
    line_q4_0(in, l);
    look_up(ht__iq4_values, 128, l->codes);
}

VEC void line_mxfp4(const uint8_t *in, struct line *l)
{
    uint8_t e[8];
    for (int b = 0; b < 8; b++)
        e[b] = in[17 * b];
    __m256i exponents = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)e)), one = _mm256_set1_epi32(1);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(exponents, one), 23);
    __m256i below = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), exponents); /* as ht__mx_scale */
    __m256i scales = _mm256_mask_mov_epi32(normal, _mm256_cmple_epi32_mask(exponents, one), below);
    l->scales = twice(_mm256_castsi256_ps(scales));
    nibbles_of_eight(in, 17, 1, l->codes);
    look_up(ht__fp4_values, 12, l->codes);
}

VEC void line_q6_k(const uint8_t *in, struct line *l)
{
    for (int h = 0; h < 2; h++) {
        vi low = _mm512_loadu_si512(in + 64 * h), high = twice_32(in + 128 + 32 * h);
        vi a = mask8(shifted(high, -4 & 63, -2 & 63), 0x30), b = mask8(shifted(high, 0, 2), 0x30);
        l->codes[2 * h] = _mm512_or_si512(mask8(low, 15), a);
        l->codes[2 * h + 1] = _mm512_or_si512(mask8(_mm512_srli_epi16(low, 4), 15), b);
    }
    vi scales = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(in + 192)));
    l->scales = v_mul(half_at(in + 208), _mm512_cvtepi32_ps(scales));
}

VEC void crumbs(const uint8_t *in, vi codes[4])
{
    for (int h = 0; h < 2; h++) {
        vi both = twice_32(in + 32 * h);
        codes[2 * h] = mask8(shifted(both, 0, 2), 3);
        codes[2 * h + 1] = mask8(shifted(both, 4, 6), 3);
    }
}

VEC void line_q2_k(const uint8_t *in, struct line *l)
{
    vi both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)in));
    crumbs(in + 16, l->codes);
    l->scales = v_mul(half_at(in + 80), _mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))));
    l->mins = v_mul(half_at(in + 82), _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
}

VEC void line_q3_k(const uint8_t *in, struct line *l)
{
    const uint32_t four = 0x0f0f0f0f, two = 0x03030303;
    uint32_t a = word_at(in + 96), b = word_at(in + 100), c = word_at(in + 104);
    __m128i s =
        _mm_setr_epi32((int)((a & four) | (c & two) << 4), (int)((b & four) | (c >> 2 & two) << 4),
                       (int)((a >> 4 & four) | (c >> 4 & two) << 4), (int)((b >> 4 & four) | (c >> 6 & two) << 4));
    vi high = twice_32(in);
    crumbs(in + 32, l->codes);
    for (int v = 0; v < 4; v++)
        l->codes[v] = plus_where(l->codes[v], bits_of(high, v), 4);
    vi scales = _mm512_sub_epi32(_mm512_cvtepu8_epi32(s), _mm512_set1_epi32(32));
    l->scales = v_mul(half_at(in + 108), _mm512_cvtepi32_ps(scales));
}

VEC void line_iq4_xs(const uint8_t *in, struct line *l)
{
    uint16_t high;
    memcpy(&high, in + 2, sizeof high);
    uint64_t s = _pdep_u64(word_at(in + 4), 0x0f0f0f0f0f0f0f0f) | _pdep_u64(high, 0x3030303030303030);
    l->scales = v_mul(half_at(in), bytes_twice(s, 32));
    for (int v = 0; v < 4; v++)
        l->codes[v] = nibbles_of_two(in + 8 + 32 * v, in + 24 + 32 * v);
    look_up(ht__iq4_values, 128, l->codes);
}

VEC void line_tq2_0(const uint8_t *in, struct line *l)
{
    crumbs(in, l->codes);
    l->scales = half_at(in + 64);
}

/* ---- sums ---- */

VEC void add_line(int offset, bool mins, const struct line *l, const struct ht__activations *x, int64_t k, vf sum[4])
{
    vf scales = twice(_mm256_loadu_ps(x->scales + k / 32)), products = v_mul(l->scales, scales);
    vi wholes = _mm512_loadu_si512(x->sums + k / 16);
    vi off = _mm512_mullo_epi32(wholes, _mm512_set1_epi32(-offset));
    for (int v = 0; v < 4; v++) {
        /* four sums of each sixteen weights: the offset is taken off the first */
        vi pick = _mm512_add_epi32(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                                   _mm512_set1_epi32(4 * v));
        vi acc = offset ? _mm512_maskz_permutexvar_epi32(0x1111, pick, off) : _mm512_setzero_si512();
        acc = _mm512_dpbusd_epi32(acc, l->codes[v], _mm512_loadu_si512(x->codes + k + 64 * v));
        sum[v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), _mm512_permutexvar_ps(pick, products), sum[v]);
    }
    if (mins) sum[0] = _mm512_fnmadd_ps(v_mul(l->mins, scales), _mm512_cvtepi32_ps(wholes), sum[0]);
}

/* ---- Q4_K and Q5_K: what is multiplied least ---- */

/* The eight scales, then the eight minima. Their bits are put in order by general registers, as vectors have the rest to do. */
VEC vf scales_and_mins(const uint8_t *in)
{
    const uint32_t six = 0x3f3f3f3f, four = 0x0f0f0f0f, two = 0x30303030;
    const vi first_or_second = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    uint32_t a = word_at(in + 4), b = word_at(in + 8), c = word_at(in + 12);
    uint64_t s = (c & four) | (a >> 2 & two), m = (c >> 4 & four) | (b >> 2 & two);
    __asm__("" : "+r"(s), "+r"(m)); /* or compilers take vectors for them */
    __m128i bytes = _mm_set_epi64x((long long)((b & six) | m << 32), (long long)((a & six) | s << 32));
    __m128 halves = _mm_cvtph_ps(_mm_cvtsi32_si128((int)word_at(in)));
    vf both = _mm512_permutexvar_ps(first_or_second, _mm512_castps128_ps512(halves));
    return v_mul(both, _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes)));
}

/* Sixteen times the codes of every other 32 weights, as they lie. */
VEC vi q4_k_codes(const uint8_t *in, int v)
{
    const __m256i low = _mm256_set1_epi8(15);
    vi mask = _mm512_inserti64x4(_mm512_set1_epi8((char)0xf0), low, 0);
    return _mm512_and_si512(twice_32(in + 16 + 32 * v), mask);
}

VEC vi q5_k_codes(const uint8_t *in, int v)
{
    vi four = mask8(shifted(twice_32(in + 48 + 32 * v), 0, 4), 15);
    return plus_where(four, bits_of(twice_32(in + 16), v), 16);
}

/* The same for both: five is known where this is inlined. */
VEC void rows_k(bool five, const struct ht__matmul_weights *w, const struct ht__activations *x, float *y)
{
    const vf sixteenth = _mm512_setr_ps(1, 0x1p-4f, 1, 0x1p-4f, 1, 0x1p-4f, 1, 0x1p-4f, 1, 1, 1, 1, 1, 1, 1, 1);
    const vi mins = _mm512_setr_epi32(8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15);
    const size_t ahead = ht__cpu_row_ahead(), size = five ? 176 : 144;
    for (int r = 0; r < w->n_rows; r++) {
        const uint8_t *in = (const uint8_t *)w->rows + (size_t)r * w->row_bytes;
        vf sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
        for (int64_t k = 0; k < w->n_in; k += SUPER, in += size) {
            fetch_behind(in, size, ahead);
            vf both = v_mul(scales_and_mins(in), _mm512_broadcast_f32x8(_mm256_loadu_ps(x->scales + k / 32)));
            vf sums = _mm512_cvtepi32_ps(_mm512_loadu_si512(x->sums + k / 16));
            sum[0] = _mm512_fnmadd_ps(_mm512_permutexvar_ps(mins, both), sums, sum[0]);
            if (!five) both = v_mul(both, sixteenth);
            for (int v = 0; v < 4; v++) {
                const vi pick = _mm512_inserti64x4(_mm512_set1_epi32(2 * v + 1), _mm256_set1_epi32(2 * v), 0);
                vi codes = five ? q5_k_codes(in, v) : q4_k_codes(in, v);
                vi acc = _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, _mm512_loadu_si512(x->codes + k + 64 * v));
                sum[v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc), _mm512_permutexvar_ps(pick, both), sum[v]);
            }
        }
        y[r] = _mm512_reduce_add_ps(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));
    }
}

static void rows_q4_k(const struct ht__matmul_weights *w, const struct ht__activations *x, float *y)
{
    rows_k(false, w, x, y);
}

static void rows_q5_k(const struct ht__matmul_weights *w, const struct ht__activations *x, float *y)
{
    rows_k(true, w, x, y);
}

/* name, bytes of 256 weights, what is taken off every code, minima */
#define ROWS8(X)                                                                                                       \
    X(q8_0, 272, 128, false)                                                                                           \
    X(q4_0, 144, 8, false)                                                                                             \
    X(q4_1, 160, 0, true)                                                                                              \
    X(q5_0, 176, 16, false)                                                                                            \
    X(q5_1, 192, 0, true)                                                                                              \
    X(iq4_nl, 144, 128, false)                                                                                         \
    X(mxfp4, 136, 12, false)                                                                                           \
    X(q2_k, 84, 0, true)                                                                                               \
    X(q3_k, 110, 4, false)                                                                                             \
    X(q6_k, 210, 32, false) X(iq4_xs, 136, 128, false) X(tq2_0, 66, 1, false)

#define ROW8(id, size, offset, mins)                                                                                   \
    static void rows_##id(const struct ht__matmul_weights *w, const struct ht__activations *x, float *y)               \
    {                                                                                                                  \
        const size_t ahead = ht__cpu_row_ahead();                                                                      \
        for (int r = 0; r < w->n_rows; r++) {                                                                          \
            const uint8_t *in = (const uint8_t *)w->rows + (size_t)r * w->row_bytes;                                   \
            vf sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};                                                      \
            for (int64_t k = 0; k < w->n_in; k += SUPER, in += (size)) {                                               \
                fetch_behind(in, (size), ahead);                                                                       \
                struct line l;                                                                                         \
                line_##id(in, &l);                                                                                     \
                add_line(offset, mins, &l, x, k, sum);                                                                 \
            }                                                                                                          \
            y[r] = _mm512_reduce_add_ps(v_add(v_add(sum[0], sum[1]), v_add(sum[2], sum[3])));                          \
        }                                                                                                              \
    }
ROWS8(ROW8)
#undef ROW8

ht__rows8_fn *ht__rows8_avx512(const struct ht__codec *codec)
{
#define ROW8(id, size, offset, mins)                                                                                   \
    if (codec == &ht__codec_##id) return rows_##id;
    ROWS8(ROW8)
#undef ROW8
    if (codec == &ht__codec_q4_k) return rows_q4_k;
    if (codec == &ht__codec_q5_k) return rows_q5_k;
    return NULL;
}
