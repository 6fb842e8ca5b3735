/*
 * Memory that was never written, or that was given back, must not reach an output. Each job runs under
 * allocators that fill what they hand out and what they take back with one byte or another; the outputs, and
 * the errors of damaged inputs, must be the same. All formats, and damaged files that are accepted.
 */
#include "lib/effort.h"
#include "lib/tiny.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A block's size is kept before it: what is freed is overwritten, what grows is filled and moves. */
struct head {
    size_t size;
    char padding[8]; /* to 16, malloc's alignment */
};

static void *resize(void *ctx, void *ptr, size_t size)
{
    int fill = *(const unsigned char *)ctx;
    struct head *old = ptr ? (struct head *)ptr - 1 : NULL, *new = NULL;
    if (size > 0) {
        new = malloc(sizeof *new + size);
        if (!new) abort();
        new->size = size;
        memset(new + 1, fill, size);
        if (old) memcpy(new + 1, old + 1, old->size < size ? old->size : size);
    }
    if (old) {
        memset(old + 1, fill, old->size);
        free(old);
    }
    return new ? new + 1 : NULL;
}

static const unsigned char patterns[] = {0xA5, 0x00, 0xFF, 0x7F};
enum { N_PATTERNS = sizeof patterns };

struct outcome {
    enum ht_err err;
    struct ht_diag diag;
    struct ht__buf bytes;
};

static struct outcome run(const struct tiny *tiny, int pattern, bool piecewise)
{
    struct outcome o;
    unsigned char fill = patterns[pattern];
    const struct ht__alloc alloc = {resize, &fill, piecewise};
    char *json;
    ht__buf_init(&o.bytes, NULL);
    mallopt(M_PERTURB, fill); /* the libraries' own too */
    o.err = tiny_run(tiny, &alloc, &json, &o.diag);
    mallopt(M_PERTURB, 0);
    free(json);
    tiny_collect(tiny, &o.bytes);
    return o;
}

static void same(const char *what, const struct outcome *a, const struct outcome *b, int pattern)
{
    if (a->err != b->err || strcmp(a->diag.message, b->diag.message) != 0 ||
        strcmp(a->diag.where, b->diag.where) != 0 || a->diag.offset != b->diag.offset)
        fail_msg("%s: memory of %02x: \"%s: %s\", of %02x: \"%s: %s\"", what, patterns[0], a->diag.where,
                 a->diag.message, patterns[pattern], b->diag.where, b->diag.message);
    if (a->bytes.len != b->bytes.len) fail_msg("%s: outputs of other sizes", what);
    for (size_t i = 0; i < a->bytes.len; i++)
        if (a->bytes.data[i] != b->bytes.data[i])
            fail_msg("%s: byte %zu of the outputs is %02x over memory of %02x, %02x over %02x", what, i,
                     a->bytes.data[i], patterns[0], b->bytes.data[i], patterns[pattern]);
}

static enum ht_err compare(const struct tiny *tiny, const char *what, int n_patterns)
{
    struct outcome first = run(tiny, 0, true);
    for (int pattern = 1; pattern < n_patterns; pattern++) {
        struct outcome other = run(tiny, pattern, pattern % 2);
        same(what, &first, &other, pattern);
        ht__buf_close(&other.bytes);
    }
    ht__buf_close(&first.bytes);
    return first.err;
}

static void every_kind(void **state)
{
    (void)state;
    for (int kind = 0; kind < TINY_N_KINDS; kind++) {
        struct tiny tiny;
        tiny_make(&tiny, (enum tiny_kind)kind, TINY_WIDTH);
        assert_int_equal(compare(&tiny, tiny_names[kind], N_PATTERNS), HT_OK);
        tiny_remove(&tiny);
    }
}

static void every_format(void **state)
{
    (void)state;
    struct tiny tiny;
    struct ht_mix_info mix;
    int n = 0;
    tiny_make(&tiny, TINY_GGUF, TINY_WIDE); /* with importance, which some need */
    for (size_t i = 0; ht_mix_at(i, &mix); i++) {
        tiny.types = mix.name;
        assert_int_equal(compare(&tiny, mix.name, 2), HT_OK);
        n++;
    }
    print_message("%d mixes written\n", n);
    tiny_remove(&tiny);
}

/* ---- damaged inputs ---- */

static unsigned next(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* A few bytes replaced, near the start where the structure is or anywhere; sometimes the end cut off. */
static void damage(struct ht__buf *file, unsigned *seed)
{
    static const unsigned char telling[] = {0, 1, 0x20, '"', ',', '0', '9', 0x7f, 0x80, 0xff};
    for (unsigned n = 1 + next(seed) % 3; n > 0; n--) {
        size_t reach = next(seed) % 4 && file->len > 2000 ? 2000 : file->len;
        file->data[next(seed) % reach] = telling[next(seed) % sizeof telling];
    }
    if (next(seed) % 16 == 0) file->len -= next(seed) % file->len;
}

static const struct {
    enum tiny_kind kind;
    const char *name;
} victims[] = {
    {TINY_SAFETENSORS, "config.json"},
    {TINY_SAFETENSORS, "generation_config.json"},
    {TINY_SAFETENSORS, "tokenizer.json"},
    {TINY_SAFETENSORS, "tokenizer_config.json"},
    {TINY_SAFETENSORS, "model.safetensors.index.json"},
    {TINY_SAFETENSORS, "model-00001-of-00002.safetensors"},
    {TINY_PYTORCH, "pytorch_model.bin"},
    {TINY_PYTORCH, "tokenizer.model"},
    {TINY_GGUF, "model.gguf"},
    {TINY_GGUF, "imatrix.dat"},
};

static long tries(void)
{
    return effort(8, 40, 400);
}

static void batter(enum tiny_kind kind, const char *name, int *n_accepted)
{
    struct tiny tiny;
    struct ht__buf sound;
    struct ht_diag diag = {0};
    char path[1024];
    unsigned seed = 1;
    tiny_make(&tiny, kind, TINY_WIDTH);
    tiny.types = "Q8_0";
    ht__buf_init(&sound, NULL);
    snprintf(path, sizeof path, "%s/%s", tiny.in.path, name);
    assert_int_equal(ht__file_load(path, 1 << 24, &sound, &diag), HT_OK);
    for (long i = tries(); i > 0; i--) {
        struct ht__buf file;
        ht__buf_init(&file, NULL);
        ht__buf_put(&file, sound.data, sound.len);
        damage(&file, &seed);
        folder_put(&tiny.in, name, file.data, file.len);
        ht__buf_close(&file);
        *n_accepted += compare(&tiny, name, 2) == HT_OK;
    }
    ht__buf_close(&sound);
    tiny_remove(&tiny);
}

static void damaged_inputs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof victims / sizeof victims[0]; i++) {
        int n = 0;
        batter(victims[i].kind, victims[i].name, &n);
        print_message("%s: %d of %ld damaged ones were accepted\n", victims[i].name, n, tries());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind),
        cmocka_unit_test(every_format),
        cmocka_unit_test(damaged_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
