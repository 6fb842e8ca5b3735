/* Whose word about the client's address is taken: the proxies of --trusted-proxy. */
#ifndef HT_SERVICE_API_PROXIES_H
#define HT_SERVICE_API_PROXIES_H

#include "service/settings/settings.h"

struct proxies;

/* Networks as ADDRESS or ADDRESS/BITS. false: why. */
bool proxies_open(const struct settings_list *networks, struct proxies **proxies, char *why, size_t size);
void proxies_close(struct proxies **proxies);
/*
 * The client's address behind `peer`. forwarded_for is X-Forwarded-For, forwarded is Forwarded (RFC 7239); each may be
 * NULL. Both are read from their end, as far as trusted proxies wrote them. Where the two name different clients, or
 * the peer is not trusted, the client is the peer.
 */
void proxies_client(const struct proxies *proxies, const char *peer, const char *forwarded_for, const char *forwarded,
                    char client[64]);

#endif
