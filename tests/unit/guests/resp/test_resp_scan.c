/* SPDX-License-Identifier: MIT
 *
 * Aim:    KEYS, DBSIZE and RANDOMKEY run in slices: other clients are served between two slices, the
 *         replies of the client keep their order, and a scan survives all that happens meanwhile.
 * Method: a port without threads over 5,000 entries, in memory or on disk; a slice reads 1,024 of
 *         them at most. The test counts rounds. */
#include "tests/support/port_kit.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/random.h"
#include "cellar_admin.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cache/types.h"
#include "l2/record.h"

#define KEYS 5000
#define SLICES (KEYS / 1024) /* at least */

static char disk[T_FOLDER_MAX];

static void store_keys(cellar *ns, int from, int to)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = CELLAR_TTL_NONE };
    for (int i = from; i < to; i++) {
        char key[16];
        const size_t len = (size_t)snprintf(key, sizeof key, "key:%04d", i);
        T_REQUIRE(cellar_set(ns, key, len, "v", 1, &o) == CELLAR_OK);
    }
}

static void slow(cellar_resp_config *o) { o->slow_us = 1; }

static void (*options)(cellar_resp_config *o) = slow;

/* Open a store, with a disk tier if `disk` names a folder, and a port. */
static void begin(void)
{
    cellar_namespace_config ns = cellar_namespace_config_default();
    settings cfg = api_config(16 << 20);
    if (disk[0] != '\0') {
        cfg.config.l2_path = disk;
        cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
        cfg.l2.close_ms = CELLAR_TTL_NONE; /* a close on a slow machine takes long */
        ns.l2_write = CELLAR_L2_WRITE_ON_SET;
    }
    port_begin_on(api_open_with(&cfg), options);
    T_REQUIRE(cellar_namespace_open(port_store, "db0", &ns, &port_db) == CELLAR_OK);
}

static void begin_full(void)
{
    begin();
    store_keys(port_db, 0, KEYS);
}

static void disk_left(void)
{
    options = slow;
    if (disk[0] != '\0') { t_wipe(disk); }
    disk[0] = '\0';
}
T_AFTER_EACH(disk_left);

/* Return the replies that have come, without a step. */
static const char *heard(int fd)
{
    const ssize_t got = recv(fd, port_heard, sizeof port_heard - 1, 0);
    port_heard[got > 0 ? got : 0] = '\0';
    return port_heard;
}

/* Return how often a text contains another one. */
static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++) { n++; }
    return n;
}

T_CASE(others_are_served_between_two_slices)
{
    static const char *const scans[] = { "KEYS *\r\n", "KEYS nothing\r\n", "DBSIZE\r\n" };
    begin_full();
    const int fd = peer(), other = peer();
    for (size_t i = 0; i < sizeof scans / sizeof *scans; i++) {
        int rounds = 0;
        T_CHECK(tell_text(fd, scans[i]) && tell_text(fd, "ECHO end\r\n"));
        while (*heard(fd) == '\0') {
            T_CHECK(tell_text(other, "PING\r\n"));
            (void)cellar_resp_step(port, 0);
            T_EQ_STR(heard(other), "+PONG\r\n");
            rounds++;
        }
        T_CHECK(rounds >= SLICES);
    }
    T_EQ_STR(ask(fd, "DBSIZE\r\nECHO end\r\n") + 5, "\r\n$3\r\nend\r\n");
    const char *keys = ask(fd, "ECHO begin\r\nKEYS *\r\nECHO end\r\n");
    T_CHECK(strncmp(keys, "$5\r\nbegin\r\n*5000\r\n$8\r\nkey:", 25) == 0);
    T_EQ_I64(count_of(keys, "$8\r\nkey:"), KEYS);
    T_EQ_STR(keys + strlen(keys) - 9, "$3\r\nend\r\n");
}

static void small_buffers(cellar_resp_config *o) { o->resp_buffer_bytes = 1u << 20; }

/* A table of 25,000 keys beside the reply would need over 1 MiB. */
T_CASE(keys_of_the_smallest_store_are_listed)
{
    port_begin_on(api_open(1 << 20), options);
    T_REQUIRE(cellar_namespace_open(port_store, "db0", NULL, &port_db) == CELLAR_OK);
    store_keys(port_db, 0, 2000);
    T_EQ_MEM(ask(peer(), "KEYS *\r\n"), "*2000\r\n", 7);
}

T_CASE(scan_of_a_disk_needs_memory_for_its_reply_alone)
{
    t_folder(disk);
    options = small_buffers;
    begin();
    store_keys(port_db, 0, 5 * KEYS);
    const int fd = peer();
    T_EQ_STR(ask(fd, "DBSIZE\r\n"), ":25000\r\n");
    T_EQ_I64(count_of(ask(fd, "KEYS *\r\n"), "\r\nkey:"), 5 * KEYS);
}

/* A disk with a write that began two seconds ago does not answer. A scan goes on when it does; a
 * transaction does not wait. */
T_CASE(scan_waits_for_a_disk_that_does_not_answer)
{
    t_folder(disk);
    begin_full();
    const int fd = peer();
    l2 *d = cache_disk(port_store->store);
    base_store_rlx(&d->write_ns, base_now_ns() - UINT64_C(2000000000));
    T_EQ_STR(ask(fd, "MULTI\r\nDBSIZE\r\nEXEC\r\n"),
             "+OK\r\n+QUEUED\r\n*1\r\n-ERR the disk does not answer\r\n");
    T_CHECK(tell_text(fd, "DBSIZE\r\n"));
    (void)cellar_resp_step(port, 0);
    T_EQ_STR(heard(fd), "");
    base_store_rlx(&d->write_ns, UINT64_C(0));
    T_EQ_STR(ask(fd, ""), ":5000\r\n");
}

/* Each entry is read to a block of its own. */
T_CASE(count_of_a_disk_without_memory_is_an_error)
{
    static unsigned char value[8000];
    t_folder(disk);
    begin();
    for (int i = 0; i < 4; i++) {
        (void)base_random_bytes(value, sizeof value);
        T_REQUIRE(cellar_set(port_db, &i, sizeof i, value, sizeof value, NULL) == CELLAR_OK);
    }
    port_end();
    begin(); /* memory has none */
    bool more = true;
    for (uint64_t nth = 1; more; nth++) {
        const int fd = peer();
        T_CHECK(tell_text(fd, "DBSIZE\r\n"));
        (void)base_fault_alloc_arm(nth, false);
        port_run();
        more = base_fault_alloc_arm(0, false) >= nth;
        const char *reply = heard(fd);
        if (reply[0] != '-') { T_EQ_STR(reply, ":4\r\n"); }
        close(fd);
    }
}

T_CASE(key_that_is_written_during_a_scan_is_listed_once)
{
    t_folder(disk);
    begin_full();
    const int fd = peer();
    T_CHECK(tell_text(fd, "KEYS *\r\n"));
    for (int i = 0; cellar_resp_step(port, 0) == CELLAR_PENDING; i++) {
        if (i == SLICES / 2) { store_keys(port_db, 0, KEYS); }
    }
    bool closed;
    T_EQ_I64(count_of(hear(fd, &closed), "\r\nkey:"), KEYS);
}

T_CASE(client_that_leaves_ends_its_scan)
{
    begin_full();
    const int other = peer();
    const uint64_t before = port_stats().bytes;
    const int fd = peer();
    T_CHECK(tell_text(fd, "KEYS *\r\n"));
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_PENDING);
    T_CHECK(port_stats().bytes > before);
    close(fd);
    (void)cellar_resp_step(port, 0);
    T_EQ_U64(port_stats().clients, 1);
    T_EQ_STR(ask(other, "PING\r\n"), "+PONG\r\n");
}

/* Two scans: one is in its second slice, the other one in its first. */
T_CASE(port_is_closed_during_scans)
{
    begin_full();
    const int fd = peer(), other = peer();
    T_CHECK(tell_text(fd, "KEYS *\r\n"));
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_PENDING);
    T_CHECK(tell_text(other, "DBSIZE\r\n"));
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_PENDING);
    port_end(); /* asserts that all memory is free */
    T_EQ_STR(heard(fd), "");
    T_EQ_STR(heard(other), "");
}

T_CASE(flush_by_another_client_ends_the_list)
{
    begin_full();
    const int fd = peer(), other = peer();
    T_CHECK(tell_text(fd, "KEYS *\r\nDBSIZE\r\n"));
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_PENDING);
    T_CHECK(tell_text(other, "FLUSHDB\r\n"));
    (void)cellar_resp_step(port, 0);
    T_EQ_STR(heard(other), "+OK\r\n");
    bool closed;
    port_run();
    const int listed = count_of(hear(fd, &closed), "$8\r\nkey:"); /* those of the slices before */
    T_CHECK(listed > 0 && listed < KEYS);
    T_EQ_I64(strtoll(port_heard + 1, NULL, 10), listed);
    T_EQ_STR(port_heard + strlen(port_heard) - 4, ":0\r\n");
}

T_CASE(keys_present_throughout_are_listed_while_others_change)
{
    begin_full();
    const int fd = peer();
    T_CHECK(tell_text(fd, "KEYS key:0*\r\n"));
    for (int i = 0; cellar_resp_step(port, 0) == CELLAR_PENDING; i++) {
        const int at = 1000 + i * 100 % 3000; /* others come and go */
        char key[16];
        (void)snprintf(key, sizeof key, "key:%04d", at);
        T_CHECK(cellar_delete(port_db, key, 8) >= 0); /* a slow machine has more slices than keys */
        if (i < 8) { store_keys(port_db, KEYS + i * 500, KEYS + (i + 1) * 500); }
    }
    T_EQ_I64(count_of(heard(fd), "$8\r\nkey:0"), 1000);
}

T_CASE(dropped_namespace_ends_a_scan_with_an_error)
{
    begin_full();
    const int fd = peer();
    T_CHECK(tell_text(fd, "KEYS *\r\n"));
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_PENDING);
    T_EQ_I64(cellar_namespace_drop(port_store, "db0"), CELLAR_OK);
    port_run();
    T_CHECK(strncmp(heard(fd), "-ERR the namespace was dropped", 30) == 0);
    T_EQ_STR(ask(fd, "DBSIZE\r\n"), ":0\r\n");
}

T_CASE(transaction_with_a_scan_runs_in_one_round)
{
    begin_full();
    const int fd = peer(), other = peer();
    T_EQ_STR(ask(fd, "MULTI\r\nSET key:x 1\r\nDBSIZE\r\nKEYS key:x\r\nDEL key:x\r\n"),
             "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    T_CHECK(tell_text(fd, "EXEC\r\n") && tell_text(other, "EXISTS key:x\r\n"));
    (void)cellar_resp_step(port, 0);
    T_EQ_STR(heard(fd), "*4\r\n+OK\r\n:5001\r\n*1\r\n$5\r\nkey:x\r\n:1\r\n");
    T_EQ_STR(heard(other), ":0\r\n");
}

T_CASE(scan_without_replies_sends_nothing)
{
    begin_full();
    const int fd = peer();
    T_EQ_STR(ask(fd, "CLIENT REPLY SKIP\r\nKEYS *\r\nPING\r\n"), "+PONG\r\n");
    T_EQ_STR(ask(fd, "CLIENT REPLY OFF\r\nKEYS *\r\nDBSIZE\r\nCLIENT REPLY ON\r\n"), "+OK\r\n");
}

T_CASE(random_key_of_a_small_namespace_passes_a_large_one_in_slices)
{
    cellar *large;
    begin();
    T_REQUIRE(cellar_namespace_open(port_store, "large", NULL, &large) == CELLAR_OK);
    store_keys(large, 0, KEYS);
    const int fd = peer();
    T_EQ_STR(ask(fd, "RANDOMKEY\r\n"), "$-1\r\n");
    store_keys(port_db, 7, 8);
    T_EQ_STR(ask(fd, "RANDOMKEY\r\nECHO end\r\n"), "$8\r\nkey:0007\r\n$3\r\nend\r\n");
    close(fd);
    T_EQ_I64(cellar_namespace_close(large), CELLAR_OK);
}

T_CASE(slow_log_names_a_scan_once)
{
    begin_full();
    const int fd = peer();
    (void)ask(fd, "KEYS key:00*\r\n");
    const char *log = ask(fd, "SLOWLOG GET\r\n");
    T_EQ_I64(count_of(log, "$4\r\nKEYS\r\n$7\r\nkey:00*\r\n"), 1);
}

T_CASE(each_failed_allocation_is_an_error_or_a_closed_connection)
{
    t_folder(disk);
    begin_full();
    const int other = peer();
    const uint64_t before = port_stats().bytes;
    for (uint64_t nth = 1, last = 2; nth <= last; nth += 7) {
        const int fd = peer();
        (void)base_fault_alloc_arm(nth, false);
        const char *reply = ask(fd, "KEYS *\r\n");
        const bool failed = base_fault_alloc_site() != NULL;
        (void)base_fault_alloc_arm(0, false);
        T_CHECK(*reply == '\0' || *reply == '-' || strncmp(reply, "*5000\r\n", 7) == 0);
        last = failed ? nth + 7 : last;
        close(fd);
        port_run();
        T_EQ_STR(ask(other, "PING\r\n"), "+PONG\r\n");
        T_CHECK(port_stats().bytes <= before + (17 * 16 << 10)); /* free blocks are kept */
    }
}

T_ONE_THREAD;
T_MAIN("resp_scan")
