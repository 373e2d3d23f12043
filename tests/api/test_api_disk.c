/* SPDX-License-Identifier: MIT
 *
 * Aim:    The disk tier as a user meets it. With two fields set, evicted entries are read back
 *         with the rest of their TTL, and every call finds them. Namespaces, options, ciphers
 *         and compression do what the header says. A store with an unusable disk continues in
 *         memory.
 * Method: Real directories under TMPDIR, a clock that the test turns. */
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar_breaker.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "tests/support/counter.h"
#include "tests/support/disk_values.h"
#include "tests/support/figures.h"
#include "tests/support/loader.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

/* Read while it is in memory: worth its bytes on disk at its eviction. */
static cellar_err put_used(cellar *c, uint32_t key, uint32_t version, int64_t ttl_ms)
{
    const cellar_err err = put(c, key, version, ttl_ms);
    T_EQ_I64(look(c, key, version), CELLAR_OK);
    return err;
}

/* Put and read keys 0 to `count` - 1: more than memory holds. */
static void put_all_used(cellar *c, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        T_EQ_I64(put_used(c, i, 1, 0), CELLAR_OK);
        if (i % 100 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
}

static settings small_config(void)
{
    settings cfg = config();
    cfg.config.max_entries = 100;
    return cfg;
}

#define STORE(fn) T_WITHIN(fn, store_begin(), store_end())

static cellar_reason why(cellar *c, uint32_t key)
{
    cellar_reason r = cellar_reason_default();
    T_EQ_I64(cellar_why(c, &key, sizeof key, &r), CELLAR_OK);
    return r;
}

/* Delete a key that memory does not have: the answer is DELETED, for this call. */
static void delete_below(cellar *c, uint32_t key)
{
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_MISS);
    const cellar_reason r = why(c, key);
    T_EQ_U64(r.answer, CELLAR_WHY_GONE);
    T_EQ_U64(r.cause, CELLAR_CAUSE_DELETED);
    T_CHECK(r.ago_ms < 64);
}

T_CASE_ON(why_reports_the_delete_of_an_entry_that_was_only_on_disk, STORE)
{
    const uint32_t key = 7, other = 5000;
    settings cfg = small_config();
    cellar *c = open_with(&cfg);
    put_all_used(c, 1000);
    bool demoted = false;
    for (uint32_t i = 0; i < 1000 && !demoted; i++) {
        cellar_entry_info info = cellar_entry_info_default();
        demoted = i != key && why(c, i).cause == CELLAR_CAUSE_EVICTED &&
                  cellar_entry_info_get(c, &i, sizeof i, 0, &info) == CELLAR_OK &&
                  info.tier == CELLAR_TIER_L2;
        if (demoted) { delete_below(c, i); }
    }
    T_CHECK(demoted);
    c = reopen_with(c, &cfg); /* no key has a record */
    T_EQ_U64(why(c, key).answer, CELLAR_WHY_UNKNOWN);
    delete_below(c, key);
    now_ms += 10000;
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_MISS); /* this one removes nothing */
    T_CHECK(why(c, key).ago_ms > 9900);
    T_EQ_I64(cellar_delete(c, &other, sizeof other), CELLAR_MISS);
    T_EQ_U64(why(c, other).answer, CELLAR_WHY_UNKNOWN); /* no entry had that key */
}

/* Replace the data file by a shorter one. */
static void cut_data(void)
{
    char name[T_FOLDER_MAX + 24];
    (void)snprintf(name, sizeof name, "%s/data.seg", store);
    T_EQ_I64(truncate(name, 4096), 0);
}

/* Files of the tier are cut: each key that had left memory before says so, and one that left later
 * does not. */
T_CASE_ON(why_names_the_loss_of_the_disk_tier, STORE)
{
    settings cfg = small_config();
    cellar *c = open_with(&cfg);
    for (uint32_t i = 0; i < 500; i++) { T_EQ_I64(put(c, i, 1, 0), CELLAR_OK); }
    uint32_t early = 0;
    while (early < 500 && why(c, early).cause != CELLAR_CAUSE_EVICTED) { early++; }
    T_REQUIRE(early < 500);
    T_CHECK(why(c, early).lost_ago_ms == CELLAR_TTL_NONE && why(c, early).by_len == 0);
    now_ms += 10000;
    cut_data();
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}
    T_CHECK(figure(c, "cellar_lost_entries_total{reason=\"files\"}") >= 1);
    now_ms += 5000;
    const cellar_reason r = why(c, early), never = why(c, 7777);
    T_EQ_U64(r.cause, CELLAR_CAUSE_EVICTED);
    T_EQ_I64(r.lost_ago_ms, 5000);
    T_CHECK(r.by_len == 5 && memcmp(r.by, "files", 5) == 0);
    T_EQ_U64(never.answer, CELLAR_WHY_UNKNOWN);
    T_EQ_I64(never.lost_ago_ms, 5000);
    for (uint32_t i = 1000; i < 1500; i++) { T_EQ_I64(put(c, i, 1, 0), CELLAR_OK); }
    uint32_t late = 1000;
    while (late < 1500 && why(c, late).cause != CELLAR_CAUSE_EVICTED) { late++; }
    T_REQUIRE(late < 1500);
    T_EQ_I64(why(c, late).lost_ago_ms, CELLAR_TTL_NONE);
    T_EQ_I64(end_of(c), CELLAR_OK);
}

/* After a close and an open each call reads entries that only the disk has. Twice: with a value
 * that needs a second call for its length. */
T_ALONE(every_call_reads_entries_on_disk)
{
    static char big[100000];
    static const char *const keys[] = { "pin", "touch", "update", "absent", "present", "look",
                                        "many", "size" };
    memset(big, 'b', sizeof big);
    for (unsigned round = 0; round < 2; round++) {
        const size_t n = round == 0 ? 100 : sizeof big - 1;
        store_begin();
        cellar *c = open_it();
        cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 7200000, .user_flags = 9 };
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            T_EQ_I64(cellar_set(c, keys[i], strlen(keys[i]), big, n, &o), CELLAR_OK);
        }
        int64_t now = 0;
        T_EQ_I64(cellar_increment(c, "count", 5, 41, 0, COUNTER_OPTS(7200000, 0), &now), CELLAR_OK);
        c = reopen(c);
        T_EQ_I64(cellar_contains(c, "look", 4), CELLAR_OK);
        T_EQ_I64(cellar_contains(c, "loop", 4), CELLAR_MISS);
        cellar_entry_info info = entry_info(c, "look", 4);
        T_FIELDS(info, tier, CELLAR_TIER_L2, value_len, n, user_flags, 9);
        T_EQ_I64(info.ttl_left_ms, 7200000);
        size_t len = 0;
        cellar_get_item many[2] = { { "many", 4, big, sizeof big, 0, CELLAR_OK, 0 },
                                    { "size", 4, NULL, 0, 0, CELLAR_OK, 0 } };
        T_EQ_I64(cellar_get_many(c, many, 2, &len), CELLAR_OK);
        T_CHECK(len == 1 && many[0].value_len == n && many[1].value_len == n);
        T_EQ_I64(many[1].status, CELLAR_E_BUFFER);
        T_CHECK(many[0].user_flags == 9 && many[1].user_flags == 9);
        T_EQ_I64(cellar_delete(c, "many", 4), CELLAR_OK); /* it is in memory now */
        len = 0;
        T_EQ_I64(peek(c, "look", 4, big, sizeof big, &len), CELLAR_OK);
        T_EQ_U64(len, n);
        T_EQ_U64(store_stats(c).entries, 0); /* the peek left the entry on disk */
        cellar_pinned p;
        T_EQ_I64(cellar_pin(c, "pin", 3, &p), CELLAR_OK);
        T_EQ_U64(p.value_len, n);
        cellar_unpin(&p);
        T_EQ_I64(cellar_touch(c, "touch", 5, 9000000), CELLAR_OK);
        T_EQ_I64(entry_info(c, "touch", 5).ttl_left_ms, 9000000);
        T_EQ_I64(cellar_update(c, "update", 6, NULL, append, NULL), CELLAR_OK);
        T_EQ_I64(cellar_get(c, "update", 6, NULL, 0, &len), CELLAR_E_BUFFER);
        T_EQ_U64(len, n + 1);
        o.flags = CELLAR_ONLY_IF_ABSENT;
        T_EQ_I64(cellar_set(c, "absent", 6, "v", 1, &o), CELLAR_EXISTS);
        o.flags = CELLAR_ONLY_IF_PRESENT;
        T_EQ_I64(cellar_set(c, "present", 7, "v", 1, &o), CELLAR_OK);
        T_EQ_I64(cellar_increment(c, "count", 5, 1, 1000, NULL, &now), CELLAR_OK);
        T_EQ_I64(now, 42);
        store_end();
    }
}

/* Run all work of the disk; the first cancellation point comes after it. */
static void *use_disk_with_a_cancel_pending(void *arg)
{
    int *reached = arg;
    settings cfg = small_config();
    cfg.l2.sync = CELLAR_L2_SYNC_PERIODIC;
    cfg.l2.sync_interval_ms = 1;
    (void)pthread_cancel(pthread_self());
    for (int life = 0; life < 2; life++) {
        cellar *c = open_with(&cfg);
        put_all_used(c, 1000);
        T_EQ_I64(cellar_sync(c), CELLAR_OK);
        T_CHECK(hits_of(c, 1000) > 500);
        T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_BYTES, 20 << 20), CELLAR_OK);
        shut(c);
    }
    *reached = 1;
    pthread_testcancel();
    return NULL;
}

T_CASE_ON(disk_access_is_no_cancellation_point, STORE)
{
    pthread_t t;
    int reached = 0;
    void *end = NULL;
    T_REQUIRE(pthread_create(&t, NULL, use_disk_with_a_cancel_pending, &reached) == 0);
    T_REQUIRE(pthread_join(t, &end) == 0);
    T_EQ_I64(reached, 1);
    T_CHECK(end == PTHREAD_CANCELED);
}

/* User flags of single loads, bulk loads and leases: test_api_load_hit.c. */
T_CASE_ON(pinned_load_of_a_value_on_disk_is_copied, ON_DISK)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    const cellar_load_opts pinned = { .struct_size = sizeof pinned,
                                      .flags = CELLAR_LOAD_ONLY_IF_CACHED | CELLAR_LOAD_PIN };
    cellar *c = open_it();
    T_EQ_I64(cellar_set(c, "a", 1, "v", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "b", 1, "v", 1, NULL), CELLAR_OK);
    c = reopen(c);
    for (int read = 0; read < 2; read++) { /* the first one brings the entry into memory */
        T_EQ_I64(cellar_get_or_load(c, "a", 1, &pinned, NULL, NULL, &r), CELLAR_OK);
        T_EQ_U64(r.source, read == 0 ? CELLAR_SOURCE_L2 : CELLAR_SOURCE_L1);
        T_EQ_U64(r.flags, read == 0 ? 0 : CELLAR_RESULT_PINNED);
        T_EQ_MEM(r.value, "v", 1);
        cellar_result_free(&r);
    }
    T_EQ_I64(cellar_lease_acquire(c, "b", 1, NULL, NULL, &lease, &r), CELLAR_OK);
    T_EQ_U64(r.source, CELLAR_SOURCE_L2);
    cellar_result_free(&r);
}

T_CASE_ON(backfilled_entry_keeps_its_deadline, ON_DISK)
{
    settings cfg = config();
    cfg.config.max_entries = 50;
    cellar *c = open_with(&cfg);
    T_EQ_I64(put_used(c, 0, 1, 60000), CELLAR_OK);
    for (uint32_t i = 1; i < 500; i++) { T_EQ_I64(put(c, i, 1, 0), CELLAR_OK); }
    now_ms += 20000;
    T_EQ_I64(look(c, 0, 1), CELLAR_OK);
    const uint32_t key = 0;
    T_EQ_I64(entry_info(c, &key, sizeof key).ttl_left_ms, 40000);
    c = reopen(c); /* the same boot, ten seconds later */
    now_ms += 10000;
    T_EQ_I64(look(c, 0, 1), CELLAR_OK);
    T_EQ_I64(entry_info(c, &key, sizeof key).ttl_left_ms, 30000);
    now_ms += 30000;
    T_EQ_I64(look(c, 0, 1), CELLAR_MISS);
    c = reopen(c);
    T_EQ_I64(look(c, 0, 1), CELLAR_MISS);
}

/* The root's label is for statistics: it may change, and a namespace may have the same name. */
T_CASE_ON(namespace_with_label_of_root_is_separate, ON_DISK)
{
    static const char *const label[] = { "users", "users", "others", NULL };
    for (uint32_t life = 0; life < 4; life++) {
        settings cfg = config();
        cfg.host.name = label[life];
        cellar *c = open_with(&cfg), *v = space_with(c, "users", NULL);
        for (uint32_t i = 0; i < 50; i++) {
            T_EQ_I64(look(c, i, 1), life == 0 ? CELLAR_MISS : CELLAR_OK);
            T_EQ_I64(look(v, i, 2), life == 0 ? CELLAR_MISS : CELLAR_OK);
            T_EQ_I64(put(c, i, 1, 0), CELLAR_OK);
            T_EQ_I64(put(v, i, 2, 0), CELLAR_OK);
        }
        shut(c);
    }
}

static bool in_files(const char *needle)
{
    static unsigned char buf[32u << 20];
    char file[600];
    bool found = false;
    DIR *d = opendir(store);
    T_REQUIRE(d != NULL);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        snprintf(file, sizeof file, "%s/%s", store, e->d_name);
        FILE *f = fopen(file, "rb");
        const size_t n = f != NULL && e->d_name[0] != '.' ? fread(buf, 1, sizeof buf, f) : 0;
        if (f != NULL) { fclose(f); }
        found = found || memmem(buf, n, needle, strlen(needle)) != NULL;
    }
    closedir(d);
    return found;
}

T_CASE_ON(hidden_namespace_never_touches_disk, ON_DISK)
{
    cellar_namespace_config o = { .struct_size = sizeof o, .hidden = 1 };
    cellar *c = open_it(), *secret = space_with(c, "sesame", &o);
    cellar *open_namespace = space_with(c, "plainview", NULL);
    T_EQ_I64(cellar_set(secret, "hiddenkey", 9, "hiddenvalue", 11, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(open_namespace, "knownkey", 8, "knownvalue", 10, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete(secret, "hiddenkey", 9), CELLAR_OK);
    T_EQ_I64(cellar_set(secret, "hiddenkey", 9, "hiddenvalue", 11, NULL), CELLAR_OK);
    T_EQ_I64(cellar_clear(secret), CELLAR_OK);
    T_EQ_I64(cellar_set(secret, "hiddenkey", 9, "hiddenvalue", 11, NULL), CELLAR_OK);
    shut(c);
    T_CHECK(in_files("knownkey") && in_files("knownvalue") && in_files("plainview"));
    T_CHECK(!in_files("hiddenkey") && !in_files("hiddenvalue") && !in_files("sesame"));
    /* While the index is read after an open every change is logged, but none of a hidden
     * namespace. */
    const settings cfg = config();
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    secret = space_with(c, "sesame", &o);
    T_EQ_I64(cellar_delete(secret, "hiddenkey", 9), CELLAR_MISS);
    shut(c);
    T_CHECK(!in_files("hiddenkey") && !in_files("sesame"));
    /* A namespace that becomes hidden loses its entries on disk, also for later opens. */
    c = open_it();
    o.hidden = 0;
    o.tier = CELLAR_TIER_L1;
    open_namespace = space_with(c, "plainview", &o);
    T_EQ_I64(cellar_get(open_namespace, "knownkey", 8, NULL, 0, NULL), CELLAR_MISS);
    T_EQ_I64(cellar_delete(open_namespace, "knownkey", 8), CELLAR_MISS);
    c = reopen(c);
    open_namespace = space_with(c, "plainview", NULL);
    T_EQ_I64(cellar_get(open_namespace, "knownkey", 8, NULL, 0, NULL), CELLAR_MISS);
}

/* The value is over half a segment. Another value of that length has parts on disk. */
T_CASE_ON(long_value_of_a_hidden_namespace_never_touches_disk, ON_DISK)
{
    static char value[700 << 10], got[700 << 10];
    settings cfg = config();
    cfg.config.memory_bytes = 16u << 20;
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = CELLAR_L2_WRITE_THROUGH };
    cellar *c = open_with(&cfg), *known = space_with(c, "plainview", &o);
    o.hidden = 1;
    o.l2_write = CELLAR_L2_WRITE_ON_SET;
    cellar *secret = space_with(c, "sesame", &o);
    for (size_t i = 0; i < sizeof value; i += 16) { memcpy(value + i, "the known value!", 16); }
    T_EQ_I64(cellar_set(known, "knownkey", 8, value, sizeof value, NULL), CELLAR_OK);
    for (size_t i = 0; i < sizeof value; i += 16) { memcpy(value + i, "hidden value of ", 16); }
    T_EQ_I64(cellar_set(secret, "hiddenkey", 9, value, sizeof value, NULL), CELLAR_OK);
    size_t total = 0;
    T_EQ_I64(cellar_get_range(secret, "hiddenkey", 9, 160, got, sizeof got, &total), CELLAR_OK);
    T_CHECK(total == sizeof value && memcmp(got, value, sizeof value - 160) == 0);
    T_EQ_I64(cellar_get_range(secret, "knownkey", 8, 0, got, sizeof got, &total), CELLAR_MISS);
    T_EQ_I64(cellar_save(c, NULL), CELLAR_OK);
    T_CHECK(in_files("the known value!"));
    T_CHECK(!in_files("hidden value of ") && !in_files("hiddenkey"));
    memset(value, 'x', sizeof value);
    for (uint32_t n = 0; n < 100; n++) { /* most values leave memory */
        T_EQ_I64(cellar_set(c, &n, sizeof n, value, 600 << 10, NULL), CELLAR_OK);
        while (cellar_tick(c, 2000, NULL) == CELLAR_PENDING) {}
    }
    shut(c);
    T_CHECK(!in_files("hidden value of ") && !in_files("hiddenkey") && !in_files("sesame"));
}

/* Replace every record on disk from outside the store. */
static void spoil_the_disk(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/data.seg", store);
    FILE *f = fopen(path, "r+b");
    T_REQUIRE(f != NULL);
    T_EQ_I64(fseek(f, 0, SEEK_END), 0);
    const long size = ftell(f);
    for (long at = 0; at < size; at += 1 << 16) {
        static unsigned char junk[1 << 16];
        memset(junk, 0xa5, sizeof junk);
        T_EQ_I64(fseek(f, at, SEEK_SET), 0);
        const size_t n = size - at < (long)sizeof junk ? (size_t)(size - at) : sizeof junk;
        T_EQ_U64(fwrite(junk, 1, n, f), n);
    }
    T_EQ_I64(fclose(f), 0);
}

static cellar_err load_it(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    const char *text = ctx;
    return text != NULL ? cellar_load_value(ld, text, strlen(text)) : CELLAR_E_IO;
}

/* Return the value of a load of `key`, or NULL for another code than OK. */
static const char *loaded(cellar *c, const char *key, const cellar_load_opts *o, const char *text,
                          uint32_t *source)
{
    static char buf[64];
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(c, key, strlen(key), o, load_it,
                                              (void *)(uintptr_t)text, &r);
    if (err == CELLAR_OK) { snprintf(buf, sizeof buf, "%.*s", (int)r.value_len,
                                     (const char *)r.value); }
    *source = r.source;
    cellar_result_free(&r);
    return err == CELLAR_OK ? buf : NULL;
}

static bool there(cellar *c, const char *key)
{
    char buf[64];
    return cellar_get(c, key, strlen(key), buf, sizeof buf, NULL) == CELLAR_OK;
}

/* Fill memory with other keys. */
static void push_out(cellar *c)
{
    for (uint32_t i = 0; i < 3000; i++) {
        T_EQ_I64(put(c, 100000 + i, 1, 0), CELLAR_OK);
        if (i % 200 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
}

T_CASE_ON(entries_excluded_from_disk_are_never_written, ON_DISK)
{
    static const char *const kept_out[] = { "no", "set", "fall", "renewed" };
    const cellar_bytes last = { "default", 7 };
    uint32_t from;
    settings cfg = small_config();
    cfg.config.eviction = CELLAR_EVICT_FIFO;
    cellar *c = open_with(&cfg);
    cellar_load_opts no = cellar_load_opts_default(), fall = cellar_load_opts_default();
    cellar_load_opts cached = cellar_load_opts_default();
    no.flags = CELLAR_LOAD_NO_L2;
    cached.flags = CELLAR_LOAD_NO_L2 | CELLAR_LOAD_ONLY_IF_CACHED;
    fall.default_value = &last;
    fall.fallback_ttl_ms = 10000000;
    cellar_set_opts so = { .struct_size = sizeof so, .flags = CELLAR_NO_L2 };
    /* The entry is on disk first, then a load bypasses it. */
    T_EQ_STR(loaded(c, "no", NULL, "first", &from), "first");
    T_EQ_STR(loaded(c, "yes", NULL, "first", &from), "first");
    T_CHECK(there(c, "no") && there(c, "yes"));
    push_out(c);
    T_CHECK(loaded(c, "no", &cached, "x", &from) == NULL);
    cellar_load_item item = { "yes", 3, fresh_result(), CELLAR_OK, 0 };
    T_EQ_I64(cellar_get_or_load_many(c, &item, 1, &cached, NULL, NULL), CELLAR_OK);
    T_EQ_I64(item.status, CELLAR_MISS);
    cached.flags = CELLAR_LOAD_ONLY_IF_CACHED; /* an entry on disk is cached, in bulk, too */
    T_EQ_I64(cellar_get_or_load_many(c, &item, 1, &cached, NULL, NULL), CELLAR_OK);
    T_EQ_I64(item.status, CELLAR_OK);
    T_EQ_U64(item.result->source, CELLAR_SOURCE_L2);
    cellar_result_free(item.result);
    T_EQ_STR(loaded(c, "no", &no, "second", &from), "second");
    T_EQ_U64(from, CELLAR_SOURCE_LOADED);
    T_EQ_STR(loaded(c, "fall", &fall, NULL, &from), "default");
    T_EQ_I64(cellar_set(c, "set", 3, "v", 1, &so), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "renewed", 7, "v", 1, &so), CELLAR_OK);
    T_EQ_I64(cellar_touch(c, "renewed", 7, 10000000), CELLAR_OK);
    for (int i = 0; i < 4; i++) { T_CHECK(there(c, kept_out[i])); }
    push_out(c); /* nor is the copy older than the negative entry served */
    for (int i = 0; i < 4; i++) { T_CHECK(!there(c, kept_out[i])); }
    T_CHECK(there(c, "yes"));
    T_EQ_STR(loaded(c, "no", &no, "third", &from), "third");
    T_EQ_STR(loaded(c, "fall", &fall, NULL, &from), "default");
    T_EQ_I64(cellar_set(c, "set", 3, "v", 1, &so), CELLAR_OK);
    c = reopen_with(c, &cfg); /* a close writes the remaining entries, but not these */
    for (int i = 0; i < 4; i++) { T_CHECK(!there(c, kept_out[i])); }
    T_CHECK(there(c, "yes"));
    T_EQ_I64(cellar_set(c, "set", 3, "v", 1, NULL), CELLAR_OK); /* the next set is another entry */
    c = reopen_with(c, &cfg);
    T_CHECK(there(c, "set"));
}

static cellar_err load_all(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys;
    for (size_t i = 0; i < count; i++) {
        T_EQ_I64(loader_value(ld, i, ctx, strlen(ctx)), CELLAR_OK);
    }
    return CELLAR_OK;
}

/* Every kind of load respects the disk options of its flags and of its namespace. */
T_CASE_ON(bulk_loads_and_leases_respect_no_disk_options, ON_DISK)
{
    uint32_t from;
    static char text[] = "new";
    settings cfg = small_config();
    cfg.config.eviction = CELLAR_EVICT_FIFO;
    cellar *c = open_with(&cfg);
    T_EQ_STR(loaded(c, "bulk", NULL, "old", &from), "old");
    T_EQ_STR(loaded(c, "lease", NULL, "old", &from), "old");
    T_CHECK(there(c, "bulk") && there(c, "lease"));
    push_out(c);
    cellar_load_item item = { "bulk", 4, fresh_result(), CELLAR_OK, 0 };
    cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_REFRESH };
    T_EQ_I64(cellar_get_or_load_many(c, &item, 1, &o, load_all, text), CELLAR_OK);
    T_EQ_I64(item.status, CELLAR_OK);
    T_EQ_U64(item.result->source, CELLAR_SOURCE_LOADED);
    cellar_result_free(item.result);
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    o.flags = CELLAR_LOAD_NO_L2;
    T_EQ_I64(cellar_lease_acquire(c, "lease", 5, &o, NULL, &lease, &r), CELLAR_LEASED);
    cellar_set_opts so = cellar_set_opts_default();
    so.flags = CELLAR_DURABLE; /* no disk write could be waited for */
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "new", 3, &so), CELLAR_E_INVAL);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "new", 3, NULL), CELLAR_OK);
    T_CHECK(there(c, "bulk") && there(c, "lease"));
    push_out(c);
    T_CHECK(there(c, "bulk") && !there(c, "lease"));
    T_EQ_STR(loaded(c, "off", NULL, "old", &from), "old");
    T_CHECK(there(c, "off"));
    push_out(c);
    o.flags = CELLAR_LOAD_ONLY_IF_CACHED; /* a disabled namespace has nothing on disk either */
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    T_CHECK(loaded(c, "off", &o, NULL, &from) == NULL);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_EQ_STR(loaded(c, "off", &o, NULL, &from), "old");
}

T_ALONE(disk_breaker_follows_store_options)
{
    for (int set = 0; set < 2; set++) {
        store_begin();
        settings cfg = config();
        cellar *c = open_with(&cfg);
        /* more than a segment: the first ones are in data.seg */
        for (uint32_t i = 0; i < 4000; i++) { T_EQ_I64(put_used(c, i, 1, 0), CELLAR_OK); }
        cfg.l2.fail_damaged_pct = set == 1 ? 100 : 0;
        cfg.l2.retry_ms = set == 0 ? 500 : 0;
        cfg.config.memory_bytes = 4u << 20;
        c = reopen_with(c, &cfg);
        T_EQ_U64(figure(c, "cellar_l2_breaker_state"), CELLAR_BREAKER_CLOSED);
        spoil_the_disk();
        for (uint32_t i = 0; i < 1000; i++) { T_CHECK(look(c, i, 1) != CELLAR_CONFLICT); }
        T_CHECK(figure(c, "cellar_l2_damage_total") >= 8);
        T_EQ_U64(figure(c, "cellar_l2_breaker_state"), set == 0 ? CELLAR_BREAKER_OPEN
                                                                : CELLAR_BREAKER_CLOSED);
        static char text[65536];
        T_EQ_I64(cellar_dump_write(c, text, sizeof text, NULL), CELLAR_OK);
        T_CHECK(strstr(text, set == 0 ? ", breaker open\n" : ", breaker closed\n") != NULL);
        now_ms += 499;
        (void)cellar_tick(c, 1000, NULL);
        T_EQ_U64(figure(c, "cellar_l2_breaker_state"), set == 0 ? CELLAR_BREAKER_OPEN
                                                                : CELLAR_BREAKER_CLOSED);
        now_ms += 1;
        (void)cellar_tick(c, 1000, NULL);
        T_EQ_U64(figure(c, "cellar_l2_breaker_state"), CELLAR_BREAKER_CLOSED);
        store_end();
    }
}

T_CASE_ON(cipher_encrypts_values_on_disk, ON_DISK)
{
    uint64_t right = 1234567, wrong = 7654321;
    settings cfg = config();
    cellar_l2_cipher crypt = { .struct_size = sizeof crypt, .ctx = &right, .seal = toy_seal,
                               .open = toy_open, .overhead_bytes = sizeof(uint64_t) };
    cfg.l2.cipher = &crypt;
    cfg.config.max_entries = 100;
    cellar *c = open_with(&cfg);
    crypt.ctx = &wrong; /* the store has copied the struct */
    char back[16];
    size_t len;
    T_EQ_I64(cellar_set(c, "knownkey", 8, "sealedvalue", 11, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "knownkey", 8, back, sizeof back, &len), CELLAR_OK);
    put_all_used(c, 1000);
    T_CHECK(hits_of(c, 1000) > 950);
    const cellar_stats st = store_stats(c);
    T_CHECK(st.hits_l2 > 800);
    T_CHECK(st.l2_memory_bytes > 0 && st.l2_memory_bytes < st.used_bytes);
    T_EQ_U64(figure(c, "cellar_l2_hits_total"), st.hits_l2);
    T_EQ_U64(figure(c, "cellar_l2_unopened_total"), 0);
    shut(c);
    T_CHECK(!in_files("sealedvalue") && !in_files("hhhhhhhhhhhh"));
    c = open_with(&cfg); /* with the wrong key */
    T_EQ_U64(hits_of(c, 1000), 0);
    T_EQ_I64(cellar_get(c, "knownkey", 8, NULL, 0, NULL), CELLAR_MISS);
    T_CHECK(figure(c, "cellar_l2_unopened_total") > 950);
    crypt.ctx = &right;
    c = reopen_with(c, &cfg);
    T_CHECK(hits_of(c, 1000) > 950);
}

static size_t page_of(char *buf, size_t cap, uint32_t key)
{
    memset(buf, (int)('a' + key % 26), cap - 64);
    return cap - 64 + (size_t)snprintf(buf + cap - 64, 64, "%u", key);
}

static cellar_err look_at_page(cellar *c, uint32_t key)
{
    char buf[2048], want[2048];
    size_t len = 0;
    const cellar_err err = cellar_get(c, &key, sizeof key, buf, sizeof buf, &len);
    if (err != CELLAR_OK) { return err; }
    const size_t n = page_of(want, sizeof want, key);
    return len == n && memcmp(buf, want, n) == 0 ? CELLAR_OK : CELLAR_CONFLICT;
}

/* Under a full budget, with three times more entries on disk than its files hold uncompressed. */
T_ALONE(compressed_namespace_holds_more_on_disk)
{
    enum { PAGES = 12000 };
    store_begin();
    settings cfg = config();
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_lz4 = 1 };
    cfg.config.root = &o;
    cfg.config.memory_bytes = 6u << 20;
    cellar *c = NULL;
    const cellar_err err = settings_open(&cfg, &c);
    if (err == CELLAR_E_UNSUPPORTED) { /* E_UNSUPPORTED comes immediately and has no other cause */
        o.l2_lz4 = 0;
        T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK);
        o.l2_lz4 = 1;
        cellar *v = NULL;
        T_EQ_I64(cellar_namespace_open(c, "packed", &o, &v), CELLAR_E_UNSUPPORTED);
        store_end();
        T_SKIP("built without liblz4");
        return;
    }
    T_REQUIRE(err == CELLAR_OK);
    for (uint32_t i = 0; i < PAGES; i++) {
        char buf[2048];
        T_EQ_I64(cellar_set(c, &i, sizeof i, buf, page_of(buf, sizeof buf, i), NULL), CELLAR_OK);
        T_EQ_I64(look_at_page(c, i), CELLAR_OK);
        if (i % 50 == 0) { (void)cellar_tick(c, 1000, NULL); }
    }
    c = reopen_with(c, &cfg);
    uint32_t hits = 0;
    for (uint32_t i = 0; i < PAGES; i++) {
        const cellar_err got = look_at_page(c, i);
        T_CHECK(got == CELLAR_OK || got == CELLAR_MISS);
        hits += got == CELLAR_OK;
    }
    T_CHECK(hits > PAGES * 95 / 100);
    T_EQ_U64(figure(c, "cellar_l2_unpackable_total"), 0);
    store_end();
}

/* The 257th pattern ends what is older than the oldest one, in the namespace of that one. */
T_CASE_ON(many_deleted_patterns_leave_the_entries_of_other_namespaces, STORE)
{
    settings cfg = config();
    cfg.config.l2_bytes = 2 * CELLAR_L2_BYTES_MIN;
    cfg.config.max_entries = 100; /* the close does not write the others again */
    const cellar_namespace_config o = { .struct_size = sizeof o,
                                        .l2_write = CELLAR_L2_WRITE_THROUGH };
    cellar *c = open_with(&cfg), *a = space_with(c, "a", &o), *b = space_with(c, "b", &o);
    for (uint32_t i = 0; i < 1000; i++) { T_EQ_I64(put(a, i, 1, 0), CELLAR_OK); }
    for (uint32_t i = 0; i < 300; i++) {
        char pattern[16];
        const int n = snprintf(pattern, sizeof pattern, "x%u*", (unsigned)i);
        T_EQ_I64(cellar_delete_by_pattern(b, pattern, (size_t)n, NULL), CELLAR_OK);
    }
    c = reopen_with(c, &cfg);
    a = space_with(c, "a", &o);
    T_EQ_U64(hits_of(a, 1000), 1000);
}

T_CASE_ON(disk_tier_is_resized_while_running, STORE)
{
    settings cfg = config();
    cfg.config.l2_bytes = 2 * CELLAR_L2_BYTES_MIN;
    cellar *c = open_with(&cfg);
    int64_t bytes = 0;
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_L2_BYTES, &bytes), CELLAR_OK);
    T_EQ_I64(bytes, 2 * (int64_t)CELLAR_L2_BYTES_MIN);
    T_EQ_I64(put(c, 1, 1, 0), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_BYTES, 1 << 20), CELLAR_E_INVAL);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_BYTES, INT64_MAX), CELLAR_E_RANGE);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_BYTES, (int64_t)CELLAR_L2_BYTES_MIN), CELLAR_OK);
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_L2_BYTES, &bytes), CELLAR_OK);
    T_EQ_I64(bytes, (int64_t)CELLAR_L2_BYTES_MIN);
    struct stat st;
    char file[330];
    snprintf(file, sizeof file, "%s/data.seg", store);
    T_REQUIRE(stat(file, &st) == 0);
    T_CHECK((uint64_t)st.st_size < CELLAR_L2_BYTES_MIN);
    cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    c = reopen_with(c, &cfg);
    T_EQ_I64(look(c, 1, 1), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_BYTES, 24 << 20), CELLAR_OK);
    T_REQUIRE(stat(file, &st) == 0);
    T_CHECK((uint64_t)st.st_size > CELLAR_L2_BYTES_MIN);
    T_EQ_I64(look(c, 1, 1), CELLAR_OK);
    shut(c);
    cfg = settings_default();
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_L2_BYTES, 24 << 20), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_option_get(c, CELLAR_OPT_L2_BYTES, &bytes), CELLAR_OK);
    T_EQ_I64(bytes, 0);
    shut(c);
}

/* ---- where no disk is ---- */

/* Open a namespace and a store with these options of its root. Return the code of both. */
static cellar_err asked(settings *cfg, const cellar_namespace_config *o, const char *want)
{
    cellar *c, *ns = NULL;
    T_REQUIRE(settings_open(cfg, &c) == CELLAR_OK);
    const cellar_err err = cellar_namespace_open(c, "asked", o, &ns);
    T_CHECK(err == CELLAR_OK || strstr(error_info(c).text, want) != NULL);
    if (ns != NULL) { T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK); }
    shut(c);
    cfg->config.root = o;
    T_EQ_I64(settings_open(cfg, &c), err);
    if (c != NULL) { shut(c); }
    T_CHECK(err == CELLAR_OK || strstr(error_info(NULL).text, want) != NULL);
    cfg->config.root = NULL;
    return err;
}

T_CASE_ON(write_through_without_a_disk_is_refused, STORE)
{
    static const struct {
        bool disk;
        uint32_t hidden;
        cellar_tier tier;
        const char *why;
    } rows[] = {
        { false, 0, CELLAR_TIER_DEFAULT, "l2_write THROUGH needs a disk: open the store with" },
        { false, 0, CELLAR_TIER_L2, "l2_write THROUGH needs a disk: open the store with" },
        { true, 1, CELLAR_TIER_DEFAULT, "needs the disk: leave out hidden and tier L1" },
        { true, 0, CELLAR_TIER_L1, "needs the disk: leave out hidden and tier L1" },
        { true, 0, CELLAR_TIER_DEFAULT, NULL }, { true, 0, CELLAR_TIER_L2, NULL },
    };
    cellar *c;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        settings cfg = rows[i].disk ? config() : settings_default();
        cellar_namespace_config o = { .struct_size = sizeof o, .hidden = rows[i].hidden,
                                      .tier = rows[i].tier, .l2_write = CELLAR_L2_WRITE_THROUGH };
        T_EQ_I64(asked(&cfg, &o, rows[i].why),
                 rows[i].why != NULL ? CELLAR_E_UNSUPPORTED : CELLAR_OK);
        o.l2_write = CELLAR_L2_WRITE_ON_SET;
        T_EQ_I64(asked(&cfg, &o, ""), CELLAR_OK);
    }
    settings cfg = settings_default();
    cfg.l2.write = CELLAR_L2_WRITE_THROUGH;
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_UNSUPPORTED);
    T_EQ_STR(error_info(NULL).text, "cellar_open: l2.write THROUGH needs a disk: set l2_path");
}

static cellar_err load_one(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(load, "loaded", 6);
}

T_CASE(optional_store_in_memory_counts_each_set_of_write_through)
{
    for (int by_store = 0; by_store < 2; by_store++) {
        settings cfg = { SETTINGS_SIZES, .config.l2_path = "/dev/null", .l2.optional = 1,
                         .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.no_threads = 1 };
        cellar_namespace_config o = { .struct_size = sizeof o }, other = o, memory = o;
        if (by_store != 0) {
            cfg.l2.write = CELLAR_L2_WRITE_THROUGH;
            other.l2_write = CELLAR_L2_WRITE_ON_EVICTION;
        } else {
            o.l2_write = CELLAR_L2_WRITE_THROUGH;
        }
        memory.tier = CELLAR_TIER_L1;
        cellar *c;
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        cellar *ns = space_with(c, "through", &o);
        cellar *others[] = { space_with(c, "other", &other), space_with(c, "memory", &memory) };
        for (uint32_t i = 0; i < 10; i++) { T_EQ_I64(put(ns, i, 1, 0), CELLAR_OK); }
        T_EQ_U64(figure(c, "cellar_l2_not_through_total"), 10);
        T_EQ_I64(cellar_increment(ns, "n", 1, 1, 0, NULL, NULL), CELLAR_OK);
        cellar_result r = cellar_result_default();
        T_EQ_I64(cellar_get_or_load(ns, "l", 1, NULL, load_one, NULL, &r), CELLAR_OK);
        cellar_result_free(&r);
        T_EQ_U64(figure(c, "cellar_l2_not_through_total"), 12);
        cellar_set_opts absent = { .struct_size = sizeof absent, .flags = CELLAR_ONLY_IF_ABSENT };
        T_EQ_I64(cellar_set(ns, "n", 1, "v", 1, &absent), CELLAR_EXISTS);
        T_EQ_I64(cellar_delete(ns, "n", 1), CELLAR_OK);
        for (int i = 0; i < 2; i++) { T_EQ_I64(put(others[i], 1, 1, 0), CELLAR_OK); }
        T_EQ_U64(figure(c, "cellar_l2_not_through_total"), 12);
        shut(c);
    }
}

T_CASE_ON(namespace_chooses_eviction_beside_another_mode_of_its_store, ON_DISK)
{
    static const struct { cellar_l2_write own; uint64_t puts; } rows[] = {
        { CELLAR_L2_WRITE_DEFAULT, 20 }, { CELLAR_L2_WRITE_ON_SET, 20 },
        { CELLAR_L2_WRITE_ON_EVICTION, 0 },
    };
    settings cfg = config();
    cfg.l2.write = CELLAR_L2_WRITE_THROUGH;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cellar_namespace_config o = { .struct_size = sizeof o, .l2_write = rows[i].own };
        cellar *c = open_with(&cfg), *ns = space_with(c, "ns", &o);
        const uint64_t before = figure(c, "cellar_l2_puts_total");
        for (uint32_t k = 0; k < 20; k++) { T_EQ_I64(put(ns, k, 1, 0), CELLAR_OK); }
        T_EQ_U64(figure(c, "cellar_l2_puts_total") - before, rows[i].puts);
        shut(c);
    }
}

/* Fill memory with entries of 4 KiB, so that others leave it. */
static void fill_4k(cellar *c, uint32_t count)
{
    static char value[4096];
    for (uint32_t i = 1000; i < 1000 + count; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
    }
}

static settings write_through(void)
{
    settings cfg = config();
    cfg.config.memory_bytes = 2u << 20;
    cfg.l2.write = CELLAR_L2_WRITE_THROUGH;
    return cfg;
}

static cellar_tier tier_of(cellar *c, const char *key)
{
    cellar_entry_info i = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, key, strlen(key), 0, &i), CELLAR_OK);
    return i.tier;
}

/* A set that depends on an entry on disk, which memory cannot take. */
T_CASE_ON(set_that_finds_no_room_for_an_entry_on_disk_removes_it, ON_DISK)
{
    static char value[900000], buf[sizeof value];
    static const struct { uint32_t flags; cellar_err left; } rows[] = {
        { CELLAR_KEEP_TTL, CELLAR_MISS }, { CELLAR_ONLY_IF_PRESENT, CELLAR_MISS },
        { CELLAR_KEEP_TTL | CELLAR_KEEP_OLD_VALUE, CELLAR_OK },
        { CELLAR_ONLY_IF_ABSENT, CELLAR_OK },
    };
    static const cellar_err codes[] = { CELLAR_E_SPACE, CELLAR_E_TOOBIG };
    settings cfg = write_through();
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        const cellar_set_opts o = { .struct_size = sizeof o, .flags = rows[i / 2].flags };
        const cellar_err code = codes[i % 2];
        size_t len = 0;
        cfg.tuning.max_value_bytes = 0;
        cellar *c = open_with(&cfg);
        T_EQ_I64(cellar_set(c, "long", 4, value, sizeof value, NULL), CELLAR_OK);
        for (int n = 0; n < 20 && tier_of(c, "long") != CELLAR_TIER_L2; n++) { fill_4k(c, 500); }
        T_EQ_U64(tier_of(c, "long"), CELLAR_TIER_L2);
        if (code == CELLAR_E_TOOBIG) {
            shut(c);
            cfg.tuning.max_value_bytes = 4096;
            c = open_with(&cfg);
        }
        T_EQ_I64(cellar_set(c, "long", 4, "new", 3, &o), code);
        T_EQ_U64(store_stats(c).write_errors, 1);
        T_EQ_I64(cellar_get(c, "long", 4, buf, sizeof buf, &len), rows[i / 2].left);
        shut(c);
    }
}

T_CASE_ON(use_of_an_entry_with_idle_time_outlasts_its_eviction, ON_DISK)
{
    char buf[8];
    size_t len;
    const cellar_set_opts o = { .struct_size = sizeof o, .idle_ms = 30000 };
    const settings cfg = write_through();
    cellar *c = open_with(&cfg);
    fill_4k(c, 1800); /* over 40 % of l2_bytes */
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, &o), CELLAR_OK);
    c = reopen_with(c, &cfg);
    for (int i = 0; i < 3; i++) {
        now_ms += 20000;
        T_EQ_I64(cellar_get(c, "k", 1, buf, sizeof buf, &len), CELLAR_OK);
        fill_4k(c, 500);
        T_EQ_U64(tier_of(c, "k"), CELLAR_TIER_L2);
    }
}

static cellar_err load_none(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    ++*(uint32_t *)ctx;
    return cellar_load_absent(load);
}

#define LONG_ONES 400u /* longer than the log together */

/* The values wait for room in the log. Without a loader some of them arrive on disk. */
T_ALONE(load_that_finds_no_value_ends_a_long_one_on_its_way_to_disk)
{
    static char value[150000], buf[sizeof value];
    for (uint32_t asks = 0; asks < 2; asks++) {
        uint32_t came = 0, waits = 0, loads = 0;
        bool gone[LONG_ONES];
        store_begin();
        cellar *c = open_it();
        for (uint32_t i = 0; i < LONG_ONES; i++) {
            size_t len = 0;
            T_EQ_I64(cellar_set(c, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
            T_EQ_I64(cellar_get(c, &i, sizeof i, buf, sizeof buf, &len), CELLAR_OK);
        }
        for (uint32_t i = 0; i < LONG_ONES; i++) {
            const cellar_load_opts o = { .struct_size = sizeof o,
                                         .flags = CELLAR_LOAD_NO_NEGATIVE };
            cellar_result r = cellar_result_default();
            gone[i] = cellar_contains(c, &i, sizeof i) == CELLAR_MISS;
            waits += gone[i];
            if (!gone[i] || asks == 0) { continue; }
            T_EQ_I64(cellar_get_or_load(c, &i, sizeof i, &o, load_none, &loads, &r),
                     CELLAR_ABSENT);
            cellar_result_free(&r);
        }
        T_EQ_U64(loads, asks * waits);
        for (int i = 0; i < 1000 && cellar_tick(c, 100000, NULL) == CELLAR_PENDING; i++) {}
        for (uint32_t i = 0; i < LONG_ONES; i++) {
            size_t len = 0;
            came += gone[i] && cellar_get(c, &i, sizeof i, buf, sizeof buf, &len) == CELLAR_OK;
        }
        T_CHECK(asks == 0 ? came > 0 : came == 0);
        store_end();
    }
}

static struct {
    cellar *c;
    void *(*during)(void *arg);
    uint64_t secret;
    uint32_t seals, at, calls, row;
} on_its_way;

/* The evicted entry is in no level while another thread makes a call for its key. */
static int seal_during_call(const unsigned char *nonce, const void *aad, size_t aad_len,
                            const void *in, size_t in_len, void *out, void *ctx)
{
    if (++on_its_way.seals == on_its_way.at) {
        pthread_t t;
        T_REQUIRE(pthread_create(&t, NULL, on_its_way.during, NULL) == 0);
        T_REQUIRE(pthread_join(t, NULL) == 0);
    }
    return toy_seal(nonce, aad, aad_len, in, in_len, out, ctx);
}

/* Return a store with room for one entry; `during` runs in the put number `at`. */
static cellar *open_sealed(void *(*during)(void *arg), uint32_t at)
{
    settings cfg = config();
    cellar_l2_cipher crypt = { .struct_size = sizeof crypt, .ctx = &on_its_way.secret,
                               .seal = seal_during_call, .open = toy_open,
                               .overhead_bytes = sizeof(uint64_t) };
    cfg.l2.cipher = &crypt;
    cfg.config.max_entries = 1;
    on_its_way.during = during;
    on_its_way.seals = on_its_way.calls = 0;
    on_its_way.at = at;
    return on_its_way.c = open_with(&cfg);
}

/* Check that `during` ends the entry of key 0 while its put is under way. */
static void end_on_its_way(void *(*during)(void *arg))
{
    (void)open_sealed(during, 1);
    T_EQ_I64(put_used(on_its_way.c, 0, 1, 0), CELLAR_OK);
    T_EQ_I64(put_used(on_its_way.c, 1, 1, 0), CELLAR_OK); /* evicts key 0 */
    T_EQ_U64(on_its_way.calls, 1);
    T_EQ_I64(look(on_its_way.c, 0, 1), CELLAR_MISS);
    shut(on_its_way.c);
}

static void *load_key_zero(void *arg)
{
    const uint32_t key = 0;
    const cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_NO_NEGATIVE };
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(on_its_way.c, &key, sizeof key, &o, load_none, &on_its_way.calls,
                                &r), CELLAR_ABSENT);
    cellar_result_free(&r);
    return arg;
}

T_CASE_ON(load_that_finds_no_value_ends_an_entry_on_its_way_to_disk, ON_DISK)
{
    end_on_its_way(load_key_zero);
}

static cellar_err append_none(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)old, (void)len, (void)out, (void)ctx;
    return CELLAR_OK;
}

static void *touch_key_zero(void *arg)
{
    const uint32_t key = 0;
    T_EQ_I64(cellar_touch(on_its_way.c, &key, sizeof key, 1), CELLAR_MISS);
    on_its_way.calls++;
    return arg;
}

/* Each of these finds the key in no level, and says so. */
static void *change_key_zero(void *arg)
{
    const uint32_t key = 0;
    cellar *c = on_its_way.c;
    const cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    const cellar_delete_opts d = { .struct_size = sizeof d, .if_version = 1 };
    cellar_err err;
    switch (on_its_way.row) {
    case 0: err = cellar_set(c, &key, sizeof key, "new", 3, &o); break;
    case 1: err = cellar_increment(c, &key, sizeof key, 1, 0, &o, NULL); break;
    case 2: err = cellar_update(c, &key, sizeof key, &o, append_none, NULL); break;
    default: err = cellar_delete_with(c, &key, sizeof key, &d); break;
    }
    T_EQ_I64(err, CELLAR_MISS);
    on_its_way.calls++;
    return arg;
}

/* Else a value that the caller believes to be gone would be served again. */
T_ALONE(change_that_finds_no_entry_ends_one_on_its_way_to_disk)
{
    for (on_its_way.row = 0; on_its_way.row < 4; on_its_way.row++) {
        store_begin();
        end_on_its_way(change_key_zero);
        store_end();
    }
}

T_CASE_ON(touch_that_finds_no_entry_ends_one_on_its_way_to_disk, ON_DISK)
{
    end_on_its_way(touch_key_zero);
}

/* The copy on disk has ended: its idle time does not know of the last use. */
T_CASE_ON(touch_that_finds_an_idle_entry_on_disk_ends_a_newer_one_on_its_way, ON_DISK)
{
    char buf[256];
    size_t len;
    const uint32_t key = 0;
    const cellar_set_opts o = { .struct_size = sizeof o, .idle_ms = 30000 };
    cellar *c = open_sealed(touch_key_zero, 3);
    T_EQ_I64(cellar_set(c, &key, sizeof key, "v", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_get(c, &key, sizeof key, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_I64(put_used(c, 1, 1, 0), CELLAR_OK);
    now_ms += 20000;
    T_EQ_I64(cellar_get(c, &key, sizeof key, buf, sizeof buf, &len), CELLAR_OK);
    now_ms += 15000;
    T_EQ_I64(put_used(c, 1, 1, 0), CELLAR_OK);
    T_EQ_U64(on_its_way.calls, 1);
    T_EQ_I64(cellar_get(c, &key, sizeof key, buf, sizeof buf, &len), CELLAR_MISS);
    shut(c);
}

/* The host has all of memory_bytes: no room even to read the entry. */
T_CASE_ON(change_of_an_entry_on_disk_without_room_to_read_it_is_e_space, ON_DISK)
{
    static char value[900000], buf[sizeof value];
    const cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_KEEP_TTL |
                                                                  CELLAR_KEEP_OLD_VALUE };
    size_t len = 0;
    const settings cfg = write_through();
    cellar *c = open_with(&cfg);
    const cellar_set_opts none = { .struct_size = sizeof none, .flags = CELLAR_NEGATIVE };
    const cellar_set_opts there = { .struct_size = sizeof there, .flags = CELLAR_ONLY_IF_PRESENT };
    T_EQ_I64(cellar_set(c, "none", 4, NULL, 0, &none), CELLAR_OK);
    fill_4k(c, 500);
    T_EQ_I64(cellar_set(c, "long", 4, value, sizeof value, NULL), CELLAR_OK);
    int64_t charged = 0;
    for (int64_t each = 64 << 10; each >= 4096; each /= 2) {
        while (cellar_memory_charge(c, each) == CELLAR_OK) { charged += each; }
    }
    T_EQ_U64(tier_of(c, "long"), CELLAR_TIER_L2);
    T_EQ_I64(cellar_set(c, "long", 4, "new", 3, &o), CELLAR_E_SPACE);
    T_EQ_I64(cellar_touch(c, "long", 4, 60000), CELLAR_E_SPACE);
    T_EQ_I64(cellar_set(c, "none", 4, "new", 3, &there), CELLAR_MISS);
    T_EQ_I64(cellar_memory_charge(c, -charged), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "long", 4, buf, sizeof buf, &len), CELLAR_OK);
}

/* Memory alone gives versions, so these calls bring the entry from disk. */
T_CASE_ON(call_that_is_no_use_keeps_the_idle_time_of_an_entry_on_disk, ON_DISK)
{
    char buf[8];
    size_t len;
    const cellar_set_opts o = { .struct_size = sizeof o, .idle_ms = 30000 };
    const cellar_set_opts absent = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_ABSENT };
    cellar_entry_info i = cellar_entry_info_default();
    const cellar_get_opts peek = { .struct_size = sizeof peek, .info = &i,
                                   .flags = CELLAR_GET_PEEK | CELLAR_GET_WANT_VERSION };
    settings cfg = config();
    cellar *c = open_with(&cfg);
    for (const char *key = "ipaser"; *key != '\0'; key++) {
        T_EQ_I64(cellar_set(c, key, 1, "v", 1, &o), CELLAR_OK);
    }
    c = reopen_with(c, &cfg);
    now_ms += 20000;
    T_EQ_I64(cellar_entry_info_get(c, "i", 1, CELLAR_GET_WANT_VERSION, &i), CELLAR_OK);
    T_EQ_I64(i.ttl_left_ms, 10000);
    T_EQ_I64(cellar_get_with(c, "p", 1, &peek, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_I64(i.ttl_left_ms, 10000);
    T_EQ_I64(cellar_set(c, "a", 1, "w", 1, &absent), CELLAR_EXISTS);
    T_EQ_I64(cellar_get(c, "s", 1, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "e", 1, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_get_range(c, "r", 1, 0, buf, sizeof buf, &len), CELLAR_OK);
    now_ms += 20000;
    T_EQ_I64(cellar_contains(c, "e", 1), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "r", 1), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "i", 1), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "p", 1), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "a", 1), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "s", 1), CELLAR_OK); /* the get is a use */
}

static cellar_err note_old(cellar_load *ld, const void *key, size_t len, void *has_old)
{
    (void)key, (void)len;
    *(uint32_t *)has_old = loader_info(ld).has_stale;
    return cellar_load_value(ld, "w", 1);
}

T_CASE_ON(forced_refresh_has_the_old_value_of_memory_alone, ON_DISK)
{
    const cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_REFRESH };
    settings cfg = config();
    cellar *c = open_with(&cfg);
    T_EQ_I64(cellar_set(c, "k", 1, "v", 1, NULL), CELLAR_OK);
    c = reopen_with(c, &cfg);
    for (uint32_t want = 0; want < 2; want++) { /* the load brings it into memory */
        uint32_t has_old = 2;
        cellar_result r = cellar_result_default();
        T_EQ_I64(cellar_get_or_load(c, "k", 1, &o, note_old, &has_old, &r), CELLAR_OK);
        cellar_result_free(&r);
        T_EQ_U64(has_old, want);
    }
}

T_CASE_ON(store_with_unusable_disk_continues_in_memory, ON_DISK)
{
    cellar *c = open_it(), *second = NULL;
    T_EQ_I64(put(c, 1, 1, 0), CELLAR_OK);
    settings cfg = config();
    T_EQ_I64(settings_open(&cfg, &second), CELLAR_E_BUSY);
    cfg.l2.optional = 1;
    T_EQ_I64(settings_open(&cfg, &second), CELLAR_OK); /* the directory is in use */
    T_EQ_I64(error_info(second).code, CELLAR_E_BUSY);
    T_EQ_I64(put(second, 1, 2, 0), CELLAR_OK);
    T_EQ_I64(look(second, 1, 2), CELLAR_OK);
    T_EQ_I64(cellar_sync(second), CELLAR_DISABLED);
    T_EQ_I64(cellar_close(second), CELLAR_OK);
    T_EQ_I64(cellar_sync(c), CELLAR_OK);
    T_EQ_I64(look(c, 1, 1), CELLAR_OK);
    shut(c);
    char file[330];
    snprintf(file, sizeof file, "%s/SUPER", store);
    T_EQ_I64(truncate(file, 10), 0); /* no longer a valid file */
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_OK);
    T_EQ_I64(error_info(c).code, CELLAR_E_FOREIGN);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    cfg = config();
    T_EQ_I64(settings_open(&cfg, &c), CELLAR_E_FOREIGN);
}

T_MAIN("api_disk")
