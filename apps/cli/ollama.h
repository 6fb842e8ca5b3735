/* An Ollama server, by its own interface: what its commands share. */
#ifndef HT_CLI_OLLAMA_H
#define HT_CLI_OLLAMA_H

#include "jobs.h"

extern const struct remote_kind ollama_server;

/* Is it a name as Ollama has them, [HOST/][NAMESPACE/]MODEL[:TAG]? */
bool ollama_name_is_good(const char *name);
/* Numbers, true, false, or text. Whole numbers stay whole: a Go program takes no 1e3 for 1000. */
json_t *ollama_value(const char *text);
/* "NAME=VALUE" into an object of options: numbers, true, false and text; `stop` is a list. false: it has no "=". */
bool ollama_add_parameter(json_t *parameters, const char *text);
/* What the server knows about a model: /api/show. *answer is NULL where there is no such model. */
int ollama_ask(struct remote *remote, const char *name, json_t **answer);
/* A stream of what has been done, told as it comes; it must end with "success". body is stolen. */
int ollama_follow(struct remote *remote, const char *path, json_t *body, bool quiet);

/* A model of files here, under a name there. */
struct ollama_model {
    const char *name;
    char **files; /* GGUF files; the first of a split one stands for all */
    int n_files;
    const char *like; /* the model whose template, system message, parameters, licence and messages it gets; or NULL */
    const char *quantize; /* what the server makes of it; or NULL */
    const char *template_file, *system;
    json_t *parameters; /* an object */
    bool quiet;
};
int ollama_make(struct remote *remote, const struct ollama_model *model);

/* quantize --to-ollama, ollama_outputs.c: can it be done? Then, with the report: what was made goes there. An exit status;
 * what went wrong has been told. */
int ollama_check_outputs(const struct command *command, const struct arguments *args);
int ollama_send_outputs(const struct command *command, const json_t *report, const struct arguments *args);

/* ollama_create.c, ollama_generate.c */
int ollama_create(struct remote *remote, int argc, char **argv);
int ollama_generate(struct remote *remote, int argc, char **argv);

#endif
