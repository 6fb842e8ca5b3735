/* What lies beside the weights: config.json with what was done, a model card that says it, and every file of the source's
 * folder that a program needs to load the model, byte for byte. */
#include "pipeline/folder.h"
#include "pipeline/layers_driver.h"
#include "base/json_write.h"
#include "base/text.h"
#include "model/vocab_export/export.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_CONFIG = 16 << 20, LARGEST_COPY = 256 << 20, MOST_COPIES = 64, MADE = 3 };

size_t ht__folder_most_files(const struct ht__plan *plan)
{
    (void)plan;
    return MOST_COPIES + MADE;
}

/* Tokenizer, chat template, generation and processor settings, code, licence. Weights, indices and other programs'
 * quantization settings are not copied. */
static bool is_copied(const char *name)
{
    static const char *const not [] = {
        "config.json",          "README.md",  "quantize_config.json", "quant_config.json", "quantization_config.json",
        "hf_quant_config.json", "recipe.yaml"};
    static const char *const ends[] = {".json", ".jinja", ".model", ".txt", ".tiktoken", ".py", ".bpe"};
    static const char *const starts[] = {"LICENSE", "LICENCE", "NOTICE", "USE_POLICY"};
    if (name[0] == '.' || ht__ends_with(name, ".index.json")) return false;
    for (size_t i = 0; i < sizeof not / sizeof not [0]; i++)
        if (strcmp(name, not [i]) == 0) return false;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ht__ends_with(name, ends[i])) return true;
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) return true;
    return false;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum ht_err list(struct ht__plan *plan, const char **names, size_t *n, struct ht_diag *diag)
{
    DIR *dir = opendir(plan->checkpoint->dir);
    enum ht_err err = HT_OK;
    *n = 0;
    if (!dir) return ht__fail_errno(diag, errno, plan->checkpoint->dir, "cannot list the folder");
    for (struct dirent *e; err == HT_OK && (e = readdir(dir)) != NULL;) {
        if (!is_copied(e->d_name)) continue;
        if (*n == MOST_COPIES)
            err = ht__fail(diag, HT_ERR_LIMIT, plan->checkpoint->dir, -1,
                           "more than %d files lie beside the weights: is it a model's folder?", MOST_COPIES);
        else if (!(names[(*n)++] = ht__arena_str(&plan->arena, e->d_name)))
            err = ht__fail_memory(diag, "plan");
    }
    closedir(dir);
    if (err == HT_OK) qsort(names, *n, sizeof *names, by_text);
    return err;
}

static enum ht_err copy_files(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    const char *names[MOST_COPIES];
    size_t n;
    struct ht__plan_file *file;
    char path[4096];
    HT_TRY(list(plan, names, &n, diag));
    for (size_t i = 0; i < n; i++) {
        HT_TRY(ht__path_join(path, sizeof path, plan->checkpoint->dir, names[i], diag));
        if (ht__path_is_dir(path)) continue;
        HT_TRY(ht__folder_add_file(plan, out, names[i], &file, diag));
        HT_TRY(ht__file_load(path, LARGEST_COPY, &file->head, diag));
    }
    return HT_OK;
}

/* What a GGUF file says of the tokenizer and of generation. What lies beside such a file is not the model's. *missing: why
 * there is no tokenizer, or NULL. */
static enum ht_err make_files(struct ht__plan *plan, struct ht__plan_output *out, const char **missing,
                              struct ht_diag *diag)
{
    struct ht__vocab_export files;
    struct ht__plan_file *file;
    enum ht_err err = ht__vocab_export(&plan->model->kvs, plan->model->arch, plan->run.alloc, &files, diag);
    for (size_t i = 0; err == HT_OK && i < files.n; i++) {
        err = ht__folder_add_file(plan, out, files.files[i].name, &file, diag);
        if (err != HT_OK) break;
        ht__buf_close(&file->head);
        file->head = files.files[i].data; /* it is the file's now */
        ht__buf_init(&files.files[i].data, plan->run.alloc);
    }
    if (err == HT_OK && files.missing[0]) {
        ht__log_printf(plan->run.log, HT__LOG_WARNING, "%s: the folder has no tokenizer, as %s", out->folder,
                       files.missing);
        *missing = ht__arena_str(&plan->arena, files.missing);
        if (!*missing) err = ht__fail_memory(diag, "tokenizer");
    }
    ht__vocab_export_close(&files);
    return err;
}

/* ---- config.json ---- */

enum ht_err ht__folder_package(struct ht__plan *plan, const struct ht__plan_output *out,
                               struct ht__scheme_package *package, struct ht_diag *diag)
{
    const struct ht__model *model = plan->model;
    bool has_head = false;
    *package = (struct ht__scheme_package){.params = out->target->scheme, .dtype = ht__folder_dtype(plan)};
    struct ht__scheme_module *modules = ht__arena_array(&plan->arena, model->n_native + 1, sizeof *modules);
    const struct ht__scheme_params **chosen = ht__arena_array(&plan->arena, model->n_native, sizeof *chosen);
    if (!modules || !chosen) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct ht__weight *w = ht__item_in(plan, out, i);
        if (w) chosen[w->native] = out->choices[i].scheme;
    }
    for (size_t i = 0; i < model->n_native; i++) {
        const struct ht__weight *w = &model->native[i];
        enum ht__role role = w->slot.role;
        bool table = role == HT__ROLE_EMBEDDING || role == HT__ROLE_LAYER_EMBEDDING || role == HT__ROLE_POSITIONS;
        if (!ht__role_at(role)->matrix || table || w->n_dims != 2 || !ht__ends_with(w->name, ".weight")) continue;
        struct ht__scheme_module *m = &modules[package->n_modules++];
        m->params = chosen[i];
        m->name = ht__arena_copy(&plan->arena, w->name, strlen(w->name) - strlen(".weight"));
        if (!m->name) return ht__fail_memory(diag, "plan");
        has_head |= strcmp(m->name, "lm_head") == 0;
    }
    /* A tied output has no tensor, and that of GPT-NeoX has another name, but transformers sees a Linear called lm_head. */
    if (!has_head) modules[package->n_modules++] = (struct ht__scheme_module){.name = "lm_head"};
    package->modules = modules;
    return HT_OK;
}

/* As transformers calls it. */
static const char *dtype_name(const struct ht__codec *type)
{
    return type == &ht__codec_f32 ? "float32" : type == &ht__codec_f16 ? "float16" : "bfloat16";
}

/* Everything is kept but what this run decides: the dtype, where all floats were converted, and the quantization. */
static void write_config(struct ht__jw *w, const struct ht__jnode *root, const struct ht__plan_output *out,
                         const struct ht__scheme_package *package)
{
    static const char *const decided[] = {"quantization_config", "torch_dtype", "dtype"};
    bool converted = out->mix != NULL;
    ht__jw_object(w, NULL);
    ht__jw_members(w, root, decided, converted ? 3 : 1);
    if (converted)
        ht__jw_str(w, ht__jget(root, "dtype") ? "dtype" : "torch_dtype",
                   dtype_name(ht__codec_by_name(out->mix->default_type)));
    if (package->params && package->params->scheme->config) {
        ht__jw_object(w, "quantization_config");
        package->params->scheme->config(package, w);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

/* The source's, or that which its metadata amount to. */
static enum ht_err load_config(const struct ht__plan *plan, struct ht__arena *tree, struct ht__jnode **root,
                               struct ht_diag *diag)
{
    char path[4096];
    const char *text = plan->model->config;
    if (text) return ht__json_parse(tree, text, strlen(text), "config.json", root, diag);
    HT_TRY(ht__path_join(path, sizeof path, plan->checkpoint->dir, "config.json", diag));
    HT_TRY(ht__json_load(tree, path, LARGEST_CONFIG, root, diag));
    return plan->pruned.n ? ht__prune_config(*root, plan->model, &plan->pruned, path, diag) : HT_OK;
}

static enum ht_err add_config(struct ht__plan *plan, struct ht__plan_output *out,
                              const struct ht__scheme_package *package, struct ht_diag *diag)
{
    struct ht__plan_file *file;
    struct ht__jnode *root;
    struct ht__arena tree;
    HT_TRY(ht__folder_add_file(plan, out, "config.json", &file, diag));
    ht__arena_init(&tree, plan->run.alloc);
    enum ht_err err = load_config(plan, &tree, &root, diag);
    if (err == HT_OK) {
        struct ht__jw w = ht__jw_indented(&file->head);
        write_config(&w, root, out, package);
        ht__buf_str(&file->head, "\n");
        if (!ht__jw_done(&w) || file->head.failed) err = ht__fail_memory(diag, "config.json");
    }
    ht__arena_close(&tree);
    return err;
}

static enum ht_err add_side_file(struct ht__plan *plan, struct ht__plan_output *out,
                                 const struct ht__scheme_package *package, struct ht_diag *diag)
{
    const struct ht__scheme *scheme = package->params ? package->params->scheme : NULL;
    struct ht__plan_file *file;
    if (!scheme || !scheme->side_file) return HT_OK;
    HT_TRY(ht__folder_add_file(plan, out, scheme->side_file, &file, diag));
    struct ht__jw w = ht__jw_indented(&file->head);
    ht__jw_object(&w, NULL);
    size_t empty = file->head.len;
    scheme->side(package, &w);
    bool none = file->head.len == empty;
    ht__jw_end(&w);
    ht__buf_str(&file->head, "\n");
    if (!ht__jw_done(&w) || file->head.failed) return ht__fail_memory(diag, scheme->side_file);
    if (none) {
        ht__buf_close(&file->head);
        out->n_files--;
    }
    return HT_OK;
}

/* ---- model card ---- */

/* The front matter of the source's card stays in front, and its text comes after ours. */
static size_t front_matter(const char *card)
{
    if (strncmp(card, "---\n", 4) != 0) return 0;
    const char *end = strstr(card + 4, "\n---");
    if (!end) return 0;
    end += 4;
    return (size_t)(end - card) + (*end == '\n');
}

static void describe_rules(struct ht__buf *b, const struct ht__plan *plan, const struct ht__plan_output *out)
{
    ht__buf_str(b, "\nSome of its Linear layers are stored otherwise; the first rule that fits decides:\n\n");
    for (size_t r = 0; r < out->target->n_rules; r++) {
        const struct ht__scheme_rule *rule = out->target->rules[r];
        char text[200] = "as in the original";
        size_t n = 0;
        for (size_t i = 0; i < plan->model->n_native; i++)
            n += out->linears[i].rule == rule && !out->linears[i].unsuited;
        if (rule->scheme) ht__scheme_text(rule->scheme, text, sizeof text);
        ht__buf_printf(b, "- `%s`: %zu of them %s\n", rule->text, n, text);
    }
}

static void describe_ladder(struct ht__buf *b, const struct ht__plan *plan, const struct ht__plan_output *out)
{
    const struct ht__ladder *ladder = out->target->ladder;
    ht__buf_printf(b, "\nEach matrix has the first of these levels that loses at most %g of it (relative error):\n\n",
                   plan->settings->max_error);
    for (size_t l = 0; l < ladder->n; l++) {
        char text[200] = "as in the original";
        size_t n = 0;
        for (size_t i = 0; i < plan->model->n_native; i++) {
            const struct ht__scheme_choice *c = &out->linears[i];
            bool chosen = ladder->levels[l] ? c->scheme != NULL : c->level != NULL;
            n += !c->rule && !c->unsuited && chosen && ht__scheme_same(c->scheme, ladder->levels[l]);
        }
        if (ladder->levels[l]) ht__scheme_text(ladder->levels[l], text, sizeof text);
        ht__buf_printf(b, "- %s: %zu\n", text, n);
    }
}

/* The front matter that the metadata of a GGUF file give. */
static void front_of_gguf(struct ht__buf *b, const struct ht__plan *plan)
{
    struct ht__str license;
    if (!ht__kv_get_str(&plan->model->kvs, "general.license", &license) || license.len == 0 || license.len > 60) return;
    for (size_t i = 0; i < license.len; i++) {
        char c = license.text[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
        if (!plain) return; /* no identifier */
    }
    ht__buf_printf(b, "---\nlicense: %.*s\n---\n", (int)license.len, license.text);
}

static void describe_gguf(struct ht__buf *b, const struct ht__plan *plan, const char *missing)
{
    ht__buf_printf(
        b,
        "\nIt was made from the GGUF file `%s`: tensors have their names and forms of before the conversion, "
        "and config.json says what the file's metadata say.\n",
        ht__path_base(plan->checkpoint->files[0].path));
    if (missing)
        ht__buf_printf(b, "\nThere is no tokenizer here, as %s: take that of the original model.\n", missing);
    else
        ht__buf_str(b, "\nThe tokenizer is that of the file, written as tokenizer.json.\n");
}

static void describe(struct ht__buf *b, const struct ht__plan *plan, const struct ht__plan_output *out)
{
    const struct ht__scheme *scheme = out->target->scheme ? out->target->scheme->scheme : NULL;
    ht__buf_printf(b, "# %s\n\n", ht__path_base(out->folder));
    if (scheme)
        ht__buf_printf(b,
                       "The %s of this model are stored as `%s` (%s: %s), written by halftone %s; codes were chosen "
                       "by `%s`: %s. %s as in the original.\n\nIt is loaded by: %s.\n",
                       ht__scheme_flags(out->target->scheme) & HT__SCHEME_STACKS ? "experts" : "Linear layers",
                       out->target->type, scheme->family, scheme->about, HT_VERSION, out->target->method.method->name,
                       out->target->method.method->about,
                       out->target->n_rules ? "Embeddings, norms and biases are"
                                            : "Embeddings, output, norms and biases are",
                       scheme->loaders);
    else
        ht__buf_printf(b, "The weights of this model in %s, converted by halftone %s.\n", out->mix->name, HT_VERSION);
    for (size_t i = 0; i < plan->settings->asked.notes.n; i++)
        ht__buf_printf(b, "%s- %s\n", i ? "" : "\nHow it was asked for:\n\n", plan->settings->asked.notes.items[i]);
    if (plan->model->packed_as)
        ht__buf_printf(b, "\n%s, from %s.\n",
                       scheme ? "Its weights were quantized twice" : "Its weights were quantized before",
                       plan->model->packed_as);
    if (plan->pruned.n)
        ht__buf_printf(b,
                       "\n%u of the original's %u layers were left out (%s, from 0), and the others numbered anew.\n",
                       plan->pruned.n_gone, plan->pruned.n, plan->settings->prune.text);
    if (out->target->ladder) describe_ladder(b, plan, out);
    if (out->target->n_rules) describe_rules(b, plan, out);
    if (out->n_unquantized) ht__buf_printf(b, "\nThese matrices are not quantized:\n\n");
    for (size_t i = 0; i < out->n_unquantized; i++)
        ht__buf_printf(b, "- %s\n", out->unquantized[i]);
}

static enum ht_err add_card(struct ht__plan *plan, struct ht__plan_output *out, const char *missing,
                            struct ht_diag *diag)
{
    struct ht__plan_file *file;
    struct ht__buf card;
    char path[4096];
    HT_TRY(ht__path_join(path, sizeof path, plan->checkpoint->dir, "README.md", diag));
    HT_TRY(ht__folder_add_file(plan, out, "README.md", &file, diag));
    ht__buf_init(&card, plan->run.alloc);
    bool has_card = !plan->model->from_gguf && ht__path_exists(path);
    enum ht_err err = has_card ? ht__file_load(path, LARGEST_CONFIG, &card, diag) : HT_OK;
    if (err == HT_OK) {
        const char *text = ht__buf_text(&card);
        size_t front = card.failed ? 0 : front_matter(text);
        if (front) ht__buf_put(&file->head, text, front);
        if (plan->model->from_gguf) front_of_gguf(&file->head, plan);
        describe(&file->head, plan, out);
        if (plan->model->from_gguf) describe_gguf(&file->head, plan, missing);
        if (!card.failed && card.len > front) {
            ht__buf_str(&file->head, "\n## The original model's card\n\n");
            ht__buf_put(&file->head, text + front, card.len - front);
        }
        if (card.failed || file->head.failed) err = ht__fail_memory(diag, "README.md");
    }
    ht__buf_close(&card);
    return err;
}

enum ht_err ht__folder_add_files(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    struct ht__scheme_package package;
    const char *missing = NULL;
    HT_TRY(ht__folder_package(plan, out, &package, diag));
    HT_TRY(add_config(plan, out, &package, diag));
    HT_TRY(add_side_file(plan, out, &package, diag));
    if (plan->model->from_gguf) HT_TRY(make_files(plan, out, &missing, diag));
    HT_TRY(add_card(plan, out, missing, diag));
    return plan->model->from_gguf ? HT_OK : copy_files(plan, out, diag);
}
