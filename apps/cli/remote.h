/*
 * A server that runs elsewhere, Halftone's or Ollama's: requests and answers in JSON, events, files. The token goes to the server
 * that was named and nowhere else: redirects are not followed.
 */
#ifndef HT_CLI_REMOTE_H
#define HT_CLI_REMOTE_H

#include "cli.h"

#include <curl/curl.h>

#include <stdio.h>

/* What kind of server it is, and where it is looked for. */
struct remote_kind {
    const char *name; /* "a Halftone server" */
    const char *server_variable, *token_variable, *address;
    /* Makes an address of what was given, in `server`. EXIT_DONE or a status. NULL: it is one */
    int (*find)(const struct command *command, const char *given, char server[1024]);
};
extern const struct remote_kind halftone_server;

struct remote {
    const struct command *command;
    const struct remote_kind *kind;
    CURL *curl;
    struct curl_slist *headers;
    char server[1024]; /* without a slash at the end */
    const char *token;
    bool json;     /* what is told is JSON */
    bool here;     /* the server runs on this machine */
    bool may_lack; /* status 404 is an answer */
    long http;     /* status of the last answer */
    char fault[CURL_ERROR_SIZE];
};

/* Options that every command of this kind takes; the rest of argv stays. */
struct remote_options {
    const char *server, *token;
    bool json;
};
/* Takes --server, --token, --json out of argv. EXIT_DONE or a status. */
int remote_take_options(const struct command *command, int *argc, char **argv, struct remote_options *options);

/* Servers without a scheme are http. EXIT_DONE, or what went wrong has been told. */
int remote_open(struct remote *remote, const struct remote_kind *kind, const struct command *command,
                const struct remote_options *options);
void remote_close(struct remote *remote);

/* "/api/v1" + a path whose pieces (%s) are escaped for an address. NULL: no memory. free() */
char *remote_path(struct remote *remote, const char *fmt, const char *a, const char *b);

/*
 * One request. body is stolen, NULL: none. *answer (may be NULL) is the caller's; NULL for an empty one. Returns
 * EXIT_DONE, or has told what went wrong and returns its status.
 */
int remote_call(struct remote *remote, const char *method, const char *path, json_t *body, json_t **answer);
/* The same with an Idempotency-Key (or NULL). */
int remote_send(struct remote *remote, const char *method, const char *path, json_t *body, const char *key,
                json_t **answer);

/* What the server says of its refusal, by `len` bytes of its answer's body, is told. Returns an exit status. */
int remote_refused(struct remote *remote, long http, const char *body, size_t len);
/* It cannot be reached, or what it sends is none of its answers: told. */
int remote_unreachable(struct remote *remote, const char *why);
int remote_strange(struct remote *remote, const char *why);

/* POST, and an answer of JSON objects, one a line. A return other than EXIT_DONE ends it. An object that holds an error is
 * told and ends it too. body is stolen. */
typedef int remote_line_fn(void *ctx, const json_t *line);
int remote_lines(struct remote *remote, const char *path, json_t *body, remote_line_fn *line, void *ctx);
/* HEAD: is something there? Sets remote->http to 200 or 404; else a status. */
int remote_head(struct remote *remote, const char *path);
/* POST of a file, from its start. `tell` (or NULL) hears how much has gone. */
int remote_upload(struct remote *remote, const char *path, FILE *file, uint64_t size,
                  void (*tell)(void *ctx, uint64_t done), void *ctx);

/* An event of the stream at the path. true ends the stream. */
typedef bool remote_event_fn(void *ctx, const char *kind, const char *data);
/* Called when a connection is made, to ask for what was missed before. true ends the stream. */
typedef bool remote_begin_fn(void *ctx);
/* Reads events, and connects again, going on behind the last, when the connection ends. Returns when a callback
 * ends it (EXIT_DONE), or when the server cannot be reached any more. */
int remote_events(struct remote *remote, const char *path, remote_begin_fn *begin, remote_event_fn *event, void *ctx);

/* A file of known size and SHA-256 into `to`, by way of `to`.part, which a later call continues. */
struct remote_file {
    const char *path, *to, *sha256;
    uint64_t size;
    bool overwrite, quiet;
};
int remote_download(struct remote *remote, const struct remote_file *file);

/* A folder: `files` is [{name, size, sha256}], each at path + "/files/" + name. They come into `to`.part, which a later
 * call continues; `to` is there when all of them are right. */
struct remote_folder {
    const char *path, *to;
    const json_t *files;
    bool overwrite, quiet;
};
int remote_download_folder(struct remote *remote, const struct remote_folder *folder);

#endif
