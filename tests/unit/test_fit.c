/* Memory to run well-known models, against arithmetic done by hand from their published configurations. */
#include "advise/fit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct ht__arena arena;
    struct ht__model model;
    struct ht__weight embedding;
    struct ht__fit_shape shape;
    struct ht_diag diag;
};

static void put(struct fixture *f, const char *suffix, uint32_t value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", f->model.arch, suffix);
    ht__kv_u32(&f->model.kvs, key, value);
}

static struct fixture *begin(const char *arch, uint32_t layers, uint32_t embd, uint32_t heads, uint32_t kv_heads,
                             uint32_t ff, int64_t vocab, uint32_t ctx)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    ht__arena_init(&f->arena, NULL);
    ht__kvs_init(&f->model.kvs, &f->arena);
    f->model.arch = arch;
    f->embedding = (struct ht__weight){.name = "token_embd.weight",
                                       .slot = ht__slot_of_name("token_embd.weight"),
                                       .n_dims = 2,
                                       .ne = {embd, vocab, 1, 1}};
    f->model.weights = &f->embedding;
    f->model.n_weights = 1;
    put(f, "block_count", layers);
    put(f, "embedding_length", embd);
    put(f, "attention.head_count", heads);
    put(f, "attention.head_count_kv", kv_heads);
    put(f, "feed_forward_length", ff);
    put(f, "context_length", ctx);
    return f;
}

static void end(struct fixture *f)
{
    ht__arena_close(&f->arena);
    free(f);
}

static const struct ht__codec *cache(const char *name)
{
    const struct ht__codec *type;
    struct ht_diag diag = {0};
    assert_int_equal(ht__fit_cache_type(name, &type, &diag), HT_OK);
    return type;
}

static void shape_of(struct fixture *f)
{
    if (ht__fit_shape(&f->model, &f->shape, &f->diag)) fail_msg("%s", f->diag.message);
}

/* Llama 3.1 8B: 32 layers, 8 KV heads of 128, 128,256 tokens, width 4096. */
static void llama_8b(void **state)
{
    (void)state;
    struct fixture *f = begin("llama", 32, 4096, 32, 8, 14336, 128256, 131072);
    shape_of(f);
    assert_int_equal(ht__fit_default_ctx(&f->shape), 4096);
    /* 8192 cells x 32 layers x (8 x 128 keys + as many values) x 2 bytes = 1 GiB */
    struct ht__fit_need need = ht__fit_need(&f->shape, 5000000000, 8192, cache(NULL));
    assert_int_equal(need.cache, 1u << 30);
    /* logits: 512 x (128256 + 2 x 4096) x 4 = 279,445,504; a row of them: 513,024 */
    assert_int_equal(need.overhead, 279445504 + 513024);
    assert_int_equal(need.total, 5000000000 + 1073741824 + 279958528);
    assert_int_equal(need.with_margin, need.total + need.total / 5);
    /* Q8_0: 34 bytes for 32 weights instead of 64; Q4_0: 18 */
    assert_int_equal(ht__fit_need(&f->shape, 0, 8192, cache("Q8_0")).cache, (1u << 30) / 64 * 34);
    assert_int_equal(ht__fit_need(&f->shape, 0, 8192, cache("q4_0")).cache, (1u << 30) / 64 * 18);
    for (uint64_t memory = 8000000000; memory < 8000000012; memory++) {
        uint64_t room = ht__fit_room(&f->shape, memory, 8192, cache(NULL));
        assert_true(ht__fit_need(&f->shape, room, 8192, cache(NULL)).with_margin <= memory);
        assert_true(ht__fit_need(&f->shape, room + 1, 8192, cache(NULL)).with_margin > memory);
    }
    assert_int_equal(ht__fit_room(&f->shape, 1000000000, 8192, cache(NULL)), 0);
    /* cells come by 256: 1 token takes as much as 256 */
    assert_int_equal(ht__fit_need(&f->shape, 0, 1, cache(NULL)).cache, 256 * 32 * 2048 * 2);
    end(f);
}

/* Llama 2 7B has a small vocabulary: its feed-forward is wider than its logits, and the mask comes on top. */
static void llama_2_7b(void **state)
{
    (void)state;
    struct fixture *f = begin("llama", 32, 4096, 32, 32, 11008, 32000, 4096);
    shape_of(f);
    /* 512 x (3 x 11008 + 4 x 4096) x 4 = 101,187,584; mask 512 x 4096 x 2 = 4,194,304; a row of logits 128,000 */
    assert_int_equal(ht__fit_overhead(&f->shape, 4096), 101187584 + 4194304 + 128000);
    end(f);
}

/* Gemma 2 9B: every other layer sees 4096 tokens, and keeps 4096 + 512 cells. */
static void gemma_2_9b(void **state)
{
    (void)state;
    struct fixture *f = begin("gemma2", 42, 3584, 16, 8, 14336, 256000, 8192);
    put(f, "attention.key_length", 256);
    put(f, "attention.value_length", 256);
    put(f, "attention.sliding_window", 4096);
    shape_of(f);
    /* 21 layers x 8192 + 21 x 4608 cells, each 8 x 256 x 2 weights of 2 bytes */
    assert_int_equal(ht__fit_need(&f->shape, 0, 8192, cache(NULL)).cache, (21u * 8192 + 21u * 4608) * 8 * 256 * 2 * 2);
    /* a context within the window: all layers alike */
    assert_int_equal(ht__fit_need(&f->shape, 0, 2048, cache(NULL)).cache, 42u * 2048 * 8 * 256 * 2 * 2);
    end(f);
}

/* Gemma 3: five of six layers slide. */
static void gemma_3_4b(void **state)
{
    (void)state;
    struct fixture *f = begin("gemma3", 34, 2560, 8, 4, 10240, 262208, 131072);
    put(f, "attention.key_length", 256);
    put(f, "attention.value_length", 256);
    put(f, "attention.sliding_window", 1024);
    shape_of(f);
    /* layers 5, 11, 17, 23 and 29 of 34 see all; the other 29 keep 1024 + 512 */
    assert_int_equal(ht__fit_need(&f->shape, 0, 32768, cache(NULL)).cache, (5u * 32768 + 29u * 1536) * 4 * 256 * 2 * 2);
    end(f);
}

/* DeepSeek V2: one row of 512 + 64 for 128 heads, keys and values in one. */
static void deepseek_v2(void **state)
{
    (void)state;
    struct fixture *f = begin("deepseek2", 60, 5120, 128, 1, 12288, 102400, 163840);
    put(f, "attention.key_length", 576);
    put(f, "attention.value_length", 512);
    put(f, "attention.key_length_mla", 192);
    put(f, "attention.value_length_mla", 128);
    put(f, "attention.kv_lora_rank", 512);
    shape_of(f);
    assert_int_equal(ht__fit_need(&f->shape, 0, 8192, cache(NULL)).cache, 60u * 8192 * 576 * 2);
    end(f);
}

/* A mixture: eight experts of 768 used, of 128. Their stage is 8 x (3 x 768 + 2048), less than the logits'. */
static void qwen3_30b(void **state)
{
    (void)state;
    struct fixture *f = begin("qwen3moe", 48, 2048, 32, 4, 6144, 151936, 40960);
    put(f, "attention.key_length", 128);
    put(f, "attention.value_length", 128);
    put(f, "expert_count", 128);
    put(f, "expert_used_count", 8);
    put(f, "expert_feed_forward_length", 768);
    shape_of(f);
    assert_int_equal(f->shape.ff, 8 * (3 * 768 + 2048));
    assert_int_equal(ht__fit_need(&f->shape, 0, 4096, cache(NULL)).cache, 48u * 4096 * 4 * 128 * 2 * 2);
    assert_int_equal(ht__fit_overhead(&f->shape, 4096), 512u * (151936 + 2 * 2048) * 4 + 151936 * 4);
    end(f);
}

/* Layers may differ: a list of KV heads, of which some have none. */
static void lists(void **state)
{
    (void)state;
    static const uint32_t kv_heads[] = {8, 0, 2};
    struct fixture *f = begin("llama", 3, 1024, 8, 8, 4096, 1000, 512);
    ht__kv_array(&f->model.kvs, "llama.attention.head_count_kv", HT__KV_U32, kv_heads, 3);
    shape_of(f);
    assert_int_equal(ht__fit_default_ctx(&f->shape), 512);
    assert_int_equal(ht__fit_need(&f->shape, 0, 512, cache(NULL)).cache, 512u * (8 + 0 + 2) * 128 * 2 * 2);
    end(f);
}

/* The largest of everything that is taken does not overflow; what is larger is refused by its key. */
static void extremes(void **state)
{
    (void)state;
    struct fixture *f = begin("llama", 1024, 1u << 26, 1024, 1024, 1u << 26, 1 << 26, 1u << 26);
    put(f, "attention.key_length", 4096);
    put(f, "attention.value_length", 4096);
    shape_of(f);
    struct ht__fit_need need = ht__fit_need(&f->shape, 0, HT__FIT_MOST_CTX, cache("f32"));
    assert_true(need.cache == (uint64_t)1 << (26 + 10 + 23 + 2) && need.with_margin > need.total &&
                need.total > need.cache);
    end(f);
    static const struct {
        const char *key;
        uint32_t value;
    } bad[] = {{"block_count", 1025},
               {"embedding_length", UINT32_MAX},
               {"attention.head_count", 1025},
               {"attention.head_count_kv", 4000000000u},
               {"attention.key_length", 4097},
               {"context_length", UINT32_MAX},
               {"feed_forward_length", UINT32_MAX},
               {"expert_used_count", 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        f = begin("llama", 2, 64, 4, 4, 128, 100, 128);
        put(f, bad[i].key, bad[i].value);
        assert_int_equal(ht__fit_shape(&f->model, &f->shape, &f->diag), HT_ERR_UNSUPPORTED);
        assert_non_null(strstr(f->diag.message, bad[i].key));
        end(f);
    }
}

static void unknown(void **state)
{
    (void)state;
    struct fixture *f = begin("mamba", 2, 64, 0, 0, 128, 100, 128);
    put(f, "ssm.conv_kernel", 4);
    assert_int_equal(ht__fit_shape(&f->model, &f->shape, &f->diag), HT_ERR_UNSUPPORTED);
    end(f);
    f = begin("llama", 2, 64, 4, 4, 128, 100, 128);
    ht__kv_remove(&f->model.kvs, "llama.context_length");
    ht__kv_str(&f->model.kvs, "llama.block_count", "2");
    assert_int_equal(ht__fit_shape(&f->model, &f->shape, &f->diag), HT_ERR_UNSUPPORTED);
    end(f);
    const struct ht__codec *type;
    static const char *const bad[] = {"", "q4_k", "f8", "Q8_0 ", "nothing"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(ht__fit_cache_type(bad[i], &type, NULL), HT_ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_8b),   cmocka_unit_test(llama_2_7b),  cmocka_unit_test(gemma_2_9b),
        cmocka_unit_test(gemma_3_4b), cmocka_unit_test(deepseek_v2), cmocka_unit_test(qwen3_30b),
        cmocka_unit_test(lists),      cmocka_unit_test(extremes),    cmocka_unit_test(unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
