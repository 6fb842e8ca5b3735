/* Importance files, GGUF and legacy, as means and as sums. */
#include "formats/imatrix.h"
#include "formats/imatrix_sums.h"
#include "fuzz/memory_file.h"
#include "lib/pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct ht__imatrix *im;
    struct ht_diag diag = {0};
    int fd = memory_file(data, size, path);
    if (ht__imatrix_open(path, &pieces, &im, &diag) != HT_OK && !diag.message[0]) abort();
    ht__imatrix_close(&im);
    struct ht__arena arena;
    struct ht__sums_file sums;
    diag = (struct ht_diag){0};
    ht__arena_init(&arena, &pieces);
    if (ht__sums_read(path, 512, &arena, &sums, &diag) != HT_OK && !diag.message[0]) abort();
    ht__arena_close(&arena);
    close(fd);
    return 0;
}
