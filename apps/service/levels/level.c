#include "service/levels/level.h"

#include <stddef.h>
#include <strings.h>

static const struct row {
    enum level level;
    const char *text, *type;
    double least, most; /* bits a weight, of what most weights are stored as */
} rows[] = {{LEVEL_OFF, "off", "BF16", 15, 65}, {LEVEL_8, "8", "Q8_0", 7.5, 9.5}, {LEVEL_4, "4", "Q4_K_M", 3.9, 5.05}};

const enum level level_order[N_LEVELS] = {LEVEL_OFF, LEVEL_8, LEVEL_4};

const char *level_text(enum level level)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (rows[i].level == level) return rows[i].text;
    return level == LEVEL_UNSET ? "unset" : "other";
}

enum level level_named(const char *text)
{
    for (size_t i = 0; text && i < N_LEVELS; i++)
        if (strcasecmp(rows[i].text, text) == 0) return rows[i].level;
    return text && strcasecmp(text, "16") == 0 ? LEVEL_OFF : LEVEL_UNSET;
}

enum level level_of_bits(double bits)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (bits >= rows[i].least && bits <= rows[i].most) return rows[i].level;
    return LEVEL_OTHER;
}

const char *level_type(enum level level)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (rows[i].level == level) return rows[i].type;
    return "";
}
