#include "hub/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct range4 {
    uint32_t net;
    int bits;
    enum ht__address_class class;
};

/* The special-purpose registry of IPv4; what is not here is public. */
static const struct range4 ranges4[] = {
    {0x00000000, 8, HT__ADDRESS_RESERVED},    {0x0a000000, 8, HT__ADDRESS_PRIVATE},
    {0x64400000, 10, HT__ADDRESS_PRIVATE},    {0x7f000000, 8, HT__ADDRESS_LOOPBACK},
    {0xa9fe0000, 16, HT__ADDRESS_LINK_LOCAL}, {0xac100000, 12, HT__ADDRESS_PRIVATE},
    {0xc0000000, 24, HT__ADDRESS_RESERVED},   {0xc0000200, 24, HT__ADDRESS_RESERVED},
    {0xc0a80000, 16, HT__ADDRESS_PRIVATE},    {0xc6120000, 15, HT__ADDRESS_RESERVED},
    {0xc6336400, 24, HT__ADDRESS_RESERVED},   {0xcb007100, 24, HT__ADDRESS_RESERVED},
    {0xe0000000, 3, HT__ADDRESS_RESERVED},
};

static enum ht__address_class classify4(uint32_t address)
{
    for (size_t i = 0; i < sizeof ranges4 / sizeof ranges4[0]; i++)
        if ((address ^ ranges4[i].net) >> (32 - ranges4[i].bits) == 0) return ranges4[i].class;
    return HT__ADDRESS_PUBLIC;
}

static uint32_t at4(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Forms that carry an IPv4 address are what that address is: mapped, NAT64, 6to4. */
static enum ht__address_class classify6(const uint8_t b[16])
{
    static const uint8_t zeros[16], mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(b, mapped, 12) == 0 || memcmp(b, nat64, 12) == 0) return classify4(at4(b + 12));
    if (memcmp(b, zeros, 15) == 0) return b[15] == 1 ? HT__ADDRESS_LOOPBACK : HT__ADDRESS_RESERVED;
    if (b[0] == 0x20 && b[1] == 0x02) return classify4(at4(b + 2));
    if ((b[0] & 0xfe) == 0xfc) return HT__ADDRESS_PRIVATE;
    if (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) return HT__ADDRESS_LINK_LOCAL;
    if (b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0d && b[3] == 0xb8) return HT__ADDRESS_RESERVED;
    return (b[0] & 0xe0) == 0x20 ? HT__ADDRESS_PUBLIC : HT__ADDRESS_RESERVED; /* 2000::/3 is what is given out */
}

enum ht__address_class ht__address_classify(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) return classify4(ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6) return classify6(((const struct sockaddr_in6 *)address)->sin6_addr.s6_addr);
    return HT__ADDRESS_RESERVED;
}

bool ht__address_of_host(const char *host, enum ht__address_class *class)
{
    char text[INET6_ADDRSTRLEN + 1];
    struct in_addr four;
    struct in6_addr six;
    size_t n = strlen(host);
    if (inet_aton(host, &four)) { /* also the short, octal and hexadecimal forms, which resolvers take */
        *class = classify4(ntohl(four.s_addr));
        return true;
    }
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    n = strcspn(host, "%]") < n ? strcspn(host, "%]") : n; /* without a zone */
    if (n >= sizeof text) return false;
    snprintf(text, sizeof text, "%.*s", (int)n, host);
    if (inet_pton(AF_INET6, text, &six) != 1) return false;
    *class = classify6(six.s6_addr);
    return true;
}

bool ht__address_allowed(enum ht__address_class class, enum ht__address_class endpoint)
{
    return class == HT__ADDRESS_PUBLIC || (class == endpoint && class != HT__ADDRESS_RESERVED);
}
