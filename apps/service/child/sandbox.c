/*
 * What a child may not do, told to the kernel: no internet sockets (seccomp); no writing outside its folder and, where
 * it is confined, no reading outside the folders of its model (Landlock). The kernel judges the file that is really
 * opened, so neither a link nor a folder that is exchanged leads out. Where a kernel has neither, children run without:
 * whoever starts them has looked at links before (child/roots.h).
 *
 * Everything here runs between fork and exec in a process that had threads: system calls only.
 */
#include "service/child/start.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__
#define NATIVE AUDIT_ARCH_X86_64
#elif defined __aarch64__
#define NATIVE AUDIT_ARCH_AARCH64
#endif

#ifdef NATIVE
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF_EQUAL(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)
#define IF_AT_LEAST(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, value, then, otherwise)
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, value)
/*
 * socket() of a family other than AF_UNIX fails. Another architecture's calls (32 bits, x32) would go
 * round the check, so they end the process; io_uring can make sockets too, so there is none.
 */
void child__forbid_network(void)
{
    static struct sock_filter rules[] = {
        LOAD(arch),
        IF_EQUAL(NATIVE, 1, 0),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
        LOAD(nr),
        IF_AT_LEAST(0x40000000, 0, 1),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
        IF_EQUAL(SYS_io_uring_setup, 4, 0),
        IF_EQUAL(SYS_socket, 1, 0),
        ANSWER(SECCOMP_RET_ALLOW),
        LOAD(args[0]),
        IF_EQUAL(AF_UNIX, 1, 0),
        ANSWER(SECCOMP_RET_ERRNO | EACCES),
        ANSWER(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
#else
void child__forbid_network(void) {}
#endif

#define READS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define OF_FILES (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE)

/* Rights to what is open, and to what lies beneath it. Of a file only those that files have can be given. */
static void allow_open(int ruleset, int fd, uint64_t access)
{
    struct stat info;
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    if (fd < 0 || fstat(fd, &info) != 0) return;
    if (!S_ISDIR(info.st_mode)) rule.allowed_access &= OF_FILES;
    syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static void allow(int ruleset, const char *path, uint64_t access)
{
    int fd = path ? open(path, O_PATH | O_CLOEXEC) : -1;
    allow_open(ruleset, fd, access);
    if (fd >= 0) close(fd);
}

/* What a program reads to start and to look at its machine. /proc/self is this process, not its parent. */
static const char *const of_the_system[] = {"/usr",
                                            "/lib",
                                            "/lib32",
                                            "/lib64",
                                            "/nix/store",
                                            "/gnu/store",
                                            "/etc/ld.so.cache",
                                            "/etc/ssl/openssl.cnf",
                                            "/etc/localtime",
                                            "/dev/null",
                                            "/dev/zero",
                                            "/dev/urandom",
                                            "/proc/self",
                                            "/proc/cpuinfo",
                                            "/proc/meminfo",
                                            "/proc/stat",
                                            "/proc/sys/vm/overcommit_memory",
                                            "/sys/devices/system/cpu",
                                            "/sys/fs/cgroup"};

static void allow_reads(int ruleset, const struct child_settings *s, const char *program)
{
    for (size_t i = 0; i < sizeof of_the_system / sizeof *of_the_system; i++)
        allow(ruleset, of_the_system[i], READS);
    allow(ruleset, program, LANDLOCK_ACCESS_FS_READ_FILE);
    for (size_t i = 0; i < s->n_readable_fds; i++)
        allow_open(ruleset, s->readable_fds[i], READS);
    for (const char *const *path = s->readable; path && *path; path++)
        allow(ruleset, *path, READS);
}

/* Access rights by version of the kernel's interface: bit 13 (rename to another folder) came with the second,
 * bit 14 (truncate) with the third. The right to execute is left alone. */
void child__confine_files(const struct child_settings *s, const char *program)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) return;
    uint64_t writes = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                      LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                      LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                      LANDLOCK_ACCESS_FS_MAKE_SYM;
    if (version >= 2) writes |= 1u << 13;
    if (version >= 3) writes |= 1u << 14;
    uint64_t reads = s->confined ? READS : 0;
    struct landlock_ruleset_attr attributes = {.handled_access_fs = writes | reads};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes.handled_access_fs, 0);
    if (ruleset < 0) return;
    allow(ruleset, s->writable, writes | reads);
    allow(ruleset, "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE);
    if (s->confined) allow_reads(ruleset, s, program);
    syscall(SYS_landlock_restrict_self, ruleset, 0);
    close(ruleset);
}
