/* Strict reading of request bodies: every member must be known, of the right type and within its bounds. */
#ifndef HT_SERVICE_API_JSON_H
#define HT_SERVICE_API_JSON_H

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An object from text: no key twice, no deeper than API_MAX_DEPTH, nothing behind it. NULL: why. */
json_t *api_parse_object(const char *text, size_t len, char *why, size_t size);

/* What is wrong with a body: pointers and details, in the order in which they were found; at most 50. */
struct faults {
    json_t *list;
};
void faults_add(struct faults *faults, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A member's pointer: parent "/config", name "a/b" -> "/config/a~1b". */
void faults_pointer(char *pointer, size_t size, const char *parent, const char *name);

enum field_kind { FIELD_TEXT, FIELD_INTEGER, FIELD_NUMBER, FIELD_FLAG, FIELD_TEXTS, FIELD_OBJECTS, FIELD_OBJECT };
struct field {
    const char *name;
    enum field_kind kind;
    double least, most; /* of a number; of a text's bytes; of a list's length */
};
/* Checks every member of an object against its fields (which end with a NULL name). */
void fields_check(const json_t *object, const struct field *fields, const char *parent, struct faults *faults);

#endif
