/*
 * A small server for tests of the HTTP adapter: it says what it was asked, and answers in every way that there is.
 *
 *   http_echo [name=value ...]    port, address, header, body, idle, close, max_body, threads, peer, connections, log
 *
 * It prints "port N" when ready, stops accepting when it reads an 's' and ends in order when its standard input does.
 */
#include "net/http.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 16384, TICK_MS = 20 };

struct state {
    pthread_mutex_t lock;
    struct ht__http_stream *clients[MAX_CLIENTS];
    int n_clients;
    atomic_bool stops, ends;
    atomic_int n_done, n_begun, n_freed, n_deferred, n_left;
    atomic_ullong n_bytes;
    int tick_ms;
    bool logs;
};

/* -- Answers. -- */

struct upload {
    struct state *state;
    uint64_t len, refuse_at, sum;
};

static void text(struct ht__http_request *r, int status, const char *fmt, ...) HT_PRINTF(3, 4);
static void text(struct ht__http_request *r, int status, const char *fmt, ...)
{
    char *out = NULL;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&out, fmt, args);
    va_end(args);
    if (n < 0) abort();
    ht__http_answer_owned(r, status, "text/plain", out, (size_t)n);
}

static uint64_t number(struct ht__http_request *r, const char *name, uint64_t fallback)
{
    const char *value = ht__http_query(r, name);
    return value ? strtoull(value, NULL, 10) : fallback;
}

static void echo(struct ht__http_request *r)
{
    char *out = NULL;
    size_t n = 0, body_len;
    const char *name, *value, *body = ht__http_body(r, &body_len);
    FILE *f = open_memstream(&out, &n);
    if (!f) abort();
    fprintf(f, "method %s\npath %s\n", ht__http_method(r), ht__http_path(r));
    for (size_t i = 0; ht__http_query_at(r, i, &name, &value); i++)
        fprintf(f, "query [%s]=[%s]\n", name, value);
    for (const char *const *h = (const char *const[]){"Host", "X-Test", "Content-Type", NULL}; *h; h++)
        if (ht__http_header(r, *h)) fprintf(f, "header %s: [%s]\n", *h, ht__http_header(r, *h));
    if (ht__http_last_header(r, "X-Last")) fprintf(f, "last [%s]\n", ht__http_last_header(r, "X-Last"));
    if (ht__http_cookie(r, "c")) fprintf(f, "cookie [%s]\n", ht__http_cookie(r, "c"));
    fprintf(f, "body %zu\n", body_len);
    fwrite(body, 1, body_len, f);
    if (body_len != strlen(body) && !memchr(body, '\0', body_len)) abort(); /* it is NUL-terminated */
    fclose(f);
    ht__http_answer_owned(r, 200, "text/plain", out, n);
}

/* Byte i of a file is i * 131 >> 3. */
static void file(struct ht__http_request *r)
{
    uint64_t size = number(r, "size", 1000), first = 0, len = size;
    int fd = memfd_create("file", MFD_CLOEXEC), cut = -1;
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) abort();
    unsigned char block[1 << 16];
    uint64_t pattern = size < (1 << 22) ? size : 0; /* a large one is all zeros, and takes no memory */
    for (uint64_t at = 0; at < pattern; at += sizeof block) {
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (unsigned char)((at + i) * 131 >> 3);
        size_t n = pattern - at < sizeof block ? (size_t)(pattern - at) : sizeof block;
        if (pwrite(fd, block, n, (off_t)at) != (ssize_t)n) abort();
    }
    if (ftruncate(fd, (off_t)(size - number(r, "short", 0))) != 0) abort();
    char range[96];
    ht__http_add_header(r, "Accept-Ranges", "bytes");
    switch (ht__http_range(ht__http_header(r, "Range"), size, &first, &len)) {
    case HT__RANGE_NONE:
        if (ht__http_query(r, "cut")) cut = dup(fd);
        ht__http_answer_file(r, 200, "application/octet-stream", fd, 0, size);
        if (cut >= 0 && (ftruncate(cut, (off_t)size / 2) != 0 || close(cut) != 0)) abort();
        return;
    case HT__RANGE_UNSATISFIABLE:
        close(fd);
        snprintf(range, sizeof range, "bytes */%llu", (unsigned long long)size);
        ht__http_add_header(r, "Content-Range", range);
        text(r, 416, "no such range\n");
        return;
    case HT__RANGE_ONE: break;
    }
    snprintf(range, sizeof range, "bytes %llu-%llu/%llu", (unsigned long long)first,
             (unsigned long long)(first + len - 1), (unsigned long long)size);
    ht__http_add_header(r, "Content-Range", range);
    ht__http_answer_file(r, 206, "application/octet-stream", fd, first, len);
}

/* -- Pieces: in turns 100 bytes of memory and `size` bytes of a file, the bytes of both as in a file. -- */

struct pieces {
    struct state *state;
    uint64_t n, size, at, breaks;
    unsigned char small[100];
};

static bool next_piece(void *ctx, struct ht__http_piece *piece)
{
    struct pieces *p = ctx;
    bool memory = p->n % 2 == 0;
    uint64_t len = memory ? sizeof p->small : p->size;
    if (p->n == p->breaks) return false;
    unsigned char *bytes = memory ? p->small : malloc(len + 1);
    if (!bytes) abort();
    for (uint64_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)((p->at + i) * 131 >> 3);
    *piece = (struct ht__http_piece){.data = memory ? bytes : NULL, .fd = -1, .len = len};
    if (!memory) {
        piece->fd = memfd_create("piece", MFD_CLOEXEC);
        if (piece->fd < 0 || pwrite(piece->fd, bytes, len, 7) != (ssize_t)len) abort();
        piece->offset = 7;
        free(bytes);
    }
    p->at += len;
    p->n++;
    return true;
}

static void free_pieces(void *ctx)
{
    struct pieces *p = ctx;
    atomic_fetch_add(&p->state->n_freed, 1);
    free(p);
}

static void pieces(struct state *state, struct ht__http_request *r)
{
    struct pieces *p = calloc(1, sizeof *p);
    if (!p) abort();
    p->state = state;
    p->size = number(r, "size", 1000);
    p->breaks = number(r, "break", UINT64_MAX);
    ht__http_answer_pieces(r, 200, "application/octet-stream",
                           &(struct ht__http_pieces){.next = next_piece, .free = free_pieces, .ctx = p},
                           number(r, "len", 5000));
}

static void events(struct state *state, struct ht__http_request *r)
{
    struct ht__http_stream *s = ht__http_answer_stream(r, "text/event-stream", 64 << 10);
    if (!ht__http_stream_send(s, "retry: 3000\n\n", 13)) {
        ht__http_stream_end(&s);
        return;
    }
    pthread_mutex_lock(&state->lock);
    if (state->n_clients < MAX_CLIENTS) {
        state->clients[state->n_clients++] = s;
        s = NULL;
    }
    pthread_mutex_unlock(&state->lock);
    ht__http_stream_end(&s);
}

static void finite_stream(struct ht__http_request *r)
{
    uint64_t n = number(r, "n", 3), size = number(r, "size", 10);
    struct ht__http_stream *s = ht__http_answer_stream(r, "text/plain", number(r, "max", 1 << 20));
    char *piece = malloc(size + 1);
    if (!piece) abort();
    memset(piece, 'x', size);
    for (uint64_t i = 0; i < n && ht__http_stream_send(s, piece, size); i++)
        continue;
    free(piece);
    ht__http_stream_end(&s);
}

static void headers(struct ht__http_request *r)
{
    bool a = ht__http_add_header(r, "X-Good", "a b\tc"), b = ht__http_add_header(r, "X-Bad", "a\r\nX-Injected: 1"),
         c = ht__http_add_header(r, "X Bad", "a"), d = ht__http_add_header(r, "X-Twice", "1"),
         e = ht__http_add_header(r, "X-Twice", "2"), f = ht__http_add_header(r, "", "1");
    text(r, 200, "%d%d%d%d%d%d\n", a, b, c, d, e, f);
}

/* -- Later. -- */

struct later {
    struct state *state;
    struct ht__http_request *r;
    int ms;
    bool streams, until_left, until_stop;
};

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static void *answer_later(void *ctx)
{
    struct later *l = ctx;
    struct state *state = l->state;
    sleep_ms(l->ms);
    while (l->until_stop && !atomic_load(&state->stops))
        sleep_ms(5);
    while (l->until_left && !ht__http_client_left(l->r) && !atomic_load(&state->ends))
        sleep_ms(5);
    if (l->until_left && ht__http_client_left(l->r)) atomic_fetch_add(&state->n_left, 1);
    /* what was asked must still be there, whether or not the client is */
    if (strcmp(ht__http_header(l->r, "Host") ? "there" : "gone", "there") != 0) abort();
    if (l->streams)
        finite_stream(l->r);
    else
        echo(l->r);
    free(l);
    atomic_fetch_sub(&state->n_deferred, 1);
    return NULL;
}

static void defer(struct state *state, struct ht__http_request *r)
{
    struct later *l = malloc(sizeof *l);
    pthread_t thread;
    if (!l) abort();
    *l = (struct later){.state = state,
                        .r = r,
                        .ms = (int)number(r, "ms", 50),
                        .streams = ht__http_query(r, "stream"),
                        .until_left = ht__http_query(r, "left"),
                        .until_stop = ht__http_query(r, "stop")};
    atomic_fetch_add(&state->n_deferred, 1);
    ht__http_defer(r);
    if (pthread_create(&thread, NULL, answer_later, l) != 0) abort();
    pthread_detach(thread);
}

static void *tick(void *ctx)
{
    struct state *state = ctx;
    for (uint64_t id = 0; !atomic_load(&state->ends); id++) {
        char event[128];
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int n = snprintf(event, sizeof event, "id: %llu\ndata: %lld.%09ld\n\n", (unsigned long long)id,
                         (long long)now.tv_sec, now.tv_nsec);
        pthread_mutex_lock(&state->lock);
        for (int i = 0; i < state->n_clients;) {
            if (ht__http_stream_send(state->clients[i], event, (size_t)n)) {
                i++;
                continue;
            }
            ht__http_stream_end(&state->clients[i]);
            state->clients[i] = state->clients[--state->n_clients];
        }
        pthread_mutex_unlock(&state->lock);
        sleep_ms(state->tick_ms);
    }
    return NULL;
}

/* -- Requests. -- */

static bool is(struct ht__http_request *r, const char *path)
{
    return strcmp(ht__http_path(r), path) == 0;
}

static bool take(void *ctx, const void *data, size_t len)
{
    struct upload *u = ctx;
    for (size_t i = 0; i < len; i++)
        u->sum = u->sum * 31 + ((const unsigned char *)data)[i];
    u->len += len;
    return u->len < u->refuse_at;
}

static void free_upload(void *ctx)
{
    struct upload *u = ctx;
    atomic_fetch_add(&u->state->n_freed, 1);
    free(u);
}

static void on_begin(void *ctx, struct ht__http_request *r)
{
    struct state *state = ctx;
    atomic_fetch_add(&state->n_begun, 1);
    if (is(r, "/forbidden")) {
        ht__http_add_header(r, "X-Begin", "1");
        text(r, 403, "no\n");
    }
    if (!is(r, "/upload")) return;
    struct upload *u = calloc(1, sizeof *u);
    if (!u) abort();
    u->state = state;
    u->refuse_at = number(r, "refuse", UINT64_MAX);
    ht__http_set_user(r, u, free_upload);
    ht__http_take_body(r, take, u, number(r, "max", 1 << 30));
}

/* A child that holds every descriptor for a while, as one does between fork and exec. */
static void fork_a_child(struct ht__http_request *r)
{
    int ms = (int)number(r, "ms", 100);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(ms);
        _exit(0);
    }
    text(r, pid > 0 ? 200 : 500, "forked\n");
}

static void on_request(void *ctx, struct ht__http_request *r)
{
    struct state *state = ctx;
    struct upload *u = ht__http_user(r);
    if (u && !ht__http_body_whole(r) && !ht__http_query(r, "defer"))
        text(r, 507, "refused after %llu\n", (unsigned long long)u->len);
    else if (u && !ht__http_query(r, "defer"))
        text(r, 201, "%llu %llu\n", (unsigned long long)u->len, (unsigned long long)u->sum);
    else if (is(r, "/hello"))
        ht__http_answer_static(r, 200, "text/plain", "hello\n", 6);
    else if (is(r, "/file"))
        file(r);
    else if (is(r, "/pieces"))
        pieces(state, r);
    else if (is(r, "/events"))
        events(state, r);
    else if (is(r, "/stream"))
        finite_stream(r);
    else if (is(r, "/defer") || u)
        defer(state, r);
    else if (is(r, "/headers"))
        headers(r);
    else if (is(r, "/status"))
        ht__http_answer(r, (int)number(r, "code", 200), NULL, NULL, 0);
    else if (is(r, "/counts"))
        text(r, 200, "begun %d done %d freed %d deferred %d left %d\n", state->n_begun, state->n_done, state->n_freed,
             state->n_deferred, state->n_left);
    else if (is(r, "/block")) /* what nobody should do */
        sleep_ms((int)number(r, "ms", 100)), text(r, 200, "blocked\n");
    else if (is(r, "/fork"))
        fork_a_child(r);
    else if (is(r, "/none"))
        return;
    else if (is(r, "/twice"))
        text(r, 200, "first\n"), text(r, 201, "second\n");
    else
        echo(r);
}

static void on_done(void *ctx, struct ht__http_request *r, int status, uint64_t bytes, double seconds)
{
    struct state *state = ctx;
    atomic_fetch_add(&state->n_done, 1);
    atomic_fetch_add(&state->n_bytes, bytes);
    if (state->logs)
        fprintf(stderr, "%s %s %s %d %llu %.3f\n", ht__http_peer(r), ht__http_method(r), ht__http_target(r), status,
                (unsigned long long)bytes, seconds);
}

static void on_log(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "log: %s\n", line);
}

static void option(struct ht__http_settings *s, struct state *state, const char *arg)
{
    const char *eq = strchr(arg, '=');
    int n = eq ? atoi(eq + 1) : 0;
    if (!strncmp(arg, "address=", 8)) s->address = eq + 1;
    if (!strncmp(arg, "port=", 5)) s->port = (uint16_t)n;
    if (!strncmp(arg, "header=", 7)) s->header_seconds = n;
    if (!strncmp(arg, "body=", 5)) s->body_seconds = n;
    if (!strncmp(arg, "idle=", 5)) s->idle_seconds = n;
    if (!strncmp(arg, "close=", 6)) s->close_seconds = n;
    if (!strncmp(arg, "max_body=", 9)) s->max_body = (size_t)n;
    if (!strncmp(arg, "threads=", 8)) s->threads = n;
    if (!strncmp(arg, "peer=", 5)) s->max_connections_per_peer = n;
    if (!strncmp(arg, "connections=", 12)) s->max_connections = n;
    if (!strncmp(arg, "tick=", 5)) state->tick_ms = n;
    if (!strncmp(arg, "log=", 4)) state->logs = n;
}

int main(int argc, char **argv)
{
    static struct state state = {.lock = PTHREAD_MUTEX_INITIALIZER, .tick_ms = TICK_MS};
    static const char *const reserved[] = {"/probe", NULL};
    struct ht__http_settings s = {
        .reserved_paths = reserved, .ctx = &state, .on_begin = on_begin, .on_request = on_request, .on_done = on_done};
    for (int i = 1; i < argc; i++)
        option(&s, &state, argv[i]);
    if (state.logs) s.on_log = on_log;
    struct ht__http *server;
    struct ht_diag diag = {0};
    pthread_t ticker;
    signal(SIGCHLD, SIG_IGN);
    if (ht__http_open(&s, &server, &diag) != HT_OK) {
        fprintf(stderr, "%s: %s\n", diag.where, diag.message);
        return 1;
    }
    if (pthread_create(&ticker, NULL, tick, &state) != 0) return 1;
    printf("port %u\n", ht__http_port(server));
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        if (byte == 's') {
            ht__http_stop_accepting(server);
            atomic_store(&state.stops, true);
        }
    ht__http_close(&server);
    atomic_store(&state.stops, true);
    atomic_store(&state.ends, true);
    pthread_join(ticker, NULL);
    for (int i = 0; i < state.n_clients; i++)
        ht__http_stream_end(&state.clients[i]);
    for (int i = 0; i < 1000 && atomic_load(&state.n_deferred) > 0; i++)
        sleep_ms(10); /* answers that came too late to go anywhere */
    printf("begun %d done %d freed %d bytes %llu\n", state.n_begun, state.n_done, state.n_freed, state.n_bytes);
    return 0;
}
