/* SPDX-License-Identifier: MIT
 *
 * config: options and URL of a remote, with a reason for each refusal.
 *
 * FORMAT     unix:///path?key=value&..    redis://[user[:password]@]host[:port][/0][?key=value&..]
 *            redis-sentinel://[user[:password]@]host[:port],..[/0][?master=..]
 *            rediss.. for redis..: with TLS. Keys: REMOTE_TEXTS and io_ms proof_ms lease_ms
 *            max_ttl_ms close_ms; the word tls_insecure
 *            user, password, path and values may have %XX; an IPv6 address stands in [ ].
 * INVARIANTS The text of a refusal names the rule. It has no part of a password. */
#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/random.h"
#include "remote/config.h"
#include "tls/tls.h"

BASE_SIZE_BEGIN

#define REMOTE_PORT_DEFAULT 6379
#define REMOTE_SENTINEL_PORT 26379

typedef struct remote_reading {
    remote_config *c;
    char *text; /* of the refusal */
    size_t cap;
} remote_reading;

__attribute__((format(printf, 3, 4)))
static cellar_err remote_refuse(const remote_reading *r, cellar_err code, const char *format, ...)
{
    va_list args;
    const int n = snprintf(r->text, r->cap, "cellar_remote_open: ");
    va_start(args, format);
    (void)vsnprintf(r->text + n, r->cap - (size_t)n, format, args);
    va_end(args);
    return code;
}

/* ---- texts ---- */

CELLAR_PRIVATE cellar_err remote_random(uint64_t *words, size_t count)
{
    return base_random_bytes(words, count * sizeof *words) ? CELLAR_OK : CELLAR_E_NOMEM;
}

CELLAR_PRIVATE void remote_random_text(const uint64_t *words, char to[REMOTE_UUID_TEXT + 1])
{
    (void)snprintf(to, REMOTE_UUID_TEXT + 1, "%016llx%016llx", (unsigned long long)words[0],
                   (unsigned long long)words[1]);
}

CELLAR_PRIVATE int remote_hex_digit(int c)
{
    static const char digits[] = "0123456789abcdef";
    const char *const at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

/* Copy a part of a URL with %XX. False: it is too long, or has a wrong or a zero byte. */
static bool remote_unescape(const char *from, size_t len, char *to, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int byte = (unsigned char)from[i];
        if (byte == '%') {
            const int high = i + 2 < len ? remote_hex_digit(tolower((uint8_t)from[i + 1])) : -1;
            const int low = i + 2 < len ? remote_hex_digit(tolower((uint8_t)from[i + 2])) : -1;
            byte = high >= 0 && low >= 0 ? high * 16 + low : 0;
            i += 2;
        }
        if (byte < 0x20 || byte == 0x7F || n + 1 >= cap) { return false; }
        to[n++] = (char)byte;
    }
    to[n] = '\0';
    return true;
}

static bool remote_digits_read(const char *text, int64_t most, int64_t *out)
{
    int64_t n = 0;
    if (*text == '\0') { return false; }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') { return false; }
        n = n * 10 + (*text - '0');
        if (n > most) { return false; }
    }
    *out = n;
    return true;
}

/* Read "host", "host:port", "[address]" or "[address]:port". */
static bool remote_address_read(const char *from, size_t len, uint16_t port, remote_address *out)
{
    char text[REMOTE_HOST_MAX + 1], *host = text, *colon;
    int64_t number = port;
    if (!remote_unescape(from, len, text, sizeof text)) { return false; }
    if (text[0] == '[') {
        char *end = strchr(text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':')) { return false; }
        colon = end[1] == ':' ? end + 1 : NULL;
        *end = '\0';
        host = text + 1;
    } else {
        colon = strchr(text, ':');
        if (colon != NULL) { *colon = '\0'; }
    }
    if (*host == '\0' || (colon != NULL && !remote_digits_read(colon + 1, 65535, &number)) ||
        number == 0) {
        return false;
    }
    memcpy(out->host, host, strlen(host) + 1);
    out->port = (uint16_t)number;
    return true;
}

/* ---- URL ---- */

/* Read one key=value of the query. */
static cellar_err remote_query_item(const remote_reading *r, const char *item, size_t len)
{
    const struct { const char *name; char *text; size_t cap; int64_t *number; } known[] = {
#define REMOTE_TEXT_KEY(name, bytes) { #name, r->c->name, bytes, NULL },
        REMOTE_TEXTS(REMOTE_TEXT_KEY)
#undef REMOTE_TEXT_KEY
        { "io_ms", NULL, 0, &r->c->io_ms },
        { "proof_ms", NULL, 0, &r->c->proof_ms },
        { "lease_ms", NULL, 0, &r->c->lease_ms },
        { "max_ttl_ms", NULL, 0, &r->c->max_ttl_ms },
        { "close_ms", NULL, 0, &r->c->close_ms },
    };
    const char *equals = memchr(item, '=', len);
    const size_t name_len = equals != NULL ? (size_t)(equals - item) : len;
    if (name_len == 12 && len == 12 && memcmp(item, "tls_insecure", 12) == 0) {
        r->c->tls_insecure = true;
        return CELLAR_OK;
    }
    for (size_t i = 0; equals != NULL && i < sizeof known / sizeof known[0]; i++) {
        char value[24], *to = known[i].text != NULL ? known[i].text : value;
        const size_t cap = known[i].text != NULL ? known[i].cap : sizeof value;
        if (strlen(known[i].name) != name_len || memcmp(known[i].name, item, name_len) != 0) {
            continue;
        }
        if (!remote_unescape(equals + 1, len - name_len - 1, to, cap) ||
            (known[i].number != NULL &&
             !remote_digits_read(value, INT64_C(1) << 40, known[i].number))) {
            return remote_refuse(r, CELLAR_E_INVAL, "the value of %s in the URL is not valid",
                                 known[i].name);
        }
        return CELLAR_OK;
    }
    const size_t plain = strspn(item, "abcdefghijklmnopqrstuvwxyz_");
    return remote_refuse(r, CELLAR_E_INVAL, "the URL has an unknown key, or one without a value: "
                         "%.*s", (int)(plain < name_len ? plain : name_len), item);
}

static cellar_err remote_query(const remote_reading *r, const char *query)
{
    cellar_err err = CELLAR_OK;
    while (err == CELLAR_OK && *query != '\0') {
        const size_t len = strcspn(query, "&");
        err = remote_query_item(r, query, len);
        query += len + (query[len] == '&');
    }
    return err;
}

static bool remote_user_read(const remote_reading *r, const char *from, size_t len)
{
    const char *colon = memchr(from, ':', len);
    const size_t user_len = colon != NULL ? (size_t)(colon - from) : len;
    if (!remote_unescape(from, user_len, r->c->user, sizeof r->c->user)) { return false; }
    return colon == NULL || remote_unescape(colon + 1, len - user_len - 1, r->c->password,
                                            sizeof r->c->password);
}

/* Read "host:port,host:port". False for a Sentinel named twice: it would vote twice. */
static bool remote_sentinels(remote_config *c, const char *list, size_t left)
{
    while (left != 0) {
        const char *comma = memchr(list, ',', left);
        const size_t len = comma != NULL ? (size_t)(comma - list) : left;
        if (c->sentinel_count == REMOTE_ADDRESSES_MAX ||
            !remote_address_read(list, len, REMOTE_SENTINEL_PORT,
                                 &c->sentinel[c->sentinel_count])) {
            return false;
        }
        const remote_address *fresh = &c->sentinel[c->sentinel_count++];
        for (const remote_address *a = c->sentinel; a < fresh; a++) {
            if (a->port == fresh->port && strcmp(a->host, fresh->host) == 0) { return false; }
        }
        list += len + (comma != NULL);
        left -= len + (comma != NULL);
    }
    return c->sentinel_count != 0;
}

static cellar_err remote_url_tcp(const remote_reading *r, const char *rest, size_t len,
                                 bool sentinel)
{
    const char *slash = memchr(rest, '/', len);
    const size_t host_len = slash != NULL ? (size_t)(slash - rest) : len;
    const char *at = memrchr(rest, '@', host_len);
    const char *host = at != NULL ? at + 1 : rest;
    if (slash != NULL && len - host_len > 1 && (len - host_len != 2 || slash[1] != '0')) {
        return remote_refuse(r, CELLAR_E_UNSUPPORTED, "the database number must be 0: tracking "
                             "does not tell databases apart; use another prefix");
    }
    const size_t at_len = host_len - (size_t)(host - rest);
    if ((at == NULL || remote_user_read(r, rest, (size_t)(at - rest))) &&
        (sentinel ? remote_sentinels(r->c, host, at_len)
                  : remote_address_read(host, at_len, REMOTE_PORT_DEFAULT, &r->c->server))) {
        return CELLAR_OK;
    }
    return remote_refuse(r, CELLAR_E_INVAL, "the URL must be redis://[user@]host[:port]");
}

/* Refuse a URL of another scheme. Name the scheme, but nothing behind it. */
static cellar_err remote_scheme_refuse(const remote_reading *r, const char *url)
{
    const size_t len = strspn(url, "abcdefghijklmnopqrstuvwxyz+-");
    const bool named = len != 0 && len < 24 && url[len] == ':';
    const size_t colons = strspn(url + len, "/:");
    return remote_refuse(r, CELLAR_E_INVAL, "the URL must begin with redis://, rediss://, "
                         "redis-sentinel://, rediss-sentinel:// or unix:/// (got %.*s)",
                         named ? (int)(len + (colons < 3 ? colons : 3)) : 9,
                         named ? url : "no scheme");
}

static cellar_err remote_url(const remote_reading *r, const char *url)
{
    static const char *const schemes[] = { "redis://", "rediss://", "redis-sentinel://",
                                           "rediss-sentinel://" };
    const size_t len = strcspn(url, "?");
    cellar_err err = CELLAR_OK;
    size_t n = 0;
    while (n < 4 && strncmp(url, schemes[n], strlen(schemes[n])) != 0) { n++; }
    if (n < 4) {
        const size_t scheme = strlen(schemes[n]);
        r->c->tls = n % 2 != 0;
        err = remote_url_tcp(r, url + scheme, len - scheme, n >= 2);
    } else if (strncmp(url, "unix:///", 8) != 0 || len < 9 || len - 7 > 107 ||
               !remote_unescape(url + 7, len - 7, r->c->server.host, sizeof r->c->server.host)) {
        err = remote_scheme_refuse(r, url);
    }
    return err == CELLAR_OK && url[len] == '?' ? remote_query(r, url + len + 1) : err;
}

/* ---- options ---- */

static bool remote_text_take(const char *from, char *to, size_t cap)
{
    if (from == NULL) { return true; }
    if (strlen(from) >= cap) { return false; }
    memcpy(to, from, strlen(from) + 1);
    return true;
}

/* Copy the options that this library knows. */
static cellar_err remote_opts_read(const remote_reading *r, const cellar_remote_config *from,
                                   cellar_remote_config *o)
{
    *o = cellar_remote_config_default();
    if (from == NULL) { return CELLAR_OK; }
    if (from->struct_size < sizeof from->struct_size) {
        return remote_refuse(r, CELLAR_E_INVAL, "struct_size must be set by "
                             "cellar_remote_config_default");
    }
    for (size_t i = sizeof *o; i < from->struct_size; i++) {
        if (((const char *)from)[i] != 0) {
            return remote_refuse(r, CELLAR_E_UNSUPPORTED, "an option of a newer header is set");
        }
    }
    memcpy(o, from, from->struct_size < sizeof *o ? from->struct_size : sizeof *o);
    return CELLAR_OK;
}

static cellar_err remote_opts_take(const remote_reading *r, const cellar_remote_config *o)
{
    remote_config *c = r->c;
    memcpy(c->prefix, "cellar", sizeof "cellar");
    memcpy(c->master, "mymaster", sizeof "mymaster");
#define REMOTE_TEXT_TAKE(name, bytes) remote_text_take(o->name, c->name, bytes) &&
    if (!(REMOTE_TEXTS(REMOTE_TEXT_TAKE)
          remote_text_take(o->password, c->password, sizeof c->password))) {
        return remote_refuse(r, CELLAR_E_TOOBIG, "a text of the options is too long");
    }
#undef REMOTE_TEXT_TAKE
    if (o->sentinels != NULL && !remote_sentinels(c, o->sentinels, strlen(o->sentinels))) {
        return remote_refuse(r, CELLAR_E_INVAL, "sentinels must be host:port,host:port, each once, "
                             "at most %d", (int)REMOTE_ADDRESSES_MAX);
    }
    c->io_ms = o->io_ms;
    c->proof_ms = o->proof_ms;
    c->lease_ms = o->lease_ms;
    c->max_ttl_ms = o->max_ttl_ms;
    c->close_ms = o->close_ms;
    c->journal_keys = o->journal_keys;
    c->queue_entries = o->queue_entries;
    c->no_thread = o->no_thread != 0;
    c->allow_plaintext = o->allow_plaintext != 0;
    return CELLAR_OK;
}

/* ---- rules ---- */

static cellar_err remote_ranges(const remote_reading *r)
{
    const int64_t proof_ms = r->c->proof_ms != 0 ? r->c->proof_ms : 2000;
    const int64_t least_ms = proof_ms > 1000 ? proof_ms : 1000;
    const struct { const char *name; int64_t *value, least, most, usual; } rules[] = {
        { "io_ms", &r->c->io_ms, 1, 10000, 50 },
        { "proof_ms", &r->c->proof_ms, 200, 60000, 2000 },
        { "lease_ms", &r->c->lease_ms, least_ms, 600000, proof_ms > 500 ? 2 * proof_ms : 1000 },
        { "max_ttl_ms", &r->c->max_ttl_ms, 1, INT64_C(1) << 40, 3600000 },
        { "close_ms", &r->c->close_ms, 1, 600000, 2000 },
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (*rules[i].value == 0) { *rules[i].value = rules[i].usual; }
        if (*rules[i].value < rules[i].least || *rules[i].value > rules[i].most) {
            return remote_refuse(r, CELLAR_E_RANGE, "%s must be %lld..%lld (got %lld)",
                                 rules[i].name, (long long)rules[i].least,
                                 (long long)rules[i].most, (long long)*rules[i].value);
        }
    }
    uint32_t *const counts[] = { &r->c->journal_keys, &r->c->queue_entries };
    for (size_t i = 0; i < 2; i++) {
        if (*counts[i] == 0) { *counts[i] = 65536; }
        if (*counts[i] > 1u << 20) {
            return remote_refuse(r, CELLAR_E_RANGE, "%s must be 1..1048576",
                                 i == 0 ? "journal_keys" : "queue_entries");
        }
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE bool remote_is_plain(const char *text)
{
    const size_t len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789._-");
    return len != 0 && text[len] == '\0';
}

static cellar_err remote_password_check(const remote_reading *r)
{
    struct stat s;
    if (r->c->password_file[0] == '\0') { return CELLAR_OK; }
    if (stat(r->c->password_file, &s) != 0) {
        return remote_refuse(r, CELLAR_E_NOT_FOUND, "password_file cannot be read");
    }
    if ((s.st_mode & 077) == 0) { return CELLAR_OK; }
    return remote_refuse(r, CELLAR_E_DENIED, "password_file must have mode 0600");
}

CELLAR_PRIVATE bool remote_host_is_local(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host));
}

static cellar_err remote_rules(const remote_reading *r)
{
    const remote_config *c = r->c;
    cellar_err err = remote_ranges(r);
    if (err == CELLAR_OK && !remote_is_plain(c->prefix)) {
        return remote_refuse(r, CELLAR_E_INVAL,
                             "prefix must be 1..32 letters, digits, dots, underscores or hyphens");
    }
    if (err == CELLAR_OK) { err = remote_password_check(r); }
    if (err != CELLAR_OK) { return err; }
    if (!c->tls && (c->tls_insecure || (c->tls_ca_file[0] | c->tls_ca_dir[0] | c->tls_cert_file[0] |
                                        c->tls_key_file[0] | c->tls_server_name[0]) != 0)) {
        return remote_refuse(r, CELLAR_E_INVAL, "words of TLS need a URL with rediss:// or "
                             "rediss-sentinel://");
    }
    if (c->tls && !tls_is_built()) {
        return remote_refuse(r, CELLAR_E_UNSUPPORTED, "%s", TLS_NOT_BUILT);
    }
    if (c->tls || c->allow_plaintext) { return CELLAR_OK; }
    if (c->server.port != 0 && !remote_host_is_local(c->server.host)) {
        return remote_refuse(r, CELLAR_E_DENIED, "TCP to another machine needs TLS (rediss://) or "
                             "allow_plaintext");
    }
    for (uint32_t i = 0; i < c->sentinel_count; i++) {
        if (!remote_host_is_local(c->sentinel[i].host)) {
            return remote_refuse(r, CELLAR_E_DENIED, "a Sentinel on another machine needs TLS "
                                 "(rediss-sentinel://) or allow_plaintext");
        }
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err remote_config_read(const char *url, const cellar_remote_config *from,
                                             remote_config *c, char *text, size_t cap)
{
    const remote_reading r = { c, text, cap };
    cellar_remote_config o;
    uint64_t id[2];
    memset(c, 0, sizeof *c);
    cellar_err err = remote_opts_read(&r, from, &o);
    if (err == CELLAR_OK) { err = remote_opts_take(&r, &o); }
    if (err == CELLAR_OK && url != NULL) { err = remote_url(&r, url); }
    if (err != CELLAR_OK) { return err; }
    if ((c->server.host[0] != '\0') == (c->sentinel_count != 0)) {
        return remote_refuse(&r, CELLAR_E_INVAL, "give either a URL or sentinels");
    }
    err = remote_rules(&r);
    if (err == CELLAR_OK && remote_random(id, 2) != CELLAR_OK) {
        return remote_refuse(&r, CELLAR_E_IO, "the system has no random bytes");
    }
    if (err == CELLAR_OK) { remote_random_text(id, c->uuid); }
    return err;
}

/* ---- refused calls of the process ---- */

static pthread_mutex_t remote_last_lock = PTHREAD_MUTEX_INITIALIZER;
static cellar_error_info remote_last; /* guarded by remote_last_lock */

CELLAR_PRIVATE void remote_last_reset(void)
{
    (void)pthread_mutex_init(&remote_last_lock, NULL);
    remote_last = (cellar_error_info){ .code = CELLAR_OK };
}

CELLAR_PRIVATE cellar_err remote_call_fail(cellar_err code, const char *text)
{
    pthread_mutex_lock(&remote_last_lock);
    remote_last.code = code;
    (void)snprintf(remote_last.text, sizeof remote_last.text, "%s", text);
    pthread_mutex_unlock(&remote_last_lock);
    return code;
}

CELLAR_PRIVATE cellar_err remote_call_refuse(cellar_err code, const char *call, const char *rule)
{
    char text[sizeof remote_last.text];
    (void)snprintf(text, sizeof text, "%s: %s", call, rule);
    return remote_call_fail(code, text);
}

CELLAR_PRIVATE void remote_call_failure(cellar_error_info *out)
{
    pthread_mutex_lock(&remote_last_lock);
    out->code = remote_last.code;
    memcpy(out->text, remote_last.text, sizeof out->text);
    pthread_mutex_unlock(&remote_last_lock);
}

BASE_SIZE_END
