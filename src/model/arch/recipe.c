#include "model/arch/recipe.h"

#include <stddef.h>
#include <string.h>

static const struct ht__arch_recipe recipes[] = {
    {.arch = "llama", .window = HT__WINDOW_ALL, .normalized_experts = true},
    {.arch = "qwen2", .rope = HT__ROPE_HALVES},
    {.arch = "qwen2moe", .rope = HT__ROPE_HALVES},
    {.arch = "qwen3", .rope = HT__ROPE_HALVES},
    {.arch = "qwen3moe", .rope = HT__ROPE_HALVES, .normalized_experts = true},
    {.arch = "gemma", .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH, .scaled_embedding = true},
    {.arch = "gemma2", .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH, .scaled_embedding = true,
     .window = HT__WINDOW_EVEN, .wide_scale_layers = 46},
    {.arch = "gemma3", .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH, .scaled_embedding = true,
     .window = HT__WINDOW_FIVE_OF_SIX, .sliding_base = 10000, .wide_scale_layers = 62},
    {.arch = "phi2", .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH,
     .parallel = HT__PARALLEL_YES},
    {.arch = "phi3", .rope = HT__ROPE_HALVES, .window = HT__WINDOW_ALL},
    {.arch = "gpt2", .layer_norm = true, .rope = HT__ROPE_NONE, .act = HT__ACT_GELU_TANH},
    {.arch = "gptneox", .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU,
     .parallel = HT__PARALLEL_KEY},
    {.arch = "falcon", .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU,
     .parallel = HT__PARALLEL_YES},
    {.arch = "stablelm", .layer_norm = true, .rope = HT__ROPE_HALVES, .parallel = HT__PARALLEL_BY_NORM},
    {.arch = "starcoder2", .layer_norm = true, .rope = HT__ROPE_HALVES, .act = HT__ACT_GELU_TANH,
     .window = HT__WINDOW_ALL},
    {.arch = "olmo2", .rope = HT__ROPE_HALVES, .window = HT__WINDOW_LISTED, .sliding_unscaled = true},
    {.arch = "deepseek2"},
    {.arch = "gpt-oss", .rope = HT__ROPE_HALVES, .act = HT__ACT_SWIGLU_OAI, .window = HT__WINDOW_EVEN,
     .post_is_ffn_norm = true, .fine_ramp = true, .softmax_chosen = true},
    {.arch = "smollm3", .no_rope_every = 4},
    {.arch = "granite"},
    {.arch = "granitemoe", .softmax_chosen = true},
};

const struct ht__arch_recipe *ht__recipe_of(const char *arch)
{
    for (size_t i = 0; i < sizeof recipes / sizeof recipes[0]; i++)
        if (strcmp(recipes[i].arch, arch) == 0) return &recipes[i];
    return NULL;
}

const char *ht__recipe_name(int n)
{
    return n >= 0 && (size_t)n < sizeof recipes / sizeof recipes[0] ? recipes[n].arch : NULL;
}
