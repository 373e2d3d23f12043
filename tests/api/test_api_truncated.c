/* SPDX-License-Identifier: MIT
 *
 * Aim:    Another program truncates or overwrites data.seg of an open store, or removes LOCK. No
 *         signal ends the process: entries are misses or have their values, and no older value
 *         comes back, after a kill neither. A second open is refused.
 * Method: Real files below TMPDIR. Values are much larger than memory, so gets read the file. A
 *         thread reads while the file changes. SCRIBBLES=n: pages that are overwritten. */
#include "tests/support/disk_store.h"
#include "tests/support/draw.h"
#include "tests/support/figures.h"
#include "tests/support/spaces.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cellar_l2.h"
#include "tests/support/settings.h"

#define KEYS 400u
#define BYTES 4000u
#define PAGE 4096u

static uint32_t now[KEYS]; /* versions; 0: deleted */

static cellar *open_it(void)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.max_entries = 32,
                     .config.l2_path = store, .config.l2_bytes = CELLAR_L2_BYTES_MIN,
                     .l2.write = CELLAR_L2_WRITE_THROUGH, .l2.fail_damaged_pct = 100,
                     .l2.close_ms = CELLAR_TTL_NONE, .host.clock = read_clock, .host.no_threads = 1,
                     .host.log_level = CELLAR_LOG_OFF };
    cellar *c = NULL;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static cellar_err put(cellar *c, uint32_t key, uint32_t version)
{
    char buf[BYTES];
    memset(buf, (int)('a' + (key + version) % 26), sizeof buf);
    memcpy(buf, &version, sizeof version);
    now[key] = version;
    return cellar_set(c, &key, sizeof key, buf, sizeof buf, NULL);
}

static void put_all(cellar *c)
{
    for (uint32_t k = 0; k < KEYS; k++) { T_EQ_I64(put(c, k, 1), CELLAR_OK); }
}

/* Check that a get misses or returns the present value. Return true for a value. */
static bool look(cellar *c, uint32_t key)
{
    char buf[BYTES];
    size_t len = 0;
    uint32_t version = 0;
    if (cellar_get(c, &key, sizeof key, buf, sizeof buf, &len) != CELLAR_OK) { return false; }
    memcpy(&version, buf, sizeof version);
    T_EQ_U64(version, now[key]);
    T_EQ_U64(len, sizeof buf);
    T_EQ_I64(buf[BYTES - 1], 'a' + (key + version) % 26);
    return true;
}

static uint32_t look_at_all(cellar *c)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < KEYS; k++) { n += look(c, k); }
    return n;
}

static const char *data_file(void)
{
    static char path[T_FOLDER_MAX + 24];
    (void)snprintf(path, sizeof path, "%s/data.seg", store);
    return path;
}

static void change_some(cellar *c)
{
    for (uint32_t k = 0; k < KEYS; k += 3) {
        (void)put(c, k, 2);
        const uint32_t gone = k + 1;
        if (gone >= KEYS) { break; }
        T_CHECK(cellar_delete(c, &gone, sizeof gone) >= CELLAR_OK);
        now[gone] = 0;
    }
}

T_CASE(truncated_data_file_misses_until_next_open)
{
    for (uint64_t part = 0; part < 2; part++) {
        store_begin();
        cellar *c = open_it();
        put_all(c);
        T_REQUIRE(truncate(data_file(), (off_t)(part * (1u << 20))) == 0);
        T_CHECK(look_at_all(c) < KEYS);
        now_ms += 2000;
        while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
        T_EQ_U64(figure(c, "cellar_l2_off"), 2);
        change_some(c);
        (void)look_at_all(c);
        T_CHECK(cellar_sync(c) != CELLAR_OK);
        (void)cellar_close(c);
        c = open_it();
        (void)look_at_all(c);
        T_EQ_I64(put(c, 5, 9), CELLAR_OK);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        c = open_it();
        T_CHECK(look(c, 5));
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        store_end();
    }
}

T_CASE(kill_after_truncation_restores_no_dead_entry)
{
    store_begin();
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) {
        cellar *c = open_it();
        put_all(c);
        if (truncate(data_file(), 1 << 20) != 0) { _exit(1); }
        now_ms += 2000;
        while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
        change_some(c);
        (void)raise(SIGKILL);
    }
    int status = 0;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    for (uint32_t k = 0; k < KEYS; k++) { now[k] = k % 3 == 0 ? 2 : k % 3 == 1 ? 0 : 1; }
    cellar *c = open_it();
    (void)look_at_all(c);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

static _Atomic bool ends;

static void *reads(void *arg)
{
    cellar *c = arg;
    while (!atomic_load(&ends)) { (void)look_at_all(c); }
    return NULL;
}

/* Overwrite a page with zeros, ones, noise, or another page. */
static void scribble(int fd, uint64_t pages)
{
    unsigned char page[PAGE];
    const uint64_t how = draw(4);
    memset(page, how == 0 ? 0 : 0xff, sizeof page);
    for (size_t i = 0; how == 2 && i < sizeof page; i++) { page[i] = (unsigned char)draw(256); }
    if (how == 3) { T_CHECK(pread(fd, page, PAGE, (off_t)(draw(pages) * PAGE)) == (ssize_t)PAGE); }
    T_CHECK(pwrite(fd, page, PAGE, (off_t)(draw(pages) * PAGE)) == (ssize_t)PAGE);
}

T_CASE(overwritten_data_file_serves_no_wrong_value)
{
    pthread_t t;
    struct stat st;
    const uint64_t count = t_env_u64("SCRIBBLES", t_share(2000));
    draw_state = t_seed();
    store_begin();
    cellar *c = open_it();
    put_all(c);
    const int fd = open(data_file(), O_RDWR | O_CLOEXEC);
    T_REQUIRE(fd >= 0 && fstat(fd, &st) == 0);
    atomic_store(&ends, false);
    T_REQUIRE(pthread_create(&t, NULL, reads, c) == 0);
    for (uint64_t n = 0; n < count; n++) { scribble(fd, (uint64_t)st.st_size / PAGE); }
    T_CHECK(truncate(data_file(), 1 << 20) == 0);
    atomic_store(&ends, true);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    (void)close(fd);
    (void)cellar_close(c);
    c = open_it();
    (void)look_at_all(c);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_CASE(open_without_the_lock_file_is_refused_while_the_store_runs)
{
    char path[T_FOLDER_MAX + 24];
    store_begin();
    cellar *c = open_it();
    put_all(c);
    (void)snprintf(path, sizeof path, "%s/LOCK", store);
    T_REQUIRE(unlink(path) == 0);
    cellar *second = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.log_level = CELLAR_LOG_OFF };
    T_EQ_I64(settings_open(&cfg, &second), CELLAR_E_BUSY);
    T_EQ_U64(look_at_all(c), KEYS);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    c = open_it();
    T_EQ_U64(look_at_all(c), KEYS);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_MAIN("api_truncated")
