/*
 * Products of BF16 and F16 weights as sums of products of BF16: included after rows_<level>.h, WAVE_GROUPS, SPLIT_PARTS, and a
 * header of tiles or v_dots16. Activations are SPLIT_PARTS such numbers each (ops.h). F16 weights are two, exactly, where
 * activations are two; of their four products the least is left out. Split activations of a prompt are larger than the second
 * cache: so many rows meet a block of them before others do.
 */
#include "kernels/half.h"
#include "kernels/ops/ops_list.h"

#include <assert.h>
#include <string.h>
#include <xmmintrin.h>

enum {
    SPLIT_DEPTH = 256,
    SPLIT_STEP = 32,    /* weights of a row that are turned at once */
    SPLIT_SIXTEEN = 16, /* tokens of a tile */
    SPLIT_ROWS = WAVE_GROUPS * VL,
    SPLIT_TOKENS = 512, /* whose sums stay at hand while weights are turned once */
};
static_assert(SPLIT_TOKENS * HT__MATMUL16_ROWS <= HT__MATMUL_SCRATCH, "room for sums");

/* Weights of VL rows, two neighbours of each row in a line's dwords; of BF16 there are no low parts. */
struct split_panel {
    vi high[SPLIT_DEPTH / 2];
#if SPLIT_PARTS == 2
    vi low[SPLIT_DEPTH / 2];
#endif
};

#if SPLIT_PARTS == 2
/* F16 as the nearest BF16 and what is left of it: three bits. */
VEC void split_halves(vi pair, vi *high, vi *low)
{
    const vi upper = i_set32((int)0xffff0000), half = i_set32(0x8000);
    vf even = i_halves(pair), odd = i_halves(i_shr(pair, 16));
    vi e = i_and(i_add(i_as_bits(even), half), upper), o = i_and(i_add(i_as_bits(odd), half), upper);
    vi e_low = i_as_bits(v_sub(even, i_as_floats(e))), o_low = i_as_bits(v_sub(odd, i_as_floats(o)));
    *high = i_or(i_shr(e, 16), o);
    *low = i_or(i_shr(e_low, 16), i_and(o_low, upper));
}
#endif

static void turn_weights(const struct rows *r, int steps, bool f16, struct split_panel *p)
{
    for (int s = 0; s < steps; s++) {
        turn64(r, 64 * (size_t)s, p->high + s * SPLIT_STEP / 2);
#if SPLIT_PARTS == 2
        for (int i = s * SPLIT_STEP / 2; f16 && i < (s + 1) * SPLIT_STEP / 2; i++)
            split_halves(p->high[i], &p->high[i], &p->low[i]);
#else
        (void)f16;
#endif
    }
}

/* Panels of `depth` weights from k on of rows from `row` on; where rows are missing the last one serves. */
static void take_weights(const struct ht__matmul_weights *w, int row, int64_t k, int depth, bool f16,
                         struct split_panel p[WAVE_GROUPS])
{
    _Alignas(64) uint8_t ends[VL][2 * SPLIT_DEPTH];
    for (int g = 0; g < WAVE_GROUPS; g++) {
        struct rows r;
        for (int i = 0; i < VL; i++) {
            int at = row + g * VL + i;
            r.at[i] = (const uint8_t *)w->rows + (size_t)(at < w->n_rows ? at : w->n_rows - 1) * w->row_bytes + 2 * k;
            if (depth == SPLIT_DEPTH) continue;
            memset(ends[i], 0, sizeof ends[i]);
            memcpy(ends[i], r.at[i], 2 * (size_t)depth);
            r.at[i] = ends[i];
        }
        turn_weights(&r, (depth + SPLIT_STEP - 1) / SPLIT_STEP, f16, &p[g]);
    }
}

#ifdef TILE_DOTS_BF16
#include "kernels/x86/matmul16_tiles.h"
#else
#include "kernels/x86/matmul16_dots.h"
#endif

/* A share, the i-th of n, of the rows' weights from k on, the next ones. Inlined: gcc 12 drops calls of what only fetches. */
VEC void fetch_weights(const struct ht__matmul_weights *w, int64_t k, int i, int n)
{
    int64_t depth = w->n_in - k < SPLIT_DEPTH ? w->n_in - k : SPLIT_DEPTH;
    for (int row = w->n_rows * i / n; row < w->n_rows * (i + 1) / n && depth > 0; row++) {
        const char *from = (const char *)w->rows + (size_t)row * w->row_bytes + 2 * k;
        for (int64_t at = 0; at < 2 * depth; at += 64)
            _mm_prefetch(from + at, _MM_HINT_T1);
        _mm_prefetch(from + 2 * depth - 1, _MM_HINT_T1);
    }
}

/* n tokens, SPLIT_TOKENS at most, with all rows; sums: SPLIT_ROWS rows of each token, then the next rows of each. */
VEC void split_block(bool f16, const struct ht__matmul_weights *w, const struct ht__split *x, int64_t token, int n,
                     float *sums)
{
    struct split_panel p[HT__MATMUL16_ROWS / VL];
    int sixteens = (n + SPLIT_SIXTEEN - 1) / SPLIT_SIXTEEN, ld = sixteens * SPLIT_SIXTEEN * SPLIT_ROWS;
    int strips = (w->n_rows + SPLIT_ROWS - 1) / SPLIT_ROWS;
    memset(sums, 0, (size_t)(strips * ld) * sizeof *sums);
    for (int64_t k = 0; k < w->n_in; k += SPLIT_DEPTH) {
        int depth = (int)(w->n_in - k < SPLIT_DEPTH ? w->n_in - k : SPLIT_DEPTH);
        int steps = (depth + SPLIT_STEP - 1) / SPLIT_STEP;
        const struct ht__bf16_tile *tiles =
            x->tiles + (k / SPLIT_DEPTH * x->sixteens + token / SPLIT_SIXTEEN) * SPLIT_PARTS;
        for (int i = 0; i < strips; i++)
            take_weights(w, i * SPLIT_ROWS, k, depth, f16, p + i * WAVE_GROUPS);
        for (int at = 0; at < sixteens; at += 2) {
            fetch_weights(w, k + SPLIT_DEPTH, at / 2, (sixteens + 1) / 2);
            for (int i = 0; i < strips; i++) {
                float *own = sums + i * ld + at * SPLIT_SIXTEEN * SPLIT_ROWS;
                if (at + 2 <= sixteens)
                    split_tokens(true, f16, steps, p + i * WAVE_GROUPS, tiles + at * SPLIT_PARTS, own);
                else
                    split_tokens(false, f16, steps, p + i * WAVE_GROUPS, tiles + at * SPLIT_PARTS, own);
            }
        }
    }
}

/* From sums to y. */
static void put_sums(const float *sums, int n_rows, int n, float *y, int64_t ldy)
{
    int ld = (n + SPLIT_SIXTEEN - 1) / SPLIT_SIXTEEN * SPLIT_SIXTEEN * SPLIT_ROWS;
    for (int t = 0; t < n; t++)
        for (int row = 0; row < n_rows; row += SPLIT_ROWS) {
            int rows = n_rows - row < SPLIT_ROWS ? n_rows - row : SPLIT_ROWS;
            memcpy(y + t * ldy + row, sums + row / SPLIT_ROWS * ld + t * SPLIT_ROWS, (size_t)rows * sizeof *y);
        }
}

VEC void matmul16(bool f16, const struct ht__matmul_weights *w, const struct ht__split *x, int64_t n_tokens, float *y,
                  int64_t ldy, float *scratch)
{
    SPLIT_BEGIN();
    for (int64_t t = 0; t < n_tokens; t += SPLIT_TOKENS) {
        int n = (int)(n_tokens - t < SPLIT_TOKENS ? n_tokens - t : SPLIT_TOKENS);
        split_block(f16, w, x, t, n, scratch);
        put_sums(scratch, w->n_rows, n, y + t * ldy, ldy);
    }
    SPLIT_END();
}

static void matmul16_bf16(const struct ht__matmul_weights *w, const struct ht__split *x, int64_t n_tokens, float *y,
                          int64_t ldy, float *scratch)
{
    matmul16(false, w, x, n_tokens, y, ldy, scratch);
}

#if SPLIT_PARTS == 2
static void matmul16_f16(const struct ht__matmul_weights *w, const struct ht__split *x, int64_t n_tokens, float *y,
                         int64_t ldy, float *scratch)
{
    matmul16(true, w, x, n_tokens, y, ldy, scratch);
}
#endif

static ht__matmul16_fn *matmul16_of(const struct ht__codec *codec)
{
#if SPLIT_PARTS == 2
    if (codec == &ht__codec_f16) return matmul16_f16;
#endif
    return codec == &ht__codec_bf16 ? matmul16_bf16 : NULL;
}

/* n numbers of one token, in each part. Of two, the larger is the upper half as it is, so that what is not a number stays so;
 * what is left, rounded. */
static void split_row(const float *x, int n, int s, int token, struct ht__bf16_tile *tile)
{
    uint16_t *high = tile[0].numbers[s][token];
#if SPLIT_PARTS == 2
    uint16_t *low = tile[1].numbers[s][token];
    for (int i = 0; i < n; i++) {
        uint32_t bits = ht__f32_bits(x[i]);
        float left = x[i] - ht__f32_from_bits(bits & 0xffff0000u);
        high[i] = (uint16_t)(bits >> 16);
        low[i] = (uint16_t)((ht__f32_bits(left) + 0x8000u) >> 16);
    }
#else
    for (int i = 0; i < n; i++)
        high[i] = ht__f32_to_bf16(x[i]);
#endif
}

static void split(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i)
{
    for (int64_t k = 0; k < out->n_in; k += SPLIT_DEPTH) {
        struct ht__bf16_tile *tile = out->tiles + (k / SPLIT_DEPTH * out->sixteens + i) * SPLIT_PARTS;
        if (n < SPLIT_SIXTEEN || out->n_in - k < SPLIT_DEPTH) memset(tile, 0, SPLIT_PARTS * sizeof *tile);
        for (int t = 0; t < n; t++)
            for (int s = 0; s < SPLIT_DEPTH / SPLIT_STEP && k + s * SPLIT_STEP < out->n_in; s++) {
                int64_t at = k + s * SPLIT_STEP, left = out->n_in - at;
                if (left >= SPLIT_STEP) /* a constant: the compiler makes vectors of it */
                    split_row(x + t * ldx + at, SPLIT_STEP, s, t, tile);
                else
                    split_row(x + t * ldx + at, (int)left, s, t, tile);
            }
    }
}
