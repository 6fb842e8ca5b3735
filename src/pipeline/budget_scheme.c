/* Budgets of folders: which scheme each matrix gets, together with those that programs fuse with it. */
#include "pipeline/budget_parts.h"
#include "pipeline/folder.h"

#include <string.h>

static const struct {
    const char *base, *candidate;
} rows[] = {
#define HT_SCHEME_CANDIDATE(base_, candidate_) {.base = base_, .candidate = candidate_},
#include "recipe/scheme_candidates.def"
#undef HT_SCHEME_CANDIDATE
};
enum { N_ROWS = sizeof rows / sizeof rows[0], MOST_CANDIDATES = N_ROWS + 1 };

/* ---- candidates ---- */

/* Of the folder's own scheme bits and group are the candidate's, other options the folder's. */
static void inherit(const struct ht__scheme_params *base, struct ht__scheme_params *params)
{
    const struct ht__scheme_option *o = base->scheme->options;
    for (size_t i = 0; params->scheme == base->scheme && o && o[i].name; i++)
        if (strcmp(o[i].name, "bits") != 0 && strcmp(o[i].name, "group") != 0) params->option[i] = base->option[i];
}

static enum ht_err list_candidates(struct ht__plan *plan, struct ht__budget_plan *b, struct ht_diag *diag)
{
    const struct ht__scheme_params *base = plan->outputs[0].target->scheme;
    struct ht__scheme_params *all = ht__arena_array(&plan->arena, MOST_CANDIDATES, sizeof *all);
    if (!all) return ht__fail_memory(diag, "budget");
    for (size_t i = 0; i < N_ROWS; i++) {
        if (strcmp(rows[i].base, base->scheme->name) != 0) continue;
        HT_TRY(ht__scheme_parse(rows[i].candidate, &all[b->n_candidates], diag));
        inherit(base, &all[b->n_candidates]);
        if (!ht__scheme_apart(base, &all[b->n_candidates])) b->n_candidates++;
    }
    if (!b->n_candidates) all[b->n_candidates++] = *base;
    b->candidates = all;
    return HT_OK;
}

/* ---- matrices ---- */

static bool holds_all(const struct ht__plan *plan, const struct ht__budget_matrix *m,
                      const struct ht__scheme_params *params)
{
    for (size_t i = 0; i < m->n_members; i++)
        if (ht__native_unsuited(&plan->model->native[m->members[i].native], ht__folder_dtype(plan), params))
            return false;
    return true;
}

static uint64_t weights_of(const struct ht__plan *plan, const struct ht__budget_matrix *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < m->n_members; i++) {
        struct ht__matrix x = ht__native_matrix(&plan->model->native[m->members[i].native], ht__folder_dtype(plan));
        n += (uint64_t)x.n_out * (uint64_t)x.n_in;
    }
    return n;
}

static uint64_t bytes_of(const struct ht__plan *plan, const struct ht__budget_matrix *m,
                         const struct ht__scheme_params *params)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < m->n_members; i++) {
        const struct ht__weight *w = &plan->model->native[m->members[i].native];
        struct ht__matrix x = ht__native_matrix(w, ht__folder_dtype(plan));
        struct ht__part parts[HT__SCHEME_PARTS];
        int n = params ? params->scheme->parts(params, &x, parts) : 0;
        for (int k = 0; k < n; k++)
            if (parts[k].place != HT__PART_WORK) bytes += ht__part_bytes(&parts[k]);
        if (!params) bytes += (uint64_t)w->rows->n_rows * ht__codec_bytes(w->source, (uint64_t)w->rows->row_len);
    }
    return bytes;
}

static void add_option(const struct ht__plan *plan, struct ht__budget_matrix *m, const struct ht__scheme_params *params)
{
    m->schemes[m->n] = params;
    m->options[m->n].bytes = bytes_of(plan, m, params);
    m->bits[m->n] = params ? (double)m->options[m->n].bytes * 8 / (double)weights_of(plan, m) : 0;
    m->n++;
}

/* As in the source first: see ht__budget_solve_all. */
static enum ht_err list_options(struct ht__plan *plan, const struct ht__budget_plan *b, struct ht__budget_matrix *m,
                                struct ht_diag *diag)
{
    m->schemes = ht__arena_array(&plan->arena, MOST_CANDIDATES + 1, sizeof *m->schemes);
    m->options = ht__arena_array(&plan->arena, MOST_CANDIDATES + 1, sizeof *m->options);
    m->errors = ht__arena_array(&plan->arena, MOST_CANDIDATES + 1, sizeof *m->errors);
    m->rounded = ht__arena_array(&plan->arena, MOST_CANDIDATES + 1, sizeof *m->rounded);
    m->bits = ht__arena_array(&plan->arena, MOST_CANDIDATES + 1, sizeof *m->bits);
    if (!m->schemes || !m->options || !m->errors || !m->rounded || !m->bits) return ht__fail_memory(diag, "budget");
    add_option(plan, m, NULL);
    for (size_t i = 0; i < b->n_candidates; i++)
        if (holds_all(plan, m, &b->candidates[i])) add_option(plan, m, &b->candidates[i]);
    return HT_OK;
}

/* By native weight, the first of those that are fused with it and may be chosen for. */
static enum ht_err find_leaders(struct ht__plan *plan, const struct ht__scheme_choice *linears, uint32_t *leader,
                                struct ht_diag *diag)
{
    const struct ht__model *model = plan->model;
    uint32_t *fused, n_fused;
    HT_TRY(ht__native_groups(model, &plan->arena, &fused, &n_fused, diag));
    uint32_t *first = ht__arena_array(&plan->arena, (size_t)n_fused + 1, sizeof *first); /* from 1 */
    if (!first) return ht__fail_memory(diag, "budget");
    for (uint32_t i = 0; i < model->n_native; i++) {
        leader[i] = UINT32_MAX;
        if (!linears[i].scheme || linears[i].rule) continue;
        leader[i] = i;
        if (fused[i] == UINT32_MAX) continue;
        if (!first[fused[i]]) first[fused[i]] = i + 1;
        leader[i] = first[fused[i]] - 1;
    }
    return HT_OK;
}

static enum ht_err gather(struct ht__plan *plan, struct ht__budget_plan *b, const struct ht__plan_output *out,
                          struct ht_diag *diag)
{
    size_t n = plan->model->n_native;
    uint32_t *leader = ht__arena_array(&plan->arena, n + 1, sizeof *leader);
    uint32_t *items = ht__arena_array(&plan->arena, n + 1, sizeof *items);
    struct ht__budget_member *members = ht__arena_array(&plan->arena, n + 1, sizeof *members);
    b->matrices = ht__arena_array(&plan->arena, n + 1, sizeof *b->matrices);
    if (!leader || !items || !members || !b->matrices) return ht__fail_memory(diag, "budget");
    HT_TRY(find_leaders(plan, out->linears, leader, diag));
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct ht__weight *w = ht__item_in(plan, out, i);
        if (w) items[w->native] = (uint32_t)i;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (leader[i] != i) continue;
        struct ht__budget_matrix *m = &b->matrices[b->n];
        *m = (struct ht__budget_matrix){.slot = plan->model->native[i].slot, .members = members};
        for (uint32_t k = i; k < n; k++)
            if (leader[k] == i) members[m->n_members++] = (struct ht__budget_member){k, items[k]};
        members += m->n_members;
        HT_TRY(list_options(plan, b, m, diag));
        if (m->n > 1) b->n++; /* what no candidate suits stays as it is */
    }
    if (b->n) return HT_OK;
    return ht__fail(diag, HT_ERR_UNSUPPORTED, plan->settings->source.path, -1,
                    "no matrix is left that a budget could choose a scheme for");
}

static enum ht_err list_matrices(struct ht__plan *plan, struct ht__budget_plan *b, struct ht_diag *diag)
{
    struct ht__plan_output out = plan->outputs[0];
    const struct ht__target *t = out.target;
    struct ht__scheme_recipe recipe = {.base = t->scheme, .rules = t->rules, .n_rules = t->n_rules};
    out.linears = ht__arena_array(&plan->arena, plan->model->n_native + 1, sizeof *out.linears);
    if (!out.linears) return ht__fail_memory(diag, "budget");
    HT_TRY(ht__scheme_rules_apply(&recipe, plan->model, &plan->arena, NULL, out.linears, diag));
    return gather(plan, b, &out, diag);
}

/* ---- rules ---- */

/* "re:model\.layers\.0\.self_attn\.q_proj$=gptq:bits=3": of the first of them, which decides for all. */
static const char *rule_text(struct ht__plan *plan, const struct ht__budget_matrix *m, uint32_t option)
{
    const char *name = plan->model->native[m->members[0].native].name, *text = NULL;
    size_t len = strlen(name), end = strlen(".weight");
    char scheme[200] = "none";
    struct ht__buf buf;
    if (len > end && strcmp(name + len - end, ".weight") == 0) len -= end;
    if (m->schemes[option]) ht__scheme_text(m->schemes[option], scheme, sizeof scheme);
    ht__buf_init(&buf, plan->run.alloc);
    ht__buf_str(&buf, "re:");
    for (size_t i = 0; i < len; i++) {
        if (strchr(".^$*+?()[]{}|\\", name[i])) ht__buf_str(&buf, "\\");
        ht__buf_put(&buf, &name[i], 1);
    }
    ht__buf_printf(&buf, "$=%s", scheme);
    if (ht__buf_text(&buf)) text = ht__arena_str(&plan->arena, ht__buf_text(&buf));
    ht__buf_close(&buf);
    return text;
}

void ht__budget_close(struct ht__budget_plan *b)
{
    for (size_t i = 0; b && i < b->n_rules; i++)
        ht__scheme_rule_close(&b->rules[i]);
    if (b) b->n_rules = 0;
}

/* The output's target gets the choice as rules, behind those that were asked for. */
static enum ht_err make_rules(struct ht__plan *plan, struct ht__budget_plan *b, const uint32_t *chosen,
                              struct ht_diag *diag)
{
    const struct ht__target *asked = &plan->settings->targets[0];
    struct ht__target *t = ht__arena_new(&plan->arena, sizeof *t);
    const struct ht__scheme_rule **list = ht__arena_array(&plan->arena, asked->n_rules + b->n + 1, sizeof *list);
    ht__budget_close(b);
    b->rules = ht__arena_array(&plan->arena, b->n + 1, sizeof *b->rules);
    if (!t || !list || !b->rules) return ht__fail_memory(diag, "budget");
    *t = *asked;
    for (size_t i = 0; i < asked->n_rules; i++)
        list[i] = asked->rules[i];
    for (size_t i = 0; i < b->n; i++) {
        const struct ht__budget_matrix *m = &b->matrices[i];
        if (ht__scheme_same(m->schemes[chosen[i]], t->scheme)) continue;
        const char *text = rule_text(plan, m, chosen[i]);
        if (!text) return ht__fail_memory(diag, "budget");
        HT_TRY(ht__scheme_rule_parse(&b->rules[b->n_rules++], text, &plan->arena, diag));
        list[t->n_rules++] = &b->rules[b->n_rules - 1];
    }
    t->rules = list;
    plan->outputs[0].target = t;
    return HT_OK;
}

/* ---- sizes ---- */

/* Bytes of the choice's weight files, heads included. Its rules are the target's afterwards. */
static enum ht_err exact_size(struct ht__plan *plan, struct ht__budget_plan *b, const uint32_t *chosen, uint64_t *size,
                              struct ht_diag *diag)
{
    const struct ht__log *log = plan->run.log;
    HT_TRY(make_rules(plan, b, chosen, diag));
    struct ht__plan_output out = {.target = plan->outputs[0].target};
    plan->run.log = NULL;
    enum ht_err err = ht__plan_folder(plan, &out, diag);
    plan->run.log = log;
    *size = 0;
    for (uint32_t f = 0; f < out.n_files; f++) {
        *size += out.files[f].entries ? out.files[f].size : 0;
        ht__plan_file_close(&out.files[f]);
    }
    return err;
}

static void choose_least(const struct ht__budget_plan *b, uint32_t *chosen)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct ht__budget_matrix *m = &b->matrices[i];
        chosen[i] = 0;
        for (uint32_t k = 1; k < m->n; k++)
            if (m->options[k].bytes < m->options[chosen[i]].bytes) chosen[i] = k;
    }
}

static enum ht_err find_fixed(struct ht__plan *plan, struct ht__budget_plan *b, uint32_t *chosen, struct ht_diag *diag)
{
    uint64_t size;
    b->n_weights = 0;
    for (size_t i = 0; i < b->n; i++)
        b->n_weights += weights_of(plan, &b->matrices[i]);
    if (plan->settings->budget.kind == HT__BUDGET_BITS) return HT_OK;
    b->n_weights = plan->n_weights;
    HT_TRY(exact_size(plan, b, chosen, &size, diag));
    b->fixed = size - ht__budget_sum_of(b, chosen).bytes;
    return HT_OK;
}

/* ---- one scheme of all ---- */

bool ht__budget_uniform(struct ht__plan *plan, const struct ht__budget_plan *b, size_t at, uint32_t *chosen,
                        const char **name, uint64_t *size, bool *fits)
{
    char text[200];
    if (at >= b->n_candidates) return false;
    *fits = true;
    for (size_t i = 0; i < b->n; i++) {
        const struct ht__budget_matrix *m = &b->matrices[i];
        uint32_t k = 1;
        while (k < m->n && m->schemes[k] != &b->candidates[at])
            k++;
        *fits = *fits && k < m->n;
        chosen[i] = k < m->n ? k : 0;
    }
    *size = ht__budget_sum_of(b, chosen).bytes;
    *name = ht__arena_str(&plan->arena, ht__scheme_text(&b->candidates[at], text, sizeof text));
    *fits = *fits && *name && *size <= b->limit;
    return true;
}

/* Where nothing is measured: the largest of them, or the least that is possible. */
static void choose_unmeasured(struct ht__plan *plan, const struct ht__budget_plan *b, uint32_t *one, uint32_t *chosen)
{
    const char *name;
    uint64_t size, most = 0;
    bool fits;
    for (size_t i = 0; ht__budget_uniform(plan, b, i, one, &name, &size, &fits); i++) {
        if (!fits || size <= most) continue;
        most = size;
        memcpy(chosen, one, b->n * sizeof *chosen);
    }
}

/* ---- the choice ---- */

/* The engine does not compute with it: what it costs is not known. */
static void settle_unseen(const struct ht__plan *plan, struct ht__budget_plan *b)
{
    for (size_t i = 0; i < b->n; i++) {
        struct ht__budget_matrix *m = &b->matrices[i];
        if (!m->unseen) continue;
        ht__log_printf(plan->run.log, HT__LOG_WARNING, "%s: this program does not compute with it; it stays as it is",
                       plan->model->native[m->members[0].native].name);
        m->n = 1;
    }
}

/* A head can be longer than that of the least choice, by which it was counted: then so much less is left. */
static enum ht_err solve_exactly(struct ht__plan *plan, struct ht__budget_plan *b, struct ht__sense *sense,
                                 uint32_t *chosen, struct ht_diag *diag)
{
    for (;;) {
        if (ht__budget_least_bytes(b) > b->limit) return ht__budget_refuse(plan, b, ht__budget_least_bytes(b), diag);
        HT_TRY(ht__budget_solve_all(plan, b, chosen, diag));
        HT_TRY(ht__budget_check(plan, b, sense, chosen, diag));
        b->size = ht__budget_sum_of(b, chosen).bytes;
        if (plan->settings->budget.kind == HT__BUDGET_BITS) return make_rules(plan, b, chosen, diag);
        uint64_t counted = b->size;
        HT_TRY(exact_size(plan, b, chosen, &b->size, diag));
        if (b->size <= b->limit) return HT_OK;
        b->fixed += b->size - counted;
    }
}

static enum ht_err measure(struct ht__plan *plan, struct ht__budget_plan *b, uint32_t *chosen, struct ht_diag *diag)
{
    struct ht__sense sense = {.plan = NULL};
    ht__log_printf(plan->run.log, HT__LOG_INFO, "%s: measuring what each matrix costs the model, of %zu",
                   plan->settings->budget.text, b->n);
    enum ht_err err = ht__budget_measure(plan, b, &sense, diag);
    if (err == HT_OK) settle_unseen(plan, b);
    if (err == HT_OK) err = solve_exactly(plan, b, &sense, chosen, diag);
    ht__sense_close(&sense);
    b->measured = err == HT_OK;
    return err;
}

static enum ht_err check(const struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__target *t = plan->outputs[0].target;
    if (plan->model->from_gguf)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, plan->settings->source.path, -1,
                        "a budget chooses schemes by a folder's own matrices: give the folder, not a GGUF file");
    if (ht__scheme_flags(t->scheme) & (HT__SCHEME_NEEDS_AMAX | HT__SCHEME_STACKS))
        return ht__fail(
            diag, HT_ERR_UNSUPPORTED, "type", -1,
            "%s: scales of the whole matrix, or of all experts, are not measured piece by piece; there is no "
            "budget for it",
            t->type);
    return HT_OK;
}

enum ht_err ht__budget_choose_schemes(struct ht__plan *plan, struct ht__budget_plan *b, struct ht_diag *diag)
{
    b->mix = NULL;
    HT_TRY(check(plan, diag));
    HT_TRY(list_candidates(plan, b, diag));
    HT_TRY(list_matrices(plan, b, diag));
    uint32_t *chosen = ht__arena_array(&plan->arena, b->n, sizeof *chosen);
    uint32_t *one = ht__arena_array(&plan->arena, b->n, sizeof *one);
    if (!chosen || !one) return ht__fail_memory(diag, "budget");
    choose_least(b, chosen);
    HT_TRY(find_fixed(plan, b, chosen, diag));
    HT_TRY(ht__budget_limit(plan, b, diag));
    if (ht__budget_least_bytes(b) > b->limit) return ht__budget_refuse(plan, b, ht__budget_least_bytes(b), diag);
    if (plan->purpose == HT__RUN) return measure(plan, b, chosen, diag);
    choose_unmeasured(plan, b, one, chosen);
    return make_rules(plan, b, chosen, diag);
}
