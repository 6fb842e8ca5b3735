/* Starting a child: everything is made ready before fork, since after it only system calls are safe. */
#include "service/child/start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SHADOWED 1 /* a sanitizer maps terabytes of address space, and its children do too */
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SHADOWED 1
#endif
#endif
#ifndef SHADOWED
#define SHADOWED 0
#endif

enum { WORDS = 512 }; /* of the argument array and of the environment */

struct launch {
    const struct child_settings *settings;
    const char *program;
    char *arguments[WORDS + 2], *environment[WORDS + 4];
    char lang[128], path[512], tmp[4200];
    int out[2], error[2], started[2], null;
    pid_t parent;
};

/* The text goes into a `NAME=value` of the child, unless the caller names it itself. */
static void inherit(struct launch *l, size_t *n, const char *name, char *buffer, size_t size, const char *value)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < *n; i++)
        if (strncmp(l->environment[i], name, len) == 0 && l->environment[i][len] == '=') return;
    if (!value || (size_t)snprintf(buffer, size, "%s=%s", name, value) >= size) return;
    l->environment[(*n)++] = buffer;
}

static bool prepare(struct launch *l, char *reason, size_t size)
{
    const struct child_settings *s = l->settings;
    size_t n = 0, words = 0;
    l->program = s->program ? s->program : "/proc/self/exe";
    l->arguments[words++] = (char *)"halftone";
    for (const char *const *a = s->arguments; *a && words < WORDS; a++)
        l->arguments[words++] = (char *)*a;
    for (const char *const *e = s->environment; e && *e && n < WORDS; e++)
        l->environment[n++] = (char *)*e;
    if (words == WORDS || n == WORDS) {
        snprintf(reason, size, "more than %d arguments", WORDS);
        return false;
    }
    inherit(l, &n, "PATH", l->path, sizeof l->path, getenv("PATH"));
    inherit(l, &n, "LANG", l->lang, sizeof l->lang, getenv("LANG"));
    inherit(l, &n, "TMPDIR", l->tmp, sizeof l->tmp, s->writable);
    l->parent = getpid();
    return true;
}

static void limit(int what, rlim_t value)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) != 0) return;
    if (now.rlim_max != RLIM_INFINITY && now.rlim_max < value) value = now.rlim_max;
    setrlimit((__rlimit_resource_t)what, &(struct rlimit){value, value});
}

/* Signals as a fresh program expects them: the server ignores some, and its threads block others. */
static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The child's descriptors: 0 to 2, `started` (closes with exec), and the lock that it keeps. */
static void arrange_files(struct launch *l)
{
    dup2(l->null, 0);
    dup2(l->out[1], 1);
    dup2(l->error[1], 2);
    if (syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC, since Linux 5.11 */) != 0)
        for (int fd = 3; fd < 4096; fd++)
            fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (l->settings->keep_fd > 2) fcntl(l->settings->keep_fd, F_SETFD, 0);
    if (l->settings->socket > 2) fcntl(l->settings->socket, F_SETFD, 0);
}

static void become(struct launch *l)
{
    const struct child_settings *s = l->settings;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != l->parent) _exit(127); /* it died before that */
    arrange_files(l);
    reset_signals();
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, 4096);
    /* What it can write to. Not the address space: each thread's malloc reserves 128 MB of it and uses little. */
    if (s->memory_limit && !SHADOWED) limit(RLIMIT_DATA, s->memory_limit);
    if (s->nice) setpriority(PRIO_PROCESS, 0, s->nice);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    bool there = chdir(s->folder ? s->folder : "/") == 0;
    if (s->writable || s->confined) child__confine_files(s, l->program);
    if (!s->network) child__forbid_network();
    if (there) execve(l->program, l->arguments, l->environment);
    int error = errno;
    ssize_t told = write(l->started[1], &error, sizeof error);
    (void)told;
    _exit(127);
}

static void close_pair(int pair[2])
{
    if (pair[0] >= 0) close(pair[0]);
    if (pair[1] >= 0) close(pair[1]);
    pair[0] = pair[1] = -1;
}

static void close_end(int *fd)
{
    close(*fd);
    *fd = -1;
}

/* exec closes `started`; until then it may bring the reason why there was none. */
static int wait_for_exec(struct launch *l)
{
    int error = 0;
    ssize_t n;
    close_end(&l->started[1]);
    do
        n = read(l->started[0], &error, sizeof error);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof error ? error : 0;
}

static bool spawn(struct launch *l, struct child_process *p, char *reason, size_t size)
{
    if (pipe2(l->out, O_CLOEXEC) != 0 || pipe2(l->error, O_CLOEXEC) != 0 || pipe2(l->started, O_CLOEXEC) != 0 ||
        (l->null = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0) {
        snprintf(reason, size, "no pipes: %s", strerror(errno));
        return false;
    }
    p->pid = fork();
    if (p->pid == 0) become(l);
    if (p->pid < 0) {
        snprintf(reason, size, "no process: %s", strerror(errno));
        return false;
    }
    setpgid(p->pid, p->pid); /* in both processes: whichever is first */
    close_end(&l->out[1]);   /* or the pipes would never end */
    close_end(&l->error[1]);
    int error = wait_for_exec(l);
    if (error == 0) return true;
    snprintf(reason, size, "%s did not start: %s", l->program, strerror(error));
    while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return false;
}

bool child__start(const struct child_settings *settings, struct child_process *p, char *reason, size_t size)
{
    struct launch *l = calloc(1, sizeof *l);
    *p = (struct child_process){-1, -1, -1, -1};
    if (!l) {
        snprintf(reason, size, "out of memory");
        return false;
    }
    l->settings = settings;
    l->out[0] = l->out[1] = l->error[0] = l->error[1] = l->started[0] = l->started[1] = l->null = -1;
    bool started = prepare(l, reason, size) && spawn(l, p, reason, size);
    if (started) {
        p->out = l->out[0];
        p->error = l->error[0];
        l->out[0] = l->error[0] = -1;
        fcntl(p->out, F_SETFL, O_NONBLOCK);
        fcntl(p->error, F_SETFL, O_NONBLOCK);
        p->pid_fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    }
    close_pair(l->out);
    close_pair(l->error);
    close_pair(l->started);
    if (l->null >= 0) close(l->null);
    free(l);
    return started;
}
