/*
 * The operations of ops.h in plain C that compilers make vectors of: sums run in 16 lanes, written out, and
 * are added as a tree. Included once a CPU level, after OPS_LEVEL and OPS_BYTES, the bytes of
 * its vectors, are defined, and matmul_panel and panel_products are there.
 */
#include "kernels/ops/ops.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define OPS_CAT2(a, b) a##b
#define OPS_CAT(a, b) OPS_CAT2(a, b)

enum { LANES = 16 };

/* Vectors of the level's own width, OPS_BYTES: compilers take wider ones apart in memory. */
enum { PART = OPS_BYTES / 4, PARTS = LANES / PART };
typedef float part __attribute__((vector_size(OPS_BYTES)));
typedef int32_t whole_part __attribute__((vector_size(OPS_BYTES)));
typedef int8_t byte_part __attribute__((vector_size(OPS_BYTES / 4)));
typedef float four __attribute__((vector_size(16)));
typedef int32_t whole_four __attribute__((vector_size(16)));

#define OPS_INLINE static inline __attribute__((always_inline))

OPS_INLINE part load_part(const float *x)
{
    part v;
    memcpy(&v, x, sizeof v);
    return v;
}

/* Sixteen lanes become four: `op` of lanes eight apart, then of those four apart. */
#if OPS_BYTES == 64
#define FOLD(v, op)                                                                                                    \
    FOLD8(op(__builtin_shufflevector(v[0], v[0], 0, 1, 2, 3, 4, 5, 6, 7),                                              \
             __builtin_shufflevector(v[0], v[0], 8, 9, 10, 11, 12, 13, 14, 15)),                                       \
          op)
#elif OPS_BYTES == 32
#define FOLD(v, op) FOLD8(op(v[0], v[1]), op)
#else
#define FOLD(v, op) op(op(v[0], v[2]), op(v[1], v[3]))
#endif
#define FOLD8(v, op) op(__builtin_shufflevector(v, v, 0, 1, 2, 3), __builtin_shufflevector(v, v, 4, 5, 6, 7))
#define ADD(a, b) ((a) + (b))
#define LARGER(a, b) (((a) & ((a) > (b))) | ((b) & ((a) <= (b))))

OPS_INLINE float add_lanes(const part v[PARTS])
{
    four c = FOLD(v, ADD);
    return (c[0] + c[2]) + (c[1] + c[3]);
}

OPS_INLINE int32_t add_whole_lanes(const whole_part v[PARTS])
{
    whole_four c = FOLD(v, ADD);
    return (c[0] + c[2]) + (c[1] + c[3]);
}

OPS_INLINE int32_t largest_lane(const whole_part v[PARTS])
{
    whole_four c = FOLD(v, LARGER);
    int32_t a = c[0] > c[2] ? c[0] : c[2], b = c[1] > c[3] ? c[1] : c[3];
    return a > b ? a : b;
}

/* The last elements, fewer than LANES, in front of zeros. */
OPS_INLINE void copy_rest(const float *x, int64_t n, float rest[LANES])
{
    memset(rest, 0, LANES * sizeof *rest);
    for (int64_t i = 0; i < n; i++)
        rest[i] = x[i];
}

static float op_dot(const float *a, const float *b, int64_t n)
{
    part sum[PARTS] = {{0}};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < PARTS; j++)
            sum[j] += load_part(a + i + j * PART) * load_part(b + i + j * PART);
    if (i < n) {
        float x[LANES], y[LANES];
        copy_rest(a + i, n - i, x);
        copy_rest(b + i, n - i, y);
        for (int j = 0; j < PARTS; j++)
            sum[j] += load_part(x + j * PART) * load_part(y + j * PART);
    }
    return add_lanes(sum);
}

static void op_add_scaled(float *y, const float *x, float s, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += s * x[i];
}

static float sum_of(const float *x, int64_t n)
{
    part sum[PARTS] = {{0}};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < PARTS; j++)
            sum[j] += load_part(x + i + j * PART);
    if (i < n) {
        float rest[LANES];
        copy_rest(x + i, n - i, rest);
        for (int j = 0; j < PARTS; j++)
            sum[j] += load_part(rest + j * PART);
    }
    return add_lanes(sum);
}

static void op_norm(float *y, const float *x, const float *w, const float *b, int64_t n, float eps, bool rms)
{
    float mean = rms ? 0 : sum_of(x, n) / (float)n;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] - mean;
    float scale = 1 / sqrtf(op_dot(y, y, n) / (float)n + eps);
    for (int64_t i = 0; i < n; i++)
        y[i] *= scale;
    for (int64_t i = 0; w && i < n; i++)
        y[i] *= w[i];
    for (int64_t i = 0; b && i < n; i++)
        y[i] += b[i];
}

/*
 * exp(x) = 2^k * exp(r), k = round(x / ln 2), |r| <= ln 2 / 2, by the series to the seventh term (relative error
 * below 2e-7). Below -87 the result is 0, above 88 infinity.
 */
static inline float exp_of(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds */
    float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float k = clamped * 1.44269504f + magic;
    int32_t bits;
    memcpy(&bits, &k, sizeof bits);
    k -= magic;
    float r = clamped - k * 0.693359375f; /* ln 2 in two parts: the first is exact in nine bits */
    r = r + k * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1;
    p = p * r + 1;
    int32_t power = (int32_t)((uint32_t)(bits + 127) << 23);
    float scale;
    memcpy(&scale, &power, sizeof scale);
    p *= scale;
    return x < -87.0f ? 0 : x > 88.0f ? INFINITY : p;
}

static float op_exp_sum(float *x, int64_t n, float max)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = exp_of(x[i] - max);
    return sum_of(x, n);
}

static void times(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; up && i < n; i++)
        gate[i] *= up[i];
}

static void op_silu(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        gate[i] = gate[i] / (1 + exp_of(-gate[i]));
    times(gate, up, n);
}

/*
 * erf(|x|) = 1 - exp(-x^2) * P(t), t = 1 / (1 + 0.55 |x|), P fitted for the least largest error on 0 … 4 (2e-8; a
 * float adds 6e-8). Not the C library's: its bits are not the same everywhere, and it does one at a time.
 */
static inline float erf_of(float x)
{
    float size = fabsf(x), t = 1 / (1 + 0.55f * size), p = 0.10732403f;
    p = p * t - 0.51803648f;
    p = p * t + 0.75971158f;
    p = p * t - 0.041423907f;
    p = p * t + 0.39084121f;
    p = p * t + 0.30158358f;
    return copysignf(1 - exp_of(-size * size) * (p * t), x);
}

static void op_gelu(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        gate[i] = 0.5f * gate[i] * (1 + erf_of(gate[i] * 0.70710678f));
    times(gate, up, n);
}

/* x/2 * (1 + tanh(u)) = x / (1 + exp(-2u)) with u = sqrt(2/pi) * (x + 0.044715 x^3) */
static void op_gelu_tanh(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float x = gate[i], u = 0.79788456f * (x + 0.044715f * x * x * x);
        gate[i] = x / (1 + exp_of(-2 * u));
    }
    times(gate, up, n);
}

/* Columns d on, `wide` at a time, a constant, so that their sums stay in registers; gives where it ended. */
OPS_INLINE int64_t sum_columns(float *out, const float *p, const float *rows, int64_t ld, int64_t n, int64_t d,
                               int64_t len, int wide)
{
    for (; d + wide <= len; d += wide) {
        float sum[64] = {0};
        for (int64_t j = 0; j < n; j++)
            for (int i = 0; i < wide; i++)
                sum[i] += p[j] * rows[j * ld + d + i];
        memcpy(out + d, sum, (size_t)wide * sizeof *sum);
    }
    return d;
}

static void op_weighted_sum(float *out, const float *p, const float *rows, int64_t ld, int64_t n, int64_t len)
{
    int64_t d = sum_columns(out, p, rows, ld, n, 0, len, 64);
    d = sum_columns(out, p, rows, ld, n, d, len, 16); /* heads of 32, 80 or 96 */
    for (; d < len; d++) {
        float sum = 0;
        for (int64_t j = 0; j < n; j++)
            sum += p[j] * rows[j * ld + d];
        out[d] = sum;
    }
}

/* ---- products in double ---- */

/* Eight lanes in vectors of the level; rows of a and of b whose sums stay in registers. */
enum { DOUBLES = OPS_BYTES / 8, DOUBLE_PARTS = 8 / DOUBLES, SIDE = OPS_BYTES / 16 };
typedef double doubles __attribute__((vector_size(OPS_BYTES)));

OPS_INLINE void add_tile(double *lanes, int64_t ld_lanes, const double *a, int64_t lda, const double *b, int64_t ldb,
                         int64_t n, int n_a, int n_b)
{
    doubles sum[SIDE][SIDE][DOUBLE_PARTS];
    for (int i = 0; i < n_a; i++)
        for (int j = 0; j < n_b; j++)
            memcpy(sum[i][j], lanes + i * ld_lanes + 8 * j, sizeof sum[i][j]);
    for (int64_t k = 0; k < n; k += 8)
        for (int p = 0; p < DOUBLE_PARTS; p++) {
            doubles x[SIDE];
            for (int i = 0; i < n_a; i++)
                memcpy(&x[i], a + i * lda + k + p * DOUBLES, sizeof x[i]);
            for (int j = 0; j < n_b; j++) {
                doubles y;
                memcpy(&y, b + j * ldb + k + p * DOUBLES, sizeof y);
                for (int i = 0; i < n_a; i++)
                    sum[i][j][p] += x[i] * y;
            }
        }
    for (int i = 0; i < n_a; i++)
        for (int j = 0; j < n_b; j++)
            memcpy(lanes + i * ld_lanes + 8 * j, sum[i][j], sizeof sum[i][j]);
}

static void op_add_products(double *lanes, const double *a, int64_t lda, int64_t n_a, const double *b, int64_t ldb,
                            int64_t n_b, int64_t n)
{
    for (int64_t i = 0; i < n_a; i += SIDE)
        for (int64_t j = 0; j < n_b; j += SIDE) {
            double *at = lanes + (i * n_b + j) * 8;
            const double *x = a + i * lda, *y = b + j * ldb;
            if (n_a - i >= SIDE && n_b - j >= SIDE)
                add_tile(at, n_b * 8, x, lda, y, ldb, n, SIDE, SIDE);
            else
                for (int64_t r = 0; r < SIDE && i + r < n_a; r++)
                    for (int64_t c = 0; c < SIDE && j + c < n_b; c++)
                        add_tile(at + (r * n_b + c) * 8, n_b * 8, x + r * lda, lda, y + c * ldb, ldb, n, 1, 1);
        }
}

/* The largest magnitude of 32; compared as bits, so that what is not a number is the largest. */
OPS_INLINE float largest_of_32(const float *x)
{
    whole_part most[PARTS];
    for (int j = 0; j < PARTS; j++) {
        whole_part a, b;
        memcpy(&a, x + j * PART, sizeof a);
        memcpy(&b, x + LANES + j * PART, sizeof b);
        a &= INT32_MAX;
        b &= INT32_MAX;
        most[j] = LARGER(a, b);
    }
    int32_t bits = largest_lane(most);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    return largest;
}

/* Magnitudes whose inverse overflows are zeros. The sums are of the codes as stored: no input makes them overflow. */
OPS_INLINE float codes_of_32(const float *x, float most, int8_t *codes, int32_t sums[2])
{
    const float magic = 12582912.0f; /* adding it rounds to a whole number in the low bits, of which it has no byte */
    float inverse = most > 127 / FLT_MAX ? 127 / most : 0;
    for (int half = 0; half < 2; half++, x += LANES, codes += LANES) {
        whole_part whole[PARTS];
        for (int j = 0; j < PARTS; j++) {
            whole[j] = (whole_part)(load_part(x + j * PART) * inverse + magic) << 24 >> 24;
            byte_part bytes = __builtin_convertvector(whole[j], byte_part);
            memcpy(codes + j * PART, &bytes, sizeof bytes);
        }
        sums[half] = add_whole_lanes(whole);
    }
    return inverse == 0 && most < 1 ? 0 : most / 127;
}

static void op_activations(const float *x, int64_t ldx, int64_t n, struct ht__activations *out)
{
    int64_t blocks = out->n_in / 32, together = out->wide ? 8 : 1;
    for (int64_t t = 0; t < n; t++)
        for (int64_t first = 0; first < blocks; first += together) {
            int64_t last = first + together < blocks ? first + together : blocks;
            float most = 0;
            for (int64_t b = first; b < last; b++) {
                float here = largest_of_32(x + t * ldx + 32 * b);
                most = here > most || here != here ? here : most;
            }
            for (int64_t b = first; b < last; b++)
                out->scales[t * blocks + b] = codes_of_32(
                    x + t * ldx + 32 * b, most, out->codes + t * out->n_in + 32 * b, out->sums + 2 * (t * blocks + b));
        }
}

/* Decodes a strip of every row and turns it, so that a vector holds one weight of each row. */
static void op_matmul(const struct ht__matmul_weights *w, const float *x, int64_t ldx, int64_t n_tokens, float *y,
                      int64_t ldy, float *scratch)
{
    float *decoded = scratch, *panel = scratch + HT__MATMUL_ROWS * HT__MATMUL_DEPTH;
    for (int64_t k = 0; k < w->n_in; k += HT__MATMUL_DEPTH) {
        int64_t depth = w->n_in - k < HT__MATMUL_DEPTH ? w->n_in - k : HT__MATMUL_DEPTH;
        size_t offset = (size_t)(k / w->block_len) * w->block_size;
        for (int r = 0; r < w->n_rows; r++)
            w->decode((const uint8_t *)w->rows + (size_t)r * w->row_bytes + offset, depth,
                      decoded + r * HT__MATMUL_DEPTH);
        if (w->n_rows < HT__MATMUL_ROWS)
            memset(decoded + w->n_rows * HT__MATMUL_DEPTH, 0,
                   (size_t)(HT__MATMUL_ROWS - w->n_rows) * HT__MATMUL_DEPTH * sizeof(float));
        turn_panel(decoded, depth, panel);
        matmul_panel(panel, depth, x + k, ldx, n_tokens, y, ldy, w->n_rows, k == 0);
    }
}

/* A part of two panels that stays in the second cache. */
enum { OUTER_DEPTH = 512 };

static void op_add_outer(double *sums, int64_t ld, const float *a, int n_a, const float *b, int n_b, int64_t n)
{
    _Alignas(64) float y[HT__MATMUL_ROWS * HT__MATMUL_ROWS];
    for (int i = 0; i < n_a; i++)
        for (int j = 0; j < n_b; j += 8)
            __builtin_prefetch(sums + i * ld + j, 1);
    for (int64_t k = 0; k < n; k += OUTER_DEPTH) {
        int64_t depth = n - k < OUTER_DEPTH ? n - k : OUTER_DEPTH;
        panel_products(a + k * HT__MATMUL_ROWS, n_a, b + k * HT__MATMUL_ROWS, depth, y, k == 0);
    }
    for (int i = 0; i < n_a && n > 0; i++)
        for (int j = 0; j < n_b; j++)
            sums[i * ld + j] += (double)y[i * HT__MATMUL_ROWS + j];
}

const struct ht__ops OPS_CAT(ht__ops_, OPS_LEVEL) = {
    .matmul = op_matmul,
    .dot = op_dot,
    .add_scaled = op_add_scaled,
    .norm = op_norm,
    .exp_sum = op_exp_sum,
    .silu = op_silu,
    .gelu = op_gelu,
    .gelu_tanh = op_gelu_tanh,
    .weighted_sum = op_weighted_sum,
    .add_products = op_add_products,
    .add_outer = op_add_outer,
    .activations = op_activations,
#ifdef OPS_TILE
    .tile = OPS_TILE,
#endif
#ifdef OPS_MATMUL16
    .split = OPS_SPLIT,
    .parts = OPS_PARTS,
    .matmul16 = OPS_MATMUL16,
#endif
    .matmul8 = OPS_MATMUL8,
    .vector = OPS_VECTOR,
};
