/*
 * Which Linear of a folder is stored by which scheme. A rule is "WHERE=SCHEME" or "WHERE=none"; the first that fits a
 * matrix decides. WHERE is one or several of these, joined by `+` (all of them must hold):
 *
 *   attention, feed-forward, experts, shared-experts, output   a part of the model (feed-forward includes experts)
 *   attn_v, ffn_down …                                         a role of model/roles.def
 *   first:N, last:N, layers:A-B, layers:A                      layers, counted from 0
 *   re:PATTERN                                                 modules whose name the pattern matches from its beginning
 *
 * Without a rule every Linear of the layers has the folder's own scheme, and the output stays as it is. Embeddings and
 * routers are never stored by a scheme: programs load only Linears so, and route in floats.
 *
 * Matrices that programs fuse (model/slot.h) always end alike: the rule that comes first among all of them decides for
 * all, and where one does not suit its scheme all stay as they are.
 */
#ifndef HT_RECIPE_SCHEME_RULES_H
#define HT_RECIPE_SCHEME_RULES_H

#include "base/log.h"
#include "model/model.h"
#include "recipe/ladder.h"
#include "schemes/scheme.h"

enum { HT__RULE_TERMS = 4 };

enum ht__rule_term_kind {
    HT__TERM_ROLES,
    HT__TERM_LAYERS,
    HT__TERM_LAST, /* layers, counted from the end */
    HT__TERM_PATTERN,
    HT__TERM_SKIP /* a name in a list of modules that stay as they are, as the folder's readers take it */
};

struct ht__rule_term {
    enum ht__rule_term_kind kind;
    uint64_t roles;   /* a bit for each enum ht__role */
    int32_t from, to; /* layers */
    const char *name; /* HT__TERM_SKIP */
    void *pattern;
};

struct ht__scheme_rule {
    const char *text;                       /* as it was given, for reports */
    const struct ht__scheme_params *only;   /* for folders of this scheme alone, or of */
    const struct ht__preset *preset;        /* this ladder; both NULL: for all */
    const struct ht__scheme_params *scheme; /* NULL: what it fits stays as it is */
    struct ht__rule_term terms[HT__RULE_TERMS];
    size_t n_terms;
};

/* "WHERE=SCHEME", or "TYPE/WHERE=SCHEME" for folders of one type alone. To be closed even where this fails. */
HT_MUST_CHECK enum ht_err ht__scheme_rule_parse(struct ht__scheme_rule *rule, const char *text, struct ht__arena *arena,
                                                struct ht_diag *diag);
/*
 * A module that stays as it is, as the readers of such a folder take its name: "re:PATTERN" (compressed-tensors) and
 * "-:PATTERN" (GPTQ's dynamic) everywhere; any other name equals a module's (compressed-tensors), or is its end or a
 * pattern for its beginning up to a dot (transformers: modules_to_not_convert, llm_int8_skip_modules).
 */
HT_MUST_CHECK enum ht_err ht__scheme_rule_skip(struct ht__scheme_rule *rule, const char *name, struct ht__arena *arena,
                                               struct ht_diag *diag);
void ht__scheme_rule_close(struct ht__scheme_rule *rule);
/* Is the rule for folders of this type, with that scheme? */
bool ht__scheme_rule_is_for(const struct ht__scheme_rule *rule, const struct ht__scheme_params *base, const char *type);

/* What each Linear becomes. */
struct ht__scheme_choice {
    const struct ht__scheme_params *scheme; /* NULL: it stays as it is */
    const struct ht__scheme_rule *rule;     /* that decided; NULL: none did */
    const struct ht__weight *partner;       /* which is fused with it, and which the rule fits; NULL: it fits itself */
    const char *level;                      /* of a ladder: why an earlier level was not taken; NULL: it is the first */
    const char *unsuited;                   /* why the scheme that it should have cannot hold it; NULL: there is none */
};

struct ht__scheme_recipe {
    const struct ht__scheme_params *base;       /* where no rule fits */
    const struct ht__scheme_rule *const *rules; /* the first that fits decides */
    size_t n_rules;
};

/* By the rules alone: choices[i] belongs to model->native[i]. Rules that fit nothing are warned of. */
HT_MUST_CHECK enum ht_err ht__scheme_rules_apply(const struct ht__scheme_recipe *recipe, const struct ht__model *model,
                                                 struct ht__arena *arena, const struct ht__log *log,
                                                 struct ht__scheme_choice *choices, struct ht_diag *diag);
/* Takes schemes away from matrices that they cannot hold, and from their partners. `dtype` is that of weights which are
 * not floats in the source. */
HT_MUST_CHECK enum ht_err ht__scheme_rules_settle(const struct ht__model *model, const struct ht__codec *dtype,
                                                  struct ht__scheme_choice *choices, struct ht__arena *arena,
                                                  struct ht_diag *diag);

/* A matrix of the native view, as schemes see it. */
struct ht__matrix ht__native_matrix(const struct ht__weight *weight, const struct ht__codec *dtype);
/* Why the scheme cannot hold it; NULL: it can. */
const char *ht__native_unsuited(const struct ht__weight *weight, const struct ht__codec *dtype,
                                const struct ht__scheme_params *params);

/* A number for each group of fused matrices: group[i] belongs to model->native[i], UINT32_MAX where it is alone. The
 * numbers are below *n_groups. */
HT_MUST_CHECK enum ht_err ht__native_groups(const struct ht__model *model, struct ht__arena *arena, uint32_t **group,
                                            uint32_t *n_groups, struct ht_diag *diag);

#endif
