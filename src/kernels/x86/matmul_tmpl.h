/*
 * Float products with output rows in lanes: included by ops_<level>.c after vec_<level>.h. A tile is TOKENS
 * tokens by HT__MATMUL_ROWS rows, all of it in registers.
 */
#include "kernels/ops/ops_list.h"

enum { COLUMNS = HT__MATMUL_ROWS / VL };

#ifndef IN_REGISTER
#define IN_REGISTER(v) __asm__("" : "+v"(v))
#endif

static void turn_panel(const float *decoded, int64_t depth, float *panel)
{
    vf t[VL];
    int64_t k = 0;
    for (; k + VL <= depth; k += VL)
        for (int c = 0; c < COLUMNS; c++) {
            v_transpose(decoded + c * VL * HT__MATMUL_DEPTH + k, HT__MATMUL_DEPTH, t);
            for (int j = 0; j < VL; j++)
                v_store(panel + (k + j) * HT__MATMUL_ROWS + c * VL, t[j]);
        }
    for (; k < depth; k++)
        for (int r = 0; r < HT__MATMUL_ROWS; r++)
            panel[k * HT__MATMUL_ROWS + r] = decoded[r * HT__MATMUL_DEPTH + k];
}

/* n is constant where this is inlined, 1 … TOKENS; the columns of one pass are `columns` vectors from `from`. Values of a
 * token are `step` apart. */
VEC void tile(int n, int from, int columns, const float *panel, int64_t depth, const float *x, int64_t ldx,
              int64_t step, float *y, int64_t ldy, bool first)
{
    vf sum[TOKENS][COLUMNS];
    for (int t = 0; t < n; t++)
        for (int c = 0; c < columns; c++)
            sum[t][c] = first ? v_zero() : v_load(y + t * ldy + (from + c) * VL);
    for (int64_t k = 0; k < depth; k++) {
        vf w[COLUMNS];
        for (int c = 0; c < columns; c++)
            w[c] = v_load(panel + k * HT__MATMUL_ROWS + (from + c) * VL);
        for (int c = 0; c < columns; c++)
            IN_REGISTER(w[c]); /* not an operand in memory of every product: there are two loads a cycle at most */
        for (int c = 0; c < columns; c++)
            __builtin_prefetch(panel + (k + 32) * HT__MATMUL_ROWS + (from + c) * VL);
        for (int t = 0; t < n; t++) {
            vf value = v_set(x[t * ldx + k * step]);
            for (int c = 0; c < columns; c++)
                sum[t][c] = v_fma(value, w[c], sum[t][c]);
        }
    }
    for (int t = 0; t < n; t++)
        for (int c = 0; c < columns; c++)
            v_store(y + t * ldy + (from + c) * VL, sum[t][c]);
}

/* step is constant, too: 1, or HT__MATMUL_ROWS where x is a panel itself. */
VEC void tiles(int n, const float *panel, int64_t depth, const float *x, int64_t ldx, int64_t step, float *y,
               int64_t ldy, bool first)
{
    for (int from = 0; from < COLUMNS; from += PASS)
        switch (n) {
#define TILE(i)                                                                                                        \
    case i: tile(i, from, PASS, panel, depth, x, ldx, step, y, ldy, first); break;
            TILE(1)
            TILE(2)
            TILE(3)
            TILE(4)
            TILE(5)
            TILE(6)
#if TOKENS_MOST > 6
            TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
#endif
#undef TILE
        }
}

static void token_tiles(int n, const float *panel, int64_t depth, const float *x, int64_t ldx, float *y, int64_t ldy,
                        bool first)
{
    tiles(n, panel, depth, x, ldx, 1, y, ldy, first);
}

static void column_tiles(int n, const float *panel, int64_t depth, const float *columns, float *y, bool first)
{
    tiles(n, panel, depth, columns, 1, HT__MATMUL_ROWS, y, HT__MATMUL_ROWS, first);
}

/*
 * Rows of x whose distance is a multiple of 4 KB share the eight places of a line in the first cache: more tokens than that push
 * each other out. Sums are the same.
 */
enum { CROWDED = 1024, FEW = TOKENS_MOST < 8 ? TOKENS_MOST : 8 };

static void matmul_panel(const float *panel, int64_t depth, const float *x, int64_t ldx, int64_t n_tokens, float *y,
                         int64_t ldy, int n_rows, bool first)
{
    int most = ldx % CROWDED == 0 ? (int)FEW : (int)TOKENS;
    for (int64_t t = 0; t < n_tokens; t += most) {
        int n = (int)(n_tokens - t < most ? n_tokens - t : most);
        if (n_rows == HT__MATMUL_ROWS) {
            token_tiles(n, panel, depth, x + t * ldx, ldx, y + t * ldy, ldy, first);
            continue;
        }
        float part[TOKENS * HT__MATMUL_ROWS] = {0};
        for (int i = 0; i < n && !first; i++)
            __builtin_memcpy(part + i * HT__MATMUL_ROWS, y + (t + i) * ldy, (size_t)n_rows * sizeof(float));
        token_tiles(n, panel, depth, x + t * ldx, ldx, part, HT__MATMUL_ROWS, first);
        for (int i = 0; i < n; i++)
            __builtin_memcpy(y + (t + i) * ldy, part + i * HT__MATMUL_ROWS, (size_t)n_rows * sizeof(float));
    }
}

/* Products of the columns of a panel with those of another: as many at a time as fill the registers, about as many each time. */
static void panel_products(const float *a, int n_a, const float *b, int64_t depth, float *y, bool first)
{
    int rounds = (n_a + TOKENS - 1) / TOKENS;
    for (int i = 0; i < rounds; i++) {
        int from = n_a * i / rounds, to = n_a * (i + 1) / rounds;
        column_tiles(to - from, b, depth, a + from, y + from * HT__MATMUL_ROWS, first);
    }
}
