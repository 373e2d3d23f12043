/* SPDX-License-Identifier: MIT
 *
 * Aim:    A function of the caller (listener, cipher, log, loader, update or scan function) forks
 *         and also returns in the child. The child continues in the middle of the call, with memory
 *         alone, and closes its store; the parent is not affected. The same holds when a thread
 *         forks while another opens and closes stores.
 * Method: A full store over a real directory, with values that take a block to be read. In one call
 *         of each kind the n-th such function forks. The child uses its store, audits, closes and
 *         reports by exit code; then the parent reads the disk. */
#include "tests/support/disk_store.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

#define KEYS 900u
#define VALUE_MAX 60000u
#define TAG 8u
#define ROUNDS 3

enum { LISTENER = 1, CIPHER = 2, LOADER = 4, WALKER = 8 };

static unsigned armed;  /* which functions fork */
static unsigned before; /* calls of these functions that pass first */
static pid_t child;     /* 0: this process is the child; -1: not forked */
static unsigned forks;
static cellar *root;
static uint64_t listening; /* id of the listener of root */

static void perhaps_fork(unsigned kinds)
{
    if ((armed & kinds) == 0 || before-- != 0) { return; }
    armed = 0;
    fflush(stdout);
    child = fork();
    T_REQUIRE(child >= 0);
    forks++;
}

static void heard(const cellar_event *e, void *ctx)
{
    (void)ctx;
    (void)e;
    perhaps_fork(LISTENER);
}

/* ---- a toy cipher, NOT for keeping secrets ---- */

static uint64_t toy_sum(uint64_t h, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) { h = (h ^ ((const unsigned char *)bytes)[i]) * 1099511628211u; }
    return h;
}

static int toy_seal(const unsigned char *nonce, const void *aad, size_t aad_len,
                    const void *in, size_t n, void *out, void *ctx)
{
    (void)ctx;
    unsigned char *to = out;
    for (size_t i = 0; i < n; i++) {
        to[i] = (unsigned char)(((const char *)in)[i] ^ nonce[i % 12]);
    }
    const uint64_t sum = toy_sum(toy_sum(toy_sum(7, nonce, 12), aad, aad_len), out, n);
    memcpy(to + n, &sum, TAG);
    perhaps_fork(CIPHER);
    return 0;
}

static int toy_open(const unsigned char *nonce, const void *aad, size_t aad_len,
                    const void *in, size_t n, void *out, void *ctx)
{
    (void)ctx;
    n -= TAG;
    const uint64_t sum = toy_sum(toy_sum(toy_sum(7, nonce, 12), aad, aad_len), in, n);
    if (memcmp((const char *)in + n, &sum, TAG) != 0) { return 1; }
    for (size_t i = 0; i < n; i++) {
        ((unsigned char *)out)[i] = (unsigned char)(((const char *)in)[i] ^ nonce[i % 12]);
    }
    perhaps_fork(CIPHER);
    return 0;
}

/* ---- one store ---- */

static unsigned char bytes[VALUE_MAX];

static size_t value_of(uint32_t key)
{
    const size_t n = key % 3 == 0 ? 200 + key % 97
                   : key % 8 == 1 ? 40000 + key * 7 % 20000 : 5000 + key * 7 % 7000;
    memset(bytes, (int)(key & 0xffu), n);
    return n;
}

static void put(cellar *c, uint32_t key)
{
    (void)cellar_set(c, &key, sizeof key, bytes, value_of(key), NULL);
}

/* Return whether the key has the right bytes; a miss is accepted. */
static bool got(cellar *c, uint32_t key)
{
    static unsigned char buf[VALUE_MAX];
    size_t len = 0;
    if (cellar_get(c, &key, sizeof key, buf, sizeof buf, &len) != CELLAR_OK) { return false; }
    T_EQ_U64(len, value_of(key));
    T_EQ_MEM(buf, bytes, len);
    return true;
}

static void fill(cellar *c, uint32_t from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        put(c, (from + i) % KEYS);
        if (i % 16 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
}

static cellar *open_one(int cipher, uint32_t level)
{
    settings cfg = settings_default();
    cellar_l2_cipher toy = cellar_l2_cipher_default();
    cellar *c = NULL;
    cfg.config.memory_bytes = 3u << 20;
    cfg.config.l2_path = store;
    cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    cfg.l2.sync = level;
    cfg.host.clock = read_clock;
    cfg.host.no_threads = 1;
    toy.seal = toy_seal;
    toy.open = toy_open;
    toy.overhead_bytes = TAG;
    if (cipher) { cfg.l2.cipher = &toy; }
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_listener_add(c, 0, heard, NULL, &listening), CELLAR_OK);
    return c;
}

/* ---- calls ---- */

static void call_get(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < KEYS && armed != 0; i++) { (void)got(c, (x + i * 7) % KEYS); }
}

static void call_get_many(cellar *c, uint32_t x)
{
    static unsigned char room[8][VALUE_MAX];
    uint32_t key[8];
    cellar_get_item item[8];
    for (uint32_t r = 0; r < 40 && armed != 0; r++) {
        memset(item, 0, sizeof item);
        for (uint32_t i = 0; i < 8; i++) {
            key[i] = (x + r * 8 + i) % KEYS;
            item[i].key = &key[i];
            item[i].key_len = sizeof key[i];
            item[i].buf = room[i];
            item[i].buf_cap = VALUE_MAX;
        }
        T_EQ_I64(cellar_get_many(c, item, 8, NULL), CELLAR_OK);
    }
}

static void call_touch(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < KEYS && armed != 0; i++) {
        const uint32_t key = (x + i) % KEYS;
        (void)cellar_touch(c, &key, sizeof key, CELLAR_TTL_NONE);
    }
}

static void call_pin(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < KEYS && armed != 0; i++) {
        const uint32_t key = (x + i) % KEYS;
        cellar_pinned p;
        if (cellar_pin(c, &key, sizeof key, &p) == CELLAR_OK) { cellar_unpin(&p); }
    }
}

static void call_dup(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < KEYS && armed != 0; i++) {
        const uint32_t key = (x + i) % KEYS;
        size_t len = 0;
        void *value = NULL;
        if (cellar_get_alloc(c, &key, sizeof key, &value,
                             &len) == CELLAR_OK) { cellar_free(value); }
    }
}

static void call_meta(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < KEYS && armed != 0; i++) {
        const uint32_t key = (x + i) % KEYS;
        cellar_entry_info info = cellar_entry_info_default();
        (void)cellar_entry_info_get(c, &key, sizeof key, i % 2 != 0 ? CELLAR_GET_WANT_VERSION : 0,
                                    &info);
        (void)cellar_contains(c, &key, sizeof key);
        (void)peek(c, &key, sizeof key, NULL, 0, NULL);
    }
}

static void call_set(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < KEYS && armed != 0; i++) { put(c, (x + i) % KEYS); }
}

static void call_set_durable(cellar *c, uint32_t x)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_DURABLE;
    for (uint32_t i = 0; i < 200 && armed != 0; i++) {
        const uint32_t key = (x + i) % KEYS;
        (void)cellar_set(c, &key, sizeof key, bytes, value_of(key), &o);
    }
}

static void call_set_many(cellar *c, uint32_t x)
{
    uint32_t key[8];
    cellar_set_item item[8];
    cellar_set_opts o = cellar_set_opts_default();
    for (uint32_t r = 0; r < 40 && armed != 0; r++) {
        const size_t n = 5000 + (x + r) % 1000;
        o.flags = r % 2 != 0 ? CELLAR_DURABLE : 0;
        memset(item, 0, sizeof item);
        for (uint32_t i = 0; i < 8; i++) {
            key[i] = 0x40000u + (x + r * 8 + i) % KEYS;
            item[i].key = &key[i];
            item[i].key_len = sizeof key[i];
            item[i].value = bytes;
            item[i].value_len = n;
        }
        (void)cellar_set_many(c, item, 8, &o, NULL);
    }
}

static void call_del(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < 20 && armed != 0; i++) {
        const uint32_t key = (x + i) % KEYS;
        (void)cellar_delete(c, &key, sizeof key);
    }
}

static cellar_err append(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    perhaps_fork(WALKER);
    if (cellar_buf_append(out, old, old_len) != CELLAR_OK) { return CELLAR_E_NOMEM; }
    return CELLAR_OK;
}

static void call_update(cellar *c, uint32_t x)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_ONLY_IF_PRESENT;
    for (uint32_t i = 0; i < KEYS && armed != 0; i++) {
        const uint32_t key = (x + i) % KEYS;
        (void)cellar_update(c, &key, sizeof key, &o, append, NULL);
    }
}

static void call_incr(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < 3000 && armed != 0; i++) {
        const uint32_t key = 0x10000u + x * 3000 + i;
        (void)cellar_increment(c, &key, sizeof key, 1, 0, NULL, NULL);
    }
}

static cellar_err load(cellar_load *l, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    (void)key;
    (void)key_len;
    perhaps_fork(LOADER);
    return cellar_load_value(l, bytes, 7000);
}

static void call_load(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < 2 * KEYS && armed != 0; i++) {
        const uint32_t key = 0x20000u + (x + i) % (3 * KEYS);
        cellar_result r = cellar_result_default();
        (void)cellar_get_or_load(c, &key, sizeof key, NULL, load, NULL, &r);
        cellar_result_free(&r);
    }
}

static void call_lease(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < KEYS && armed != 0; i++) {
        const uint32_t key = 0x30000u + (x + i) % (3 * KEYS);
        cellar_lease lease;
        cellar_result r = cellar_result_default();
        if (cellar_lease_acquire(c, &key, sizeof key, NULL, NULL, &lease, &r) == CELLAR_LEASED) {
            (void)cellar_lease_fulfill(c, &lease, bytes, 6000, NULL);
        }
        cellar_result_free(&r);
    }
}

static bool seen(const cellar_scan_entry *e, void *ctx)
{
    (void)ctx;
    (void)e;
    perhaps_fork(WALKER);
    return true;
}

static void call_scan(cellar *c, uint32_t x)
{
    uint64_t cursor = 0;
    (void)x;
    while (cellar_scan(c, &cursor, NULL, seen, NULL) == CELLAR_OK && cursor != 0) {}
}

static void call_match(cellar *c, uint32_t x)
{
    uint64_t removed = 0;
    char pattern[4] = { (char)(x * 5), '?', '*', 0 };
    if (strchr("*?[]\\", pattern[0]) != NULL) { pattern[0] = 'x'; }
    T_EQ_I64(cellar_delete_by_pattern(c, pattern, 3, &removed), CELLAR_OK);
}

static void call_tags(cellar *c, uint32_t x)
{
    char name[16];
    for (uint32_t i = 0; i < 100 && armed != 0; i++) {
        const int n = snprintf(name, sizeof name, "t%u", (unsigned)(x * 100 + i));
        const cellar_bytes tag = { name, (size_t)n };
        const uint32_t key = (x + i) % KEYS;
        cellar_set_opts o = cellar_set_opts_default();
        o.tags = &tag;
        o.tag_count = 1;
        (void)cellar_set(c, &key, sizeof key, bytes, value_of(key), &o);
        T_EQ_I64(cellar_delete_by_tag(c, name, (size_t)n, CELLAR_TAG_HARD), CELLAR_OK);
    }
}

static void call_namespaces(cellar *c, uint32_t x)
{
    char name[16];
    for (uint32_t i = 0; i < 40 && armed != 0; i++) {
        (void)snprintf(name, sizeof name, "v%u", (unsigned)(x * 40 + i));
        cellar *v = NULL;
        cellar_namespace_config o = cellar_namespace_config_default();
        o.l2_lz4 = i % 2;
        if (cellar_namespace_open(c, name, &o, &v) != CELLAR_OK) { continue; }
        for (uint32_t k = 0; k < 60; k++) { put(v, k); }
        T_EQ_I64(cellar_clear(v), CELLAR_OK);
        put(v, 1);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        T_EQ_I64(cellar_namespace_drop(c, name), CELLAR_OK);
    }
}

static void call_sync(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < 10 && armed != 0; i++) {
        put(c, x + i);
        (void)cellar_sync(c);
    }
}

static void call_resize(cellar *c, uint32_t x)
{
    (void)cellar_option_set(c, CELLAR_OPT_L2_BYTES,
                            (int64_t)CELLAR_L2_BYTES_MIN * (x % 2 != 0 ? 1 : 2));
    (void)cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, (x % 2 != 0 ? 3 : 2) << 20);
}

static void call_tick(cellar *c, uint32_t x)
{
    for (uint32_t i = 0; i < 60 && armed != 0; i++) {
        now_ms += 700;
        put(c, x + i * 3);
        (void)cellar_tick(c, 1000, NULL);
    }
}

static const struct call { const char *name; void (*run)(cellar *c, uint32_t x); } calls[] = {
    { "get", call_get }, { "get_many", call_get_many }, { "touch", call_touch },
    { "pin", call_pin }, { "dup", call_dup }, { "meta", call_meta }, { "set", call_set },
    { "durable", call_set_durable }, { "set_many", call_set_many }, { "del", call_del },
    { "update", call_update }, { "incr", call_incr }, { "load", call_load },
    { "lease", call_lease }, { "scan", call_scan }, { "match", call_match },
    { "tags", call_tags }, { "namespaces", call_namespaces }, { "sync", call_sync },
    { "resize", call_resize }, { "tick", call_tick },
};

/* Check in the child, after its call: memory works, the disk is off, no call counts as running. */
static int child_ends(cellar *c)
{
    armed = 0;
    for (uint32_t i = 0; i < 300; i++) {
        put(c, i);
        (void)got(c, i * 5 % KEYS);
        if (i % 7 == 0) { (void)cellar_delete(c, &i, sizeof i); }
    }
    T_EQ_I64(cellar_sync(c), CELLAR_DISABLED);
    (void)cellar_tick(c, 1000, NULL);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_listener_remove(c, listening), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    return t_failed();
}

static void one_call(cellar *c, const struct call *k, unsigned kinds, unsigned nth, uint32_t x)
{
    const int failed = t_failed(); /* failures of the parent before the fork */
    fill(c, x * 100, 100);
    armed = kinds;
    before = nth;
    child = -1;
    k->run(c, x);
    armed = 0;
    if (child == 0) { _exit(child_ends(c) && !failed ? 1 : 0); }
    if (child < 0) { return; }
    int status = -1;
    T_REQUIRE(waitpid(child, &status, 0) == child);
    if (!T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        printf("# in %s, kinds %u, number %u: status %d\n", k->name, kinds, nth, status);
    }
}

/* Run every call with forks in functions of `kinds`. At least `least` forks must happen. */
static void all_calls(int cipher, uint32_t level, unsigned kinds, unsigned least)
{
    forks = 0;
    store_begin();
    root = open_one(cipher, level);
    fill(root, 0, KEYS);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        for (unsigned r = 0; r < ROUNDS; r++) {
            one_call(root, &calls[i], kinds, r * r, (uint32_t)(i * 31 + r));
        }
    }
    T_CHECK(forks >= least);
    fill(root, 0, KEYS);
    uint32_t there = 0;
    for (uint32_t i = 0; i < KEYS; i++) { there += got(root, i); }
    /* The disk of the parent serves as before. Short ticks leave little time to move what it has,
     * so it drops puts. */
    T_CHECK(there > KEYS / 3);
    T_EQ_I64(cellar_integrity_check(root), CELLAR_OK);
    T_EQ_I64(cellar_option_set(root, CELLAR_OPT_L2_BYTES, (int64_t)CELLAR_L2_BYTES_MIN), CELLAR_OK);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
    root = open_one(cipher, level);
    while (cellar_tick(root, 100000, NULL) == CELLAR_PENDING) {}
    uint32_t again = 0;
    for (uint32_t i = 0; i < KEYS; i++) { again += got(root, i); }
    T_CHECK(again > KEYS / 3);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
    store_end();
}

static void fork_inside_listener_leaves_store_usable(void)
{
    all_calls(0, CELLAR_L2_SYNC_MANUAL, LISTENER, 40);
}
static void fork_inside_listener_with_cipher_leaves_store_usable(void)
{
    all_calls(1, CELLAR_L2_SYNC_PERIODIC, LISTENER, 40);
}
static void fork_inside_cipher_leaves_store_usable(void)
{
    all_calls(1, CELLAR_L2_SYNC_MANUAL, CIPHER, 40);
}
/* Values that left memory without room on disk are written by a tick. */
static void fork_inside_cipher_of_a_long_value_leaves_store_usable(void)
{
    static unsigned char big[100000];
    store_begin();
    root = open_one(1, CELLAR_L2_SYNC_MANUAL);
    for (uint32_t r = 0; r < 4; r++) {
        for (uint32_t i = 0; i < 40; i++) {
            const uint32_t key = 0x50000u + r * 40 + i;
            T_EQ_I64(cellar_set(root, &key, sizeof key, big, sizeof big, NULL), CELLAR_OK);
            T_EQ_I64(cellar_get(root, &key, sizeof key, NULL, 0, NULL), CELLAR_E_BUFFER);
        }
        armed = CIPHER;
        before = r;
        child = -1;
        (void)cellar_tick(root, 1000, NULL);
        armed = 0;
        if (child == 0) { _exit(child_ends(root)); }
        int status = -1;
        T_REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
        T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        while (cellar_tick(root, 1000, NULL) == CELLAR_PENDING) {}
    }
    T_EQ_I64(cellar_integrity_check(root), CELLAR_OK);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
    store_end();
}

/* The child goes on inside a piece of maintenance. */
static void fork_inside_listener_of_a_tick_leaves_store_usable(void)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 1000;
    store_begin();
    root = open_one(0, CELLAR_L2_SYNC_MANUAL);
    for (uint32_t i = 0; i < 8; i++) {
        T_EQ_I64(cellar_set(root, &i, sizeof i, bytes, 100, &o), CELLAR_OK);
    }
    now_ms += 1000000;
    armed = LISTENER;
    before = 3;
    child = -1;
    while (armed != 0) { (void)cellar_tick(root, 1000, NULL); }
    if (child == 0) { _exit(child_ends(root)); }
    int status = -1;
    T_REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    T_EQ_I64(cellar_integrity_check(root), CELLAR_OK);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
    store_end();
}

static void fork_inside_loader_or_scan_leaves_store_usable(void)
{
    all_calls(0, CELLAR_L2_SYNC_PERIODIC, LOADER | WALKER, 9);
}

/* ---- fork during open and close ---- */

/* Most children that live at one time. Each keeps its part of the store. */
enum { CHILDREN = 4 };
typedef struct forker {
    _Atomic int stop;
    _Atomic uint32_t born;
} forker;

static void *fork_on_and_on(void *arg)
{
    forker *f = arg;
    pid_t alive[CHILDREN] = { 0 };
    for (; !atomic_load(&f->stop); f->born++) {
        int ready[2];
        char one = 0;
        T_REQUIRE(pipe(ready) == 0);
        const pid_t p = fork();
        if (p == 0) { /* the library's fork handlers have run */
            (void)!write(ready[1], &one, 1);
            for (;;) { pause(); }
        }
        close(ready[1]);
        T_CHECK(p > 0 && read(ready[0], &one, 1) == 1);
        close(ready[0]);
        pid_t *slot = &alive[f->born % CHILDREN];
        if (*slot > 0) { T_CHECK(kill(*slot, SIGKILL) == 0 && waitpid(*slot, NULL, 0) == *slot); }
        *slot = p;
    }
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (alive[i] > 0) { T_CHECK(kill(alive[i], SIGKILL) == 0 && waitpid(alive[i], NULL,
                                                                            0) > 0); }
    }
    return NULL;
}

/* A child of any moment of an open or a close returns from its fork. Its copy of the store does not
 * block the next open. */
static void fork_during_open_and_close_leaves_store_usable(void)
{
    forker f = { .born = 0 };
    pthread_t t;
    if (T_ASAN && !T_ASAN_FORKS) {
        T_SKIP("a child may wait for a lock of this ASan");
        return;
    }
    store_begin();
    T_REQUIRE(pthread_create(&t, NULL, fork_on_and_on, &f) == 0);
    for (uint32_t i = 0; i < 60 || atomic_load(&f.born) <= 10; i++) {
        settings cfg = settings_default();
        cfg.config.memory_bytes = 3u << 20;
        cfg.config.l2_path = store;
        cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
        cfg.host.no_threads = i % 2;
        cellar *c = NULL;
        if (!T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK)) { continue; }
        put(c, i);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
    atomic_store(&f.stop, 1);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    store_end();
}

T_MAIN("api_fork_inside", T_CASE(fork_during_open_and_close_leaves_store_usable),
       T_ALONE(fork_inside_listener_leaves_store_usable),
       T_ALONE(fork_inside_listener_with_cipher_leaves_store_usable),
       T_ALONE(fork_inside_cipher_leaves_store_usable),
       T_ALONE(fork_inside_cipher_of_a_long_value_leaves_store_usable),
       T_ALONE(fork_inside_listener_of_a_tick_leaves_store_usable),
       T_ALONE(fork_inside_loader_or_scan_leaves_store_usable))
