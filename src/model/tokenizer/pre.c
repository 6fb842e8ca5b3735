#define PCRE2_CODE_UNIT_WIDTH 8
#include "model/tokenizer/pre.h"
#include "base/utf8.h"

#include <pcre2.h>
#include <string.h>

/* Expressions of one step, and steps that are none, as the tables below write them. */
#define DIGIT                                                                                                          \
    {                                                                                                                  \
        .kind = HT__PRE_DIGIT                                                                                          \
    }
#define DIGITS(n)                                                                                                      \
    {                                                                                                                  \
        .kind = HT__PRE_DIGITS, .most = (n)                                                                            \
    }
#define RE(text)                                                                                                       \
    {                                                                                                                  \
        .kind = HT__PRE_REGEX, .code = (void *)(uintptr_t)(text)                                                       \
    }
#define WORDS(...)                                                                                                     \
    {                                                                                                                  \
        .kind = HT__PRE_WORDS, .words = { __VA_ARGS__ }                                                                \
    }
#define GPT2 WORDS(.contractions = HT__SMALL_CONTRACTIONS)
#define LINES(digits) .any_prefix = true, .lines = true, .most = (digits)
#define LLAMA3(digits) WORDS(LINES(digits), .contractions = HT__ANY_CONTRACTIONS, .tail = 'n')
#define CASED(digits, how) WORDS(LINES(digits), .contractions = (how), .cased = true, .tail = '/')
#define TAIL "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define C "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"
#define HAN "[一-龥ࠀ-一가-퟿]+"
/* Letters with case: what DeepSeek's expression spells out. */
#define DEEPSEEK_LLM_LETTERS "[\\p{Lu}\\p{Ll}\\p{Lt}]"

struct known {
    const char *names; /* separated by blanks, one before and behind each */
    struct ht__pre_step steps[HT__PRE_MOST - 1];
    bool ignores_merges, adds_bos, nfc;
};

static const struct known known[] = {
    {" gpt-2 phi-2 jais gigachat a.x-4.0 mellum exaone4 jina-es jina-de jina-v1-en jina-v2-es "
     "jina-v2-de "
     "jina-v2-code roberta-bpe trillion granite-docling ",
     {GPT2},
     .adds_bos = false},
    {" mpt olmo modern-bert ", {GPT2}, .nfc = true},
    {" starcoder refact smollm codeshell exaone minerva-7b mellum2 ", {DIGIT, GPT2}, .adds_bos = false},
    {" command-r ", {DIGIT, GPT2}, .nfc = true},
    {" llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano ",
     {LLAMA3(3)},
     .ignores_merges = true,
     .adds_bos = true},
    {" dbrx smaug-bpe glm4 chatglm-bpe ", {LLAMA3(3)}, .adds_bos = false},
    {" qwen2 deepseek-r1-qwen kormo f2llmv2 megrez hunyuan solar-open ", {LLAMA3(1)}, .nfc = true},
    {" stablelm2 grok-2 bailingmoe bailingmoe2 llada-moe ", {LLAMA3(1)}, .adds_bos = false},
    {" qwen35 ", {WORDS(LINES(1), .contractions = HT__ANY_CONTRACTIONS, .tail = 'n', .with_marks = true)}, .nfc = true},
    {" seed-coder ",
     {WORDS(LINES(1), .contractions = HT__ANY_CONTRACTIONS, .marks_no_lines = true)},
     .adds_bos = false},
    {" minicpm5 ", {DIGITS(3), LLAMA3(HT__PRE_ANY)}, .ignores_merges = true},
    {" tekken ", {CASED(1, HT__NO_CONTRACTIONS)}, .ignores_merges = true, .adds_bos = true},
    {" gpt-4o llama4 kanana2 minimax-m2 talkie ", {CASED(3, HT__CONTRACTION_ENDS)}, .adds_bos = false},
    {" exaone-moe ",
     {RE(C "[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++|\\p{N}| "
           "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|" TAIL)},
     .adds_bos = false},
    {" jais-2 ",
     {RE(C "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
           "\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?"
           "!\\S)|"
           "\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}")},
     .adds_bos = false},
    {" deepseek-v3 hunyuan-dense joyai-llm ",
     {DIGITS(3), RE("[一-龥぀-ゟ゠-ヿ]+"),
      RE("[!\"#$%&'()*+,\\-./"
         ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
         " ?[\\p{P}\\p{S}]+[\\r\\n]*|" TAIL)},
     .adds_bos = false},
    {" deepseek-coder ", {RE("[\\r\\n]"), RE("\\s?\\p{L}+"), RE("\\s?\\p{P}+"), RE(HAN), DIGIT}, .adds_bos = false},
    {" deepseek-llm ",
     {RE("[\\r\\n]"), RE("\\s?" DEEPSEEK_LLM_LETTERS "+"), RE("\\s?[!-/:-~！-／：-～‘-‟　-。]+"), RE("\\s+$"), RE(HAN),
      DIGITS(HT__PRE_ANY)},
     .adds_bos = false},
    {" falcon ",
     {{.kind = HT__PRE_PUNCT}, GPT2, {.kind = HT__PRE_BYTE_DIGITS}, {.kind = HT__PRE_THREES}},
     .adds_bos = false},
    {" bloom gpt3-finnish poro-chat ", {RE(BLOOM)}, .adds_bos = false},
    {" viking ", {RE(BLOOM), DIGIT}, .adds_bos = false},
    {" default ", {{.kind = HT__PRE_PUNCT}, GPT2, DIGITS(HT__PRE_ANY), {.kind = HT__PRE_THREES}}, .adds_bos = false},
};

static const struct known *find(const char *name, size_t len)
{
    char padded[64];
    if (len == 0 || len > sizeof padded - 3 || memchr(name, ' ', len) || memchr(name, '\0', len)) return NULL;
    padded[0] = ' ';
    memcpy(padded + 1, name, len);
    memcpy(padded + 1 + len, " ", 2);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strstr(known[i].names, padded)) return &known[i];
    return NULL;
}

bool ht__pre_same(const char *a, const char *b)
{
    const struct known *known_a = find(a, strlen(a));
    return known_a && known_a == find(b, strlen(b));
}

static enum ht_err compile(struct ht__pre_step *step, const char *where, struct ht_diag *diag)
{
    const char *regex = step->code;
    int error;
    PCRE2_SIZE at;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)regex, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at, NULL);
    step->code = code;
    if (!code) return ht__fail_memory(diag, where);
    /* without a compiler for this CPU, expressions are interpreted: the same result, later */
    (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    return HT_OK;
}

enum ht_err ht__pre_open(struct ht__pre *pre, const char *name, size_t len, const char *where, struct ht_diag *diag)
{
    const struct known *k = find(name, len);
    bool regex = false;
    memset(pre, 0, sizeof *pre);
    if (!k)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, where, -1, "the pre-tokenizer \"%.*s\" is not known",
                        (int)(len < 60 ? len : 60), name);
    pre->ignores_merges = k->ignores_merges;
    pre->adds_bos = k->adds_bos;
    pre->nfc = k->nfc;
    for (unsigned i = 0; i < HT__PRE_MOST - 1; i++)
        regex |= k->steps[i].kind == HT__PRE_REGEX;
    if (regex) pre->steps[pre->n++].kind = HT__PRE_VALID;
    for (unsigned i = 0; i < HT__PRE_MOST - 1; i++) {
        const struct ht__pre_step *step = &k->steps[i];
        if (step->kind == HT__PRE_WORDS && step->words.contractions == HT__NO_CONTRACTIONS && !step->words.lines)
            break; /* an empty place in the table */
        pre->steps[pre->n] = *step;
        if (step->kind == HT__PRE_REGEX) HT_TRY(compile(&pre->steps[pre->n], where, diag));
        pre->n++;
    }
    return HT_OK;
}

void ht__pre_close(struct ht__pre *pre)
{
    for (unsigned i = 0; i < pre->n; i++)
        if (pre->steps[i].kind == HT__PRE_REGEX) pcre2_code_free(pre->steps[i].code);
    pre->n = 0;
}

bool ht__pre_work_open(struct ht__pre_work *work, const struct ht__pre *pre)
{
    bool regex = false;
    for (unsigned i = 0; i < pre->n; i++)
        regex |= pre->steps[i].kind == HT__PRE_REGEX;
    work->data = regex ? pcre2_match_data_create(1, NULL) : NULL;
    return work->data || !regex;
}

void ht__pre_work_close(struct ht__pre_work *work)
{
    pcre2_match_data_free(work->data);
    work->data = NULL;
}

/* A match of an expression in text[at, end): its ends, or false. */
static bool match_regex(struct ht__pre_walk *walk, const struct ht__pre_step *step, size_t at, size_t end, size_t *from,
                        size_t *to)
{
    const unsigned char *p = walk->text + at;
    if (end - at == 1 && *p >= 0x80) return false; /* no character */
    int got = pcre2_match(step->code, p, end - at, 0, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, walk->work->data, NULL);
    if (got == PCRE2_ERROR_NOMATCH) return false;
    if (got < 0) {
        walk->err = got == PCRE2_ERROR_NOMEMORY ? HT_ERR_MEMORY : HT_ERR_LIMIT;
        return false;
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(walk->work->data);
    *from = at + span[0];
    *to = at + span[1];
    return true;
}

static bool is_punct(const struct ht__uni *uni, uint32_t code)
{
    if (code < 0x80) return code > 32 && code < 127 && !(ht__uni_of(uni, code) & (HT__UNI_LETTER | HT__UNI_NUMBER));
    return ht__uni_of(uni, code) & HT__UNI_PUNCT;
}

/* Runs of characters of a kind, `most` at a time: the next in text[at, end). */
static bool match_run(struct ht__pre_walk *walk, enum ht__pre_kind kind, unsigned most, size_t at, size_t end,
                      size_t *from, size_t *to)
{
    const unsigned char *p = walk->text;
    unsigned n = 0;
    while (at < end) {
        uint32_t code;
        size_t len = (size_t)ht__uni_get(p + at, end - at, &code);
        bool is = kind == HT__PRE_PUNCT    ? is_punct(walk->uni, code)
                  : kind == HT__PRE_THREES ? code >= '0' && code <= '9'
                                           : (ht__uni_of(walk->uni, code) & HT__UNI_NUMBER) != 0;
        if (is) {
            if (n++ == 0) *from = at;
            *to = at + len;
            if (n == most) return true;
        } else {
            if (n > 0 && kind != HT__PRE_THREES) return true;
            n = 0;
        }
        at += len;
    }
    return n > 0 && kind != HT__PRE_THREES;
}

/* Falcon's digits are looked for in the alphabet, where six bytes above 0x7f are spelled ² ³ ¹ ¼ ½
 * ¾. */
static bool is_byte_digit(unsigned char c)
{
    return (c >= '0' && c <= '9') || c == 0xb2 || c == 0xb3 || c == 0xb9 || (c >= 0xbc && c <= 0xbe);
}

static bool match_byte_digits(const unsigned char *p, size_t at, size_t end, size_t *from, size_t *to)
{
    while (at < end && !is_byte_digit(p[at]))
        at++;
    *from = at;
    while (at < end && is_byte_digit(p[at]))
        at++;
    *to = at;
    return *to > *from;
}

static bool match(struct ht__pre_walk *walk, const struct ht__pre_step *step, size_t at, size_t end, size_t *from,
                  size_t *to)
{
    switch (step->kind) {
    case HT__PRE_WORDS:
        *from = at;
        *to = ht__words_end(&step->words, walk->uni, walk->text, end, at);
        return true;
    case HT__PRE_VALID: {
        size_t n = ht__utf8_valid((const char *)walk->text + at, end - at);
        *from = at;
        *to = at + (n ? n : 1);
        return true;
    }
    case HT__PRE_REGEX: return match_regex(walk, step, at, end, from, to);
    case HT__PRE_DIGIT: return match_run(walk, HT__PRE_DIGIT, 1, at, end, from, to);
    case HT__PRE_DIGITS: return match_run(walk, HT__PRE_DIGITS, step->most, at, end, from, to);
    case HT__PRE_BYTE_DIGITS: return match_byte_digits(walk->text, at, end, from, to);
    case HT__PRE_THREES: return match_run(walk, HT__PRE_THREES, 3, at, end, from, to);
    case HT__PRE_PUNCT: return match_run(walk, HT__PRE_PUNCT, HT__PRE_ANY, at, end, from, to);
    }
    return false;
}

void ht__pre_begin(struct ht__pre_walk *walk, const struct ht__pre *pre, const struct ht__uni *uni,
                   struct ht__pre_work *work, const char *text, size_t n)
{
    walk->pre = pre;
    walk->uni = uni;
    walk->work = work;
    walk->text = (const unsigned char *)text;
    walk->deep = 0;
    walk->err = HT_OK;
    walk->level[0].at = walk->level[0].match = 0;
    walk->level[0].end = n;
}

/* The next piece of a step: a match, or what lies before the next. */
static void cut(struct ht__pre_walk *walk, int deep, size_t *from, size_t *to)
{
    size_t at = walk->level[deep].at, end = walk->level[deep].end, a = end, b = end;
    *from = at;
    if (walk->level[deep].match) {
        *to = walk->level[deep].match;
        walk->level[deep].match = 0;
    } else if (!match(walk, &walk->pre->steps[deep], at, end, &a, &b)) {
        *to = end;
    } else if (a > at) {
        *to = a;
        walk->level[deep].match = b;
    } else {
        *to = b;
    }
    walk->level[deep].at = *to;
}

bool ht__pre_next(struct ht__pre_walk *walk, size_t *from, size_t *to)
{
    int last = (int)walk->pre->n - 1;
    while (walk->deep >= 0) {
        if (walk->level[walk->deep].at >= walk->level[walk->deep].end) {
            walk->deep--;
            continue;
        }
        cut(walk, walk->deep, from, to);
        if (walk->err != HT_OK) return false;
        if (walk->deep == last) return true;
        walk->deep++;
        walk->level[walk->deep].at = *from;
        walk->level[walk->deep].end = *to;
        walk->level[walk->deep].match = 0;
    }
    return false;
}
