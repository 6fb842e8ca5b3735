/* The values of IQ4_NL and IQ4_XS, for the scalar unit and the vector variants. */
#ifndef HT_KERNELS_CODEC_IQ4_H
#define HT_KERNELS_CODEC_IQ4_H

#include <stdint.h>

/*
 * Published with the type (llama.cpp's kvalues_iq4nl): denser near zero, none of them zero. Files depend on every one.
 */
static const int8_t ht__iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

#endif
