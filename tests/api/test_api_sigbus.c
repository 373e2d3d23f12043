/* SPDX-License-Identifier: MIT
 *
 * Aim:    Another program truncates a stage while the store is open: with l2_sigbus_handler set,
 *         the process continues. The tier goes off once and logs it; the next open starts with an
 *         empty stage, whatever the length of the file by then. Until then each read is right or a
 *         miss. SIGBUS about anything else reaches the previous handler. Without the option the
 *         store installs no handler.
 * Method: Real files below TMPDIR, truncated by truncate(2). A process that must die is a child. */
#include "tests/support/disk_store.h"
#include "tests/support/figures.h"
#include "tests/support/said.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cellar.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

#define KEYS 200u

static char stage[T_FOLDER_MAX + 40];
static cellar_namespace_config each_set;

static void begin(void)
{
    store_begin();
    snprintf(stage, sizeof stage, "%s/stage.buf", store);
    said[0] = '\0';
}

static settings config(void)
{
    each_set = cellar_namespace_config_default();
    each_set.l2_write = CELLAR_L2_WRITE_ON_SET;
    settings cfg = { SETTINGS_SIZES, .config.root = &each_set, .config.memory_bytes = 8u << 20,
                     .config.l2_path = store, .config.l2_bytes = CELLAR_L2_BYTES_MIN,
                     .l2.sigbus_handler = 1, .host.clock = read_clock, .host.log = listen_to,
                     .host.no_threads = 1 };
    return cfg;
}

static cellar *open_with(const settings *cfg)
{
    cellar *c = NULL;
    T_REQUIRE(settings_open(cfg, &c) == CELLAR_OK);
    while (cfg->host.no_threads != 0 && cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    return c;
}

static void shut(cellar *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static size_t value_of(char *buf, size_t cap, uint32_t key, uint32_t version)
{
    const size_t n = 300 + key % 700;
    memset(buf, (int)('a' + (key + version) % 26), n);
    (void)snprintf(buf, cap, "%u-%u", key, version);
    return n;
}

static cellar_err put(cellar *c, uint32_t key, uint32_t version)
{
    char buf[1024];
    return cellar_set(c, &key, sizeof key, buf, value_of(buf, sizeof buf, key, version), NULL);
}

/* MISS, OK, or CONFLICT for another version. */
static cellar_err look(cellar *c, uint32_t key, uint32_t version)
{
    char buf[1024], want[1024];
    size_t len = 0;
    const cellar_err err = cellar_get(c, &key, sizeof key, buf, sizeof buf, &len);
    if (err != CELLAR_OK) { return err; }
    const size_t n = value_of(want, sizeof want, key, version);
    return len == n && memcmp(buf, want, n) == 0 ? CELLAR_OK : CELLAR_CONFLICT;
}

static int64_t cut_stage(void)
{
    struct stat st;
    T_REQUIRE(stat(stage, &st) == 0);
    T_REQUIRE(truncate(stage, 0) == 0);
    return st.st_size;
}

static void meet_it(cellar *c, int how)
{
    const uint32_t some = 5;
    switch (how) {
    case 0: T_EQ_I64(put(c, 1000, 1), CELLAR_OK); break;
    case 1: T_CHECK(cellar_delete(c, &some, sizeof some) >= CELLAR_OK); break;
    case 2: /* no longer in memory */
        for (uint32_t i = 0; i < KEYS; i++) {
            const cellar_err err = look(c, i, 1);
            T_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        }
        break;
    case 3: T_EQ_I64(cellar_clear(c), CELLAR_OK); break;
    default: /* no call: the worker notices the short file */
        now_ms += 2000;
        (void)cellar_tick(c, 100000, NULL);
        break;
    }
}

T_CASE(truncated_stage_misses_until_next_open)
{
    for (int how = 0; how < 10; how++) {
        begin();
        settings cfg = config();
        cfg.config.max_entries = 64;
        cellar *c = open_with(&cfg);
        const uint32_t gone = 3;
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_I64(put(c, i, 1), CELLAR_OK); }
        shut(c);
        c = open_with(&cfg); /* all of it is in data.seg; later records are in the stage */
        for (uint32_t i = 100; i < KEYS; i++) { T_EQ_I64(put(c, i, 1), CELLAR_OK); }
        T_CHECK(cellar_delete(c, &gone, sizeof gone) >= CELLAR_OK); /* it is no longer in memory */
        const int64_t size = cut_stage();
        meet_it(c, how / 2);
        for (uint32_t i = 0; i < KEYS; i++) {
            const cellar_err err = look(c, i, 1);
            T_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
            T_CHECK(i != gone || err == CELLAR_MISS);
        }
        T_EQ_I64(put(c, 2000, 9), CELLAR_OK); /* memory continues */
        T_EQ_I64(look(c, 2000, 9), CELLAR_OK);
        now_ms += 2000;
        while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
        T_EQ_U64(figure(c, "cellar_l2_off"), 2);
        T_EQ_U64(figure(c, "cellar_l2_cuts_total"), 1);
        T_EQ_I64(lines_with("until the next open"), 1);
        shut(c);
        /* Once with the short file, once with the old length and no content. */
        if (how % 2 != 0) { T_REQUIRE(truncate(stage, size) == 0); }
        c = open_with(&cfg);
        T_EQ_U64(figure(c, "cellar_l2_off"), 0);
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_I64(look(c, i, 1), CELLAR_MISS); }
        for (uint32_t i = 0; i < KEYS; i++) { T_EQ_I64(put(c, i, 2), CELLAR_OK); }
        shut(c);
        c = open_with(&cfg);
        uint32_t hits = 0;
        for (uint32_t i = 0; i < KEYS; i++) { hits += look(c, i, 2) == CELLAR_OK; }
        T_EQ_U64(hits, KEYS);
        shut(c);
        store_end();
        if (t_failed()) { break; }
    }
}

/* Between the signal and the next look of the worker only the doorbell tells. */
T_CASE(kill_after_truncation_restores_no_dead_entry)
{
    begin();
    const settings cfg = config();
    cellar *c = open_with(&cfg);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_I64(put(c, i, 1), CELLAR_OK); }
    shut(c);
    struct stat st;
    T_REQUIRE(stat(stage, &st) == 0);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        c = open_with(&cfg);
        const uint32_t before = 7, after = 8;
        (void)cellar_delete(c, &before, sizeof before);
        (void)cut_stage();
        (void)cellar_delete(c, &after, sizeof after);
        _exit(0); /* no thread has looked since */
    }
    int status = 1;
    T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    T_REQUIRE(truncate(stage, st.st_size) == 0);
    c = open_with(&cfg);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_I64(look(c, i, 1), CELLAR_MISS); }
    shut(c);
    store_end();
}

/* ---- threads ---- */

#if T_TSAN
/* TSan counts the zeros that are mapped over a lost page as a write, which races with readers and
 * writers of the page. Their work is lost, and the tier knows this (base/sigbus.c). */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) { return "race:base_sigbus_handler\n"; }
#endif

static cellar *shared;
static _Atomic bool over;
static _Atomic uint32_t wrong, hits_seen;

static void *reads(void *arg)
{
    const uint32_t first = *(const uint32_t *)arg;
    for (uint32_t i = first; !atomic_load(&over); i = (i + 7) % 2000) {
        const cellar_err err = look(shared, i, 1);
        if (err == CELLAR_OK) { atomic_fetch_add(&hits_seen, 1u); }
        if (err != CELLAR_OK && err != CELLAR_MISS) { atomic_fetch_add(&wrong, 1u); }
        if (i % 5 == 0) { (void)put(shared, i, 1); }
    }
    return NULL;
}

T_CASE(concurrent_reads_of_truncated_stage_see_no_wrong_value)
{
    for (int round = 0; round < 5; round++) {
        begin();
        settings cfg = config();
        cfg.config.max_entries = 64;
        cfg.host.no_threads = 0;
        cfg.host.clock = NULL;
        shared = open_with(&cfg);
        for (uint32_t i = 0; i < 2000; i++) { (void)put(shared, i, 1); }
        atomic_store(&over, false);
        atomic_store(&hits_seen, 0u);
        pthread_t t[2];
        static const uint32_t from[2] = { 0, 1000 };
        for (int i = 0; i < 2; i++) {
            T_REQUIRE(pthread_create(&t[i], NULL, reads, (void *)(uintptr_t)&from[i]) == 0);
        }
        while (atomic_load(&hits_seen) < 300) { usleep(100); }
        (void)cut_stage();
        while (figure(shared, "cellar_l2_off") != 2) { usleep(1000); }
        atomic_store(&over, true);
        for (int i = 0; i < 2; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
        T_EQ_U64(atomic_load(&wrong), 0);
        shut(shared);
        cfg.host.no_threads = 1;
        shared = open_with(&cfg); /* truncated data does not return */
        for (uint32_t i = 0; i < 2000; i++) { T_EQ_I64(look(shared, i, 1), CELLAR_MISS); }
        shut(shared);
        store_end();
    }
}

/* The same for the data file: its repeated reads use a mapping. */
T_CASE(truncated_mapped_file_misses)
{
    const uint32_t count = 10 * KEYS; /* several segments: the last one stays in the stage */
    begin();
    settings cfg = config();
    cfg.l2.mmap_read = 1;
    cfg.config.max_entries = 64;
    cellar *c = open_with(&cfg);
    for (uint32_t i = 0; i < count; i++) {
        T_EQ_I64(put(c, i, 1), CELLAR_OK);
        while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {} /* room for the next one */
    }
    shut(c);
    cfg.l2.close_ms = 1;
    c = open_with(&cfg);
    T_CHECK(figure(c, "cellar_l2_mapped_bytes") >= CELLAR_L2_BYTES_MIN / 2);
    for (uint32_t n = 0; n < 3 * count; n++) { T_EQ_I64(look(c, n % count, 1), CELLAR_OK); }
    T_CHECK(figure(c, "cellar_l2_mapped_reads_total") > count);
    char data[T_FOLDER_MAX + 40];
    snprintf(data, sizeof data, "%s/data.seg", store);
    T_REQUIRE(truncate(data, 0) == 0);
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++) {
        const cellar_err err = look(c, i, 1);
        T_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        left += err == CELLAR_OK;
    }
    T_CHECK(left < count); /* those in memory and in the stage */
    T_EQ_U64(figure(c, "cellar_l2_mapped_bytes"), 0);
    T_EQ_I64(put(c, count, 9), CELLAR_OK);
    T_EQ_I64(look(c, count, 9), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_DROPPED); /* the disk is off for longer than l2.close_ms */
    store_end();
}

/* ---- signals of other code ---- */

static sigjmp_buf out_of_it;
static volatile sig_atomic_t heard, jumps;

static void hear(int sig, siginfo_t *info, void *context)
{
    (void)sig, (void)info, (void)context;
    heard = heard + 1;
    if (jumps != 0) { siglongjmp(out_of_it, 1); }
}

static void hear_plainly(int sig)
{
    (void)sig;
    heard = heard + 1;
    if (jumps != 0) { siglongjmp(out_of_it, 1); }
}

/* A page of a file of the host, truncated. */
static volatile char *lost_page(void)
{
    char path[T_FOLDER_MAX + 20];
    snprintf(path, sizeof path, "%s/mine", folder);
    FILE *f = fopen(path, "w+");
    T_REQUIRE(f != NULL && ftruncate(fileno(f), 4096) == 0);
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
    T_REQUIRE(p != MAP_FAILED && ftruncate(fileno(f), 0) == 0);
    fclose(f);
    T_EQ_I64(unlink(path), 0);
    return p;
}

static void touch_and_be_heard(volatile char *page, int times)
{
    heard = 0;
    jumps = 1;
    for (volatile int i = 0; i < times; i++) {
        if (sigsetjmp(out_of_it, 1) == 0) { page[5] = 1; }
    }
    jumps = 0;
    T_EQ_I64(heard, times);
    T_EQ_I64(raise(SIGBUS), 0); /* sent by raise, no fault */
    T_EQ_I64(heard, times + 1);
}

T_CASE(foreign_sigbus_reaches_previous_handler)
{
    begin();
    struct sigaction was, ours, now;
    memset(&ours, 0, sizeof ours);
    volatile char *page = lost_page();
    for (int plain = 0; plain < 2; plain++) {
        ours.sa_flags = plain != 0 ? 0 : SA_SIGINFO;
        if (plain != 0) { ours.sa_handler = hear_plainly; } else { ours.sa_sigaction = hear; }
        T_REQUIRE(sigaction(SIGBUS, &ours, &was) == 0);
        settings cfg = config();
        cellar *c = open_with(&cfg);
        touch_and_be_heard(page, 3);
        T_EQ_U64(figure(c, "cellar_l2_cuts_total"), 0);
        /* The host's handler is not called for pages of the store. */
        (void)cut_stage();
        T_EQ_I64(put(c, 1, 1), CELLAR_OK);
        T_EQ_U64(figure(c, "cellar_l2_cuts_total"), 1);
        touch_and_be_heard(page, 2);
        shut(c);
        T_REQUIRE(sigaction(SIGBUS, NULL, &now) == 0);
        T_CHECK(plain != 0 ? now.sa_handler == hear_plainly : now.sa_sigaction == hear);
        touch_and_be_heard(page, 1);
        T_REQUIRE(sigaction(SIGBUS, &was, NULL) == 0);
    }
    T_EQ_I64(munmap((void *)(uintptr_t)page, 4096), 0);
    store_end();
}

/* Two stores share one handler; the last close removes it. */
T_CASE(sigbus_handler_outlives_stores_closed_in_any_order)
{
    begin();
    struct sigaction was, now;
    T_REQUIRE(sigaction(SIGBUS, NULL, &was) == 0);
    settings cfg = config(), other = config();
    char second[T_FOLDER_MAX + 20];
    snprintf(second, sizeof second, "%s/second", folder);
    other.config.l2_path = second;
    cellar *a = open_with(&cfg), *b = open_with(&other);
    shut(a);
    snprintf(stage, sizeof stage, "%s/stage.buf", second);
    (void)cut_stage();
    T_EQ_I64(put(b, 1, 1), CELLAR_OK);
    T_EQ_U64(figure(b, "cellar_l2_cuts_total"), 1);
    a = open_with(&cfg); /* a store without the option */
    T_EQ_U64(figure(a, "cellar_l2_cuts_total"), 0);
    shut(b);
    shut(a);
    T_REQUIRE(sigaction(SIGBUS, NULL, &now) == 0);
    T_CHECK(now.sa_handler == was.sa_handler);
    t_wipe(second);
    store_end();
}

T_CASE(store_without_option_installs_no_sigbus_handler)
{
    begin();
    struct sigaction was, now;
    T_REQUIRE(sigaction(SIGBUS, NULL, &was) == 0);
    settings cfg = config();
    cfg.l2.sigbus_handler = 0;
    cellar *c = open_with(&cfg);
    T_REQUIRE(sigaction(SIGBUS, NULL, &now) == 0);
    T_CHECK(now.sa_handler == was.sa_handler && now.sa_flags == was.sa_flags);
    shut(c);
    store_end();
}

/* Without a handler of the host the process ends as without the library; so does a forked child of
 * a store. */
T_CASE(foreign_sigbus_without_handler_ends_process)
{
    begin();
    volatile char *page = lost_page();
    settings cfg = config();
    for (int how = 0; how < 4; how++) {
        fflush(NULL);
        cellar *c = how == 3 ? open_with(&cfg) : NULL;
        const pid_t pid = fork();
        if (pid == 0) {
            if (how == 2) { cfg.l2.sigbus_handler = 0; }
            if (how < 3) { c = open_with(&cfg); }
            if (how == 1) { raise(SIGBUS); }
            page[7] = 1;
            _exit(0);
        }
        int status = 0;
        T_REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
        /* A sanitizer's handler prints the cause and then ends the process in its own way. */
        T_CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) ||
                (WIFEXITED(status) && WEXITSTATUS(status) != 0));
        if (how == 3) { shut(c); }
    }
    T_EQ_I64(munmap((void *)(uintptr_t)page, 4096), 0);
    store_end();
}

T_MAIN("api_sigbus")
