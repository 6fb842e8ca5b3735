/*
 * config.json, as programs that choose levels keep it: {"ai": {"llm_model", "enable_quantization", "quantization_bits",
 * "gpu_memory_limit_mb", "models": {NAME: {"enable_quantization", "quantization_bits"}}, "adjust": {…}, …}, …}.
 *
 * It is read anew each time it is needed, since others write it too. What this program does not know in it stays. It is
 * written whole beside its place and moved there, so that a reader sees the old one or the new one.
 */
#ifndef HT_SERVICE_LEVELS_CONFIG_H
#define HT_SERVICE_LEVELS_CONFIG_H

#include "service/levels/level.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum config_state { CONFIG_ABSENT, CONFIG_READ, CONFIG_DAMAGED };

/* The "ai" object, {} where there is none: the caller's. DAMAGED: NULL, and why: unreadable, no JSON, or with members of
 * the wrong type, which are named. */
json_t *level_config_read(const char *path, enum config_state *state, char *why, size_t size);
/* What is wrong with members that this program knows: "" nothing. */
void level_config_check(const json_t *ai, char *why, size_t size);
/* Sets members of "ai" (null removes one; "models" and "adjust" are merged member by member), and writes the file. false: why;
 * the file is as it was. */
bool level_config_write(const char *path, const json_t *changes, char *why, size_t size);

/* The level that an object's two members say; UNSET: they are not there. */
enum level level_config_of(const json_t *object);
/* The two members for a level; NULL: no memory. */
json_t *level_config_json(enum level level);

#endif
