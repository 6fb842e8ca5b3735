/*
 * Damaged checkpoints: named cases for each container, every prefix of a small valid file, every byte
 * replaced by telling values, every eight-byte field by telling numbers. Each must be a clean error that
 * names the file, or (where the damage does not matter) open and verify without touching memory it should not.
 */
#include "formats/checkpoint.h"
#include "formats/imatrix.h"
#include "lib/pieces.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[128];
static int n_cases;

static void write_file(const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    if (n) assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

/* Opens, and reads every weight of what opens. */
static enum ht_err try_open(const void *data, size_t n, struct ht_diag *diag)
{
    struct ht__checkpoint *ck;
    memset(diag, 0, sizeof *diag);
    write_file(data, n);
    enum ht_err err = ht__checkpoint_open(path, &pieces, &ck, diag);
    n_cases++;
    if (err != HT_OK) {
        assert_null(ck);
        assert_int_equal(diag->code, err);
        assert_true(diag->message[0] != '\0');
        return err;
    }
    struct ht__arena scratch;
    ht__arena_init(&scratch, &pieces);
    for (uint32_t i = 0; i < ck->n_tensors; i++) {
        const struct ht__tensor *t = &ck->tensors[i];
        if (t->n_weights > 100000) continue;
        float *x = malloc((size_t)(t->n_weights ? t->n_weights : 1) * sizeof *x);
        err = ht__tensor_read(ck, t, 0, t->n_weights, x, &scratch, diag);
        free(x);
        ht__arena_reset(&scratch);
    }
    ht__arena_close(&scratch);
    ht__checkpoint_close(&ck);
    return HT_OK;
}

static void refused(const char *name, const void *data, size_t n, enum ht_err code, const char *words)
{
    struct ht_diag diag;
    enum ht_err err = try_open(data, n, &diag);
    if (err != code || !strstr(diag.message, words))
        fail_msg("%s: %s \"%s\", not %s \"…%s…\"", name, ht_err_name(err), diag.message, ht_err_name(code), words);
    if (!strstr(diag.where, ht__path_base(path)))
        fail_msg("%s: \"%s\" of \"%s\" does not name the file", name, diag.message, diag.where);
}

/* ---- safetensors ---- */

static size_t safetensors(char *out, const char *header, size_t data)
{
    uint64_t n = strlen(header);
    memcpy(out, &n, 8);
    memcpy(out + 8, header, n);
    memset(out + 8 + n, 1, data);
    return 8 + n + data;
}

static void safetensors_cases(void **state)
{
    (void)state;
    static const struct {
        const char *name, *header;
        size_t data;
        const char *words;
    } cases[] = {
        {"empty name", "{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "empty"},
        {"duplicate name",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "two tensors"},
        {"dtype is a number", "{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not a string"},
        {"shape is a number", "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "not an array"},
        {"negative dimension", "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "natural"},
        {"fractional dimension", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "natural"},
        {"dimension beyond 64 bits",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,4]}}", 4, "natural"},
        {"product overflows", "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "overflow"},
        {"product times size overflows",
         "{\"a\":{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "overflow"},
        {"nine dimensions", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
         "more than 8"},
        {"offsets of one", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "pair"},
        {"offsets of three", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "pair"},
        {"offsets backwards", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, "do not lie"},
        {"offsets past the end", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 4, "do not lie"},
        {"negative offset", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 4, "do not lie"},
        {"size and shape differ", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
         "data_offsets"},
        {"overlap",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
         8, "overlap"},
        {"hole",
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
         12, "hole"},
        {"bytes left over", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "belong to none"},
        {"missing dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "missing"},
        {"missing shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "missing"},
        {"missing offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, "missing"},
        {"unknown field", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4,
         "unknown or repeated"},
        {"repeated field", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
         "unknown or repeated"},
        {"tensor is an array", "{\"a\":[]}", 0, "not an object"},
        {"metadata is an array", "{\"__metadata__\":[]}", 0, "not an object"},
        {"metadata holds a number", "{\"__metadata__\":{\"a\":1}}", 0, "other than strings"},
        {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"},
        {"text after the header", "{} x", 0, "after the end"},
        {"comma missing", "{\"a\":{\"dtype\":\"F32\" \"shape\":[1],\"data_offsets\":[0,4]}}", 4, "comma"},
        {"bad escape", "{\"\\x\":{}}", 0, "escape"},
        {"lone surrogate", "{\"\\ud800\":{}}", 0, "escape"},
        {"control character", "{\"a\nb\":{}}", 0, "control"},
        {"not UTF-8", "{\"\xff\":{}}", 0, "UTF-8"},
        {"NUL in a name", "{\"a\\u0000\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "NUL"},
        {"leading zero", "{\"a\":{\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]}}", 4, "number"},
    };
    char file[4096];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(cases[i].name, file, safetensors(file, cases[i].header, cases[i].data), HT_ERR_FORMAT, cases[i].words);
    size_t n = safetensors(file, "{\"a\":{\"dtype\":\"Q9\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    refused("unknown dtype", file, n, HT_ERR_UNSUPPORTED, "not supported");
    char deep[400] = "{\"a\":";
    for (int i = 0; i < 100; i++)
        strcat(deep, "[");
    refused("deep nesting", file, safetensors(file, deep, 0), HT_ERR_FORMAT, "");
    static const uint64_t lengths[] = {1, 100000001, 0x7fffffff, 0x80000000u, 0xffffffffu, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        n = safetensors(file, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
        memcpy(file, &lengths[i], 8);
        refused("header length", file, n, HT_ERR_FORMAT, "");
    }
    refused("git-lfs pointer", "version https://git-lfs.github.com/spec/v1\n", 43, HT_ERR_FORMAT, "git-lfs");
    refused("empty file", "", 0, HT_ERR_UNSUPPORTED, "empty");
    refused("other file", "#!/bin/sh\necho hello\n", 21, HT_ERR_UNSUPPORTED, "neither");
    refused("old PyTorch", "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 16, HT_ERR_UNSUPPORTED,
            "old form");
}

/* ---- GGUF ---- */

struct out {
    unsigned char bytes[4096];
    size_t n;
};

static void put(struct out *o, const void *data, size_t n)
{
    memcpy(o->bytes + o->n, data, n);
    o->n += n;
}

static void put32(struct out *o, uint32_t v)
{
    put(o, &v, 4);
}
static void put64(struct out *o, uint64_t v)
{
    put(o, &v, 8);
}
static void put_text(struct out *o, const char *s)
{
    put64(o, strlen(s));
    put(o, s, strlen(s));
}

struct gguf {
    uint32_t version;
    uint64_t n_tensors, n_kvs;
    const char *key;
    uint32_t type, elem;
    uint64_t value, length;
    const char *tensor;
    uint32_t n_dims, dtype;
    int64_t ne0, ne1;
    uint64_t offset;
    size_t data;
};

static const struct gguf sound = {3, 1, 1, "general.architecture", 8, 0, 0, 0, "a", 2, 0, 4, 2, 0, 32};

/* One pair, one tensor. Type 8 writes a string, 9 an array of `length` elements without data, others 8 bytes. */
static void make_gguf(struct out *o, struct gguf g)
{
    o->n = 0;
    put(o, "GGUF", 4);
    put32(o, g.version);
    put64(o, g.n_tensors);
    put64(o, g.n_kvs);
    put_text(o, g.key);
    put32(o, g.type);
    if (g.type == 8)
        put_text(o, "llama");
    else if (g.type == 9)
        put32(o, g.elem), put64(o, g.length);
    else if (g.type == 4)
        put32(o, (uint32_t)g.value);
    else
        put64(o, g.value);
    put_text(o, g.tensor);
    put32(o, g.n_dims);
    put64(o, (uint64_t)g.ne0);
    if (g.n_dims > 1) put64(o, (uint64_t)g.ne1);
    put32(o, g.dtype);
    put64(o, g.offset);
    while (o->n % 32)
        o->bytes[o->n++] = 0;
    memset(o->bytes + o->n, 0, g.data);
    o->n += g.data;
}

static void gguf_refused(const char *name, struct gguf g, enum ht_err code, const char *words)
{
    struct out o;
    make_gguf(&o, g);
    refused(name, o.bytes, o.n, code, words);
}

#define WITH(...)                                                                                                      \
    (__extension__({                                                                                                   \
        struct gguf g = sound;                                                                                         \
        __VA_ARGS__;                                                                                                   \
        g;                                                                                                             \
    }))

static void gguf_cases(void **state)
{
    (void)state;
    struct out o;
    struct ht_diag diag;
    make_gguf(&o, sound);
    assert_int_equal(try_open(o.bytes, o.n, &diag), HT_OK);
    gguf_refused("version 0", WITH(g.version = 0), HT_ERR_UNSUPPORTED, "version 0");
    gguf_refused("version 1", WITH(g.version = 1), HT_ERR_UNSUPPORTED, "version 1");
    gguf_refused("version 4", WITH(g.version = 4), HT_ERR_UNSUPPORTED, "version 4");
    gguf_refused("big-endian", WITH(g.version = 0x03000000), HT_ERR_UNSUPPORTED, "big-endian");
    static const uint64_t counts[] = {2, 1u << 21, 0x7fffffff, 0xffffffffu, 1ull << 32, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        gguf_refused("tensor count", WITH(g.n_tensors = counts[i]), HT_ERR_FORMAT, "");
        gguf_refused("pair count", WITH(g.n_kvs = counts[i]), HT_ERR_FORMAT, "");
    }
    for (uint32_t elem = 0; elem < 14; elem++)
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            if (counts[i] > 1000)
                gguf_refused("array length", WITH(g.type = 9, g.elem = elem, g.length = counts[i]), HT_ERR_FORMAT, "");
    gguf_refused("nested array", WITH(g.type = 9, g.elem = 9), HT_ERR_FORMAT, "nested");
    gguf_refused("unknown value type", WITH(g.type = 13), HT_ERR_FORMAT, "unknown value type");
    gguf_refused("empty key", WITH(g.key = ""), HT_ERR_FORMAT, "empty");
    static const uint32_t alignments[] = {0, 1, 3, 4, 33, 131072, 0x80000000u, 0xffffffffu};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++)
        gguf_refused("alignment", WITH(g.key = "general.alignment", g.type = 4, g.value = alignments[i]), HT_ERR_FORMAT,
                     "power of two");
    gguf_refused("alignment of another type", WITH(g.key = "general.alignment", g.type = 10, g.value = 32),
                 HT_ERR_FORMAT, "u32");
    gguf_refused("empty tensor name", WITH(g.tensor = ""), HT_ERR_FORMAT, "empty");
    gguf_refused("long tensor name",
                 WITH(g.tensor = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                 HT_ERR_FORMAT, "63");
    gguf_refused("five dimensions", WITH(g.n_dims = 5), HT_ERR_FORMAT, "4 dimensions");
    gguf_refused("dimension of zero", WITH(g.ne0 = 0), HT_ERR_FORMAT, "less than 1");
    gguf_refused("negative dimension", WITH(g.ne1 = -1), HT_ERR_FORMAT, "less than 1");
    gguf_refused("product of 2^64", WITH(g.ne0 = 1ll << 32, g.ne1 = 1ll << 32), HT_ERR_FORMAT, "overflow");
    gguf_refused("bytes overflow", WITH(g.ne0 = 1ll << 62, g.ne1 = 1), HT_ERR_FORMAT, "");
    gguf_refused("row not in blocks", WITH(g.dtype = 12), HT_ERR_FORMAT, "blocks");
    gguf_refused("removed type", WITH(g.dtype = 4), HT_ERR_UNSUPPORTED, "not known");
    gguf_refused("unknown type", WITH(g.dtype = 4000), HT_ERR_UNSUPPORTED, "not known");
    gguf_refused("gap before the tensor", WITH(g.offset = 32), HT_ERR_FORMAT, "is due");
    gguf_refused("offset of all ones", WITH(g.offset = UINT64_MAX), HT_ERR_FORMAT, "is due");
    gguf_refused("weights cut off", WITH(g.data = 31), HT_ERR_FORMAT, "truncated");
    gguf_refused("no weights", WITH(g.data = 0), HT_ERR_FORMAT, "truncated");
    gguf_refused("second of a split", WITH(g.key = "split.count", g.type = 4, g.value = 3), HT_ERR_FORMAT, "");
}

/* ---- every prefix, every byte, every field ---- */

static void batter(const unsigned char *seed, size_t n)
{
    static const unsigned char bytes[] = {0, 1, 0x7f, 0x80, 0xff};
    static const uint64_t fields[] = {0, 1, 0x7fffffff, 0x80000000u, 0xffffffffu, INT64_MAX, UINT64_MAX, 1ull << 40};
    struct ht_diag diag;
    unsigned char *copy = malloc(n);
    assert_int_equal(try_open(seed, n, &diag), HT_OK);
    for (size_t i = 0; i < n; i++)
        assert_true(try_open(seed, i, &diag) != HT_OK);
    for (size_t i = 0; i < n; i++)
        for (size_t b = 0; b < sizeof bytes; b++) {
            memcpy(copy, seed, n);
            copy[i] = bytes[b];
            try_open(copy, n, &diag);
        }
    for (size_t i = 0; i + 8 <= n; i++)
        for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) {
            memcpy(copy, seed, n);
            memcpy(copy + i, &fields[f], 8);
            try_open(copy, n, &diag);
        }
    free(copy);
}

static void battered_safetensors(void **state)
{
    (void)state;
    char file[512];
    size_t n = safetensors(
        file,
        "{\"a\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[8,11]}}",
        11);
    batter((unsigned char *)file, n);
}

static void battered_gguf(void **state)
{
    (void)state;
    struct out o;
    make_gguf(&o, sound);
    batter(o.bytes, o.n);
}

/* A pickle of {"w": a 2x3 float tensor}, in a zip of two stored entries. */
static size_t pytorch_seed(unsigned char *out)
{
    static const char pickle[] =
        "\x80\x02}(X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
        "0X\3\0\0\0cpuK\6tQK\0K\2K\3\x86K\3K\1\x86\x89"
        "ccollections\nOrderedDict\n)RtRu.";
    const struct {
        const char *name, *data;
        uint32_t n;
    } entries[] = {{"a/data.pkl", pickle, sizeof pickle - 1},
                   {"a/data/0", "\0\0\200?\0\0\0@\0\0\200?\0\0\0@\0\0\200?\0\0\0@", 24}};
    struct out o = {.n = 0}, central = {.n = 0};
    for (int i = 0; i < 2; i++) {
        uint32_t at = (uint32_t)o.n, len = (uint32_t)strlen(entries[i].name);
        const uint32_t head[] = {0x04034b50, 20, 0, 0, 0, entries[i].n, entries[i].n};
        unsigned char local[30] = {'P', 'K', 3, 4, 20};
        memcpy(local + 18, &head[5], 8);
        local[26] = (unsigned char)len;
        put(&o, local, 30);
        put(&o, entries[i].name, len);
        put(&o, entries[i].data, entries[i].n);
        unsigned char record[46] = {'P', 'K', 1, 2, 20, 0, 20};
        memcpy(record + 20, &head[5], 8);
        record[28] = (unsigned char)len;
        memcpy(record + 42, &at, 4);
        put(&central, record, 46);
        put(&central, entries[i].name, len);
    }
    uint32_t start = (uint32_t)o.n, size = (uint32_t)central.n;
    unsigned char end[22] = {'P', 'K', 5, 6, 0, 0, 0, 0, 2, 0, 2};
    memcpy(end + 12, &size, 4);
    memcpy(end + 16, &start, 4);
    put(&o, central.bytes, central.n);
    put(&o, end, 22);
    memcpy(out, o.bytes, o.n);
    return o.n;
}

static void battered_pytorch(void **state)
{
    (void)state;
    unsigned char seed[2048];
    batter(seed, pytorch_seed(seed));
}

/* The pickle is replaced by others of the same length or less, padded by what no longer runs. */
static void pickle_cases(void **state)
{
    (void)state;
#define P(literal) literal, sizeof(literal) - 1
    static const struct {
        const char *name, *pickle;
        size_t n;
        enum ht_err code;
        const char *words;
    } cases[] = {
        {"os.system",
         P("\x80\x02"
           "cos\nsystem\nX\2\0\0\0ls\x85R."),
         HT_ERR_UNSUPPORTED, "refused"},
        {"builtins.eval",
         P("\x80\x02"
           "cbuiltins\neval\n."),
         HT_ERR_UNSUPPORTED, "refused"},
        {"a global through the stack", P("\x80\x04\x8c\x02os\x8c\x06system\x93."), HT_ERR_UNSUPPORTED, "refused"},
        {"torch.load",
         P("\x80\x02"
           "ctorch\nload\n."),
         HT_ERR_UNSUPPORTED, "refused"},
        {"no dictionary", P("\x80\x02K\1."), HT_ERR_FORMAT, "no dictionary"},
        {"empty dictionary", P("\x80\x02}."), HT_ERR_FORMAT, "no tensors"},
        {"stack underflow",
         P("\x80\x02"
           "0."),
         HT_ERR_FORMAT, "empty"},
        {"tuple of nothing", P("\x80\x02\x87."), HT_ERR_FORMAT, "lacks"},
        {"mark missing", P("\x80\x02t."), HT_ERR_FORMAT, "mark"},
        {"unknown memo", P("\x80\x02h\5."), HT_ERR_FORMAT, "memo"},
        {"memo far away", P("\x80\x02Nr\xff\xff\xff\x7f."), HT_ERR_FORMAT, "memo"},
        {"text past the end",
         P("\x80\x02X\xff\xff\xff\x7f"
           "a."),
         HT_ERR_FORMAT, "past the end"},
        {"long of 255 bytes", P("\x80\x02\x8a\xff."), HT_ERR_FORMAT, "64 bits"},
        {"call of a number", P("\x80\x02K\1)R."), HT_ERR_FORMAT, "not a name"},
        {"items for a number", P("\x80\x02K\1K\2a."), HT_ERR_FORMAT, "holds none"},
        {"odd dictionary", P("\x80\x02}(K\1u."), HT_ERR_FORMAT, "holds none"},
        {"unknown operation", P("\x80\x02\x99."), HT_ERR_UNSUPPORTED, "not one of data"},
        {"extension registry", P("\x80\x02\x82\1."), HT_ERR_UNSUPPORTED, "not one of data"},
        {"instance", P("\x80\x02(ios\nsystem\n."), HT_ERR_UNSUPPORTED, "not one of data"},
        {"two values left", P("\x80\x02K\1K\2."), HT_ERR_FORMAT, "one value"},
        {"mark left", P("\x80\x02K\1(."), HT_ERR_FORMAT, "one value"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char seed[2048];
        size_t n = pytorch_seed(seed);
        memcpy(seed + 30 + 10, cases[i].pickle, cases[i].n);
        refused(cases[i].name, seed, n, cases[i].code, cases[i].words);
    }
}

/* ---- importance ---- */

static enum ht_err try_imatrix(const void *data, size_t n)
{
    struct ht__imatrix *im;
    struct ht_diag diag = {0};
    write_file(data, n);
    enum ht_err err = ht__imatrix_open(path, &pieces, &im, &diag);
    n_cases++;
    if (err != HT_OK) assert_true(diag.message[0] != '\0');
    ht__imatrix_close(&im);
    return err;
}

static void imatrix_cases(void **state)
{
    (void)state;
    struct out o = {.n = 0};
    float values[4] = {1, 2, 3, 4};
    put32(&o, 1), put32(&o, 5), put(&o, "blk.0", 5), put32(&o, 2), put32(&o, 4), put(&o, values, 16);
    size_t whole = o.n;
    put32(&o, 7), put32(&o, 3), put(&o, "txt", 3);
    assert_int_equal(try_imatrix(o.bytes, o.n), HT_OK);
    assert_int_equal(try_imatrix(o.bytes, whole), HT_OK); /* the oldest files have no trailer */
    for (size_t i = 0; i < whole; i++)
        assert_true(try_imatrix(o.bytes, i) != HT_OK);
    for (size_t i = 0; i + 4 <= whole; i++)
        for (int k = 0; k < 4; k++) {
            static const uint32_t fields[] = {0, 0x7fffffff, 0x80000000u, 0xffffffffu};
            struct out copy = o;
            memcpy(copy.bytes + i, &fields[k], 4);
            try_imatrix(copy.bytes, copy.n);
        }
    struct out bad = o;
    float nan = -1;
    memcpy(bad.bytes + whole - 4, &nan, 4);
    assert_int_equal(try_imatrix(bad.bytes, bad.n), HT_ERR_NONFINITE);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/halftone-hostile-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(path, sizeof path, "%s/file", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    printf("%d damaged files\n", n_cases);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_cases),    cmocka_unit_test(gguf_cases),    cmocka_unit_test(pickle_cases),
        cmocka_unit_test(battered_safetensors), cmocka_unit_test(battered_gguf), cmocka_unit_test(battered_pytorch),
        cmocka_unit_test(imatrix_cases),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
