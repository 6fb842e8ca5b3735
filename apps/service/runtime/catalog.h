/*
 * What can be run, and how it is called: variants of the registry, files and folders under the allowed ones.
 *
 * A name is BASE:LEVEL, or BASE where the level is not known. Names are compared by their letters and digits alone, so that
 * "llama3.2:1b-instruct-q4_K_M", "Llama-3.2-1B-Instruct:q4_K_M" and "Llama-3.2-1B-Instruct-Q4_K_M" are one.
 */
#ifndef HT_SERVICE_RUNTIME_CATALOG_H
#define HT_SERVICE_RUNTIME_CATALOG_H

#include "service/child/roots.h"
#include "service/runtime/runtime.h"
#include "service/store/store.h"

/*
 * [{name, base, level ("" unknown), format, size, modified (seconds since 1970), path (of local ones), model, variant (ids
 * of the registry's), source (of the registry's: what it was made of, where that is local), digest, architecture, parameters}], names that clients made first (own.h), then the registry. NULL: no
 * memory, or the store failed.
 */
json_t *catalog_list(struct store *store, const struct roots *roots);
/* The entry that a client means: by its name; without a level, the base's usual one; the guide's "base:q4_rest" and
 * "base:q8_rest"; a path. Borrowed. NULL: none. */
const json_t *catalog_find(const json_t *list, const char *name);
/* The family of an entry: what differs by its level alone. As names are compared; what was made of a local model is of its
 * family. */
void catalog_family(const json_t *list, const json_t *entry, char *key, size_t size);
/* Does a name leave the level open? Then key is the family that it means, and *bits 4 or 8 for the guide's "base:q4_rest",
 * otherwise 0. */
bool catalog_open_name(const json_t *list, const char *name, char *key, size_t size, int *bits);
/* A name as it is compared. */
void catalog_plain(const char *name, char *out, size_t size);
/* Where it lies. false: it is gone, or may not be read; why says so. */
bool catalog_place(struct store *store, const struct roots *roots, const json_t *entry, struct runtime_model *model,
                   const char **why);
/* A level as Ollama's names write it: q4_K_M, q8_0, fp16. */
void catalog_level(const char *level, char *out, size_t size);

#endif
