/* SPDX-License-Identifier: MIT
 *
 * Aim:    A call stays right if another one acts between two of its steps. A change that stores
 *         what memory has writes a long value in rounds: the disk gets a value that replaced it
 *         whole. A get that wants a version has the version of what it returns, or a code says why
 *         not. A reader beside a fold of the tag table finds no invalidated entry valid.
 * Method: The sources of tier_store.c, get_with.c and tags.c are part of this program. Points and
 *         calls in them go through functions that change the key or fold the table. No thread, a
 *         full log, and no tick but the waits of the store itself: a value that is longer than what
 *         one of them frees takes several rounds. */
#include "base/check.h"
#include "store/store.h"
#include "tests/support/t.h"

static void at_point(void);
static unsigned sleeps;
#undef BASE_POINT
#define BASE_POINT(name) at_point()
#include "base/sync.h"
#define base_sleep_ns(ns) ((void)(ns), sleeps++)
#include "cache/tier_store.c"
#undef base_sleep_ns
#undef BASE_POINT
#define BASE_POINT(name) ((void)0)

static cellar_err version_between_changes(l1 *l, const l1_key *k, uint64_t *version);
#define l1_version version_between_changes
#include "cache/get_with.c"
#undef l1_version

#include "base/num.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/shared.h"
#include "cache/tags.h"
#include "cache/tier_calls.h"
#include "l2/types.h"
#include "tests/support/api_kit.h"
#include "tests/support/disk_store.h"

static cache_store *folds; /* the next look for a slot folds the table of this store */
static void fold_now(void);

/* tags.c mixes a fingerprint to find its slot. */
static uint64_t mix_beside_a_fold(uint64_t fp)
{
    if (folds != NULL) { fold_now(); }
    return base_mix64(fp);
}
#define base_mix64 mix_beside_a_fold
#include "cache/tags.c"
#undef base_mix64

/* ---- a value that is written in rounds ------------------------------------------------------- */
#define LONG ((size_t)3 << 20)

static unsigned char value[LONG], got[LONG];
static cellar *c;
static unsigned rounds, changes;

static void fill(unsigned version)
{
    for (size_t i = 0; i < LONG; i++) { value[i] = (unsigned char)(i * 7 + i / 251 + version * 3); }
}

static void set(unsigned version)
{
    fill(version);
    T_EQ_I64(cellar_set(c, "k", 1, value, LONG, NULL), CELLAR_OK);
}

static void at_point(void)
{
    rounds++;
    if (rounds == 2 || rounds == 3) { set(1 + ++changes); }
}

static void fill_the_log(void)
{
    cellar_err err = CELLAR_OK;
    for (uint32_t i = 0; err == CELLAR_OK; i++) {
        l1_key k;
        cache_key(c, &k, &i, sizeof i);
        const l2_key key = { k.bytes, k.len, k.generation, k.hash };
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
        err = l2_put(c->store->disk, &key, value, 60000, &m, NULL);
    }
    T_EQ_I64(err, CELLAR_DROPPED);
}

T_CASE(value_replaced_between_rounds_is_stored_whole)
{
    store_begin();
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 32u << 20, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.clock = read_clock,
                     .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    fill_the_log();
    set(1);
    l1_key k;
    cache_ordered ordered = { .listed = false };
    cache_key(c, &k, "k", 1);
    T_EQ_I64(cache_tier_store(c, &k, NULL, CACHE_THROUGH, &ordered), CELLAR_OK);
    T_CHECK(rounds > 4);
    T_EQ_U64(changes, 2);
    const l2_key key = { k.bytes, k.len, k.generation, k.hash };
    l2_meta m;
    size_t len = 0;
    T_EQ_I64(l2_get(c->store->disk, &key, got, LONG, &len, &m), CELLAR_OK);
    T_EQ_U64(len, LONG);
    fill(1 + changes);
    T_CHECK(memcmp(got, value, LONG) == 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

static void open_on_disk(void)
{
    store_begin();
    settings cfg = { SETTINGS_SIZES, .config.l2_path = store, .config.l2_bytes = 64u << 20,
                     .host.clock = read_clock, .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
}

/* A set that waits for a disk with a thread is woken by it. */
T_CASE(wait_for_room_on_disk_does_not_sleep)
{
    open_on_disk();
    cache_tier tier = *cache_tier_of(c);
    tier.ticks = false;
    uint64_t until_ns = 0;
    for (uint32_t waits = 0; waits < 2 * CACHE_STORE_YIELDS; waits++) {
        T_CHECK(cache_store_wait(&tier, waits, l2_room_seen(c->store->disk) - 1, &until_ns));
    }
    T_EQ_U64(sleeps, 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_CASE(failed_write_of_a_stall_says_so)
{
    open_on_disk();
    for (uint64_t since = 0; since <= 1; since++) { /* 1 ns after the boot: it has not ended */
        base_store_rlx(&c->store->disk->write_ns, since);
        const cache_lack lack = cache_store_lack(c->store->disk, CACHE_REFUSED, L2_WHY_OTHER);
        T_EQ_I64(cache_tier_code(c, "cellar_set", CACHE_LACKING(lack)), CELLAR_E_IO);
        cellar_error_info e = cellar_error_info_default();
        T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
        T_EQ_I64(strstr(e.text, "does not answer (a stall)") != NULL, since == 1);
    }
    base_store_rlx(&c->store->disk->write_ns, (uint64_t)0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

/* ---- a version ------------------------------------------------------------------------------- */
static unsigned calls, met; /* calls of l1_version; so many of them meet other writers */

static cellar_err version_between_changes(l1 *l, const l1_key *k, uint64_t *version)
{
    if (++calls > met) { return l1_version(l, k, version); }
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    const cellar_err err = l1_version(l, k, version);
    T_EQ_I64(err, CELLAR_MISS);
    T_EQ_I64(api_put(c, "k", "other", NULL), CELLAR_OK);
    return err;
}

static void begin(unsigned changed)
{
    settings cfg = { SETTINGS_SIZES, .host.no_threads = 1 };
    calls = 0;
    met = changed;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "first", NULL), CELLAR_OK);
}

static cellar_err get(cellar_entry_info *info, char buf[8])
{
    size_t len;
    *info = cellar_entry_info_default();
    const cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_WANT_VERSION,
                                .info = info };
    const cellar_err err = cellar_get_with(c, "k", 1, &o, buf, 8, &len);
    if (err == CELLAR_OK) { buf[len] = '\0'; }
    return err;
}

T_CASE(entry_that_replaced_another_is_returned_with_a_version)
{
    char buf[8];
    cellar_entry_info info;
    begin(1);
    T_EQ_I64(get(&info, buf), CELLAR_OK);
    T_EQ_STR(buf, "other");
    T_CHECK(info.version != 0 && (info.flags & CELLAR_INFO_VERSION) != 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    begin(1);
    info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_OK);
    T_CHECK(info.version != 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE(entry_that_is_replaced_in_each_round_is_busy)
{
    char buf[8];
    cellar_entry_info info;
    cellar_error_info e = cellar_error_info_default();
    begin(1000);
    T_EQ_I64(get(&info, buf), CELLAR_E_BUSY);
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_EQ_STR(e.text, "cellar_get_with: other calls replaced the entry in each of 64 tries: call "
                     "again");
    T_EQ_U64(calls, CACHE_ROUNDS);
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_E_BUSY);
    T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
    T_CHECK(strncmp(e.text, "cellar_entry_info_get: other calls replaced", 43) == 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* Only memory gives versions: an entry of the disk that finds no room there is not returned. */
T_CASE(entry_of_the_disk_without_room_in_memory_has_no_version)
{
    static char long_value[700000];
    char buf[8];
    cellar_entry_info info;
    cellar_pinned pins[64];
    unsigned n = 0;
    store_begin();
    calls = met = 0;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .config.l2_path = store,
                     .config.l2_bytes = 64u << 20, .host.clock = read_clock, .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "disk", NULL), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    for (size_t len = sizeof long_value; n < 64 && len >= 1000;) { /* pinned: no room is left */
        if (cellar_reserve(c, len, &pins[n]) == CELLAR_OK) { n++; } else { len /= 2; }
    }
    info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_E_SPACE);
    const cellar_err err = get(&info, buf); /* it may find a hole in the log */
    T_CHECK(err == CELLAR_E_SPACE || (err == CELLAR_OK && info.version != 0));
    while (n > 0) { cellar_unpin(&pins[--n]); }
    T_EQ_I64(get(&info, buf), CELLAR_OK);
    T_CHECK(info.version != 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

/* ---- a fold of the tag table ----------------------------------------------------------------- */
static void fold_now(void)
{
    cache_store *s = folds;
    folds = NULL;
    sync_take(TAG, &s->tag_lock);
    cache_tag_fold(s, base_load_rlx(&s->tags));
    sync_drop(TAG, &s->tag_lock);
}

T_CASE(reader_beside_a_fold_finds_no_invalid_entry_valid)
{
    enum { TAGS = 40 };
    c = api_open(4u << 20);
    cache_store *s = c->store;
    const uint64_t oldest = 1;
    (void)cache_tag_invalidate(s, oldest, false);
    const uint64_t born = base_load_rlx(&s->tag_epoch) - 1; /* just before */
    for (uint64_t fp = 2; fp <= TAGS; fp++) { (void)cache_tag_invalidate(s, fp, false); }
    const uint64_t unknown = TAGS + 1, young = base_load_rlx(&s->tag_epoch) - 1;
    T_EQ_I64(cache_tags_valid(s, born, &oldest, 1), 2);
    T_EQ_I64(cache_tags_valid(s, young, &unknown, 1), 0);
    folds = s;
    T_EQ_I64(cache_tags_valid(s, born, &oldest, 1), 2);
    T_CHECK(folds == NULL && base_load_rlx(&s->tag_floor) > born); /* its record is gone */
    T_EQ_U64(base_load_rlx(&cache_tag_slot_of(base_load_rlx(&s->tags), oldest)->fp), 0);
    T_EQ_I64(cache_tags_valid(s, born, &oldest, 1), 2);
    folds = s;
    T_EQ_I64(cache_tags_valid(s, young, &unknown, 1), 2); /* a miss is always allowed */
    T_EQ_I64(cache_tags_valid(s, young, &unknown, 1), 0);
    api_shut(c);
}

T_ONE_THREAD;
T_MAIN("cache_read_back")
