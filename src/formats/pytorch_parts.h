/* The parts of the PyTorch container: reading (pytorch.c) and writing (pytorch_write.c). */
#ifndef HT_FORMATS_PYTORCH_PARTS_H
#define HT_FORMATS_PYTORCH_PARTS_H

#include "formats/container.h"

/* "torch FloatStorage", or of its dtype "torch float32"; NULL: PyTorch has none. */
const char *ht__pytorch_global(const struct ht__codec *dtype, bool storage);

enum ht_err ht__pytorch_lay_out(struct ht__layout *layout, struct ht_diag *diag);
enum ht_err ht__pytorch_seal(struct ht__layout *layout, const uint32_t *crc, struct ht_diag *diag);

#endif
