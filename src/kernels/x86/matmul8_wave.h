/*
 * Sixteen tokens at once with tiles: included by matmul8_tmpl.h after a header of tiles. A sub-block's codes of a panel
 * already lie as a tile wants its second factor: four neighbouring codes of each row in a line. Sums of integers are exact,
 * so that their order does not matter; floats are added as `tile` adds them: the bits are the same.
 */
/* Sub-blocks whose sums are kept in memory; tokens whose floats are in registers. */
enum { WAVE_SUBS = 8, WAVE_PART = 4 };

/* The tiles of matmul8: one sum a panel, the tokens' activations, the codes of one panel after the other. */
#define TILE_SUM0 0
#define TILE_SUM1 1
#define TILE_ACTIVATIONS 2
#define TILE_CODES 3

#define WAVE_SHAPES(sub)                                                                                               \
    {                                                                                                                  \
        .palette = 1, .bytes = {4 * VL, 4 * VL, sub, 4 * VL}, .rows = { 16, 16, 16, sub / 4 }                          \
    }

static void begin_waves(int sub)
{
    static const struct tile_shapes shapes_32 = WAVE_SHAPES(32), shapes_16 = WAVE_SHAPES(16);
    TILES_BEGIN(sub == 32 ? &shapes_32 : &shapes_16);
}

static void end_waves(void)
{
    TILES_END();
}

typedef int32_t wave_sums[GROUPS][TILE_TOKENS][VL];

VEC void wave_dots(int sub, const struct panel *p, int s, const int8_t *codes, int64_t ld, wave_sums *sums)
{
    TILE_ZERO(TILE_SUM0);
    TILE_LOAD(TILE_ACTIVATIONS, codes + s * sub, ld);
    TILE_LOAD(TILE_CODES, p[0].codes + s * (sub / 4), sizeof(vi));
    TILE_DOTS(TILE_SUM0, TILE_ACTIVATIONS, TILE_CODES);
#if WAVE_GROUPS == 2
    TILE_ZERO(TILE_SUM1);
    TILE_LOAD(TILE_CODES, p[1].codes + s * (sub / 4), sizeof(vi));
    TILE_DOTS(TILE_SUM1, TILE_ACTIVATIONS, TILE_CODES);
    TILE_STORE(TILE_SUM1, (*sums)[1], sizeof(vi));
#endif
    TILE_STORE(TILE_SUM0, (*sums)[0], sizeof(vi));
}

/* The sums of sub-blocks s … s + n as floats, of WAVE_PART tokens from t on. */
VEC void wave_floats(const struct kind f, int s, int n, const struct panel *p, const float *scales, int64_t ld_scales,
                     const struct taken_off *off, const wave_sums *dots, int t, float *sums)
{
    vf sum[WAVE_PART][GROUPS];
    for (int i = 0; i < WAVE_PART; i++)
        for (int g = 0; g < GROUPS; g++)
            sum[i][g] = v_load(sums + i * ROWS + g * VL);
    for (int k = 0; k < n; k++)
        for (int i = 0; i < WAVE_PART; i++) {
            vf scale = v_set(scales[i * ld_scales + (f.sub == 16 ? (s + k) >> 1 : s + k)]);
            for (int g = 0; g < GROUPS; g++) {
                vi whole = i_add(i_load(dots[k][g][t + i]), i_set32(off->offsets[i][s + k]));
                sum[i][g] = v_fma(i_floats(whole), v_mul(p[g].scales[s + k], scale), sum[i][g]);
                if (f.mins) sum[i][g] = v_fnma(p[g].mins[s + k], v_set(off->mins[i][s + k]), sum[i][g]);
            }
        }
    for (int i = 0; i < WAVE_PART; i++)
        for (int g = 0; g < GROUPS; g++)
            v_store(sums + i * ROWS + g * VL, sum[i][g]);
}

VEC void wave(const struct kind f, int offset, int n_subs, const struct panel *p, const struct ht__activations *x,
              int64_t token, int64_t at, float *sums)
{
    _Alignas(64) wave_sums dots[WAVE_SUBS];
    const int8_t *codes = x->codes + token * x->n_in + at;
    for (int s = 0; s < n_subs; s += WAVE_SUBS) {
        int n = n_subs - s < WAVE_SUBS ? n_subs - s : WAVE_SUBS;
        for (int k = 0; k < n; k++)
            wave_dots(f.sub, p, s + k, codes, x->n_in, &dots[k]);
        for (int t = 0; t < TILE_TOKENS; t += WAVE_PART) {
            const float *scales = x->scales + ((token + t) * x->n_in + at) / 32;
            struct taken_off off;
            take_off(f, offset, WAVE_PART, n_subs, x, token + t, at, &off);
            wave_floats(f, s, n, p, scales, x->n_in / 32, &off, dots, t, sums + t * ROWS);
        }
    }
}
