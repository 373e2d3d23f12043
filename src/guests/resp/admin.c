/* SPDX-License-Identifier: MIT
 *
 * admin: the pages: dashboard, metrics, JSON, health, readiness. They change nothing.
 *
 * WALK       head of the request -> Host -> page -> password -> answer in blocks of the client.
 *            The rounds of serve.c bound requests, time and unsent bytes as for other clients.
 * HOST       Without a password a page of the web could read the figures through a name of its own
 *            that leads to 127.0.0.1. So the name must be localhost or a loopback address.
 * PASSWORD   Basic, with any user. Health and readiness need none.
 * LIMITS     admin_head_bytes and admin_body_bytes of a request, 5 s a head, 30 s from one request
 *            to the end of the next one's answer, RESP_ADMIN_CLIENTS connections. If all are taken,
 *            a new one closes one that sends its head slowly or is idle. A new one of this machine
 *            may close one with an unread answer too, and no other host closes it within 1 s: a
 *            monitor on the loopback that sends its head is answered. */
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "cellar_observe.h"
#include "cellar_work.h"
#include "resp/admin.h"
#include "resp/client.h"
#include "resp/command.h"
#include "resp/http.h"
#include "resp/listen.h"
#include "resp/session.h"

BASE_SIZE_BEGIN

#define RESP_ADMIN_PAGE_FIRST ((size_t)32 << 10) /* room for the first page of figures */
#define RESP_ADMIN_WORD 1024u                    /* bytes of user and password */
#define RESP_ADMIN_GUARD_MS 1000                 /* other hosts take no place of this machine */
#define RESP_ADMIN_TRIES 4                       /* pages that grow while they are written */
#define RESP_ADMIN_TEXT "text/plain; charset=utf-8"

typedef struct resp_admin_page {
    int status;
    const char *type, *policy; /* policy NULL: nothing may be loaded */
    const char *body;
    size_t len;
    void *room;                /* of the account of the port, with room_bytes; NULL: none */
    size_t room_bytes;
} resp_admin_page;

/* ---- the answer ---- */

static const char *resp_admin_status_text(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 421: return "Misdirected Request";
    case 431: return "Request Header Fields Too Large";
    default: return "Service Unavailable";
    }
}

static void resp_admin_answer(resp_client *c, const resp_http *h, const resp_admin_page *page)
{
    char head[1024];
    const bool keep = h->keep && !(c->flags & RESP_C_CLOSE);
    const int n = snprintf(head, sizeof head,
        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        "Content-Security-Policy: %s; frame-ancestors 'none'\r\n%s%s%s\r\n",
        page->status, resp_admin_status_text(page->status), page->type, page->len,
        page->policy != NULL ? page->policy : "default-src 'none'",
        page->status == 405 ? "Allow: GET, HEAD\r\n" : "",
        page->status == 401 ? "WWW-Authenticate: Basic realm=\"cellar\"\r\n" : "",
        keep ? "" : "Connection: close\r\n");
    BASE_ASSERT(n > 0 && (size_t)n < sizeof head);
    resp_put(c, head, (size_t)n);
    if (!h->head) { resp_put(c, page->body, page->len); }
    if (!keep) { c->flags |= RESP_C_CLOSE | RESP_C_LINGER; }
}

/* Make a page of one line. */
static resp_admin_page resp_admin_line(int status, const char *text)
{
    return (resp_admin_page){ .status = status, .type = RESP_ADMIN_TEXT, .body = text,
                         .len = strlen(text) };
}

/* ---- checks ---- */

/* Return whether all of n bytes are digits. */
static bool resp_admin_digits(const char *p, size_t n)
{
    while (n > 0 && p[n - 1] >= '0' && p[n - 1] <= '9') { n--; }
    return n == 0;
}

/* Return whether a Host is localhost or a loopback address, with or without a port. */
static bool resp_admin_host_ok(cellar_bytes host)
{
    char name[64];
    bool valid;
    if (host.len == 0) { return false; } /* HTTP/1.0 without Host */
    const char *p = host.data, *end = p + host.len;
    const bool v6 = *p == '[';
    const char *stop = memchr(p, v6 ? ']' : ':', host.len);
    p += v6;
    if (v6 && stop == NULL) { return false; }
    const char *port = stop != NULL ? stop + v6 : end;
    if (port < end && (*port++ != ':' || !resp_admin_digits(port, (size_t)(end - port)))) {
        return false;
    }
    const size_t len = (size_t)((stop != NULL ? stop : end) - p);
    if (len == 0 || len >= sizeof name) { return false; }
    memcpy(name, p, len);
    name[len] = '\0';
    const cellar_bytes word = { name, len };
    if (!v6 && resp_is(&word, "localhost")) { return true; }
    return (strchr(name, ':') != NULL) == v6 && !resp_is_public(name, &valid) && valid;
}

/* Decode base64 into `out`, which has room. Return the bytes. Other characters end the text. */
static size_t resp_admin_base64(const char *p, size_t n, unsigned char *out)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0, count = 0;
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        const char *at = p[i] != '\0' ? strchr(digits, p[i]) : NULL;
        if (at == NULL) { break; }
        bits = bits << 6 | (uint32_t)(at - digits);
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[len++] = (unsigned char)(bits >> count);
        }
    }
    return len;
}

/* Check the password. */
static bool resp_admin_password_ok(resp_client *c, const resp_http *h)
{
    unsigned char text[RESP_ADMIN_WORD];
    cellar_bytes scheme = { h->authorization.data, 6 }, word;
    if (!c->of->has_password) { return true; }
    const size_t coded = h->authorization.len - BASE_MIN(h->authorization.len, (size_t)6);
    if (coded == 0 || coded / 4 * 3 + 3 > sizeof text || !resp_is(&scheme, "basic ")) {
        return false;
    }
    const size_t n = resp_admin_base64((const char *)scheme.data + 6, coded, text);
    const unsigned char *colon = memchr(text, ':', n);
    if (colon == NULL) { return false; }
    word = (cellar_bytes){ colon + 1, (size_t)(text + n - colon - 1) };
    return resp_password_ok(c, &word, true);
}

/* ---- pages ---- */

#ifndef CELLAR_OMIT_TEXT
#include "resp/page.h"

/* Write one part of a page of figures behind the others. */
#define RESP_ADMIN_PART(call) \
    do { \
        size_t part_len = 0; \
        char *const at = len < cap ? buf + len : NULL; \
        const size_t room = len < cap ? cap - len : 0; \
        const cellar_err err = (call); \
        if (err < 0 && err != CELLAR_E_BUFFER) { return err; } \
        len += part_len; \
    } while (0)

static cellar_err resp_admin_text(const char *text, char *buf, size_t cap, size_t *len)
{
    *len = strlen(text);
    if (*len >= cap) { return CELLAR_E_BUFFER; }
    memcpy(buf, text, *len);
    return CELLAR_OK;
}

/* Write the figures of the parts that the port was given. */
static cellar_err resp_admin_work(cellar_resp *r, bool json, char *buf, size_t cap, size_t *out)
{
    const cellar_resp_config *o = &r->opts;
    const char *before = json ? "," : "";
    size_t len = 0;
#define RESP_ADMIN_OF(handle) \
    if ((handle) != NULL) { \
        RESP_ADMIN_PART(resp_admin_text(before, at, room, &part_len)); \
        RESP_ADMIN_PART((json ? cellar_stats_json : cellar_metrics_write)(handle, at, room, \
                                                                          &part_len)); \
    }
    RESP_ADMIN_OF(o->pool)
    RESP_ADMIN_OF(o->remote)
#undef RESP_ADMIN_OF
    *out = len;
    return CELLAR_OK;
}

/* Write all figures: of the store, of the port, of its parts, and those that the program adds. */
static cellar_err resp_admin_figures(cellar_resp *r, bool json, char *buf, size_t cap, size_t *out)
{
    const cellar_resp_config *o = &r->opts;
    size_t len = 0;
    if (json) {
        RESP_ADMIN_PART(resp_admin_text("[", at, room, &part_len));
        RESP_ADMIN_PART(cellar_stats_json(r->store, at, room, &part_len));
        RESP_ADMIN_PART(resp_admin_text(",", at, room, &part_len));
        RESP_ADMIN_PART(cellar_stats_json(r, at, room, &part_len));
        RESP_ADMIN_PART(resp_admin_work(r, json, at, room, &part_len));
        if (o->figures != NULL) {
            RESP_ADMIN_PART(resp_admin_text(",", at, room, &part_len));
            RESP_ADMIN_PART(o->figures(o->figures_ctx, 1, at, room, &part_len));
        }
        RESP_ADMIN_PART(resp_admin_text("]\n", at, room, &part_len));
    } else {
        RESP_ADMIN_PART(cellar_metrics_write(r->store, at, room, &part_len));
        RESP_ADMIN_PART(cellar_metrics_write(r, at, room, &part_len));
        RESP_ADMIN_PART(resp_admin_work(r, json, at, room, &part_len));
        if (o->figures != NULL) {
            RESP_ADMIN_PART(o->figures(o->figures_ctx, 0, at, room, &part_len));
        }
    }
    *out = len;
    return len < cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

static resp_admin_page resp_admin_figures_page(cellar_resp *r, bool json)
{
    resp_admin_page page = { .status = 200, .type = json ? "application/json"
                                                    : "text/plain; version=0.0.4; charset=utf-8" };
    size_t cap = BASE_MAX(r->page_bytes, RESP_ADMIN_PAGE_FIRST);
    for (int i = 0; i < RESP_ADMIN_TRIES; i++) {
        char *room = base_alloc(&r->obj.account, BASE_MOD_STORE, cap, NULL);
        if (room == NULL) { return resp_admin_line(503, "no memory for the page\n"); }
        const cellar_err err = resp_admin_figures(r, json, room, cap, &page.len);
        if (err == CELLAR_OK) {
            page.body = page.room = room;
            page.room_bytes = r->page_bytes = cap;
            return page;
        }
        base_free(&r->obj.account, BASE_MOD_STORE, room, cap);
        if (err != CELLAR_E_BUFFER) { break; }
        cap = page.len + page.len / 8 + 1;
    }
    return resp_admin_line(503, "the figures are not to be had\n");
}

CELLAR_API void cellar_dashboard_html(const char **html, size_t *html_len)
{
    if (html != NULL) { *html = resp_page; }
    if (html_len != NULL) { *html_len = sizeof resp_page; }
}

/* Make a page of the path behind "/_cellar". */
static resp_admin_page resp_admin_page_of(cellar_resp *r, cellar_bytes path)
{
    if (resp_http_is(path, "/metrics")) { return resp_admin_figures_page(r, false); }
    if (resp_http_is(path, "/stats.json")) { return resp_admin_figures_page(r, true); }
    if (resp_http_is(path, "/")) {
        return (resp_admin_page){ .status = 200, .type = "text/html; charset=utf-8",
                             .policy = RESP_PAGE_POLICY, .body = resp_page,
                             .len = sizeof resp_page };
    }
    return resp_admin_line(404, "no such page\n");
}

#else

static resp_admin_page resp_admin_page_of(cellar_resp *r, cellar_bytes path)
{
    (void)r, (void)path;
    return resp_admin_line(404, "no such page\n");
}

#endif

static resp_admin_page resp_admin_page_for(resp_client *c, const resp_http *h)
{
    static const char prefix[] = "/_cellar";
    cellar_resp *r = c->of;
    cellar_bytes path = h->path;
    if (!(c->flags & RESP_C_UNIX) && !r->has_password && !resp_admin_host_ok(h->host)) {
        return resp_admin_line(421, "ask for localhost or a loopback address\n");
    }
    if (path.len > sizeof prefix - 1 && memcmp(path.data, prefix, sizeof prefix - 1) == 0) {
        path.data = (const char *)path.data + sizeof prefix - 1;
        path.len -= sizeof prefix - 1;
    }
    if (resp_http_is(path, "/healthz") || resp_http_is(path, "/health")) {
        return resp_admin_line(200, "ok\n");
    }
    if (resp_http_is(path, "/readyz") || resp_http_is(path, "/ready")) {
        return base_load_rlx(&r->draining) == 0 ? resp_admin_line(200, "ready\n")
                                                : resp_admin_line(503, "draining\n");
    }
    if (!resp_admin_password_ok(c, h)) {
        return resp_admin_line(401, "the password is missing or wrong\n");
    }
    return resp_admin_page_of(r, path);
}

/* ---- places ---- */

CELLAR_PRIVATE int64_t resp_admin_end_ms(const resp_client *c)
{
    const int64_t end_ms = c->active_ms + RESP_ADMIN_WAIT_MS;
    return c->head_ms != 0 ? BASE_MIN(c->head_ms, end_ms) : end_ms;
}

CELLAR_PRIVATE bool resp_admin_room(cellar_resp *r, bool local)
{
    uint32_t count = 0;
    resp_client *yields = NULL, *oldest = NULL;
    for (resp_client *c = r->admin_first; c != NULL; c = c->next) {
        if (c->flags & RESP_C_BROKEN) { continue; }
        count++;
        const bool waits = c->out_bytes > 0 && c->hold_ms == 0 &&
                           r->now_ms - c->active_ms < RESP_ADMIN_HEAD_MS;
        const bool guarded = (c->flags & RESP_C_LOCAL) != 0 && !local &&
                             r->now_ms - c->active_ms < RESP_ADMIN_GUARD_MS;
        if (yields == NULL && !waits && !guarded) { yields = c; }
        if (oldest == NULL) { oldest = c; }
    }
    if (count < RESP_ADMIN_CLIENTS) { return true; }
    if (yields == NULL && local) { yields = oldest; }
    if (yields == NULL) { return false; }
    resp_add(r, RESP_COUNT_idle_closed, 1);
    yields->flags |= RESP_C_BROKEN; /* this round frees it */
    resp_wake(yields);
    return true;
}

CELLAR_PRIVATE resp_parsed resp_admin(resp_client *c, const unsigned char *p, size_t n,
                                      size_t *used)
{
    resp_http h;
    const int status = resp_http_read(p, n, &c->of->opts, &c->scan, used, &h);
    resp_admin_page page;
    if (status == 0) {
        if (n > 0 && c->head_ms == 0) { c->head_ms = c->of->now_ms + RESP_ADMIN_HEAD_MS; }
        return RESP_PARSE_MORE;
    }
    c->head_ms = 0;
    resp_add(c->of, RESP_COUNT_admin_requests, 1);
    resp_client_active(c);
    if (status == 200) {
        page = resp_admin_page_for(c, &h);
    } else {
        resp_add(c->of, RESP_COUNT_protocol_errors, 1);
        h.keep = false;
        page = resp_admin_line(status, status == 405 ? "only GET and HEAD\n"
                          : status == 413 ? "the body is longer than admin_body_bytes\n"
                          : status == 431 ? "the head is longer than admin_head_bytes\n"
                                          : "not a request of HTTP/1.1\n");
    }
    resp_admin_answer(c, &h, &page);
    base_free(&c->of->obj.account, BASE_MOD_STORE, page.room, page.room_bytes);
    return RESP_PARSE_EMPTY;
}

BASE_SIZE_END
