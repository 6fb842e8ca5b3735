/* Messages as clients send them, as chat templates want them. */
#ifndef HT_SERVICE_RUNTIME_CONVERSATION_H
#define HT_SERVICE_RUNTIME_CONVERSATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * A list of {role, content, tool_calls, …}: contents that are lists of parts become one text, arguments that are texts of JSON
 * become objects, "developer" is "system", and members that no template knows go. NULL: pointer and why say what is wrong
 * (why "": memory is out).
 */
json_t *conversation_messages(const json_t *messages, char *pointer, size_t pointer_size, char *why, size_t size);

#endif
