/* Row sources that take their rows from elsewhere: tensors, slices, stacks, permutations. */
#include "model/rows.h"

#include <string.h>

static struct ht__rows *new_rows(struct ht__arena *arena, int64_t n_rows, int64_t row_len, ht__rows_read_fn *read,
                                 size_t ctx_size, void **ctx)
{
    struct ht__rows *rows = ht__arena_new(arena, sizeof *rows + ctx_size);
    if (!rows) return NULL;
    *rows = (struct ht__rows){.n_rows = n_rows, .row_len = row_len, .read = read, .ctx = rows + 1};
    *ctx = rows + 1;
    return rows;
}

/* ---- other floats in their place ---- */

static _Thread_local const struct ht__rows_overlay *overlaying;

void ht__rows_overlay(const struct ht__rows_overlay *overlay)
{
    overlaying = overlay;
}

bool ht__rows_overlaid(const struct ht__rows *rows, int64_t row, int64_t n, int64_t column, int64_t n_columns,
                       float *dst)
{
    const float *x = overlaying ? overlaying->floats(overlaying->ctx, rows) : NULL;
    for (int64_t i = 0; x && i < n; i++)
        memcpy(dst + i * n_columns, x + (row + i) * rows->row_len + column, (size_t)n_columns * sizeof *x);
    return x != NULL;
}

/* ---- tensor ---- */

struct tensor {
    const struct ht__checkpoint *ck;
    const struct ht__tensor *tensor;
};

static enum ht_err read_tensor(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                               struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct tensor *t = rows->ctx;
    if (ht__rows_overlaid(rows, row, n, 0, rows->row_len, dst)) return HT_OK;
    return ht__tensor_read(t->ck, t->tensor, (uint64_t)(row * rows->row_len), (uint64_t)(n * rows->row_len), dst,
                           scratch, diag);
}

static enum ht_err read_tensor_raw(const struct ht__rows *rows, int64_t row, int64_t n, void *dst,
                                   struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct tensor *t = rows->ctx;
    (void)scratch;
    return ht__tensor_read_raw(t->ck, t->tensor, (uint64_t)(row * rows->row_len), (uint64_t)(n * rows->row_len), dst,
                               diag);
}

/* A read for each row, but one decoding. */
static enum ht_err read_tensor_part(const struct ht__rows *rows, int64_t row, int64_t n, int64_t column,
                                    int64_t n_columns, float *dst, struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct tensor *t = rows->ctx;
    const struct ht__codec *type = t->tensor->dtype;
    size_t size = ht__codec_bytes(type, (uint64_t)n_columns);
    if (ht__rows_overlaid(rows, row, n, column, n_columns, dst)) return HT_OK;
    char *raw = ht__arena_raw(scratch, (size_t)n * size);
    if (!raw) return ht__fail_memory(diag, t->tensor->name);
    ht__tensor_expect(t->ck, t->tensor, (uint64_t)(row * rows->row_len), (uint64_t)(n * rows->row_len));
    for (int64_t i = 0; i < n; i++)
        HT_TRY(ht__tensor_read_raw(t->ck, t->tensor, (uint64_t)((row + i) * rows->row_len + column),
                                   (uint64_t)n_columns, raw + (size_t)i * size, diag));
    ht__decoder(type, ht__cpu_best())(raw, n * n_columns, dst);
    return HT_OK;
}

bool ht__rows_is_tensor(const struct ht__rows *rows)
{
    return rows->read == read_tensor;
}

static void prefetch_tensor(const struct ht__rows *rows)
{
    enum { AHEAD = 8 << 20 };
    const struct tensor *t = rows->ctx;
    const struct ht__file *file = &t->ck->files[t->tensor->file];
    if (file->backend)
        ht__file_expect(file, t->tensor->offset, t->tensor->n_bytes < AHEAD ? t->tensor->n_bytes : AHEAD);
}

void ht__rows_prefetch(const struct ht__rows *rows)
{
    while (rows->first)
        rows = rows->first;
    if (rows->prefetch) rows->prefetch(rows);
}

struct ht__rows *ht__rows_tensor(struct ht__arena *arena, const struct ht__checkpoint *ck,
                                 const struct ht__tensor *tensor, int64_t row_len)
{
    void *ctx;
    if (row_len == 0) row_len = tensor->n_dims ? tensor->shape[tensor->n_dims - 1] : 1;
    int64_t n_rows = row_len ? (int64_t)tensor->n_weights / row_len : 0;
    struct ht__rows *rows = new_rows(arena, n_rows, row_len, read_tensor, sizeof(struct tensor), &ctx);
    if (!rows) return NULL;
    *(struct tensor *)ctx = (struct tensor){ck, tensor};
    rows->prefetch = prefetch_tensor;
    if (!tensor->strides && !tensor->big_endian && tensor->dtype->block_len == 1) rows->read_part = read_tensor_part;
    if (!tensor->strides && !tensor->big_endian) {
        rows->stored = tensor->dtype;
        rows->raw_type = tensor->dtype->ggml_id != HT__NO_GGML_ID ? tensor->dtype : NULL;
        rows->read_raw = read_tensor_raw;
    }
    return rows;
}

/* ---- slice ---- */

struct slice {
    const struct ht__rows *of;
    int64_t first, step;
};

static enum ht_err read_slice(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                              struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct slice *s = rows->ctx;
    if (s->step == 1) return s->of->read(s->of, s->first + row, n, dst, scratch, diag);
    if (s->of->read_step) return s->of->read_step(s->of, s->first + row * s->step, s->step, n, dst, scratch, diag);
    for (int64_t i = 0; i < n; i++)
        HT_TRY(s->of->read(s->of, s->first + (row + i) * s->step, 1, dst + i * rows->row_len, scratch, diag));
    return HT_OK;
}

static enum ht_err read_slice_raw(const struct ht__rows *rows, int64_t row, int64_t n, void *dst,
                                  struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct slice *s = rows->ctx;
    if (s->step == 1) return s->of->read_raw(s->of, s->first + row, n, dst, scratch, diag);
    size_t size = ht__codec_bytes(rows->raw_type, (uint64_t)rows->row_len);
    for (int64_t i = 0; i < n; i++)
        HT_TRY(
            s->of->read_raw(s->of, s->first + (row + i) * s->step, 1, (char *)dst + (size_t)i * size, scratch, diag));
    return HT_OK;
}

struct ht__rows *ht__rows_slice(struct ht__arena *arena, const struct ht__rows *of, int64_t first, int64_t step,
                                int64_t n)
{
    void *ctx;
    struct ht__rows *rows = of ? new_rows(arena, n, of->row_len, read_slice, sizeof(struct slice), &ctx) : NULL;
    if (!rows) return NULL;
    *(struct slice *)ctx = (struct slice){of, first, step};
    rows->first = first == 0 ? of : NULL;
    rows->raw_type = of->raw_type;
    rows->read_raw = of->raw_type ? read_slice_raw : NULL;
    rows->chunk_weights = of->chunk_weights;
    return rows;
}

/* ---- concat ---- */

struct concat {
    const struct ht__rows *const *parts;
    int64_t n_parts;
    const int64_t *starts; /* n_parts + 1 */
};

static enum ht_err read_concat(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                               struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct concat *c = rows->ctx;
    int64_t low = 0, high = c->n_parts;
    while (high - low > 1) { /* the part that holds `row` */
        int64_t middle = (low + high) / 2;
        if (c->starts[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    for (int64_t part = low; n > 0; part++) {
        int64_t at = row - c->starts[part], here = c->parts[part]->n_rows - at;
        if (here > n) here = n;
        if (here > 0) HT_TRY(c->parts[part]->read(c->parts[part], at, here, dst, scratch, diag));
        row += here;
        n -= here;
        dst += here * rows->row_len;
    }
    return HT_OK;
}

struct ht__rows *ht__rows_concat(struct ht__arena *arena, const struct ht__rows *const *parts, int64_t n_parts)
{
    void *ctx;
    const struct ht__rows **own = ht__arena_array(arena, (size_t)n_parts, sizeof *own);
    int64_t *starts = ht__arena_array(arena, (size_t)n_parts + 1, sizeof *starts);
    if (!own || !starts || n_parts == 0) return NULL;
    for (int64_t i = 0; i < n_parts; i++) {
        if (!parts[i]) return NULL;
        own[i] = parts[i];
        starts[i + 1] = starts[i] + parts[i]->n_rows;
    }
    struct ht__rows *rows = new_rows(arena, starts[n_parts], own[0]->row_len, read_concat, sizeof(struct concat), &ctx);
    if (!rows) return NULL;
    *(struct concat *)ctx = (struct concat){own, n_parts, starts};
    rows->first = own[0];
    for (int64_t i = 0; i < n_parts; i++)
        if (own[i]->chunk_weights > rows->chunk_weights) rows->chunk_weights = own[i]->chunk_weights;
    return rows;
}

/* ---- permute ---- */

struct permute {
    const struct ht__rows *of;
    ht__row_map_fn *map;
    int64_t params[4];
};

/* Where rows are unpacked together: all from the first to the last that is asked for, once, if that is not much more. */
static bool read_span(const struct permute *p, int64_t row, int64_t n, float *dst, struct ht__arena *scratch,
                      struct ht_diag *diag, enum ht_err *err)
{
    int64_t low = INT64_MAX, high = 0, row_len = p->of->row_len;
    for (int64_t i = 0; p->of->together > 1 && i < n; i++) {
        int64_t from = p->map(p->params, row + i);
        low = from < low ? from : low;
        high = from > high ? from : high;
    }
    if (low > high || high - low >= 2 * n + p->of->together) return false;
    float *span = ht__arena_raw(scratch, (size_t)((high - low + 1) * row_len) * sizeof *span);
    *err = span ? p->of->read(p->of, low, high - low + 1, span, scratch, diag) : ht__fail_memory(diag, "rows");
    for (int64_t i = 0; !*err && i < n; i++)
        memcpy(dst + i * row_len, span + (p->map(p->params, row + i) - low) * row_len, (size_t)row_len * sizeof *dst);
    return true;
}

/* Neighbours that stay neighbours are read together. */
static enum ht_err read_permute(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                                struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct permute *p = rows->ctx;
    enum ht_err err = HT_OK;
    if (read_span(p, row, n, dst, scratch, diag, &err)) return err;
    for (int64_t i = 0; i < n;) {
        int64_t from = p->map(p->params, row + i), run = 1;
        while (i + run < n && p->map(p->params, row + i + run) == from + run)
            run++;
        HT_TRY(p->of->read(p->of, from, run, dst + i * rows->row_len, scratch, diag));
        i += run;
    }
    return HT_OK;
}

struct ht__rows *ht__rows_permute(struct ht__arena *arena, const struct ht__rows *of, ht__row_map_fn *map,
                                  const int64_t params[4])
{
    void *ctx;
    struct ht__rows *rows =
        of ? new_rows(arena, of->n_rows, of->row_len, read_permute, sizeof(struct permute), &ctx) : NULL;
    if (!rows) return NULL;
    rows->first = of;
    rows->chunk_weights = of->chunk_weights;
    struct permute *p = ctx;
    *p = (struct permute){.of = of, .map = map};
    memcpy(p->params, params, sizeof p->params);
    return rows;
}

int64_t ht__map_rope(const int64_t *params, int64_t row)
{
    int64_t head_rows = params[0], head = row / head_rows, r = row % head_rows;
    return head * head_rows + r % 2 * (head_rows / 2) + r / 2;
}

int64_t ht__map_rope_back(const int64_t *params, int64_t row)
{
    int64_t head_rows = params[0], half = head_rows / 2, head = row / head_rows, r = row % head_rows;
    return head * head_rows + r % half * 2 + r / half;
}

int64_t ht__map_regroup(const int64_t *params, int64_t row)
{
    int64_t groups = params[0], parts = params[1], n = params[2];
    int64_t part = row / (groups * n), group = row / n % groups, r = row % n;
    return (group * parts + part) * n + r;
}

int64_t ht__map_falcon_qkv(const int64_t *params, int64_t row)
{
    int64_t groups = params[0], q = params[1], n = params[2], all_q = groups * q * n;
    if (row < all_q) {
        int64_t group = row / (q * n), r = row % (q * n);
        return group * (q + 2) * n + r;
    }
    int64_t part = (row - all_q) / (groups * n), rest = (row - all_q) % (groups * n);
    return (rest / n * (q + 2) + q + part) * n + rest % n;
}

int64_t ht__map_falcon_qkv_back(const int64_t *params, int64_t row)
{
    int64_t groups = params[0], q = params[1], n = params[2];
    int64_t group = row / ((q + 2) * n), slot = row / n % (q + 2), r = row % n;
    if (slot < q) return (group * q + slot) * n + r;
    return groups * q * n + ((slot - q) * groups + group) * n + r;
}

int64_t ht__map_every_second(const int64_t *params, int64_t row)
{
    return 2 * row + params[0];
}

static enum ht_err read_pick(const struct ht__rows *rows, int64_t row, int64_t n, float *dst, struct ht__arena *scratch,
                             struct ht_diag *diag)
{
    const struct permute *p = rows->ctx;
    float *all = ht__arena_raw(scratch, (size_t)(p->of->n_rows * p->of->row_len) * sizeof *all);
    if (!all) return ht__fail_memory(diag, "rows");
    HT_TRY(p->of->read(p->of, 0, p->of->n_rows, all, scratch, diag));
    for (int64_t i = 0; i < n * rows->row_len; i++)
        dst[i] = all[p->map(p->params, row * rows->row_len + i)];
    return HT_OK;
}

struct ht__rows *ht__rows_pick(struct ht__arena *arena, const struct ht__rows *of, int64_t row_len, ht__row_map_fn *map,
                               const int64_t params[4])
{
    void *ctx;
    int64_t n = of ? of->n_rows * of->row_len : 0;
    if (map == ht__map_every_second) n /= 2;
    struct ht__rows *rows = of ? new_rows(arena, n / row_len, row_len, read_pick, sizeof(struct permute), &ctx) : NULL;
    if (!rows) return NULL;
    struct permute *p = ctx;
    *p = (struct permute){.of = of, .map = map};
    memcpy(p->params, params, sizeof p->params);
    return rows;
}

/* ---- transpose ---- */

struct transpose {
    const struct ht__rows *of;
    int64_t slab_rows;
};

/* Some columns of one slab: n of them, `step` apart, from number `column` on. */
struct columns {
    int64_t slab, column, step, n;
};

/* block has `take` rows of `width`; its columns go to rows of dst, by tiles that stay in the cache. */
static void turn(const float *block, int64_t take, int64_t width, int64_t step, int64_t n, float *dst, int64_t dst_len)
{
    enum { TILE = 16 };
    for (int64_t i0 = 0; i0 < n; i0 += TILE)
        for (int64_t j0 = 0; j0 < take; j0 += TILE)
            for (int64_t i = i0; i < n && i < i0 + TILE; i++)
                for (int64_t j = j0; j < take && j < j0 + TILE; j++)
                    dst[i * dst_len + j] = block[j * width + i * step];
}

/*
 * The strip of the slab that holds the columns, in groups of rows of a bounded size. Whole rows are read
 * where that is a few times the strip at most (a long read costs less than many short ones), so every byte
 * of the source is read a few times at most, however many strips a slab is cut into.
 */
static enum ht_err read_columns(const struct ht__rows *rows, const struct columns *c, float *dst,
                                struct ht__arena *scratch, struct ht_diag *diag)
{
    enum { GROUP_WEIGHTS = 256 << 10, WORTH_WHOLE = 3 };
    const struct transpose *t = rows->ctx;
    const struct ht__rows *of = t->of;
    int64_t strip = (c->n - 1) * c->step + 1, first = c->column;
    bool part = of->read_part && strip * WORTH_WHOLE < of->row_len;
    int64_t width = part ? strip : of->row_len, group = GROUP_WEIGHTS / width;
    if (group < 1) group = 1;
    if (group > t->slab_rows) group = t->slab_rows;
    float *block = ht__arena_raw(scratch, (size_t)(group * width) * sizeof *block);
    if (!block) return ht__fail_memory(diag, "rows");
    struct ht__arena inner; /* the source's scratch is given back after every group */
    ht__arena_init(&inner, scratch->alloc);
    enum ht_err err = HT_OK;
    for (int64_t r = 0; r < t->slab_rows && err == HT_OK; r += group) {
        int64_t take = t->slab_rows - r < group ? t->slab_rows - r : group, row = c->slab * t->slab_rows + r;
        err = part ? of->read_part(of, row, take, first, strip, block, &inner, diag)
                   : of->read(of, row, take, block, &inner, diag);
        if (err == HT_OK) turn(block + (part ? 0 : first), take, width, c->step, c->n, dst + r, t->slab_rows);
        ht__arena_reset(&inner);
    }
    ht__arena_close(&inner);
    return err;
}

static enum ht_err read_transpose_step(const struct ht__rows *rows, int64_t row, int64_t step, int64_t n, float *dst,
                                       struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct transpose *t = rows->ctx;
    int64_t columns = t->of->row_len;
    while (n > 0) {
        struct columns c = {row / columns, row % columns, step, 0};
        c.n = (columns - c.column + step - 1) / step;
        if (c.n > n) c.n = n;
        HT_TRY(read_columns(rows, &c, dst, scratch, diag));
        row += c.n * step;
        n -= c.n;
        dst += c.n * t->slab_rows;
    }
    return HT_OK;
}

static enum ht_err read_transpose(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                                  struct ht__arena *scratch, struct ht_diag *diag)
{
    return read_transpose_step(rows, row, 1, n, dst, scratch, diag);
}

const struct ht__rows *ht__rows_transpose(struct ht__arena *arena, const struct ht__rows *of, int64_t slab_rows)
{
    void *ctx;
    if (!of || slab_rows < 1) return NULL;
    if (of->read == read_transpose && of->row_len == ((const struct transpose *)of->ctx)->slab_rows) {
        const struct transpose *t = of->ctx; /* and back: what it was, whose blocks may be had as they are */
        if (t->of->row_len == slab_rows) return t->of;
    }
    struct ht__rows *rows = new_rows(arena, of->n_rows / slab_rows * of->row_len, slab_rows, read_transpose,
                                     sizeof(struct transpose), &ctx);
    if (!rows) return NULL;
    *(struct transpose *)ctx = (struct transpose){of, slab_rows};
    rows->read_step = read_transpose_step;
    rows->chunk_weights = 1 << 20;
    return rows;
}

/* ---- floats ---- */

static enum ht_err read_floats(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                               struct ht__arena *scratch, struct ht_diag *diag)
{
    (void)scratch, (void)diag;
    memcpy(dst, (const float *)rows->ctx + row * rows->row_len, (size_t)(n * rows->row_len) * sizeof *dst);
    return HT_OK;
}

struct ht__rows *ht__rows_floats(struct ht__arena *arena, const float *values, int64_t n_rows, int64_t row_len)
{
    void *ctx;
    size_t bytes = (size_t)(n_rows * row_len) * sizeof *values;
    struct ht__rows *rows = new_rows(arena, n_rows, row_len, read_floats, bytes, &ctx);
    if (rows) memcpy(ctx, values, bytes);
    return rows;
}
