/* What the lattice template needs beside vec_neon.h. See ../x86/lattice_vec_avx2.h for the same names. */
#ifndef HT_KERNELS_LATTICE_VEC_NEON_H
#define HT_KERNELS_LATTICE_VEC_NEON_H

#include "kernels/arm/vec_neon.h"

typedef int32x4_t vi;

VEC vi v_zero_int(void)
{
    return vdupq_n_s32(0);
}
VEC vi v_to_int(vf a)
{
    return vcvtnq_s32_f32(a);
}
VEC vi v_load_int(const int32_t *p)
{
    return vld1q_s32(p);
}
VEC void v_store_int(int32_t *p, vi a)
{
    vst1q_s32(p, a);
}
VEC void v_store_int_where(int32_t *p, vi a, vm m)
{
    vst1q_s32(p, vbslq_s32(m, a, vld1q_s32(p)));
}
VEC vi v_gather(const int32_t *table, vi index)
{
    int32_t at[VL], got[VL];
    vst1q_s32(at, index);
    for (int i = 0; i < VL; i++)
        got[i] = table[at[i]];
    return vld1q_s32(got);
}
VEC vm v_less_int(vi a, int32_t b)
{
    return vcltq_s32(a, vdupq_n_s32(b));
}

/* The numbers of these lanes, plus base, as bytes; writes VL of them and gives how many count. */
VEC int v_put_lanes(uint8_t *p, unsigned lanes, int base)
{
    int n = 0;
    for (int i = 0; i < VL; i++) {
        p[n] = (uint8_t)(base + i);
        n += (int)(lanes >> i & 1);
    }
    return n;
}

/* Bit i: weight i is below zero. */
VEC unsigned v_sign_bits8(const float *x)
{
    return v_bits(v_lt(v_load(x), v_zero())) | v_bits(v_lt(v_load(x + 4), v_zero())) << 4;
}

/* Whole numbers modulo 256. */
VEC vf v_wrap_to_byte(vf a)
{
    return vcvtq_f32_s32(vandq_s32(vcvtnq_s32_f32(a), vdupq_n_s32(255)));
}

/* The digit of so many bits at this bit. */
VEC uint32x4_t digit_at(uint32x4_t code, int shift, int bits)
{
    return vandq_u32(vshlq_u32(code, vdupq_n_s32(-shift)), vdupq_n_u32((1u << bits) - 1));
}

/* 2l + 1 of the digit l at this bit. */
VEC vf v_odd_of(vi code, int shift, int bits)
{
    uint32x4_t digit = digit_at(vreinterpretq_u32_s32(code), shift, bits);
    return vcvtq_f32_u32(vaddq_u32(vaddq_u32(digit, digit), vdupq_n_u32(1)));
}

VEC vf v_odd_of_three_bits(vi code, int shift)
{
    return v_odd_of(code, shift, 3);
}

VEC vf v_odd_of_two_bits(vi code, int shift)
{
    return v_odd_of(code, shift, 2);
}

/* The errors of the eight values of a weight, or, where four weights more leave it two bits, of its four. */
struct error_table {
    float32x4_t low, high;
};

VEC float32x4_t errors_of(float32x4_t values, float x, float root)
{
    float32x4_t diff = vsubq_f32(values, vdupq_n_f32(x));
    return vmulq_f32(vmulq_f32(vdupq_n_f32(root), diff), diff);
}

/* Entries of the table for the digits of four codes: bytes 4 l to 4 l + 3 of it. */
VEC float32x4_t look_up(int dim, struct error_table e, uint32x4_t digits)
{
    uint8x16_t at = vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), digits, 0x04040404));
    uint8x16_t low = vreinterpretq_u8_f32(e.low), high = vreinterpretq_u8_f32(e.high);
    return vreinterpretq_f32_u8(dim == 4 ? vqtbl2q_u8((uint8x16x2_t){{low, high}}, at) : vqtbl1q_u8(low, at));
}

/* The distances of four points. */
VEC float32x4_t distances_of(int dim, const struct error_table *e, const uint16_t *codes)
{
    const int bits = dim == 4 ? 3 : 2;
    uint32x4_t code = vmovl_u16(vld1_u16(codes));
    float32x4_t distance = look_up(dim, e[0], digit_at(code, 0, bits));
    for (int d = 1; d < dim; d++)
        distance = vaddq_f32(distance, look_up(dim, e[d], digit_at(code, bits * d, bits)));
    return distance;
}

/* Keeps the first of the smallest of eight. */
VEC void keep_nearest(float32x4_t a, float32x4_t b, const uint16_t *codes, float *best, int32_t *found)
{
    float least = vminvq_f32(vminq_f32(a, b));
    if (least < *best) {
        vf m = v_set(least);
        *best = least;
        *found = codes[__builtin_ctz(v_bits(vceqq_f32(a, m)) | v_bits(vceqq_f32(b, m)) << 4)];
    }
}

/* The code of the list's nearest neighbour; dim weights and the square roots of their weights. */
VEC int32_t nearest(int dim, const uint16_t *list, const float *x, const float *root, float scale)
{
    const float32x4_t odd = {1, 3, 5, 7};
    float32x4_t low = vmulq_n_f32(odd, scale), high = vmulq_n_f32(vaddq_f32(odd, vdupq_n_f32(8)), scale);
    struct error_table e[8];
    for (int d = 0; d < dim; d++)
        e[d] = (struct error_table){errors_of(low, x[d], root[d]), errors_of(high, x[d], root[d])};
    float best = 3.4e38f;
    int32_t found = 0;
    for (int j = 1; j <= list[0]; j += 8)
        keep_nearest(distances_of(dim, e, list + j), distances_of(dim, e, list + j + 4), list + j, &best, &found);
    return found;
}

struct lattice_query {
    const uint16_t *list; /* of up to eight */
    const float *x, *root;
    float scale;
    int32_t *found;
};

VEC void nearest_two(int dim, struct lattice_query a, struct lattice_query b)
{
    *a.found = nearest(dim, a.list, a.x, a.root, a.scale);
    if (b.found != a.found) *b.found = nearest(dim, b.list, b.x, b.root, b.scale);
}

#endif
