/* clang 14's MemorySanitizer does not know that stat(), fstat() and lstat() of glibc 2.33 and later fill what they are
 * given: the linker leads their calls here (--wrap). With 64-bit offsets their names end in 64. */
#include <sanitizer/msan_interface.h>
#include <sys/stat.h>

int __real_stat64(const char *path, struct stat *st);
int __real_lstat64(const char *path, struct stat *st);
int __real_fstat64(int fd, struct stat *st);
int __wrap_stat64(const char *path, struct stat *st);
int __wrap_lstat64(const char *path, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);

static int known(int status, struct stat *st)
{
    if (status == 0) __msan_unpoison(st, sizeof *st);
    return status;
}

int __wrap_stat64(const char *path, struct stat *st)
{
    return known(__real_stat64(path, st), st);
}

int __wrap_lstat64(const char *path, struct stat *st)
{
    return known(__real_lstat64(path, st), st);
}

int __wrap_fstat64(int fd, struct stat *st)
{
    return known(__real_fstat64(fd, st), st);
}
