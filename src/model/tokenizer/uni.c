#include "model/tokenizer/uni.h"
#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

enum { LAST_BLOCK = 0x1100, MAX_BLOCKS = 1024 };

static unsigned of_category(utf8proc_category_t category)
{
    switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT: return HT__UNI_UPPER | HT__UNI_WORD;
    case UTF8PROC_CATEGORY_LL: return HT__UNI_LOWER | HT__UNI_WORD;
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return HT__UNI_CASELESS | HT__UNI_WORD;
    case UTF8PROC_CATEGORY_MN: return HT__UNI_MARK | HT__UNI_NONSPACING | HT__UNI_WORD;
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return HT__UNI_MARK | HT__UNI_WORD;
    case UTF8PROC_CATEGORY_ND: return HT__UNI_NUMBER | HT__UNI_WORD;
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return HT__UNI_NUMBER;
    case UTF8PROC_CATEGORY_PC: return HT__UNI_PUNCT | HT__UNI_WORD;
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return HT__UNI_PUNCT;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return HT__UNI_SPACE;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN: return HT__UNI_CONTROL;
    default: return 0;
    }
}

/* Does composing change the character by itself? (Singletons and what composition excludes.) */
static bool is_unstable(utf8proc_int32_t code)
{
    utf8proc_int32_t out[8];
    int last = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(code, out, 8, UTF8PROC_COMPOSE | UTF8PROC_STABLE, &last);
    if (n < 1 || n > 8) return true;
    if (n > 1) n = utf8proc_normalize_utf32(out, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    return n != 1 || out[0] != code;
}

/* Characters that join the one before them when composed: those with a combining class, and the
 * few that have none (vowel signs, and the jamo that are no initials). */
static bool joins(utf8proc_int32_t code, const utf8proc_property_t *p)
{
    if (p->combining_class != 0) return true;
    if (code >= 0x1161 && code <= 0x11c2) return true;
    return p->category == UTF8PROC_CATEGORY_MC || p->category == UTF8PROC_CATEGORY_MN;
}

static unsigned flags_of(uint32_t code)
{
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)code);
    unsigned flags = of_category((utf8proc_category_t)p->category);
    bool hangul = code >= 0xac00 && code <= 0xd7a3;
    if ((code >= 9 && code <= 13) || code == 0x85) flags |= HT__UNI_SPACE;
    if (code < 0xc0) return flags;
    if (joins((utf8proc_int32_t)code, p)) flags |= HT__UNI_MOVES;
    if (!hangul && p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0 && is_unstable((utf8proc_int32_t)code))
        flags |= HT__UNI_MOVES;
    return flags;
}

bool ht__uni_open(struct ht__uni *uni, const struct ht__alloc *alloc)
{
    uint16_t block[256];
    size_t used = 0, room = 0;
    uni->flags = NULL;
    for (uint32_t b = 0; b < LAST_BLOCK; b++) {
        size_t same = 0;
        for (uint32_t i = 0; i < 256; i++)
            block[i] = (uint16_t)flags_of(b << 8 | i);
        /* large scripts and empty planes fill runs of equal blocks: the newest are looked at first */
        for (same = used; same > 0; same--)
            if (memcmp(uni->flags + ((same - 1) << 8), block, sizeof block) == 0) break;
        if (same > 0) {
            uni->block[b] = (uint16_t)(same - 1);
            continue;
        }
        if (used == room) {
            room = room ? 2 * room : 64;
            uint16_t *more = ht__resize(alloc, uni->flags, room * sizeof block);
            if (!more) return false;
            uni->flags = more;
        }
        memcpy(uni->flags + (used << 8), block, sizeof block);
        uni->block[b] = (uint16_t)used++;
    }
    return true;
}

void ht__uni_close(struct ht__uni *uni, const struct ht__alloc *alloc)
{
    ht__free(alloc, uni->flags);
    uni->flags = NULL;
}

int ht__uni_long(const unsigned char *p, size_t n, uint32_t *code)
{
    int used = ht__utf8_get((const char *)p, n, code);
    if (used > 0) return used;
    *code = HT__UNI_BAD + *p;
    return 1;
}

size_t ht__uni_before(const unsigned char *p, size_t at)
{
    uint32_t code;
    for (size_t back = 2; back <= 4 && back <= at; back++) {
        if (p[at - 1] < 0x80) break;
        if (p[at - back] >= 0xc0) return ht__uni_get(p + at - back, back, &code) == (int)back ? at - back : at - 1;
    }
    return at - 1;
}

int ht__uni_put(uint32_t code, char out[4])
{
    if (code < HT__UNI_BAD) return ht__utf8_put(code, out);
    out[0] = (char)(code - HT__UNI_BAD);
    return 1;
}
