/* flock() rather than fcntl(): it belongs to the open file, so that two jobs of one process exclude each other too, and
 * closing another descriptor of the same file does not drop it. Who holds it is in /proc/locks. */
#include "base/lock.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* A process that was killed a moment ago may need this long to end; in milliseconds. */
enum { PATIENCE = 1000 };

/* "1: FLOCK  ADVISORY  WRITE 1234 fe:00:56789 0 EOF": the process, or 0 where it is not visible from here. On some
 * file systems the device there is not the one of stat(): then the inode alone has to do. */
static long holder_of(int fd)
{
    struct stat st;
    char line[256];
    long holder = 0, pid;
    unsigned int major_number, minor_number;
    unsigned long long inode;
    FILE *locks = fstat(fd, &st) == 0 ? fopen("/proc/locks", "re") : NULL;
    while (locks && fgets(line, sizeof line, locks)) {
        int n = sscanf(line, "%*d: FLOCK %*s %*s %ld %x:%x:%llu", &pid, &major_number, &minor_number, &inode);
        if (n != 4 || inode != st.st_ino) continue;
        holder = pid;
        if (major_number == major(st.st_dev) && minor_number == minor(st.st_dev)) break;
    }
    if (locks) fclose(locks);
    return holder > 0 ? holder : 0;
}

/* When the process was started, in seconds since 1970; 0: not known. /proc/PID/stat counts ticks since the boot, and
 * its second field, the name, may hold anything. */
static time_t started_at(long pid)
{
    char path[40], text[1024] = "";
    unsigned long long ticks = 0;
    struct timespec boot;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *stat_file = fopen(path, "re");
    if (!stat_file) return 0;
    const char *at = fgets(text, sizeof text, stat_file) ? strrchr(text, ')') : NULL;
    fclose(stat_file);
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at) ticks = strtoull(at, NULL, 10);
    if (!ticks || clock_gettime(CLOCK_BOOTTIME, &boot) != 0) return 0;
    return time(NULL) - boot.tv_sec + (time_t)(ticks / (unsigned long long)sysconf(_SC_CLK_TCK));
}

static enum ht_err say_holder(int fd, const char *path, struct ht_diag *diag)
{
    char host[256] = "this machine", since[48] = "";
    long pid = holder_of(fd);
    time_t start = pid ? started_at(pid) : 0;
    struct tm tm;
    if (!pid)
        return ht__fail(diag, HT_ERR_EXISTS, path, -1,
                        "another run is writing this file, on another machine or in another container; wait for it, or "
                        "choose another output");
    gethostname(host, sizeof host - 1);
    if (start && localtime_r(&start, &tm)) strftime(since, sizeof since, ", since %Y-%m-%d %H:%M:%S", &tm);
    return ht__fail(diag, HT_ERR_EXISTS, path, -1,
                    "another run is writing this file: process %ld on %s%s; wait for it, or choose another output", pid,
                    host, since);
}

enum ht_err ht__lock_file(int fd, const char *path, bool *supported, struct ht_diag *diag)
{
    int64_t until = ht__milliseconds() + PATIENCE;
    *supported = true;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno == EWOULDBLOCK && ht__milliseconds() < until) {
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
            continue;
        }
        if (errno == EWOULDBLOCK) return say_holder(fd, path, diag);
        *supported = false;
        return errno == ENOSYS || errno == EOPNOTSUPP || errno == EINVAL || errno == ENOLCK
                   ? HT_OK
                   : ht__fail_errno(diag, errno, path, "cannot lock");
    }
    return HT_OK;
}
