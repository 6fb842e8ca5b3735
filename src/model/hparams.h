/* The numbers of a model that its computation needs, from its metadata. */
#ifndef HT_MODEL_HPARAMS_H
#define HT_MODEL_HPARAMS_H

#include "model/arch/compute.h"
#include "model/model.h"

enum { HT__MOST_LAYERS = 1024 };

struct ht__hparams {
    const struct ht__arch_compute *compute;
    int n_layers, n_embd, n_heads, n_kv_heads, n_vocab, n_ctx_train;
    int key_len, value_len; /* of a head, as they are cached */
    float eps;
    float embed_scale, residual_scale, logit_scale; /* factors; 1: none */
    float attn_scale;
    float attn_cap, final_cap; /* 0: none */
    bool parallel;             /* PARALLEL_YES, or PARALLEL_KEY and the key says so */
    int window;                /* tokens a sliding layer sees; 0: none */
    bool slides[HT__MOST_LAYERS];

    int n_rot;                                      /* weights of a head that turn */
    float rope_base, rope_base_sliding, rope_scale; /* positions are multiplied by the scale */
    bool yarn, sliding_unscaled;
    float yarn_original, yarn_fast, yarn_slow, rope_factor; /* the factor is of cosine and sine */
    float original_ctx;                                     /* longer contexts take the long factors; 0: none */

    bool latent; /* multi-head latent attention: one latent of kv_rank and a turned part for all heads */
    int kv_rank, nope_len, mla_value_len;

    int n_experts, n_used, n_groups, n_groups_used;
    bool sigmoid_router, normalize_experts;
    float expert_scale;
};

HT_MUST_CHECK enum ht_err ht__hparams_read(const struct ht__model *model, const char *where,
                                           struct ht__hparams *hparams, struct ht_diag *diag);

#endif
