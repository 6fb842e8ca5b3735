/* The lending side: it answers ranges of files, and never looks at what is in them. */
#include "base/check.h"
#include "base/json_write.h"
#include "hub/lend_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

bool ht__lend_send(int socket, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        ssize_t put = send(socket, p, n, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

bool ht__lend_receive(int socket, void *data, size_t n, bool *ended)
{
    char *p = data;
    *ended = false;
    while (n > 0) {
        ssize_t got = recv(socket, p, n, 0);
        if (got < 0 && errno == EINTR) continue;
        *ended = got == 0 && p == data;
        if (got == 0) errno = ECONNRESET;
        if (got <= 0) return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static enum ht_err greet(int socket, const struct ht__pulled *pulled, const struct ht__alloc *alloc,
                         struct ht_diag *diag)
{
    struct ht__buf out;
    ht__buf_init(&out, alloc);
    ht__buf_u32(&out, 0);
    struct ht__jw w = ht__jw_line(&out);
    ht__jw_object(&w, NULL);
    ht__jw_str(&w, "model", pulled->model);
    ht__jw_str(&w, "folder", pulled->folder);
    ht__jw_str(&w, "id", pulled->repo.name.id);
    ht__jw_str(&w, "revision", pulled->repo.name.revision);
    ht__jw_str(&w, "commit", pulled->repo.commit);
    ht__jw_array(&w, "weights");
    for (size_t i = 0; i < pulled->weights.n; i++) {
        const struct ht__repo_file *f = pulled->weights.files[i];
        ht__jw_object(&w, NULL);
        ht__jw_str(&w, "name", f->name);
        ht__jw_str(&w, "etag", f->etag);
        ht__jw_uint(&w, "size", f->size);
        ht__jw_end(&w);
    }
    ht__jw_end(&w);
    ht__jw_end(&w);
    enum ht_err err = !ht__jw_done(&w)                   ? ht__fail_memory(diag, "lend")
                      : out.len - 4 > LEND_GREETING_MOST ? ht__fail(diag, HT_ERR_LIMIT, "lend", -1, "too many files")
                                                         : HT_OK;
    uint32_t n = (uint32_t)(out.len - 4);
    if (err == HT_OK) memcpy(out.data, &n, sizeof n);
    if (err == HT_OK && !ht__lend_send(socket, out.data, out.len))
        err = ht__fail_errno(diag, errno, "lend", "nobody reads what is lent");
    ht__buf_close(&out);
    return err;
}

static bool answer_read(int socket, const struct ht__remote_folder *folder, const struct ht__file *file,
                        const struct lend_request *q, void *window)
{
    struct ht_diag diag = {.offset = -1}; /* all of it goes to the reader: nothing of this process may be in it */
    enum ht_err err = ht__file_read(file, q->offset, window, q->n, &diag);
    struct lend_answer a = {(uint32_t)err, err == HT_OK ? (uint32_t)q->n : (uint32_t)sizeof diag,
                            folder->received(folder->ctx)};
    return ht__lend_send(socket, &a, sizeof a) &&
           ht__lend_send(socket, err == HT_OK ? window : (const void *)&diag, a.n);
}

static enum ht_err serve(int socket, const struct ht__remote_folder *folder, const struct ht__file *files, void *window,
                         struct ht_diag *diag)
{
    size_t n = folder ? folder->n : 0;
    struct lend_request q;
    bool ended;
    while (ht__lend_receive(socket, &q, sizeof q, &ended)) {
        const struct ht__file *file = q.file < n ? &files[q.file] : NULL;
        if (!file || (q.op != LEND_READ && q.op != LEND_EXPECT) || !ht__range_ok(q.offset, q.n, file->size) ||
            (q.op == LEND_READ && q.n > HT__LEND_MOST))
            return ht__fail(diag, HT_ERR_USAGE, "lend", -1, "a request that is none: the reader is not to be trusted");
        if (q.op == LEND_EXPECT) ht__file_expect(file, q.offset, q.n);
        if (q.op == LEND_READ && !answer_read(socket, folder, file, &q, window)) return HT_OK; /* nobody waits for it */
    }
    return HT_OK;
}

enum ht_err ht__lend(int socket, const struct ht__pulled *pulled, const struct ht__remote_folder *folder,
                     const struct ht__alloc *alloc, struct ht_diag *diag)
{
    size_t n = folder ? folder->n : 0, opened = 0;
    struct ht__file *files = ht__new_array(alloc, n + 1, sizeof *files);
    void *window = ht__new_aligned(alloc, HT__LEND_MOST);
    enum ht_err err = files && window ? HT_OK : ht__fail_memory(diag, "lend");
    for (; opened < n && err == HT_OK; opened++) {
        files[opened].fd = -1;
        err = folder->open(folder->ctx, opened, &files[opened], diag);
    }
    if (err == HT_OK) err = greet(socket, pulled, alloc, diag);
    if (err == HT_OK) err = serve(socket, folder, files, window, diag);
    for (size_t i = 0; i < opened; i++)
        ht__file_close(&files[i]);
    ht__free_aligned(alloc, window);
    ht__free(alloc, files);
    return err;
}
