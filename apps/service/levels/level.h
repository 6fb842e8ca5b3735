/* Levels of quantization as people set them: off (16 bits and more), 8 and 4 bits. */
#ifndef HT_SERVICE_LEVELS_LEVEL_H
#define HT_SERVICE_LEVELS_LEVEL_H

enum level { LEVEL_UNSET = -1, LEVEL_OTHER = 0, LEVEL_4 = 4, LEVEL_8 = 8, LEVEL_OFF = 16 };

/* From best to smallest; each step of three. */
enum { N_LEVELS = 3 };
extern const enum level level_order[N_LEVELS];

const char *level_text(enum level level); /* "off", "8", "4", "other", "unset" */
/* "off", "16", "8", "4"; UNSET: none of these. */
enum level level_named(const char *text);
/* The level that bits a weight are: OTHER where they are none (6 bits, 3 bits). */
enum level level_of_bits(double bits);
/* The type that is made for a level: Q4_K_M, Q8_0, BF16. */
const char *level_type(enum level level);

#endif
