/* SPDX-License-Identifier: MIT
 *
 * Aim:    facts of the remote tier that hold with a port of cellar alone: values above the largest
 *         one are refused before they are sent; a leader that dies on a socket file or on TCP is
 *         followed within 100 ms; a handshake has 7 requests; many workers, forked before or behind
 *         the open port, use it and leave nothing in it.
 * Method: a port with shared_bytes in this process, on a thread. Leaders and most workers are
 *         processes that are forked before the port exists, and wait for its URL; workers count in
 *         shared memory. A late round is repeated, 20 at most: a busy machine holds processes up. */
#include "cellar_load.h"
#include "cellar_resp.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/shared_side.h"

enum { SHARED_MIB = 8, LATE_MS = 100 };

static cellar *port_store;
static cellar_resp *port;
static side a, b;
static char dir[T_FOLDER_MAX], path[T_FOLDER_MAX + 16]; /* of the socket file */
static char url[2][T_FOLDER_MAX + 64]; /* of the socket file, of TCP */

/* What processes of a case share. */
static struct shared {
    _Atomic bool goes, leads; /* the processes; the loader of a leader runs */
    char url[2][T_FOLDER_MAX + 64];
    _Atomic uint32_t loads, wrong, ready; /* counts of workers */
    uint64_t turns, fence; /* of the owner of the lock */
} *seen;

static void port_close(void)
{
    left_drop(&port);
    cellar_resp_close(port);
    T_EQ_I64(cellar_close(port_store), CELLAR_OK);
    t_wipe(dir);
}

static void port_left(void *unused)
{
    (void)unused;
    port_close();
}

/* buffer_bytes: of what clients have not read; 0: the default. */
static void port_open_with(uint64_t buffer_bytes)
{
    cellar_resp_config o = cellar_resp_config_default();
    cellar_resp_stats s = cellar_resp_stats_default();
    t_folder(dir);
    (void)snprintf(path, sizeof path, "%s/port", dir);
    o.unix_path = path;
    o.resp_buffer_bytes = buffer_bytes;
    o.port = CELLAR_RESP_PORT_ANY;
    o.shared_bytes = (uint64_t)SHARED_MIB << 20;
    T_REQUIRE(cellar_open(NULL, &port_store) == CELLAR_OK);
    T_REQUIRE(cellar_resp_open(port_store, &o, &port) == CELLAR_OK);
    T_REQUIRE(cellar_resp_stats_get(port, &s) == CELLAR_OK);
    T_REQUIRE(cellar_resp_start(port) == CELLAR_OK);
    left_add(&port, port_left);
    (void)snprintf(url[0], sizeof url[0], "unix://%s?prefix=app", path);
    (void)snprintf(url[1], sizeof url[1], "redis://127.0.0.1:%u?prefix=app", (unsigned)s.port);
}

static void port_open(void) { port_open_with(0); }

static void url_open(side *s, const char *to) { side_open_url(s, to, &(side_own){ .ro = NULL }); }

/* Open the port, and two sides on these ways to it. */
static void both_open(int way_a, int way_b)
{
    port_open();
    url_open(&a, url[way_a]);
    url_open(&b, url[way_b]);
    T_REQUIRE(side_proven(&a) && side_proven(&b));
}

/* ---- processes ---- */

static void seen_open(void) { seen = engine_pages(sizeof *seen); }

static void seen_close(void)
{
    (void)munmap(seen, sizeof *seen);
}

/* Let the processes open sides on the port, which is open. */
static void seen_go(void)
{
    memcpy(seen->url, url, sizeof url);
    atomic_store(&seen->goes, true);
}

/* Fork a process that works with a side on a URL of the port. */
static pid_t worker_fork(int way, void (*work)(const side *s))
{
    side s;
    (void)fflush(stdout);
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid > 0) { return pid; }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (!atomic_load(&seen->goes)) { engine_pause_ms(1); }
    url_open(&s, seen->url[way]);
    if (!side_proven(&s)) { _exit(3); }
    work(&s);
    side_close(&s);
    _exit(0);
}

/* ---- the largest value ---- */

T_CASE(value_above_the_largest_is_refused_and_the_link_stays_up)
{
    static char value[4 << 20];
    enum { FITS = 3 << 20 };
    size_t len;
    memset(value, 'v', sizeof value);
    both_open(0, 1);
    side_fence(&a);
    const uint64_t gaps = side_stats(&a).gaps;
    T_CHECK(side_set(&a, "k", "old") == CELLAR_OK);
    for (int i = 0; i < 40; i++) {
        T_EQ_I64(cellar_set(a.users, "k", 1, value, sizeof value, NULL), CELLAR_E_TOOBIG);
    }
    side_fence(&b);
    T_CHECK(side_has(&b, "k", NULL)); /* as of each set that is too big */
    T_EQ_I64(cellar_set(a.users, "k", 1, value, FITS, NULL), CELLAR_OK);
    side_fence(&b);
    T_EQ_I64(cellar_get(b.users, "k", 1, value, sizeof value, &len), CELLAR_OK);
    T_EQ_U64(len, FITS);
    T_EQ_U64(side_stats(&a).gaps, gaps);
}

/* ---- own loads ---- */

T_CASE(next_get_of_an_own_load_is_a_hit_in_memory)
{
    enum { KEYS = 1000 };
    char key[16];
    both_open(0, 0);
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        T_EQ_I64(side_load(&a, key, "v", 0), CELLAR_OK);
    }
    side_fence(&a);
    const uint64_t gets = side_stats(&a).gets;
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        T_CHECK(side_has(&a, key, "v"));
    }
    T_EQ_U64(side_stats(&a).gets, gets);
    T_CHECK(side_has(&b, "k1", "v") && side_set(&b, "k1", "w") == CELLAR_OK);
    side_fence(&a);
    T_CHECK(side_has(&a, "k1", "w")); /* a change by another process is heard */
}

/* ---- a full port ---- */

T_CASE(full_port_is_named_by_its_own_option_and_takes_sets)
{
    enum { LOCKS = 20000 };
    const cellar_lock_opts o = { .struct_size = sizeof o, .hold_ms = 600000,
                                 .flags = CELLAR_LOCK_NO_WAIT };
    cellar_err err = CELLAR_OK;
    port_open();
    url_open(&a, url[0]);
    T_REQUIRE(side_proven(&a));
    for (int i = 0; i < LOCKS && err == CELLAR_OK; i++) {
        char key[16];
        cellar_remote_lock lk;
        err = cellar_remote_lock_acquire(a.r, key, (size_t)snprintf(key, sizeof key, "%d", i), &o,
                                         &lk);
    }
    T_EQ_I64(err, CELLAR_E_SPACE);
    cellar_error_info e = cellar_error_info_default();
    T_REQUIRE(cellar_remote_last_error(a.r, &e) == CELLAR_OK);
    T_CHECK(strstr(e.text, "raise its shared_bytes (cellar serve --shared)") != NULL);
    T_EQ_I64(side_set_tagged(&a, "k", "v", "new"), CELLAR_OK);
    T_CHECK(side_has(&a, "k", "v"));
}

/* ---- leaders that die ---- */

static cellar_err lead(cellar_load *load, const void *key, size_t len, void *ctx)
{
    (void)load, (void)key, (void)len, (void)ctx;
    atomic_store(&seen->leads, true);
    while (atomic_load(&seen->leads)) { pause(); }
    return CELLAR_E_IO;
}

static void lead_for_ever(const side *s)
{
    cellar_result out = cellar_result_default();
    (void)cellar_get_or_load(s->users, "k", 1, NULL, lead, NULL, &out);
}

static _Atomic int64_t loaded_ms;

static cellar_err load_late(cellar_load *load, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    atomic_store(&loaded_ms, engine_now_ms());
    return side_loader(load, key, len, "v");
}

static void *wait_for_leader(void *ctx)
{
    const side *s = ctx;
    cellar_result out = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(s->users, "k", 1, NULL, load_late, NULL, &out), CELLAR_OK);
    cellar_result_free(&out);
    return NULL;
}

/* Kill a leader. Return the ms until another process loads; INT64_MAX if it did not wait. */
static int64_t death(int way)
{
    side s;
    pthread_t waiter;
    seen_open();
    atomic_store(&loaded_ms, 0);
    const pid_t pid = worker_fork(way, lead_for_ever);
    port_open();
    seen_go();
    url_open(&s, url[way]);
    T_REQUIRE(side_proven(&s));
    while (!atomic_load(&seen->leads)) { engine_pause_ms(1); }
    T_REQUIRE(pthread_create(&waiter, NULL, wait_for_leader, &s) == 0);
    while (side_stats(&s).leases_waited == 0 && atomic_load(&loaded_ms) == 0) {
        engine_pause_ms(1);
    }
    side_fence(&s); /* the port has the note of the waiter */
    const int64_t killed_ms = engine_now_ms();
    T_EQ_I64(kill(pid, SIGKILL), 0);
    T_EQ_I64(engine_child(pid), SIGKILL);
    pthread_join(waiter, NULL);
    side_close(&s);
    port_close();
    seen_close();
    return atomic_load(&loaded_ms) >= killed_ms ? atomic_load(&loaded_ms) - killed_ms : INT64_MAX;
}

static void check_deaths(int kind)
{
    int64_t ms = INT64_MAX, worst = 0;
    for (int i = 0, in_time = 0; i < 20 && in_time < 3; i++) {
        ms = death(kind);
        in_time += ms <= LATE_MS;
        if (ms > worst) { worst = ms; }
    }
    printf("# longest ms from the death to the next loader: %d\n", (int)worst);
    T_CHECK(ms <= LATE_MS);
}

T_CASE(killed_leader_on_a_socket_file_is_followed_within_100_ms) { check_deaths(0); }
T_CASE(killed_leader_on_tcp_is_followed_within_100_ms) { check_deaths(1); }

/* ---- workers ---- */

enum { WORKERS = 4, MANY = 100, TURNS = 25 };

static uint32_t workers; /* of the case */

static void worker_counts(bool right)
{
    if (!right) { atomic_fetch_add(&seen->wrong, 1); }
}

/* Change plain numbers under the lock. */
static void worker_turn(const side *s)
{
    cellar_remote_lock lk;
    if (cellar_remote_lock_acquire(s->r, "turn", 4, NULL, &lk) != CELLAR_OK) {
        worker_counts(false);
        return;
    }
    seen->turns++;
    worker_counts(lk.fence > seen->fence);
    seen->fence = lk.fence;
    worker_counts(cellar_remote_lock_release(s->r, "turn", 4, &lk) == CELLAR_OK);
}

/* Wait for all workers of the case. */
static void worker_begins(void)
{
    atomic_fetch_add(&seen->ready, 1);
    while (atomic_load(&seen->ready) < workers) { engine_pause_ms(1); }
}

static void worker_locks(const side *s)
{
    worker_begins();
    for (int i = 0; i < TURNS; i++) { worker_turn(s); }
}

static cellar_err load_counted(cellar_load *load, const void *key, size_t len, void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&seen->loads, 1);
    return side_loader(load, key, len, "v");
}

/* Come, use what the others use, and go: each second one without a close. */
static void worker_visits(const side *s)
{
    char own[16];
    cellar_result got = cellar_result_default();
    worker_begins();
    (void)snprintf(own, sizeof own, "%ld", (long)getpid());
    worker_counts(cellar_get_or_load(s->users, "page", 4, NULL, load_counted, NULL, &got) ==
                  CELLAR_OK);
    cellar_result_free(&got);
    worker_counts(side_set(s, own, own) == CELLAR_OK && side_has(s, own, own));
    worker_turn(s);
    if (getpid() % 2 == 0) { _exit(0); }
}

static cellar_resp_stats port_stats(void)
{
    cellar_resp_stats s = cellar_resp_stats_default();
    T_CHECK(cellar_resp_stats_get(port, &s) == CELLAR_OK);
    return s;
}

/* The workers have ended: nothing is left of them in the port. The store opens files at times. */
static void nothing_left(unsigned open_before)
{
    bool left = true;
    for (int i = 0; i < 5000 && left; i++) {
        left = port_stats().clients > 0 || engine_descriptors() > open_before;
        if (left) { engine_pause_ms(2); }
    }
    T_CHECK(!left);
}

/* late: the workers fork behind the open port. Return how many turns they had. */
static uint64_t workers_run(void (*work)(const side *s), uint32_t count, bool late)
{
    pid_t pid[MANY];
    seen_open();
    workers = count;
    if (late) { port_open(); }
    for (uint32_t i = 0; i < count; i++) { pid[i] = worker_fork(0, work); }
    if (!late) { port_open(); }
    const unsigned open_before = engine_descriptors();
    seen_go();
    for (uint32_t i = 0; i < count; i++) { T_EQ_I64(engine_child(pid[i]), 0); }
    nothing_left(open_before);
    T_EQ_U64(atomic_load(&seen->wrong), 0);
    T_EQ_U64(atomic_load(&seen->loads), work == worker_visits);
    const uint64_t turns = seen->turns;
    seen_close();
    return turns;
}

/* ThreadSanitizer starts no thread in a child if its parent had one. */
T_CASE(workers_forked_behind_the_open_port_share_a_lock)
{
    T_EQ_U64(workers_run(worker_locks, WORKERS, !T_TSAN), WORKERS * TURNS);
}

T_CASE(many_workers_leave_nothing)
{
    const uint32_t count = (uint32_t)t_share(T_COST > 1 ? MANY / 10 : MANY);
    T_EQ_U64(workers_run(worker_visits, count, false), count);
}

/* The port closes the subscriber of a worker that reads nothing more. The marker of the worker does
 * not come back: its memory ends. */
T_CASE(worker_that_never_reads_loses_its_memory)
{
    enum { SETS = 6000 };
    static byte_proxy p;
    static char key[400];
    const cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 10000, .proof_ms = 1000 };
    port_open_with(1u << 20);
    byte_proxy_open(&p, dir, path);
    side_open(&a, p.path, &ro, NULL);
    T_EQ_I64(side_set(&a, "1", "old"), CELLAR_OK);
    const uint64_t gaps = side_stats(&a).gaps;
    for (uint32_t i = 0; i < atomic_load(&p.lines); i++) {
        atomic_store(&p.line[i].way[1].frozen, true);
    }
    redisContext *c = redisConnectUnix(path);
    memset(key, 'x', sizeof key - 1);
    redisAppendCommand(c, "UNLINK app:users:1");
    for (int i = 1; i < SETS; i++) { redisAppendCommand(c, "SET app:users:%s v", key); }
    for (int i = 0; i < SETS; i++) {
        redisReply *reply;
        T_REQUIRE(redisGetReply(c, (void **)&reply) == REDIS_OK);
        freeReplyObject(reply);
    }
    redisFree(c);
    for (int i = 0; i < 5000 && side_stats(&a).gaps == gaps; i++) { engine_pause_ms(2); }
    T_EQ_U64(port_stats().output_closed + port_stats().memory_closed, 1);
    T_CHECK(side_stats(&a).gaps > gaps);
    T_REQUIRE(side_proven(&a));
    T_CHECK(side_has(&a, "1", NULL));
}

/* ---- the handshake ---- */

/* HELLO of both connections, SUBSCRIBE, CLIENT TRACKING, the epoch, the marker. */
T_CASE(handshake_with_a_port_is_at_most_7_requests_without_a_script)
{
    const cellar_remote_config ro = side_patient();
    side s;
    port_open();
    T_REQUIRE(cellar_open(NULL, &s.store) == CELLAR_OK);
    T_REQUIRE(cellar_remote_open(s.store, url[0], &ro, &s.r) == CELLAR_OK);
    T_REQUIRE(side_proven(&s));
    const cellar_resp_stats p = port_stats();
    T_CHECK(p.commands >= 5 && p.commands <= 7);
    const cellar_remote_stats r = side_stats(&s);
    T_CHECK(r.bytes_out > 0 && r.bytes_out < 1000);
    cellar_remote_close(s.r);
    T_EQ_I64(cellar_close(s.store), CELLAR_OK);
    port_close();
}

/* Let the link find another server at its address, and increment there. */
static void address_is(const char *address, const char *server_file)
{
    (void)unlink(address);
    T_REQUIRE(symlink(server_file, address) == 0);
}

static int64_t increment_at_the_next(const side *s, uint64_t gaps)
{
    int64_t now = -1;
    for (cellar_remote_stats r = side_stats(s); r.gaps == gaps || r.state != CELLAR_REMOTE_PROVEN;
         r = side_stats(s)) {
        engine_pause_ms(1);
    }
    T_EQ_I64(cellar_increment(s->users, "n", 1, 1, 0, NULL, &now), CELLAR_OK);
    return now;
}

T_CASE(worker_follows_its_address_from_a_port_to_redis_and_back)
{
    char address[T_FOLDER_MAX + 16];
    int64_t now;
    static engine e;
    static side s;
    if (!engine_start(&e, NULL)) { return; }
    port_open();
    (void)snprintf(address, sizeof address, "%s/at.sock", e.dir);
    address_is(address, path);
    side_open(&s, address, NULL, NULL);
    T_EQ_I64(cellar_increment(s.users, "n", 1, 5, 0, NULL, &now), CELLAR_OK);
    uint64_t gaps = side_stats(&s).gaps;
    address_is(address, e.socket);
    port_close();
    T_EQ_I64(increment_at_the_next(&s, gaps), 1);
    port_open();
    gaps = side_stats(&s).gaps;
    address_is(address, path);
    T_CHECK(engine_cut(&e, "normal") >= 1);
    T_EQ_I64(increment_at_the_next(&s, gaps), 1);
}

T_MAIN("remote_own_port")
