/* Importance files, GGUF and legacy. */
#include "formats/imatrix.h"
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
    close(fd);
    return 0;
}
