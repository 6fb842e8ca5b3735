/* What is run through a model to calibrate. */
#ifndef HT_CALIBRATE_SETTINGS_H
#define HT_CALIBRATE_SETTINGS_H

#include "base/arena.h"

#include <stdint.h>

/* One of the texts, with its share of what is run. */
struct ht__calibration_part {
    const char *path; /* NULL: the built-in text, and random tokens */
    uint32_t weight;  /* in thousandths */
};

struct ht__calibration_settings {
    const char *text; /* the parts as they were given; NULL: the built-in text */
    const struct ht__calibration_part *parts;
    size_t n_parts;
    const char *tokens;      /* a file of token ids instead, or NULL */
    const char *layer_cache; /* a folder for layers that had to be converted, or NULL */
    uint64_t seed;           /* of the order of windows and of random tokens; 0: a lone file comes in its own order */
    uint32_t n_ctx;          /* tokens in a chunk; 0: 512, or what the model was trained with where that is less */
    uint32_t from_chunk;     /* chunks that are left out */
    uint32_t n_chunks;       /* at most; UINT32_MAX: all, or of the built-in text what is needed */
    bool for_codes;          /* codes are chosen on it, which needs more than importance does */
    bool process_output;     /* for output.weight too */
    bool
        within; /* the run's memory is for all that it takes, and has a default, as in quantize; else for weights alone */
};

/*
 * FILE[:WEIGHT],FILE[:WEIGHT]… where FILE may be "default", the built-in text, and WEIGHT is 0.001 to 1000 (1 without).
 * A file whose name has commas or ends like a weight can be given alone. `option` names it in diagnoses; texts lie in
 * the arena. NULL is the built-in text.
 */
HT_MUST_CHECK enum ht_err ht__calibration_parse(const char *option, const char *text, struct ht__arena *arena,
                                                struct ht__calibration_settings *settings, struct ht_diag *diag);

#endif
