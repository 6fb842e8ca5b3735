/* Values as JSON, spaced as Python's json.dumps does with ensure_ascii off. */
#include "base/json.h"
#include "model/chat/value.h"

#include <string.h>

static void new_line(struct ht__buf *out, int indent, int level)
{
    if (indent >= 0) ht__buf_printf(out, "\n%*s", indent * level, "");
}

static void put_members(struct ht__chat_run *r, struct ht__buf *out, struct ht__chat_value v, int indent, int level)
{
    bool dict = v.type == HT__CHAT_DICT;
    size_t n = dict ? v.dict->n : v.list->n;
    ht__buf_str(out, dict ? "{" : "[");
    for (size_t i = 0; i < n && !r->err; i++) {
        if (i) ht__buf_str(out, indent >= 0 ? "," : ", ");
        new_line(out, indent, level + 1);
        if (dict) {
            struct ht__str key = ht__chat_text(r, ht__chat_key_value(v.dict->keys[i]));
            ht__json_quote(out, key.text, key.len);
            ht__buf_str(out, ": ");
        }
        ht__chat_json(r, out, dict ? v.dict->values[i] : v.list->items[i], indent, level + 1);
    }
    if (n) new_line(out, indent, level);
    ht__buf_str(out, dict ? "}" : "]");
}

/* Marks (ht__tokenizer_mark) are no characters: they stay as they are. */
static void put_text(struct ht__buf *out, struct ht__str s)
{
    ht__buf_str(out, "\"");
    while (s.len > 0) {
        const char *mark = memchr(s.text, 0xff, s.len);
        size_t n = mark ? (size_t)(mark - s.text) : s.len, start = out->len;
        ht__json_quote(out, s.text, n);
        if (out->failed) return;
        out->len -= 2; /* the quotes */
        memmove(out->data + start, out->data + start + 1, out->len - start);
        if (mark) ht__buf_put(out, mark, 1);
        n += mark != NULL;
        s.text += n;
        s.len -= n;
    }
    ht__buf_str(out, "\"");
}

void ht__chat_json(struct ht__chat_run *r, struct ht__buf *out, struct ht__chat_value v, int indent, int level)
{
    if (level > HT__CHAT_MAX_DEPTH || ++r->steps > HT__CHAT_MAX_STEPS || out->len > HT__CHAT_MAX_BYTES)
        ht__chat_fail(r, HT_ERR_LIMIT, "a value is too large for JSON");
    if (r->err) return;
    struct ht__str text;
    switch (v.type) {
    case HT__CHAT_STR: return put_text(out, v.str);
    case HT__CHAT_NONE: return ht__buf_str(out, "null");
    case HT__CHAT_BOOL: return ht__buf_str(out, v.boolean ? "true" : "false");
    case HT__CHAT_LIST:
    case HT__CHAT_DICT: return put_members(r, out, v, indent, level);
    case HT__CHAT_INT:
    case HT__CHAT_FLOAT: text = ht__chat_text(r, v); return ht__buf_put(out, text.text, text.len);
    default: ht__chat_fail(r, HT_ERR_UNSUPPORTED, "%s as JSON", ht__chat_type_name(v));
    }
}
