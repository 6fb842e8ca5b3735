#include "recipe/ladder.h"

#include <string.h>
#include <strings.h>

static const struct ht__preset presets[] = {
#define HT_PRESET(name_, levels_, about_) {.name = name_, .levels = levels_, .about = about_},
#include "recipe/presets.def"
#undef HT_PRESET
};

const struct ht__preset *ht__preset_at(size_t index)
{
    return index < sizeof presets / sizeof presets[0] ? &presets[index] : NULL;
}

const struct ht__preset *ht__preset_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++)
        if (strcasecmp(presets[i].name, name) == 0) return &presets[i];
    return NULL;
}

/* All levels lie in one folder, whose configuration must be able to say so. */
static enum ht_err check_mixture(const struct ht__ladder *ladder, const char *text, struct ht_diag *diag)
{
    const struct ht__scheme_params *first = ladder->levels[0], *last = ladder->levels[ladder->n - 1];
    if (!first) return ht__fail(diag, HT_ERR_USAGE, "type", -1, "\"%s\" begins with none", text);
    const char *why = last ? ht__scheme_apart(first, last) : NULL;
    if (!why) return HT_OK;
    return ht__fail(diag, HT_ERR_USAGE, "type", -1,
                    "\"%s\" is not possible in one folder: %s. The levels of -t %s (%s) can share one", text, why,
                    presets[0].name, presets[0].levels);
}

static enum ht_err parse_level(const char *text, size_t len, struct ht__ladder *ladder, struct ht__arena *arena,
                               struct ht_diag *diag)
{
    char *one = ht__arena_copy(arena, text, len);
    struct ht__scheme_params *params = ht__arena_new(arena, sizeof *params);
    if (!one || !params) return ht__fail_memory(diag, "type");
    if (ladder->n == HT__MOST_LEVELS)
        return ht__fail(diag, HT_ERR_USAGE, "type", -1, "more than %d levels", HT__MOST_LEVELS);
    if (ladder->n && !ladder->levels[ladder->n - 1])
        return ht__fail(diag, HT_ERR_USAGE, "type", -1, "no level can come after none");
    ladder->levels[ladder->n++] = strcmp(one, "none") == 0 ? NULL : params;
    if (!ladder->levels[ladder->n - 1]) return HT_OK;
    enum ht_err err = ht__scheme_parse(one, params, diag);
    if (err != HT_ERR_NOT_FOUND) return err;
    const char *nearest = ht__scheme_nearest(one);
    return ht__fail(diag, HT_ERR_USAGE, "type", -1, "there is no scheme \"%.80s\"%s%s%s (`halftone types` lists them)",
                    one, nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

enum ht_err ht__ladder_parse(const char *text, struct ht__ladder *ladder, struct ht__arena *arena, struct ht_diag *diag)
{
    const struct ht__preset *preset = ht__preset_by_name(text);
    *ladder = (struct ht__ladder){.n = 0};
    if (!preset && !strchr(text, '>')) return HT_ERR_NOT_FOUND;
    for (const char *p = preset ? preset->levels : text;; p++) {
        size_t len = strcspn(p, ">");
        HT_TRY(parse_level(p, len, ladder, arena, diag));
        HT_TRY(check_mixture(ladder, text, diag));
        p += len;
        if (*p == '\0') return HT_OK;
    }
}
