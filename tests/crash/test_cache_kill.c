/* SPDX-License-Identifier: MIT
 *
 * Aim:    The promises of a call about the disk hold when the process is killed. A set acknowledged
 *         with CELLAR_DURABLE or CELLAR_L2_WRITE_THROUGH is read back with that value or a newer
 *         one. In no mode does an overwritten or deleted value or a wrong byte come back.
 * Method: A child opens a store through the public interface and checks the entries of its
 *         predecessor. Then it works in several threads on the same keys until SIGKILL, at any
 *         moment. Shared memory holds the begun and the acknowledged calls of each thread, with a
 *         clock that counts calls. Other keys are written all the time: they share stamps, log and
 *         index. CACHE_KILL_CYCLES=n: n kills in each mode; CACHE_KILL_IN=folder. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/random.h"
#include "cellar.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "tests/support/figures.h"
#include "tests/support/folder.h"
#include "tests/support/t.h"
#include "tests/support/settings.h"
#include "tests/support/toy_cipher.h"

#define KEYS 48u
#define OTHERS 1500u
#define THREADS 3u
#define BASE THREADS /* the last writer: the entries of the previous life */
#define LIVES 20u    /* of one directory */

enum { DURABLE, WRITE_THROUGH, EACH_SET };
enum { OP_SET, OP_PLAIN, OP_DEL };

typedef struct op { /* written before the call, `end` after it */
    _Atomic uint64_t start, end, version, kind;
} op;

typedef struct writer { /* for each key: op n is at[n % 2] */
    _Atomic uint64_t begun, acked;
    op at[2];
} writer;

typedef struct oracle {
    _Atomic uint32_t half; /* the valid half: a child fills the other half, then switches */
    writer key[2][KEYS][THREADS + 1];
    _Atomic uint64_t clock, calls, looked, sure, discarded; /* lives that began empty */
    _Atomic uint64_t version[THREADS];
    char said[256];
} oracle;

static oracle *o;
static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];
static int mode;
static cellar *root;
static bool discarded; /* the disk did not answer until the kill: entries may be lost */

/* ---- values ---- */

static size_t fill(unsigned char *buf, uint32_t key, uint64_t version)
{
    const size_t n = 24 + (key * 131 + version * 37) % 500;
    memcpy(buf, &version, 8);
    for (size_t i = 8; i < n; i++) { buf[i] = (unsigned char)((key * 31 + version * 7 + i) / 3); }
    return n;
}

/* The writer is in the lowest bits. */
static uint64_t version_by(uint32_t thread)
{
    return (atomic_fetch_add(&o->version[thread], 1) + 1) * (THREADS + 1) + thread;
}

static void fail(const char *what, uint32_t key, uint64_t got)
{
    snprintf(o->said, sizeof o->said, "%s: key %u, version %llu of writer %llu", what, key,
             (unsigned long long)got / (THREADS + 1), (unsigned long long)got % (THREADS + 1));
    _exit(3);
}

/* Return the version of the key in the store; 0: none. */
static uint64_t look(uint32_t key)
{
    unsigned char buf[1024], want[1024];
    size_t len = 0;
    uint64_t version;
    const cellar_err err = cellar_get(root, &key, sizeof key, buf, sizeof buf, &len);
    if (err == CELLAR_MISS) { return 0; }
    memcpy(&version, buf, 8);
    if (err != CELLAR_OK || len != fill(want, key, version) || memcmp(buf, want, len) != 0) {
        fail("wrong bytes", key, err == CELLAR_OK ? version : 0);
    }
    return version;
}

/* ---- checks of the previous life ---- */

static op *op_at(writer *w, uint64_t n) { return &w->at[n % 2]; }

/* Call `fn` with the last acknowledged op of each writer, and with the op in flight. */
static bool any_op(writer *ws, bool (*fn)(const op *x, bool acked, const op *of), const op *of)
{
    for (uint32_t t = 0; t <= THREADS; t++) {
        const uint64_t acked = ws[t].acked;
        if (acked != 0 && fn(op_at(&ws[t], acked), true, of)) { return true; }
        if (ws[t].begun > acked && fn(op_at(&ws[t], acked + 1), false, of)) { return true; }
    }
    return false;
}

static bool ends_it(const op *x, bool acked, const op *of)
{
    return acked && of != NULL && x->start > of->end;
}

static bool is_set_behind(const op *x, bool acked, const op *of)
{
    return acked && x->kind == OP_SET && (of == NULL || x->start > of->end);
}

static writer *looked_at;

/* It may explain a miss. */
static bool may_miss(const op *x, bool acked, const op *of)
{
    (void)of;
    return x->kind != OP_SET && (!acked || !any_op(looked_at, is_set_behind, x));
}

/* Return whether an acknowledged set of the key promises that it is found. Little is alive, so none
 * leaves for room. */
static bool is_due(writer *ws)
{
    looked_at = ws;
    return mode != EACH_SET && !discarded && any_op(ws, is_set_behind, NULL) &&
           !any_op(ws, may_miss, NULL);
}

/* Look at a key; at one that is due for 60 s: a disk that does not answer misses. */
static uint64_t look_for(writer *ws, uint32_t key)
{
    uint64_t got = look(key);
    for (uint32_t i = 0; i < 120 && got == 0 && is_due(ws); i++) {
        (void)usleep(500000);
        got = look(key);
    }
    return got;
}

static void judge(writer *ws, uint32_t key, uint64_t got)
{
    atomic_fetch_add(&o->looked, 1);
    if (got == 0) {
        if (is_due(ws)) { fail("lost", key, 0); }
        return;
    }
    writer *w = &ws[got % (THREADS + 1)];
    const op *last = op_at(w, w->acked), *next = op_at(w, w->acked + 1);
    if (w->begun > w->acked && next->kind != OP_DEL && next->version == got) { return; }
    if (op_at(&ws[BASE], 1)->version == got) { /* a value that this life has read, by any writer */
        w = &ws[BASE];
        last = op_at(w, 1);
    }
    if (w->acked == 0 || last->kind == OP_DEL || last->version != got) {
        fail("an old value", key, got);
    }
    if (any_op(ws, ends_it, last)) { fail("an overwritten value", key, got); }
    atomic_fetch_add(&o->sure, 1);
}

static void look_at_all(void)
{
    const uint32_t half = atomic_load(&o->half) % 2;
    memset(o->key[1 - half], 0, sizeof o->key[0]);
    for (uint32_t key = 0; key < KEYS; key++) {
        const uint64_t got = look_for(o->key[half][key], key);
        judge(o->key[half][key], key, got);
        writer *b = &o->key[1 - half][key][BASE];
        op *x = op_at(b, 1);
        x->version = got;
        x->kind = got == 0 ? OP_DEL : OP_SET;
        b->begun = b->acked = 1;
    }
    atomic_fetch_add(&o->half, 1);
}

/* ---- work of a child ---- */

static void one_op(uint32_t thread, uint32_t key, uint64_t kind)
{
    unsigned char buf[1024];
    writer *w = &o->key[atomic_load(&o->half) % 2][key][thread];
    op *x = op_at(w, w->acked + 1);
    cellar_set_opts so = cellar_set_opts_default();
    so.flags = mode == DURABLE && kind == OP_SET ? CELLAR_DURABLE : 0;
    x->version = version_by(thread);
    x->kind = kind;
    x->start = atomic_fetch_add(&o->clock, 1);
    w->begun = w->acked + 1;
    cellar_err err;
    if (kind == OP_DEL) {
        err = cellar_delete(root, &key, sizeof key);
        err = err == CELLAR_MISS || err == CELLAR_E_IO ? CELLAR_OK : err;
    } else {
        const size_t n = fill(buf, key, x->version);
        err = cellar_set(root, &key, sizeof key, buf, n, &so);
        if (err == CELLAR_E_IO) { /* a slow disk: done in memory, without a promise */
            x->kind = OP_PLAIN;
            err = CELLAR_OK;
        }
    }
    if (err != CELLAR_OK) {
        snprintf(o->said, sizeof o->said, "a call answered %s", cellar_code_name(err));
        _exit(4);
    }
    x->end = atomic_fetch_add(&o->clock, 1);
    w->acked = w->begun;
}

static void *works(void *arg)
{
    base_rng r;
    const uint32_t thread = (uint32_t)(uintptr_t)arg;
    base_rng_seed(&r, t_.seed + o->clock * 7 + thread);
    for (;;) {
        const uint64_t what = base_rng_below(&r, 16);
        const uint32_t key = (uint32_t)base_rng_below(&r, KEYS);
        if (what < 6) {
            one_op(thread, key, OP_SET);
        } else if (what < 8) {
            one_op(thread, key, OP_DEL);
        } else if (what < 9 && mode == DURABLE) {
            one_op(thread, key, OP_PLAIN);
        } else if (what < 10) {
            (void)look(key);
        } else { /* another key: it changes stamps and fills the log */
            unsigned char buf[256] = { 1 };
            const uint32_t other = 1000000 + (uint32_t)base_rng_below(&r, OTHERS);
            (void)cellar_set(root, &other, sizeof other, buf, 100 + key, NULL);
        }
        atomic_fetch_add(&o->calls, 1);
    }
    return NULL;
}

static void child_opens(uint64_t dir)
{
    static uint64_t secret = 77;
    cellar_namespace_config v = cellar_namespace_config_default();
    cellar_l2_cipher crypt = { .struct_size = sizeof crypt, .ctx = &secret, .seal = toy_seal,
                               .open = toy_open, .overhead_bytes = sizeof secret };
    v.l2_write = mode == DURABLE ? CELLAR_L2_WRITE_ON_EVICTION
                : mode == EACH_SET ? CELLAR_L2_WRITE_ON_SET : CELLAR_L2_WRITE_THROUGH;
    settings cfg = { SETTINGS_SIZES, .config.root = &v, .config.memory_bytes = 2u << 20,
                     .config.l2_path = store, .config.l2_bytes = 24u << 20,
                     .l2.sync = mode == DURABLE ? 1 + dir % 2 : dir % 3 };
    if (dir % 4 == 1) { cfg.l2.cipher = &crypt; }
    v.l2_lz4 = dir % 4 == 3;
    cellar_err err = settings_open(&cfg, &root);
    if (err == CELLAR_E_UNSUPPORTED && v.l2_lz4 != 0) { /* built without lz4 */
        v.l2_lz4 = 0;
        err = settings_open(&cfg, &root);
    }
    if (err != CELLAR_OK) {
        snprintf(o->said, sizeof o->said, "open: %s", cellar_code_name(err));
        _exit(2);
    }
    discarded = figure(root, "cellar_l2_opened") == OPENED_RESET;
    atomic_fetch_add(&o->discarded, discarded);
}

static void child_lives(uint64_t dir)
{
    pthread_t t[THREADS];
    child_opens(dir);
    look_at_all();
    for (uint32_t i = 0; i < THREADS; i++) {
        if (pthread_create(&t[i], NULL, works, (void *)(uintptr_t)i) != 0) { _exit(5); }
    }
    for (;;) { pause(); }
}

/* ---- one life after another ---- */

static void life(uint64_t n, base_rng *rng)
{
    const uint64_t enough = base_rng_below(rng, n % 8 == 0 ? 3000 : 12000);
    int status = 0;
    atomic_store(&o->calls, 0);
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) { child_lives(n / LIVES); }
    T_REQUIRE(pid > 0);
    while (atomic_load(&o->calls) < enough && waitpid(pid, &status, WNOHANG) == 0) { usleep(50); }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    if (!T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) {
        printf("# life %" PRIu64 ": the child left with %d: %s\n", n, WEXITSTATUS(status), o->said);
    }
}

static void lives_end_by_kill(int how)
{
    const char *where = getenv("CACHE_KILL_IN");
    const uint64_t most = t_env_u64("CACHE_KILL_CYCLES", 6);
    base_rng rng;
    if (where == NULL) { where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"; }
    mode = how;
    t_folder_in(where, folder);
    snprintf(store, sizeof store, "%s/store", folder);
    o = mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(o != MAP_FAILED);
    base_rng_seed(&rng, t_.seed);
    for (uint64_t n = 0; n < most && !t_failed(); n++) {
        if (n % LIVES == 0) { /* another directory, with other options */
            t_wipe(store);
            memset(o->key, 0, sizeof o->key);
            atomic_store(&o->clock, 1);
        }
        life(n, &rng);
    }
    printf("# %" PRIu64 " kills, %" PRIu64 " looks at a key, %" PRIu64 " found, %" PRIu64
           " opens that discarded\n", most, (uint64_t)o->looked, (uint64_t)o->sure,
           (uint64_t)o->discarded);
    T_CHECK(o->discarded <= 1 + most / 20);
    T_EQ_I64(munmap(o, sizeof *o), 0);
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

T_CASE(durable_sets_outlive_a_kill) { lives_end_by_kill(DURABLE); }
T_CASE(written_through_sets_outlive_a_kill) { lives_end_by_kill(WRITE_THROUGH); }
T_CASE(each_set_never_brings_an_old_value_back) { lives_end_by_kill(EACH_SET); }

T_MAIN("cache_kill")
