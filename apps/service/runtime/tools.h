/*
 * Calls of tools in what a model writes. Each family has its own way, which its template shows to the model:
 *
 *   <tool_call>{"name": …, "arguments": {…}}</tool_call>     Qwen, Hermes and others
 *   [TOOL_CALLS] [{"name": …, "arguments": {…}}, …]           Mistral
 *   {"name": …, "parameters": {…}}                            Llama 3: the whole answer
 */
#ifndef HT_SERVICE_RUNTIME_TOOLS_H
#define HT_SERVICE_RUNTIME_TOOLS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A text as it comes. What may become a call is held back. */
struct tools_text {
    char *text;
    size_t len, room, given;
    bool call; /* a call has begun, at `given` */
};

/* Adds a piece; *from and *n are what may be shown of the text by now. false: no memory. */
bool tools_put(struct tools_text *t, const char *piece, size_t len, const char **from, size_t *n);
/* At the end: the calls, [{name, arguments: {…}}], or NULL: there are none, and *from and *n are what is left to show. */
json_t *tools_end(struct tools_text *t, const char **from, size_t *n);
void tools_free(struct tools_text *t);

#endif
