#include "eval/limit.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
#define HT_FIGURE(name, id) name,
    HT_FIGURES(HT_FIGURE)
#undef HT_FIGURE
};

const char *ht__figure_name(enum ht__figure figure)
{
    return names[figure];
}

/* Digits with at most one point and an exponent: not the hexadecimal, inf and nan
 * that strtod also accepts. */
static bool parse_number(const char *text, double *value)
{
    if (!*text || strspn(text, "0123456789.eE+-") != strlen(text)) return false;
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c) return false;
    char *end;
    *value = strtod_l(text, &end, c);
    freelocale(c);
    return *end == '\0' && end != text && isfinite(*value);
}

enum ht_err ht__limit_parse(const char *text, struct ht__limit *limit, struct ht_diag *diag)
{
    size_t len = strcspn(text, "<>");
    for (int i = 0; text[len] && i < HT__N_FIGURES; i++) {
        if (strlen(names[i]) != len || strncmp(names[i], text, len) != 0) continue;
        *limit = (struct ht__limit){.figure = (enum ht__figure)i, .above = text[len] == '>', .text = text};
        if (parse_number(text + len + 1, &limit->value)) return HT_OK;
    }
    return ht__fail(diag, HT_ERR_USAGE, "fail-if", -1,
                    "\"%s\" is not a limit; write kld>0.05, with one of kld, kld_median, kld_p99, "
                    "kld_max, top1, ppl_ratio, perplexity, retention, "
                    "then < or >, then a number",
                    text);
}

bool ht__limit_broken(const struct ht__limit *limit, double value)
{
    return limit->above ? !(value <= limit->value) : !(value >= limit->value);
}
