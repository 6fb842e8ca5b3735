/*
 * The client of a hub. Nothing here reads the environment: whoever runs it says where the hub is, who asks, and
 * where the cache lies.
 */
#ifndef HT_HUB_HUB_H
#define HT_HUB_HUB_H

#include "base/arena.h"
#include "base/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ht__hub_settings {
    const char *endpoint; /* NULL: https://huggingface.co. An http:// one allows http, for mirrors and tests */
    const char *token;    /* NULL: none. Sent to the endpoint alone */
    const char *cache;    /* the folder that holds models--ORG--NAME */
    const char *proxy;    /* NULL or "": none. Only where the endpoint is https:// */
    const char *no_proxy; /* hosts that are reached without it, as curl takes them; NULL: none */
    const char *ca_file;  /* certificates of authorities; NULL: the system's */
    bool offline;         /* the cache alone */
    int n_parallel;       /* files at once, 0: eight */
    int n_tries;          /* attempts in a row that bring nothing, 0: six */
    int timeout;          /* seconds without an answer or a byte, 0: thirty */
    const struct ht__log *log;
    bool (*stopped)(void *ctx); /* asked often, from several threads; NULL: never */
    void *stopped_ctx;
};

struct ht__hub {
    const struct ht__alloc *alloc;
    struct ht__arena arena;
    struct ht__hub_settings settings; /* texts are the arena's */
    const char *origin;               /* "https://host:port" of the endpoint */
    bool http;                        /* the endpoint is http:// */
    atomic_int endpoint_class;        /* enum ht__address_class, once it was connected to */
    atomic_bool halted;               /* one of several files failed: the others need not go on */
};

/* Checks the settings. */
HT_MUST_CHECK enum ht_err ht__hub_open(const struct ht__hub_settings *settings, const struct ht__alloc *alloc,
                                       struct ht__hub **hub, struct ht_diag *diag);
void ht__hub_close(struct ht__hub **hub);

bool ht__hub_stopped(const struct ht__hub *hub);
/* Sleeps; true when it was stopped meanwhile. */
bool ht__hub_sleep(const struct ht__hub *hub, double seconds);

/* "https://host:port" with the port always said, in lower case; false when the text is no such address. */
bool ht__hub_origin(const char *url, char *out, size_t size);

#endif
