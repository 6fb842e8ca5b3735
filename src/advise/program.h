/*
 * Programs that run what is made, and what memory each needs beside the weights (tests/parity/check_fit.py compares the
 * first with what it prints; tests/parity/check_fit_folders.py the second with the tensors that it holds):
 *
 *   llama.cpp     as fit.h says: the cache in any of its types, and buffers of one batch
 *   transformers  keys and values of every token of the context, in 16 bits (in a layer with a window, of that many
 *                 tokens; latent attention unfolded: keys and values of every head). The whole prompt at once, in 16 bits:
 *                 3 x hidden or queries, keys, values and results, + 4 x embedding. A row of logits in floats, twice. The
 *                 largest matrix once more as floats of 16 bits, for what is unpacked to be multiplied. 512 MiB for
 *                 Python, PyTorch and the card's context
 *   vLLM          keys and values in blocks of 16 tokens, in 16 bits (with a window: it and a batch; latent attention as it
 *                 is). A batch of 2048 tokens, in 16 bits, of the same widths. Logits of 256 sequences and what choosing
 *                 from them takes: 24 bytes each. 1 GiB for Python, PyTorch, the card's context and recorded graphs
 *
 * The figures of vLLM follow its defaults (max_num_batched_tokens, max_num_seqs); they were not measured.
 */
#ifndef HT_ADVISE_PROGRAM_H
#define HT_ADVISE_PROGRAM_H

#include "advise/fit.h"
#include "recipe/quality.h"

/* What an output holds, in bytes. */
struct ht__program_load {
    uint64_t weights; /* as the program holds them */
    uint64_t largest; /* of one matrix as floats of 16 bits, of those that a scheme packs; 0: none */
};

struct ht__program {
    const char *name, *about;
    const char *counted; /* how its memory is counted, in a sentence; NULL: as llama.cpp's own messages do */
    unsigned loads;      /* of schemes: HT__LOADED_BY_…; 0: it runs GGUF files */
    /* Layers can lie on a card and the others beside it; the token embedding does anyway. */
    bool splits;
    struct ht__fit_need (*need)(const struct ht__fit_shape *shape, const struct ht__program_load *load, uint64_t ctx,
                                const struct ht__codec *cache_type);
};

/* By index; the first is the one that is meant where none is named. NULL past the end. */
const struct ht__program *ht__program_at(size_t index);
/* By name, whatever the case. HT_ERR_USAGE: it is none of them. */
HT_MUST_CHECK enum ht_err ht__program_by_name(const char *name, const struct ht__program **program,
                                              struct ht_diag *diag);
/* Does it run what this was measured of? */
bool ht__program_runs(const struct ht__program *program, const struct ht__quality *quality);

#endif
