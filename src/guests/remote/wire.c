/* SPDX-License-Identifier: MIT
 *
 * wire: sockets, commands, and the reader of replies (RESP2).
 *
 * PICTURE    socket -> recv or TLS -> elements -> arrays in `level` -> remote_reply -> take
 *                                 `-> a block: a long string
 *            A single string is handed over where it was received. Elements of arrays are copied
 *            into blocks. `kept` has the beginning of an element that is not complete.
 * INVARIANTS take runs inside the reader: it must not close the wire. The blocks are freed after
 *            each reply. `unsent` keeps the order: nothing is sent past it.
 * LIMITS     REMOTE_ELEMENTS_MAX elements and REMOTE_ARRAY_MAX bytes of a reply, 4 levels of
 *            arrays, string_max bytes of a string. Above: TOO_BIG, and the caller closes.
 *            `kept` has less than twice REMOTE_READ_BYTES, doubled when it grows.
 * NOT HERE   RESP3: the link says HELLO 2. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/net.h"
#include "remote/wire.h"

#define REMOTE_ELEMENTS_MAX (1u << 20)
#define REMOTE_ARRAY_MAX ((size_t)64 << 20)
#define REMOTE_CHUNK_BYTES 16384u
#define REMOTE_READ_BYTES 65536u
#define REMOTE_LONG_BYTES 16384u
#define REMOTE_NUMBER_TEXT 19 /* digits that always fit uint64_t */
#define REMOTE_USER_TIMEOUT_MS 3000u

/* ---- commands ---- */

static void remote_bytes_drop(remote_bytes *b)
{
    if (b->secret && b->data != NULL) { explicit_bzero(b->data, b->cap); }
    b->memory->free(b->memory->ctx, b->data, b->cap);
}

static bool remote_bytes_room(remote_bytes *b, size_t more)
{
    if (more <= b->cap - b->len) { return true; }
    size_t cap = b->cap < SIZE_MAX / 2 ? 2 * b->cap + 256 : b->cap;
    if (more > SIZE_MAX - 64 - b->len) { return false; }
    if (cap < b->len + more) { cap = b->len + more + 64; } /* a line end and a short argument */
    char *data = b->memory->alloc(b->memory->ctx, cap);
    if (data == NULL) { return false; }
    if (b->len != 0) { memcpy(data, b->data, b->len); }
    remote_bytes_drop(b);
    b->data = data;
    b->cap = cap;
    return true;
}

CELLAR_PRIVATE bool remote_bytes_add(remote_bytes *b, const void *bytes, size_t len)
{
    if (!remote_bytes_room(b, len)) { return false; }
    if (len != 0) { memcpy(b->data + b->len, bytes, len); }
    b->len += len;
    return true;
}

/* Append a type, a number and a line end. */
static bool remote_bytes_head(remote_bytes *b, char type, size_t n)
{
    char text[32], *at = text + sizeof text;
    *--at = '\n';
    *--at = '\r';
    do { *--at = (char)('0' + n % 10); } while ((n /= 10) != 0);
    *--at = type;
    return remote_bytes_add(b, at, (size_t)(text + sizeof text - at));
}

CELLAR_PRIVATE void remote_words(remote_bytes *b, size_t count)
{
    if (!remote_bytes_head(b, '*', count)) { b->err = CELLAR_E_NOMEM; }
}

CELLAR_PRIVATE void remote_word_add(remote_bytes *b, cellar_bytes word)
{
    if (!remote_bytes_head(b, '$', word.len) || !remote_bytes_add(b, word.data, word.len) ||
        !remote_bytes_add(b, "\r\n", 2)) {
        b->err = CELLAR_E_NOMEM;
    }
}

CELLAR_PRIVATE void remote_command(remote_bytes *b, const cellar_bytes *words, size_t count)
{
    remote_words(b, count);
    for (size_t i = 0; i < count; i++) { remote_word_add(b, words[i]); }
}

CELLAR_PRIVATE cellar_bytes remote_digits(char to[24], int64_t n)
{
    return (cellar_bytes){ to, (size_t)snprintf(to, 24, "%" PRId64, n) };
}

CELLAR_PRIVATE void remote_bytes_free(remote_bytes *b)
{
    remote_bytes_drop(b);
    b->data = NULL;
    b->len = b->cap = 0;
    b->err = CELLAR_OK;
}

/* ---- replies ---- */

struct remote_chunk {
    remote_chunk *older;
    size_t cap, used;
    _Alignas(16) char bytes[];
};

/* A reply or an element under construction. */
typedef struct remote_node {
    remote_reply reply;       /* first: what users see */
    struct remote_node *last; /* newest element of an array */
} remote_node;

static void remote_chunks_free(remote_wire *w)
{
    while (w->chunk != NULL) {
        remote_chunk *old = w->chunk;
        w->chunk = old->older;
        w->memory->free(w->memory->ctx, old, sizeof *old + old->cap);
    }
    w->chunk_bytes = 0;
    w->elements = 0;
    w->long_text = NULL;
}

static bool remote_fail(remote_wire *w, remote_wire_fault fault)
{
    w->fault = fault;
    return false;
}

/* Return room in the blocks of the reply. NULL: see fault. */
static void *remote_chunk_take(remote_wire *w, size_t bytes)
{
    const size_t need = (bytes + 15) & ~(size_t)15;
    if (w->chunk == NULL || w->chunk->cap - w->chunk->used < need) {
        const size_t cap = need > REMOTE_CHUNK_BYTES ? need : REMOTE_CHUNK_BYTES;
        const bool fits = w->chunk_bytes + cap <= REMOTE_ARRAY_MAX + w->string_max;
        remote_chunk *fresh = fits ? w->memory->alloc(w->memory->ctx, sizeof *fresh + cap) : NULL;
        if (fresh == NULL) {
            (void)remote_fail(w, fits ? REMOTE_WIRE_NOMEM : REMOTE_WIRE_TOO_BIG);
            return NULL;
        }
        fresh->older = w->chunk;
        fresh->cap = cap;
        fresh->used = 0;
        w->chunk = fresh;
        w->chunk_bytes += cap;
    }
    void *taken = w->chunk->bytes + w->chunk->used;
    w->chunk->used += need;
    return taken;
}

/* Add an element to the innermost array that is being read, or begin a reply. NULL: see fault. */
static remote_node *remote_node_add(remote_wire *w, const remote_reply *reply)
{
    if (++w->elements > REMOTE_ELEMENTS_MAX) { (void)remote_fail(w, REMOTE_WIRE_TOO_BIG); }
    remote_node *node = w->fault == REMOTE_WIRE_FINE ? remote_chunk_take(w, sizeof *node) : NULL;
    if (node == NULL) { return NULL; }
    *node = (remote_node){ .reply = *reply };
    if (w->depth == 0) { return node; }
    remote_node *array = w->level[w->depth - 1].array;
    if (array->last != NULL) { array->last->reply.next = &node->reply; }
    else { array->reply.first = &node->reply; }
    array->last = node;
    return node;
}

static void remote_reply_end(remote_wire *w, const remote_reply *reply)
{
    w->take(w->ctx, reply);
    remote_chunks_free(w);
}

/* End an element, the arrays that it completes, and the reply if no array is left. */
static void remote_node_end(remote_wire *w, const remote_node *node)
{
    while (w->depth > 0 && --w->level[w->depth - 1].left == 0) {
        node = w->level[--w->depth].array;
    }
    if (w->depth == 0) { remote_reply_end(w, &node->reply); }
}

/* Take a whole element that is no array. Its text stays where it is. */
static bool remote_take_leaf(remote_wire *w, const remote_reply *reply)
{
    if (w->depth == 0) {
        remote_reply_end(w, reply);
        return true;
    }
    const remote_node *node = remote_node_add(w, reply);
    if (node != NULL) { remote_node_end(w, node); }
    return node != NULL;
}

/* Take a text that lies in the received bytes. */
static bool remote_take_text(remote_wire *w, remote_type type, const char *text, size_t len)
{
    if (len > w->string_max) { return remote_fail(w, REMOTE_WIRE_TOO_BIG); }
    if (w->depth > 0) {
        char *copy = remote_chunk_take(w, len + 1);
        if (copy == NULL) { return false; }
        memcpy(copy, text, len);
        copy[len] = '\0';
        text = copy;
    }
    return remote_take_leaf(w, &(remote_reply){ .type = type, .text = text, .len = len });
}

static bool remote_take_array(remote_wire *w, int64_t count)
{
    if (w->depth == REMOTE_NESTING_MAX || count > (int64_t)REMOTE_ELEMENTS_MAX) {
        return remote_fail(w, REMOTE_WIRE_TOO_BIG);
    }
    remote_node *node = remote_node_add(w, &(remote_reply){ .type = REMOTE_ARRAY,
                                                            .count = (uint32_t)count });
    if (node == NULL) { return false; }
    if (count == 0) { remote_node_end(w, node); }
    else { w->level[w->depth++] = (remote_level){ node, (uint32_t)count }; }
    return true;
}

/* Read a line as a number. False: it is none. */
static bool remote_line_number(const char *p, size_t len, int64_t *out)
{
    const bool minus = len != 0 && *p == '-';
    uint64_t n = 0;
    p += minus;
    len -= minus;
    if (len == 0 || len > REMOTE_NUMBER_TEXT) { return false; }
    for (size_t i = 0; i < len; i++) {
        const unsigned digit = (unsigned char)p[i] - (unsigned)'0';
        if (digit > 9) { return false; }
        n = n * 10 + digit;
    }
    *out = (int64_t)(minus ? 0 - n : n);
    return n <= (uint64_t)INT64_MAX + minus;
}

/* Take a string of `len` bytes, of which `have` are at `p`, with its line end. Return the bytes
 * used; 0: it is not complete, or see fault. */
static size_t remote_take_string(remote_wire *w, const char *p, size_t have, uint64_t len)
{
    if (len > w->string_max) { return remote_fail(w, REMOTE_WIRE_TOO_BIG); }
    const size_t n = (size_t)len, all = n + 2;
    if (have >= all) {
        const bool ends = memcmp(p + n, "\r\n", 2) == 0 || remote_fail(w, REMOTE_WIRE_PROTOCOL);
        return ends && remote_take_text(w, REMOTE_STRING, p, n) ? all : 0;
    }
    if (n < w->long_min) { return 0; }
    w->long_text = remote_chunk_take(w, all);
    if (w->long_text == NULL) { return 0; }
    memcpy(w->long_text, p, have);
    w->long_len = n;
    w->long_got = have;
    return have;
}

/* Take the long string, which is complete. */
static bool remote_long_end(remote_wire *w)
{
    char *const text = w->long_text;
    w->long_text = NULL;
    if (memcmp(text + w->long_len, "\r\n", 2) != 0) { return remote_fail(w, REMOTE_WIRE_PROTOCOL); }
    text[w->long_len] = '\0';
    return remote_take_leaf(w, &(remote_reply){ .type = REMOTE_STRING, .text = text,
                                           .len = w->long_len });
}

/* Take one element. Return the bytes used; 0: it is not complete, or see fault. */
static size_t remote_take_element(remote_wire *w, const char *p, size_t len)
{
    const char *const end = memchr(p, '\r', len);
    const char type = *p;
    if (memchr("+-:$*", type, 5) == NULL) {
        w->odd = type;
        return remote_fail(w, REMOTE_WIRE_PROTOCOL);
    }
    if (end == NULL || end + 1 == p + len) {
        return len <= REMOTE_READ_BYTES ? 0 : remote_fail(w, REMOTE_WIRE_TOO_BIG);
    }
    const size_t line = (size_t)(end - p) - 1, head = line + 3;
    const bool text = type == '+' || type == '-';
    int64_t n = 0;
    if (end[1] != '\n' || (!text && !remote_line_number(p + 1, line, &n)) ||
        (n < -1 && type != ':')) {
        return remote_fail(w, REMOTE_WIRE_PROTOCOL);
    }
    bool taken;
    if (text) {
        taken = remote_take_text(w, type == '+' ? REMOTE_STATUS : REMOTE_ERROR, p + 1, line);
    } else if (type == ':') {
        taken = remote_take_leaf(w, &(remote_reply){ .type = REMOTE_INTEGER, .number = n });
    } else if (n < 0) {
        taken = remote_take_leaf(w, &(remote_reply){ .type = REMOTE_NIL });
    } else if (type == '*') {
        taken = remote_take_array(w, n);
    } else {
        const size_t used = remote_take_string(w, p + head, len - head, (uint64_t)n);
        return used != 0 || w->long_text != NULL ? head + used : 0;
    }
    return taken ? head : 0;
}

/* Take the elements of what is kept and `bytes`; keep the beginning of one that is not complete. */
static bool remote_wire_take(remote_wire *w, const char *bytes, size_t len)
{
    const bool after = w->kept.len != 0;
    if (after && !remote_bytes_add(&w->kept, bytes, len)) {
        return remote_fail(w, REMOTE_WIRE_NOMEM);
    }
    if (after) {
        bytes = w->kept.data;
        len = w->kept.len;
    }
    for (size_t used = 1; len != 0 && used != 0; bytes += used, len -= used) {
        used = remote_take_element(w, bytes, len);
        if (w->fault != REMOTE_WIRE_FINE) { return false; }
    }
    if (len == 0) {
        remote_bytes_free(&w->kept);
    } else if (after) {
        memmove(w->kept.data, bytes, len);
        w->kept.len = len;
    } else if (!remote_bytes_add(&w->kept, bytes, len)) {
        return remote_fail(w, REMOTE_WIRE_NOMEM);
    }
    return true;
}

/* ---- socket ---- */

CELLAR_PRIVATE void remote_wire_init(remote_wire *w, const remote_memory *memory,
                      void (*take)(void *ctx, const remote_reply *reply), void *ctx)
{
    *w = (remote_wire){ .fd = -1, .memory = memory };
    w->unsent = (remote_bytes){ .memory = memory };
    w->kept = (remote_bytes){ .memory = memory };
    w->long_min = REMOTE_LONG_BYTES;
    w->take = take;
    w->ctx = ctx;
}

static bool remote_wire_lost(remote_wire *w, int error)
{
    w->fault = REMOTE_WIRE_CLOSED;
    w->sys_errno = error;
    return false;
}

static bool remote_wire_socket(remote_wire *w, int family, const struct sockaddr *to, socklen_t len)
{
    const int on = 1;
    const unsigned patience = REMOTE_USER_TIMEOUT_MS;
    w->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (w->fd < 0) { return remote_wire_lost(w, errno); }
    if (family != AF_UNIX) {
        (void)setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)setsockopt(w->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof patience);
        (void)setsockopt(w->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    }
    if (connect(w->fd, to, len) != 0 && errno != EINPROGRESS) { return remote_wire_lost(w, errno); }
    return true;
}

/* Begin TLS on the socket, with the files of now. */
static bool remote_wire_secure(remote_wire *w, const remote_config *c, const char *host)
{
    const tls_files files = { c->tls_ca_file, c->tls_ca_dir, c->tls_cert_file, c->tls_key_file };
    const char *name = c->tls_server_name[0] != '\0' ? c->tls_server_name : host;
    if (!c->tls) { return true; }
    w->tls = tls_client(&files, c->tls_insecure ? NULL : name, w->fd, &w->ticket, w->tls_text);
    if (w->tls == NULL) { w->fault = REMOTE_WIRE_TLS; }
    return w->tls != NULL;
}

CELLAR_PRIVATE bool remote_wire_connect(remote_wire *w, const remote_config *c, const char *host,
                                        const remote_peer *to)
{
    w->fault = REMOTE_WIRE_FINE;
    w->odd = 0;
    w->connected = false;
    return remote_wire_socket(w, to->at.any.sa_family, &to->at.any, to->len) &&
           remote_wire_secure(w, c, host);
}

/* Return n if it is above 0; 0: none now; -1: see fault. n: of tls.h or base/net.h. */
static ssize_t remote_wire_result(remote_wire *w, ssize_t n)
{
    if (n > 0) { return n; }
    if (n == -EAGAIN) { return 0; }
    (void)remote_wire_lost(w, (int)-n);
    if (w->tls == NULL || n != -EPROTO) { return -1; }
    w->fault = REMOTE_WIRE_TLS;
    (void)snprintf(w->tls_text, sizeof w->tls_text, "%s", tls_why(w->tls));
    return -1;
}

CELLAR_PRIVATE bool remote_wire_holds(const remote_wire *w)
{
    return w->tls != NULL && tls_holds(w->tls);
}

CELLAR_PRIVATE bool remote_wire_connected(remote_wire *w)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (w->connected) { return true; }
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) { error = errno; }
    if (error != 0) { return remote_wire_lost(w, error); }
    const int shaken = w->tls != NULL ? tls_shake(w->tls) : 1;
    w->connected = shaken == 1;
    return w->connected || remote_wire_result(w, shaken) == 0;
}

CELLAR_PRIVATE uint32_t remote_wire_wants(const remote_wire *w)
{
    const bool sends = w->connected ? w->unsent.len != 0
                                    : w->tls == NULL || tls_wants_write(w->tls);
    /* A socket that takes bytes is an event at once. */
    return EPOLLIN | (sends || remote_wire_holds(w) ? EPOLLOUT : 0u);
}

CELLAR_PRIVATE void remote_wire_close(remote_wire *w)
{
    tls_end(w->tls);
    w->tls = NULL;
    const int fd = w->fd;
    w->fd = -1; /* first: a forked child closes what stands here */
    if (fd >= 0) { (void)close(fd); }
    remote_chunks_free(w);
    w->depth = 0;
    remote_bytes_free(&w->kept);
    remote_bytes_free(&w->unsent);
    w->flushed = 0;
    w->connected = false;
}

/* Send `parts` once. Return the bytes that the socket took, -1 on failure. */
static ssize_t remote_wire_put(remote_wire *w, const struct iovec *parts, uint16_t count)
{
    ssize_t n = w->tls != NULL ? tls_send(w->tls, parts, count)
                               : base_net_send(w->fd, parts, count);
    n = remote_wire_result(w, n);
    if (n > 0) { w->bytes_out += (uint64_t)n; }
    return n;
}

CELLAR_PRIVATE bool remote_wire_send(remote_wire *w, const struct iovec *parts, uint16_t count)
{
    size_t sent = 0;
    if (w->unsent.len == 0 && w->connected) {
        const ssize_t n = remote_wire_put(w, parts, count);
        if (n < 0) { return false; }
        sent = (size_t)n;
    }
    w->unsent.secret = w->unsent.secret || !w->connected;
    for (uint16_t i = 0; i < count; i++) {
        const size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        sent -= skip;
        if (!remote_bytes_add(&w->unsent, (const char *)parts[i].iov_base + skip,
                              parts[i].iov_len - skip)) {
            w->fault = REMOTE_WIRE_NOMEM;
            return false;
        }
    }
    return true;
}

CELLAR_PRIVATE bool remote_wire_say(remote_wire *w, bool whole, remote_bytes *b)
{
    struct iovec part = { b->data, b->len };
    const bool said = whole && b->err == CELLAR_OK && remote_wire_send(w, &part, 1);
    remote_bytes_free(b);
    return said;
}

CELLAR_PRIVATE bool remote_wire_flush(remote_wire *w)
{
    if (w->unsent.len == 0) { return true; }
    struct iovec part = { w->unsent.data + w->flushed, w->unsent.len - w->flushed };
    const ssize_t n = remote_wire_put(w, &part, 1);
    if (n < 0) { return false; }
    w->flushed += (size_t)n;
    if (w->flushed < w->unsent.len) { return true; }
    remote_bytes_free(&w->unsent);
    w->unsent.secret = false;
    w->flushed = 0;
    return true;
}

/* Receive once. Return the bytes; 0: none now; -1: see fault. */
static ssize_t remote_wire_get(remote_wire *w, void *to, size_t cap)
{
    ssize_t n = w->tls != NULL ? tls_recv(w->tls, to, cap) : base_net_recv(w->fd, to, cap);
    n = remote_wire_result(w, n);
    if (n > 0) { w->bytes_in += (uint64_t)n; }
    return n;
}

CELLAR_PRIVATE bool remote_wire_read(remote_wire *w, bool *more)
{
    char bytes[REMOTE_READ_BYTES];
    const bool is_long = w->long_text != NULL;
    void *to = is_long ? w->long_text + w->long_got : bytes;
    const size_t cap = is_long ? w->long_len + 2 - w->long_got : sizeof bytes;
    const ssize_t n = remote_wire_get(w, to, cap);
    *more = n == (ssize_t)cap;
    if (n <= 0) { return n == 0; }
    if (is_long) { w->long_got += (size_t)n; }
    if (is_long && !*more) { return true; }
    return is_long ? remote_long_end(w) : remote_wire_take(w, bytes, (size_t)n);
}
