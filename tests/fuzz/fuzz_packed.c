/*
 * Weights that other programs packed, of every family: a "quantization_config" and the tensors of a checkpoint. What is
 * accepted can be read, the same weights by all rows at once and by a few; what is refused is refused with a file, tensor
 * or key.
 * The first line is the configuration, the others are tensors as tests/lib/tensor_lines.h reads them.
 */
#include "base/json.h"
#include "fuzz/memory_file.h"
#include "lib/pieces.h"
#include "lib/tensor_lines.h"
#include "model/rows.h"
#include "schemes/packing.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A refusal says of what and why. */
static bool refused(enum ht_err err, const struct ht_diag *diag)
{
    if (err != HT_OK && (err == HT_ERR_INTERNAL || !diag->where[0] || !diag->message[0])) abort();
    return err != HT_OK;
}

static enum ht_err read_rows(const struct ht__rows *rows, int64_t step, float *x, struct ht_diag *diag)
{
    struct ht__arena scratch;
    enum ht_err err = HT_OK;
    ht__arena_init(&scratch, &pieces);
    for (int64_t row = 0, n; row < rows->n_rows && !err; row += n) {
        n = step < rows->n_rows - row ? step : rows->n_rows - row;
        err = rows->read(rows, row, n, x + row * rows->row_len, &scratch, diag);
        ht__arena_reset(&scratch);
    }
    ht__arena_close(&scratch);
    return err;
}

static void read_weight(const struct ht__packing_source *source, const struct ht__packed_weight *w)
{
    const struct ht__packed_source *p = w->packed;
    const struct ht__rows *rows =
        ht__rows_packed(source->arena, source->ck, &p->params, &p->matrix, p->tensors, w->whole);
    size_t bytes = (size_t)(p->matrix.n_out * p->matrix.n_in) * sizeof(float);
    float *all = malloc(bytes), *few = malloc(bytes);
    struct ht_diag diag = {0};
    if (!rows || !all || !few || w->tensor->n_weights != bytes / sizeof(float)) abort();
    if (!refused(read_rows(rows, rows->n_rows, all, &diag), &diag) &&
        (read_rows(rows, rows->n_rows / 3 + 1, few, &diag) != HT_OK || memcmp(all, few, bytes) != 0))
        abort();
    free(all);
    free(few);
}

static void read_all(struct ht__packing_source *source)
{
    const struct ht__checkpoint *ck = source->ck;
    struct ht__packed_weight *w;
    struct ht_diag diag = {0};
    bool *taken = calloc(ck->n_tensors + 1, sizeof *taken);
    for (uint32_t i = 0; i < ck->n_tensors; i++) {
        if (taken[i]) continue;
        if (refused(ht__packing_weight(source, &ck->tensors[i], taken, &w, &diag), &diag)) goto out;
        if (w) read_weight(source, w);
    }
    for (uint32_t i = 0; i < ck->n_tensors; i++)
        if (!taken[i] && refused(ht__packing_stray(source, &ck->tensors[i], &diag), &diag)) break;
out:
    free(taken);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = size ? memchr(text, '\n', size) : NULL;
    struct ht__arena arena;
    struct ht__jnode *root;
    struct ht__checkpoint *ck;
    struct ht__buf file;
    struct ht_diag diag = {0};
    char path[64];
    if (!end) return 0;
    ht__arena_init(&arena, &pieces);
    struct ht__packing_source source = {
        .arena = &arena, .tmp = &arena, .dtype = &ht__codec_bf16, .config_path = "config.json"};
    ht__buf_init(&file, NULL);
    lines_file(end + 1, size - (size_t)(end + 1 - text), &file);
    int fd = memory_file(file.data, file.len, path);
    ht__buf_close(&file);
    if (ht__json_parse(&arena, text, (size_t)(end - text), "config.json", &root, &diag) == HT_OK &&
        (source.packing = ht__packing_by_method(ht__jstr(root, "quant_method", ""))) != NULL &&
        ht__checkpoint_open(path, &pieces, &ck, &diag) == HT_OK) {
        source.ck = ck;
        if (!refused(source.packing->open(&source, root, &diag), &diag)) read_all(&source);
        ht__checkpoint_close(&ck);
    }
    close(fd);
    ht__arena_close(&arena);
    return 0;
}
