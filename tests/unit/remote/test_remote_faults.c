/* SPDX-License-Identifier: MIT
 *
 * Each allocation and each call of the system that the link makes fails once; each reply is cut at
 * each byte. The link comes back without help, and nothing leaks. */
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

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

/* The parser of hiredis takes its memory from malloc. The sanitizers have their own. */
#if !T_ASAN && !T_TSAN && !T_MSAN && defined(__GLIBC__)
#define HAVE_MALLOC_FAULTS 1
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *p, size_t size);
static _Atomic int malloc_fails_in;

static bool malloc_fails(void)
{
    return faulty && atomic_load(&malloc_fails_in) > 0 &&
           atomic_fetch_sub(&malloc_fails_in, 1) == 1;
}

void *malloc(size_t size) { return malloc_fails() ? NULL : __libc_malloc(size); }
void *calloc(size_t n, size_t size) { return malloc_fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { return malloc_fails() ? NULL : __libc_realloc(p, size); }
#else
#define HAVE_MALLOC_FAULTS 0
#endif

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
    k.c.io_ms = 10000;
    faulty = true;
    atomic_store(fault == NULL ? &k.fail_in : fault, nth);
    const cellar_err err = link_kit_open(&k);
    if (err == CELLAR_OK) {
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        const cellar_err asked = link_kit_ask(&k, &a, LINK_KIT_WORDS("SET", "app:users:1", "v"));
        T_CHECK(asked == CELLAR_OK || asked == CELLAR_E_IO);
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        cellar_err fence = remote_mark_now(k.link, 10000);
        T_CHECK(fence == CELLAR_OK || fence == CELLAR_E_BREAKER_OPEN);
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        if (fence != CELLAR_OK) { fence = remote_mark_now(k.link, 10000); }
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

static void each_allocation_fails_once(void)
{
    engine e;
    int n = 1;
    if (!engine_start(&e, NULL)) { return; }
    while (live_with_fault(&e, NULL, n)) { n++; }
    T_CHECK(n > 10); /* there were so many */
    engine_stop(&e);
}

static void each_call_of_the_system_fails_once(void)
{
    engine e;
    int n = 1;
    if (!engine_start(&e, NULL)) { return; }
    while (live_with_fault(&e, &call_fails_in, n)) { n++; }
    T_CHECK(n > 15);
    T_EQ_I64(atomic_load(&calls_failed), n - 1);
    atomic_store(&call_fails_in, 0);
    engine_stop(&e);
}

static void each_malloc_of_the_parser_fails_once(void)
{
#if HAVE_MALLOC_FAULTS
    engine e;
    int n = 1;
    if (!engine_start(&e, NULL)) { return; }
    while (live_with_fault(&e, &malloc_fails_in, n)) { n++; }
    T_CHECK(n > 20);
    atomic_store(&malloc_fails_in, 0);
    engine_stop(&e);
#else
    T_SKIP("the sanitizer has its own malloc");
#endif
}

/* Cut one direction of the first connections after `n` bytes. */
static void connections_cut_at_each_byte_come_back(void)
{
    engine e;
    byte_proxy *p = calloc(1, sizeof *p);
    if (p == NULL || !engine_start(&e, NULL)) {
        free(p);
        return;
    }
    const int64_t step = t_share(4) == 4 ? 7 : 41;
    for (int way = 0; way < 2; way++) {
        for (int64_t n = 0; n < 1400; n += step) {
            link_kit k;
            byte_proxy_open(p, e.dir, e.socket);
            atomic_store(&p->fresh.way[way].left, n);
            link_kit_init(&k, p->path);
            T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
            for (int i = 0; i < 200 && remote_link_state(k.link) != REMOTE_PROVEN; i++) {
                remote_refusal why;
                remote_link_step(k.link, 1);
                remote_link_refusal(k.link, &why);
                if (why.why != REMOTE_WHY_NONE) { break; }
            }
            atomic_store(&p->fresh.way[way].left, -1);
            T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
            link_kit_close(&k);
            byte_proxy_close(p);
        }
    }
    free(p);
    engine_stop(&e);
}

T_MAIN("remote_faults", T_CASE(each_allocation_fails_once),
       T_CASE(each_malloc_of_the_parser_fails_once),
       T_CASE(each_call_of_the_system_fails_once), T_CASE(connections_cut_at_each_byte_come_back))
