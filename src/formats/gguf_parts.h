/* What the units of the GGUF container share. */
#ifndef HT_FORMATS_GGUF_PARTS_H
#define HT_FORMATS_GGUF_PARTS_H

#include "formats/container.h"

enum ht_err ht__gguf_lay_out(struct ht__layout *layout, struct ht_diag *diag);

#endif
