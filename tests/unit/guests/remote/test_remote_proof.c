/* SPDX-License-Identifier: MIT
 *
 * Aim:    memory never answers with a value that the server gave up longer ago than proof_ms,
 *         whatever is frozen: the server, the process, or one of its connections.
 * Method: a child reads one key in a loop. The parent writes numbers over its own connection and
 *         notes the time of each answer on a clock of its own (CLOCK_MONOTONIC). A get that began at
 *         x and returned n is late if the set of n + 1 was answered before x - proof_ms. The same
 *         with TRUST must be late. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/support/byte_proxy.h"
#include "tests/support/shared_side.h"

enum { PROOF_MS = 200, PROOF_VALUES = 1 << 20 };

typedef struct proof {
    _Atomic bool ready, stop;
    _Atomic uint64_t acked;          /* values below are answered */
    _Atomic uint64_t hits, late, misses;
    _Atomic int64_t ack_ns[PROOF_VALUES];
} proof;

static engine server;

static int64_t proof_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Judge one get that began at `began_ns`. */
static void proof_judge(proof *p, int64_t began_ns, uint64_t value)
{
    atomic_fetch_add(&p->hits, 1);
    if (value + 1 >= atomic_load(&p->acked)) { return; }
    const int64_t gone_ns = atomic_load(&p->ack_ns[value + 1]);
    if (began_ns - gone_ns > (int64_t)PROOF_MS * 1000000) { atomic_fetch_add(&p->late, 1); }
}

static void proof_child(proof *p, const char *socket, cellar_remote_offline offline)
{
    side s;
    cellar_remote_config ro = { .struct_size = sizeof ro, .proof_ms = PROOF_MS };
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .values = CELLAR_REMOTE_RAW,
                                         .offline = offline };
    side_open(&s, socket, &ro, &o);
    atomic_store(&p->ready, true);
    while (!atomic_load(&p->stop)) {
        char text[32];
        const int64_t began_ns = proof_now_ns();
        if (cellar_get_str(s.users, "k", text, sizeof text) == CELLAR_OK) {
            proof_judge(p, began_ns, strtoull(text, NULL, 10));
        } else {
            atomic_fetch_add(&p->misses, 1);
        }
    }
    side_close(&s);
}

/* Write numbers for `ms`. */
static void proof_write(proof *p, int ms)
{
    const int64_t end_ns = proof_now_ns() + (int64_t)ms * 1000000;
    while (proof_now_ns() < end_ns) {
        const uint64_t n = atomic_load(&p->acked);
        T_REQUIRE(n < PROOF_VALUES);
        T_CHECK(engine_ask(&server, "SET app:users:k %llu", (unsigned long long)n) != NULL);
        atomic_store(&p->ack_ns[n], proof_now_ns());
        atomic_store(&p->acked, n + 1);
        engine_pause_ms(1);
    }
}

static proof *proof_begin(pid_t *child, byte_proxy *proxy, cellar_remote_offline offline)
{
    T_REQUIRE(engine_start(&server, NULL));
    if (proxy != NULL) { byte_proxy_open(proxy, server.dir, server.socket); }
    proof *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(p != MAP_FAILED);
    engine_hang_up(&server);
    (void)fflush(stdout);
    *child = fork();
    if (*child == 0) {
        proof_child(p, proxy != NULL ? proxy->path : server.socket, offline);
        (void)fflush(stdout);
        _exit(t_failed() ? 1 : 0);
    }
    while (!atomic_load(&p->ready) && waitpid(*child, NULL, WNOHANG) == 0) { engine_pause_ms(2); }
    return p;
}

static void proof_end(proof *p, pid_t child, byte_proxy *proxy)
{
    int status = -1;
    atomic_store(&p->stop, true);
    T_EQ_I64(waitpid(child, &status, 0), child);
    T_EQ_I64(status, 0);
    if (proxy != NULL) { byte_proxy_close(proxy); }
    engine_stop(&server);
    printf("# values %llu, hits %llu, late %llu, misses %llu\n", (unsigned long long)p->acked,
           (unsigned long long)p->hits, (unsigned long long)p->late,
           (unsigned long long)p->misses);
}

/* Freeze the process several times while another client writes. */
T_CASE(frozen_process_answers_nothing_old)
{
    pid_t child;
    proof *p = proof_begin(&child, NULL, CELLAR_REMOTE_MISS);
    for (int i = 0; i < 4; i++) {
        proof_write(p, 60);
        T_EQ_I64(kill(child, SIGSTOP), 0);
        proof_write(p, PROOF_MS + 60);
        T_EQ_I64(kill(child, SIGCONT), 0);
    }
    proof_write(p, 60);
    proof_end(p, child, NULL);
    T_EQ_U64(p->late, 0);
    T_CHECK(p->hits > 0);
}

/* Freeze what the server sends on the newest connection (1) or on the one before it (2), and on all
 * later ones; one of the two brings the invalidations. Another client writes meanwhile. */
static uint64_t proof_frozen_line(cellar_remote_offline offline, uint32_t which)
{
    static byte_proxy proxy;
    pid_t child;
    memset(&proxy, 0, sizeof proxy);
    proof *p = proof_begin(&child, &proxy, offline);
    proof_write(p, 60);
    byte_proxy_line *line = &proxy.line[atomic_load(&proxy.lines) - which];
    atomic_store(&proxy.fresh.way[1].frozen, true);
    atomic_store(&line->way[1].frozen, true);
    proof_write(p, 3 * PROOF_MS);
    for (uint32_t i = 0; i < BYTE_PROXY_LINES; i++) {
        atomic_store(&proxy.line[i].way[1].frozen, false);
    }
    atomic_store(&proxy.fresh.way[1].frozen, false);
    proof_write(p, 60);
    proof_end(p, child, &proxy);
    T_CHECK(p->hits > 0);
    return p->late;
}

T_CASE(frozen_line_answers_nothing_old)
{
    T_EQ_U64(proof_frozen_line(CELLAR_REMOTE_MISS, 1), 0);
    T_EQ_U64(proof_frozen_line(CELLAR_REMOTE_MISS, 2), 0);
}

T_CASE(trusted_memory_answers_old_values)
{
    const uint64_t late = proof_frozen_line(CELLAR_REMOTE_TRUST, 1) +
                          proof_frozen_line(CELLAR_REMOTE_TRUST, 2);
    T_CHECK(late > 0);
}

T_CASE(frozen_server_ends_the_proof)
{
    pid_t child;
    proof *p = proof_begin(&child, NULL, CELLAR_REMOTE_MISS);
    proof_write(p, 60);
    engine_signal(&server, SIGSTOP);
    engine_pause_ms(2 * PROOF_MS);
    const uint64_t misses = atomic_load(&p->misses); /* of gets that began when the proof had ended */
    while (atomic_load(&p->misses) < misses + 2) { engine_pause_ms(1); }
    const uint64_t hits = atomic_load(&p->hits);
    engine_pause_ms(PROOF_MS);
    T_EQ_U64(atomic_load(&p->hits), hits);
    engine_signal(&server, SIGCONT);
    for (int i = 0; i < 500 && atomic_load(&p->hits) == hits; i++) { proof_write(p, 10); }
    T_CHECK(atomic_load(&p->hits) > hits);
    proof_end(p, child, NULL);
    T_EQ_U64(p->late, 0);
}

/* Its birth is the epoch that the process knows, so it is older than the clear. */
T_CASE(set_before_a_clear_is_heard_has_no_value)
{
    static byte_proxy p;
    static engine e;
    side a, b;
    if (!engine_start(&e, NULL)) { return; }
    byte_proxy_open(&p, e.dir, e.socket);
    side_open(&a, e.socket, NULL, NULL);
    side_open(&b, p.path, NULL, NULL);
    T_EQ_I64(side_set(&b, "k", "before"), CELLAR_OK);
    atomic_store(&p.line[1].way[1].frozen, true); /* the subscriber of b */
    T_EQ_I64(cellar_clear(a.users), CELLAR_OK);
    T_EQ_I64(side_set(&b, "k", "behind"), CELLAR_OK);
    atomic_store(&p.line[1].way[1].frozen, false);
    side_fence(&b);
    T_CHECK(side_has(&a, "k", NULL) && side_has(&b, "k", NULL));
    T_EQ_I64(side_set(&b, "k", "after"), CELLAR_OK);
    side_fence(&a);
    T_CHECK(side_has(&a, "k", "after") && side_has(&b, "k", "after"));
    side_close(&a);
    side_close(&b);
    byte_proxy_close(&p);
}

T_MAIN("cellar_remote_proof")
