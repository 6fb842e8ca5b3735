/* How likely tokens are: the logarithm of the softmax of logits, over all tokens. */
#ifndef HT_ENGINE_LOGPROBS_H
#define HT_ENGINE_LOGPROBS_H

#include <stdint.h>

/* Of token id; and of the n_top likeliest, in falling order (equal ones: the lower id first). n_top may be 0. */
float ht__logprobs(const float *logits, int n_vocab, int32_t id, int n_top, int32_t *top, float *top_logprob);

#endif
