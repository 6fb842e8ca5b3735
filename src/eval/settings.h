/* What to measure, on which text. */
#ifndef HT_EVAL_SETTINGS_H
#define HT_EVAL_SETTINGS_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__eval_settings {
    const char *text;        /* a file, or "default"; NULL: none was given */
    const char *tokens;      /* a file of token ids instead, or NULL */
    const char *choices;     /* a file of multiple-choice questions, or NULL */
    const char *layer_cache; /* a folder for layers that had to be converted, or NULL */
    int n_ctx;               /* tokens in a chunk */
    size_t n_chunks;         /* at most; SIZE_MAX: all of the text */
    int retention;           /* tokens of each greedy continuation; 0: none are made */
    bool fast;               /* 8-bit activations */
    uint32_t part, parts;    /* only some passes over the text: 1 <= part <= parts; parts 0: all */
    const char *keep;        /* of a part: the file for what it showed */
    struct ht__list taken;   /* such files */
};

#endif
