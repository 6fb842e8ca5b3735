/* Activations as programs round them that load a scheme with HT__SCHEME_INT8_INPUTS. */
#ifndef HT_SCHEMES_INPUTS_H
#define HT_SCHEMES_INPUTS_H

#include <stdint.h>

/* A token's n activations over s (NULL: 1), rounded to whole numbers from -128 to 127 over the largest, as compressed-tensors
 * does, times s. out may be x. */
void ht__int8_inputs(const float *x, const float *s, int64_t n, float *out);

#endif
