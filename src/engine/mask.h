/* What may come next: tokens that do not fit are never picked. One for each text, of a kind that its maker knows. */
#ifndef HT_ENGINE_MASK_H
#define HT_ENGINE_MASK_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct ht__mask {
    /* logits[n_vocab] of tokens that cannot come next become -infinity. */
    enum ht_err (*apply)(struct ht__mask *mask, float *logits, int n_vocab, struct ht_diag *diag);
    void (*take)(struct ht__mask *mask, int32_t id); /* the token that came */
    bool (*whole)(const struct ht__mask *mask);      /* nothing can follow */
    void (*close)(struct ht__mask **mask);
};

#endif
