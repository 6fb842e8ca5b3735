#include "advise/gpus.h"
#include "base/nearest.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const struct ht__gpu gpus[] = {
#define HT_GPU(name_, gib, gb_s)                                                                                       \
    {.name = name_, .memory = (uint64_t)(gib) << 30, .bandwidth = (uint64_t)(gb_s)*1000000000u},
#include "advise/gpus.def"
#undef HT_GPU
};
enum { N_GPUS = sizeof gpus / sizeof gpus[0], MOST_NAME = 64 };

const struct ht__gpu *ht__gpu_at(size_t index)
{
    return index < N_GPUS ? &gpus[index] : NULL;
}

/* Words that say no more than the rest of a name does. */
static bool is_common(const char *word, size_t len)
{
    static const char *const words[] = {"nvidia", "geforce", "amd",      "radeon", "intel",    "apple", "rtx",
                                        "gtx",    "rx",      "graphics", "gpu",    "instinct", "tesla"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i]) == len && strncmp(words[i], word, len) == 0) return true;
    return false;
}

/* Letters and digits, in lower case; with `bare`, without the common words. A name too long becomes "". */
static void normalize(const char *name, bool bare, char out[MOST_NAME])
{
    size_t n = 0;
    char lower[MOST_NAME * 2];
    snprintf(lower, sizeof lower, "%s", name);
    for (char *p = lower; *p; p++)
        *p = (char)(isalnum((unsigned char)*p) || *p == '+' ? tolower((unsigned char)*p) : ' ');
    if (strlen(name) >= sizeof lower) lower[0] = '\0';
    for (const char *p = lower + strspn(lower, " "); *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " "), letters = strspn(p, "abcdefghijklmnopqrstuvwxyz");
        size_t skip =
            bare && is_common(p, letters) && (letters == len || isdigit((unsigned char)p[letters])) ? letters : 0;
        for (size_t i = skip; i < len && n + 1 < MOST_NAME; i++)
            out[n++] = p[i];
        p += len;
    }
    out[n] = '\0';
}

/* Equal names; failing that, equal names without the common words, if only one card has such. */
static const struct ht__gpu *find(const char *name)
{
    char wanted[MOST_NAME], bare[MOST_NAME], here[MOST_NAME];
    const struct ht__gpu *found = NULL;
    normalize(name, false, wanted);
    normalize(name, true, bare);
    for (size_t i = 0; i < N_GPUS; i++) {
        normalize(gpus[i].name, false, here);
        if (*wanted && strcmp(here, wanted) == 0) return &gpus[i];
    }
    for (size_t i = 0; i < N_GPUS && *bare; i++) {
        normalize(gpus[i].name, true, here);
        if (strcmp(here, bare) != 0) continue;
        if (found) return NULL;
        found = &gpus[i];
    }
    return found;
}

/* Names without the common words, as people write them. */
static const char *bare_at(void *ctx, size_t i)
{
    char(*bare)[MOST_NAME] = ctx;
    return i < N_GPUS ? bare[i] : NULL;
}

enum ht_err ht__gpu_by_name(const char *name, const struct ht__gpu **gpu, struct ht_diag *diag)
{
    char near[256] = "", bare[MOST_NAME], all[N_GPUS][MOST_NAME];
    size_t n = 0;
    if ((*gpu = find(name)) != NULL) return HT_OK;
    normalize(name, true, bare);
    for (size_t i = 0; i < N_GPUS; i++) {
        normalize(gpus[i].name, true, all[i]);
        if (!*bare || n == 4 || !strstr(all[i], bare)) continue;
        size_t used = strlen(near);
        snprintf(near + used, sizeof near - used, "%s%s", n++ ? ", " : "; did you mean ", gpus[i].name);
    }
    const char *nearest = n ? NULL : ht__nearest(bare, bare_at, all);
    for (size_t i = 0; nearest && i < N_GPUS; i++)
        if (nearest == all[i]) snprintf(near, sizeof near, "; did you mean %s", gpus[i].name);
    return ht__fail(diag, HT_ERR_USAGE, "gpu", -1, "there is no card \"%.80s\"%s%s (`halftone gpus` lists them)", name,
                    near, *near ? "?" : "");
}

/* Apple's system gives graphics two thirds of up to 32 GiB and three quarters of more; on other systems it is
 * set by hand, and their makers advise three quarters. */
uint64_t ht__gpu_share(const struct ht__gpu *gpu, uint64_t memory)
{
    if (gpu->memory) return gpu->memory;
    bool small = memory <= (uint64_t)32 << 30 && strncmp(gpu->name, "Apple", 5) == 0;
    return small ? memory / 3 * 2 : memory / 4 * 3;
}
