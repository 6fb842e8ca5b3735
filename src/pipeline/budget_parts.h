/* The inside of budgets, for its files. */
#ifndef HT_PIPELINE_BUDGET_PARTS_H
#define HT_PIPELINE_BUDGET_PARTS_H

#include "pipeline/budget.h"
#include "pipeline/sensitivity.h"

/* budget_cost.c: fills cost of every option, and b->way, n_tokens. */
HT_MUST_CHECK enum ht_err ht__budget_measure(struct ht__plan *plan, struct ht__budget_plan *b, struct ht__sense *sense,
                                             struct ht_diag *diag);

/* budget_method.c: is what is written made by a method that leaves less of errors than rounding does? At the layer at hand,
 * how much: b->gains. Before anything of the layer is replaced. */
bool ht__budget_has_method(const struct ht__plan *plan);
HT_MUST_CHECK enum ht_err ht__budget_sample(struct ht__plan *plan, struct ht__budget_plan *b, struct ht__sense *sense,
                                            struct ht_diag *diag);
/* What the method leaves of the type's error in matrices of the role, as a share. */
double ht__budget_left(const struct ht__budget_plan *b, enum ht__role role, const struct ht__codec *type);

/* budget_scheme.c: the budget of a folder. */
HT_MUST_CHECK enum ht_err ht__budget_choose_schemes(struct ht__plan *plan, struct ht__budget_plan *b,
                                                    struct ht_diag *diag);
/* budget_round.c: puts what the scheme makes of the matrix in the place of the layer's weights, until ht__sense_clear. */
HT_MUST_CHECK enum ht_err ht__budget_put_scheme(struct ht__sense *sense, const struct ht__budget_matrix *matrix,
                                                size_t option, struct ht_diag *diag);
/* The same of all matrices of a layer. */
HT_MUST_CHECK enum ht_err ht__budget_put_layer(struct ht__sense *sense, const struct ht__budget_plan *b,
                                               const uint32_t *chosen, int32_t layer, struct ht_diag *diag);
/* Fills errors of every option. */
HT_MUST_CHECK enum ht_err ht__budget_scheme_errors(struct ht__sense *sense, struct ht__budget_matrix *matrix,
                                                   struct ht_diag *diag);
/* One scheme of all matrices, by its number; false: past the last. *fits is false where some matrix cannot have it, or its
 * size (as the limit counts) is above the limit. */
bool ht__budget_uniform(struct ht__plan *plan, const struct ht__budget_plan *b, size_t at, uint32_t *chosen,
                        const char **name, uint64_t *size, bool *fits);

/* budget_check.c: what was solved against what is near it, and against the named mix. */
HT_MUST_CHECK enum ht_err ht__budget_check(struct ht__plan *plan, struct ht__budget_plan *b, struct ht__sense *sense,
                                           uint32_t *chosen, struct ht_diag *diag);

/* budget.c: fills b->limit. */
HT_MUST_CHECK enum ht_err ht__budget_limit(struct ht__plan *plan, struct ht__budget_plan *b, struct ht_diag *diag);
/* The least that any choice has, with what is fixed; and the refusal of less. */
uint64_t ht__budget_least_bytes(const struct ht__budget_plan *b);
enum ht_err ht__budget_refuse(const struct ht__plan *plan, const struct ht__budget_plan *b, uint64_t least,
                              struct ht_diag *diag);
/* By costs: the best choice, and the curve. */
HT_MUST_CHECK enum ht_err ht__budget_solve_all(struct ht__plan *plan, struct ht__budget_plan *b, uint32_t *chosen,
                                               struct ht_diag *diag);
/* Bytes of the matrix in the type, as the budget counts them. */
uint64_t ht__budget_bytes(const struct ht__plan *plan, const struct ht__weight *weight, const struct ht__codec *type);
/* The type's number among all candidates. */
size_t ht__budget_candidate(const struct ht__codec *type);
/* The index of the type among the matrix's; SIZE_MAX: it is none of them. */
size_t ht__budget_index(const struct ht__budget_matrix *matrix, const struct ht__codec *type);
/* By weight, the types of a choice. */
void ht__budget_types(const struct ht__budget_plan *b, const uint32_t *chosen, const struct ht__codec **types);
/* What the named mix chooses of each matrix, and its size; false: it cannot be made of this model, or has other types. */
bool ht__budget_named(struct ht__plan *plan, const struct ht__budget_plan *b, const struct ht__mix *mix,
                      uint32_t *chosen, uint64_t *size);
struct ht__budget_sum ht__budget_sum_of(const struct ht__budget_plan *b, const uint32_t *chosen);
/* Cost of the choice if it is rounded: the sum's own where there is no method. */
double ht__budget_rounded(const struct ht__budget_plan *b, const uint32_t *chosen);

#endif
