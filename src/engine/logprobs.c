#include "engine/logprobs.h"

#include <math.h>

/* The n likeliest by insertion: n is small, and few tokens get past the last of them. */
static int rank(const float *logits, int n_vocab, int n, int32_t *top)
{
    int have = 0;
    for (int i = 0; i < n_vocab && n > 0; i++) {
        if (have == n && !(logits[i] > logits[top[n - 1]])) continue;
        int at = have < n ? have++ : n - 1;
        for (; at > 0 && logits[i] > logits[top[at - 1]]; at--)
            top[at] = top[at - 1];
        top[at] = i;
    }
    return have;
}

float ht__logprobs(const float *logits, int n_vocab, int32_t id, int n_top, int32_t *top, float *top_logprob)
{
    double sum = 0, most = logits[0];
    for (int i = 1; i < n_vocab; i++)
        if (logits[i] > most) most = logits[i];
    for (int i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i] - most);
    double total = most + log(sum);
    int n = rank(logits, n_vocab, n_top, top);
    for (int i = 0; i < n; i++)
        top_logprob[i] = (float)(logits[top[i]] - total);
    return (float)(logits[id] - total);
}
