/* The processor: products are shared out by strips of output rows. */
#include "engine/backends/backend.h"
#include "kernels/ops/ops.h"

#include <string.h>

struct cpu {
    struct ht__device device;
    struct ht__device_params params;
    const struct ht__ops *ops;
    struct ht__activations act; /* the last product's x in eight bits */
};

struct work {
    const struct cpu *cpu;
    const struct ht__product *p;
    struct ht__matmul_weights w; /* of the whole matrix */
    ht__matmul8_fn *matmul8;     /* or NULL */
    ht__vector_fn *vector;
    int64_t strips; /* of HT__MATMUL_ROWS a task: neighbours, so that what is fetched ahead serves
                       the same core */
};

static void put_eight_bits(void *ctx, int64_t task, int thread)
{
    const struct work *k = ctx;
    const struct ht__activations *all = &k->cpu->act;
    struct ht__activations one = {all->codes + task * all->n_in, all->scales + task * (all->n_in / 32),
                                  all->sums + task * (all->n_in / 16), all->n_in, all->wide};
    (void)thread;
    k->cpu->ops->activations(k->p->x + task * k->p->ldx, k->p->ldx, 1, &one);
}

static void one_strip(const struct work *k, int64_t row, int thread)
{
    const struct ht__product *p = k->p;
    int64_t left = p->n_out - row;
    struct ht__matmul_weights w = k->w;
    w.n_rows = (int)(left < HT__MATMUL_ROWS ? left : HT__MATMUL_ROWS);
    w.rows = (const uint8_t *)k->w.rows + (size_t)row * k->w.row_bytes;
    if (k->matmul8)
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
static void nothing(const struct ht__product *p, int64_t row)
{
    int64_t left = p->n_out - row, n = left < HT__MATMUL_ROWS ? left : HT__MATMUL_ROWS;
    for (int64_t t = 0; t < p->n; t++)
        memset(p->y + t * p->ldy + row, 0, (size_t)n * sizeof *p->y);
}

static void strips(void *ctx, int64_t task, int thread)
{
    const struct work *k = ctx;
    const atomic_bool *cancelled = k->cpu->params.cancelled;
    bool stopped = !k->p->whole && cancelled && atomic_load_explicit(cancelled, memory_order_relaxed);
    for (int64_t i = task * k->strips; i < (task + 1) * k->strips && i * HT__MATMUL_ROWS < k->p->n_out; i++)
        if (stopped)
            nothing(k->p, i * HT__MATMUL_ROWS);
        else
            one_strip(k, i * HT__MATMUL_ROWS, thread);
}

static void put_activations(struct cpu *cpu, struct work *k)
{
    const struct ht__product *p = k->p;
    bool wide = cpu->params.wide && p->type->block_len == 256;
    if (!p->same_x) cpu->act.n_in = 0;
    if (!k->matmul8 || (cpu->act.n_in == p->n_in && cpu->act.wide == wide)) return;
    cpu->act.n_in = p->n_in;
    cpu->act.wide = wide;
    ht__pool_run(cpu->params.pool, p->n, put_eight_bits, k);
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
    if (cpu->params.fast && p->n == 1) k.vector = cpu->ops->vector(p->type);
    put_activations(cpu, &k);
    int64_t n_strips = (p->n_out + HT__MATMUL_ROWS - 1) / HT__MATMUL_ROWS, parts = 8 * ht__pool_threads(pool);
    k.strips = p->n > 8 || n_strips < parts ? 1 : n_strips / parts;
    ht__pool_run(pool, (n_strips + k.strips - 1) / k.strips, strips, &k);
}

static void close_cpu(struct ht__device *device)
{
    struct cpu *cpu = (struct cpu *)device;
    const struct ht__alloc *alloc = cpu->params.alloc;
    ht__free_aligned(alloc, cpu->act.codes);
    ht__free_aligned(alloc, cpu->act.scales);
    ht__free_aligned(alloc, cpu->act.sums);
    ht__free(alloc, cpu);
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
    cpu->act.codes = ht__new_aligned(params->alloc, n);
    cpu->act.scales = ht__new_aligned(params->alloc, n / 32 * sizeof(float) + 64);
    cpu->act.sums = ht__new_aligned(params->alloc, n / 16 * sizeof(int32_t) + 64);
    if (cpu->act.codes && cpu->act.scales && cpu->act.sums) return HT_OK;
    ht__device_close(out);
    return ht__fail_memory(diag, "activations");
}

const struct ht__backend ht__backend_cpu = {.name = "cpu", .open = open_cpu, .close = close_cpu, .matmul = matmul};
