/* Streams of codes: see bits.h. */
#include "schemes/bits.h"
#include "kernels/weights/weights.h"

#include <string.h>

#define IN_16(mask) ((mask)*UINT64_C(0x0001000100010001))
#define IN_32(mask) ((mask)*UINT64_C(0x0000000100000001))

/* Eight codes, one a byte, become eight times `bits` bits: neighbours are joined to pairs, pairs to fours, fours to the
 * whole. */
static inline uint64_t join(uint64_t x, int bits)
{
    uint64_t one = (1u << bits) - 1, pair = (1u << 2 * bits) - 1, four = (UINT64_C(1) << 4 * bits) - 1;
    if (bits == 8) return x;
    x = (x & IN_16(one)) | (x >> (8 - bits) & IN_16(one << bits));
    x = (x & IN_32(pair)) | (x >> (16 - 2 * bits) & IN_32(pair << 2 * bits));
    return (x & four) | (x >> (32 - 4 * bits) & four << 4 * bits);
}

/* The reverse. */
static inline uint64_t part(uint64_t x, int bits)
{
    uint64_t one = (1u << bits) - 1, pair = (1u << 2 * bits) - 1, four = (UINT64_C(1) << 4 * bits) - 1;
    if (bits == 8) return x;
    x = (x & four) | (x & four << 4 * bits) << (32 - 4 * bits);
    x = (x & IN_32(pair)) | (x & IN_32(pair << 2 * bits)) << (16 - 2 * bits);
    return (x & IN_16(one)) | (x & IN_16(one << bits)) << (8 - bits);
}

static inline uint64_t load(const uint8_t *p, int n)
{
    uint64_t x = 0;
    for (int i = 0; i < n; i++)
        x |= (uint64_t)p[i] << 8 * i;
    return x;
}

static inline void store(uint8_t *p, uint64_t x, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(x >> 8 * i);
}

static inline void pack_eights(const uint8_t *codes, int64_t n, int bits, uint8_t *dst)
{
    for (int64_t i = 0; i < n / 8; i++)
        store(dst + i * bits, join(load(codes + 8 * i, 8), bits), bits);
}

static inline void unpack_eights(const uint8_t *src, int64_t n, int bits, uint8_t *codes)
{
    for (int64_t i = 0; i < n / 8; i++)
        store(codes + 8 * i, part(load(src + i * bits, bits), bits), 8);
}

int64_t ht__bits_bytes(int64_t n, int bits)
{
    return (n * bits + 31) / 32 * 4;
}

void ht__bits_pack(const uint8_t *codes, int64_t n, int bits, void *dst)
{
    uint8_t last[8] = {0}, *to = dst;
    int64_t whole = n / 8 * 8, end = ht__bits_bytes(n, bits);
    switch (bits) { /* constants make shifts of one instruction */
    case 2: pack_eights(codes, n, 2, to); break;
    case 3: pack_eights(codes, n, 3, to); break;
    case 4: ht__weight_ops(ht__cpu_best())->join_nibbles(codes, whole / 2, false, to); break;
    case 8: memcpy(to, codes, (size_t)whole); break;
    default: pack_eights(codes, n, bits, to);
    }
    int64_t at = whole / 8 * bits;
    if (at == end) return;
    memset(to + at, 0, (size_t)(end - at));
    memcpy(last, codes + whole, (size_t)(n - whole));
    store(to + at, join(load(last, 8), bits), (int)((n - whole) * bits + 7) / 8);
}

void ht__bits_unpack(const void *src, int64_t n, int bits, uint8_t *codes)
{
    const uint8_t *from = src;
    int64_t whole = n / 8 * 8;
    switch (bits) {
    case 2: unpack_eights(from, n, 2, codes); break;
    case 3: unpack_eights(from, n, 3, codes); break;
    case 4: ht__weight_ops(ht__cpu_best())->part_nibbles(from, whole / 2, false, codes); break;
    case 8: memcpy(codes, from, (size_t)whole); break;
    default: unpack_eights(from, n, bits, codes);
    }
    uint64_t rest = part(load(from + whole / 8 * bits, (int)((n - whole) * bits + 7) / 8), bits);
    store(codes + whole, rest, (int)(n - whole));
}

/* ---- columns ---- */

enum { TILE = 256, TILE_ROWS = 16, TILE_WORDS = TILE / 4 };

void ht__bits_pack_columns(const uint8_t *codes, int64_t n_rows, int64_t n, int bits, void *dst)
{
    uint32_t words[TILE_ROWS][TILE_WORDS];
    for (int64_t row = 0; row < n_rows; row += TILE_ROWS) {
        int64_t rows = n_rows - row < TILE_ROWS ? n_rows - row : TILE_ROWS;
        for (int64_t at = 0; at < n; at += TILE) {
            int64_t len = n - at < TILE ? n - at : TILE, lines = len * bits / 32;
            uint8_t *to = (uint8_t *)dst + (at * bits / 32 * n_rows + row) * 4;
            for (int64_t r = 0; r < rows; r++)
                ht__bits_pack(codes + (row + r) * n + at, len, bits, words[r]);
            for (int64_t w = 0; w < lines; w++)
                for (int64_t r = 0; r < rows; r++)
                    memcpy(to + (w * n_rows + r) * 4, &words[r][w], 4);
        }
    }
}

void ht__bits_unpack_columns(const void *src, int64_t n_rows, int64_t n, int bits, uint8_t *codes)
{
    uint32_t words[TILE_ROWS][TILE_WORDS];
    for (int64_t row = 0; row < n_rows; row += TILE_ROWS) {
        int64_t rows = n_rows - row < TILE_ROWS ? n_rows - row : TILE_ROWS;
        for (int64_t at = 0; at < n; at += TILE) {
            int64_t len = n - at < TILE ? n - at : TILE, lines = len * bits / 32;
            const uint8_t *from = (const uint8_t *)src + (at * bits / 32 * n_rows + row) * 4;
            for (int64_t w = 0; w < lines; w++)
                for (int64_t r = 0; r < rows; r++)
                    memcpy(&words[r][w], from + (w * n_rows + r) * 4, 4);
            for (int64_t r = 0; r < rows; r++)
                ht__bits_unpack(words[r], len, bits, codes + (row + r) * n + at);
        }
    }
}
