#include "calibrate/settings.h"
#include "base/file.h"

#include <ctype.h>
#include <string.h>

enum { MOST_PARTS = 32, UNIT = 1000 };

static const char default_text[] = "default";

/* Thousandths of a number with at most three decimals, to its end; 0: none, or out of range. */
static uint32_t read_weight(const char *text, size_t len)
{
    uint32_t weight = 0, unit = UNIT;
    size_t i = 0;
    for (; i < len && i < 4 && isdigit((unsigned char)text[i]); i++)
        weight = weight * 10 + (uint32_t)(text[i] - '0') * UNIT;
    if (i > 0 && i < len && text[i] == '.')
        for (i++; i < len && unit > 1 && isdigit((unsigned char)text[i]); i++)
            weight += (uint32_t)(text[i] - '0') * (unit /= 10);
    return i == len && weight <= 1000 * UNIT ? weight : 0;
}

/* Is it a number by its look, so that it must be a weight and not the end of a file's name? */
static bool looks_like_weight(const char *text, size_t len)
{
    return len > 0 && strspn(text, "+-.0123456789") >= len;
}

static enum ht_err read_part(const char *option, const char *text, size_t len, struct ht__arena *arena,
                             struct ht__calibration_part *part, struct ht_diag *diag)
{
    size_t name = len;
    *part = (struct ht__calibration_part){.weight = UNIT};
    while (name > 0 && text[name - 1] != ':')
        name--;
    if (name > 0 && looks_like_weight(text + name, len - name)) {
        part->weight = read_weight(text + name, len - name);
        if (part->weight == 0)
            return ht__fail(
                diag, HT_ERR_USAGE, option, -1,
                "\"%.*s\" is not a weight: expected a number from 0.001 to 1000 with at most three decimals",
                (int)(len - name), text + name);
        len = name - 1;
    }
    if (len == 0)
        return ht__fail(diag, HT_ERR_USAGE, option, -1, "an empty name; expected FILE[:WEIGHT],FILE[:WEIGHT]…");
    if (len == strlen(default_text) && memcmp(text, default_text, len) == 0) return HT_OK;
    part->path = ht__arena_copy(arena, text, len);
    return part->path ? HT_OK : ht__fail_memory(diag, option);
}

/* A name that is a file's as it stands is not taken apart. */
static bool is_one_file(const char *text)
{
    return strpbrk(text, ",:") && ht__path_exists(text);
}

static enum ht_err refuse_twice(const char *option, const struct ht__calibration_part *parts, size_t n,
                                struct ht_diag *diag)
{
    const char *last = parts[n - 1].path;
    for (size_t i = 0; i + 1 < n; i++)
        if (last && parts[i].path ? strcmp(last, parts[i].path) == 0 : last == parts[i].path)
            return ht__fail(diag, HT_ERR_USAGE, option, -1, "%s is given twice", last ? last : default_text);
    return HT_OK;
}

enum ht_err ht__calibration_parse(const char *option, const char *text, struct ht__arena *arena,
                                  struct ht__calibration_settings *settings, struct ht_diag *diag)
{
    struct ht__calibration_part *parts = ht__arena_array(arena, MOST_PARTS, sizeof *parts);
    if (!parts) return ht__fail_memory(diag, option);
    settings->text = text;
    settings->parts = parts;
    settings->n_parts = 1;
    parts[0] = (struct ht__calibration_part){.weight = UNIT};
    if (!text) return HT_OK;
    if (is_one_file(text)) {
        parts[0].path = text;
        return HT_OK;
    }
    settings->n_parts = 0;
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ","), n = settings->n_parts++;
        if (n == MOST_PARTS)
            return ht__fail(diag, HT_ERR_USAGE, option, -1, "more than %d texts are given", MOST_PARTS);
        HT_TRY(read_part(option, p, len, arena, &parts[n], diag));
        HT_TRY(refuse_twice(option, parts, n + 1, diag));
        p += len;
        if (*p == '\0') return HT_OK;
    }
}
