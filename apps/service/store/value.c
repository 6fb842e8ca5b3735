/* Columns as JSON, times, ids. */
#include "service/store/sql.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

const char *store__text(struct statement *statement, int column)
{
    const char *text = sql_text(statement, column);
    return text ? text : "";
}

/* A text that was cut inside a character is worth more than none. */
static json_t *plain_text(const char *text)
{
    char *copy = strdup(text);
    for (char *p = copy; p && *p; p++)
        if (*p & 0x80) *p = '?';
    json_t *value = copy ? json_string(copy) : NULL;
    free(copy);
    return value ? value : json_null();
}

json_t *store__json_text(struct statement *statement, int column)
{
    const char *text = sql_text(statement, column);
    json_t *value = text ? json_string(text) : NULL;
    return value ? value : text ? plain_text(text) : json_null();
}

json_t *store__json_number(struct statement *statement, int column)
{
    switch (sql_type(statement, column)) {
    case SQL_INTEGER: return json_integer(sql_int64(statement, column));
    case SQL_REAL: return json_real(sql_real(statement, column));
    default: return json_null();
    }
}

json_t *store__json_time(struct statement *statement, int column)
{
    char text[40], day[24];
    struct tm tm;
    if (sql_type(statement, column) != SQL_INTEGER) return json_null();
    int64_t ms = sql_int64(statement, column);
    time_t seconds = (time_t)(ms / 1000);
    if (!gmtime_r(&seconds, &tm)) return json_null();
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, sizeof text, "%s.%03dZ", day, (int)(ms % 1000));
    return json_string(text);
}

json_t *store__json_parsed(struct statement *statement, int column)
{
    const char *text = sql_text(statement, column);
    json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    return value ? value : json_null();
}

char *store__dump(const json_t *value)
{
    if (!value || json_is_null(value)) return NULL;
    return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

int64_t store__wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* 48 bits of time, 16 that count up within a millisecond, 64 of chance: ids sort by age, those of one
 * request in its order, and none can be guessed from another. Inside a write transaction. */
void store__new_id(struct store *s, char id[STORE_ID_SIZE])
{
    uint64_t chance = 0, now = (uint64_t)store__wall();
    while (getrandom(&chance, sizeof chance, 0) != sizeof chance)
        ; /* at start, before the kernel has gathered enough; it blocks, so this is no spinning */
    s->sequence = now > s->last_id ? 0 : s->sequence + 1;
    if (s->sequence > 0xffff) now = s->last_id + 1, s->sequence = 0;
    if (now > s->last_id) s->last_id = now; /* a clock that goes back does not make ids older */
    snprintf(id, STORE_ID_SIZE, "%012llx%04x%016llx", (unsigned long long)s->last_id & 0xffffffffffff, s->sequence,
             (unsigned long long)chance);
}

char *store__like(const char *search)
{
    char *like = malloc(2 * strlen(search) + 3), *p = like;
    if (!like) return NULL;
    *p++ = '%';
    for (; *search; search++) {
        if (*search == '%' || *search == '_' || *search == '\\') *p++ = '\\';
        *p++ = *search;
    }
    *p++ = '%';
    *p = '\0';
    return like;
}
