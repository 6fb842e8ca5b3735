/* Progress: a line that is rewritten on a terminal, JSON lines for machines, nothing elsewhere. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct ht_job *volatile watched; /* for the signal handler */
enum { BAR = 16, MOST_OUTPUTS = 8 };
static int lines;                    /* of progress, on the terminal */
static char model[64], targets[128]; /* "Llama-3.2-1B", "Q4_K_M,Q8_0" */

static void interrupt(int number)
{
    (void)number;
    ht_job_cancel(watched);
}

static int columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

/* Lines that scrolled away cannot be drawn again. */
static bool outputs_fit(void)
{
    struct winsize size;
    int n = 1, rows = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row ? size.ws_row : 24;
    for (const char *p = targets; (p = strchr(p, ',')) != NULL; p++)
        n++;
    return n <= MOST_OUTPUTS && n + 2 < rows;
}

/* "model" of "/models/model.gguf": what the line calls the model. */
static void short_name(const char *path, char name[32])
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    snprintf(name, 32, "%s", slash && slash[1] ? slash + 1 : path ? path : "");
    for (size_t n = strlen(name); n && ((unsigned char)name[n - 1] & 0xc0) == 0x80 && n == 31; n--)
        name[n - 1] = '\0';
}

/* As much of the line as the terminal is wide, by columns. */
static void put_line(const char *line)
{
    int left = columns() - 1;
    for (const char *p = line; *p; p++) {
        bool begins = ((unsigned char)*p & 0xc0) != 0x80;
        if (begins && left-- == 0) break;
        putc(*p, stderr);
    }
}

/* Back over what was drawn: the cursor stands at the end of its last line. */
static void wipe(void)
{
    fputc('\r', stderr);
    if (lines > 1) fprintf(stderr, "\033[%dA", lines - 1);
    if (lines) fputs("\033[J", stderr);
    lines = 0;
}

static void draw_bar(char bar[BAR * 4], double share)
{
    bar[0] = '\0';
    for (int i = 0; i < BAR; i++)
        strcat(bar, i < (int)(share * BAR) ? "●" : "·");
}

/* All outputs are made from one reading and grow together: a bar for each, below the line that says how fast. */
static void draw_outputs(double share)
{
    char bar[BAR * 4], line[256], types[sizeof targets];
    char *rest = NULL;
    draw_bar(bar, share);
    snprintf(types, sizeof types, "%s", targets);
    for (char *type = strtok_r(types, ",", &rest); type; type = strtok_r(NULL, ",", &rest)) {
        snprintf(line, sizeof line, "  %-9.20s %s %5.1f %%", type, bar, share * 100);
        fputc('\n', stderr);
        put_line(line);
        lines++;
    }
}

static int on_terminal(void *ctx, const struct ht_progress *p)
{
    char line[1200], tensor[256], left[32] = "", rate[48] = "", bar[BAR * 4];
    double share = p->total ? (double)p->done / (double)p->total : 0;
    (void)ctx;
    if (p->seconds < 0.3 && !lines) return 0; /* short steps need no line */
    bool tokens = strcmp(p->unit, "tokens") == 0, download = strcmp(p->step, "download") == 0;
    if (p->rate > 0 && tokens) snprintf(rate, sizeof rate, "%.0f tokens/s", p->rate);
    if (p->rate > 0 && !tokens) snprintf(rate, sizeof rate, download ? "%.1f MB/s" : "%.0f M/s", p->rate / 1e6);
    if (p->seconds_left >= 0) human_time(p->seconds_left, left);
    bool several = strcmp(p->step, "quantize") == 0 && strchr(targets, ',') && outputs_fit();
    draw_bar(bar, share);
    ht_text_escape(p->tensor, strlen(p->tensor), tensor, sizeof tensor);
    wipe();
    snprintf(line, sizeof line, "%s %s%s%s %s %5.1f %%  %s%s%s  %.40s", p->step, model,
             *targets && !several ? " → " : "", several ? "" : targets, bar, share * 100, rate, *left ? "  left " : "",
             left, tensor);
    put_line(line);
    lines = 1;
    if (several) draw_outputs(share);
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
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:f}", "event", "progress", "step", p->step, "tensor",
                  p->tensor, "unit", p->unit, "done", (json_int_t)p->done, "total", (json_int_t)p->total, "seconds",
                  p->seconds, "rate", p->rate, "seconds_left", p->seconds_left);
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
    fputs(level ? "warning: " : "", stderr);
    put_safe(stderr, line);
    fputc('\n', stderr);
}

static void catch_signal(int number, int flags)
{
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

/* Under nohup it is ignored, and stays so. */
static bool hangup_is_ignored(void)
{
    struct sigaction now;
    return sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

void watch_job(struct ht_job *job, const struct arguments *args, bool one_object)
{
    char name[32];
    watched = job;
    catch_signal(SIGINT, SA_RESETHAND); /* the second one ends the program at once */
    catch_signal(SIGTERM, SA_RESETHAND);
    if (!hangup_is_ignored()) catch_signal(SIGHUP, SA_RESETHAND);
    catch_signal(SIGPIPE, 0); /* each write to a reader that has gone sends one */
    short_name(args->model, name);
    ht_text_escape(name, strlen(name), model, sizeof model);
    ht_text_escape(args->types ? args->types : "", args->types ? strlen(args->types) : 0, targets, sizeof targets);
    bool quiet = args->quiet || (one_object && args->json);
    if (!quiet) ht_job_on_log(job, on_log, NULL);
    if (args->json && !one_object)
        ht_job_on_progress(job, as_json, NULL);
    else if (!quiet && isatty(STDERR_FILENO))
        ht_job_on_progress(job, on_terminal, NULL);
}

void progress_done(void)
{
    if (lines) wipe();
}
