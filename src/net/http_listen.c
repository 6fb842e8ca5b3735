/* The listening socket, and addresses as text and as slots. */
#include "net/http_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Fills `out` from a numeric address. Returns its length, 0 when it is none. */
static socklen_t parse(const char *address, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof *v4;
    }
    if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return sizeof *v6;
    }
    return 0;
}

static bool bind_and_listen(int fd, const struct sockaddr_storage *addr, socklen_t len)
{
    int on = 1, off = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) return false;
    /* "::" serves IPv4 too, whatever the system's default is */
    if (addr->ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0) return false;
    return bind(fd, (const struct sockaddr *)addr, len) == 0 && listen(fd, 1024) == 0;
}

enum ht_err ht__http_listen(const char *address, uint16_t port, int *fd, uint16_t *bound, struct ht_diag *diag)
{
    struct sockaddr_storage addr;
    socklen_t len = parse(address, port, &addr);
    *fd = -1;
    if (len == 0) return ht__fail(diag, HT_ERR_USAGE, address, -1, "not a numeric IPv4 or IPv6 address");
    int s = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0 || !bind_and_listen(s, &addr, len) || getsockname(s, (struct sockaddr *)&addr, &len) != 0) {
        int error = errno;
        if (s >= 0) close(s);
        return ht__fail_errno(diag, error, address, "cannot listen on port %u", port);
    }
    *fd = s;
    *bound = ntohs(addr.ss_family == AF_INET ? ((struct sockaddr_in *)&addr)->sin_port
                                             : ((struct sockaddr_in6 *)&addr)->sin6_port);
    return HT_OK;
}

/* The address's bytes; IPv4 in IPv6's clothes is IPv4. */
static const unsigned char *address_bytes(const struct sockaddr *addr, size_t *n)
{
    if (addr->sa_family == AF_INET) {
        *n = 4;
        return (const unsigned char *)&((const struct sockaddr_in *)addr)->sin_addr;
    }
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)addr)->sin6_addr;
    *n = IN6_IS_ADDR_V4MAPPED(v6) ? 4 : 16;
    return v6->s6_addr + (*n == 4 ? 12 : 0);
}

void ht__http_peer_text(const struct sockaddr *addr, char text[INET6_ADDRSTRLEN])
{
    size_t n;
    const unsigned char *bytes = address_bytes(addr, &n);
    if (!inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, text, INET6_ADDRSTRLEN)) text[0] = '\0';
}

unsigned ht__http_peer_slot(uint64_t seed, const struct sockaddr *addr)
{
    size_t n;
    const unsigned char *bytes = address_bytes(addr, &n);
    if (n == 16) n = 8; /* the host's half of an IPv6 address is its own to choose */
    uint64_t h = seed;
    for (size_t i = 0; i < n; i++) { /* seeded, so that nobody outside knows who shares a slot */
        h = (h ^ bytes[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return (unsigned)(h % HT__HTTP_PEER_SLOTS);
}
