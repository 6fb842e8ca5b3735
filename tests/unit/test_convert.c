/* Metadata and tensors of converted folders, as llama.cpp's converter writes them: the tiny models of
 * tests/golden/models.txt with a changed configuration and files beside. */
#include "base/yaml.h"
#include "formats/checkpoint.h"
#include "lib/converted.h"
#include "base/text.h"
#include "model/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct converted it;

static size_t place_of(const char *tensor)
{
    for (size_t i = 0; i < it.opened->n_weights; i++)
        if (strcmp(it.opened->weights[i].name, tensor) == 0) return i;
    fail_msg("%s has no %s", it.model.name, tensor);
    return 0;
}

static void penalty(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double want;
    } cases[] = {{"{\"repetition_penalty\": 1.1}", 1.1},
                 {"{\"repetition_penalty\": 1.1, \"penalty_repeat\": 1.3}", 1.3},
                 {"{\"repetition_penalty\": 1, \"top_p\": NaN}", 1}};
    converted_load(&it, "llama-gqa");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        folder_puts(&it.folder, "generation_config.json", cases[i].text);
        converted_must(&it);
        converted_is_number(&it, "general.sampling.penalty_repeat", cases[i].want);
        assert_null(ht__kv_get(&it.opened->kvs, "general.sampling.top_p"));
        converted_close(&it);
    }
    folder_puts(&it.folder, "generation_config.json", "{}");
}

static void key_length(void **state)
{
    (void)state;
    converted_load(&it, "llama-gqa");
    converted_change(&it, "\"head_dim\": 16, ", "");
    converted_must(&it);
    converted_is_number(&it, "llama.attention.key_length", 16);
    converted_is_number(&it, "llama.attention.value_length", 16);
    converted_close(&it);
    converted_load(&it, "qwen2"); /* its class has no head_dim */
    converted_must(&it);
    assert_null(ht__kv_get(&it.opened->kvs, "qwen2.attention.key_length"));
    converted_close(&it);
}

static void python_numbers(void **state)
{
    (void)state;
    static const char *const values[] = {"NaN", "Infinity", "-Infinity"};
    for (int i = 0; i < 3; i++) {
        char text[64];
        converted_load(&it, "llama-gqa");
        snprintf(text, sizeof text, "\"initializer_range\": %s", values[i]);
        converted_change(&it, "\"initializer_range\": 0.02", text);
        snprintf(text, sizeof text, "\"rope_theta\": %s", values[i]); /* no number that could be used */
        converted_change(&it, "\"rope_theta\": 10000.0", text);
        converted_must(&it);
        converted_is_number(&it, "llama.rope.freq_base", 10000);
        converted_close(&it);
    }
    converted_load(&it, "stablelm");
    converted_change(&it, "\"partial_rotary_factor\": 0.25", "\"partial_rotary_factor\": 1e300");
    models_write(&it.model, &it.folder);
    assert_int_equal(converted_try(&it), HT_ERR_FORMAT);
    assert_non_null(strstr(it.diag.message, "from 0 to 1"));
    converted_close(&it);
    converted_load(&it, "llama-gqa");
    converted_change(&it, "\"vocab_size\": 4096", "\"vocab_size\": NaN");
    models_write(&it.model, &it.folder);
    assert_int_equal(converted_try(&it), HT_ERR_FORMAT);
    converted_close(&it);
}

#define PLAIN "\"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\"}"

static void rope(const char *base, const char *parameters)
{
    char text[512];
    converted_load(&it, base);
    snprintf(text, sizeof text, "\"rope_parameters\": {\"rope_theta\": 10000.0, %s", parameters);
    converted_change(&it, PLAIN, text);
    converted_must(&it);
}

static void rope_scaling(void **state)
{
    (void)state;
    rope("llama-gqa", "\"rope_type\": \"yarn\", \"factor\": 4, \"attn_factor\": 1.3}, "
                      "\"original_max_position_embeddings\": 48");
    converted_is_text(&it, "llama.rope.scaling.type", "yarn");
    converted_is_number(&it, "llama.rope.scaling.yarn_attn_factor", 1.3);
    converted_is_number(&it, "llama.rope.scaling.original_context_length", 48);
    converted_close(&it);
    rope("llama-gqa", "\"rope_type\": \"yarn\", \"factor\": 4, \"attention_factor\": 1.2, \"attn_factor\": 1.3}");
    converted_is_number(&it, "llama.rope.scaling.yarn_attn_factor", 1.2);
    converted_is_number(&it, "llama.rope.scaling.original_context_length", 256); /* nothing says another */
    converted_close(&it);
    rope("llama-gqa", "\"rope_type\": \"longrope\", \"short_factor\": [1], \"long_factor\": [2]}");
    converted_is_text(&it, "llama.rope.scaling.type", "longrope");
    converted_close(&it);
    rope("qwen2", "\"rope_type\": \"default\", \"mrope_section\": [2, 3, 3]}");
    const struct ht__kv *sections = converted_key(&it, "qwen2.rope.dimension_sections");
    static const int32_t want[4] = {2, 3, 3, 0};
    assert_int_equal(sections->elem, HT__KV_I32);
    assert_int_equal(sections->n, 4);
    assert_memory_equal(sections->data, want, sizeof want);
    converted_close(&it);
}

/* Llama 3.1: wavelengths below a quarter of the original context stay, those beyond it are stretched by the factor, and
 * those between are blended. Heads have 16 values here, so that the wavelengths are 6.3, 19.9, 62.8 and more. */
static void rope_of_llama3(void **state)
{
    (void)state;
    rope("llama-gqa", "\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4, "
                      "\"original_max_position_embeddings\": 60}");
    const struct ht__weight *w = &it.opened->weights[place_of("rope_freqs.weight")];
    float factors[64];
    int64_t n = w->rows->row_len;
    assert_in_range(n, 4, 64);
    assert_int_equal(w->rows->read(w->rows, 0, 1, factors, NULL, &it.diag), HT_OK);
    double ratio = pow(10000, 1.0 / (double)n), blend = (60 / (2 * M_PI * ratio) - 1) / 3;
    assert_true(factors[0] == 1);
    assert_true(fabs(factors[1] - 1 / ((1 - blend) / 8 + blend)) < 1e-4);
    for (int64_t i = 2; i < n; i++)
        assert_true(factors[i] == 8);
    converted_close(&it);
}

/* The parts of `whole` with an even number, or with an odd one, in a shard of their own. */
static void write_shard(const struct model *whole, int part, const char *name, char *index)
{
    char from[600], to[600];
    struct model *shard = malloc(sizeof *shard);
    assert_non_null(shard);
    *shard = *whole;
    for (int i = 0; i < shard->n; i++) {
        shard->tensors[i].left_out = i % 2 != part;
        if (i % 2 == part) {
            size_t n = strlen(index);
            snprintf(index + n, 60000 - n, "%s\"%s\": \"%s\"", n > 20 ? ", " : "", shard->tensors[i].name, name);
        }
    }
    models_write(shard, &it.folder);
    snprintf(from, sizeof from, "%s/model.safetensors", it.folder.path);
    snprintf(to, sizeof to, "%s/%s", it.folder.path, name);
    assert_int_equal(rename(from, to), 0);
    free(shard);
}

/* Experts lie in both shards: their stacks follow the last part of all. */
static void order_of_experts(void **state)
{
    (void)state;
    static const char *const names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    static char index[60000];
    strcpy(index, "{\"weight_map\": {");
    converted_load(&it, "qwen3-moe");
    for (int part = 0; part < 2; part++)
        write_shard(&it.model, part, names[part], index);
    strcat(index, "}}");
    folder_puts(&it.folder, "model.safetensors.index.json", index);
    if (converted_try(&it) != HT_OK) fail_msg("%s: %s", it.diag.where, it.diag.message);
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.ffn_down_exps.weight", layer);
        size_t at = place_of(name);
        snprintf(name, sizeof name, "blk.%d.ffn_gate_exps.weight", layer);
        assert_int_equal(place_of(name), at + 1);
        snprintf(name, sizeof name, "blk.%d.ffn_up_exps.weight", layer);
        assert_int_equal(place_of(name), at + 2);
        assert_true(at > place_of("token_embd.weight") || at > place_of("output.weight")); /* of the second shard */
    }
    converted_close(&it);
    for (int part = 0; part < 2; part++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", it.folder.path, names[part]);
        unlink(path);
    }
    char path[600];
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", it.folder.path);
    unlink(path);
}

static void order_of_keys(void **state)
{
    (void)state;
    static const char *const want[] = {"llama.block_count", "llama.context_length", "llama.embedding_length",
                                       "llama.feed_forward_length", "llama.attention.head_count"};
    converted_load(&it, "llama-gqa");
    converted_must(&it);
    size_t at = 0;
    while (at < it.opened->kvs.n && strcmp(it.opened->kvs.items[at].key, want[0]) != 0)
        at++;
    assert_true(at + 5 <= it.opened->kvs.n);
    for (int i = 0; i < 5; i++)
        assert_string_equal(it.opened->kvs.items[at + (size_t)i].key, want[i]);
    assert_string_equal(it.opened->kvs.items[it.opened->file_type_at].key, "llama.vocab_size");
    assert_string_equal(it.opened->kvs.items[it.opened->version_at].key, "tokenizer.ggml.model");
    converted_close(&it);
}

static void model_card(void **state)
{
    (void)state;
    converted_load(&it, "llama-gqa");
    folder_puts(&it.folder, "README.md",
                "---\nlicense: &l mit\nauthor: *l\ncommon: &c {name: Merged, version: v9}\n<<: *c\nname: Own\n"
                "tags: &t\n- a\n- *l\nlanguage: *t\n---\n");
    converted_must(&it);
    converted_is_text(&it, "general.license", "mit");
    converted_is_text(&it, "general.author", "mit");
    converted_is_text(&it, "general.name", "Own");
    converted_is_text(&it, "general.version", "v9");
    assert_int_equal(converted_key(&it, "general.languages")->n, 2);
    converted_close(&it);
    folder_puts(&it.folder, "README.md", "---\nlicense: mit\nname: *nothing\n---\n");
    converted_must(&it); /* a warning, and no card */
    assert_null(ht__kv_get(&it.opened->kvs, "general.license"));
    converted_close(&it);
    folder_puts(&it.folder, "README.md", "");
}

static enum ht_err parse_yaml(const char *text)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    ht__arena_init(&arena, NULL);
    it.diag = (struct ht_diag){0};
    enum ht_err err = ht__yaml_parse(&arena, text, strlen(text), "card", &root, &it.diag);
    ht__arena_close(&arena);
    return err;
}

/* Small texts that stand for large trees, deep ones, and trees that hold themselves. */
static void hostile_anchors(void **state)
{
    (void)state;
    static char text[20000];
    for (int merge = 0; merge < 2; merge++) {
        strcpy(text, "x0: &x0 {a: b, c: d}\n");
        for (int i = 1; i < 40; i++)
            snprintf(text + strlen(text), 200, merge ? "x%d: &x%d {<<: [*x%d, *x%d]}\n" : "x%d: &x%d [*x%d, *x%d]\n", i,
                     i, i - 1, i - 1);
        assert_int_equal(parse_yaml(text), HT_ERR_LIMIT);
        assert_non_null(strstr(it.diag.message, "aliases stand for more than"));
    }
    strcpy(text, "x0: &x0 [a]\n");
    for (int i = 1; i < 80; i++)
        snprintf(text + strlen(text), 200, "x%d: &x%d [*x%d]\n", i, i, i - 1);
    assert_int_equal(parse_yaml(text), HT_ERR_FORMAT);
    assert_non_null(strstr(it.diag.message, "nested too deeply"));
    assert_int_equal(parse_yaml("a: &a [*a]\n"), HT_ERR_FORMAT);
    assert_int_equal(parse_yaml("a: &a [1]\nb: &a {c: d}\n<<: *a\n"), HT_OK);
    assert_int_equal(parse_yaml("*a : b\n"), HT_ERR_FORMAT);
}

static void shared_expert_gate(void **state)
{
    (void)state;
    converted_load(&it, "qwen2-moe");
    converted_must(&it);
    const struct ht__weight *gate = &it.opened->weights[place_of("blk.0.ffn_gate_inp_shexp.weight")];
    assert_int_equal(gate->n_dims, 2);
    assert_int_equal(gate->ne[0], 64);
    assert_int_equal(gate->ne[1], 1);
    converted_close(&it);
}

static void packed_by_others(void **state)
{
    (void)state;
    static const char *const methods[] = {"quark", "aqlm", "torchao", "of tomorrow"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char text[128];
        converted_load(&it, "llama-gqa");
        strcpy(strstr(it.model.tensors[2].name, "weight"), "qweight"); /* no name of the architecture's */
        snprintf(text, sizeof text, "{\"quantization_config\": {\"quant_method\": \"%s\"}, ", methods[i]);
        converted_change(&it, "{", text);
        models_write(&it.model, &it.folder);
        assert_int_equal(converted_try(&it), HT_ERR_UNSUPPORTED);
        if (!strstr(it.diag.message, methods[i])) fail_msg("%s: %s", methods[i], it.diag.message);
        converted_close(&it);
    }
}

static void class_is(const char *base, const char *from, const char *to, bool bare)
{
    char was[64], becomes[64];
    converted_load(&it, base);
    snprintf(was, sizeof was, "[\"%s\"]", from);
    snprintf(becomes, sizeof becomes, "[\"%s\"]", to);
    converted_change(&it, was, becomes);
    for (int i = 0; bare && i < it.model.n; i++) {
        char *name = it.model.tensors[i].name;
        if (strncmp(name, "model.", 6) == 0) memmove(name, name + 6, strlen(name + 6) + 1);
        if (strncmp(name, "lm_head", 7) == 0) it.model.tensors[i].left_out = true;
    }
}

static void class_names(void **state)
{
    (void)state;
    static const char *const bare[][3] = {{"llama-gqa", "LlamaForCausalLM", "LlamaModel"},
                                          {"mistral", "MistralForCausalLM", "MistralModel"},
                                          {"qwen2", "Qwen2ForCausalLM", "Qwen2Model"},
                                          {"qwen3", "Qwen3ForCausalLM", "Qwen3Model"}};
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++) {
        class_is(bare[i][0], bare[i][1], bare[i][2], true);
        converted_must(&it);
        place_of("blk.1.ffn_down.weight");
        converted_close(&it);
        it.model.tensors[3].left_out = true; /* named as the checkpoint names it */
        models_write(&it.model, &it.folder);
        assert_int_equal(converted_try(&it), HT_ERR_FORMAT);
        assert_non_null(strstr(it.diag.message, "\"layers.0."));
        converted_close(&it);
    }
    class_is("llama-gqa", "LlamaForCausalLM", "LLaMAForCausalLM", false);
    converted_must(&it);
    converted_is_text(&it, "general.architecture", "llama");
    converted_close(&it);
    class_is("llama-gqa", "LlamaForCausalLM", "NobodysForCausalLM", false);
    models_write(&it.model, &it.folder);
    assert_int_equal(converted_try(&it), HT_ERR_UNSUPPORTED);
    assert_non_null(strstr(it.diag.message, "a GGUF file of it can be quantized"));
    converted_close(&it);
}

/* The native view is the checkpoint, tensor by tensor, with what each is for. */
static void native_view(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        int linear;
    } cases[] = {{"llama-gqa", 7}, {"gpt2", 0}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int linear = 0;
        converted_load(&it, cases[c].model);
        converted_must(&it);
        assert_int_equal(it.opened->n_native, it.ck->n_tensors);
        for (size_t i = 0; i < it.opened->n_native; i++) {
            const struct ht__weight *w = &it.opened->native[i];
            assert_ptr_equal(w->tensor, &it.ck->tensors[i]);
            assert_string_equal(w->name, it.ck->tensors[i].name);
            assert_int_equal(w->ne[0] * w->ne[1], w->tensor->n_weights);
            linear += w->linear && w->slot.layer == 0;
            if (strstr(w->name, "self_attn.k_proj.weight")) assert_true(ht__slot_is(w->slot, HT__ROLE_ATTN_K));
        }
        assert_int_equal(linear, cases[c].linear);
        converted_close(&it);
    }
}

/* Whose input a tensor of the checkpoint takes, as statistics of the GGUF view know it: of the whole stack where it is
 * one expert. */
static bool gguf_view_has(struct ht__site site)
{
    site.expert = -1;
    for (size_t i = 0; i < it.opened->n_weights; i++) {
        struct ht__site other = ht__slot_site(it.opened->weights[i].slot);
        if (memcmp(&other, &site, sizeof site) == 0) return true;
    }
    return false;
}

/* One input has a name of its own: the latent that is divided between keys and values. */
static int compare_sites(void)
{
    int latent = 0;
    for (size_t i = 0; i < it.opened->n_native; i++) {
        const struct ht__weight *w = &it.opened->native[i];
        struct ht__site site = ht__slot_site(w->slot);
        bool kv_b = site.kind == HT__SITE_KV_LATENT;
        latent += kv_b;
        assert_int_equal(kv_b, ht__ends_with(w->name, "kv_b_proj.weight"));
        if (w->linear && site.kind == HT__SITE_NONE && w->slot.role != HT__ROLE_EMBEDDING)
            fail_msg("%s: %s has no site", it.model.name, w->name);
        if (site.kind != HT__SITE_NONE && !kv_b && !gguf_view_has(site))
            fail_msg("%s: %s: no weight of the GGUF view has its site", it.model.name, w->name);
    }
    return latent;
}

static void sites_of_both_views(void **state)
{
    (void)state;
    FILE *list = models_open();
    int models = 0, latent = 0;
    assert_non_null(list);
    for (; models_next(list, &it.model); models++) {
        converted_must(&it);
        latent += compare_sites();
        converted_close(&it);
    }
    fclose(list);
    assert_true(models > 30 && latent >= 3);
    converted_load(&it, "granite-moe-shared"); /* without experts, what they would share is the feed-forward */
    converted_change(&it, "\"num_local_experts\": 4", "\"num_local_experts\": 0");
    for (int i = 0; i < it.model.n; i++)
        it.model.tensors[i].left_out = strstr(it.model.tensors[i].name, "block_sparse_moe") != NULL;
    converted_must(&it);
    compare_sites();
    place_of("blk.1.ffn_down.weight");
    converted_close(&it);
}

static int setup(void **state)
{
    (void)state;
    it.folder = folder_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(&it.folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(penalty),          cmocka_unit_test(key_length),
        cmocka_unit_test(python_numbers),   cmocka_unit_test(rope_scaling),
        cmocka_unit_test(rope_of_llama3),   cmocka_unit_test(order_of_experts),
        cmocka_unit_test(order_of_keys),    cmocka_unit_test(model_card),
        cmocka_unit_test(hostile_anchors),  cmocka_unit_test(shared_expert_gate),
        cmocka_unit_test(packed_by_others), cmocka_unit_test(class_names),
        cmocka_unit_test(native_view),      cmocka_unit_test(sites_of_both_views),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
