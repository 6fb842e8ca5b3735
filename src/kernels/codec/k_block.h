/*
 * Block structs of the K types: super-blocks of 256 weights. Shared by the scalar units and the SIMD
 * variants. Byte diagrams are at the head of each type's unit.
 */
#ifndef HT_KERNELS_CODEC_K_BLOCK_H
#define HT_KERNELS_CODEC_K_BLOCK_H

#include <assert.h>
#include <stdint.h>

enum { HT__K = 256 };

struct ht__q2_k_block {
    uint8_t scales[16], qs[64];
    uint16_t d, dmin;
};
struct ht__q3_k_block {
    uint8_t hmask[32], qs[64], scales[12];
    uint16_t d;
};
struct ht__q4_k_block {
    uint16_t d, dmin;
    uint8_t scales[12], qs[128];
};
struct ht__q5_k_block {
    uint16_t d, dmin;
    uint8_t scales[12], qh[32], qs[128];
};
struct ht__q6_k_block {
    uint8_t ql[128], qh[64];
    int8_t scales[16];
    uint16_t d;
};
static_assert(sizeof(struct ht__q2_k_block) == 84, "q2_k");
static_assert(sizeof(struct ht__q3_k_block) == 110, "q3_k");
static_assert(sizeof(struct ht__q4_k_block) == 144, "q4_k");
static_assert(sizeof(struct ht__q5_k_block) == 176, "q5_k");
static_assert(sizeof(struct ht__q6_k_block) == 210, "q6_k");

/*
 * Eight pairs of 6-bit scales and minima in 12 bytes:
 *   bytes 0..3: scale 0..3 in bits 0-5, the top two bits of scale 4..7 in bits 6-7
 *   bytes 4..7: min 0..3 in bits 0-5, the top two bits of min 4..7 in bits 6-7
 *   bytes 8..11: scale 4..7 low four bits, min 4..7 low four bits
 */
static inline void ht__k_pack_scales(const uint8_t scales[8], const uint8_t mins[8], uint8_t packed[12])
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scales[j] | scales[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(mins[j] | mins[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scales[j + 4] & 15) | mins[j + 4] << 4);
    }
}

static inline void ht__k_unpack_scales(const uint8_t packed[12], uint8_t scales[8], uint8_t mins[8])
{
    for (int j = 0; j < 4; j++) {
        scales[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        scales[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        mins[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

/* Two-bit codes: element e of a half of 128 stands in byte e % 32 at bit 2 * (e / 32). */
static inline void ht__k_pack_crumbs(const uint8_t codes[256], uint8_t qs[64])
{
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 32; i++) {
            const uint8_t *c = codes + 128 * half + i;
            qs[32 * half + i] = (uint8_t)((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 | (c[96] & 3) << 6);
        }
}

static inline void ht__k_unpack_crumbs(const uint8_t qs[64], uint8_t codes[256])
{
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 32; i++)
            for (int k = 0; k < 4; k++)
                codes[128 * half + 32 * k + i] = qs[32 * half + i] >> 2 * k & 3;
}

/* Sixteen 6-bit scales of Q3_K in 12 bytes. */
static inline void ht__q3_k_pack_scales(const uint8_t scales[16], uint8_t packed[12])
{
    for (int j = 0; j < 8; j++)
        packed[j] = (uint8_t)((scales[j] & 15) | (scales[j + 8] & 15) << 4);
    for (int j = 0; j < 4; j++)
        packed[8 + j] =
            (uint8_t)(scales[j] >> 4 | scales[j + 4] >> 4 << 2 | scales[j + 8] >> 4 << 4 | scales[j + 12] >> 4 << 6);
}

static inline void ht__q3_k_unpack_scales(const uint8_t packed[12], int scales[16])
{
    for (int j = 0; j < 16; j++) {
        int low = j < 8 ? packed[j] & 15 : packed[j - 8] >> 4;
        scales[j] = low | (packed[8 + j % 4] >> 2 * (j / 4) & 3) << 4;
    }
}

#endif
