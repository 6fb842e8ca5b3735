#include "hub/name.h"
#include "base/file.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

static bool is_one_of(char c, const char *more)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(more, c));
}

/* An organisation or a model. The hub takes no "--", which separates them in the cache's folder names. */
static bool is_part(const char *p, size_t n)
{
    if (n == 0 || !is_one_of(p[0], "_") || !is_one_of(p[n - 1], "_")) return false;
    for (size_t i = 0; i < n; i++) {
        if (!is_one_of(p[i], "_.-")) return false;
        if (i && (p[i] == '.' || p[i] == '-') && p[i] == p[i - 1]) return false;
    }
    return n < 4 || memcmp(p + n - 4, ".git", 4) != 0;
}

/* Branches may have slashes ("refs/pr/1"); each part must be a plain file name, as it becomes one. */
static bool is_revision(const char *p, size_t n)
{
    if (n == 0 || n > HT__HUB_MAX_REVISION) return false;
    for (size_t i = 0; i < n; i++) {
        bool begins = i == 0 || p[i - 1] == '/';
        if (begins && !is_one_of(p[i], "_")) return false;
        if (!is_one_of(p[i], "_.-/+") || (p[i] == '.' && p[i - 1] == '.')) return false;
    }
    return p[n - 1] != '/';
}

bool ht__hub_is_file(const char *path)
{
    size_t n = strlen(path);
    if (n == 0 || n > HT__HUB_MAX_FILE || path[0] == '/' || path[n - 1] == '/' || ht__utf8_valid(path, n) != n)
        return false;
    for (const char *p = path; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 0 || len > 255) return false;
        if (p[0] == '.' && (len == 1 || (len == 2 && p[1] == '.'))) return false;
        for (size_t i = 0; i < len; i++)
            if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f || p[i] == '\\') return false;
        p += len + (p[len] == '/');
    }
    return true;
}

bool ht__hub_is_commit(const char *text)
{
    return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40;
}

struct parts {
    size_t org, name, revision, file; /* lengths */
};

/* Lengths of what lies between '/', '@' and ':'. A ':' before the '@' belongs to no name. */
static bool cut(const char *text, struct parts *parts)
{
    parts->org = strcspn(text, "/");
    if (text[parts->org] != '/') return false;
    const char *p = text + parts->org + 1;
    parts->name = strcspn(p, "@:");
    p += parts->name;
    parts->revision = *p == '@' ? strcspn(p + 1, ":") : 0;
    if (*p == '@') {
        if (parts->revision == 0) return false;
        p += 1 + parts->revision;
    }
    parts->file = *p == ':' ? strlen(p + 1) : 0;
    return *p == '\0' || parts->file > 0;
}

static bool read_name(const char *text, struct ht__hub_name *name)
{
    struct parts n;
    if (!cut(text, &n)) return false;
    const char *second = text + n.org + 1, *p = second + n.name;
    if (!is_part(text, n.org) || !is_part(second, n.name) || n.org + 1 + n.name > HT__HUB_MAX_ID) return false;
    if (n.revision && !is_revision(p + 1, n.revision)) return false;
    if (n.file && !ht__hub_is_file(p + (n.revision ? 1 + n.revision : 0) + 1)) return false;
    snprintf(name->id, sizeof name->id, "%.*s", (int)(n.org + 1 + n.name), text);
    snprintf(name->revision, sizeof name->revision, "%.*s", n.revision ? (int)n.revision : 4,
             n.revision ? p + 1 : "main");
    snprintf(name->file, sizeof name->file, "%s", n.file ? p + (n.revision ? 1 + n.revision : 0) + 1 : "");
    return true;
}

enum ht_err ht__hub_name_parse(const char *text, struct ht__hub_name *name, struct ht_diag *diag)
{
    if (read_name(text, name)) return HT_OK;
    return ht__fail(diag, HT_ERR_USAGE, text, -1,
                    "not the name of a model on the hub: expected ORG/NAME, ORG/NAME@REVISION or ORG/NAME:FILE.gguf");
}

bool ht__hub_is_wanted(const char *text)
{
    struct ht__hub_name name;
    return read_name(text, &name) && !ht__path_exists(text);
}

const char *ht__hub_short_name(const struct ht__hub_name *name)
{
    return strchr(name->id, '/') + 1;
}

void ht__hub_folder_name(const struct ht__hub_name *name, char out[HT__HUB_MAX_FOLDER])
{
    const char *slash = strchr(name->id, '/');
    snprintf(out, HT__HUB_MAX_FOLDER, "models--%.*s--%s", (int)(slash - name->id), name->id, slash + 1);
}
