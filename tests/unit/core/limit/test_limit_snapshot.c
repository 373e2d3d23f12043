/* SPDX-License-Identifier: MIT
 *
 * Aim:    debts survive a restart, shrunk by the downtime; a damaged snapshot, or one of other
 *         algorithms, is refused as a whole. The bound of each algorithm holds over `now_ns` of the
 *         results when readings are older than ones before them: by cellar_limiter_check_with, and
 *         by a clock that goes back.
 * Method: snapshots through calls into memory and through a file; clocks turned between saving and
 *         loading; every bit of one flipped; every call of the disk fails. Random limiters, of one
 *         word and of several, alone and as the first of a chain, with ticks and snapshots between
 *         the calls: what was admitted is sorted by `now_ns`; every window is counted.
 *         LIMIT_OLDER=n limiters. */
#include <errno.h>

#include "base/vfs.h"
#include "tests/support/limit_kit.h"

static struct store { unsigned char bytes[1 << 18]; size_t len, at; bool whole; } store;
static int store_save(const void *bytes, size_t len, bool last, void *ctx)
{
    (void)ctx;
    if (store.whole) {
        store.len = 0;
        store.whole = false;
    }
    if (store.len + len > sizeof store.bytes) { return 1; }
    memcpy(store.bytes + store.len, bytes, len);
    store.len += len;
    store.whole = last;
    return 0;
}
static int store_load(void *buf, size_t cap, size_t *len, void *ctx)
{
    (void)ctx;
    size_t n = store.len - store.at < cap ? store.len - store.at : cap;
    if (n > 1000) { n = 1000; } /* pieces of any size */
    memcpy(buf, store.bytes + store.at, n);
    store.at += n;
    *len = n;
    return 0;
}

static void store_empty(void) { memset(&store, 0, sizeof store); }
T_AFTER_EACH(store_empty);

/* Let a limiter save into the store and load from its begin. */
static cellar_limiter_config store_config(void)
{
    cellar_limiter_config c = kit_config();
    c.hash_key = NULL; /* that of the snapshot */
    c.max_bytes = 256u << 10;
    c.snapshot_write = store_save;
    c.snapshot_read = store_load;
    store.at = 0;
    return c;
}

static cellar_limiter *store_open(const cellar_rule *rules, uint32_t count)
{
    const cellar_limiter_config c = store_config();
    cellar_limiter *l = NULL;
    T_REQUIRE(cellar_limiter_open(&c, rules, count, &l) == CELLAR_OK);
    return l;
}
static cellar_limiter_stats figures(cellar_limiter *l)
{
    cellar_limiter_stats s = cellar_limiter_stats_default();
    T_EQ_I64(cellar_limiter_stats_get(l, &s), CELLAR_OK);
    return s;
}
static uint64_t refused(cellar_limiter *l) { return figures(l).snapshots_refused; }

/* Each piece of a snapshot lets keys come, which move others between buckets. */
static struct { cellar_limiter *l; int next, most; uint64_t evicted; } come;
static int come_save(const void *bytes, size_t len, bool last, void *ctx)
{
    for (int i = 0; i < 100 && come.next < come.most; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", come.next++);
        T_EQ_U64(kit_admit(come.l, key, 1), 1);
        come.evicted = figures(come.l).live_evicted; /* both buckets of a key may be full */
    }
    return store_save(bytes, len, last, ctx);
}
T_CASE(snapshot_has_keys_that_move_while_it_is_written)
{
    enum { BEFORE = 8000, ALL = 11000 }; /* of 13,440 slots */
    const cellar_rule rule = cellar_rule_token_bucket(1, CELLAR_HOUR_NS, 1);
    cellar_limiter_config c = store_config();
    uint64_t lost = 0;
    c.snapshot_write = come_save;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &come.l) == CELLAR_OK);
    come.next = 0;
    for (come.most = BEFORE; come.next < BEFORE;) { (void)come_save("", 0, false, NULL); }
    come.most = ALL;
    kit_close(come.l);
    T_EQ_I64(come.next, ALL);
    come.l = store_open(&rule, 1);
    for (int i = 0; i < BEFORE; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        lost += kit_admit(come.l, key, 1);
    }
    T_CHECK(lost <= come.evicted && come.evicted < 40);
    kit_close(come.l);
}

/* The first piece of a snapshot lets bans end, and calls of their keys. */
static bool ends;
static int ends_save(const void *bytes, size_t len, bool last, void *ctx)
{
    for (int i = 0; i < 50 && ends; i++) {
        char key[8];
        snprintf(key, sizeof key, "b%d", i);
        if (i == 0) { kit_pass(2 * KIT_S); }
        T_EQ_U64(kit_admit(come.l, key, 2), 1);
    }
    ends = false;
    return store_save(bytes, len, last, ctx);
}

/* Five units a day for each key. */
static cellar_rule five_a_day(void) { return cellar_rule_token_bucket(5, CELLAR_DAY_NS, 5); }

/* Open come.l with 2,000 keys. Its close writes by `save`. */
static void open_with_keys(cellar_snapshot_write_fn save)
{
    const cellar_rule rule = five_a_day();
    cellar_limiter_config c = store_config();
    c.snapshot_write = save;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &come.l) == CELLAR_OK);
    for (int i = 0; i < 2000; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        T_EQ_U64(kit_admit(come.l, key, 1), 1);
    }
}

T_CASE(ban_that_ends_while_a_snapshot_is_written_leaves_its_debt)
{
    char key[8];
    open_with_keys(ends_save);
    for (int i = 0; i < 50; i++) {
        const size_t len = (size_t)snprintf(key, sizeof key, "b%d", i);
        T_EQ_I64(cellar_limiter_ban(come.l, key, len, KIT_S), CELLAR_OK);
    }
    ends = true;
    kit_close(come.l);
    const cellar_rule rule = five_a_day();
    come.l = store_open(&rule, 1);
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "b%d", i);
        T_CHECK(kit_admit(come.l, key, 5) <= 1);
    }
    kit_close(come.l);
}

/* All keys are reset while a snapshot is written, and come again, some of them in another slot. */
static int again_save(const void *bytes, size_t len, bool last, void *ctx)
{
    for (int i = 0; i < 2000 && ends; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", 1999 - i);
        if (i == 0) { T_EQ_I64(cellar_limiter_reset(come.l, NULL, 0, NULL), CELLAR_OK); }
        T_EQ_U64(kit_admit(come.l, key, 1), 1);
    }
    ends = false;
    return store_save(bytes, len, last, ctx);
}
T_CASE(key_that_comes_again_while_a_snapshot_is_written_has_one_slot)
{
    open_with_keys(again_save);
    ends = true;
    kit_close(come.l);
    const cellar_rule rule = five_a_day();
    come.l = store_open(&rule, 1);
    kit_close(come.l);
}

T_CASE(limit_snapshot_downtime)
{
    const cellar_rule rules[4] = { cellar_rule_token_bucket(10, KIT_S, 10),
                                      cellar_rule_sliding_log(20, 2 * KIT_S),
                                      cellar_rule_fixed_window(30, CELLAR_PER_DAY),
                                      cellar_rule_sliding_window(1000, KIT_S) };
    for (uint32_t count = 1; count <= 4; count += 3) {
        memset(&store, 0, sizeof store);
        cellar_limiter *l = store_open(rules, count);
        for (int i = 0; i < 300; i++) { /* more than one block */
            char key[8];
            snprintf(key, sizeof key, "k%d", i);
            T_EQ_U64(kit_admit(l, key, 8), 8);
        }
        kit_close(l);
        T_CHECK(store.len > 4096);
        kit_pass(501 * KIT_MS); /* half a second down: five of eight have been paid */
        l = store_open(rules, count);
        T_EQ_U64(refused(l), 0);
        T_EQ_U64(kit_admit(l, "k7", 20), 7);
        T_EQ_U64(kit_admit(l, "k299", 20), 7);
        T_EQ_U64(kit_admit(l, "new", 20), 10);
        kit_close(l);
    }
}

/* The rule that owes keeps the key. */
T_CASE(rule_that_was_paid_while_down_owes_nothing_at_an_older_reading)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, KIT_S, 10),
                                      cellar_rule_token_bucket(100, CELLAR_HOUR_NS, 100) };
    cellar_limiter *l = store_open(rules, 2);
    T_EQ_U64(kit_admit(l, "k", 10), 10);
    kit_close(l);
    kit_pass(2 * KIT_S);
    l = store_open(rules, 2);
    T_EQ_I64(kit_check_at(l, "k", 1, 10, kit_clock(NULL) - KIT_S / 2, NULL), CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 100), 5);
    kit_close(l);
}

T_CASE(limit_snapshot_clock_back)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, KIT_S, 10);
    cellar_limiter *l = store_open(&rule, 1);
    T_EQ_U64(kit_admit(l, "k", 20), 10);
    kit_close(l);
    atomic_store(&kit.boot_ms, 100); /* another boot: the wall clock counts, and it went back */
    atomic_fetch_sub(&kit.wall_ms, 3600000);
    l = store_open(&rule, 1);
    T_EQ_U64(kit_admit(l, "k", 20), 0);
    kit_close(l);
    atomic_store(&kit.boot_ms, 50);
    atomic_fetch_add(&kit.wall_ms, 301);
    l = store_open(&rule, 1);
    T_EQ_U64(kit_admit(l, "k", 20), 3);
    kit_close(l);
}

T_CASE(limit_snapshot_bit_flips)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10),
                                      cellar_rule_sliding_log(20, CELLAR_HOUR_NS) };
    static struct store good;
    cellar_limiter *l = store_open(rules, 2);
    T_EQ_U64(kit_admit(l, "a", 20), 10);
    T_EQ_U64(kit_admit(l, "b", 3), 3);
    kit_close(l);
    good = store;
    for (size_t bit = 0; bit < good.len * 8; bit += 1 + bit % 3) {
        store = good;
        store.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        l = store_open(rules, 2);
        if (!T_CHECK(refused(l) == 1)) { printf("# bit %zu\n", bit); }
        T_EQ_U64(figures(l).keys, 0); /* never partly */
        cellar_limiter_close(l);
        if (t_failed()) { break; }
    }
    for (size_t len = 1; len < good.len; len += 7) {
        store = good;
        store.len = len;
        l = store_open(rules, 2);
        T_EQ_U64(refused(l), 1);
        cellar_limiter_close(l);
        if (t_failed()) { break; }
    }
}

T_CASE(limit_snapshot_other_rules)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    const cellar_rule twice = cellar_rule_token_bucket(20, CELLAR_HOUR_NS, 20);
    const cellar_rule log = cellar_rule_sliding_log(10, CELLAR_HOUR_NS);
    cellar_limiter *l = store_open(&rule, 1);
    T_EQ_U64(kit_admit(l, "k", 5), 5);
    kit_close(l);
    l = store_open(&twice, 1); /* half used stays half used */
    T_EQ_U64(refused(l), 0);
    T_EQ_U64(kit_admit(l, "k", 40), 10);
    kit_close(l);
    l = store_open(&log, 1);
    T_EQ_U64(refused(l), 1);
    T_EQ_U64(kit_admit(l, "k", 40), 10);
    kit_close(l);
}

/* Another boot: monotonic and boot clocks begin again, the wall clock went on for `down_ms`. */
static void reboot(uint64_t down_ms)
{
    atomic_store(&kit.now_ns, 5 * KIT_S);
    atomic_store(&kit.boot_ms, 5000);
    atomic_fetch_add(&kit.wall_ms, down_ms);
}

/* A log's stamps lie before the clock's beginning then, and before the limiter's in any case. */
T_CASE(limit_snapshot_log_outlives_a_reboot)
{
    const cellar_rule rule = cellar_rule_sliding_log(10, CELLAR_HOUR_NS);
    cellar_limiter *l = store_open(&rule, 1);
    T_EQ_U64(kit_admit(l, "k", 4), 4);
    kit_pass(600 * KIT_S);
    T_EQ_U64(kit_admit(l, "k", 20), 6);
    kit_pass(100 * KIT_S);
    kit_close(l);
    l = store_open(&rule, 1); /* the same boot */
    T_EQ_U64(kit_admit(l, "k", 20), 0);
    kit_close(l);
    reboot(60000);
    l = store_open(&rule, 1);
    T_EQ_U64(kit_admit(l, "k", 20), 0);
    kit_pass((3600 - 760) * KIT_S); /* a ms of the downtime is not counted */
    T_EQ_U64(kit_admit(l, "k", 20), 0);
    kit_pass(1 * KIT_MS);
    T_EQ_U64(kit_admit(l, "k", 20), 4);
    kit_pass(600 * KIT_S);
    T_EQ_U64(kit_admit(l, "k", 20), 6);
    kit_close(l);
}

/* A user's window is longer than the rule the limiter was opened with. */
T_CASE(limit_snapshot_users_long_windows)
{
    cellar_limiter *l = NULL;
    for (int boot = 0; boot < 2; boot++) {
        const cellar_limiter_config c = store_config();
        T_REQUIRE(cellar_user_limiter_open(&c, &l) == CELLAR_OK);
        for (int i = 0; i < 5; i++) {
            T_EQ_I64(cellar_user_limiter_check(l, "ada", 3, 5, 3600, NULL),
                     boot == 0 ? CELLAR_OK : CELLAR_LIMITED);
        }
        kit_pass(10 * KIT_S);
        kit_close(l);
        reboot(1000);
    }
}

/* Sliding windows are numbered by a clock that starts again: nothing is lost, and no call waits for
 * the old number. */
T_CASE(limit_snapshot_count_outlives_a_reboot)
{
    const uint64_t w = 60 * KIT_S;
    const cellar_rule rules[2] = { cellar_rule_sliding_window(10, w),
                                      cellar_rule_token_bucket(1000000, KIT_S, 1000) };
    for (uint32_t count = 1; count <= 2; count++) {
        for (uint64_t into = 0; into < 60; into += 13) { /* everywhere in the windows of both */
            for (uint64_t down = 0; down <= 140; down += 35) {
                atomic_store(&kit.now_ns, 100 * w + into * KIT_S);
                memset(&store, 0, sizeof store);
                cellar_limiter *l = store_open(rules, count);
                T_EQ_U64(kit_admit(l, "k", 20), 10);
                kit_close(l);
                reboot(down * 1000);
                l = store_open(rules, count);
                T_EQ_U64(refused(l), 0);
                /* Never more than had the limiter lived on: n of 10 free so long after. */
                const uint64_t at = into + down, past = at < 60 ? 0 : at < 120 ? at - 60 : 60;
                T_CHECK(kit_admit(l, "k", 20) <= past * 10 / 60);
                kit_pass(3 * w); /* and three windows later all is as new */
                T_EQ_U64(kit_admit(l, "k", 20), 10);
                kit_close(l);
                if (t_failed()) {
                    printf("# into %" PRIu64 " down %" PRIu64 "\n", into, down);
                    return;
                }
            }
        }
    }
}

/* A table as full as it can be comes back with every key: seats are found as at first. */
T_CASE(limit_snapshot_of_a_full_table)
{
    const cellar_rule rules[2] = { cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10),
                                      cellar_rule_token_bucket(20, CELLAR_HOUR_NS, 20) };
    for (uint32_t count = 1; count <= 2; count++) {
        memset(&store, 0, sizeof store);
        cellar_limiter *l = store_open(rules, count);
        /* wide slots are not pushed twice */
        const uint64_t keys = figures(l).slots * 3 / 4 / count;
        for (uint64_t k = 0; k < keys; k++) {
            T_EQ_I64(cellar_limiter_check(l, &k, sizeof k, 10, NULL), CELLAR_OK);
        }
        T_FIELDS(figures(l), live_evicted, 0, keys, keys);
        kit_close(l);
        l = store_open(rules, count);
        T_FIELDS(figures(l), snapshots_refused, 0, live_evicted, 0, keys, keys);
        uint64_t lost = 0;
        for (uint64_t k = 0; k < keys; k++) {
            lost += kit_look(l, &k, sizeof k, 1, NULL) != CELLAR_LIMITED;
        }
        T_EQ_U64(lost, 0);
        kit_close(l);
    }
}

/* Into a smaller table: the keys with more debt stay, the others are counted. */
T_CASE(limit_snapshot_into_a_smaller_table)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    cellar_limiter *l = store_open(&rule, 1);
    for (uint64_t k = 0; k < 8000; k++) {
        T_EQ_I64(cellar_limiter_check(l, &k, sizeof k, k % 40 == 0 ? 10 : 1, NULL), CELLAR_OK);
    }
    kit_close(l);
    cellar_limiter_config c = store_config();
    c.max_bytes = 80u << 10;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    const cellar_limiter_stats s = figures(l);
    T_CHECK(s.slots < 4000);
    T_EQ_U64(s.live_evicted + s.keys, 8000);
    for (uint64_t k = 0; k < 8000; k += 40) {
        T_EQ_I64(kit_look(l, &k, sizeof k, 1, NULL), CELLAR_LIMITED);
    }
    kit_close(l);
}

/* What was charged beyond a log stays on top of it. */
T_CASE(limit_snapshot_of_an_overcharged_log)
{
    const cellar_rule rule = cellar_rule_sliding_log(10, CELLAR_HOUR_NS);
    cellar_limiter *l = store_open(&rule, 1);
    T_EQ_U64(kit_admit(l, "k", 20), 10);
    T_EQ_I64(cellar_limiter_adjust(l, "k", 1, 7), CELLAR_OK);
    kit_close(l);
    l = store_open(&rule, 1);
    T_EQ_I64(cellar_limiter_adjust(l, "k", 1, -7), CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 20), 0);
    T_EQ_I64(cellar_limiter_adjust(l, "k", 1, -1), CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 20), 1);
    kit_close(l);
}

/* Debts under a plan are saved as shares of the limiter's rules: plans do not travel. */
T_CASE(limit_snapshot_of_keys_with_plans)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    const cellar_rule gold = cellar_rule_token_bucket(1000, CELLAR_HOUR_NS, 100);
    cellar_limiter *l = store_open(&rule, 1);
    T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, &gold, 1), CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 200), 100); /* all of it: six minutes */
    kit_close(l);
    l = store_open(&rule, 1);
    T_EQ_U64(kit_admit(l, "k", 200), 0); /* all of it: an hour */
    T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, &gold, 1), CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 200), 0);
    kit_pass(72 * KIT_S); /* and a fifth of it back */
    T_EQ_U64(kit_admit(l, "k", 200), 20);
    kit_close(l);
}

static unsigned lines;
static void count_line(cellar_log_level level, const char *module, cellar_err code,
                       const char *text, void *ctx)
{
    (void)ctx;
    T_EQ_I64(level, CELLAR_LOG_WARNING);
    T_EQ_STR(module, "limit");
    T_EQ_I64(code, CELLAR_E_CORRUPT);
    T_CHECK(*text != '\0');
    lines++;
}

T_CASE(refused_snapshot_is_logged_from_warning_on)
{
    static const cellar_log_level levels[] = { CELLAR_LOG_DEFAULT, CELLAR_LOG_DEBUG,
                                               CELLAR_LOG_WARNING, CELLAR_LOG_ERROR,
                                               CELLAR_LOG_OFF };
    const cellar_rule rule = cellar_rule_token_bucket(10, KIT_S, 10);
    cellar_host_config host = { .struct_size = sizeof host, .log = count_line };
    lines = 0;
    for (unsigned i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        cellar_limiter_config c = store_config();
        cellar_limiter *l = NULL;
        store_empty();
        store.len = 100; /* zeros */
        c.host = &host;
        host.log_level = levels[i];
        T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
        T_EQ_U64(lines, i < 3 ? i + 1 : 3);
        kit_close(l);
    }
}

static struct { unsigned count; char text[512]; } failed;
static void note_line(cellar_log_level level, const char *module, cellar_err code,
                      const char *text, void *ctx)
{
    (void)ctx;
    T_EQ_I64(level, CELLAR_LOG_ERROR);
    T_EQ_STR(module, "limit");
    T_EQ_I64(code, CELLAR_E_IO);
    (void)snprintf(failed.text, sizeof failed.text, "%s", text);
    failed.count++;
}

static int save_nothing(const void *bytes, size_t len, bool last, void *ctx)
{
    (void)bytes, (void)len, (void)last, (void)ctx;
    return 1;
}

/* The folder does not exist; the disk is full; the function of the host fails; a save succeeds. */
T_CASE(save_that_fails_at_the_close_is_logged_once)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, KIT_S, 10);
    char path[64], full[160];
    snprintf(path, sizeof path, "build/limit-%d.unsaved", (int)getpid());
    snprintf(full, sizeof full, "cellar_limiter_close: snapshot not saved (no space left on the "
                                "disk): %s", path);
    const struct { const char *path, *text; } want[] = {
        { "build/none/x", "cellar_limiter_close: snapshot not saved (no such file or folder): "
                          "build/none/x" },
        { path, full },
        { NULL, "cellar_limiter_close: snapshot not saved (the function failed): snapshot_write" },
        { path, "" },
    };
    cellar_host_config host = { .struct_size = sizeof host, .log = note_line,
                                .log_level = CELLAR_LOG_ERROR };
    for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
        cellar_limiter_config c = kit_config();
        cellar_limiter *l = NULL;
        c.host = &host;
        c.snapshot_path = want[i].path;
        c.snapshot_write = want[i].path == NULL ? save_nothing : NULL;
        c.snapshot_read = want[i].path == NULL ? store_load : NULL;
        memset(&failed, 0, sizeof failed);
        T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
        (void)base_fault_io_arm(i == 1 ? "pwrite" : NULL, i == 1 ? ENOSPC : 0, i == 1, false);
        kit_close(l);
        (void)base_fault_io_arm(NULL, 0, 0, false);
        T_EQ_U64(failed.count, *want[i].text != '\0');
        T_EQ_STR(failed.text, want[i].text);
    }
    unlink(path);
}

static unsigned fail_read; /* number of the read that fails, from 1 */
static int load_or_fail(void *buf, size_t cap, size_t *len, void *ctx)
{
    return fail_read != 0 && --fail_read == 0 ? 1 : store_load(buf, cap, len, ctx);
}

T_CASE(failed_read_is_refused_not_taken_for_no_snapshot)
{
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    cellar_limiter *l = store_open(&rule, 1);
    for (uint32_t k = 0; k < 200; k++) { /* more than a read */
        T_EQ_I64(cellar_limiter_check(l, &k, sizeof k, 7, NULL), CELLAR_OK);
    }
    kit_close(l);
    cellar_limiter_config c = store_config();
    c.snapshot_read = load_or_fail;
    const struct store good = store;
    for (unsigned n = 0; n <= 3; n++) {
        const uint32_t k = 0;
        store = good;
        store.at = 0;
        fail_read = n;
        T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
        T_EQ_U64(refused(l), n != 0);
        T_EQ_I64(kit_look(l, &k, sizeof k, 10, NULL), n != 0 ? CELLAR_OK : CELLAR_LIMITED);
        kit_close(l);
    }
}

T_CASE(empty_or_unreadable_file_is_refused_not_taken_for_no_snapshot)
{
    static const char *const sites[] = { "open_dir", "open", "pread" };
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    cellar_limiter_config c = kit_config();
    char path[64];
    snprintf(path, sizeof path, "build/limit-%d.cut", (int)getpid());
    c.snapshot_path = path;
    cellar_limiter *l;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_U64(refused(l), 0); /* there is no file */
    kit_close(l);
    T_REQUIRE(truncate(path, 0) == 0);
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_U64(refused(l), 1);
    kit_close(l);
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        (void)base_fault_io_arm(sites[i], EACCES, 1, false);
        T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
        (void)base_fault_io_arm(NULL, 0, 0, false);
        T_EQ_U64(refused(l), 1);
        kit_close(l);
    }
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_U64(refused(l), 0);
    kit_close(l);
    unlink(path);
}

T_CASE(a_file_is_replaced_whole_or_not_at_all)
{
    static const char *const sites[] = { "open_dir", "open", "pwrite", "datasync", "rename",
                                         "sync_dir" };
    const cellar_rule rule = cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10);
    cellar_limiter_config c = kit_config();
    char path[64], fresh[80];
    snprintf(path, sizeof path, "build/limit-%d.snapshot", (int)getpid());
    snprintf(fresh, sizeof fresh, "%s.new", path);
    c.snapshot_path = path;
    c.snapshot_interval_ms = 1000;
    cellar_limiter *l;
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_U64(kit_admit(l, "k", 4), 4);
    kit_pass(2 * KIT_S);
    T_CHECK(cellar_tick(l, 0, NULL) == CELLAR_OK); /* due */
    T_CHECK(access(path, R_OK) == 0);
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        (void)base_fault_io_arm(sites[i], EIO, 1, false);
        kit_pass(KIT_S);
        T_CHECK(cellar_tick(l, 0, NULL) == CELLAR_E_IO);
        (void)base_fault_io_arm(NULL, 0, 0, false);
        T_CHECK(access(path, R_OK) == 0);
        T_CHECK(access(fresh, F_OK) != 0); /* no part of it stays */
        T_CHECK(cellar_tick(l, 0, NULL) == CELLAR_OK);
    }
    kit_close(l);
    T_REQUIRE(cellar_limiter_open(&c, &rule, 1, &l) == CELLAR_OK);
    T_EQ_U64(refused(l), 0);
    T_EQ_U64(kit_admit(l, "k", 40), 6);
    kit_close(l);
    unlink(path);
}

/* ---- windows over restarts ---- */

static uint64_t lives_ns, lives_boot_ns; /* since 1970; of the boot */
static uint64_t lives_clock(void *ctx) { (void)ctx; return lives_ns - lives_boot_ns; }
static uint64_t lives_boot(void *ctx) { return lives_clock(ctx) / KIT_MS; }
static uint64_t lives_wall(void *ctx) { (void)ctx; return lives_ns / KIT_MS; }

/* Clocks in ms are rounded, and a clock that starts again may already be later than it was at the
 * save: no window that contains restarts holds more than the limit. */
T_CASE(windows_over_restarts_hold_their_limit)
{
    const cellar_rule rules[2] = { cellar_rule_sliding_log(8, KIT_S),
                                   cellar_rule_token_bucket_strict(8, KIT_S, 3) };
    for (int n = 0; n < 4; n++) {
        uint64_t rng = t_seed(), stamp[8] = { 0 }, count = 0, over = 0;
        memset(&store, 0, sizeof store);
        lives_ns = UINT64_C(1790000000123456789);
        lives_boot_ns = lives_ns;
        for (int life = 0; life < 1500; life++) {
            cellar_limiter_config c = store_config();
            cellar_limiter *l = NULL;
            c.max_bytes = 64u << 10;
            c.clock_ns = lives_clock;
            c.boot_ms = lives_boot;
            c.wall_ms = lives_wall;
            if (n / 2 == 0) { lives_boot_ns = lives_ns - kit_below(&rng, KIT_S); }
            T_REQUIRE(cellar_limiter_open(&c, &rules[n % 2], 1, &l) == CELLAR_OK);
            for (int i = 0; i < 40; i++) {
                lives_ns += kit_below(&rng, 20 * KIT_MS);
                if (!kit_check(l, "k", 1)) { continue; }
                over += count >= 8 && lives_ns - stamp[count % 8] < KIT_S;
                stamp[count++ % 8] = lives_ns;
            }
            kit_close(l);
            lives_ns += kit_below(&rng, 300 * KIT_MS);
        }
        T_CHECK(count > 1000);
        T_EQ_U64(over, 0);
    }
}

/* ---- bans ---- */

enum { BAN_FORMS = 7, BAN_EVENTS = 7 };

/* Fill the rules of a limiter, and others with a tenth of their burst or limit. */
static uint32_t ban_form(int form, cellar_rule *a, cellar_rule *b)
{
    const cellar_rule rule[5] = { cellar_rule_token_bucket(100, KIT_S, 20),
                                  cellar_rule_sliding_window(100, CELLAR_MINUTE_NS),
                                  cellar_rule_fixed_window(100, CELLAR_PER_HOUR),
                                  cellar_rule_sliding_log(100, CELLAR_MINUTE_NS),
                                  cellar_rule_token_bucket(100, 365 * CELLAR_DAY_NS, 100) };
    a[0] = b[0] = form == 6 ? rule[4] : rule[form % 4];
    a[1] = b[1] = rule[2];
    if (a[0].burst != 0) { b[0].burst /= 10; } else { b[0].limit /= 10; }
    if (form == 5) { a[0].ban_ns = CELLAR_MINUTE_NS; } /* several words */
    return form == 4 ? 2 : 1;
}

/* Let one thing happen to the banned key; return the limiter, which may be another one. */
static cellar_limiter *ban_event(cellar_limiter *l, int event, const cellar_rule *a,
                                 const cellar_rule *b, uint32_t count, cellar_limiter_ticket *t)
{
    switch (event) {
    case 1: T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, b, count), CELLAR_OK); break;
    case 2:
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, b, count), CELLAR_OK);
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, a, count), CELLAR_OK);
        break;
    case 3: T_EQ_I64(cellar_limiter_rules_set(l, "k", 1, NULL, b, count), CELLAR_OK); break;
    case 4: T_EQ_I64(cellar_limiter_adjust(l, "k", 1, -1000000), CELLAR_OK); break;
    case 5: (void)cellar_limiter_commit(l, t, 0); break;
    case 6:
        kit_close(l);
        l = store_open(a, count);
        T_EQ_U64(refused(l), 0);
        break;
    default: break;
    }
    return l;
}

/* Whatever the rules are and whatever happens, a ban lasts what was said, to the nanosecond. */
T_CASE(bans_outlast_rules_refunds_and_snapshots)
{
    for (int n = 0; n < BAN_FORMS * BAN_EVENTS; n++) {
        cellar_rule a[2], b[2];
        cellar_limiter_ticket t;
        cellar_limiter_result r;
        const uint32_t count = ban_form(n / BAN_EVENTS, a, b);
        const uint64_t ban_ns = n / BAN_EVENTS == 6 ? 60 * CELLAR_DAY_NS : CELLAR_HOUR_NS;
        memset(&store, 0, sizeof store);
        cellar_limiter *l = store_open(a, count);
        T_EQ_I64(cellar_limiter_reserve(l, "k", 1, 5, 0, &t, NULL, NULL), CELLAR_OK);
        T_EQ_I64(cellar_limiter_ban(l, "k", 1, ban_ns), CELLAR_OK);
        l = ban_event(l, n % BAN_EVENTS, a, b, count, &t);
        T_EQ_I64(cellar_limiter_check(l, "k", 1, 1, &r), CELLAR_LIMITED);
        T_EQ_U64(r.rule, CELLAR_RULE_BAN);
        T_EQ_U64(r.retry_after_ns, ban_ns);
        T_EQ_U64(figures(l).banned, 1);
        kit_pass(ban_ns - 1);
        T_EQ_I64(kit_look(l, "k", 1, 1, NULL), CELLAR_LIMITED);
        kit_pass(1);
        T_EQ_I64(kit_look(l, "k", 1, 1, NULL), CELLAR_OK);
        T_EQ_I64(cellar_limiter_check(l, "k", 1, 1, NULL), CELLAR_OK);
        if (a[0].burst != 0) { T_EQ_I64(kit_look(l, "k", 1, 1, NULL), CELLAR_LIMITED); }
        if (t_failed()) { printf("# form %d, event %d\n", n / BAN_EVENTS, n % BAN_EVENTS); }
        kit_close(l);
    }
}

/* A ban leaves one unit and the time since, also if it ends before a save or while down. */
T_CASE(bans_that_ended_leave_one_unit_over_a_restart)
{
    for (int n = 0; n < 6; n++) {
        cellar_rule a[2], b[2];
        const bool before = n % 2 == 0;
        const uint32_t count = ban_form(n / 2 == 0 ? 6 : n / 2 == 1 ? 4 : 5, a, b);
        a[0] = cellar_rule_token_bucket(100, 100 * CELLAR_HOUR_NS, 20);
        if (n / 2 == 2) { a[0].ban_ns = CELLAR_MINUTE_NS; }
        memset(&store, 0, sizeof store);
        cellar_limiter *l = store_open(a, count);
        T_EQ_I64(cellar_limiter_ban(l, "k", 1, CELLAR_MINUTE_NS), CELLAR_OK);
        if (before) { kit_pass(2 * CELLAR_MINUTE_NS); }
        kit_close(l);
        if (!before) { kit_pass(2 * CELLAR_MINUTE_NS); }
        l = store_open(a, count);
        T_EQ_U64(refused(l), 0);
        T_EQ_U64(kit_admit(l, "k", 20), 1);
        if (t_failed()) { printf("# n %d\n", n); }
        kit_close(l);
    }
}

/* Rules with ban_ns in a limiter that was opened without: each denial bans, beside the word. The
 * denials of several rules find it under load all the same. */
T_CASE(rules_set_adds_bans_to_rules_without)
{
    static const int forms[] = { 0, 1, 2, 4 };
    for (int i = 0; i < 4; i++) {
        cellar_rule a[2], b[2];
        cellar_limiter_result r;
        const uint32_t count = ban_form(forms[i], a, b);
        cellar_limiter *l = kit_open(a, count);
        b[0].ban_ns = CELLAR_HOUR_NS;
        T_EQ_I64(cellar_limiter_rules_set(l, NULL, 0, NULL, b, count), CELLAR_OK);
        (void)kit_admit(l, "k", 10);
        T_EQ_I64(cellar_limiter_check(l, "k", 1, 1, &r), CELLAR_LIMITED);
        T_EQ_I64(cellar_limiter_check(l, "k", 1, 1, &r), CELLAR_LIMITED);
        T_EQ_U64(r.rule, CELLAR_RULE_BAN);
        T_EQ_U64(r.retry_after_ns, CELLAR_HOUR_NS);
        kit_pass(CELLAR_HOUR_NS - 1);
        T_EQ_U64(kit_admit(l, "k", 1), 0);
        kit_pass(1);
        T_EQ_U64(kit_admit(l, "k", 1), 1);
        kit_close(l);
    }
}

/* ---- clocks that go back, older readings ---- */

enum { KEYS = 3, CALLS = 600, KINDS = 10 };
enum { BUCKET, STRICT, LOG, WINDOW, MINUTE, BUCKET_WIDE, STRICT_WIDE, LOG_WIDE, WINDOW_WIDE,
       MINUTE_WIDE };

typedef enum way { OLDER_READINGS, CLOCK_GOES_BACK, CHAIN_ON_SUCH_A_CLOCK } way;

static struct trial {
    cellar_limiter *l, *second; /* of the chain */
    cellar_rule rule[2];
    uint32_t rules;
    int kind;
    uint64_t n, window, bound;
    uint64_t opened_ns; /* the clock does not go back before it; readings of callers do */
    uint64_t newest_ns; /* of the clock: behind it a snapshot is not promised to keep its times */
    uint64_t at[KEYS][CALLS]; /* now_ns of what was admitted */
    size_t count[KEYS];
    uint64_t rng;
} trial;

static uint64_t below(uint64_t n) { return kit_below(&trial.rng, n); }

static void set_clock(uint64_t ns)
{
    static const uint64_t began_ns = UINT64_C(1000000000000), began_ms = UINT64_C(1767225600000);
    if (ns > trial.newest_ns) { trial.newest_ns = ns; }
    atomic_store(&kit.now_ns, ns);
    atomic_store(&kit.wall_ms, began_ms + (ns - began_ns) / KIT_MS);
    atomic_store(&kit.boot_ms, (ns - began_ns) / KIT_MS);
}

static void open_limiter(void)
{
    cellar_limiter_config c = store_config();
    c.max_bytes = 64u << 10;
    T_REQUIRE(cellar_limiter_open(&c, trial.rule, trial.rules, &trial.l) == CELLAR_OK);
    trial.opened_ns = kit_clock(NULL);
}

/* Close and open again at the same moment: the snapshot brings everything back. */
static void reopen(void)
{
    kit_close(trial.l);
    open_limiter();
}

static void draw(int kind)
{
    const uint64_t n = 1 + below(6), burst = 1 + below(n);
    const uint64_t w = below(2) == 0 ? (1 + below(3)) * KIT_S : 1000 + below(KIT_MS);
    const int base = kind % 5;
    trial.kind = kind;
    trial.n = trial.bound = n;
    trial.window = w;
    trial.rules = kind >= BUCKET_WIDE ? 2 : 1;
    trial.rule[1] = cellar_rule_token_bucket(1000000, KIT_S, 1000000);
    switch (base) {
    case BUCKET: {
        const uint64_t t = (w * 64 + n - 1) / n;
        trial.rule[0] = cellar_rule_token_bucket(n, w, burst);
        trial.bound = burst + (w * 64 + t - 1) / t - 1;
        break;
    }
    case STRICT: trial.rule[0] = cellar_rule_token_bucket_strict(n, w, burst); break;
    case LOG: trial.rule[0] = cellar_rule_sliding_log(n, w); break;
    case WINDOW:
        trial.rule[0] = cellar_rule_sliding_window(n, w);
        trial.bound = 2 * n - 1;
        break;
    default:
        trial.rule[0] = cellar_rule_fixed_window(n, CELLAR_PER_MINUTE);
        trial.window = 60 * KIT_S;
    }
    memset(trial.count, 0, sizeof trial.count);
}

static uint64_t step_back(uint64_t now)
{
    if (below(100) == 0) { return below(now); } /* before the limiter's start */
    return below(3) != 0 ? 0 : below(trial.window * (below(2) == 0 ? 4 : 1));
}

static cellar_err ask(way how, const char *key, uint64_t cost, cellar_limiter_result *r)
{
    const uint64_t now = kit_clock(NULL), back = step_back(now);
    const uint64_t earlier = now - back > trial.opened_ns ? now - back : trial.opened_ns;
    const cellar_limiter_link links[2] = { { trial.second, key, 1, 1 }, { trial.l, key, 1, cost } };
    if (how == OLDER_READINGS) {
        return kit_check_at(trial.l, key, 1, cost, now - back, r);
    }
    if (below(5) == 0) { set_clock(earlier < now ? earlier : now); }
    const cellar_err err = how == CHAIN_ON_SUCH_A_CLOCK
                               ? cellar_limiter_check_chain(links, 2, r, NULL)
                               : cellar_limiter_check(trial.l, key, 1, cost, r);
    if (below(20) == 0) { T_EQ_I64(cellar_tick(trial.l, 0, NULL), CELLAR_OK); }
    if (below(100) == 0 && kit_clock(NULL) >= trial.newest_ns) { reopen(); }
    if (below(2) == 0) { set_clock(now); }
    return err;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The most that one window, or one minute, holds. */
static uint64_t most_of(uint64_t *at, size_t count)
{
    uint64_t most = 0;
    qsort(at, count, sizeof *at, compare);
    for (size_t i = 0, j = 0; i < count; i++) {
        if (trial.kind % 5 == MINUTE) { /* the kit's minutes: 40 s of its ns are over then */
            const uint64_t off = UINT64_C(1000000000000) % trial.window;
            while ((at[i] - off) / trial.window != (at[j] - off) / trial.window) { j++; }
        } else {
            while (at[i] - at[j] >= trial.window) { j++; }
        }
        if (i - j + 1 > most) { most = i - j + 1; }
    }
    return most;
}

static void try_one(uint64_t number, int kind, way how)
{
    trial.rng = t_seed() + number * 77777;
    trial.newest_ns = 0;
    set_clock(UINT64_C(1000000000000) + below(100) * KIT_S);
    draw(kind);
    open_limiter();
    trial.second = kit_open1(cellar_rule_token_bucket(1000000, KIT_S, 1000000));
    for (int i = 0; i < CALLS; i++) {
        const size_t k = (size_t)below(KEYS);
        const char key[2] = { (char)('a' + k), '\0' };
        const uint64_t cost = below(10) != 0, now = kit_clock(NULL);
        cellar_limiter_result r;
        if (below(3) == 0) {
            set_clock(now + below(below(4) == 0 ? trial.window : trial.window / trial.n + 1));
        }
        if (ask(how, key, cost, &r) == CELLAR_OK && cost != 0) {
            trial.at[k][trial.count[k]++] = r.now_ns;
        }
    }
    for (size_t k = 0; k < KEYS; k++) {
        const uint64_t most = most_of(trial.at[k], trial.count[k]);
        if (T_CHECK(most <= trial.bound)) { continue; }
        printf("# kind %d, way %d, number %" PRIu64 ": N %" PRIu64 ", window %" PRIu64 ": %" PRIu64
               " of at most %" PRIu64 "\n", kind, (int)how, number, trial.n, trial.window, most,
               trial.bound);
    }
    kit_close(trial.second);
    kit_close(trial.l);
    store_empty();
}

static void try_all(way how)
{
    const uint64_t each = t_env_u64("LIMIT_OLDER", 600) / KINDS;
    for (uint64_t i = 0; i < each && !t_failed(); i++) {
        for (int kind = 0; kind < KINDS; kind++) { try_one(i * KINDS + (uint64_t)kind, kind, how); }
    }
}
T_CASE(older_readings_stay_within_every_bound) { try_all(OLDER_READINGS); }
T_CASE(clock_that_goes_back_stays_within_every_bound) { try_all(CLOCK_GOES_BACK); }
T_CASE(chain_stays_within_every_bound) { try_all(CHAIN_ON_SUCH_A_CLOCK); }

/* ---- permits ---- */

/* Of the permits that were not released, at most N have a hold beyond the newest reading. */
T_CASE(permits_stay_within_their_number)
{
    enum { N = 3, MOST = 4000 };
    static struct { uint64_t token, until; } out[MOST];
    uint64_t newest = 0, rng = t_seed();
    const uint64_t opened = kit_clock(NULL);
    cellar_limiter *l = kit_open1(cellar_rule_concurrency(N));
    for (size_t i = 0; i < MOST; i++) {
        const uint64_t hold_ms = 1 + kit_below(&rng, 1000), dice = kit_below(&rng, 4);
        const uint64_t now = kit_clock(NULL), s = kit_below(&rng, KIT_S);
        atomic_store(&kit.now_ns, dice == 0 && now - s > opened ? now - s
                                  : dice == 1 ? now + s : now);
        const uint64_t at = kit_clock(NULL);
        cellar_limiter_result r;
        newest = at > newest ? at : newest;
        out[i].until = 0;
        if (cellar_permit_acquire(l, "k", 1, (int64_t)hold_ms, &out[i].token, &r) ==
            CELLAR_OK) {
            out[i].until = at + hold_ms * KIT_MS;
        }
        T_EQ_U64(r.now_ns, at);
        const size_t j = (size_t)kit_below(&rng, i + 1);
        if (dice == 2 && cellar_permit_release(l, "k", 1, out[j].token) == CELLAR_OK) {
            out[j].until = 0;
        }
        uint64_t alive = 0;
        for (size_t k = 0; k <= i; k++) { alive += out[k].until > newest; }
        T_CHECK(alive <= N);
    }
    kit_close(l);
}

/* ---- what one older reading says ---- */

static cellar_limiter_result at(cellar_limiter *l, uint64_t now_ns, cellar_err want)
{
    cellar_limiter_result r;
    memset(&r, 0xa5, sizeof r);
    T_EQ_I64(kit_check_at(l, "k", 1, 1, now_ns, &r), want);
    return r;
}

/* Readings that the oracle does not bring: of before the limiter's start, and ahead of its minute. */
T_CASE(result_tells_the_reading_that_was_used)
{
    const uint64_t t = UINT64_C(2000) * KIT_S, now = t + 100 * KIT_S;
    set_clock(t);
    cellar_limiter *bucket = kit_open1(cellar_rule_token_bucket(10, KIT_S, 1));
    cellar_limiter *log = kit_open1(cellar_rule_sliding_log(1, KIT_S));
    cellar_limiter *minute = kit_open1(cellar_rule_fixed_window(2, CELLAR_PER_MINUTE));
    set_clock(now);
    T_EQ_U64(at(bucket, now, CELLAR_OK).now_ns, now);
    T_EQ_U64(at(bucket, 1, CELLAR_LIMITED).now_ns, t - KIT_S);
    T_EQ_U64(at(log, now, CELLAR_OK).now_ns, now);
    T_EQ_U64(at(log, 0, CELLAR_LIMITED).now_ns, now);
    T_EQ_U64(at(minute, 5, CELLAR_OK).now_ns, now);
    T_EQ_U64(at(minute, now + CELLAR_DAY_NS, CELLAR_OK).now_ns, now);
    kit_close(bucket);
    kit_close(log);
    kit_close(minute);
}

T_ONE_THREAD;
T_MAIN("cellar_limit_snapshot")
