/*
 * What a model's name says: "meta-llama/Llama-2-7b-chat-hf" is of organization meta-llama, basename Llama-2,
 * size 7B, finetune chat-hf. The rules are those by which llama.cpp's converter fills general.basename,
 * general.size_label, general.finetune and general.version.
 */
#ifndef HT_MODEL_MODEL_NAME_H
#define HT_MODEL_MODEL_NAME_H

#include "base/arena.h"

#include <stdbool.h>
#include <stdint.h>

struct ht__model_name {
    const char *name;         /* without the organization, as it is written */
    const char *organization; /* this and the following: NULL when the name does not say */
    const char *basename, *finetune, *version, *size_label;
};

/* n_weights: how large the model is, so that "128K" of a context is not taken for its size; 0 when not
 * known. false when memory is out. */
bool ht__model_name_parse(struct ht__arena *arena, const char *id, uint64_t n_weights, struct ht__model_name *out);

/* "llama-2-7b-chat" to "Llama 2 7b Chat": words in small letters get a capital one, but for versions and
 * what begins with a digit. NULL when memory is out. */
const char *ht__model_title(struct ht__arena *arena, const char *name);

/* "7.2B", or "8x7.2B" where there are experts: at least two digits. one: weights of the model with one
 * expert. */
void ht__size_label(uint64_t one, uint64_t n_experts, char out[48]);

#endif
