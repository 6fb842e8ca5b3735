/* Editing of a line, with the keys that shells have. */
#include "line_parts.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_TEXT = 1 << 20 };

struct edit {
    struct line_input *in;
    struct drawing d;
    char *text; /* what is drawn */
    size_t cap;
    size_t past;   /* the entry that is shown; n_past: what is written now */
    char *written; /* what was written before older entries were looked at, or NULL */
    bool pasting, failed;
};

static size_t previous(const struct edit *e, size_t at)
{
    size_t from = at < 4 ? 0 : at - 4;
    for (size_t i = from; i < at; i++)
        if (i + character_length(e->text, e->d.len, i) == at) return i;
    return at ? at - 1 : 0;
}

static size_t following(const struct edit *e, size_t at)
{
    return at < e->d.len ? at + character_length(e->text, e->d.len, at) : at;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || c == '_';
}

static size_t word_left(const struct edit *e)
{
    size_t at = e->d.at;
    while (at > 0 && !is_word(e->text[at - 1]))
        at--;
    while (at > 0 && is_word(e->text[at - 1]))
        at--;
    return at;
}

static size_t word_right(const struct edit *e)
{
    size_t at = e->d.at;
    while (at < e->d.len && !is_word(e->text[at]))
        at++;
    while (at < e->d.len && is_word(e->text[at]))
        at++;
    return at;
}

static void insert(struct edit *e, char c)
{
    if (e->d.len + 1 >= MOST_TEXT) return;
    if (e->d.len + 1 >= e->cap) {
        char *grown = realloc(e->text, 2 * e->cap);
        if (!grown) {
            e->failed = true;
            return;
        }
        e->d.text = e->text = grown;
        e->cap *= 2;
    }
    memmove(e->text + e->d.at + 1, e->text + e->d.at, e->d.len - e->d.at);
    e->text[e->d.at++] = c;
    e->d.len++;
}

/* The text between the two places goes; the cursor is where it was. */
static void cut(struct edit *e, size_t from, size_t to)
{
    memmove(e->text + from, e->text + to, e->d.len - to);
    e->d.len -= to - from;
    e->d.at = from;
}

static void replace(struct edit *e, const char *text)
{
    cut(e, 0, e->d.len);
    while (*text)
        insert(e, *text++);
}

/* An older entry, or a newer one. */
static void browse(struct edit *e, bool back)
{
    size_t n = e->in->n_past;
    if (back ? e->past == 0 : e->past == n) return;
    if (e->past == n) {
        free(e->written);
        e->text[e->d.len] = '\0'; /* there is always room for it */
        e->written = strdup(e->text);
    }
    e->past += back ? (size_t)-1 : 1;
    replace(e, e->past < n ? e->in->past[e->past] : e->written ? e->written : "");
}

static void move_to(struct edit *e, int key)
{
    switch (key) {
    case 2:
    case KEY_LEFT: e->d.at = previous(e, e->d.at); break;
    case 6:
    case KEY_RIGHT: e->d.at = following(e, e->d.at); break;
    case 1:
    case KEY_HOME: e->d.at = 0; break;
    case 5:
    case KEY_END: e->d.at = e->d.len; break;
    case KEY_WORD_LEFT: e->d.at = word_left(e); break;
    case KEY_WORD_RIGHT: e->d.at = word_right(e); break;
    case 16:
    case KEY_UP: browse(e, true); break;
    case 14:
    case KEY_DOWN: browse(e, false); break;
    default: break;
    }
}

static void remove_text(struct edit *e, int key)
{
    switch (key) {
    case 8:
    case 0x7f: cut(e, previous(e, e->d.at), e->d.at); break;
    case 4:
    case KEY_DELETE: {
        size_t at = e->d.at;
        cut(e, at, following(e, at));
        break;
    }
    case 11: cut(e, e->d.at, e->d.len); break;
    case 21: cut(e, 0, e->d.at); break;
    case 23: cut(e, word_left(e), e->d.at); break;
    default: break;
    }
}

/* The program sleeps until the shell wakes it. */
static void suspend(struct edit *e)
{
    line_restore_terminal();
    raise(SIGTSTP);
    e->failed = e->failed || !screen_begin();
    e->d.row = 0;
}

/* What a key does; LINE_READ and the others end the line, and -1 does not. */
static int press(struct edit *e, int key)
{
    if (key == KEY_END_OF_INPUT) return LINE_AT_END;
    if (key == KEY_PASTE_BEGINS || key == KEY_PASTE_ENDS) e->pasting = key == KEY_PASTE_BEGINS;
    if (e->pasting && key < KEY_UNKNOWN) return insert(e, (char)(key == '\r' ? '\n' : key)), -1;
    if (key == '\r' || key == '\n') return LINE_READ;
    if (key == 3) return LINE_INTERRUPTED;
    if (key == 4 && e->d.len == 0) return LINE_AT_END;
    if (key == 12) fputs("\033[H\033[2J", stderr), e->d.row = 0;
    if (key == 26) suspend(e);
    if (key == KEY_NEW_LINE) insert(e, '\n');
    move_to(e, key);
    remove_text(e, key);
    if (key >= 0x20 && key < 0x100 && key != 0x7f) insert(e, (char)key);
    return -1;
}

static enum line_end edited(struct line_input *in, const char *prompt, char **text, size_t *len)
{
    struct edit e = {.in = in, .cap = 256, .past = in->n_past, .d = {.prompt = prompt}};
    int end = -1;
    e.d.text = e.text = malloc(e.cap);
    if (!e.text || !screen_begin()) {
        free(e.text);
        return LINE_FAILED;
    }
    while (end < 0 && !e.failed) {
        if (!screen_has_key()) screen_draw(&e.d);
        end = press(&e, screen_key());
    }
    e.d.at = e.d.len;
    screen_draw(&e.d);
    line_restore_terminal();
    fputs("\r\n", stderr);
    free(e.written);
    *text = e.text;
    *len = e.d.len;
    e.text[e.d.len] = '\0';
    return e.failed ? LINE_FAILED : (enum line_end)end;
}

enum line_end line_read(struct line_input *in, const char *prompt, char **text, size_t *len)
{
    size_t cap = 0;
    *text = NULL;
    *len = 0;
    if (in->terminal) return edited(in, prompt, text, len);
    if (isatty(STDIN_FILENO)) fputs(prompt, stderr);
    ssize_t n = getline(text, &cap, stdin);
    if (n < 0) return ferror(stdin) ? LINE_FAILED : LINE_AT_END;
    while (n > 0 && ((*text)[n - 1] == '\n' || (*text)[n - 1] == '\r'))
        n--;
    (*text)[n] = '\0';
    *len = (size_t)n;
    return LINE_READ;
}
