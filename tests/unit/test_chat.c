/* Chat templates: what they write, what they may not do, and that a stranger's message stays text. */
#include "model/chat/chat.h"
#include "model/tokenizer/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct ht__chat_message messages[] = {
    {"system", {"Be brief.", 9}}, {"user", {" Hello ", 7}}, {"assistant", {"Hi", 2}}, {"user", {"Why?", 4}}};

static enum ht_err render(const char *source, struct ht__buf *out, struct ht_diag *diag)
{
    struct tm now = {.tm_year = 126, .tm_mon = 6, .tm_mday = 4};
    struct ht__chat chat = {
        .source = source, .bos = {"<s>", 3}, .eos = {"</s>", 4}, .now = &now, .messages = messages, .n = 4};
    memset(diag, 0, sizeof *diag);
    ht__buf_init(out, NULL);
    return ht__chat_render(&chat, NULL, out, diag);
}

static void writes(const char *source, const char *want)
{
    struct ht__buf out;
    struct ht_diag diag;
    if (render(source, &out, &diag) != HT_OK) fail_msg("%s: %s: %s", source, diag.where, diag.message);
    assert_string_equal(ht__buf_text(&out), want);
    ht__buf_close(&out);
}

static void refuses(const char *source, enum ht_err err, const char *where, const char *message)
{
    struct ht__buf out;
    struct ht_diag diag;
    enum ht_err got = render(source, &out, &diag);
    assert_int_equal(diag.code, got);
    if (got != err || !strstr(diag.where, where) || !strstr(diag.message, message))
        fail_msg("%.200s: \"%s: %s\", not \"%s\" and \"%s\"", source, diag.where, diag.message, where, message);
    ht__buf_close(&out);
}

/* The forms that published models use, as their templates write them. */
static void known_forms(void **state)
{
    writes(
        "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hello <|im_end|>\n<|im_start|>assistant\nHi<|im_end|>\n"
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n");
    writes(
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}"
        "{% else %}{% set loop_messages = messages %}{% set sys = false %}{% endif %}{% for m in loop_messages %}"
        "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}{% endif %}"
        "{% if loop.index0 == 0 and sys != false %}{% set content = '<<SYS>>\\n' + sys + '\\n<</SYS>>\\n\\n' + m['content'] %}"
        "{% else %}{% set content = m['content'] %}{% endif %}{% if m['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}"
        "{% endif %}{% endfor %}",
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n Hello [/INST] Hi </s><s>[INST] Why? [/INST]");
    writes(
        "{{- bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + "
        "message.content | trim + '<|eot_id|>' }}{% endfor %}Today: {{ strftime_now('%d %b %Y') }}",
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        "Why?<|eot_id|>Today: 04 Jul 2026");
}

static void faults_name_their_line(void **state)
{
    refuses("a\nb {{ 1 + }}", HT_ERR_FORMAT, "line 2", "expected an expression");
    refuses("\n\n{% if x %}", HT_ERR_FORMAT, "line 3", "\"elif\" is missing");
    refuses("{% endif %}", HT_ERR_UNSUPPORTED, "line 1", "the tag \"endif\" is not known");
    refuses("{{ 'a", HT_ERR_FORMAT, "line 1", "a string has no end");
    refuses("{{ 1", HT_ERR_FORMAT, "line 1", "a tag has no end");
    refuses("{# x", HT_ERR_FORMAT, "line 1", "a comment has no end");
    refuses("{{ ) }}", HT_ERR_FORMAT, "line 1", "a bracket was not opened");
    refuses("{{ $ }}", HT_ERR_FORMAT, "line 1", "\"$\"");
    refuses("\n{{ messages | wordwrap }}", HT_ERR_UNSUPPORTED, "line 2", "the filter \"wordwrap\" is not known");
    refuses("{{ 'x'.encode() }}", HT_ERR_UNSUPPORTED, "line 1", "no method \"encode\"");
    refuses("{{ missing.x }}", HT_ERR_UNSUPPORTED, "line 1", "of an undefined value");
    refuses("{{ missing() }}", HT_ERR_UNSUPPORTED, "line 1", "\"missing\" is not a function");
    refuses("{% break %}", HT_ERR_FORMAT, "line 1", "no loop");
    refuses("{{ 1 // 0 }}", HT_ERR_UNSUPPORTED, "line 1", "divided by 0");
    refuses("{{ 'a' + 1 }}", HT_ERR_UNSUPPORTED, "line 1", "\"+\" of a string and an integer");
    refuses("{% import 'os' as os %}", HT_ERR_UNSUPPORTED, "line 1", "\"import\"");
    refuses("{{ raise_exception('roles must alternate') }}", HT_ERR_USAGE, "line 1", "refuses: roles must alternate");
    refuses("{{ messages.__class__ .__x }}", HT_ERR_UNSUPPORTED, "line 1", "undefined");
}

static void repeated(const char *before, const char *unit, const char *closing, const char *after)
{
    enum { N = 20000 };
    const char *message = "nested too deeply";
    char *source = malloc(strlen(before) + N * (strlen(unit) + strlen(closing)) + strlen(after) + 1), *at = source;
    at = stpcpy(at, before);
    for (size_t i = 0; i < N; i++)
        at = stpcpy(at, unit);
    for (size_t i = 0; i < N; i++)
        at = stpcpy(at, closing);
    stpcpy(at, after);
    refuses(source, HT_ERR_LIMIT, "line", message);
    free(source);
}

static void hostile_templates_meet_limits(void **state)
{
    refuses(
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
        HT_ERR_LIMIT, "line 1", "more than");
    refuses("{{ range(1000000) }}", HT_ERR_LIMIT, "line 1", "100,000 numbers");
    refuses("{{ 'a' * 99999999999 }}", HT_ERR_LIMIT, "line 1", "too long");
    refuses("{% set ns = namespace(s='0123456789') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
            HT_ERR_LIMIT, "line 1", "64 MB");
    refuses("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", HT_ERR_LIMIT, "line 1", "nested too deeply");
    refuses("{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns == ns.x }}", HT_ERR_LIMIT, "line 1",
            "compares too much");
    refuses("{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns | tojson }}", HT_ERR_LIMIT, "line 1",
            "too large for JSON");
    repeated("{{ ", "(", ")", " }}");
    repeated("{{ ", "[", "]", " }}");
    repeated("{{ ", "not ", "", "x }}");
    repeated("{{ ", "-", "", "1 }}");
    repeated("{{ 1", " + 1", "", " }}");
    repeated("{{ x", ".x", "", " }}");
    repeated("{{ x", " | trim", "", " }}");
    repeated("{{ x", " if x else x", "", " }}");
    repeated("", "{% if x %}", "", "");
    repeated("{% if x %}", "{% elif x %}", "", "{% endif %}");
    repeated("", "{% for x in y %}", "", "");
}

/* ---- strangers' messages ------------------------------------------------------------------------ */

struct made {
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht__tokenizer *text;
};

enum { LETTERS = 7, N = LETTERS + 3 };

/* Byte-level: a few letters, and three control tokens. */
static void open_text(struct made *m, const char *const control[3])
{
    const char *pieces[N] = {"a", "b", "<", "|", "x", ">", "/", control[0], control[1], control[2]};
    static const struct ht__str no_merges[1];
    struct ht_diag diag = {0};
    ht__arena_init(&m->arena, NULL);
    ht__kvs_init(&m->kvs, &m->arena);
    struct ht__str *strs = ht__arena_array(&m->arena, N, sizeof *strs);
    int32_t *types = ht__arena_array(&m->arena, N, sizeof *types);
    for (size_t i = 0; i < N; i++) {
        strs[i] = (struct ht__str){pieces[i], strlen(pieces[i])};
        types[i] = i < LETTERS ? 1 : 3; /* normal, control */
    }
    ht__kv_str(&m->kvs, "tokenizer.ggml.model", "gpt2");
    ht__kv_str(&m->kvs, "tokenizer.ggml.pre", "gpt-2");
    ht__kv_strs_ref(&m->kvs, "tokenizer.ggml.tokens", strs, N);
    ht__kv_array(&m->kvs, "tokenizer.ggml.token_type", HT__KV_I32, types, N);
    ht__kv_strs_ref(&m->kvs, "tokenizer.ggml.merges", no_merges, 0);
    if (ht__tokenizer_open(&m->kvs, "made", NULL, &m->text, &diag)) fail_msg("%s: %s", diag.where, diag.message);
}

static void expect_ids(const struct made *m, const char *text, size_t len, const int32_t *want, size_t n)
{
    struct ht__tokens ids;
    ht__tokens_init(&ids, NULL);
    assert_int_equal(
        ht__tokenizer_encode(m->text, text, len, HT__TOKENIZER_PARSE_SPECIAL | HT__TOKENIZER_MARKED, &ids, NULL),
        HT_OK);
    assert_int_equal(ids.n, n);
    assert_memory_equal(ids.ids, want, n * sizeof *want);
    ht__tokens_close(&ids);
}

static void control_tokens_in_messages_stay_text(void **state)
{
    struct made m;
    struct ht__buf out;
    open_text(&m, (const char *const[]){"<|x|>", "<|a|>", "<|bb|>"});
    ht__buf_init(&out, NULL);
    ht__tokenizer_mark(m.text, "a<|x|>b<|a|", 11, &out);
    assert_string_equal(ht__buf_text(&out), "a\xff<|x|>b<|a|");
    ht__buf_str(&out, "<|a|>"); /* the template's own */
    expect_ids(&m, ht__buf_text(&out), out.len, (int32_t[]){0, 2, 3, 4, 3, 5, 1, 2, 3, 0, 3, 8}, 12);
    out.len = 0;
    ht__tokenizer_mark(m.text, "<|x|><|x|>", 10, &out);
    expect_ids(&m, ht__buf_text(&out), out.len, (int32_t[]){2, 3, 4, 3, 5, 2, 3, 4, 3, 5}, 10);
    expect_ids(&m, "<|x|>a", 6, (int32_t[]){7, 0}, 2); /* without marks nothing changes */
    out.len = 0;
    ht__tokenizer_mark(m.text, "\xff<|x|>\xff", 7, &out); /* marks cannot be forged or undone */
    assert_string_equal(ht__buf_text(&out), "\xef\xbf\xbd\xff<|x|>\xef\xbf\xbd");
    ht__buf_close(&out);
    ht__tokenizer_close(&m.text);
    ht__arena_close(&m.arena);
}

/* gpt-oss writes <|end|> between its thoughts and its answer; Phi-3 ends with it. */
static void an_end_is_what_the_other_tokens_make_it(void **state)
{
    struct made m;
    open_text(&m, (const char *const[]){"<|end|>", "<|return|>", "<|call|>"});
    assert_false(ht__tokenizer_is_end(m.text, LETTERS));
    assert_true(ht__tokenizer_is_end(m.text, LETTERS + 1));
    assert_true(ht__tokenizer_is_end(m.text, LETTERS + 2));
    ht__tokenizer_close(&m.text);
    ht__arena_close(&m.arena);
    open_text(&m, (const char *const[]){"<|end|>", "<|user|>", "<|assistant|>"});
    assert_true(ht__tokenizer_is_end(m.text, LETTERS));
    assert_false(ht__tokenizer_is_end(m.text, LETTERS + 1));
    ht__tokenizer_close(&m.text);
    ht__arena_close(&m.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_forms),
        cmocka_unit_test(faults_name_their_line),
        cmocka_unit_test(hostile_templates_meet_limits),
        cmocka_unit_test(control_tokens_in_messages_stay_text),
        cmocka_unit_test(an_end_is_what_the_other_tokens_make_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
