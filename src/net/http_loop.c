/* An event loop: events, the mailbox, connections with work left, deadlines; then all over again. */
#include "net/http_internal.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_A_TURN = 256, MOST_WAIT_MS = 60000 };

/* -- Mail. -- */

void ht__http_wake(struct ht__http_loop *loop)
{
    uint64_t one = 1;
    ssize_t n = write(loop->wake, &one, sizeof one);
    (void)n; /* a full counter wakes as well */
}

void ht__http_post(struct ht__http_loop *loop, struct ht__http_mail *mail)
{
    mail->next = NULL;
    pthread_mutex_lock(&loop->mail_lock);
    bool first = !loop->mail;
    *loop->mail_end = mail;
    loop->mail_end = &mail->next;
    pthread_mutex_unlock(&loop->mail_lock);
    if (first) ht__http_wake(loop);
}

static void open_letter(struct ht__http_mail *mail)
{
    if (mail->kind == HT__MAIL_CONN) {
        ht__http_adopt(mail->what);
    } else if (mail->kind == HT__MAIL_REQUEST) {
        struct ht__http_request *r = mail->what;
        if (r->conn) ht__http_conn_answered(r->conn);
        ht__http_request_drop(r);
    } else {
        struct ht__http_stream *s = mail->what;
        pthread_mutex_lock(&s->lock);
        s->posted = false;
        pthread_mutex_unlock(&s->lock);
        if (s->conn) ht__http_conn_streams(s->conn);
        ht__http_stream_drop(s);
    }
}

static void read_mail(struct ht__http_loop *loop)
{
    pthread_mutex_lock(&loop->mail_lock);
    struct ht__http_mail *mail = loop->mail, *next;
    loop->mail = NULL;
    loop->mail_end = &loop->mail;
    pthread_mutex_unlock(&loop->mail_lock);
    for (; mail; mail = next) {
        next = mail->next;
        open_letter(mail);
    }
}

/* -- Stopping. -- */

static void close_idle(struct ht__http_loop *loop)
{
    struct ht__http_conn *conn, *next;
    for (conn = TAILQ_FIRST(&loop->idle); conn; conn = next) {
        next = TAILQ_NEXT(conn, idle);
        if (ht__http_unread(conn->fd) == 0) ht__http_conn_close(conn);
    }
}

static void end_stream(struct ht__http_conn *conn)
{
    if (conn->phase != HT__PHASE_STREAM) return;
    struct ht__http_stream *s = conn->request->answer.stream;
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    pthread_mutex_unlock(&s->lock);
    ht__http_conn_streams(conn);
}

static void cancel(struct ht__http_conn *conn)
{
    if (conn->phase != HT__PHASE_WORK) return;
    ht__http_cancel(conn->request);
    ht__http_conn_answered(conn);
}

static void each(struct ht__http_loop *loop, void (*f)(struct ht__http_conn *conn))
{
    struct ht__http_conn *conn, *next;
    for (conn = TAILQ_FIRST(&loop->conns); conn; conn = next) {
        next = TAILQ_NEXT(conn, all);
        f(conn);
    }
}

/* The last loop that lets go of the listening socket closes it. */
static void stop_listening(struct ht__http_loop *loop)
{
    struct ht__http *server = loop->server;
    ht__http_listen_on(loop, false);
    loop->stopped = true;
    if (atomic_fetch_sub(&server->n_listening, 1) == 1) close(server->listener);
}

/* What the server's owner wants of all loops. */
static void obey(struct ht__http_loop *loop)
{
    struct ht__http *server = loop->server;
    if (atomic_load(&server->stopping)) {
        if (!loop->stopped) stop_listening(loop);
        close_idle(loop);
    }
    if (atomic_load(&server->ending) && !loop->ended) {
        loop->ended = true;
        each(loop, end_stream);
    }
    if (atomic_load(&server->cancelling) && !loop->cancelled) {
        loop->cancelled = true;
        each(loop, cancel);
    }
}

/* -- Turns. -- */

void ht__http_make_ready(struct ht__http_conn *conn)
{
    if (conn->is_ready || conn->phase == HT__PHASE_DEAD) return;
    conn->is_ready = true;
    conn->loop->n_ready++;
    TAILQ_INSERT_TAIL(&conn->loop->ready, conn, ready);
}

void ht__http_unmake_ready(struct ht__http_conn *conn)
{
    if (!conn->is_ready) return;
    conn->is_ready = false;
    conn->loop->n_ready--;
    TAILQ_REMOVE(&conn->loop->ready, conn, ready);
}

static void run_ready(struct ht__http_loop *loop)
{
    /* those that are ready again wait for the next turn */
    for (int n = loop->n_ready; n > 0 && !TAILQ_EMPTY(&loop->ready); n--) {
        struct ht__http_conn *conn = TAILQ_FIRST(&loop->ready);
        ht__http_unmake_ready(conn);
        ht__http_conn_turn(conn);
    }
}

static void bury(struct ht__http_loop *loop)
{
    while (!TAILQ_EMPTY(&loop->dead)) {
        struct ht__http_conn *conn = TAILQ_FIRST(&loop->dead);
        TAILQ_REMOVE(&loop->dead, conn, all);
        ht__http_conn_free(conn);
    }
}

static void dispatch(struct ht__http_loop *loop, const struct epoll_event *e)
{
    if (e->data.ptr == &loop->server->listener) {
        ht__http_accept(loop);
    } else if (e->data.ptr == loop) {
        uint64_t n;
        if (read(loop->wake, &n, sizeof n) < 0) return; /* mail is looked for in any case */
    } else {
        ht__http_conn_event(e->data.ptr, e->events);
    }
}

static void *run(void *ctx)
{
    struct ht__http_loop *loop = ctx;
    struct epoll_event events[EVENTS_A_TURN];
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE); /* sendfile to a client that has left raises it; the error alone is enough */
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    while (!atomic_load(&loop->server->quitting)) {
        bool rests = !loop->listens && !loop->stopped;
        int wait = !TAILQ_EMPTY(&loop->ready) ? 0 : ht__http_next_deadline(loop, rests ? 50 : MOST_WAIT_MS);
        int n = epoll_wait(loop->epoll, events, EVENTS_A_TURN, wait);
        loop->now = ht__http_now();
        for (int i = 0; i < n; i++)
            dispatch(loop, &events[i]);
        read_mail(loop);
        obey(loop);
        run_ready(loop);
        loop->now = ht__http_now(); /* the application may have taken its time */
        ht__http_run_deadlines(loop);
        if (rests && !loop->stopped && loop->now >= loop->listens_again) ht__http_listen_on(loop, true);
        bury(loop);
    }
    read_mail(loop);
    each(loop, ht__http_conn_close);
    bury(loop);
    return NULL;
}

/* -- The loop's life. -- */

static bool open_loop(struct ht__http_loop *loop)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = loop};
    loop->scratch = malloc(HT__HTTP_SCRATCH + HT__HTTP_HEAD_SCRATCH);
    if (loop->scratch) loop->head_scratch = loop->scratch + HT__HTTP_SCRATCH;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!loop->scratch || loop->epoll < 0 || loop->wake < 0) return false;
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &e) != 0) return false;
    ht__http_listen_on(loop, true);
    return loop->listens;
}

enum ht_err ht__http_loop_init(struct ht__http_loop *loop, struct ht__http *server, struct ht_diag *diag)
{
    loop->server = server;
    loop->now = ht__http_now();
    loop->mail_end = &loop->mail;
    loop->epoll = loop->wake = -1;
    TAILQ_INIT(&loop->conns);
    TAILQ_INIT(&loop->idle);
    TAILQ_INIT(&loop->extras);
    TAILQ_INIT(&loop->ready);
    TAILQ_INIT(&loop->dead);
    pthread_mutex_init(&loop->mail_lock, NULL);
    if (open_loop(loop)) return HT_OK;
    return loop->scratch ? ht__fail(diag, HT_ERR_IO, "server", -1, "no descriptor left for an event loop")
                         : ht__fail_memory(diag, "server");
}

enum ht_err ht__http_loop_start(struct ht__http_loop *loop, struct ht_diag *diag)
{
    atomic_fetch_add(&loop->server->n_listening, 1);
    loop->runs = pthread_create(&loop->thread, NULL, run, loop) == 0;
    return loop->runs ? HT_OK : ht__fail(diag, HT_ERR_IO, "server", -1, "cannot start a thread");
}

void ht__http_loop_free(struct ht__http_loop *loop)
{
    if (!loop->server) return; /* it was never begun */
    read_mail(loop);
    each(loop, ht__http_conn_close);
    bury(loop);
    if (loop->epoll >= 0) close(loop->epoll);
    if (loop->wake >= 0) close(loop->wake);
    pthread_mutex_destroy(&loop->mail_lock);
    free(loop->scratch);
    free(loop->heap);
}
