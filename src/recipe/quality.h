/* What mixes and schemes lose, where it has been measured. */
#ifndef HT_RECIPE_QUALITY_H
#define HT_RECIPE_QUALITY_H

#include "base/json_write.h"
#include "recipe/recipe.h"
#include "schemes/scheme.h"

struct ht__quality {
    const char *type; /* a mix, or a scheme as ht__scheme_text gives it: "gptq:bits=3" */
    bool scheme;
    double divergence, same; /* nats a token; share of tokens whose likeliest successor is the same */
    bool importance;         /* it was made with */
};
/* By index, best first; NULL past the end. */
const struct ht__quality *ht__quality_at(size_t index);
/* NULL for a mix that was not measured. */
const struct ht__quality *ht__quality_of(const struct ht__mix *mix);
const struct ht__quality *ht__quality_of_scheme(const struct ht__scheme_params *params);
/* What to expect of the mix, in words: its line in mixes.def without the bits, which differ between models. */
const char *ht__quality_hint(const struct ht__mix *mix);
/* As the member "measured". */
void ht__quality_put(struct ht__jw *w, const struct ht__quality *quality);

#endif
