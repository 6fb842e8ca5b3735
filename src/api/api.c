/* The library's front: argument checks and one call down. */
#include "halftone/halftone.h"

#define HT_EXPORT __attribute__((visibility("default")))

HT_EXPORT const char *ht_version(void)
{
    return HT_VERSION;
}
