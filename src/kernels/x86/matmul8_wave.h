/*
 * Sixteen tokens at once with tiles: included by matmul8_tmpl.h after a header of tiles. A sub-block's codes of a panel
 * already lie as a tile wants its second factor: four neighbouring codes of each row in a line. Sums of integers are exact,
 * so that their order does not matter; floats are added as `tile` adds them: the bits are the same.
 *
 * A unit is sixteen tokens with one panel: its floats stay in registers. They take two to three times as long as tiles, and
 * the processor does both at once where it finds them close together: while floats of a sub-block are added, tiles multiply
 * the third one after it, and the next one is stored. While tiles are used, one port alone multiplies floats and
 * turns integers into them, but two add: see small_floats. The memory between tiles and floats holds two sub-blocks: a load
 * waits for stores under way to any address that is a multiple of 4 KB from its own, and a ring of 4 KB met them all.
 */
enum { WAVE_AHEAD = 3, WAVE_TILES = 4, WAVE_RING = 2 };

/* The tiles of matmul8: sums of as many sub-blocks, activations of tokens and codes of a panel by turns. */
#define TILE_SUMS0 0
#define TILE_SUMS1 1
#define TILE_SUMS2 2
#define TILE_SUMS3 3
#define TILE_X0 4
#define TILE_X1 5
#define TILE_CODES0 6
#define TILE_CODES1 7

#define WAVE_SHAPES(sub)                                                                                               \
    {                                                                                                                  \
        .palette = 1, .bytes = {4 * VL, 4 * VL, 4 * VL, 4 * VL, sub, sub, 4 * VL, 4 * VL}, .rows = {                   \
            16,                                                                                                        \
            16,                                                                                                        \
            16,                                                                                                        \
            16,                                                                                                        \
            16,                                                                                                        \
            16,                                                                                                        \
            sub / 4,                                                                                                   \
            sub / 4                                                                                                    \
        }                                                                                                              \
    }

static void begin_waves(int sub, struct tile_shapes *kept)
{
    static const struct tile_shapes shapes_32 = WAVE_SHAPES(32), shapes_16 = WAVE_SHAPES(16);
    TILES_KEEP(kept);
    TILES_SHAPE(sub == 32 ? &shapes_32 : &shapes_16);
}

static void end_waves(const struct tile_shapes *kept)
{
    TILES_RESTORE(kept);
}

typedef int32_t wave_ring[WAVE_RING][TILE_TOKENS][VL];

struct unit {
    const struct ht__activation_tile *x;
    const struct panel *p;
    float *sums;               /* ROWS floats a token */
    const char *ahead, *later; /* of what the next sixteen tokens need, a share: their activations and sums */
};

/* A part of both, which are on their way while the unit is computed; n parts. */
VEC void wave_fetch(const struct unit *u, int part, int n)
{
    enum { X = (int)sizeof *u->x / GROUPS, SUMS = TILE_TOKENS * ROWS * (int)sizeof *u->sums / GROUPS };
    for (int i = X / n * part; i < X / n * (part + 1); i += 64)
        _mm_prefetch(u->ahead + i, _MM_HINT_T0);
    for (int i = SUMS / n * part; i < SUMS / n * (part + 1); i += 64)
        _mm_prefetch(u->later + i, _MM_HINT_T0);
}

/* Products of sub-block s; s % WAVE_TILES is known where this is inlined. */
VEC void wave_dots(int sub, const struct unit *u, int s)
{
    const int8_t *x = u->x->codes[s * sub / 32][0] + s * sub % 32;
    const vi *codes = u->p->codes + s * (sub / 4);
#define WAVE_DOTS(sums, activations, weights)                                                                          \
    TILE_LOAD(activations, x, sizeof u->x->codes[0][0]);                                                               \
    TILE_LOAD(weights, codes, sizeof(vi));                                                                             \
    TILE_ZERO(sums);                                                                                                   \
    TILE_DOTS(sums, activations, weights);                                                                             \
    break
    switch (s % WAVE_TILES) {
    case 0: WAVE_DOTS(TILE_SUMS0, TILE_X0, TILE_CODES0);
    case 1: WAVE_DOTS(TILE_SUMS1, TILE_X1, TILE_CODES1);
    case 2: WAVE_DOTS(TILE_SUMS2, TILE_X0, TILE_CODES0);
    default: WAVE_DOTS(TILE_SUMS3, TILE_X1, TILE_CODES1);
    }
#undef WAVE_DOTS
}

/* What they were, to the ring. */
VEC void wave_store(int s, wave_ring ring)
{
    switch (s % WAVE_TILES) {
    case 0: TILE_STORE(TILE_SUMS0, ring[0], sizeof(vi)); break;
    case 1: TILE_STORE(TILE_SUMS1, ring[1], sizeof(vi)); break;
    case 2: TILE_STORE(TILE_SUMS2, ring[0], sizeof(vi)); break;
    default: TILE_STORE(TILE_SUMS3, ring[1], sizeof(vi)); break;
    }
}

/* Integers of less than 2^22, exactly, by additions alone. */
VEC vf small_floats(vi whole)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23, whose low bits count ones */
    return v_sub(i_as_floats(i_add(whole, i_set32(0x4b400000))), v_set(magic));
}

/* Floats of sub-block s of a unit while tiles are at later ones, of this unit or of the next. */
VEC void wave_sub(const struct kind f, int s, const struct unit *u, const struct unit *next, wave_ring ring,
                  vf sum[TILE_TOKENS])
{
    int n = SUPER / f.sub, later = s + WAVE_AHEAD;
    wave_fetch(u, s, n);
    wave_store(s + 1, ring);
    wave_dots(f.sub, later < n ? u : next, later % n);
    vf scale = u->p->scales[s], min = u->p->mins[s];
#pragma GCC unroll 16
    for (int t = 0; t < TILE_TOKENS; t++) {
        vf x = v_set(u->x->scales[f.sub == 16 ? s >> 1 : s][t]);
        sum[t] = v_fma(small_floats(i_load(ring[s % WAVE_RING][t])), v_mul(scale, x), sum[t]);
        if (f.mins) sum[t] = v_fnma(min, v_set(f.sub == 16 ? u->x->sums_16[s][t] : u->x->sums_32[s][t]), sum[t]);
    }
}

VEC void wave_unit(const struct kind f, const struct unit *u, const struct unit *next, wave_ring ring)
{
    const int subs =
        SUPER / f.sub; /* a sanitizer checks the division: in the loop's condition it would hide the loop */
    vf sum[TILE_TOKENS];
#pragma GCC unroll 16
    for (int t = 0; t < TILE_TOKENS; t++)
        sum[t] = v_load(u->sums + t * ROWS);
#pragma GCC unroll 16
    for (int s = 0; s < subs; s++)
        wave_sub(f, s, u, next, ring, sum);
#pragma GCC unroll 16
    for (int t = 0; t < TILE_TOKENS; t++)
        v_store(u->sums + t * ROWS, sum[t]);
}

static void sign_codes(int offset, int n_codes, struct panel *p)
{
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; i < n_codes / 4; i++)
            p[g].codes[i] = i_sub8(p[g].codes[i], i_set8(offset));
}

VEC struct unit unit_at(int i, const struct panel *p, const struct ht__activation_tile *x, float *sums)
{
    int at = i / GROUPS, g = i % GROUPS;
    float *own = sums + at * TILE_TOKENS * ROWS;
    return (struct unit){x + at, p + g, own + g * VL, (const char *)(x + at + 1) + sizeof *x / GROUPS * (size_t)g,
                         (const char *)(own + TILE_TOKENS * ROWS) + TILE_TOKENS * VL * sizeof *own * (size_t)g};
}

/* Panels of 256 weights, whose codes have their sign; n, token: multiples of TILE_TOKENS. */
VEC void waves(const struct kind f, int n, const struct panel *p, const struct ht__activations *x, int64_t token,
               int64_t at, float *sums)
{
    _Alignas(64) wave_ring ring;
    const struct ht__activation_tile *tiles = x->tiles + at / SUPER * x->sixteens + token / TILE_TOKENS;
    int units = n / TILE_TOKENS * GROUPS;
    struct unit now, next = unit_at(0, p, tiles, sums);
    wave_dots(f.sub, &next, 0);
    wave_dots(f.sub, &next, 1);
    wave_store(0, ring);
    wave_dots(f.sub, &next, 2);
    for (int i = 0; i < units; i++) {
        now = next;
        if (i + 1 < units) next = unit_at(i + 1, p, tiles, sums); /* after the last one nobody asks */
        wave_unit(f, &now, &next, ring);
    }
}
