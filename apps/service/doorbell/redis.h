/*
 * A connection to Redis: commands one after another, each with its answer. hiredis is loaded when a doorbell is asked for:
 * the program runs where there is none. One thread at a time.
 *
 * redis://[USER@]HOST[:PORT][/DB] or unix:///PATH. The password comes from REDIS_PASSWORD, or stands in REDIS_URL, which is
 * environment too; on a command line it is refused (redis_is_open_secret).
 */
#ifndef HT_SERVICE_DOORBELL_REDIS_H
#define HT_SERVICE_DOORBELL_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One installation's streams: two that do not share their store need two databases of Redis (/DB), for each ends entries of
 * jobs that it does not know. */
#define REDIS_TASKS "halftone:tasks"
#define REDIS_DEAD "halftone:dead"
#define REDIS_GROUP "workers"

struct redis;

/* Reads the address and loads the library; no connection is made yet. false: why. */
bool redis_open(const char *url, struct redis **redis, char *why, size_t size);
void redis_close(struct redis **redis); /* NULL-safe */
/* Does the text have a password in it? */
bool redis_is_open_secret(const char *url);
/* How it is called, without a secret. */
const char *redis_where(const struct redis *redis);

/* An answer; it and all inside it are good until the next command. */
enum redis_kind { REDIS_NIL, REDIS_TEXT, REDIS_NUMBER, REDIS_LIST, REDIS_ERROR };
struct redis_answer {
    enum redis_kind kind;
    const char *text; /* of TEXT and ERROR */
    long long number;
    size_t n; /* of LIST */
    const void *inside;
};
/* Connects where it has to. `wait`: seconds that the command itself may block. False: there is no answer; redis_why. Words end
 * with NULL. */
bool redis_ask(struct redis *redis, double wait, struct redis_answer *answer, const char *word, ...)
    __attribute__((sentinel));
bool redis_at(const struct redis_answer *list, size_t i, struct redis_answer *answer);
/* The text at i; "": there is none. */
const char *redis_text(const struct redis_answer *list, size_t i);
const char *redis_why(const struct redis *redis);

#endif
