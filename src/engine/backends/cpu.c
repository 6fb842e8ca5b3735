/* The processor: products are shared out by strips of output rows. */
#include "engine/backends/backend.h"
#include "kernels/ops/ops.h"

#include <assert.h>
#include <string.h>

struct cpu {
    struct ht__device device;
    struct ht__device_params params;
    const struct ht__ops *ops;
    struct ht__activations act; /* the last product's x in eight bits, */
    void *tiles;
    struct ht__split split; /* or in BF16; its tiles are where those of `act` are */
};

struct work {
    const struct cpu *cpu;
    const struct ht__product *p;
    struct ht__matmul_weights w; /* of the whole matrix */
    ht__matmul8_fn *matmul8;     /* or NULL */
    ht__matmul16_fn *matmul16;
    ht__vector_fn *vector;
    int64_t tokens; /* a task, that are put in eight bits */
    int rows;       /* of a strip */
    int64_t strips; /* a task: neighbours, so that what is fetched ahead serves
                       the same core */
};

/* Tokens of a task, so that their tiles are made where they are still at hand. */
enum { TOGETHER = 16 };

static void put_eight_bits(void *ctx, int64_t task, int thread)
{
    const struct work *k = ctx;
    struct ht__activations all = k->cpu->act;
    int64_t at = task * k->tokens, left = k->p->n - at, n = left < k->tokens ? left : k->tokens;
    struct ht__activations some = {.codes = all.codes + at * all.n_in,
                                   .scales = all.scales + at * (all.n_in / 32),
                                   .sums = all.sums + at * (all.n_in / 16),
                                   .n_in = all.n_in,
                                   .wide = all.wide};
    (void)thread;
    k->cpu->ops->activations(k->p->x + at * k->p->ldx, k->p->ldx, n, &some);
    if (all.tiles && n == TOGETHER) k->cpu->ops->tile(&all, at);
}

static void put_split(void *ctx, int64_t task, int thread)
{
    const struct work *k = ctx;
    struct ht__split split = k->cpu->split;
    int64_t at = task * TOGETHER, left = k->p->n - at;
    (void)thread;
    k->cpu->ops->split(k->p->x + at * k->p->ldx, k->p->ldx, (int)(left < TOGETHER ? left : TOGETHER), &split, task);
}

static void one_strip(const struct work *k, int64_t row, int thread)
{
    const struct ht__product *p = k->p;
    int64_t left = p->n_out - row;
    struct ht__matmul_weights w = k->w;
    w.n_rows = (int)(left < k->rows ? left : k->rows);
    w.rows = (const uint8_t *)k->w.rows + (size_t)row * k->w.row_bytes;
    if (k->matmul16)
        k->matmul16(&w, &k->cpu->split, p->n, p->y + row, p->ldy,
                    k->cpu->params.scratch + (size_t)thread * HT__MATMUL_SCRATCH);
    else if (k->matmul8)
        k->matmul8(&w, &k->cpu->act, p->n, p->y + row, p->ldy);
    else if (k->vector)
        k->vector(&w, p->x, p->y + row);
    else
        k->cpu->ops->matmul(&w, p->x, p->ldx, p->n, p->y + row, p->ldy,
                            k->cpu->params.scratch + (size_t)thread * HT__MATMUL_SCRATCH);
    for (int64_t t = 0; p->bias && t < p->n; t++)
        for (int r = 0; r < w.n_rows; r++)
            p->y[t * p->ldy + row + r] += p->bias[row + r];
}

/* A cancelled pass is over soon, whatever the layers' size: products become zeros, and nobody sees them. */
static void nothing(const struct ht__product *p, int64_t row, int rows)
{
    int64_t left = p->n_out - row, n = left < rows ? left : rows;
    for (int64_t t = 0; t < p->n; t++)
        memset(p->y + t * p->ldy + row, 0, (size_t)n * sizeof *p->y);
}

static void strips(void *ctx, int64_t task, int thread)
{
    const struct work *k = ctx;
    const atomic_bool *cancelled = k->cpu->params.cancelled;
    bool stopped = !k->p->whole && cancelled && atomic_load_explicit(cancelled, memory_order_relaxed);
    for (int64_t i = task * k->strips; i < (task + 1) * k->strips && i * k->rows < k->p->n_out; i++)
        if (stopped)
            nothing(k->p, i * k->rows, k->rows);
        else
            one_strip(k, i * k->rows, thread);
}

static void split_activations(struct cpu *cpu, struct work *k)
{
    if (cpu->split.n_in == k->p->n_in) return;
    cpu->act.n_in = 0;
    cpu->split.n_in = k->p->n_in;
    cpu->split.sixteens = (k->p->n + TOGETHER - 1) / TOGETHER;
    ht__pool_run(cpu->params.pool, cpu->split.sixteens, put_split, k);
}

static void put_activations(struct cpu *cpu, struct work *k)
{
    const struct ht__product *p = k->p;
    bool wide = cpu->params.wide && p->type->block_len == 256;
    if (!p->same_x) cpu->act.n_in = cpu->split.n_in = 0;
    if (k->matmul16) split_activations(cpu, k);
    if (!k->matmul8 || (cpu->act.n_in == p->n_in && cpu->act.wide == wide)) return;
    cpu->act.n_in = p->n_in;
    cpu->split.n_in = 0;
    cpu->act.wide = wide;
    k->tokens = p->n < TOGETHER ? 1 : TOGETHER;
    cpu->act.sixteens = p->n / TOGETHER;
    ht__pool_run(cpu->params.pool, (p->n + k->tokens - 1) / k->tokens, put_eight_bits, k);
}

static void matmul(struct ht__device *device, const struct ht__product *p)
{
    struct cpu *cpu = (struct cpu *)device;
    struct ht__pool *pool = cpu->params.pool;
    struct work k = {
        .cpu = cpu,
        .p = p,
        .w = {.decode = ht__decoder(p->type, ht__cpu_best()),
              .rows = p->rows,
              .row_bytes = p->row_bytes,
              .block_len = p->type->block_len,
              .block_size = p->type->block_size,
              .n_in = p->n_in},
    };
    if (cpu->params.fast && p->n_in % 32 == 0) k.matmul8 = cpu->ops->matmul8(p->type);
    if (cpu->params.fast && p->n >= TOGETHER && cpu->ops->matmul16) k.matmul16 = cpu->ops->matmul16(p->type);
    if (cpu->params.fast && p->n == 1) k.vector = cpu->ops->vector(p->type);
    put_activations(cpu, &k);
    int64_t parts = 8 * ht__pool_threads(pool);
    bool tiled = k.matmul16 || (k.matmul8 && cpu->ops->tile && p->n >= TOGETHER);
    bool large = tiled && p->n_out >= parts / 2 * HT__MATMUL16_ROWS;
    k.rows = large ? HT__MATMUL16_ROWS : HT__MATMUL_ROWS;
    int64_t n_strips = (p->n_out + k.rows - 1) / k.rows;
    k.strips = p->n > TOGETHER || n_strips < parts ? 1 : n_strips / parts;
    ht__pool_run(pool, (n_strips + k.strips - 1) / k.strips, strips, &k);
}

static void close_cpu(struct ht__device *device)
{
    struct cpu *cpu = (struct cpu *)device;
    const struct ht__alloc *alloc = cpu->params.alloc;
    ht__free_aligned(alloc, cpu->act.codes);
    ht__free_aligned(alloc, cpu->act.scales);
    ht__free_aligned(alloc, cpu->act.sums);
    ht__free_aligned(alloc, cpu->tiles);
    ht__free(alloc, cpu);
}

/* Room for tiles of either kind, as far as the level has them. */
static bool make_tiles(struct cpu *cpu)
{
    size_t codes = cpu->ops->tile ? sizeof(struct ht__activation_tile) : 0;
    size_t parts = (size_t)cpu->ops->parts * sizeof(struct ht__bf16_tile), size = codes > parts ? codes : parts;
    if (size == 0) return true;
    size_t sixteens = (size_t)cpu->params.most_rows / TOGETHER + 1;
    cpu->tiles = ht__new_walked(cpu->params.alloc, sixteens * (size_t)ht__tiles_of(cpu->params.most_in) * size);
    if (codes) cpu->act.tiles = cpu->tiles;
    cpu->split.tiles = cpu->tiles;
    return cpu->tiles;
}

static enum ht_err open_cpu(const struct ht__device_params *params, struct ht__device **out, struct ht_diag *diag)
{
    struct cpu *cpu = ht__new(params->alloc, sizeof *cpu);
    if (!cpu) return ht__fail_memory(diag, "engine");
    cpu->device.backend = &ht__backend_cpu;
    cpu->params = *params;
    cpu->ops = ht__ops(ht__cpu_best());
    *out = &cpu->device;
    if (!params->fast) return HT_OK;
    size_t n = (size_t)params->most_rows * ((size_t)params->most_in + 32);
    cpu->act.codes = ht__new_walked(params->alloc, n);
    cpu->act.scales = ht__new_walked(params->alloc, n / 32 * sizeof(float) + 64);
    cpu->act.sums = ht__new_aligned(params->alloc, n / 16 * sizeof(int32_t) + 64);
    if (make_tiles(cpu) && cpu->act.codes && cpu->act.scales && cpu->act.sums) return HT_OK;
    ht__device_close(out);
    return ht__fail_memory(diag, "activations");
}

const struct ht__backend ht__backend_cpu = {.name = "cpu", .open = open_cpu, .close = close_cpu, .matmul = matmul};
