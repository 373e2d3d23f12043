/* SPDX-License-Identifier: MIT
 *
 * key: names in the server, readable where a key is readable.
 *
 * FORMAT     prefix:space:key         bytes 0x21..0x7E, no '#' in front, at most 512
 *            prefix:space:#x<hex>     other keys of at most 512 bytes
 *            prefix:space:#h<hex>     longer keys: the first 16 bytes of SHA-256
 *            prefix:~e   prefix:~g:space   prefix:~t:tag   prefix:~s:tag (soft)
 *            prefix:~p:process:space  a delete by pattern; the key exists only inside its script
 * INVARIANTS The name of a namespace has no ':' and no '~' in front, so a control key is never the
 *            name of a value. A key text with '#' in front is always hexadecimal: names are
 *            injective. The root namespace has the name "+", which no other one may have.
 *            remote_check is a chain of bijections of its state for each word, behind eight such
 *            chains in a long input: two inputs of one length that differ in one word have
 *            different checks.
 * NOT HERE   secrets of the store: processes must agree on names without a common secret. */
#include "remote/key.h"

#include <endian.h>
#include <string.h>

#include "base/sha256.h"
#include "remote/config.h"

/* ---- hashes ---- */

enum { REMOTE_LANES_MIN = 1024 }; /* bytes of an input with eight chains */

/* Read 8 bytes, little-endian. */
static uint64_t remote_word(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return le64toh(w);
}

static uint64_t remote_check_word(uint64_t h, uint64_t w)
{
    h = (h ^ w) * UINT64_C(0x9E3779B97F4A7C15);
    return h ^ h >> 32;
}

CELLAR_PRIVATE uint64_t remote_check(uint64_t h, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    size_t i = 0;
    uint64_t last = 0, a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, j = 8;
    for (; len >= REMOTE_LANES_MIN && len - i >= 64; i += 64) { /* a chain waits for itself only */
        a = remote_check_word(a, remote_word(p + i));
        b = remote_check_word(b, remote_word(p + i + 8));
        c = remote_check_word(c, remote_word(p + i + 16));
        d = remote_check_word(d, remote_word(p + i + 24));
        e = remote_check_word(e, remote_word(p + i + 32));
        f = remote_check_word(f, remote_word(p + i + 40));
        g = remote_check_word(g, remote_word(p + i + 48));
        j = remote_check_word(j, remote_word(p + i + 56));
    }
    const uint64_t sum[] = { a, b, c, d, e, f, g, j };
    for (size_t k = 0; k < 8 && i != 0; k++) { h = remote_check_word(h, sum[k]); }
    for (; len - i >= 8; i += 8) { h = remote_check_word(h, remote_word(p + i)); }
    for (size_t k = 0; i + k < len; k++) { last |= (uint64_t)p[i + k] << (8 * k); }
    if (i < len) { h = remote_check_word(h, last); }
    h = (h ^ (uint64_t)len) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 29;
}

/* ---- names ---- */

static const char REMOTE_HEX[] = "0123456789abcdef";

/* The namespace "" is named like none that remote_space_valid accepts. */
static const char REMOTE_ROOT[] = "+";

CELLAR_PRIVATE bool remote_space_valid(const char *name)
{
    if (strcmp(name, REMOTE_ROOT) == 0) { return false; }
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == ':' || *p <= ' ' || *p > '~') { return false; }
    }
    return name[0] != '~';
}

static void remote_name_add(remote_name *n, const void *bytes, size_t len)
{
    memcpy(n->text + n->len, bytes, len);
    n->len += len;
}

static void remote_name_hex(remote_name *n, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        n->text[n->len++] = REMOTE_HEX[bytes[i] >> 4];
        n->text[n->len++] = REMOTE_HEX[bytes[i] & 15];
    }
}

static bool remote_key_readable(const uint8_t *key, size_t len)
{
    if (key[0] == '#') { return false; }
    for (size_t i = 0; i < len; i++) {
        if (key[i] < 0x21 || key[i] > 0x7E) { return false; }
    }
    return true;
}

CELLAR_PRIVATE void remote_key_name(const remote_names *n, const void *key, size_t key_len,
                                    remote_name *out)
{
    const char *space = n->space[0] == '\0' ? REMOTE_ROOT : n->space;
    out->len = 0;
    out->digest = key_len > CELLAR_REMOTE_KEY_TEXT_MAX;
    remote_name_add(out, n->prefix, strlen(n->prefix));
    remote_name_add(out, ":", 1);
    remote_name_add(out, space, strlen(space));
    remote_name_add(out, ":", 1);
    if (out->digest) {
        base_sha256 digest;
        uint8_t sum[32];
        base_sha256_init(&digest);
        base_sha256_add(&digest, key, key_len);
        base_sha256_end(&digest, sum);
        remote_name_add(out, "#h", 2);
        remote_name_hex(out, sum, 16);
    } else if (remote_key_readable(key, key_len)) {
        remote_name_add(out, key, key_len);
    } else {
        remote_name_add(out, "#x", 2);
        remote_name_hex(out, key, key_len);
    }
}

/* The text between "prefix:~" and the text of a control key. */
static const char *const REMOTE_MARKS[] = {
    [REMOTE_KIND_EPOCH] = "e", [REMOTE_KIND_GENERATION] = "g:", [REMOTE_KIND_TAG] = "t:",
    [REMOTE_KIND_SOFT_TAG] = "s:", [REMOTE_KIND_PATTERN] = "p:"
};

CELLAR_PRIVATE void remote_control_name(const char *prefix, remote_kind kind, const char *text,
                                        size_t len, remote_name *out)
{
    out->len = 0;
    out->digest = false;
    remote_name_add(out, prefix, strlen(prefix));
    remote_name_add(out, ":~", 2);
    remote_name_add(out, REMOTE_MARKS[kind], strlen(REMOTE_MARKS[kind]));
    if (kind == REMOTE_KIND_GENERATION && len == 0) {
        text = REMOTE_ROOT;
        len = 1;
    }
    if (len != 0) { remote_name_add(out, text, len); }
}

/* Return the kind of the text behind "prefix:~". */
static remote_kind remote_control_kind(const char *text, size_t len)
{
    if (len == 1 && text[0] == 'e') { return REMOTE_KIND_EPOCH; }
    for (remote_kind k = REMOTE_KIND_GENERATION; len >= 2 && k <= REMOTE_KIND_PATTERN; k++) {
        if (memcmp(text, REMOTE_MARKS[k], 2) == 0) { return k; }
    }
    return REMOTE_KIND_OTHER;
}

CELLAR_PRIVATE remote_parts remote_name_parts(const char *prefix, const char *name, size_t len)
{
    remote_parts p = { REMOTE_KIND_OTHER, "", 0, "", 0 };
    const size_t skip = strlen(prefix) + 1;
    if (len <= skip || memcmp(name, prefix, skip - 1) != 0 || name[skip - 1] != ':') { return p; }
    const char *const at = name + skip;
    const size_t left = len - skip;
    if (at[0] == '~') {
        p.kind = remote_control_kind(at + 1, left - 1);
        p.text = left > 3 ? at + 3 : at;
        p.text_len = left > 3 ? left - 3 : 0;
        if (p.kind == REMOTE_KIND_GENERATION && p.text_len == 1 && p.text[0] == REMOTE_ROOT[0]) {
            p.text_len = 0;
        }
        return p;
    }
    const char *const colon = memchr(at, ':', left);
    if (colon == NULL || colon == at || colon + 1 == at + left) { return p; }
    p.kind = REMOTE_KIND_VALUE;
    p.space = at;
    p.space_len = (size_t)(colon - at);
    if (p.space_len == 1 && at[0] == REMOTE_ROOT[0]) { p.space_len = 0; }
    p.text = colon + 1;
    p.text_len = (size_t)(at + left - p.text);
    return p;
}

CELLAR_PRIVATE size_t remote_key_of(const char *text, size_t text_len, uint8_t *key)
{
    if (text[0] != '#') {
        if (text_len > CELLAR_REMOTE_KEY_TEXT_MAX) { return 0; }
        memcpy(key, text, text_len);
        return remote_key_readable(key, text_len) ? text_len : 0;
    }
    if (text_len < 4 || text[1] != 'x' || text_len % 2 != 0) { return 0; }
    const size_t len = (text_len - 2) / 2;
    if (len > CELLAR_REMOTE_KEY_TEXT_MAX) { return 0; }
    for (size_t i = 0; i < len; i++) {
        const int hi = remote_hex_digit(text[2 + 2 * i]), lo = remote_hex_digit(text[3 + 2 * i]);
        if (hi < 0 || lo < 0) { return 0; }
        key[i] = (uint8_t)(hi << 4 | lo);
    }
    return remote_key_readable(key, len) ? 0 : len;
}
