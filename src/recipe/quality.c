#include "recipe/quality.h"

#include <string.h>

static const struct ht__quality ladder[] = {
#define HT_QUALITY(mix_, divergence_, same_, importance_)                                                              \
    {.mix = mix_, .divergence = divergence_, .same = same_, .importance = importance_},
#include "recipe/quality.def"
#undef HT_QUALITY
};

const struct ht__quality *ht__quality_at(size_t index)
{
    return index < sizeof ladder / sizeof ladder[0] ? &ladder[index] : NULL;
}

const struct ht__quality *ht__quality_of(const struct ht__mix *mix)
{
    for (size_t i = 0; i < sizeof ladder / sizeof ladder[0]; i++)
        if (strcmp(ladder[i].mix, mix->name) == 0) return &ladder[i];
    return NULL;
}

const char *ht__quality_hint(const struct ht__mix *mix)
{
    const char *about = mix->about, *comma = strchr(about, ',');
    bool bits = *about >= '0' && *about <= '9';
    return bits && comma ? comma + 2 : bits ? "" : about;
}

void ht__quality_put(struct ht__jw *w, const struct ht__quality *quality)
{
    enum { DIGITS = 6 };
    ht__jw_object(w, "measured");
    ht__jw_digits(w, "divergence", quality->divergence, DIGITS);
    ht__jw_digits(w, "same_top_token", quality->same, DIGITS);
    ht__jw_end(w);
}
