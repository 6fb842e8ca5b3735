/*
 * Which level of a model answers, and which there are.
 *
 *     a name without a level -> its family -> the level that config.json wants -> the file that is of that level
 *
 * The folder offers: this; config.h; kinds.h (what a file is); stats.h (figures of each model at each level).
 * Threads: everything may be called from any thread.
 */
#ifndef HT_SERVICE_LEVELS_LEVELS_H
#define HT_SERVICE_LEVELS_LEVELS_H

#include "service/child/roots.h"
#include "service/levels/config.h"
#include "service/levels/kinds.h"
#include "service/levels/stats.h"
#include "service/runtime/catalog.h"

struct levels;

struct levels_settings {
    const char *config; /* path of config.json */
    struct runtime *runtime;
    struct store *store;
    const struct roots *roots;
    struct stats *stats;
    void (*on_log)(void *ctx, const char *level, const char *text);
    void *ctx;
};

struct levels *levels_open(const struct levels_settings *settings); /* NULL: no memory */
void levels_close(struct levels **levels);
/* The log has begun: it is told what is wrong with config.json, now and later. */
void levels_started(struct levels *levels);

/* The entry of the list that answers for a name; found: as it would without levels, and where the level that is wanted is not
 * there. Looks into files that it does not know yet. Borrowed from the list. */
const json_t *levels_choose(struct levels *levels, const json_t *list, const char *name, const json_t *found);

/* {state, fault, settings}: what config.json says now. The caller's. */
json_t *levels_config(struct levels *levels);
/* Changes "ai" of config.json, and what depends on it here. false: why. */
bool levels_change(struct levels *levels, const json_t *changes, char *why, size_t size);
/* The level that is wanted of a family; UNSET: none is. *by: "model" (a setting of its own), "all", or "adjusting". */
enum level levels_wanted(struct levels *levels, const char *family, const char **by);
/* A level that comes before config.json until the service ends; UNSET: none any more. */
void levels_override(struct levels *levels, const char *family, enum level level);
enum level levels_overridden(struct levels *levels, const char *family);
/* The entry that answers for a family without a level, and its level; NULL: there is none. Borrowed from the list. */
const json_t *levels_now(struct levels *levels, const json_t *list, const char *family, struct child_stop *stop,
                         enum level *level, struct runtime_model *model);

/* The change that sets a level of a family's own, for levels_change; UNSET removes it. name: what it is called where it has
 * none yet. */
json_t *levels_own(struct levels *levels, const char *family, const char *name, enum level level);

/* All families, or the one with this key: as the API shows them. */
json_t *levels_list(struct levels *levels, const json_t *list, const char *family, struct child_stop *stop);
/* The file of a family that is of a level, what most people take first. Borrowed from the list; NULL: there is none. */
const json_t *levels_find(struct levels *levels, const json_t *list, const char *family, enum level level,
                          struct child_stop *stop);

/* One switch of a family at a time: false: another is under way. */
bool levels_begin(struct levels *levels, const char *family, enum level to);
/* "finding", "making", "loading"; then "done" or "failed", which ends it. job, detail: may be NULL. */
void levels_tell(struct levels *levels, const char *family, const char *state, const char *job, const char *detail);

#endif
