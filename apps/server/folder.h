/* Folders of finished and unfinished work. Names come from this program alone; nothing follows links. */
#ifndef SERVER_FOLDER_H
#define SERVER_FOLDER_H

#include <stdbool.h>

/* Removes it with all that is in it. True when it is gone (or was not there). */
bool folder_remove(const char *path);
/* Removes it when no model is left in it (what describes the run goes too). */
void folder_remove_if_bare(const char *path);
/* mkdir, or it is there already. */
bool folder_make(const char *path);
/* Renames and makes that durable: both parents are synced. */
bool folder_move(const char *from, const char *to);
bool folder_exists(const char *path);
/* Parts of a name: letters, digits, '.', '_', '-' stay, others become '-'; at most size - 1 bytes; never "" or a dot file. */
void folder_slug(const char *text, char *slug, unsigned size);

#endif
