/* Parsing: what statements (parse.c) and expressions (expression.c) share. */
#ifndef HT_MODEL_CHAT_PARSE_H
#define HT_MODEL_CHAT_PARSE_H

#include "model/chat/syntax.h"

struct ht__chat_parser {
    struct ht__chat_run *r;
    const struct ht__chat_token *at;
    int depth, loops;
    struct ht__chat_node nowhere; /* what is parsed after a failure */
};

struct ht__chat_node *ht__chat_node_new(struct ht__chat_parser *p, enum ht__chat_kind kind);
struct ht__chat_node *ht__chat_deepen(struct ht__chat_parser *p, struct ht__chat_node *n,
                                      const struct ht__chat_node *child);
bool ht__chat_at_op(const struct ht__chat_parser *p, int op);
bool ht__chat_at_name(const struct ht__chat_parser *p, const char *name);
void ht__chat_go_on(struct ht__chat_parser *p);
bool ht__chat_skip_op(struct ht__chat_parser *p, int op);
bool ht__chat_skip_name(struct ht__chat_parser *p, const char *name);
void ht__chat_want_op(struct ht__chat_parser *p, int op);
struct ht__str ht__chat_want_name(struct ht__chat_parser *p);

struct ht__chat_node *ht__chat_expression(struct ht__chat_parser *p);
/* What a loop goes over: an `if` behind it is the loop's. */
struct ht__chat_node *ht__chat_expression_without_if(struct ht__chat_parser *p);
/* One, or several with commas: a list then. */
struct ht__chat_node *ht__chat_expression_list(struct ht__chat_parser *p);

#endif
