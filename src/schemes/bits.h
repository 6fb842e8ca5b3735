/*
 * Codes of 2 to 8 bits as one stream, the first in the lowest bits of the first byte: what programs that pack codes into
 * little-endian words of 32 bits store, without gaps at the ends of words.
 */
#ifndef HT_SCHEMES_BITS_H
#define HT_SCHEMES_BITS_H

#include <stdint.h>

/* Bytes of n codes, filled up to whole words of 32 bits. */
int64_t ht__bits_bytes(int64_t n, int bits);
/* dst: ht__bits_bytes(n, bits) bytes; what is left of the last word is 0. Codes are below 2^bits. */
void ht__bits_pack(const uint8_t *codes, int64_t n, int bits, void *dst);
void ht__bits_unpack(const void *src, int64_t n, int bits, uint8_t *codes);

/*
 * The same down the columns of a matrix: line w holds word w of each row's stream. dst: n * bits / 32 lines of n_rows
 * words. n is a multiple of 32, `codes` n_rows x n.
 */
void ht__bits_pack_columns(const uint8_t *codes, int64_t n_rows, int64_t n, int bits, void *dst);
void ht__bits_unpack_columns(const void *src, int64_t n_rows, int64_t n, int bits, uint8_t *codes);

#endif
