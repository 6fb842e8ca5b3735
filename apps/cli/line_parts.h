/* What the files of the line editor share: keys that come, and the line as it is drawn. */
#ifndef HT_CLI_LINE_PARTS_H
#define HT_CLI_LINE_PARTS_H

#include "line.h"

/* Keys beyond bytes: what terminals send for them begins with an escape. */
enum key {
    KEY_END_OF_INPUT = -1,
    KEY_UNKNOWN = 256,
    KEY_UP,
    KEY_DOWN,
    KEY_LEFT,
    KEY_RIGHT,
    KEY_HOME,
    KEY_END,
    KEY_DELETE,
    KEY_WORD_LEFT,
    KEY_WORD_RIGHT,
    KEY_NEW_LINE,
    KEY_PASTE_BEGINS,
    KEY_PASTE_ENDS,
};

/* The terminal gives every key at once, and none is a signal. false: it cannot. */
bool screen_begin(void);
/* The next byte or enum key. */
int screen_key(void);
/* Has more come already? Then the line is drawn after it. */
bool screen_has_key(void);

struct drawing {
    const char *prompt;
    const char *text; /* UTF-8; other bytes are shown as such */
    size_t len, at;   /* the cursor's place */
    int row;          /* of the cursor below the first row of what was drawn last */
};
void screen_draw(struct drawing *drawing);
/* Length of the character at `at`, at least 1. */
size_t character_length(const char *text, size_t len, size_t at);

#endif
