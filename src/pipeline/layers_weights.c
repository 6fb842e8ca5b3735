/* Weights of the layers driver: as the source has them, and as the outputs will. */
#include "model/rows.h"
#include "pipeline/layers_parts.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

bool ht__course_changes(const struct ht__course *course, const struct ht__plan *plan, size_t item)
{
    const struct ht__codec *type = course->out->choices[item].type;
    const struct ht__rows *rows = plan->items[item].rows;
    return !(rows->raw_type && type == rows->raw_type) && strcmp(type->name, "f32") != 0;
}

enum ht_err ht__layers_read(const struct ht__weight *w, int64_t row, int64_t n, float *dst, struct ht_diag *diag)
{
    struct ht__arena scratch;
    ht__arena_init(&scratch, NULL);
    enum ht_err err = w->rows->read(w->rows, row, n, dst, &scratch, diag);
    ht__arena_close(&scratch);
    return err;
}

static float *room(const struct ht__layers *d, const struct ht__weight *w)
{
    return ht__new_array(d->plan->run.alloc, (size_t)w->rows->n_rows, (size_t)w->rows->row_len * sizeof(float));
}

/* Rows of one matrix as the type's encoder makes them, decoded in place. */
static void round_rows(const struct ht__layers *d, const struct ht__codec *type, float *x, int64_t n_rows, int64_t n,
                       const float *importance, void *encoded)
{
    enum ht__cpu_level level = d->plan->settings->level;
    ht__encoder(type, level)(x, n_rows, n, type->flags & HT__CODEC_USES_IMPORTANCE ? importance : NULL, encoded);
    ht__decoder(type, level)(encoded, n_rows * n, x);
}

enum ht_err ht__course_round(struct ht__layers *d, struct ht__course *course, size_t item, struct ht_diag *diag)
{
    const struct ht__weight *w = &d->plan->model->weights[item];
    const struct ht__codec *type = course->out->choices[item].type;
    const float *importance = d->plan->importance[item];
    float *x = course->weights[item] = room(d, w);
    void *encoded = ht__new_array(d->plan->run.alloc, (size_t)w->ne[1], ht__codec_bytes(type, (uint64_t)w->ne[0]));
    enum ht_err err = x && encoded ? HT_OK : ht__fail_memory(diag, w->name);
    if (err == HT_OK) err = ht__layers_read(w, 0, w->rows->n_rows, x, diag);
    for (int64_t m = 0; err == HT_OK && m < w->rows->n_rows / w->ne[1]; m++)
        round_rows(d, type, x + m * w->ne[1] * w->ne[0], w->ne[1], w->ne[0],
                   importance ? importance + m % w->ne[2] * w->ne[0] : NULL, encoded);
    ht__free(d->plan->run.alloc, encoded);
    return err;
}

enum ht_err ht__course_choose(struct ht__layers *d, struct ht__course *course, size_t item, const struct ht__best *best,
                              double share, struct ht_diag *diag)
{
    const struct ht__weight *w = &d->plan->model->weights[item];
    struct ht__chosen *chosen = &course->chosen[item];
    struct ht__best_matrix m = {.type = course->out->choices[item].type,
                                .level = d->plan->settings->level,
                                .n_out = w->ne[1],
                                .importance = d->plan->importance[item],
                                .share = share};
    float *x = room(d, w);
    m.w = x;
    m.decoded = course->weights[item] = room(d, w);
    m.encoded = chosen->rows =
        ht__new_array(d->plan->run.alloc, (size_t)w->ne[1], ht__codec_bytes(m.type, (uint64_t)w->ne[0]));
    enum ht_err err = x && m.decoded && m.encoded ? HT_OK : ht__fail_memory(diag, w->name);
    if (err == HT_OK) err = ht__layers_read(w, 0, w->ne[1], x, diag);
    if (err == HT_OK) err = ht__best_matrix(best, &m, diag);
    ht__free(d->plan->run.alloc, x);
    if (err != HT_OK) return err;
    chosen->taken = m.taken;
    chosen->before = m.before;
    chosen->after = m.after;
    return HT_OK;
}

static enum ht_err read_output(const struct ht__output *out, uint64_t at, uint8_t *dst, uint64_t n,
                               struct ht_diag *diag)
{
    for (uint64_t done = 0; done < n;) {
        ssize_t got = pread(out->fd, dst + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return ht__fail(diag, HT_ERR_IO, out->part_path, (int64_t)(at + done), "reading back: %s",
                            got ? strerror(errno) : "the file ends");
        done += (uint64_t)got;
    }
    return HT_OK;
}

enum ht_err ht__course_read_back(struct ht__layers *d, struct ht__course *course, size_t item, struct ht_diag *diag)
{
    const struct ht__weight *w = &d->plan->model->weights[item];
    const struct ht__codec *type = course->out->choices[item].type;
    const struct ht__plan_file *file = &course->out->files[course->out->places[item].file];
    const struct ht__extent *e = &file->entries[course->out->places[item].entry];
    float *x = course->weights[item] = room(d, w);
    uint8_t *encoded = ht__new_array(d->plan->run.alloc, e->n_bytes, 1);
    enum ht_err err = x && encoded ? HT_OK : ht__fail_memory(diag, w->name);
    if (err == HT_OK) err = read_output(&file->out, e->offset, encoded, e->n_bytes, diag);
    if (err == HT_OK) ht__decoder(type, d->plan->settings->level)(encoded, w->rows->n_rows * w->rows->row_len, x);
    ht__free(d->plan->run.alloc, encoded);
    return err;
}

void ht__course_forget(const struct ht__layers *d, struct ht__course *course)
{
    for (size_t i = 0; i < d->plan->model->n_weights; i++) {
        if (course->weights) ht__free(d->plan->run.alloc, course->weights[i]);
        if (course->weights) course->weights[i] = NULL;
        if (course->chosen) ht__free(d->plan->run.alloc, course->chosen[i].rows);
        if (course->chosen) course->chosen[i].rows = NULL;
    }
}
