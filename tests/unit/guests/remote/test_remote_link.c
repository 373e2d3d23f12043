/* SPDX-License-Identifier: MIT
 *
 * The link to a real server: requests, invalidations, markers, reconnects, fork and close. */
#include <poll.h>

#include "remote/link_inside.h"
#include "tests/support/link_kit.h"
#include "tests/support/shared_side.h"

/* The begin of a remote_request. */
#define PING .bytes = "*1\r\n$4\r\nPING\r\n", .bytes_len = 14, .replies = 1

static engine e;
static link_kit k;

static void proven(void)
{
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

static void prepare(void)
{
    T_REQUIRE(engine_start(&e, NULL));
    link_kit_init(&k, e.socket);
}

static void start(void)
{
    prepare();
    proven();
}

/* Start a link with a thread that sends no marker for long. */
static void start_with_thread(void)
{
    prepare();
    k.c.no_thread = false;
    proven();
}

static uint64_t figure(size_t which)
{
    remote_figures f;
    remote_link_figures(k.link, &f);
    return f.counts[which];
}

/* Cases with a server and a link that is prepared, proven, or has a thread. */
#define PREPARED(fn) T_WITHIN(fn, prepare(), left_close())
#define PROVEN(fn) T_WITHIN(fn, start(), left_close())
#define WITH_THREAD(fn) T_WITHIN(fn, start_with_thread(), left_close())

T_CASE_ON(posted_requests_end_once, PROVEN)
{
    link_kit_answer a[100];
    remote_bytes b = { .memory = &k.memory };
    link_kit_command(&b, LINK_KIT_WORDS("INCR", "app:n"));
    link_kit_command(&b, LINK_KIT_WORDS("GET", "app:n"));
    T_REQUIRE(b.err == CELLAR_OK);
    memset(a, 0, sizeof a);
    for (int i = 0; i < 100; i++) {
        const remote_request q = { .bytes = b.data, .bytes_len = b.len, .replies = 2, .ctx = &a[i],
                                   .fn = link_kit_take, .done = link_kit_done };
        remote_post(k.link, &q);
    }
    for (int i = 0; i < 10000 && !a[99].ended; i++) { remote_link_step(k.link, 1); }
    for (int i = 0; i < 100; i++) {
        T_CHECK(a[i].ended && a[i].err == CELLAR_OK && a[i].replies == 2);
        T_EQ_I64(strtol(a[i].text, NULL, 10), i + 1);
    }
    remote_bytes_free(&b);
}

T_CASE_ON(changes_of_others_are_heard_before_the_fence_returns, PROVEN)
{
    link_kit_answer a;
    engine_ask(&e, "SET app:users:7 x");
    engine_ask(&e, "SET other:7 x");
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_EQ_U64(atomic_load(&k.heard), 1);
    T_EQ_STR(k.key, "app:users:7");
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("SET", "app:users:8", "own")), CELLAR_OK);
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_EQ_U64(atomic_load(&k.heard), 1); /* the own write is not announced */
    engine_ask(&e, "FLUSHALL");
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK); /* the key of the marker is made again */
    T_EQ_I64(atomic_load(&k.flushes), 1);
    T_EQ_I64(atomic_load(&k.gaps), 0);
}

T_CASE_ON(proof_ends_without_markers, PREPARED)
{
    k.c.proof_ms = 2000;
    k.virtual_clock = true;
    atomic_store(&k.clock_ms, 1000000);
    proven();
    T_EQ_I64(remote_proven_until(k.link), 1000000 + 2000);
    engine_signal(&e, SIGSTOP);
    atomic_store(&k.clock_ms, 1000500);
    T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK); /* a marker is due and sent */
    atomic_store(&k.clock_ms, 1000500 + 1001);
    T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    T_EQ_I64(remote_link_state(k.link), REMOTE_SUSPECT);
    T_EQ_I64(remote_proven_until(k.link), 1002000); /* no later than the last proof says */
    atomic_store(&k.clock_ms, 1000500 + 2001);
    T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    T_EQ_I64(remote_link_state(k.link), REMOTE_DOWN);
    T_EQ_I64(remote_proven_until(k.link), 0);
    T_EQ_I64(atomic_load(&k.gaps), 1);
    engine_signal(&e, SIGCONT);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_STR(k.order, "tpgtp");
}

T_CASE_ON(lost_links_in_a_row_are_logged_once, PREPARED)
{
    proven();
    const int64_t begin_ms = link_kit_real_ms();
    for (int i = 0; i < 30; i++) {
        T_CHECK(engine_cut(&e, "pubsub") == 1);
        while (atomic_load(&k.gaps) == i) { T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK); }
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    }
    const int64_t pauses = (link_kit_real_ms() - begin_ms) / 5000; /* of the log */
    T_CHECK(atomic_load(&k.logs) >= 3); /* heard; lost; heard */
    T_CHECK(atomic_load(&k.logs) <= 3 + 2 * pauses);
}

T_CASE_ON(no_marker_is_sent_before_synced, PREPARED)
{
    k.hold = true;
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_GAP));
    T_EQ_I64(remote_marker_now(k.link, 30), CELLAR_E_TIMEOUT);
    T_EQ_I64(atomic_load(&k.proofs), 0);
    remote_synced(k.link);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

T_CASE_ON(new_prefix_is_heard_after_a_gap, PROVEN)
{
    k.prefix[2] = "app:more:";
    remote_retrack(k.link);
    while (atomic_load(&k.linked) < 2) { remote_link_step(k.link, 1); }
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    engine_ask(&e, "SET app:more:1 x");
    engine_ask(&e, "SET app:users:1 x");
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_EQ_U64(atomic_load(&k.heard), 2);
    T_EQ_I64(atomic_load(&k.gaps), 1);
}

/* Swap a value with the words for one kind of server, by a call and by a posted request. */
static void check_swaps(side *s, bool named)
{
    int64_t numbers[REMOTE_NUMBERS_MAX];
    T_EQ_I64(remote_script_run(s->r, REMOTE_WORDS(REMOTE_EVAL(s->r, named, REMOTE_SCRIPT_SWAP, "1"),
                                                  { "app:other:a", 11 }, { "v", 1 },
                                                  { "60000", 5 }), 0, numbers, NULL), CELLAR_OK);
    T_EQ_I64(numbers[0], 1);
    remote_script_post(s->r, REMOTE_WORDS(REMOTE_EVAL(s->r, named, REMOTE_SCRIPT_SWAP, "1"),
                                          { "app:other:b", 11 }, { "v", 1 }, { "60000", 5 }));
    T_EQ_I64(remote_script_run(s->r, REMOTE_WORDS(REMOTE_EVAL(s->r, named, REMOTE_SCRIPT_SWAP, "1"),
                                                  { "app:other:a", 11 }, { "", 0 }, { "0", 1 },
                                                  { "v", 1 }), 0, numbers, NULL), CELLAR_OK);
    T_EQ_I64(numbers[0], 1);
    side_fence(s);
}

T_CASE(request_for_the_other_kind_of_server_is_formed_again)
{
    static side s;
    T_REQUIRE(engine_start(&e, NULL));
    side_open(&s, e.socket, NULL, NULL);
    for (int i = 0; engine_is_port() && i < REMOTE_SCRIPTS; i++) { /* as of a Redis before */
        char digest[REMOTE_SHA1_TEXT + 1];
        (void)snprintf(digest, sizeof digest, "%040d", i);
        remote_script_digest(s.r, (size_t)i, digest);
    }
    const uint64_t gaps = side_stats(&s).gaps;
    check_swaps(&s, !engine_is_port());
    T_EQ_I64(engine_number(engine_ask(&e, "EXISTS app:other:a app:other:b")), 1);
    T_EQ_U64(side_stats(&s).gaps, gaps);
}

/* As a request that was formed before the link moved to a server without the script. */
T_CASE_ON(request_with_an_unknown_script_fails_alone, PROVEN)
{
    static const char digest[] = "0123456789abcdef0123456789abcdef01234567";
    link_kit_answer a, asked;
    const int gaps = atomic_load(&k.gaps);
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("EVALSHA", digest, "1", "app:users:1")),
             CELLAR_OK);
    T_EQ_I64(a.type, REMOTE_ERROR);
    T_CHECK(strncmp(a.text, "NOSCRIPT ", 9) == 0);
    for (int i = 0; i < 3; i++) { /* rounds that would load scripts */
        T_EQ_I64(link_kit_ask(&k, &asked, LINK_KIT_WORDS("GET", "app:users:1")), CELLAR_OK);
        T_EQ_I64(asked.type, REMOTE_NIL);
    }
    T_EQ_I64(atomic_load(&k.gaps), gaps);
}

/* The server forgets them before a request, then before a marker. */
T_CASE_ON(lost_scripts_are_loaded_again, PROVEN)
{
    link_kit_answer a;
    engine_ask(&e, "SCRIPT FLUSH");
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("EVALSHA", k.digest[0], "1", "k")), CELLAR_OK);
    T_CHECK(a.type == REMOTE_INTEGER && a.number == 1 && a.replies == 1);
    engine_ask(&e, "SCRIPT FLUSH");
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_EQ_I64(atomic_load(&k.gaps), 0);
}

T_CASE_ON(new_prefix_while_scripts_are_loaded, PROVEN)
{
    link_kit_answer a = { .replies = 0 };
    remote_bytes b = { .memory = &k.memory };
    struct pollfd fd = { .fd = remote_link_fd(k.link), .events = POLLIN };
    link_kit_command(&b, LINK_KIT_WORDS("EVALSHA", k.digest[0], "1", "k"));
    T_REQUIRE(b.err == CELLAR_OK);
    const remote_request q = { .bytes = b.data, .bytes_len = b.len, .replies = 1, .ctx = &a,
                               .flags = REMOTE_SCRIPTED, .wait_ms = 10000, .fn = link_kit_take,
                               .done = link_kit_done };
    engine_ask(&e, "SCRIPT FLUSH");
    remote_post(k.link, &q);
    remote_link_step(k.link, 0);
    while (figure(REMOTE_LINK_REPEATED) == 0) {
        engine_signal(&e, SIGCONT);
        (void)poll(&fd, 1, 100);
        engine_signal(&e, SIGSTOP);
        remote_link_step(k.link, 0);
    }
    k.prefix[2] = "app:more:";
    remote_retrack(k.link);
    remote_link_step(k.link, 0);
    engine_signal(&e, SIGCONT);
    while (atomic_load(&k.linked) < 2) { remote_link_step(k.link, 1); }
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_CHECK(a.ended && a.err == CELLAR_OK && a.number == 1);
    T_EQ_U64(figure(REMOTE_LINK_ATTEMPTS), 1); /* each reply met its request */
    remote_bytes_free(&b);
}

/* No marker is due for 15 s, so only the deadline of the tracking breaks the link. */
T_CASE_ON(frozen_server_does_not_hold_tracking_up, PROVEN)
{
    remote_refusal why = { .why = REMOTE_WHY_NONE };
    engine_signal(&e, SIGSTOP);
    k.prefix[2] = "app:more:";
    remote_retrack(k.link);
    T_CHECK(link_kit_until(&k, REMOTE_GAP));
    T_EQ_I64(link_kit_reason(&k, &why), REMOTE_WHY_TIMEOUT);
    engine_signal(&e, SIGCONT);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

/* Ask a frozen server five times. Return whether each request was sent within io_ms. */
static bool all_sent_in(int64_t io_ms)
{
    bool sent = true;
    start();
    k.c.io_ms = io_ms;
    engine_signal(&e, SIGSTOP);
    for (int i = 0; i < 5; i++) {
        link_kit_answer a;
        const int64_t before_ms = link_kit_real_ms();
        T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("GET", "app:users:1")), CELLAR_E_TIMEOUT);
        sent = sent && a.fate == REMOTE_UNKNOWN;
        T_CHECK(link_kit_real_ms() - before_ms >= io_ms);
    }
    return sent;
}

T_CASE(frozen_server_costs_io_ms_then_nothing)
{
    link_kit_answer a;
    remote_figures f;
    for (int64_t io_ms = 20; !all_sent_in(io_ms); io_ms *= 2) {
        T_REQUIRE(io_ms < 10000);
        left_close();
    }
    remote_link_step(k.link, 0);
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("GET", "app:users:1")), CELLAR_E_BREAKER_OPEN);
    T_EQ_I64(remote_link_state(k.link), REMOTE_DOWN);
    remote_link_figures(k.link, &f);
    T_EQ_U64(f.counts[REMOTE_LINK_TIMEOUTS], 5);
    T_EQ_U64(f.counts[REMOTE_LINK_BREAKER], 1);
    T_EQ_U64(f.gaps[REMOTE_WHY_TIMEOUT], 1);
    engine_signal(&e, SIGCONT);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    k.c.io_ms = 10000;
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("PING")), CELLAR_OK);
    T_EQ_STR(a.text, "PONG"); /* no reply of the requests before */
}

T_CASE_ON(full_ring_is_a_code, PROVEN)
{
    enum { POSTS = 4096 };
    link_kit_answer a;
    static link_kit_answer posted[POSTS + 1];
    memset(posted, 0, sizeof posted);
    for (int i = 0; i <= POSTS; i++) {
        const remote_request q = { PING, .wait_ms = 10000, .ctx = &posted[i], .fn = link_kit_take,
                                   .done = link_kit_done };
        remote_post(k.link, &q);
    }
    T_CHECK(posted[POSTS].ended && posted[POSTS].err == CELLAR_E_LIMIT);
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("PING")), CELLAR_E_LIMIT);
    T_EQ_I64(remote_marker_now(k.link, 10000), CELLAR_OK); /* the link has requests of its own */
    for (int i = 0; i < 10000 && !posted[POSTS - 1].ended; i++) { remote_link_step(k.link, 1); }
    for (int i = 0; i < POSTS; i++) { T_CHECK(posted[i].ended && posted[i].err == CELLAR_OK); }
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("PING")), CELLAR_OK);
    T_EQ_U64(figure(REMOTE_LINK_FULL), 2);
}

static void events_must_not_ask(void *ctx, uint32_t index, const remote_reply *reply)
{
    link_kit_answer a;
    (void)ctx, (void)index, (void)reply;
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("PING")), CELLAR_E_DEADLOCK);
    T_EQ_I64(remote_marker_now(k.link, 10), CELLAR_E_DEADLOCK);
}

T_CASE_ON(ask_inside_a_reply_is_refused, PROVEN)
{
    const remote_request q = { PING, .fn = events_must_not_ask };
    T_EQ_I64(remote_ask(k.link, &q, NULL), CELLAR_OK);
}

/* Also a link that begins then, or lost its key: the script makes the key behind an UNLINK. */
T_CASE(full_server_lets_a_link_prove)
{
    static const char *const policies[] = { "noeviction", "allkeys-random" };
    for (int i = 0; i < 2; i++) {
        T_REQUIRE(engine_start(&e, NULL));
        link_kit_init(&k, e.socket);
        engine_ask(&e, "CONFIG SET maxmemory-policy %s maxmemory 1", policies[i]);
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        for (int n = 0; n < 5; n++) { T_EQ_I64(remote_marker_now(k.link, 10000), CELLAR_OK); }
        T_EQ_I64(atomic_load(&k.gaps), 0);
        left_close();
    }
}

T_CASE_ON(longest_fence_has_no_end, PROVEN)
{
    T_EQ_I64(remote_marker_now(k.link, INT64_MAX), CELLAR_OK);
}

static void *ask_often(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++) {
        link_kit_answer a;
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        const cellar_err err = link_kit_ask(&k, &a, LINK_KIT_WORDS("ECHO", text));
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO || err == CELLAR_E_BREAKER_OPEN);
        if (err == CELLAR_OK) { T_EQ_STR(a.text, text); }
    }
    return NULL;
}

static void threads_get_their_own_replies(bool no_thread)
{
    pthread_t t[4];
    prepare();
    k.c.no_thread = no_thread;
    proven();
    for (int i = 0; i < 4; i++) { pthread_create(&t[i], NULL, ask_often, NULL); }
    for (int i = 0; i < 5; i++) { engine_cut(&e, "normal"); }
    for (int i = 0; i < 4; i++) { pthread_join(t[i], NULL); }
}

T_CASE(threads_share_the_io_thread) { threads_get_their_own_replies(false); }
T_CASE(threads_run_the_link_while_they_wait) { threads_get_their_own_replies(true); }

enum { CALLERS = 80, PATIENCE_MS = 600000 };

typedef struct caller {
    pthread_t thread;
    cellar_err err;
    remote_fate fate;
} caller;

static void *ask_with_patience(void *arg)
{
    caller *c = arg;
    const remote_request q = { PING, .wait_ms = PATIENCE_MS };
    c->err = remote_ask(k.link, &q, &c->fate);
    return NULL;
}

/* Let callers of more than two groups of tickets wait for a frozen server. Then let it answer all
 * of them, or kill it. A caller that is not woken would wait for PATIENCE_MS. */
static void callers_are_woken(bool killed)
{
    caller c[CALLERS];
    start_with_thread();
    const uint64_t before = figure(REMOTE_LINK_REQUESTS);
    engine_signal(&e, SIGSTOP);
    for (int i = 0; i < CALLERS; i++) {
        c[i] = (caller){ .err = CELLAR_E_INVAL };
        pthread_create(&c[i].thread, NULL, ask_with_patience, &c[i]);
    }
    while (figure(REMOTE_LINK_REQUESTS) < before + CALLERS) { sched_yield(); }
    if (killed) { engine_kill(&e); }
    else { engine_signal(&e, SIGCONT); }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(c[i].thread, NULL);
        T_CHECK(killed ? c[i].err == CELLAR_E_IO || c[i].err == CELLAR_E_BREAKER_OPEN
                       : c[i].err == CELLAR_OK);
    }
}

T_CASE(one_read_wakes_all_callers_it_answers) { callers_are_woken(false); }
T_CASE(lost_server_wakes_all_callers) { callers_are_woken(true); }

T_CASE_ON(waiting_caller_wakes_no_other_thread, WITH_THREAD)
{
    caller c = { .err = CELLAR_E_INVAL };
    const uint64_t before = figure(REMOTE_LINK_RINGS);
    for (int i = 0; i < 200; i++) {
        (void)ask_with_patience(&c);
        T_EQ_I64(c.err, CELLAR_OK);
    }
    T_CHECK(figure(REMOTE_LINK_RINGS) - before < 20);
}

/* The server answers BLPOP after 10 ms, so each spin is in vain, unless the thread stands still. */
T_CASE_ON(spins_in_vain_become_rare, WITH_THREAD)
{
    link_kit_answer a;
    for (int i = 0; i < 16 || (i < 200 && atomic_load(&k.link->spin_pause) < 3); i++) {
        T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("BLPOP", "none", "0.01")), CELLAR_OK);
    }
    T_CHECK(atomic_load(&k.link->spin_pause) >= 3);
}

static void *ask_and_live_on(void *arg)
{
    int before;
    (void)ask_with_patience(arg);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return NULL;
}

T_CASE_ON(cancel_during_a_request_waits_for_its_end, WITH_THREAD)
{
    caller c = { .err = CELLAR_E_INVAL };
    const uint64_t before = figure(REMOTE_LINK_REQUESTS);
    engine_signal(&e, SIGSTOP);
    pthread_create(&c.thread, NULL, ask_and_live_on, &c);
    while (figure(REMOTE_LINK_REQUESTS) == before) { sched_yield(); }
    T_EQ_I64(pthread_cancel(c.thread), 0);
    engine_signal(&e, SIGCONT);
    pthread_join(c.thread, NULL);
    T_EQ_I64(c.err, CELLAR_OK);
    (void)ask_with_patience(&c);
    T_EQ_I64(c.err, CELLAR_OK);
}

static _Thread_local bool asks;
static _Atomic int ends, ends_in_callers;

static void note_the_thread(void *ctx, cellar_err err, remote_fate fate)
{
    (void)ctx, (void)err, (void)fate;
    atomic_fetch_add(&ends_in_callers, asks);
    atomic_fetch_add(&ends, 1);
}

static void *ask_until_posts_end(void *arg)
{
    asks = true;
    while (atomic_load(&ends) < 200) { (void)ask_with_patience(arg); }
    return NULL;
}

T_CASE_ON(posted_requests_end_in_the_thread_of_the_link, WITH_THREAD)
{
    caller c[3];
    const remote_request q = { PING, .wait_ms = PATIENCE_MS, .done = note_the_thread };
    for (int i = 0; i < 3; i++) {
        c[i] = (caller){ .err = CELLAR_E_INVAL };
        pthread_create(&c[i].thread, NULL, ask_until_posts_end, &c[i]);
    }
    for (int i = 0; i < 200; i++) {
        remote_post(k.link, &q);
        sched_yield();
    }
    for (int i = 0; i < 3; i++) { pthread_join(c[i].thread, NULL); }
    T_EQ_I64(atomic_load(&ends_in_callers), 0);
}

T_CASE(close_ends_in_every_state)
{
    T_REQUIRE(engine_start(&e, NULL));
    for (int i = 0; i < 2; i++) {
        link_kit_init(&k, e.socket);
        k.c.no_thread = i == 0;
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        link_kit_close(&k); /* DOWN */
    }
    for (remote_state s = REMOTE_LINKED; s <= REMOTE_PROVEN; s++) {
        link_kit_init(&k, e.socket);
        k.hold = s == REMOTE_GAP;
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        for (int i = 0; i < 4000 && remote_link_state(k.link) < s; i++) {
            remote_link_step(k.link, 1);
        }
        T_CHECK(remote_link_state(k.link) >= s);
        link_kit_close(&k);
    }
    link_kit_init(&k, e.socket);
    proven();
    engine_signal(&e, SIGSTOP);
    link_kit_close(&k); /* a frozen server */
    engine_signal(&e, SIGCONT);
}

T_CASE_ON(posts_under_way_end_at_close, PROVEN)
{
    link_kit_answer a = { .replies = 0 };
    engine_signal(&e, SIGSTOP);
    const remote_request q = { PING, .ctx = &a, .fn = link_kit_take, .done = link_kit_done };
    remote_post(k.link, &q);
    remote_link_step(k.link, 0);
    link_kit_close(&k);
    T_CHECK(a.ended);
    T_EQ_I64(a.err, CELLAR_E_CLOSED);
    T_EQ_I64(a.fate, REMOTE_UNKNOWN);
    engine_signal(&e, SIGCONT);
}

T_CASE_ON(child_of_a_fork_is_detached, PREPARED)
{
    link_kit_answer a;
    k.c.no_thread = false;
    proven();
    const unsigned fds = engine_descriptors();
    const pid_t child = fork();
    if (child == 0) {
        T_EQ_U64(engine_descriptors(), fds - 4); /* two sockets, epoll, bell */
        T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("PING")), CELLAR_E_FORKED);
        T_EQ_I64(remote_marker_now(k.link, 100), CELLAR_E_FORKED);
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_E_FORKED);
        remote_link_close(k.link);
        _exit(t_failed());
    }
    T_EQ_I64(engine_child(child), 0);
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("PING")), CELLAR_OK);
}

/* The child keeps copies of the sockets; the server must lose the link all the same. */
T_CASE_ON(close_ends_connections_that_a_child_holds, PROVEN)
{
    int go[2];
    T_REQUIRE(pipe(go) == 0);
    const pid_t child = fork();
    if (child == 0) {
        char byte;
        close(go[1]);
        _exit(read(go[0], &byte, 1) != 0); /* until the parent closes its end */
    }
    close(go[0]);
    link_kit_close(&k);
    bool lost = false;
    for (int i = 0; i < 2000 && !lost; i++) {
        const redisReply *r = engine_ask(&e, "CLIENT LIST TYPE pubsub");
        lost = r != NULL && r->type == REDIS_REPLY_STRING && r->len == 0;
        if (!lost) { engine_pause_ms(1); }
    }
    T_CHECK(lost);
    close(go[1]);
    T_EQ_I64(waitpid(child, NULL, 0), child);
}

/* A request with less patience than io_ms says nothing about the server. */
T_CASE_ON(short_waits_do_not_break_the_link, PROVEN)
{
    atomic_store(&k.clock_ms, link_kit_real_ms());
    k.virtual_clock = true; /* no marker is late */
    engine_signal(&e, SIGSTOP);
    for (int i = 0; i < 8; i++) {
        link_kit_answer a = { .replies = 0 };
        const remote_request q = { PING, .wait_ms = 1, .ctx = &a, .fn = link_kit_take };
        T_EQ_I64(remote_ask(k.link, &q, NULL), CELLAR_E_TIMEOUT);
    }
    remote_link_step(k.link, 0);
    T_EQ_I64(remote_link_state(k.link), REMOTE_PROVEN);
    engine_signal(&e, SIGCONT);
    T_EQ_I64(remote_marker_now(k.link, 10000), CELLAR_OK);
    T_EQ_U64(figure(REMOTE_LINK_TIMEOUTS), 8);
    T_EQ_I64(atomic_load(&k.gaps), 0);
}

T_CASE_ON(lost_server_neither_signals_nor_blocks, PROVEN)
{
    link_kit_answer a;
    engine_kill(&e); /* the next send would raise SIGPIPE, which is at its default here */
    const cellar_err err = link_kit_ask(&k, &a, LINK_KIT_WORDS("PING"));
    T_CHECK(err == CELLAR_E_IO || err == CELLAR_E_BREAKER_OPEN);
    for (int i = 0; i < 20; i++) { remote_link_step(k.link, 1); }
    T_EQ_I64(remote_link_state(k.link), REMOTE_DOWN);
    engine_restart(&e);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

T_CASE_ON(server_clock_is_within_its_error, PROVEN)
{
    int64_t error_ms = 0;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    const int64_t real_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    const int64_t now_ms = remote_engine_now(k.link, &error_ms);
    clock_gettime(CLOCK_REALTIME, &t);
    T_CHECK(now_ms + 1 >= real_ms);
    T_CHECK(now_ms - error_ms - 1 <= (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

T_MAIN("remote_link")
