/* Where a model is to run, and how. */
#ifndef HT_ADVISE_SETTINGS_H
#define HT_ADVISE_SETTINGS_H

#include "kernels/codec.h"
#include "advise/gpus.h"

struct ht__program; /* advise/program.h */

struct ht__advice_settings {
    uint64_t ctx; /* tokens; 0: what the model was trained with, at most 4096 */
    const struct ht__codec *cache_type;
    const struct ht__gpu *gpu; /* NULL: the machine's memory alone */
    uint64_t n_gpus;
    uint64_t memory;                   /* bytes to run it in, or beside the cards; 0: not told */
    const struct ht__program *program; /* that is to run it */
    double measured_seconds;           /* how long this machine's rates are measured */
};

#endif
