/* Four-bit floats into GGUF's blocks without decoding: codes and scales are the same, only their places differ. */
#include "schemes/scaled.h"

#include <string.h>

enum { MX_LEN = 32, MX_SIZE = 17, NV_LEN = 64, NV_SIZE = 36, NV_SUB = 16 };

static bool is_mxfp4(const struct ht__scaled *f)
{
    return f->element == HT__E2M1 && !f->global && f->block_rows == 1 && f->block_columns == MX_LEN &&
           (f->scale_dtype == &ht__codec_u8 || f->scale_dtype == &ht__codec_f8_e8m0);
}

static bool is_nvfp4(const struct ht__scaled *f, const struct ht__matrix *m)
{
    return f->element == HT__E2M1 && f->global && f->block_rows == 1 && f->block_columns == NV_SUB &&
           f->scale_dtype == &ht__codec_f8_e4m3 && m->n_in % NV_LEN == 0;
}

const struct ht__codec *ht__scaled_gguf(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    if (is_mxfp4(&form)) return &ht__codec_mxfp4;
    return is_nvfp4(&form, m) ? &ht__codec_nvfp4 : NULL;
}

/* n codes, pairs of neighbours, become pairs of the first and the second half. */
static void halves(const uint8_t *pairs, int n, uint8_t *out)
{
    uint8_t codes[MX_LEN];
    for (int i = 0; i < n / 2; i++) {
        codes[2 * i] = pairs[i] & 15;
        codes[2 * i + 1] = pairs[i] >> 4;
    }
    for (int i = 0; i < n / 2; i++)
        out[i] = (uint8_t)(codes[i] | codes[i + n / 2] << 4);
}

void ht__scaled_gguf_rows(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                          int64_t n_rows, void *dst)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    const uint8_t *pairs = src[0], *scales = src[1];
    uint8_t *out = dst;
    int64_t n = n_rows * m->n_in;
    for (int64_t b = 0; !form.global && b < n / MX_LEN; b++, out += MX_SIZE, pairs += MX_LEN / 2) {
        out[0] = scales[b];
        halves(pairs, MX_LEN, out + 1);
    }
    for (int64_t b = 0; form.global && b < n / NV_LEN; b++, out += NV_SIZE)
        for (int s = 0; s < NV_LEN / NV_SUB; s++, pairs += NV_SUB / 2) {
            out[s] = *scales++ & 0x7f; /* scales are not negative, and the type has no sign */
            halves(pairs, NV_SUB, out + 4 + NV_SUB / 2 * s);
        }
}

float ht__scaled_gguf_scale(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[])
{
    struct ht__scaled form = ht__scaled_form(p, m);
    float global = 1;
    if (form.global) memcpy(&global, src[2], sizeof global);
    return form.global && form.global_divides ? 1 / global : global;
}
