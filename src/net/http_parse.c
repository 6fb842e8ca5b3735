/*
 * HTTP/1.1's own syntax (RFC 9112): heads and chunked bodies, byte by byte and to the letter. Lines end in CR LF and in
 * nothing else, no line is folded, no control byte gets in.
 */
#include "net/http_parts.h"

#include <string.h>

enum { MAX_BESIDE = 4096 }; /* of a body's chunk extensions and trailers: nobody here reads either */

static bool is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* -- Heads. -- */

size_t ht__http_blank_lines(const char *data, size_t len)
{
    size_t n = 0;
    while (len - n >= 2 && data[n] == '\r' && data[n + 1] == '\n')
        n += 2;
    return n;
}

static enum ht__http_step scan_fault(struct ht__http_scan *scan, int status, const char *reason)
{
    scan->status = status;
    scan->reason = reason;
    return HT__HTTP_BAD;
}

static enum ht__http_step too_long(struct ht__http_scan *scan)
{
    return scan->line == 0 ? scan_fault(scan, 414, "the request line is too long")
                           : scan_fault(scan, 431, "the headers are too long");
}

enum ht__http_step ht__http_scan(struct ht__http_scan *scan, const char *data, size_t len)
{
    for (; scan->at < len; scan->at++) {
        unsigned char c = (unsigned char)data[scan->at];
        if (scan->at >= HT__HTTP_MAX_HEAD - 1 || (scan->line == 0 && scan->at >= HT__HTTP_MAX_LINE))
            return too_long(scan);
        if (!is_control(c)) continue;
        if (c == '\n') return scan_fault(scan, 400, "a line ends in a line feed without a carriage return");
        if (c != '\r') return scan_fault(scan, 400, "the head has control bytes");
        if (scan->at + 1 == len) return HT__HTTP_MORE;
        if (data[scan->at + 1] != '\n')
            return scan_fault(scan, 400, "the head has a carriage return without a line feed");
        bool empty = scan->at == scan->line;
        scan->line = scan->at + 2;
        scan->at++;
        if (!empty) continue;
        scan->at++;
        return HT__HTTP_END;
    }
    return HT__HTTP_MORE;
}

/* "HTTP/1.1". Returns 0, or a status. */
static int version(const char *text, int *minor)
{
    bool well = strlen(text) == 8 && strncmp(text, "HTTP/", 5) == 0 && text[5] >= '0' && text[5] <= '9' &&
                text[6] == '.' && text[7] >= '0' && text[7] <= '9';
    if (!well) return 400;
    if (text[5] != '1') return 505;
    *minor = text[7] - '0';
    return 0;
}

static int cut_request_line(char *line, struct ht__http_head *head, const char **reason)
{
    char *target = strchr(line, ' ');
    *reason = "the request line is malformed";
    if (!target) return 400;
    *target++ = '\0';
    head->method = line;
    char *protocol = strchr(target, ' ');
    if (!protocol) return 400;
    *protocol++ = '\0';
    head->target = target;
    int status = version(protocol, &head->minor);
    if (status == 505) *reason = "this server speaks HTTP/1.1";
    return status;
}

/* In what frames the body nothing is trimmed at the end: other programs' readings of it must be of the same bytes. */
static bool frames(const char *name)
{
    return ht__http_same_name(name, "transfer-encoding") || ht__http_same_name(name, "content-length");
}

static const char *cut_header(char *line, struct ht__http_pair *pair)
{
    if (*line == ' ' || *line == '\t') return "a header is folded over two lines";
    char *colon = strchr(line, ':');
    if (!colon) return "a header has no colon";
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t"), *end = value + strlen(value);
    while (!frames(line) && end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = '\0';
    *pair = (struct ht__http_pair){line, value};
    return NULL;
}

/* Ends the line at `line` with a NUL. Returns where the next one begins. */
static char *end_line(char *line, const char *end)
{
    char *cr = memchr(line, '\r', (size_t)(end - line)); /* a scanned head has one in each line */
    *cr = '\0';
    return cr + 2;
}

int ht__http_cut(char *text, size_t len, struct ht__http_pair *headers, struct ht__http_head *head, const char **reason)
{
    char *end = text + len, *line = text, *next = end_line(line, end);
    *head = (struct ht__http_head){.method = "", .target = "", .minor = 1, .headers = headers};
    int status = cut_request_line(line, head, reason);
    if (status != 0) return status;
    for (line = next; *line != '\r' && head->n_headers <= HT__HTTP_MAX_HEADERS; line = next) {
        next = end_line(line, end);
        *reason = cut_header(line, &headers[head->n_headers]);
        if (*reason) return 400;
        head->n_headers++;
    }
    return 0;
}

/* -- Chunks. -- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_NAME, TRAILER_VALUE, TRAILER_LF, LAST_LF };

static void chunk_fault(struct ht__http_chunks *c, int status, const char *reason)
{
    c->status = status;
    c->reason = reason;
}

static int hex(unsigned char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Extensions and trailers cost time and bring nothing. */
static void beside(struct ht__http_chunks *c)
{
    if (c->n_beside++ < MAX_BESIDE) return;
    if (c->state >= TRAILER)
        chunk_fault(c, 431, "the trailers are too long");
    else
        chunk_fault(c, 400, "the chunk extensions are too long");
}

static void size_byte(struct ht__http_chunks *c, unsigned char byte)
{
    int digit = hex(byte);
    if (digit >= 0) {
        c->left = c->left > UINT64_MAX >> 4 ? UINT64_MAX : c->left << 4 | (uint64_t)digit;
        if (++c->n_digits > 64) chunk_fault(c, 400, "a chunk's size is malformed");
        return;
    }
    if (c->n_digits == 0 || (byte != '\r' && byte != ';')) {
        chunk_fault(c, 400, "a chunk's size is malformed");
        return;
    }
    c->state = byte == '\r' ? SIZE_LF : EXTENSION;
    if (c->left > c->max - c->total)
        chunk_fault(c, 413, "the body is larger than this resource takes");
    else
        c->total += c->left;
}

static void extension_byte(struct ht__http_chunks *c, unsigned char byte)
{
    beside(c);
    if (byte == '\r')
        c->state = SIZE_LF;
    else if (is_control(byte))
        chunk_fault(c, 400, "a chunk extension has control bytes");
}

static void trailer_byte(struct ht__http_chunks *c, unsigned char byte)
{
    const char text[2] = {(char)byte, '\0'};
    beside(c);
    if (c->state == TRAILER_VALUE) {
        if (byte == '\r')
            c->state = TRAILER_LF;
        else if (is_control(byte))
            chunk_fault(c, 400, "a trailer has control bytes");
    } else if (c->state == TRAILER && byte == '\r') {
        c->state = LAST_LF;
    } else if (c->state == TRAILER_NAME && byte == ':') {
        c->state = TRAILER_VALUE;
    } else if (ht__http_is_token(text)) {
        c->state = TRAILER_NAME;
    } else {
        chunk_fault(c, 400, "a trailer is malformed");
    }
}

/* The byte that has to come, or a fault. */
static void mark(struct ht__http_chunks *c, unsigned char byte, unsigned char wanted, int next)
{
    if (byte == wanted)
        c->state = next;
    else
        chunk_fault(c, 400, "a chunk's line does not end in a carriage return and a line feed");
}

static void framing_byte(struct ht__http_chunks *c, unsigned char byte)
{
    switch (c->state) {
    case SIZE: size_byte(c, byte); break;
    case EXTENSION: extension_byte(c, byte); break;
    case SIZE_LF: mark(c, byte, '\n', c->left > 0 ? DATA : TRAILER); break;
    case DATA_CR: mark(c, byte, '\r', DATA_LF); break;
    case DATA_LF:
        mark(c, byte, '\n', SIZE);
        c->n_digits = 0;
        break;
    case TRAILER_LF: mark(c, byte, '\n', TRAILER); break;
    default: trailer_byte(c, byte); break;
    }
}

enum ht__http_step ht__http_chunks(struct ht__http_chunks *c, const char *data, size_t len, size_t *used,
                                   const char **piece, size_t *n)
{
    for (*used = 0; *used < len;) {
        if (c->state == DATA) {
            *piece = data + *used;
            *n = len - *used < c->left ? len - *used : (size_t)c->left;
            c->left -= *n;
            *used += *n;
            if (c->left == 0) c->state = DATA_CR;
            return HT__HTTP_DATA;
        }
        unsigned char byte = (unsigned char)data[(*used)++];
        if (c->state == LAST_LF && byte == '\n') return HT__HTTP_END;
        if (c->state == LAST_LF)
            chunk_fault(c, 400, "the last chunk does not end in a carriage return and a line feed");
        else
            framing_byte(c, byte);
        if (c->status != 0) return HT__HTTP_BAD;
    }
    return HT__HTTP_MORE;
}
