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
    struct ht__chat_message *grown = realloc(g->messages, (g->n_messages + 1) * sizeof *grown);
    if (!grown) return ht__fail_memory(diag, "conversation");
    g->messages = grown;
    ht__buf_init(&marked, NULL);
    ht__text_mark(g->text, text, len, &marked);
    char *copy = marked.failed ? NULL : malloc(marked.len + 1);
    if (copy && marked.len) memcpy(copy, marked.data, marked.len);
    grown[g->n_messages] = (struct ht__chat_message){.role = role, .text = {copy, marked.len}};
    ht__buf_close(&marked);
    if (!copy) return ht__fail_memory(diag, "conversation");
    g->n_messages++;
    return HT_OK;
}

static void forget(struct ht_generator *g)
{
    free((char *)(uintptr_t)g->messages[--g->n_messages].text.text);
}

void ht__conversation_close(struct ht_generator *g)
{
    while (g->n_messages)
        forget(g);
    free(g->messages);
    free(g->chat_template);
    ht__buf_close(&g->answer);
}

/* The conversation as the template writes it, with marks. */
static enum ht_err render(const struct ht_generator *g, struct ht__buf *out, struct ht_diag *diag)
{
    const char *source = g->chat_template ? g->chat_template : ht__text_chat_template(g->text);
    time_t seconds = time(NULL);
    struct tm now;
    if (!source)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, "chat", -1,
                        "the model has no chat template: give one with chat-template, or the whole text as a prompt "
                        "(generate -p TEXT, without --chat)");
    localtime_r(&seconds, &now);
    struct ht__chat chat = {.source = source,
                            .bos = ht__text_piece(g->text, ht__text_bos(g->text)),
                            .eos = ht__text_piece(g->text, ht__text_eos(g->text)),
                            .unk = ht__text_piece(g->text, ht__text_unk(g->text)),
                            .pad = ht__text_piece(g->text, ht__text_pad(g->text)),
                            .now = &now,
                            .messages = g->messages,
                            .n = g->n_messages};
    struct ht_diag found = {0};
    enum ht_err err = ht__chat_render(&chat, NULL, out, &found);
    if (err == HT_ERR_UNSUPPORTED || err == HT_ERR_FORMAT)
        return ht__fail(diag, err, found.where, -1, "%s; the whole text can be given as a prompt instead (generate -p "
                        "TEXT, without --chat)", found.message);
    return err ? ht__fail(diag, err, found.where, -1, "%s", found.message) : HT_OK;
}

/* gpt-oss says in control tokens which part of what it writes is thought and which is the answer. */
static bool has_channels(const struct ht_generator *g)
{
    return ht__text_find(g->text, "<|channel|>", 11) >= 0 && ht__text_find(g->text, "<|message|>", 11) >= 0;
}

static enum ht_err answer_now(struct ht_generator *g, struct ht_diag *diag)
{
    struct ht__buf text;
    struct ht__tokens ids;
    unsigned flags = HT__GENERATE_FRESH | (has_channels(g) ? HT__GENERATE_CONTROL : 0u);
    ht__buf_init(&text, NULL);
    ht__tokens_init(&ids, NULL);
    enum ht_err err = render(g, &text, diag);
    if (err == HT_OK)
        err = ht__text_encode(g->text, ht__buf_text(&text), text.len, HT__TEXT_PARSE_SPECIAL | HT__TEXT_MARKED, &ids, diag);
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

/* An answer that was cut short is a message; one of which nothing was heard is none. */
static enum ht_err drop_answer(struct ht_generator *g, struct ht_diag *diag)
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

HT_EXPORT enum ht_err ht_generator_say(struct ht_generator *g, const char *role, const char *text, size_t len,
                                       struct ht_diag *diag)
{
    ht__diag_clear(diag);
    const char *known = role_of(role);
    if (!g || (!text && len)) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "a generator and a text are wanted");
    if (!known) return ht__fail(diag, HT_ERR_USAGE, "role", -1, "system, user or assistant is wanted");
    HT_TRY(drop_answer(g, diag));
    HT_TRY(add(g, known, text ? text : "", len, diag));
    if (strcmp(known, "user") != 0) return HT_OK;
    enum ht_err err = answer_now(g, diag);
    if (err) forget(g);
    return err;
}

HT_EXPORT enum ht_err ht_generator_conversation(struct ht_generator *g, char **text, size_t *len, struct ht_diag *diag)
{
    struct ht__buf out;
    ht__diag_clear(diag);
    if (!g || !text || !len) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "a generator and places for the text are wanted");
    *text = NULL;
    *len = 0;
    HT_TRY(drop_answer(g, diag));
    ht__buf_init(&out, NULL);
    enum ht_err err = render(g, &out, diag);
    char *copy = err ? NULL : malloc(out.len + 1);
    for (size_t i = 0; copy && i < out.len; i++)
        if (out.data[i] != 0xff) copy[(*len)++] = (char)out.data[i];
    ht__buf_close(&out);
    HT_TRY(err);
    if (!copy) return ht__fail_memory(diag, "conversation");
    copy[*len] = '\0';
    *text = copy;
    return HT_OK;
}
