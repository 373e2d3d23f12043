/* SPDX-License-Identifier: MIT
 *
 * Each allocation and each call of the system that the link makes fails once. The link comes back
 * without help, and nothing leaks; so does a handshake that is cut. Requests that are cut:
 * test_remote_cuts; a handshake of TLS: test_remote_tls_link. */
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "tests/support/byte_proxy.h"
#include "tests/support/engine_kit.h"
#include "tests/support/link_kit.h"

/* ---- calls of the system that fail ---- */

static _Atomic int call_fails_in; /* the n-th call from now; 0: none */
static _Atomic int calls_failed;
static _Thread_local bool faulty; /* only calls of the link fail */

static bool fails(int error)
{
    if (!faulty || atomic_load(&call_fails_in) <= 0) { return false; }
    if (atomic_fetch_sub(&call_fails_in, 1) != 1) { return false; }
    atomic_fetch_add(&calls_failed, 1);
    errno = error;
    return true;
}

#define REAL(type, name) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

int socket(int family, int type, int protocol)
{
    if (fails(EMFILE)) { return -1; }
    return REAL(int (*)(int, int, int), "socket")(family, type, protocol);
}

int connect(int fd, __CONST_SOCKADDR_ARG to, socklen_t len)
{
    if (fails(ECONNREFUSED)) { return -1; }
    return REAL(int (*)(int, __CONST_SOCKADDR_ARG, socklen_t), "connect")(fd, to, len);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (fails(EPIPE)) { return -1; }
    return REAL(ssize_t (*)(int, const struct msghdr *, int), "sendmsg")(fd, m, flags);
}

ssize_t recv(int fd, void *to, size_t len, int flags)
{
    if (fails(ECONNRESET)) { return -1; }
    return REAL(ssize_t (*)(int, void *, size_t, int), "recv")(fd, to, len, flags);
}

int epoll_create1(int flags)
{
    if (fails(EMFILE)) { return -1; }
    return REAL(int (*)(int), "epoll_create1")(flags);
}

int eventfd(unsigned count, int flags)
{
    if (fails(EMFILE)) { return -1; }
    return REAL(int (*)(unsigned, int), "eventfd")(count, flags);
}

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *e)
{
    if (op != EPOLL_CTL_DEL && fails(ENOSPC)) { return -1; }
    return REAL(int (*)(int, int, int, struct epoll_event *), "epoll_ctl")(epoll, op, fd, e);
}

int epoll_wait(int epoll, struct epoll_event *e, int most, int wait_ms)
{
    if (fails(EINTR)) { return -1; }
    return REAL(int (*)(int, struct epoll_event *, int, int), "epoll_wait")(epoll, e, most,
                                                                            wait_ms);
}

/* ---- cases ---- */

/* Open, link, ask, and close with the n-th call failing. Return whether one failed. */
static bool live_with_fault(engine *e, _Atomic int *fault, int nth)
{
    link_kit k;
    link_kit_answer a;
    link_kit_init(&k, e->socket);
    faulty = true;
    atomic_store(fault == NULL ? &k.fail_in : fault, nth);
    const cellar_err err = link_kit_open(&k);
    if (err == CELLAR_OK) {
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        const cellar_err asked = link_kit_ask(&k, &a, LINK_KIT_WORDS("SET", "app:users:1", "v"));
        T_CHECK(asked == CELLAR_OK || asked == CELLAR_E_IO);
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        cellar_err fence = remote_marker_now(k.link, 10000);
        T_CHECK(fence == CELLAR_OK || fence == CELLAR_E_BREAKER_OPEN);
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        if (fence != CELLAR_OK) { fence = remote_marker_now(k.link, 10000); }
        T_EQ_I64(fence, CELLAR_OK);
    } else {
        T_CHECK(err == CELLAR_E_NOMEM || err == CELLAR_E_IO);
        T_CHECK(k.link == NULL);
    }
    faulty = false;
    const bool failed = atomic_load(fault == NULL ? &k.fail_in : fault) == 0;
    atomic_store(&k.fail_in, 0);
    link_kit_close(&k);
    return failed;
}

T_CASE(each_allocation_fails_once)
{
    static engine e;
    int n = 1;
    T_REQUIRE(engine_start(&e, NULL));
    while (live_with_fault(&e, NULL, n)) { n++; }
    T_CHECK(n > 10); /* there were so many */
}

T_CASE(each_call_of_the_system_fails_once)
{
    static engine e;
    int n = 1;
    T_REQUIRE(engine_start(&e, NULL));
    while (live_with_fault(&e, &call_fails_in, n)) { n++; }
    T_CHECK(n > 15);
    T_EQ_I64(atomic_load(&calls_failed), n - 1);
    atomic_store(&call_fails_in, 0);
}

/* Cut one way of the first connections after `n` bytes. */
T_CASE(handshake_cut_at_each_byte_comes_back)
{
    static engine e;
    static byte_proxy p;
    T_REQUIRE(engine_start(&e, NULL));
    for (int64_t n = 0, step = t_reduced() ? 41 : 7; n < 1400; n += step) {
        for (int way = 0; way < 2; way++) {
            link_kit k;
            remote_refusal why = { .why = REMOTE_WHY_NONE };
            byte_proxy_open(&p, e.dir, e.socket);
            atomic_store(&p.fresh.way[way].left, n);
            link_kit_init(&k, p.path);
            T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
            while (why.why == REMOTE_WHY_NONE && remote_link_state(k.link) != REMOTE_PROVEN) {
                T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
                remote_link_refusal(k.link, &why);
            }
            T_CHECK(n > 100 || why.why != REMOTE_WHY_NONE);
            atomic_store(&p.fresh.way[way].left, -1);
            T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
            link_kit_close(&k);
            byte_proxy_close(&p);
        }
    }
}

/* ---- memory of replies ---- */

enum { BIG_BYTES = 12 << 20 };

typedef struct big_reply {
    size_t strings, bytes; /* of the reply, all as sent */
    bool right;
} big_reply;

static void *map_block(void *ctx, size_t bytes)
{
    (void)ctx;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

static void *map_block_below_8_mib(void *ctx, size_t bytes)
{
    return bytes < 8u << 20 ? map_block(ctx, bytes) : NULL;
}

static void unmap_block(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    if (p != NULL) { munmap(p, bytes); }
}

static void take_string(big_reply *b, const remote_reply *r)
{
    b->strings++;
    b->bytes += r->len;
    for (size_t i = 0; i < r->len; i++) { b->right = b->right && r->text[i] == 'x'; }
}

static void take_big(void *ctx, uint32_t index, const remote_reply *r)
{
    (void)index;
    if (r->type == REMOTE_STRING) { take_string(ctx, r); }
    for (const remote_reply *e = r->first; e != NULL; e = e->next) { take_string(ctx, e); }
}

/* Return the code of a request with one long reply. */
static cellar_err ask_big(link_kit *k, const char *bytes, big_reply *b)
{
    const remote_request q = { .bytes = bytes, .bytes_len = strlen(bytes), .replies = 1,
                               .wait_ms = 20000, .ctx = b, .fn = take_big };
    *b = (big_reply){ .right = true };
    return remote_ask(k->link, &q, NULL);
}

T_CASE(long_replies_are_charged_to_the_store)
{
    static char value[BIG_BYTES];
    static engine e;
    static link_kit k;
    big_reply b;
    T_REQUIRE(engine_start(&e, NULL));
    memset(value, 'x', sizeof value);
    T_CHECK(engine_ask(&e, "SET app:users:1 %b", value, sizeof value) != NULL);
    link_kit_init(&k, e.socket);
    k.c.string_max = BIG_BYTES;
    k.memory = (remote_memory){ NULL, map_block, unmap_block, NULL };
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_I64(ask_big(&k, "*2\r\n$3\r\nGET\r\n$11\r\napp:users:1\r\n", &b), CELLAR_OK);
    T_CHECK(b.right && b.strings == 1 && b.bytes == BIG_BYTES);
    T_EQ_I64(ask_big(&k, "*4\r\n$4\r\nMGET\r\n$11\r\napp:users:1\r\n$1\r\nn\r\n"
                     "$11\r\napp:users:1\r\n", &b), CELLAR_OK);
    T_CHECK(b.right && b.strings == 3 && b.bytes == 2 * (size_t)BIG_BYTES);
    k.memory.alloc = map_block_below_8_mib;
    T_EQ_I64(ask_big(&k, "*2\r\n$3\r\nGET\r\n$11\r\napp:users:1\r\n", &b), CELLAR_E_IO);
    remote_refusal why;
    remote_link_refusal(k.link, &why);
    T_EQ_I64(why.code, CELLAR_E_NOMEM);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

T_MAIN("remote_faults")
