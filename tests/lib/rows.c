#include "lib/rows.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static uint64_t next(uint64_t *s)
{
    *s += 0x9e3779b97f4a7c15u;
    uint64_t z = *s;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static float uniform(uint64_t *s)
{
    return (float)(next(s) >> 40) * 0x1p-24f;
}

static float gaussian(uint64_t *s)
{
    float sum = 0;
    for (int i = 0; i < 6; i++)
        sum += uniform(s);
    float g = (sum - 3) * 1.4f;
    return uniform(s) < 0.02f ? g * 4 : g;
}

static float patch(uint64_t *s, int64_t i, uint64_t seed)
{
    uint64_t mode = (uint64_t)(i / 16) * 0x9e3779b97f4a7c15u + seed;
    switch (next(&mode) % 6) {
    case 0: return 0;
    case 1: return 0.37f;
    case 2: return fabsf(gaussian(s));
    case 3: return -fabsf(gaussian(s));
    case 4: return gaussian(s) * 1e-4f;
    default: return gaussian(s);
    }
}

static float tie(uint64_t *s, int64_t i)
{
    static const float largest[6] = {127, 8, 6, 448 * 6, 0x1.fffffep2f, 0x1.fffffep19f};
    float v = (float)((int)(next(s) % 509) - 254) * 0.5f, max = largest[i / 64 % 6];
    if (i % 16 == 5) return next(s) % 2 ? max : -max;
    v = fabsf(v) > max ? v * max / 128 : v;
    uint64_t nudge = next(s) % 4;
    return nudge == 0 ? nextafterf(v, 1e9f) : nudge == 1 ? nextafterf(v, -1e9f) : v;
}

/* A super-block is a small number u times whole numbers: its first sixteen weights 128 times those of -32 … 31, each other
 * sixteen a number up to 127 times the same and a few halves. */
static float product(uint64_t *s, int64_t i, uint64_t seed)
{
    uint64_t super = (uint64_t)(i / 256) + seed, sub = (uint64_t)(i / 16) * 31 + seed;
    float u = (float)(1 + 2 * (next(&super) % 100)) * 0x1p-16f;
    float scale = u * (float)(i / 16 % 16 == 0 ? 128 : 20 + next(&sub) % 108);
    if (i % 16 == 3) return -32 * scale;
    float whole = (float)((int)(next(s) % 60) - 30);
    return scale * (next(s) % 8 || i / 16 % 16 == 0 ? whole : whole + 0.5f);
}

static float signed_zero(uint64_t *s, int64_t i)
{
    float zero = next(s) % 2 ? 0.0f : -0.0f, v = fabsf(gaussian(s));
    switch (i / 32 % 4) {
    case 0: return zero;
    case 1: return next(s) % 4 ? v : zero;
    case 2: return next(s) % 4 ? -v : zero;
    default: return i % 32 ? v : zero;
    }
}

void rows_fill(enum row_kind kind, uint64_t seed, int64_t n, float *x)
{
    uint64_t s = seed * 1000003 + (uint64_t)kind;
    for (int64_t i = 0; i < n; i++) {
        switch (kind) {
        case ROWS_GAUSSIAN: x[i] = gaussian(&s) * 0.02f; break;
        case ROWS_HALVES: x[i] = (float)((int)(next(&s) % 33) - 16) * 0.5f; break;
        case ROWS_PATCHES: x[i] = patch(&s, i, seed); break;
        case ROWS_FADING: x[i] = gaussian(&s) * ldexpf(1, -(int)(i % 4096 / 28)); break;
        case ROWS_LEVELS: x[i] = 0.3f + 0.1f * (float)(next(&s) % 4); break;
        case ROWS_SPIKES: x[i] = uniform(&s) < 0.6f ? 0 : gaussian(&s) * (uniform(&s) < 0.01f ? 1000.0f : 1.0f); break;
        case ROWS_HUGE: x[i] = gaussian(&s) * ldexpf(1, (int)(i % 1024 / 10)); break;
        case ROWS_BELOW: {
            uint64_t block = (uint64_t)(i / 16) + seed * 7919;
            x[i] = -1000 * uniform(&block) - fabsf(gaussian(&s)) * ldexpf(1, -(int)(20 * uniform(&s)));
            break;
        }
        case ROWS_TIES: x[i] = tie(&s, i); break;
        case ROWS_PRODUCTS: x[i] = product(&s, i, seed); break;
        case ROWS_SIGNED_ZEROS: x[i] = signed_zero(&s, i); break;
        default: x[i] = 0; break;
        }
    }
}

void rows_importance(uint64_t seed, int64_t n, float *w)
{
    uint64_t s = seed + 77;
    for (int64_t i = 0; i < n; i++) {
        float u = uniform(&s);
        bool zero_block = i / 32 % 11 == 7;
        w[i] = u < 0.1f || zero_block ? 0 : 0.01f + u * u * 4;
    }
}

void rows_golden(float x[8192], float importance[1024])
{
    uint32_t s = 12345;
#define STEP (s = s * 1664525u + 1013904223u, (float)(s >> 8) / 16777216.0f)
    for (int i = 0; i < 8192; i++) {
        float u = 0;
        for (int k = 0; k < 4; k++)
            u += STEP - 0.5f;
        x[i] = u * 0.0625f;
    }
    memset(x + 5376, 0, 256 * sizeof *x);
    for (int i = 0; i < 1024; i++) {
        float u = STEP;
        importance[i] = 0.01f + u * u * 4;
    }
#undef STEP
}

uint64_t rows_hash(const void *data, uint64_t n)
{
    const unsigned char *p = data;
    uint64_t h = 0xcbf29ce484222325u;
    for (uint64_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}
