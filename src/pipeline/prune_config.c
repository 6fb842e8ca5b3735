/*
 * config.json of a folder without some of its layers. Members that speak of layers are of five kinds:
 *
 *   how many there are                     the new number
 *   a list with an element for each        loses those of the layers that went
 *   a list of layers' numbers              has the new numbers
 *   how many of the first are different    less those of them that went
 *   each n-th is different                 stays true only where no layer that stays changes its kind: refused otherwise
 *
 * The last kind is also said by the architecture alone, where config.json lists nothing.
 */
#include "pipeline/prune.h"

#include "model/arch/compute.h"

#include <stdio.h>
#include <string.h>

static const char *const counts[] = {"num_hidden_layers", "n_layer", "num_layers", "n_layers"};
static const char *const lists[] = {"layer_types",       "mlp_layer_types",     "no_rope_layers",
                                    "layers_block_type", "num_key_value_heads", "sliding_window",
                                    "moe_layer_freq",    "num_attention_heads", "intermediate_size"};
static const char *const numbers[] = {"mlp_only_layers", "moe_layers", "full_attn_idxs"};
static const char *const firsts[] = {"first_k_dense_replace", "max_window_layers"};
/* A member, and the list that says the same of each layer, which decides where it is there; NULL: none does. */
static const char *const periods[][2] = {{"decoder_sparse_step", NULL},
                                         {"sliding_window_pattern", "layer_types"},
                                         {"_sliding_window_pattern", "layer_types"},
                                         {"full_attention_interval", "layer_types"},
                                         {"no_rope_layer_interval", "no_rope_layers"},
                                         {"interleave_moe_layer_step", "moe_layers"}};
/* Lists that are of anything but layers. */
static const char *const others[] = {"architectures", "languages"};

struct job {
    const struct ht__model *model;
    const struct ht__pruned *p;
    const char *path;
    struct ht_diag *diag;
};

static bool is_in(const char *key, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, names[i]) == 0) return true;
    return false;
}
#define IS_IN(key, names) is_in(key, names, sizeof(names) / sizeof(names)[0])

static void set_integer(struct ht__jnode *node, int64_t value)
{
    node->is_int = true;
    node->integer = value;
    node->number = (double)value;
    node->text = NULL;
}

static void shorten(struct ht__jnode *list, const struct ht__pruned *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->n; i++)
        if (!p->gone[i]) list->children[kept++] = list->children[i];
    list->n = kept;
}

static void renumber(struct ht__jnode *list, const struct ht__pruned *p)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        struct ht__jnode *at = &list->children[i];
        bool counted = at->type == HT__JSON_NUMBER && at->is_int && at->integer >= 0 && at->integer < p->n;
        if (counted && p->gone[at->integer]) continue;
        if (counted) set_integer(at, p->number[at->integer]);
        list->children[kept++] = *at;
    }
    list->n = kept;
}

static int64_t left_of_first(const struct ht__pruned *p, int64_t first)
{
    int64_t left = first;
    for (int64_t i = 0; i < first && i < p->n; i++)
        left -= p->gone[i];
    return left;
}

/* The first layer that stays and becomes, by its place, what it was not; p->n: none. */
static uint32_t changed(const struct ht__pruned *p, int64_t period)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (!p->gone[i] && ((i + 1) % period == 0) != ((p->number[i] + 1) % period == 0)) return i;
    return p->n;
}

static enum ht_err check_period(const struct job *job, const char *key, int64_t period)
{
    uint32_t i = period > 1 ? changed(job->p, period) : job->p->n;
    if (i == job->p->n) return HT_OK;
    return ht__fail(job->diag, HT_ERR_UNSUPPORTED, job->path, -1,
                    "%s: each layer's kind follows from its number, %lld by %lld, and without these layers, layer %u "
                    "becomes layer %u and another kind: leave out %lld neighbours, or make a GGUF file",
                    key, (long long)period, (long long)period, i, job->p->number[i], (long long)period);
}

static enum ht_err change(const struct job *job, const struct ht__jnode *object, const char *key,
                          struct ht__jnode *node)
{
    const struct ht__pruned *p = job->p;
    bool list = node->type == HT__JSON_ARRAY, integer = node->type == HT__JSON_NUMBER && node->is_int;
    if (integer && IS_IN(key, counts) && node->integer == p->n) set_integer(node, p->n - p->n_gone);
    if (integer && IS_IN(key, firsts)) set_integer(node, left_of_first(p, node->integer));
    for (size_t i = 0; integer && i < sizeof periods / sizeof periods[0]; i++)
        if (strcmp(key, periods[i][0]) == 0 && !(periods[i][1] && ht__jget(object, periods[i][1])))
            HT_TRY(check_period(job, key, node->integer));
    if (list && IS_IN(key, numbers)) {
        renumber(node, p);
    } else if (list && IS_IN(key, lists) && node->n == p->n) {
        shorten(node, p);
    } else if (list && IS_IN(key, lists)) {
        return ht__fail(job->diag, HT_ERR_UNSUPPORTED, job->path, -1, "%s has %zu elements for %u layers", key, node->n,
                        p->n);
    } else if (list && node->n == p->n && p->n > 4 && !strstr(key, "token") && !IS_IN(key, others)) {
        return ht__fail(job->diag, HT_ERR_UNSUPPORTED, job->path, -1,
                        "%s has as many elements as there are layers, and it is not known whether it is about them: "
                        "layers cannot be left out of this model's folder",
                        key);
    }
    return HT_OK;
}

/* What the architecture says where config.json lists nothing. */
static enum ht_err check_architecture(const struct job *job, const struct ht__jnode *object)
{
    const struct ht__arch_compute *compute = ht__arch_compute_of(job->model->arch);
    int64_t period = 0;
    char key[160];
    uint64_t window = 0;
    snprintf(key, sizeof key, "%s.attention.sliding_window", job->model->arch);
    bool slides = ht__kv_get_u64(&job->model->kvs, key, &window) && window;
    /* the engine and llama.cpp go by the place of a layer even where layer_types says it */
    if (compute && slides && compute->window == HT__WINDOW_EVEN) period = 2;
    if (compute && slides && compute->window == HT__WINDOW_FIVE_OF_SIX) period = 6;
    if (compute && slides && compute->window == HT__WINDOW_LISTED && !ht__jget(object, "layer_types")) period = 4;
    if (strcmp(job->model->arch, "smollm3") == 0 && !ht__jget(object, "no_rope_layers")) period = 4;
    return check_period(job, job->model->arch, period);
}

static bool counts_layers(const struct ht__jnode *object)
{
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (ht__jget(object, counts[i])) return true;
    return false;
}

enum ht_err ht__prune_config(struct ht__jnode *root, const struct ht__model *model, const struct ht__pruned *pruned,
                             const char *path, struct ht_diag *diag)
{
    const struct job job = {model, pruned, path, diag};
    struct ht__jnode *object = root;
    for (size_t i = 0; i < root->n; i++)
        if (strcmp(root->keys[i], "text_config") == 0 && counts_layers(&root->children[i])) object = &root->children[i];
    if (!counts_layers(object))
        return ht__fail(diag, HT_ERR_UNSUPPORTED, path, -1,
                        "it does not say how many layers there are: they cannot be left out of this model's folder");
    HT_TRY(check_architecture(&job, object));
    for (size_t i = 0; i < object->n; i++)
        HT_TRY(change(&job, object, object->keys[i], &object->children[i]));
    return HT_OK;
}
