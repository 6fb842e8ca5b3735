/* Calibration texts: how they are named, read as tokens, cut into windows and mixed; and the text of the program's own. */
#include "calibrate/calibration.h"
#include "calibrate/default_text.h"
#include "calibrate/documents.h"
#include "calibrate/random.h"

#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "lib/folder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- windows ---- */

enum { CTX = 4, PER_TEXT = 1 << 16, RANDOM_ID = -7 };

/* A text whose ids say where they stand: text i has i * PER_TEXT + 0, 1, 2 … */
static int32_t *numbered(size_t text, size_t n)
{
    int32_t *ids = malloc(n * sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(text * PER_TEXT + i);
    return ids;
}

static bool fill_random(const void *ctx, uint64_t seed, int32_t *ids, size_t n)
{
    (void)seed;
    for (size_t i = 0; i < n; i++)
        ids[i] = RANDOM_ID;
    return ctx == NULL;
}

struct world {
    struct ht__domain_text texts[HT__MOST_DOMAINS];
    struct ht__windows_params params;
    struct ht__windows windows;
    struct ht_diag diag;
};

/* n texts of `windows` windows each; weight 0 ends the list, a negative one is of random tokens. */
static void start(struct world *w, const int64_t *weights, size_t windows)
{
    *w = (struct world){.params = {.n_ctx = CTX, .most = SIZE_MAX, .seed = 1, .random = fill_random}};
    for (size_t i = 0; weights[i]; i++) {
        w->texts[i] = (struct ht__domain_text){.name = "text", .weight = (uint32_t)llabs(weights[i])};
        if (weights[i] > 0) {
            w->texts[i].n_ids = windows * CTX + 1;
            w->texts[i].ids = numbered(i, w->texts[i].n_ids);
        }
        w->params.n_texts++;
    }
    w->params.texts = w->texts;
}

static void mix(struct world *w)
{
    if (ht__windows_mix(&w->windows, &w->params, NULL, &w->diag)) fail_msg("%s: %s", w->diag.where, w->diag.message);
}

static void finish(struct world *w)
{
    ht__windows_close(&w->windows);
    for (size_t i = 0; i < w->params.n_texts; i++)
        free((int32_t *)(uintptr_t)w->texts[i].ids);
}

static const int64_t mixes[][8] = {
    {1}, {1, 1}, {2000, 1000}, {1, 1000000}, {30, 20, 15, 20, 15, -4}, {7, 7, 7, -1}, {1, 2, 4, 8, 16, 32, 64},
};

static void shares_hold_after_any_number_of_windows(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof mixes / sizeof *mixes; m++) {
        struct world w;
        double total = 0, taken[8] = {0};
        start(&w, mixes[m], 200);
        mix(&w);
        for (size_t i = 0; i < w.params.n_texts; i++)
            total += (double)llabs(mixes[m][i]);
        for (size_t k = 0; k < w.windows.n; k++) {
            taken[w.windows.at[k].domain]++;
            for (size_t i = 0; i < w.params.n_texts; i++)
                if (fabs(taken[i] - (double)llabs(mixes[m][i]) / total * (double)(k + 1)) >= 1)
                    fail_msg("mix %zu: after %zu windows domain %zu has given %g", m, k + 1, i, taken[i]);
        }
        for (size_t i = 0; i < w.params.n_texts; i++)
            assert_int_equal(w.windows.domains[i].n_taken, (size_t)taken[i]);
        /* it ended because one of them was used up */
        assert_int_equal(w.windows.domains[w.windows.ended].n_taken, 200);
        assert_true(w.params.n_texts > 1 || w.windows.n == 200);
        finish(&w);
    }
}

/* Each window is one of its text's, whole, and comes once. */
static void windows_are_those_of_the_texts(void **state)
{
    (void)state;
    struct world w;
    bool seen[6][200] = {{false}};
    start(&w, mixes[4], 200);
    mix(&w);
    for (size_t k = 0; k < w.windows.n; k++) {
        const int32_t *ids = w.windows.tokens + k * CTX;
        size_t domain = w.windows.at[k].domain, at = (size_t)ids[0] % PER_TEXT / CTX;
        for (int i = 0; domain == 5 && i < CTX; i++)
            assert_int_equal(ids[i], RANDOM_ID);
        if (domain == 5) continue;
        for (int i = 0; i < CTX; i++)
            assert_int_equal(ids[i], (int)(domain * PER_TEXT + at * CTX) + i);
        assert_false(seen[domain][at]);
        seen[domain][at] = true;
    }
    finish(&w);
}

static bool same(const struct ht__windows *a, size_t from, const struct ht__windows *b, size_t n)
{
    return memcmp(a->tokens + from * CTX, b->tokens, n * CTX * sizeof *a->tokens) == 0;
}

static void the_seed_gives_the_order(void **state)
{
    (void)state;
    struct world a, b;
    start(&a, mixes[4], 50);
    start(&b, mixes[4], 50);
    mix(&a);
    mix(&b);
    assert_int_equal(a.windows.n, b.windows.n);
    assert_true(same(&a.windows, 0, &b.windows, a.windows.n));
    assert_memory_equal(a.windows.at, b.windows.at, a.windows.n * sizeof *a.windows.at);
    ht__windows_close(&b.windows);
    b.params.seed = 2;
    mix(&b);
    assert_int_equal(a.windows.n, b.windows.n);
    assert_false(same(&a.windows, 0, &b.windows, a.windows.n));
    ht__windows_close(&b.windows);
    b.params.in_order = true;
    mix(&b);
    int32_t next[6] = {0};
    for (size_t k = 0; k < b.windows.n; k++)
        if (b.windows.at[k].domain < 5)
            assert_int_equal(b.windows.tokens[k * CTX] % PER_TEXT, CTX * next[b.windows.at[k].domain]++);
    finish(&a);
    finish(&b);
}

static void some_is_a_part_of_all(void **state)
{
    (void)state;
    struct world all, some;
    start(&all, mixes[4], 50);
    start(&some, mixes[4], 50);
    mix(&all);
    some.params.from = 11;
    some.params.most = 30;
    mix(&some);
    assert_int_equal(some.windows.n, 30);
    assert_int_equal(some.windows.ended, SIZE_MAX);
    assert_true(same(&all.windows, 11, &some.windows, 30));
    assert_memory_equal(all.windows.at + 11, some.windows.at, 30 * sizeof *some.windows.at);
    finish(&all);
    finish(&some);
}

static void fifteen_percent_of_each_domain_are_held_out(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof mixes / sizeof *mixes; m++) {
        struct world w;
        double held[8] = {0}, taken[8] = {0};
        start(&w, mixes[m], 200);
        mix(&w);
        for (size_t k = 0; k < w.windows.n; k++) {
            size_t domain = w.windows.at[k].domain;
            taken[domain]++;
            held[domain] += w.windows.at[k].held_out;
            if (fabs(held[domain] - 0.15 * taken[domain]) >= 1)
                fail_msg("mix %zu, domain %zu: %g of %g windows", m, domain, held[domain], taken[domain]);
        }
        finish(&w);
    }
    /* few windows of many domains: the share is there all the same */
    struct world w;
    size_t n = 0;
    start(&w, mixes[4], 50);
    w.params.most = 32;
    mix(&w);
    for (size_t k = 0; k < 32; k++)
        n += w.windows.at[k].held_out;
    assert_in_range(n, 3, 7);
    finish(&w);
}

static void refuses(struct world *w, enum ht_err err, const char *where, const char *message)
{
    w->diag = (struct ht_diag){0};
    assert_int_equal(ht__windows_mix(&w->windows, &w->params, NULL, &w->diag), err);
    ht__windows_close(&w->windows);
    if (!strstr(w->diag.message, message) || strcmp(w->diag.where, where) != 0)
        fail_msg("%s: %s", w->diag.where, w->diag.message);
}

static void what_cannot_be_mixed(void **state)
{
    (void)state;
    struct world w;
    start(&w, (const int64_t[]){1, 2, -1, 0}, 5);
    w.texts[1].name = "short.txt";
    w.texts[1].n_ids = CTX - 1;
    refuses(&w, HT_ERR_USAGE, "short.txt", "3 tokens; at least one chunk of 4 is needed");
    w.texts[1].n_ids = CTX;
    w.params.from = 3;
    refuses(&w, HT_ERR_USAGE, "calibration", "there are 3 chunks of 4 tokens; skipping 3 of them leaves none");
    w.params.from = 0;
    w.params.ctx = "no text";
    w.texts[1].n_ids = 5 * CTX;
    refuses(&w, HT_ERR_UNSUPPORTED, "text", "the model's vocabulary has no text");
    w.texts[0].weight = 0;
    refuses(&w, HT_ERR_USAGE, "text", "weight is out of range");
    w.params.n_texts = 0;
    refuses(&w, HT_ERR_USAGE, "calibration", "expected 1 to 64 texts, got 0");
    w.params.n_texts = 1;
    w.params.texts = &w.texts[2];
    refuses(&w, HT_ERR_USAGE, "calibration", "expected a text beside the random tokens");
    w.params.n_texts = 3;
    finish(&w);
}

/* ---- random numbers ---- */

static bool is_odd(const void *ctx, int32_t id)
{
    return id % 2 == 1 && id != *(const int32_t *)ctx;
}

static bool never(const void *ctx, int32_t id)
{
    (void)ctx;
    (void)id;
    return false;
}

static void random_tokens(void **state)
{
    (void)state;
    int32_t a[64], b[64], without = 7;
    assert_true(ht__random_tokens(5, 100, is_odd, &without, a, 64) &&
                ht__random_tokens(5, 100, is_odd, &without, b, 64));
    assert_memory_equal(a, b, sizeof a);
    for (int i = 0; i < 64; i++)
        assert_true(a[i] >= 0 && a[i] < 100 && a[i] % 2 == 1 && a[i] != 7);
    assert_true(ht__random_tokens(6, 100, NULL, NULL, b, 64) && memcmp(a, b, sizeof a) != 0);
    assert_false(ht__random_tokens(5, 100, never, NULL, b, 64));
    assert_false(ht__random_tokens(5, 0, NULL, NULL, b, 64));
}

/* ---- names and weights ---- */

static void texts_by_name(void **state)
{
    (void)state;
    struct ht__arena arena;
    struct ht__calibration_settings s = {0};
    ht__arena_init(&arena, NULL);
    assert_int_equal(ht__calibration_parse("text", NULL, &arena, &s, NULL), HT_OK);
    assert_true(s.n_parts == 1 && !s.parts[0].path && s.parts[0].weight == 1000);
    assert_int_equal(
        ht__calibration_parse("text", "a.txt:2,b.jsonl,default:0.5,c:d:0.001,e:1000,f:x", &arena, &s, NULL), HT_OK);
    assert_int_equal(s.n_parts, 6);
    static const struct ht__calibration_part want[] = {{"a.txt", 2000}, {"b.jsonl", 1000}, {NULL, 500},
                                                       {"c:d", 1},      {"e", 1000000},    {"f:x", 1000}};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(s.parts[i].weight, want[i].weight);
        assert_true(want[i].path ? strcmp(s.parts[i].path, want[i].path) == 0 : !s.parts[i].path);
    }
    static const char *const bad[][2] = {
        {"a.txt:0", "\"0\" is not a weight"},
        {"a.txt:-1", "\"-1\" is not a weight"},
        {"a.txt:1.2345", "\"1.2345\" is not a weight"},
        {"a.txt:1001", "is not a weight"},
        {"a.txt:1..2", "is not a weight"},
        {"a.txt:99999999999999999999", "is not a weight"},
        {"a.txt:.", "is not a weight"},
        {"a.txt:1000.001", "is not a weight"},
        {"a.txt,,b.txt", "an empty name"},
        {"a.txt,", "an empty name"},
        {",", "an empty name"},
        {":2", "an empty name"},
        {"a,b,a:2", "a is given twice"},
        {"default,default:3", "default is given twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ht_diag diag = {0};
        if (ht__calibration_parse("text", bad[i][0], &arena, &s, &diag) != HT_ERR_USAGE ||
            !strstr(diag.message, bad[i][1]))
            fail_msg("%s: %s", bad[i][0], diag.message);
    }
    struct ht__buf many;
    ht__buf_init(&many, NULL);
    for (int i = 0; i < 33; i++)
        ht__buf_printf(&many, "%s%d", i ? "," : "", i + 100000);
    assert_int_equal(ht__calibration_parse("text", ht__buf_text(&many), &arena, &s, NULL), HT_ERR_USAGE);
    ht__buf_close(&many);
    ht__arena_close(&arena);
}

static void a_file_with_commas_is_one(void **state)
{
    (void)state;
    struct folder folder = folder_make();
    struct ht__arena arena;
    struct ht__calibration_settings s = {0};
    char path[4096];
    folder_puts(&folder, "a,b:2", "text");
    snprintf(path, sizeof path, "%s/a,b:2", folder.path);
    ht__arena_init(&arena, NULL);
    assert_int_equal(ht__calibration_parse("text", path, &arena, &s, NULL), HT_OK);
    assert_true(s.n_parts == 1 && strcmp(s.parts[0].path, path) == 0 && s.parts[0].weight == 1000);
    ht__arena_close(&arena);
    folder_remove(&folder);
}

/* ---- documents ---- */

struct example {
    struct ht__checkpoint *checkpoint;
    struct ht__model *model;
    struct ht__tokenizer *tokenizer;
};

/* The example model, with a chat template of its own or another. */
static struct example open_example(const char *template)
{
    struct example e = {0};
    char path[4096];
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/examples/model", root ? root : ".");
    assert_int_equal(ht__checkpoint_open(path, NULL, &e.checkpoint, NULL), HT_OK);
    assert_int_equal(ht__model_open(e.checkpoint, NULL, NULL, &e.model, NULL), HT_OK);
    if (template) ht__kv_str(&e.model->kvs, "tokenizer.chat_template", template);
    assert_int_equal(ht__tokenizer_open(&e.model->kvs, path, NULL, &e.tokenizer, NULL), HT_OK);
    return e;
}

static void close_example(struct example *e)
{
    ht__tokenizer_close(&e->tokenizer);
    ht__model_close(&e->model);
    ht__checkpoint_close(&e->checkpoint);
}

static void log_line(void *ctx, enum ht__log_level level, const char *line)
{
    struct ht__buf *log = ctx;
    (void)level;
    ht__buf_str(log, line);
}

static enum ht_err read_lines(const struct example *e, const char *lines, struct ht__tokens *ids,
                              struct ht__buf *warned, struct ht_diag *diag)
{
    struct ht__log log = {log_line, warned};
    struct ht__documents d = {.tokenizer = e->tokenizer, .log = warned ? &log : NULL, .where = "x.jsonl"};
    ht__tokens_init(ids, NULL);
    return ht__documents_lines(&d, lines, strlen(lines), ids, diag);
}

/* What the model would read, as text, control tokens left out. */
static void reads_as(const char *template, const char *lines, const char *want, const char *warning)
{
    struct example e = open_example(template);
    struct ht__tokens ids;
    struct ht__buf text, warned;
    struct ht_diag diag = {0};
    ht__buf_init(&text, NULL);
    ht__buf_init(&warned, NULL);
    if (read_lines(&e, lines, &ids, &warned, &diag)) fail_msg("%s: %s", diag.where, diag.message);
    assert_int_equal(ht__tokenizer_decode(e.tokenizer, ids.ids, ids.n, HT__TOKENIZER_SKIP_SPECIAL, &text), HT_OK);
    assert_string_equal(ht__buf_text(&text), want);
    if (warning)
        assert_non_null(strstr(ht__buf_text(&warned), warning));
    else
        assert_string_equal(ht__buf_text(&warned), "");
    ht__buf_close(&text);
    ht__buf_close(&warned);
    ht__tokens_close(&ids);
    close_example(&e);
}

#define CHAT                                                                                                           \
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": "           \
    "[{\"type\": \"text\", \"text\": \"Why\"}, {\"type\": \"text\", \"text\": \"?\"}]}, {\"role\": \"assistant\", "    \
    "\"content\": \"No.\"}, {\"role\": \"tool\", \"content\": \"7\"}], \"id\": 3}\n"

static void lines_are_rendered(void **state)
{
    (void)state;
    static const char own[] = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                              "{% if add_generation_prompt %}<go>{% endif %}";
    static const char turns[] =
        "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('no ' + m.role) }}"
        "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    reads_as(own, CHAT "\n  \n" CHAT,
             "<system>Be brief.<user>Why?<assistant>No.<tool>7<system>Be brief.<user>Why?"
             "<assistant>No.<tool>7",
             NULL);
    reads_as(turns, CHAT, "<user>Be brief.\n\nWhy?<assistant>No.<user>7", NULL);
    reads_as("{{ raise_exception('closed today') }}", CHAT CHAT,
             "System: Be brief.\n\nUser: Why?\n\nAssistant: No.\n\nTool: 7\n\n"
             "System: Be brief.\n\nUser: Why?\n\nAssistant: No.\n\nTool: 7\n\n",
             "refuses 2 of 2 conversations, which are read as plain text");
}

/* A text's own "</s>" does not become the control token; the template's does. */
static void control_tokens_of_texts_are_text(void **state)
{
    (void)state;
    struct example e = open_example("{% for m in messages %}{{ eos_token + m.content }}{% endfor %}");
    struct ht__str eos = ht__tokenizer_piece(e.tokenizer, ht__tokenizer_eos(e.tokenizer));
    struct ht__tokens ids;
    char line[512];
    size_t n = 0;
    assert_true(eos.len > 0 && eos.len < 64);
    snprintf(line, sizeof line, "{\"messages\": [{\"role\": \"user\", \"content\": \"a %.*s b\"}]}", (int)eos.len,
             eos.text);
    assert_int_equal(read_lines(&e, line, &ids, NULL, NULL), HT_OK);
    for (size_t i = 0; i < ids.n; i++)
        n += ids.ids[i] == ht__tokenizer_eos(e.tokenizer);
    assert_int_equal(n, 1);
    assert_int_equal(ids.ids[0], ht__tokenizer_eos(e.tokenizer));
    ht__tokens_close(&ids);
    close_example(&e);
}

static void hostile_lines(void **state)
{
    (void)state;
    static const char text[] = "expected {\"text\": ";
    static const struct {
        const char *lines, *message;
    } bad[] = {
        {"{\"text\": \"a\"}\n{\"text\": 3}", "line 2: expected {\"text\": "},
        {"[1]", text},
        {"7", text},
        {"{}", text},
        {"{\"text\": \"a\", \"messages\": []}", text},
        {"{\"messages\": []}", "is not a list of messages"},
        {"{\"messages\": {}}", "is not a list of messages"},
        {"{\"messages\": [3]}", "the role of a message"},
        {"{\"messages\": [{\"role\": 3, \"content\": \"\"}]}", "the role of a message"},
        {"{\"messages\": [{\"role\": \"bot\", \"content\": \"\"}]}", "the role of a message"},
        {"{\"messages\": [{\"role\": \"user\"}]}", "\"content\" is neither"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": 3}]}", "\"content\" is neither"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]}", "\"content\" is neither"},
        {"{\"text\": \"a\"", "line 1: "},
        {"\n\n{\"text\": \"a\", \"text\": \"b\"}", "line 3: "},
        {"{\"text\": \"\xff\"}", "line 1: "},
        {"{\"text\": \"a\"} {\"text\": \"b\"}", "line 1: "},
    };
    struct example e = open_example(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ht__tokens ids;
        struct ht_diag diag = {0};
        enum ht_err err = read_lines(&e, bad[i].lines, &ids, NULL, &diag);
        if (err != HT_ERR_FORMAT || !strstr(diag.message, bad[i].message) || strcmp(diag.where, "x.jsonl") != 0)
            fail_msg("%s: %d, %s: %s", bad[i].lines, err, diag.where, diag.message);
        ht__tokens_close(&ids);
    }
    /* deeper and longer than a line may be */
    static const char *const around[][2] = {{"[", "nested"}, {" ", "longer than 16 MiB"}};
    for (int i = 0; i < 2; i++) {
        size_t n = (size_t)17 << 20;
        char *line = malloc(n + 1);
        struct ht__tokens ids;
        struct ht_diag diag = {0};
        memset(line, around[i][0][0], n);
        line[n - 1] = '1';
        line[n] = '\0';
        if (i == 0) line[1 << 16] = '\0';
        assert_int_not_equal(read_lines(&e, line, &ids, NULL, &diag), HT_OK);
        if (!strstr(diag.message, around[i][1])) fail_msg("%s", diag.message);
        ht__tokens_close(&ids);
        free(line);
    }
    close_example(&e);
}

/* ---- the whole ---- */

static enum ht_err open_calibration(const struct example *e, const char *texts,
                                    const struct ht__calibration_settings *more, struct ht__calibration *cal,
                                    struct ht_diag *diag)
{
    static struct ht__arena arena; /* settings must outlive what is opened */
    static struct ht__calibration_settings s;
    struct ht__run run = {.n_threads = 1};
    ht__arena_close(&arena);
    ht__arena_init(&arena, NULL);
    s = *more;
    if (s.n_chunks == 0) s.n_chunks = UINT32_MAX;
    enum ht_err err = ht__calibration_parse("text", texts, &arena, &s, diag);
    return err ? err : ht__calibration_open(cal, &s, &run, e->model, diag);
}

static void the_built_in_text_is_mixed(void **state)
{
    (void)state;
    struct example e = open_example(NULL);
    struct ht__calibration a, b;
    size_t held = 0;
    const struct ht__calibration_settings other = {.seed = 9}, none = {.n_chunks = 0};
    assert_int_equal(open_calibration(&e, NULL, &none, &a, NULL), HT_OK);
    assert_int_equal(open_calibration(&e, "default", &other, &b, NULL), HT_OK);
    assert_int_equal(a.windows.n, 32); /* of 512 tokens: what importance needs */
    assert_int_equal(a.windows.n_domains, HT__DEFAULT_DOMAINS + 1);
    assert_memory_equal(a.windows.at, b.windows.at, a.windows.n * sizeof *a.windows.at);
    assert_memory_not_equal(a.windows.tokens, b.windows.tokens, a.windows.n * 512 * sizeof *a.windows.tokens);
    for (size_t i = 0; i < a.windows.n_domains; i++)
        if (a.windows.domains[i].n_taken == 0) fail_msg("%s is not taken from", a.windows.domains[i].name);
    for (size_t i = 0; i < a.windows.n; i++)
        held += a.windows.at[i].held_out;
    assert_in_range(held, 3, 7);
    for (size_t i = 0; i < a.windows.n * 512; i++)
        assert_in_range(a.windows.tokens[i], 0, ht__tokenizer_size(e.tokenizer) - 1);
    ht__calibration_close(&a);
    ht__calibration_close(&b);
    close_example(&e);
}

static void files_are_mixed(void **state)
{
    (void)state;
    struct example e = open_example(NULL);
    struct ht__calibration cal;
    struct folder folder = folder_make();
    struct ht_diag diag = {0};
    struct ht__buf text;
    char texts[8192];
    ht__buf_init(&text, NULL);
    for (int i = 0; i < 400; i++)
        ht__buf_printf(&text, "The %d sheep went up the hill, and %d came down. ", i, i * 7);
    folder_put(&folder, "a.txt", text.data, text.len);
    folder_puts(&folder, "b.jsonl", "{\"text\": \"once\"}\n");
    snprintf(texts, sizeof texts, "%s/a.txt:3,%s/b.jsonl", folder.path, folder.path);
    const struct ht__calibration_settings short_ctx = {.n_ctx = 32}, few = {.n_ctx = 32, .n_chunks = 4};
    assert_int_equal(open_calibration(&e, texts, &short_ctx, &cal, &diag), HT_ERR_USAGE);
    assert_non_null(strstr(diag.where, "b.jsonl"));
    assert_non_null(strstr(diag.message, "at least one chunk of 32 is needed"));
    ht__calibration_close(&cal);
    text.len = 0;
    for (int i = 0; i < 100; i++)
        ht__buf_printf(&text, "{\"messages\": [{\"role\": \"user\", \"content\": \"Number %d, please?\"}]}\n", i);
    folder_put(&folder, "b.jsonl", text.data, text.len);
    diag = (struct ht_diag){0};
    if (open_calibration(&e, texts, &few, &cal, &diag)) fail_msg("%s", diag.message);
    assert_int_equal(cal.windows.n_domains, 2);
    assert_int_equal(cal.windows.domains[0].n_taken, 3);
    assert_int_equal(cal.windows.domains[1].n_taken, 1);
    assert_string_equal(cal.dataset, texts);
    ht__calibration_close(&cal);
    ht__buf_close(&text);
    folder_remove(&folder);
    close_example(&e);
}

/* ---- the text itself ---- */

enum { FLOOR = 128 * 1024 };

static void unpack(const struct ht__default_domain *domain, struct ht__buf *text)
{
    ht__buf_init(text, NULL);
    assert_int_equal(ht__default_text(domain, text, NULL), HT_OK);
}

/* All domains as a model with this tokenizer reads them. */
static size_t count_tokens(const struct ht__tokenizer *t)
{
    size_t n = 0;
    for (size_t i = 0; i < HT__DEFAULT_DOMAINS; i++) {
        const struct ht__default_domain *domain = &ht__default_domains[i];
        struct ht__documents d = {.tokenizer = t, .where = domain->name};
        struct ht__tokens ids;
        struct ht__buf text;
        unpack(domain, &text);
        ht__tokens_init(&ids, NULL);
        assert_int_equal((domain->lines ? ht__documents_lines : ht__documents_text)(&d, (const char *)text.data,
                                                                                    text.len, &ids, NULL),
                         HT_OK);
        for (size_t k = 0; k < ids.n; k++)
            assert_in_range(ids.ids[k], 0, ht__tokenizer_size(t) - 1);
        n += ids.n;
        ht__tokens_close(&ids);
        ht__buf_close(&text);
    }
    return n;
}

static void there_is_enough_of_it(void **state)
{
    (void)state;
    struct example e = open_example(NULL);
    size_t n = count_tokens(e.tokenizer);
    if (n < FLOOR) fail_msg("%zu tokens", n);
    close_example(&e);

    /* A vocabulary of 100,000 tokens takes fewest. */
    struct ht__checkpoint *checkpoint;
    struct ht__tokenizer *tokenizer;
    char path[4096];
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/../shared/vocab/ggml-vocab-deepseek-llm.gguf", root ? root : ".");
    if (!ht__path_exists(path)) {
        print_message("SKIPPED counting with a large vocabulary: there is no %s\n", path);
        return;
    }
    assert_int_equal(ht__checkpoint_open(path, NULL, &checkpoint, NULL), HT_OK);
    assert_int_equal(ht__tokenizer_open(checkpoint->kvs, path, NULL, &tokenizer, NULL), HT_OK);
    n = count_tokens(tokenizer);
    print_message("%zu tokens of a vocabulary of %d\n", n, ht__tokenizer_size(tokenizer));
    if (n < FLOOR) fail_msg("%zu tokens", n);
    ht__tokenizer_close(&tokenizer);
    ht__checkpoint_close(&checkpoint);
}

/* With a chunk of the usual length nearly all of it can be used at its weights. */
static void its_kinds_are_as_long_as_their_weights_say(void **state)
{
    (void)state;
    struct example e = open_example(NULL);
    struct ht__calibration cal;
    const struct ht__calibration_settings all = {.n_chunks = UINT32_MAX - 1};
    assert_int_equal(open_calibration(&e, NULL, &all, &cal, NULL), HT_OK);
    if (cal.windows.n * 512 < FLOOR) fail_msg("%zu windows", cal.windows.n);
    ht__calibration_close(&cal);
    close_example(&e);
}

struct line {
    const char *text;
    size_t len;
};

static int by_text(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* Lines of at least 24 bytes, white space around them left out. */
static size_t put_lines(const struct ht__buf *text, struct line *lines)
{
    size_t n = 0;
    const char *at = (const char *)text->data, *end = at + text->len;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (!stop) stop = end;
        while (at < stop && (*at == ' ' || *at == '\t'))
            at++;
        if (stop - at >= 24) {
            if (lines) lines[n] = (struct line){at, (size_t)(stop - at)};
            n++;
        }
        at = stop + 1;
    }
    return n;
}

static void nothing_is_repeated_or_held_out(void **state)
{
    (void)state;
    enum { MOST = 3 };
    struct ht__buf texts[HT__DEFAULT_DOMAINS + 1];
    struct line *lines, *held;
    size_t n = 0, n_held;
    for (size_t i = 0; i < HT__DEFAULT_DOMAINS; i++) {
        unpack(&ht__default_domains[i], &texts[i]);
        n += put_lines(&texts[i], NULL);
    }
    ht__buf_init(&texts[HT__DEFAULT_DOMAINS], NULL);
    assert_int_equal(ht__default_held_out(&texts[HT__DEFAULT_DOMAINS], NULL), HT_OK);
    for (size_t i = 0; i <= HT__DEFAULT_DOMAINS; i++)
        assert_int_equal(ht__utf8_valid((const char *)texts[i].data, texts[i].len), texts[i].len);
    lines = malloc(n * sizeof *lines);
    n = 0;
    for (size_t i = 0; i < HT__DEFAULT_DOMAINS; i++)
        n += put_lines(&texts[i], lines + n);
    qsort(lines, n, sizeof *lines, by_text);
    for (size_t i = 0; i + MOST < n; i++)
        if (by_text(&lines[i], &lines[i + MOST]) == 0)
            fail_msg("more than %d times: %.*s", MOST, (int)lines[i].len, lines[i].text);
    n_held = put_lines(&texts[HT__DEFAULT_DOMAINS], NULL);
    held = malloc(n_held * sizeof *held);
    assert_true(put_lines(&texts[HT__DEFAULT_DOMAINS], held) > 10);
    for (size_t i = 0; i < n_held; i++)
        if (bsearch(&held[i], lines, n, sizeof *lines, by_text))
            fail_msg("held out, and calibrated on: %.*s", (int)held[i].len, held[i].text);
    free(lines);
    free(held);
    for (size_t i = 0; i <= HT__DEFAULT_DOMAINS; i++)
        ht__buf_close(&texts[i]);
}

/* Words that only that language has. */
static void many_languages_are_in_it(void **state)
{
    (void)state;
    static const char *const words[] = {
        "das Protokoll", /* German */
        "Qu'est-ce",     /* French */
        "después",       /* Spanish */
        "Minha avó",     /* Portuguese */
        "perché",        /* Italian */
        "Однажды",       /* Russian */
        "Szanowni",      /* Polish */
        "珊瑚",          /* Chinese */
        "ください",      /* Japanese */
        "발효",          /* Korean */
        "الكثبان",       /* Arabic */
        "मानसून",         /* Hindi */
        "Deprem",        /* Turkish */
        "Chợ nổi",       /* Vietnamese */
        "Gunung berapi", /* Indonesian */
        "μουσείο",       /* Greek */
        "בקצה השוק",     /* Hebrew */
        "Fietsbanden",   /* Dutch */
    };
    struct ht__buf text;
    unpack(&ht__default_domains[HT__DEFAULT_DOMAINS - 1], &text);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!strstr(ht__buf_text(&text), words[i])) fail_msg("there is no \"%s\"", words[i]);
    }
    ht__buf_close(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_hold_after_any_number_of_windows),
        cmocka_unit_test(windows_are_those_of_the_texts),
        cmocka_unit_test(the_seed_gives_the_order),
        cmocka_unit_test(some_is_a_part_of_all),
        cmocka_unit_test(fifteen_percent_of_each_domain_are_held_out),
        cmocka_unit_test(what_cannot_be_mixed),
        cmocka_unit_test(random_tokens),
        cmocka_unit_test(texts_by_name),
        cmocka_unit_test(a_file_with_commas_is_one),
        cmocka_unit_test(lines_are_rendered),
        cmocka_unit_test(control_tokens_of_texts_are_text),
        cmocka_unit_test(hostile_lines),
        cmocka_unit_test(the_built_in_text_is_mixed),
        cmocka_unit_test(files_are_mixed),
        cmocka_unit_test(there_is_enough_of_it),
        cmocka_unit_test(its_kinds_are_as_long_as_their_weights_say),
        cmocka_unit_test(nothing_is_repeated_or_held_out),
        cmocka_unit_test(many_languages_are_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
