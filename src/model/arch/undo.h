/*
 * From a GGUF file back to a checkpoint: the table of names read from right to left, the transforms undone, and a
 * configuration that says the same as the metadata.
 */
#ifndef HT_MODEL_ARCH_UNDO_H
#define HT_MODEL_ARCH_UNDO_H

#include "base/json_write.h"
#include "model/arch/arch.h"

/* A tensor of the checkpoint in the making. */
struct ht__undone {
    struct ht__tensor tensor;
    const struct ht__rows *rows;
    const struct ht__codec *blocks; /* as in struct ht__weight */
};

struct ht__undo {
    struct ht__arch_build *b; /* numbers, once the configuration is written; arenas, log and diag always */
    const struct ht__model *gguf;
    struct ht__map by_name;           /* of the file's tensors */
    bool *taken;                      /* by tensor of the file: some tensor of the checkpoint is made of it */
    struct ht__jw *config;            /* while it is written */
    const struct ht__name_rule *rule; /* whose tensor is being made, and of which layer, expert and suffix */
    int64_t layer, expert, n_experts; /* n_experts: how many the file's tensor holds */
    const char *suffix;
    int64_t dims[HT__MAX_DIMS]; /* its shape, outermost first */
    int n_dims;
    struct ht__undone *made;
    size_t n_made, cap_made;
};

/* ---- the file ---- */

/* "{arch}.<suffix>", or NULL. */
const struct ht__kv *ht__undo_kv(const struct ht__undo *u, const char *suffix);
/* A number under that key, or the default. */
double ht__undo_num(const struct ht__undo *u, const char *suffix, double otherwise);
/* A tensor by its name; NULL: the file has none. */
const struct ht__weight *ht__undo_find(const struct ht__undo *u, const char *name);
/* One of the layer that is being made, "ffn_up_exps.weight", which is accounted for by that. Refused where it is missing. */
enum ht_err ht__undo_take(struct ht__undo *u, const char *rest, const struct ht__weight **out);
/* Says why the file cannot become a folder; `where`: the tensor or key. */
enum ht_err ht__undo_refuse(const struct ht__undo *u, const char *where, const char *why);
/* A vector of at most `most` weights as floats; refused where it has more. */
enum ht_err ht__undo_floats(const struct ht__undo *u, const struct ht__weight *w, int64_t most, float **out);

/* ---- configuration ---- */

/* Writes config.json's members, in an object that is open. */
enum ht_err ht__undo_config(struct ht__undo *u);
/* A number with the digits that it needs as a float: 1e-05 rather than 9.999999747378752e-06. */
void ht__undo_put(struct ht__undo *u, const char *name, double value);
/* A whole number; one that no model has becomes 0, which shows when the conversion is carried out again. */
void ht__undo_put_int(struct ht__undo *u, const char *name, double value);
/* rope_theta, and rope_scaling where there is one: linear, yarn. */
enum ht_err ht__undo_rope(struct ht__undo *u);
/* mlp_only_layers: those without experts. */
void ht__undo_dense_layers(struct ht__undo *u);

/* Llama's own keys, and of those that share its biases. */
extern const struct ht__key_rule ht__llama_keys[];

/* ---- tensors ---- */

ht__arch_undo_fn ht__undo_same;
/* One of a stack: of experts, or of heads' norms. */
ht__arch_undo_fn ht__undo_part;
/* Rows that a permutation of the whole tensor brought together, or a bias's weights. */
const struct ht__rows *ht__undo_permute(const struct ht__undo *u, const struct ht__weight *w, ht__row_map_fn *map,
                                        const int64_t params[4]);
/* All tensors of the checkpoint, sorted by name. */
enum ht_err ht__undo_tensors(struct ht__undo *u);

#endif
