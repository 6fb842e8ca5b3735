/*
 * This program, run again as a child that can be limited, stopped and lost.
 *
 * The folder offers: running a child (here), what one that parses strangers' files may reach (confine.h), the folders of
 * local models (roots.h), and a model of the hub that is read while another child fetches it (lend.h).
 *
 * The child gets: an argument array (never a shell), only the environment named here, its own process
 * group, no new privileges, no core file, SIGKILL when its parent's thread dies, stdin from /dev/null.
 * stdout is read as JSON lines, stderr is kept (its end) and told line by line.
 * Threads: child_run blocks its thread; child_stop may be called from any other.
 */
#ifndef HT_SERVICE_CHILD_CHILD_H
#define HT_SERVICE_CHILD_CHILD_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct child_settings {
    const char *program;            /* absolute; NULL: /proc/self/exe */
    const char *const *arguments;   /* without argv[0]; ends with NULL */
    const char *const *environment; /* "NAME=value"; ends with NULL; NULL: none. PATH, LANG and TMPDIR (`writable`,
                                       when it is set) are added; nothing else comes from this process */
    const char *folder;             /* its working folder; NULL: / */
    const char *writable;           /* the only folder it may write in, where the kernel has Landlock; NULL: any,
                                       or none when it is confined */
    bool confined;                  /* it reads nothing but the system's libraries, `writable` and the next two */
    const char *const *readable;    /* files and folders, as they are when it starts; ends with NULL; NULL: none */
    const int *readable_fds;        /* the same, held open by the caller: what their names became does not matter */
    size_t n_readable_fds;
    double timeout_seconds;      /* 0: none */
    size_t max_line, max_output; /* bytes of stdout; 0: 16 MiB a line, 64 MiB in all */
    uint64_t memory_limit;       /* bytes of its own memory (not of mapped files); 0: none */
    int nice;
    bool network; /* false: it cannot make internet sockets */
    /* Asked a few times a second, in the thread of child_run: true ends the child. NULL: never. */
    bool (*unwanted)(void *ctx);
    void *unwanted_ctx;
    int socket;  /* stays open in the child too; <= 0: none */
    int keep_fd; /* stays open in the child (a lock that lives as long as it does); <= 0: none */
};

/*
 * A wish to stop, from another thread. One for each run, or shared by the runs of a job, one after
 * another: a child that is started after the wish ends at once.
 */
struct child_stop {
    atomic_int wished; /* 0 run, 1 SIGINT, 2 SIGKILL */
    int wake;          /* eventfd */
};
bool child_stop_init(struct child_stop *stop);
void child_stop_free(struct child_stop *stop);
/* SIGINT now (the child cleans up), SIGKILL 1.5 s later. From any thread, also before the start. */
void child_stop(struct child_stop *stop);
/* SIGKILL now: what the child has written so far stays, to be continued. */
void child_kill(struct child_stop *stop);

enum child_end {
    CHILD_EXITED,  /* see code */
    CHILD_KILLED,  /* by a signal that was not ours */
    CHILD_STOPPED, /* child_stop or child_kill; also when it ended by itself after the wish */
    CHILD_TIMED_OUT,
    CHILD_BABBLED, /* a line or the output was too long */
    CHILD_NOT_STARTED
};

struct child_exit {
    enum child_end end;
    int code;              /* exit status, or the signal */
    char reason[160];      /* for people: "killed by signal 9 (out of memory?)"; "" for exit status 0 */
    char error_text[4096]; /* the end of stderr: whole lines, UTF-8, no control bytes */
    double seconds;
};

/* A line of stdout: `value` is borrowed, NULL when the line is no JSON (then it is in `text`). Called in
 * the thread of child_run. Either may be NULL. Return false to stop the child. */
typedef bool (*child_line_fn)(void *ctx, json_t *value, const char *text);
/* A line of stderr, cleaned. */
typedef void (*child_error_fn)(void *ctx, const char *text);

/* Blocks until the child has ended and its pipes are empty. True: exit status 0. *exit is always filled. stop may be
 * NULL. */
bool child_run(const struct child_settings *settings, struct child_stop *stop, child_line_fn on_line,
               child_error_fn on_error, void *ctx, struct child_exit *exit);

/* The usual short one (estimate, inspect, hub …): NULL: failed, see *exit; otherwise the last JSON value that
 * it wrote to stdout (the whole of stdout is tried as one document first). */
json_t *child_json(const struct child_settings *settings, struct child_stop *stop, struct child_exit *exit);

#endif
