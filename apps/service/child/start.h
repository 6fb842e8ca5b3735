/* Inside this folder: from settings to a running process. */
#ifndef HT_SERVICE_CHILD_START_H
#define HT_SERVICE_CHILD_START_H

#include "service/child/child.h"

#include <sys/types.h>

struct child_process {
    pid_t pid;
    int out, error, pid_fd; /* pipes, not blocking; a pidfd or -1 */
};
/* False: see reason. */
bool child__start(const struct child_settings *settings, struct child_process *process, char *reason, size_t size);

/* Between fork and exec: only what may be called there. What the kernel lacks is left out. */
void child__forbid_network(void);
void child__confine_files(const struct child_settings *settings, const char *program);

#endif
