/*
 * A model of the hub that is read by ranges: two children. One has the network and the hub's token and lends the
 * model's bytes over a socket without looking at them (`halftone hub lend`); the other parses and computes, confined.
 */
#ifndef HT_SERVICE_CHILD_LEND_H
#define HT_SERVICE_CHILD_LEND_H

#include "service/child/confine.h"

struct lend_settings {
    const char *program;                /* as in child_settings */
    const char *const *hub_environment; /* for the lender alone */
    const char *model;                  /* ORG/NAME[@REVISION][:FILE] */
    int keep_fd;                        /* as in child_settings */
    double timeout_seconds;             /* of the lender, 0: none */
};

/* child_run, with a lender beside it. `confined` is what the settings were confined with; they get the socket and the
 * model's folder in the hub's cache. The end of a lender that found nothing is in *exit, its lines go to on_line. */
bool lend_run(const struct lend_settings *lend, struct child_settings *settings, struct confined *confined,
              struct child_stop *stop, child_line_fn on_line, child_error_fn on_error, void *ctx,
              struct child_exit *exit);

#endif
