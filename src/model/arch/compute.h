/*
 * How the layers of an architecture compute, beside what its tensors and metadata already say. The engine's one
 * decoder follows it; what a checkpoint simply has or lacks (biases, norms, experts, sinks) is no part of it.
 */
#ifndef HT_MODEL_ARCH_COMPUTE_H
#define HT_MODEL_ARCH_COMPUTE_H

#include <stdbool.h>

enum ht__act { HT__ACT_SILU, HT__ACT_GELU, HT__ACT_GELU_TANH, HT__ACT_SWIGLU_OAI };

struct ht__arch_compute {
    bool layer_norm;                                              /* with the mean taken off; otherwise RMS */
    enum { HT__ROPE_PAIRS, HT__ROPE_HALVES, HT__ROPE_NONE } rope; /* which weights of a head are rotated together */
    enum ht__act act;
    /* feed-forward from the block's input, beside attention: always, as the metadata say, or where it has no norm
     * of its own */
    enum { HT__PARALLEL_NO, HT__PARALLEL_YES, HT__PARALLEL_KEY, HT__PARALLEL_BY_NORM } parallel;
    bool scaled_embedding; /* times the square root of its length */
    bool post_is_ffn_norm; /* post_attention_norm comes before the feed-forward, not after attention */
    /* layers that see attention.sliding_window tokens only */
    enum { HT__WINDOW_NONE, HT__WINDOW_ALL, HT__WINDOW_EVEN, HT__WINDOW_FIVE_OF_SIX, HT__WINDOW_LISTED } window;
    /* sliding layers rotate by a base of their own (a key may give another), or at least without the context's scaling */
    float sliding_base;
    bool sliding_unscaled;
    bool fine_ramp;          /* YaRN's ramp runs between what is computed, not between whole pairs: no key says so */
    int no_rope_every;       /* every n-th layer does not rotate; 0: all do */
    int wide_scale_layers;   /* models of this many layers scale attention by embedding / heads (Gemma 27B) */
    bool normalized_experts; /* the chosen experts' shares are made to add to 1 where no key says */
    bool softmax_chosen;     /* the router's softmax runs over the chosen experts only */
};

/* By general.architecture; NULL for one that the engine does not run. */
const struct ht__arch_compute *ht__arch_compute_of(const char *arch);

#endif
