#include "methods/best.h"
#include "methods/feedback.h"

#include <string.h>

/*
 * What is made of every matrix. Dampings below .2 gain nothing on text like the calibration's, not even where held-out
 * tokens of it prefer them, and lose on other text.
 */
struct candidate {
    const char *name;
    double damping; /* times the mean diagonal of H */
    bool target;    /* the least-squares target; otherwise the weights themselves */
};
static const struct candidate candidates[] = {
    {"round", 0, false},
    {"feedback", .2, false},
    {"corrected, damping 0.2", .2, true},
    {"corrected, damping 0.5", .5, true},
};
enum { N_CANDIDATES = sizeof candidates / sizeof candidates[0], ROWS = HT__FEEDBACK_ROWS, SWEEPS = 4 };
/* Inputs beyond which a second factor is more than 256 MB. */
enum { WIDE = 8192 };

struct ht__best {
    const struct ht__alloc *alloc;
    const struct ht__site_stats *site;
    const struct ht__ops *ops;
    struct ht__pool *pool;
    int64_t n;
    bool lean;
    float *cross;    /* q'f, as floats; NULL: the site knows what is wanted */
    float *stream;   /* q'r likewise, where lean; NULL: the site has it */
    float *diagonal; /* of H: importance for grids */
    struct ht__order order;
    struct ht__gram gram;
    struct ht__factor factors[N_CANDIDATES];
};

static int factor_of(int candidate)
{
    for (int i = 1; i < candidate; i++)
        if (candidates[i].damping == candidates[candidate].damping) return i;
    return candidate;
}

int ht__best_lean(int64_t n_in)
{
    return n_in > WIDE ? HT__BEST_LEAN : 0;
}

uint64_t ht__best_bytes(int64_t n_in, int64_t n_stream, bool cross)
{
    uint64_t n = (uint64_t)n_in, n_factors = ht__best_lean(n_in) ? 1 : 2;
    return n * n * (1 + n_factors + (cross ? 1 : 0)) * sizeof(float) +
           (ht__best_lean(n_in) ? n * (uint64_t)n_stream * sizeof(float) : 0) + n * 64;
}

static float *floats_of(const struct ht__best *b, const double *x, int64_t columns)
{
    float *y = ht__new_array(b->alloc, (size_t)b->n, (size_t)columns * sizeof *y);
    for (int64_t i = 0; y && i < b->n * columns; i++)
        y[i] = (float)x[i];
    return y;
}

/* Where f is q. */
static float *whole_of(const struct ht__best *b, const double *half)
{
    float *y = ht__new_array(b->alloc, (size_t)b->n, (size_t)b->n * sizeof *y);
    for (int64_t i = 0; y && i < b->n; i++)
        for (int64_t j = 0; j <= i; j++)
            y[i * b->n + j] = y[j * b->n + i] = (float)half[ht__lower_row(i) + j];
    return y;
}

/* What is copied is freed where nobody else needs it, the largest first. */
static enum ht_err copy_products(struct ht__best *b, struct ht__site_stats *s, bool spend, struct ht_diag *diag)
{
    b->diagonal = ht__new_array(b->alloc, (size_t)b->n, sizeof *b->diagonal);
    if (!b->diagonal) return ht__fail_memory(diag, "best");
    for (int64_t i = 0; i < b->n; i++)
        b->diagonal[i] = (float)s->gram[ht__lower_at(i, i)];
    if (s->held_f && !(b->cross = s->cross ? floats_of(b, s->cross, b->n) : whole_of(b, s->gram)))
        return ht__fail_memory(diag, "best");
    if (spend) ht__site_spend_cross(s);
    if (b->lean && s->stream && !(b->stream = floats_of(b, s->stream, s->n_stream)))
        return ht__fail_memory(diag, "best");
    if (spend && b->stream) ht__site_spend_stream(s);
    HT_TRY(ht__gram_open(&b->gram, s->gram, b->n, b->order, b->alloc, diag));
    if (spend) ht__site_spend(s);
    return HT_OK;
}

/* The factor of a candidate, alone where lean. */
static enum ht_err open_factor(struct ht__best *b, int candidate, struct ht_diag *diag)
{
    struct ht__factor *f = &b->factors[factor_of(candidate)];
    if (f->root) return HT_OK;
    for (int i = 0; b->lean && i < N_CANDIDATES; i++)
        ht__factor_close(&b->factors[i]);
    return ht__factor_open(f, &b->gram, candidates[candidate].damping, b->pool, diag);
}

static enum ht_err open_factors(struct ht__best *b, struct ht_diag *diag)
{
    for (int i = 1; i < N_CANDIDATES; i++)
        HT_TRY(open_factor(b, i, diag));
    return HT_OK;
}

enum ht_err ht__best_open(struct ht__site_stats *site, int how, struct ht__order order, const struct ht__ops *ops,
                          struct ht__pool *pool, const struct ht__alloc *alloc, struct ht__best **out,
                          struct ht_diag *diag)
{
    struct ht__best *b = *out = ht__new(alloc, sizeof *b);
    if (!b) return ht__fail_memory(diag, "best");
    *b = (struct ht__best){.alloc = alloc, .site = site, .order = order, .ops = ops, .pool = pool, .n = site->n_in};
    b->lean = how & HT__BEST_LEAN;
    b->gram.alloc = alloc;
    enum ht_err err = copy_products(b, site, how & HT__BEST_SPEND, diag);
    if (err == HT_OK && !b->lean) err = open_factors(b, diag);
    if (err != HT_OK) ht__best_close(out);
    return err;
}

void ht__best_close(struct ht__best **best)
{
    struct ht__best *b = *best;
    if (!b) return;
    for (int i = 0; i < N_CANDIDATES; i++)
        ht__factor_close(&b->factors[i]);
    ht__gram_close(&b->gram);
    ht__free(b->alloc, b->cross);
    ht__free(b->alloc, b->stream);
    ht__free(b->alloc, b->diagonal);
    ht__free(b->alloc, b);
    *best = NULL;
}

void ht__best_group(const struct ht__best *b, int64_t group, int32_t *column_group)
{
    for (int64_t i = 0; i < b->n; i++) {
        int64_t before = 0;
        for (int64_t j = 0; j < b->n; j++)
            before += b->diagonal[j] > b->diagonal[i] || (b->diagonal[j] == b->diagonal[i] && j < i);
        column_group[i] = (int32_t)(before / group);
    }
}

/* ---- rows of a matrix ---- */

struct buffers {
    const float *w;                   /* the rows as they are, */
    float *read;                      /* in here where they are read */
    float *target, *placed, *decoded; /* rows x n */
    float *sorted;                    /* (rows + 1) x n, where groups are listed; otherwise NULL */
    float *wanted, *got;              /* held-out tokens x rows */
    struct ht__feedback_buffers feedback;
    enum ht_err err; /* of the thread's reading: the first */
    struct ht_diag diag;
};

struct job {
    const struct ht__best *b;
    struct ht__best_matrix *m;
    int64_t rows;              /* of a task */
    int first, last;           /* candidates that are made: those before `last` */
    void *coded[N_CANDIDATES]; /* whole matrices */
    struct sums {
        double energy, error[N_CANDIDATES];
    } * sums;                /* by task */
    struct buffers *buffers; /* by thread */
};

static double stream_at(const struct ht__best *b, int64_t at)
{
    return b->stream ? (double)b->stream[at] : b->site->stream[at];
}

/* b = W (f'q) + r'q / share + damping W, then W* = b (H + damping)^-1; all by columns. W (f'q) is in r'q where the site knows what
 * is wanted. */
static void make_target(const struct job *j, struct buffers *k, const struct ht__factor *f, int64_t row, int64_t n_rows)
{
    const struct ht__site_stats *s = j->b->site;
    int64_t n = j->b->n;
    const float *w = k->w;
    if (j->b->cross)
        ht__ops_product(j->b->ops, j->b->cross, n, n, n, w, n, n_rows, k->target, n, k->feedback.scratch);
    else
        memset(k->target, 0, (size_t)(n_rows * n) * sizeof *k->target);
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t p = 0; p < n; p++) {
            int64_t c = f->gram->column[p];
            double sum = (double)k->target[r * n + c] + f->damping * (double)w[r * n + c];
            if (j->m->share != 0) sum += stream_at(j->b, c * s->n_stream + row + r) / j->m->share;
            k->placed[r * n + p] = (float)sum;
        }
    ht__factor_solve(f, j->b->ops, k->placed, n_rows, k->feedback.scratch);
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t p = 0; p < n; p++)
            k->target[r * n + f->gram->column[p]] = k->placed[r * n + p];
}

/* What the rows ought to give on the held-out tokens. */
static double want(const struct job *j, struct buffers *k, int64_t row, int64_t n_rows)
{
    const struct ht__site_stats *s = j->b->site;
    double energy = 0;
    if (s->held_f)
        ht__ops_product(j->b->ops, k->w, s->n_in, n_rows, s->n_in, s->held_f, s->n_in, s->n_held, k->wanted, j->rows,
                        k->feedback.scratch);
    else
        memset(k->wanted, 0, (size_t)(s->n_held * j->rows) * sizeof *k->wanted);
    for (int64_t t = 0; t < s->n_held; t++)
        for (int64_t r = 0; r < n_rows; r++) {
            float *y = &k->wanted[t * j->rows + r];
            if (j->m->share != 0) *y += (float)((double)s->held_r[t * s->n_stream + row + r] / j->m->share);
            energy += (double)*y * (double)*y;
        }
    return energy;
}

static double judge(const struct job *j, struct buffers *k, const void *coded, int64_t row, int64_t n_rows)
{
    const struct ht__site_stats *s = j->b->site;
    double error = 0;
    j->m->coder->decode(j->m->coder, coded, row, n_rows, k->decoded);
    ht__ops_product(j->b->ops, k->decoded, s->n_in, n_rows, s->n_in, s->held_q, s->n_in, s->n_held, k->got, j->rows,
                    k->feedback.scratch);
    for (int64_t t = 0; t < s->n_held; t++)
        for (int64_t r = 0; r < n_rows; r++) {
            double d = (double)k->wanted[t * j->rows + r] - (double)k->got[t * j->rows + r];
            error += d * d;
        }
    return error;
}

static void make_candidate(const struct job *j, struct buffers *k, int c, int64_t row, int64_t n_rows)
{
    const struct ht__factor *f = &j->b->factors[factor_of(c)];
    const struct ht__coder *coder = j->m->coder;
    const float *rows = k->w;
    if (c == 0) {
        const float *importance = j->m->importance ? j->m->importance : j->b->diagonal;
        coder->encode(coder, rows, row, n_rows, importance, k->sorted, j->coded[c]);
        return;
    }
    if (candidates[c].target) {
        make_target(j, k, f, row, n_rows);
        rows = k->target;
    } else {
        ht__feedback_place(f, rows, n_rows, k->placed);
    }
    coder->encode(coder, rows, row, n_rows, j->b->diagonal, k->sorted, j->coded[c]);
    if (coder->n_codes)
        ht__feedback_codes(f, j->b->ops, coder, k->placed, row, n_rows, &k->feedback, SWEEPS, j->coded[c]);
}

/* False: they cannot be read, and the thread has said why. */
static bool take_rows(const struct job *j, struct buffers *k, int64_t row, int64_t n_rows)
{
    k->w = j->m->w ? j->m->w + row * j->b->n : k->read;
    if (!j->m->w && k->err == HT_OK) k->err = j->m->read(j->m->ctx, row, n_rows, k->read, &k->diag);
    return k->err == HT_OK;
}

static void some_rows(void *ctx, int64_t task, int thread)
{
    const struct job *j = ctx;
    struct buffers *k = &j->buffers[thread];
    int64_t row = task * j->rows, left = j->m->coder->n_out - row, n_rows = left < j->rows ? left : j->rows;
    if (!take_rows(j, k, row, n_rows)) return;
    j->sums[task].energy = want(j, k, row, n_rows);
    for (int c = j->first; c < j->last; c++) {
        make_candidate(j, k, c, row, n_rows);
        j->sums[task].error[c] = judge(j, k, j->coded[c], row, n_rows);
    }
}

/* ---- the matrix ---- */

static bool open_buffers(const struct job *j, struct ht__arena *arena, struct buffers *k)
{
    size_t n = (size_t)(j->rows * j->b->n), held = (size_t)(j->rows * j->b->site->n_held) + 1;
    float **floats[] = {&k->target, &k->placed, &k->decoded};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
        if (!(*floats[i] = ht__arena_raw(arena, n * sizeof(float)))) return false;
    k->wanted = ht__arena_raw(arena, held * sizeof(float));
    k->got = ht__arena_raw(arena, held * sizeof(float));
    if (!j->m->w && !(k->read = ht__arena_raw(arena, n * sizeof(float)))) return false;
    if (j->m->coder->order && !(k->sorted = ht__arena_raw(arena, (n + (size_t)j->b->n) * sizeof(float)))) return false;
    return k->wanted && k->got && ht__feedback_open(&k->feedback, j->m->coder, arena);
}

static enum ht_err open_job(struct job *j, struct ht__arena *arena, int64_t n_tasks, struct ht_diag *diag)
{
    int threads = ht__pool_threads(j->b->pool);
    j->sums = ht__arena_array(arena, (size_t)n_tasks, sizeof *j->sums);
    j->buffers = ht__arena_array(arena, (size_t)threads, sizeof *j->buffers);
    if (!j->sums || !j->buffers) return ht__fail_memory(diag, "best");
    for (int i = 0; i < threads; i++)
        if (!open_buffers(j, arena, &j->buffers[i])) return ht__fail_memory(diag, "best");
    j->coded[0] = j->m->coded;
    for (int i = 1; i < N_CANDIDATES; i++)
        if (!(j->coded[i] = ht__arena_raw(arena, j->m->coder->size))) return ht__fail_memory(diag, "best");
    return HT_OK;
}

static void pick(const struct job *j, int64_t n_tasks)
{
    struct ht__best_matrix *m = j->m;
    struct sums all = {0};
    int taken = 0;
    for (int64_t t = 0; t < n_tasks; t++) {
        all.energy += j->sums[t].energy;
        for (int c = 0; c < N_CANDIDATES; c++)
            all.error[c] += j->sums[t].error[c];
    }
    for (int c = 1; c < N_CANDIDATES; c++)
        if (all.error[c] < all.error[taken]) taken = c;
    m->taken = candidates[taken].name;
    m->before = all.energy > 0 ? all.error[0] / all.energy : 0;
    m->after = all.energy > 0 ? all.error[taken] / all.energy : 0;
    if (taken) memcpy(m->coded, j->coded[taken], m->coder->size);
    if (m->decoded) m->coder->decode(m->coder, m->coded, 0, m->coder->n_out, m->decoded);
}

static enum ht_err read_errors(const struct job *j, struct ht_diag *diag)
{
    for (int i = 0; i < ht__pool_threads(j->b->pool); i++)
        if (j->buffers[i].err != HT_OK) {
            if (diag) *diag = j->buffers[i].diag;
            return j->buffers[i].err;
        }
    return HT_OK;
}

/* All candidates together where all factors are there, otherwise those of one factor after the other. */
static enum ht_err make_all(struct job *j, struct ht__best *b, int64_t n_tasks, struct ht_diag *diag)
{
    for (j->first = 0; j->first < N_CANDIDATES; j->first = j->last) {
        int by = j->first ? j->first : 1;
        HT_TRY(open_factor(b, by, diag));
        j->last = b->lean ? by + 1 : N_CANDIDATES;
        while (j->last < N_CANDIDATES && factor_of(j->last) == factor_of(by))
            j->last++;
        ht__pool_run(b->pool, n_tasks, some_rows, j);
        HT_TRY(read_errors(j, diag));
    }
    return HT_OK;
}

enum ht_err ht__best_matrix(struct ht__best *b, struct ht__best_matrix *m, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct job j = {.b = b, .m = m, .rows = ROWS > m->coder->rows ? ROWS : m->coder->rows};
    int64_t n_tasks = (m->coder->n_out + j.rows - 1) / j.rows;
    ht__arena_init(&arena, b->alloc);
    enum ht_err err = open_job(&j, &arena, n_tasks, diag);
    if (err == HT_OK) err = make_all(&j, b, n_tasks, diag);
    if (err == HT_OK) pick(&j, n_tasks);
    ht__arena_close(&arena);
    return err;
}
