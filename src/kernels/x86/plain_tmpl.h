/*
 * F16, BF16 and the 8-bit floats that checkpoints carry: included by plain_<level>.c after vec_<level>.h and that
 * level's conversions of VL numbers. The scalar code does what is left over.
 */
#include "kernels/codec.h"

typedef void put_fn(uint8_t *out, vf x);
typedef vf get_fn(const uint8_t *in);

VEC void encode_all(const struct ht__codec *codec, put_fn *put, const float *src, int64_t n, uint8_t *out)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        put(out + 2 * i, v_load(src + i));
    if (i < n) codec->encode(src + i, 1, n - i, NULL, out + 2 * i);
}

VEC void decode_all(const struct ht__codec *codec, int size, get_fn *get, const uint8_t *in, int64_t n, float *dst)
{
    int64_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(dst + i, get(in + size * i));
    if (i < n) codec->decode(in + size * i, n - i, dst + i);
}

#define ENCODER(id, level)                                                                                             \
    void ht__##id##_encode_##level(const float *src, int64_t n_rows, int64_t row_len, const float *importance,         \
                                   void *dst)                                                                          \
    {                                                                                                                  \
        (void)importance;                                                                                              \
        encode_all(&ht__codec_##id, put_##id, src, n_rows *row_len, dst);                                              \
    }
#define DECODER(id, size, level)                                                                                       \
    void ht__##id##_decode_##level(const void *src, int64_t n_weights, float *dst)                                     \
    {                                                                                                                  \
        decode_all(&ht__codec_##id, size, get_##id, src, n_weights, dst);                                              \
    }
