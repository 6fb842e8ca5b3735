/* bitsandbytes: its configuration, and its dynamic map of 8 bits, which keeps block scales of 4-bit schemes. */
#include "schemes/bnb.h"

#include "kernels/half.h"

#include <math.h>
#include <string.h>

/* ---- config.json ---- */

const char *ht__torch_dtype(const struct ht__codec *dtype)
{
    return dtype == &ht__codec_f16 ? "float16" : dtype == &ht__codec_bf16 ? "bfloat16" : "float32";
}

/* Modules that are not quantized so, by full name: an empty list says that there are none, where null would leave the
 * output matrix as it is. Other options of the same scheme are told by each module's own state. */
static void skipped(const struct ht__scheme_package *package, struct ht__jw *w)
{
    ht__jw_array(w, "llm_int8_skip_modules");
    for (size_t i = 0; i < package->n_modules; i++)
        if (!package->modules[i].params ||
            package->modules[i].params->scheme->config != package->params->scheme->config)
            ht__jw_str(w, NULL, package->modules[i].name);
    ht__jw_end(w);
}

void ht__bnb_config(const struct ht__scheme_package *package, const struct ht__bnb_config *config, struct ht__jw *w)
{
    ht__jw_bool(w, "_load_in_4bit", !config->eight_bits);
    ht__jw_bool(w, "_load_in_8bit", config->eight_bits);
    ht__jw_str(w, "bnb_4bit_compute_dtype", ht__torch_dtype(package->dtype));
    ht__jw_str(w, "bnb_4bit_quant_storage", config->storage);
    ht__jw_str(w, "bnb_4bit_quant_type", config->quant_type);
    ht__jw_bool(w, "bnb_4bit_use_double_quant", config->nested);
    ht__jw_bool(w, "llm_int8_enable_fp32_cpu_offload", false);
    ht__jw_bool(w, "llm_int8_has_fp16_weight", false);
    skipped(package, w);
    ht__jw_double(w, "llm_int8_threshold", config->threshold); /* 6.0: transformers refuses an integer */
    ht__jw_bool(w, "load_in_4bit", !config->eight_bits);
    ht__jw_bool(w, "load_in_8bit", config->eight_bits);
    ht__jw_str(w, "quant_method", "bitsandbytes");
}

/* ---- the mean ---- */

enum { LANES = 8, VECTORS = 4, WIDTH = LANES * VECTORS, LEVELS = 4 };

static int log2_up(int64_t n)
{
    int bits = 0;
    while (((int64_t)1 << bits) < n)
        bits++;
    return bits;
}

static void add(float *to, const float *x)
{
    for (int i = 0; i < WIDTH; i++)
        to[i] += x[i];
}

/* Sums of WIDTH columns over n rows: a level takes 2^bits sums of the one below. */
static void sum_rows(const float *x, int64_t n, float level[LEVELS][WIDTH])
{
    int bits = log2_up(n) / LEVELS > 4 ? log2_up(n) / LEVELS : 4;
    int64_t step = (int64_t)1 << bits, i = 0;
    memset(level, 0, sizeof(float) * LEVELS * WIDTH);
    while (i + step <= n) {
        for (int64_t end = i + step; i < end; i++)
            add(level[0], x + i * WIDTH);
        for (int k = 1; k < LEVELS; k++) {
            add(level[k], level[k - 1]);
            memset(level[k - 1], 0, sizeof level[k - 1]);
            if (i & (step - 1) << k * bits) break;
        }
    }
    for (; i < n; i++)
        add(level[0], x + i * WIDTH);
    for (int k = 1; k < LEVELS; k++)
        add(level[0], level[k]);
}

float ht__bnb_mean(const float *x, int64_t n)
{
    float level[LEVELS][WIDTH], sum = 0;
    int64_t vectors = n / LANES, rows = vectors / VECTORS;
    if (n < LANES) {
        /* fewer than a vector: four sums side by side */
        float part[VECTORS] = {0};
        int64_t i = 0;
        for (; i < n / VECTORS * VECTORS; i++)
            part[i % VECTORS] += x[i];
        for (; i < n; i++)
            part[0] += x[i];
        return (part[0] + part[1] + part[2] + part[3]) / (float)n;
    }
    sum_rows(x, rows, level);
    for (int64_t v = rows * VECTORS; v < vectors; v++)
        for (int i = 0; i < LANES; i++)
            level[0][i] += x[v * LANES + i];
    for (int k = 1; k < VECTORS; k++)
        for (int i = 0; i < LANES; i++)
            level[0][i] += level[0][k * LANES + i];
    for (int64_t i = vectors * LANES; i < n; i++)
        sum += x[i];
    for (int i = 0; i < LANES; i++)
        sum += level[0][i];
    return sum / (float)n;
}

/* ---- the dynamic map ---- */

/* Point i of n evenly spaced ones from 0.1 to 1, as torch.linspace computes it: from the nearer end, rounded once. */
static float spaced(int i, int n)
{
    float step = (1 - 0.1f) / (float)(n - 1);
    return i < n / 2 ? (float)((double)0.1f + (double)step * i) : (float)(1 - (double)step * (n - 1 - i));
}

/* 2^k midpoints for each power of ten 10^(k - 6), and their negatives; 0 and 1 besides. */
void ht__bnb_dynamic_map(float map[256])
{
    static const float ten[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    int n = 128;
    for (int k = 0; k < 7; k++)
        for (int i = 0; i < 1 << k; i++)
            map[n++] = ten[k] * ((spaced(i, (1 << k) + 1) + spaced(i + 1, (1 << k) + 1)) / 2);
    for (int i = 0; i < 127; i++)
        map[i] = -map[254 - i];
    map[127] = 0;
    map[255] = 1;
}

/*
 * bitsandbytes looks codes up in a table of 65536 places from -1 to 1: a number goes to the nearest place (the sum with
 * a half is rounded once), and has the code that lies nearest to that.
 */
static uint8_t nearest_code(const float map[256], float scaled)
{
    double at = (double)((scaled + 1) * 0.5f) * 65535 + 0.5;
    int place = ht__truncate((float)at), low = 0, high = 255;
    float value = 2.0f * (float)(place & 0xffff) / 65535.0f - 1.0f;
    while (low < high) { /* how many midpoints are below the value */
        int middle = (low + high) / 2;
        if (value > (map[middle] + map[middle + 1]) * 0.5f)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint8_t)low;
}

void ht__bnb_quantize_blockwise(const float map[256], const float *x, float offset, int64_t n, uint8_t *q,
                                float *absmax)
{
    enum { BLOCK = 256 };
    for (int64_t from = 0; from < n; from += BLOCK) {
        int64_t end = from + BLOCK < n ? from + BLOCK : n;
        float most = 0;
        for (int64_t i = from; i < end; i++)
            most = fabsf(x[i] - offset) > most ? fabsf(x[i] - offset) : most;
        absmax[from / BLOCK] = most;
        float inverse = 1 / most;
        for (int64_t i = from; i < end; i++) {
            float scaled = (x[i] - offset) * inverse;
            scaled = scaled < -1 ? -1 : scaled > 1 ? 1 : scaled;
            q[i] = most > 0 ? nearest_code(map, scaled) : 0;
        }
    }
}
