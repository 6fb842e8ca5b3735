/*
 * Where a test's store lies: in its folder; or, with HT_TEST_POSTGRESQL (a server's address, with a '?' in it), in a schema
 * of that server that is this folder's own. The same tests pass on both: tests/server/test_postgres.py.
 */
#ifndef TESTS_LIB_STORE_PLACE_H
#define TESTS_LIB_STORE_PLACE_H

#include "service/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#ifdef HAVE_LIBPQ
#include <libpq-fe.h>
#endif

static inline bool store_place_is_postgres(void)
{
    return getenv("HT_TEST_POSTGRESQL") != NULL;
}

/* `owner`: the folder whose schema it is, where that is another's. */
static inline bool store_place_open_of(const char *owner, const char *folder, struct store **store, char *why,
                                       size_t size)
{
    static char urls[64][600]; /* a store keeps its address */
    static int n;
    const char *server = getenv("HT_TEST_POSTGRESQL");
    if (!server) return store_open(folder, store, why, size);
#ifdef HAVE_LIBPQ
    char *url = urls[n++ % 64], sql[200];
    unsigned hash = 2166136261u;
    for (const char *p = owner; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 16777619u;
    PGconn *c = PQconnectdb(server);
    snprintf(sql, sizeof sql, "SET client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS t%08x", hash);
    PQclear(PQexec(c, sql));
    PQfinish(c);
    snprintf(url, sizeof urls[0], "%s&options=-csearch_path%%3Dt%08x", server, hash);
    return store_open_at(url, NULL, folder, store, why, size);
#else
    (void)urls, (void)n, (void)owner;
    snprintf(why, size, "the tests were built without libpq");
    return false;
#endif
}

static inline bool store_place_open(const char *folder, struct store **store, char *why, size_t size)
{
    return store_place_open_of(folder, folder, store, why, size);
}

#endif
