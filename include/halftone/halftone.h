/*
 * Halftone: quantize language-model checkpoints.
 */
#ifndef HALFTONE_H
#define HALFTONE_H

#include "halftone/err.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "MAJOR.MINOR.PATCH". */
const char *ht_version(void);

#ifdef __cplusplus
}
#endif
#endif
