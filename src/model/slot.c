#include "model/slot.h"

#include <stdio.h>
#include <string.h>

static const struct ht__role_info roles[HT__N_ROLES] = {
    [HT__ROLE_OTHER] = {.name = ""},
#define PLACE_LAYER true
#define PLACE_MODEL false
#define SHAPE_MATRIX true
#define SHAPE_VECTOR false
#define HT_ROLE(id, gguf_name, place, shape, site_, mix_, class_, fused_, flags_)                                      \
    [HT__ROLE_##id] = {.name = gguf_name,                                                                              \
                       .in_layer = PLACE_##place,                                                                      \
                       .matrix = SHAPE_##shape,                                                                        \
                       .site = HT__SITE_##site_,                                                                       \
                       .mix = HT__MIX_##mix_,                                                                          \
                       .class = HT__CLASS_##class_,                                                                    \
                       .fused = HT__FUSED_##fused_,                                                                    \
                       .flags = flags_},
#include "model/roles.def"
#undef HT_ROLE
};

const struct ht__role_info *ht__role_at(enum ht__role role)
{
    return &roles[role];
}

/* Past "blk.N"; the name itself where it does not begin so. Numbers beyond int32_t count as the largest. */
static const char *after_layer(const char *name, int32_t *layer)
{
    *layer = -1;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return name;
    int64_t n = 0;
    const char *p = name + 4;
    for (; *p >= '0' && *p <= '9'; p++)
        n = n * 10 + (*p - '0') < INT32_MAX ? n * 10 + (*p - '0') : INT32_MAX;
    *layer = (int32_t)n;
    return p;
}

static enum ht__role role_of(const char *base, size_t len, bool in_layer)
{
    for (int i = HT__ROLE_OTHER + 1; i < HT__N_ROLES; i++)
        if (roles[i].in_layer == in_layer && strlen(roles[i].name) == len && memcmp(roles[i].name, base, len) == 0)
            return (enum ht__role)i;
    return HT__ROLE_OTHER;
}

struct ht__slot ht__slot_of_name(const char *name)
{
    struct ht__slot slot = {.role = HT__ROLE_OTHER, .expert = -1};
    const char *base = after_layer(name, &slot.layer), *dot = strrchr(base, '.');
    if (!dot) return slot;
    slot.bias = strcmp(dot, ".bias") == 0;
    if (slot.layer >= 0 && *base++ != '.') return slot; /* "blk.3x" */
    if (dot >= base && (slot.bias || strcmp(dot, ".weight") == 0))
        slot.role = role_of(base, (size_t)(dot - base), slot.layer >= 0);
    return slot;
}

struct ht__site ht__slot_site(struct ht__slot slot)
{
    enum ht__site_kind kind = slot.bias ? HT__SITE_NONE : roles[slot.role].site;
    return (struct ht__site){slot.layer, kind, slot.expert};
}

bool ht__slot_fused(struct ht__slot a, struct ht__slot b)
{
    if (a.layer != b.layer || a.bias || b.bias) return false;
    if (a.role == b.role && a.expert == b.expert) return true;
    return roles[a.role].fused != HT__FUSED_ALONE && roles[a.role].fused == roles[b.role].fused;
}

bool ht__slot_is(struct ht__slot slot, enum ht__role role)
{
    return slot.role == role && !slot.bias;
}

bool ht__slot_of_experts(struct ht__slot slot)
{
    return roles[slot.role].flags & HT__ROLE_EXPERTS;
}

bool ht__name_in_layer(const char *name, int32_t layer, char *out, size_t size)
{
    int32_t old;
    const char *rest = after_layer(name, &old);
    if (old < 0) return false;
    int n = snprintf(out, size, "blk.%d%s", (int)layer, rest);
    return n > 0 && (size_t)n < size;
}
