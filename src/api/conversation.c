/* Conversations: messages to the text of the model's template, and answers back to messages. */
#include "api/generator.h"

#include <stdlib.h>
#include <string.h>

static const char *role_of(const char *role)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    for (size_t i = 0; role && i < sizeof roles / sizeof roles[0]; i++)
        if (strcmp(role, roles[i]) == 0) return roles[i];
    return NULL;
}

static enum ht_err add(struct ht_generator *g, const char *role, const char *text, size_t len, struct ht_diag *diag)
{
    struct ht__buf marked;
    struct ht__chat_message *grown = ht__resize(g->alloc, g->messages, (g->n_messages + 1) * sizeof *grown);
    if (!grown) return ht__fail_memory(diag, "conversation");
    g->messages = grown;
    ht__buf_init(&marked, g->alloc);
    ht__tokenizer_mark(g->text, text, len, &marked);
    char *copy = marked.failed ? NULL : ht__generator_copy(g, ht__buf_text(&marked), marked.len);
    grown[g->n_messages] = (struct ht__chat_message){.role = role, .text = {copy, marked.len}};
    ht__buf_close(&marked);
    if (!copy) return ht__fail_memory(diag, "conversation");
    g->n_messages++;
    return HT_OK;
}

static void forget(struct ht_generator *g)
{
    ht__free(g->alloc, (char *)(uintptr_t)g->messages[--g->n_messages].text.text);
}

void ht__conversation_close(struct ht_generator *g)
{
    while (g->n_messages)
        forget(g);
    ht__free(g->alloc, g->messages);
    ht__free(g->alloc, g->chat_template);
    ht__buf_close(&g->answer);
}

/* The conversation as the template writes it, with marks. */
static enum ht_err render(const struct ht_generator *g, struct ht__buf *out, struct ht_diag *diag)
{
    struct ht__chat chat = ht__chat_of(g->text, g->chat_template);
    time_t seconds = time(NULL);
    struct tm now;
    if (!chat.source)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, "chat", -1,
                        "the model has no chat template: give one with chat-template, or the whole text as a prompt "
                        "(generate -p TEXT, without --chat)");
    localtime_r(&seconds, &now);
    chat.now = &now;
    chat.messages = g->messages;
    chat.n = g->n_messages;
    struct ht_diag found = {0};
    enum ht_err err = ht__chat_render(&chat, g->alloc, out, &found);
    if (err == HT_ERR_UNSUPPORTED || err == HT_ERR_FORMAT)
        return ht__fail(diag, err, found.where, -1,
                        "%s; the whole text can be given as a prompt instead (generate -p "
                        "TEXT, without --chat)",
                        found.message);
    return err ? ht__fail(diag, err, found.where, -1, "%s", found.message) : HT_OK;
}

/* A rendered conversation without its marks, in memory of the caller's. */
static enum ht_err hand_out(const struct ht__buf *marked, char **text, size_t *len, struct ht_diag *diag)
{
    char *copy = malloc(marked->len + 1);
    if (!copy) return ht__fail_memory(diag, "conversation");
    *len = 0;
    for (size_t i = 0; i < marked->len; i++)
        if (marked->data[i] != 0xff) copy[(*len)++] = (char)marked->data[i];
    copy[*len] = '\0';
    *text = copy;
    return HT_OK;
}

/* gpt-oss says in control tokens which part of what it writes is thought and which is the answer. */
static bool has_channels(const struct ht_generator *g)
{
    return ht__tokenizer_find(g->text, "<|channel|>", 11) >= 0 && ht__tokenizer_find(g->text, "<|message|>", 11) >= 0;
}

static enum ht_err answer_now(struct ht_generator *g, struct ht_diag *diag)
{
    struct ht__buf text;
    struct ht__tokens ids;
    unsigned flags = HT__GENERATE_FRESH | (has_channels(g) ? HT__GENERATE_CONTROL : 0u);
    ht__buf_init(&text, g->alloc);
    ht__tokens_init(&ids, g->alloc);
    enum ht_err err = render(g, &text, diag);
    if (err == HT_OK)
        err = ht__tokenizer_encode(g->text, ht__buf_text(&text), text.len,
                                   HT__TOKENIZER_PARSE_SPECIAL | HT__TOKENIZER_MARKED, &ids, diag);
    if (err == HT_OK) err = ht__generator_start(g, &ids, flags, diag);
    ht__tokens_close(&ids);
    ht__buf_close(&text);
    if (err == HT_OK) {
        g->answering = true;
        g->answer.len = 0;
    }
    return err;
}

/* The answer as far as it went becomes a message. */
static enum ht_err end_answer(struct ht_generator *g, struct ht_diag *diag)
{
    static const char message[] = "<|message|>";
    if (!g->answering) return HT_OK;
    const char *text = ht__buf_text(&g->answer), *from = text;
    if (g->answer.failed) return ht__fail_memory(diag, "conversation");
    if (has_channels(g))
        for (const char *at = text; (at = strstr(at, message)) != NULL; from = at)
            at += strlen(message);
    HT_TRY(add(g, "assistant", from, g->answer.len - (size_t)(from - text), diag));
    g->answering = false;
    return HT_OK;
}

enum ht_err ht__conversation_pause(struct ht_generator *g, struct ht_diag *diag)
{
    if (g->answering && g->answer.len > 0) return end_answer(g, diag);
    g->answering = false;
    return HT_OK;
}

enum ht_err ht__conversation_heard(struct ht_generator *g, struct ht__str piece, struct ht_diag *diag)
{
    if (!g->answering) return HT_OK;
    if (piece.len == 0) return end_answer(g, diag);
    ht__buf_put(&g->answer, piece.text, piece.len);
    return g->answer.failed ? ht__fail_memory(diag, "conversation") : HT_OK;
}

enum ht_err ht_generator_say(struct ht_generator *g, const char *role, const char *text, size_t len,
                             struct ht_diag *diag)
{
    ht__diag_clear(diag);
    const char *known = role_of(role);
    if (!g || (!text && len)) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a generator and a text");
    if (!known) return ht__fail(diag, HT_ERR_USAGE, "role", -1, "expected system, user or assistant");
    HT_TRY(ht__conversation_pause(g, diag));
    HT_TRY(add(g, known, text ? text : "", len, diag));
    if (strcmp(known, "user") != 0) return HT_OK;
    enum ht_err err = answer_now(g, diag);
    if (err) forget(g);
    return err;
}

void ht_generator_clear(struct ht_generator *g)
{
    if (!g) return;
    while (g->n_messages)
        forget(g);
    g->answering = false;
}

enum ht_err ht_generator_system(struct ht_generator *g, const char *text, size_t len, struct ht_diag *diag)
{
    ht__diag_clear(diag);
    if (!g || (!text && len)) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a generator and a text");
    HT_TRY(ht__conversation_pause(g, diag));
    bool had = g->n_messages && strcmp(g->messages[0].role, "system") == 0;
    if (len) {
        HT_TRY(add(g, "system", text, len, diag));
        struct ht__chat_message last = g->messages[g->n_messages - 1];
        memmove(g->messages + 1, g->messages, (g->n_messages - 1) * sizeof last);
        g->messages[0] = last;
    }
    if (!had) return HT_OK;
    size_t old = len ? 1 : 0;
    ht__free(g->alloc, (char *)(uintptr_t)g->messages[old].text.text);
    g->n_messages--;
    memmove(g->messages + old, g->messages + old + 1, (g->n_messages - old) * sizeof *g->messages);
    return HT_OK;
}

enum ht_err ht_generator_conversation(struct ht_generator *g, char **text, size_t *len, struct ht_diag *diag)
{
    struct ht__buf out;
    ht__diag_clear(diag);
    if (!g || !text || !len)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a generator and places for the text");
    *text = NULL;
    *len = 0;
    HT_TRY(ht__conversation_pause(g, diag));
    ht__buf_init(&out, g->alloc);
    enum ht_err err = render(g, &out, diag);
    if (!err) err = hand_out(&out, text, len, diag);
    ht__buf_close(&out);
    return err;
}

/* ---- of an open model --------------------------------------------------------------------------- */

const char *ht_model_chat_template(struct ht_model *model)
{
    const struct ht__tokenizer *text;
    return model && ht__handle_text(model, &text, NULL) == HT_OK ? ht__tokenizer_chat_template(text) : NULL;
}

static enum ht_err add_all(struct ht_generator *g, const struct ht_message *messages, size_t n, struct ht_diag *diag)
{
    for (size_t i = 0; i < n; i++) {
        struct ht_message m;
        if (!ht__sized_take(&m, ht__sized_at(messages, i), sizeof m))
            return ht__fail(diag, HT_ERR_USAGE, "messages", -1, "the size of message %zu is not set", i);
        const char *role = role_of(m.role);
        if (!role || (!m.text && m.len))
            return ht__fail(diag, HT_ERR_USAGE, "messages", -1,
                            "message %zu: expected a text, and the role system, user or assistant", i);
        HT_TRY(add(g, role, m.text ? m.text : "", m.len, diag));
    }
    return HT_OK;
}

enum ht_err ht_model_chat(struct ht_model *model, const struct ht_message *messages, size_t n, char **text, size_t *len,
                          struct ht_diag *diag)
{
    struct ht_generator *g;
    ht__diag_clear(diag);
    if (!model || (!messages && n) || !text || !len)
        return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "expected a model, messages and places for the text");
    *text = NULL;
    *len = 0;
    HT_TRY(ht_model_generator(model, &g, diag));
    enum ht_err err = add_all(g, messages, n, diag);
    if (!err) err = ht_generator_conversation(g, text, len, diag);
    ht_generator_close(&g);
    return err;
}
