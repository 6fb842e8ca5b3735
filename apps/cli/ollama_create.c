/*
 * ollama create: files from here become a model there. Each file is a blob under its SHA-256, sent unless the server has
 * it; then one request names the blobs, and what a model has beside its weights. With --like, or where a model of that
 * name is there and of the same architecture, the template and parameters are that model's.
 */
#include "ollama.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

static int told(const struct remote *r, const char *path, int status, const char *why)
{
    fprintf(stderr, "halftone %s: ", r->command->name);
    put_safe(stderr, path);
    fprintf(stderr, ": %s\n", why);
    return status;
}

/* ---- blobs --------------------------------------------------------------------------------------- */

struct sending {
    const char *name;
    uint64_t size;
    bool quiet;
    double shown;
};

static void tell(void *ctx, uint64_t done)
{
    struct sending *s = ctx;
    char sent[32], all[32];
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    if (s->quiet || !isatty(STDERR_FILENO) || (now - s->shown < 0.2 && done < s->size)) return;
    s->shown = now;
    fputs("\r\033[Ksending ", stderr);
    put_safe(stderr, s->name);
    fprintf(stderr, "  %s of %s%s", human_bytes((double)done, sent), human_bytes((double)s->size, all),
            done < s->size ? "" : "\n");
}

/* "sha256:" and the file's hash. */
static bool hash_file(FILE *file, char digest[72])
{
    unsigned char hash[32], *piece = malloc(PIECE);
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    bool good = piece && sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1;
    size_t n = 1;
    while (good && n > 0) {
        n = fread(piece, 1, PIECE, file);
        if (n > 0) good = EVP_DigestUpdate(sha, piece, n) == 1;
    }
    good = good && !ferror(file) && EVP_DigestFinal_ex(sha, hash, NULL) == 1;
    snprintf(digest, 72, "sha256:");
    for (int i = 0; good && i < 32; i++)
        snprintf(digest + 7 + 2 * i, 3, "%02x", hash[i]);
    EVP_MD_CTX_free(sha);
    free(piece);
    return good;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* What Ollama takes: a GGUF file. What it would convert by itself is told to be converted here. */
static int check_file(const struct remote *r, const char *path, FILE *file, struct stat *info)
{
    char magic[4];
    if (fstat(fileno(file), info) != 0) return told(r, path, EXIT_INPUT, strerror(errno));
    if (S_ISDIR(info->st_mode))
        return told(r, path, EXIT_INPUT, "it is a folder; `halftone convert` or `quantize` makes GGUF files of it");
    if (!S_ISREG(info->st_mode)) return told(r, path, EXIT_INPUT, "it is no ordinary file");
    if (fread(magic, 1, 4, file) != 4 || memcmp(magic, "GGUF", 4) != 0)
        return told(r, path, EXIT_INPUT, "it is no GGUF file, and Ollama takes no other");
    rewind(file);
    return EXIT_DONE;
}

/* One file, sent unless it is there, and its digest among `files`. */
static int send_file(struct remote *r, const char *path, json_t *files, bool quiet)
{
    struct stat info = {0};
    char digest[72], address[100];
    FILE *file = fopen(path, "rb");
    if (!file) return told(r, path, EXIT_INPUT, strerror(errno));
    int status = check_file(r, path, file, &info);
    struct sending s = {.name = base_of(path), .size = (uint64_t)info.st_size, .quiet = quiet || r->json};
    if (status == EXIT_DONE && !hash_file(file, digest)) status = told(r, path, EXIT_FAILED, "it cannot be read");
    snprintf(address, sizeof address, "/api/blobs/%s", digest);
    if (status == EXIT_DONE) status = remote_head(r, address);
    if (status == EXIT_DONE && r->http == 404) {
        rewind(file);
        status = remote_upload(r, address, file, s.size, tell, &s);
    }
    fclose(file);
    if (status != EXIT_DONE) return status;
    if (json_object_get(files, s.name)) return told(r, path, EXIT_USAGE, "another file has the same name");
    return json_object_set_new(files, s.name, json_string(digest)) == 0 ? EXIT_DONE : EXIT_RESOURCES;
}

/* "model-00001-of-00003.gguf": how many parts there are; 0: it is not split. */
static int parts_of(const char *path, size_t *stem)
{
    size_t n = strlen(path);
    int no = 0, count = 0;
    if (n < 20) return 0;
    const char *tail = path + n - 20, *pattern = "-00000-of-00000.gguf";
    for (int i = 0; i < 20; i++)
        if (pattern[i] == '0' ? !isdigit((unsigned char)tail[i]) : tail[i] != pattern[i]) return 0;
    if (sscanf(tail, "-%5d-of-%5d.gguf", &no, &count) != 2 || no != 1) return 0;
    *stem = n - 20;
    return count;
}

static int send_parts(struct remote *r, const char *path, json_t *files, bool quiet)
{
    char part[4200];
    size_t stem = 0;
    int n = parts_of(path, &stem), status = EXIT_DONE;
    if (n == 0) return send_file(r, path, files, quiet);
    for (int i = 1; i <= n && status == EXIT_DONE; i++) {
        snprintf(part, sizeof part, "%.*s-%05d-of-%05d.gguf", (int)stem, path, i, n);
        status = send_file(r, part, files, quiet);
    }
    return status;
}

/* ---- what a model has beside its weights ---------------------------------------------------------- */

/* The escape of Go's at p in JSON's words, to out[12], and how long it is there; 0: it is none. */
static size_t escape(const char *p, size_t len, char out[13])
{
    size_t digits = p[1] == 'x' ? 2 : p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0;
    unsigned code = p[1] == 'a' ? 7 : 11;
    char hex[9];
    if (digits == 0 && p[1] != 'a' && p[1] != 'v') return snprintf(out, 13, "\\%c", p[1]) == 2 ? 2 : 0;
    if (digits && (len < 2 + digits || strspn(p + 2, "0123456789abcdefABCDEF") < digits)) return 0;
    snprintf(hex, sizeof hex, "%.*s", (int)digits, p + 2);
    if (digits) code = (unsigned)strtoul(hex, NULL, 16);
    if (code > 0xffff)
        snprintf(out, 13, "\\u%04x\\u%04x", 0xd7c0 + (code >> 10 & 0x7ff), 0xdc00 + (code & 0x3ff));
    else
        snprintf(out, 13, "\\u%04x", code);
    return 2 + digits;
}

/* A text as Go quotes it: as JSON does, with \a, \v, \x.. and \U........ besides. NULL: it is none. */
static json_t *unquoted(const char *text, size_t len)
{
    char *out = malloc(6 * len + 1);
    size_t n = 0;
    for (size_t i = 0, taken; out && i < len; i += taken) {
        char word[13] = {text[i]};
        taken = text[i] == '\\' && i + 1 < len ? escape(text + i, len - i, word) : 1;
        if (taken == 0) break;
        n += (size_t)snprintf(out + n, 13, "%s", word);
    }
    json_t *value = out ? json_loadb(out, n, JSON_DECODE_ANY, NULL) : NULL;
    free(out);
    if (json_is_string(value)) return value;
    json_decref(value);
    return NULL;
}

/* A line of "parameters": a name, blanks, and a value as Go writes it. */
static bool take_parameter(json_t *parameters, const char *line, size_t len)
{
    size_t n = strcspn(line, " \t\n"), at = n + strspn(line + n, " \t");
    char text[400];
    if (n == 0 || n > 63 || at >= len) return len == 0;
    if (line[at] != '"')
        return snprintf(text, sizeof text, "%.*s=%.*s", (int)n, line, (int)(len - at), line + at) < (int)sizeof text &&
               ollama_add_parameter(parameters, text);
    json_t *value = unquoted(line + at, len - at);
    if (!value) return false;
    snprintf(text, sizeof text, "%.*s", (int)n, line);
    if (strcmp(text, "stop") != 0) return json_object_set_new(parameters, text, value) == 0;
    if (!json_object_get(parameters, text)) json_object_set_new(parameters, text, json_array());
    return json_array_append_new(json_object_get(parameters, text), value) == 0;
}

static bool take_parameters(json_t *parameters, const char *text)
{
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        if (!take_parameter(parameters, p, n)) return false;
        p += n + (p[n] == '\n');
    }
    return true;
}

/*
 * A template in Ollama's own language is part of the model and stands in its Modelfile. What else is shown is the one
 * within the weights' file, which the new file has of its own; and "{{ .Prompt }}" stands for none.
 */
static bool has_template(const json_t *model)
{
    const char *text = text_of(model, "template");
    return *text && strcmp(text, "{{ .Prompt }}") != 0 && strstr(text_of(model, "modelfile"), text) != NULL;
}

/* What the model has goes into the request, where that does not say otherwise. */
static bool take_over(json_t *body, const json_t *model)
{
    static const char *const texts[] = {"system", "license", "renderer", "parser", "requires"};
    json_t *parameters = json_object(), *own = json_object_get(body, "parameters");
    bool good = parameters && take_parameters(parameters, text_of(model, "parameters"));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (*text_of(model, texts[i]) && !json_object_get(body, texts[i]))
            json_object_set(body, texts[i], json_object_get(model, texts[i]));
    if (has_template(model) && !json_object_get(body, "template"))
        json_object_set(body, "template", json_object_get(model, "template"));
    if (json_array_size(json_object_get(model, "messages")) > 0)
        json_object_set(body, "messages", json_object_get(model, "messages"));
    if (good && own) json_object_update(parameters, own);
    if (good && json_object_size(parameters) > 0) json_object_set(body, "parameters", parameters);
    json_decref(parameters);
    return good;
}

/* The architecture of the weights here; "" where it is not known. */
static void find_architecture(const char *path, char name[64])
{
    struct ht_model *model = NULL;
    struct ht_model_info info = {.size = sizeof info};
    *name = '\0';
    if (ht_model_open_with(path, NULL, &model, NULL) == HT_OK && ht_model_info(model, &info))
        snprintf(name, 64, "%s", info.architecture);
    ht_model_close(&model);
}

/* Of the model that is named, or of the one that is replaced if it is of the same architecture. */
static int keep(struct remote *r, const struct ollama_model *m, json_t *body)
{
    const char *from = m->like ? m->like : m->name;
    char here[64];
    json_t *model;
    int status = ollama_ask(r, from, &model);
    if (status != EXIT_DONE) return status;
    if (!model && !m->like) return EXIT_DONE;
    if (!model) return told(r, from, EXIT_INPUT, "the server has no such model to be like");
    find_architecture(m->files[0], here);
    bool same = strcmp(here, text_of(json_object_get(model, "details"), "family")) == 0;
    bool good = (!same && !m->like) || take_over(body, model);
    if (!m->quiet && (same || m->like))
        told(r, from, 0, "its template and parameters are kept");
    else if (!m->quiet)
        told(r, from, 0, "it was of another architecture: its template and parameters are not kept");
    json_decref(model);
    return good ? EXIT_DONE : remote_strange(r, "the parameters of the model cannot be read");
}

static int add_own(const struct remote *r, const struct ollama_model *m, json_t *body)
{
    char *text = NULL;
    size_t len = 0;
    if (m->quantize) json_object_set_new(body, "quantize", json_string(m->quantize));
    if (m->system) json_object_set_new(body, "system", json_string(m->system));
    if (json_object_size(m->parameters) > 0) json_object_set(body, "parameters", m->parameters);
    if (!m->template_file) return EXIT_DONE;
    int status = read_file(r->command, m->template_file, &text, &len);
    json_t *string = status == EXIT_DONE ? json_stringn(text ? text : "", len) : NULL;
    free(text);
    if (status != EXIT_DONE) return status;
    if (!string) return told(r, m->template_file, EXIT_INPUT, "it is no UTF-8 text");
    return json_object_set_new(body, "template", string) == 0 ? EXIT_DONE : EXIT_RESOURCES;
}

int ollama_make(struct remote *r, const struct ollama_model *m)
{
    json_t *files = json_object(),
           *body = json_pack("{s:s, s:O, s:b}", "model", m->name, "files", files, "stream", true);
    int status = body ? add_own(r, m, body) : EXIT_RESOURCES;
    if (status == EXIT_DONE) status = keep(r, m, body);
    for (int i = 0; i < m->n_files && status == EXIT_DONE; i++)
        status = send_parts(r, m->files[i], files, m->quiet);
    if (status == EXIT_DONE) status = ollama_follow(r, "/api/create", json_incref(body), m->quiet);
    json_decref(body);
    json_decref(files);
    return status;
}

/* ---- the command ---------------------------------------------------------------------------------- */

static int read_wishes(struct remote *r, int argc, char **argv, struct ollama_model *m)
{
    const char *parameter = NULL;
    for (int i = 1; i < argc; i++) {
        if (take_value("--like", argc, argv, &i, &m->like) || take_value("--system", argc, argv, &i, &m->system) ||
            take_value("--template", argc, argv, &i, &m->template_file) ||
            take_value("--quantize", argc, argv, &i, &m->quantize))
            continue;
        if (take_value("--parameter", argc, argv, &i, &parameter)) {
            if (!ollama_add_parameter(m->parameters, parameter))
                return usage_error(r->command, "--parameter needs NAME=VALUE, got \"%.200s\"", parameter);
        } else if (argv[i][0] == '-' && argv[i][1]) {
            return unknown_argument(r->command, argv[i]);
        } else if (!m->name) {
            m->name = argv[i];
        } else {
            m->files[m->n_files++] = argv[i];
        }
    }
    if (!m->name || m->n_files == 0) return usage_error(r->command, "usage: halftone ollama create NAME FILE.gguf…");
    if (!ollama_name_is_good(m->name) || (m->like && !ollama_name_is_good(m->like)))
        return usage_error(r->command, "\"%.400s\" is not a name of a model: expected [HOST/][NAMESPACE/]MODEL[:TAG]",
                           ollama_name_is_good(m->name) ? m->like : m->name);
    return EXIT_DONE;
}

int ollama_create(struct remote *r, int argc, char **argv)
{
    struct ollama_model m = {.files = calloc((size_t)argc, sizeof *m.files), .parameters = json_object()};
    int status = m.files && m.parameters ? read_wishes(r, argc, argv, &m) : EXIT_RESOURCES;
    if (status == EXIT_DONE) status = ollama_make(r, &m);
    json_decref(m.parameters);
    free(m.files);
    return status;
}
