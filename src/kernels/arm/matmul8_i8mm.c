/*
 * Products in eight bits with the matrix instruction: eight codes of two rows by eight activations of two tokens at once,
 * added to four sums. One token alone meets dot products of four bytes.
 */
#include "kernels/arm/rows_neon.h"

#define LEVEL neon
#define ROWS8_OF(codec) NULL
#include "kernels/arm/matmul8_kinds.h"

/* Sums of two rows by two tokens, rows first: of rows 0 and 1 of a panel, and of rows 2 and 3. */
struct squares {
    int32x4_t upper, lower;
};

/* Eight neighbouring codes of each row: of rows 0 and 1, of rows 2 and 3. */
VEC void pair_rows(const struct kind f, const vi *codes, int8x16_t *upper, int8x16_t *lower)
{
    int32x4_t a = vreinterpretq_s32_s8(codes_of(f, codes[0])), b = vreinterpretq_s32_s8(codes_of(f, codes[1]));
    *upper = vreinterpretq_s8_s32(vzip1q_s32(a, b));
    *lower = vreinterpretq_s8_s32(vzip2q_s32(a, b));
}

VEC void square_dots(const struct kind f, int n, const struct panel *p, int s, const int8_t *x, int64_t ldx,
                     vi acc[][GROUPS])
{
    struct squares sum[TILE / 2][GROUPS];
    for (int t = 0; t < n / 2; t++)
        for (int g = 0; g < GROUPS; g++)
            sum[t][g].upper = sum[t][g].lower = vdupq_n_s32(0);
    for (int j = 0; j < f.sub / 4; j += 2) {
        int8x16_t eight[TILE / 2], upper, lower;
        for (int t = 0; t < n / 2; t++)
            eight[t] = vcombine_s8(vld1_s8(x + 2 * t * ldx + 4 * j), vld1_s8(x + (2 * t + 1) * ldx + 4 * j));
        for (int g = 0; g < GROUPS; g++) {
            pair_rows(f, p[g].codes + s * (f.sub / 4) + j, &upper, &lower);
            for (int t = 0; t < n / 2; t++) {
                sum[t][g].upper = vmmlaq_s32(sum[t][g].upper, upper, eight[t]);
                sum[t][g].lower = vmmlaq_s32(sum[t][g].lower, lower, eight[t]);
            }
        }
    }
    for (int t = 0; t < n / 2; t++)
        for (int g = 0; g < GROUPS; g++) {
            int32x4_t a = vuzp1q_s32(sum[t][g].upper, sum[t][g].lower);
            int32x4_t b = vuzp2q_s32(sum[t][g].upper, sum[t][g].lower);
            acc[2 * t][g] = vaddq_u32(acc[2 * t][g], vreinterpretq_u32_s32(a));
            acc[2 * t + 1][g] = vaddq_u32(acc[2 * t + 1][g], vreinterpretq_u32_s32(b));
        }
}

VEC void dots(const struct kind f, int n, const struct panel *p, int s, const int8_t *x, int64_t ldx, vi acc[][GROUPS])
{
    if (n % 2 == 0)
        square_dots(f, n, p, s, x, ldx, acc);
    else
        four_byte_dots(f, n, p, s, x, ldx, acc);
}

#include "kernels/x86/matmul8_tmpl.h"

ht__matmul8_fn *ht__matmul8_i8mm(const struct ht__codec *codec)
{
    return matmul8_of(codec);
}
