/* Reading bodies as OpenAI's clients send them: members with null are not there, and unknown ones are left alone. */
#ifndef HT_SERVICE_OPENAI_KNOWN_H
#define HT_SERVICE_OPENAI_KNOWN_H

#include "service/api/api.h"
#include "service/api/json.h"

/* The members that the fields name, checked; a new object, or NULL: it was answered. Others must be `also` (ends with NULL)
 * to be taken over unchecked. */
json_t *known_members(struct api_call *call, const struct field *fields, const char *const *also);
/* Answers with a fault at a member; always false. */
bool known_fault(struct api_call *call, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
