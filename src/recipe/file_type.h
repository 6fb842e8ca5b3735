/* The recipe's names for what the engine reads; apart, as both know a thing called recipe. */
#ifndef HT_RECIPE_FILE_TYPE_H
#define HT_RECIPE_FILE_TYPE_H

#include "formats/checkpoint.h"

/* The mix by the file's own word; where it has none, the numeric format of its largest tensor. */
const char *ht__file_type_name(const struct ht__checkpoint *checkpoint);

#endif
