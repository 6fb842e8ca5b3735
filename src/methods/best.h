/*
 * The method "best" for types of GGUF files: a matrix's codes are chosen so that the quantized model's own activations q
 * give what the float model's f give, on the tokens of a calibration text.
 *
 *   Y = f W' + r / share                  r: what the residual stream lacks so far, for matrices that add to it
 *   W* = argmin |Y - q W*'|^2 + damping |W* - W|^2
 *   grid: the type's own encoder on W*; codes: error feedback on W* over that grid, then exact sweeps
 *
 * Several such candidates (and the plain encoder's result) are made of each matrix; the one with the least |Y - q W^'|^2
 * on held-out tokens is taken.
 */
#ifndef HT_METHODS_BEST_H
#define HT_METHODS_BEST_H

#include "calibrate/site.h"
#include "base/arena.h"
#include "methods/factor.h"

struct ht__best;

/* Factors of a finished site, for all of its matrices. */
HT_MUST_CHECK enum ht_err ht__best_open(const struct ht__site_stats *site, const struct ht__ops *ops,
                                        struct ht__pool *pool, const struct ht__alloc *alloc, struct ht__best **out,
                                        struct ht_diag *diag);
void ht__best_close(struct ht__best **best);

struct ht__best_matrix {
    const struct ht__codec *type;
    enum ht__cpu_level level;
    int64_t n_out;
    const float *w;          /* n_out x n_in */
    const float *importance; /* for the plain encoder, as it takes it: n_in, or NULL */
    double share; /* of the products in the residual stream (site->n_stream is n_out then); 0: not corrected */
    /* results */
    uint8_t *encoded;     /* n_out rows of the type */
    float *decoded;       /* n_out x n_in */
    const char *taken;    /* the candidate: constant */
    double before, after; /* its error and the plain encoder's, as shares of |Y|^2 on held-out tokens */
};
HT_MUST_CHECK enum ht_err ht__best_matrix(const struct ht__best *best, struct ht__best_matrix *m, struct ht_diag *diag);

#endif
