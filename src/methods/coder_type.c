/* Types of GGUF files as coders: the coded matrix is its blocks. */
#include "methods/coder.h"

static size_t row_bytes(const struct ht__coder *c)
{
    return ht__codec_bytes(c->type, (uint64_t)c->n_in);
}

static void encode(const struct ht__coder *c, const float *x, int64_t row, int64_t n_rows, const float *importance,
                   float *sorted, void *coded)
{
    (void)sorted;
    const float *weights = c->type->flags & HT__CODEC_USES_IMPORTANCE ? importance : NULL;
    ht__encoder(c->type, c->cpu)(x, n_rows, c->n_in, weights, (uint8_t *)coded + (size_t)row * row_bytes(c));
}

static void decode(const struct ht__coder *c, const void *coded, int64_t row, int64_t n_rows, float *x)
{
    ht__decoder(c->type, c->cpu)((const uint8_t *)coded + (size_t)row * row_bytes(c), n_rows * c->n_in, x);
}

static void read(const struct ht__coder *c, const void *coded, int64_t row, int64_t n_rows, uint8_t *codes,
                 float *scale, float *offset)
{
    const uint8_t *block = (const uint8_t *)coded + (size_t)row * row_bytes(c);
    int64_t blocks = n_rows * c->n_in / c->type->block_len, groups = c->type->block_len / c->group;
    for (int64_t i = 0; i < blocks; i++)
        c->type->grid->read(block + i * c->type->block_size, codes + i * c->type->block_len, scale + i * groups,
                            offset + i * groups);
}

static void write(const struct ht__coder *c, const uint8_t *codes, int64_t row, int64_t n_rows, void *coded)
{
    uint8_t *block = (uint8_t *)coded + (size_t)row * row_bytes(c);
    for (int64_t i = 0; i < n_rows * c->n_in / c->type->block_len; i++)
        c->type->grid->write(block + i * c->type->block_size, codes + i * c->type->block_len);
}

enum ht_err ht__coder_of_type(struct ht__coder *c, const struct ht__codec *type, enum ht__cpu_level cpu, int64_t n_out,
                              int64_t n_in, struct ht__arena *arena, struct ht_diag *diag)
{
    const struct ht__grid *grid = type->grid;
    *c = (struct ht__coder){
        .n_out = n_out,
        .n_in = n_in,
        .rows = 1,
        .encode = encode,
        .decode = decode,
        .read = read,
        .write = write,
        .cpu = cpu,
        .type = type,
    };
    c->size = (size_t)n_out * row_bytes(c);
    if (!grid) return HT_OK;
    float *level = ht__arena_array(arena, (size_t)grid->n_codes, sizeof *level);
    if (!level) return ht__fail_memory(diag, "levels");
    for (int i = 0; i < grid->n_codes; i++)
        level[i] = grid->values ? (float)grid->values[i] : (float)i;
    c->n_codes = grid->n_codes;
    c->group = grid->group;
    c->level = level;
    return HT_OK;
}
