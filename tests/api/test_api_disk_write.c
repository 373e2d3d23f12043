/* SPDX-License-Identifier: MIT
 *
 * Aim:    Entries reach the disk when the mode says: at eviction, at each set, at write-through,
 *         at a save, at a durable call, at a close within its limit. What does not reach it is
 *         counted.
 * Method: Real directories under TMPDIR, a clock that the test turns. Children are killed after
 *         the call; the next process reads what they wrote. */
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/counter.h"
#include "tests/support/disk_values.h"
#include "tests/support/figures.h"
#include "tests/support/file_limit.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

static cellar_err load_once(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    return *(const bool *)ctx ? cellar_load_not_modified(ld) : cellar_load_value(ld, "v", 1);
}

/* After a kill the last change of an entry is on disk, not its first set. */
T_CASE(every_change_is_written_in_mode_each_set)
{
    static char value[3000];
    const uint32_t modes[] = { CELLAR_L2_WRITE_ON_SET, CELLAR_L2_WRITE_THROUGH };
    for (size_t m = 0; m < 2; m++) {
        store_begin();
        settings cfg = config();
        cellar_namespace_config root = { .struct_size = sizeof root, .l2_write = modes[m] };
        cfg.config.root = &root;
        cfg.l2.min_ttl_ms = 1;
        int64_t now = 0;
        const pid_t pid = fork();
        if (pid == 0) {
            cellar *c = open_with(&cfg);
            const cellar_bytes tag = { "red", 3 };
            cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 3600000, .user_flags = 9,
                                  .tags = &tag, .tag_count = 1 };
            memset(value, 'v', sizeof value);
            if (cellar_set(c, "long", 4, value, sizeof value, &o) != CELLAR_OK) { _exit(1); }
            if (cellar_touch(c, "long", 4, 7200000) != CELLAR_OK) { _exit(2); }
            for (int i = 0; i < 40; i++) {
                if (cellar_increment(c, "n", 1, 1, 2, COUNTER_OPTS(3600000, 0), &now) !=
                    CELLAR_OK) {
                    _exit(3);
                }
            }
            if (cellar_update(c, "u", 1, NULL, append, NULL) != CELLAR_OK) { _exit(4); }
            cellar_result r = cellar_result_default();
            cellar_load_opts lo = { .struct_size = sizeof lo, .ttl_ms = 3600000,
                                    .jitter_pct = CELLAR_OFF, .flags = CELLAR_LOAD_REFRESH };
            for (int i = 0; i < 2; i++) { /* the second one reports not modified */
                bool again = i == 1;
                now_ms += 1000;
                if (cellar_get_or_load(c, "loaded", 6, &lo, load_once, &again, &r) != CELLAR_OK) {
                    _exit(6);
                }
                cellar_result_free(&r);
            }
            if (cellar_touch(c, "n", 1, CELLAR_TTL_NONE) != CELLAR_OK) { _exit(5); }
            /* Without a sync the last changes of ON_SET may be in memory alone. */
            if (modes[m] == CELLAR_L2_WRITE_ON_SET && cellar_sync(c) != CELLAR_OK) { _exit(7); }
            kill(getpid(), SIGKILL);
        }
        int status = 0;
        T_EQ_I64(waitpid(pid, &status, 0), pid);
        T_EQ_I64(WIFSIGNALED(status) ? 0 : WEXITSTATUS(status), 0);
        now_ms += 2000; /* as the clock of the child */
        cellar *c = open_with(&cfg);
        cellar_entry_info info = cellar_entry_info_default();
        T_EQ_I64(cellar_entry_info_get(c, "long", 4, 0, &info), CELLAR_OK);
        T_EQ_I64(info.ttl_left_ms, 7198000);
        T_EQ_U64(info.user_flags, 9);
        T_CHECK((info.flags & CELLAR_INFO_TAGGED) != 0);
        T_EQ_U64(info.value_len, sizeof value);
        T_EQ_I64(cellar_entry_info_get(c, "n", 1, 0, &info), CELLAR_OK);
        T_EQ_I64(info.ttl_left_ms, CELLAR_TTL_NONE);
        T_EQ_I64(cellar_increment(c, "n", 1, 0, 0, NULL, &now), CELLAR_OK);
        T_EQ_I64(now, 42);
        T_EQ_I64(cellar_contains(c, "u", 1), CELLAR_OK);
        T_EQ_I64(cellar_entry_info_get(c, "loaded", 6, 0, &info), CELLAR_OK);
        T_EQ_I64(info.ttl_left_ms, 3600000); /* since the second load */
        T_EQ_I64(cellar_delete_by_tag(c, "red", 3, CELLAR_TAG_HARD), CELLAR_OK);
        T_EQ_I64(cellar_contains(c, "long", 4), CELLAR_MISS);
        store_end();
    }
}

#define STORE(fn) T_WITHIN(fn, store_begin(), store_end())

/* Long values, which a scan does not copy, and values longer than a segment of memory. */
T_CASE_ON(close_writes_values_of_all_sizes, STORE)
{
    static char value[1400000];
    settings cfg = config();
    cfg.config.memory_bytes = 64u << 20;
    cfg.config.l2_bytes = 128u << 20; /* segments of 4 MiB */
    cellar *c = open_with(&cfg);
    uint32_t n = 0;
    for (size_t len = 1; len <= sizeof value; len = len * 3 + 1, n++) {
        memset(value, (int)('a' + n), len);
        T_EQ_I64(cellar_set(c, &n, sizeof n, value, len, NULL), CELLAR_OK);
    }
    c = reopen_with(c, &cfg);
    n = 0;
    for (size_t len = 1; len <= sizeof value; len = len * 3 + 1, n++) {
        size_t got = 0;
        T_EQ_I64(cellar_get(c, &n, sizeof n, value, sizeof value, &got), CELLAR_OK);
        T_EQ_U64(got, len);
        T_CHECK(value[0] == (char)('a' + n) && value[len - 1] == (char)('a' + n));
    }
}

/* Fill more than 40 % of the disk tier with entries of another namespace that stay. */
static cellar *fill_tier(cellar *c)
{
    static char value[16384];
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = CELLAR_L2_WRITE_THROUGH };
    cellar *others = space_with(c, "others", &o);
    for (uint32_t i = 0; i < 2000; i++) {
        if (figure(c, "cellar_l2_live_bytes") > CELLAR_L2_BYTES_MIN / 2) { return others; }
        T_EQ_I64(cellar_set(others, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
    }
    T_CHECK(false);
    return others;
}

/* Main lowers a counter at each pass: an entry that reaches main was read before. */
T_CASE_ON(entry_read_long_ago_is_written_beside_a_full_tier, ON_DISK)
{
    settings cfg = config();
    cfg.config.max_entries = 100;
    cfg.config.eviction = CELLAR_EVICT_S3FIFO;
    cellar *c = open_with(&cfg), *others = fill_tier(c);
    const uint64_t unused = figure(c, "cellar_l2_rejected_unused_total");
    for (uint32_t i = 0; i < 600; i++) {
        T_EQ_I64(put(c, i, 1, 0), CELLAR_OK);
        for (int n = 0; n < 3; n++) { T_EQ_I64(look(c, i, 1), CELLAR_OK); }
        if (i % 100 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
    T_EQ_U64(figure(c, "cellar_l2_rejected_unused_total"), unused);
    /* A change of another key with the same stamp during the eviction prevents a write; so may two
     * keys of one class. */
    uint32_t hits = 0;
    for (uint32_t i = 0; i < 600; i++) { hits += look(c, i, 1) == CELLAR_OK; }
    T_EQ_U64(figure(c, "cellar_l2_rejected_unused_total"), unused);
    T_CHECK(hits + figure(c, "cellar_l2_rejected_changed_total") + 2 >= 600);
    const uint64_t written = figure(c, "cellar_l2_put_bytes_total");
    for (uint32_t i = 1000; i < 2000; i++) { T_EQ_I64(put(c, i, 1, 0), CELLAR_OK); }
    const uint64_t unread = figure(c, "cellar_l2_rejected_unused_total");
    T_CHECK(unread - unused >= 850); /* never read */
    T_CHECK(figure(c, "cellar_l2_rejected_total") >= unread);
    /* The filter takes one lookup in 16,000 for a key seen before. */
    T_CHECK(figure(c, "cellar_l2_put_bytes_total") - written <= 2048 + 100 * 300);
    cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
    cellar *memory = space_with(c, "memory", &o);
    const uint64_t kept_out = figure(c, "cellar_l2_kept_out_total");
    for (uint32_t i = 0; i < 500; i++) { T_EQ_I64(put(memory, i, 1, 0), CELLAR_OK); }
    T_CHECK(figure(c, "cellar_l2_kept_out_total") - kept_out >= 300);
    T_EQ_I64(cellar_clear(others), CELLAR_OK); /* the tier has room again: each one is written */
    const uint64_t refused = figure(c, "cellar_l2_rejected_unused_total");
    for (uint32_t i = 5000; i < 6000; i++) { T_EQ_I64(put(c, i, 1, 0), CELLAR_OK); }
    T_EQ_U64(figure(c, "cellar_l2_rejected_unused_total"), refused);
    hits = 0;
    for (uint32_t i = 5000; i < 6000; i++) { hits += look(c, i, 1) == CELLAR_OK; }
    T_CHECK(hits + figure(c, "cellar_l2_rejected_changed_total") + 2 >= 1000);
}

/* ---- the limit of a close ---- */

static int slow_seal(const unsigned char *nonce, const void *aad, size_t aad_len,
                     const void *in, size_t in_len, void *out, void *ctx)
{
    struct timespec now, from;
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    do { /* longer than close_ms, however fast the machine is */
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - from.tv_sec) * 1000000000 + now.tv_nsec - from.tv_nsec < 2000000);
    return toy_seal(nonce, aad, aad_len, in, in_len, out, ctx);
}

static char close_line[256];

static void keep_close_line(cellar_log_level level, const char *module, cellar_err code,
                            const char *text, void *ctx)
{
    (void)level, (void)module, (void)ctx;
    if (code == CELLAR_E_TIMEOUT) { (void)snprintf(close_line, sizeof close_line, "%s", text); }
}

T_CASE_ON(close_limit_drops_whole_entries, ON_DISK)
{
    enum { ENTRIES = 300 };
    uint64_t key = 1234567;
    settings cfg = config();
    cellar_l2_cipher crypt = { .struct_size = sizeof crypt, .ctx = &key, .seal = toy_seal,
                               .open = toy_open, .overhead_bytes = sizeof(uint64_t) };
    cfg.l2.cipher = &crypt;
    cfg.host.log = keep_close_line;
    close_line[0] = '\0';
    cellar *c = open_with(&cfg);
    for (uint32_t i = 0; i < ENTRIES; i++) { T_EQ_I64(put(c, i, 1, 0), CELLAR_OK); }
    shut(c);
    T_EQ_STR(close_line, "");
    crypt.seal = slow_seal;
    cfg.l2.close_ms = 1;
    c = open_with(&cfg);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        T_EQ_I64(look(c, i, 1), CELLAR_OK); /* without a limit all were written */
        T_EQ_I64(put(c, i, 2, 0), CELLAR_OK);
    }
    T_EQ_I64(end_of(c), CELLAR_DROPPED);
    T_EQ_I64(cellar_close(c), CELLAR_E_CLOSED);
    T_CHECK(strstr(close_line, "l2.close_ms: wrote ") != NULL);
    unsigned wrote = ENTRIES;
    T_EQ_I64(sscanf(close_line, "cellar_close: l2.close_ms: wrote %u", &wrote), 1);
    T_CHECK(wrote <= 1);
    c = open_with(&cfg);
    uint32_t hits = 0;
    for (uint32_t i = 0; i < ENTRIES; i++) {
        const cellar_err err = look(c, i, 2); /* never version 1, which was on disk */
        T_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        hits += err == CELLAR_OK;
    }
    T_EQ_U64(hits, wrote);
    crypt.seal = toy_seal;
}

T_CASE_ON(close_limit_changes_at_run_time, STORE)
{
    settings cfg = config();
    cfg.l2.close_ms = 7000;
    cellar *c = open_with(&cfg);
    int64_t ms = 0;
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_L2_CLOSE_MS, &ms), CELLAR_OK);
    T_EQ_I64(ms, 7000);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_CLOSE_MS, -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_CLOSE_MS, CELLAR_TTL_NONE), CELLAR_OK);
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_L2_CLOSE_MS, &ms), CELLAR_OK);
    T_EQ_I64(ms, CELLAR_TTL_NONE);
    for (uint32_t i = 0; i < 100; i++) { T_EQ_I64(put(c, i, 1, 0), CELLAR_OK); }
    c = reopen_with(c, &cfg);
    for (uint32_t i = 0; i < 100; i++) { T_EQ_I64(look(c, i, 1), CELLAR_OK); }
    shut(c);
    cfg = settings_default();
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_CLOSE_MS, 1), CELLAR_E_UNSUPPORTED);
    shut(c);
}

static void await_kill(pid_t pid)
{
    int status = 0;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_CHECK(WIFSIGNALED(status));
}

T_CASE_ON(set_in_mode_each_set_or_write_through_is_on_disk_immediately, ON_DISK)
{
    for (uint32_t mode = CELLAR_L2_WRITE_ON_SET; mode <= CELLAR_L2_WRITE_THROUGH; mode++) {
        settings cfg = config();
        cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = mode };
        cfg.config.root = &o;
        const pid_t pid = fork();
        if (pid == 0) {
            cellar *c = NULL;
            if (settings_open(&cfg, &c) != CELLAR_OK) { _exit(1); }
            for (uint32_t i = 0; i < 300; i++) {
                if (put(c, i, mode, 0) != CELLAR_OK) { _exit(2); }
                if (i % 50 == 0) { (void)cellar_tick(c, 1000, NULL); }
            }
            for (uint32_t i = 0; i < 300; i += 3) { (void)cellar_delete(c, &i, sizeof i); }
            kill(getpid(), SIGKILL);
        }
        await_kill(pid);
        cellar *c = open_with(&cfg);
        for (uint32_t i = 0; i < 300; i++) {
            T_EQ_I64(look(c, i, mode), i % 3 == 0 ? CELLAR_MISS : CELLAR_OK);
        }
        shut(c);
    }
}

/* A sync marks the store clean, so the next record must wait until it is marked dirty. */
T_CASE_ON(write_through_after_a_sync_waits_for_the_disk, STORE)
{
    settings cfg = config();
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = CELLAR_L2_WRITE_THROUGH };
    cfg.config.root = &o;
    for (uint32_t threads = 0; threads < 2; threads++) {
        cfg.host.no_threads = threads == 0;
        const pid_t pid = fork();
        if (pid == 0) {
            cellar *c = NULL;
            if (settings_open(&cfg, &c) != CELLAR_OK) { _exit(1); }
            for (uint32_t i = 0; i < 40; i++) {
                if (i % 10 == 0 && cellar_sync(c) != CELLAR_OK) { _exit(2); }
                if (put(c, i, threads, 0) != CELLAR_OK) { _exit(3); }
            }
            kill(getpid(), SIGKILL);
        }
        await_kill(pid);
        cellar *c = open_with(&cfg);
        for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(look(c, i, threads), CELLAR_OK); }
        shut(c);
    }
}

T_CASE_ON(write_through_reports_refused_disk_write, STORE)
{
    static char big[300 << 10];
    settings cfg = config();
    cellar_set_opts so = cellar_set_opts_default();
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = CELLAR_L2_WRITE_THROUGH };
    cfg.l2.write_bytes_per_s = 100000;
    cfg.config.root = &o;
    cellar *c = open_with(&cfg);
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "k", 1, big, sizeof big, NULL), CELLAR_E_IO);
    T_EQ_U64(figure(c, "cellar_l2_not_through_total"), 1);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK); /* in memory */
    so.ttl_ms = 5000; /* less than l2_min_ttl_ms: not written to disk */
    T_EQ_I64(cellar_set(c, "short", 5, "v", 1, &so), CELLAR_OK);
    so = cellar_set_opts_default();
    so.flags = CELLAR_NO_L2;
    T_EQ_I64(cellar_set(c, "never", 5, "v", 1, &so), CELLAR_OK);
    T_EQ_U64(figure(c, "cellar_l2_not_through_total"), 1);
    shut(c);
    o.l2_write = CELLAR_L2_WRITE_ON_SET;
    c = open_with(&cfg);
    /* no durability is promised */
    T_EQ_I64(cellar_set(c, "k", 1, big, sizeof big, NULL), CELLAR_OK);
    T_EQ_U64(figure(c, "cellar_l2_not_through_total"), 0);
}

/* Return the text of the last error of `c`, which must be E_IO and not cut. */
static const char *why_not_through(cellar *c, cellar_err err)
{
    static cellar_error_info e;
    e = cellar_error_info_default();
    T_EQ_I64(err, CELLAR_E_IO);
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_I64(e.code, CELLAR_E_IO);
    T_CHECK(strlen(e.text) < sizeof e.text - 1);
    return e.text;
}

T_ALONE(write_through_names_call_cause_and_remedy)
{
#define ONLY ": the change is in memory only: "
    static char big[(5u << 20) + 1];
    cellar_set_opts durable = { .struct_size = sizeof durable, .ttl_ms = 5000,
                                .flags = CELLAR_DURABLE };
    settings cfg = config();
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = CELLAR_L2_WRITE_THROUGH };
    store_begin();
    cfg.config.memory_bytes = 32u << 20;
    cfg.l2.mean_entry_bytes = 65536; /* an index for few entries */
    cfg.l2.sync = CELLAR_L2_SYNC_PERIODIC;
    cfg.config.root = &o;
    cellar *c = open_with(&cfg);
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    T_EQ_STR(why_not_through(c, cellar_set(c, "k", 1, big, sizeof big, NULL)),
             "cellar_set" ONLY "it is over a quarter of the data file, or its key over half a "
             "segment: raise l2_bytes, or store it with CELLAR_NO_L2");
    T_EQ_U64(figure(c, "cellar_l2_rejected_size_total"), 1);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
    T_EQ_STR(why_not_through(c, cellar_set(c, "k", 1, "v", 1, &durable)),
             "cellar_set" ONLY "less than l2.min_ttl_ms of its TTL is left: lower that, or leave "
             "out CELLAR_DURABLE");
    cellar_err err = CELLAR_OK;
    int64_t n = 0;
    for (uint32_t i = 0; i < 100000 && err == CELLAR_OK; i++) {
        err = cellar_increment(c, &i, sizeof i, 1, 0, NULL, &n);
    }
    T_EQ_STR(why_not_through(c, err),
             "cellar_increment" ONLY "the index of the disk tier is full (metric "
             "cellar_l2_index_full_total): raise l2_bytes, or open with l2.mean_entry_bytes as "
             "small as the entries");
    T_CHECK(figure(c, "cellar_l2_index_full_total") > 0);
    cfg.l2.write_bytes_per_day = 1000;
    c = reopen_with(c, &cfg);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_MISS); /* no change leaves the value of before */
    T_EQ_STR(why_not_through(c, cellar_set(c, "k", 1, big, 2000, NULL)),
             "cellar_set" ONLY "it is over what is left of l2.write_bytes_per_s or "
             "l2.write_bytes_per_day: raise that, or retry later");
    store_end();
#undef ONLY
}

/* A close with write on eviction writes entries of THROUGH again: touched entries, and entries with
 * an idle time that a get read. */
T_CASE_ON(rewritten_through_entries_stay_when_the_index_is_full, ON_DISK)
{
    enum { KEPT = 200, MORE = 30000 };
    static char long_one[300000], got[sizeof long_one]; /* a value in parts */
    size_t len = 0;
    settings cfg = config();
    cellar_namespace_config o = cellar_namespace_config_default();
    cfg.config.memory_bytes = 32u << 20;
    cfg.config.root = &o;
    cfg.l2.mean_entry_bytes = 65536; /* an index for few entries */
    o.idle_ms = 3600000;
    for (int life = 0; life < 4; life++) {
        o.l2_write = life % 2 == 0 ? CELLAR_L2_WRITE_THROUGH : CELLAR_L2_WRITE_ON_EVICTION;
        cellar *c = open_with(&cfg);
        for (uint32_t i = 0; i < KEPT; i++) {
            const size_t bytes = i % 50 < 2 ? sizeof long_one : 4;
            if (life == 0) {
                T_EQ_I64(cellar_set(c, &i, sizeof i, long_one, bytes, NULL), CELLAR_OK);
            } else if (i % 2 == 0) {
                T_EQ_I64(cellar_touch(c, &i, sizeof i, 7200000), CELLAR_OK);
            } else {
                T_EQ_I64(cellar_get(c, &i, sizeof i, got, sizeof got, &len), CELLAR_OK);
                T_EQ_U64(len, bytes);
            }
        }
        for (uint32_t i = KEPT; life == 2 && i < MORE; i++) {
            (void)cellar_set(c, &i, sizeof i, "more", 4, NULL);
        }
        if (life == 2) { T_CHECK(figure(c, "cellar_l2_index_full_total") > 0); }
        shut(c);
    }
}

/* Fill `value` so that a range tells where it lies. */
static void fill_long(char *value, size_t len, unsigned version)
{
    for (size_t i = 0; i < len; i++) { value[i] = (char)(i * 7 + i / 251 + version); }
}

/* Values from a part to the limit, in each mode: found after a reopen, whole and by ranges. A long
 * value that leaves memory is written by ticks. THROUGH also compressed. */
T_ALONE(long_values_are_on_disk_in_each_mode)
{
    enum { THROUGH, ON_SET, ON_EVICTION, PACKED, MODES };
    static const size_t size[] = { 70000, 600 << 10, 1 << 20, 3 << 20 };
    static const uint8_t hash_key[32] = { 1 };
    static char value[3 << 20], got[3 << 20];
    for (int mode = 0; mode < MODES; mode++) {
        store_begin();
        settings cfg = config();
        cellar_namespace_config o = cellar_namespace_config_default();
        o.l2_write = mode == ON_SET        ? CELLAR_L2_WRITE_ON_SET
                     : mode == ON_EVICTION ? CELLAR_L2_WRITE_ON_EVICTION : CELLAR_L2_WRITE_THROUGH;
        o.l2_lz4 = mode == PACKED;
        cfg.config.root = &o;
        cfg.config.memory_bytes = 16 << 20;
        cfg.config.l2_bytes = 64 << 20;
        cfg.tuning.hash_key = hash_key; /* it decides which values one set evicts together */
        cellar *c = NULL;
        if (mode == PACKED && settings_open(&cfg, &c) == CELLAR_E_UNSUPPORTED) {
            store_end(); /* built without liblz4 */
            break;
        }
        if (c == NULL) { c = open_with(&cfg); }
        char key[] = "long0";
        for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
            key[4] = (char)('0' + i);
            fill_long(value, size[i], (unsigned)i);
            T_EQ_I64(cellar_set(c, key, 5, value, size[i], NULL), CELLAR_OK);
            T_EQ_I64(cellar_get(c, key, 5, NULL, 0, NULL), CELLAR_E_BUFFER); /* used */
        }
        /* Push them out of memory, about one at a time: those that wait have a limit. */
        for (unsigned n = 0; mode == ON_EVICTION && n < 120; n++) {
            T_EQ_I64(cellar_set(c, &n, sizeof n, value, 200 << 10, NULL), CELLAR_OK);
            while (cellar_tick(c, 2000, NULL) == CELLAR_PENDING) { }
        }
        while (cellar_tick(c, 2000, NULL) == CELLAR_PENDING) { }
        T_EQ_I64(figure(c, "cellar_l2_packed_total") > 0, mode == PACKED);
        c = reopen_with(c, &cfg);
        for (size_t i = 0; i < sizeof size / sizeof size[0]; i++) {
            const uint64_t at[] = { 0, 400, 65407, 65408 };
            size_t total = 0;
            key[4] = (char)('0' + i);
            fill_long(value, size[i], (unsigned)i);
            for (size_t j = 0; j < 4; j++) { /* a range over parts */
                T_EQ_I64(cellar_get_range(c, key, 5, at[j], got, 4000, &total), CELLAR_OK);
                T_CHECK(total == size[i] && memcmp(got, value + at[j], 4000) == 0);
            }
            T_EQ_I64(cellar_get(c, key, 5, got, sizeof got, &total), CELLAR_OK);
            T_CHECK(total == size[i] && memcmp(got, value, total) == 0);
            T_EQ_I64(cellar_get_range(c, key, 5, 10, got, 5, &total), CELLAR_OK); /* memory */
            T_CHECK(total == size[i] && memcmp(got, value + 10, 5) == 0);
        }
        size_t total = 1;
        T_EQ_I64(cellar_get_range(c, "long0", 5, 0, NULL, 5, &total), CELLAR_E_INVAL);
        T_EQ_I64(cellar_delete(c, "long0", 5), CELLAR_OK);
        T_EQ_I64(cellar_get_range(c, "long0", 5, 0, got, 5, &total), CELLAR_MISS);
        T_EQ_U64(total, 0);
        T_EQ_U64(figure(c, "cellar_l2_rejected_size_total"), 0);
        store_end();
    }
}

static settings write_through(void)
{
    settings cfg = config();
    cfg.l2.write = CELLAR_L2_WRITE_THROUGH;
    cfg.config.memory_bytes = 16 << 20;
    return cfg;
}

/* Memory knows the copy that a set replaces. So nothing is read to reclaim it later. */
T_CASE_ON(sets_over_copies_that_memory_knows_read_nothing_at_reclaim, ON_DISK)
{
    static char value[4000];
    const settings cfg = write_through();
    cellar *c = open_with(&cfg);
    for (uint32_t i = 0; i < 12000; i++) {
        const uint32_t key = i * 7 % 400;
        T_EQ_I64(cellar_set(c, &key, sizeof key, value, sizeof value, NULL), CELLAR_OK);
    }
    const uint64_t sealed = figure(c, "cellar_l2_sealed_bytes_total");
    T_CHECK(sealed > 2 * CELLAR_L2_BYTES_MIN);
    T_CHECK(figure(c, "cellar_l2_passed_bytes_total") * 20 < sealed);
}

/* Check the bytes of one range. Those behind it in the buffer stay as they are. */
static void range_is(cellar *c, const char *key, size_t len, uint64_t offset, size_t cap)
{
    static char value[100000], got[100001];
    size_t total = 0;
    const size_t rest = offset < len ? len - (size_t)offset : 0, n = rest < cap ? rest : cap;
    fill_long(value, len, 1);
    memset(got, 0x5a, sizeof got);
    T_EQ_I64(cellar_get_range(c, key, 1, offset, cap != 0 ? got : NULL, cap, &total), CELLAR_OK);
    T_EQ_U64(total, len);
    T_CHECK(n == 0 || memcmp(got, value + offset, n) == 0);
    T_EQ_U64(got[n], 0x5a);
}

T_CASE_ON(ranges_at_over_and_around_the_end_are_right, ON_DISK)
{
    static const size_t size[] = { 0, 1, 1000, 100000 }; /* the last one has parts on disk */
    static char value[100000];
    const settings cfg = write_through();
    cellar *c = open_with(&cfg);
    cellar_set_opts absent = { .struct_size = sizeof absent, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(c, "n", 1, NULL, 0, &absent), CELLAR_OK);
    for (size_t i = 0; i < 4; i++) {
        fill_long(value, size[i], 1);
        T_EQ_I64(cellar_set(c, &"0123"[i], 1, value, size[i], NULL), CELLAR_OK);
    }
    for (int disk = 0; disk <= 1; disk++) {
        for (size_t i = 0; i < 4; i++) {
            const uint64_t n = size[i], max = UINT64_MAX;
            const uint64_t at[] = { 0, n / 2, n - (n > 0), n, n + 1, UINT32_MAX, UINT64_C(1) << 63,
                                    max - 99999, max - 1, max };
            const size_t cap[] = { 0, 1, (size_t)n / 2 + 1, (size_t)n, 100000 };
            for (size_t j = 0; j < sizeof at / sizeof at[0]; j++) {
                for (size_t k = 0; k < sizeof cap / sizeof cap[0]; k++) {
                    range_is(c, &"0123"[i], size[i], at[j], cap[k]);
                }
            }
        }
        size_t total = 7;
        T_EQ_I64(cellar_get_range(c, "n", 1, UINT64_MAX, value, 9, &total), CELLAR_ABSENT);
        T_EQ_U64(total, 0);
        if (disk == 0) { /* a range brings nothing into memory: each one is read from disk */
            c = reopen_with(c, &cfg);
        } else {
            T_EQ_U64(store_stats(c).hits_l2, 4 * 10 * 5);
        }
    }
}

#define LONG_BYTES ((size_t)600 << 10)

/* Open a store, and set and read `count` long values: more than memory holds. */
static cellar *open_with_long_values(settings *cfg, uint64_t l2_bytes, unsigned count,
                                     const cellar_set_opts *o)
{
    static char value[LONG_BYTES];
    cfg->config.memory_bytes = 16 << 20;
    cfg->config.l2_bytes = l2_bytes;
    cellar *c = open_with(cfg);
    for (unsigned n = 0; n < count; n++) {
        fill_long(value, sizeof value, n);
        T_EQ_I64(cellar_set(c, &n, sizeof n, value, sizeof value, o), CELLAR_OK);
        T_EQ_I64(cellar_get(c, &n, sizeof n, NULL, 0, NULL), CELLAR_E_BUFFER);
    }
    T_CHECK(figure(c, "cellar_entries") < 26);
    return c;
}

/* Without ticks a stage has no room: long values that left memory wait for a save or the close. */
static void long_values_that_left_memory_are_written_by(bool save)
{
    static char value[LONG_BYTES], got[LONG_BYTES];
    settings cfg = config();
    cellar *c = open_with_long_values(&cfg, 64 << 20, 30, NULL);
    const uint64_t in_memory = figure(c, "cellar_entries");
    if (save) {
        T_EQ_I64(cellar_save(c, NULL), CELLAR_OK);
    } else {
        c = reopen_with(c, &cfg);
    }
    uint64_t found = 0;
    for (unsigned n = 0; n < 30; n++) {
        size_t total = 0;
        fill_long(value, sizeof value, n);
        if (cellar_get_range(c, &n, sizeof n, 0, got, sizeof got, &total) == CELLAR_MISS) {
            continue;
        }
        T_CHECK(total == sizeof value && memcmp(got, value, total) == 0);
        found++;
    }
    /* An eighth of memory, and one. A later set of another key with the stamp of one of them, or no
     * free bytes for its row, drops it. */
    T_CHECK(found >= in_memory + 3);
    shut(c);
}

T_CASE_ON(close_writes_the_long_values_that_left_memory, ON_DISK)
{
    long_values_that_left_memory_are_written_by(false);
}

T_CASE_ON(save_writes_the_long_values_that_left_memory, ON_DISK)
{
    long_values_that_left_memory_are_written_by(true);
}

enum { REPLACED, DELETED, CLEARED, BY_TAG, BY_PATTERN, EXPIRED, CHANGES };

static void end_all(cellar *c, int change, unsigned keys)
{
    for (unsigned n = 0; n < keys && change <= DELETED; n++) {
        if (change == REPLACED) {
            T_EQ_I64(cellar_set(c, &n, sizeof n, "new", 3, NULL), CELLAR_OK);
        } else {
            T_CHECK(cellar_delete(c, &n, sizeof n) >= 0); /* OK, or a miss while it waits */
        }
    }
    if (change == CLEARED) { T_EQ_I64(cellar_clear(c), CELLAR_OK); }
    if (change == BY_TAG) {
        T_EQ_I64(cellar_delete_by_tag(c, "red", 3, CELLAR_TAG_HARD), CELLAR_OK);
    }
    if (change == BY_PATTERN) { T_EQ_I64(cellar_delete_by_pattern(c, "*", 1, NULL), CELLAR_OK); }
    if (change == EXPIRED) { now_ms += 3600001; }
}

/* Some long values left memory and wait for room on disk, one of them has some parts there. Then
 * they end: none comes back, not in a later open. */
T_ALONE(change_of_a_long_value_that_left_memory_leaves_no_old_value)
{
    static char got[LONG_BYTES];
    const cellar_bytes tag = { "red", 3 };
    for (int run = t_reduced() ? 2 * CHANGES : 0; run < 3 * CHANGES; run++) {
        store_begin();
        settings cfg = config();
        cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1,
                              .ttl_ms = 3600000 };
        cellar *c = open_with_long_values(&cfg, 64 << 20, 30, &o);
        for (int i = 0; i < run / CHANGES; i++) { (void)cellar_tick(c, 1, NULL); }
        end_all(c, run % CHANGES, 30);
        for (int life = 0; life < 2; life++) {
            while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) { }
            for (unsigned n = 0; n < 30; n++) {
                size_t total = 0;
                const cellar_err err = cellar_get(c, &n, sizeof n, got, sizeof got, &total);
                /* An entry without a get may leave memory for good. */
                T_CHECK(err == CELLAR_MISS || (err == CELLAR_OK && run % CHANGES == REPLACED));
                T_CHECK(err != CELLAR_OK || (total == 3 && memcmp(got, "new", 3) == 0));
            }
            if (life == 0) {
                c = reopen_with(c, &cfg);
            }
        }
        store_end();
    }
}

/* The log is full, so long values that left memory wait for room. After a clear none is written. */
T_ALONE(clear_drops_the_long_values_that_wait_for_room)
{
    for (int clears = 0; clears < 2; clears++) {
        store_begin();
        settings cfg = config();
        cellar *c = open_with_long_values(&cfg, 16 << 20, 80, NULL);
        const uint64_t put = figure(c, "cellar_l2_put_bytes_total");
        if (clears != 0) { T_EQ_I64(cellar_clear(c), CELLAR_OK); }
        while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) { }
        const uint64_t now = figure(c, "cellar_l2_put_bytes_total");
        T_CHECK(clears != 0 ? now == put : now > put);
        store_end();
    }
}

static cellar_err put_durable(cellar *c, uint32_t key, uint32_t version)
{
    char buf[512];
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_DURABLE };
    return cellar_set(c, &key, sizeof key, buf, value_of(buf, sizeof buf, key, version), &o);
}

T_CASE_ON(durable_set_is_on_disk_when_it_returns, ON_DISK)
{
    settings cfg = config();
    cellar *c = open_with(&cfg);
    T_EQ_I64(put_durable(c, 1, 1), CELLAR_E_UNSUPPORTED); /* at CELLAR_L2_SYNC_MANUAL */
    T_EQ_I64(look(c, 1, 1), CELLAR_MISS);
    shut(c);
    cfg.l2.sync = CELLAR_L2_SYNC_PERIODIC;
    const pid_t pid = fork();
    if (pid == 0) {
        if (settings_open(&cfg, &c) != CELLAR_OK) { _exit(1); }
        for (uint32_t i = 0; i < 20; i++) {
            if (put_durable(c, i, 1) != CELLAR_OK) { _exit(2); }
        }
        kill(getpid(), SIGKILL);
    }
    await_kill(pid);
    c = open_with(&cfg);
    for (uint32_t i = 0; i < 20; i++) { T_EQ_I64(look(c, i, 1), CELLAR_OK); }
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_DURABLE,
                          .ttl_ms = 5000 }; /* the TTL is too short for the disk */
    T_EQ_I64(cellar_set(c, "short", 5, "v", 1, &o), CELLAR_E_IO);
    T_EQ_I64(cellar_contains(c, "short", 5), CELLAR_OK);
    cellar_set_item it[2] = { { "m1", 2, "a", 1, CELLAR_OK, 0 },
                              { "m2", 2, "b", 1, CELLAR_OK, 0 } };
    o.ttl_ms = 0;
    size_t stored = 0;
    T_EQ_I64(cellar_set_many(c, it, 2, &o, &stored), CELLAR_OK);
    T_EQ_U64(stored, 2);
    cellar_namespace_config vo = { .struct_size = sizeof vo, .hidden = 1 };
    cellar *v = space_with(c, "s", &vo);
    T_EQ_I64(put_durable(v, 1, 1), CELLAR_E_UNSUPPORTED); /* never on disk */
}

/* Every kind of change, with its code; in memory all of them succeed. */
static void change_all(cellar *c, cellar *v, cellar_err want)
{
    int64_t n;
    cellar_set_item si[1] = { { "a", 1, "1", 1, CELLAR_OK, 0 } };
    cellar_delete_item di[1] = { { "a", 1, CELLAR_OK, 0 } };
    T_EQ_I64(cellar_set(v, "k", 1, "v", 1, NULL), want);
    T_EQ_I64(cellar_contains(v, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_touch(v, "k", 1, 60000), want);
    T_EQ_I64(cellar_update(v, "k", 1, NULL, append, NULL), want);
    T_EQ_I64(cellar_increment(v, "n", 1, 1, 0, NULL, &n), want);
    T_EQ_I64(cellar_set_many(v, si, 1, NULL, NULL), CELLAR_OK);
    T_EQ_I64(si[0].status, want);
    T_EQ_I64(cellar_delete_many(v, di, 1, NULL), CELLAR_OK);
    T_EQ_I64(di[0].status, want);
    T_EQ_I64(cellar_delete(v, "k", 1), want);
    T_EQ_I64(cellar_contains(v, "k", 1), CELLAR_MISS);
    T_EQ_I64(cellar_delete_by_pattern(v, "n", 1, NULL), want);
    T_EQ_I64(cellar_delete_by_tag(v, "t", 1, CELLAR_TAG_HARD), want);
    T_EQ_I64(cellar_version_set(v, 0, NULL), want);
    T_EQ_I64(cellar_version_set(v, 77, NULL), want);
    T_EQ_I64(cellar_clear(v), want);
    (void)space_with(c, "w", NULL);
    T_EQ_I64(cellar_namespace_drop(c, "w"), want);
}

static cellar_err delete_then_remove(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old_len, (void)out;
    if (old != NULL) { T_EQ_I64(cellar_delete(ctx, "k", 1), CELLAR_E_IO); }
    return CELLAR_REMOVED;
}

/* A removal with an unmet condition changes nothing, so its code is not that of the disk. */
static void refuse_removals(cellar *v)
{
    cellar_delete_opts o = { .struct_size = sizeof o, .if_version = 99 };
    T_EQ_I64(cellar_delete_with(v, "k", 1, &o), CELLAR_MISS);
    T_EQ_I64(cellar_set(v, "k", 1, "v", 1, NULL), CELLAR_E_IO);
    T_EQ_I64(cellar_delete_with(v, "k", 1, &o), CELLAR_CONFLICT);
    /* One that found no entry says whether it lasts, as cellar_delete does. */
    T_EQ_I64(cellar_update(v, "k", 1, NULL, delete_then_remove, v), CELLAR_E_IO);
}

T_CASE_ON(change_at_sync_always_reports_durability, STORE)
{
    settings cfg = config();
    cfg.l2.sync = CELLAR_L2_SYNC_ALWAYS;
    const cellar_namespace_config memory = { .struct_size = sizeof memory,
                                             .tier = CELLAR_TIER_L1 };
    cellar *c = open_with(&cfg), *v = space_with(c, "v", NULL), *m = space_with(c, "m", &memory);
    char file[330];
    change_all(c, v, CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(m, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    snprintf(file, sizeof file, "%s/data.seg", store);
    T_EQ_I64(unlink(file), 0); /* no later open finds records written from now on */
    now_ms += 2000;
    (void)cellar_tick(c, 1000, NULL);
    change_all(c, v, CELLAR_E_IO);
    /* Tags are of all namespaces, whatever the handle. */
    T_EQ_I64(cellar_delete_by_tag(m, "t", 1, CELLAR_TAG_HARD), CELLAR_E_IO);
    refuse_removals(v);
    T_EQ_I64(error_info(v).code, CELLAR_E_IO);
    const cellar_namespace_config other = { .struct_size = sizeof other, .version = 78 };
    cellar *again = NULL;
    T_EQ_I64(cellar_namespace_open(c, "v", &other, &again), CELLAR_E_IO);
    T_CHECK(strstr(error_info(c).text, "did not confirm the version") != NULL);
    uint32_t version = 0; /* memory has it */
    T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_E_IO);
    T_EQ_U64(version, 79);
}

/* ---- tags and patterns ---- */

T_CASE_ON(tags_are_written_in_mode_each_set, ON_DISK)
{
    const settings cfg = config();
    cellar_namespace_config vo = { .struct_size = sizeof vo, .l2_write = CELLAR_L2_WRITE_ON_SET };
    for (int life = 0; life < 2; life++) {
        const pid_t pid = fork();
        if (pid == 0) {
            cellar *c = open_with(&cfg), *v = NULL;
            if (cellar_namespace_open(c, "v", &vo, &v) != CELLAR_OK) { _exit(1); }
            for (uint32_t k = 0; k < 40; k++) {
                if (put_tagged(v, k, 1) != CELLAR_OK) { _exit(1); }
            }
            if (cellar_delete_by_tag(v, "1", 1, CELLAR_TAG_HARD) != CELLAR_OK) { _exit(1); }
            kill(getpid(), SIGKILL);
        }
        await_kill(pid);
        cellar *c = open_with(&cfg), *v = space_with(c, "v", &vo);
        for (uint32_t k = 0; k < 40; k++) {
            T_EQ_I64(look(v, k, 1), k % 4 == 1 ? CELLAR_MISS : CELLAR_OK);
        }
        T_EQ_I64(cellar_delete_by_tag(v, "2", 1, CELLAR_TAG_HARD), CELLAR_OK);
        for (uint32_t k = 0; k < 40; k++) {
            T_EQ_I64(look(v, k, 1), k % 4 == 1 || k % 4 == 2 ? CELLAR_MISS : CELLAR_OK);
        }
        shut(c);
    }
}

/* ---- saves ---- */

/* Set `count` values of `bytes`, save, end by SIGKILL. *missed: what the save returned; NULL: no
 * save, but ticks. */
static void save_and_die(const settings *cfg, uint32_t count, uint32_t bytes, uint64_t *missed)
{
    static char value[10000];
    cellar *c = open_with(cfg);
    for (uint32_t k = 0; k < count; k++) {
        if (cellar_set(c, &k, sizeof k, value, bytes, NULL) != CELLAR_OK) { _Exit(1); }
    }
    cellar_set_opts brief = cellar_set_opts_default();
    brief.ttl_ms = 1000; /* below min_ttl_ms: never on disk, and not counted */
    if (cellar_set(c, "brief", 5, "x", 1, &brief) != CELLAR_OK) { _Exit(2); }
    if (missed == NULL) {
        while (cellar_tick(c, 2000, NULL) == CELLAR_PENDING) {}
        (void)raise(SIGKILL);
    }
    const cellar_err want = *missed != 0 ? CELLAR_DROPPED : CELLAR_OK;
    if (cellar_save(c, missed) != want) { _Exit(3); }
    (void)raise(SIGKILL);
}

static uint32_t found_after_save(const settings *cfg, uint32_t count, uint32_t bytes,
                                 uint64_t *missed)
{
    char value[1];
    uint64_t *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(shared != MAP_FAILED);
    *shared = missed != NULL ? *missed : 0;
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) { save_and_die(cfg, count, bytes, missed != NULL ? shared : NULL); }
    await_kill(pid);
    if (missed != NULL) { *missed = *shared; }
    T_EQ_I64(munmap(shared, sizeof *shared), 0);
    cellar *c = open_with(cfg);
    uint32_t found = 0;
    size_t len;
    for (uint32_t k = 0; k < count; k++) {
        found += cellar_get(c, &k, sizeof k, value, 0, &len) == CELLAR_E_BUFFER && len == bytes;
    }
    shut(c);
    return found;
}

T_ALONE(killed_after_save_finds_entries_without_use)
{
    static const cellar_l2_write modes[] = { CELLAR_L2_WRITE_ON_EVICTION, CELLAR_L2_WRITE_ON_SET };
    for (size_t i = 0; i < 2; i++) {
        store_begin();
        settings cfg = config();
        cellar_namespace_config root = { .struct_size = sizeof root, .l2_write = modes[i] };
        cfg.config.root = &root;
        uint64_t missed = 0;
        T_EQ_U64(found_after_save(&cfg, 2000, 300, &missed), 2000);
        T_EQ_U64(missed, 0);
        store_end();
    }
}

T_CASE_ON(ticks_offer_what_the_disk_dropped, ON_DISK)
{
    settings cfg = config(); /* more in one go than a stage takes */
    cfg.config.memory_bytes = 64u << 20;
    cfg.config.l2_bytes = 128u << 20;
    cfg.l2.write = CELLAR_L2_WRITE_ON_SET;
    T_EQ_U64(found_after_save(&cfg, 3000, 10000, NULL), 3000);
}

T_CASE_ON(save_counts_entries_that_do_not_fit, ON_DISK)
{
    settings cfg = config(); /* 30 MB in memory, 16 MiB on disk */
    cfg.config.memory_bytes = 64u << 20;
    uint64_t missed = 1;
    const uint32_t count = 3000, found = found_after_save(&cfg, count, 10000, &missed);
    T_CHECK(found > 0 && found < count);
    /* the open may need the room of some segments more */
    T_CHECK(missed <= count - found && missed + 6 * 60 >= count - found);
}

T_CASE_ON(save_counts_entries_over_a_write_limit, STORE)
{
    settings cfg = config();
    cfg.l2.write_bytes_per_day = 200000; /* room for some of them */
    uint64_t missed = 1;
    const uint32_t found = found_after_save(&cfg, 500, 1000, &missed);
    T_EQ_U64(missed, 500 - found);
}

/* The disk fails at the first of them. The others are counted, and do not wait each. */
T_CASE_ON(save_on_a_disk_that_fails_waits_once, ON_DISK)
{
    static char value[40000];
    settings cfg = config();
    cfg.config.memory_bytes = 32u << 20;
    cfg.l2.fail_errors = 1;
    cfg.l2.close_ms = 100;
    cellar *c = NULL;
    uint64_t missed = 0;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    for (uint32_t i = 0; i < 100; i++) {
        const cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NO_L2 };
        const uint32_t other = 1000 + i;
        T_EQ_I64(cellar_set(c, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
        T_EQ_I64(cellar_set(c, &other, sizeof other, "x", 1, &o), CELLAR_OK);
    }
    struct timespec from, to;
    limit_files(4096);
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    T_CHECK(cellar_save(c, &missed) != CELLAR_OK && missed > 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    limit_files(0);
    T_CHECK(to.tv_sec - from.tv_sec < 25); /* 1 s; 40 s where each waits */
    (void)cellar_close(c);
}

T_MAIN("api_disk_write")
