/* The configuration file of the service: any bytes. What is taken must be in its bounds, what is not must be explained. */
#include "service/settings/settings.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings settings = {.port = SETTINGS_UNSET, .memory_limit = SETTINGS_UNSET};
    char why[64] = ""; /* short on purpose: messages must be cut, not overflow */
    bool ok = settings_config(&settings, "input", data, size, why, sizeof why);
    if (!ok && (!*why || strlen(why) >= sizeof why)) abort();
    if (ok && settings.port < SETTINGS_UNSET) abort();
    for (size_t i = 0; i < settings.models.n; i++)
        if (!*settings.models.items[i]) abort();
    settings_free(&settings);
    if (settings.models.items || settings.host) abort();
    return 0;
}
