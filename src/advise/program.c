#include "advise/program.h"

#include <stdio.h>
#include <strings.h>

enum { HALF = 2, BLOCK = 16, BATCH = 2048, SEQUENCES = 256, CHOOSING = 24 };
static const uint64_t transformers_fixed = (uint64_t)512 << 20, vllm_fixed = (uint64_t)1 << 30;

static struct ht__fit_need sum(struct ht__fit_need need)
{
    need.total = need.weights + need.cache + need.overhead;
    need.with_margin = need.total + need.total / 5;
    return need;
}

/* Bytes of the widest stage of a pass, in 16 bits. */
static uint64_t stage(const struct ht__fit_shape *s, uint64_t tokens)
{
    return tokens * ((s->ff > s->attention ? s->ff : s->attention) + 4 * s->n_embd) * HALF;
}

static struct ht__fit_need need_llama_cpp(const struct ht__fit_shape *shape, const struct ht__program_load *load,
                                          uint64_t ctx, const struct ht__codec *cache_type)
{
    return ht__fit_need(shape, load->weights, ctx, cache_type);
}

static struct ht__fit_need need_transformers(const struct ht__fit_shape *shape, const struct ht__program_load *load,
                                             uint64_t ctx, const struct ht__codec *cache_type)
{
    struct ht__fit_need need = {.ctx = ctx, .weights = load->weights};
    (void)cache_type;
    for (uint64_t i = 0; i < shape->n_layers; i++) {
        const struct ht__fit_layer *l = &shape->layers[i];
        uint64_t tokens = l->window && l->window < ctx ? l->window : ctx;
        need.cache += tokens * (l->unfolded ? l->unfolded : l->k + l->v) * HALF;
    }
    need.overhead = stage(shape, ctx) + 2 * shape->n_vocab * sizeof(float) + load->largest + transformers_fixed;
    return sum(need);
}

static uint64_t in_blocks(uint64_t tokens)
{
    return (tokens + BLOCK - 1) / BLOCK * BLOCK;
}

static struct ht__fit_need need_vllm(const struct ht__fit_shape *shape, const struct ht__program_load *load,
                                     uint64_t ctx, const struct ht__codec *cache_type)
{
    struct ht__fit_need need = {.ctx = ctx, .weights = load->weights};
    (void)cache_type;
    for (uint64_t i = 0; i < shape->n_layers; i++) {
        const struct ht__fit_layer *l = &shape->layers[i];
        uint64_t tokens = l->window && l->window + BATCH < ctx ? l->window + BATCH : ctx;
        need.cache += in_blocks(tokens) * (l->k + l->v) * HALF;
    }
    need.overhead = stage(shape, BATCH) + (uint64_t)SEQUENCES * CHOOSING * shape->n_vocab + vllm_fixed;
    return sum(need);
}

static const struct ht__program programs[] = {
    {.name = "llama.cpp", .about = "GGUF files", .splits = true, .need = need_llama_cpp},
    {.name = "transformers",
     .about = "Hugging Face folders, with PyTorch",
     .counted = "for transformers: cache in 16 bits, the whole prompt at once, and 512 MiB for Python, PyTorch and the "
                "card's context",
     .loads = HT__LOADED_BY_TRANSFORMERS,
     .need = need_transformers},
    {.name = "vLLM",
     .about = "Hugging Face folders, to serve many requests",
     .counted = "for vLLM: cache in 16 bits for one request of this context, a batch of 2048 tokens, logits of 256 "
                "sequences, and 1 GiB for PyTorch, the card's context and recorded graphs, by its defaults",
     .loads = HT__LOADED_BY_VLLM,
     .need = need_vllm},
};
enum { N_PROGRAMS = sizeof programs / sizeof programs[0] };

const struct ht__program *ht__program_at(size_t index)
{
    return index < N_PROGRAMS ? &programs[index] : NULL;
}

enum ht_err ht__program_by_name(const char *name, const struct ht__program **program, struct ht_diag *diag)
{
    char names[120] = "";
    size_t n = 0;
    for (size_t i = 0; i < N_PROGRAMS; i++) {
        if (strcasecmp(programs[i].name, name) == 0) {
            *program = &programs[i];
            return HT_OK;
        }
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s",
                              i == 0               ? ""
                              : i + 1 < N_PROGRAMS ? ", "
                                                   : " or ",
                              programs[i].name);
    }
    return ht__fail(diag, HT_ERR_USAGE, "for", -1, "expected %s, got \"%.40s\"", names, name);
}

bool ht__program_runs(const struct ht__program *program, const struct ht__quality *quality)
{
    struct ht__scheme_params params;
    if (!quality->scheme) return program->loads == 0;
    return program->loads && ht__scheme_parse(quality->type, &params, NULL) == HT_OK &&
           params.scheme->loaded_by & program->loads;
}
