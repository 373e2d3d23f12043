/* SPDX-License-Identifier: MIT
 *
 * attack_run: processes that use the same keys, locks and limiter while faults come, and a check of
 * each answer at the time when it comes.
 *
 * PICTURE    parent: servers, proxies, faults | children: a side each, two threads
 *            round: operations and faults -> all stop -> fence -> memory against the server -> ..
 * VERSIONS   Each change of a key takes the next version, under a lock of the key, and changes the
 *            source from which loaders read. An acknowledged version notes its time. A value says
 *            its version, and all its bytes depend on version and key.
 * STALE      A hit that was asked for more than proof_ms after a newer version was acknowledged.
 * BACKWARDS  A hit that is older than one which this process had before, or than its own change.
 * LOST       A value of the server that is older than the last acknowledged version, or no value
 *            though the last change was an acknowledged set and nothing else can have ended it.
 * EXEMPT     A version without an acknowledgement has no place in the order: it may come late.
 *            While a failover lasts, versions of the last seconds before it may be lost (LAG_MS),
 *            and reads may go back to versions before it.
 * FENCES     The fence of an owner is above those of all acquires that ended before its own began.
 *            `kept` counts the keys that had to have a value and had it. A set by a process that
 *            has not heard of a clear yet has no value, so only each second round has clears.
 * LATE       `came_late` counts versions without an acknowledgement that the server has at the end
 *            of a round, though a newer one was acknowledged.
 * FORGOTTEN  In a round with a crowd of tags the port forgets "even" again and again (`forgotten`
 *            counts all tags), so a value may be gone. In the next round as well: a process may
 *            still set values with the earlier number of the tag. These values are invalidated
 *            when another process makes a new number. All other checks stay as they are.
 * LIMIT      attack_limit_check looks at every window between two losses of the data of the server. */
#ifndef CELLAR_TESTS_ATTACK_RUN_H
#define CELLAR_TESTS_ATTACK_RUN_H

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/group_kit.h"

enum { CHILDREN = 3, THREADS = 2, KEYS = 24, VERSIONS = 4096, VALUE_MAX = 3000, LOCKS = 4,
       PROOF_MS = 500, LAG_MS = 3500, LOCK_MS = 3000, RATE = 2000, BURST = 200, HOLD_MS = 20,
       ADMISSIONS = 1 << 22 };

enum { ATTACK_CHECK = 0, ATTACK_RUN = 1, ATTACK_SETTLE = 2 };

typedef struct attack_key {
    _Atomic int writer;            /* pid; 0: none */
    _Atomic uint64_t begun, acked, unknown;
    _Atomic bool acked_set;        /* the last acknowledged change is a set */
    _Atomic uint64_t now;          /* what a new process finds at the end of a round; 0: none */
    _Atomic uint64_t base, settled; /* versions up to `base` are over, but for `settled` */
    _Atomic uint64_t acked_base;   /* the last acknowledged version up to `base`: if `settled` is 0,
                                    * memory may have it, or one without an acknowledgement */
    _Atomic int64_t acked_ms[VERSIONS]; /* by version % VERSIONS; 0: none */
} attack_key;

typedef struct attack_lock {
    _Atomic uint64_t fence;
    _Atomic int64_t until_ms; /* of the owner; 0: none */
} attack_lock;

/* What the run counts: name in the last line. */
#define ATTACK_COUNTS(X) \
    X(operations) X(hits) X(loads) X(acked) X(deferred) X(stale) X(old) X(backwards) X(unfenced) \
    X(torn) X(lost) X(kept_old) X(locks) X(two_owners) X(fence_order) X(admitted) X(over_limit) \
    X(rounds) X(faults) X(failovers) \
    X(replayed) X(came_late) X(kept) X(forgotten)

typedef struct attack {
    cellar_remote_namespace_config opts;
    const char *prefix; /* of all keys of the run */
    _Atomic uint32_t phase;        /* % 3 is an ATTACK_ phase; 0: end */
    _Atomic uint32_t reached[CHILDREN];
    _Atomic int64_t failing_ms;    /* since when a failover lasts; 0: none does */
    _Atomic bool lossy, killed;    /* in this round the server lost data, or a child was killed */
    bool crowded, was_crowded;     /* the port forgets tags in this round; it did in the last */
    _Atomic int primary;
    attack_key key[KEYS];
    attack_lock lock[LOCKS];
#define ATTACK_COUNT(name) _Atomic uint64_t name;
    ATTACK_COUNTS(ATTACK_COUNT)
#undef ATTACK_COUNT
    uint64_t replayed_before;      /* keys of journals that were deleted before this round */
    uint64_t calm_from, calm_to;   /* admissions to check: no data was lost between them */
    int64_t admitted_ms[ADMISSIONS];
} attack;

static char attack_at[32]; /* host and port of a server alone */

/* ---- a child ---- */

typedef struct attack_child {
    attack *a;
    side s;
    cellar_remote_limiter *limiter;
    _Atomic uint64_t seen[KEYS];
    _Atomic bool stops;
    uint64_t replayed; /* keys of journals that this child had deleted before the round */
    uint32_t me;
} attack_child;

static __thread uint64_t attack_state;

static uint32_t attack_random(uint32_t n)
{
    attack_state = attack_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(attack_state >> 33) % n;
}

static int64_t attack_now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t now_ms(void) { return attack_now_ms(CLOCK_MONOTONIC); }

static size_t attack_key_text(uint32_t k, char to[16])
{
    return (size_t)snprintf(to, 16, "key:%u", k);
}

/* Write a value: bytes that depend on all, and the version at the end. */
static size_t attack_value(uint32_t k, uint64_t version, char *to)
{
    const size_t fill = (size_t)(version * 131 % (VALUE_MAX - 16));
    for (size_t i = 0; i < fill; i++) { to[i] = (char)('a' + (version + k + i) % 26); }
    (void)snprintf(to + fill, 17, "%016llx", (unsigned long long)version);
    return fill + 16;
}

static uint64_t attack_version(const char *value, size_t len)
{
    char text[17] = "";
    if (len < 16) { return 0; }
    memcpy(text, value + len - 16, 16);
    return strtoull(text, NULL, 16);
}

static bool attack_is_whole(uint32_t k, const char *value, size_t len)
{
    char want[VALUE_MAX + 1];
    return attack_value(k, attack_version(value, len), want) == len &&
           memcmp(want, value, len) == 0;
}

static int64_t attack_acked_ms(const attack_key *key, uint64_t version)
{
    return atomic_load(&key->acked_ms[version % VERSIONS]);
}

static void attack_max(_Atomic uint64_t *to, uint64_t n)
{
    uint64_t was = atomic_load(to);
    while (was < n && !atomic_compare_exchange_weak(to, &was, n)) { }
}

static void attack_tell(const attack *a, const char *what, uint32_t k, uint64_t version, int64_t ms)
{
    static _Atomic int told;
    const attack_key *key = &a->key[k];
    if (atomic_fetch_add(&told, 1) > 20) { return; }
    printf("# %s: key %u version %llu, acked %llu, begun %llu, base %llu, settled %llu, %lld ms, "
           "pid %d at %lld\n", what, k, (unsigned long long)version, (unsigned long long)key->acked,
           (unsigned long long)key->begun, (unsigned long long)key->base,
           (unsigned long long)key->settled, (long long)ms, (int)getpid(), (long long)now_ms());
    (void)fflush(stdout);
}

/* Return how long before `asked_ms` a version newer than `version` was acknowledged; -1: none. */
static int64_t attack_age_ms(const attack *a, const attack_key *key, uint64_t version,
                             int64_t asked_ms)
{
    const uint64_t begun = atomic_load(&key->begun), base = atomic_load(&key->base);
    const int64_t failing_ms = atomic_load(&a->failing_ms);
    uint64_t v = version > base ? version + 1 : base + 1;
    if (begun > VERSIONS - 8 && v < begun - (VERSIONS - 8)) { v = begun - (VERSIONS - 8); }
    for (; v <= begun; v++) {
        const int64_t ms = attack_acked_ms(key, v);
        if (ms <= 0) { continue; }
        return failing_ms != 0 && ms >= failing_ms - LAG_MS ? -1 : asked_ms - ms;
    }
    return -1;
}

/* Judge a value that was asked for at `asked_ms`, when the process had seen `seen`. */
static void attack_judge(attack_child *c, uint32_t k, const char *value, size_t len,
                         int64_t asked_ms, uint64_t seen, int64_t bound_ms, bool load)
{
    attack *a = c->a;
    attack_key *key = &a->key[k];
    const uint64_t version = attack_version(value, len), base = atomic_load(&key->base);
    const uint64_t settled = atomic_load(&key->settled);
    const bool failing = atomic_load(&a->failing_ms) != 0;
    const bool unknown = version > base && attack_acked_ms(key, version) <= 0;
    atomic_fetch_add(load ? &a->loads : &a->hits, 1);
    if (!attack_is_whole(k, value, len)) {
        attack_tell(a, "torn", k, version, (int64_t)len);
        atomic_fetch_add(&a->torn, 1);
        return;
    }
    /* Loads bring version `base` again: the source has it. */
    if (!failing && version < base && version != settled &&
        (settled != 0 || version < atomic_load(&key->acked_base))) {
        attack_tell(a, "old", k, version, 0);
        atomic_fetch_add(&a->old, 1);
        return;
    }
    if (unknown) { return; }
    const int64_t age_ms = attack_age_ms(a, key, version, asked_ms);
    if (age_ms > bound_ms) {
        attack_tell(a, bound_ms == 0 ? "unfenced" : load ? "stale load" : "stale", k, version,
                    age_ms);
        atomic_fetch_add(bound_ms == 0 ? &a->unfenced : &a->stale, 1);
    }
    if (failing || load) { return; }
    if (version < seen) {
        attack_tell(a, "backwards", k, version, (int64_t)seen);
        atomic_fetch_add(&a->backwards, 1);
    }
    attack_max(&c->seen[k], version);
}

/* The bound of a hit: none while TRUST answers without a proof, and between processes that
 * queue. A proof that is read here says nothing of later: read the time of the hit before. */
static int64_t attack_bound_ms(attack_child *c)
{
    if (c->a->opts.write == CELLAR_REMOTE_BEHIND) { return INT64_MAX; }
    if (c->a->opts.offline != CELLAR_REMOTE_TRUST) { return PROOF_MS; }
    const int64_t age_ms = side_stats(&c->s).proof_age_ms;
    return age_ms >= 0 && age_ms <= PROOF_MS &&
                   cellar_remote_state_get(c->s.r) == CELLAR_REMOTE_PROVEN ? PROOF_MS : INT64_MAX;
}

/* Return whether memory or server had the key. */
static bool attack_get(attack_child *c, uint32_t k, bool fenced)
{
    char key[16], value[VALUE_MAX + 1];
    size_t len = 0;
    atomic_fetch_add(&c->a->operations, 1);
    const size_t key_len = attack_key_text(k, key);
    const int64_t before_ms = now_ms();
    const uint64_t seen = atomic_load(&c->seen[k]);
    fenced = fenced && cellar_remote_fence(c->s.r, 500) == CELLAR_OK;
    const bool exact = fenced && c->a->opts.write != CELLAR_REMOTE_BEHIND;
    const int64_t asked_ms = fenced ? before_ms : now_ms();
    const int64_t bound_ms = exact ? 0 : attack_bound_ms(c);
    if (cellar_get(c->s.users, key, key_len, value, sizeof value, &len) != CELLAR_OK) {
        return false;
    }
    attack_judge(c, k, value, len, asked_ms, seen, bound_ms, false);
    return true;
}

static void attack_get_many(attack_child *c, uint32_t k)
{
    enum { MANY = 4 };
    cellar_get_item item[MANY];
    char key[MANY][16], value[MANY][VALUE_MAX + 1];
    uint64_t seen[MANY];
    size_t hits = 0;
    atomic_fetch_add(&c->a->operations, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        const size_t len = attack_key_text((k + i) % KEYS, key[i]);
        seen[i] = atomic_load(&c->seen[(k + i) % KEYS]);
        item[i] = (cellar_get_item){ .key = key[i], .key_len = len, .buf = value[i],
                                     .buf_cap = VALUE_MAX + 1 };
    }
    const int64_t asked_ms = now_ms(), bound_ms = attack_bound_ms(c);
    (void)cellar_get_many(c->s.users, item, MANY, &hits);
    for (uint32_t i = 0; i < MANY; i++) {
        if (item[i].status == CELLAR_OK) {
            attack_judge(c, (k + i) % KEYS, value[i], item[i].value_len, asked_ms, seen[i],
                         bound_ms, false);
        }
    }
}

/* ---- changes ---- */

/* Take a key for a change. False: another thread has it, or it is another process that queues. */
static bool attack_take(attack_child *c, uint32_t k)
{
    int none = 0;
    const attack *a = c->a;
    if (a->opts.write == CELLAR_REMOTE_BEHIND &&
        (k + atomic_load(&a->phase) / 3) % CHILDREN != c->me) {
        return false;
    }
    return atomic_compare_exchange_strong(&c->a->key[k].writer, &none, (int)getpid());
}

/* Begin a change of a key that was taken: the source has it first. */
static uint64_t attack_begin(attack_key *key)
{
    const uint64_t version = atomic_load(&key->begun) + 1;
    atomic_store(&key->acked_ms[version % VERSIONS], 0);
    atomic_store(&key->begun, version);
    return version;
}

static void attack_end(attack_child *c, uint32_t k, uint64_t version, bool set, cellar_err err)
{
    attack_key *key = &c->a->key[k];
    if (err == CELLAR_OK) {
        atomic_store(&key->acked_set, set);
        atomic_store(&key->acked, version);
        atomic_store(&key->acked_ms[version % VERSIONS], now_ms());
        if (atomic_load(&c->a->failing_ms) == 0) { attack_max(&c->seen[k], version); }
        atomic_fetch_add(&c->a->acked, 1);
    } else {
        atomic_fetch_add(&key->unknown, 1);
        atomic_fetch_add(&c->a->deferred, 1);
    }
    atomic_store(&key->writer, 0);
}

static cellar_err attack_update(const void *old, size_t old_len, cellar_buf *out, void *value)
{
    (void)old, (void)old_len;
    return cellar_buf_append(out, value, strlen(value));
}

/* Even keys have a tag, and are never loaded. */
static bool attack_has_tag(const attack_child *c, uint32_t k)
{
    return k % 2 == 0 && c->a->opts.values != CELLAR_REMOTE_RAW;
}

static void attack_change(attack_child *c, uint32_t k, uint32_t kind)
{
    const cellar_bytes tag = { "even", 4 };
    cellar_set_opts o = cellar_set_opts_default();
    char key[16], value[VALUE_MAX + 1];
    const size_t key_len = attack_key_text(k, key);
    if (!attack_take(c, k)) { return; }
    atomic_fetch_add(&c->a->operations, 1);
    const uint64_t version = attack_begin(&c->a->key[k]);
    const size_t len = attack_value(k, version, value);
    const cellar_remote_write writes = c->a->opts.write;
    cellar_err err;
    if (attack_has_tag(c, k)) { o.tags = &tag, o.tag_count = 1; }
    if (kind < 2) {
        err = cellar_delete(c->s.users, key, key_len);
        if (err == CELLAR_MISS) { err = CELLAR_OK; }
    } else if (kind == 2 && k % 2 != 0 && writes == CELLAR_REMOTE_THROUGH) {
        err = cellar_update(c->s.users, key, key_len, NULL, attack_update, value);
    } else {
        err = cellar_set(c->s.users, key, key_len, value, len, &o);
    }
    attack_end(c, k, version, kind >= 2 && writes != CELLAR_REMOTE_INVALIDATE, err);
}

static bool attack_clears(const attack *a) { return atomic_load(&a->phase) / 3 % 2 == 0; }

/* End many keys in one call: a clear, a tag, a pattern. */
static void attack_end_many(attack_child *c, uint32_t kind)
{
    uint64_t version[KEYS] = { 0 };
    cellar_err err = CELLAR_OK;
    atomic_fetch_add(&c->a->operations, 1);
    if (kind == 1 && c->a->opts.values == CELLAR_REMOTE_RAW) { return; }
    if (!attack_clears(c->a)) { return; }
    for (uint32_t k = 0; k < KEYS; k++) {
        if (kind == 1 && k % 2 != 0) { continue; }
        for (int i = 0; i < 50 && version[k] == 0; i++) {
            if (attack_take(c, k)) { version[k] = attack_begin(&c->a->key[k]); }
            else { sched_yield(); }
        }
        if (version[k] == 0) { err = CELLAR_E_BUSY; }
    }
    if (err == CELLAR_OK) {
        err = kind == 0 ? cellar_clear(c->s.users)
            : kind == 1 ? cellar_delete_by_tag(c->s.users, "even", 4, CELLAR_TAG_HARD)
                        : cellar_delete_by_pattern(c->s.users, "key:*", 5, NULL);
    }
    for (uint32_t k = 0; k < KEYS; k++) {
        if (version[k] != 0) { attack_end(c, k, version[k], false, err); }
    }
}

/* ---- loads ---- */

typedef struct attack_source {
    attack_child *c;
    uint32_t k;
} attack_source;

static void attack_pause(uint32_t max_us)
{
    const struct timespec t = { 0, (long)attack_random(max_us) * 1000 };
    (void)nanosleep(&t, NULL);
}

static cellar_err attack_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const attack_source *from = ctx;
    char value[VALUE_MAX + 1];
    (void)key, (void)key_len;
    const size_t len = attack_value(from->k, atomic_load(&from->c->a->key[from->k].begun), value);
    if (attack_random(4) == 0) { attack_pause(5000); }
    return cellar_load_value(load, value, len);
}

static void attack_get_or_load(attack_child *c, uint32_t k)
{
    attack_source from = { c, k };
    char key[16];
    cellar_result r = cellar_result_default();
    const size_t key_len = attack_key_text(k, key);
    /* A load of RAW may overwrite a change that this process has not heard yet. */
    if (k % 2 == 0 || c->a->opts.values == CELLAR_REMOTE_RAW) { return; }
    if (atomic_load(&c->a->key[k].begun) == 0) { return; }
    atomic_fetch_add(&c->a->operations, 1);
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 500 };
    const uint64_t seen = atomic_load(&c->seen[k]);
    const int64_t asked_ms = now_ms(), bound_ms = attack_bound_ms(c);
    const cellar_err err = cellar_get_or_load(c->s.users, key, key_len, &o, attack_load, &from, &r);
    if (err == CELLAR_OK) {
        attack_judge(c, k, (const char *)r.value, r.value_len, asked_ms, seen, bound_ms, true);
    }
    cellar_result_free(&r);
}

/* ---- locks and limits ---- */

static void attack_lock_once(attack_child *c, uint32_t k)
{
    attack *a = c->a;
    attack_lock *l = &a->lock[k];
    cellar_remote_lock lk;
    char key[16];
    const size_t key_len = (size_t)snprintf(key, sizeof key, "lock:%u", k);
    atomic_fetch_add(&a->operations, 1);
    cellar_lock_opts o = { .struct_size = sizeof o, .hold_ms = LOCK_MS, .wait_timeout_ms = 200 };
    const uint64_t before = atomic_load(&l->fence);
    if (cellar_remote_lock_acquire(c->s.r, key, key_len, &o, &lk) != CELLAR_OK) { return; }
    const int64_t owned_ms = atomic_load(&l->until_ms), at_ms = attack_now_ms(CLOCK_BOOTTIME);
    const bool calm = !atomic_load(&a->lossy) && atomic_load(&a->failing_ms) == 0;
    atomic_fetch_add(&a->locks, 1);
    if (lk.fence <= before) { atomic_fetch_add(&a->fence_order, 1); }
    attack_max(&l->fence, lk.fence);
    if (calm && owned_ms > at_ms && lk.until_ms > at_ms) { atomic_fetch_add(&a->two_owners, 1); }
    atomic_store(&l->until_ms, lk.until_ms);
    attack_pause(300);
    int64_t mine_ms = lk.until_ms;
    (void)atomic_compare_exchange_strong(&l->until_ms, &mine_ms, 0);
    (void)cellar_remote_lock_release(c->s.r, key, key_len, &lk);
}

static void attack_limit_once(attack_child *c)
{
    cellar_limiter_result x;
    attack *a = c->a;
    atomic_fetch_add(&a->operations, 1);
    if (cellar_remote_limiter_check(c->limiter, "hot", 3, 1, &x) != CELLAR_OK) { return; }
    const uint64_t i = atomic_fetch_add(&a->admitted, 1);
    a->admitted_ms[i % ADMISSIONS] = (int64_t)(x.now_ns / 1000000);
}

/* ---- threads of a child ---- */

static void attack_operation(attack_child *c)
{
    const uint32_t k = attack_random(KEYS), what = attack_random(1024);
    if (cellar_remote_state_get(c->s.r) < CELLAR_REMOTE_PROVEN) { attack_pause(1000); }
    if (what < 1) { attack_end_many(c, attack_random(3)); }
    else if (what < 12) { attack_lock_once(c, k % LOCKS); }
    else if (what < 24) { (void)attack_get(c, k, true); }
    else if (what < 60) { attack_get_many(c, k); }
    else if (what < 200) { attack_change(c, k, attack_random(8)); }
    else if (what < 260) { attack_limit_once(c); }
    else if (what < 330) { attack_get_or_load(c, k); }
    else {
        for (uint32_t n = attack_random(128); n > 0 && attack_get(c, k, false); n--) { }
    }
}

static void *attack_operations(void *child)
{
    static _Atomic uint64_t number;
    attack_child *c = child;
    attack_state = t_seed() * 77 + (uint64_t)getpid() * 1000003 + atomic_fetch_add(&number, 1);
    while (!atomic_load(&c->stops)) { attack_operation(c); }
    return NULL;
}

/* Wait until the link stands and no write waits, then until all changes were heard. */
static void attack_settle(const side *s)
{
    for (int i = 0; i < 15000 * (int)t_patience(); i++) {
        const cellar_remote_stats figures = side_stats(s);
        if (side_proven(s) && figures.queue_entries + figures.journal_keys == 0 &&
            cellar_remote_fence(s->r, 10000) == CELLAR_OK) {
            return;
        }
        engine_pause_ms(2);
    }
    cellar_error_info why = cellar_error_info_default();
    (void)cellar_remote_last_error(s->r, &why);
    printf("# does not settle: %s\n", why.text);
    T_REQUIRE(!"settles");
}

/* Return the version that a get finds; 0: none. */
static uint64_t attack_found(const side *s, uint32_t k)
{
    char key[16], value[VALUE_MAX + 1];
    size_t len = 0;
    const size_t key_len = attack_key_text(k, key);
    const cellar_err err = cellar_get(s->users, key, key_len, value, sizeof value, &len);
    return err == CELLAR_OK ? attack_version(value, len) : 0;
}

/* Open a store, its limiter and the link to nodes[0], or to the group. */
static void attack_open(attack_child *c)
{
    const cellar_rule rule = cellar_rule_token_bucket(RATE, CELLAR_SECOND_NS, BURST);
    char url[1024], ca[T_FOLDER_MAX + 32] = "";
    const bool over_tls = group_tls[0] != '\0';
    if (over_tls) { (void)snprintf(ca, sizeof ca, "&tls_ca_file=%s/ca.pem", group_tls); }
    (void)snprintf(url, sizeof url,
                   sentinel_list[0] != '\0' ? "%s-sentinel://%s?master=main&prefix=%s%s"
                                            : "%s://%s?prefix=%s%s",
                   over_tls ? "rediss" : "redis", sentinel_list[0] != '\0' ? sentinel_list : attack_at,
                   c->a->prefix, ca);
    cellar_remote_config o = { .struct_size = sizeof o, .io_ms = 200, .proof_ms = PROOF_MS };
    cellar_remote_limiter_config lo = { .struct_size = sizeof lo, .hold_ms = HOLD_MS,
                                        .offline = CELLAR_REMOTE_LIMITER_DENY };
    T_REQUIRE(cellar_open(NULL, &c->s.store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(c->s.store, "users", NULL, &c->s.users) == CELLAR_OK);
    T_REQUIRE(cellar_remote_open(c->s.store, url, &o, &c->s.r) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(c->s.r, c->s.users, &c->a->opts) == CELLAR_OK);
    T_REQUIRE(cellar_remote_limiter_open(c->s.r, &rule, &lo, &c->limiter) == CELLAR_OK);
}

/* Read all keys as a new process. */
static void attack_read(attack *a)
{
    static attack_child c;
    memset(&c, 0, sizeof c);
    c.a = a;
    attack_open(&c);
    attack_settle(&c.s);
    for (uint32_t k = 0; k < KEYS; k++) { a->key[k].now = attack_found(&c.s, k); }
    cellar_remote_limiter_close(c.limiter);
    side_close(&c.s);
}

/* Compare memory with what a new process reads. Memory alone may have a load of the newest. A write
 * without an acknowledgement may reach the server behind the first reading: read once more. */
static void attack_check(attack_child *c)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        const attack_key *key = &c->a->key[k];
        uint64_t version = 0, now = 0;
        bool agrees = false;
        for (int again = 0; !agrees && again < 4; again++) {
            if (again > 0) {
                attack_read(c->a);
                attack_settle(&c->s);
            }
            now = atomic_load(&key->now);
            version = attack_found(&c->s, k);
            agrees = version == 0 || version == now ||
                     (now == 0 && version >= atomic_load(&key->acked));
        }
        if (!agrees) {
            attack_tell(c->a, "kept old", k, version, (int64_t)now);
            atomic_fetch_add(&c->a->kept_old, 1);
        }
        atomic_store(&c->seen[k], 0);
    }
}

static void attack_run(attack_child *c)
{
    pthread_t id[THREADS];
    atomic_store(&c->stops, false);
    for (int i = 0; i < THREADS; i++) {
        T_REQUIRE(pthread_create(&id[i], NULL, attack_operations, c) == 0);
    }
    while (atomic_load(&c->a->phase) % 3 == ATTACK_RUN) { engine_pause_ms(1); }
    atomic_store(&c->stops, true);
    for (int i = 0; i < THREADS; i++) { pthread_join(id[i], NULL); }
}

static void attack_child_main(attack *a, uint32_t me)
{
    static attack_child c;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    t_.seed = t_.seed / CHILDREN * CHILDREN + me; /* processes draw different tokens */
    for (int i = 0; i < 2; i++) { nodes[i].e.c = NULL, nodes[i].e.reply = NULL; }
    c.a = a;
    c.me = me;
    attack_open(&c);
    for (uint32_t phase = atomic_load(&a->phase); phase != 0;) {
        switch (phase % 3) {
        case ATTACK_RUN: attack_run(&c); break;
        case ATTACK_SETTLE:
            attack_settle(&c.s);
            atomic_fetch_add(&a->replayed, side_stats(&c.s).replayed - c.replayed);
            c.replayed = side_stats(&c.s).replayed;
            break;
        default: attack_check(&c);
        }
        atomic_store(&a->reached[me], phase);
        while (atomic_load(&a->phase) == phase) { engine_pause_ms(1); }
        phase = atomic_load(&a->phase);
    }
    cellar_remote_limiter_close(c.limiter);
    side_close(&c.s);
}

/* ---- the parent: a run ---- */

static pid_t attack_pid[CHILDREN];

static void attack_start(attack *a, uint32_t me)
{
    (void)fflush(stdout);
    attack_pid[me] = fork();
    if (attack_pid[me] != 0) { return; }
    attack_child_main(a, me);
    (void)fflush(stdout);
    _exit(t_failed() ? 1 : 0);
}

/* Kill a child. Changes that it was making have no acknowledgement. */
static void attack_kill(attack *a, uint32_t me)
{
    T_EQ_I64(kill(attack_pid[me], SIGKILL), 0);
    T_EQ_I64(waitpid(attack_pid[me], NULL, 0), attack_pid[me]);
    atomic_store(&a->killed, true);
    for (uint32_t k = 0; k < KEYS; k++) {
        int writer = attack_pid[me];
        if (atomic_load(&a->key[k].writer) == writer) { atomic_fetch_add(&a->key[k].unknown, 1); }
        (void)atomic_compare_exchange_strong(&a->key[k].writer, &writer, 0);
    }
}

/* Begin a phase; wait until all children have ended it, or run it. */
static void attack_phase(attack *a)
{
    const uint32_t phase = atomic_fetch_add(&a->phase, 1) + 1;
    for (uint32_t i = 0; phase % 3 != ATTACK_RUN && i < CHILDREN; i++) {
        AWAIT(atomic_load(&a->reached[i]) == phase || kill(attack_pid[i], 0) != 0);
    }
}

/* The server is about to lose data: locks, words of limiters. */
static void attack_loses(attack *a)
{
    if (!atomic_exchange(&a->lossy, true)) { a->calm_to = atomic_load(&a->admitted); }
}

static int attack_by_time(const void *x, const void *y)
{
    const int64_t l = *(const int64_t *)x, r = *(const int64_t *)y;
    return (l > r) - (l < r);
}

/* Count each admission above rate x (W + hold + 1 ms) + burst; readings are whole milliseconds. */
static void attack_limit_check(attack *a)
{
    int64_t *at = &a->admitted_ms[a->calm_from], least = INT64_MAX;
    T_REQUIRE(atomic_load(&a->admitted) <= ADMISSIONS);
    const uint64_t n = a->calm_to - a->calm_from;
    qsort(at, n, sizeof *at, attack_by_time);
    uint64_t i = 0;
    while (i < n && at[i] == 0) { i++; } /* of a child that was killed */
    for (uint64_t from = i; i < n; i++) {
        const int64_t level = (int64_t)(i - from) - RATE * (at[i] - at[from]) / 1000;
        if (level < least) { least = level; }
        if (level - least + 1 > BURST + RATE * (HOLD_MS + 1) / 1000) { a->over_limit++; }
    }
    a->calm_from = atomic_load(&a->admitted);
}

/* Return the newest version of this round that must not be lost. */
static uint64_t attack_kept(const attack *a, const attack_key *key)
{
    const int64_t failing_ms = atomic_load(&a->failing_ms);
    const uint64_t base = atomic_load(&key->base);
    uint64_t v = atomic_load(&key->begun);
    for (uint64_t n = 0; v > base && n < VERSIONS - 8; v--, n++) {
        const int64_t ms = attack_acked_ms(key, v);
        if (ms > 0 && (failing_ms == 0 || ms < failing_ms - LAG_MS)) { return v; }
    }
    return 0;
}

/* Compare the server with the acknowledged versions, and begin a new round with what it has. */
static void attack_rebase(attack *a)
{
    const bool clears = a->phase / 3 % 2 != 0; /* the round of this check had the number before */
    /* A gap turns the queue of BEHIND into deletes. Deletes of a journal may come twice, the second
     * time from the buffer of a connection that was closed. */
    const bool gone_is_right = a->replayed != a->replayed_before || clears || a->crowded ||
                               a->was_crowded || atomic_load(&a->lossy) ||
                               atomic_load(&a->failing_ms) != 0 ||
                               a->opts.write == CELLAR_REMOTE_BEHIND;
    for (uint32_t k = 0; k < KEYS; k++) {
        attack_key *key = &a->key[k];
        const uint64_t now = key->now, kept = attack_kept(a, key);
        const bool unknown = now > key->base && attack_acked_ms(key, now) <= 0;
        const bool stays = key->acked_set && key->acked == key->begun && key->unknown == 0 &&
                           key->begun > key->base && !gone_is_right;
        const bool gone = stays && now == 0;
        a->kept += stays && !gone;
        const bool queue_lost = a->opts.write == CELLAR_REMOTE_BEHIND && a->killed;
        const bool older = now != 0 && now < kept && !unknown && !queue_lost;
        a->came_late += unknown && now != 0 && now < key->acked;
        if (gone || older) {
            attack_tell(a, gone ? "lost" : "older", k, now, (int64_t)kept);
            a->lost++;
        }
        key->settled = now;
        key->base = key->begun;
        if (now != 0) { key->acked = now; }
        key->acked_base = key->acked;
        key->acked_set = now != 0;
        key->unknown = 0;
    }
    if (!a->lossy) { a->calm_to = atomic_load(&a->admitted); }
    for (uint32_t i = 0; i < LOCKS && (a->lossy || a->failing_ms != 0); i++) {
        atomic_store(&a->lock[i].until_ms, 0); /* of a killed owner: the server has no such lock */
    }
    attack_limit_check(a);
    a->was_crowded = a->crowded;
    a->lossy = a->killed = a->crowded = false;
    a->failing_ms = 0;
    a->replayed_before = a->replayed;
    a->rounds++;
}

static attack *attack_begin_run(const cellar_remote_namespace_config *o, const char *prefix)
{
    attack *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(a != MAP_FAILED);
    a->opts = *o;
    a->prefix = prefix;
    a->phase = 3 + ATTACK_SETTLE;
    for (uint32_t i = 0; i < CHILDREN; i++) { attack_start(a, i); }
    for (uint32_t i = 0; i < CHILDREN; i++) { AWAIT(a->reached[i] == 3 + ATTACK_SETTLE); }
    attack_phase(a);
    return a;
}

/* End a run. Return how many findings there are that must not be. */
static uint64_t attack_end_run(attack *a, const char *name)
{
    a->phase = 0;
    for (uint32_t i = 0; i < CHILDREN; i++) {
        int status = -1;
        T_EQ_I64(waitpid(attack_pid[i], &status, 0), attack_pid[i]);
        T_EQ_I64(status, 0);
    }
    printf("# %s:", name);
#define ATTACK_COUNT(count) printf(" " #count " %llu", (unsigned long long)a->count);
    ATTACK_COUNTS(ATTACK_COUNT)
#undef ATTACK_COUNT
    printf("\n");
    T_CHECK(a->hits > 0 && a->acked > 0 && a->locks > 0 && a->admitted > 0);
    const uint64_t found = a->stale + a->old + a->backwards + a->unfenced + a->torn + a->lost +
                           a->kept_old + a->two_owners + a->fence_order + a->over_limit;
    munmap(a, sizeof *a);
    return found;
}

#endif
