/* A scheme, a method and a container that only this test knows, a unit each: registered, and a whole job is run with them. What a
 * newcomer must write to add one is what stands here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "formats/container.h"
#include "formats/table.h"
#include "halftone/halftone.h"
#include "methods/method.h"
#include "schemes/scheme.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a scheme: a byte a weight and a step a row ---- */

enum { CODES, STEP };

static int toy_parts(const struct ht__scheme_params *p, const struct ht__matrix *m,
                     struct ht__part out[HT__SCHEME_PARTS])
{
    (void)p;
    out[CODES] = (struct ht__part){.suffix = ".codes",
                                   .dtype = &ht__codec_u8,
                                   .n_dims = 2,
                                   .shape = {m->n_out, m->n_in},
                                   .rows = 1,
                                   .bytes = (uint64_t)m->n_in};
    out[STEP] = (struct ht__part){
        .suffix = ".step", .dtype = &ht__codec_f32, .n_dims = 1, .shape = {m->n_out}, .rows = 1, .bytes = 4};
    return 2;
}

static int64_t toy_groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    (void)p, (void)m;
    return n_rows;
}

static void toy_fit(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                    const float *importance, struct ht__codes *c)
{
    (void)p, (void)importance;
    for (int64_t r = 0; r < c->n_rows; r++) {
        float most = 0;
        for (int64_t i = 0; i < m->n_in; i++)
            most = fmaxf(most, fabsf(x[r * m->n_in + i]));
        c->scale[r] = most / 127;
    }
}

static void toy_nearest(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                        struct ht__codes *c)
{
    (void)p;
    for (int64_t i = 0; i < c->n_rows * m->n_in; i++) {
        float step = c->scale[i / m->n_in];
        c->q[i] = (uint8_t)(128 + (step > 0 ? lrintf(x[i] / step) : 0));
    }
}

static void toy_value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                      float *dst)
{
    (void)p;
    for (int64_t i = 0; i < c->n_rows * m->n_in; i++)
        dst[i] = (float)(c->q[i] - 128) * c->scale[i / m->n_in];
}

static void toy_pack(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                     void *const dst[])
{
    (void)p;
    memcpy(dst[CODES], c->q, (size_t)(c->n_rows * m->n_in));
    memcpy(dst[STEP], c->scale, (size_t)c->n_rows * sizeof *c->scale);
}

static void toy_unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                       struct ht__codes *c)
{
    (void)p;
    memcpy(c->q, src[CODES], (size_t)(c->n_rows * m->n_in));
    memcpy(c->scale, src[STEP], (size_t)c->n_rows * sizeof *c->scale);
}

static void toy_config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    (void)package;
    ht__jw_str(w, "quant_method", "toy");
}

static const struct ht__scheme toy = {
    .name = "toy",
    .label = "TOY",
    .family = "toys",
    .about = "8 bits, a step a row",
    .loaders = "this test",
    .parts = toy_parts,
    .groups = toy_groups,
    .fit = toy_fit,
    .nearest = toy_nearest,
    .value = toy_value,
    .pack = toy_pack,
    .unpack = toy_unpack,
    .config = toy_config,
};

/* ---- a method: every weight becomes the positive step next to it, or 0 ---- */

static bool positive_rows(const struct ht__method_params *method, const struct ht__scheme_params *p,
                          const struct ht__matrix *m, const float *x, const float *importance, struct ht__codes *c)
{
    (void)method;
    p->scheme->fit(p, m, x, importance, c);
    p->scheme->nearest(p, m, x, c);
    for (int64_t i = 0; i < c->n_rows * m->n_in; i++)
        c->q[i] = c->q[i] < 128 ? 128 : c->q[i];
    return true;
}

static const struct ht__method positive = {.name = "positive", .about = "no weight is negative", .rows = positive_rows};

/* ---- a container: lines of a fixed length, "name dtype dimensions shape offset", an empty one, the tensors ---- */

enum { LINE = 200, MOST = 4096 };

static bool box_probe(const unsigned char *head, uint64_t n)
{
    return n >= 4 && memcmp(head, "BOX ", 4) == 0;
}

static enum ht_err box_open(struct ht__checkpoint *ck, uint32_t file, struct ht_diag *diag)
{
    char line[LINE + 1] = "";
    for (uint64_t at = 0; at < MOST * (uint64_t)LINE; at += LINE) {
        char name[120], dtype[20];
        struct ht__tensor t = {.file = file};
        long long a, b;
        unsigned long long offset;
        HT_TRY(ht__file_read(&ck->files[file], at, line, LINE, diag));
        if (strncmp(line, "BOX END", 7) == 0) return HT_OK;
        if (sscanf(line, "BOX %119s %19s %d %lld %lld %llu", name, dtype, &t.n_dims, &a, &b, &offset) != 6)
            return ht__fail(diag, HT_ERR_FORMAT, ck->files[file].path, (int64_t)at, "not a line of a box");
        t.name = ht__arena_str(&ck->arena, name);
        t.dtype = ht__codec_by_name(dtype);
        t.shape[0] = t.n_dims == 2 ? a : b;
        t.shape[1] = b;
        t.n_weights = (uint64_t)(a * b);
        t.offset = offset;
        t.n_bytes = ht__codec_bytes(t.dtype, t.n_weights);
        HT_TRY(ht__table_add(ck, &t, diag));
    }
    return ht__fail(diag, HT_ERR_LIMIT, ck->files[file].path, -1, "too many tensors");
}

static enum ht_err box_lay_out(struct ht__layout *layout, struct ht_diag *diag)
{
    uint64_t at = (layout->n + 1) * LINE;
    char line[LINE + 1];
    for (size_t i = 0; i < layout->n; i++) {
        struct ht__extent *e = &layout->extents[i];
        HT_TRY(ht__extent_size(e, diag));
        e->offset = at;
        at += e->n_bytes;
        snprintf(line, sizeof line, "BOX %s %s %d %lld %lld %llu", e->name, e->type->name, e->n_dims,
                 (long long)(e->n_dims == 2 ? e->shape[0] : 1), (long long)e->shape[e->n_dims - 1],
                 (unsigned long long)e->offset);
        ht__buf_printf(layout->head, "%-*s", LINE, line);
    }
    ht__buf_printf(layout->head, "%-*s", LINE, "BOX END");
    layout->size = at;
    return layout->head->failed ? ht__fail_memory(diag, "box") : HT_OK;
}

static const struct ht__container box = {
    .name = "box",
    .suffix = ".box",
    .stem = "model",
    .dialect = HT__DIALECT_NATIVE,
    .probe = box_probe,
    .open = box_open,
    .open_alone = box_open,
    .lay_out = box_lay_out,
};

/* ---- the job ---- */

static char folder[] = "/tmp/toys-XXXXXX";

static const char *model(void)
{
    static char path[600];
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/examples/model", root ? root : ".");
    return path;
}

static void read_all(const struct ht__checkpoint *ck, const char *name, float *x, uint64_t n)
{
    struct ht__arena scratch;
    const struct ht__tensor *t = ht__checkpoint_find(ck, name);
    assert_non_null(t);
    assert_int_equal(t->n_weights, n);
    ht__arena_init(&scratch, NULL);
    assert_int_equal(ht__tensor_read(ck, t, 0, n, x, &scratch, NULL), HT_OK);
    ht__arena_close(&scratch);
}

/* The scheme's parts in the container's file, against the weights that they were made of. */
static void compare(const char *path, const char *module, int64_t n_out, int64_t n_in, bool all_positive)
{
    struct ht__checkpoint *made, *source;
    char name[120];
    size_t n = (size_t)(n_out * n_in);
    float *x = malloc(n * sizeof *x), *codes = malloc(n * sizeof *codes), *step = malloc((size_t)n_out * sizeof *step);
    assert_true(x && codes && step);
    assert_int_equal(ht__checkpoint_open(path, NULL, &made, NULL), HT_OK);
    assert_int_equal(ht__checkpoint_open(model(), NULL, &source, NULL), HT_OK);
    snprintf(name, sizeof name, "%s.weight", module);
    read_all(source, name, x, n);
    assert_null(ht__checkpoint_find(made, name));
    snprintf(name, sizeof name, "%s.codes", module);
    read_all(made, name, codes, n);
    snprintf(name, sizeof name, "%s.step", module);
    read_all(made, name, step, (uint64_t)n_out);
    for (size_t i = 0; i < n; i++) {
        float s = step[i / (size_t)n_in], want = all_positive && x[i] < 0 ? 0 : x[i];
        assert_true(fabsf((codes[i] - 128) * s - want) <= s * .5001f);
    }
    ht__checkpoint_close(&made);
    ht__checkpoint_close(&source);
    free(x);
    free(codes);
    free(step);
}

static void whole_job(void **state)
{
    struct ht_job *job;
    struct ht_diag diag = {0};
    char path[200], *json = NULL;
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(ht_job_open(&job), HT_OK);
    assert_int_equal(ht_job_set(job, "source", model(), &diag), HT_OK);
    assert_int_equal(ht_job_set(job, "type", "box/toy,toy,toy@positive,Q8_0", &diag), HT_OK);
    assert_int_equal(ht_job_set(job, "output", folder, &diag), HT_OK);
    if (ht_job_run(job, &json, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    assert_non_null(strstr(json, "\"format\": \"box\""));
    assert_non_null(strstr(json, "\"scheme\": \"toy\""));
    free(json);
    ht_job_close(&job);
    snprintf(path, sizeof path, "%s/model-toy-box/model.box", folder);
    compare(path, "model.layers.0.self_attn.q_proj", 256, 256, false);
    compare(path, "model.layers.7.mlp.down_proj", 256, 768, false);
    snprintf(path, sizeof path, "%s/model-toy/model.safetensors", folder);
    compare(path, "model.layers.3.self_attn.k_proj", 64, 256, false);
    snprintf(path, sizeof path, "%s/model-toy-positive/model.safetensors", folder);
    compare(path, "model.layers.3.self_attn.k_proj", 64, 256, true);
    snprintf(path, sizeof path, "rm -r %s", folder);
    assert_int_equal(system(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_job)};
    ht__scheme_register(&toy);
    ht__method_register(&positive);
    ht__container_register(&box);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
