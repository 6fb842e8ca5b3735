/* `halftone serve --new-token`, --list-tokens, --remove-token: when the service does not run. */
#ifndef HT_SERVER_TOKENS_H
#define HT_SERVER_TOKENS_H

#include "server/settings.h"
#include "server/store.h"

/* An exit status. */
int tokens_command(const struct settings *settings, struct store *store);

#endif
