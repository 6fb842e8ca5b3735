/*
 * How fast this machine is, measured in a fraction of a second: encoders and SHA-256 in processor time, as if
 * nothing else ran; the disk by the clock.
 */
#ifndef HT_ADVISE_RATE_H
#define HT_ADVISE_RATE_H

#include "base/alloc.h"
#include "base/file.h"
#include "kernels/codec.h"

/* What all of these return when memory is out. */
#define HT__RATE_NO_MEMORY (-1.0)

/* Seconds a weight, on one core, for encoding and decoding again (encode false: for decoding only) on gaussian
 * rows. It takes about `budget` seconds. */
double ht__rate_codec(const struct ht__codec *codec, enum ht__cpu_level level, bool encode, bool importance,
                      double budget, const struct ht__alloc *alloc);
/* Seconds on one core for multiplying one weight with one token's activation, as measurements do it: rows in this
 * format, in floats. */
double ht__rate_matmul(const struct ht__codec *codec, double budget, const struct ht__alloc *alloc);
/* Seconds for an exponential in doubles. */
double ht__rate_exp(double budget);
/* Bytes a second of SHA-256 on one core. */
double ht__rate_sha256(double budget, const struct ht__alloc *alloc);
/* Bytes a second of reading this file here and there: from the disk, or from memory where the system has it there. */
double ht__rate_read(const struct ht__file *file, double budget, const struct ht__alloc *alloc);
/* Bytes a second of writing to this folder until they are on the disk, with a file that has no name and is gone
 * afterwards. 0 where that is not possible. */
double ht__rate_write(const char *folder, double budget, const struct ht__alloc *alloc);

#endif
