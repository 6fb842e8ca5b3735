/* F32: IEEE single precision, little endian. 4 bytes a weight. */
#include "kernels/codec.h"

#include <string.h>

static void encode(const float *src, int64_t n_rows, int64_t row_len, const float *importance, void *dst)
{
    (void)importance;
    memcpy(dst, src, (size_t)(n_rows * row_len) * sizeof *src);
}

static void decode(const void *src, int64_t n_weights, float *dst)
{
    memcpy(dst, src, (size_t)n_weights * sizeof *dst);
}

/* Exponent of all ones: infinity or NaN. */
static int64_t check(const void *src, int64_t n_blocks)
{
    const unsigned char *p = src;
    for (int64_t i = 0; i < n_blocks; i++) {
        uint32_t bits;
        memcpy(&bits, p + 4 * i, sizeof bits);
        if ((bits & 0x7f800000u) == 0x7f800000u) return i;
    }
    return -1;
}

const struct ht__codec ht__codec_f32 = {
    .name = "f32",
    .label = "F32",
    .ggml_id = 0,
    .block_len = 1,
    .block_size = 4,
    .flags = HT__CODEC_PLAIN,
    .encode = encode,
    .decode = decode,
    .check = check,
};
