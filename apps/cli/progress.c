/* Progress: a line that is rewritten on a terminal, JSON lines for machines, nothing elsewhere. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct ht_job *volatile watched; /* for the signal handler */
static bool shown;

static void interrupt(int number)
{
    (void)number;
    ht_job_cancel(watched);
}

const char *human_bytes(double bytes, char buffer[32])
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    int unit = 0;
    while (bytes >= 1000 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    snprintf(buffer, 32, unit && bytes < 10 ? "%.2f %s" : unit && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes,
             units[unit]);
    return buffer;
}

const char *human_time(double seconds, char buffer[32])
{
    long s = (long)(seconds + 0.5);
    if (s < 60)
        snprintf(buffer, 32, "%ld s", s);
    else if (s < 3600)
        snprintf(buffer, 32, "%ld:%02ld min", s / 60, s % 60);
    else
        snprintf(buffer, 32, "%ld:%02ld h", s / 3600, s / 60 % 60);
    return buffer;
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

static int on_terminal(void *ctx, const struct ht_progress *p)
{
    char line[512], left[32] = "", rate[48] = "";
    double share = p->total ? (double)p->done / (double)p->total : 0;
    (void)ctx;
    if (p->seconds < 0.3 && !shown) return 0; /* short steps need no line */
    bool tokens = strcmp(p->unit, "tokens") == 0;
    if (p->rate > 0 && tokens) snprintf(rate, sizeof rate, "%.0f tokens/s", p->rate);
    bool download = strcmp(p->step, "download") == 0;
    if (p->rate > 0 && !tokens) snprintf(rate, sizeof rate, download ? "%.1f MB/s" : "%.0f M/s", p->rate / 1e6);
    if (p->seconds_left >= 0) human_time(p->seconds_left, left);
    enum { WIDTH = 24 };
    int filled = (int)(share * WIDTH);
    char bar[WIDTH * 4] = "";
    for (int i = 0; i < WIDTH; i++)
        strcat(bar, i < filled ? "●" : "·");
    snprintf(line, sizeof line, "%-9s %s %5.1f %%  %s%s%s  %.40s", p->step, bar, share * 100, rate,
             *left ? "  left " : "", left, p->tensor);
    fprintf(stderr, "\r\033[K%.*s", columns() * 3, line);
    shown = true;
    return 0;
}

static int as_json(void *ctx, const struct ht_progress *p)
{
    static double last = -1;
    static const char *step;
    (void)ctx;
    if (step == p->step && p->seconds - last < 0.5 && p->done < p->total) return 0;
    last = p->seconds;
    step = p->step;
    json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:f}", "event", "progress", "step", p->step,
                             "tensor", p->tensor, "unit", p->unit, "done", (json_int_t)p->done, "total", (json_int_t)p->total,
                             "seconds", p->seconds, "rate", p->rate, "seconds_left", p->seconds_left);
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (text) puts(text);
    fflush(stdout);
    free(text);
    json_decref(line);
    return 0;
}

static void on_log(void *ctx, int level, const char *line)
{
    (void)ctx;
    progress_done();
    fprintf(stderr, "%s%s\n", level ? "warning: " : "", line);
}

void watch_job(struct ht_job *job, bool json, bool quiet)
{
    watched = job;
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &action, NULL); /* the second one ends the program at once */
    sigaction(SIGTERM, &action, NULL);
    if (!quiet) ht_job_on_log(job, on_log, NULL);
    if (json)
        ht_job_on_progress(job, as_json, NULL);
    else if (!quiet && isatty(STDERR_FILENO))
        ht_job_on_progress(job, on_terminal, NULL);
}

void progress_done(void)
{
    if (shown) fprintf(stderr, "\r\033[K");
    shown = false;
}
