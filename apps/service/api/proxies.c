#include "service/api/proxies.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* IPv4 as ::ffff:a.b.c.d, so that there is one kind of address. */
struct network {
    unsigned char address[16];
    int bits;
};

struct proxies {
    struct network *networks;
    size_t n;
};

static bool read_address(const char *text, unsigned char address[16], bool *four)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    *four = inet_pton(AF_INET, text, address + 12) == 1;
    if (*four) memcpy(address, mapped, sizeof mapped);
    return *four || inet_pton(AF_INET6, text, address) == 1;
}

static bool read_network(const char *text, struct network *network)
{
    char address[64], *end;
    size_t len = strcspn(text, "/");
    bool four;
    if (len >= sizeof address) return false;
    memcpy(address, text, len);
    address[len] = '\0';
    if (!read_address(address, network->address, &four)) return false;
    int all = four ? 32 : 128;
    long bits = all;
    if (text[len] == '/') {
        if (text[len + 1] < '0' || text[len + 1] > '9') return false;
        bits = strtol(text + len + 1, &end, 10);
        if (*end || bits > all) return false;
    }
    network->bits = (int)bits + 128 - all;
    return true;
}

bool proxies_open(const struct settings_list *list, struct proxies **out, char *why, size_t size)
{
    struct proxies *p = calloc(1, sizeof *p);
    *out = p;
    if (p && list->n) p->networks = calloc(list->n, sizeof *p->networks);
    if (!p || (list->n && !p->networks)) {
        proxies_close(out);
        return snprintf(why, size, "not enough memory"), false;
    }
    for (; p->n < list->n; p->n++)
        if (!read_network(list->items[p->n], &p->networks[p->n])) {
            snprintf(why, size, "trusted-proxy: \"%.100s\" is not a network; write 10.0.0.0/8, 192.0.2.7 or fd00::/8",
                     list->items[p->n]);
            proxies_close(out);
            return false;
        }
    return true;
}

void proxies_close(struct proxies **proxies)
{
    if (*proxies) free((*proxies)->networks);
    free(*proxies);
    *proxies = NULL;
}

static bool contains(const struct network *network, const unsigned char address[16])
{
    int whole = network->bits / 8, rest = network->bits % 8;
    if (memcmp(network->address, address, (size_t)whole) != 0) return false;
    return rest == 0 || (network->address[whole] ^ address[whole]) >> (8 - rest) == 0;
}

static bool is_trusted(const struct proxies *p, const char *text)
{
    unsigned char address[16];
    bool four, found = false;
    if (!read_address(text, address, &four)) return false;
    for (size_t i = 0; i < p->n && !found; i++)
        found = contains(&p->networks[i], address);
    return found;
}

/* "1.2.3.4", "1.2.3.4:80", "[::1]:80", "::1", with quotes and blanks around, as an address without a port. */
static bool clean_address(const char *text, size_t len, char address[64])
{
    unsigned char bytes[16];
    bool four;
    while (len && strchr(" \t\"", *text))
        text++, len--;
    while (len && strchr(" \t\"", text[len - 1]))
        len--;
    const char *bracket = len && *text == '[' ? memchr(text, ']', len) : NULL, *colon = memchr(text, ':', len);
    if (bracket) {
        text++;
        len = (size_t)(bracket - text);
    } else if (colon && !memchr(colon + 1, ':', len - (size_t)(colon + 1 - text))) {
        len = (size_t)(colon - text); /* one colon: a port behind IPv4 */
    }
    if (len == 0 || len >= 64) return false;
    memcpy(address, text, len);
    address[len] = '\0';
    return read_address(address, bytes, &four);
}

/* The value of for= in an element of Forwarded; false: there is none. */
static bool for_of(const char **text, size_t *len)
{
    const char *p = *text, *end = p + *len;
    while (p < end) {
        size_t n = strcspn(p, ";");
        if (n > (size_t)(end - p)) n = (size_t)(end - p);
        size_t blanks = strspn(p, " \t");
        if (n > blanks + 4 && strncasecmp(p + blanks, "for=", 4) == 0) {
            *text = p + blanks + 4;
            *len = n - blanks - 4;
            return true;
        }
        p += n + 1;
    }
    return false;
}

/* The nearest address of the list, read from its end, that is not a trusted proxy's: the peer's word for it goes as far
 * as the first one that we do not know. What is no address ends the list: the client is then the last one before. */
static void walk(const struct proxies *p, const char *list, bool elements, char client[64])
{
    const char *end = list + strlen(list);
    char address[64];
    while (end > list && is_trusted(p, client)) {
        const char *start = end;
        while (start > list && start[-1] != ',')
            start--;
        const char *text = start;
        size_t len = (size_t)(end - start);
        if ((elements && !for_of(&text, &len)) || !clean_address(text, len, address)) return;
        snprintf(client, 64, "%s", address);
        end = start > list ? start - 1 : list;
    }
}

void proxies_client(const struct proxies *p, const char *peer, const char *forwarded_for, const char *forwarded,
                    char client[64])
{
    char one[64], two[64];
    snprintf(client, 64, "%s", peer);
    if (!is_trusted(p, peer)) return;
    snprintf(one, sizeof one, "%s", peer);
    snprintf(two, sizeof two, "%s", peer);
    if (forwarded_for) walk(p, forwarded_for, false, one);
    if (forwarded) walk(p, forwarded, true, two);
    if (!forwarded_for || !forwarded || strcmp(one, two) == 0) snprintf(client, 64, "%s", forwarded_for ? one : two);
}
