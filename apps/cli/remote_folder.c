/*
 * Folders from a server: file by file into FOLDER.part, each with its own size and SHA-256 and each continued where an
 * earlier try ended; renamed when all are right. What is in FOLDER.part and not in the list never gets into the folder.
 */
#include "remote.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

static int told(const struct remote *r, const char *what, int status, const char *why)
{
    fprintf(stderr, "halftone %s: %s: %s\n", r->command->name, what, why);
    return status;
}

/* Names come from the server: none may lead out of the folder, or look like a part of ours. */
static bool is_plain(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < 250 && *name != '.' && !strchr(name, '/') && (n < 5 || strcmp(name + n - 5, ".part") != 0);
}

static const json_t *listed(const json_t *files, const char *name)
{
    const json_t *file;
    size_t i;
    json_array_foreach(files, i, file)
        if (strcmp(text_of(file, "name"), name) == 0) return file;
    return NULL;
}

static int check_list(const struct remote *r, const struct remote_folder *f, uint64_t *bytes)
{
    const json_t *file;
    size_t i;
    *bytes = 0;
    if (json_array_size(f->files) == 0) return told(r, f->to, EXIT_FAILED, "the server does not say what is in it");
    json_array_foreach(f->files, i, file) {
        if (!is_plain(text_of(file, "name")))
            return told(r, f->to, EXIT_FAILED, "the server names a file in it that cannot be one");
        if (listed(f->files, text_of(file, "name")) != file)
            return told(r, f->to, EXIT_FAILED, "the server names a file in it twice");
        *bytes += (uint64_t)json_integer_value(json_object_get(file, "size"));
    }
    return EXIT_DONE;
}

/* Is it there already, from an earlier try? */
static bool is_whole(const char *path, const json_t *file)
{
    struct stat info;
    unsigned char digest[32], *piece = malloc(PIECE);
    char hex[65] = "";
    ssize_t n = -1;
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    bool whole = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                 info.st_size == json_integer_value(json_object_get(file, "size"));
    if (whole && piece && sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1)
        while ((n = read(fd, piece, PIECE)) > 0)
            EVP_DigestUpdate(sha, piece, (size_t)n);
    if (n == 0 && EVP_DigestFinal_ex(sha, digest, NULL) == 1)
        for (int i = 0; i < 32; i++)
            snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    if (fd >= 0) close(fd);
    EVP_MD_CTX_free(sha);
    free(piece);
    return strcmp(hex, text_of(file, "sha256")) == 0;
}

static int fetch_file(struct remote *r, const struct remote_folder *f, const char *part, const json_t *file)
{
    char to[4200], *name = curl_easy_escape(r->curl, text_of(file, "name"), 0), *path = NULL;
    int status = EXIT_RESOURCES;
    snprintf(to, sizeof to, "%s/%s", part, text_of(file, "name"));
    if (is_whole(to, file)) {
        curl_free(name);
        return EXIT_DONE;
    }
    struct remote_file one = {.to = to,
                              .sha256 = text_of(file, "sha256"),
                              .size = (uint64_t)json_integer_value(json_object_get(file, "size")),
                              .overwrite = true,
                              .quiet = f->quiet};
    if (name && asprintf(&path, "%s/files/%s", f->path, name) >= 0) {
        one.path = path;
        status = remote_download(r, &one);
        free(path);
    }
    curl_free(name);
    return status;
}

/* Calls `each` with every name in the folder. */
static void for_each(int folder, void (*each)(int folder, const char *name, const json_t *files), const json_t *files)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir && fd >= 0) close(fd);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) each(folder, e->d_name, files);
    if (dir) closedir(dir);
}

static void remove_unlisted(int folder, const char *name, const json_t *files)
{
    if (!files || !listed(files, name)) unlinkat(folder, name, 0);
}

static void count_held(int folder, const char *name, const json_t *files)
{
    struct stat info;
    json_int_t held = json_integer_value(json_object_get(files, "held"));
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode))
        json_object_set_new((json_t *)files, "held", json_integer(held + info.st_size));
}

static int check_space(const struct remote *r, const struct remote_folder *f, int folder, uint64_t bytes)
{
    struct statvfs fs;
    json_t *sum = json_pack("{s:i}", "held", 0);
    for_each(folder, count_held, sum);
    uint64_t held = (uint64_t)json_integer_value(json_object_get(sum, "held"));
    json_decref(sum);
    if (fstatvfs(folder, &fs) != 0) return told(r, f->to, EXIT_FAILED, strerror(errno));
    return (uint64_t)fs.f_bavail * fs.f_frsize + held < bytes
               ? told(r, f->to, EXIT_RESOURCES, "there is not enough space for it on the disk")
               : EXIT_DONE;
}

/* The old folder, which lies at `part` now: its files go; what else is in it stays, and is told. */
static int remove_old(const struct remote *r, const char *part)
{
    int fd = open(part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) for_each(fd, remove_unlisted, NULL);
    if (fd >= 0) close(fd);
    return rmdir(part) == 0 || unlink(part) == 0 ? EXIT_DONE
                                                 : told(r, part, EXIT_FAILED,
                                                        "what lay there before has folders in it; "
                                                        "it was moved here and is left");
}

static int publish(const struct remote *r, const struct remote_folder *f, const char *part, int folder)
{
    struct stat info;
    for_each(folder, remove_unlisted, f->files);
    if (fsync(folder) != 0) return told(r, f->to, EXIT_FAILED, strerror(errno));
    bool old = f->overwrite && lstat(f->to, &info) == 0;
    int failed = renameat2(AT_FDCWD, part, AT_FDCWD, f->to, old ? RENAME_EXCHANGE : RENAME_NOREPLACE);
    if (failed && !old && errno == EINVAL)
        failed = rename(part, f->to); /* a file system that cannot; it was looked at */
    if (failed) return told(r, f->to, EXIT_FAILED, strerror(errno));
    return old ? remove_old(r, part) : EXIT_DONE;
}

int remote_download_folder(struct remote *r, const struct remote_folder *f)
{
    char part[4100];
    struct stat info;
    uint64_t bytes;
    const json_t *file;
    size_t i;
    if (snprintf(part, sizeof part, "%s.part", f->to) >= 3800)
        return told(r, f->to, EXIT_USAGE, "the name is too long");
    if (!f->overwrite && lstat(f->to, &info) == 0)
        return told(r, f->to, EXIT_USAGE, "it exists; --overwrite replaces it");
    int status = check_list(r, f, &bytes);
    if (status != EXIT_DONE) return status;
    if (mkdir(part, 0777) != 0 && errno != EEXIST) return told(r, part, EXIT_FAILED, strerror(errno));
    int folder = open(part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) return told(r, part, EXIT_FAILED, strerror(errno));
    if (flock(folder, LOCK_EX | LOCK_NB) != 0) status = told(r, f->to, EXIT_FAILED, "it is being downloaded already");
    if (status == EXIT_DONE) status = check_space(r, f, folder, bytes);
    json_array_foreach(f->files, i, file)
        if (status == EXIT_DONE) status = fetch_file(r, f, part, file);
    if (status == EXIT_DONE) status = publish(r, f, part, folder);
    close(folder);
    return status;
}
