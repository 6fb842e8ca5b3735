/*
 * A JSON Schema as nodes that a text can be held against while it is made. What cannot be guaranteed byte by byte is refused:
 * pattern, bounds of numbers, not, allOf of several, prefixItems. Members of an object come in the schema's order; where it
 * names properties, no others are made.
 */
#ifndef HT_ENGINE_JSON_SCHEMA_H
#define HT_ENGINE_JSON_SCHEMA_H

#include "base/json.h"

enum ht__schema_kind {
    HT__SCHEMA_ANY,
    HT__SCHEMA_OBJECT,
    HT__SCHEMA_ARRAY,
    HT__SCHEMA_STRING,
    HT__SCHEMA_NUMBER,
    HT__SCHEMA_INTEGER,
    HT__SCHEMA_TEXTS, /* one of some texts, as they stand: constants, true, false, null */
    HT__SCHEMA_ONE_OF,
};

struct ht__schema_text {
    const char *text;
    size_t len;
};
struct ht__schema_property {
    struct ht__schema_text key; /* with its quotes */
    int node;
    bool required;
};

struct ht__schema_node {
    enum ht__schema_kind kind;
    const struct ht__jnode *from;
    struct ht__schema_property *properties; /* of an object */
    int n_properties;
    int other;           /* of an object without properties: what its members are; of an array: its elements */
    int64_t least, most; /* elements, or characters; most -1: no bound */
    struct ht__schema_text *texts; /* TEXTS */
    int *nodes;                    /* ONE_OF */
    int n;                         /* of these two */
};

struct ht__schema {
    struct ht__arena arena;
    struct ht__jnode *root;
    struct ht__schema_node *nodes; /* 0: the text as a whole; 1: anything */
    int n, cap;
    int depth;
};

/* json "": any object. HT_ERR_UNSUPPORTED says what cannot be guaranteed, HT_ERR_FORMAT and HT_ERR_USAGE what is no schema. The
 * schema is closed by the caller, also after an error. */
HT_MUST_CHECK enum ht_err ht__schema_open(struct ht__schema *schema, const char *json, const struct ht__alloc *alloc,
                                          struct ht_diag *diag);
void ht__schema_close(struct ht__schema *schema);

#endif
