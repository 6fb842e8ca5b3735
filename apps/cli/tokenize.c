/* tokenize: text to ids and back. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tokenize_args {
    const char *model, *text;
    bool decode, json;
    unsigned flags;
};

struct input {
    char *data;
    size_t n;
};

static int read_args(const struct command *c, int argc, char **argv, struct tokenize_args *a)
{
    *a = (struct tokenize_args){.text = "-", .flags = HT_TOKENIZE_SPECIAL};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--decode") == 0)
            a->decode = true;
        else if (strcmp(argv[i], "--json") == 0)
            a->json = true;
        else if (hub_flag(argv[i]))
            continue;
        else if (strcmp(argv[i], "--around") == 0)
            a->flags |= HT_TOKENIZE_AROUND;
        else if (strcmp(argv[i], "--plain") == 0)
            a->flags &= ~(unsigned)HT_TOKENIZE_SPECIAL;
        else if (strcmp(argv[i], "--text") == 0 && i + 1 < argc)
            a->text = argv[++i];
        else if (argv[i][0] == '-')
            return unknown_argument(c, argv[i]);
        else if (a->model)
            return usage_error(c, "expected one model, got \"%s\" and \"%s\"", a->model, argv[i]);
        else
            a->model = argv[i];
    }
    return a->model ? EXIT_DONE : usage_error(c, "which model? Give a file, a folder or ORG/NAME");
}

static json_t *encode_json(struct ht_tokenizer *t, unsigned flags, const json_t *text, enum ht_err *err,
                           struct ht_diag *diag)
{
    int32_t *ids;
    size_t n;
    *err = ht_tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, &ids, &n, diag);
    if (*err) return NULL;
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_integer(ids[i]));
    ht_free(ids);
    return out;
}

/* The text of a list of ids; bytes that are no UTF-8 are shown as U+FFFD. */
static json_t *decode_json(struct ht_tokenizer *t, unsigned flags, const json_t *list, enum ht_err *err,
                           struct ht_diag *diag)
{
    size_t n = json_array_size(list), len, used = 0;
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    char *text;
    for (size_t i = 0; ids && i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    *err = ids ? ht_tokenizer_decode(t, ids, n, flags, &text, &len, diag) : HT_ERR_MEMORY;
    free(ids);
    if (*err) return NULL;
    char *shown = malloc(3 * len + 1);
    for (size_t at = 0; shown && at < len;) {
        size_t most = len - at < 4 ? len - at : 4, k = 1;
        json_t *probe = NULL;
        for (; k <= most && !(probe = json_stringn(text + at, k)); k++) {
        }
        memcpy(shown + used, probe ? text + at : "\xef\xbf\xbd", probe ? k : 3);
        used += probe ? k : 3;
        at += probe ? k : 1;
        json_decref(probe);
    }
    json_t *out = shown ? json_stringn(shown, used) : NULL;
    free(shown);
    ht_free(text);
    return out;
}

static int run_json(const struct command *c, struct ht_tokenizer *t, const struct tokenize_args *a,
                    const struct input *in)
{
    enum ht_err err = HT_OK;
    struct ht_diag diag = {0};
    json_t *list = json_loadb(in->data, in->n, JSON_ALLOW_NUL, NULL), *out = json_array(), *item;
    size_t i;
    if (!json_is_array(list)) {
        fprintf(stderr, "halftone %s: %s: the input is not a JSON array\n", c->name, a->text);
        json_decref(list);
        json_decref(out);
        return EXIT_INPUT;
    }
    json_array_foreach(list, i, item) {
        json_t *done =
            a->decode ? decode_json(t, a->flags, item, &err, &diag) : encode_json(t, a->flags, item, &err, &diag);
        if (!done) break;
        json_array_append_new(out, done);
    }
    if (!err) json_dumpf(out, stdout, JSON_COMPACT);
    json_decref(list);
    json_decref(out);
    return err ? report_error(c, err, &diag, false) : EXIT_DONE;
}

static int run_encode(const struct command *c, struct ht_tokenizer *t, const struct tokenize_args *a,
                      const struct input *in)
{
    struct ht_diag diag = {0};
    int32_t *ids;
    size_t n;
    enum ht_err err = ht_tokenizer_encode(t, in->data, in->n, a->flags, &ids, &n, &diag);
    if (err) return report_error(c, err, &diag, false);
    for (size_t i = 0; i < n; i++)
        printf("%d\n", ids[i]);
    ht_free(ids);
    return EXIT_DONE;
}

/* Ids separated by whatever is no digit. */
static int run_decode(const struct command *c, struct ht_tokenizer *t, const struct tokenize_args *a,
                      const struct input *in)
{
    struct ht_diag diag = {0};
    int32_t *ids = malloc((in->n / 2 + 1) * sizeof *ids);
    size_t n = 0, len;
    char *text;
    for (size_t i = 0; ids && i < in->n;) {
        long long v = 0;
        size_t from = i;
        for (; i < in->n && in->data[i] >= '0' && in->data[i] <= '9'; i++)
            v = v < INT32_MAX ? 10 * v + in->data[i] - '0' : v;
        if (i > from)
            ids[n++] = v < INT32_MAX ? (int32_t)v : INT32_MAX;
        else
            i++;
    }
    enum ht_err err = ids ? ht_tokenizer_decode(t, ids, n, a->flags, &text, &len, &diag) : HT_ERR_MEMORY;
    free(ids);
    if (err) return report_error(c, err, &diag, false);
    fwrite(text, 1, len, stdout);
    ht_free(text);
    return EXIT_DONE;
}

int run_tokenize(const struct command *c, int argc, char **argv)
{
    struct tokenize_args a;
    struct input in = {0};
    struct ht_tokenizer *t = NULL;
    struct ht_diag diag = {0};
    int status = read_args(c, argc, argv, &a);
    if (status == EXIT_DONE) status = hub_model(c, &a.model, true, a.json);
    if (status == EXIT_DONE) {
        enum ht_err err = ht_tokenizer_open(a.model, &t, &diag);
        if (err) status = report_error(c, err, &diag, false);
    }
    if (status == EXIT_DONE) status = read_file(c, a.text, &in.data, &in.n);
    if (status == EXIT_DONE)
        status = a.json ? run_json(c, t, &a, &in) : a.decode ? run_decode(c, t, &a, &in) : run_encode(c, t, &a, &in);
    free(in.data);
    ht_tokenizer_close(&t);
    return status;
}
