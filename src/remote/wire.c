/* SPDX-License-Identifier: MIT
 *
 * wire: sockets, commands, and the parser of hiredis.
 *
 * PICTURE    socket -> recv -> redisReader -> functions below -> remote_reply -> take
 *            A single string is handed over where it lies in the buffer of the reader. Elements of
 *            arrays are copied into blocks: the reader moves its buffer between two reads.
 * INVARIANTS take runs inside the parser: it must not close the wire. The blocks are freed after
 *            each reply. `unsent` keeps the order: nothing is sent past it.
 * LIMITS     REMOTE_ELEMENTS_MAX elements and REMOTE_ARRAY_MAX bytes of a reply, 4 levels of
 *            arrays, string_max bytes of a string. Above: TOO_BIG, and the caller closes.
 * NOT HERE   hiredis' own connections: they end the process by SIGPIPE and have no time-outs. */
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "remote/wire.h"

#define REMOTE_ELEMENTS_MAX (1u << 20)
#define REMOTE_ARRAY_MAX ((size_t)64 << 20)
#define REMOTE_NESTING_MAX 4
#define REMOTE_CHUNK_BYTES 16384u
#define REMOTE_READ_BYTES 65536u
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
    size_t cap = b->cap != 0 ? b->cap : 256;
    while (cap - b->len < more) {
        if (cap > SIZE_MAX / 2) { return false; }
        cap *= 2;
    }
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

CELLAR_PRIVATE cellar_err remote_command(remote_bytes *b, size_t argc, const char *const *argv,
                          const size_t *lens)
{
    const size_t before = b->len;
    char head[32];
    int n = snprintf(head, sizeof head, "*%zu\r\n", argc);
    bool fine = remote_bytes_add(b, head, (size_t)n);
    for (size_t i = 0; fine && i < argc; i++) {
        const size_t len = lens != NULL ? lens[i] : strlen(argv[i]);
        n = snprintf(head, sizeof head, "$%zu\r\n", len);
        fine = remote_bytes_add(b, head, (size_t)n) && remote_bytes_add(b, argv[i], len) &&
               remote_bytes_add(b, "\r\n", 2);
    }
    if (fine) { return CELLAR_OK; }
    b->len = before;
    return CELLAR_E_NOMEM;
}

CELLAR_PRIVATE void remote_bytes_free(remote_bytes *b)
{
    remote_bytes_drop(b);
    b->data = NULL;
    b->len = b->cap = 0;
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

static remote_type remote_type_of(int type)
{
    switch (type) {
    case REDIS_REPLY_STRING: return REMOTE_STRING;
    case REDIS_REPLY_STATUS: return REMOTE_STATUS;
    case REDIS_REPLY_ERROR: return REMOTE_ERROR;
    case REDIS_REPLY_INTEGER: return REMOTE_INTEGER;
    case REDIS_REPLY_ARRAY: return REMOTE_ARRAY;
    default: return REMOTE_NIL;
    }
}

/* Add an element to the array that `task` belongs to, or begin a reply. */
static remote_node *remote_node_add(remote_wire *w, const redisReadTask *task)
{
    if (++w->elements > REMOTE_ELEMENTS_MAX) { return remote_fail(w, REMOTE_WIRE_TOO_BIG); }
    remote_node *node = remote_chunk_take(w, sizeof *node);
    if (node == NULL) { return NULL; }
    memset(node, 0, sizeof *node);
    node->reply.type = remote_type_of(task->type);
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
    if (len > w->string_max) { return remote_fail(w, REMOTE_WIRE_TOO_BIG); }
    if (task->parent == NULL) {
        const remote_reply whole = { .type = remote_type_of(task->type), .text = text, .len = len };
        w->take(w->ctx, &whole);
        return w;
    }
    char *copy = remote_chunk_take(w, len + 1);
    remote_node *node = copy != NULL ? remote_node_add(w, task) : NULL;
    if (node == NULL) { return NULL; }
    memcpy(copy, text, len);
    copy[len] = '\0';
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
    /* What is left is the beginning of one string, or of a line. */
    if (w->reader->len - w->reader->pos > w->string_max + 32) {
        w->fault = REMOTE_WIRE_TOO_BIG;
        return false;
    }
    return true;
}

/* ---- socket ---- */

CELLAR_PRIVATE void remote_wire_init(remote_wire *w, const remote_memory *memory,
                      void (*take)(void *ctx, const remote_reply *reply), void *ctx)
{
    memset(w, 0, sizeof *w);
    w->fd = -1;
    w->memory = memory;
    w->unsent = (remote_bytes){ .memory = memory, .secret = true };
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
    if (connect(w->fd, to, len) == 0) {
        w->connected = true;
    } else if (errno != EINPROGRESS) {
        return remote_wire_lost(w, errno);
    }
    return true;
}

static bool remote_resolve_unix(const char *path, remote_peer *out)
{
    struct sockaddr_un *to = &out->at.unix_path;
    if (strlen(path) >= sizeof to->sun_path) { return false; }
    to->sun_family = AF_UNIX;
    memcpy(to->sun_path, path, strlen(path));
    out->len = sizeof *to;
    return true;
}

CELLAR_PRIVATE bool remote_resolve(const remote_address *e, uint32_t turn, remote_peer *out)
{
    const struct addrinfo want = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char port[8];
    uint32_t count = 0;
    memset(out, 0, sizeof *out);
    if (e->port == 0) { return remote_resolve_unix(e->host, out); }
    (void)snprintf(port, sizeof port, "%u", (unsigned)e->port);
    if (getaddrinfo(e->host, port, &want, &found) != 0 || found == NULL) { return false; }
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) { count++; }
    const struct addrinfo *chosen = found;
    for (turn %= count; turn > 0; turn--) { chosen = chosen->ai_next; }
    memcpy(&out->at, chosen->ai_addr, chosen->ai_addrlen);
    out->len = chosen->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

CELLAR_PRIVATE bool remote_wire_connect(remote_wire *w, const remote_peer *to)
{
    w->fault = REMOTE_WIRE_FINE;
    w->connected = false;
    w->reader = redisReaderCreateWithFunctions(&w->functions);
    if (w->reader == NULL) {
        w->fault = REMOTE_WIRE_NOMEM;
        return false;
    }
    w->reader->privdata = w;
    return remote_wire_socket(w, to->at.any.sa_family, &to->at.any, to->len);
}

CELLAR_PRIVATE bool remote_wire_connected(remote_wire *w)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (w->connected) { return true; }
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) { error = errno; }
    if (error != 0) { return remote_wire_lost(w, error); }
    w->connected = true;
    return true;
}

CELLAR_PRIVATE void remote_wire_close(remote_wire *w)
{
    if (w->fd >= 0) {
        (void)close(w->fd);
        w->fd = -1;
    }
    if (w->reader != NULL) {
        redisReaderFree(w->reader);
        w->reader = NULL;
    }
    remote_chunks_free(w);
    remote_bytes_free(&w->unsent);
    w->connected = false;
}

/* Send `parts` once. Return the bytes that the socket took, -1 on failure. */
static ssize_t remote_wire_put(remote_wire *w, struct iovec *parts, size_t count)
{
    const struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
    ssize_t n;
    do {
        n = sendmsg(w->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
        (void)remote_wire_lost(w, errno);
        return -1;
    }
    if (n > 0) { w->bytes_out += (uint64_t)n; }
    return n > 0 ? n : 0;
}

CELLAR_PRIVATE bool remote_wire_send(remote_wire *w, struct iovec *parts, size_t count)
{
    size_t sent = 0;
    if (w->unsent.len == 0 && w->connected) {
        const ssize_t n = remote_wire_put(w, parts, count);
        if (n < 0) { return false; }
        sent = (size_t)n;
    }
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

CELLAR_PRIVATE bool remote_wire_flush(remote_wire *w)
{
    if (w->unsent.len == 0) { return true; }
    struct iovec part = { w->unsent.data, w->unsent.len };
    const ssize_t n = remote_wire_put(w, &part, 1);
    if (n < 0) { return false; }
    w->unsent.len -= (size_t)n;
    memmove(w->unsent.data, w->unsent.data + n, w->unsent.len);
    if (w->unsent.len == 0) { remote_bytes_free(&w->unsent); }
    return true;
}

CELLAR_PRIVATE bool remote_wire_read(remote_wire *w, bool *more)
{
    char bytes[REMOTE_READ_BYTES];
    ssize_t n;
    *more = false;
    do {
        n = recv(w->fd, bytes, sizeof bytes, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) { return true; }
    if (n <= 0) { return remote_wire_lost(w, n < 0 ? errno : 0); }
    w->bytes_in += (uint64_t)n;
    *more = (size_t)n == sizeof bytes;
    if (redisReaderFeed(w->reader, bytes, (size_t)n) != REDIS_OK) {
        w->fault = REMOTE_WIRE_NOMEM;
        return false;
    }
    return remote_wire_parse(w);
}
