/* SPDX-License-Identifier: MIT
 *
 * l1_world: the store, the operations and the rules of the scenarios in l1.c, see l1_world.h.
 *
 * RULES   A value is read only after its set began, and not after a later value was certainly
 *         current (zones of Gibbons and Korach). A miss is allowed after a delete that may have
 *         been last, and anywhere in scenarios that evict. A value announced as removed is not
 *         read any more. */
#include "tests/concurrency/sim/l1_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "l1/evict.h"
#include "l1/large.h"
#include "l1/policy.h"
#include "l1/segment.h"
#include "tests/concurrency/sim/scenarios.h"

struct world world;

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
uint32_t world_read(const unsigned char *v, size_t len, uint32_t key)
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

static void *world_alloc(size_t bytes, void *ctx) { (void)ctx; return malloc(bytes); }

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

uint32_t world_key_of(const void *bytes, size_t len)
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

void world_open(const world_plan *p)
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
                      .max_entries = p->max_entries, .stripes = BASE_MAX(p->stripes, 1u),
                      .seg_bytes = p->seg_bytes, .policy = p->policy, .mean_entry_bytes = p->stripes > 1 ? 64 : 1024 };
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
uint32_t world_key_with(uint64_t mask, uint64_t value)
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

l1_key world_l1_key(uint32_t key)
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

void world_within_budget(void)
{
    uint64_t used = world.account.used, limit = world.account.limit;
    if (used > limit && !world.over) {
        base_sim_fail("account: %llu bytes used, limit %llu", (unsigned long long)used,
                      (unsigned long long)limit);
    }
}

/* ---- operations ---- */

l1_put_spec world_spec(const void *value, uint32_t len)
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

cellar_err world_put(uint32_t key, uint32_t len, l1_put_spec *p)
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

cellar_err world_set(uint32_t key, uint32_t len)
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
    uint32_t none;
    const uint32_t hits = l1_get_many(world.c, k.generation, it, 2, 3, 0, &none);
    BASE_SIM_CHECK((hits & 2u) == 0 || it[1].status == CELLAR_OK);
    *len = it[1].value_len;
    return it[1].status;
}

bool world_get(uint32_t key)
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

void world_del(uint32_t key)
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
void world_pin(uint32_t key)
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

void world_close(void)
{
    base_sim_join_all();
    base_sim_calm(true);
    world_within_budget();
    const char *wrong = l1_audit(world.c);
    if (wrong != NULL) { base_sim_fail("audit: %s", wrong); }
    for (uint32_t i = 0; i < world.c->fresh; i++) { /* no thread holds bytes any more */
        BASE_SIM_CHECK(base_load_rlx(&world.c->seg[i].busy) == 0);
    }
    for (uint32_t k = 0; k < world.key_count; k++) {
        world_check_zones(k);
        if (world.no_loss) { world_check_misses(k); }
        if (world.commit_hook && world.commits[k] < world.changes[k]) {
            base_sim_fail("key %u: %llu changes, the commit hook ran %llu times", k,
                          (unsigned long long)world.changes[k],
                          (unsigned long long)world.commits[k]);
        }
    }
    if (base_load_rlx(&world.c->want_left) != 0) { world_check_left(); }
    l1_close(world.c);
    if (world.account.used != 0) {
        base_sim_fail("account after close: %llu", (unsigned long long)world.account.used);
    }
    for (uint32_t i = 0; i < world.retired_count; i++) { free(world.retired[i]); }
    base_sim_calm(false);
}

/* ---- fibers of random operations ---- */

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

void world_spawn(const char *name, const world_mix *m)
{
    union { const world_mix *in; void *out; } arg = { m };
    base_sim_spawn(name, world_mixer, arg.out);
}

void world_spawn_many(uint32_t count, const char *name, const world_mix *m)
{
    while (count-- > 0) { world_spawn(name, m); }
}
