/* SPDX-License-Identifier: MIT
 *
 * url: addresses that a list allows.
 *
 * PICTURE    http[s]://host[:port][/path][?query]    host: name, a.b.c.d, [IPv6]
 *            both sides -> kit_url: scheme, port, name or number -> compared
 * INVARIANTS A text that two parsers could read in different ways is denied, whatever the list
 *            says: each byte that RFC 3986 does not allow, and of the forms it does allow those
 *            that clients read in their own way. README.md of this folder lists them.
 * LIMITS     2,048 bytes of an address. */
#include "cellar_kit.h"

#include "kit/ascii.h"

#include <arpa/inet.h>
#include <string.h>

BASE_SIZE_BEGIN

#define KIT_URL_MAX 2048u
#define KIT_HOST_MAX 253u
#define KIT_LABEL_MAX 63u

typedef struct kit_url {
    const char *name;      /* of a host that is no number; not terminated */
    size_t name_len;
    unsigned char ip[16];  /* else: the number, and zeros behind an IPv4 number */
    uint32_t ip_bytes;     /* 4, 16; 0: a name */
    uint32_t ip_bits;      /* of a rule: leading bits that count */
    uint32_t port;
    bool tls, below;       /* below: of a rule: names below the name */
} kit_url;

typedef struct kit_span {
    const char *at, *end;
} kit_span;

static bool kit_span_take(kit_span *s, const char *word)
{
    const size_t n = strlen(word);
    if ((size_t)(s->end - s->at) < n) { return false; }
    for (size_t i = 0; i < n; i++) {
        if (kit_lower(s->at[i]) != word[i]) { return false; }
    }
    s->at += n;
    return true;
}

/* Take a number without leading zeros, up to `most`. */
static bool kit_span_number(kit_span *s, uint32_t most, uint32_t *n)
{
    const char *from = s->at;
    for (*n = 0; s->at < s->end && kit_digit(*s->at) && *n <= most; s->at++) {
        *n = *n * 10 + (uint32_t)(*s->at - '0');
    }
    return s->at > from && *n <= most && (*from != '0' || s->at == from + 1);
}

/* Return whether a name goes on. */
static bool kit_span_more(const kit_span *s)
{
    return s->at < s->end && (kit_letter(*s->at) || kit_digit(*s->at) || *s->at == '-');
}

/* Take four decimal numbers. */
static bool kit_url_ip4(kit_span *s, kit_url *u)
{
    kit_span t = *s;
    for (size_t i = 0; i < 4; i++) {
        uint32_t n;
        if ((i > 0 && !kit_span_take(&t, ".")) || !kit_span_number(&t, 255, &n)) {
            return false;
        }
        u->ip[i] = (unsigned char)n;
    }
    if (kit_span_more(&t) || (t.at < t.end && *t.at == '.')) { return false; }
    u->ip_bytes = 4;
    *s = t;
    return true;
}

/* Take an IPv6 number in brackets. Refuse an IPv4 number in it, in decimal or as ::ffff:7f00:1. */
static bool kit_url_ip6(kit_span *s, kit_url *u)
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    char text[INET6_ADDRSTRLEN];
    size_t n = 0;
    for (; s->at < s->end && *s->at != ']'; s->at++) {
        const char c = kit_lower(*s->at);
        if (n == sizeof text - 1 || (c != ':' && !kit_digit(c) && (c < 'a' || c > 'f'))) {
            return false;
        }
        text[n++] = c;
    }
    text[n] = '\0';
    u->ip_bytes = 16;
    return kit_span_take(s, "]") && inet_pton(AF_INET6, text, u->ip) == 1 &&
           memcmp(u->ip, mapped, sizeof mapped) != 0;
}

/* Take a name. Its last label begins with a letter: "0x7f.1" is a number for some clients. */
static bool kit_url_name(kit_span *s, kit_url *u)
{
    const char *label = s->at;
    u->name = s->at;
    for (;;) {
        while (kit_span_more(s)) { s->at++; }
        const size_t n = (size_t)(s->at - label);
        if (n == 0 || n > KIT_LABEL_MAX || *label == '-' || s->at[-1] == '-') { return false; }
        if (!kit_span_take(s, ".")) { break; }
        label = s->at;
    }
    u->name_len = (size_t)(s->at - u->name);
    return kit_letter(*label) && u->name_len <= KIT_HOST_MAX;
}

/* Take scheme, host and port. Return why it cannot be read; NULL: it can. `rule`: of a list. */
static const char *kit_url_begin(kit_span *s, bool rule, kit_url *u)
{
    memset(u, 0, sizeof *u);
    u->tls = kit_span_take(s, "https://");
    if (!u->tls && !kit_span_take(s, "http://")) { return "it has no http:// or https://"; }
    if (kit_span_take(s, "[")) {
        if (!kit_url_ip6(s, u)) { return "the IPv6 number is wrong, or has an IPv4 number in it"; }
    } else if (!kit_url_ip4(s, u)) {
        u->below = rule && kit_span_take(s, ".");
        if (!kit_url_name(s, u)) { return "the host is neither a name nor a number of four parts"; }
    }
    u->ip_bits = u->ip_bytes * 8;
    if (rule && u->ip_bytes != 0 && kit_span_take(s, "/") &&
        !kit_span_number(s, u->ip_bytes * 8, &u->ip_bits)) {
        return "a range ends with /0 to /32 or /128";
    }
    u->port = u->tls ? 443 : 80;
    if (kit_span_take(s, ":") && (!kit_span_number(s, 65535, &u->port) || u->port == 0)) {
        return "the port must be 1..65535, without leading zeros";
    }
    return NULL;
}

/* Return why the rest of an address, path and query, cannot be read; NULL: it can. */
static const char *kit_url_rest(kit_span s)
{
    if (s.at < s.end && *s.at != '/') { return "behind host and port only a path may follow"; }
    for (; s.at < s.end; s.at++) {
        if (*s.at == '%') {
            unsigned value = 0;
            for (int i = 0; i < 2; i++) {
                const char c = ++s.at < s.end ? kit_lower(*s.at) : '\0';
                if (!kit_digit(c) && (c < 'a' || c > 'f')) { return "% needs two hex digits"; }
                value = value * 16 + (unsigned)(kit_digit(c) ? c - '0' : c - 'a' + 10);
            }
            if (value < ' ' || value == 0x7f) { return "a control byte, as %XX"; }
        } else if (*s.at == '\0' || (!kit_letter(*s.at) && !kit_digit(*s.at) &&
                                     strchr("-._~!$&'()*+,;=:@/?", *s.at) == NULL)) {
            return "a byte that no address has";
        }
    }
    return NULL;
}

/* Return whether two numbers are equal in their first bits. */
static bool kit_bits_equal(const unsigned char *a, const unsigned char *b, uint32_t bits)
{
    const uint32_t whole = bits / 8, rest = bits % 8;
    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

static bool kit_url_meets(const kit_url *u, const kit_url *rule)
{
    if (u->tls != rule->tls || u->port != rule->port || u->ip_bytes != rule->ip_bytes) {
        return false;
    }
    if (u->ip_bytes != 0) { return kit_bits_equal(u->ip, rule->ip, rule->ip_bits); }
    if (rule->below ? u->name_len < rule->name_len + 2 : u->name_len != rule->name_len) {
        return false;
    }
    const char *tail = u->name + (u->name_len - rule->name_len);
    for (size_t i = 0; i < rule->name_len; i++) {
        if (kit_lower(tail[i]) != kit_lower(rule->name[i])) { return false; }
    }
    if (!rule->below) { return true; }
    for (const char *p = u->name; p < tail; p++) { /* clients decode such a label, or refuse it */
        kit_span label = { p, tail };
        if ((p == u->name || p[-1] == '.') && kit_span_take(&label, "xn--")) { return false; }
    }
    return tail[-1] == '.';
}

CELLAR_API cellar_err cellar_url_allowed(const char *list, const char *url, size_t url_len,
                                         const char **why)
{
    static const char blanks[] = " \t\r\n,";
    const char *none;
    if (why == NULL) { why = &none; }
    *why = NULL;
    if (list == NULL || url == NULL) { return CELLAR_E_INVAL; }
    kit_url u;
    kit_span s = { url, url + url_len };
    const char *denied = url_len > KIT_URL_MAX ? "it is longer than 2,048 bytes"
                                               : kit_url_begin(&s, false, &u);
    if (denied == NULL) { denied = kit_url_rest(s); }
    bool met = false;
    for (const char *p = list + strspn(list, blanks); *p != '\0'; p += strspn(p, blanks)) {
        kit_url rule;
        kit_span word = { p, p + strcspn(p, blanks) };
        p = word.end;
        if (kit_url_begin(&word, true, &rule) != NULL || word.at != word.end) {
            *why = word.at;
            return CELLAR_E_CONFIG;
        }
        met |= denied == NULL && kit_url_meets(&u, &rule);
    }
    *why = denied != NULL ? denied : met ? NULL : "no rule of the list names it";
    return met ? CELLAR_OK : CELLAR_E_DENIED;
}

BASE_SIZE_END
