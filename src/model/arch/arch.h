/*
 * An architecture: how a Hugging Face checkpoint of certain classes becomes GGUF metadata and tensors, and how it
 * computes.
 * Each is one unit in this folder and one row in archs.def.
 */
#ifndef HT_MODEL_ARCH_ARCH_H
#define HT_MODEL_ARCH_ARCH_H

#include "base/json.h"
#include "model/arch/compute.h"
#include "model/model.h"
#include "model/rows.h"
#include "schemes/packing.h"

struct ht__arch_build;

struct ht__name_rule;

/* A checkpoint's tensor that a name rule matched. */
struct ht__found {
    const struct ht__tensor *tensor;
    const struct ht__name_rule *rule;
    const struct ht__rows *rows; /* its weights, FP8 block scales applied */
    int64_t layer, expert;       /* the numbers in its name, or -1 */
    const char *suffix;          /* what `*` stood for: "weight", "bias" */
    const char *name;            /* the GGUF name */
};

typedef enum ht_err ht__arch_map_fn(struct ht__arch_build *b, const struct ht__found *found);

struct ht__undo;
/*
 * The way back of a map (undo.h): the rows of the checkpoint's tensor that a GGUF file's tensor `w`, the one called as the
 * rule's `to` says, was made of. *out stays NULL where it was made by another rule.
 */
typedef enum ht_err ht__arch_undo_fn(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out);

/*
 * from: the Hugging Face name; the first `#` is the layer, the second the expert, a final `*` weight or
 * bias. A leading `!`: every layer must have it (or the model, where there is no `#`). Without it, all
 * layers or none. Another row with the same `to` does as well.
 * to: the GGUF name, with the same `#` (the expert's is dropped) and `*`; NULL skips the tensor. Where
 * several tensors are made of one, the first of them.
 * map: what to do with it; NULL adds it as it is, or to the stack of its experts.
 * shape: the weight's, outermost first, in letters that the configuration gives numbers: D hidden size,
 * V vocabulary, F feed forward, H heads, K key-value heads, h head, E experts, f an expert's and s the
 * shared experts' feed forward, N shared experts; others in check.c. "Hh+2Kh,D" has two dimensions;
 * a leading `>`: rows to spare are allowed. A bias has one number for each of the weight's outputs.
 * when: the layers, or models, that have it: "experts", "dense", "untied" (the output), "always", or the
 * name of a configuration's value that must be true or positive, or "name=text"; `!` denies; all must hold.
 * bias: when the bias must be there, in the same words; NULL: in all layers or none.
 * native: the GGUF name that says what the tensor is for, where none of those that are made of it does; or NULL.
 * undo: the way back of a map of the architecture's own; without a map, and for those below, it is known (undo.c).
 */
struct ht__name_rule {
    const char *from, *to;
    ht__arch_map_fn *map;
    const char *shape, *when, *bias, *native;
    ht__arch_undo_fn *undo;
};

/* What a key of a GGUF file, without the architecture in front, is called in config.json; NULL: it has no place there. A
 * key that begins with `?` is a tensor's name: true where the file has it. */
struct ht__key_rule {
    const char *key, *name;
};

/* How a GGUF file becomes a folder again: its config.json. */
struct ht__arch_folder {
    const char *fixed; /* members that do not depend on the file, as a JSON object: class, type, activation */
    /* instead, where an architecture has several classes: that of the file */
    const char *(*fixed_of)(const struct ht__undo *u);
    const struct ht__key_rule
        *keys; /* before the common ones (undo_config.c), which they replace; ends with key == NULL */
    /* Members that are more than a key by another name; may be NULL. */
    enum ht_err (*more)(struct ht__undo *u);
    bool own_rope; /* the base of the rotation and its scaling are among them, or there is none */
};

/* A JSON object as it reads. */
#define HT__JSON(...) #__VA_ARGS__

struct ht__arch {
    const char *name;                       /* general.architecture */
    const struct ht__arch_compute *compute; /* NULL: it can be converted but not run */
    const char *classes;                    /* Hugging Face classes, separated by blanks */
    const struct ht__name_rule *rules;      /* ends with from == NULL */
    /* Checks the configuration and writes the arch's keys. */
    enum ht_err (*metadata)(struct ht__arch_build *b);
    /* Adds tensors that no checkpoint has (rope factors); may be NULL. They come first. */
    enum ht_err (*generate)(struct ht__arch_build *b);
    /* What the class supplies where config.json is silent: a JSON object, and in it one of what is different
     * for a class, under its name; may be NULL. */
    const char *defaults;
    /* Fills b's numbers where they are not the common ones, before tensors are mapped; may be NULL. */
    enum ht_err (*numbers)(struct ht__arch_build *b);
    bool drops_extra_layers;              /* layers past the last (prediction of several tokens) are left out */
    const struct ht__arch_folder *folder; /* NULL: there is no way back */
};

struct ht__stack; /* experts that are being gathered */

struct ht__arch_build {
    const struct ht__arch *arch;
    const struct ht__checkpoint *ck;
    struct ht__model *model;
    struct ht__arena *arena;                           /* the model's */
    struct ht__arena *tmp;                             /* while building */
    const struct ht__jnode *config;                    /* config.json, text_config merged over it */
    const struct ht__jnode *defaults, *class_defaults; /* where config.json is silent; may be NULL */
    const char *config_path;
    const struct ht__log *log;
    struct ht_diag *diag;
    /* numbers of the configuration, class defaults filled in */
    int64_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_ctx, vocab_size;
    int64_t n_experts, n_experts_used;
    double rope_theta;
    bool tied;
    bool bare;                         /* the class is of the decoder alone: no output, and names without "model." */
    int64_t sizes[128];                /* by the letter of ht__name_rule.shape */
    uint8_t *seen;                     /* by rule and layer: weight 1, bias 2 */
    struct ht__packing_source packing; /* .packing NULL: nothing is packed, as in GGUF files */
    const struct ht__packed_source *packed; /* of the tensor that is being mapped; NULL: it is not */
    const struct ht__rows *stack; /* set by a map: what it mapped are experts in one tensor, as rows of their inputs */
    struct ht__map stack_by_name;
    struct ht__stack *stacks;
    size_t n_stacks, cap_stacks;
};

/* By general.architecture, or NULL. */
const struct ht__arch *ht__arch_by_name(const char *name);

/* ---- configuration ---- */

/* The class's defaults, and b's numbers from them and the configuration. */
enum ht_err ht__arch_configure(struct ht__arch_build *b);

/* The value under the first of the blank-separated names that the configuration has, or its class. */
const struct ht__jnode *ht__arch_get(const struct ht__arch_build *b, const char *names);
/* A whole number under any of the blank-separated names; otherwise the default; < 0 means required. */
enum ht_err ht__arch_int(struct ht__arch_build *b, const char *names, int64_t otherwise, int64_t *out);
double ht__arch_num(const struct ht__arch_build *b, const char *names, double otherwise);
/* rope_scaling, or rope_parameters where it scales; NULL when the rotation is plain. */
const struct ht__jnode *ht__arch_rope_scaling(const struct ht__arch_build *b, const char **type);

/* Key "{arch}.<suffix>". */
void ht__arch_u32(struct ht__arch_build *b, const char *suffix, int64_t v);
void ht__arch_f32(struct ht__arch_build *b, const char *suffix, double v);
void ht__arch_bool(struct ht__arch_build *b, const char *suffix, bool v);
void ht__arch_str(struct ht__arch_build *b, const char *suffix, const char *v);

/* What most architectures write: sizes, heads, rotation and its scaling, norms, experts, general.file_type. */
enum ht_err ht__arch_common(struct ht__arch_build *b);
/* Sizes in the order of the letters: Context, Embedding, Blocks, Feed forward, Heads, Key-value heads. */
void ht__arch_sizes(struct ht__arch_build *b, const char *letters);
/* general.file_type is written here, after the keys so far. */
void ht__arch_file_type(struct ht__arch_build *b);
/* How many of a head's weights are rotated: `share` of `width`. A share outside 0 to 1 is refused. */
enum ht_err ht__arch_rotated(struct ht__arch_build *b, double share, int64_t width, int64_t *out);

/* ---- tensors ---- */

/* Adds an output tensor. ne[0] and the product of the others are those of rows; n_dims of them. */
enum ht_err ht__arch_add(struct ht__arch_build *b, const char *name, const struct ht__rows *rows,
                         const struct ht__codec *source, int n_dims, const int64_t *ne);
/* As found, with other rows of the same shape. */
enum ht_err ht__arch_add_found(struct ht__arch_build *b, const struct ht__found *found, const struct ht__rows *rows);
/* Gathers n parts of the same shape, f->expert being the part's number, into one tensor of n_dims. */
enum ht_err ht__arch_stack(struct ht__arch_build *b, const struct ht__found *f, int64_t n, int n_dims);
/* "blk.<layer>.<rest>" */
const char *ht__arch_name(struct ht__arch_build *b, int64_t layer, const char *rest);
enum ht_err ht__arch_shape_error(struct ht__arch_build *b, const struct ht__found *found, const char *expected);

/* Every tensor of the checkpoint through the rules, and the checks after them. rows: where their weights come from, one
 * for each; NULL: as they lie in the checkpoint's files. */
enum ht_err ht__arch_map_all(struct ht__arch_build *b, const struct ht__rows *const *rows);

/* Maps that several architectures share. */
ht__arch_map_fn ht__arch_permute_q;     /* half-split to interleaved rotation, n_heads */
ht__arch_map_fn ht__arch_permute_k;     /* the same, n_kv_heads */
ht__arch_map_fn ht__arch_transpose;     /* [in, out] to [out, in] */
ht__arch_map_fn ht__arch_plus_one;      /* norm weights stored as w - 1 */
ht__arch_map_fn ht__arch_fused_gate_up; /* [E, 2F, D] to ffn_gate_exps and ffn_up_exps */
ht__arch_map_fn ht__arch_experts;       /* [E, rows, cols] as it is */
/* Llama 3.1's scaling of the rotation: what the frequencies of n pairs are divided by. */
struct ht__llama3_rope {
    float factor, low, high, original, theta;
};
void ht__llama3_factors(const struct ht__llama3_rope *rope, int64_t n, float *out);
/* rope_freqs.weight where the configuration scales rotation as Llama 3.1 does. */
enum ht_err ht__arch_llama3_factors(struct ht__arch_build *b);
ht__arch_map_fn ht__arch_output; /* lm_head: dropped when the model is tied */

#define HT_ARCH(id) extern const struct ht__arch ht__arch_##id;
#include "model/arch/archs.def"
#undef HT_ARCH

#endif
