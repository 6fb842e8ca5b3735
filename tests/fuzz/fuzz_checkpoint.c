/* safetensors, GGUF and PyTorch files, told by their content; small tensors of what opens are read. */
#include "formats/checkpoint.h"
#include "fuzz/memory_file.h"
#include "lib/pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_tensors(struct ht__checkpoint *ck)
{
    struct ht__arena scratch;
    struct ht_diag diag = {0};
    ht__arena_init(&scratch, &pieces);
    for (uint32_t i = 0; i < ck->n_tensors && i < 64; i++) {
        const struct ht__tensor *t = &ck->tensors[i];
        if (t->n_weights > 65536) continue;
        float *x = malloc((size_t)(t->n_weights ? t->n_weights : 1) * sizeof *x);
        if (x && ht__tensor_read(ck, t, 0, t->n_weights, x, &scratch, &diag) != HT_OK) diag.code = HT_OK;
        free(x);
        ht__arena_reset(&scratch);
    }
    ht__arena_close(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct ht__checkpoint *ck;
    struct ht_diag diag = {0};
    int fd = memory_file(data, size, path);
    if (ht__checkpoint_open(path, &pieces, &ck, &diag) == HT_OK) read_tensors(ck);
    ht__checkpoint_close(&ck);
    close(fd);
    return 0;
}
