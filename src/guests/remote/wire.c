/* SPDX-License-Identifier: MIT
 *
 * wire: sockets, commands, and the parser of hiredis.
 *
 * PICTURE    socket -> recv or TLS -> redisReader -> functions below -> remote_reply -> take
 *                                 `-> a block: a long string; the reader sees an empty one
 *            A single string is handed over where it lies in the buffer of the reader. Elements of
 *            arrays are copied into blocks: the reader moves its buffer between two reads.
 * INVARIANTS take runs inside the parser: it must not close the wire. The blocks are freed after
 *            each reply. `unsent` keeps the order: nothing is sent past it.
 * LIMITS     REMOTE_ELEMENTS_MAX elements and REMOTE_ARRAY_MAX bytes of a reply, 4 levels of
 *            arrays, string_max bytes of a string. Above: TOO_BIG, and the caller closes.
 *            The buffer of the reader comes from malloc, outside the budget of the store: less than
 *            REMOTE_READ_BYTES + REMOTE_LONG_BYTES, doubled when it grows. Blocks are charged.
 * NOT HERE   hiredis' own connections: they end the process by SIGPIPE and have no time-outs. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "remote/wire.h"

#define REMOTE_ELEMENTS_MAX (1u << 20)
#define REMOTE_ARRAY_MAX ((size_t)64 << 20)
#define REMOTE_NESTING_MAX 4
#define REMOTE_CHUNK_BYTES 16384u
#define REMOTE_READ_BYTES 65536u
#define REMOTE_LONG_BYTES 16384u
#define REMOTE_LENGTH_TEXT 24 /* of a string, with its line end */
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

static bool remote_bytes_add(remote_bytes *b, const void *bytes, size_t len)
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

/* An element of an array under construction. */
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

static void *remote_fail(remote_wire *w, remote_wire_fault fault)
{
    w->fault = fault;
    return NULL; /* the reader stops with REDIS_ERR_OOM */
}

static void *remote_chunk_take(remote_wire *w, size_t bytes)
{
    const size_t need = (bytes + 15) & ~(size_t)15;
    if (w->chunk == NULL || w->chunk->cap - w->chunk->used < need) {
        const size_t cap = need > REMOTE_CHUNK_BYTES ? need : REMOTE_CHUNK_BYTES;
        if (w->chunk_bytes + cap > REMOTE_ARRAY_MAX + w->string_max) {
            return remote_fail(w, REMOTE_WIRE_TOO_BIG);
        }
        remote_chunk *fresh = w->memory->alloc(w->memory->ctx, sizeof *fresh + cap);
        if (fresh == NULL) { return remote_fail(w, REMOTE_WIRE_NOMEM); }
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

_Static_assert((int)REMOTE_STRING == REDIS_REPLY_STRING && (int)REMOTE_ARRAY == REDIS_REPLY_ARRAY &&
               (int)REMOTE_INTEGER == REDIS_REPLY_INTEGER && (int)REMOTE_NIL == REDIS_REPLY_NIL &&
               (int)REMOTE_STATUS == REDIS_REPLY_STATUS && (int)REMOTE_ERROR == REDIS_REPLY_ERROR,
               "the parser makes the types of replies");

/* Add an element to the array that `task` belongs to, or begin a reply. */
static remote_node *remote_node_add(remote_wire *w, const redisReadTask *task)
{
    if (++w->elements > REMOTE_ELEMENTS_MAX) { return remote_fail(w, REMOTE_WIRE_TOO_BIG); }
    remote_node *node = remote_chunk_take(w, sizeof *node);
    if (node == NULL) { return NULL; }
    memset(node, 0, sizeof *node);
    node->reply.type = (remote_type)task->type;
    remote_node *parent = task->parent != NULL ? task->parent->obj : NULL;
    if (parent != NULL) {
        if (parent->last != NULL) { parent->last->reply.next = &node->reply; }
        else { parent->reply.first = &node->reply; }
        parent->last = node;
    }
    return node;
}

static remote_wire *remote_wire_of(const redisReadTask *task) { return task->privdata; }

static void *remote_make_string(const redisReadTask *task, char *text, size_t len)
{
    remote_wire *w = remote_wire_of(task);
    char *copy = w->long_text;
    if (copy != NULL) {
        len = w->long_len;
        w->long_text = NULL;
    }
    if (len > w->string_max) { return remote_fail(w, REMOTE_WIRE_TOO_BIG); }
    if (task->parent == NULL) {
        const remote_reply whole = { .type = (remote_type)task->type,
                                     .text = copy != NULL ? copy : text, .len = len };
        w->take(w->ctx, &whole);
        return w;
    }
    if (copy == NULL) {
        copy = remote_chunk_take(w, len + 1);
        if (copy == NULL) { return NULL; }
        memcpy(copy, text, len);
        copy[len] = '\0';
    }
    remote_node *node = remote_node_add(w, task);
    if (node == NULL) { return NULL; }
    node->reply.text = copy;
    node->reply.len = len;
    return node;
}

static void *remote_make_array(const redisReadTask *task, int elements)
{
    remote_wire *w = remote_wire_of(task);
    int depth = 1;
    for (const redisReadTask *up = task->parent; up != NULL; up = up->parent) { depth++; }
    if (depth > REMOTE_NESTING_MAX || elements > (int)REMOTE_ELEMENTS_MAX) {
        return remote_fail(w, REMOTE_WIRE_TOO_BIG);
    }
    remote_node *node = remote_node_add(w, task);
    if (node != NULL) { node->reply.count = (uint32_t)elements; }
    return node;
}

static void *remote_make_integer(const redisReadTask *task, long long number)
{
    remote_node *node = remote_node_add(remote_wire_of(task), task);
    if (node != NULL) { node->reply.number = number; }
    return node;
}

static void *remote_make_nil(const redisReadTask *task)
{
    remote_node *node = remote_node_add(remote_wire_of(task), task);
    if (node != NULL) { node->reply.type = REMOTE_NIL; } /* the task says string or array */
    return node;
}

/* Keep the object: the blocks are freed together. */
static void remote_free_object(void *object) { (void)object; }

/* Look at what the reader has left: the beginning of one string, or of a line. Move a long string
 * into a block. False: see fault. */
static bool remote_long_begin(remote_wire *w)
{
    redisReader *r = w->reader;
    const char *head = r->buf + r->pos; /* the length of the string, its line end, bytes */
    const size_t have = r->len - r->pos;
    const bool string = r->ridx >= 0 && r->rstack[r->ridx].type == REDIS_REPLY_STRING;
    const char *end = string ? memmem(head, have < REMOTE_LENGTH_TEXT ? have : REMOTE_LENGTH_TEXT,
                                      "\r\n", 2) : NULL;
    const size_t len = end != NULL ? (size_t)strtoull(head, NULL, 10) : 0;
    if (len > w->string_max || (end == NULL && have > REMOTE_READ_BYTES)) {
        w->fault = REMOTE_WIRE_TOO_BIG;
        return false;
    }
    if (end == NULL || len < w->long_min) { return true; }
    w->long_text = remote_chunk_take(w, len + 2);
    if (w->long_text == NULL) { return false; }
    w->long_len = len;
    w->long_got = have - (size_t)(end + 2 - head);
    memcpy(w->long_text, end + 2, w->long_got);
    r->pos = r->len;
    return true;
}

/* Let the reader go on behind a long string that is complete. */
static bool remote_long_end(remote_wire *w)
{
    static const char empty[] = "0\r\n\r\n"; /* the reader has taken the '$' */
    w->long_text[w->long_len] = '\0';
    return redisReaderFeed(w->reader, empty, sizeof empty - 1) == REDIS_OK;
}

/* Hand over the whole replies that the reader has. */
static bool remote_wire_parse(remote_wire *w)
{
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(w->reader, &reply) != REDIS_OK || w->fault != REMOTE_WIRE_FINE) {
            if (w->fault == REMOTE_WIRE_FINE) {
                w->fault = w->reader->err == REDIS_ERR_OOM ? REMOTE_WIRE_NOMEM
                                                           : REMOTE_WIRE_PROTOCOL;
            }
            return false;
        }
        if (reply == NULL) { break; }
        if (reply != (void *)w) { w->take(w->ctx, &((remote_node *)reply)->reply); }
        remote_chunks_free(w);
    }
    return remote_long_begin(w);
}

/* ---- socket ---- */

CELLAR_PRIVATE void remote_wire_init(remote_wire *w, const remote_memory *memory,
                      void (*take)(void *ctx, const remote_reply *reply), void *ctx)
{
    *w = (remote_wire){ .fd = -1, .memory = memory };
    w->unsent = (remote_bytes){ .memory = memory };
    w->long_min = REMOTE_LONG_BYTES;
    w->take = take;
    w->ctx = ctx;
    w->functions = (redisReplyObjectFunctions){
        .createString = remote_make_string, .createArray = remote_make_array,
        .createInteger = remote_make_integer, .createNil = remote_make_nil,
        .freeObject = remote_free_object };
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
    w->connected = false;
    w->reader = redisReaderCreateWithFunctions(&w->functions);
    if (w->reader == NULL) {
        w->fault = REMOTE_WIRE_NOMEM;
        return false;
    }
    w->reader->privdata = w;
    return remote_wire_socket(w, to->at.any.sa_family, &to->at.any, to->len) &&
           remote_wire_secure(w, c, host);
}

/* Return n if it is above 0; 0: none now; -1: see fault. n: of tls.h. No call blocks, so a signal
 * ends none; EINTR counts as none now. */
static ssize_t remote_wire_result(remote_wire *w, ssize_t n)
{
    if (n > 0) { return n; }
    if (n == -EAGAIN || n == -EINTR) { return 0; }
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
    if (w->reader != NULL) {
        redisReaderFree(w->reader);
        w->reader = NULL;
    }
    remote_chunks_free(w);
    remote_bytes_free(&w->unsent);
    w->flushed = 0;
    w->connected = false;
}

/* Send `parts` once. Return the bytes that the socket took, -1 on failure. */
static ssize_t remote_wire_put(remote_wire *w, struct iovec *parts, size_t count)
{
    const struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
    ssize_t n = w->tls != NULL ? tls_send(w->tls, parts, count)
                               : sendmsg(w->fd, &message, MSG_NOSIGNAL);
    n = remote_wire_result(w, n < 0 && w->tls == NULL ? -errno : n);
    if (n > 0) { w->bytes_out += (uint64_t)n; }
    return n;
}

CELLAR_PRIVATE bool remote_wire_send(remote_wire *w, struct iovec *parts, size_t count)
{
    size_t sent = 0;
    if (w->unsent.len == 0 && w->connected) {
        const ssize_t n = remote_wire_put(w, parts, count);
        if (n < 0) { return false; }
        sent = (size_t)n;
    }
    w->unsent.secret = w->unsent.secret || !w->connected;
    for (size_t i = 0; i < count; i++) {
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
    ssize_t n = w->tls != NULL ? tls_recv(w->tls, to, cap) : recv(w->fd, to, cap, 0);
    n = remote_wire_result(w, n < 0 && w->tls == NULL ? -errno : n);
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
    if (is_long ? !remote_long_end(w)
                : redisReaderFeed(w->reader, bytes, (size_t)n) != REDIS_OK) {
        w->fault = REMOTE_WIRE_NOMEM;
        return false;
    }
    return remote_wire_parse(w);
}
