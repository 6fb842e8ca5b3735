/* Folders of finished and unfinished work: where files lie before and after a job publishes them. Names come from this program alone; nothing follows links. */
#ifndef HT_SERVICE_ARTIFACTS_DIR_H
#define HT_SERVICE_ARTIFACTS_DIR_H

#include <stdbool.h>

/* Removes it with all that is in it. True when it is gone (or was not there). */
bool dir_remove(const char *path);
/* Removes it when no model is left in it (what describes the run goes too). */
void dir_remove_if_bare(const char *path);
/* mkdir, or it is there already. */
bool dir_make(const char *path);
/* Renames and makes that durable: both parents are synced. */
bool dir_move(const char *from, const char *to);
bool dir_exists(const char *path);
/* What a file takes on the disk, or the files that lie directly in a folder; 0: neither is there. */
double dir_bytes(const char *path);
/* Parts of a name: letters, digits, '.', '_', '-' stay, others become '-'; at most size - 1 bytes; never "" or a dot
 * file. */
void dir_slug(const char *text, char *slug, unsigned size);

#endif
