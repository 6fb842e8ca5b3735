/*
 * Options that stand behind the name of a scheme or a method: "gptq:bits=3,group=64". A list of options ends with one
 * without a name; values lie in an array in the list's order.
 */
#ifndef HT_SCHEMES_OPTIONS_H
#define HT_SCHEMES_OPTIONS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct ht__scheme_option {
    const char *name, *about;
    const char *choices; /* numbers or words, separated by blanks; the value of a word is its place from 0. NULL: any
                            number from `least` to `most` */
    double otherwise;    /* the value where nothing is given */
    double least, most;
    bool reading; /* only what is read has it: not offered to people */
};

/* Its place, or -1. options may be NULL. */
int ht__options_find(const struct ht__scheme_option *options, const char *name, size_t len);
void ht__options_defaults(const struct ht__scheme_option *options, double *values);
/* text: what stands behind the owner's name: "", or a colon and options, which replace values. `reading`: options too that
 * only what is read has. Refused with the owner's name. */
HT_MUST_CHECK enum ht_err ht__options_parse(const char *owner, const struct ht__scheme_option *options,
                                            const char *text, bool reading, double *values, struct ht_diag *diag);
/* A value as text: the word for a choice of words, otherwise the number. */
const char *ht__option_text(const struct ht__scheme_option *option, double value, char *buffer, size_t size);
/* The owner's name, and those options that are not at their defaults. */
const char *ht__options_text(const char *owner, const struct ht__scheme_option *options, const double *values,
                             char *buffer, size_t size);

#endif
