/* Bytes that a model made as JSON: what is no UTF-8, and NUL, becomes U+FFFD. */
#ifndef HT_SERVICE_RUNTIME_UTF8_H
#define HT_SERVICE_RUNTIME_UTF8_H

#include <jansson.h>

json_t *utf8_json(const char *text, size_t len); /* NULL: no memory */

#endif
