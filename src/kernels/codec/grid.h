/* What the grids of the codecs (struct ht__grid) share. */
#ifndef HT_KERNELS_CODEC_GRID_H
#define HT_KERNELS_CODEC_GRID_H

#include <stdint.h>

/* The values of a grid of whole numbers from `first` on, as a constant expression. */
#define HT__WHOLE_VALUES(first) (ht__whole_values + 128 + (first))

#define HT__WHOLE_4(v) (v), (v) + 1, (v) + 2, (v) + 3
#define HT__WHOLE_16(v) HT__WHOLE_4(v), HT__WHOLE_4((v) + 4), HT__WHOLE_4((v) + 8), HT__WHOLE_4((v) + 12)
#define HT__WHOLE_64(v) HT__WHOLE_16(v), HT__WHOLE_16((v) + 16), HT__WHOLE_16((v) + 32), HT__WHOLE_16((v) + 48)
static const int8_t ht__whole_values[256] = {HT__WHOLE_64(-128), HT__WHOLE_64(-64), HT__WHOLE_64(0), HT__WHOLE_64(64)};

#endif
