/* Lines from a person, edited on the terminal, or from a pipe. */
#ifndef HT_CLI_LINE_H
#define HT_CLI_LINE_H

#include <stdbool.h>
#include <stddef.h>

struct line_input {
    bool terminal; /* lines are edited; otherwise they are read as they come */
    bool keep;     /* what is remembered is written to `file` too */
    char **past;   /* what was entered before, oldest first */
    size_t n_past;
    char file[4096]; /* or "" */
};

enum line_end { LINE_READ, LINE_AT_END, LINE_INTERRUPTED, LINE_FAILED };

/* Reads what was entered in earlier sessions, where there is a terminal. */
void line_open(struct line_input *in);
void line_close(struct line_input *in);
/*
 * One line without its end, and with *len bytes; where it was pasted or made with Alt-Enter it holds newlines. *text is
 * the caller's (free). LINE_INTERRUPTED: Ctrl-C.
 */
enum line_end line_read(struct line_input *in, const char *prompt, char **text, size_t *len);
/* The terminal as it was, if a line is being edited. Also from a signal handler. */
void line_restore_terminal(void);
/* What the arrow keys bring back. */
void line_remember(struct line_input *in, const char *text, size_t len);

#endif
