/* SPDX-License-Identifier: MIT
 *
 * Aim:    worker processes share one cache through a port with shared_bytes as they do through a
 *         Redis, also many of them, forked behind the open port, or with few descriptors. Loads,
 *         limiters and changes over a port: test_remote_port.
 * Method: the workers fork before the test has a thread, and wait for a byte. The test opens store
 *         and port, lets them run, and compares what they counted in shared memory. A port with few
 *         descriptors is a process of its own. */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "cellar_load.h"
#include "cellar_resp.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/shared_side.h"

enum { WORKERS = 4, MANY = 100, TURNS = 25, DESCRIPTORS = 64 };

/* What the workers count. */
typedef struct counts {
    _Atomic uint32_t loads, wrong, ready, pauses, ends;
    uint64_t turns, fence; /* of the owner of the lock */
} counts;

static counts *seen;
static int workers; /* of the case */
static char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];

/* ---- the port ---- */

typedef struct master {
    cellar *store;
    cellar_resp *port;
} master;

static void folder_begin(void)
{
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/port", folder);
}

static void master_open(master *m)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    cellar_resp_config o = { .struct_size = sizeof o, .unix_path = path,
                             .resp_buffer_bytes = 1u << 20, .shared_bytes = 32u << 20 };
    T_REQUIRE(cellar_open(&cfg, &m->store) == CELLAR_OK);
    T_REQUIRE(cellar_resp_open(m->store, &o, &m->port) == CELLAR_OK);
    T_REQUIRE(cellar_resp_start(m->port) == CELLAR_OK);
}

static void master_close(master *m)
{
    cellar_resp_close(m->port);
    T_CHECK(cellar_close(m->store) == CELLAR_OK);
}

/* ---- workers ---- */

static cellar_err slow_value(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&seen->loads, 1);
    engine_pause_ms(1);
    return cellar_buf_append(cellar_load_buf(load), key, key_len);
}

/* Change plain numbers under the lock. */
static void worker_locks(side *s)
{
    for (int i = 0; i < TURNS; i++) {
        cellar_remote_lock lk;
        if (cellar_remote_lock_acquire(s->r, "turn", 4, NULL, &lk) != CELLAR_OK) {
            atomic_fetch_add(&seen->wrong, 1);
            continue;
        }
        seen->turns++;
        if (lk.fence <= seen->fence) { atomic_fetch_add(&seen->wrong, 1); }
        seen->fence = lk.fence;
        if (cellar_remote_lock_release(s->r, "turn", 4, &lk) != CELLAR_OK) {
            atomic_fetch_add(&seen->wrong, 1);
        }
    }
}

/* Come, use what the others use, and go: each second one without a close. */
static void worker_visits(side *s)
{
    char own[16];
    cellar_remote_lock lk;
    cellar_result got = cellar_result_default();
    (void)snprintf(own, sizeof own, "%ld", (long)getpid());
    bool right = cellar_get_or_load(s->users, "page", 4, NULL, slow_value, NULL, &got) == CELLAR_OK &&
                 side_set(s, own, own) == CELLAR_OK && side_has(s, own, own) &&
                 cellar_remote_lock_acquire(s->r, "turn", 4, NULL, &lk) == CELLAR_OK;
    cellar_result_free(&got);
    if (right) {
        seen->turns++;
        right = cellar_remote_lock_release(s->r, "turn", 4, &lk) == CELLAR_OK;
    }
    if (!right) { atomic_fetch_add(&seen->wrong, 1); }
    if (getpid() % 2 == 0) { _exit(0); }
}

/* Run in a process of its own: wait for the byte, open, wait for all workers, work. */
static void worker_main(int from, void (*work)(side *s))
{
    char byte;
    side s;
    if (read(from, &byte, 1) != 1) { _exit(2); }
    side_open(&s, path, NULL, NULL);
    atomic_fetch_add(&seen->ready, 1);
    while (atomic_load(&seen->ready) < (uint32_t)workers) { engine_pause_ms(1); }
    work(&s);
    side_close(&s);
    _exit(0);
}

static void seen_begin(void)
{
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(seen != MAP_FAILED);
    folder_begin();
    (void)fflush(stdout);
}

static void seen_end(void)
{
    (void)munmap(seen, sizeof *seen);
    T_EQ_I64(rmdir(folder), 0);
}

/* Return how many descriptors are open. */
static int descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) { n += fcntl(fd, F_GETFD) != -1; }
    return n;
}

static cellar_resp_stats master_stats(const master *m)
{
    cellar_resp_stats s = cellar_resp_stats_default();
    T_CHECK(cellar_resp_stats_get(m->port, &s) == CELLAR_OK);
    return s;
}

/* The workers have ended: nothing is left of them in the port. The store opens files at times. */
static void master_left(const master *m, int open_before)
{
    bool left = true;
    for (int i = 0; i < 5000 && left; i++) {
        left = master_stats(m).clients > 0 || descriptors() > open_before;
        if (left) { engine_pause_ms(2); }
    }
    T_CHECK(!left);
}

/* late: the workers fork behind the open port. */
static void workers_run(void (*work)(side *s), int count, bool late)
{
    pid_t pid[MANY];
    int go[2];
    master m;
    seen_begin();
    T_REQUIRE(pipe(go) == 0);
    workers = count;
    if (late) { master_open(&m); }
    for (int i = 0; i < count; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(go[1]);
            worker_main(go[0], work);
        }
        T_REQUIRE(pid[i] > 0);
    }
    close(go[0]);
    if (!late) { master_open(&m); }
    const int open_before = descriptors();
    for (int i = 0; i < count; i++) { T_REQUIRE(write(go[1], "g", 1) == 1); }
    for (int i = 0; i < count; i++) {
        int status = -1;
        T_REQUIRE(waitpid(pid[i], &status, 0) == pid[i]);
        T_EQ_I64(status, 0);
    }
    master_left(&m, open_before);
    close(go[1]);
    master_close(&m);
}

/* ---- cases ---- */

T_CASE(workers_forked_behind_the_open_port_share_a_lock)
{
    /* ThreadSanitizer starts no thread in a child if its parent had one. */
    workers_run(worker_locks, WORKERS, !T_TSAN);
    T_EQ_U64(seen->turns, WORKERS * TURNS);
    T_EQ_U64(atomic_load(&seen->wrong), 0);
    seen_end();
}

T_CASE(many_workers_leave_nothing)
{
    const int count = (int)t_share(T_COST > 1 ? MANY / 10 : MANY);
    workers_run(worker_visits, count, false);
    T_EQ_U64(atomic_load(&seen->loads), 1);
    T_EQ_U64(atomic_load(&seen->wrong), 0);
    T_EQ_U64(seen->turns, count);
    seen_end();
}

/* Run a port that may have few descriptors. */
static void poor_master(void)
{
    master m;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    T_REQUIRE(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ DESCRIPTORS, DESCRIPTORS }) == 0);
    master_open(&m);
    const int open_before = descriptors();
    atomic_store(&seen->ready, 1);
    while (atomic_load(&seen->ends) == 0) {
        atomic_store(&seen->pauses, (uint32_t)master_stats(&m).accept_pauses);
        engine_pause_ms(1);
    }
    master_left(&m, open_before);
    master_close(&m);
    _exit(t_failed() ? 1 : 0);
}

static int visitor(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    memcpy(at.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    T_REQUIRE(send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6);
    return fd;
}

/* Workers that are linked go on; others wait until a descriptor is free. */
T_CASE(port_without_descriptors_serves_when_some_are_free)
{
    int fd[MANY], answered = 0, status = -1;
    char byte;
    side a, b;
    seen_begin();
    const pid_t pid = fork();
    if (pid == 0) { poor_master(); }
    T_REQUIRE(pid > 0);
    while (atomic_load(&seen->ready) == 0) { engine_pause_ms(1); }
    side_open(&a, path, NULL, NULL);
    for (int i = 0; i < MANY; i++) { fd[i] = visitor(); }
    while (atomic_load(&seen->pauses) == 0) { engine_pause_ms(1); }
    T_EQ_I64(side_set(&a, "1", "x"), CELLAR_OK);
    side_fence(&a);
    T_CHECK(side_has(&a, "1", "x"));
    for (int i = 0; i < MANY; i++) { answered += recv(fd[i], &byte, 1, MSG_DONTWAIT) == 1; }
    T_CHECK(answered > 0 && answered < DESCRIPTORS);
    for (int i = 0; i < MANY - 20; i++) { close(fd[i]); }
    for (int i = MANY - 20; i < MANY; i++) {
        T_EQ_I64(recv(fd[i], &byte, 1, 0), 1);
        close(fd[i]);
    }
    side_open(&b, path, NULL, NULL);
    T_CHECK(side_has(&b, "1", "x"));
    side_close(&a);
    side_close(&b);
    atomic_store(&seen->ends, 1);
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    T_EQ_I64(status, 0);
    seen_end();
}

/* The port closes the subscriber of a worker that reads nothing more. The marker of the worker does
 * not come back: its memory ends. */
T_CASE(worker_that_never_reads_loses_its_memory)
{
    enum { SETS = 6000 };
    static byte_proxy p;
    static char key[400];
    const cellar_remote_config o = { .struct_size = sizeof o, .io_ms = 10000, .proof_ms = 1000 };
    master m;
    side a;
    folder_begin();
    master_open(&m);
    byte_proxy_open(&p, folder, path);
    side_open(&a, p.path, &o, NULL);
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
    T_EQ_U64(master_stats(&m).output_closed + master_stats(&m).memory_closed, 1);
    T_CHECK(side_stats(&a).gaps > gaps);
    T_REQUIRE(side_proven(&a));
    T_CHECK(side_has(&a, "1", NULL));
    side_close(&a);
    byte_proxy_close(&p);
    master_close(&m);
    t_wipe(folder);
}

T_MAIN("cellar_remote_workers")
