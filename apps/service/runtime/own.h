/*
 * Names that clients made: another name for a model that is there, or for a file that they brought, with a system prompt, a
 * template and options of its own. Each is a small file under DATA/run/names; brought files are DATA/run/blobs/sha256-HASH.
 */
#ifndef HT_SERVICE_RUNTIME_OWN_H
#define HT_SERVICE_RUNTIME_OWN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Puts the names before the list's entries. An entry of them is a copy of its target's, with "own": true, "parent", and
 * "system", "template", "options" {…}, "messages" where it has them; of a brought file "blob" is its path. Names whose target
 * is gone are left out. */
void own_overlay(const char *data, json_t *list);
/* {name, target {variant | path | blob}, level, format, …}: written, or replaced. false: why. */
bool own_put(const char *data, const json_t *own, char *why, size_t size);
/* false: there is no such name. A brought file that no name needs any more goes too. */
bool own_remove(const char *data, const char *name);
/* "sha256:HASH" or "sha256-HASH", 64 hexadecimal digits: the path of the blob; false: it is no digest. */
bool own_blob(const char *data, const char *digest, char *path, size_t size);
/* Removes what was brought and no name needs; at the start, when nobody brings anything. */
void own_prune(const char *data);
/* Makes the folders. false: it cannot. */
bool own_folders(const char *data);

#endif
