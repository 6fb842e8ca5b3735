/*
 * Lines of tensors:
 *     done <item> <rows> <sum of squares> <outputs> <readings> <check>
 * where rows are the number of spans and then <from> <to> for each; an output is <error> <low> <high>, the latter being the sum
 * of the bytes that were written, and readings are their number and then <tensor> <bytes> <places> <low> <high> for each. A later
 * line of a tensor says all that an earlier one said. Floats are hexadecimal: exact. A line counts when it is whole and its
 * check, the sum of the line before it, is right; what a crash cut off is made again.
 */
#include "pipeline/journal_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t check_of(const unsigned char *line, size_t n)
{
    struct ht__sum sum = {0};
    ht__sum_add(&sum, 0, line, n);
    return sum.low ^ sum.high;
}

static void put_rows(struct ht__buf *out, const struct ht__row_set *rows)
{
    ht__buf_printf(out, " %zu", ht__row_set_size(rows));
    for (size_t i = 0; i < ht__row_set_size(rows); i++)
        ht__buf_printf(out, " %" PRId64 " %" PRId64, ht__row_set_at(rows, i).from, ht__row_set_at(rows, i).to);
}

void ht__journal_put_tensor(struct ht__buf *out, const struct ht__plan *plan, uint32_t item,
                            const struct ht__row_set *rows, const struct ht__tensor_stats *s)
{
    const struct ht__reading *readings = (const struct ht__reading *)(const void *)s->readings.data;
    size_t start = out->len, n = s->readings.len / sizeof *readings;
    ht__buf_printf(out, "done %u", item);
    put_rows(out, rows);
    ht__buf_printf(out, " %a", s->sum_squares);
    for (size_t o = 0; o < plan->n_outputs; o++)
        ht__buf_printf(out, " %a %" PRIx64 " %" PRIx64, s->errors[o], s->written[o].low, s->written[o].high);
    ht__buf_printf(out, " %zx", n);
    for (size_t i = 0; i < n; i++) {
        const struct ht__sum *sum = &readings[i].sum;
        ht__buf_printf(out, " %x %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64, readings[i].tensor, sum->bytes,
                       sum->places, sum->low, sum->high);
    }
    if (!out->failed) ht__buf_printf(out, " %" PRIx64 "\n", check_of(out->data + start, out->len - start));
}

struct line {
    char *at;
    bool bad;
};

static uint64_t take_number(struct line *line, int base)
{
    char *end;
    uint64_t value = strtoull(line->at, &end, base);
    line->bad |= end == line->at;
    line->at = end;
    return value;
}

static double take_float(struct line *line)
{
    char *end;
    double value = strtod(line->at, &end);
    line->bad |= end == line->at;
    line->at = end;
    return value;
}

static void take_readings(struct line *line, const struct ht__plan *plan, struct ht__buf *readings)
{
    uint64_t n = take_number(line, 16);
    for (uint64_t i = 0; i < n && !line->bad; i++) {
        uint64_t tensor = take_number(line, 16);
        struct ht__sum sum = {.bytes = take_number(line, 16)};
        sum.places = take_number(line, 16);
        sum.low = take_number(line, 16);
        sum.high = take_number(line, 16);
        line->bad |= tensor >= plan->checkpoint->n_tensors;
        if (!line->bad) ht__reading_add(readings, (uint32_t)tensor, &sum);
    }
}

bool ht__journal_line_is_whole(char *text)
{
    char *last = strrchr(text, ' '), *end;
    if (!last) return false;
    uint64_t check = strtoull(last + 1, &end, 16);
    return *end == '\0' && end != last + 1 && check == check_of((unsigned char *)text, (size_t)(last - text));
}

enum ht_err ht__journal_entry_open(struct ht__journal_entry *e, const struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__alloc *alloc = plan->run.alloc;
    *e = (struct ht__journal_entry){0};
    ht__row_set_init(&e->rows, alloc);
    ht__buf_init(&e->stats.readings, alloc);
    e->stats.errors = ht__new_array(alloc, plan->n_outputs + 1, sizeof *e->stats.errors);
    e->stats.written = ht__new_array(alloc, plan->n_outputs + 1, sizeof *e->stats.written);
    return e->stats.errors && e->stats.written ? HT_OK : ht__fail_memory(diag, "journal");
}

void ht__journal_entry_close(struct ht__journal_entry *e, const struct ht__plan *plan)
{
    ht__row_set_close(&e->rows);
    ht__buf_close(&e->stats.readings);
    ht__free(plan->run.alloc, e->stats.errors);
    ht__free(plan->run.alloc, e->stats.written);
}

/* Can a run have finished these rows alone? */
static bool is_made_alone(const struct ht__plan *plan, uint32_t item, struct ht__row_span rows)
{
    int64_t n = plan->items[item].rows->n_rows;
    if (rows.from < 0 || rows.from >= rows.to || rows.to > n) return false;
    if (rows.from == 0 && rows.to == n) return true;
    return ht__plan_item_divisible(plan, item) && ht__plan_chunk_begin(plan, item, rows.from) == rows.from &&
           (rows.to == n || ht__plan_chunk_begin(plan, item, rows.to) == rows.to);
}

static void take_rows(struct line *line, const struct ht__plan *plan, uint32_t item, struct ht__row_set *rows)
{
    int64_t before = 0;
    uint64_t n = take_number(line, 10);
    ht__row_set_clear(rows);
    line->bad |= n == 0;
    for (uint64_t i = 0; i < n && !line->bad; i++) {
        struct ht__row_span span = {.from = (int64_t)take_number(line, 10)};
        span.to = (int64_t)take_number(line, 10);
        line->bad |= span.from < before || !is_made_alone(plan, item, span);
        if (!line->bad) ht__row_set_add(rows, span);
        before = span.to;
    }
}

static void take_stats(struct line *line, const struct ht__plan *plan, struct ht__tensor_stats *s)
{
    s->sum_squares = take_float(line);
    for (size_t o = 0; o < plan->n_outputs; o++) {
        s->errors[o] = take_float(line);
        s->written[o] = (struct ht__sum){.low = take_number(line, 16)};
        s->written[o].high = take_number(line, 16);
    }
    s->readings.len = 0;
    take_readings(line, plan, &s->readings);
}

bool ht__journal_parse(const struct ht__plan *plan, char *text, struct ht__journal_entry *e)
{
    if (strncmp(text, "done ", 5) != 0 || !ht__journal_line_is_whole(text)) return false;
    struct line line = {text + 5, false};
    uint64_t item = take_number(&line, 10);
    if (line.bad || item >= plan->n_items) return false;
    e->item = (uint32_t)item;
    take_rows(&line, plan, e->item, &e->rows);
    if (!line.bad) take_stats(&line, plan, &e->stats);
    return !line.bad && !e->rows.spans.failed && !e->stats.readings.failed;
}
