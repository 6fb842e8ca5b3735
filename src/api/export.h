/* What leaves the shared library. */
#ifndef HT_API_EXPORT_H
#define HT_API_EXPORT_H

#include "halftone/halftone.h"

#define HT_EXPORT __attribute__((visibility("default")))

#endif
