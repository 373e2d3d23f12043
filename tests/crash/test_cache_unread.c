/* SPDX-License-Identifier: MIT
 *
 * Aim:    A change that depends on an entry decides nothing while the disk cannot read it. No
 *         counter begins again, and no value is replaced or removed by mistake. The call waits for
 *         the disk, then is E_TIMEOUT and changes nothing. For a tier that is off it does not wait.
 * Method: The reads of data.seg are functions of this test: the page cache has nothing, and a read
 *         takes the time that the test says, or waits for a gate. Memory keeps 64 entries, so
 *         nearly each call reads the disk. The storm compares each answer with a model; its keys
 *         belong to one thread each, and a few counters to all. UNREAD=n: n operations of
 *         each storm. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/random.h"
#include "cache/types.h"
#include "cellar_kit.h"
#include "cellar_limit.h"
#include "l2/health.h"
#include "l2/progress.h"
#include "tests/support/asleep.h"
#include "tests/support/port_kit.h"

#define AWAIT(fact) \
    do { \
        unsigned ms_ = 0; \
        for (; !(fact) && ms_ < 60000 * t_patience(); ms_++) { (void)usleep(1000); } \
        T_REQUIRE(ms_ < 60000 * t_patience()); \
    } while (0)

/* ---- the disk ---- */

#define SLOW_RUN 16u /* reads one after the other that are slow, or quick */

static _Atomic bool gate_shut;       /* reads of data.seg wait */
static _Atomic uint32_t slow_of;     /* one run of so many is slow; 0: none */
static _Atomic uint64_t reads;

static bool is_data(int fd)
{
    char name[32], path[400];
    (void)snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(name, path, sizeof path);
    return n > 9 && memcmp(path + n - 9, "/data.seg", 9) == 0;
}

static void read_takes_its_time(int fd)
{
    const uint32_t of = atomic_load(&slow_of);
    base_rng draw;
    if (!is_data(fd)) { return; }
    while (atomic_load(&gate_shut)) { (void)usleep(500); }
    const uint64_t n = atomic_fetch_add(&reads, 1);
    if (of == 0 || n / SLOW_RUN % of != 0) { return; }
    base_rng_seed(&draw, t_seed() + n);
    (void)usleep((useconds_t)base_rng_below(&draw, 400000));
}

ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
    read_takes_its_time(fd);
    return (ssize_t)syscall(SYS_pread64, fd, buf, n, at);
}

ssize_t preadv2(int fd, const struct iovec *to, int count, off_t at, int flags)
{
    if (is_data(fd)) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)syscall(SYS_preadv2, fd, to, count, at, 0, flags);
}

/* ---- the store ---- */

#define LONG_BYTES 700u   /* more than a read tries first */
#define PAD_BYTES 16000u
#define PADS 256u          /* 4 MB: all slots of the stage */

static char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
static cellar *c;

static settings config(void)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.max_entries = 64,
                     .config.l2_path = path, .config.l2_bytes = CELLAR_L2_BYTES_MIN,
                     .l2.write = CELLAR_L2_WRITE_THROUGH, .l2.close_ms = CELLAR_TTL_NONE };
    return cfg;
}

static void open_as(const settings *cfg) { T_REQUIRE(settings_open(cfg, &c) == CELLAR_OK); }

static void open_it(void) { const settings cfg = config(); open_as(&cfg); }

static void begin(void)
{
    t_folder(folder);
    (void)snprintf(path, sizeof path, "%s/store", folder);
    open_it();
}

static void shut(void) { T_EQ_I64(cellar_close(c), CELLAR_OK); }

/* Store values that nothing reads, so that older entries leave the stage for data.seg. */
static void push(uint32_t times)
{
    static const char pad[PAD_BYTES];
    for (uint32_t i = 0; i < times; i++) {
        const uint32_t name[3] = { i % 8, 0, 0 };
        const cellar_err err = cellar_set(c, name, sizeof name, pad, sizeof pad, NULL);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO);
    }
}

/* Open the store again: its entries are on disk alone, and one that a stall can hold. */
static void again(void)
{
    T_EQ_I64(cellar_set(c, "held", 4, "12345678", 8, NULL), CELLAR_OK);
    push(PADS);
    shut();
    open_it();
}

static void wipe(void) { t_wipe(path); T_EQ_I64(rmdir(folder), 0); }

static void end(void) { shut(); wipe(); }

static l2 *disk(void) { return cache_disk(c->store); }

static void store_number(const char *key, int64_t n)
{
    T_EQ_I64(cellar_set(c, key, strlen(key), &n, sizeof n, NULL), CELLAR_OK);
}

/* Return the number of a key; -1: a miss. A get misses as long as the disk stands still. */
static int64_t number_of(const char *key)
{
    int64_t n = -1;
    size_t len = 0;
    return cellar_get(c, key, strlen(key), &n, sizeof n, &len) == CELLAR_OK ? n : -1;
}

/* ---- a disk that stands still ---- */

static pthread_t held_thread;

static void *held_get(void *ctx) { (void)number_of("held"); return ctx; }

/* Let a read wait at the gate, until the store knows that the disk stands still. */
static void stall_begin(void)
{
    atomic_store(&gate_shut, true);
    T_REQUIRE(pthread_create(&held_thread, NULL, held_get, NULL) == 0);
    AWAIT(l2_standing(disk()));
}

static void stall_end(void)
{
    atomic_store(&gate_shut, false);
    T_REQUIRE(pthread_join(held_thread, NULL) == 0);
    AWAIT(!l2_standing(disk()));
}

static int caller; /* tid of the thread that waits in a call */

static void *open_gate(void *ctx)
{
    (void)ctx;
    for (int seen = 0; seen < 3; seen += asleep(caller)) { (void)usleep(5000); }
    atomic_store(&gate_shut, false);
    return NULL;
}

/* Run a call while the disk stands still, and let the disk answer when the call waits. On a busy
 * machine that may be later than the call waits: `late` says so, and the call runs again. */
static void call_beside_a_stall(void (*call)(void), bool (*late)(void))
{
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        again();
        stall_begin();
        caller = asleep_self();
        T_REQUIRE(pthread_create(&t, NULL, open_gate, NULL) == 0);
        call();
        T_REQUIRE(pthread_join(t, NULL) == 0);
        stall_end();
        if (!late()) { return; }
    }
    T_CHECK(!"in time");
}

static cellar_err said;
static int64_t counted;

static void count(void) { said = cellar_increment(c, "n", 1, 1, 0, NULL, &counted); }
static bool is_late(void) { return said == CELLAR_E_TIMEOUT; }

#define STORE(fn) T_WITHIN(fn, begin(), end())

T_CASE_ON(change_waits_for_a_disk_that_answers_within_a_second, STORE)
{
    store_number("n", 41);
    call_beside_a_stall(count, is_late);
    T_EQ_I64(said, CELLAR_OK);
    T_EQ_I64(counted, 42);
}

static cellar_err set_if(const char *key, uint32_t flags)
{
    const int64_t n = 999;
    cellar_set_opts o = { .struct_size = sizeof o, .flags = flags };
    return cellar_set(c, key, strlen(key), &n, sizeof n, &o);
}

static cellar_err never(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old, (void)old_len, (void)out, (void)ctx;
    T_CHECK(!"the old value is not known");
    return CELLAR_OK;
}

static cellar_err take(const char *key, uint64_t if_version)
{
    void *old = NULL;
    size_t len = 0;
    cellar_delete_opts o = { .struct_size = sizeof o, .if_version = if_version };
    if (if_version == 0) {
        o.old_value = &old;
        o.old_value_len = &len;
    }
    const cellar_err err = cellar_delete_with(c, key, strlen(key), &o);
    cellar_free(old);
    return err;
}

T_CASE(change_of_an_unread_entry_times_out_and_changes_nothing)
{
    enum { CALLS = 50 };
    struct timespec from, to;
    cellar_set_item item[CALLS];
    char key[CALLS][8];
    begin();
    for (int i = 0; i < CALLS; i++) {
        (void)snprintf(key[i], sizeof key[i], "k%d", i);
        store_number(key[i], i);
        item[i] = (cellar_set_item){ key[i], strlen(key[i]), "x", 1, CELLAR_OK, 0 };
    }
    again();
    stall_begin();
    int64_t n = 0;
    cellar_set_opts absent = { .struct_size = sizeof absent, .flags = CELLAR_ONLY_IF_ABSENT };
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < CALLS; i++) { /* the first ones wait, for 1 s in all */
        T_EQ_I64(cellar_increment(c, key[i], strlen(key[i]), 1, 0, NULL, &n), CELLAR_E_TIMEOUT);
    }
    cellar_error_info why = cellar_error_info_default();
    (void)cellar_last_error(c, &why);
    T_CHECK(strstr(why.text, "cellar_increment: the disk of l2_path") != NULL);
    T_EQ_I64(set_if("k1", CELLAR_ONLY_IF_ABSENT), CELLAR_E_TIMEOUT);
    T_EQ_I64(set_if("k2", CELLAR_ONLY_IF_PRESENT), CELLAR_E_TIMEOUT);
    T_EQ_I64(set_if("k3", CELLAR_KEEP_TTL), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_update(c, "k4", 2, NULL, never, NULL), CELLAR_E_TIMEOUT);
    T_EQ_I64(take("k5", 0), CELLAR_E_TIMEOUT);
    T_EQ_I64(take("k6", 77), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_touch(c, "k7", 2, 60000), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_value_damaged(c, "k8", 2, &n, sizeof n), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_set_many(c, item, CALLS, &absent, NULL), CELLAR_OK);
    for (int i = 0; i < CALLS; i++) { T_EQ_I64(item[i].status, CELLAR_E_TIMEOUT); }
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    T_CHECK(to.tv_sec - from.tv_sec < 30 * (time_t)t_patience()); /* 1 s, not 108 */
    T_EQ_I64(number_of("k9"), -1); /* a get is a miss */
    stall_end();
    for (int i = 0; i < CALLS; i++) { T_EQ_I64(number_of(key[i]), i); }
    T_EQ_I64(cellar_increment(c, "k1", 2, 1, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, 2);
    T_EQ_I64(set_if("k1", CELLAR_ONLY_IF_ABSENT), CELLAR_EXISTS);
    T_EQ_I64(take("k5", 0), CELLAR_OK);
    end();
}

/* A change of a key that the disk cannot have needs no read. */
T_CASE_ON(change_of_an_absent_key_needs_no_answer_of_the_disk, STORE)
{
    again();
    stall_begin();
    int64_t n = 0;
    T_EQ_I64(cellar_increment(c, "new", 3, 1, 10, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, 11);
    T_EQ_I64(set_if("newer", CELLAR_ONLY_IF_PRESENT), CELLAR_MISS);
    stall_end();
}

/* A listener runs inside a change, which must not stand still. */
static cellar_err heard;

static void count_inside(const cellar_event *e, void *ctx)
{
    (void)e, (void)ctx;
    heard = cellar_increment(c, "n", 1, 1, 0, NULL, NULL);
}

T_CASE_ON(change_inside_a_listener_does_not_wait, STORE)
{
    uint64_t id;
    store_number("n", 5);
    again();
    T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(DELETED), count_inside, NULL, &id), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "gone", 4, "x", 1, NULL), CELLAR_OK);
    stall_begin();
    T_EQ_I64(cellar_delete(c, "gone", 4), CELLAR_OK);
    T_EQ_I64(heard, CELLAR_E_TIMEOUT);
    stall_end();
    T_EQ_I64(number_of("n"), 5);
}

T_CASE(tier_that_is_off_lets_a_counter_begin_again)
{
    int64_t n = 0;
    begin();
    store_number("n", 41);
    settings cfg = config();
    push(PADS);
    shut();
    cfg.l2.retry_ms = cfg.l2.retry_max_ms = 3600000;
    cfg.l2.close_ms = 1;
    open_as(&cfg);
    (void)base_fault_io_arm("pread", EIO, 1, true);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, NULL, &n), CELLAR_E_TIMEOUT); /* it may be there */
    for (int i = 0; i < 20 && !l2_off(disk()); i++) { (void)number_of("n"); }
    T_CHECK(l2_off(disk()));
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, NULL, &n), CELLAR_E_IO); /* in memory only */
    T_EQ_I64(n, 1);
    T_EQ_I64(set_if("m", CELLAR_ONLY_IF_ABSENT), CELLAR_E_IO);
    (void)base_fault_io_arm(NULL, 0, 0, false);
    T_EQ_I64(cellar_close(c), CELLAR_DROPPED);
    wipe();
}

T_CASE_ON(read_that_fails_once_is_repeated_before_a_change, STORE)
{
    int64_t n = 0;
    store_number("n", 41);
    again();
    (void)base_fault_io_arm("pread", EIO, 1, false);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, NULL, &n), CELLAR_OK);
    (void)base_fault_io_arm(NULL, 0, 0, false);
    T_EQ_I64(n, 42);
}

/* Without a thread no other call notes that the reads end. */
T_CASE_ON(call_without_threads_reads_by_itself, STORE)
{
    int64_t n = 0;
    store_number("n", 41);
    T_EQ_I64(cellar_set(c, "held", 4, "12345678", 8, NULL), CELLAR_OK);
    settings cfg = config();
    push(PADS);
    shut();
    cfg.host.no_threads = 1;
    open_as(&cfg);
    atomic_store(&gate_shut, true);
    T_REQUIRE(pthread_create(&held_thread, NULL, held_get, NULL) == 0);
    AWAIT((cellar_tick(c, 0, NULL), l2_standing(disk())));
    atomic_store(&gate_shut, false);
    T_REQUIRE(pthread_join(held_thread, NULL) == 0);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(n, 42);
}

/* ---- guests ---- */

/* Keep a value of database 0 on the disk alone. ttl_ms 0: without an end. */
static void keep_on_disk(const char *value, int64_t ttl_ms)
{
    cellar *db = NULL;
    for (int life = 0; life < 2; life++) {
        T_REQUIRE(cellar_namespace_open(c, "db0", NULL, &db) == CELLAR_OK);
        if (life == 0) { T_EQ_I64(cellar_set_str(db, "n", value, ttl_ms), CELLAR_OK); }
        T_EQ_I64(cellar_namespace_close(db), CELLAR_OK);
        again();
    }
}

/* A command with several lookups takes a read that fails for no end of the entry: the reply is that
 * of an entry, or an error that names the disk. */
T_CASE(port_finds_an_entry_that_one_lookup_did_not_read)
{
    static const char *const ask_for[][2] = {
        { "EXPIRE n 100 XX\r\n", ":1\r\n" }, { "EXPIRE n -1 LT\r\n", ":1\r\n" },
        { "PERSIST n\r\n", ":1\r\n" },
        { "GETEX n PERSIST\r\nPERSIST n\r\n", "$2\r\n41\r\n:0\r\n" },
        { "EVALSHA a4e8783852e6b949f9ef3a97212805108459a890 1 n 41 1000 0\r\n", ":1\r\n" },
        { "RENAME n x\r\n", "+OK\r\n" }, { "COPY n x\r\n", ":1\r\n" },
    };
    for (size_t i = 0; i < 3 * sizeof ask_for / sizeof ask_for[0]; i++) {
        begin();
        keep_on_disk("41", 60000);
        port_begin_on(c, NULL);
        const int fd = peer();
        (void)base_fault_io_arm("pread", EIO, 1 + i % 3, false);
        const char *reply = ask(fd, ask_for[i / 3][0]);
        if (!(reply[0] == '-' && strstr(reply, "disk") != NULL) &&
            !T_EQ_STR(reply, ask_for[i / 3][1])) {
            printf("# read %zu of %s\n", 1 + i % 3, ask_for[i / 3][0]);
        }
        (void)base_fault_io_arm(NULL, 0, 0, false);
        close(fd);
        port_end();
        wipe();
    }
}

T_CASE(port_replies_an_error_that_names_the_disk)
{
    static const char *const ask_for[] = {
        "INCR n\r\n", "SETNX n 1\r\n", "SET n 1 XX\r\n", "SET n 1 GET\r\n", "MSETNX n 1\r\n",
        "GETDEL n\r\n", "APPEND n 1\r\n", "EXPIRE n 100\r\n", "SET n 1 KEEPTTL\r\n",
        "EXPIRE n 100 NX\r\n", "GETEX n PXAT 1\r\n", "GETEX n EX 9\r\n",
        "EVALSHA a4e8783852e6b949f9ef3a97212805108459a890 1 n 41 1000 0\r\n",
        "RENAME n x\r\n", "RENAMENX n x\r\n", "COPY n x\r\n", "RENAME n n\r\n",
        "WATCH n\r\n", "EXPIRE n -1\r\n", "PERSIST n\r\n", "GETEX n PERSIST\r\n",
    };
    begin();
    keep_on_disk("41", 0);
    port_begin_on(c, NULL);
    const int fd = peer();
    stall_begin();
    for (size_t i = 0; i < sizeof ask_for / sizeof ask_for[0]; i++) {
        const char *reply = ask(fd, ask_for[i]);
        const bool names = reply[0] == '-' && strstr(reply, "disk") != NULL;
        if (!names) { printf("# %s: %s\n", ask_for[i], reply); }
        T_CHECK(names);
    }
    T_EQ_STR(ask(fd, "GET n\r\n"), "$-1\r\n");
    stall_end();
    T_EQ_STR(ask(fd, "INCR n\r\n"), ":42\r\n");
    close(fd);
    port_end();
    wipe();
}

/* EXEC runs for no watched key that may have come. */
T_CASE(port_refuses_a_transaction_on_a_key_that_is_not_read)
{
    cellar *db = NULL;
    begin();
    port_begin_on(c, NULL);
    const int fd = peer();
    T_EQ_STR(ask(fd, "WATCH n\r\nMULTI\r\nSET n 1\r\n"), "+OK\r\n+OK\r\n+QUEUED\r\n");
    T_REQUIRE(cellar_namespace_open(c, "db0", NULL, &db) == CELLAR_OK);
    T_EQ_I64(cellar_set_str(db, "n", "41", 0), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "held", 4, "12345678", 8, NULL), CELLAR_OK);
    for (char key[] = "!"; key[0] <= '~'; key[0]++) { store_number(key, 0); } /* evict both */
    push(PADS);
    stall_begin();
    T_EQ_STR(ask(fd, "EXEC\r\n"), "*-1\r\n");
    stall_end();
    T_EQ_STR(ask(fd, "INCR n\r\n"), ":42\r\n");
    T_EQ_I64(cellar_namespace_close(db), CELLAR_OK);
    close(fd);
    port_end();
    wipe();
}

static int paid;

static cellar_err llm_pay(cellar_load *load, const cellar_llm_request *req, void *ctx)
{
    cellar_llm_usage u = { .struct_size = sizeof u, .complete = 1 };
    (void)req, (void)ctx;
    paid++;
    return cellar_llm_set_answer(load, "Yes.", 4, &u);
}

static void llm_ask(void)
{
    cellar_llm *llm = NULL;
    cellar_result r = cellar_result_default();
    cellar_llm_answer a = { .struct_size = sizeof a, .result = &r };
    const cellar_llm_request q = { .struct_size = sizeof q, .model = { "m", 1 },
                                   .prompt = { "why?", 4 }, .flags = CELLAR_LLM_SHARED };
    paid = 0;
    T_REQUIRE(cellar_llm_open(c, NULL, &llm) == CELLAR_OK);
    T_EQ_I64(cellar_llm_get_or_call(llm, &q, llm_pay, NULL, &a), CELLAR_OK);
    cellar_result_free(&r);
    cellar_llm_close(llm);
}

static bool is_paid(void) { return paid != 0; }

enum { TEXTS = 20 };

static cellar_err vectors_pay(cellar_embeddings_call *call, const cellar_bytes *texts, size_t n,
                              void *ctx)
{
    const float v[2] = { 1, 2 };
    (void)texts, (void)ctx;
    paid++;
    for (size_t i = 0; i < n; i++) { T_EQ_I64(cellar_embeddings_set(call, i, v, 2), CELLAR_OK); }
    return CELLAR_OK;
}

static void vectors_ask(void)
{
    cellar_embeddings *e = NULL;
    cellar_bytes texts[TEXTS];
    char text[TEXTS][8];
    float out[TEXTS * 2];
    cellar_err status[TEXTS];
    const cellar_embeddings_config o = { .struct_size = sizeof o, .model = { "m", 1 }, .dim = 2 };
    for (int i = 0; i < TEXTS; i++) {
        (void)snprintf(text[i], sizeof text[i], "t%d", i);
        texts[i] = (cellar_bytes){ text[i], strlen(text[i]) };
    }
    paid = 0;
    T_REQUIRE(cellar_embeddings_open(c, &o, &e) == CELLAR_OK);
    T_EQ_I64(cellar_embeddings_get_many(e, texts, TEXTS, vectors_pay, NULL, out, status),
             CELLAR_OK);
    for (int i = 0; i < TEXTS; i++) { T_EQ_I64(status[i], CELLAR_OK); }
    cellar_embeddings_close(e);
}

static cellar_err load_seven(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    paid++;
    return cellar_load_value(load, "7", 1);
}

T_CASE(answers_and_vectors_wait_for_the_disk_before_they_are_paid)
{
    static void (*const asks[])(void) = { llm_ask, vectors_ask };
    begin();
    store_number("n", 41);
    for (int i = 0; i < 2; i++) {
        asks[i]();
        T_EQ_I64(paid, 1);
        call_beside_a_stall(asks[i], is_paid);
        T_EQ_I64(paid, 0);
        again();
        stall_begin();
        asks[i](); /* 1 s is over: it pays */
        T_EQ_I64(paid, 1);
        asks[i]();
        T_EQ_I64(paid, 0); /* in memory */
        if (i == 0) { /* other loads ask their source */
            cellar_result r = cellar_result_default();
            paid = 0;
            T_EQ_I64(cellar_get_or_load(c, "n", 1, NULL, load_seven, NULL, &r), CELLAR_OK);
            T_EQ_I64(paid, 1);
            cellar_result_free(&r);
        }
        stall_end();
    }
    end();
}

/* ---- the storm ---- */

enum { THREADS = 4, EACH = 400, SHARED = 8, FIRST = 1000 };

typedef struct key_model {
    int64_t number; /* 0: absent */
    bool unsure;    /* the disk may lack the last change */
} key_model;

typedef struct storm_thread {
    pthread_t thread;
    base_rng rng;
    uint32_t id;
    uint64_t steps, done, timeouts, longest_ns[2]; /* steps with an E_TIMEOUT; others */
    key_model key[EACH];
    key_model *now; /* that of the running update */
} storm_thread;

static _Atomic int64_t shared_sum[SHARED];
static _Atomic bool shared_unsure[SHARED];
static _Atomic int64_t fresh = 1000000;

static size_t key_bytes(uint32_t key) { return key % 2 == 0 ? sizeof(int64_t) : LONG_BYTES; }

static void value_fill(unsigned char value[LONG_BYTES], int64_t number)
{
    memset(value, (int)(number % 251), LONG_BYTES);
    memcpy(value, &number, sizeof number);
}

static int64_t value_number(const void *value, size_t len, uint32_t key)
{
    unsigned char want[LONG_BYTES];
    int64_t number = -1;
    T_EQ_U64(len, key_bytes(key));
    if (len >= sizeof number) { memcpy(&number, value, sizeof number); }
    value_fill(want, number);
    T_CHECK(memcmp(value, want, len) == 0);
    return number;
}

static cellar_err storm_update(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    storm_thread *t = ctx;
    const uint32_t key = (uint32_t)(t->now - t->key);
    unsigned char value[LONG_BYTES];
    if (!t->now->unsure) {
        T_EQ_I64(old != NULL ? value_number(old, old_len, key) : 0, t->now->number);
    }
    value_fill(value, atomic_fetch_add(&fresh, 1));
    memcpy(&t->now->number, value, sizeof t->now->number);
    return cellar_buf_append(out, value, key_bytes(key));
}

/* Note the code of a change that would make the number of a key `made`. `right`: what it says
 * about the entry is true. */
static void storm_said(storm_thread *t, key_model *m, cellar_err err, int64_t made, bool right)
{
    t->timeouts += err == CELLAR_E_TIMEOUT;
    if (err == CELLAR_E_TIMEOUT) { return; }
    t->done++;
    if (err == CELLAR_E_IO) {
        m->number = made;
        m->unsure = true;
        return;
    }
    if (!m->unsure && !right) { printf("# code %d, %lld\n", (int)err, (long long)m->number); }
    T_CHECK(m->unsure || right);
    if (err != CELLAR_OK) { return; }
    m->number = made;
    m->unsure = false;
}

static void storm_set(storm_thread *t, key_model *m, const uint32_t *name, size_t n, uint32_t flags,
                      uint64_t if_version)
{
    unsigned char value[LONG_BYTES];
    cellar_set_opts o = { .struct_size = sizeof o, .flags = flags, .if_version = if_version };
    const int64_t made = atomic_fetch_add(&fresh, 1);
    const bool there = m->number != 0;
    value_fill(value, made);
    const cellar_err err = cellar_set(c, name, sizeof *name * 2, value, n, &o);
    const bool right = err == CELLAR_EXISTS ? there && flags == CELLAR_ONLY_IF_ABSENT
                       : err == CELLAR_MISS ? !there && flags == CELLAR_ONLY_IF_PRESENT
                       : err == CELLAR_CONFLICT ? flags == CELLAR_ONLY_IF_VERSION
                       : err == CELLAR_OK ? (flags != CELLAR_ONLY_IF_ABSENT || !there) &&
                                            (flags != CELLAR_ONLY_IF_PRESENT || there)
                       : false;
    storm_said(t, m, err, made, right);
}

/* Get a key with its version; compare it. */
static uint64_t storm_get(const key_model *m, const uint32_t *name, uint32_t key)
{
    unsigned char value[LONG_BYTES];
    size_t len = 0;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_opts o = cellar_get_opts_default();
    o.flags = CELLAR_GET_WANT_VERSION;
    o.info = &info;
    if (cellar_get_with(c, name, sizeof *name * 2, &o, value, sizeof value, &len) != CELLAR_OK) {
        return 0; /* may be false */
    }
    const int64_t got = value_number(value, len, key);
    T_CHECK(m->unsure || got == m->number);
    return info.version;
}

static void storm_shared(storm_thread *t)
{
    const uint32_t at = (uint32_t)base_rng_below(&t->rng, SHARED), name[2] = { THREADS, at };
    const cellar_err err = cellar_increment(c, name, sizeof name, 1, FIRST, NULL, NULL);
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO || err == CELLAR_E_TIMEOUT);
    t->timeouts += err == CELLAR_E_TIMEOUT;
    if (err == CELLAR_E_IO) { atomic_store(&shared_unsure[at], true); }
    if (err == CELLAR_OK) { atomic_fetch_add(&shared_sum[at], 1); }
}

static void storm_delete_with(storm_thread *t, key_model *m, const uint32_t *name, uint32_t key)
{
    void *old = NULL;
    size_t len = 0;
    cellar_delete_opts o = { .struct_size = sizeof o, .old_value = &old, .old_value_len = &len };
    const cellar_err err = cellar_delete_with(c, name, sizeof *name * 2, &o);
    const bool right = err == CELLAR_OK ? value_number(old, len, key) == m->number
                                        : err == CELLAR_MISS && m->number == 0;
    storm_said(t, m, err, 0, right);
    cellar_free(old);
}

static void storm_step(storm_thread *t)
{
    const uint32_t key = (uint32_t)base_rng_below(&t->rng, EACH), name[2] = { t->id, key };
    key_model *m = &t->key[key];
    const size_t n = key_bytes(key);
    const bool there = m->number != 0;
    int64_t now = 0;
    cellar_err err;
    uint32_t what = m->unsure ? 9 : (uint32_t)base_rng_below(&t->rng, 12);
    switch (what) {
    case 0: case 1:
        if (n != sizeof now) { return; }
        err = cellar_increment(c, name, sizeof name, 1, FIRST, NULL, &now);
        storm_said(t, m, err, now, now == (there ? m->number : FIRST) + 1);
        return;
    case 2: storm_shared(t); return;
    case 3: storm_set(t, m, name, n, CELLAR_ONLY_IF_ABSENT, 0); return;
    case 4: storm_set(t, m, name, n, CELLAR_ONLY_IF_PRESENT, 0); return;
    case 5: {
        const uint64_t version = storm_get(m, name, key);
        if (version != 0) { storm_set(t, m, name, n, CELLAR_ONLY_IF_VERSION, version); }
        return;
    }
    case 6: {
        const key_model was = *m;
        t->now = m;
        err = cellar_update(c, name, sizeof name, NULL, storm_update, t);
        now = m->number;
        *m = was;
        storm_said(t, m, err, now, err == CELLAR_OK);
        return;
    }
    case 7: storm_delete_with(t, m, name, key); return;
    case 8:
        err = cellar_touch(c, name, sizeof name, 3600000);
        storm_said(t, m, err, m->number, err == CELLAR_OK ? there : err == CELLAR_MISS && !there);
        return;
    case 9: storm_set(t, m, name, n, 0, 0); return;
    case 10: storm_set(t, m, name, n, CELLAR_KEEP_TTL, 0); return;
    default: (void)storm_get(m, name, key); return;
    }
}

static void *storm_run(void *ctx)
{
    storm_thread *t = ctx;
    for (uint64_t i = 0; i < t->steps && !t_failed(); i++) {
        const uint64_t since_ns = base_now_ns(), timeouts = t->timeouts;
        storm_step(t);
        const uint64_t ns = base_now_ns() - since_ns;
        uint64_t *longest_ns = &t->longest_ns[t->timeouts == timeouts];
        *longest_ns = BASE_MAX(*longest_ns, ns);
        push(1);
    }
    return NULL;
}

/* Compare all keys with their models, when the disk answers. */
static void storm_look(const storm_thread *threads, uint32_t count)
{
    unsigned char value[LONG_BYTES];
    size_t len = 0;
    for (uint32_t t = 0; t < count; t++) {
        for (uint32_t k = 0; k < EACH; k++) {
            const uint32_t name[2] = { t, k };
            const key_model *m = &threads[t].key[k];
            if (m->unsure) { continue; }
            const cellar_err err = cellar_get(c, name, sizeof name, value, sizeof value, &len);
            T_EQ_I64(err == CELLAR_OK ? value_number(value, len, k) : 0, m->number);
        }
    }
    for (uint32_t k = 0; k < SHARED; k++) {
        const uint32_t name[2] = { THREADS, k };
        int64_t number = FIRST;
        (void)cellar_get(c, name, sizeof name, &number, sizeof number, &len);
        if (!atomic_load(&shared_unsure[k])) {
            T_EQ_I64(number, FIRST + atomic_load(&shared_sum[k]));
        }
    }
}

static void storm(uint32_t count, uint64_t steps)
{
    static storm_thread threads[THREADS];
    uint64_t done = 0, timeouts = 0, unsure = 0, longest_ns[2] = {0};
    memset(threads, 0, sizeof threads);
    for (uint32_t k = 0; k < SHARED; k++) {
        atomic_store(&shared_sum[k], 0);
        atomic_store(&shared_unsure[k], false);
    }
    begin();
    for (uint32_t i = 0; i < count; i++) {
        storm_thread *t = &threads[i];
        t->id = i;
        t->steps = steps / count;
        base_rng_seed(&t->rng, t_seed() + i + 100 * count);
        for (uint32_t k = 0; k < EACH; k++) {
            const uint32_t name[2] = { i, k };
            storm_set(t, &t->key[k], name, key_bytes(k), 0, 0);
        }
    }
    again();
    atomic_store(&slow_of, 12);
    for (uint32_t i = 0; i < count; i++) {
        storm_thread *t = &threads[i];
        T_REQUIRE(pthread_create(&t->thread, NULL, storm_run, t) == 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        T_REQUIRE(pthread_join(threads[i].thread, NULL) == 0);
        done += threads[i].done;
        timeouts += threads[i].timeouts;
        for (int k = 0; k < 2; k++) {
            longest_ns[k] = BASE_MAX(longest_ns[k], threads[i].longest_ns[k]);
        }
        for (uint32_t k = 0; k < EACH; k++) { unsure += threads[i].key[k].unsure; }
    }
    atomic_store(&slow_of, 0);
    AWAIT(!l2_standing(disk()));
    storm_look(threads, count);
    l2_stats st;
    l2_stats_get(disk(), &st);
    printf("# %u threads: %llu changes decided, %llu E_TIMEOUT, %llu keys unsure, the longest "
           "E_TIMEOUT %llu ms, other call %llu ms, %llu reads, %llu not made\n", count,
           (unsigned long long)done, (unsigned long long)timeouts, (unsigned long long)unsure,
           (unsigned long long)(longest_ns[0] / 1000000),
           (unsigned long long)(longest_ns[1] / 1000000), (unsigned long long)atomic_load(&reads),
           (unsigned long long)st.miss_read);
    T_CHECK(done > timeouts);
    /* 1 s and two reads; 20 times. */
    T_CHECK(BASE_MAX(longest_ns[0], longest_ns[1]) < UINT64_C(40000000000) * t_patience());
    end();
}

#define LIMITED 1000u /* keys of a limiter: a snapshot of several pieces */

typedef struct limits {
    cellar_limiter_snapshot *place;
    cellar_limiter *l;
    cellar *ns;
    cellar_snapshot_write_fn write;
    cellar_snapshot_read_fn read;
    void *ctx;
    unsigned pieces; /* of the save */
} limits;

/* Hand pieces on. The namespace is switched off before the second one: the save fails. */
static int write_one(const void *bytes, size_t len, bool last, void *ctx)
{
    limits *of = ctx;
    if (of->ns != NULL && ++of->pieces == 2) {
        T_EQ_I64(cellar_option_set(of->ns, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    }
    return of->write(bytes, len, last, of->ctx);
}
static int read_on(void *buf, size_t cap, size_t *len, void *ctx)
{
    const limits *of = ctx;
    return of->read(buf, cap, len, of->ctx);
}

static void limits_open(limits *of)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_DAY_NS, 10);
    cellar_limiter_config cfg = cellar_limiter_config_default();
    *of = (limits){ .l = NULL };
    T_REQUIRE(cellar_limiter_snapshot_open(c, "limits", &cfg, &of->place) == CELLAR_OK);
    of->write = cfg.snapshot_write;
    of->read = cfg.snapshot_read;
    of->ctx = cfg.snapshot_ctx;
    cfg.snapshot_write = write_one;
    cfg.snapshot_read = read_on;
    cfg.snapshot_ctx = of;
    T_REQUIRE(cellar_limiter_open(&cfg, &rule, 1, &of->l) == CELLAR_OK);
}
static void limits_close(const limits *of) /* saves */
{
    cellar_limiter_close(of->l);
    cellar_limiter_snapshot_close(of->place);
}

/* The head of a snapshot says which pieces a save must not touch. */
T_CASE(save_beside_an_unread_head_leaves_the_snapshot_before_it)
{
    limits of;
    size_t len;
    begin();
    limits_open(&of);
    for (uint32_t k = 0; k < LIMITED; k++) {
        T_EQ_I64(cellar_limiter_check(of.l, &k, sizeof k, 3, NULL), CELLAR_OK);
    }
    limits_close(&of);
    again();
    limits_open(&of);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAX_ENTRIES, 1), CELLAR_OK); /* evicts the head */
    push(PADS); /* it leaves the stage, too */
    T_REQUIRE(cellar_namespace_open(c, "limits", NULL, &of.ns) == CELLAR_OK);
    stall_begin();
    T_EQ_I64(cellar_get(of.ns, "head", 4, NULL, 0, &len), CELLAR_MISS);
    limits_close(&of);
    stall_end();
    T_EQ_I64(cellar_option_set(of.ns, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(of.ns), CELLAR_OK);
    limits_open(&of);
    cellar_limiter_stats s = cellar_limiter_stats_default();
    T_EQ_I64(cellar_limiter_stats_get(of.l, &s), CELLAR_OK);
    T_EQ_U64(s.snapshots_refused, 0);
    T_EQ_I64(cellar_limiter_check(of.l, &(uint32_t){ 7 }, 4, 8, NULL), CELLAR_LIMITED);
    limits_close(&of);
    end();
}

#define BOTH 40u /* entries in memory and on disk */

static bool count_visit(const cellar_scan_entry *e, void *ctx)
{
    uint32_t name[3];
    T_REQUIRE(e->key_len == sizeof name);
    memcpy(name, e->key, sizeof name);
    if (name[1] == BOTH) { ((uint32_t *)ctx)[name[0]]++; }
    return true;
}

/* The walk of the disk passes over what it cannot read; memory has it. */
T_CASE(scan_beside_a_tier_that_is_off_visits_what_memory_has)
{
    uint32_t seen[BOTH] = { 0 }, missed = 0;
    uint64_t cursor = 0, place = 0;
    const cellar_scan_opts o = { .struct_size = sizeof o, .flags = CELLAR_SCAN_DISK,
                                 .bucket_count = 1, .place = &place };
    char buf[8];
    size_t len;
    begin();
    for (uint32_t i = 0; i < BOTH; i++) {
        const uint32_t name[3] = { i, BOTH, 0 };
        T_EQ_I64(cellar_set(c, name, sizeof name, "v", 1, NULL), CELLAR_OK);
    }
    again();
    for (uint32_t i = 0; i < BOTH; i++) {
        const uint32_t name[3] = { i, BOTH, 0 };
        T_EQ_I64(cellar_get(c, name, sizeof name, buf, sizeof buf, &len), CELLAR_OK);
    }
    l2 *d = disk();
    sync_take(L2_DEV, &d->health.lock);
    l2_off_now(d, base_now_ms(d->cfg.clock), 3600000);
    sync_drop(L2_DEV, &d->health.lock);
    do {
        T_EQ_I64(cellar_scan(c, &cursor, &o, count_visit, seen), CELLAR_OK);
    } while (cursor >> 62 == 1); /* the first walk of the disk */
    base_store_rel(&d->disk, (uint32_t)L2_DISK_OK);
    while (cursor != 0) { T_EQ_I64(cellar_scan(c, &cursor, &o, count_visit, seen), CELLAR_OK); }
    for (uint32_t i = 0; i < BOTH; i++) { missed += seen[i] == 0; }
    T_EQ_U64(missed, 0);
    end();
}

T_CASE(storm_beside_slow_reads_loses_no_acknowledged_value)
{
    const uint64_t steps = t_env_u64("UNREAD", t_share(800) / T_COST + 50);
    for (uint32_t count = 1; count <= THREADS && !t_failed(); count++) { storm(count, steps); }
}

T_MAIN("cache_unread")
