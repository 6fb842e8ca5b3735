#include "kernels/arm/vec_neon.h"

VEC vf load_f32(const uint8_t *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

VEC vf load_f16(const uint8_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

VEC vf load_bf16(const uint8_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

#include "kernels/x86/vector_tmpl.h"

ht__vector_fn *ht__vector_neon(const struct ht__codec *codec)
{
    return vector_of(codec);
}
