/* SPDX-License-Identifier: MIT
 *
 * Aim:    a resolver that is slow or silent delays no step, no call, no close and no other
 *         Sentinel; its answer counts when it comes, and a new one with the next connect; one thread
 *         asks it for a name at a time.
 * Method: the resolver is a function of this file. The clock of the waits is one that a case turns. */
#include <dlfcn.h>
#include <netdb.h>

#include "remote/link_inside.h"
#include "tests/support/engine_kit.h"
#include "tests/support/link_kit.h"

#define REAL(type, name) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

static _Atomic bool silent;        /* the resolver does not answer: */
static _Atomic char silent_first;  /* names that begin with this letter; 0: all */
static _Atomic bool unknown;       /* it knows no name */
static _Atomic bool threadless;    /* the system has no thread left */
static _Atomic int asked, inside;  /* calls of the resolver; those that run */
static _Atomic int most = 1;       /* of them at a time */
static _Atomic int moved;          /* port of the other address that names have now; 0: none */
static _Atomic int64_t ahead_ns;   /* of the clock of the system */

int getaddrinfo(const char *host, const char *port, const struct addrinfo *want,
                struct addrinfo **out)
{
    typedef int (*resolver)(const char *, const char *, const struct addrinfo *,
                            struct addrinfo **);
    const resolver real = REAL(resolver, "getaddrinfo");
    if ((want->ai_flags & AI_NUMERICHOST) != 0) { return real(host, port, want, out); }
    const char first = atomic_load(&silent_first);
    char other[8];
    T_CHECK(atomic_fetch_add(&inside, 1) < atomic_load(&most));
    atomic_fetch_add(&asked, 1);
    while (atomic_load(&silent) && (first == 0 || host[0] == first)) { engine_pause_ms(1); }
    (void)snprintf(other, sizeof other, "%d", atomic_load(&moved));
    const int error = atomic_load(&unknown) ? EAI_NONAME
                    : real("127.0.0.1", atomic_load(&moved) != 0 ? other : port, want, out);
    atomic_fetch_sub(&inside, 1);
    return error;
}

int clock_gettime(clockid_t which, struct timespec *t)
{
    const int err = REAL(int (*)(clockid_t, struct timespec *), "clock_gettime")(which, t);
    const int64_t ns = (int64_t)t->tv_nsec + atomic_load(&ahead_ns);
    t->tv_sec += (time_t)(ns / 1000000000);
    t->tv_nsec = (long)(ns % 1000000000);
    return err;
}

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    typedef int (*creator)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (atomic_load(&threadless)) { return EAGAIN; }
    return REAL(creator, "pthread_create")(t, a, fn, arg);
}

static void open_named(link_kit *k, const char *host, uint16_t port)
{
    link_kit_init(k, host);
    k->c.server.port = port;
    k->c.allow_plaintext = true;
    atomic_store(&asked, 0);
    T_REQUIRE(link_kit_open(k) == CELLAR_OK);
}

static void resolver_answers(void)
{
    atomic_store(&silent, false);
    while (atomic_load(&inside) != 0) { engine_pause_ms(1); }
}

/* Step until the resolver was asked so often. */
static void step_until_asked(link_kit *k, int times)
{
    while (atomic_load(&asked) < times) { T_EQ_I64(remote_link_step(k->link, 1), CELLAR_OK); }
}

T_CASE(silent_resolver_delays_neither_step_nor_close)
{
    link_kit k;
    link_kit_answer a;
    atomic_store(&silent, true);
    open_named(&k, "db.test", 6379);
    step_until_asked(&k, 1);
    for (int i = 0; i < 5; i++) { T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK); }
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("PING")), CELLAR_E_BREAKER_OPEN);
    link_kit_close(&k);
    T_EQ_I64(atomic_load(&inside), 1); /* all of this while it is silent */
    resolver_answers();
}

T_CASE(silent_resolver_delays_no_close_of_a_thread)
{
    link_kit k;
    atomic_store(&silent, true);
    link_kit_init(&k, "db.test");
    k.c.server.port = 6379;
    k.c.allow_plaintext = true;
    k.c.no_thread = false;
    atomic_store(&asked, 0);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    while (atomic_load(&asked) == 0) { sched_yield(); }
    link_kit_close(&k);
    T_EQ_I64(atomic_load(&inside), 1);
    resolver_answers();
}

T_CASE(name_with_an_address_is_proven)
{
    static engine e;
    static link_kit k;
    if (!engine_start_on(&e, true, NULL)) { return; }
    open_named(&k, "db.test", e.port);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_I64(atomic_load(&asked), 1);
}

T_CASE(late_answer_counts_for_a_later_attempt)
{
    static engine e;
    static link_kit k;
    remote_figures f;
    remote_refusal why;
    if (!engine_start_on(&e, true, NULL)) { return; }
    atomic_store(&silent, true);
    open_named(&k, "db.test", e.port);
    step_until_asked(&k, 1);
    do {
        atomic_fetch_add(&ahead_ns, INT64_C(1100000000));
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        remote_link_figures(k.link, &f);
    } while (f.counts[REMOTE_LINK_ATTEMPTS] < 4);
    remote_link_refusal(k.link, &why);
    T_EQ_I64(why.why, REMOTE_WHY_TIMEOUT);
    T_EQ_STR(why.text, "remote: the name db.test has no address yet");
    resolver_answers();
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_I64(atomic_load(&asked), 1); /* for all attempts */
}

T_CASE(unknown_name_is_a_reason)
{
    link_kit k;
    remote_refusal why;
    atomic_store(&unknown, true);
    open_named(&k, "db.test", 6379);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_CONNECT);
    T_EQ_STR(why.text, "remote: the name db.test has no address");
    step_until_asked(&k, 2); /* the next attempt asks again */
    link_kit_close(&k);
    resolver_answers();
    atomic_store(&unknown, false);
}

T_CASE(unknown_name_of_a_sentinel_is_a_reason)
{
    link_kit k;
    remote_refusal why = { .why = REMOTE_WHY_NONE };
    link_kit_init(&k, "");
    k.c.allow_plaintext = true;
    k.c.sentinel_count = 1;
    snprintf(k.c.sentinel[0].host, sizeof k.c.sentinel[0].host, "db.test");
    k.c.sentinel[0].port = 26379;
    atomic_store(&unknown, true);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    while (why.why != REMOTE_WHY_CONNECT) { /* the attempt may end before the answer */
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
        remote_link_refusal(k.link, &why);
    }
    T_EQ_STR(why.text, "remote: the name db.test has no address");
    link_kit_close(&k);
    resolver_answers();
    atomic_store(&unknown, false);
}

/* The name of the server is another one when the answer comes. */
T_CASE(answer_for_another_name_is_dropped)
{
    link_kit k;
    remote_figures f;
    atomic_store(&silent, true);
    open_named(&k, "db.test", 6379);
    step_until_asked(&k, 1);
    snprintf(k.c.server.host, sizeof k.c.server.host, "other.test");
    do {
        atomic_fetch_add(&ahead_ns, INT64_C(1100000000));
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        remote_link_figures(k.link, &f);
    } while (f.counts[REMOTE_LINK_ATTEMPTS] < 2);
    resolver_answers();
    step_until_asked(&k, 2);
    link_kit_close(&k);
    resolver_answers();
}

/* A failover by DNS: the name has another address. */
T_CASE(name_with_another_address_is_followed)
{
    static engine e, next;
    static link_kit k;
    if (!engine_start_on(&e, true, NULL)) { return; }
    T_REQUIRE(engine_start_on(&next, true, NULL));
    open_named(&k, "db.test", e.port);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    atomic_store(&moved, next.port);
    engine_kill(&e);
    T_CHECK(link_kit_until(&k, REMOTE_DOWN));
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_CHECK(engine_ask(&next, "SET app:users:1 v") != NULL);
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_EQ_STR(k.key, "app:users:1");
    atomic_store(&moved, 0);
}

/* The name of the first of three Sentinels comes late; until then the other two are a majority. */
T_CASE(late_name_of_a_sentinel_delays_no_other)
{
    enum { MANY = 3 };
    static engine e, s[MANY];
    link_kit k;
    char config[256];
    if (!engine_start_on(&e, true, NULL)) { return; }
    snprintf(config, sizeof config, "sentinel monitor main 127.0.0.1 %u 1\n", e.port);
    link_kit_init(&k, "");
    k.c.allow_plaintext = true;
    k.c.sentinel_count = MANY;
    snprintf(k.c.master, sizeof k.c.master, "main");
    for (int i = 0; i < MANY; i++) {
        T_REQUIRE(engine_start_sentinel(&s[i], config));
        snprintf(k.c.sentinel[i].host, sizeof k.c.sentinel[i].host, "%c.test", "xyz"[i]);
        k.c.sentinel[i].port = s[i].port;
    }
    atomic_store(&most, MANY);
    atomic_store(&silent_first, 'x');
    atomic_store(&silent, true);
    atomic_store(&asked, 0);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    while (atomic_load(&inside) != 1) { engine_pause_ms(1); } /* its thread may start late */
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_EQ_I64(k.link->sentinel[0].named.port, 0);
    resolver_answers();
    while (k.link->sentinel[0].named.port == 0) {
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
    }
    T_EQ_I64(k.link->sentinel[0].named.port, e.port); /* it votes, too */
    T_EQ_I64(atomic_load(&asked), MANY);
    link_kit_close(&k);
    atomic_store(&silent_first, 0);
    atomic_store(&most, 1);
    for (int i = 0; i < MANY; i++) { engine_stop(&s[i]); }
}

T_CASE(addresses_and_localhost_need_no_resolver)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost" };
    static engine e;
    link_kit k;
    if (!engine_start_on(&e, true, NULL)) { return; }
    atomic_store(&threadless, true);
    for (size_t i = 0; i < 2; i++) {
        open_named(&k, hosts[i], e.port);
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        T_EQ_I64(atomic_load(&asked), 0);
        link_kit_close(&k);
    }
    atomic_store(&threadless, false);
}

T_CASE(no_thread_for_a_name_is_a_reason)
{
    static link_kit k;
    remote_refusal why;
    atomic_store(&threadless, true);
    open_named(&k, "db.test", 6379);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_NOMEM);
    T_CHECK(strstr(why.text, "thread to resolve db.test") != NULL);
    atomic_store(&threadless, false);
}

T_CASE(child_of_a_fork_leaves_the_lookup)
{
    static link_kit k;
    int status = -1;
    atomic_store(&silent, true);
    open_named(&k, "db.test", 6379);
    step_until_asked(&k, 1);
    const pid_t child = fork();
    if (child == 0) {
        remote_link_close(k.link);
        _exit(0);
    }
    T_EQ_I64(waitpid(child, &status, 0), child);
    T_EQ_I64(status, 0);
    resolver_answers();
}

T_MAIN("remote_names")
