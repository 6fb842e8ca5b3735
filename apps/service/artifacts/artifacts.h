/*
 * Where finished files lie: a folder of this machine or of a share (local.c), or a bucket that speaks S3 (s3.c). Each
 * passes the same tests (tests/unit/test_artifacts.c).
 *
 *   stage     the bytes go there; nobody sees them
 *   publish   they are there under their names, all or none of them; what is there already is not overwritten
 *   read      any range, any time later
 *
 * A name is relative: "objects/SLUG-ID.e3/FILE.gguf". It is the file's name in the data folder, or behind the prefix of the
 * bucket. In front of a bucket the data folder keeps copies of what was used last, under the same names.
 *
 * Any thread. Names come from this program alone.
 */
#ifndef HT_SERVICE_ARTIFACTS_ARTIFACTS_H
#define HT_SERVICE_ARTIFACTS_ARTIFACTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct artifacts;

enum artifacts_result {
    ARTIFACTS_OK,
    ARTIFACTS_MISSING,  /* there is no such file */
    ARTIFACTS_CONFLICT, /* something else has the name */
    ARTIFACTS_STOPPED,  /* goes_on said so */
    ARTIFACTS_FAILED    /* see why */
};

/* What takes long is asked about once a second. */
struct artifacts_call {
    bool (*goes_on)(void *ctx); /* NULL: always */
    void *ctx;
    char why[400]; /* of a failure, for people */
};

/* url NULL, "" or file:…: `folder` itself. "s3://BUCKET/PREFIX": there; endpoint and keys are in the environment (s3.h). */
bool artifacts_open(const char *url, const char *folder, struct artifacts **artifacts, char *why, size_t size);
/* Waits for the removal that is under way. NULL-safe. */
void artifacts_close(struct artifacts **artifacts);
/* Are they elsewhere than in the data folder? NULL: no. */
bool artifacts_are_far(const struct artifacts *artifacts);
const char *artifacts_url(const struct artifacts *artifacts); /* without secrets; "" of a folder */
/* Does it do what publishing leans on? Writes, reads and removes a file of its own. False: why. *note, of static
 * lifetime, may say what is missed and can be done without; NULL: nothing. */
bool artifacts_probe(struct artifacts *artifacts, const char *id, const char **note, char *why, size_t size);

/*
 * `from` is a folder with the files [{name, size, sha256}] of the one that is to be called `place`.
 * stage: what publish needs to know, the caller's; NULL: failed. It may be asked for in another process than publish.
 */
json_t *artifacts_stage(struct artifacts *artifacts, const char *from, const char *place, const json_t *files,
                        struct artifacts_call *call);
/* CONFLICT: others are there, and stay. Every file is what its sha256 says, or nothing was published. */
enum artifacts_result artifacts_publish(struct artifacts *artifacts, const char *from, const char *place,
                                        const json_t *files, const json_t *staged, struct artifacts_call *call);
void artifacts_discard(struct artifacts *artifacts, const char *place, const json_t *staged);

/* `sink` false: enough. More than there is: what there is. */
typedef bool artifacts_sink(void *ctx, const void *data, size_t len);
enum artifacts_result artifacts_read(struct artifacts *artifacts, const char *name, uint64_t from, uint64_t len,
                                     artifacts_sink *sink, void *sink_ctx, struct artifacts_call *call);
/* sha256 is "" where only reading the file would tell. */
enum artifacts_result artifacts_look(struct artifacts *artifacts, const char *name, uint64_t *size, char sha256[65],
                                     struct artifacts_call *call);
/* An address under which anybody may read the file for so long; it is saved as `as`. False: there are none. */
bool artifacts_link(struct artifacts *artifacts, const char *name, const char *as, int seconds, char *url, size_t size);
/* A file, or a folder with all that is in it. OK also when it was not there. */
enum artifacts_result artifacts_remove(struct artifacts *artifacts, const char *name, struct artifacts_call *call);
/* The same, some time later, in a thread of its own; at most a few thousand wait. */
void artifacts_remove_later(struct artifacts *artifacts, const char *name);
/* Every file behind the prefix, in no order; `found` false: enough. */
typedef bool artifacts_found(void *ctx, const char *name, uint64_t size);
enum artifacts_result artifacts_list(struct artifacts *artifacts, const char *prefix, artifacts_found *found,
                                     void *found_ctx, struct artifacts_call *call);
/* Ends what was staged behind the prefix and that nobody will publish: unwanted(name) true. */
enum artifacts_result artifacts_end_stale(struct artifacts *artifacts, const char *prefix,
                                          bool (*unwanted)(void *ctx, const char *name), void *unwanted_ctx,
                                          struct artifacts_call *call);

/* The copy in the data folder: fetched and checked when it is not there. `path` gets its name. */
enum artifacts_result artifacts_copy(struct artifacts *artifacts, const char *name, uint64_t size, const char *sha256,
                                     char *path, size_t path_size, struct artifacts_call *call);
/* The same some time later, in a thread of its own, for who asks again. */
void artifacts_copy_later(struct artifacts *artifacts, const char *name, uint64_t size, const char *sha256);
/* How many bytes of copies may stay (default 16 GiB); the ones used longest ago go first. Not those in
 * the attempt's folder that `keep` lies in (NULL: none). */
void artifacts_set_copies(struct artifacts *artifacts, uint64_t bytes);
void artifacts_trim(struct artifacts *artifacts, const char *keep);

struct artifacts_figures {
    uint64_t requests, retries, failures, bytes_sent, bytes_received;
};
void artifacts_figures(const struct artifacts *artifacts, struct artifacts_figures *figures);

/* "jobs/….gguf" of this program: relative, plain, with no way out. */
bool artifacts_is_name(const char *name);

#endif
