/* SPDX-License-Identifier: MIT
 *
 * Aim:    removals that look first: cellar_delete_with by version and with the old value, and
 *         update functions that remove their entry.
 * Method: public calls only; a listener that keeps the last event, races by functions that change
 *         their own key, threads with values that occur once, and stores reopened on disk. */
#include <pthread.h>

#include "tests/support/api_kit.h"
#include "tests/support/disk_store.h"
#include "tests/support/refusals.h"
#include "tests/support/spaces.h"

static cellar *open_store(void) { return api_open(4u << 20); }

typedef struct old_value {
    void *bytes;
    size_t len;
} old_value;

/* cellar_delete_with that returns the old value in *old. */
static cellar_err delete_old(cellar *c, const char *key, uint64_t if_version, old_value *old)
{
    old->bytes = old; /* anything but NULL */
    old->len = 77;
    cellar_delete_opts o = { .struct_size = sizeof o, .if_version = if_version,
                             .old_value = &old->bytes, .old_value_len = &old->len };
    return cellar_delete_with(c, key, strlen(key), &o);
}

static cellar_err delete_version(cellar *c, const char *key, uint64_t if_version)
{
    const cellar_delete_opts o = { .struct_size = sizeof o, .if_version = if_version };
    return cellar_delete_with(c, key, strlen(key), &o);
}

/* Delete the key, which has this value. */
static void deletes(cellar *c, const char *key, uint64_t if_version, const char *text)
{
    old_value old;
    T_EQ_I64(delete_old(c, key, if_version, &old), CELLAR_OK);
    T_EQ_U64(old.len, strlen(text));
    T_EQ_STR((char *)old.bytes, text);
    cellar_free(old.bytes);
}

/* Check that neither form of the call deletes the key, and that no value comes back. */
static void deletes_not(cellar *c, const char *key, uint64_t if_version, cellar_err want)
{
    old_value old;
    T_EQ_I64(delete_version(c, key, if_version), want);
    T_EQ_I64(delete_old(c, key, if_version, &old), want);
    T_CHECK(old.bytes == NULL && old.len == 0);
}

/* ---- cellar_delete_with ---- */

T_CASE(delete_with_any_version_removes_and_returns_the_value)
{
    cellar *c = open_store();
    old_value old;
    T_EQ_I64(api_put(c, "a", "one", NULL), CELLAR_OK);
    T_EQ_I64(delete_old(c, "a", 0, &old), CELLAR_OK);
    T_EQ_U64(old.len, 3);
    T_EQ_STR((char *)old.bytes, "one");
    T_EQ_STR(api_look(c, "a"), "MISS");
    T_EQ_I64(api_put(c, "a", "two", NULL), CELLAR_OK);
    T_EQ_I64(delete_version(c, "a", 0), CELLAR_OK);
    T_EQ_STR(api_look(c, "a"), "MISS");
    T_EQ_I64(api_put(c, "a", "three", NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete_with(c, "a", 1, NULL), CELLAR_OK);
    T_EQ_STR(api_look(c, "a"), "MISS");
    T_AFTER_STR(api_shut(c), (char *)old.bytes, "one"); /* also after the store was closed */
    cellar_free(old.bytes);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_store(), api_shut(c))
#define STORE2(fn) T_WITHIN(fn, store_begin(), store_end())

T_CASE_ON(delete_with_a_version_removes_only_that_version, STORE)
{
    uint64_t first = 0, second = 0;
    cellar_set_opts o = { .struct_size = sizeof o, .new_version = &first, .ttl_ms = 5000 };
    T_EQ_I64(api_put(c, "k", "one", &o), CELLAR_OK);
    o.new_version = &second;
    T_EQ_I64(api_put(c, "k", "two", &o), CELLAR_OK);
    T_CHECK(first != second);
    deletes_not(c, "k", first, CELLAR_CONFLICT);
    cellar_entry_info i = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, "k", 1, CELLAR_GET_WANT_VERSION, &i), CELLAR_OK);
    T_FIELDS(i, version, second, ttl_left_ms, 5000);
    T_EQ_STR(api_look(c, "k"), "two");
    deletes(c, "k", second, "two");
    T_EQ_STR(api_look(c, "k"), "MISS");
    o.new_version = &first;
    T_EQ_I64(api_put(c, "k", "three", &o), CELLAR_OK);
    T_EQ_I64(delete_version(c, "k", first), CELLAR_OK);
    T_EQ_STR(api_look(c, "k"), "MISS");
    T_EQ_I64(api_put(c, "k", "four", NULL), CELLAR_OK); /* it was given no version */
    deletes_not(c, "k", first, CELLAR_CONFLICT);
    T_EQ_STR(api_look(c, "k"), "four");
}

T_CASE_ON(delete_with_of_a_missing_key_misses, STORE)
{
    deletes_not(c, "k", 0, CELLAR_MISS);
    deletes_not(c, "k", 7, CELLAR_MISS);
    T_EQ_I64(api_put(c, "k", "expired", SET_OPTS(.ttl_ms = 10)), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 10);
    deletes_not(c, "k", 0, CELLAR_MISS);
}

T_CASE_ON(delete_with_removes_a_negative_entry_only_without_a_version, STORE)
{
    old_value old;
    for (unsigned way = 0; way < 2; way++) {
        T_EQ_I64(api_put(c, "k", "", SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
        deletes_not(c, "k", 7, CELLAR_MISS);
        T_EQ_STR(api_look(c, "k"), "ABSENT");
        T_EQ_I64(way ? delete_version(c, "k", 0) : delete_old(c, "k", 0, &old), CELLAR_MISS);
        T_CHECK(way || (old.bytes == NULL && old.len == 0));
        T_EQ_STR(api_look(c, "k"), "MISS");
    }
}

T_CASE_ON(delete_with_refuses_one_output_of_two, STORE)
{
    void *value = &value;
    size_t len = 77;
#define DELETE_OPTS(...) \
    (&(const cellar_delete_opts){ .struct_size = sizeof(cellar_delete_opts), __VA_ARGS__ })
    T_EQ_I64(api_put(c, "k", "v", NULL), CELLAR_OK);
    const cellar_delete_opts none = cellar_delete_opts_default();
    REFUSALS("deletes", INVAL(cellar_delete_with(c, "", 0, &none)),
             INVAL(cellar_delete_with(c, NULL, 1, &none)),
             INVAL(cellar_delete_with(NULL, "k", 1, &none)),
             INVAL(cellar_delete_with(c, "k", 1, &(cellar_delete_opts){ .struct_size = 0 })),
             INVAL(cellar_delete_with(c, "k", 1, DELETE_OPTS(.old_value = &value))),
             INVAL(cellar_delete_with(c, "k", 1, DELETE_OPTS(.old_value_len = &len))));
    T_CHECK(value == &value && len == 77);
    T_CHECK(strstr(error_text(c), "old_value_len") != NULL);
    T_EQ_STR(api_look(c, "k"), "v");
}

T_CASE_ON(delete_with_works_in_a_disabled_namespace, STORE)
{
    T_EQ_I64(api_put(c, "a", "one", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "b", "two", NULL), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    deletes(c, "a", 0, "one");
    T_EQ_I64(delete_version(c, "b", 0), CELLAR_OK);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_EQ_STR(api_look(c, "a"), "MISS");
    T_EQ_STR(api_look(c, "b"), "MISS");
}

typedef struct heard {
    unsigned events;
    cellar_cause cause;
    char value[64];
} heard;

static void hear(const cellar_event *e, void *ctx)
{
    heard *h = ctx;
    h->events++;
    h->cause = e->cause;
    T_REQUIRE(e->value_len < sizeof h->value);
    memcpy(h->value, e->value, e->value_len);
    h->value[e->value_len] = '\0';
}

T_CASE_ON(delete_with_is_counted_and_heard_once, STORE)
{
    heard h = { 0, CELLAR_CAUSE_NONE, "" };
    uint64_t id = 0, version = 0;
    T_EQ_I64(cellar_listener_add(c, 0, hear, &h, &id), CELLAR_OK);
    T_EQ_I64(api_put(c, "a", "one", NULL), CELLAR_OK);
    deletes(c, "a", 0, "one");
    T_FIELDS(h, events, 1, cause, CELLAR_CAUSE_DELETED);
    T_EQ_STR(h.value, "one");
    T_EQ_I64(api_put(c, "b", "two", SET_OPTS(.new_version = &version)), CELLAR_OK);
    deletes_not(c, "b", version + 1, CELLAR_CONFLICT);
    T_EQ_U64(h.events, 1);
    T_EQ_I64(delete_version(c, "b", version), CELLAR_OK);
    T_FIELDS(h, events, 2, cause, CELLAR_CAUSE_DELETED);
    T_EQ_STR(h.value, "two");
    deletes_not(c, "b", 0, CELLAR_MISS);
    T_EQ_U64(h.events, 2);
    const cellar_stats st = space_stats(c);
    T_EQ_U64(st.deletes, 2);
    T_EQ_U64(st.ended[CELLAR_CAUSE_DELETED], 2);
    T_EQ_U64(st.gets, 0); /* reading the old value is no get */
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_OK);
}

/* ---- threads ---- */

enum { THREADS = 4, KEYS = 3, ROUNDS = 20000 };

typedef struct race {
    cellar *c;
    uint32_t first;      /* the values of this thread are first, first + 1, .. */
    uint32_t stored, deleted;
    _Atomic uint8_t *gone; /* by value: how often a delete returned it */
} race;

/* Sets where no value is, with a value that occurs once, and deletes with the old value. */
static void *set_and_delete(void *arg)
{
    race *r = arg;
    cellar_set_opts so = { .struct_size = sizeof so, .flags = CELLAR_ONLY_IF_ABSENT };
    for (uint32_t i = 0; i < t_share(ROUNDS); i++) {
        const uint32_t key = i % KEYS, value = r->first + r->stored;
        const cellar_err set = cellar_set(r->c, &key, sizeof key, &value, sizeof value, &so);
        T_CHECK(set == CELLAR_OK || set == CELLAR_EXISTS);
        if (set == CELLAR_OK) { r->stored++; }
        void *old = NULL;
        size_t len = 0;
        uint32_t was = 0;
        cellar_delete_opts o = { .struct_size = sizeof o, .old_value = &old,
                                 .old_value_len = &len };
        const uint32_t other = (i / 2) % KEYS;
        const cellar_err err = cellar_delete_with(r->c, &other, sizeof other, &o);
        T_CHECK(err == CELLAR_OK || err == CELLAR_MISS || err == CELLAR_E_BUSY);
        T_CHECK((old != NULL) == (err == CELLAR_OK));
        if (err != CELLAR_OK) { continue; }
        r->deleted++;
        T_EQ_U64(len, sizeof was);
        memcpy(&was, old, sizeof was);
        T_REQUIRE(was < THREADS * ROUNDS);
        T_EQ_U64(atomic_fetch_add(&r->gone[was], 1), 0); /* each value is deleted once */
        cellar_free(old);
    }
    return NULL;
}

T_CASE_ON(every_value_deleted_by_threads_was_set_and_is_returned_once, STORE)
{
    _Atomic uint8_t *gone = calloc(THREADS * ROUNDS, sizeof *gone);
    race r[THREADS];
    uint32_t stored = 0, deleted = 0, left = 0;
    T_REQUIRE(gone != NULL);
    for (uint32_t i = 0; i < THREADS; i++) { r[i] = (race){ c, i * ROUNDS, 0, 0, gone }; }
    together(THREADS, set_and_delete, r, sizeof *r);
    for (uint32_t i = 0; i < THREADS; i++) {
        stored += r[i].stored;
        deleted += r[i].deleted;
        for (uint32_t n = r[i].stored; n < ROUNDS; n++) { /* never stored: never returned */
            if (!T_EQ_U64(atomic_load(&gone[i * ROUNDS + n]), 0)) { break; }
        }
    }
    for (uint32_t key = 0; key < KEYS; key++) {
        left += cellar_contains(c, &key, sizeof key) == CELLAR_OK;
    }
    T_EQ_U64(stored, deleted + left);
    free((void *)gone);
}

/* ---- update functions that remove ---- */

typedef struct remover {
    unsigned calls;
    cellar *c;           /* not NULL: the first call sets the key itself */
    char seen[2][16];    /* the old value of the first two calls; "-": none */
} remover;

static cellar_err remove_it(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    remover *r = ctx;
    T_REQUIRE(r->calls < 2 && old_len < sizeof r->seen[0]);
    char *seen = r->seen[r->calls++];
    memcpy(seen, old != NULL ? old : "-", old != NULL ? old_len : 1);
    seen[old != NULL ? old_len : 1] = '\0';
    T_EQ_I64(cellar_buf_append(out, "ignored", 7), CELLAR_OK);
    if (r->c != NULL && r->calls == 1) {
        T_EQ_I64(api_put(r->c, "k", "other", NULL), CELLAR_OK);
    }
    return CELLAR_REMOVED;
}

T_CASE_ON(update_that_returns_removed_removes_the_entry, STORE)
{
    remover r = { 0 };
    heard h = { 0, CELLAR_CAUSE_NONE, "" };
    uint64_t id = 0;
    T_EQ_I64(cellar_listener_add(c, 0, hear, &h, &id), CELLAR_OK);
    T_EQ_I64(api_put(c, "k", "one", NULL), CELLAR_OK);
    T_EQ_I64(cellar_update(c, "k", 1, NULL, remove_it, &r), CELLAR_REMOVED);
    T_EQ_U64(r.calls, 1);
    T_EQ_STR(r.seen[0], "one");
    T_EQ_STR(api_look(c, "k"), "MISS");
    T_FIELDS(h, events, 1, cause, CELLAR_CAUSE_DELETED);
    T_EQ_STR(h.value, "one");
    T_EQ_I64(cellar_listener_remove(c, id), CELLAR_OK);
}

T_CASE_ON(update_that_removes_nothing_misses, STORE)
{
    remover r = { 0 };
    T_EQ_I64(cellar_update(c, "k", 1, NULL, remove_it, &r), CELLAR_MISS);
    T_EQ_U64(r.calls, 1);
    T_EQ_STR(r.seen[0], "-");
    T_EQ_STR(api_look(c, "k"), "MISS");
    const cellar_set_opts *o = SET_OPTS(.flags = CELLAR_ONLY_IF_PRESENT);
    T_EQ_I64(cellar_update(c, "k", 1, o, remove_it, &r), CELLAR_MISS);
    T_EQ_U64(r.calls, 1); /* the function did not run */
    T_EQ_I64(api_put(c, "k", "v", NULL), CELLAR_OK);
    T_EQ_I64(cellar_update(c, "k", 1, o, remove_it, &r), CELLAR_REMOVED);
    T_EQ_STR(api_look(c, "k"), "MISS");
}

/* Like a delete, it ends a load that began before it, and a negative entry. */
T_CASE_ON(update_that_removes_nothing_ends_a_load, STORE)
{
    cellar_lease lease;
    cellar_result res = cellar_result_default();
    remover r = { 0 };
    T_EQ_I64(cellar_lease_acquire(c, "k", 1, NULL, NULL, &lease, &res), CELLAR_LEASED);
    T_EQ_I64(cellar_update(c, "k", 1, NULL, remove_it, &r), CELLAR_MISS);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "older", 5, NULL), CELLAR_INVALIDATED);
    T_EQ_STR(api_look(c, "k"), "MISS");
    T_EQ_I64(api_put(c, "k", "", SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
    T_EQ_STR(api_look(c, "k"), "ABSENT");
    T_EQ_I64(cellar_update(c, "k", 1, NULL, remove_it, &r), CELLAR_MISS);
    T_EQ_STR(api_look(c, "k"), "MISS");
}

typedef struct clearer {
    cellar *c;
    cellar_lease lease;
    unsigned calls;
} clearer;

static cellar_err clear_load_remove(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    clearer *r = ctx;
    cellar_result res = cellar_result_default();
    T_REQUIRE(old == NULL && old_len == 0 && out != NULL);
    if (r->calls++ == 0) {
        T_EQ_I64(cellar_clear(r->c), CELLAR_OK);
        T_EQ_I64(cellar_lease_acquire(r->c, "k", 1, NULL, NULL, &r->lease, &res), CELLAR_LEASED);
    }
    return CELLAR_REMOVED;
}

/* A load that began behind a clear has keys of another generation. */
T_CASE_ON(update_that_removes_nothing_ends_a_load_behind_a_clear, STORE)
{
    clearer r = { .c = c };
    T_EQ_I64(cellar_update(c, "k", 1, NULL, clear_load_remove, &r), CELLAR_MISS);
    T_EQ_I64(cellar_lease_fulfill(c, &r.lease, "older", 5, NULL), CELLAR_INVALIDATED);
    T_EQ_STR(api_look(c, "k"), "MISS");
}

T_CASE_ON(update_that_removes_sees_a_set_of_its_own_round, STORE)
{
    for (unsigned there = 0; there < 2; there++) { /* so does a set where it saw no entry */
        remover r = { 0, c, { "", "" } };
        if (there) { T_EQ_I64(api_put(c, "k", "one", NULL), CELLAR_OK); }
        T_EQ_I64(cellar_update(c, "k", 1, NULL, remove_it, &r), CELLAR_REMOVED);
        T_EQ_U64(r.calls, 2); /* the set between read and removal costs a round */
        T_EQ_STR(r.seen[0], there ? "one" : "-");
        T_EQ_STR(r.seen[1], "other");
        T_EQ_STR(api_look(c, "k"), "MISS");
    }
}

/* ---- entries that are only on disk ---- */

static cellar *open_disk(void)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.clock = read_clock,
                     .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    return c;
}

static cellar *reopen(cellar *c) { api_shut(c); return open_disk(); }

/* Every value of it was read from disk, or is there. */
static cellar_tier tier_of(cellar *c, const char *key)
{
    cellar_entry_info i = cellar_entry_info_default();
    return cellar_entry_info_get(c, key, strlen(key), 0, &i) == CELLAR_OK ? i.tier
                                                                          : CELLAR_TIER_DEFAULT;
}

T_CASE_ON(delete_with_returns_a_value_that_is_only_on_disk, STORE2)
{
    cellar *c = open_disk();
    T_EQ_I64(api_put(c, "a", "one", NULL), CELLAR_OK);
    T_EQ_I64(api_put(c, "b", "two", NULL), CELLAR_OK);
    c = reopen(c);
    T_EQ_I64(tier_of(c, "a"), CELLAR_TIER_L2);
    deletes(c, "a", 0, "one");
    T_EQ_I64(tier_of(c, "b"), CELLAR_TIER_L2);
    T_EQ_I64(delete_version(c, "b", 0), CELLAR_MISS); /* like cellar_delete */
    c = reopen(c);
    T_EQ_STR(api_look(c, "a"), "MISS");
    T_EQ_STR(api_look(c, "b"), "MISS");
    api_shut(c);
}

T_CASE_ON(delete_with_a_version_never_matches_on_disk, STORE2)
{
    uint64_t version = 0;
    cellar *c = open_disk();
    T_EQ_I64(api_put(c, "a", "one", SET_OPTS(.new_version = &version)), CELLAR_OK);
    T_EQ_I64(api_put(c, "b", "two", NULL), CELLAR_OK);
    c = reopen(c);
    T_EQ_I64(tier_of(c, "a"), CELLAR_TIER_L2);
    deletes_not(c, "a", version, CELLAR_CONFLICT);
    deletes_not(c, "b", version, CELLAR_CONFLICT);
    T_EQ_STR(api_look(c, "a"), "one");
    T_EQ_STR(api_look(c, "b"), "two");
    api_shut(c);
}

T_CASE_ON(update_that_removes_ends_the_copy_on_disk, STORE2)
{
    remover r = { 0 };
    cellar *c = open_disk();
    T_EQ_I64(api_put(c, "k", "one", NULL), CELLAR_OK);
    c = reopen(c);
    T_EQ_I64(tier_of(c, "k"), CELLAR_TIER_L2);
    T_EQ_I64(cellar_update(c, "k", 1, NULL, remove_it, &r), CELLAR_REMOVED);
    T_EQ_STR(r.seen[0], "one");
    T_EQ_STR(api_look(c, "k"), "MISS");
    c = reopen(c);
    T_EQ_STR(api_look(c, "k"), "MISS");
    api_shut(c);
}

T_MAIN("api_remove")
