/* Rules of folders: what each Linear of several architectures becomes, that fused matrices end alike, and what is refused. */
#include "job/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- models of names and slots alone ---- */

enum { LAYERS = 4, MAX = 200, MOST_RULES = 8 };

struct native {
    const char *name, *role; /* with # for the layer, and % for the expert; role as in a GGUF file */
    int64_t n_out, n_in;
};

static const struct native llama[] = {
    {"model.embed_tokens.weight", "token_embd.weight", 512, 256},
    {"lm_head.weight", "output.weight", 512, 256},
    {"model.layers.#.self_attn.q_proj.weight", "blk.#.attn_q.weight", 256, 256},
    {"model.layers.#.self_attn.k_proj.weight", "blk.#.attn_k.weight", 64, 256},
    {"model.layers.#.self_attn.v_proj.weight", "blk.#.attn_v.weight", 64, 256},
    {"model.layers.#.self_attn.o_proj.weight", "blk.#.attn_output.weight", 256, 256},
    {"model.layers.#.mlp.gate_proj.weight", "blk.#.ffn_gate.weight", 512, 256},
    {"model.layers.#.mlp.up_proj.weight", "blk.#.ffn_up.weight", 512, 256},
    {"model.layers.#.mlp.down_proj.weight", "blk.#.ffn_down.weight", 256, 512},
    {"model.layers.#.input_layernorm.weight", "blk.#.attn_norm.weight", 1, 256},
    {NULL, NULL, 0, 0},
};
/* Qwen2-MoE: routed and shared experts */
static const struct native experts[] = {
    {"model.layers.#.self_attn.q_proj.weight", "blk.#.attn_q.weight", 256, 256},
    {"model.layers.#.mlp.gate.weight", "blk.#.ffn_gate_inp.weight", 4, 256},
    {"model.layers.#.mlp.shared_expert_gate.weight", "blk.#.ffn_gate_inp_shexp.weight", 1, 256},
    {"model.layers.#.mlp.shared_expert.gate_proj.weight", "blk.#.ffn_gate_shexp.weight", 128, 256},
    {"model.layers.#.mlp.shared_expert.up_proj.weight", "blk.#.ffn_up_shexp.weight", 128, 256},
    {"model.layers.#.mlp.shared_expert.down_proj.weight", "blk.#.ffn_down_shexp.weight", 256, 128},
    {"model.layers.#.mlp.experts.%.gate_proj.weight", "blk.#.ffn_gate_exps.weight", 96, 256},
    {"model.layers.#.mlp.experts.%.up_proj.weight", "blk.#.ffn_up_exps.weight", 96, 256},
    {"model.layers.#.mlp.experts.%.down_proj.weight", "blk.#.ffn_down_exps.weight", 256, 96},
    {NULL, NULL, 0, 0},
};
/* DeepSeek: latent attention; Phi-3's matrices are fused in the checkpoint */
static const struct native latent[] = {
    {"model.layers.#.self_attn.q_a_proj.weight", "blk.#.attn_q_a.weight", 128, 256},
    {"model.layers.#.self_attn.kv_a_proj_with_mqa.weight", "blk.#.attn_kv_a_mqa.weight", 96, 256},
    {"model.layers.#.self_attn.kv_b_proj.weight", "blk.#.attn_kv_b.weight", 256, 128},
    {"model.layers.#.self_attn.qkv_proj.weight", "blk.#.attn_qkv.weight", 512, 256},
    {NULL, NULL, 0, 0},
};

struct shape {
    struct ht__model model;
    struct ht__weight native[MAX];
    char names[MAX][96];
};

static void fill(char *out, size_t size, const char *pattern, int layer, int expert)
{
    size_t n = 0;
    for (const char *p = pattern; *p && n + 12 < size; p++)
        if (*p == '#' || *p == '%')
            n += (size_t)snprintf(out + n, size - n, "%d", *p == '#' ? layer : expert);
        else
            out[n++] = *p;
    out[n] = '\0';
}

static void add(struct shape *s, const struct native *n, int layer, int expert)
{
    size_t i = s->model.n_native++;
    char role[96];
    assert_true(i < MAX);
    fill(s->names[i], sizeof s->names[i], n->name, layer, expert);
    fill(role, sizeof role, n->role, layer, expert);
    struct ht__slot slot = ht__slot_of_name(role);
    if (ht__slot_of_experts(slot)) slot.expert = expert;
    const struct ht__role_info *info = ht__role_at(slot.role);
    s->native[i] = (struct ht__weight){.name = s->names[i],
                                       .n_dims = 2,
                                       .ne = {n->n_in, n->n_out, 1, 1},
                                       .source = &ht__codec_bf16,
                                       .slot = slot,
                                       .linear = info->matrix && !(info->flags & HT__ROLE_NEVER)};
}

static struct shape *make(const struct native *list)
{
    struct shape *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->model = (struct ht__model){.native = s->native, .n_layers = LAYERS};
    for (const struct native *n = list; n->name; n++)
        if (!strchr(n->name, '#')) add(s, n, 0, -1);
    for (int layer = 0; layer < LAYERS; layer++)
        for (const struct native *n = list; n->name; n++)
            for (int e = 0; strchr(n->name, '#') && e < (strchr(n->name, '%') ? 4 : 1); e++)
                add(s, n, layer, e);
    return s;
}

/* ---- outcomes ---- */

struct outcome {
    struct ht__arena arena;
    struct ht__scheme_rule rules[MOST_RULES];
    size_t n;
    struct ht__scheme_choice choices[MAX];
    struct ht_diag diag;
    char warned[200];
};

static void on_line(void *ctx, enum ht__log_level level, const char *line)
{
    struct outcome *o = ctx;
    if (level == HT__LOG_WARNING) snprintf(o->warned, sizeof o->warned, "%s", line);
}

/* Those that begin with `skip ` are names of modules. */
static void decide(struct outcome *o, struct shape *s, const char *type, const char *const rules[])
{
    struct ht__scheme_params base;
    const struct ht__scheme_rule *list[MOST_RULES];
    memset(o, 0, sizeof *o);
    ht__arena_init(&o->arena, NULL);
    assert_int_equal(ht__scheme_parse(type, &base, &o->diag), HT_OK);
    struct ht__scheme_params *kept = ht__arena_new(&o->arena, sizeof *kept);
    assert_non_null(kept);
    *kept = base;
    for (size_t i = 0; rules[i]; i++) {
        bool skip = strncmp(rules[i], "skip ", 5) == 0;
        struct ht__scheme_rule *r = &o->rules[o->n];
        enum ht_err err = skip ? ht__scheme_rule_skip(r, rules[i] + 5, &o->arena, &o->diag)
                               : ht__scheme_rule_parse(r, rules[i], &o->arena, &o->diag);
        if (err != HT_OK) fail_msg("%s: %s", rules[i], o->diag.message);
        list[o->n++] = r;
    }
    struct ht__scheme_recipe recipe = {kept, list, o->n};
    struct ht__log log = {on_line, o};
    assert_int_equal(ht__scheme_rules_apply(&recipe, &s->model, &o->arena, &log, o->choices, &o->diag), HT_OK);
    assert_int_equal(ht__scheme_rules_settle(&s->model, &ht__codec_bf16, o->choices, &o->arena, &o->diag), HT_OK);
}

static void forget(struct outcome *o)
{
    for (size_t i = 0; i < o->n; i++)
        ht__scheme_rule_close(&o->rules[i]);
    ht__arena_close(&o->arena);
}

static size_t find(const struct shape *s, const char *module)
{
    char name[120];
    snprintf(name, sizeof name, "%s.weight", module);
    for (size_t i = 0; i < s->model.n_native; i++)
        if (strcmp(s->names[i], name) == 0) return i;
    fail_msg("no module %s", module);
    return 0;
}

static void becomes(const struct outcome *o, const struct shape *s, const char *module, const char *scheme)
{
    char text[200] = "none";
    const struct ht__scheme_choice *c = &o->choices[find(s, module)];
    if (c->scheme) ht__scheme_text(c->scheme, text, sizeof text);
    if (strcmp(text, scheme) != 0) fail_msg("%s is %s, not %s", module, text, scheme);
}

#define L "model.layers."
#define RULES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void parts_of_a_model(void **state)
{
    (void)state;
    struct shape *s = make(llama);
    struct outcome o;
    decide(&o, s, "w4a16", RULES("layers:2=none", "attention=w8a16:group=64", "last:1+ffn=w8a8", "output=fp8"));
    becomes(&o, s, "model.embed_tokens", "none");
    becomes(&o, s, "lm_head", "fp8");
    becomes(&o, s, L "0.self_attn.q_proj", "w8a16:group=64");
    becomes(&o, s, L "0.self_attn.o_proj", "w8a16:group=64");
    becomes(&o, s, L "0.mlp.down_proj", "w4a16");
    becomes(&o, s, L "2.self_attn.q_proj", "none");
    becomes(&o, s, L "2.mlp.up_proj", "none");
    becomes(&o, s, L "3.mlp.gate_proj", "w8a8");
    becomes(&o, s, L "3.self_attn.v_proj", "w8a16:group=64");
    becomes(&o, s, L "0.input_layernorm", "none");
    assert_string_equal(o.warned, "");
    forget(&o);
    decide(&o, s, "gptq", RULES("first:1=none", "layers:1-2+ffn_down=gptq:bits=8", "experts=none"));
    becomes(&o, s, L "0.mlp.down_proj", "none");
    becomes(&o, s, L "1.mlp.down_proj", "gptq:bits=8");
    becomes(&o, s, L "2.mlp.down_proj", "gptq:bits=8");
    becomes(&o, s, L "3.mlp.down_proj", "gptq");
    becomes(&o, s, "lm_head", "none");
    assert_non_null(strstr(o.warned, "experts=none: fits no Linear"));
    forget(&o);
    free(s);
}

static void fused_alike(void **state)
{
    (void)state;
    struct shape *s = make(llama);
    struct outcome o;
    decide(&o, s, "w4a16", RULES("attn_v=w8a16", "attn_q=none", "re:.*layers\\.1\\.mlp\\.up_proj=none"));
    static const char *const qkv[] = {L "0.self_attn.q_proj", L "0.self_attn.k_proj", L "0.self_attn.v_proj"};
    for (size_t i = 0; i < 3; i++)
        becomes(&o, s, qkv[i], "w8a16");
    assert_ptr_equal(o.choices[find(s, qkv[0])].partner, &s->native[find(s, qkv[2])]);
    assert_null(o.choices[find(s, qkv[2])].partner);
    becomes(&o, s, L "0.self_attn.o_proj", "w4a16");
    becomes(&o, s, L "1.mlp.gate_proj", "none");
    becomes(&o, s, L "1.mlp.down_proj", "w4a16");
    becomes(&o, s, L "0.mlp.gate_proj", "w4a16");
    forget(&o);
    /* k and v have 64 rows, which whole blocks of 128 do not make */
    decide(&o, s, "fp8-block", RULES("output=none"));
    becomes(&o, s, L "0.self_attn.k_proj", "none");
    becomes(&o, s, L "0.self_attn.q_proj", "none");
    becomes(&o, s, L "0.self_attn.o_proj", "fp8-block");
    assert_non_null(strstr(o.choices[find(s, qkv[0])].unsuited, "k_proj"));
    forget(&o);
    free(s);

    s = make(experts);
    decide(&o, s, "w4a16:group=32", RULES("re:model\\.layers\\.1\\.mlp\\.experts\\.3\\.=none", "ffn_up_shexp=w8a16"));
    becomes(&o, s, L "1.mlp.experts.0.down_proj", "none");
    becomes(&o, s, L "2.mlp.experts.0.down_proj", "w4a16:group=32");
    becomes(&o, s, L "0.mlp.shared_expert.gate_proj", "w8a16");
    becomes(&o, s, L "0.mlp.shared_expert.down_proj", "w4a16:group=32");
    becomes(&o, s, L "0.mlp.gate", "none");
    becomes(&o, s, L "0.mlp.shared_expert_gate", "none");
    forget(&o);
    /* transformers has no Linear for each expert that bitsandbytes could pack */
    decide(&o, s, "nf4", RULES("ffn_up_shexp=nf4:block=128"));
    becomes(&o, s, L "0.mlp.experts.0.gate_proj", "none");
    becomes(&o, s, L "0.mlp.shared_expert.gate_proj", "nf4:block=128");
    assert_non_null(strstr(o.choices[find(s, L "0.mlp.experts.0.gate_proj")].unsuited, "experts"));
    forget(&o);
    size_t stack = find(s, L "0.mlp.experts.0.down_proj");
    s->native[stack].n_dims = 3;
    s->native[stack].linear = false;
    decide(&o, s, "w4a16:group=32", RULES("layers:1=none"));
    becomes(&o, s, L "0.mlp.experts.0.down_proj", "none");
    assert_non_null(strstr(o.choices[stack].unsuited, "one tensor"));
    s->native[stack].n_dims = 2;
    s->native[stack].linear = true;
    forget(&o);

    /* rows of 96 in the experts' down: no expert of any layer can be stored in groups of 128 */
    decide(&o, s, "w4a16", RULES("feed-forward+first:2=w8a16"));
    becomes(&o, s, L "3.mlp.experts.2.up_proj", "none");
    becomes(&o, s, L "0.mlp.experts.2.up_proj", "w8a16");
    becomes(&o, s, L "0.mlp.shared_expert.down_proj", "w8a16");
    becomes(&o, s, L "3.self_attn.q_proj", "w4a16");
    forget(&o);
    free(s);

    s = make(latent);
    decide(&o, s, "w8a8", RULES("attn_q_a=fp8", "layer:1=none"));
    becomes(&o, s, L "0.self_attn.kv_a_proj_with_mqa", "fp8");
    becomes(&o, s, L "0.self_attn.kv_b_proj", "w8a8");
    becomes(&o, s, L "0.self_attn.qkv_proj", "w8a8");
    becomes(&o, s, L "1.self_attn.qkv_proj", "none");
    forget(&o);
    free(s);
}

/* Experts in one tensor: packed by the scheme that is for them, which packs nothing else; otherwise they stay and are listed. */
static void stacks(void **state)
{
    (void)state;
    static const struct native list[] = {
        {"model.layers.#.self_attn.q_proj.weight", "blk.#.attn_q.weight", 256, 256},
        {"model.layers.#.mlp.experts.gate_up_proj", "blk.#.ffn_gate_exps.weight", 512, 96},
        {"model.layers.#.mlp.experts.down_proj", "blk.#.ffn_down_exps.weight", 384, 64},
        {NULL, NULL, 0, 0},
    };
    struct shape *s = make(list);
    struct ht__weight as[MAX];
    struct ht__tensor tensor = {.n_dims = 3};
    for (size_t i = 0; i < s->model.n_native; i++) {
        struct ht__weight *w = &s->native[i];
        if (!ht__slot_of_experts(w->slot)) continue;
        w->slot.expert = -1;
        w->linear = false;
        w->n_dims = 3;
        w->tensor = &tensor;
        as[i] = *w;
        as[i].n_stacked = 4;
        w->stack = &as[i];
    }
    struct outcome o;
    const size_t gate_up = 1, down = 2;
    decide(&o, s, "mxfp4:config=gpt-oss", RULES("layers:1=none"));
    assert_null(o.choices[0].scheme);
    assert_null(o.choices[0].unsuited); /* it is for experts alone: nothing is missing */
    assert_non_null(o.choices[gate_up].scheme);
    assert_non_null(o.choices[down].scheme);
    assert_null(o.choices[3 + down].scheme);
    forget(&o);
    as[down].ne[0] = 48; /* no blocks of 32: programs take both or neither */
    decide(&o, s, "mxfp4:config=gpt-oss", RULES("layers:1=none"));
    assert_null(o.choices[gate_up].scheme);
    assert_non_null(strstr(o.choices[gate_up].unsuited, "down_proj"));
    forget(&o);
    decide(&o, s, "w8a16", RULES("layers:1=none"));
    assert_non_null(o.choices[0].scheme);
    assert_non_null(strstr(o.choices[gate_up].unsuited, "mxfp4:config=gpt-oss"));
    forget(&o);
    free(s);
}

/* The same name means to each folder what its readers make of it. */
static void skipped(void **state)
{
    (void)state;
    struct shape *s = make(llama);
    struct outcome o;
    decide(&o, s, "nf4", RULES("skip o_proj", "skip model.layers.1", "skip mlp.down", "skip lm_head"));
    becomes(&o, s, L "0.self_attn.o_proj", "none");
    becomes(&o, s, L "1.mlp.down_proj", "none");
    becomes(&o, s, L "2.mlp.down_proj", "nf4"); /* neither an end nor, up to a dot, a beginning */
    becomes(&o, s, L "2.self_attn.q_proj", "nf4");
    forget(&o);
    decide(&o, s, "w4a16", RULES("skip o_proj", "skip model.layers.1.mlp.down_proj", "skip re:.*[23]\\.mlp\\.down"));
    becomes(&o, s, L "0.self_attn.o_proj", "w4a16");
    becomes(&o, s, L "1.mlp.down_proj", "none");
    becomes(&o, s, L "0.mlp.down_proj", "w4a16");
    becomes(&o, s, L "3.mlp.down_proj", "none");
    forget(&o);
    decide(&o, s, "gptq", RULES("skip -:.*\\.3\\..*", "attention=gptq:bits=8"));
    becomes(&o, s, L "3.self_attn.q_proj", "none");
    becomes(&o, s, L "2.self_attn.q_proj", "gptq:bits=8");
    forget(&o);
    free(s);
}

/* ---- settings ---- */

static enum ht_err settle(const char *const (*options)[2], struct ht_diag *diag)
{
    struct ht_job *job;
    struct ht__settings s;
    memset(diag, 0, sizeof *diag);
    assert_int_equal(ht__job_open(NULL, &job), HT_OK);
    assert_int_equal(ht__options_set(job, "source", "model", diag), HT_OK);
    for (size_t i = 0; options[i][0]; i++)
        assert_int_equal(ht__options_set(job, options[i][0], options[i][1], diag), HT_OK);
    enum ht_err err = ht__settings_parse(&s, job, HT__VERB_QUANTIZE, diag);
    ht__settings_close(&s);
    ht__job_close(&job);
    return err;
}

static void mixtures(void **state)
{
    (void)state;
    static const struct {
        const char *type, *rule, *refused; /* a part of the message; NULL: it is taken */
    } cases[] = {
        {"w4a16", "attention=w8a8", NULL},
        {"w4a16", "attention=nvfp4", NULL},
        {"fp8", "attention=fp8-block:config=compressed-tensors", NULL},
        {"fp8", "attention=fp8-block", "compressed-tensors holds"},
        {"nvfp4:config=modelopt", "attention=fp8", "one kind"},
        {"gptq", "attention=gptq:bits=8,group=64", NULL},
        {"gptq", "attention=gptq:version=v2", "same version"},
        {"gptq", "attention=awq", "bits, group and sym alone"},
        {"awq", "attention=awq:group=64", "one kind"},
        {"awq:config=auto-round", "attention=awq:group=64,config=auto-round", NULL},
        {"nf4", "attention=fp4", NULL},
        {"nf4", "attention=nf4:block=128", NULL},
        {"nf4", "attention=int8", "not both"},
        {"nf4", "attention=none", NULL},
        {"nf4", "attention=nf5", "did you mean nf4"},
        {"mxfp8", "attention=fp8", "one kind"},
        {"nf4", "atention=none", "expected attention"},
        {"nf4", "attention", "expected WHERE=SCHEME"},
        {"nf4", "=none", "expected WHERE=SCHEME"},
        {"nf4", "first:=none", "expected attention"},
        {"nf4", "layers:3-2=none", "expected attention"},
        {"nf4", "layers:99999999999999999999=none", "expected attention"},
        {"nf4", "re:(=none", "bad regular expression"},
        {"nf4", "a+=none", "expected attention"},
        {"nf4", "attn+ffn+first:1+last:1+layer:1=none", "more than 4"},
        {"w8a16", "embeddings=w8a16", "embeddings stay"},
        {"w8a16", "router=w8a16", "routers stay"},
        {"nf4,w4a16", "w4a16/attention=w8a16", NULL},
        {"nf4,w4a16", "attention=w8a16", "not possible in a folder of nf4"},
        {"w8a8", "w4a16/attention=w8a16", "none of the types"},
        {"adaptive,nf4", "adaptive/attention=w8a16", NULL},
        {"adaptive", "w4a16:group=32/attention=w8a16", "none of the types"},
        {"nf4", "w4a16:groups=32/attention=none", "no option"},
        {"Q4_K_M", "attention=w8a16", "--tensor-type"},
        {"Q4_K_M,w4a16", "attention=w8a16", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht_diag diag;
        const char *options[][2] = {{"type", cases[i].type}, {"rule", cases[i].rule}, {NULL, NULL}};
        enum ht_err err = settle(options, &diag);
        if (!cases[i].refused && err != HT_OK) fail_msg("%s %s: %s", cases[i].type, cases[i].rule, diag.message);
        if (cases[i].refused && (err == HT_OK || !strstr(diag.message, cases[i].refused)))
            fail_msg("%s %s: \"%s\"", cases[i].type, cases[i].rule, diag.message);
    }
}

static void other_options(void **state)
{
    (void)state;
    struct ht_diag diag;
    const char *files[][2] = {{"type", "nf4"}, {"tensor-type", "ffn=q6_k"}, {NULL, NULL}};
    assert_int_equal(settle(files, &diag), HT_ERR_USAGE);
    assert_non_null(strstr(diag.message, "--rule"));
    const char *both[][2] = {
        {"type", "nf4,Q4_K_M"}, {"tensor-type", "ffn=q6_k"}, {"skip-modules", "lm_head"}, {NULL, NULL}};
    assert_int_equal(settle(both, &diag), HT_OK);
    const char *plus[][2] = {{"type", "gptq"}, {"skip-modules", "+:.*q_proj"}, {NULL, NULL}};
    assert_int_equal(settle(plus, &diag), HT_ERR_USAGE);
    assert_non_null(strstr(diag.message, "--rule"));
    const char *bad[][2] = {{"type", "gptq"}, {"skip-modules", "q_proj("}, {NULL, NULL}};
    assert_int_equal(settle(bad, &diag), HT_ERR_USAGE);
}

static void ladders(void **state)
{
    (void)state;
    static const struct {
        const char *type, *max_error, *refused;
    } cases[] = {
        {"adaptive", NULL, NULL},
        {"Adaptive", ".05", NULL},
        {"adaptive-nf4@round", "1", NULL},
        {"w4a16:group=32,sym=off>w8a16:group=64>nvfp4>none,Q4_K_M", NULL, NULL},
        {"nf4>fp4", NULL, NULL},
        {"nf4>int8>int8_dynamic>none", NULL, "not both. The levels of -t adaptive"},
        {"w4a16>w8a17>none", NULL, "did you mean"},
        {"w4a16>none>w8a16", NULL, "after none"},
        {"none>w4a16", NULL, "begins with none"},
        {"w4a16>", NULL, "there is no scheme \"\""},
        {"w4a16>w4a16>w4a16>w4a16>w4a16>w4a16>w4a16>w4a16>w4a16", NULL, "more than 8"},
        {"gguf/adaptive", NULL, "in a folder"},
        {"adaptive", "0", "above 0"},
        {"adaptive", "nan", "above 0"},
        {"adaptive", ".1x", "above 0"},
        {"w4a16", ".1", "for ladders"},
        {"adaptive,adaptive", NULL, "twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht_diag diag;
        const char *options[][2] = {
            {"type", cases[i].type}, {cases[i].max_error ? "max-error" : NULL, cases[i].max_error}, {NULL, NULL}};
        enum ht_err err = settle(options, &diag);
        if (!cases[i].refused && err != HT_OK) fail_msg("%s: %s", cases[i].type, diag.message);
        if (cases[i].refused && (err == HT_OK || !strstr(diag.message, cases[i].refused)))
            fail_msg("%s: \"%s\"", cases[i].type, diag.message);
    }
    for (size_t i = 0; ht__preset_at(i); i++) {
        struct ht__arena arena;
        struct ht__ladder ladder;
        ht__arena_init(&arena, NULL);
        assert_int_equal(ht__ladder_parse(ht__preset_at(i)->name, &ladder, &arena, NULL), HT_OK);
        assert_true(ladder.n >= 2 && ladder.levels[ladder.n - 1] == NULL);
        ht__arena_close(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_a_model), cmocka_unit_test(fused_alike),   cmocka_unit_test(skipped),
        cmocka_unit_test(mixtures),         cmocka_unit_test(other_options), cmocka_unit_test(ladders),
        cmocka_unit_test(stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
