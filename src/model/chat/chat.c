#include "model/chat/chat.h"
#include "model/chat/syntax.h"

#include <string.h>

static void put(struct ht__chat_run *r, struct ht__chat_value dict, const char *name, struct ht__chat_value v)
{
    ht__chat_put(r, dict, (struct ht__str){name, strlen(name)}, v);
}

static void put_token(struct ht__chat_run *r, struct ht__chat_value dict, const char *name, struct ht__str spelling)
{
    if (spelling.text) put(r, dict, name, ht__chat_str(spelling.text, spelling.len));
}

static struct ht__chat_value marked(struct ht__chat_run *r, const struct ht__tokenizer *t, const struct ht__jnode *node)
{
    struct ht__buf out;
    ht__buf_init(&out, r->arena->alloc);
    ht__tokenizer_mark(t, node->text, node->len, &out);
    return ht__chat_take(r, &out);
}

static struct ht__chat_value of_json(struct ht__chat_run *r, const struct ht__tokenizer *t,
                                     const struct ht__jnode *node)
{
    struct ht__chat_value v = {.type = HT__CHAT_NONE};
    switch (node->type) {
    case HT__JSON_BOOL: return ht__chat_bool(node->boolean);
    case HT__JSON_STRING: return marked(r, t, node);
    case HT__JSON_NUMBER:
        if (node->is_int) return ht__chat_int(node->integer);
        v.type = HT__CHAT_FLOAT;
        v.number = node->number;
        return v;
    case HT__JSON_ARRAY:
        v = ht__chat_new_list(r);
        for (size_t i = 0; i < node->n && !r->err; i++)
            ht__chat_append(r, v, of_json(r, t, &node->children[i]));
        return v;
    case HT__JSON_OBJECT:
        v = ht__chat_new_dict(r);
        for (size_t i = 0; i < node->n && !r->err; i++)
            put(r, v, node->keys[i], of_json(r, t, &node->children[i]));
        return v;
    default: return v;
    }
}

static struct ht__chat_value messages_of(struct ht__chat_run *r, const struct ht__chat *chat)
{
    struct ht__chat_value messages = ht__chat_new_list(r);
    for (size_t i = 0; i < chat->n; i++) {
        struct ht__chat_value message = ht__chat_new_dict(r);
        put(r, message, "role", ht__chat_str(chat->messages[i].role, strlen(chat->messages[i].role)));
        put(r, message, "content", ht__chat_str(chat->messages[i].text.text, chat->messages[i].text.len));
        ht__chat_append(r, messages, message);
    }
    return messages;
}

/* The names that a template finds. */
static struct ht__chat_value names_of(struct ht__chat_run *r, const struct ht__chat *chat)
{
    static const struct ht__chat_value none = {.type = HT__CHAT_NONE};
    struct ht__chat_value names = ht__chat_new_dict(r);
    put(r, names, "messages", chat->names ? none : messages_of(r, chat));
    put(r, names, "tools", none);
    put(r, names, "documents", none);
    put(r, names, "add_generation_prompt", ht__chat_bool(!chat->finished));
    for (size_t i = 0; chat->names && i < chat->names->n; i++)
        put(r, names, chat->names->keys[i], of_json(r, chat->text, &chat->names->children[i]));
    put_token(r, names, "bos_token", chat->bos);
    put_token(r, names, "eos_token", chat->eos);
    put_token(r, names, "unk_token", chat->unk);
    put_token(r, names, "pad_token", chat->pad);
    return names;
}

struct ht__chat ht__chat_of(const struct ht__tokenizer *t, const char *source)
{
    return (struct ht__chat){.source = source ? source : ht__tokenizer_chat_template(t),
                             .bos = ht__tokenizer_piece(t, ht__tokenizer_bos(t)),
                             .eos = ht__tokenizer_piece(t, ht__tokenizer_eos(t)),
                             .unk = ht__tokenizer_piece(t, ht__tokenizer_unk(t)),
                             .pad = ht__tokenizer_piece(t, ht__tokenizer_pad(t))};
}

enum ht_err ht__chat_render(const struct ht__chat *chat, const struct ht__alloc *alloc, struct ht__buf *out,
                            struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__chat_scope top = {0};
    struct ht__chat_run r = {
        .arena = &arena, .diag = diag, .now = chat->now, .scope = &top, .top = &top, .out = out, .line = 1};
    ht__arena_init(&arena, alloc);
    struct ht__chat_node *program = ht__chat_parse(&r, chat->source, strlen(chat->source));
    top.names = names_of(&r, chat);
    ht__chat_statements(&r, program);
    if (!r.err && out->failed) r.err = ht__fail_memory(diag, "chat template");
    ht__arena_close(&arena);
    return r.err;
}
