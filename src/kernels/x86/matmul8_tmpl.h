/*
 * Products of quantized rows with activations in eight bits: included by matmul8_<level>.c after
 * rows_<level>.h, LEVEL, `dots` and the KINDs of it. VL rows of a matrix are in lanes, their codes
 * turned so that a vector holds four neighbouring codes of each row, which meet the same four
 * activations of a token. GROUPS such panels share each load of activations. Where a header of tiles came first
 * (tiles_<level>.h), sixteen tokens at a time are theirs.
 */
#include "kernels/ops/ops_list.h"
#include "kernels/x86/matmul8_panel.h"

enum {
    ROWS = GROUPS * VL,
#ifdef TILE_TOKENS
    STRIPS = HT__MATMUL16_ROWS / ROWS, /* of rows that meet a block of activations while it is in the second cache */
#else
    STRIPS = 1,
#endif
#ifdef TILE_TOKENS
    TOKENS = 512,
    AHEAD = TILE_TOKENS /* with fewer tokens the next rows are fetched, with more their next blocks */
#else
    TOKENS = 16 * TILE, /* whose sums stay at hand while a panel is unpacked once */
    AHEAD = TOKENS + 1
#endif
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

typedef void tiles_fn(int offset, int n, int n_subs, struct panel *p, const struct ht__activations *x, int64_t token,
                      int64_t at, float *sums);

/* May change the codes of the panels. */
VEC void all_tiles(const struct kind f, int offset, int n, int n_subs, struct panel *p, const struct ht__activations *x,
                   int64_t token, int64_t at, float *sums)
{
    int t = 0;
#ifdef TILE_TOKENS
    int tiled = x->tiles && n_subs == SUPER / f.sub ? n / TILE_TOKENS * TILE_TOKENS : 0;
    t = tiled;
#endif
    for (; t + TILE <= n && n - t != 8; t += TILE) /* eight: twice four */
        tile(f, offset, TILE, n_subs, p, x, token + t, at, sums + t * ROWS);
    for (; t + 4 <= n; t += 4)
        tile(f, offset, 4, n_subs, p, x, token + t, at, sums + t * ROWS);
    for (; t + 2 <= n; t += 2)
        tile(f, offset, 2, n_subs, p, x, token + t, at, sums + t * ROWS);
    if (t < n) tile(f, offset, 1, n_subs, p, x, token + t, at, sums + t * ROWS);
#ifdef TILE_TOKENS
    if (tiled == 0) return;
    if (offset) sign_codes(offset, n_subs * f.sub, p);
    waves(f, tiled, p, x, token, at, sums);
#endif
}

#define KIND(name, ...)                                                                                                \
    static void tiles_##name(int offset, int n, int n_subs, struct panel *p, const struct ht__activations *x,          \
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

/* Many rows side by side are more streams than processors foresee: the next rows, which lie behind these, are fetched block
 * by block with these. They come to the second cache, where they wait for a strip of rows; and a few lines at a time, as many
 * as a core may ask memory for without waiting. Inlined: for gcc 12 a function that only fetches has no effect, and it drops
 * the calls. */
VEC void fetch_ahead(const char **next, size_t n)
{
    for (size_t i = 0; i < n; i += 64)
        __builtin_prefetch(*next + i, 0, 2);
    *next += n;
}

#ifdef TILE_TOKENS
/* With many tokens there is time until the rows' next blocks are needed. Inlined: see fetch_ahead. */
VEC void fetch_next(const struct rows r[GROUPS], size_t bytes)
{
    for (int i = 0; bytes && i < ROWS; i++) {
        const char *row = (const char *)r[i / VL].at[i % VL];
        for (size_t at = 0; at < bytes; at += 64)
            __builtin_prefetch(row + at, 0, 2);
        __builtin_prefetch(row + bytes - 1, 0, 2); /* blocks begin anywhere in a line */
    }
}
#endif

/* The strip's rows; where rows are missing the last one serves. */
static void find_rows(const struct ht__matmul_weights *w, int row, struct rows r[GROUPS])
{
    for (int i = 0; i < ROWS; i++) {
        int at = row + i < w->n_rows ? row + i : w->n_rows - 1;
        r[i / VL].at[i % VL] = (const uint8_t *)w->rows + (size_t)at * w->row_bytes;
    }
}

static void some_rows(const struct form *f, const struct ht__matmul_weights *w, int row,
                      const struct ht__activations *x, int64_t token, int n, float *y, int64_t ldy)
{
    _Alignas(64) float sums[STRIPS][TOKENS * ROWS];
    struct rows r[STRIPS][GROUPS];
    const char *ahead[STRIPS] = {NULL};
    struct panel p[GROUPS];
    tiles_fn *tiles = tiles_of(f);
    int n_rows = w->n_rows - row < STRIPS * ROWS ? w->n_rows - row : STRIPS * ROWS, strips = (n_rows + ROWS - 1) / ROWS;
    for (int i = 0; i < strips; i++) {
        memset(sums[i], 0, (size_t)n * ROWS * sizeof(float));
        find_rows(w, row + i * ROWS, r[i]);
        ahead[i] = (const char *)w->rows + (size_t)(row + (i + 1) * ROWS) * w->row_bytes;
#ifdef TILE_TOKENS
        int64_t depth = w->n_in < SUPER ? w->n_in : SUPER;
        if (n >= AHEAD && i > 0) fetch_next(r[i], (size_t)depth / w->block_len * w->block_size);
#endif
    }
    for (int64_t k = 0; k < w->n_in; k += SUPER) {
        int depth = (int)(w->n_in - k < SUPER ? w->n_in - k : SUPER);
        size_t bytes = (size_t)depth / w->block_len * w->block_size, share = ROWS * bytes / (GROUPS + 1);
        for (int i = 0; i < strips; i++) {
            for (int g = 0; g < GROUPS; g++) {
                if (n < AHEAD) fetch_ahead(&ahead[i], share);
                f->unpack(&r[i][g], depth / 32, &p[g]);
                for (int j = 0; j < VL; j++)
                    r[i][g].at[j] += bytes;
            }
#ifdef TILE_TOKENS
            if (n >= AHEAD) fetch_next(r[i], k + depth < w->n_in ? bytes : 0);
#endif
            if (n < AHEAD) fetch_ahead(&ahead[i], share);
            tiles(offset_of(f), n, depth / f->sub, p, x, token, k, sums[i]);
        }
    }
    for (int t = 0; t < n; t++)
        for (int i = 0; i < strips; i++) {
            __builtin_prefetch(y + (t + 8 < n ? t + 8 : t) * ldy + row + i * ROWS, 1); /* a page of its own */
            int here = n_rows - i * ROWS < ROWS ? n_rows - i * ROWS : ROWS;
            memcpy(y + t * ldy + row + i * ROWS, sums[i] + t * ROWS, (size_t)here * sizeof(float));
        }
}

static void matmul8(const struct form *f, const struct ht__matmul_weights *w, const struct ht__activations *x,
                    int64_t n_tokens, float *y, int64_t ldy)
{
#ifdef TILE_TOKENS
    _Alignas(64) struct tile_shapes kept;
    if (x->tiles && n_tokens >= TILE_TOKENS) begin_waves(f->sub, &kept);
#endif
    for (int64_t t = 0; t < n_tokens; t += TOKENS)
        for (int row = 0; row < w->n_rows; row += STRIPS * ROWS) {
            int n = (int)(n_tokens - t < TOKENS ? n_tokens - t : TOKENS);
            some_rows(f, w, row, x, t, n, y + t * ldy, ldy);
        }
#ifdef TILE_TOKENS
    if (x->tiles && n_tokens >= TILE_TOKENS) end_waves(&kept);
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
