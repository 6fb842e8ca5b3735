/*
 * bitsandbytes, 4 bits: nf4 and fp4. The matrix is one row of n = n_out * n_in weights, in blocks that run over row ends.
 * A weight is `table[code] * absmax of its block`, rounded to the model's dtype.
 *
 *   .weight                 U8 [ceil(n / 2), 1]   two codes a byte, the first in the upper four bits; with another
 *                                                 `storage` the same bytes as numbers of that dtype
 *   .weight.absmax          F32 [blocks]          largest magnitude of each block
 *   .weight.quant_map       F32 [16]              the table
 *   .weight.quant_state.bitsandbytes__nf4  U8     JSON: {"quant_type", "blocksize", "dtype", "shape"}
 *
 * With nested=on, absmax itself is quantized, less its mean, in blocks of 256 (see bnb.h):
 *   .weight.absmax          U8 [blocks]           codes
 *   .weight.nested_absmax   F32 [ceil(blocks / 256)]
 *   .weight.nested_quant_map F32 [256]
 *   and the mean is "nested_offset" in the JSON, whose length depends on it.
 * It is off by default, as it is in bitsandbytes and transformers: 4.5 bits a weight. With it they are 4.13, which is what
 * most published QLoRA models have.
 */
#include "schemes/bnb.h"

#include "kernels/half.h"
#include "kernels/weights/weights.h"

#include <math.h>
#include <string.h>

enum option { BLOCK, NESTED, STORAGE, SOURCE, OFFSET };
/* The order of parts. NESTED_ABSMAX and later are there with nested=on alone; VALUES are absmax before finish(). A source
 * has neither STATE, which has been read, nor VALUES. */
enum part { WEIGHT, ABSMAX, MAP, NESTED_ABSMAX, NESTED_MAP, STATE, VALUES };
enum { NESTED_BLOCK = 256, STATE_ROOM = 320 };

/* ---- the two tables ---- */

static const float nf4[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};
/* 0, 1/192, 8/12, 12/12, 4/12, 6/12, 2/12, 3/12, and the same below zero. Code 8 is -0 where bitsandbytes computes, and 0
 * in the table that it stores. */
static const float fp4_map[16] = {
    0.0f, 0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  0.5f,  2.0f / 12,  0.25f,
    0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -0.5f, -2.0f / 12, -0.25f,
};
static const float fp4[16] = {
    0.0f,  0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  0.5f,  2.0f / 12,  0.25f,
    -0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -0.5f, -2.0f / 12, -0.25f,
};
/* Codes by rising value. */
static const uint8_t nf4_order[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const uint8_t fp4_order[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};

struct table {
    const char *state; /* suffix of the part */
    const float *map;  /* as it is stored */
    const float *value;
    const uint8_t *order;
};
static const struct table nf4_table = {".weight.quant_state.bitsandbytes__nf4", nf4, nf4, nf4_order};
static const struct table fp4_table = {".weight.quant_state.bitsandbytes__fp4", fp4_map, fp4, fp4_order};

static const struct table *table_of(const struct ht__scheme_params *p)
{
    return p->scheme->family_data;
}

static int64_t block_of(const struct ht__scheme_params *p)
{
    return (int64_t)p->option[BLOCK];
}

static bool nested(const struct ht__scheme_params *p)
{
    return p->option[NESTED] != 0;
}

/* A checkpoint that is read by rows: its state is in the options. */
static bool is_source(const struct ht__scheme_params *p)
{
    return p->option[SOURCE] != 0;
}

static int state_at(const struct ht__scheme_params *p)
{
    return nested(p) ? STATE : NESTED_ABSMAX;
}

static const struct ht__codec *const storages[] = {&ht__codec_u8, &ht__codec_bf16, &ht__codec_f16, &ht__codec_f32};
static const char *const storage_names[] = {"uint8", "bfloat16", "float16", "float32"};

static const struct ht__codec *storage_of(const struct ht__scheme_params *p)
{
    return storages[(int)p->option[STORAGE]];
}

/* ---- parts ---- */

/* The JSON of the state in a text of its own: writers grow a buffer, which is this one at once. */
struct state_text {
    char text[STATE_ROOM];
    struct ht__alloc alloc;
    struct ht__buf buf;
};

static void *fixed_room(void *ctx, void *ptr, size_t size)
{
    return size <= STATE_ROOM ? ctx : NULL;
}

static size_t write_state(const struct ht__scheme_params *p, const struct ht__matrix *m, double offset,
                          struct state_text *state)
{
    state->alloc = (struct ht__alloc){.resize = fixed_room, .ctx = state->text};
    ht__buf_init(&state->buf, &state->alloc);
    struct ht__jw w = ht__jw_line(&state->buf);
    ht__jw_object(&w, NULL);
    ht__jw_str(&w, "quant_type", p->scheme->name);
    ht__jw_int(&w, "blocksize", block_of(p));
    ht__jw_str(&w, "dtype", ht__torch_dtype(m->dtype));
    ht__jw_array(&w, "shape");
    ht__jw_int(&w, NULL, m->n_out);
    ht__jw_int(&w, NULL, m->n_in);
    ht__jw_end(&w);
    if (nested(p)) {
        ht__jw_int(&w, "nested_blocksize", NESTED_BLOCK);
        ht__jw_str(&w, "nested_dtype", "float32");
        ht__jw_double(&w, "nested_offset", offset);
    }
    ht__jw_end(&w);
    return state->buf.len;
}

/* With the longest mean that there is. */
static int64_t state_length(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    struct state_text state;
    return (int64_t)write_state(p, m, 1.1754943508222875e-38, &state);
}

static int64_t divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static int64_t groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    return (n_rows * m->n_in + block_of(p) - 1) / block_of(p);
}

static const char *unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    int64_t bytes = (m->n_out * m->n_in + 1) / 2;
    if (m->n_experts > 0) return "experts that share one tensor are not stored so";
    if (bytes % storage_of(p)->block_size) return "its packed bytes do not divide into numbers of the storage dtype";
    return NULL;
}

static int parts(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__part out[HT__SCHEME_PARTS])
{
    int64_t block = block_of(p), n = m->n_out * m->n_in, even = m->n_in % 2 ? 2 : 1, count = groups(p, m, m->n_out);
    const struct ht__codec *storage = storage_of(p);
    struct ht__part absmax = {.suffix = ".weight.absmax",
                              .dtype = &ht__codec_f32,
                              .n_dims = 1,
                              .shape = {count},
                              .rows = block / divisor(block, m->n_in),
                              .bytes = (uint64_t)(m->n_in / divisor(block, m->n_in)) * 4};
    out[WEIGHT] = (struct ht__part){.suffix = ".weight",
                                    .dtype = storage,
                                    .n_dims = 2,
                                    .shape = {(n + 1) / 2 / storage->block_size, 1},
                                    .rows = even,
                                    .bytes = (uint64_t)(m->n_in * even / 2)};
    out[MAP] = (struct ht__part){
        .suffix = ".weight.quant_map", .dtype = &ht__codec_f32, .n_dims = 1, .shape = {16}, .place = HT__PART_WHOLE};
    out[ABSMAX] = absmax;
    int next = state_at(p);
    if (!is_source(p))
        out[next++] = (struct ht__part){.suffix = table_of(p)->state,
                                        .dtype = &ht__codec_u8,
                                        .n_dims = 1,
                                        .shape = {state_length(p, m)},
                                        .place = HT__PART_WHOLE,
                                        .text = nested(p)};
    if (!nested(p)) return next;
    out[ABSMAX].dtype = &ht__codec_u8;
    out[ABSMAX].bytes /= 4;
    if (!is_source(p)) {
        out[next] = absmax;
        out[next++].place = HT__PART_WORK;
        out[ABSMAX].place = HT__PART_WHOLE;
    }
    out[NESTED_ABSMAX] = (struct ht__part){.suffix = ".weight.nested_absmax",
                                           .dtype = &ht__codec_f32,
                                           .n_dims = 1,
                                           .shape = {(count + NESTED_BLOCK - 1) / NESTED_BLOCK},
                                           .place = HT__PART_WHOLE};
    out[NESTED_MAP] = (struct ht__part){.suffix = ".weight.nested_quant_map",
                                        .dtype = &ht__codec_f32,
                                        .n_dims = 1,
                                        .shape = {256},
                                        .place = HT__PART_WHOLE};
    return next;
}

/* ---- quantizing ---- */

/* A block of the chunk: weights [from, end). `last`: the short one at the matrix's end. */
struct block {
    int64_t from, end;
    bool last;
};

static struct block block_at(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                             int64_t g)
{
    int64_t block = block_of(p), n = c->n_rows * m->n_in, end = (g + 1) * block;
    return (struct block){g * block, end < n ? end : n, end > n};
}

/* What bitsandbytes divides by; the short block is also stored so. */
static float not_zero(float absmax)
{
    return absmax > 1e-38f ? absmax : 1e-38f;
}

static void fit(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x, const float *importance,
                struct ht__codes *c)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    int64_t n = groups(p, m, c->n_rows);
    for (int64_t g = 0; g < n; g++) {
        struct block b = block_at(p, m, c, g);
        float most = ops->largest(x + b.from, b.end - b.from);
        c->scale[g] = b.last ? not_zero(most) : most;
    }
}

static void nearest(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x, struct ht__codes *c)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    const struct table *table = table_of(p);
    struct ht__codebook book;
    memcpy(book.code, table->order, sizeof book.code);
    for (int k = 0; k < 15; k++)
        book.midpoint[k] = (table->value[table->order[k]] + table->value[table->order[k + 1]]) / 2;
    int64_t n = groups(p, m, c->n_rows);
    for (int64_t g = 0; g < n; g++) {
        struct block b = block_at(p, m, c, g);
        ops->codebook_nearest(&book, x + b.from, b.end - b.from, not_zero(c->scale[g]), b.last, c->q + b.from);
    }
}

static void pack(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                 void *const dst[])
{
    int64_t n = c->n_rows * m->n_in;
    uint8_t *to = dst[WEIGHT];
    ht__weight_ops(ht__cpu_best())->join_nibbles(c->q, n / 2, true, to);
    /* an odd number of weights: bitsandbytes adds a zero */
    if (n % 2) to[n / 2] = (uint8_t)(c->q[n - 1] << 4 | (table_of(p)->value == nf4 ? 7 : 0));
    memcpy(dst[nested(p) ? VALUES : ABSMAX], c->scale, (size_t)groups(p, m, c->n_rows) * 4);
}

static float finish_nested(const struct ht__scheme_params *p, const struct ht__matrix *m, void *const whole[])
{
    int64_t n = groups(p, m, m->n_out);
    const float *values = whole[VALUES];
    float map[256], offset = ht__bnb_mean(values, n);
    ht__bnb_dynamic_map(map);
    memcpy(whole[NESTED_MAP], map, sizeof map);
    ht__bnb_quantize_blockwise(map, values, offset, n, whole[ABSMAX], whole[NESTED_ABSMAX]);
    return offset;
}

static void finish(const struct ht__scheme_params *p, const struct ht__matrix *m, void *const whole[])
{
    struct state_text state;
    float offset = nested(p) ? finish_nested(p, m, whole) : 0;
    size_t room = (size_t)state_length(p, m), n = write_state(p, m, offset, &state);
    memcpy(whole[MAP], table_of(p)->map, sizeof nf4);
    memset(whole[state_at(p)], ' ', room);
    memcpy(whole[state_at(p)], state.text, n < room ? n : room);
}

/* ---- dequantizing ---- */

/* The mean of a state that complaint() has accepted. */
static bool read_offset(const char *text, size_t n, double *offset)
{
    struct ht__json json;
    struct ht__json_value value;
    const char *key;
    size_t len;
    bool found = false;
    ht__json_init(&json, text, n, NULL, NULL, NULL);
    if (ht__json_next(&json).type == HT__JSON_OBJECT)
        while (ht__json_member(&json, &key, &len, &value)) {
            if (len == 13 && memcmp(key, "nested_offset", len) == 0 && value.type == HT__JSON_NUMBER) {
                *offset = value.number;
                found = isfinite((float)value.number);
            }
            ht__json_skip(&json, &value);
        }
    found = found && !json.err;
    ht__json_close(&json);
    return found;
}

static void unpack_absmax(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                          struct ht__codes *c)
{
    const uint8_t *q = src[ABSMAX];
    const float *map = src[NESTED_MAP], *absmax = src[NESTED_ABSMAX];
    int64_t first = c->row * m->n_in / block_of(p), n = groups(p, m, c->n_rows);
    double offset = p->option[OFFSET];
    if (!is_source(p)) {
        q += first;
        read_offset(src[STATE], (size_t)state_length(p, m), &offset);
    }
    for (int64_t g = 0; g < n; g++)
        c->scale[g] = map[q[g]] * absmax[(first + g) / NESTED_BLOCK] + (float)offset;
}

static void unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                   struct ht__codes *c)
{
    int64_t n = c->n_rows * m->n_in;
    const uint8_t *from = src[WEIGHT];
    ht__weight_ops(ht__cpu_best())->part_nibbles(from, n / 2, true, c->q);
    if (n % 2) c->q[n - 1] = from[n / 2] >> 4;
    if (nested(p))
        unpack_absmax(p, m, src, c);
    else
        memcpy(c->scale, src[ABSMAX], (size_t)groups(p, m, c->n_rows) * 4);
}

static void round_to(const struct ht__codec *dtype, float *x, int64_t n)
{
    if (dtype == &ht__codec_bf16)
        for (int64_t i = 0; i < n; i++)
            x[i] = ht__round_bf16(x[i]);
    else if (dtype == &ht__codec_f16)
        for (int64_t i = 0; i < n; i++)
            x[i] = ht__round_f16(x[i]);
}

/* A block's weights have sixteen values: rounded once, and looked up. */
static void value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c, float *dst)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    const float *table = table_of(p)->value;
    int64_t n = groups(p, m, c->n_rows);
    for (int64_t g = 0; g < n; g++) {
        struct block b = block_at(p, m, c, g);
        float values[16];
        for (int k = 0; k < 16; k++)
            values[k] = table[k] * c->scale[g];
        if (isfinite(c->scale[g])) round_to(m->dtype, values, 16);
        ops->look_up(values, c->q + b.from, b.end - b.from, dst + b.from);
    }
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* Programs that load it take their own table; a file with another one is of another format. */
static bool same_table(const float *map, const float *table)
{
    for (int i = 0; i < 16; i++)
        if (!(fabsf(map[i] - table[i]) < 1e-3f)) return false;
    return true;
}

static const char *state_complaint(const struct ht__scheme_params *p, const struct ht__matrix *m, const char *text)
{
    struct state_text state;
    double offset = 0;
    if (nested(p) && !read_offset(text, (size_t)state_length(p, m), &offset))
        return "there is no finite \"nested_offset\" in the JSON";
    size_t n = write_state(p, m, 0, &state), head = nested(p) ? n - strlen("0.0}") : n;
    return memcmp(text, state.text, head) == 0 ? NULL : "the JSON does not tell this type, block size, dtype and shape";
}

static const char *complaint(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                             int *part)
{
    *part = MAP;
    if (!same_table(src[MAP], table_of(p)->value)) return "this is not the table of the quantization type";
    *part = state_at(p);
    const char *why = is_source(p) ? NULL : state_complaint(p, m, src[state_at(p)]);
    if (why || !nested(p)) return why;
    *part = NESTED_MAP;
    if (!all_finite(src[NESTED_MAP], 256)) return "a number of the table is not finite";
    *part = NESTED_ABSMAX;
    if (!all_finite(src[NESTED_ABSMAX], (groups(p, m, m->n_out) + NESTED_BLOCK - 1) / NESTED_BLOCK))
        return "a scale is not finite";
    return NULL;
}

/* ---- the schemes ---- */

static void config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    const struct ht__scheme_params *p = package->params;
    struct ht__bnb_config c = {.quant_type = p->scheme->name,
                               .storage = storage_names[(int)p->option[STORAGE]],
                               .nested = nested(p),
                               .threshold = 6};
    ht__bnb_config(package, &c, w);
}

/* Each module's state says its type and block; the configuration says how the bytes are stored. */
static const char *apart(const struct ht__scheme_params *p, const struct ht__scheme_params *other)
{
    if (other->scheme->config != config) return "bitsandbytes' configuration holds 4-bit types or int8, not both";
    return p->option[STORAGE] == other->option[STORAGE] ? NULL : "all its modules have the same storage";
}

static const struct ht__scheme_option options[] = {
    {"block", "weights that share a scale", "32 64 128 256 512 1024 2048 4096", .otherwise = 64},
    {"nested", "quantize the scales too (double quantization)", "off on", .otherwise = 0},
    {"storage", "dtype that the packed bytes are stored as", "uint8 bfloat16 float16 float32", .otherwise = 0},
    {"source", "read by rows from a checkpoint", "0 1", .reading = true},
    {"offset", "the mean of the scales, of a checkpoint", .least = -1e38, .most = 1e38, .reading = true},
    {.name = NULL},
};

const struct ht__scheme ht__scheme_nf4 = {
    .name = "nf4",
    .label = "NF4",
    .family = "bitsandbytes",
    .about = "4 bits, codes spaced as normal weights are",
    .loaders = "transformers with bitsandbytes, vLLM",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .flags = HT__SCHEME_NO_EXPERTS | HT__SCHEME_CONV1D,
    .family_data = &nf4_table,
    .options = options,
    .unsuited = unsuited,
    .parts = parts,
    .groups = groups,
    .fit = fit,
    .nearest = nearest,
    .value = value,
    .pack = pack,
    .finish = finish,
    .unpack = unpack,
    .complaint = complaint,
    .apart = apart,
    .config = config,
};

const struct ht__scheme ht__scheme_fp4 = {
    .name = "fp4",
    .label = "FP4",
    .family = "bitsandbytes",
    .about = "4 bits, floats with a sign, two bits of exponent and one of fraction",
    .loaders = "transformers with bitsandbytes, vLLM",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .flags = HT__SCHEME_NO_EXPERTS | HT__SCHEME_CONV1D,
    .family_data = &fp4_table,
    .options = options,
    .unsuited = unsuited,
    .parts = parts,
    .groups = groups,
    .fit = fit,
    .nearest = nearest,
    .value = value,
    .pack = pack,
    .finish = finish,
    .unpack = unpack,
    .complaint = complaint,
    .apart = apart,
    .config = config,
};
