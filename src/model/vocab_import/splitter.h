/* Pre-tokenizer steps carried out on a text: to see whether two ways of writing them do the same. */
#ifndef HT_MODEL_VOCAB_IMPORT_SPLITTER_H
#define HT_MODEL_VOCAB_IMPORT_SPLITTER_H

#include <stdbool.h>
#include <stddef.h>

enum { HT__PROBE_MAX = 2048 };

/* What a text becomes: where pieces begin, and which bytes are dropped. */
struct ht__pieces {
    bool starts[HT__PROBE_MAX + 1], gone[HT__PROBE_MAX];
    bool no_memory; /* why it was not done: that says nothing about the steps */
};

/*
 * Steps are written as in pretok.def ("@C" spelled out is not needed), and "R:x" drops what does
 * not match x. false when a step is of another form, or its expression cannot be compiled or
 * carried out within the limits.
 */
bool ht__split(const char *steps, const char *text, struct ht__pieces *out);

/* The built-in text, which the known pre-tokenizers all cut differently. */
extern const char ht__split_probe[];

#endif
