/*
 * The HTTP adapter without memory: its n-th request for some fails, once or from then on, for every n of a scenario with
 * every kind of request and answer. Nothing may crash, hang or leak, and afterwards the server serves as before.
 * Only calls from this program's objects are counted.
 */
#include "net/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_long n_calls, first_failing, last_failing;

static bool fails(void)
{
    long n = atomic_fetch_add(&n_calls, 1) + 1;
    return n >= atomic_load(&first_failing) && n <= atomic_load(&last_failing);
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

static void check(bool truth, const char *what)
{
    if (truth) return;
    fprintf(stderr, "FAILED allocation %ld to %ld: %s\n", first_failing, last_failing, what);
    _exit(1);
}

/* -- The application. -- */

static bool refuse(void *ctx, const void *data, size_t len)
{
    (void)ctx, (void)data, (void)len;
    return false;
}

static void on_begin(void *ctx, struct ht__http_request *r)
{
    (void)ctx;
    if (strcmp(ht__http_path(r), "/upload") == 0) ht__http_take_body(r, refuse, NULL, 1 << 20);
}

static void *answer_later(void *ctx)
{
    struct ht__http_request *r = ctx;
    usleep(1000);
    ht__http_add_header(r, "X-Later", "1");
    ht__http_answer(r, 200, "text/plain", "later\n", 6);
    return NULL;
}

struct fault_pieces {
    int n;
};

static bool next_piece(void *ctx, struct ht__http_piece *piece)
{
    static const char bytes[10000];
    struct fault_pieces *p = ctx;
    *piece = (struct ht__http_piece){.data = p->n % 2 ? NULL : bytes, .fd = -1, .len = sizeof bytes};
    if (p->n++ % 2 == 0) return true;
    piece->fd = memfd_create("piece", MFD_CLOEXEC);
    return piece->fd >= 0 && ftruncate(piece->fd, sizeof bytes) == 0;
}

static void on_request(void *ctx, struct ht__http_request *r)
{
    pthread_t thread;
    size_t len;
    (void)ctx;
    const char *path = ht__http_path(r), *body = ht__http_body(r, &len);
    if (strcmp(path, "/file") == 0) {
        int fd = memfd_create("file", MFD_CLOEXEC);
        check(fd >= 0 && ftruncate(fd, 100000) == 0, "a file");
        ht__http_add_header(r, "Content-Range", "bytes 0-99999/100000");
        ht__http_answer_file(r, 206, "application/octet-stream", fd, 0, 100000);
    } else if (strcmp(path, "/pieces") == 0) {
        struct fault_pieces *p = malloc(sizeof *p);
        if (!p) {
            ht__http_answer(r, 503, NULL, NULL, 0);
            return;
        }
        p->n = 0;
        ht__http_answer_pieces(r, 200, "application/octet-stream",
                               &(struct ht__http_pieces){.next = next_piece, .free = free, .ctx = p}, 30000);
    } else if (strcmp(path, "/stream") == 0) {
        struct ht__http_stream *s = ht__http_answer_stream(r, "text/event-stream", 1 << 20);
        static const char piece[2000];
        for (int i = 0; i < 5 && ht__http_stream_send(s, piece, sizeof piece); i++)
            continue;
        ht__http_stream_end(&s);
    } else if (strcmp(path, "/defer") == 0) {
        ht__http_defer(r);
        check(pthread_create(&thread, NULL, answer_later, r) == 0 && pthread_detach(thread) == 0, "a thread");
    } else {
        ht__http_add_header(r, "X-Length", len > 0 ? "some" : "none");
        ht__http_answer(r, 200, "text/plain", len > 0 ? body : "hello\n", len > 0 ? len : 6);
    }
}

/* -- The client. -- */

/* The status of the answer, 0 for none; the connection must end. *len: bytes of it, *complete: as many as were promised. */
static int ask(uint16_t port, const char *request, bool *complete)
{
    static char answer[1 << 18];
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM, 0), status = 0;
    check(fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0, "a connection");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) request = "";
    size_t n = 0;
    ssize_t got;
    while ((got = recv(fd, answer + n, sizeof answer - 1 - n, 0)) > 0)
        n += (size_t)got;
    struct timeval none = {0};
    check(got == 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof none) == 0, "a socket");
    close(fd);
    answer[n] = '\0';
    const char *end = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "\r\nContent-Length:");
    *complete = !length || (end && n - (size_t)(end + 4 - answer) == strtoul(length + 17, NULL, 10));
    if (sscanf(answer, "HTTP/1.1 %d", &status) != 1) return 0;
    if (status == 206) check(strstr(answer, "Content-Range: bytes 0-99999/100000") != NULL, "a part without its place");
    return status;
}

#define HOST " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"

static const struct {
    const char *request;
    int status;
} requests[] = {
    {"GET /hello?a=b&c=d" HOST "Cookie: e=f\r\n\r\n", 200},
    {"POST /echo" HOST "Content-Length: 20\r\n\r\n12345678901234567890", 200},
    {"GET /file" HOST "\r\n", 206},
    {"GET /stream" HOST "\r\n", 200},
    {"GET /pieces" HOST "\r\n", 200},
    {"GET /defer" HOST "\r\n", 200},
    {"POST /echo" HOST "Content-Length: 99999999\r\n\r\n1", 413},
    {"GET /../x" HOST "\r\n", 400},
    {"PUT /upload" HOST "Content-Length: 99999\r\n\r\n1", 200},
    {"HEAD /hello" HOST "\r\n", 200},
};

/* Whether every request was answered as it should. */
static bool scenario(uint16_t port)
{
    bool all = true;
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        bool complete, head = requests[i].request[0] == 'H';
        int status = ask(port, requests[i].request, &complete);
        bool known = status == 0 || status == requests[i].status || status == 503;
        check(known, requests[i].request);
        if (status == requests[i].status && !complete && !head) status = 0;
        all = all && status == requests[i].status;
    }
    return all;
}

/* One server whose allocations first to last fail. Returns how many there were while they could. */
static long run(long first, long last)
{
    struct ht__http_settings set = {.on_begin = on_begin, .on_request = on_request, .close_seconds = 2};
    struct ht__http *server;
    struct ht_diag diag = {0};
    atomic_store(&n_calls, 0);
    atomic_store(&first_failing, first);
    atomic_store(&last_failing, last);
    if (ht__http_open(&set, &server, &diag) != HT_OK) {
        check(diag.code == HT_ERR_MEMORY, diag.message);
        return atomic_load(&n_calls);
    }
    bool all = scenario(ht__http_port(server));
    long n = atomic_load(&n_calls);
    atomic_store(&first_failing, 0);
    atomic_store(&last_failing, -1);
    check(n < first ? all : true, "an answer without need");
    check(scenario(ht__http_port(server)), "it serves again");
    ht__http_close(&server);
    return n;
}

int main(void)
{
    long first = 1;
    for (; run(first, first) >= first; first++)
        if (first % 4 == 0) run(first, first + 1000000);
    printf("%ld allocations failed one by one\n", first - 1);
    return first > 20 ? 0 : 1;
}
