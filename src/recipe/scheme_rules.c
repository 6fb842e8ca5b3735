/* From rules to what each Linear becomes. */
#include "recipe/scheme_rules.h"
#include "base/text.h"
#include "recipe/pattern.h"
#include "schemes/compressed_tensors.h"

#include <string.h>

/* ---- which rule fits ---- */

/* A module, as rules see it. */
struct module {
    const struct ht__model *model;
    struct ht__slot slot;
    const char *name;
    size_t len;
    bool whole_names; /* lists of modules that stay as they are hold whole names */
};

static bool is_named(const struct ht__rule_term *term, const struct module *m)
{
    size_t len = strlen(term->name);
    if (m->whole_names) return len == m->len && memcmp(term->name, m->name, len) == 0;
    return len <= m->len && memcmp(term->name, m->name + m->len - len, len) == 0;
}

static enum ht_err fits_term(const struct ht__rule_term *term, const struct module *m, bool *yes, struct ht_diag *diag)
{
    int32_t layer = m->slot.layer;
    *yes = false;
    switch (term->kind) {
    case HT__TERM_ROLES: *yes = term->roles >> m->slot.role & 1; break;
    case HT__TERM_LAYERS: *yes = layer >= term->from && layer <= term->to; break;
    case HT__TERM_LAST: *yes = layer >= 0 && (int64_t)layer >= (int64_t)m->model->n_layers - term->from; break;
    case HT__TERM_SKIP:
        *yes = is_named(term, m);
        if (*yes || m->whole_names) break;
        return ht__pattern_match(term->pattern, "skip-modules", m->name, m->len, yes, diag);
    case HT__TERM_PATTERN: return ht__pattern_match(term->pattern, "rule", m->name, m->len, yes, diag);
    }
    return HT_OK;
}

/* The first rule that fits; n_rules: none does. */
static enum ht_err find_rule(const struct ht__scheme_recipe *recipe, const struct module *m, uint32_t *rule,
                             struct ht_diag *diag)
{
    for (*rule = 0; *rule < recipe->n_rules; ++*rule) {
        const struct ht__scheme_rule *r = recipe->rules[*rule];
        bool yes = true;
        for (size_t i = 0; yes && i < r->n_terms; i++)
            HT_TRY(fits_term(&r->terms[i], m, &yes, diag));
        if (yes) return HT_OK;
    }
    return HT_OK;
}

/* What rules may give a scheme to. */
static bool is_candidate(const struct ht__weight *w)
{
    enum ht__role_class class = ht__role_at(w->slot.role)->class;
    return w->stack || (w->linear && class != HT__CLASS_EMBEDDINGS && class != HT__CLASS_ROUTER);
}

/* All experts of a layer in one tensor, which some scheme can pack as such. */
static bool is_packable_stack(const struct ht__weight *w)
{
    return w->stack && w->stack->n_stacked > 0;
}

/* Experts of a layer in one tensor: where no scheme packs them, they are listed among what stays as it is. */
static bool is_stack(const struct ht__weight *w)
{
    return ht__slot_of_experts(w->slot) && !w->slot.bias && !w->linear && w->n_dims == 3;
}

/* ---- fused matrices ---- */

enum { N_FUSED = HT__FUSED_EXPERTS + 1 };

enum ht_err ht__native_groups(const struct ht__model *model, struct ht__arena *arena, uint32_t **group,
                              uint32_t *n_groups, struct ht_diag *diag)
{
    int32_t last = -1;
    *group = ht__arena_array(arena, model->n_native + 1, sizeof **group);
    if (!*group) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < model->n_native; i++) {
        struct ht__slot slot = model->native[i].slot;
        enum ht__fused fused = ht__role_at(slot.role)->fused;
        bool in =
            (model->native[i].linear || model->native[i].stack) && slot.layer >= 0 && slot.layer < INT32_MAX / N_FUSED;
        (*group)[i] = in && fused != HT__FUSED_ALONE ? (uint32_t)slot.layer * N_FUSED + (uint32_t)fused : UINT32_MAX;
        if (in && slot.layer > last) last = slot.layer;
    }
    *n_groups = (uint32_t)(last + 1) * N_FUSED;
    return HT_OK;
}

/* ---- the choice ---- */

static enum ht_err apply_each(const struct ht__scheme_recipe *recipe, const struct ht__model *model, uint32_t *rule,
                              struct ht_diag *diag)
{
    bool whole_names = ht__ct_holds(recipe->base);
    for (size_t i = 0; i < model->n_native; i++) {
        const struct ht__weight *w = &model->native[i];
        size_t len = strlen(w->name), end = ht__ends_with(w->name, ".weight") ? strlen(".weight") : 0;
        struct module m = {model, w->slot, w->name, len - end, whole_names};
        rule[i] = (uint32_t)recipe->n_rules;
        if (is_candidate(w)) HT_TRY(find_rule(recipe, &m, &rule[i], diag));
    }
    return HT_OK;
}

static void choose(const struct ht__scheme_recipe *recipe, const struct ht__weight *w, uint32_t rule,
                   const struct ht__weight *from, struct ht__scheme_choice *choice)
{
    bool stacks = ht__scheme_flags(recipe->base) & HT__SCHEME_STACKS;
    bool usual = stacks ? is_packable_stack(w) : is_candidate(w) || is_stack(w);
    *choice = (struct ht__scheme_choice){.scheme = usual && w->slot.layer >= 0 ? recipe->base : NULL};
    if (!is_candidate(w) || rule >= recipe->n_rules) return;
    choice->rule = recipe->rules[rule];
    choice->scheme = choice->rule->scheme;
    choice->partner = from == w ? NULL : from;
}

enum ht_err ht__scheme_rules_apply(const struct ht__scheme_recipe *recipe, const struct ht__model *model,
                                   struct ht__arena *arena, const struct ht__log *log,
                                   struct ht__scheme_choice *choices, struct ht_diag *diag)
{
    uint32_t *group, n_groups, *rule = ht__arena_array(arena, model->n_native + 1, sizeof *rule);
    bool *used = ht__arena_array(arena, recipe->n_rules + 1, sizeof *used);
    HT_TRY(ht__native_groups(model, arena, &group, &n_groups, diag));
    uint32_t *first = ht__arena_array(arena, (size_t)n_groups + 1, sizeof *first); /* member by group, from 1 */
    if (!rule || !used || !first) return ht__fail_memory(diag, "plan");
    HT_TRY(apply_each(recipe, model, rule, diag));
    for (size_t i = 0; i < model->n_native; i++) {
        uint32_t g = group[i];
        used[rule[i]] = true;
        if (g == UINT32_MAX) continue;
        if (!first[g] || rule[i] < rule[first[g] - 1]) first[g] = (uint32_t)i + 1;
    }
    for (size_t i = 0; i < model->n_native; i++) {
        size_t from = group[i] == UINT32_MAX || rule[first[group[i]] - 1] == rule[i] ? i : first[group[i]] - 1;
        choose(recipe, &model->native[i], rule[from], &model->native[from], &choices[i]);
    }
    for (size_t i = 0; i < recipe->n_rules; i++)
        if (!used[i]) ht__log_printf(log, HT__LOG_WARNING, "%s: fits no Linear of this model", recipe->rules[i]->text);
    return HT_OK;
}

/* ---- what does not suit ---- */

static bool is_float(const struct ht__codec *type)
{
    return type == &ht__codec_f32 || type == &ht__codec_f16 || type == &ht__codec_bf16;
}

struct ht__matrix ht__native_matrix(const struct ht__weight *w, const struct ht__codec *dtype)
{
    bool own = is_float(w->source) && !w->packed; /* what packed weights are read as is not what the model has */
    const struct ht__weight *as = w->stack ? w->stack : w;
    return (struct ht__matrix){
        .n_out = as->ne[1], .n_in = as->ne[0], .dtype = own ? w->source : dtype, .n_experts = as->n_stacked};
}

const char *ht__native_unsuited(const struct ht__weight *w, const struct ht__codec *dtype,
                                const struct ht__scheme_params *params)
{
    struct ht__matrix m = ht__native_matrix(w, dtype);
    bool stacks = ht__scheme_flags(params) & HT__SCHEME_STACKS;
    if (is_packable_stack(w) && !stacks)
        return "the experts of a layer lie in one tensor, which mxfp4:config=gpt-oss alone can pack";
    if (!w->stack && is_stack(w)) return "the experts of a layer lie in one tensor, which can only stay as it is";
    const char *why = params->scheme->unsuited ? params->scheme->unsuited(params, &m) : NULL;
    bool no_experts = ht__scheme_flags(params) & HT__SCHEME_NO_EXPERTS;
    if (no_experts && ht__slot_of_experts(w->slot))
        return "transformers keeps all experts of a layer in one tensor, and loads none that bitsandbytes packed";
    if (w->stack && !w->stack->n_stacked && !(ht__scheme_flags(params) & HT__SCHEME_CONV1D))
        return "the model's code keeps it turned round, as a Conv1D, which programs that load this scheme do not replace";
    return why || is_packable_stack(w) || ht__ends_with(w->name, ".weight") ? why : "its name does not end in .weight";
}

enum ht_err ht__scheme_rules_settle(const struct ht__model *model, const struct ht__codec *dtype,
                                    struct ht__scheme_choice *choices, struct ht__arena *arena, struct ht_diag *diag)
{
    uint32_t *group, n_groups;
    HT_TRY(ht__native_groups(model, arena, &group, &n_groups, diag));
    const struct ht__weight **bad = ht__arena_array(arena, (size_t)n_groups + 1, sizeof *bad);
    if (!bad) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < model->n_native; i++) {
        struct ht__scheme_choice *c = &choices[i];
        const struct ht__weight *w = &model->native[i];
        if (!c->scheme || !(c->unsuited = ht__native_unsuited(w, dtype, c->scheme))) continue;
        c->scheme = NULL;
        if (group[i] != UINT32_MAX && !bad[group[i]]) bad[group[i]] = w;
    }
    for (size_t i = 0; i < model->n_native; i++) {
        const struct ht__weight *partner = group[i] == UINT32_MAX ? NULL : bad[group[i]];
        if (!partner || !choices[i].scheme) continue;
        choices[i].scheme = NULL;
        choices[i].unsuited = ht__arena_printf(arena, "programs fuse it with %s, which stays as it is", partner->name);
        if (!choices[i].unsuited) return ht__fail_memory(diag, "plan");
    }
    return HT_OK;
}
