/* SPDX-License-Identifier: MIT
 *
 * reply: the bytes of replies, in blocks.
 *
 * PICTURE    out_first -> block -> block -> out_last;  [from, used) of each is unsent
 * WALK       A bulk that is read from the store is reserved behind the widest possible header;
 *            resp_bulk_commit writes the header, and moves the value left by the digits saved.
 * LIMITS     Blocks are charged to the bound of the port, which keeps RESP_KEPT_MAX free ones. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "resp/reply.h"

#define RESP_KEPT_MAX 16u   /* free blocks that the port keeps */
#define RESP_TRIM_MAX ((size_t)1 << 10)

/* ---- pins ---- */

CELLAR_PRIVATE void resp_pin_free(cellar_resp *r, resp_pin *pin)
{
    if (--pin->refs > 0) { return; }
    r->pinned_bytes -= pin->value.value_len;
    cellar_unpin(&pin->value);
}

/* ---- blocks ---- */

CELLAR_PRIVATE void resp_block_free(cellar_resp *r, resp_block *b)
{
    if (b->pin != NULL) {
        resp_pin_free(r, b->pin);
        base_free(&r->obj.account, BASE_MOD_STORE, b, sizeof *b + RESP_PIN_TEXT);
    } else if (b->cap == RESP_BLOCK_BYTES && r->free_count < RESP_KEPT_MAX) {
        b->next = r->free_blocks;
        r->free_blocks = b;
        r->free_count++;
    } else {
        base_free(&r->obj.account, BASE_MOD_STORE, b, sizeof *b + b->cap);
    }
}

CELLAR_PRIVATE resp_block *resp_block_new(cellar_resp *r, size_t bytes)
{
    const size_t cap = BASE_MAX(bytes, RESP_BLOCK_BYTES);
    resp_block *b = NULL;
    if (cap == RESP_BLOCK_BYTES && r->free_blocks != NULL) {
        b = r->free_blocks;
        r->free_blocks = b->next;
        r->free_count--;
    } else if (cap <= SIZE_MAX - sizeof *b) {
        b = base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *b + cap, NULL);
    }
    if (b == NULL) { return NULL; }
    b->next = NULL;
    b->pin = NULL;
    b->cap = cap;
    b->from = b->used = 0;
    return b;
}

CELLAR_PRIVATE void resp_block_link(resp_client *c, resp_block *b)
{
    if (c->out_last != NULL) { c->out_last->next = b; } else { c->out_first = b; }
    c->out_last = b;
}

/* Append an empty block with room for `bytes`. NULL: no memory. */
BASE_NOINLINE static resp_block *resp_block_add(resp_client *c, size_t bytes)
{
    resp_block *b = resp_block_new(c->of, bytes);
    if (b != NULL) { resp_block_link(c, b); }
    return b;
}

/* Return the room of the last block. */
BASE_INLINE size_t resp_room(const resp_client *c)
{
    const resp_block *b = c->out_last;
    return b != NULL && b->pin == NULL ? b->cap - b->used : 0;
}

CELLAR_PRIVATE void resp_out_sent(resp_client *c, size_t bytes)
{
    BASE_ASSERT(bytes <= c->out_bytes);
    c->out_bytes -= bytes;
    for (resp_block *b; (b = c->out_first) != NULL;) {
        const size_t here = BASE_MIN(bytes, b->used - b->from);
        b->from += here;
        bytes -= here;
        if (b->pin != NULL) { c->out_pinned -= here; }
        if (b->from < b->used) { return; }
        c->out_first = b->next;
        if (c->out_first == NULL) { c->out_last = NULL; }
        resp_block_free(c->of, b);
    }
}

CELLAR_PRIVATE void resp_wake(resp_client *c)
{
    cellar_resp *r = c->of;
    if (c->flags & RESP_C_PENDING) { return; }
    c->flags |= RESP_C_PENDING;
    c->pending_next = NULL;
    *r->pending_end = c;
    r->pending_end = &c->pending_next;
}

CELLAR_PRIVATE resp_client *resp_chain(cellar_resp *r, uint32_t flag)
{
    resp_client *chain = NULL;
    for (resp_client *c = r->first; c != NULL; c = c->next) {
        if (!(c->flags & flag)) { continue; }
        c->chain_next = chain;
        chain = c;
    }
    return chain;
}

CELLAR_PRIVATE resp_out resp_out_take(resp_client *c)
{
    const resp_out part = { c->out_first, c->out_last, c->out_bytes, c->out_pinned };
    c->out_first = c->out_last = NULL;
    c->out_bytes = c->out_pinned = 0;
    return part;
}

CELLAR_PRIVATE void resp_out_add(resp_client *c, resp_out part)
{
    if (part.first == NULL) { return; }
    if (c->out_last != NULL) { c->out_last->next = part.first; } else { c->out_first = part.first; }
    c->out_last = part.last;
    c->out_bytes += part.bytes;
    c->out_pinned += part.pinned;
}

CELLAR_PRIVATE uint16_t resp_block_parts(const resp_block *b, struct iovec *part)
{
    const unsigned char *const texts = b->bytes;
    const size_t value_len = b->pin != NULL ? b->pin->value.value_len : 0;
    const size_t head = b->pin != NULL ? b->used - value_len - 2 : b->used;
    const struct { const void *at; size_t len; } whole[RESP_BLOCK_PARTS] = {
        { texts, head }, { b->pin != NULL ? b->pin->value.value : NULL, value_len },
        { texts + head, b->used - head - value_len },
    };
    uint16_t count = 0;
    size_t skip = b->from;
    for (size_t i = 0; i < RESP_BLOCK_PARTS; i++) {
        const size_t here = BASE_MIN(skip, whole[i].len);
        skip -= here;
        if (whole[i].len > here) {
            part[count].iov_base = (unsigned char *)(uintptr_t)whole[i].at + here;
            part[count++].iov_len = whole[i].len - here;
        }
    }
    return count;
}

CELLAR_PRIVATE void resp_out_trim(resp_client *c)
{
    if (c->out_bytes == 0) { resp_out_drop(c); } /* CLIENT REPLY leaves empty blocks */
    resp_block *b = c->out_last;
    const size_t bytes = b != NULL ? b->used - b->from : 0;
    if (bytes == 0 || b->pin != NULL || c->out_first != b || b->cap != RESP_BLOCK_BYTES ||
        bytes > RESP_TRIM_MAX) {
        return;
    }
    resp_block *small = base_alloc(&c->of->obj.account, BASE_MOD_STORE, sizeof *small + bytes,
                                   NULL);
    if (small == NULL) { return; }
    *small = (resp_block){ .cap = bytes, .used = bytes };
    memcpy(small->bytes, b->bytes + b->from, bytes);
    c->out_first = c->out_last = small;
    resp_block_free(c->of, b);
}

CELLAR_PRIVATE void resp_out_drop(resp_client *c) { resp_out_sent(c, c->out_bytes); }

CELLAR_PRIVATE void resp_blocks_drop(cellar_resp *r)
{
    for (resp_block *b; (b = r->free_blocks) != NULL;) {
        r->free_blocks = b->next;
        base_free(&r->obj.account, BASE_MOD_STORE, b, sizeof *b + b->cap);
    }
    r->free_count = 0;
}

/* ---- bytes ---- */

CELLAR_PRIVATE void resp_put(resp_client *c, const void *data, size_t len)
{
    const unsigned char *from = data;
    if (BASE_UNLIKELY(c->flags & (RESP_C_MUTED | RESP_C_BROKEN))) { return; }
    while (len > 0) {
        size_t room = resp_room(c);
        if (BASE_UNLIKELY(room == 0)) {
            if (resp_block_add(c, len) == NULL) {
                c->flags |= RESP_C_BROKEN;
                resp_add(c->of, RESP_COUNT_memory_closed, 1);
                return;
            }
            room = resp_room(c);
        }
        const size_t here = BASE_MIN(room, len);
        memcpy(c->out_last->bytes + c->out_last->used, from, here);
        c->out_last->used += here;
        c->out_bytes += here;
        from += here;
        len -= here;
    }
}

/* Write the digits of a number to the end of `to`, and return where they begin. */
static char *resp_digits(char to[24], int64_t n)
{
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    char *at = to + 24;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (n < 0) { *--at = '-'; }
    return at;
}

/* Write a line of a kind and a number. */
static void resp_line(resp_client *c, char kind, int64_t n)
{
    char line[27], digits[24];
    const char *at = resp_digits(digits, n);
    const size_t len = (size_t)(digits + sizeof digits - at);
    line[0] = kind;
    memcpy(line + 1, at, len);
    line[len + 1] = '\r';
    line[len + 2] = '\n';
    resp_put(c, line, len + 3);
}

CELLAR_PRIVATE void resp_ok(resp_client *c) { resp_put(c, "+OK\r\n", 5); }

CELLAR_PRIVATE void resp_simple(resp_client *c, const char *text)
{
    resp_put(c, "+", 1);
    resp_put(c, text, strlen(text));
    resp_put(c, "\r\n", 2);
}

static void resp_error_va(resp_client *c, const char *format, va_list args)
{
    char text[1024];
    int len = vsnprintf(text, sizeof text, format, args);
    if (len < 0) { len = 0; }
    len = BASE_MIN(len, (int)sizeof text - 1);
    for (int i = 0; i < len; i++) {
        if (text[i] == '\r' || text[i] == '\n') { text[i] = ' '; }
    }
    resp_put(c, "-", 1);
    resp_put(c, text, (size_t)len);
    resp_put(c, "\r\n", 2);
}

CELLAR_PRIVATE void resp_error(resp_client *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    resp_error_va(c, format, args);
    va_end(args);
}

CELLAR_PRIVATE void resp_refuse(resp_client *c, const char *format, ...)
{
    va_list args;
    if (c->flags & RESP_C_MULTI) { c->flags |= RESP_C_DIRTY; }
    resp_add(c->of, RESP_COUNT_refused, 1);
    va_start(args, format);
    resp_error_va(c, format, args);
    va_end(args);
}

CELLAR_PRIVATE void resp_int(resp_client *c, int64_t n) { resp_line(c, ':', n); }

CELLAR_PRIVATE void resp_bool(resp_client *c, bool yes)
{
    if (c->protocol < 3) {
        resp_int(c, yes);
    } else {
        resp_put(c, yes ? "#t\r\n" : "#f\r\n", 4);
    }
}

CELLAR_PRIVATE void resp_bulk_copy(resp_client *c, const void *data, size_t len)
{
    resp_line(c, '$', (int64_t)len);
    resp_put(c, data, len);
    resp_put(c, "\r\n", 2);
}

CELLAR_PRIVATE void resp_bulk(resp_client *c, const void *data, size_t len)
{
    if (len > RESP_BLOCK_BYTES && !(c->flags & (RESP_C_MUTED | RESP_C_BROKEN))) {
        void *to = resp_bulk_reserve(c, len);
        if (to == NULL) {
            resp_error(c, "%s", RESP_OOM);
        } else {
            memcpy(to, data, len);
            resp_bulk_commit(c, len);
        }
        return;
    }
    resp_bulk_copy(c, data, len);
}

CELLAR_PRIVATE void resp_bulk_text(resp_client *c, const char *text)
{
    resp_bulk(c, text, strlen(text));
}

CELLAR_PRIVATE void resp_bulk_int(resp_client *c, int64_t n)
{
    char digits[24];
    const char *at = resp_digits(digits, n);
    resp_bulk(c, at, (size_t)(digits + sizeof digits - at));
}

CELLAR_PRIVATE void resp_pair_int(resp_client *c, const char *name, int64_t v)
{
    resp_bulk_text(c, name);
    resp_int(c, v);
}

CELLAR_PRIVATE void resp_pair_text(resp_client *c, const char *name, const char *v)
{
    resp_bulk_text(c, name);
    resp_bulk_text(c, v);
}

CELLAR_PRIVATE void resp_null(resp_client *c)
{
    if (c->protocol < 3) {
        resp_put(c, "$-1\r\n", 5);
    } else {
        resp_put(c, "_\r\n", 3);
    }
}

CELLAR_PRIVATE void resp_null_array(resp_client *c)
{
    if (c->protocol < 3) {
        resp_put(c, "*-1\r\n", 5);
    } else {
        resp_put(c, "_\r\n", 3);
    }
}

CELLAR_PRIVATE void resp_array(resp_client *c, uint64_t n) { resp_line(c, '*', (int64_t)n); }

CELLAR_PRIVATE void resp_map(resp_client *c, uint64_t n)
{
    resp_line(c, c->protocol < 3 ? '*' : '%', (int64_t)(c->protocol < 3 ? 2 * n : n));
}

CELLAR_PRIVATE void resp_set(resp_client *c, uint64_t n)
{
    resp_line(c, c->protocol < 3 ? '*' : '~', (int64_t)n);
}

CELLAR_PRIVATE void resp_push(resp_client *c, uint64_t n)
{
    resp_line(c, c->protocol < 3 ? '*' : '>', (int64_t)n);
}

CELLAR_PRIVATE void resp_double(resp_client *c, double v)
{
    char text[40];
    if (isinf(v)) {
        (void)snprintf(text, sizeof text, "%s", v > 0 ? "inf" : "-inf");
    } else {
        (void)snprintf(text, sizeof text, "%.17g", v);
    }
    if (c->protocol < 3) {
        resp_bulk_text(c, text);
    } else {
        resp_put(c, ",", 1);
        resp_put(c, text, strlen(text));
        resp_put(c, "\r\n", 2);
    }
}

CELLAR_PRIVATE void resp_verbatim(resp_client *c, const char *kind, const void *data, size_t len)
{
    if (c->protocol < 3) {
        resp_bulk(c, data, len);
        return;
    }
    resp_line(c, '=', (int64_t)(len + 4));
    resp_put(c, kind, 3);
    resp_put(c, ":", 1);
    resp_put(c, data, len);
    resp_put(c, "\r\n", 2);
}

CELLAR_PRIVATE void resp_block_bulk(resp_block *b, const void *data, size_t len)
{
    char digits[24];
    const char *at = resp_digits(digits, (int64_t)len);
    const size_t digit_count = (size_t)(digits + sizeof digits - at);
    unsigned char *to = b->bytes + b->used;
    BASE_ASSERT(b->cap - b->used >= digit_count + len + 5);
    *to++ = '$';
    memcpy(to, at, digit_count);
    memcpy(to + digit_count, "\r\n", 2);
    to += digit_count + 2;
    memcpy(to, data, len);
    memcpy(to + len, "\r\n", 2);
    b->used += digit_count + len + 5;
}

CELLAR_PRIVATE void resp_put_blocks(resp_client *c, resp_block *first)
{
    for (resp_block *b = first, *next; b != NULL; b = next) {
        const size_t bytes = b->used - b->from;
        next = b->next;
        if ((c->flags & (RESP_C_MUTED | RESP_C_BROKEN)) || bytes <= resp_room(c)) {
            resp_put(c, b->bytes + b->from, bytes);
            resp_block_free(c->of, b);
            continue;
        }
        b->next = NULL;
        resp_block_link(c, b);
        c->out_bytes += bytes;
    }
}

/* ---- a bulk in place ---- */

/* Return the bytes of the header of a bulk. */
static uint32_t resp_head_bytes(size_t len)
{
    char digits[24];
    return 3 + (uint32_t)(digits + sizeof digits - resp_digits(digits, (int64_t)len));
}

CELLAR_PRIVATE void *resp_bulk_reserve(resp_client *c, size_t cap)
{
    const uint32_t head = resp_head_bytes(cap);
    size_t need;
    if (c->flags & RESP_C_BROKEN) { return NULL; }
    if (!base_size_add(cap, head + 2u, &need)) { need = SIZE_MAX; }
    if (resp_room(c) < need && resp_block_add(c, need) == NULL) { return NULL; }
    c->reserved_head = head;
    return c->out_last->bytes + c->out_last->used + head;
}

CELLAR_PRIVATE void resp_bulk_cancel(resp_client *c, resp_block *last)
{
    resp_block *b = c->out_last;
    if (b == last) { return; }
    BASE_ASSERT(b->used == 0);
    if (last != NULL) { last->next = NULL; } else { c->out_first = NULL; }
    c->out_last = last;
    resp_block_free(c->of, b);
}

CELLAR_PRIVATE void resp_bulk_commit(resp_client *c, size_t len)
{
    char digits[24];
    const char *at = resp_digits(digits, (int64_t)len);
    const size_t digit_count = (size_t)(digits + sizeof digits - at), head = digit_count + 3;
    if (c->flags & (RESP_C_MUTED | RESP_C_BROKEN)) { return; }
    resp_block *b = c->out_last;
    unsigned char *to = b->bytes + b->used;
    BASE_ASSERT(head <= c->reserved_head);
    BASE_ASSERT(b->cap - b->used >= c->reserved_head + len + 2);
    if (head != c->reserved_head) { memmove(to + head, to + c->reserved_head, len); }
    to[0] = '$';
    memcpy(to + 1, at, digit_count);
    memcpy(to + head - 2, "\r\n", 2);
    memcpy(to + head + len, "\r\n", 2);
    b->used += head + len + 2;
    c->out_bytes += head + len + 2;
}

/* ---- errors ---- */

CELLAR_PRIVATE void resp_fail(resp_client *c, cellar_err err)
{
    if (err == CELLAR_E_SPACE || err == CELLAR_E_NOMEM) {
        resp_error(c, "%s", RESP_OOM);
    } else if (err == CELLAR_E_TOOBIG) {
        resp_error(c, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    } else if (err == CELLAR_E_TYPE) {
        resp_error(c, "WRONGTYPE Operation against a key holding the wrong kind of value");
    } else if (err == CELLAR_E_INVAL) {
        resp_error(c, "ERR invalid key");
    } else if (err == CELLAR_DISABLED) {
        resp_error(c, "ERR the namespace is disabled");
    } else if (err == CELLAR_E_DENIED) {
        resp_error(c, "ERR the key is denied by policy");
    } else if (err == CELLAR_E_TIMEOUT) {
        resp_error(c, "ERR the disk, or the server that shares the namespace, does not answer");
    } else if (err == CELLAR_E_CLOSED) {
        c->of->dropped = true; /* the caller may go on with its handle */
        resp_error(c, "ERR the namespace was dropped; send the command again");
    } else {
        resp_error(c, "ERR the store refused the command with code %d", (int)err);
    }
}
