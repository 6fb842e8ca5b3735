/*
 * What a tensor is for (its role), where it belongs (its slot), and whose input it takes (its site). Every weight has a
 * slot; later stages ask it and never look into a name. slot.c is the only place that takes GGUF names apart.
 */
#ifndef HT_MODEL_SLOT_H
#define HT_MODEL_SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ht__role {
    HT__ROLE_OTHER, /* of no row: a tensor that only GGUF files of other architectures have */
#define HT_ROLE(id, gguf_name, place, shape, site, mix, class, fused, flags) HT__ROLE_##id,
#include "model/roles.def"
#undef HT_ROLE
    HT__N_ROLES
};

/* The activations that a weight is multiplied with. */
enum ht__site_kind {
    HT__SITE_NONE,             /* none */
    HT__SITE_ATTENTION,        /* what enters attention, after its norm */
    HT__SITE_QUERY_LATENT,     /* latent attention: the narrow factor of the queries, after its norm */
    HT__SITE_KV_LATENT,        /* the same of keys and values */
    HT__SITE_QUERY,            /* a head's query, the part that does not turn */
    HT__SITE_ATTENDED_LATENT,  /* what a head attended, still latent */
    HT__SITE_ATTENTION_OUT,    /* what was attended */
    HT__SITE_FEED_FORWARD,     /* what enters the feed-forward, after its norm */
    HT__SITE_FEED_FORWARD_OUT, /* between up and down */
    HT__SITE_EXPERTS,          /* the tokens that an expert is sent */
    HT__SITE_EXPERTS_OUT,      /* between its up and down */
    HT__SITE_SHARED_OUT,       /* the same of the shared experts */
    HT__SITE_OUTPUT            /* what the last norm gives */
};

/* How llama.cpp's named mixes treat a tensor. */
enum ht__mix_class {
    HT__MIX_OTHER,
    HT__MIX_OUTPUT,
    HT__MIX_EMBEDDING,
    HT__MIX_QKV,
    HT__MIX_KV_B,
    HT__MIX_V,
    HT__MIX_K,
    HT__MIX_Q,
    HT__MIX_O,
    HT__MIX_UP,
    HT__MIX_GATE,
    HT__MIX_DOWN
};

/* The parts of a model, as people speak of them. */
enum ht__role_class {
    HT__CLASS_NONE, /* not a matrix */
    HT__CLASS_EMBEDDINGS,
    HT__CLASS_OUTPUT,
    HT__CLASS_ATTENTION,
    HT__CLASS_FEED_FORWARD, /* of every token: no experts */
    HT__CLASS_EXPERTS,
    HT__CLASS_SHARED, /* experts that every token is sent to */
    HT__CLASS_ROUTER
};

/* Matrices of one layer that vLLM, or the newer models of transformers, make one of. */
enum ht__fused {
    HT__FUSED_ALONE,
    HT__FUSED_QKV,
    HT__FUSED_LATENT, /* latent attention: the narrow factors of queries and of keys and values */
    HT__FUSED_GATE_UP,
    HT__FUSED_SHARED, /* gate and up of shared experts */
    HT__FUSED_EXPERTS /* all matrices of all experts */
};

enum { HT__ROLE_KEEP_F32 = 1, HT__ROLE_NEVER = 2, HT__ROLE_EXPERTS = 4 };

struct ht__role_info {
    const char *name; /* in a GGUF file, without layer and suffix: "attn_q"; "" for HT__ROLE_OTHER */
    bool in_layer, matrix;
    enum ht__site_kind site;
    enum ht__mix_class mix;
    enum ht__role_class class;
    enum ht__fused fused;
    unsigned flags;
};

/* Of any role, HT__ROLE_OTHER too. */
const struct ht__role_info *ht__role_at(enum ht__role role);

struct ht__slot {
    enum ht__role role;
    int32_t layer;  /* -1: outside the layers */
    int32_t expert; /* -1: a stack of all experts, or no expert at all */
    bool bias;
};

/* No padding: its bytes can be a key. */
struct ht__site {
    int32_t layer;
    enum ht__site_kind kind;
    int32_t expert;
};
_Static_assert(sizeof(struct ht__site) == 12, "ht__site is a key by its bytes");

/*
 * The slot of a tensor by its name in a GGUF file: "blk.3.attn_q.weight". A name of no role, or with another suffix
 * than .weight and .bias, gives HT__ROLE_OTHER with the number of its layer, if it has one (INT32_MAX: a larger one).
 */
struct ht__slot ht__slot_of_name(const char *gguf_name);
/* Whose input the weight takes. kind is HT__SITE_NONE for vectors, biases and what has no role. */
struct ht__site ht__slot_site(struct ht__slot slot);
/* Are the two weights parts of what programs that run the model make one matrix of? So is a weight with itself. */
bool ht__slot_fused(struct ht__slot a, struct ht__slot b);
/* The weight, not the bias, of a role. */
bool ht__slot_is(struct ht__slot slot, enum ht__role role);
/* Matrices, or biases, of a layer's experts: of one, or a stack of all. */
bool ht__slot_of_experts(struct ht__slot slot);
/* The name of the same tensor in another layer. false: it is of no layer, or the name has no room. */
bool ht__name_in_layer(const char *gguf_name, int32_t layer, char *out, size_t size);

#endif
