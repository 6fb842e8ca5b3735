/*
 * Products of quantized rows with activations in eight bits: included by matmul8_<level>.c after
 * rows_<level>.h, LEVEL, `dots` and the KINDs of it. VL rows of a matrix are in lanes, their codes
 * turned so that a vector holds four neighbouring codes of each row, which meet the same four
 * activations of a token. GROUPS such panels share each load of activations. Where a header of tiles came first
 * (tiles_<level>.h), sixteen tokens at a time are theirs.
 */
#include "kernels/ops/ops_list.h"
#include "kernels/x86/matmul8_panel.h"

#include <xmmintrin.h>

enum {
    ROWS = GROUPS * VL,
    TOKENS = 16 * TILE /* whose sums stay at hand while a panel is unpacked once */
};

/* What all rows need of a token for a block: the sums of its codes, so that offsets and minima can
 * be taken off. */
struct taken_off {
    int32_t offsets[TILE][SUPER / 16];
    float mins[TILE][SUPER / 16];
};

VEC void take_off(const struct kind f, int offset, int n, int n_subs, const struct ht__activations *x, int64_t token,
                  int64_t at, struct taken_off *off)
{
    for (int t = 0; t < n; t++) {
        const float *scales = x->scales + ((token + t) * x->n_in + at) / 32;
        const int32_t *sums = x->sums + ((token + t) * x->n_in + at) / 16;
        for (int s = 0; s < n_subs; s++) {
            int32_t sum = f.sub == 16 ? sums[s] : sums[2 * s] + sums[2 * s + 1];
            off->offsets[t][s] = -offset * sum;
            if (f.mins) off->mins[t][s] = scales[f.sub == 16 ? s / 2 : s] * (float)sum;
        }
    }
}

/* n tokens (a constant where this is inlined) with the panels of n_subs sub-blocks each. */
VEC void tile(const struct kind f, int offset, int n, int n_subs, const struct panel *p,
              const struct ht__activations *x, int64_t token, int64_t at, float *sums)
{
    const int8_t *codes = x->codes + token * x->n_in + at;
    const float *scales = x->scales + (token * x->n_in + at) / 32;
    int64_t ld_codes = x->n_in, ld_scales = x->n_in / 32;
    struct taken_off off;
    vf sum[TILE][GROUPS];
    if (n_subs == SUPER / f.sub) /* a constant: the compiler makes vectors of it */
        take_off(f, offset, n, SUPER / f.sub, x, token, at, &off);
    else
        take_off(f, offset, n, n_subs, x, token, at, &off);
    for (int t = 0; t < n; t++)
        for (int g = 0; g < GROUPS; g++)
            sum[t][g] = v_load(sums + t * ROWS + g * VL);
    for (int s = 0; s < n_subs; s++) {
        vi acc[TILE][GROUPS];
        for (int t = 0; t < n; t++)
            for (int g = 0; g < GROUPS; g++)
                acc[t][g] = i_set32(off.offsets[t][s]);
        dots(f, n, p, s, codes + s * f.sub, ld_codes, acc);
        for (int t = 0; t < n; t++) {
            vf scale = v_set(scales[t * ld_scales + (f.sub == 16 ? s >> 1 : s)]);
            for (int g = 0; g < GROUPS; g++) {
                sum[t][g] = v_fma(i_floats(acc[t][g]), v_mul(p[g].scales[s], scale), sum[t][g]);
                if (f.mins) sum[t][g] = v_fnma(p[g].mins[s], v_set(off.mins[t][s]), sum[t][g]);
            }
        }
    }
    for (int t = 0; t < n; t++)
        for (int g = 0; g < GROUPS; g++)
            v_store(sums + t * ROWS + g * VL, sum[t][g]);
}

#ifdef TILE_TOKENS
#include "kernels/x86/matmul8_wave.h"
#endif

typedef void tiles_fn(int offset, int n, int n_subs, const struct panel *p, const struct ht__activations *x,
                      int64_t token, int64_t at, float *sums);

VEC void all_tiles(const struct kind f, int offset, int n, int n_subs, const struct panel *p,
                   const struct ht__activations *x, int64_t token, int64_t at, float *sums)
{
    int t = 0;
#ifdef TILE_TOKENS
    for (; t + TILE_TOKENS <= n; t += TILE_TOKENS)
        wave(f, offset, n_subs, p, x, token + t, at, sums + t * ROWS);
#endif
    for (; t + TILE <= n; t += TILE)
        tile(f, offset, TILE, n_subs, p, x, token + t, at, sums + t * ROWS);
    for (; t + 2 <= n; t += 2)
        tile(f, offset, 2, n_subs, p, x, token + t, at, sums + t * ROWS);
    if (t < n) tile(f, offset, 1, n_subs, p, x, token + t, at, sums + t * ROWS);
}

#define KIND(name, ...)                                                                                                \
    static void tiles_##name(int offset, int n, int n_subs, const struct panel *p, const struct ht__activations *x,    \
                             int64_t token, int64_t at, float *sums)                                                   \
    {                                                                                                                  \
        all_tiles((struct kind){__VA_ARGS__}, offset, n, n_subs, p, x, token, at, sums);                               \
    }
KINDS
#undef KIND

/* The first kind that serves the form. */
static tiles_fn *tiles_of(const struct form *f)
{
#define KIND(name, ...)                                                                                                \
    if (kind_serves((struct kind){__VA_ARGS__}, f)) return tiles_##name;
    KINDS
#undef KIND
    return NULL;
}

/* With few tokens memory is the limit, and many rows side by side are more streams than processors
 * foresee: the part of the next rows, which lie behind these, that corresponds to a block of these. */
static void fetch_ahead(const struct ht__matmul_weights *w, int row, int64_t k, int depth)
{
    const char *next = (const char *)w->rows + (size_t)(row + ROWS) * w->row_bytes;
    size_t size = ROWS * w->row_bytes, from = size * (size_t)k / (size_t)w->n_in;
    size_t to = size * (size_t)(k + depth) / (size_t)w->n_in;
    for (size_t i = from / 64 * 64; i < to; i += 64)
        _mm_prefetch(next + i, _MM_HINT_T0);
}

static void some_rows(const struct form *f, const struct ht__matmul_weights *w, int row,
                      const struct ht__activations *x, int64_t token, int n, float *y, int64_t ldy)
{
    _Alignas(64) float sums[TOKENS * ROWS];
    struct rows r[GROUPS];
    struct panel p[GROUPS];
    tiles_fn *tiles = tiles_of(f);
    int n_rows = w->n_rows - row < ROWS ? w->n_rows - row : ROWS;
    memset(sums, 0, (size_t)n * ROWS * sizeof(float));
    for (int i = 0; i < ROWS; i++) /* where rows are missing the last one serves */
        r[i / VL].at[i % VL] = (const uint8_t *)w->rows + (size_t)(row + (i < n_rows ? i : n_rows - 1)) * w->row_bytes;
    for (int64_t k = 0; k < w->n_in; k += SUPER) {
        int depth = (int)(w->n_in - k < SUPER ? w->n_in - k : SUPER);
        size_t bytes = (size_t)depth / w->block_len * w->block_size;
        if (n <= TILE) fetch_ahead(w, row, k, depth);
        for (int g = 0; g < GROUPS; g++) {
            f->unpack(&r[g], depth / 32, &p[g]);
            for (int i = 0; i < VL; i++)
                r[g].at[i] += bytes;
        }
        tiles(offset_of(f), n, depth / f->sub, p, x, token, k, sums);
    }
    for (int t = 0; t < n; t++)
        memcpy(y + t * ldy + row, sums + t * ROWS, (size_t)n_rows * sizeof(float));
}

static void matmul8(const struct form *f, const struct ht__matmul_weights *w, const struct ht__activations *x,
                    int64_t n_tokens, float *y, int64_t ldy)
{
#ifdef TILE_TOKENS
    if (n_tokens >= TILE_TOKENS) begin_waves(f->sub);
#endif
    for (int64_t t = 0; t < n_tokens; t += TOKENS)
        for (int row = 0; row < w->n_rows; row += ROWS) {
            int n = (int)(n_tokens - t < TOKENS ? n_tokens - t : TOKENS);
            some_rows(f, w, row, x, t, n, y + t * ldy, ldy);
        }
#ifdef TILE_TOKENS
    if (n_tokens >= TILE_TOKENS) end_waves();
#endif
}

#define MATMUL8(id, sub, offset, mins, most)                                                                           \
    static void matmul_##id(const struct ht__matmul_weights *w, const struct ht__activations *x, int64_t n_tokens,     \
                            float *y, int64_t ldy)                                                                     \
    {                                                                                                                  \
        static const struct form form = {UNPACK_NAME(id), sub, offset, most, mins};                                    \
        ht__rows8_fn *rows = n_tokens == 1 && w->n_in % SUPER == 0 ? ROWS8_OF(&ht__codec_##id) : NULL;                 \
        if (rows)                                                                                                      \
            rows(w, x, y);                                                                                             \
        else                                                                                                           \
            matmul8(&form, w, x, n_tokens, y, ldy);                                                                    \
    }
#include "kernels/x86/matmul8.def"
#undef MATMUL8

static ht__matmul8_fn *matmul8_of(const struct ht__codec *codec)
{
#define MATMUL8(id, sub, offset, mins, most)                                                                           \
    if (codec == &ht__codec_##id) return matmul_##id;
#include "kernels/x86/matmul8.def"
#undef MATMUL8
    return NULL;
}
