#include "recipe/quality.h"

#include <string.h>

static const struct ht__quality ladder[] = {
#define HT_QUALITY(mix_, divergence_, same_, importance_)                                                              \
    {.type = mix_, .divergence = divergence_, .same = same_, .importance = importance_},
#define HT_SCHEME_QUALITY(type_, divergence_, same_)                                                                   \
    {.type = type_, .scheme = true, .divergence = divergence_, .same = same_},
#include "recipe/quality.def"
#undef HT_QUALITY
#undef HT_SCHEME_QUALITY
};

const struct ht__quality *ht__quality_at(size_t index)
{
    return index < sizeof ladder / sizeof ladder[0] ? &ladder[index] : NULL;
}

static const struct ht__quality *find(bool scheme, const char *type)
{
    for (size_t i = 0; i < sizeof ladder / sizeof ladder[0]; i++)
        if (ladder[i].scheme == scheme && strcmp(ladder[i].type, type) == 0) return &ladder[i];
    return NULL;
}

const struct ht__quality *ht__quality_of(const struct ht__mix *mix)
{
    return find(false, mix->name);
}

const struct ht__quality *ht__quality_of_scheme(const struct ht__scheme_params *params)
{
    char text[200];
    return find(true, ht__scheme_text(params, text, sizeof text));
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
