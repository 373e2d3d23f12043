/* SPDX-License-Identifier: MIT
 *
 * http: the head of an HTTP/1.0 or 1.1 request, and the length of its body.
 *
 * RULES      Lines end with CR LF. No control byte but a tab, no folded line, no blank before a
 *            colon. HTTP/1.1 needs exactly one Host. A body needs exactly one Content-Length: two
 *            readers never disagree where the next request begins. What is not clear is 400.
 * LOCKING    None: pure functions.
 * SOURCE     RFC 9110, RFC 9112. */
#include <string.h>

#include "resp/command.h"
#include "resp/http.h"

BASE_SIZE_BEGIN

/* Return the length of the head with its empty line; 0: it is not complete. SIZE_MAX: a byte that
 * no head has. */
static size_t resp_http_head_end(const unsigned char *p, size_t n, size_t *scan)
{
    for (size_t i = *scan; i < n; i++) {
        const bool after_cr = i > 0 && p[i - 1] == '\r';
        const bool control = p[i] < ' ' ? p[i] != '\t' && p[i] != '\r' : p[i] == 0x7f;
        if (p[i] == '\n' ? !after_cr : after_cr || control) { return SIZE_MAX; }
        if (p[i] == '\n' && i >= 3 && p[i - 2] == '\n') { return i + 1; }
    }
    *scan = n;
    return 0;
}

/* Cut the text before `end` off the rest. False: `end` is not there. */
static bool resp_http_cut(cellar_bytes *rest, char end, cellar_bytes *out)
{
    const unsigned char *p = rest->data, *at = memchr(p, end, rest->len);
    if (at == NULL) { return false; }
    *out = (cellar_bytes){ p, (size_t)(at - p) };
    *rest = (cellar_bytes){ at + 1, rest->len - out->len - 1 };
    return true;
}

/* Take blanks and tabs off both ends. */
static cellar_bytes resp_http_trim(cellar_bytes text)
{
    const unsigned char *p = text.data;
    while (text.len > 0 && (p[text.len - 1] == ' ' || p[text.len - 1] == '\t')) { text.len--; }
    while (text.len > 0 && (*p == ' ' || *p == '\t')) { p++, text.len--; }
    return (cellar_bytes){ p, text.len };
}

/* Return whether a text is a token: the name of a method or of a field. */
static bool resp_http_is_token(cellar_bytes text)
{
    const unsigned char *p = text.data;
    for (size_t i = 0; i < text.len; i++) {
        if (p[i] <= ' ' || p[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", p[i]) != NULL) {
            return false;
        }
    }
    return text.len > 0;
}

CELLAR_PRIVATE bool resp_http_is(cellar_bytes text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

/* Return whether a list with commas has this word. */
static bool resp_http_lists(cellar_bytes list, const char *word)
{
    cellar_bytes one;
    while (resp_http_cut(&list, ',', &one)) {
        one = resp_http_trim(one);
        if (resp_is(&one, word)) { return true; }
    }
    one = resp_http_trim(list);
    return resp_is(&one, word);
}

/* Read "GET /path?query HTTP/1.1". Return 200, 400 or 405. */
static int resp_http_first_line(cellar_bytes line, resp_http *out)
{
    cellar_bytes method, target;
    if (!resp_http_cut(&line, ' ', &method) || !resp_http_cut(&line, ' ', &target) ||
        !resp_http_is_token(method) || target.len == 0) {
        return 400;
    }
    out->keep = resp_http_is(line, "HTTP/1.1");
    out->head = resp_http_is(method, "HEAD");
    if (!out->keep && !resp_http_is(line, "HTTP/1.0")) { return 400; }
    if (!out->head && !resp_http_is(method, "GET")) { return 405; }
    if (*(const char *)target.data != '/') { return 400; }
    if (!resp_http_cut(&target, '?', &out->path)) { out->path = target; }
    return 200;
}

/* Read "Name: value". Return 200 or 400. */
static int resp_http_field(cellar_bytes line, resp_http *out)
{
    cellar_bytes name;
    if (!resp_http_cut(&line, ':', &name) || !resp_http_is_token(name)) { return 400; }
    const cellar_bytes value = resp_http_trim(line);
    if (resp_is(&name, "host")) {
        if (out->host.data != NULL || value.len == 0) { return 400; }
        out->host = value;
    } else if (resp_is(&name, "authorization")) {
        if (out->authorization.data != NULL) { return 400; }
        out->authorization = value;
    } else if (resp_is(&name, "connection")) {
        if (resp_http_lists(value, "close")) { out->keep = false; }
    } else if (resp_is(&name, "content-length")) {
        int64_t len = 0;
        if (out->sized || !resp_to_int(&value, &len) || len < 0) { return 400; }
        out->sized = true;
        out->body_len = (uint64_t)len;
    } else if (resp_is(&name, "transfer-encoding")) {
        return 400;
    }
    return 200;
}

CELLAR_PRIVATE int resp_http_read(const unsigned char *p, size_t n, const cellar_resp_config *o,
                                  size_t *scan, size_t *used, resp_http *out)
{
    const size_t len = resp_http_head_end(p, n, scan);
    *out = (resp_http){ .head = false };
    *used = n;
    if (len == SIZE_MAX) { return 400; }
    if ((len == 0 ? n : len) > o->admin_head_bytes) { return 431; }
    if (len == 0) { return 0; }
    cellar_bytes rest = { p, len - 2 }, line;
    *used = len;
    *scan = 0;
    if (!resp_http_cut(&rest, '\r', &line)) { return 400; }
    int status = resp_http_first_line(line, out);
    const bool needs_host = out->keep;
    while (status == 200 && rest.len > 1) {
        rest = (cellar_bytes){ (const unsigned char *)rest.data + 1, rest.len - 1 }; /* LF */
        status = resp_http_cut(&rest, '\r', &line) ? resp_http_field(line, out) : 400;
    }
    if (status == 200 && needs_host && out->host.data == NULL) { return 400; }
    if (status != 200 || out->body_len == 0) { return status; }
    if (out->body_len > o->admin_body_bytes) { return 413; }
    *used = len + (size_t)out->body_len; /* at most 1 MiB */
    if (*used <= n) { return 200; }
    *scan = len - 1; /* finds the end of the head again */
    return 0;
}

BASE_SIZE_END
