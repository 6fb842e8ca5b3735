/*
 * The file of passes: a line that says what it is, the identity, numbers, then of each pass its index, its tokens, five doubles for
 * each score and the sums of layers; the SHA-256 of all that at the end. Little-endian, as all files of this program.
 */
#include "eval/passes.h"
#include "base/file.h"
#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char begin_line[] = "halftone passes 1\n";
enum { HASH = 64, LARGEST_MB = 4095, NUMBERS = 5 };

enum ht_err ht__passes_open(struct ht__passes *p, const struct ht__alloc *alloc, struct ht_diag *diag)
{
    p->alloc = alloc;
    p->at = ht__new_array(alloc, p->n, sizeof *p->at);
    return p->at ? HT_OK : ht__fail_memory(diag, "passes");
}

void ht__passes_close(struct ht__passes *p)
{
    for (size_t i = 0; p->at && i < p->n; i++) {
        ht__free(p->alloc, p->at[i].scores);
        ht__free(p->alloc, p->at[i].sums);
    }
    ht__free(p->alloc, p->at);
    p->at = NULL;
}

enum ht_err ht__pass_begin(const struct ht__passes *p, struct ht__pass *pass, struct ht_diag *diag)
{
    pass->n = 0;
    pass->scores = ht__new_array(p->alloc, p->most, p->n_models * sizeof *pass->scores);
    pass->sums = ht__new_array(p->alloc, HT__PASS_SUMS * p->n_models, p->n_layers * sizeof *pass->sums + 1);
    return pass->scores && pass->sums ? HT_OK : ht__fail_memory(diag, "passes");
}

void ht__pass_add(const struct ht__passes *p, struct ht__pass *pass, const struct ht__token_score *scores)
{
    memcpy(pass->scores + pass->n * p->n_models, scores, p->n_models * sizeof *scores);
    pass->n++;
}

/* ---- writing -------------------------------------------------------------------------------------- */

static void put_pass(const struct ht__passes *p, size_t index, struct ht__buf *out)
{
    const struct ht__pass *pass = &p->at[index];
    ht__buf_u64(out, index);
    ht__buf_u64(out, pass->n);
    for (size_t i = 0; i < pass->n * p->n_models; i++) {
        const struct ht__token_score *s = &pass->scores[i];
        const double numbers[NUMBERS] = {s->nll, s->base_nll, s->kld, s->dp, s->same ? 1 : 0};
        ht__buf_put(out, numbers, sizeof numbers);
    }
    ht__buf_put(out, pass->sums, HT__PASS_SUMS * p->n_models * p->n_layers * sizeof *pass->sums);
}

static bool put_hash(struct ht__buf *out)
{
    struct ht__sha256 sha;
    char hex[HASH + 1];
    ht__sha256_begin(&sha);
    ht__sha256_add(&sha, out->data, out->len);
    ht__sha256_end(&sha, hex);
    ht__buf_str(out, hex);
    return hex[0] && !out->failed;
}

enum ht_err ht__passes_write(const struct ht__passes *p, const char *path, struct ht_diag *diag)
{
    struct ht__buf out;
    size_t known = 0;
    for (size_t i = 0; i < p->n; i++)
        known += p->at[i].n > 0;
    ht__buf_init(&out, p->alloc);
    ht__buf_str(&out, begin_line);
    ht__buf_str(&out, p->identity);
    ht__buf_u64(&out, p->n);
    ht__buf_u64(&out, p->n_models);
    ht__buf_u64(&out, p->n_layers);
    ht__buf_u64(&out, known);
    for (size_t i = 0; i < p->n; i++)
        if (p->at[i].n) put_pass(p, i, &out);
    enum ht_err err = put_hash(&out) ? ht__file_publish(path, out.data, out.len, diag) : ht__fail_memory(diag, path);
    ht__buf_close(&out);
    return err;
}

/* ---- reading -------------------------------------------------------------------------------------- */

struct in {
    const char *path;
    const unsigned char *at;
    size_t left;
    struct ht_diag *diag;
};

static enum ht_err broken(const struct in *in, const char *why)
{
    return ht__fail(in->diag, HT_ERR_FORMAT, in->path, -1, "%s", why);
}

static enum ht_err take(struct in *in, void *to, size_t n)
{
    if (n > in->left) return broken(in, "it ends too soon");
    memcpy(to, in->at, n);
    in->at += n;
    in->left -= n;
    return HT_OK;
}

static enum ht_err take_scores(struct in *in, const struct ht__passes *p, struct ht__pass *pass, size_t n)
{
    for (size_t i = 0; i < n * p->n_models; i++) {
        double x[NUMBERS] = {0};
        HT_TRY(take(in, x, sizeof x));
        for (int k = 0; k < NUMBERS; k++)
            if (!isfinite(x[k])) return broken(in, "a score is no number");
        pass->scores[i] = (struct ht__token_score){x[0], x[1], x[2], x[3], x[4] > 0};
    }
    HT_TRY(take(in, pass->sums, HT__PASS_SUMS * p->n_models * p->n_layers * sizeof *pass->sums));
    pass->n = n;
    return HT_OK;
}

static void drop(const struct ht__passes *p, struct ht__pass *pass)
{
    ht__free(p->alloc, pass->scores);
    ht__free(p->alloc, pass->sums);
    *pass = (struct ht__pass){0};
}

static enum ht_err take_pass(struct in *in, struct ht__passes *p)
{
    struct ht__pass pass = {0};
    uint64_t index = 0, n = 0;
    HT_TRY(take(in, &index, sizeof index));
    HT_TRY(take(in, &n, sizeof n));
    if (index >= p->n || n < 1 || n > p->most) return broken(in, "a pass makes no sense");
    enum ht_err err = ht__pass_begin(p, &pass, in->diag);
    if (err == HT_OK) err = take_scores(in, p, &pass, (size_t)n);
    if (err != HT_OK || p->at[index].n) {
        drop(p, &pass);
        return err;
    }
    p->at[index] = pass;
    return HT_OK;
}

static enum ht_err take_all(struct in *in, struct ht__passes *p)
{
    char identity[HASH] = "";
    uint64_t n = 0, n_models = 0, n_layers = 0, known = 0;
    HT_TRY(take(in, identity, sizeof identity));
    if (memcmp(identity, p->identity, HASH) != 0)
        return ht__fail(
            in->diag, HT_ERR_USAGE, in->path, -1,
            "it was measured with other models, another text, other options or another version of halftone");
    HT_TRY(take(in, &n, sizeof n));
    HT_TRY(take(in, &n_models, sizeof n_models));
    HT_TRY(take(in, &n_layers, sizeof n_layers));
    HT_TRY(take(in, &known, sizeof known));
    if (n != p->n || n_models != p->n_models || n_layers != p->n_layers || known > n)
        return broken(in, "its numbers are not those of this run");
    for (uint64_t i = 0; i < known; i++)
        HT_TRY(take_pass(in, p));
    return in->left ? broken(in, "something follows its end") : HT_OK;
}

static enum ht_err check_hash(const struct in *in, const struct ht__buf *file)
{
    struct ht__sha256 sha;
    char hex[HASH + 1];
    ht__sha256_begin(&sha);
    ht__sha256_add(&sha, file->data, file->len - HASH);
    ht__sha256_end(&sha, hex);
    if (!hex[0]) return ht__fail_memory(in->diag, in->path);
    if (memcmp(hex, file->data + file->len - HASH, HASH) == 0) return HT_OK;
    return ht__fail(in->diag, HT_ERR_VERIFY, in->path, -1,
                    "it was changed after it was written: its SHA-256 is another");
}

static enum ht_err read_file(struct ht__passes *p, const char *path, const struct ht__buf *file, struct ht_diag *diag)
{
    size_t start = sizeof begin_line - 1;
    struct in in = {.path = path, .diag = diag};
    if (file->len < start + HASH || memcmp(file->data, begin_line, start) != 0)
        return broken(&in, "it is no file that `halftone eval --part` wrote");
    HT_TRY(check_hash(&in, file));
    in.at = file->data + start;
    in.left = file->len - start - HASH;
    return take_all(&in, p);
}

enum ht_err ht__passes_read(struct ht__passes *p, const char *path, struct ht_diag *diag)
{
    struct ht__buf file;
    ht__buf_init(&file, p->alloc);
    enum ht_err err = ht__file_load(path, (uint64_t)LARGEST_MB << 20, &file, diag);
    if (err == HT_OK) err = read_file(p, path, &file, diag);
    ht__buf_close(&file);
    return err;
}
