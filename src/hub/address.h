/*
 * Where a connection may go. A redirect, or a name that a stranger controls, must not make the program talk to
 * what only this machine or its network can reach.
 */
#ifndef HT_HUB_ADDRESS_H
#define HT_HUB_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

enum ht__address_class {
    HT__ADDRESS_PUBLIC,
    HT__ADDRESS_LOOPBACK,
    HT__ADDRESS_PRIVATE,
    HT__ADDRESS_LINK_LOCAL,
    HT__ADDRESS_RESERVED, /* unspecified, multicast, documentation, not assigned: never */
};

enum ht__address_class ht__address_classify(const struct sockaddr *address);
/* The class of a host that is written as a number; false for a name. Brackets of IPv6 are understood. */
bool ht__address_of_host(const char *host, enum ht__address_class *class);
/* May a host that the endpoint sent us to have this address? Public ones always; others only where the endpoint
 * itself is of that class: a mirror in a private network, a test on this machine. */
bool ht__address_allowed(enum ht__address_class class, enum ht__address_class endpoint);

#endif
