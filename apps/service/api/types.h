/*
 * What can be written: formats, their types, and the options of types, from the library's lists. A type is what
 * `halftone quantize --type` takes: a mix of GGUF types, or a scheme of a Hugging Face folder.
 */
#ifndef HT_SERVICE_API_TYPES_H
#define HT_SERVICE_API_TYPES_H

#include <jansson.h>

#include <stdbool.h>
#include <stddef.h>

struct faults;

/* A container that can be written. */
struct format {
    const char *name, *title, *description;
    bool folder; /* an output is a folder of files */
};
bool format_at(size_t i, struct format *format);            /* false past the last */
bool format_named(const char *name, struct format *format); /* whatever the case */
bool format_same(const struct format *a, const struct format *b);
/* "; did you mean gguf?", of formats and, where those are named too, their types; "" where nothing is near. */
void format_nearest(const char *name, char *text, size_t size);

struct type {
    const char *name; /* as the list spells it */
    struct format format;
    bool needs_importance;
    bool scheme; /* one scheme, which may have options */
    bool ladder; /* several; neither: a mix, in a folder one of the floats */
};
/* The type with this name, whatever the case, of the format (NULL: of the first that has it, which its text need not
 * name: "F16" and "safetensors/F16", "nf4" and "pytorch/nf4"). */
bool type_named(const char *name, const struct format *format, struct type *type);
void type_nearest(const char *name, const struct format *format, char *text, size_t size);
/* One line about a type, with or without options behind it; "" for none. */
const char *type_hint(const char *text);
/* {"name": …, …}, as /formats/{format}/types lists them. */
json_t *types_of(const struct format *format);

/*
 * Options of a type, given as an object ({"bits": 3}), as they follow its name ("bits=3,group=64", or NULL), or both:
 * those that differ from what is so without them, in the type's order. NULL: faults were added. The caller's.
 */
json_t *type_options(const struct type *type, const json_t *given, const char *text, const char *pointer,
                     struct faults *faults);
bool type_has_option(const char *type, const char *option);
/* "gptq:bits=3,group=64", of options as type_options gives them. */
void type_text(const struct type *type, const json_t *options, char *text, size_t size);

#endif
