/*
 * The HTTP adapter on loopback: small requests, event streams, a download, slow clients. The server is a process of its
 * own, so that its processor time and memory can be told from the load's.
 *
 *   bench_http [requests|streams|download|slow] [SECONDS]
 *   bench_http requests|streams SECONDS PID PORT PATH      the same load on a server that is there
 */
#include "net/http.h"
#include "common/report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_KEEP_ALIVE = 1000, N_STREAMS = 1000, N_SLOW = 1000, SLOW_DEADLINE = 5 };
#define DOWNLOAD (4ull << 30)
#define HEAD_END " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void sleep_seconds(double s)
{
    struct timespec t = {(time_t)s, (long)((s - floor(s)) * 1e9)};
    nanosleep(&t, NULL);
}

/* -- The server. -- */

struct served {
    pthread_mutex_t lock;
    struct ht__http_stream *streams[N_STREAMS + 100];
    int n_streams;
    int fd; /* what is downloaded */
};

static void on_request(void *ctx, struct ht__http_request *r)
{
    static const char json[] = "{\"id\":\"0123456789abcdef\",\"status\":\"quantizing\",\"progress\":41.7}\n";
    struct served *s = ctx;
    const char *path = ht__http_path(r);
    if (strcmp(path, "/file") == 0) {
        ht__http_answer_file(r, 200, "application/octet-stream", dup(s->fd), 0, DOWNLOAD);
    } else if (strcmp(path, "/events") == 0) {
        struct ht__http_stream *stream = ht__http_answer_stream(r, "text/event-stream", 64 << 10);
        pthread_mutex_lock(&s->lock);
        if (s->n_streams < N_STREAMS + 100) s->streams[s->n_streams++] = stream;
        pthread_mutex_unlock(&s->lock);
    } else {
        ht__http_answer(r, 200, "application/json", json, sizeof json - 1);
    }
}

/* One event a second to every client, with the time it was sent in it. */
static void *tick(void *ctx)
{
    struct served *s = ctx;
    for (;;) {
        char event[64];
        sleep_seconds(1);
        pthread_mutex_lock(&s->lock);
        int n = snprintf(event, sizeof event, "data: %020.9f\n\n", now());
        for (int i = 0; i < s->n_streams; i++)
            ht__http_stream_send(s->streams[i], event, (size_t)n);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static void serve(int out, int in)
{
    static struct served s = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct ht__http_settings set = {.ctx = &s, .on_request = on_request, .header_seconds = SLOW_DEADLINE};
    struct ht__http *server;
    struct ht_diag diag = {0};
    pthread_t ticker;
    char byte;
    s.fd = memfd_create("download", MFD_CLOEXEC);
    if (s.fd < 0 || ftruncate(s.fd, (off_t)DOWNLOAD) != 0) die("memfd");
    if (ht__http_open(&set, &server, &diag) != HT_OK) {
        fprintf(stderr, "%s: %s\n", diag.where, diag.message);
        exit(1);
    }
    if (pthread_create(&ticker, NULL, tick, &s) != 0) die("thread");
    uint16_t port = ht__http_port(server);
    if (write(out, &port, sizeof port) != sizeof port) die("pipe");
    if (read(in, &byte, 1) < 0) die("pipe");
    ht__http_close(&server);
    _exit(0);
}

static pid_t server_pid;
static int server_in = -1;
static char job_request[512] = "GET /job" HEAD_END, events_request[512] = "GET /events" HEAD_END;
static struct sockaddr_in server_addr = {.sin_family = AF_INET};

static void start_server(void)
{
    int up[2], down[2];
    uint16_t port;
    if (pipe(up) != 0 || pipe(down) != 0) die("pipe");
    server_pid = fork();
    if (server_pid == 0) {
        close(down[1]);
        serve(up[1], down[0]);
    }
    close(down[0]);
    close(up[1]);
    if (read(up[0], &port, sizeof port) != sizeof port) die("server");
    close(up[0]);
    server_in = down[1];
    server_addr.sin_port = htons(port);
    server_addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

static double server_cpu(void)
{
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)server_pid);
    FILE *f = fopen(path, "r");
    if (!f || !fgets(text, sizeof text, f)) die(path);
    fclose(f);
    sscanf(strrchr(text, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static long server_memory(void)
{
    char path[64], line[256];
    long kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)server_pid);
    FILE *f = fopen(path, "r");
    if (!f) die(path);
    while (fgets(line, sizeof line, f))
        sscanf(line, "VmRSS: %ld", &kb);
    fclose(f);
    return kb;
}

static void stop_server(void)
{
    double start = now();
    if (server_in < 0) return;
    close(server_in);
    waitpid(server_pid, NULL, 0);
    printf("    stopped in %.2f s\n", now() - start);
}

static int dial(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&server_addr, sizeof server_addr) != 0) die("connect");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void say(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET) die("send");
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_latencies(const char *what, double *ms, size_t n)
{
    qsort(ms, n, sizeof *ms, compare);
    if (n > 0)
        printf("    %s: %zu, median %.2f ms, p99 %.2f ms, longest %.2f ms\n", what, n, ms[n / 2], ms[n - 1 - n / 100],
               ms[n - 1]);
}

/* -- Small requests: some connections, the next request when the answer is there. -- */

/* All answers are as long as the first. */
static size_t answer_length(int fd, char *answer, size_t size)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    say(fd, job_request);
    ssize_t n = poll(&p, 1, 5000) > 0 ? recv(fd, answer, size - 1, 0) : 0;
    answer[n > 0 ? n : 0] = '\0';
    const char *end = strstr(answer, "\r\n\r\n"), *length = strcasestr(answer, "\r\nContent-Length:");
    if (!end || !length || n <= 0) die("no answer whose length is known");
    size_t len = (size_t)(end + 4 - answer) + strtoull(length + 17, NULL, 10);
    if (len != (size_t)n) die("the answer came in pieces");
    return len;
}

/* Requests a second, and how long they took. */
static double requests_on(int n_conns, double seconds)
{
    static double ms[1 << 20];
    static int fds[MOST_KEEP_ALIVE];
    static size_t got[MOST_KEEP_ALIVE];
    static double asked[MOST_KEEP_ALIVE];
    struct epoll_event e, ready[MOST_KEEP_ALIVE];
    char answer[65536];
    int ep = epoll_create1(EPOLL_CLOEXEC);
    uint64_t n_done = 0, n_lost = 0;
    for (int i = 0; i < n_conns; i++) {
        e = (struct epoll_event){.events = EPOLLIN, .data.u32 = (uint32_t)i};
        fds[i] = dial();
        got[i] = 0;
        epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &e);
    }
    size_t answer_len = answer_length(fds[0], answer, sizeof answer);
    double start = now(), cpu = server_cpu(), end = start + seconds;
    for (int i = 0; i < n_conns; i++) {
        asked[i] = now();
        say(fds[i], job_request);
    }
    while (now() < end) {
        int n_ready = epoll_wait(ep, ready, MOST_KEEP_ALIVE, 100);
        for (int k = 0; k < n_ready; k++) {
            uint32_t i = ready[k].data.u32;
            ssize_t n = recv(fds[i], answer, sizeof answer, 0);
            if (n <= 0) { /* the server has hung up: counted, and not asked again */
                n_lost++;
                epoll_ctl(ep, EPOLL_CTL_DEL, fds[i], NULL);
                continue;
            }
            got[i] += (size_t)n;
            if (got[i] < answer_len) continue;
            double t = now();
            if (n_done < sizeof ms / sizeof *ms) ms[n_done] = 1000 * (t - asked[i]);
            got[i] = 0;
            asked[i] = t;
            n_done++;
            say(fds[i], job_request);
        }
    }
    double spent = now() - start;
    cpu = server_cpu() - cpu;
    for (int i = 0; i < n_conns; i++)
        close(fds[i]);
    close(ep);
    printf("requests  %4d connections: %.0f a second; %.1f us of the server's processor each; %ld KB; %llu closed\n",
           n_conns, (double)n_done / spent, n_done ? 1e6 * cpu / (double)n_done : 0, server_memory(),
           (unsigned long long)n_lost);
    BENCH_ROW({"what", .text = "requests"}, {"connections", .number = n_conns},
              {"requests_s", .number = (double)n_done / spent},
              {"processor_us_each", .number = n_done ? 1e6 * cpu / (double)n_done : 0});
    print_latencies("answers", ms, n_done < sizeof ms / sizeof *ms ? n_done : sizeof ms / sizeof *ms);
    return (double)n_done / spent;
}

/* Whole multiples of 128 among them: servers that look at so many events a turn have stumbled there. */
static void requests(double seconds)
{
    static const int numbers[] = {64, 128, 192, 256, 512, 1000};
    double rates[6], best = 0, worst = INFINITY;
    for (int i = 0; i < 6; i++) {
        rates[i] = requests_on(numbers[i], seconds);
        best = fmax(best, rates[i]);
        worst = fmin(worst, rates[i]);
    }
    printf("    of the best rate:");
    for (int i = 0; i < 6; i++)
        printf(" %d: %.2f", numbers[i], rates[i] / best);
    printf("%s\n", worst < best / 2 ? "   BELOW HALF" : "");
}

/* -- Event streams: a thousand clients, an event a second, while all processors are busy below us. -- */

static pid_t burn(void)
{
    pid_t pid = fork();
    if (pid != 0) return pid;
    if (nice(10) < 0) _exit(1);
    volatile double x = 1;
    for (;;)
        x = x * 1.0000001 + 1e-9;
}

static void streams(double seconds)
{
    static double ms[N_STREAMS * 1000];
    size_t n_events = 0;
    int fds[N_STREAMS], ep = epoll_create1(EPOLL_CLOEXEC), n_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    struct epoll_event e, ready[256];
    pid_t burners[64];
    for (uint32_t i = 0; i < N_STREAMS; i++) {
        e = (struct epoll_event){.events = EPOLLIN, .data.u32 = i};
        fds[i] = dial();
        say(fds[i], events_request);
        epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &e);
    }
    for (int i = 0; i < n_cpus && i < 64; i++)
        burners[i] = burn();
    double start = now(), cpu = server_cpu();
    while (now() - start < seconds && n_events < sizeof ms / sizeof *ms - 256) {
        int n_ready = epoll_wait(ep, ready, 256, 1000);
        for (int k = 0; k < n_ready; k++) {
            char text[4096];
            ssize_t n = recv(fds[ready[k].data.u32], text, sizeof text - 1, 0);
            if (n <= 0) die("a stream ended");
            text[n] = '\0';
            char *data = strstr(text, "data: ");
            if (data && n_events < sizeof ms / sizeof *ms) ms[n_events++] = 1000 * (now() - strtod(data + 6, NULL));
        }
    }
    cpu = server_cpu() - cpu;
    long kb = server_memory();
    for (int i = 0; i < n_cpus && i < 64; i++) {
        kill(burners[i], SIGKILL);
        waitpid(burners[i], NULL, 0);
    }
    printf(
        "streams   %d clients, an event a second each, %d processes busy at nice 10: %ld KB, %.1f %% of a processor\n",
        N_STREAMS, n_cpus, kb, 100 * cpu / seconds);
    BENCH_ROW({"what", .text = "streams"}, {"connections", .number = N_STREAMS}, {"kb", .number = (double)kb},
              {"processor_share", .number = cpu / seconds});
    print_latencies("events", ms, n_events);
}

/* -- A download. -- */

static void download(void)
{
    int fd = dial();
    char *piece = malloc(1 << 20);
    uint64_t got = 0;
    if (!piece) die("malloc");
    fcntl(fd, F_SETFL, 0);
    double start = now(), cpu = server_cpu();
    say(fd, "GET /file" HEAD_END);
    for (ssize_t n; got < DOWNLOAD && (n = recv(fd, piece, 1 << 20, 0)) > 0;)
        got += (uint64_t)n;
    double spent = now() - start;
    printf("download  %.2f GB in %.2f s: %.2f GB/s; %.2f s of the server's processor\n", (double)got / 1e9, spent,
           (double)got / 1e9 / spent, server_cpu() - cpu);
    BENCH_ROW({"what", .text = "download"}, {"gbs", .number = (double)got / 1e9 / spent});
    close(fd);
    free(piece);
}

/* -- Slow clients: a byte of a head every half second each, while another asks as ever. -- */

static bool is_open(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
    return n > 0 || (n < 0 && errno == EAGAIN);
}

static double ask(int fd)
{
    char answer[4096];
    double start = now();
    say(fd, job_request);
    fcntl(fd, F_SETFL, 0);
    if (recv(fd, answer, sizeof answer, 0) <= 0) die("the other client");
    return 1000 * (now() - start);
}

static void slow(void)
{
    static double ms[4096];
    size_t n_asked = 0;
    int fds[N_SLOW], n_open = N_SLOW, fd = dial();
    double start = now(), first = 0, last = 0, dripped = 0;
    for (int i = 0; i < N_SLOW; i++)
        fds[i] = dial();
    while (n_open > 0 && now() - start < 4 * SLOW_DEADLINE) {
        if (n_asked < 4096) ms[n_asked++] = ask(fd);
        sleep_seconds(0.01);
        if (now() - dripped < 0.5) continue;
        dripped = now();
        for (int i = 0; i < N_SLOW; i++) {
            if (fds[i] < 0) continue;
            if (is_open(fds[i])) {
                say(fds[i], "G");
                continue;
            }
            close(fds[i]);
            fds[i] = -1;
            n_open--;
            last = now() - start;
            if (first == 0) first = last;
        }
    }
    printf(
        "slow      %d connections, a byte each half second: %d closed, %.1f to %.1f s after the start (deadline %d s)\n",
        N_SLOW, N_SLOW - n_open, first, last, SLOW_DEADLINE);
    BENCH_ROW({"what", .text = "slow"}, {"connections", .number = N_SLOW}, {"closed", .number = N_SLOW - n_open},
              {"first_s", .number = first}, {"last_s", .number = last});
    print_latencies("another client's requests meanwhile", ms, n_asked);
}

int main(int argc, char **argv)
{
    bench_begin("bench_http", &argc, argv);
    const char *which = argc > 1 ? argv[1] : "all";
    double seconds = argc > 2 ? atof(argv[2]) : 5;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 5) {
        server_pid = (pid_t)atol(argv[3]);
        server_addr.sin_port = htons((uint16_t)atoi(argv[4]));
        server_addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        snprintf(job_request, sizeof job_request, "GET %s" HEAD_END, argv[5]);
        snprintf(events_request, sizeof events_request, "GET %s" HEAD_END, argv[5]);
    }
    static const char *const names[] = {"requests", "streams", "download", "slow"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(which, "all") != 0 && strcmp(which, names[i]) != 0) continue;
        if (argc < 6) start_server();
        if (i == 0) requests(seconds);
        if (i == 1) streams(seconds < 3 ? 3 : seconds);
        if (i == 2) download();
        if (i == 3) slow();
        stop_server();
    }
    return bench_end();
}
