/* Folders with more or less than one model's files: what transformers would load is, and the rest says why not. */
#include "formats/checkpoint.h"
#include "lib/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct folder folder;

/* A safetensors file of one tensor. */
static void put_weights(const char *file, const char *tensor)
{
    char data[256];
    snprintf(data + 8, sizeof data - 8, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}x", tensor);
    uint64_t n = strlen(data + 8) - 1;
    memcpy(data, &n, 8);
    folder_put(&folder, file, data, 8 + (size_t)n + 1);
}

static void put_index(const char *file, const char *first, const char *second)
{
    char text[300];
    snprintf(text, sizeof text, "{\"weight_map\":{\"a\":\"%s\",\"b\":\"%s\"}}", first, second);
    folder_puts(&folder, file, text);
}

#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"

/* The names of the tensors that are opened, or the error. */
static void expect(const char *names, enum ht_err code, const char *words)
{
    struct ht__checkpoint *ck;
    struct ht_diag diag = {0};
    enum ht_err err = ht__checkpoint_open(folder.path, NULL, &ck, &diag);
    if (err != code) fail_msg("%s (%s: %s), not %s", ht_err_name(err), diag.where, diag.message, ht_err_name(code));
    if (err == HT_OK) {
        char got[64] = "";
        for (uint32_t i = 0; i < ck->n_tensors && i < 8; i++)
            strncat(got, ck->tensors[i].name, 7);
        ht__checkpoint_close(&ck);
        assert_string_equal(got, names);
    } else if (!strstr(diag.message, words) && !strstr(diag.where, words)) {
        fail_msg("%s: \"%s\" does not say \"%s\"", diag.where, diag.message, words);
    }
    folder_remove(&folder);
    folder = folder_make();
}

static void opens(const char *names)
{
    expect(names, HT_OK, NULL);
}

static void chosen(void **state)
{
    (void)state;
    put_weights("model.safetensors", "one");
    folder_puts(&folder, "pytorch_model.bin", "damaged");
    folder_puts(&folder, "consolidated.00.pth", "damaged");
    opens("one");

    /* one file and an index: the file, as transformers has it */
    put_weights("model.safetensors", "one");
    put_index("model.safetensors.index.json", SHARD_1, SHARD_2);
    opens("one");

    put_weights(SHARD_1, "a");
    put_weights(SHARD_2, "b");
    put_weights("model-00003-of-00003.safetensors", "other");
    put_weights("consolidated.safetensors", "other");
    put_index("model.safetensors.index.json", SHARD_1, SHARD_2);
    opens("ab");

    /* names do not make the kind */
    put_weights("pytorch_model.bin", "one");
    folder_puts(&folder, "optimizer.pt", "damaged");
    opens("one");

    /* a complete set does without an index */
    put_weights(SHARD_2, "b");
    put_weights(SHARD_1, "a");
    put_weights("adapter_model.safetensors", "other");
    opens("ab");
}

static void refused(void **state)
{
    (void)state;
    put_weights(SHARD_1, "a");
    put_index("model.safetensors.index.json", SHARD_1, SHARD_2);
    expect(NULL, HT_ERR_NOT_FOUND, SHARD_2);

    put_weights(SHARD_1, "a");
    put_index("model.safetensors.index.json", SHARD_1, SHARD_2);
    expect(NULL, HT_ERR_NOT_FOUND, "index.json names it");

    put_weights(SHARD_1, "a");
    expect(NULL, HT_ERR_NOT_FOUND, SHARD_2);

    put_weights(SHARD_1, "a");
    put_weights(SHARD_2, "b");
    put_weights("model-00001-of-00003.safetensors", "c");
    expect(NULL, HT_ERR_FORMAT, "two models");

    put_weights(SHARD_1, "a");
    put_weights(SHARD_2, "a");
    expect(NULL, HT_ERR_FORMAT, "two tensors");

    folder_puts(&folder, "consolidated.00.pth", "x");
    folder_puts(&folder, "consolidated.01.pth", "x");
    expect(NULL, HT_ERR_UNSUPPORTED, "\"consolidated.00.pth\": the form of the model's first release");

    put_weights("consolidated.safetensors", "a");
    expect(NULL, HT_ERR_UNSUPPORTED, "consolidated.safetensors");

    folder_puts(&folder, "lit_model.pth", "x");
    expect(NULL, HT_ERR_UNSUPPORTED, "lit_model.pth");

    put_weights("adapter_model.safetensors", "a");
    expect(NULL, HT_ERR_UNSUPPORTED, "an adapter");

    folder_puts(&folder, "tiny.gguf", "GGUF");
    expect(NULL, HT_ERR_UNSUPPORTED, "give the file itself");

    put_weights("weights.safetensors", "a");
    expect(NULL, HT_ERR_UNSUPPORTED, "\"weights.safetensors\"");

    put_weights("model-00000-of-00001.safetensors", "a");
    expect(NULL, HT_ERR_UNSUPPORTED, "model-00000-of-00001.safetensors");

    folder_puts(&folder, "config.json", "{}");
    expect(NULL, HT_ERR_NOT_FOUND, "no model.safetensors");
}

static int setup(void **state)
{
    (void)state;
    folder = folder_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(chosen), cmocka_unit_test(refused)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
