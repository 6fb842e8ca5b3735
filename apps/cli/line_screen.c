/* The terminal of the line editor: its mode, its keys, and the line drawn over as many rows as it takes. */
#include "line_parts.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <utf8proc.h>

static struct termios before; /* the terminal as it was */
static volatile sig_atomic_t changed;
static unsigned char ahead[256]; /* keys that came before they were asked for */
static size_t n_ahead, next_ahead;

static const char paste_on[] = "\033[?2004h", paste_off[] = "\033[?2004l";

static void put(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, text, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return;
        text += n;
        len -= (size_t)n;
    }
}

bool screen_begin(void)
{
    if (tcgetattr(STDIN_FILENO, &before) != 0) return false;
    struct termios raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | IEXTEN | ISIG);
    raw.c_iflag &= ~(tcflag_t)(IXON | ICRNL | INLCR);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    changed = 1;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0) return changed = 0, false;
    put(paste_on, sizeof paste_on - 1);
    return true;
}

void line_restore_terminal(void)
{
    if (!changed) return;
    put(paste_off, sizeof paste_off - 1);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    changed = 0;
}

/* ---- keys --------------------------------------------------------------------------------------- */

static int next_byte(void)
{
    while (next_ahead == n_ahead) {
        ssize_t n = read(STDIN_FILENO, ahead, sizeof ahead);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return KEY_END_OF_INPUT;
        n_ahead = (size_t)n;
        next_ahead = 0;
    }
    return ahead[next_ahead++];
}

/* An escape alone is the key of that name: what follows of a longer one comes at once. */
static bool more_follows(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return next_ahead < n_ahead || poll(&in, 1, 50) == 1;
}

bool screen_has_key(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return next_ahead < n_ahead || poll(&in, 1, 0) == 1;
}

/* What stands between "ESC [" and the last byte, and the last byte. */
static int sequence(void)
{
    static const struct {
        const char *text;
        int key;
    } known[] = {
        {"A", KEY_UP},           {"B", KEY_DOWN},          {"C", KEY_RIGHT},         {"D", KEY_LEFT},
        {"H", KEY_HOME},         {"F", KEY_END},           {"1~", KEY_HOME},         {"7~", KEY_HOME},
        {"4~", KEY_END},         {"8~", KEY_END},          {"3~", KEY_DELETE},       {"1;3D", KEY_WORD_LEFT},
        {"1;5D", KEY_WORD_LEFT}, {"1;3C", KEY_WORD_RIGHT}, {"1;5C", KEY_WORD_RIGHT}, {"200~", KEY_PASTE_BEGINS},
        {"201~", KEY_PASTE_ENDS}};
    char text[16];
    size_t n = 0;
    int c;
    do {
        c = next_byte();
        if (c < 0) return c;
        if (n + 1 < sizeof text) text[n++] = (char)c;
    } while (c >= 0x20 && c < 0x40);
    text[n] = '\0';
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].text, text) == 0) return known[i].key;
    return KEY_UNKNOWN;
}

int screen_key(void)
{
    int c = next_byte();
    if (c != 0x1b) return c;
    if (!more_follows()) return KEY_UNKNOWN;
    switch (c = next_byte()) {
    case '[':
    case 'O': return sequence();
    case '\r':
    case '\n': return KEY_NEW_LINE;
    case 'b': return KEY_WORD_LEFT;
    case 'f': return KEY_WORD_RIGHT;
    default: return c < 0 ? c : KEY_UNKNOWN;
    }
}

/* ---- drawing ------------------------------------------------------------------------------------ */

size_t character_length(const char *text, size_t len, size_t at)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(len - at), &c);
    return n > 0 ? (size_t)n : 1;
}

/* A character as it is shown, and its columns. */
static size_t shown(const char *text, size_t len, size_t at, char out[8], int *columns)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(len - at), &c);
    *columns = 1;
    if (n > 0 && (c < 0x20 || c == 0x7f)) {
        snprintf(out, 8, "^%c", (char)(c ^ 0x40));
        *columns = 2;
    } else if (n <= 0 || (c >= 0x80 && c < 0xa0)) {
        snprintf(out, 8, "\xef\xbf\xbd");
    } else {
        snprintf(out, 8, "%.*s", (int)n, text + at);
        *columns = utf8proc_charwidth(c);
    }
    return n > 0 ? (size_t)n : 1;
}

struct place {
    int row, column;
};

/* Where the character goes that takes so many columns. */
static void wrap(struct place *p, int columns, int width)
{
    if (p->column + columns <= width) return;
    p->row++;
    p->column = 0;
}

/*
 * The text from the row `top` on, `rows` of them, to `out` (NULL: nothing is written). Returns the cursor's place;
 * *last: where the text ends.
 */
static struct place lay_out(const struct drawing *d, int width, int top, int rows, FILE *out, struct place *last)
{
    struct place p = {0, 0}, cursor = {0, 0};
    char text[8];
    int columns, drawn = 0;
    for (size_t at = 0, len = strlen(d->prompt); at < len; p.column += columns) {
        at += shown(d->prompt, len, at, text, &columns);
        if (out && top == 0) fputs(text, out);
    }
    for (size_t at = 0, n = 0; at <= d->len; at += n) {
        n = at < d->len ? shown(d->text, d->len, at, text, &columns) : 1;
        bool newline = at < d->len && d->text[at] == '\n';
        if (at == d->len || newline) columns = 1; /* the cursor may stand on it */
        wrap(&p, columns, width);
        if (at == d->at) cursor = p;
        for (; out && drawn < p.row; drawn++)
            if (drawn >= top && drawn + 1 < top + rows) fputs("\r\n", out);
        if (at == d->len) break;
        if (out && !newline && p.row >= top && p.row < top + rows) fputs(text, out);
        if (newline)
            p = (struct place){p.row + 1, 0};
        else
            p.column += columns;
    }
    *last = p;
    return cursor;
}

void screen_draw(struct drawing *d)
{
    struct winsize size = {0};
    struct place last, cursor;
    char *data = NULL;
    size_t len = 0;
    (void)ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
    int width = size.ws_col > 8 ? size.ws_col : 80, rows = size.ws_row > 1 ? size.ws_row : 24;
    FILE *out = open_memstream(&data, &len);
    if (!out) return;
    if (d->row > 0) fprintf(out, "\033[%dA", d->row);
    fputs("\r\033[J", out);
    cursor = lay_out(d, width, 0, 0, NULL, &last);
    int top = cursor.row < rows ? 0 : cursor.row - rows + 1;
    int bottom = last.row < top + rows ? last.row : top + rows - 1;
    lay_out(d, width, top, rows, out, &last);
    if (bottom > cursor.row) fprintf(out, "\033[%dA", bottom - cursor.row);
    fputc('\r', out);
    if (cursor.column > 0) fprintf(out, "\033[%dC", cursor.column);
    d->row = cursor.row - top;
    if (fclose(out) == 0) put(data, len);
    free(data);
}
