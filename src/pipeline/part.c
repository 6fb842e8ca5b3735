#include "pipeline/part.h"
#include "pipeline/journal_parts.h"
#include "pipeline/layers_driver.h"
#include "pipeline/scales.h"
#include "pipeline/work.h"

#include <math.h>

static enum ht_err refuse(const char *why, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_UNSUPPORTED, "part", -1, "%s: such a run cannot be made in parts", why);
}

enum ht_err ht__part_check(const struct ht__pipeline_settings *s, struct ht_diag *diag)
{
    if (s->publish.parts == 0 && s->importance.parts == 0) return HT_OK;
    if (ht__scales_wanted(s)) return refuse("the model is scaled first", diag);
    if (s->budget.kind) return refuse("types are chosen by measuring first (use the recipe)", diag);
    return s->measure.wanted ? refuse("files are measured", diag) : HT_OK;
}

enum ht_err ht__part_check_layers(const struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__pipeline_settings *s = plan->settings;
    if ((s->publish.parts == 0 && s->importance.parts == 0) || !ht__layers_in_turn(plan)) return HT_OK;
    return refuse("codes are chosen layer by layer, each after the one before (use --calibration-stats)", diag);
}

bool ht__part_possible(const struct ht__plan *plan)
{
    const struct ht__pipeline_settings *s = plan->settings;
    return !ht__layers_in_turn(plan) && !ht__scales_wanted(s) && !s->budget.kind;
}

bool ht__part_collects(const struct ht__plan *plan)
{
    return plan->settings->importance.collect && ht__part_possible(plan);
}

/* Written by all outputs together. */
static uint64_t bytes_of(const struct ht__plan *plan, uint32_t item, struct ht__row_span rows)
{
    uint64_t bytes = 0;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        struct ht__journal_piece pieces[HT__SCHEME_PARTS];
        size_t n = ht__journal_pieces(plan, &plan->outputs[o], item, rows, pieces);
        for (size_t i = 0; i < n; i++)
            bytes += pieces[i].n_bytes;
    }
    return bytes;
}

/* Does a scheme know something of it and of other matrices of its layer together (struct ht__stream's amax)? */
static bool is_shared(const struct ht__plan *plan, uint32_t item)
{
    for (size_t o = 0; o < plan->n_outputs; o++) {
        const struct ht__packed *packed = plan->outputs[o].packed ? plan->outputs[o].packed[item] : NULL;
        if (packed && packed->flags & HT__SCHEME_SHARED) return true;
    }
    return false;
}

/* Matrices that share something stay together: from plan->work[first] on, those up to the one that is returned. */
static size_t end_of_unit(const struct ht__plan *plan, size_t first)
{
    size_t end = first + 1;
    if (!is_shared(plan, plan->work[first])) return end;
    struct ht__slot slot = ht__item_any(plan, plan->work[first])->slot;
    for (size_t i = end; i < plan->n_work; i++) {
        struct ht__slot other = ht__item_any(plan, plan->work[i])->slot;
        if (other.layer != slot.layer || other.expert != slot.expert) break;
        if (is_shared(plan, plan->work[i])) end = i + 1;
    }
    return end;
}

/* The plan's work as a line: a unit lies on it behind those before it. Parts are pieces of the line, of equal length. */
struct unit {
    size_t first, end; /* in plan->work */
    double at, length;
};

static double point_of(const struct ht__plan *plan, double total, uint32_t part)
{
    return part == plan->settings->publish.parts ? HUGE_VAL : total * part / plan->settings->publish.parts;
}

/* How many rows of the unit's only tensor lie before a point: up to the chunk that begins nearest to it. */
static int64_t rows_before(const struct ht__plan *plan, const struct unit *unit, double point)
{
    uint32_t item = plan->work[unit->first];
    int64_t n = plan->items[item].rows->n_rows;
    if (point <= unit->at) return 0;
    if (point >= unit->at + unit->length) return n;
    int64_t row = (int64_t)((point - unit->at) / unit->length * (double)n);
    int64_t begin = ht__plan_chunk_begin(plan, item, row), end = ht__plan_chunk_end(plan, item, row);
    return row - begin < end - row ? begin : end;
}

/* Which rows of the unit's tensors lie between two points. What cannot be divided lies where its middle does. */
static struct ht__row_span rows_between(const struct ht__plan *plan, const struct unit *unit, uint32_t item,
                                        double from, double to)
{
    double middle = unit->at + unit->length / 2;
    if (unit->end - unit->first == 1 && ht__plan_item_divisible(plan, item))
        return (struct ht__row_span){rows_before(plan, unit, from), rows_before(plan, unit, to)};
    return (struct ht__row_span){0, from <= middle && middle < to ? plan->items[item].rows->n_rows : 0};
}

static double length_of(const struct ht__plan *plan, size_t first, size_t end)
{
    double length = 0;
    for (size_t i = first; i < end; i++)
        length += ht__work_of(plan, plan->work[i]);
    return length;
}

static void take_unit(struct ht__plan *plan, const struct unit *unit, double total, size_t *kept)
{
    const struct ht__publish_settings *s = &plan->settings->publish;
    double from = point_of(plan, total, s->part - 1), to = point_of(plan, total, s->part);
    for (size_t i = unit->first; i < unit->end; i++) {
        uint32_t item = plan->work[i];
        plan->ranges[item] = rows_between(plan, unit, item, from, to);
        if (plan->ranges[item].from >= plan->ranges[item].to) continue;
        plan->out_bytes += bytes_of(plan, item, plan->ranges[item]);
        plan->work[(*kept)++] = item; /* behind unit->first: what follows is not touched */
    }
}

enum ht_err ht__part_choose(struct ht__plan *plan, struct ht_diag *diag)
{
    struct unit unit = {0};
    size_t kept = 0;
    HT_TRY(ht__part_check_layers(plan, diag));
    plan->ranges = ht__arena_array(&plan->arena, plan->n_items, sizeof *plan->ranges);
    if (!plan->ranges) return ht__fail_memory(diag, "part");
    double total = length_of(plan, 0, plan->n_work);
    plan->out_bytes = 0;
    for (; unit.first < plan->n_work; unit.at += unit.length, unit.first = unit.end) {
        unit.end = end_of_unit(plan, unit.first);
        unit.length = length_of(plan, unit.first, unit.end);
        take_unit(plan, &unit, total, &kept);
    }
    plan->n_work = kept;
    return HT_OK;
}
