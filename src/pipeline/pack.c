#include "pipeline/pack.h"

#include "methods/coder.h"

#include <string.h>

/* WORK parts are filled by several workers, each its own rows; the first of them asks for the memory. */
static enum ht_err open_work(const struct ht__packing *job, int part, struct ht_diag *diag)
{
    struct ht__packed *p = job->packed;
    pthread_mutex_lock(job->lock);
    if (!p->whole[part]) p->whole[part] = ht__new_array(job->alloc, ht__part_bytes(&p->parts[part]) + 1, 1);
    bool failed = !p->whole[part];
    pthread_mutex_unlock(job->lock);
    return failed ? ht__fail_memory(diag, job->name) : HT_OK;
}

static enum ht_err put_part(const struct ht__packing *job, int part, const char *packed, struct ht__sum *written,
                            uint64_t *bytes, struct ht_diag *diag)
{
    struct ht__packed *p = job->packed;
    struct ht__part_piece piece;
    bool work = p->parts[part].place == HT__PART_WORK;
    if (work) HT_TRY(open_work(job, part, diag));
    for (uint64_t i = 0; ht__part_piece(&p->parts[part], &p->matrix, job->row, job->n_rows, i, &piece); i++) {
        if (work) {
            memcpy((char *)p->whole[part] + piece.offset, packed + piece.packed, piece.n_bytes);
            continue;
        }
        uint64_t at = job->file->entries[p->entry[part]].offset + piece.offset;
        HT_TRY(ht__output_write(&job->file->out, at, packed + piece.packed, piece.n_bytes, diag));
        ht__sum_add(written, p->base[part] + piece.offset, packed + piece.packed, piece.n_bytes);
        *bytes += piece.n_bytes;
    }
    return HT_OK;
}

enum ht_err ht__pack_open(struct ht__packing *job, struct ht__arena *arena, struct ht_diag *diag)
{
    const struct ht__packed *p = job->packed;
    if (job->coded) {
        job->codes = ht__coded_rows(p->params, &p->matrix, job->coded, job->row, job->n_rows);
        return HT_OK;
    }
    bool ok = ht__codes_new(&job->codes, p->params, &p->matrix, job->row, job->n_rows, arena);
    return ok ? HT_OK : ht__fail_memory(diag, job->name);
}

bool ht__pack_strip(const struct ht__packing *job, int64_t from, int64_t n_rows, const float *x, float *again)
{
    const struct ht__packed *p = job->packed;
    const struct ht__scheme *scheme = p->params->scheme;
    int64_t groups = scheme->groups(p->params, &p->matrix, from);
    struct ht__codes codes = job->codes;
    codes.row += from;
    codes.n_rows = n_rows;
    codes.q += from * p->matrix.n_in;
    codes.scale += groups;
    if (codes.zero) codes.zero += groups;
    if (!job->coded && !p->method->method->rows(p->method, p->params, &p->matrix, x, job->importance, &codes))
        return false;
    scheme->value(p->params, &p->matrix, &codes, again);
    return true;
}

enum ht_err ht__pack_write(const struct ht__packing *job, struct ht__arena *arena, struct ht__sum *written,
                           uint64_t *bytes, struct ht_diag *diag)
{
    const struct ht__packed *p = job->packed;
    void *packed[HT__SCHEME_PARTS] = {NULL};
    for (int i = 0; i < p->n_parts; i++) {
        if (p->parts[i].place == HT__PART_WHOLE) continue;
        packed[i] = ht__arena_raw(arena, ht__part_rows_bytes(&p->parts[i], &p->matrix, job->row, job->n_rows) + 64);
        if (!packed[i]) return ht__fail_memory(diag, job->name);
    }
    p->params->scheme->pack(p->params, &p->matrix, &job->codes, packed);
    for (int i = 0; i < p->n_parts; i++)
        if (packed[i]) HT_TRY(put_part(job, i, packed[i], written, bytes, diag));
    return HT_OK;
}

static enum ht_err put_whole(struct ht__packed *p, struct ht__plan_file *file, int part, struct ht__sum *written,
                             uint64_t *bytes, struct ht_diag *diag)
{
    uint64_t n = ht__part_bytes(&p->parts[part]);
    HT_TRY(ht__output_write(&file->out, file->entries[p->entry[part]].offset, p->whole[part], n, diag));
    ht__sum_add(written, p->base[part], p->whole[part], n);
    *bytes += n;
    return HT_OK;
}

enum ht_err ht__pack_finish(struct ht__packed *p, struct ht__plan_file *file, const struct ht__alloc *alloc,
                            struct ht__sum *written, uint64_t *bytes, struct ht_diag *diag)
{
    enum ht_err err = HT_OK;
    for (int i = 0; i < p->n_parts && err == HT_OK; i++) {
        if (p->parts[i].place != HT__PART_WHOLE) continue;
        p->whole[i] = ht__new_array(alloc, ht__part_bytes(&p->parts[i]) + 1, 1);
        if (!p->whole[i]) err = ht__fail_memory(diag, file->path);
    }
    if (err == HT_OK && p->params->scheme->finish) p->params->scheme->finish(p->params, &p->matrix, p->whole);
    for (int i = 0; i < p->n_parts && err == HT_OK; i++)
        if (p->parts[i].place == HT__PART_WHOLE) err = put_whole(p, file, i, written, bytes, diag);
    ht__pack_close(p, alloc);
    return err;
}

void ht__pack_close(struct ht__packed *p, const struct ht__alloc *alloc)
{
    for (int i = 0; i < p->n_parts; i++) {
        ht__free(alloc, p->whole[i]);
        p->whole[i] = NULL;
    }
}
