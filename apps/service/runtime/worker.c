/*
 * The child: opens a model, then makes texts as they are asked for, all that it has at the same time. See model.h for
 * what is said.
 */
#include "service/runtime/worker.h"

#include "service/runtime/inbox.h"
#include "service/runtime/model.h"
#include "service/runtime/utf8.h"

#include <halftone/halftone.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_TEXTS = 256, MOST_STOPS = 64 };

struct settings {
    const char *path;
    struct ht_batch_options batch;
};

struct text {
    bool used, begun;
    json_int_t id;
    int place;
    /* of an embedding: the inputs that are left, and the sum of states */
    json_t *inputs, *vectors; /* NULL: it is no embedding */
    double *sum;
    int n_summed, n_tokens;
    bool truncate;
};

struct worker {
    struct settings settings;
    struct ht_model *model;
    struct ht_batch *batch;
    const struct ht_tokenizer *text;
    const char *pooling;
    int n_embd, n_ctx;
    struct inbox *inbox;
    struct text texts[MOST_TEXTS];
};

/* ---- what is said ------------------------------------------------------------------------------- */

/* Steals value. A reader that is gone is the end. */
static void say(json_t *value)
{
    char *line = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    if (!line || puts(line) < 0 || fflush(stdout) != 0) exit(1);
    free(line);
}

static void say_error(const json_int_t *id, const char *code, const char *message)
{
    json_t *text = utf8_json(message, strlen(message));
    json_t *value = json_pack("{s:s, s:s, s:o}", "event", "error", "code", code, "message", text);
    if (id) json_object_set_new(value, "id", json_integer(*id));
    say(value);
}

static void say_diag(const json_int_t *id, enum ht_err err, const struct ht_diag *diag)
{
    char message[800];
    bool named = diag->where[0] && strchr(diag->where, '/') == NULL; /* where files lie is nothing for clients */
    snprintf(message, sizeof message, "%s%s%s", named ? diag->where : "", named ? ": " : "",
             diag->message[0] ? diag->message : ht_err_text(err));
    say_error(id, ht_err_name(err), message);
}

/* ---- prompts ------------------------------------------------------------------------------------ */

static bool member(const int32_t *ids, size_t n, size_t at, int32_t id)
{
    return at < n && ids[at] == id;
}

/* A text to be continued: control tokens are found by their spelling, the token before a text is put there unless the
 * text begins with it, and nothing behind it. */
static enum ht_err encode(const struct worker *w, const char *text, size_t len, int32_t **ids, size_t *n,
                          struct ht_diag *diag)
{
    int32_t *around = NULL, bos = ht_tokenizer_bos(w->text);
    size_t n_around = 0;
    enum ht_err err = ht_tokenizer_encode(w->text, text, len, HT_TOKENIZE_SPECIAL, ids, n, diag);
    if (err) return err;
    err = ht_tokenizer_encode(w->text, text, len, HT_TOKENIZE_SPECIAL | HT_TOKENIZE_AROUND, &around, &n_around, diag);
    bool put = !err && bos >= 0 && member(around, n_around, 0, bos) && !member(*ids, *n, 0, bos);
    if (!err && *n == 0 && bos >= 0) put = true;
    ht_free(around);
    if (err || !put) return err;
    int32_t *grown = malloc((*n + 1) * sizeof *grown);
    if (!grown) return HT_ERR_MEMORY;
    grown[0] = bos;
    if (*n) memcpy(grown + 1, *ids, *n * sizeof *grown);
    ht_free(*ids);
    *ids = grown;
    ++*n;
    return HT_OK;
}

static enum ht_err chat(const struct worker *w, const json_t *request, int32_t **ids, size_t *n, struct ht_diag *diag)
{
    char *text = json_dumps(json_object_get(request, "chat"), JSON_COMPACT);
    const char *template_text = json_string_value(json_object_get(request, "template"));
    if (!text) return HT_ERR_MEMORY;
    const char *used = template_text ? template_text : ht_model_chat_template(w->model);
    if (json_object_get(json_object_get(request, "chat"), "tools") && used && !strstr(used, "tools")) {
        snprintf(diag->message, sizeof diag->message, "the model's chat template knows no tools");
        free(text);
        return HT_ERR_UNSUPPORTED;
    }
    enum ht_err err = ht_model_chat_ids(w->model, text, strlen(text), template_text, ids, n, diag);
    free(text);
    return err;
}

static enum ht_err given_tokens(const struct worker *w, const json_t *list, int32_t **ids, size_t *n,
                                struct ht_diag *diag)
{
    *n = json_array_size(list);
    *ids = malloc((*n + 1) * sizeof **ids);
    if (!*ids) return HT_ERR_MEMORY;
    for (size_t i = 0; i < *n; i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));
        if (id < 0 || id >= ht_tokenizer_size(w->text)) {
            snprintf(diag->message, sizeof diag->message, "token %zu is %lld; the vocabulary has %d", i, (long long)id,
                     ht_tokenizer_size(w->text));
            return HT_ERR_USAGE;
        }
        (*ids)[i] = (int32_t)id;
    }
    return HT_OK;
}

static enum ht_err prompt_of(const struct worker *w, const json_t *request, int32_t **ids, size_t *n,
                             struct ht_diag *diag)
{
    const json_t *tokens = json_object_get(request, "tokens"), *prompt = json_object_get(request, "prompt");
    const json_t *without = json_object_get(request, "plain");
    if (without && !json_object_get(request, "template") && !ht_model_chat_template(w->model)) prompt = without;
    if (prompt == without && without)
        return encode(w, json_string_value(prompt), json_string_length(prompt), ids, n, diag);
    if (json_object_get(request, "chat")) return chat(w, request, ids, n, diag);
    if (tokens) return given_tokens(w, tokens, ids, n, diag);
    return encode(w, json_string_value(prompt), json_string_length(prompt), ids, n, diag);
}

/* ---- beginning ---------------------------------------------------------------------------------- */

static double number(const json_t *o, const char *name, double otherwise)
{
    const json_t *v = json_object_get(o, name);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static int whole(const json_t *o, const char *name, int otherwise)
{
    double v = number(o, name, otherwise);
    return v >= INT32_MAX ? INT32_MAX : v <= INT32_MIN ? INT32_MIN : (int)v;
}

static struct text *unused(struct worker *w)
{
    for (int i = 0; i < MOST_TEXTS; i++)
        if (!w->texts[i].used) return &w->texts[i];
    return NULL;
}

static enum ht_err add_text(struct worker *w, struct text *t, const json_t *request, struct ht_diag *diag)
{
    const json_t *stops = json_object_get(request, "stops"), *seed = json_object_get(request, "seed");
    const char *stop_texts[MOST_STOPS];
    int32_t *ids = NULL;
    struct ht_batch_text text = {.size = sizeof text,
                                 .max_tokens = whole(request, "max_tokens", INT32_MAX),
                                 .temperature = number(request, "temperature", 1),
                                 .top_k = whole(request, "top_k", 0),
                                 .top_p = number(request, "top_p", 1),
                                 .min_p = number(request, "min_p", 0),
                                 .repeat_penalty = number(request, "repeat_penalty", 1),
                                 .presence_penalty = number(request, "presence_penalty", 0),
                                 .frequency_penalty = number(request, "frequency_penalty", 0),
                                 .repeat_last = whole(request, "repeat_last", w->n_ctx),
                                 .seed = (uint64_t)json_integer_value(seed),
                                 .stops = stop_texts,
                                 .n_top = whole(request, "n_top", -1),
                                 .schema = json_string_value(json_object_get(request, "schema"))};
    for (; text.n_stops < json_array_size(stops) && text.n_stops < MOST_STOPS; text.n_stops++)
        stop_texts[text.n_stops] = json_string_value(json_array_get(stops, text.n_stops));
    if (json_object_get(request, "chat")) text.flags |= HT_BATCH_ANSWER;
    if (json_is_true(json_object_get(request, "echo"))) text.flags |= HT_BATCH_ECHO;
    enum ht_err err = prompt_of(w, request, &ids, &text.n, diag);
    text.ids = ids;
    if (!err) err = ht_batch_add(w->batch, &text, &t->place, diag);
    ht_free(ids);
    if (err) return err;
    t->used = true;
    say(json_pack("{s:I, s:s, s:I}", "id", t->id, "event", "begun", "prompt_tokens", (json_int_t)text.n));
    return HT_OK;
}

/* The next input of an embedding; a text that is too long is cut where that was wanted. */
static enum ht_err add_input(struct worker *w, struct text *t, struct ht_diag *diag)
{
    const json_t *input = json_array_get(t->inputs, json_array_size(t->vectors));
    int32_t *ids = NULL;
    struct ht_batch_text text = {
        .size = sizeof text, .flags = HT_BATCH_STATES, .top_p = 1, .repeat_penalty = 1, .n_top = -1};
    enum ht_err err = json_is_array(input)
                          ? given_tokens(w, input, &ids, &text.n, diag)
                          : ht_tokenizer_encode(w->text, json_string_value(input), json_string_length(input),
                                                HT_TOKENIZE_AROUND, &ids, &text.n, diag);
    if (t->truncate && text.n > (size_t)w->n_ctx) text.n = (size_t)w->n_ctx;
    text.ids = ids;
    if (!err) err = ht_batch_add(w->batch, &text, &t->place, diag);
    ht_free(ids);
    if (err) return err;
    t->used = true;
    t->n_tokens += (int)text.n;
    t->n_summed = 0;
    memset(t->sum, 0, sizeof *t->sum * (size_t)w->n_embd);
    return HT_OK;
}

static enum ht_err add_embedding(struct worker *w, struct text *t, const json_t *request, struct ht_diag *diag)
{
    if (!w->pooling) {
        snprintf(diag->message, sizeof diag->message,
                 "this model was not made for embeddings: it does not say how its "
                 "states become one vector");
        return HT_ERR_UNSUPPORTED;
    }
    t->inputs = json_incref(json_object_get(request, "inputs"));
    t->vectors = json_array();
    t->sum = calloc((size_t)w->n_embd, sizeof *t->sum);
    t->truncate = json_is_true(json_object_get(request, "truncate"));
    if (!t->vectors || !t->sum) return HT_ERR_MEMORY;
    return add_input(w, t, diag);
}

static void forget(struct text *t)
{
    json_decref(t->inputs);
    json_decref(t->vectors);
    free(t->sum);
    *t = (struct text){.used = false};
}

static void begin(struct worker *w, const json_t *request, json_int_t id, bool embedding)
{
    struct ht_diag diag = {0};
    struct text *t = unused(w);
    if (!t) return say_error(&id, "HT_ERR_LIMIT", "too many texts at the same time");
    *t = (struct text){.id = id};
    enum ht_err err = embedding ? add_embedding(w, t, request, &diag) : add_text(w, t, request, &diag);
    if (!err) return;
    say_diag(&id, err, &diag);
    forget(t);
}

static void cancel(struct worker *w, json_int_t id)
{
    for (int i = 0; i < MOST_TEXTS; i++) {
        if (!w->texts[i].used || w->texts[i].id != id) continue;
        ht_batch_remove(w->batch, w->texts[i].place);
        forget(&w->texts[i]);
    }
}

static void heed(struct worker *w, const json_t *request)
{
    const char *what = json_string_value(json_object_get(request, "do"));
    json_int_t id = json_integer_value(json_object_get(request, "id"));
    if (strcmp(what, "cancel") == 0)
        cancel(w, id);
    else
        begin(w, request, id, strcmp(what, "embed") == 0);
}

/* ---- what is made ------------------------------------------------------------------------------- */

static json_t *bytes_json(const char *text, size_t len)
{
    json_t *list = json_array();
    for (size_t i = 0; i < len; i++)
        json_array_append_new(list, json_integer((unsigned char)text[i]));
    return list;
}

static json_t *token_json(const struct worker *w, int32_t id, double logprob)
{
    char *text = NULL;
    size_t len = 0;
    if (ht_tokenizer_decode(w->text, &id, 1, HT_TOKENIZE_SPECIAL | HT_TOKENIZE_WITHIN, &text, &len, NULL) != HT_OK)
        text = NULL, len = 0;
    json_t *value = json_pack("{s:o, s:o, s:I, s:o}", "text", utf8_json(text ? text : "", len), "bytes",
                              bytes_json(text ? text : "", len), "token", (json_int_t)id, "logprob",
                              isfinite(logprob) ? json_real(logprob) : json_null());
    ht_free(text);
    return value;
}

static json_t *tokens_json(const struct worker *w, int place, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        struct ht_batch_token t = {.size = sizeof t};
        if (!ht_batch_token(w->batch, place, i, &t)) break;
        json_t *one = token_json(w, t.id, t.logprob), *top = json_array();
        for (int k = 0; k < t.n_top; k++)
            json_array_append_new(top, token_json(w, t.top[k], (double)t.top_logprobs[k]));
        json_object_set_new(one, "top", top);
        json_array_append_new(list, one);
    }
    return list;
}

static void say_end(const struct text *t, const struct ht_batch_out *out)
{
    say(json_pack("{s:I, s:s, s:s, s:b, s:i, s:i, s:i, s:f, s:f}", "id", t->id, "event", "end", "reason", out->reason,
                  "context_full", out->context_full, "prompt_tokens", out->prompt_tokens, "read_tokens",
                  out->read_tokens, "new_tokens", out->new_tokens, "prompt_seconds", out->prompt_seconds, "seconds",
                  out->seconds));
}

static void tell_text(struct worker *w, struct text *t, const struct ht_batch_out *out)
{
    if (out->len || out->n_tokens)
        say(json_pack("{s:I, s:s, s:o, s:o}", "id", t->id, "event", "piece", "text", utf8_json(out->text, out->len),
                      "tokens", tokens_json(w, t->place, out->n_tokens)));
    if (!out->reason) return;
    if (out->err)
        say_error(&t->id, ht_err_name(out->err), out->message);
    else
        say_end(t, out);
    ht_batch_remove(w->batch, t->place);
    forget(t);
}

/* ---- embeddings --------------------------------------------------------------------------------- */

static void add_states(const struct worker *w, struct text *t, const struct ht_batch_out *out)
{
    bool mean = strcmp(w->pooling, "mean") == 0, first = strcmp(w->pooling, "first") == 0;
    for (int i = 0; i < out->n_states; i++) {
        const float *state = out->states + (size_t)i * (size_t)w->n_embd;
        if (first && t->n_summed > 0) continue;
        for (int k = 0; k < w->n_embd; k++)
            t->sum[k] = (mean ? t->sum[k] : 0) + (double)state[k];
        t->n_summed++;
    }
}

/* Of length 1, as both endpoints give them. */
static json_t *vector_json(const struct worker *w, const struct text *t)
{
    json_t *list = json_array();
    double squares = 0;
    for (int k = 0; k < w->n_embd; k++)
        squares += t->sum[k] * t->sum[k];
    double length = squares > 0 ? sqrt(squares) : 1;
    for (int k = 0; k < w->n_embd; k++)
        json_array_append_new(list, json_real(t->sum[k] / length));
    return list;
}

static void tell_embedding(struct worker *w, struct text *t, const struct ht_batch_out *out)
{
    struct ht_diag diag = {0};
    enum ht_err err = HT_OK;
    add_states(w, t, out);
    if (!out->reason) return;
    ht_batch_remove(w->batch, t->place);
    if (out->err) return say_error(&t->id, ht_err_name(out->err), out->message), forget(t);
    json_array_append_new(t->vectors, vector_json(w, t));
    if (json_array_size(t->vectors) < json_array_size(t->inputs) && (err = add_input(w, t, &diag)) == HT_OK) return;
    if (err)
        say_diag(&t->id, err, &diag);
    else
        say(json_pack("{s:I, s:s, s:s, s:i, s:O}", "id", t->id, "event", "end", "reason", "end", "prompt_tokens",
                      t->n_tokens, "embeddings", t->vectors));
    forget(t);
}

static void tell(struct worker *w)
{
    for (int i = 0; i < MOST_TEXTS; i++) {
        struct ht_batch_out out = {.size = sizeof out};
        struct text *t = &w->texts[i];
        if (!t->used || !ht_batch_take(w->batch, t->place, &out)) continue;
        if (t->inputs)
            tell_embedding(w, t, &out);
        else
            tell_text(w, t, &out);
    }
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static enum ht_err open_model(struct worker *w, struct ht_diag *diag)
{
    struct ht_model_options options = {.size = sizeof options, .n_threads = w->settings.batch.n_threads};
    struct ht_batch_info info = {.size = sizeof info};
    struct ht_model_info about = {.size = sizeof about};
    enum ht_err err = ht_model_open_with(w->settings.path, &options, &w->model, diag);
    if (!err) err = ht_model_tokenizer(w->model, &w->text, diag);
    if (!err) err = ht_batch_open(w->model, &w->settings.batch, &w->batch, diag);
    if (err) return err;
    ht_batch_info(w->batch, &info);
    ht_model_info(w->model, &about);
    w->n_embd = info.n_embd;
    w->n_ctx = info.n_ctx;
    w->pooling = ht_model_pooling(w->model);
    const char *template_text = ht_model_chat_template(w->model);
    say(json_pack("{s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:I, s:I, s:s?, s:o, s:b}", "event", "ready", "pid",
                  (int)getpid(), "architecture", about.architecture, "n_ctx", info.n_ctx, "n_ctx_train",
                  info.n_ctx_train, "n_texts", info.n_texts, "n_embd", info.n_embd, "weight_bytes",
                  (json_int_t)info.weight_bytes, "cache_bytes", (json_int_t)info.cache_bytes, "pooling", w->pooling,
                  "template", template_text ? utf8_json(template_text, strlen(template_text)) : json_null(),
                  "vocabulary", about.vocabulary > 0));
    return HT_OK;
}

static enum ht_err work(struct worker *w, struct ht_diag *diag)
{
    for (;;) {
        json_t *request = inbox_next(w->inbox, ht_batch_used(w->batch) == 0);
        if (!request && inbox_ended(w->inbox)) return HT_OK;
        if (request) {
            heed(w, request);
            json_decref(request);
            continue; /* all that waits joins the next pass */
        }
        enum ht_err err = ht_batch_step(w->batch, diag);
        if (err) return err;
        tell(w);
    }
}

static bool read_arguments(struct settings *s, int argc, char **argv)
{
    s->batch.size = sizeof s->batch;
    for (int i = 1; i + 1 < argc; i += 2) {
        double n = strtod(argv[i + 1], NULL);
        if (strcmp(argv[i], "--as-model") == 0) s->path = argv[i + 1];
        if (strcmp(argv[i], "--context") == 0) s->batch.n_ctx = (int)n;
        if (strcmp(argv[i], "--texts") == 0) s->batch.n_texts = (int)n;
        if (strcmp(argv[i], "--threads") == 0) s->batch.n_threads = (int)n;
        if (strcmp(argv[i], "--cache") == 0) s->batch.cache_memory = (uint64_t)n;
        if (strcmp(argv[i], "--exact") == 0 && n > 0) s->batch.flags |= HT_BATCH_EXACT;
    }
    return s->path != NULL;
}

int runtime_worker_main(int argc, char **argv)
{
    const char *socket = getenv(RUNTIME_SOCKET);
    struct worker *w = calloc(1, sizeof *w);
    struct ht_diag diag = {0};
    if (!w || !socket || !read_arguments(&w->settings, argc, argv)) {
        fprintf(stderr, "halftone serve: --as-model is for the service's own children\n");
        free(w);
        return 2;
    }
    enum ht_err err = open_model(w, &diag);
    w->inbox = err ? NULL : inbox_open(atoi(socket));
    if (!err && !w->inbox) err = HT_ERR_MEMORY;
    if (!err) err = work(w, &diag);
    if (err) say_diag(NULL, err, &diag);
    for (int i = 0; i < MOST_TEXTS; i++)
        forget(&w->texts[i]);
    ht_batch_close(&w->batch);
    ht_model_close(&w->model);
    fflush(stdout);
    _exit(err ? 1 : 0); /* the inbox's thread still reads */
}
