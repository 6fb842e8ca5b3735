/*
 * llama-quantize's rules for tensors that have no role: those that only GGUF files of architectures beyond archs.def
 * bring. The rules go by parts of names. What they say of tensors that have a role is in model/roles.def.
 */
#ifndef HT_RECIPE_FOREIGN_H
#define HT_RECIPE_FOREIGN_H

#include "model/slot.h"

enum ht__mix_class ht__foreign_class(const char *name);
/* Copied whatever the mix. */
bool ht__foreign_never(const char *name);

#endif
