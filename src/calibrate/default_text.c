#include "calibrate/default_text.h"

#include <zlib.h>

#define DOMAIN(id, weight, lines)                                                                                      \
    {                                                                                                                  \
#id, weight, lines, ht__text_##id, &ht__text_##id##_len, &ht__text_##id##_size                                 \
    }

const struct ht__default_domain ht__default_domains[HT__DEFAULT_DOMAINS] = {
    DOMAIN(prose, 30, false), DOMAIN(code, 20, false),      DOMAIN(mathematics, 15, false),
    DOMAIN(chat, 20, true),   DOMAIN(languages, 15, false),
};

static const struct ht__default_domain held_out = DOMAIN(held_out, 0, false);

enum ht_err ht__default_text(const struct ht__default_domain *domain, struct ht__buf *out, struct ht_diag *diag)
{
    uLongf n = *domain->size;
    void *text = ht__buf_grow(out, n);
    if (!text) return ht__fail_memory(diag, domain->name);
    if (uncompress(text, &n, domain->packed, *domain->n_packed) == Z_OK && n == *domain->size) return HT_OK;
    return ht__fail(diag, HT_ERR_INTERNAL, domain->name, -1, "the built-in text cannot be unpacked");
}

enum ht_err ht__default_held_out(struct ht__buf *out, struct ht_diag *diag)
{
    return ht__default_text(&held_out, out, diag);
}
