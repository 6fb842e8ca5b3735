/* The command line that a job is: what its child is started with, and what people copy. */
#ifndef HT_SERVICE_RUNNER_COMMAND_H
#define HT_SERVICE_RUNNER_COMMAND_H

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

/*
 * Arguments (without the program) of `verb` ("quantize", "estimate") for a validated request: its types,
 * then what config and options say (options win), then `extra` (NULL or ending with NULL), then "--" and the source.
 * Options that the verb does not know are left out. Ends with NULL; NULL: no memory. Freed with command_free.
 */
char **command_arguments(const char *verb, const json_t *request, const char *source, const char *const *extra);
void command_free(char ***arguments);

/* The same for people: "halftone quantize …", quoted for a shell where it must be; free(). NULL: no memory. */
char *command_text(char *const *arguments);

/*
 * Every option that a request asks for, by name, as the library takes it: {"threads": "4", "measure": true,
 * "tensor-type": ["a=q6_k"]}: what config means, overlaid by options. NULL: no memory.
 */
json_t *command_options(const json_t *request);

/* Of these options: do they choose types by a budget (fit, bpw, gpu)? As reports call the output: "4.5bpw", "8GB". */
bool command_budget(const json_t *options, char *text, size_t size);

#endif
