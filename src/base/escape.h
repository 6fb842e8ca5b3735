/* Text from files made safe to show: nothing in it may move a cursor, change a colour or reorder a line. */
#ifndef HT_BASE_ESCAPE_H
#define HT_BASE_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Control characters (C0, DEL, C1), line and paragraph separators, and the marks that change the direction of text. */
bool ht__is_unprintable(uint32_t code);

/*
 * Copies the text with every unprintable character as \n, \t, \xNN or \uNNNN, and every byte that is not UTF-8 as
 * \xNN. Returns the length of the whole result, as snprintf does; what does not fit is left out, never half a
 * character or half an escape. `out` ends with a NUL when size > 0.
 */
size_t ht__escape(const char *text, size_t len, char *out, size_t size);

#endif
