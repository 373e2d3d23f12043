/* SPDX-License-Identifier: MIT
 *
 * Aim:    all keys that share a word of the index are found, whatever happens to the others. No key
 *         of the bunch restores an older value of another one.
 * Method: keys of one bunch in a small store. Puts, deletes, seals, closes, process deaths and
 *         tables of another size follow in any order and are compared with an oracle. */
#include "l2/index.h"
#include "l2/index_rebuild.h"
#include "tests/support/l2_kit.h"

#define BUNCH_GENERATION 3u
#define BUNCH_KEYS 3u
#define FULL_KEYS 6000u /* the bunches have none of these */

static l2_kit kit;
static l2_dev dev;

/* ---- keys of one bunch ---- */

/* Return the bunch like src/core/l2/index.c: equal results, equal bunch. */
static uint64_t bunch_of(uint64_t h48)
{
    const uint32_t n = kit.d->index.buckets, tag = (uint32_t)h48 & 0xffffu;
    const uint32_t place = (uint32_t)(h48 >> 16);
    const uint32_t b1 = (uint32_t)((uint64_t)(place & ((1u << 26) - 1)) * n >> 26);
    const uint32_t m = (uint32_t)((base_mix64(tag + 1u) >> 32) * n >> 32);
    const uint32_t b2 = m >= b1 ? m - b1 : m + n - b1;
    return (uint64_t)(place >> 26) << 58 | (uint64_t)BASE_MIN(b1, b2) << 37 |
           (uint64_t)BASE_MAX(b1, b2) << 16 | tag;
}

typedef struct bunch_row { uint64_t bunch_id, key; } bunch_row;

static int bunch_order(const void *a, const void *b)
{
    const bunch_row *x = a, *y = b;
    if (x->bunch_id != y->bunch_id) { return x->bunch_id < y->bunch_id ? -1 : 1; }
    return x->key < y->key ? -1 : x->key > y->key;
}

static l2_key key_of(const uint64_t *key)
{
    return l2_kit_key(&kit, key, sizeof *key, BUNCH_GENERATION);
}

#define BUNCH_GROUPS 3u

/* Groups of keys of one bunch in a store of begin(), found once. */
static uint64_t bunch_key[BUNCH_GROUPS][BUNCH_KEYS];

static void bunch_search(void)
{
    enum { TRIED = 300000 };
    bunch_row *row = malloc(TRIED * sizeof *row);
    T_REQUIRE(row != NULL);
    for (uint64_t i = 0; i < TRIED; i++) {
        const uint64_t id = i + FULL_KEYS;
        row[i] = (bunch_row){ bunch_of(l2_h48(key_of(&id).hash)), id };
    }
    qsort(row, TRIED, sizeof *row, bunch_order);
    uint32_t groups = 0;
    for (uint32_t i = 0; i + BUNCH_KEYS <= TRIED && groups < BUNCH_GROUPS; i++) {
        if (row[i].bunch_id != row[i + BUNCH_KEYS - 1].bunch_id) { continue; }
        for (uint32_t n = 0; n < BUNCH_KEYS; n++) { bunch_key[groups][n] = row[i + n].key; }
        groups++;
        i += BUNCH_KEYS - 1;
    }
    free(row);
    T_REQUIRE(groups == BUNCH_GROUPS);
}

/* ---- a small store ---- */

static bool moves; /* live records move: none is dropped for room */

static void begin(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    dev.flat = true;
    kit.cfg.seg_count = 14;
    kit.cfg.bytes = 14 * 16384;
    kit.cfg.avg_object_bytes = 64;
    kit.cfg.move_pct = moves ? 50 : 0;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const l2_namespace v = { 1, BUNCH_GENERATION, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
    if (bunch_key[0][0] == 0) { bunch_search(); }
}

static void end(void)
{
    T_EQ_STR(l2_audit(kit.d), NULL);
    l2_close(kit.d);
    kit.d = NULL;
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    l2_dev_fini(&dev);
}

static cellar_err put_as(uint64_t key, const l2_meta *m)
{
    unsigned char value[100];
    memset(value, (int)m->user_flags, sizeof value);
    const l2_key k = key_of(&key);
    return l2_put(kit.d, &k, value, sizeof value, m, NULL);
}

static cellar_err put(uint64_t key, uint32_t version, bool kept)
{
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version, .durable = kept };
    return put_as(key, &m);
}

static void put_kept(uint64_t key, uint32_t version)
{
    for (int i = 0; i < 8; i++) {
        const cellar_err err = put(key, version, true);
        if (err == CELLAR_OK) { return; }
        T_EQ_I64(err, CELLAR_DROPPED);
        (void)l2_tick(kit.d, 1000);
    }
    T_CHECK(false);
}

static void del(uint64_t key)
{
    const l2_key k = key_of(&key);
    l2_invalidate(kit.d, &k);
}

/* Return the version of a key; 0: a miss. *lsn: lsn of the record. */
static uint32_t look_at(uint64_t key, uint64_t *lsn)
{
    unsigned char buf[200];
    size_t len;
    l2_meta m;
    const l2_key k = key_of(&key);
    if (l2_get(kit.d, &k, buf, sizeof buf, &len, &m) != CELLAR_OK) { return 0; }
    T_CHECK(len == 100 && buf[0] == (unsigned char)m.user_flags && buf[99] == buf[0]);
    if (lsn != NULL) { *lsn = m.addr; }
    return m.user_flags;
}

static uint32_t look(uint64_t key) { return look_at(key, NULL); }

/* Write the open slot to its place. */
static void seal(void)
{
    const uint64_t sealed = l2_kit_figures(&kit).sealed;
    for (uint64_t i = 0; l2_kit_figures(&kit).sealed == sealed; i++) {
        (void)put(UINT64_C(1) << 60 | i, 1, false);
        (void)l2_tick(kit.d, 1000);
    }
}

static void reopen_cold(bool kill)
{
    if (kill) {
        l2_kit_kill(&kit);
    } else {
        l2_close(kit.d);
        kit.d = NULL;
    }
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
}

static void reopen(bool kill)
{
    reopen_cold(kill);
    l2_kit_warm(&kit);
}

/* ---- cases ---- */

T_CASE(all_kept_keys_of_a_bunch_are_found)
{
    const uint64_t *key = bunch_key[0];
    for (int how = 0; how < 4; how++) { /* staged or sealed; closed or killed */
        begin();
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) { put_kept(key[i], i + 1); }
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) { T_EQ_U64(look(key[i]), i + 1); }
        if ((how & 1) != 0) { seal(); }
        put_kept(key[0], 9);
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) { T_EQ_U64(look(key[i]), i == 0 ? 9 : i + 1); }
        for (int life = 0; life < 3; life++) {
            reopen((how & 2) != 0);
            for (uint32_t i = 0; i < BUNCH_KEYS; i++) {
                T_EQ_U64(look(key[i]), i == 0 ? 9 : i + 1);
            }
        }
        end();
    }
}

T_CASE(deleting_one_key_of_a_bunch_leaves_the_others)
{
    const uint64_t *key = bunch_key[0];
    for (int how = 0; how < 12; how++) {
        const uint32_t gone = (uint32_t)how % 3;
        begin();
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) { put_kept(key[i], i + 1); }
        if (how >= 6) { seal(); }
        del(key[gone]);
        for (int life = 0; life < 3; life++) {
            for (uint32_t i = 0; i < BUNCH_KEYS; i++) {
                T_EQ_U64(look(key[i]), i == gone ? 0 : i + 1);
            }
            reopen((how / 3 & 1) != 0);
        }
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) { del(key[i]); }
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) { T_EQ_U64(look(key[i]), 0); }
        end();
    }
}

T_CASE(reclaiming_one_key_of_a_bunch_leaves_the_others)
{
    const uint64_t *key = bunch_key[0];
    begin();
    put_kept(key[0], 1);
    del(key[1]);
    seal();
    put_kept(key[1], 2);
    while (look(key[0]) != 0) { seal(); }
    T_EQ_U64(look(key[1]), 2);
    put_kept(key[2], 3);
    while (look(key[1]) != 0) { seal(); }
    T_EQ_U64(look(key[2]), 3);
    T_EQ_STR(l2_audit(kit.d), NULL);
    reopen(true);
    T_EQ_U64(look(key[2]), 3);
    end();
}

T_CASE(a_plain_put_leaves_kept_keys_of_its_bunch)
{
    const uint64_t *key = bunch_key[0];
    begin();
    put_kept(key[0], 1);
    T_EQ_I64(put(key[1], 2, false), CELLAR_OK);
    T_EQ_I64(put(key[2], 3, false), CELLAR_OK);
    T_EQ_U64(look(key[0]), 1);
    seal();
    T_EQ_I64(put(key[1], 4, false), CELLAR_OK);
    T_EQ_U64(look(key[0]), 1);
    reopen(false);
    T_EQ_U64(look(key[0]), 1);
    T_EQ_U64(look(key[1]), 4);
    end();
}

T_CASE(plain_puts_of_one_bunch_leave_each_other)
{
    for (int how = 0; how < 8; how++) { /* staged or sealed; closed or killed; change or not */
        begin();
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) {
            const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = i + 1,
                                .change = (how & 4) != 0 };
            T_EQ_I64(put_as(bunch_key[0][i], &m), CELLAR_OK);
            if ((how & 1) != 0) { seal(); }
        }
        for (int life = 0; life < 3; life++) {
            for (uint32_t i = 0; i < BUNCH_KEYS; i++) { T_EQ_U64(look(bunch_key[0][i]), i + 1); }
            T_EQ_STR(l2_audit(kit.d), NULL);
            reopen((how & 2) != 0);
        }
        end();
    }
}

/* Let the filter deny no key: each change looks like one of a key on disk. */
static void filter_full(void)
{
    for (uint32_t i = 0; i < kit.d->line_count; i++) {
        for (uint32_t w = 0; w < 8; w++) { base_store_sc(&kit.d->lines[i].w[w], UINT64_MAX); }
    }
}

/* A plain record is the only word of its bunch. Another key of the bunch changes. Its own record
 * never existed, was deleted, or lies on disk as well. */
T_CASE(plain_record_stays_when_a_key_of_its_bunch_changes)
{
    const uint64_t stays = bunch_key[0][0], other = bunch_key[0][1];
    for (int how = 0; how < 48; how++) {
        const bool sealed = (how & 1) != 0, kill = (how & 2) != 0, puts = (how & 4) != 0;
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = 7, .change = true };
        begin();
        if (how / 8 % 3 != 0) { T_EQ_I64(put(other, 5, false), CELLAR_OK); }
        if (how / 8 % 3 == 1) { del(other); }
        if (how / 24 != 0) { seal(); }
        T_EQ_I64(put(stays, 1, false), CELLAR_OK);
        if (sealed) { seal(); }
        for (int times = 0; times < 3; times++) {
            filter_full();
            if (puts) { T_EQ_I64(put_as(other, &m), CELLAR_OK); } else { del(other); }
            T_EQ_U64(look(stays), 1);
            T_EQ_U64(look(other), puts ? 7 : 0);
            if (sealed) { seal(); }
            T_EQ_U64(look(stays), 1);
            if (times != 0) { reopen(kill); }
            T_EQ_U64(look(stays), 1);
            T_EQ_U64(look(other), puts ? 7 : 0);
            T_EQ_STR(l2_audit(kit.d), NULL);
        }
        del(stays);
        T_EQ_U64(look(stays), 0);
        reopen(kill);
        T_EQ_U64(look(stays), 0);
        T_EQ_U64(look(other), puts ? 7 : 0);
        end();
    }
}

/* The tombstone links to a record on disk, so its bunch keeps a word. */
T_CASE(deletes_of_one_key_log_one_tombstone)
{
    const uint64_t key = bunch_key[0][0];
    begin();
    T_EQ_I64(put(key, 1, false), CELLAR_OK);
    seal();
    const uint64_t logged = l2_kit_figures(&kit).tombstones;
    for (int i = 0; i < 100; i++) { del(key); }
    T_EQ_U64(l2_kit_figures(&kit).tombstones, logged + 1);
    T_EQ_I64(put(key, 2, false), CELLAR_OK);
    del(key);
    T_EQ_U64(look(key), 0);
    T_EQ_U64(l2_kit_figures(&kit).tombstones, logged + 2);
    reopen(true);
    T_EQ_U64(look(key), 0);
    end();
}

/* A record of the oldest segment moves beside newer records of its bunch. */
T_CASE(plain_record_that_moves_leaves_its_bunch)
{
    moves = true;
    for (int how = 0; how < 4; how++) {
        begin();
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) {
            T_EQ_I64(put(bunch_key[0][i], i + 1, false), CELLAR_OK);
            if ((how & 1) != 0) { seal(); }
        }
        reopen((how & 2) != 0); /* a word for each key */
        const uint64_t end_lsn = l2_kit_figures(&kit).reclaimed + 2 * kit.cfg.seg_count;
        for (uint64_t i = 0; l2_kit_figures(&kit).reclaimed < end_lsn && i < 100000; i++) {
            const uint64_t other = UINT64_C(1) << 61 | i % 64;
            del(other);
            (void)put(other, 1, false);
            (void)l2_tick(kit.d, 1000);
        }
        T_CHECK(l2_kit_figures(&kit).moved > BUNCH_KEYS);
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) { T_EQ_U64(look(bunch_key[0][i]), i + 1); }
        end();
    }
    moves = false;
}

static uint64_t read_key; /* moves during the next read of the disk; 0: none */

static int pread_and_move(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t at,
                          size_t *done)
{
    const int e = l2_dev_pread(ctx, f, buf, n, at, done);
    const uint64_t key = read_key;
    uint64_t was = 0;
    read_key = 0;
    if (key != 0) { T_CHECK(look_at(key, &was) != 0); }
    uint64_t now = was;
    for (uint64_t i = 0; key != 0 && now == was && i < 100000; i++) {
        const uint64_t other = UINT64_C(1) << 61 | i % 64;
        del(other);
        (void)put(other, 1, false);
        (void)l2_tick(kit.d, 1000);
        if (i % 64 == 0) { (void)look_at(key, &now); }
    }
    return e;
}

/* Each key of each bunch is read while its record moves, behind the record of another key. */
T_CASE(record_that_moves_during_a_read_is_found)
{
    moves = true;
    for (uint32_t i = 0; i < BUNCH_GROUPS * BUNCH_KEYS * 2; i++) {
        const uint64_t *key = bunch_key[i / 2 / BUNCH_KEYS];
        const uint32_t first = i / 2 % BUNCH_KEYS, step = 1 + i % 2;
        begin();
        for (uint32_t n = 0; n < BUNCH_KEYS; n++) {
            T_EQ_I64(put(key[(first + n * step) % BUNCH_KEYS], n + 1, false), CELLAR_OK);
            seal();
        }
        reopen(true); /* a word for each key */
        kit.vfs.pread = pread_and_move;
        read_key = key[first];
        T_EQ_U64(look(key[first]), 1);
        T_EQ_U64(read_key, 0);
        end();
    }
    moves = false;
}

/* ---- any order ---- */

#define ANY_KEYS (BUNCH_GROUPS * BUNCH_KEYS + 2u)

typedef struct any_key {
    uint64_t key, lsn; /* lsn of the newest put */
    uint32_t now;      /* current version; 0: none */
} any_key;

static struct {
    any_key key[ANY_KEYS];
    uint32_t next, count;
    uint64_t found, moved;
} any;

/* Two keys with one hash48 under the secret of the kit. */
static const uint64_t any_twins[2] = { 16725781, 30061472 };

static void any_begin(void)
{
    begin();
    memset(&any, 0, sizeof any);
    for (uint32_t c = 0; c < BUNCH_GROUPS; c++) {
        for (uint32_t i = 0; i < BUNCH_KEYS; i++) { any.key[any.count++].key = bunch_key[c][i]; }
    }
    for (uint32_t i = 0; i < 2; i++) { any.key[any.count++].key = any_twins[i]; }
    T_EQ_U64(l2_h48(key_of(&any_twins[0]).hash), l2_h48(key_of(&any_twins[1]).hash));
}

static bool any_lost(const any_key *k)
{
    return (!moves && k->lsn < base_load_acq(&kit.d->oldest_lsn)) ||
           k->lsn < base_load_acq(&kit.d->floor_lsn);
}

static void any_check(bool warm)
{
    for (uint32_t i = 0; i < any.count; i++) {
        const any_key *k = &any.key[i];
        const uint32_t got = look(k->key);
        T_CHECK(got == 0 || got == k->now);
        if (k->now == 0 || any_lost(k)) { continue; }
        any.found += got != 0;
        if (warm) { T_EQ_U64(got, k->now); }
    }
}

static void any_put(any_key *k, base_rng *r)
{
    const bool kept = base_rng_below(r, 3) != 0; /* without effect on what is found */
    uint64_t lsn = 0;
    if (base_rng_below(r, 2) != 0) { /* otherwise like a write-through of an unchanged value */
        del(k->key);
        k->now = 0;
    }
    const uint32_t version = ++any.next;
    if (put(k->key, version, kept) != CELLAR_OK) {
        del(k->key);
        k->now = 0;
        return;
    }
    T_EQ_U64(look_at(k->key, &lsn), version);
    k->now = version;
    k->lsn = lsn;
}

static void any_reopen(base_rng *r)
{
    const bool kill = base_rng_below(r, 2) != 0;
    any.moved += l2_kit_figures(&kit).moved;
    if (base_rng_below(r, 3) == 0) { /* tables of another size */
        kit.cfg.avg_object_bytes = kit.cfg.avg_object_bytes == 64 ? 12 : 64;
    }
    reopen_cold(kill);
    for (uint64_t n = base_rng_below(r, 12); n > 0 && base_load_acq(&kit.d->rebuilding) != 0; n--) {
        /* not a key of any_twins: index.c */
        any_key *k = &any.key[base_rng_below(r, any.count - 2)];
        if (base_rng_below(r, 3) == 0) {
            del(k->key);
            k->now = 0;
        } else {
            any_put(k, r);
        }
        any_check(false);
        /* Show the lines that are known so far, as a rebuild of 200 ms does. */
        if (base_rng_below(r, 2) == 0) { kit.d->sort.due_ns = 0; }
        if (base_rng_below(r, 2) == 0) { (void)l2_tick(kit.d, 0); }
    }
    l2_kit_warm(&kit);
}

T_CASE(any_order_of_calls_keeps_all_keys)
{
    base_rng r;
    base_rng_seed(&r, t_seed());
    uint64_t moved = 0;
    for (int store = 0; store < 8; store++) {
        moves = store % 2 != 0;
        any_begin();
        for (int step = 0; step < 400; step++) {
            any_key *k = &any.key[base_rng_below(&r, any.count)];
            switch (base_rng_below(&r, 16)) {
            case 0:
            case 1:
            case 2:
                del(k->key);
                k->now = 0;
                break;
            case 3:
                for (int n = 0; n < (moves ? 8 : 1); n++) { seal(); } /* most of a lap */
                break;
            case 4: any_reopen(&r); break;
            default: any_put(k, &r); break;
            }
            (void)l2_tick(kit.d, 1000);
            any_check(true);
        }
        moved += any.moved + l2_kit_figures(&kit).moved;
        end();
    }
    moves = false;
    T_CHECK(any.found > 1000 && moved > 0);
}

/* ---- many keys ---- */

#define MANY_KEYS 200000u

static uint32_t many_missing(uint32_t keys)
{
    uint32_t n = 0;
    for (uint64_t i = 0; i < keys; i++) { n += look(i) != (uint32_t)i + 1; }
    return n;
}

static void many_put(uint64_t key, uint32_t version, bool kept)
{
    if (kept) { put_kept(key, version); return; }
    while (put(key, version, false) != CELLAR_OK) { (void)l2_tick(kit.d, 1000); }
}

/* Every key is written once, and a third of them again after they lie on disk. A third of the
 * others is deleted then. */
T_CASE(all_of_200000_keys_are_found)
{
    for (int kept = 0; kept < 2; kept++) {
        l2_dev_init(&dev);
        l2_kit_init(&kit, &dev);
        dev.flat = true;
        kit.cfg.seg_bytes = 2u << 20;
        kit.cfg.seg_count = 40;
        kit.cfg.memory_bytes = 64u << 20;
        kit.cfg.avg_object_bytes = 200;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        for (uint32_t i = 0; i < MANY_KEYS; i++) { many_put(i, i + 1, kept != 0); }
        T_EQ_U64(many_missing(MANY_KEYS), 0);
        seal();
        for (uint32_t i = 0; i < MANY_KEYS; i += 3) {
            del(i);
            many_put(i, i + 1, kept != 0);
        }
        T_EQ_U64(l2_kit_figures(&kit).reclaimed, 0);
        T_EQ_U64(many_missing(MANY_KEYS), 0);
        for (int life = 0; life < 2; life++) {
            reopen(life != 0);
            T_EQ_U64(many_missing(MANY_KEYS), 0);
        }
        for (uint32_t i = 1; i < MANY_KEYS; i += 3) {
            del(i);
            (void)l2_tick(kit.d, 0);
        }
        T_EQ_U64(many_missing(MANY_KEYS), (MANY_KEYS + 1) / 3);
        reopen(true);
        T_EQ_U64(many_missing(MANY_KEYS), (MANY_KEYS + 1) / 3);
        end();
    }
}

/* ---- a full index ---- */


static cellar_err full_put(uint64_t key, bool kept)
{
    cellar_err err;
    while ((err = put(key, 1 + (uint32_t)(key % 100), kept)) == CELLAR_DROPPED) {
        (void)l2_tick(kit.d, 1000);
    }
    return err;
}

/* Open a store with the smallest index. Return its places. */
static uint32_t full_begin(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    dev.flat = true;
    kit.cfg.seg_bytes = 262144;
    kit.cfg.seg_count = 16;
    kit.cfg.avg_object_bytes = UINT32_MAX;
    kit.cfg.memory_bytes = 8u << 20;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const l2_namespace v = { 1, BUNCH_GENERATION, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
    return kit.d->index.buckets * L2_WAYS * L2_SHARDS;
}

/* Entries that were acknowledged stay in a full index, also in that of the next rebuild. A further
 * one is refused, and plain entries take the places of plain ones. Once an hour a line says so. */
T_CASE(full_index_keeps_durable_entries)
{
    static bool taken[FULL_KEYS];
    uint32_t count = 0, plain = 0;
    const uint32_t places = full_begin();
    T_CHECK(places < FULL_KEYS - 1000);
    for (uint32_t i = 0; i < 1000; i++) { T_EQ_I64(full_put(FULL_KEYS + i, false), CELLAR_OK); }
    for (uint32_t i = 0; i < FULL_KEYS; i++) {
        const cellar_err err = full_put(i, true);
        taken[i] = err == CELLAR_OK;
        count += taken[i];
        T_CHECK(taken[i] || err == L2_REFUSED);
    }
    T_CHECK(count > places / 10 * 9 && count <= places);
    for (uint32_t i = 0; i < 3000; i++) { plain += full_put(2 * FULL_KEYS + i, false) == CELLAR_OK; }
    T_CHECK(plain < 1000);
    for (uint32_t i = 0; i < FULL_KEYS; i++) {
        T_EQ_U64(look(i), taken[i] ? 1 + i % 100 : 0);
    }
    (void)l2_tick(kit.d, 0);
    const uint64_t seen = kit.d->full_seen;
    int64_t at_ms;
    T_CHECK(seen > 0);
    T_EQ_STR(l2_loss_last(kit.d, &at_ms), "index");
    T_EQ_I64(at_ms, kit.now_ms);
    T_CHECK(l2_kit_figures(&kit).lost_index > 0 && l2_kit_figures(&kit).lost_index < seen);
    for (int hour = 0; hour < 2; hour++) {
        (void)full_put(5 * FULL_KEYS, true);
        for (uint32_t i = 0; i < 50; i++) { (void)full_put(6 * FULL_KEYS + i, false); }
        (void)l2_tick(kit.d, 0);
        T_CHECK((kit.d->full_seen != seen) == (hour == 1));
        kit.now_ms += 3600000;
    }
    uint32_t lost = 0;
    for (uint32_t i = 0; i < FULL_KEYS; i++) {
        T_EQ_U64(look(i), taken[i] ? 1 + i % 100 : 0);
        if (!taken[i]) { del(i); } /* as the cache does */
    }
    reopen(true);
    for (uint32_t i = 0; i < FULL_KEYS; i++) {
        const uint32_t version = look(i);
        T_CHECK(version == 0 || (taken[i] && version == 1 + i % 100));
        lost += taken[i] && version == 0;
    }
    T_CHECK(lost < count / 500); /* a rebuild needs two places where two keys have one word */
    end();
}

/* A plain put over a durable record on disk, which may be of another key, keeps its place. */
T_CASE(plain_copy_of_a_durable_entry_keeps_its_place)
{
    (void)full_begin();
    for (uint32_t i = 0; i < 500; i++) { T_EQ_I64(full_put(i, true), CELLAR_OK); }
    seal();
    for (uint32_t i = 0; i < 500; i++) { T_EQ_I64(full_put(i, false), CELLAR_OK); }
    for (uint32_t i = 500; i < FULL_KEYS; i++) { (void)full_put(i, true); }
    for (uint32_t i = 0; i < 500; i++) { T_EQ_U64(look(i), 1 + i % 100); }
    end();
}

/* The tombstone of another key of the bunch takes the place of a durable entry on disk. */
T_CASE(tombstone_over_a_durable_entry_keeps_its_place)
{
    (void)full_begin();
    if (bunch_key[0][0] == 0) { bunch_search(); }
    for (uint32_t i = 0; i < BUNCH_GROUPS; i++) {
        for (uint32_t n = 0; n < 2; n++) { T_EQ_I64(full_put(bunch_key[i][n], true), CELLAR_OK); }
    }
    seal();
    for (uint32_t i = 0; i < BUNCH_GROUPS; i++) {
        del(bunch_key[i][1]);
        T_EQ_I64(full_put(bunch_key[i][2], i == 0), CELLAR_OK); /* over the tombstone in its slot */
        if (i != 2) { del(bunch_key[i][2]); }
    }
    for (uint32_t i = 0; i < FULL_KEYS; i++) { (void)full_put(i, true); }
    for (uint32_t i = 0; i < BUNCH_GROUPS; i++) {
        for (uint32_t n = 0; n < BUNCH_KEYS; n++) {
            const bool lives = n == 0 || (n == 2 && i == 2);
            T_EQ_U64(look(bunch_key[i][n]), lives ? 1 + bunch_key[i][n] % 100 : 0);
        }
    }
    end();
}

/* The tombstones of durable entries on disk give their places to further ones: their records are
 * read, and all are of their own keys. */
T_CASE(deleted_durable_entries_make_room_in_a_full_index)
{
    uint32_t first = 0, second = 0;
    const uint32_t places = full_begin();
    for (uint32_t i = 0; i < places; i++) { first += full_put(i, true) == CELLAR_OK; }
    seal();
    for (uint32_t i = 0; i < places; i++) { del(i); }
    for (uint32_t i = 0; i < places; i++) { second += full_put(places + i, true) == CELLAR_OK; }
    T_CHECK(first > places / 10 * 9 && second > places / 10 * 9);
    end();
}

/* Delete a durable entry of a bunch over one of another key. Return the word of the tombstone. */
static uint64_t full_tombstone(const uint64_t key[BUNCH_KEYS])
{
    uint64_t word[L2_BUNCH_WORDS];
    for (uint32_t n = 0; n < 2; n++) { T_EQ_I64(full_put(key[n], true), CELLAR_OK); }
    seal();
    del(key[1]);
    seal();
    T_REQUIRE(l2_index_all(kit.d, l2_h48(key_of(&key[1]).hash), word) == 1);
    T_REQUIRE((word[0] & L2_WORD_TOMB) != 0 && (word[0] & L2_WORD_DURABLE) != 0);
    return word[0];
}

/* A tombstone keeps its place if one read of its record has a wrong link: what is behind it is not
 * known. */
T_CASE(tombstone_with_an_unreadable_link_keeps_its_place)
{
    (void)full_begin();
    if (bunch_key[0][0] == 0) { bunch_search(); }
    const uint64_t *key = bunch_key[0], word = full_tombstone(key);
    unsigned char bytes[L2_LINK_BYTES];
    unsigned char *link =
        l2_dev_find(&dev, "data.seg")->live + L2_RECORD_HEAD + l2_word_off(kit.d, word) +
        (size_t)kit.d->seg[l2_word_seg(kit.d, word)].place * kit.d->form.seg_bytes;
    memcpy(bytes, link, sizeof bytes);
    memset(link, 0, sizeof bytes);
    for (uint32_t i = 0; i < FULL_KEYS; i++) { (void)full_put(i, true); }
    memcpy(link, bytes, sizeof bytes);
    T_EQ_U64(look(key[0]), 1 + key[0] % 100);
    T_EQ_U64(look(key[1]), 0);
    end();
}

static uint64_t eased_to; /* state of the segment of the next word that is asked for; 0: as it is */

static bool eased_own(l2 *d, uint64_t word)
{
    if (eased_to != 0) { base_store_rel(&d->seg[l2_word_seg(d, word)].word, eased_to); }
    return true;
}

/* The segment of a tombstone is used again while its records are read: the equal word that is there
 * then is of another record. */
T_CASE(tombstone_of_a_reclaimed_segment_keeps_its_place)
{
    (void)full_begin();
    if (bunch_key[0][0] == 0) { bunch_search(); }
    const uint64_t word = full_tombstone(bunch_key[0]);
    const uint64_t h48 = l2_h48(key_of(&bunch_key[0][1]).hash);
    l2_seg *seg = &kit.d->seg[l2_word_seg(kit.d, word)];
    const uint64_t state = base_load_acq(&seg->word);
    eased_to = L2_SEG_WORD(L2_SEG_STATE(state), L2_SEG_SLOT(state), L2_SEG_SEQ(state) + 16);
    T_CHECK(!l2_index_ease(kit.d, h48, eased_own));
    base_store_rel(&seg->word, state);
    eased_to = 0;
    T_CHECK(l2_index_ease(kit.d, h48, eased_own));
    end();
}

/* More keys than the index has places: durable entries, then `deleted` keys, then plain entries.
 * After a process death the rebuild finds all entries that were acknowledged, also if its memory
 * has no rows for the lines without a way. */
T_CASE(rebuild_of_a_full_index_keeps_durable_entries)
{
    const uint32_t durable = 2500, deleted = 4000;
    const uint64_t plain = UINT64_C(1) << 32;
    T_CHECK(full_begin() < durable + deleted);
    for (uint32_t i = 0; i < durable; i++) { T_EQ_I64(full_put(i, true), CELLAR_OK); }
    for (uint32_t i = durable; i < durable + deleted; i++) {
        (void)full_put(i, false);
        del(i);
    }
    for (uint32_t i = 0; i < 3000; i++) { (void)full_put(plain + i, false); }
    for (int life = 0; life < 3; life++) {
        if (life == 2) { kit.cfg.memory_bytes = 262144; }
        reopen(true);
        uint32_t found = 0, plain_found = 0;
        for (uint32_t i = 0; i < durable + deleted; i++) {
            const uint32_t version = look(i);
            T_CHECK(version == 0 || (i < durable && version == 1 + i % 100));
            found += version != 0;
        }
        for (uint32_t i = 0; i < 3000; i++) { plain_found += look(plain + i) != 0; }
        T_EQ_U64(found, durable);
        T_CHECK(plain_found > 500);
    }
    T_EQ_U64(kit.d->n.reclaimed, 0);
    end();
}

/* Let the index rebuild run on, with changes of keys that it may have put aside. */
static void full_change(uint32_t *now, uint32_t keys)
{
    for (uint32_t i = 0; i < keys; i += 5) {
        const bool goes = i % 10 == 0;
        if (!goes && put(i, 200, true) == CELLAR_OK) {
            now[i] = 200;
        } else {
            del(i);
            now[i] = 0;
        }
        kit.d->sort.due_ns = 0;
        if (i % 20 == 0) { (void)l2_tick(kit.d, 0); }
    }
}

/* Durable entries of a cleared namespace, or with a TTL that is over, hold most places of a smaller
 * index, or have more lines than that. They take none from older entries that live, durable or not.
 * What changes during the rebuild does not come back. */
T_CASE(rebuild_gives_no_place_to_entries_that_ended)
{
    const uint32_t lives = 2500;
    uint32_t now[2500];
    for (uint32_t how = 0; how < 8; how++) {
        const bool ttl = (how & 1) != 0, changes = (how & 2) != 0, parts = (how & 4) != 0;
        T_CHECK(full_begin() < FULL_KEYS);
        l2_close(kit.d);
        kit.cfg.avg_object_bytes = 256;
        if (parts) { kit.cfg.memory_bytes = 262144; }
        dev.locked = false;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        l2_namespace other = { 2, BUNCH_GENERATION + 1, 1 };
        T_EQ_I64(l2_namespace_set(kit.d, &other, "w", 1), CELLAR_OK);
        for (uint32_t i = 0; i < lives; i++) {
            T_EQ_I64(full_put(i, ttl ? parts : i % 3 != 0), CELLAR_OK);
            now[i] = 1 + i % 100;
        }
        for (uint64_t i = 0; i < (ttl ? FULL_KEYS / 2 : FULL_KEYS); i++) {
            const l2_key k = l2_kit_key(&kit, &i, sizeof i, (uint32_t)other.generation);
            const l2_meta m = { .deadline_ms = ttl ? kit.now_ms + 1000 : BASE_NEVER_MS,
                                .durable = true };
            while (l2_put(kit.d, &k, "v", 1, &m, NULL) == CELLAR_DROPPED) {
                (void)l2_tick(kit.d, 1000);
            }
        }
        other.generation++;
        if (!ttl) { T_EQ_I64(l2_namespace_set(kit.d, &other, "w", 1), CELLAR_OK); }
        kit.now_ms += 2000;
        kit.cfg.avg_object_bytes = UINT32_MAX;
        reopen_cold(true);
        if (changes) { full_change(now, lives); }
        l2_kit_warm(&kit);
        for (uint32_t i = 0; i < lives; i++) { T_EQ_U64(look(i), now[i]); }
        end();
    }
}

/* A page cache that shows wrong bytes ends no record: the rebuild of a smaller index keeps as many
 * entries as it has places. */
T_CASE(rebuild_takes_no_place_for_wrong_bytes)
{
    uint32_t found = 0;
    (void)full_begin();
    l2_close(kit.d);
    kit.cfg.avg_object_bytes = 256;
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const uint64_t tag = 77;
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = 1, .version = 1,
                        .tag_fps = &tag, .tag_count = 1, .durable = true };
    for (uint32_t i = 0; i < FULL_KEYS; i++) {
        while (put_as(i, &m) == CELLAR_DROPPED) { (void)l2_tick(kit.d, 1000); }
    }
    kit.cfg.avg_object_bytes = UINT32_MAX;
    reopen_cold(true);
    while (l2_rebuild_step(kit.d)) { /* the last reads are those of records */
        if (kit.d->order_at == kit.d->order_count) { dev.stale = 1000000; }
    }
    T_CHECK(dev.stale < 1000000);
    dev.stale = 0;
    for (uint32_t i = 0; i < FULL_KEYS; i++) { found += look(i) != 0; }
    T_CHECK(found > kit.d->index.buckets * L2_WAYS * L2_SHARDS / 10 * 9);
    end();
}

/* ---- lines of the rebuild, one by one ---- */

#define ROWS_TAG 0xfffeu
#define ROWS_PLACE 1000u /* and those that follow: first bucket 0 of shard 0 */

static uint64_t rows_h48(uint32_t place, uint32_t tag) { return (uint64_t)place << 16 | tag; }

/* Return the word of a durable record at `off` of the open segment. */
static uint64_t rows_word(uint64_t h48, uint32_t off)
{
    return l2_word_make(kit.d, kit.d->open_slot->seg, off, h48, 64) | L2_WORD_DURABLE;
}

static void rows_line(uint32_t place, uint32_t tag, uint32_t off, uint64_t flags)
{
    const uint64_t word = rows_word(rows_h48(place, tag), off) | flags;
    const l2_sort_line line = { (uint32_t)word, (uint32_t)(word >> 32), place };
    l2_index_replay(kit.d, 0, &line, 1);
}

/* Add durable lines to shard 0 until `rows` of them found no place. */
static void rows_fill(uint32_t rows)
{
    for (uint32_t i = 0; kit.d->index.shard[0].asides < rows; i++) {
        T_REQUIRE(i < 1000);
        rows_line(i * 2654435761u >> 6, 1 + i, 200000 - i * 8, 0);
    }
}

static void rows_begin(void)
{
    (void)full_begin();
    l2_kit_warm(&kit);
    T_REQUIRE(l2_index_rebuild_begin(kit.d, 0));
    l2_index_rebuild_part(kit.d, 0, 1);
}

/* Say that the record at `off` of a way ended, or that of a row lives. off 0: of any. */
static void rows_spare(uint32_t off, bool row)
{
    const l2_shard *s = &kit.d->index.shard[0];
    const uint32_t ways = kit.d->index.buckets * L2_WAYS;
    for (uint32_t i = 0; i < (row ? kit.d->index.aside_room : ways); i++) {
        const uint64_t w = row ? (uint64_t)s->aside[i].word_hi << 32 | s->aside[i].word_lo
                               : base_load_rlx(&s->way[i]);
        if (w == 0 || (off != 0 && l2_word_off(kit.d, w) != off)) { continue; }
        l2_index_spare_way(kit.d, 0, row ? ways + i : i, w, !row);
        return;
    }
    T_CHECK(false);
}

/* Check that the bunch has one word, of the record at `off`. */
static void rows_has(uint32_t off)
{
    uint64_t word[L2_BUNCH_WORDS] = { 0 };
    T_EQ_U64(l2_index_all(kit.d, rows_h48(ROWS_PLACE, ROWS_TAG), word), 1);
    T_EQ_U64(l2_word_off(kit.d, word[0]), off);
}

static void rows_end(void)
{
    l2_index_rebuild_end(kit.d);
    end();
}

/* A line and a change of one bunch found no way. The only way that becomes free is for the newer one:
 * the older record may link past it to an old record of its key. */
T_CASE(rows_of_a_bunch_get_ways_by_age)
{
    rows_begin();
    rows_fill(20);
    rows_line(ROWS_PLACE, ROWS_TAG, 20000, 0);
    const uint64_t h48 = rows_h48(ROWS_PLACE + 1, ROWS_TAG);
    T_CHECK(!l2_index_link(kit.d, h48, rows_word(h48, 30000), 0));
    rows_spare(0, false);
    rows_spare(20000, true);
    rows_has(30000);
    rows_end();
}

T_CASE(older_word_never_takes_the_row_of_a_newer_one)
{
    rows_begin();
    rows_fill(20);
    const uint64_t h48 = rows_h48(ROWS_PLACE, ROWS_TAG);
    T_CHECK(!l2_index_link(kit.d, h48, rows_word(h48, 30000), 0));
    T_CHECK(!l2_index_link(kit.d, h48, rows_word(h48, 20000), 0));
    rows_spare(0, false);
    rows_spare(30000, true);
    rows_has(30000);
    rows_end();
}

/* The record of a word ended. Its link leads to one that has no word: a line that found neither way
 * nor row, or the word that a change of this run replaced. */
T_CASE(ended_word_that_leads_to_others_keeps_its_way)
{
    for (int changes = 0; changes < 2; changes++) {
        rows_begin();
        const uint64_t h48 = rows_h48(ROWS_PLACE, ROWS_TAG);
        if (changes) {
            rows_line(ROWS_PLACE + 1, ROWS_TAG, 20000, 0);
            T_CHECK(l2_index_link(kit.d, h48, rows_word(h48, 30000) | L2_WORD_LINKED,
                                  rows_word(h48, 20000)));
        } else {
            rows_line(ROWS_PLACE, ROWS_TAG, 30000, L2_WORD_LINKED);
            rows_fill(45);
            rows_line(ROWS_PLACE + 1, ROWS_TAG, 20000, 0);
        }
        rows_spare(30000, false);
        rows_has(30000);
        rows_end();
    }
}

/* More keys than places change in any order, beside process deaths. A rebuild serves no old value,
 * also with changes in the middle, and keeps durable entries. */
T_CASE(any_order_in_a_full_index_serves_no_old_value)
{
    static struct { uint32_t now; bool kept; } key[FULL_KEYS];
    base_rng r;
    uint32_t next = 0, lost = 0, due = 0;
    base_rng_seed(&r, t_seed());
    memset(key, 0, sizeof key);
    (void)full_begin();
    for (uint32_t step = 0; step < 24000; step++) {
        if (step % 4000 == 3999) {
            kit.cfg.memory_bytes = step % 8000 == 3999 ? 262144 : 8u << 20; /* rows for few lines */
            reopen_cold(true);
        }
        const bool rebuilding = base_load_acq(&kit.d->rebuilding) != 0;
        const uint64_t i = base_rng_below(&r, FULL_KEYS);
        const bool kept = i < FULL_KEYS / 3;
        if (base_rng_below(&r, 3) == 0) {
            del(i);
            key[i].now = 0;
        } else {
            cellar_err err;
            while ((err = put(i, ++next % 250 + 1, kept)) == CELLAR_DROPPED && !rebuilding) {
                (void)l2_tick(kit.d, 1000);
            }
            if (err != CELLAR_OK) { del(i); }
            key[i].now = err == CELLAR_OK ? next % 250 + 1 : 0;
        }
        if (rebuilding && base_rng_below(&r, 50) == 0) {
            kit.d->sort.due_ns = 0;
            (void)l2_tick(kit.d, 0);
        }
        const uint64_t other = base_rng_below(&r, FULL_KEYS);
        const uint32_t version = look(other);
        T_CHECK(version == 0 || version == key[other].now);
        if (rebuilding || other >= FULL_KEYS / 3 || key[other].now == 0) { continue; }
        due++;
        lost += version == 0;
    }
    T_EQ_U64(lost, 0);
    T_CHECK(due > 1000);
    end();
}

T_CASE(index_has_a_place_for_each_64_kib)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    for (uint64_t mib = 16; mib <= 16384; mib *= 4) {
        l2_super made = { .nseg = 0 };
        kit.cfg.seg_count = 0;
        kit.cfg.seg_bytes = 0;
        kit.cfg.bytes = mib << 20;
        kit.cfg.memory_bytes = UINT64_C(64) << 20;
        kit.cfg.avg_object_bytes = UINT32_MAX;
        T_EQ_I64(l2_geometry(&kit.cfg, &made), CELLAR_OK);
        T_CHECK(l2_objects_for(&kit.cfg, &made) >= (uint64_t)made.nseg * made.seg_bytes / 65536);
    }
    l2_dev_fini(&dev);
}

/* The tables of a store take at most a quarter of the budget, or the places for each 64 KiB. */
T_CASE(tables_take_a_quarter_of_the_budget)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = kit.cfg.seg_bytes = kit.cfg.stage_count = 0;
    for (uint64_t memory = 4; memory <= 4096; memory *= 2) {
        for (uint64_t mib = 16; mib <= 65536; mib *= 4) {
            for (uint64_t mean = 0; mean <= 65536; mean = mean * 16 + 256) {
                l2_super made = { .nseg = 0 };
                kit.cfg.bytes = mib << 20;
                kit.cfg.memory_bytes = memory << 20;
                kit.cfg.avg_object_bytes = mean;
                T_EQ_I64(l2_geometry(&kit.cfg, &made), CELLAR_OK);
                const uint64_t tables = l2_tables_bytes(&kit.cfg, &made);
                const uint64_t least = (uint64_t)made.nseg * made.seg_bytes / 65536;
                T_CHECK(tables <= kit.cfg.memory_bytes / 4 ||
                        l2_objects_for(&kit.cfg, &made) <= least + least / 8 + 64);
            }
        }
    }
    l2_dev_fini(&dev);
}

T_ONE_THREAD;
T_MAIN("l2_index")
