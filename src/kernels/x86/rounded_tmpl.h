/* Q8_0, TQ1_0 and TQ2_0, which round to the nearest without a search: included by rounded_<level>.c after
 * vec_<level>.h. */
#include "kernels/codec.h"
#include "kernels/half.h"
#include "kernels/x86/blocks_tmpl.h"

#include <string.h>

enum { Q8_LEN = 32, Q8_SIZE = 34, SUPER = 256, TQ1_SIZE = 54, TQ2_SIZE = 66 };

/* 32 weights times `inverse`, rounded with halves away from zero: the low bytes. */
VEC vb rounded32(const float *x, float inverse)
{
    vf v[32 / VL];
    for (int i = 0; i < 32 / VL; i++)
        v[i] = before_truncation(v_mul(v_load(x + i * VL), v_set(inverse)));
    return v_bytes32(v);
}

VEC void encode_q8(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += Q8_LEN, out += Q8_SIZE) {
        float d = block_amax(src, Q8_LEN) / 127, inverse = d != 0 ? 1.0f / d : 0;
        ht__store_u16(out, half_of(d));
        b_store(out + 2, rounded32(src, inverse));
    }
}

/* The trits of a super-block as bytes 0..2; its scale. */
VEC float trits_of(const float *src, vb trits[8])
{
    float d = block_amax(src, SUPER), inverse = d != 0 ? 1.0f / d : 0;
    for (int g = 0; g < 8; g++)
        trits[g] = b_add(rounded32(src + 32 * g, inverse), b_set(1));
    return d;
}

VEC void encode_tq2(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += SUPER, out += TQ2_SIZE) {
        vb t[8];
        ht__store_u16(out + 64, half_of(trits_of(src, t)));
        for (int h = 0; h < 2; h++, t[0] = t[4], t[1] = t[5], t[2] = t[6], t[3] = t[7]) {
            vb low = b_or(t[0], b_up(t[1], 2)), high = b_or(b_up(t[2], 4), b_up(t[3], 6));
            b_store(out + 32 * h, b_or(low, high));
        }
    }
}

VEC vb times3(vb q)
{
    return b_add(q, b_add(q, q));
}

/* Bytes 32..51 hold elements 160..255: sixteen of five trits 16 apart, then four of four trits 4 apart. Eighty of
 * the first and sixteen of the last are put side by side, so that one Horner scheme does both. */
VEC void put_tq1_rest(const vb trits[8], uint8_t *out)
{
    uint8_t all[96], lined[5][32] = {{0}};
    for (int g = 0; g < 3; g++)
        b_store(all + 32 * g, trits[5 + g]);
    for (int n = 0; n < 5; n++) {
        memcpy(lined[n], all + 16 * n, 16);
        if (n < 4) memcpy(lined[n] + 16, all + 80 + 4 * n, 4);
    }
    vb q = b_load(lined[0]);
    for (int n = 1; n < 5; n++)
        q = b_add(times3(q), b_load(lined[n]));
    b_store(all, b_spread_trits(q));
    memcpy(out, all, 20);
}

VEC void encode_tq1(const float *src, int64_t n_blocks, uint8_t *out)
{
    for (int64_t b = 0; b < n_blocks; b++, src += SUPER, out += TQ1_SIZE) {
        vb t[8];
        ht__store_u16(out + 52, half_of(trits_of(src, t)));
        vb q = t[0];
        for (int n = 1; n < 5; n++)
            q = b_add(times3(q), t[n]);
        b_store(out, b_spread_trits(q));
        put_tq1_rest(t, out + 32);
    }
}
