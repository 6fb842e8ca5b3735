/*
 * Tokens with a strip's panels by v_dots16(sums, x, w), sums + even x * even w + odd x * odd w of each lane's pairs of BF16:
 * included by matmul16_tmpl.h. Sums of SPLIT_TILE tokens and WAVE_GROUPS panels stay in registers.
 */
enum { SPLIT_TILE = 8 };

#define SPLIT_BEGIN() (void)0
#define SPLIT_END() (void)0

VEC void split_tile(int steps, const struct split_panel *p, const struct ht__bf16_tile *x, int token, float *sums)
{
    vf sum[SPLIT_TILE][WAVE_GROUPS];
    for (int t = 0; t < SPLIT_TILE; t++)
        for (int g = 0; g < WAVE_GROUPS; g++)
            sum[t][g] = v_load(sums + (token + t) * SPLIT_ROWS + g * VL);
    for (int i = 0; i < steps * SPLIT_STEP / 2; i++) {
        const uint16_t(*from)[SPLIT_STEP] = x->numbers[i / (SPLIT_STEP / 2)] + token;
        for (int t = 0; t < SPLIT_TILE; t++) {
            int32_t pair;
            memcpy(&pair, from[t] + i % (SPLIT_STEP / 2) * 2, sizeof pair);
            for (int g = 0; g < WAVE_GROUPS; g++)
                sum[t][g] = v_dots16(sum[t][g], i_set32(pair), p[g].high[i]);
        }
    }
    for (int t = 0; t < SPLIT_TILE; t++)
        for (int g = 0; g < WAVE_GROUPS; g++)
            v_store(sums + (token + t) * SPLIT_ROWS + g * VL, sum[t][g]);
}

/* Sixteen tokens, or two times sixteen. */
static void split_tokens(bool two, bool f16, int steps, const struct split_panel *p, const struct ht__bf16_tile *x,
                         float *sums)
{
    (void)f16;
    for (int i = 0; i < (two ? 2 : 1); i++)
        for (int token = 0; token < SPLIT_SIXTEEN; token += SPLIT_TILE)
            split_tile(steps, p, x + i, token, sums + i * SPLIT_SIXTEEN * SPLIT_ROWS);
}
