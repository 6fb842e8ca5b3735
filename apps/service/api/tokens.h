/* `halftone serve --new-token`, --list-tokens, --remove-token: when the service does not run. */
#ifndef HT_SERVICE_API_TOKENS_H
#define HT_SERVICE_API_TOKENS_H

#include "service/settings/settings.h"
#include "service/store/store.h"

/* An exit status. */
int tokens_command(const struct settings *settings, struct store *store);

#endif
