#include "calibrate/documents.h"
#include "base/json.h"
#include "model/chat/chat.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_LINE = 16 << 20 };

struct lines {
    const struct ht__documents *d;
    struct ht__tokens *out;
    struct ht_diag *diag;
    struct ht__arena arena; /* of the line */
    size_t line;            /* from 1 */
    const char *template;   /* NULL: there is none */
    size_t n_chats, n_refused;
    char refusal[160]; /* the template's first */
};

static const char *const roles[] = {"system", "user", "assistant", "tool"};

bool ht__documents_are_lines(const char *path)
{
    static const char suffix[] = ".jsonl";
    size_t n = strlen(path), m = strlen(suffix);
    return n >= m && strcmp(path + n - m, suffix) == 0;
}

enum ht_err ht__documents_text(const struct ht__documents *d, const char *text, size_t len, struct ht__tokens *out,
                               struct ht_diag *diag)
{
    return ht__tokenizer_encode(d->tokenizer, text, len, HT__TOKENIZER_ADD_SPECIAL, out, diag);
}

static enum ht_err fail(const struct lines *l, const char *message)
{
    return ht__fail(l->diag, HT_ERR_FORMAT, l->d->where, -1, "line %zu: %s", l->line, message);
}

/* ---- conversations ---- */

static const char *known_role(const char *role)
{
    for (size_t i = 0; role && i < sizeof roles / sizeof *roles; i++)
        if (strcmp(role, roles[i]) == 0) return roles[i];
    return NULL;
}

/* A text, or a list of {"type": "text", "text": …}, put together. */
static enum ht_err read_content(struct lines *l, const struct ht__jnode *content, struct ht__buf *out)
{
    static const char expected[] = "\"content\" is neither a text nor a list of texts";
    if (content && content->type == HT__JSON_STRING) {
        ht__buf_put(out, content->text, content->len);
        return HT_OK;
    }
    if (!content || content->type != HT__JSON_ARRAY) return fail(l, expected);
    for (size_t i = 0; i < content->n; i++) {
        const struct ht__jnode *text = ht__jget(&content->children[i], "text");
        if (!text || text->type != HT__JSON_STRING) return fail(l, expected);
        ht__buf_put(out, text->text, text->len);
    }
    return HT_OK;
}

static enum ht_err read_message(struct lines *l, const struct ht__jnode *node, struct ht__chat_message *message)
{
    struct ht__buf content;
    message->role = known_role(ht__jstr(node, "role", NULL));
    if (!message->role) return fail(l, "the role of a message is not system, user, assistant or tool");
    ht__buf_init(&content, l->d->alloc);
    enum ht_err err = read_content(l, ht__jget(node, "content"), &content);
    const char *copy = err ? NULL : ht__arena_copy(&l->arena, ht__buf_text(&content), content.len);
    message->text = (struct ht__str){copy, content.len};
    if (err == HT_OK && (content.failed || !copy)) err = ht__fail_memory(l->diag, l->d->where);
    ht__buf_close(&content);
    return err;
}

/* Rendered with the template, the messages' own control tokens marked. */
static enum ht_err render(struct lines *l, const struct ht__chat_message *messages, size_t n, struct ht__buf *out,
                          struct ht_diag *why)
{
    static const struct tm now = {.tm_year = 124, .tm_mon = 6, .tm_mday = 26, .tm_wday = 5, .tm_yday = 207};
    struct ht__chat chat = ht__chat_of(l->d->tokenizer, l->template);
    struct ht__chat_message *marked = ht__arena_array(&l->arena, n, sizeof *marked);
    if (!marked) return ht__fail_memory(why, l->d->where);
    for (size_t i = 0; i < n; i++) {
        out->len = 0;
        ht__tokenizer_mark(l->d->tokenizer, messages[i].text.text, messages[i].text.len, out);
        const char *copy = ht__arena_copy(&l->arena, ht__buf_text(out), out->len);
        if (out->failed) copy = NULL;
        if (!copy) return ht__fail_memory(why, l->d->where);
        marked[i] = (struct ht__chat_message){messages[i].role, {copy, out->len}};
    }
    out->len = 0;
    chat.now = &now; /* the same tokens every day */
    chat.messages = marked;
    chat.n = n;
    chat.finished = true;
    return ht__chat_render(&chat, l->d->alloc, out, why);
}

/* For templates that know neither system messages nor tools, or insist on turns: the system's words begin the user's,
 * tools speak as the user, and neighbours of one role become one message. */
static enum ht_err simplify(struct lines *l, const struct ht__chat_message *messages, size_t *n,
                            struct ht__chat_message **out, struct ht_diag *why)
{
    struct ht__chat_message *simple = ht__arena_array(&l->arena, *n, sizeof *simple);
    size_t k = 0;
    if (!simple) return ht__fail_memory(why, l->d->where);
    for (size_t i = 0; i < *n; i++) {
        struct ht__chat_message m = messages[i];
        if (strcmp(m.role, "assistant") != 0) m.role = "user";
        if (k == 0 || strcmp(simple[k - 1].role, m.role) != 0) {
            simple[k++] = m;
            continue;
        }
        struct ht__chat_message *last = &simple[k - 1];
        char *joined = ht__arena_raw(&l->arena, last->text.len + 2 + m.text.len);
        if (!joined) return ht__fail_memory(why, l->d->where);
        memcpy(joined, last->text.text, last->text.len);
        memcpy(joined + last->text.len, "\n\n", 2);
        memcpy(joined + last->text.len + 2, m.text.text, m.text.len);
        last->text = (struct ht__str){joined, last->text.len + 2 + m.text.len};
    }
    *n = k;
    *out = simple;
    return HT_OK;
}

/* As it is; then simplified. `why` says why the template refuses both. */
static enum ht_err render_somehow(struct lines *l, const struct ht__chat_message *messages, size_t n,
                                  struct ht__buf *out, struct ht_diag *why)
{
    struct ht__chat_message *simple = NULL;
    enum ht_err err = render(l, messages, n, out, why);
    if (err == HT_OK || err == HT_ERR_MEMORY) return err;
    HT_TRY(simplify(l, messages, &n, &simple, why));
    struct ht_diag again = {0};
    err = render(l, simple, n, out, &again);
    if (err == HT_ERR_MEMORY) *why = again;
    return err;
}

static enum ht_err encode_plain(struct lines *l, const struct ht__chat_message *messages, size_t n, struct ht__buf *out)
{
    out->len = 0;
    for (size_t i = 0; i < n; i++) {
        ht__buf_printf(out, "%c%s: ", toupper((unsigned char)messages[i].role[0]), messages[i].role + 1);
        ht__buf_put(out, messages[i].text.text, messages[i].text.len);
        ht__buf_str(out, "\n\n");
    }
    if (out->failed) return ht__fail_memory(l->diag, l->d->where);
    return ht__documents_text(l->d, ht__buf_text(out), out->len, l->out, l->diag);
}

static enum ht_err encode_chat(struct lines *l, const struct ht__chat_message *messages, size_t n, struct ht__buf *out)
{
    struct ht_diag why = {0};
    l->n_chats++;
    if (!l->template) return encode_plain(l, messages, n, out);
    enum ht_err err = render_somehow(l, messages, n, out, &why);
    if (err == HT_ERR_MEMORY) return ht__fail_memory(l->diag, l->d->where);
    if (err) {
        if (l->n_refused++ == 0) snprintf(l->refusal, sizeof l->refusal, "%.150s", why.message);
        return encode_plain(l, messages, n, out);
    }
    return ht__tokenizer_encode(l->d->tokenizer, ht__buf_text(out), out->len,
                                HT__TOKENIZER_PARSE_SPECIAL | HT__TOKENIZER_MARKED, l->out, l->diag);
}

static enum ht_err read_chat(struct lines *l, const struct ht__jnode *list)
{
    struct ht__chat_message *messages;
    struct ht__buf out;
    if (list->type != HT__JSON_ARRAY || list->n == 0) return fail(l, "\"messages\" is not a list of messages");
    if (!(messages = ht__arena_array(&l->arena, list->n, sizeof *messages)))
        return ht__fail_memory(l->diag, l->d->where);
    for (size_t i = 0; i < list->n; i++)
        HT_TRY(read_message(l, &list->children[i], &messages[i]));
    ht__buf_init(&out, l->d->alloc);
    enum ht_err err = encode_chat(l, messages, list->n, &out);
    ht__buf_close(&out);
    return err;
}

/* ---- lines ---- */

static enum ht_err read_line(struct lines *l, const char *line, size_t len)
{
    struct ht__jnode *root;
    struct ht_diag found = {0};
    if (len > LONGEST_LINE) return fail(l, "longer than 16 MiB");
    enum ht_err err = ht__json_parse(&l->arena, line, len, l->d->where, &root, &found);
    if (err == HT_ERR_MEMORY) return ht__fail_memory(l->diag, l->d->where);
    if (err) return ht__fail(l->diag, err, l->d->where, -1, "line %zu: %s", l->line, found.message);
    const struct ht__jnode *text = ht__jget(root, "text"), *messages = ht__jget(root, "messages");
    if (messages && !text) return read_chat(l, messages);
    if (!text || messages || text->type != HT__JSON_STRING)
        return fail(l, "expected {\"text\": \"…\"} or {\"messages\": [{\"role\": …, \"content\": …}, …]}");
    HT_TRY(ht__documents_text(l->d, text->text, text->len, l->out, l->diag));
    /* where nothing else tells the model that another text begins */
    bool apart = ht__tokenizer_adds_bos(l->d->tokenizer) || ht__tokenizer_adds_eos(l->d->tokenizer);
    return apart ? HT_OK : ht__tokenizer_encode(l->d->tokenizer, "\n\n", 2, 0, l->out, l->diag);
}

static bool is_blank(const char *line, size_t len)
{
    size_t i = 0;
    while (i < len && isspace((unsigned char)line[i]))
        i++;
    return i == len;
}

static enum ht_err read_lines(struct lines *l, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *line = text + at, *end = memchr(line, '\n', len - at);
        size_t n = end ? (size_t)(end - line) : len - at;
        at += n + 1;
        l->line++;
        if (is_blank(line, n)) continue;
        HT_TRY(read_line(l, line, n));
        if (l->out->failed) return ht__fail_memory(l->diag, l->d->where);
        ht__arena_reset(&l->arena);
    }
    return HT_OK;
}

enum ht_err ht__documents_lines(const struct ht__documents *d, const char *text, size_t len, struct ht__tokens *out,
                                struct ht_diag *diag)
{
    struct lines l = {
        .d = d, .out = out, .diag = diag, .template = ht__tokenizer_chat_template(d->tokenizer), .refusal = ""};
    ht__arena_init(&l.arena, d->alloc);
    enum ht_err err = read_lines(&l, text, len);
    ht__arena_close(&l.arena);
    if (err == HT_OK && l.n_refused)
        ht__log_printf(
            d->log, HT__LOG_WARNING,
            "%s: the model's chat template refuses %zu of %zu conversations, which are read as plain text (%s)",
            d->where, l.n_refused, l.n_chats, l.refusal);
    return err;
}
