/* How much more memory may be taken before something else has to go. */
#ifndef HT_BASE_FREE_MEMORY_H
#define HT_BASE_FREE_MEMORY_H

#include <stdint.h>

/* Bytes; caches of files count as free. The least of what the machine says and what the process's control groups leave, of the
 * second version or the first. 0 where nobody says. */
uint64_t ht__free_memory(void);
/* As if the system's files were below root. */
uint64_t ht__free_memory_in(const char *root);

#endif
