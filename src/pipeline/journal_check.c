/* Where the rows of a tensor lie in the outputs, and whether they are what was written. */
#include "pipeline/journal_parts.h"

#include <string.h>

/* Rows of a part that lie one after the other. */
static void narrow_part(const struct ht__packed *packed, int part, struct ht__row_span rows,
                        struct ht__journal_piece *piece)
{
    struct ht__part_piece at = {0};
    (void)ht__part_piece(&packed->parts[part], &packed->matrix, rows.from, rows.to - rows.from, 0, &at);
    piece->offset = at.offset;
    piece->n_bytes = at.n_bytes;
    piece->base += at.offset;
}

static void narrow(const struct ht__item *item, struct ht__row_span rows, struct ht__journal_piece *piece)
{
    uint64_t row_bytes = ht__item_row_bytes(piece->extent->type, item);
    piece->offset = piece->base = (uint64_t)rows.from * row_bytes;
    piece->n_bytes = (uint64_t)(rows.to - rows.from) * row_bytes;
}

size_t ht__journal_pieces(const struct ht__plan *plan, const struct ht__plan_output *out, uint32_t item,
                          struct ht__row_span rows, struct ht__journal_piece pieces[HT__SCHEME_PARTS])
{
    struct ht__place place = out->places[item];
    const struct ht__plan_file *file = &out->files[place.file];
    const struct ht__packed *packed = out->packed ? out->packed[item] : NULL;
    bool all = rows.from == 0 && rows.to == plan->items[item].rows->n_rows;
    size_t n = 0;
    if (!ht__item_in(plan, out, item)) return 0;
    if (!packed) {
        const struct ht__extent *e = &file->entries[place.entry];
        pieces[n] = (struct ht__journal_piece){.extent = e, .n_bytes = e->n_bytes};
        if (!all) narrow(&plan->items[item], rows, &pieces[n]);
        return 1;
    }
    for (int i = 0; i < packed->n_parts; i++) {
        if (packed->entry[i] == UINT32_MAX) continue;
        const struct ht__extent *e = &file->entries[packed->entry[i]];
        pieces[n] = (struct ht__journal_piece){.extent = e, .n_bytes = e->n_bytes, .base = packed->base[i]};
        if (!all) narrow_part(packed, i, rows, &pieces[n]);
        n++;
    }
    return n;
}

/* Adds the sum of these bytes of a .part. */
static enum ht_err sum_piece(const struct ht__plan_file *file, const struct ht__journal_piece *p, unsigned char *window,
                             struct ht__sum *sum, struct ht_diag *diag)
{
    const struct ht__file in = {.fd = file->out.fd, .size = file->size};
    for (uint64_t at = 0, n; at < p->n_bytes; at += n) {
        n = p->n_bytes - at < HT__JOURNAL_WINDOW ? p->n_bytes - at : HT__JOURNAL_WINDOW;
        HT_TRY(ht__file_read(&in, p->extent->offset + p->offset + at, window, n, diag));
        ht__sum_add(sum, p->base + at, window, n);
    }
    return HT_OK;
}

/* Of all these rows in one output; *done counts the bytes. */
static enum ht_err sum_rows(const struct ht__plan *plan, const struct ht__plan_output *out, uint32_t item,
                            const struct ht__row_set *rows, unsigned char *window, struct ht__sum *sum, uint64_t *done,
                            struct ht_diag *diag)
{
    const struct ht__plan_file *file = &out->files[out->places[item].file];
    struct ht__journal_piece pieces[HT__SCHEME_PARTS];
    for (size_t k = 0; k < ht__row_set_size(rows); k++) {
        size_t n = ht__journal_pieces(plan, out, item, ht__row_set_at(rows, k), pieces);
        for (size_t i = 0; i < n; i++) {
            HT_TRY(sum_piece(file, &pieces[i], window, sum, diag));
            *done += pieces[i].n_bytes;
        }
    }
    return HT_OK;
}

enum ht_err ht__journal_check_rows(const struct ht__plan *plan, uint32_t item, const struct ht__row_set *rows,
                                   const struct ht__tensor_stats *stats, unsigned char *window, uint64_t *done,
                                   bool *same, struct ht_diag *diag)
{
    *same = true;
    for (size_t o = 0; *same && o < plan->n_outputs; o++) {
        const struct ht__plan_output *out = &plan->outputs[o];
        struct ht__sum sum = {0};
        if (!ht__item_in(plan, out, item)) continue;
        HT_TRY(sum_rows(plan, out, item, rows, window, &sum, done, diag));
        *same = sum.low == stats->written[o].low && sum.high == stats->written[o].high;
        if (!*same)
            ht__log_printf(plan->run.log, HT__LOG_WARNING, "%s: %s is not as it was written; the tensor is made anew",
                           out->files[out->places[item].file].out.part_path, ht__item_in(plan, out, item)->name);
    }
    return HT_OK;
}
