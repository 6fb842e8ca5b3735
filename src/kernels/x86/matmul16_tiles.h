/*
 * Tokens with a strip's panels by tiles: included by matmul16_tmpl.h. Sums of 32 tokens and WAVE_GROUPS panels of rows stay in
 * tiles while 256 weights of a row are multiplied.
 */

/* Sums of the first sixteen tokens and of the second with each panel; activations; weights. */
#define TILE16_SUMS00 0
#define TILE16_SUMS01 1
#define TILE16_SUMS10 2
#define TILE16_SUMS11 3
#define TILE16_X0 4
#define TILE16_X1 5
#define TILE16_W0 6
#define TILE16_W1 7
static_assert((int)SPLIT_SIXTEEN == TILE_TOKENS, "tokens of a tile");

#if WAVE_GROUPS == 2
#define SPLIT_SECOND(...) __VA_ARGS__
#else
#define SPLIT_SECOND(...)
#endif

#define SPLIT_HIGH 0
#define SPLIT_LOW 1
#define SPLIT_LOAD_X(part)                                                                                             \
    do {                                                                                                               \
        TILE_LOAD(TILE16_X0, x[part].numbers[s], sizeof x->numbers[0][0]);                                             \
        if (two) TILE_LOAD(TILE16_X1, x[SPLIT_PARTS + part].numbers[s], sizeof x->numbers[0][0]);                      \
    } while (0)
#define SPLIT_LOAD_W(part)                                                                                             \
    do {                                                                                                               \
        TILE_LOAD(TILE16_W0, p[0].part + s * SPLIT_STEP / 2, sizeof(vi));                                              \
        SPLIT_SECOND(TILE_LOAD(TILE16_W1, p[1].part + s * SPLIT_STEP / 2, sizeof(vi));)                                \
    } while (0)
#define SPLIT_DOTS()                                                                                                   \
    do {                                                                                                               \
        TILE_DOTS_BF16(TILE16_SUMS00, TILE16_X0, TILE16_W0);                                                           \
        SPLIT_SECOND(TILE_DOTS_BF16(TILE16_SUMS01, TILE16_X0, TILE16_W1);)                                             \
        if (two) TILE_DOTS_BF16(TILE16_SUMS10, TILE16_X1, TILE16_W0);                                                  \
        SPLIT_SECOND(if (two) TILE_DOTS_BF16(TILE16_SUMS11, TILE16_X1, TILE16_W1);)                                    \
    } while (0)
#define SPLIT_EACH(what)                                                                                               \
    do {                                                                                                               \
        what(TILE16_SUMS00, sums, SPLIT_ROWS * sizeof *sums);                                                          \
        SPLIT_SECOND(what(TILE16_SUMS01, sums + VL, SPLIT_ROWS * sizeof *sums);)                                       \
        if (two) what(TILE16_SUMS10, sums + TILE_TOKENS * SPLIT_ROWS, SPLIT_ROWS * sizeof *sums);                      \
        SPLIT_SECOND(if (two) what(TILE16_SUMS11, sums + TILE_TOKENS * SPLIT_ROWS + VL, SPLIT_ROWS * sizeof *sums);)   \
    } while (0)

/* What a step needs of activations, on its way two steps earlier: more than the first cache holds is read once a strip. */
VEC void split_fetch(bool two, const struct ht__bf16_tile *x, int s)
{
    for (int i = 0; i < (two ? 2 * SPLIT_PARTS : SPLIT_PARTS); i++)
        for (size_t at = 0; at < sizeof x->numbers[0]; at += 64)
            _mm_prefetch((const char *)x[i].numbers[s] + at, _MM_HINT_T0);
}

/* Sixteen tokens, or two times sixteen: known where this is inlined, as f16 is. */
VEC void split_tokens(bool two, bool f16, int steps, const struct split_panel *p, const struct ht__bf16_tile *x,
                      float *sums)
{
    SPLIT_EACH(TILE_LOAD);
    for (int s = 0; s < steps; s++) {
        if (s + 2 < steps) split_fetch(two, x, s + 2);
        SPLIT_LOAD_W(high);
        SPLIT_LOAD_X(SPLIT_LOW);
        SPLIT_DOTS();
        SPLIT_LOAD_X(SPLIT_HIGH);
        SPLIT_DOTS();
        if (!f16) continue;
        SPLIT_LOAD_W(low);
        SPLIT_DOTS();
    }
    SPLIT_EACH(TILE_STORE);
}

static const struct tile_shapes split_shapes = {
    .palette = 1,
    .bytes = {4 * VL, 4 * VL, 4 * VL, 4 * VL, 2 * SPLIT_STEP, 2 * SPLIT_STEP, 4 * VL, 4 * VL},
    .rows = {16, 16, 16, 16, 16, 16, SPLIT_STEP / 2, SPLIT_STEP / 2}};
#define SPLIT_BEGIN()                                                                                                  \
    _Alignas(64) struct tile_shapes kept;                                                                              \
    TILES_KEEP(&kept);                                                                                                 \
    TILES_SHAPE(&split_shapes)
#define SPLIT_END() TILES_RESTORE(&kept)
