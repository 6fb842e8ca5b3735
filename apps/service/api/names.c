/* By which names the service may be called, and what counts as its own page: the pure parts of the guards. */
#include "service/api/access.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

bool access_host_name(const char *header, char name[256])
{
    size_t len = strlen(header), n;
    if (header[0] == '[') {
        const char *end = strchr(header, ']');
        if (!end) return false;
        n = (size_t)(end - header) - 1;
        header++;
        len = n;
        if (end[1] && end[1] != ':') return false;
        for (const char *p = end[1] ? end + 2 : end + 1; *p; p++)
            if (!isdigit((unsigned char)*p)) return false;
    } else {
        n = strcspn(header, ":");
        for (const char *p = header + n + (header[n] == ':'); *p; p++)
            if (!isdigit((unsigned char)*p)) return false;
    }
    if (n > 1 && header[n - 1] == '.') n--;
    if (n == 0 || n > 255 || len < n) return false;
    for (size_t i = 0; i < n; i++)
        name[i] = (char)tolower((unsigned char)header[i]);
    name[n] = '\0';
    return true;
}

static bool same_address(const char *a, const char *b)
{
    unsigned char x[16], y[16];
    if (inet_pton(AF_INET, a, x) == 1 && inet_pton(AF_INET, b, y) == 1) return memcmp(x, y, 4) == 0;
    if (inet_pton(AF_INET6, a, x) == 1 && inet_pton(AF_INET6, b, y) == 1) return memcmp(x, y, 16) == 0;
    return false;
}

static bool is_address(const char *name)
{
    unsigned char x[16];
    return inet_pton(AF_INET, name, x) == 1 || inet_pton(AF_INET6, name, x) == 1;
}

bool access_host_allowed(const char *header, const char *address, const struct settings_list *names)
{
    static const char *const loopback[] = {"localhost", "127.0.0.1", "::1"};
    char name[256];
    if (!header || !access_host_name(header, name)) return false;
    for (size_t i = 0; i < sizeof loopback / sizeof *loopback; i++)
        if (strcmp(name, loopback[i]) == 0) return true;
    if (same_address(name, address)) return true;
    /* on every address: a number in Host cannot have been rebound by somebody's name server */
    if ((strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0) && is_address(name)) return true;
    for (size_t i = 0; i < names->n; i++)
        if (strcasecmp(name, names->items[i]) == 0) return true;
    return false;
}

bool access_same_site(const char *origin, const char *host)
{
    const char *rest = strncasecmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncasecmp(origin, "https://", 8) == 0 ? origin + 8
                                                                 : NULL;
    return rest && host && strcasecmp(rest, host) == 0;
}
