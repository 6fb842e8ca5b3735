/*
 * What was entered before: in memory, and one entry a line in $XDG_STATE_HOME/halftone/history, which only its owner can
 * read. A newline within an entry is \n there and a backslash \\. Sessions that run at once add their lines to the
 * end; what has grown too long is cut when a session begins.
 */
#include "line.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_PAST = 1000, MOST_FILE = 4 << 20, MOST_ENTRY = 64 << 10 };

/* Makes the folders of the path. */
static void make_folders(const char *path)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *p = strchr(folder + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        (void)mkdir(folder, 0700); /* what fails is seen when the file is opened */
        *p = '/';
    }
}

static void find_file(struct line_input *in)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state && *state == '/')
        n = snprintf(in->file, sizeof in->file, "%s/halftone/history", state);
    else if (home && *home == '/')
        n = snprintf(in->file, sizeof in->file, "%s/.local/state/halftone/history", home);
    if (n < 0 || n >= (int)sizeof in->file) in->file[0] = '\0';
}

static void add(struct line_input *in, char *entry)
{
    char **grown = in->n_past < MOST_PAST ? realloc(in->past, (in->n_past + 1) * sizeof *grown) : in->past;
    if (!grown || !entry) {
        free(entry);
        return;
    }
    in->past = grown;
    if (in->n_past == MOST_PAST) {
        free(in->past[0]);
        memmove(in->past, in->past + 1, --in->n_past * sizeof *in->past);
    }
    in->past[in->n_past++] = entry;
}

static char *unescaped(const char *line, size_t n)
{
    char *entry = malloc(n + 1);
    size_t used = 0;
    for (size_t i = 0; entry && i < n; i++) {
        bool escape = line[i] == '\\' && i + 1 < n;
        if (escape) i++;
        entry[used++] = line[i] == '\0' ? ' ' : escape && line[i] == 'n' ? '\n' : line[i];
    }
    if (entry) entry[used] = '\0';
    return entry;
}

/* The last part of a file: an ordinary one, whatever else has its name. */
static char *load(const char *path, size_t *len)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *data = NULL;
    *len = 0;
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        off_t from = info.st_size > MOST_FILE ? info.st_size - MOST_FILE : 0;
        size_t size = (size_t)(info.st_size - from);
        data = malloc(size + 1);
        ssize_t got = data ? pread(fd, data, size, from) : -1;
        *len = got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0) close(fd);
    return data;
}

static void put_entry(FILE *f, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\\') putc('\\', f);
        if (text[i] == '\n')
            fputs("\\n", f);
        else
            putc(text[i], f);
    }
    putc('\n', f);
}

/* Writes the file anew with the entries that are kept. */
static void shorten(const struct line_input *in)
{
    char temporary[4200];
    snprintf(temporary, sizeof temporary, "%s.%ld", in->file, (long)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f) return;
    for (size_t i = 0; i < in->n_past; i++)
        put_entry(f, in->past[i], strlen(in->past[i]));
    bool good = !ferror(f);
    if (fclose(f) != 0 || !good || rename(temporary, in->file) != 0) unlink(temporary);
}

void line_open(struct line_input *in)
{
    const char *terminal = getenv("TERM");
    *in = (struct line_input){.keep = true};
    in->terminal =
        isatty(STDIN_FILENO) && isatty(STDERR_FILENO) && terminal && *terminal && strcmp(terminal, "dumb") != 0;
    if (!in->terminal) return;
    find_file(in);
    size_t len, seen = 0;
    char *data = *in->file ? load(in->file, &len) : NULL;
    for (char *p = data, *end = data; data && p < data + len; p = end + 1) {
        end = memchr(p, '\n', (size_t)(data + len - p));
        if (!end) break;
        add(in, unescaped(p, (size_t)(end - p)));
        seen++;
    }
    if (seen > 2L * MOST_PAST) shorten(in);
    free(data);
}

void line_close(struct line_input *in)
{
    for (size_t i = 0; i < in->n_past; i++)
        free(in->past[i]);
    free(in->past);
    in->past = NULL;
    in->n_past = 0;
}

/* One write, so that the lines of two sessions do not mix. That it failed is no matter of the conversation's. */
static void keep(const struct line_input *in, const char *text, size_t len)
{
    char *data = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&data, &size);
    if (!f) return;
    put_entry(f, text, len);
    if (fclose(f) == 0) {
        make_folders(in->file);
        int fd = open(in->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
        struct stat info;
        if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && write(fd, data, size) < 0) errno = 0;
        if (fd >= 0) close(fd);
    }
    free(data);
}

void line_remember(struct line_input *in, const char *text, size_t len)
{
    if (!in->terminal || len == 0 || len > MOST_ENTRY || memchr(text, '\0', len)) return;
    const char *last = in->n_past ? in->past[in->n_past - 1] : "";
    if (strlen(last) == len && memcmp(last, text, len) == 0) return;
    add(in, strndup(text, len));
    if (in->keep && *in->file) keep(in, text, len);
}
