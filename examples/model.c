/*
 * What is inside a model, the first numbers of each tensor, and how it continues a text:
 *
 *     cc examples/model.c $(pkg-config --cflags --libs halftone) -o model
 *     ./model Llama-3.2-1B "Once upon a time"
 */
#include <halftone/halftone.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line: name, dtype, shape, role, and the row's first numbers. */
static enum ht_err show(const struct ht_model *model, size_t index, const struct ht_tensor_info *t,
                        struct ht_diag *diag)
{
    float *row = malloc((size_t)(t->row_len > 0 ? t->row_len : 1) * sizeof *row);
    if (!row) return diag->code = HT_ERR_MEMORY;
    enum ht_err err = ht_model_read_rows(model, HT_VIEW_NATIVE, index, 0, t->n_rows > 0, row, diag);
    printf("%s %s [", t->name, t->scheme[0] ? t->scheme : t->dtype);
    for (int i = 0; i < t->n_dims; i++)
        printf("%s%lld", i ? ", " : "", (long long)t->shape[i]);
    printf("] %s", t->role);
    for (int64_t i = 0; !err && t->n_rows > 0 && i < t->row_len && i < 3; i++)
        printf(" %g", (double)row[i]);
    printf("\n");
    free(row);
    return err;
}

static enum ht_err show_all(const struct ht_model *model, struct ht_diag *diag)
{
    struct ht_tensor_info tensor = {.size = sizeof tensor};
    enum ht_err err = HT_OK;
    for (size_t i = 0; !err && ht_model_tensor_at(model, HT_VIEW_NATIVE, i, &tensor); i++)
        err = show(model, i, &tensor, diag);
    return err;
}

static enum ht_err say(struct ht_model *model, const char *prompt, struct ht_diag *diag)
{
    struct ht_generator *generator;
    const char *text;
    size_t len;
    enum ht_err err = ht_model_generator(model, &generator, diag);
    if (!err) err = ht_generator_set(generator, "max-tokens", "24", diag);
    if (!err) err = ht_generator_prompt(generator, prompt, strlen(prompt), diag);
    while (!err && !(err = ht_generator_next(generator, &text, &len, diag)) && len > 0)
        fwrite(text, 1, len, stdout);
    printf("\n");
    ht_generator_close(&generator);
    return err;
}

int main(int argc, char **argv)
{
    const struct ht_model_options options = {.size = sizeof options};
    struct ht_model *model;
    struct ht_diag diag;
    if (argc < 3) return fprintf(stderr, "usage: model MODEL TEXT\n"), 2;
    enum ht_err err = ht_model_open_with(argv[1], &options, &model, &diag);
    if (!err) err = show_all(model, &diag);
    if (!err) err = say(model, argv[2], &diag);
    ht_model_close(&model);
    if (err) fprintf(stderr, "%s: %s\n", diag.where, diag.message);
    return err ? 1 : 0;
}
