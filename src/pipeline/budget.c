#include "pipeline/budget_parts.h"
#include "base/text.h"
#include "pipeline/layout.h"
#include "recipe/quality.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- candidates ---- */

enum rows { ALL, SHORT };
static const struct {
    const char *type;
    enum rows rows;
} candidates[] = {
#define HT_CANDIDATE(type, rows) {type, rows},
#include "recipe/candidates.def"
#undef HT_CANDIDATE
};
enum { N_CANDIDATES = sizeof candidates / sizeof candidates[0], SUPER_BLOCK = 256, ALIGNMENT = 32 };
_Static_assert(N_CANDIDATES + 1 <= HT__SENSE_MOST_TYPES, "errors of all types are taken at once");

_Static_assert(N_CANDIDATES + 1 <= HT__BUDGET_TYPES, "what a method gains is kept of each");

size_t ht__budget_candidate(const struct ht__codec *type)
{
    size_t i = 0;
    while (i < N_CANDIDATES && strcasecmp(candidates[i].type, type->name) != 0)
        i++;
    return i;
}

static bool needs_importance(const struct ht__mix *mix, const struct ht__codec *type, const struct ht__weight *w)
{
    return ht__needs_importance(mix, type, w) || type->flags & HT__CODEC_NEEDS_IMPORTANCE;
}

static bool is_candidate(const struct ht__plan *plan, size_t at, const struct ht__weight *w)
{
    const struct ht__codec *type = ht__codec_by_name(candidates[at].type);
    bool important = plan->importance[w - plan->model->weights] != NULL;
    if (w->ne[0] % type->block_len != 0) return false;
    if (candidates[at].rows == SHORT && w->ne[0] % SUPER_BLOCK == 0) return false;
    return important || !needs_importance(plan->budget->mix, type, w);
}

/* The half that loses least: the source's own, if it has one. */
static const struct ht__codec *half_type(const struct ht__weight *w)
{
    bool half = strcmp(w->source->name, "f16") == 0 || strcmp(w->source->name, "bf16") == 0;
    return half ? w->source : ht__codec_by_name("f16");
}

uint64_t ht__budget_bytes(const struct ht__plan *plan, const struct ht__weight *w, const struct ht__codec *type)
{
    uint64_t bytes = (uint64_t)w->rows->n_rows * ht__codec_bytes(type, (uint64_t)w->ne[0]);
    if (plan->settings->budget.kind != HT__BUDGET_FILE) return bytes;
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static enum ht_err list_types(struct ht__plan *plan, struct ht__budget_matrix *m, struct ht_diag *diag)
{
    const struct ht__weight *w = &plan->model->weights[m->weight];
    m->types = ht__arena_array(&plan->arena, N_CANDIDATES + 1, sizeof *m->types);
    m->options = ht__arena_array(&plan->arena, N_CANDIDATES + 1, sizeof *m->options);
    m->errors = ht__arena_array(&plan->arena, N_CANDIDATES + 1, sizeof *m->errors);
    m->rounded = ht__arena_array(&plan->arena, N_CANDIDATES + 1, sizeof *m->rounded);
    m->bits = ht__arena_array(&plan->arena, N_CANDIDATES + 1, sizeof *m->bits);
    if (!m->bits || !m->types || !m->options || !m->errors || !m->rounded) return ht__fail_memory(diag, "budget");
    m->types[m->n++] = half_type(w);
    for (size_t i = 0; i < N_CANDIDATES; i++)
        if (is_candidate(plan, i, w)) m->types[m->n++] = ht__codec_by_name(candidates[i].type);
    for (size_t i = 0; i < m->n; i++) {
        bool plain = m->types[i]->flags & HT__CODEC_PLAIN;
        m->options[i].bytes = ht__budget_bytes(plan, w, m->types[i]);
        m->bits[i] = plain ? 0 : (double)m->types[i]->block_size * 8 / m->types[i]->block_len;
    }
    return HT_OK;
}

/* ---- named mixes ---- */

/* The types that a mix would give, by weight; NULL: it cannot be made. */
static struct ht__choice *choices_of(struct ht__plan *plan, const struct ht__mix *mix)
{
    struct ht_diag why = {0};
    struct ht__plan_output out = {
        .target = plan->outputs[0].target, .mix = mix, .with_importance = plan->imatrix != NULL};
    struct ht__budget_plan *budget = plan->budget;
    struct ht__run run = plan->run;
    plan->budget = NULL; /* by the mix's own rules, and without its warnings */
    plan->run.log = NULL;
    enum ht_err err = ht__plan_types(plan, &out, &why);
    plan->run = run;
    plan->budget = budget;
    return err == HT_OK ? out.choices : NULL;
}

size_t ht__budget_index(const struct ht__budget_matrix *m, const struct ht__codec *type)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->types[i] == type) return i;
    return SIZE_MAX;
}

bool ht__budget_named(struct ht__plan *plan, const struct ht__budget_plan *b, const struct ht__mix *mix,
                      uint32_t *chosen, uint64_t *size)
{
    const struct ht__choice *choices = choices_of(plan, mix);
    *size = b->fixed;
    for (size_t i = 0; choices && i < b->n; i++) {
        size_t at = ht__budget_index(&b->matrices[i], choices[b->matrices[i].weight].type);
        if (at == SIZE_MAX) return false;
        chosen[i] = (uint32_t)at;
        *size += b->matrices[i].options[at].bytes;
    }
    return choices != NULL;
}

/* Its rules leave no tensor to chance: types that a budget gives are all types of quantization. */
static bool is_base(const struct ht__plan *plan, const struct ht__mix *mix)
{
    return (plan->imatrix || !mix->needs_importance) && strcmp(mix->name, "Q2_K_S") != 0;
}

/* ---- sizes ---- */

struct ht__budget_sum ht__budget_sum_of(const struct ht__budget_plan *b, const uint32_t *chosen)
{
    struct ht__budget_sum sum = {b->fixed, 0};
    for (size_t i = 0; i < b->n; i++) {
        sum.bytes += b->matrices[i].options[chosen[i]].bytes;
        sum.cost += b->matrices[i].options[chosen[i]].cost;
    }
    return sum;
}

double ht__budget_rounded(const struct ht__budget_plan *b, const uint32_t *chosen)
{
    double sum = 0;
    for (size_t i = 0; i < b->n; i++)
        sum += b->matrices[i].rounded[chosen[i]];
    return sum;
}

/* What the budget does not choose: heads, norms, what options give a type to. */
static enum ht_err find_fixed(struct ht__plan *plan, struct ht__budget_plan *b, const struct ht__choice *choices,
                              struct ht_diag *diag)
{
    struct ht__plan_output out = {.target = plan->outputs[0].target, .mix = b->mix};
    out.choices = (struct ht__choice *)(uintptr_t)choices;
    HT_TRY(ht__plan_layout(plan, &out, diag));
    uint64_t size = out.size, heads = 0, all = 0, chosen = 0;
    for (uint32_t f = 0; f < out.n_files; f++) {
        for (uint32_t i = 0; i < out.files[f].n_entries; i++)
            heads += out.files[f].entries[i].n_bytes;
        ht__plan_file_close(&out.files[f]);
    }
    all = plan->settings->budget.kind == HT__BUDGET_FILE ? size : heads;
    for (size_t i = 0; i < b->n; i++) {
        uint32_t w = b->matrices[i].weight;
        chosen += ht__budget_bytes(plan, &plan->model->weights[w], choices[w].type);
    }
    b->fixed = all - chosen;
    return HT_OK;
}

enum ht_err ht__budget_limit(struct ht__plan *plan, struct ht__budget_plan *b, struct ht_diag *diag)
{
    const struct ht__budget_settings *s = &plan->settings->budget;
    switch (s->kind) {
    case HT__BUDGET_FILE: b->limit = s->bytes; return HT_OK;
    case HT__BUDGET_BITS: b->limit = (uint64_t)(s->bpw * (double)b->n_weights / 8); return HT_OK;
    default: return s->room(s->ctx, plan->model, &b->limit, diag);
    }
}

/* ---- matrices ---- */

static bool is_chosen(const struct ht__plan *plan, size_t i, const struct ht__choice *choice)
{
    const struct ht__weight *w = &plan->model->weights[i];
    return !choice->kept && !ht__recipe_gives(&plan->settings->recipe, w);
}

static enum ht_err list_matrices(struct ht__plan *plan, struct ht__budget_plan *b, const struct ht__choice *choices,
                                 struct ht_diag *diag)
{
    size_t n = plan->model->n_weights;
    b->matrices = ht__arena_array(&plan->arena, n + 1, sizeof *b->matrices);
    b->types = ht__arena_array(&plan->arena, n + 1, sizeof *b->types);
    if (!b->matrices || !b->types) return ht__fail_memory(diag, "budget");
    for (size_t i = 0; i < n; i++) {
        if (!is_chosen(plan, plan->order[i], &choices[plan->order[i]])) continue;
        struct ht__budget_matrix *m = &b->matrices[b->n++];
        m->weight = plan->order[i];
        m->slot = plan->model->weights[m->weight].slot;
        HT_TRY(list_types(plan, m, diag));
    }
    if (b->n) return HT_OK;
    return ht__fail(diag, HT_ERR_UNSUPPORTED, plan->settings->source.path, -1,
                    "no tensor is left that a budget could choose a type for");
}

/* The largest mix that meets the budget; Q2_K where none does. */
static enum ht_err find_base(struct ht__plan *plan, struct ht__budget_plan *b, struct ht_diag *diag)
{
    uint64_t most = 0, size;
    uint32_t *chosen = ht__arena_array(&plan->arena, b->n + 1, sizeof *chosen);
    if (!chosen) return ht__fail_memory(diag, "budget");
    for (size_t i = 0; ht__quality_at(i); i++) {
        if (ht__quality_at(i)->scheme) continue;
        const struct ht__mix *mix = ht__mix_by_name(ht__quality_at(i)->type);
        if (!is_base(plan, mix) || !ht__budget_named(plan, b, mix, chosen, &size)) continue;
        if (size > b->limit || size <= most) continue;
        most = size;
        b->mix = mix;
    }
    return HT_OK;
}

/* ---- what is too small ---- */

uint64_t ht__budget_least_bytes(const struct ht__budget_plan *b)
{
    uint64_t least = b->fixed;
    for (size_t i = 0; i < b->n; i++) {
        struct ht__budget_group g = {b->matrices[i].options, b->matrices[i].n};
        least += ht__budget_least(&g, 1);
    }
    return least;
}

enum ht_err ht__budget_refuse(const struct ht__plan *plan, const struct ht__budget_plan *b, uint64_t least,
                              struct ht_diag *diag)
{
    const struct ht__budget_settings *s = &plan->settings->budget;
    const char *more = plan->imatrix ? "" : "; with importance (--calibration default) smaller types are possible";
    char bytes[24];
    if (s->kind == HT__BUDGET_BITS)
        return ht__fail(diag, HT_ERR_LIMIT, "bpw", -1,
                        "no choice of types has so few bits: the smallest that this model can have is --bpw %.4f%s",
                        ceil((double)least * 8 / (double)b->n_weights * 1e4) / 1e4, more);
    if (s->kind == HT__BUDGET_FILE)
        return ht__fail(diag, HT_ERR_LIMIT, "fit", -1,
                        "no choice of types is so small: the smallest file that this model can have is --fit %llu%s",
                        (unsigned long long)least, more);
    return ht__fail(diag, HT_ERR_LIMIT, "fit", -1,
                    "no choice of types is so small: the smallest weights that this model can have take %s, and %llu "
                    "bytes are left for them%s",
                    ht__text_bytes(least, bytes), (unsigned long long)b->limit, more);
}

/* ---- solving ---- */

enum ht_err ht__budget_solve_all(struct ht__plan *plan, struct ht__budget_plan *b, uint32_t *chosen,
                                 struct ht_diag *diag)
{
    struct ht__budget_group *groups = ht__arena_array(&plan->arena, b->n, sizeof *groups);
    struct ht__budget_sum sum;
    double bound;
    if (!groups) return ht__fail_memory(diag, "budget");
    for (size_t i = 0; i < b->n; i++)
        groups[i] = (struct ht__budget_group){b->matrices[i].options, b->matrices[i].n};
    HT_TRY(ht__budget_solve(groups, b->n, b->limit - b->fixed, plan->run.alloc, chosen, &sum, &bound, &b->exact, diag));
    for (size_t i = 0; i < b->n; i++) /* the first is a half, and the curve is of quantized models */
        if (b->matrices[i].n > 1)
            groups[i] = (struct ht__budget_group){b->matrices[i].options + 1, b->matrices[i].n - 1};
    HT_TRY(ht__budget_curve(groups, b->n, plan->run.alloc, HT__BUDGET_POINTS, b->curve, &b->n_curve, diag));
    for (size_t i = 0; i < b->n_curve; i++)
        b->curve[i].bytes += b->fixed;
    return HT_OK;
}

void ht__budget_types(const struct ht__budget_plan *b, const uint32_t *chosen, const struct ht__codec **types)
{
    for (size_t i = 0; i < b->n; i++)
        types[b->matrices[i].weight] = b->matrices[i].types[chosen[i]];
}

/* What the engine does not compute with is as in the mix: what it costs is not known. */
static void settle_unseen(struct ht__plan *plan, struct ht__budget_plan *b)
{
    const struct ht__choice *choices = choices_of(plan, b->mix);
    for (size_t i = 0; choices && i < b->n; i++) {
        struct ht__budget_matrix *m = &b->matrices[i];
        size_t at = m->unseen ? ht__budget_index(m, choices[m->weight].type) : SIZE_MAX;
        if (at == SIZE_MAX) continue;
        ht__log_printf(plan->run.log, HT__LOG_WARNING, "%s: this program does not compute with it; it stays as in %s",
                       plan->model->weights[m->weight].name, b->mix->name);
        m->types[0] = m->types[at];
        m->options[0] = m->options[at];
        m->errors[0] = m->errors[at];
        m->rounded[0] = m->rounded[at];
        m->n = 1;
    }
}

static enum ht_err measure(struct ht__plan *plan, struct ht__budget_plan *b, struct ht_diag *diag)
{
    struct ht__sense sense = {.plan = NULL};
    uint32_t *chosen = ht__arena_array(&plan->arena, b->n, sizeof *chosen);
    if (!chosen) return ht__fail_memory(diag, "budget");
    ht__log_printf(plan->run.log, HT__LOG_INFO, "%s: measuring what each matrix costs the model, of %zu",
                   plan->settings->budget.text, b->n);
    enum ht_err err = ht__budget_measure(plan, b, &sense, diag);
    if (err == HT_OK) settle_unseen(plan, b);
    if (err == HT_OK && ht__budget_least_bytes(b) > b->limit)
        err = ht__budget_refuse(plan, b, ht__budget_least_bytes(b), diag);
    if (err == HT_OK) err = ht__budget_solve_all(plan, b, chosen, diag);
    if (err == HT_OK) err = ht__budget_check(plan, b, &sense, chosen, diag);
    ht__sense_close(&sense);
    if (err != HT_OK) return err;
    ht__budget_types(b, chosen, b->types);
    b->size = ht__budget_sum_of(b, chosen).bytes;
    b->measured = true;
    return HT_OK;
}

enum ht_err ht__budget_choose(struct ht__plan *plan, struct ht_diag *diag)
{
    struct ht__budget_plan *b = plan->budget = ht__arena_new(&plan->arena, sizeof *b);
    if (!b) return ht__fail_memory(diag, "budget");
    b->n_weights = plan->n_weights;
    b->mix = ht__mix_by_name("Q2_K");
    b->estimated = b->divergence = b->named_estimated = b->named_divergence = NAN;
    if (plan->outputs[0].target->scheme) return ht__budget_choose_schemes(plan, b, diag);
    HT_TRY(ht__budget_limit(plan, b, diag));
    struct ht_diag why = {0};
    struct ht__plan_output out = {
        .target = plan->outputs[0].target, .mix = b->mix, .with_importance = plan->imatrix != NULL};
    plan->budget = NULL;
    enum ht_err err = ht__plan_types(plan, &out, &why);
    plan->budget = b;
    if (err != HT_OK) {
        if (diag) *diag = why;
        return err;
    }
    HT_TRY(list_matrices(plan, b, out.choices, diag));
    HT_TRY(find_fixed(plan, b, out.choices, diag));
    if (ht__budget_least_bytes(b) > b->limit || b->fixed > b->limit)
        return ht__budget_refuse(plan, b, ht__budget_least_bytes(b), diag);
    HT_TRY(find_base(plan, b, diag));
    if (plan->purpose == HT__RUN) HT_TRY(measure(plan, b, diag));
    plan->outputs[0].mix = b->mix;
    return HT_OK;
}
