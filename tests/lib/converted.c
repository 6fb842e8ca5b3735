#include "lib/converted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void keep_line(void *ctx, enum ht__log_level level, const char *line)
{
    struct converted *c = ctx;
    size_t used = strlen(c->log);
    if (level == HT__LOG_WARNING) snprintf(c->log + used, sizeof c->log - used, "%s\n", line);
}

void converted_load(struct converted *c, const char *name)
{
    FILE *list = models_open();
    assert_non_null(list);
    while (models_next(list, &c->model) && strcmp(c->model.name, name) != 0)
        continue;
    fclose(list);
    assert_string_equal(c->model.name, name);
}

void converted_change(struct converted *c, const char *from, const char *to)
{
    static char text[sizeof c->model.config];
    char *config = c->model.config, *at = strstr(config, from);
    if (!at) fail_msg("%s: config.json has no %s", c->model.name, from);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - config), config, to, at + strlen(from));
    snprintf(config, sizeof c->model.config, "%s", text);
}

enum ht_err converted_try(struct converted *c)
{
    struct ht__log log = {keep_line, c};
    c->diag = (struct ht_diag){0};
    c->log[0] = '\0';
    folder_puts(&c->folder, "config.json", c->model.config);
    enum ht_err err = ht__checkpoint_open(c->folder.path, NULL, &c->ck, &c->diag);
    return err ? err : ht__model_open(c->ck, NULL, &log, &c->opened, &c->diag);
}

void converted_must(struct converted *c)
{
    models_write(&c->model, &c->folder);
    if (converted_try(c) != HT_OK) fail_msg("%s: %s: %s", c->model.name, c->diag.where, c->diag.message);
}

void converted_close(struct converted *c)
{
    ht__model_close(&c->opened);
    ht__checkpoint_close(&c->ck);
}

const struct ht__kv *converted_key(const struct converted *c, const char *name)
{
    const struct ht__kv *kv = ht__kv_get(&c->opened->kvs, name);
    if (!kv) fail_msg("%s: %s is missing", c->model.name, name);
    return kv;
}

void converted_is_number(const struct converted *c, const char *name, double want)
{
    const struct ht__kv *kv = converted_key(c, name);
    double got = kv->type == HT__KV_F32 ? kv->f : (double)kv->u;
    if ((float)got != (float)want) fail_msg("%s: %s is %g, not %g", c->model.name, name, got, want);
}

void converted_is_text(const struct converted *c, const char *name, const char *want)
{
    const struct ht__kv *kv = converted_key(c, name);
    assert_int_equal(kv->type, HT__KV_STR);
    if (kv->str.len != strlen(want) || memcmp(kv->str.text, want, kv->str.len) != 0)
        fail_msg("%s is \"%.*s\", not \"%s\"", name, (int)kv->str.len, kv->str.text, want);
}
