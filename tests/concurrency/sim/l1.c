/* SPDX-License-Identifier: MIT
 *
 * Aim:    The promises of L1 hold in every interleaving. A hit is the latest set, deletes win,
 *         values are whole and belong to their key, nothing is lost below the budget. Each removal
 *         is announced once, pinned bytes stay, the account is never over its limit. Some scenario
 *         here must catch each mistake that can be switched on in src/l1 ("l1.*").
 * Method: A few fibers with random operations on a few keys in one small store. Every value carries
 *         a number of its own. Calls and results go into a history with a clock that counts
 *         events. At the end the history of each key is checked by its rules, l1_audit walks the
 *         structure, and all memory must be returned.
 * RULES   A value is read only after its set began, and not after a later value was certainly
 *         current (zones of Gibbons and Korach). A miss is allowed after a delete that may have
 *         been last, and anywhere in scenarios that evict. A value announced as removed is not
 *         read any more. */
#include "tests/concurrency/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "l1/evict.h"
#include "l1/large.h"
#include "l1/policy.h"
#include "l1/segment.h"

enum {
    WORLD_KEYS = 256,
    WORLD_EVENTS = 1024,
    WORLD_IDS = 2048,
    WORLD_KEY_LEN = 7,
    WORLD_KEY_LONG = 300, /* no record in segments of 512 bytes holds it */
    WORLD_VALUE_MAX = 3000,
    WORLD_RETIRED = 256
};

typedef enum world_what { WORLD_SET, WORLD_HIT, WORLD_GONE, WORLD_MISS } world_what;

typedef struct world_event {
    uint32_t key, id;     /* id: SET, HIT */
    uint32_t start, end;  /* event clock */
    world_what what;
} world_event;

typedef struct world_key {
    char name[WORLD_KEY_LONG]; /* world.key_len of it are the key */
    uint64_t hash;
} world_key;

static struct world {
    base_account account;
    base_hash_key hash_key;
    l1 *c;
    bool no_loss;         /* eviction is forbidden: a miss must be justified */
    bool commit_hook;     /* the hook is installed */
    bool over;            /* a resize runs: the account may be over its limit */
    uint32_t key_len, key_count, id_count, event_count, clock;
    uint32_t victims;     /* number of first keys with imitated records; 0: all */
    world_key key[WORLD_KEYS];
    world_event event[WORLD_EVENTS];
    struct {
        uint32_t key, len;
        uint32_t victim;  /* its bytes imitate a record of this key */
        uint32_t left;    /* event clock of its announcement; 0: not announced */
        int64_t until_ms; /* last deadline of the value */
        bool stored;      /* its set returned OK */
    } id[WORLD_IDS];
    int64_t touching_ms[WORLD_KEYS]; /* deadline that a running touch gives, 0: none */
    uint64_t commits[WORLD_KEYS];  /* calls of the commit hook per key */
    uint64_t changes[WORLD_KEYS];  /* calls that must have run it */
    void *retired[WORLD_RETIRED];  /* freed blocks, kept and poisoned until the end of the run */
    uint32_t retired_count;
} world;

static uint32_t world_tick(void) { return ++world.clock; }

/* ---- values: number, key, then bytes computed from the number ---- */

enum { WORLD_IMAGE_AT = 17, WORLD_IMAGE = 8 + WORLD_KEY_LEN + 8 };

/* From 48 bytes on a value contains the image of a plain record of another key, at the start of a
 * granule (the value begins 15 bytes after one). The number in the image was never set. */
static void world_fill(unsigned char *to, uint32_t id, uint32_t len)
{
    memcpy(to, &id, 4);
    to[4] = (unsigned char)world.id[id].key;
    for (uint32_t i = 5; i < len; i++) { to[i] = (unsigned char)(id * 37 + i); }
    if (len < 48) { return; }
    const uint32_t vlen = id % 2 == 0 ? 8 : 500; /* the longer one reaches past its segment */
    uint32_t w0 = L1_W0_ALWAYS | vlen << 8 | WORLD_KEY_LEN, due = 0, forged = 0x7fffff00;
    unsigned char *at = to + WORLD_IMAGE_AT;
    memcpy(at, &w0, 4);
    memcpy(at + 4, &due, 4);
    memcpy(at + 8, world.key[world.id[id].victim].name, WORLD_KEY_LEN);
    memcpy(at + 8 + WORLD_KEY_LEN, &forged, 4);
}

/* Return the number of a value that is whole and belongs to `key`; any other value ends the run. */
static uint32_t world_read(const unsigned char *v, size_t len, uint32_t key)
{
    uint32_t id;
    BASE_SIM_CHECK(len >= 8 && len <= WORLD_VALUE_MAX);
    memcpy(&id, v, 4);
    if (id == 0 || id > world.id_count) { base_sim_fail("torn value: no such number %u", id); }
    if (world.id[id].key != key || v[4] != (unsigned char)key) {
        base_sim_fail("value %u of key %u served for key %u", id, world.id[id].key, key);
    }
    if (world.id[id].len != len) { base_sim_fail("torn value: length of %u", id); }
    unsigned char want[WORLD_VALUE_MAX];
    world_fill(want, id, (uint32_t)len);
    if (memcmp(v, want, len) != 0) { base_sim_fail("torn value %u", id); }
    return id;
}

/* ---- memory of the store: freed blocks are poisoned and stay mapped ---- */

static void *world_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    return malloc(bytes);
}

static void world_free(void *p, size_t bytes, void *ctx)
{
    (void)ctx;
    memset(p, 0xdd, bytes);
    if (world.retired_count < WORLD_RETIRED) {
        world.retired[world.retired_count++] = p;
    } else {
        free(p);
    }
}

/* ---- hooks ---- */

static uint32_t world_key_of(const void *bytes, size_t len)
{
    char name[WORLD_KEY_LONG];
    if (len != world.key_len) { base_sim_fail("a hook got a key of %zu bytes", len); }
    base_seq_load(name, bytes, len); /* may be in the log */
    for (uint32_t i = 0; i < world.key_count; i++) {
        if (memcmp(world.key[i].name, name, len) == 0) { return i; }
    }
    base_sim_fail("a hook got an unknown key");
}

static bool world_commit(void *ctx, uint64_t hash, uint32_t generation, const void *key,
                         size_t key_len, l1_change change, uint64_t *stamp)
{
    (void)ctx;
    (void)generation;
    uint32_t k = world_key_of(key, key_len);
    BASE_SIM_CHECK(world.key[k].hash == hash);
    if (change != L1_CHANGE_EVICT && change != L1_CHANGE_EXPIRE) { world.commits[k]++; }
    *stamp = hash ^ 1;
    return true;
}

static void world_left(void *ctx, const l1_left *e)
{
    (void)ctx;
    unsigned char copy[WORLD_VALUE_MAX];
    uint32_t k = world_key_of(e->key, e->key_len);
    BASE_SIM_CHECK(e->value_len <= WORLD_VALUE_MAX && e->hash == world.key[k].hash);
    /* In pieces, with steps of others in between: the bytes must stay in place. */
    size_t half = e->value_len / 2;
    base_seq_load(copy, e->value, half);
    base_sim_point("left");
    base_seq_load(copy + half, (const unsigned char *)e->value + half, e->value_len - half);
    uint32_t id = world_read(copy, e->value_len, k);
    if (world.id[id].left != 0) { base_sim_fail("value %u left twice", id); }
    world.id[id].left = world_tick();
    base_sim_note("left %u of key %u, cause %d", id, k, (int)e->cause);
}

/* ---- opening and ending ---- */

typedef struct world_plan {
    uint64_t budget;
    uint32_t seg_bytes;
    uint64_t max_entries;
    l1_policy policy;
    bool want_left, no_loss, commit_hook, long_keys;
} world_plan;

static void world_open(const world_plan *p)
{
    static const unsigned char secret[32] = "0123456789abcdefghijklmnopqrstu";
    static const base_clock system = { NULL, NULL, NULL };
    memset(&world, 0, sizeof world);
    world.key_len = p->long_keys ? WORLD_KEY_LONG : WORLD_KEY_LEN;
    base_sim_calm(true);
    base_alloc_hooks hooks = { world_alloc, world_free, NULL, NULL };
    base_account_init(&world.account, p->budget, &hooks);
    base_hash_key_init(&world.hash_key, BASE_HASH_FOLD, secret);
    l1_config cfg = { .account = &world.account, .hash_key = &world.hash_key, .clock = &system,
                      .max_entries = p->max_entries, .stripes = 1,
                      .seg_bytes = p->seg_bytes, .policy = p->policy, .mean_entry_bytes = 1024 };
    cfg.hooks.left = world_left;
    cfg.hooks.commit = p->commit_hook ? world_commit : NULL;
    cfg.max_value_bytes = WORLD_VALUE_MAX;
    cellar_err err = l1_open(&cfg, &world.c);
    if (err != CELLAR_OK) {
        base_sim_fail("l1_open: %d, used %llu of %llu", (int)err,
                      (unsigned long long)base_load_rlx(&world.account.peak),
                      (unsigned long long)p->budget);
    }
    world.no_loss = p->no_loss;
    world.commit_hook = p->commit_hook;
    if (p->want_left) { l1_want_left(world.c, true); }
    base_sim_calm(false);
}

/* Make a new key with `value` in the bits `mask` of its hash. */
static uint32_t world_key_with(uint64_t mask, uint64_t value)
{
    static uint32_t serial;
    uint32_t at = world.key_count;
    BASE_SIM_CHECK(at < WORLD_KEYS);
    if (at == 0) { serial = 0; }
    world_key *k = &world.key[at];
    memset(k->name, 'x', sizeof k->name);
    do {
        char name[8];
        snprintf(name, sizeof name, "k%06u", serial++ % 1000000);
        memcpy(k->name, name, WORLD_KEY_LEN);
        k->hash = base_hash(&world.hash_key, 0, k->name, world.key_len);
    } while ((k->hash & mask) != value);
    world.key_count++;
    return at;
}

static l1_key world_l1_key(uint32_t key)
{
    return (l1_key){ .bytes = world.key[key].name, .len = world.key_len, .generation = 0,
                     .hash = world.key[key].hash };
}

static void world_note(world_what what, uint32_t key, uint32_t id, uint32_t start)
{
    static const char *const name[] = { "set", "hit", "gone", "miss" };
    BASE_SIM_CHECK(world.event_count < WORLD_EVENTS);
    world.event[world.event_count++] =
        (world_event){ .key = key, .id = id, .start = start, .end = world_tick(), .what = what };
    base_sim_note("%s key %u number %u", name[what], key, id);
}

static void world_within_budget(void)
{
    uint64_t used = world.account.used, limit = world.account.limit;
    if (used > limit && !world.over) {
        base_sim_fail("account: %llu bytes used, limit %llu", (unsigned long long)used,
                      (unsigned long long)limit);
    }
}

/* ---- operations ---- */

static l1_put_spec world_spec(const void *value, uint32_t len)
{
    return (l1_put_spec){ .value = value, .value_len = len, .deadline_ms = BASE_NEVER_MS,
                          .change = L1_CHANGE_SET };
}

static uint32_t world_new_id(uint32_t key, uint32_t len)
{
    uint32_t id = ++world.id_count;
    BASE_SIM_CHECK(id < WORLD_IDS);
    world.id[id].key = key;
    world.id[id].len = len;
    world.id[id].victim =
        (uint32_t)base_sim_below(world.victims != 0 ? world.victims : world.key_count);
    world.id[id].until_ms = BASE_NEVER_MS;
    return id;
}

/* Record the result of a finished put in the history. */
static void world_put_done(cellar_err err, const l1_put_spec *p, uint32_t key, uint32_t id,
                           uint32_t start)
{
    world.changes[key]++;
    if (err == CELLAR_OK) {
        world.id[id].stored = true;
        world_note(WORLD_SET, key, id, start);
    } else if (err == CELLAR_E_SPACE || err == CELLAR_E_NOMEM || err == CELLAR_E_TOOBIG) {
        BASE_SIM_CHECK(!world.no_loss || err == CELLAR_E_NOMEM);
        if ((p->flags & L1_KEEP_OLD) == 0) { world_note(WORLD_GONE, key, 0, start); }
    } else {
        BASE_SIM_CHECK(err == CELLAR_EXISTS || err == CELLAR_MISS || err == CELLAR_CONFLICT);
        BASE_SIM_CHECK(p->flags != 0);
    }
}

static cellar_err world_put(uint32_t key, uint32_t len, l1_put_spec *p)
{
    unsigned char value[WORLD_VALUE_MAX];
    uint32_t id = world_new_id(key, len), start = world_tick();
    world_fill(value, id, len);
    world.id[id].until_ms = BASE_MAX(p->deadline_ms, world.touching_ms[key]);
    p->value = value;
    p->value_len = len;
    l1_key k = world_l1_key(key);
    cellar_err err = l1_put(world.c, &k, p);
    world_put_done(err, p, key, id, start);
    return err;
}

static cellar_err world_set(uint32_t key, uint32_t len)
{
    l1_put_spec p = world_spec(NULL, 0);
    return world_put(key, len, &p);
}

static void world_hit(uint32_t key, uint32_t id, uint32_t start)
{
    if (world.id[id].left != 0 && world.id[id].left < start) {
        base_sim_fail("value %u served after it was announced as gone", id);
    }
    world_note(WORLD_HIT, key, id, start);
}

/* Alone, or in a group with its neighbour; the steps of both then interleave. */
static cellar_err world_read_one(uint32_t key, unsigned char *buf, size_t cap, size_t *len)
{
    l1_key k = world_l1_key(key), k2 = world_l1_key(key > 0 ? key - 1 : 0);
    if (base_sim_below(3) != 0) { return l1_get(world.c, &k, buf, cap, len, 0); }
    unsigned char other[WORLD_VALUE_MAX];
    cellar_get_item it[2] = { { k2.bytes, k2.len, other, sizeof other, 0, CELLAR_OK, 0 },
                              { k.bytes, k.len, buf, cap, 0, CELLAR_OK, 0 } };
    const uint32_t hits = l1_get_many(world.c, k.generation, it, 2, 3, 0);
    BASE_SIM_CHECK((hits & 2u) == 0 || it[1].status == CELLAR_OK);
    *len = it[1].value_len;
    return it[1].status;
}

static bool world_get(uint32_t key)
{
    unsigned char buf[WORLD_VALUE_MAX];
    size_t len = 0;
    uint32_t start = world_tick();
    cellar_err err = world_read_one(key, buf, sizeof buf, &len);
    if (err == CELLAR_OK) {
        world_hit(key, world_read(buf, len, key), start);
    } else {
        BASE_SIM_CHECK(err == CELLAR_MISS || err == CELLAR_E_LIMIT);
        if (err == CELLAR_MISS) { world_note(WORLD_MISS, key, 0, start); }
    }
    return err == CELLAR_OK;
}

static void world_del(uint32_t key)
{
    uint32_t start = world_tick();
    l1_key k = world_l1_key(key);
    cellar_err err = l1_del(world.c, &k, NULL);
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
    world.changes[key]++;
    world_note(WORLD_GONE, key, 0, start);
}

/* Pin as cellar_pin does: on the short path, else any record. */
static cellar_err world_pin_key(l1 *c, const l1_key *k, l1_pin_ref *out)
{
    return l1_pin_hit(c, base_thread_self(), k->bytes, k->len, k->generation, k->hash, out)
               ? CELLAR_OK : l1_pin(c, k, out, 0);
}

/* Pin, read in pieces during steps of others, unpin: the bytes may not move. */
static void world_pin(uint32_t key)
{
    l1_pin_ref ref;
    uint32_t start = world_tick();
    l1_key k = world_l1_key(key);
    cellar_err err = world_pin_key(world.c, &k, &ref);
    if (err == CELLAR_MISS) {
        world_note(WORLD_MISS, key, 0, start);
        return;
    }
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_LIMIT);
    if (err != CELLAR_OK) { return; }
    unsigned char copy[WORLD_VALUE_MAX];
    BASE_SIM_CHECK(ref.value_len <= sizeof copy);
    base_seq_load(copy, ref.value, ref.value_len);
    uint32_t id = world_read(copy, ref.value_len, key);
    world_hit(key, id, start);
    for (uint64_t n = base_sim_below(4); n > 0; n--) {
        base_sim_point("pinned");
        base_seq_load(copy, ref.value, ref.value_len);
        if (world_read(copy, ref.value_len, key) != id) { base_sim_fail("pinned bytes changed"); }
    }
    l1_unpin(world.c, &ref);
}

/* ---- the rules ---- */

/* for one number: the time when it was certainly, or at some moment, current */
typedef struct world_zone {
    uint32_t low, high;
    bool forward;
} world_zone;

static void world_add_to_zone(world_zone *z, const world_event *e)
{
    /* low: earliest end, high: latest start */
    if (e->end < z->low) { z->low = e->end; }
    if (e->start > z->high) { z->high = e->start; }
}

static uint32_t world_zones(uint32_t key, world_zone *z)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < world.event_count; i++) {
        const world_event *e = &world.event[i];
        if (e->key != key || (e->what != WORLD_SET && e->what != WORLD_GONE)) { continue; }
        z[n] = (world_zone){ e->end, e->start, false };
        for (uint32_t j = 0; j < world.event_count && e->what == WORLD_SET; j++) {
            const world_event *r = &world.event[j];
            if (r->what != WORLD_HIT || r->id != e->id) { continue; }
            if (r->end < e->start) { base_sim_fail("value %u read before it was set", e->id); }
            world_add_to_zone(&z[n], r);
        }
        z[n].forward = z[n].low < z[n].high;
        if (!z[n].forward) { z[n] = (world_zone){ z[n].high, z[n].low, false }; }
        n++;
    }
    return n;
}

static void world_check_zones(uint32_t key)
{
    static world_zone z[WORLD_EVENTS];
    uint32_t n = world_zones(key, z);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < n; j++) {
            if (i == j || !z[i].forward) { continue; }
            bool both = z[j].forward && j > i && z[i].low < z[j].high && z[j].low < z[i].high;
            bool inside = !z[j].forward && z[i].low < z[j].low && z[j].high < z[i].high;
            if (both || inside) {
                base_sim_fail("key %u: stale read: a value was there over [%u, %u], another %s"
                              " [%u, %u]", key, z[i].low, z[i].high, both ? "over" : "came in",
                              z[j].low, z[j].high);
            }
        }
    }
}

/* Without eviction a miss needs a delete that may be the last change (or the time before the first
 * set). */
static void world_check_misses(uint32_t key)
{
    for (uint32_t i = 0; i < world.event_count; i++) {
        const world_event *m = &world.event[i];
        if (m->key != key || m->what != WORLD_MISS) { continue; }
        bool justified = false, any_set = false;
        for (uint32_t j = 0; j < world.event_count; j++) {
            const world_event *s = &world.event[j];
            any_set |= s->key == key && s->what == WORLD_SET && s->end < m->start;
            if (s->key != key || s->what != WORLD_GONE || s->start > m->end) { continue; }
            /* by a set that came certainly after the delete and before the miss */
            bool covered = false;
            for (uint32_t x = 0; x < world.event_count && !covered; x++) {
                const world_event *t = &world.event[x];
                covered = t->key == key && t->what == WORLD_SET && t->start > s->end &&
                          t->end < m->start;
            }
            justified |= !covered;
        }
        if (any_set && !justified) {
            base_sim_fail("key %u: a miss [%u, %u] although it was there", key, m->start, m->end);
        }
    }
}

static void world_check_left(void)
{
    for (uint32_t k = 0; k < world.key_count; k++) {
        unsigned char buf[WORLD_VALUE_MAX];
        size_t len = 0;
        l1_key key = world_l1_key(k);
        cellar_err err = l1_get(world.c, &key, buf, sizeof buf, &len, L1_PEEK);
        uint32_t present = err == CELLAR_OK ? world_read(buf, len, k) : 0;
        for (uint32_t id = 1; id <= world.id_count; id++) {
            if (world.id[id].key != k || !world.id[id].stored) { continue; }
            bool gone = world.id[id].left != 0;
            if (gone == (id == present)) {
                base_sim_fail("value %u of key %u %s", id, k,
                              gone ? "is there, but was announced" : "vanished without a word");
            }
        }
    }
}

static void world_close(bool left_checked)
{
    base_sim_calm(true);
    world_within_budget();
    const char *wrong = l1_audit(world.c);
    if (wrong != NULL) { base_sim_fail("audit: %s", wrong); }
    for (uint32_t k = 0; k < world.key_count; k++) {
        world_check_zones(k);
        if (world.no_loss) { world_check_misses(k); }
        if (world.commit_hook && world.commits[k] < world.changes[k]) {
            base_sim_fail("key %u: %llu changes, the commit hook ran %llu times", k,
                          (unsigned long long)world.changes[k],
                          (unsigned long long)world.commits[k]);
        }
    }
    if (left_checked) { world_check_left(); }
    l1_close(world.c);
    if (world.account.used != 0) {
        base_sim_fail("account after close: %llu", (unsigned long long)world.account.used);
    }
    for (uint32_t i = 0; i < world.retired_count; i++) { free(world.retired[i]); }
    base_sim_calm(false);
}

/* ---- fibers of random operations ---- */

typedef struct world_mix { /* weights; lengths to draw from */
    uint32_t set, get, del, pin, tick, ops;
    uint32_t key_first, key_count;
    uint32_t len[4];
    uint32_t flags; /* drawn on or off for each set */
    uint32_t tags;  /* most tags of an entry; drawn for each set */
    uint32_t hold;  /* in half of the runs: pauses after up to so many steps */
} world_mix;

static void world_mixer(void *arg)
{
    const world_mix *m = arg;
    if (m->hold != 0 && base_sim_below(2) == 0) { base_sim_hold(base_sim_below(m->hold)); }
    for (uint32_t i = 0; i < m->ops; i++) {
        uint32_t key = m->key_first + (uint32_t)base_sim_below(m->key_count);
        uint32_t len = m->len[base_sim_below(4)];
        uint64_t dice = base_sim_below(m->set + m->get + m->del + m->pin + m->tick);
        if (dice < m->set) {
            l1_put_spec p = world_spec(NULL, 0);
            if (m->flags != 0 && base_sim_below(2) == 0) { p.flags = m->flags; }
            static const uint64_t fps[2] = { 1, 2 };
            if (m->tags != 0) { p.tag_count = (uint32_t)base_sim_below(m->tags + 1); }
            p.tag_fps = fps;
            (void)world_put(key, len, &p);
        } else if (dice < m->set + m->get) {
            (void)world_get(key);
        } else if (dice < m->set + m->get + m->del) {
            world_del(key);
        } else if (dice < m->set + m->get + m->del + m->pin) {
            world_pin(key);
        } else {
            (void)l1_tick(world.c, 1000000);
        }
        world_within_budget();
    }
}

static void world_spawn(const char *name, const world_mix *m)
{
    union { const world_mix *in; void *out; } arg = { m };
    base_sim_spawn(name, world_mixer, arg.out);
}

/* ---- kv: sets (in place and appended), gets, deletes on two keys ---- */

static void l1_kv_run(void)
{
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024, .no_loss = true,
                              .commit_hook = true, .want_left = base_sim_below(2) == 0 });
    (void)world_key_with(15, 3);
    (void)world_key_with(15, base_sim_below(2) == 0 ? 3 : 4);
    if (base_sim_below(2) == 0) { (void)world_set(0, 24); }
    static const world_mix mix = { .set = 4, .get = 4, .del = 2, .ops = 4, .key_count = 2,
                                   .len = { 24, 24, 22, 90 } };
    static const world_mix reader = { .get = 1, .ops = 4, .key_count = 2, .len = { 8, 8, 8, 8 } };
    world_spawn("mixer-1", &mix);
    world_spawn("mixer-2", &mix);
    world_spawn("reader", &reader);
    base_sim_join_all();
    world_close(base_load_rlx(&world.c->want_left) != 0);
}

const base_sim_scenario sim_l1_kv = { "l1_kv", "set, get, del: linearizable, whole, none lost",
                                      l1_kv_run, 0 };

/* ---- tags: the same with tagged entries, which l1_get_tagged reads ---- */

static void l1_tags_run(void)
{
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024, .no_loss = true,
                              .commit_hook = true });
    (void)world_key_with(15, 3);
    (void)world_key_with(15, base_sim_below(2) == 0 ? 3 : 4);
    static const world_mix mix = { .set = 4, .get = 4, .del = 1, .ops = 4, .key_count = 2,
                                   .len = { 24, 24, 22, 90 }, .tags = 2 };
    static const world_mix reader = { .get = 1, .ops = 4, .key_count = 2, .len = { 8, 8, 8, 8 } };
    world_spawn("mixer-1", &mix);
    world_spawn("mixer-2", &mix);
    world_spawn("reader", &reader);
    base_sim_join_all();
    world_close(false);
}

const base_sim_scenario sim_l1_tags = { "l1_tags", "set with tags, get, del: as kv", l1_tags_run,
                                        0 };

/* ---- split: keys of the splitting bucket are read, deleted, set ---- */

enum { SPLIT_WATCHED = 6 };

/* Return the entries that a fresh stripe takes before its first split: measured once, with a store
 * of its own. */
static uint32_t split_below(void)
{
    static uint32_t known;
    if (known != 0) { return known; }
    const base_rng rng = base_thread_self()->rng;
    base_sim_calm(true);
    base_account account;
    const base_hash_key key = { .secret = { 1, 3, 5, 7 }, .algo = BASE_HASH_FOLD };
    static const base_clock system = { NULL, NULL, NULL };
    base_account_init(&account, 96 << 10, NULL);
    l1_config cfg = { .account = &account, .hash_key = &key, .clock = &system, .stripes = 1,
                      .seg_bytes = 1024 };
    l1 *c;
    BASE_SIM_CHECK(l1_open(&cfg, &c) == CELLAR_OK);
    uint32_t n = 0;
    for (; c->stripe[0].splits == 0 && n < 200; n++) {
        l1_put_spec p = { .value = &n, .value_len = 4, .deadline_ms = BASE_NEVER_MS };
        l1_key k = { .bytes = &n, .len = 4, .hash = base_hash(&key, 0, &n, 4) };
        BASE_SIM_CHECK(l1_put(c, &k, &p) == CELLAR_OK);
    }
    l1_close(c);
    base_sim_calm(false);
    base_thread_self()->rng = rng; /* the first run of a program is like all others */
    BASE_SIM_CHECK(n < 200);
    known = n - 1;
    return known;
}

static void world_preload(uint32_t count)
{
    base_sim_calm(true);
    while (world.key_count < count) { (void)world_key_with(0, 0); }
    for (uint32_t k = 0; k < count; k++) { (void)world_set(k, 8); }
    base_sim_calm(false);
}

static void split_inserter(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4; i++) { (void)world_set(world_key_with(0, 0), 8); }
}

static void l1_split_run(void)
{
    world_open(&(world_plan){ .budget = 96 << 10, .seg_bytes = 1024, .no_loss = true });
    for (uint32_t i = 0; i < SPLIT_WATCHED; i++) { (void)world_key_with(31, i % 2 == 0 ? 0 : 16); }
    world_preload(split_below() - (uint32_t)base_sim_below(3));
    BASE_SIM_CHECK(world.c->stripe[0].splits == 0);
    static const world_mix mix = { .set = 1, .get = 3, .del = 2, .ops = 3,
                                   .key_count = SPLIT_WATCHED, .len = { 8, 8, 9, 20 } };
    static const world_mix reader = { .get = 1, .ops = 4, .key_count = SPLIT_WATCHED,
                                      .len = { 8, 8, 8, 8 } };
    base_sim_spawn("inserter", split_inserter, NULL);
    world_spawn("mixer", &mix);
    world_spawn("reader", &reader);
    base_sim_join_all();
    base_sim_calm(true);
    for (uint32_t k = 0; k < world.key_count; k++) { (void)world_get(k); }
    base_sim_calm(false);
    world_close(false);
}

const base_sim_scenario sim_l1_split = { "l1_split", "keys survive the split of their bucket",
                                         l1_split_run, 0 };

/* ---- contract: buckets merge and come back while their keys are read and changed ---- */

enum { CONTRACT_LEFT = 34 }; /* of split_below() + 2: less than a quarter of the slots */

static void contract_ticker(void *arg)
{
    (void)arg;
    (void)l1_tick(world.c, 1000000);
    if (base_sim_below(4) != 0) { return; }
    for (uint32_t k = CONTRACT_LEFT; k < split_below() + 2; k++) { (void)world_set(k, 8); }
}

static void l1_contract_run(void)
{
    world_open(&(world_plan){ .budget = 96 << 10, .seg_bytes = 512, .no_loss = true });
    for (uint32_t i = 0; i < SPLIT_WATCHED; i++) { (void)world_key_with(31, i % 2 == 0 ? 0 : 16); }
    world_preload(split_below() + 2);
    BASE_SIM_CHECK(world.c->stripe[0].splits == 1);
    base_sim_calm(true);
    for (uint32_t k = CONTRACT_LEFT; k < split_below() + 2; k++) { world_del(k); }
    base_sim_calm(false);
    static const world_mix mix = { .set = 2, .get = 3, .del = 2, .ops = 3,
                                   .key_count = SPLIT_WATCHED, .len = { 8, 8, 9, 20 } };
    static const world_mix reader = { .get = 1, .ops = 3, .key_count = SPLIT_WATCHED,
                                      .len = { 8, 8, 8, 8 } };
    base_sim_spawn("ticker", contract_ticker, NULL);
    world_spawn("mixer", &mix);
    world_spawn("reader", &reader);
    base_sim_join_all();
    base_sim_calm(true);
    for (uint32_t k = 0; k < world.key_count; k++) { (void)world_get(k); }
    BASE_SIM_CHECK(world.c->stripe[0].merges >= 1);
    base_sim_calm(false);
    world_close(false);
}

const base_sim_scenario sim_l1_contract = {
    "l1_contract", "keys survive merging and splitting again", l1_contract_run, 0
};

/* ---- evict: a store of a few segments, every policy, forged records in the values ---- */

enum { EVICT_KEYS = 48, EVICT_FIXED = 16 << 10, EVICT_SEG = 512 };

/* Set until eviction has begun. The history begins with a set of each live value; earlier events
 * are not judged. */
static void world_fill_up(uint32_t keys, uint32_t len)
{
    base_sim_calm(true);
    for (uint32_t n = 0; n < 300 && world.c->stripe[0].evicted < 4; n++) {
        (void)world_set((uint32_t)base_sim_below(keys), len);
        (void)world_get((uint32_t)base_sim_below(keys));
        world.event_count = 0;
    }
    BASE_SIM_CHECK(world.c->stripe[0].evicted >= 4);
    for (uint32_t k = 0; k < keys; k++) {
        if (world_get(k)) { world.event[world.event_count - 1].what = WORLD_SET; }
    }
    base_sim_calm(false);
}

static void l1_evict_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 9 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .policy = (l1_policy)base_sim_below(3),
                              .want_left = base_sim_below(2) == 0 });
    for (uint32_t i = 0; i < EVICT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    world_fill_up(EVICT_KEYS, 100);
    static const world_mix mix = { .set = 5, .get = 3, .del = 1, .ops = 5, .key_count = EVICT_KEYS,
                                   .len = { 24, 60, 100, 100 } };
    static const world_mix reader = { .get = 3, .set = 1, .ops = 5, .key_count = EVICT_KEYS,
                                      .len = { 100, 100, 100, 60 } };
    world_spawn("mixer-1", &mix);
    world_spawn("mixer-2", &mix);
    world_spawn("reader", &reader);
    base_sim_join_all();
    world_close(base_load_rlx(&world.c->want_left) != 0);
}

const base_sim_scenario sim_l1_evict = { "l1_evict", "eviction: no stale, torn or forged value",
                                         l1_evict_run, 0 };

/* ---- sample: three readers share a ring and the shadows; every key is sampled ---- */

static void sample_fiber(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 30; i++) {
        l1_sampled(world.c, UINT64_C(0x9e3779b97f4a7c15) * (1 + base_sim_below(200)), 0);
    }
}

static void l1_sample_run(void)
{
    /* 64 entries share one ring, 96 have several, and the fibers race on the shadows. */
    world_open(&(world_plan){ .budget = (base_sim_below(2) == 0 ? 64u : 96u) << 10,
                              .seg_bytes = 1024,
                              .policy = L1_ADAPTIVE });
    BASE_SIM_CHECK(base_load_rlx(&world.c->sample_limit) != 0);
    for (int i = 0; i < 3; i++) { base_sim_spawn("reader", sample_fiber, NULL); }
    base_sim_join_all();
    const char *wrong = l1_shadow_audit(world.c);
    if (wrong != NULL) { base_sim_fail("%s", wrong); }
    BASE_SIM_CHECK(base_load_rlx(&world.c->rule) < L1_EXPERTS);
    world_close(false);
}

const base_sim_scenario sim_l1_sample = { "l1_sample", "sampled keys: rings and shadows stay whole",
                                          l1_sample_run, 0 };

/* ---- pin: bytes stay while the key is set in place, deleted, evicted, its segment needed ---- */

static void l1_pin_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 9 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .policy = L1_FIFO, .want_left = base_sim_below(4) == 0 });
    for (uint32_t i = 0; i < EVICT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    world_fill_up(EVICT_KEYS, 100);
    static const uint32_t lens[2] = { 24, 100 };
    const uint32_t len = lens[base_sim_below(2)];
    if (base_sim_below(2) == 0) { world.c->user_pin_lines = 1; } /* threads that share a line */
    (void)world_set(0, len);
    (void)world_set(1, len);
    const world_mix writer = { .set = 3, .del = 1, .ops = 4, .key_count = 2,
                               .len = { len, len, len, len } };
    static const world_mix pinner = { .pin = 1, .ops = 3, .key_count = 2, .len = { 8, 8, 8, 8 } };
    static const world_mix churn = { .set = 1, .ops = 12, .key_first = 2,
                                     .key_count = EVICT_KEYS - 2, .len = { 100, 100, 100, 90 } };
    world_spawn("writer", &writer);
    world_spawn("pinner-1", &pinner);
    world_spawn("pinner-2", &pinner);
    world_spawn("churn", &churn);
    base_sim_join_all();
    for (uint32_t i = 0; i < world.c->pin_lines; i++) {
        for (unsigned j = 0; j < L1_PIN_SLOTS; j++) {
            BASE_SIM_CHECK(world.c->pin[i].slot[j] == 0);
        }
    }
    world_close(base_load_rlx(&world.c->want_left) != 0);
}

const base_sim_scenario sim_l1_pin = { "l1_pin", "pinned bytes stay", l1_pin_run, 0 };

/* ---- big: values outside the log, replaced and evicted during reads and pins ---- */

static void l1_big_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + (10 << 10), .seg_bytes = EVICT_SEG,
                              .want_left = base_sim_below(2) == 0 });
    for (uint32_t i = 0; i < 3; i++) { (void)world_key_with(3, i % 2); }
    (void)world_set(0, 1500);
    static const world_mix writer = { .set = 5, .get = 1, .del = 1, .tick = 1, .ops = 5,
                                      .key_count = 3, .len = { 1500, 900, 2500, 60 } };
    static const world_mix reader = { .get = 3, .pin = 2, .tick = 1, .ops = 4, .key_count = 3,
                                      .len = { 8, 8, 8, 8 } };
    world_spawn("writer-1", &writer);
    world_spawn("writer-2", &writer);
    world_spawn("reader-1", &reader);
    world_spawn("reader-2", &reader);
    base_sim_join_all();
    world_close(base_load_rlx(&world.c->want_left) != 0);
}

const base_sim_scenario sim_l1_big = { "l1_big", "oversized values: retire list, pins, budget",
                                       l1_big_run, 0 };

/* ---- apart: keys in blocks, two of them with one hash, under the same operations ---- */

static void l1_apart_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + (18 << 10), .seg_bytes = EVICT_SEG,
                              .want_left = base_sim_below(2) == 0, .long_keys = true });
    for (uint32_t i = 0; i < 3; i++) { (void)world_key_with(3, i % 2); }
    world.key[1].hash = world.key[0].hash; /* only the bytes differ */
    (void)world_set(0, 24);
    static const world_mix writer = { .set = 5, .get = 1, .del = 1, .tick = 1, .ops = 5,
                                      .key_count = 3, .len = { 24, 24, 1500, 100 } };
    static const world_mix reader = { .get = 3, .pin = 2, .tick = 1, .ops = 4, .key_count = 3,
                                      .len = { 8, 8, 8, 8 } };
    world_spawn("writer-1", &writer);
    world_spawn("writer-2", &writer);
    world_spawn("reader-1", &reader);
    world_spawn("reader-2", &reader);
    base_sim_join_all();
    world_close(base_load_rlx(&world.c->want_left) != 0);
}

const base_sim_scenario sim_l1_apart = { "l1_apart", "keys outside the log: all of them compared",
                                         l1_apart_run, 0 };

/* ---- fork: a real one, between any two steps of threads that the child then lacks ---- */

static void fork_must(bool x, const char *what)
{
    if (x) { return; }
    fprintf(stderr, "in the child: %s\n", what);
    _exit(1);
}

/* Everything can be read and reclaimed. Only memory that is never returned is left, and the sums
 * agree. */
static void fork_child(void)
{
    l1 *c = world.c;
    l1_fork_child(c);
    /* Before any other call looks at a bucket. */
    if (base_sim_below(2) == 0) { (void)l1_retired_sweep(c, UINT64_MAX); }
    for (uint32_t i = 0; i < world.key_count; i++) {
        unsigned char buf[WORLD_VALUE_MAX];
        size_t len = 0;
        const l1_key k = world_l1_key(i);
        const cellar_err err = l1_get(c, &k, buf, sizeof buf, &len, 0);
        fork_must(err == CELLAR_OK || err == CELLAR_MISS, "a get fails");
        if (err == CELLAR_OK) {
            uint32_t id;
            memcpy(&id, buf, 4);
            fork_must(id >= 1 && id <= world.id_count && world.id[id].key == i &&
                      world.id[id].len == len, "a torn value");
        }
    }
    (void)l1_retired_sweep(c, UINT64_MAX);
    for (uint32_t i = 0; i < world.key_count; i++) {
        const l1_key k = world_l1_key(i);
        (void)l1_del(c, &k, NULL);
    }
    const char *wrong = l1_audit(c);
    fork_must(wrong == NULL, wrong);
    for (unsigned i = 0; i < 3; i++) {
        (void)l1_tick(c, UINT64_MAX);
        /* A count may be too high until the cursor leaves the segment (l1_audit_live). */
        (void)l1_evict_round(c, UINT64_MAX, &(l1_round){0});
        (void)l1_give_back(c, UINT64_MAX, 0);
    }
    l1_stats s;
    l1_stats_get(c, &s);
    fork_must(s.entries == 0, "entries stay");
    fork_must(s.retired_bytes == 0, "retire list stays");
    fork_must(s.big_bytes == 0 && s.big_blocks == 0, "blocks stay");
    fork_must(base_load_rlx(&world.account.by_module[BASE_MOD_BIG]) == 0, "pages stay charged");
    fork_must(s.segments + s.segments_parked == 0, "segments stay");
    fork_must(c->returning == 0 && s.arena_bytes == 0, "segments stay charged");
    wrong = l1_audit(c);
    fork_must(wrong == NULL, wrong);
    _exit(0);
}

static void fork_fiber(void *arg)
{
    (void)arg;
    for (uint64_t n = base_sim_below(120); n > 0; n--) { base_sim_point("fork.wait"); }
    (void)base_thread_self();
    l1_fork_prepare(world.c);
    base_sim_calm(true);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) { fork_child(); }
    int status = 1;
    const bool ended = child > 0 && waitpid(child, &status, 0) == child;
    base_sim_calm(false);
    l1_fork_parent(world.c);
    if (!ended || status != 0) { base_sim_fail("the child ended with status %d", status); }
}

static void fork_giver(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 4; i++) { (void)l1_give_back(world.c, UINT64_MAX, 0); }
}

static void l1_fork_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + (10 << 10), .seg_bytes = EVICT_SEG,
                              .want_left = base_sim_below(2) == 0 });
    for (uint32_t i = 0; i < 3; i++) { (void)world_key_with(3, i % 2); }
    (void)world_set(0, 1500);
    (void)world_set(1, 1500);
    static const world_mix writer = { .set = 3, .get = 1, .del = 4, .tick = 2, .ops = 5,
                                      .key_count = 3, .len = { 1500, 900, 2500, 60 } };
    static const world_mix reader = { .get = 2, .pin = 2, .tick = 1, .ops = 3, .key_count = 3,
                                      .len = { 8, 8, 8, 8 } };
    world_spawn("writer-1", &writer);
    world_spawn("writer-2", &writer);
    world_spawn("reader", &reader);
    base_sim_spawn("giver", fork_giver, NULL);
    base_sim_spawn("forker", fork_fiber, NULL);
    base_sim_join_all();
    world_close(base_load_rlx(&world.c->want_left) != 0);
}

const base_sim_scenario sim_l1_fork = { "l1_fork", "a child reclaims what lost threads held",
                                        l1_fork_run, 0 };

/* ---- expire: deadlines of a few ms, touched, reclaimed; a hit is never late by a millisecond
 * ---- */

static void expire_hit_check(uint32_t key, uint32_t id, int64_t start_ms)
{
    int64_t until = world.id[id].until_ms;
    if (until <= start_ms) {
        base_sim_fail("value %u of key %u served at %lld, dead since %lld", id, key,
                      (long long)start_ms, (long long)until);
    }
}

/* A touch moves the deadline of the current value: of every number of the key, for this check. One
 * touch of a key at a time. */
static void expire_touch(uint32_t key, int64_t until_ms)
{
    if (world.touching_ms[key] != 0) { return; }
    world.touching_ms[key] = until_ms;
    for (uint32_t id = 1; id <= world.id_count; id++) {
        if (world.id[id].key == key && world.id[id].until_ms < until_ms) {
            world.id[id].until_ms = until_ms;
        }
    }
    l1_key k = world_l1_key(key);
    cellar_err err = l1_touch(world.c, &k, until_ms, -1, NULL);
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
    world.touching_ms[key] = 0;
    world.changes[key] += err == CELLAR_OK;
}

static void expire_reader(uint32_t key)
{
    int64_t now = base_sim_now_ms();
    if (world_get(key)) { expire_hit_check(key, world.event[world.event_count - 1].id, now); }
}

static void expire_fiber(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        uint32_t key = (uint32_t)base_sim_below(3);
        int64_t until = base_sim_now_ms() + 1 + (int64_t)base_sim_below(40);
        switch (base_sim_below(8)) {
        case 0: case 1: case 2: {
            l1_put_spec p = world_spec(NULL, 0);
            p.deadline_ms = base_sim_below(5) == 0 ? BASE_NEVER_MS : until;
            if (base_sim_below(4) == 0) { p.stale_ms = 15; }
            (void)world_put(key, base_sim_below(2) == 0 ? 24 : 60, &p);
            break;
        }
        case 3: expire_touch(key, until); break;
        case 4: (void)l1_tick(world.c, 1000000); break;
        case 5: base_sim_advance_ms(1 + (int64_t)base_sim_below(30)); break;
        default: expire_reader(key); break;
        }
        world_within_budget();
    }
}

static void l1_expire_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .commit_hook = true, .want_left = base_sim_below(2) == 0 });
    for (uint32_t i = 0; i < 3; i++) { (void)world_key_with(3, 1); }
    base_sim_spawn("fiber-1", expire_fiber, NULL);
    base_sim_spawn("fiber-2", expire_fiber, NULL);
    base_sim_spawn("fiber-3", expire_fiber, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    base_sim_advance_ms(100);
    for (uint32_t k = 0; k < 3; k++) { expire_reader(k); }
    /* Every due entry is reclaimed without a read; the remaining ones have no deadline. */
    for (int i = 0; i < 3; i++) { (void)l1_tick(world.c, 1000000); }
    l1_stats st;
    l1_stats_get(world.c, &st);
    uint64_t there = 0;
    for (uint32_t k = 0; k < 3; k++) { there += world_get(k); }
    if (st.entries != there) {
        base_sim_fail("%llu entries after the sweep, %llu of them alive",
                      (unsigned long long)st.entries, (unsigned long long)there);
    }
    base_sim_calm(false);
    world_close(base_load_rlx(&world.c->want_left) != 0);
}

const base_sim_scenario sim_l1_expire = { "l1_expire", "deadlines are exact, the sweep is complete",
                                          l1_expire_run, 0 };

/* ---- idle: hits update last_use while the memory is reused ---- */

static void idle_fiber(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        if (base_sim_below(2) == 0) { base_sim_advance_ms(1 + (int64_t)base_sim_below(4)); }
        (void)world_get((uint32_t)base_sim_below(3));
    }
}

/* Set others until the segment of this key is the next one to be evicted. */
static void world_age(uint32_t key)
{
    l1_info info;
    l1_key k = world_l1_key(key);
    BASE_SIM_CHECK(l1_inspect(world.c, &k, NULL, 0, &info, L1_PEEK) == CELLAR_OK);
    const uint32_t seg = l1_seg_of(world.c, info.at);
    for (uint32_t n = 0; n < 200 && world.c->stripe[0].queue[0].tail != seg; n++) {
        (void)world_set(3 + (uint32_t)base_sim_below(EVICT_KEYS - 3), 100);
    }
    BASE_SIM_CHECK(world.c->stripe[0].queue[0].tail == seg);
}

static void l1_idle_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 9 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .policy = L1_FIFO });
    for (uint32_t i = 0; i < EVICT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    world_fill_up(EVICT_KEYS, 100);
    base_sim_calm(true);
    for (uint32_t k = 0; k < 3; k++) { world_del(k); }
    for (uint32_t k = 0; k < 3; k++) {
        l1_put_spec p = world_spec(NULL, 0);
        p.idle_ms = 1000;
        (void)world_put(k, 60, &p);
    }
    world_age(0);
    base_sim_calm(false);
    static const world_mix churn = { .set = 1, .ops = 14, .key_first = 3,
                                     .key_count = EVICT_KEYS - 3, .len = { 100, 100, 90, 60 } };
    base_sim_spawn("idle-1", idle_fiber, NULL);
    base_sim_spawn("idle-2", idle_fiber, NULL);
    world_spawn("churn", &churn);
    base_sim_join_all();
    world_close(false);
}

const base_sim_scenario sim_l1_idle = { "l1_idle", "updates of last_use never touch other bytes",
                                        l1_idle_run, 0 };

/* ---- resize: the budget or the bound of entries shrinks and grows during operations ---- */

static void resize_fiber(void *arg)
{
    (void)arg;
    const uint64_t full = base_load_rlx(&world.account.limit);
    for (int i = 0; i < 2; i++) {
        if (base_load_rlx(&world.c->max_entries) != 0) {
            BASE_SIM_CHECK(l1_set_max_entries(world.c, 1 + base_sim_below(8)) == CELLAR_OK);
            continue;
        }
        uint64_t less = EVICT_FIXED + (5 + base_sim_below(3)) * EVICT_SEG;
        world.over = true;
        cellar_err err = l1_resize(world.c, less);
        if (err == CELLAR_OK) {
            world.over = false;
            world_within_budget();
        } else {
            BASE_SIM_CHECK(err == CELLAR_E_SPACE);
        }
        BASE_SIM_CHECK(l1_resize(world.c, full) == CELLAR_OK);
        world.over = false;
        world_within_budget();
    }
}

static void l1_resize_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .max_entries = base_sim_below(2) * EVICT_KEYS,
                              .want_left = base_sim_below(4) == 0 });
    for (uint32_t i = 0; i < EVICT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    world_fill_up(EVICT_KEYS, 100);
    static const world_mix mix = { .set = 4, .get = 3, .del = 1, .pin = 1, .tick = 1, .ops = 6,
                                   .key_count = EVICT_KEYS, .len = { 24, 60, 100, 600 } };
    base_sim_spawn("resizer", resize_fiber, NULL);
    world_spawn("mixer-1", &mix);
    world_spawn("mixer-2", &mix);
    base_sim_join_all();
    world_close(base_load_rlx(&world.c->want_left) != 0);
}

const base_sim_scenario sim_l1_resize = {
    "l1_resize", "budget and bound hold when they shrink under load", l1_resize_run, 0
};

/* ---- scan: a key present throughout is visited, through splits and deletes of others ---- */

static struct { unsigned char seen[WORLD_KEYS]; } scan;

static bool scan_see(void *ctx, const l1_seen *e)
{
    (void)ctx;
    uint32_t k = world_key_of(e->key, e->key_len);
    unsigned char copy[WORLD_VALUE_MAX];
    if (e->value != NULL) {
        memcpy(copy, e->value, e->value_len);
        (void)world_read(copy, e->value_len, k);
    }
    scan.seen[k] = 1;
    return true;
}

static void scan_fiber(void *arg)
{
    (void)arg;
    uint64_t cursor = 0;
    do {
        cellar_err err = l1_scan(world.c, &cursor, 1 + base_sim_below(5), 0, true, scan_see, NULL);
        BASE_SIM_CHECK(err == CELLAR_OK);
    } while (cursor != 0);
}

static void l1_scan_run(void)
{
    memset(&scan, 0, sizeof scan);
    world_open(&(world_plan){ .budget = 96 << 10, .seg_bytes = 512, .no_loss = true });
    for (uint32_t i = 0; i < SPLIT_WATCHED; i++) { (void)world_key_with(31, i % 2 == 0 ? 0 : 16); }
    const bool merging = base_sim_below(3) == 0;
    world_preload(merging ? split_below() + 2 : split_below() - (uint32_t)base_sim_below(3));
    const uint32_t stay = merging ? CONTRACT_LEFT : world.key_count;
    base_sim_calm(true);
    for (uint32_t k = stay; k < world.key_count; k++) { world_del(k); }
    base_sim_calm(false);
    static const world_mix mix = { .set = 1, .get = 1, .del = 2, .ops = 4, .key_count = 3,
                                   .len = { 8, 8, 9, 20 } };
    base_sim_spawn("scanner", scan_fiber, NULL);
    if (merging) {
        base_sim_spawn("ticker", contract_ticker, NULL);
    } else {
        base_sim_spawn("inserter", split_inserter, NULL);
    }
    world_spawn("mixer", &mix);
    base_sim_join_all();
    for (uint32_t k = 3; k < stay; k++) {
        if (!scan.seen[k]) { base_sim_fail("key %u was there throughout and not seen", k); }
    }
    world_close(false);
}

const base_sim_scenario sim_l1_scan = { "l1_scan", "a scan visits each stable key", l1_scan_run,
                                        0 };

/* ---- incr and conditional sets: no change is lost ---- */

static struct { int64_t sum; uint32_t wins; } count;

static void count_fiber(void *arg)
{
    (void)arg;
    l1_key k = world_l1_key(0), v = world_l1_key(1);
    for (int i = 0; i < 3; i++) {
        int64_t now = 0, by = 1 + (int64_t)base_sim_below(5);
        l1_put_spec fresh = world_spec(NULL, 0);
        cellar_err err = l1_incr(world.c, &k, by, 0, &fresh, false, &now, NULL);
        BASE_SIM_CHECK(err == CELLAR_OK && now >= by);
        count.sum += by;
        /* Read, add one, store if the version is still the same. */
        l1_info info;
        int64_t n = 0;
        uint64_t version = 0;
        err = l1_version(world.c, &v, &version);
        BASE_SIM_CHECK(err == CELLAR_OK);
        err = l1_inspect(world.c, &v, &n, sizeof n, &info, 0);
        BASE_SIM_CHECK(err == CELLAR_OK && info.value_len == sizeof n);
        if (info.version != version) { continue; }
        n++;
        l1_put_spec p = world_spec(&n, sizeof n);
        p.flags = L1_IF_VERSION | L1_WANT_VERSION;
        p.if_version = version;
        err = l1_put(world.c, &v, &p);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_CONFLICT);
        count.wins += err == CELLAR_OK;
    }
}

static void l1_count_run(void)
{
    memset(&count, 0, sizeof count);
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024 });
    (void)world_key_with(15, 3);
    (void)world_key_with(15, base_sim_below(2) == 0 ? 3 : 4);
    int64_t n = 0;
    l1_key k = world_l1_key(0), v = world_l1_key(1);
    l1_put_spec p = world_spec(&n, sizeof n);
    BASE_SIM_CHECK(l1_put(world.c, &v, &p) == CELLAR_OK);
    for (int i = 0; i < 3; i++) { base_sim_spawn("counter", count_fiber, NULL); }
    base_sim_join_all();
    base_sim_calm(true);
    size_t len;
    BASE_SIM_CHECK(l1_get(world.c, &k, &n, sizeof n, &len, 0) == CELLAR_OK && n == count.sum);
    BASE_SIM_CHECK(l1_get(world.c, &v, &n, sizeof n, &len, 0) == CELLAR_OK && n == count.wins);
    BASE_SIM_CHECK(count.wins >= 1);
    base_sim_calm(false);
    world_close(false);
}

const base_sim_scenario sim_l1_count = { "l1_count", "incr and version-checked sets lose nothing",
                                         l1_count_run, 0 };

/* ---- fault: some allocation fails, at open or later ---- */

static void l1_fault_run(void)
{
    const uint64_t nth = 1 + base_sim_below(40);
    const bool at_open = base_sim_below(2) == 0;
    const world_plan plan = { .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG };
    if (at_open) {
        static const base_clock system = { NULL, NULL, NULL };
        base_account account;
        base_hash_key key = { .algo = BASE_HASH_FOLD };
        l1_config cfg = { .account = &account, .hash_key = &key, .clock = &system, .stripes = 1,
                          .seg_bytes = EVICT_SEG };
        l1 *c;
        base_account_init(&account, 64 << 10, NULL);
        (void)base_fault_alloc_arm(nth, base_sim_below(2) == 0);
        cellar_err err = l1_open(&cfg, &c);
        (void)base_fault_alloc_arm(0, false);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        BASE_SIM_CHECK((err == CELLAR_OK) == (c != NULL));
        l1_close(c);
        BASE_SIM_CHECK(account.used == 0);
    }
    world_open(&plan);
    for (uint32_t i = 0; i < EVICT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    static const world_mix mix = { .set = 6, .get = 2, .del = 1, .pin = 1, .tick = 1, .ops = 8,
                                   .key_count = EVICT_KEYS, .len = { 24, 100, 600, 1500 } };
    (void)base_fault_alloc_arm(1 + base_sim_below(12), base_sim_below(4) == 0);
    world_spawn("mixer-1", &mix);
    world_spawn("mixer-2", &mix);
    base_sim_join_all();
    (void)base_fault_alloc_arm(0, false);
    world_close(false);
}

const base_sim_scenario sim_l1_fault = { "l1_fault", "any allocation may fail", l1_fault_run, 0 };

/* ---- forged: segments are reused so that images of records are where records were ---- */

static void l1_forged_run(void)
{
    enum { HOT = 4 };
    world_open(&(world_plan){ .budget = EVICT_FIXED + 7 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .policy = L1_FIFO });
    for (uint32_t i = 0; i < 2 * EVICT_KEYS; i++) { (void)world_key_with(3, i % 4); }
    world.victims = HOT;
    world_fill_up(2 * EVICT_KEYS, 17); /* records of 32 bytes; those of 49 take 64, image at 32 */
    base_sim_calm(true);
    for (uint32_t k = 0; k < HOT; k++) { world_del(k); }
    for (uint32_t k = 0; k < HOT; k++) { (void)world_set(k, 17); }
    world_age(0);
    base_sim_calm(false);
    static const world_mix churn = { .set = 1, .ops = 16, .key_first = HOT,
                                     .key_count = 2 * EVICT_KEYS - HOT, .len = { 49, 49, 49, 17 } };
    static const world_mix reader = { .get = 4, .pin = 1, .ops = 4, .key_count = HOT,
                                      .len = { 8, 8, 8, 8 } };
    world_spawn("churn", &churn);
    world_spawn("reader-1", &reader);
    world_spawn("reader-2", &reader);
    base_sim_join_all();
    world_close(false);
}

const base_sim_scenario sim_l1_forged = { "l1_forged", "images of records are never served",
                                          l1_forged_run, 0 };

/* ---- inspect: a dead key has no answer ---- */

static void l1_inspect_deleter(void *arg)
{
    (void)arg;
    world_del(0);
}

static void l1_inspect_looker(void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++) {
        const l1_key k = world_l1_key(0);
        l1_info info;
        const cellar_err err = l1_inspect(world.c, &k, NULL, 0, &info, L1_PEEK | L1_STALE_OK);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        /* No deadline, so no expired entry exists: the thread that lost the round forgets it. */
        BASE_SIM_CHECK((err == CELLAR_OK) == (info.expires_ms != 0));
    }
}

static void l1_inspect_run(void)
{
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024, .no_loss = true });
    (void)world_key_with(15, 3);
    (void)world_set(0, 24);
    base_sim_spawn("looker", l1_inspect_looker, NULL);
    base_sim_spawn("deleter", l1_inspect_deleter, NULL);
    base_sim_join_all();
    world_close(false);
}

const base_sim_scenario sim_l1_inspect = { "l1_inspect", "inspect of a dead key returns nothing",
                                           l1_inspect_run, 0 };

/* ---- pin_write: one key, written in place and pinned at the same time ---- */

static void l1_pin_write_run(void)
{
    world_open(&(world_plan){ .budget = 64 << 10, .seg_bytes = 1024, .no_loss = true });
    (void)world_key_with(15, 3);
    (void)world_set(0, 24);
    static const world_mix writer = { .set = 1, .ops = 2, .key_count = 1, .len = { 24, 24, 24, 24 },
                                      .hold = 100 };
    static const world_mix pinner = { .pin = 1, .ops = 2, .key_count = 1, .len = { 8, 8, 8, 8 },
                                      .hold = 60 };
    world_spawn("writer", &writer);
    world_spawn("pinner-1", &pinner);
    if (base_sim_below(2) == 0) { world_spawn("pinner-2", &pinner); }
    base_sim_join_all();
    world_close(false);
}

const base_sim_scenario sim_l1_pin_write = { "l1_pin_write", "pins against writes in place",
                                             l1_pin_write_run, 0 };

/* ---- split_read: without deletes each get must hit, whenever the bucket is split ---- */

static void split_one(void *arg)
{
    (void)arg;
    (void)world_set(world_key_with(0, 0), 8);
}

static void split_reader(void *arg)
{
    (void)arg;
    for (int i = 0; i < 4; i++) {
        uint32_t k = (uint32_t)base_sim_below(SPLIT_WATCHED);
        switch (base_sim_below(5)) {
        case 0: world_pin(k); break;
        case 1: BASE_SIM_CHECK(!l1_none(world.c, world_l1_key(k).hash)); break;
        default: (void)world_get(k);
        }
    }
}

static void l1_split_read_run(void)
{
    world_open(&(world_plan){ .budget = 96 << 10, .seg_bytes = 1024, .no_loss = true });
    for (uint32_t i = 0; i < SPLIT_WATCHED; i++) { (void)world_key_with(31, i % 2 == 0 ? 0 : 16); }
    world_preload(split_below());
    base_sim_spawn("inserter", split_one, NULL);
    base_sim_spawn("reader-1", split_reader, NULL);
    base_sim_spawn("reader-2", split_reader, NULL);
    base_sim_join_all();
    BASE_SIM_CHECK(world.c->stripe[0].splits == 1);
    world_close(false);
}

const base_sim_scenario sim_l1_split_read = { "l1_split_read", "a get during a split hits",
                                              l1_split_read_run, 0 };

/* ---- regrow: a bucket merges away and comes back while a reader sleeps inside it ---- */

static void regrow_actor(void *arg)
{
    (void)arg;
    (void)l1_tick(world.c, 1000000);
    BASE_SIM_CHECK(world.c->stripe[0].merges == 1);
    (void)world_set(0, 20); /* leaves its old place, which is then reused */
    /* Deleted keys are set again; the last one makes the same split again. */
    for (uint32_t k = 1; k <= split_below() + 1 - CONTRACT_LEFT; k++) { (void)world_set(k, 8); }
    BASE_SIM_CHECK(world.c->stripe[0].splits == 2);
}

static void regrow_reader(void *arg)
{
    (void)arg;
    base_sim_hold(base_sim_below(50));
    (void)world_get(0);
}

static void l1_regrow_run(void)
{
    world_open(&(world_plan){ .budget = 96 << 10, .seg_bytes = 512, .no_loss = true });
    (void)world_key_with(31, 16); /* the only one that will move */
    while (world.key_count < split_below() + 1) { (void)world_key_with(16, 0); }
    world_preload(split_below() + 1); /* the last one splits bucket 0: 16 is new and unchanged */
    BASE_SIM_CHECK(world.c->stripe[0].splits == 1);
    base_sim_calm(true);
    for (uint32_t i = 0; i < split_below() + 1 - CONTRACT_LEFT; i++) {
        world_del(1 + i); /* the neighbours of key 0 in the log */
    }
    base_sim_calm(false);
    base_sim_spawn("reader", regrow_reader, NULL);
    base_sim_spawn("actor", regrow_actor, NULL);
    base_sim_join_all();
    world_close(false);
}

const base_sim_scenario sim_l1_regrow = { "l1_regrow", "a version never comes back", l1_regrow_run,
                                          0 };

/* ---- absent: negative entries are counted, near their ceiling too ---- */

enum { ABSENT_KEYS = 8, ABSENT_MOST = 4 };

static void absent_put(uint32_t key, l1_kind kind, int64_t deadline_ms)
{
    l1_put_spec p = world_spec("value", kind == L1_VALUE ? 5 : 0);
    const l1_key k = world_l1_key(key);
    p.kind = (uint8_t)kind;
    p.deadline_ms = deadline_ms;
    const cellar_err err = l1_put(world.c, &k, &p);
    BASE_SIM_CHECK(err == CELLAR_OK || (err == CELLAR_E_SPACE && kind != L1_VALUE));
}

static void absent_fiber(void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        const uint32_t key = (uint32_t)base_sim_below(ABSENT_KEYS);
        const l1_key k = world_l1_key(key);
        const int64_t soon = base_now_ms(world.c->clock) + 1 + (int64_t)base_sim_below(5);
        switch (base_sim_below(6)) {
        case 0: (void)l1_del(world.c, &k, NULL); break;
        case 1: absent_put(key, L1_VALUE, BASE_NEVER_MS); break;
        case 2: absent_put(key, L1_NEGATIVE, soon); break;
        case 3: base_sim_advance_ms(1 + (int64_t)base_sim_below(4)); break;
        default: absent_put(key, L1_NEGATIVE, BASE_NEVER_MS); break;
        }
    }
}

static void l1_absent_run(void)
{
    world_open(&(world_plan){ .budget = EVICT_FIXED + 12 * EVICT_SEG, .seg_bytes = EVICT_SEG,
                              .max_entries = 8 * ABSENT_MOST });
    for (uint32_t i = 0; i < ABSENT_KEYS; i++) { (void)world_key_with(3, i % 2); }
    base_sim_calm(true);
    for (uint32_t i = 0; i < 2; i++) { absent_put(i, L1_NEGATIVE, BASE_NEVER_MS); }
    base_sim_calm(false);
    base_sim_spawn("absent-1", absent_fiber, NULL);
    base_sim_spawn("absent-2", absent_fiber, NULL);
    base_sim_spawn("absent-3", absent_fiber, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    base_sim_advance_ms(100);
    for (int i = 0; i < 3; i++) { (void)l1_tick(world.c, 1000000); } /* due entries are reclaimed */
    l1_stats st;
    l1_stats_get(world.c, &st);
    uint64_t there = 0;
    for (uint32_t i = 0; i < ABSENT_KEYS; i++) {
        const l1_key k = world_l1_key(i);
        l1_info info;
        there += l1_inspect(world.c, &k, NULL, 0, &info, L1_PEEK) == CELLAR_ABSENT;
    }
    if (st.absent != there || there > ABSENT_MOST || (st.absent_bytes != 0) != (there != 0)) {
        base_sim_fail("%llu without value counted, %llu bytes; %llu found",
                      (unsigned long long)st.absent, (unsigned long long)st.absent_bytes,
                      (unsigned long long)there);
    }
    base_sim_calm(false);
    world_close(false);
}

const base_sim_scenario sim_l1_absent = { "l1_absent", "entries without value are counted exactly",
                                          l1_absent_run, 0 };
