/* SPDX-License-Identifier: MIT
 *
 * template: readable keys with placeholders, as "project:{id}:stats".
 *
 * PICTURE    text -> compile: literals and the set of escaped bytes -> key: literal, value, literal
 *            .. -> match: the values back
 * FORMAT     A value is written as it is, but for escaped bytes: %XX. An empty value is "%_".
 *            Escaped are control bytes, ':', '{', '}', '%' and the first byte of each literal
 *            behind a placeholder.
 * INVARIANTS No value has a plain byte of the set, so it ends where the next literal begins:
 *            different values give different keys, and match finds them again. */
#include "cellar_kit.h"

#include "base/num.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_SEPARATOR ':'

typedef struct kit_template {
    uint32_t values;                                  /* number of placeholders */
    uint8_t lit_at[CELLAR_TEMPLATE_VALUES_MAX + 1];   /* literal i stands before value i */
    uint8_t lit_len[CELLAR_TEMPLATE_VALUES_MAX + 1];
    uint8_t escaped[32];                              /* one bit for each byte */
    char text[CELLAR_TEMPLATE_MAX + 1];               /* all literals, without placeholders */
} kit_template;
_Static_assert(sizeof(kit_template) <= sizeof(cellar_template), "the template holds the state");

static bool kit_escaped(const kit_template *t, unsigned char byte)
{
    return (t->escaped[byte / 8] >> (byte % 8) & 1) != 0;
}

static void kit_escape(kit_template *t, unsigned char byte)
{
    t->escaped[byte / 8] |= (uint8_t)(1u << (byte % 8));
}

/* Read the placeholder at `p`. Return its end, or NULL. */
static const char *kit_placeholder(const char *p)
{
    const char *end = p + 1 + strcspn(p + 1, "{}");
    return *end == '}' && end != p + 1 ? end + 1 : NULL;
}

/* Append the literals and placeholders of a text. */
static cellar_err kit_template_parse(kit_template *t, const char *p, size_t *used)
{
    while (*p != '\0') {
        if (*p == '}') { return CELLAR_E_INVAL; }
        if (*p != '{') {
            if (*used == CELLAR_TEMPLATE_MAX) { return CELLAR_E_TOOBIG; }
            if (t->values > 0 && t->lit_len[t->values] == 0) {
                if (*p == '%') { return CELLAR_E_INVAL; } /* a value may hold '%' as an escape */
                kit_escape(t, (unsigned char)*p);
            }
            t->text[(*used)++] = *p++;
            t->lit_len[t->values]++;
            continue;
        }
        p = kit_placeholder(p);
        if (p == NULL || (t->values > 0 && t->lit_len[t->values] == 0)) { return CELLAR_E_INVAL; }
        if (t->values == CELLAR_TEMPLATE_VALUES_MAX) { return CELLAR_E_LIMIT; }
        t->lit_at[++t->values] = (uint8_t)*used;
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_template_compile(const char *prefix, const char *text,
                                              cellar_template *out)
{
    if (out != NULL) { memset(out, 0, sizeof *out); }
    if (text == NULL || *text == '\0' || out == NULL) { return CELLAR_E_INVAL; }
    kit_template t = {0};
    size_t used = prefix != NULL ? strlen(prefix) : 0;
    while (used > 0 && prefix[used - 1] == KIT_SEPARATOR) { used--; }
    if (used >= CELLAR_TEMPLATE_MAX) { return CELLAR_E_TOOBIG; }
    if (used > 0) {
        if (memchr(prefix, '{', used) != NULL || memchr(prefix, '}', used) != NULL) {
            return CELLAR_E_INVAL;
        }
        memcpy(t.text, prefix, used);
        t.text[used++] = KIT_SEPARATOR;
        t.lit_len[0] = (uint8_t)used;
        while (*text == KIT_SEPARATOR) { text++; }
    }
    for (unsigned byte = 0; byte < 0x20; byte++) { kit_escape(&t, (unsigned char)byte); }
    kit_escape(&t, 0x7f);
    kit_escape(&t, KIT_SEPARATOR);
    kit_escape(&t, '{');
    kit_escape(&t, '}');
    kit_escape(&t, '%');
    const cellar_err err = kit_template_parse(&t, text, &used);
    if (err == CELLAR_OK) { memcpy(out, &t, sizeof t); }
    return err;
}

typedef struct kit_out { /* bytes that do not fit are counted */
    unsigned char *at;
    size_t cap, len;
} kit_out;

static void kit_put(kit_out *o, const void *data, size_t len)
{
    const size_t room = o->len < o->cap ? o->cap - o->len : 0;
    if (len != 0 && room != 0) { memcpy(o->at + o->len, data, BASE_MIN(len, room)); }
    o->len += len;
}

static void kit_put_value(const kit_template *t, kit_out *o, const cellar_bytes *value)
{
    static const char digits[] = "0123456789ABCDEF";
    const unsigned char *p = value->data;
    if (value->len == 0) { kit_put(o, "%_", 2); }
    for (size_t i = 0; i < value->len; i++) {
        const char escape[3] = { '%', digits[p[i] >> 4], digits[p[i] & 15] };
        if (kit_escaped(t, p[i])) {
            kit_put(o, escape, sizeof escape);
        } else {
            kit_put(o, &p[i], 1);
        }
    }
}

CELLAR_API cellar_err cellar_template_key(const cellar_template *compiled,
                                          const cellar_bytes *values, size_t value_count, void *buf,
                                          size_t buf_cap, size_t *key_len)
{
    if (key_len != NULL) { *key_len = 0; }
    if (compiled == NULL || (buf == NULL && buf_cap != 0)) { return CELLAR_E_INVAL; }
    kit_template t;
    memcpy(&t, compiled, sizeof t);
    if (value_count != t.values || (values == NULL && value_count != 0)) { return CELLAR_E_INVAL; }
    kit_out o = { buf, buf_cap, 0 };
    kit_put(&o, t.text, t.lit_len[0]);
    for (uint32_t i = 0; i < t.values; i++) {
        if (values[i].len > CELLAR_KEY_MAX || (values[i].data == NULL && values[i].len != 0)) {
            return CELLAR_E_INVAL;
        }
        kit_put_value(&t, &o, &values[i]);
        kit_put(&o, t.text + t.lit_at[i + 1], t.lit_len[i + 1]);
    }
    if (o.len == 0 || o.len > CELLAR_KEY_MAX) { return CELLAR_E_INVAL; }
    if (key_len != NULL) { *key_len = o.len; }
    return o.len <= buf_cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

static int kit_hex(unsigned char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Read one value at *at into *o. Return false if no value that cellar_template_key wrote stands
 * there. */
static bool kit_take_value(const kit_template *t, const unsigned char *key, size_t key_len,
                           size_t *at, kit_out *o)
{
    const size_t start = *at;
    size_t i = start;
    if (key_len - i >= 2 && key[i] == '%' && key[i + 1] == '_') {
        *at = i + 2;
        return true;
    }
    while (i < key_len) {
        unsigned char byte = key[i];
        if (byte != '%') {
            if (kit_escaped(t, byte)) { break; }
            i++;
        } else {
            const int high = key_len - i >= 3 ? kit_hex(key[i + 1]) : -1;
            const int low = key_len - i >= 3 ? kit_hex(key[i + 2]) : -1;
            if (high < 0 || low < 0) { return false; }
            byte = (unsigned char)(high << 4 | low);
            if (!kit_escaped(t, byte)) { return false; }
            i += 3;
        }
        kit_put(o, &byte, 1);
    }
    *at = i;
    return i != start;
}

CELLAR_API cellar_err cellar_template_match(const cellar_template *compiled, const void *key,
                                            size_t key_len, cellar_bytes *values,
                                            size_t value_count, void *buf, size_t buf_cap)
{
    if (compiled == NULL || key == NULL || (buf == NULL && buf_cap != 0)) { return CELLAR_E_INVAL; }
    kit_template t;
    memcpy(&t, compiled, sizeof t);
    if (value_count != t.values || (values == NULL && value_count != 0)) { return CELLAR_E_INVAL; }
    const unsigned char *p = key;
    kit_out o = { buf, buf_cap, 0 };
    size_t at = 0;
    for (uint32_t i = 0; i <= t.values; i++) {
        const size_t n = t.lit_len[i];
        if (key_len - at < n || memcmp(p + at, t.text + t.lit_at[i], n) != 0) {
            return CELLAR_MISS;
        }
        at += n;
        if (i == t.values) { break; }
        const size_t from = o.len;
        if (!kit_take_value(&t, p, key_len, &at, &o)) { return CELLAR_MISS; }
        values[i].len = o.len - from;
        values[i].data = from < buf_cap ? (const unsigned char *)buf + from : buf;
    }
    if (at != key_len) { return CELLAR_MISS; }
    return o.len <= buf_cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

BASE_SIZE_END
