/* SPDX-License-Identifier: MIT
 *
 * Aim:    P10: after any flipped bit, truncation, swap or restored old bytes, each key has its
 *         current version or is a miss. No older version, no bytes of another key, no crash.
 * Method: a tiny store with a history (overwritten, deleted and cleared keys, reused places),
 *         once closed, once killed. Its files are damaged in one way at a time and opened. One
 *         copy of META is damaged where no segment has its controls any more. The open of a
 *         damaged store is also interrupted, then repeated. DAMAGE_STEP=1:
 *         every bit (default: every 101st), DAMAGE_MUTANTS=n: more mixtures. */
#include "tests/support/kept_pages.h"
#include "tests/support/l2_kit.h"

#define KEYS 40u

static l2_dev dev, hurt;
static l2_dev former; /* the same store, earlier */
static l2_kit kit;
static uint32_t now[KEYS];
static unsigned char value[KEYS][512]; /* the value of each key, and more of the same bytes */
static uint32_t generation;
static uint64_t opened, refused, hits, whole; /* whole: hits without damage */
static base_rng rng;
static char story[160]; /* the last mutant */

static size_t length_of(uint32_t key, uint32_t version)
{
    return 8 + (key * 131 + version * 37) % 300;
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + version * 7 + i); }
}

static void store(uint32_t key, uint32_t version)
{
    unsigned char buf[512];
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version };
    now[key] = version;
    l2_invalidate(kit.d, &id);
    if (version == 0) { return; }
    fill(buf, length_of(key, version), key, version);
    T_EQ_I64(l2_put(kit.d, &id, buf, length_of(key, version), &m, NULL), CELLAR_OK);
    while (l2_tick(kit.d, 1000)) {}
}

static l2_form form;     /* form of the built store */
static uint64_t open_seq; /* its last segment */
static size_t open_at;    /* position of that segment in stage.buf */

/* Build the store. `closed`: with a clean close; else with a process death. */
static void build(bool closed)
{
    memset(now, 0, sizeof now);
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_namespace v = { 1, 5, 1 };
    generation = 5;
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
    uint32_t version = 1;
    for (uint32_t i = 0; i < 120; i++) { store(i % KEYS, version++); }
    v.generation = generation = 6;
    memset(now, 0, sizeof now);
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0), CELLAR_OK); /* cleared */
    for (uint32_t i = 0; i < 20; i++) { store(i, version++); }
    l2_dev_clone(&dev, &former, NULL);
    for (uint32_t i = 0; i < 60; i++) { store((i * 7) % KEYS, version++); }
    for (uint32_t i = 0; i < KEYS; i += 5) { store(i, 0); } /* deleted */
    for (uint32_t i = 1; i < KEYS; i += 5) { store(i, version++); }
    for (uint32_t i = 0; i < KEYS; i++) { fill(value[i], sizeof value[i], i, now[i]); }
    form = kit.d->form;
    open_seq = kit.d->open_slot->head.segseq;
    open_at = (size_t)(kit.d->open_slot->base - (unsigned char *)kit.d->map);
    if (closed) {
        l2_close(kit.d);
        kit.d = NULL;
    } else {
        l2_kit_kill(&kit);
    }
}

static void look_at_all(l2_kit *k)
{
    l2_namespace v = { 0, 0, 0 };
    (void)l2_namespace_find(k->d, "v", 1, &v);
    for (uint32_t vg = 5; vg <= 6; vg++) {
        for (uint32_t key = 0; key < KEYS; key++) {
            unsigned char buf[512];
            size_t len;
            l2_meta m;
            const l2_key id = l2_kit_key(k, &key, sizeof key, vg);
            k->d->health.damaged = 0; /* keep the tier on, however many records are damaged */
            const cellar_err err = l2_kit_get(k->d, &id, buf, sizeof buf, &len, &m);
            if (err == CELLAR_MISS) { continue; }
            if (vg == 5) {
                /* cleared, so the cache does not ask for it */
                T_CHECK(v.generation == 6 || v.generation == 0);
                continue;
            }
            hits++;
            if (!T_CHECK(err == CELLAR_OK && now[key] != 0 && m.user_flags == now[key] &&
                         len == length_of(key, now[key]) && memcmp(buf, value[key], len) == 0)) {
                printf("# key %u: version %u, now %u\n", key, m.user_flags, now[key]);
            }
        }
    }
}

/* Open the damaged disk. */
static bool open_hurt(void)
{
    l2_kit k;
    l2_kit_init(&k, &hurt);
    const cellar_err err = l2_kit_open(&k);
    opened++;
    if (err != CELLAR_OK) {
        T_CHECK(err == CELLAR_E_CORRUPT || err == CELLAR_E_FOREIGN || err == CELLAR_E_NEWER_FORMAT);
        refused++;
        return false;
    }
    l2_kit_warm(&k);
    while (l2_tick(k.d, 1000)) {} /* places become free, whatever the source of the index */
    look_at_all(&k);
    l2_kit_kill(&k);
    return true;
}

/* Let an I/O call of an open fail, then kill the process. */
static void open_hurt_fails(uint64_t nth)
{
    l2_kit k;
    l2_kit_init(&k, &hurt);
    hurt.fail_site = -1;
    hurt.fail_errno = EIO;
    hurt.fail_at = nth;
    hurt.fail_sticky = true;
    (void)l2_kit_open(&k);
    l2_kit_kill(&k);
    hurt.fail_at = 0;
    hurt.locked = false;
}

static void begin(bool closed)
{
    l2_dev_init(&hurt);
    hurt.flat = true;
    l2_dev_init(&former);
    build(closed);
    hits = 0;
    l2_dev_clone(&dev, &hurt, NULL);
    T_CHECK(open_hurt());
    whole = hits;
    T_CHECK(whole > KEYS / 4);
    opened = refused = hits = 0;
    base_rng_seed(&rng, t_.seed);
}

static void end(const char *what)
{
    printf("# %s: %" PRIu64 " opened, %" PRIu64 " refused, %.1f %% of the stored values\n", what,
           opened, refused, 100.0 * (double)hits / (double)(whole * (opened > 0 ? opened : 1)));
    l2_dev_fini(&dev);
    l2_dev_fini(&hurt);
    l2_dev_fini(&former);
}

static void flip_every_bit(bool closed)
{
    begin(closed);
    const uint64_t step = t_env_u64("DAMAGE_STEP", 101);
    const uint64_t slow_step = t_env_u64("DAMAGE_SLOW", 97);
    for (int i = 0; i < DEV_FILES && !t_failed(); i++) {
        const uint64_t bits = (uint64_t)dev.file[i].size * 8;
        for (uint64_t bit = t_.seed % step; bit < bits && !t_failed();) {
            /* Repair of a footer or trailer tries bits for 1 ms, so fewer of them are damaged. */
            const uint64_t in_seg = bit / 8 % 16384;
            const bool slow = strcmp(dev.file[i].name, "data.seg") == 0 && in_seg >= 16384 - 12288;
            l2_dev_clone(&dev, &hurt, NULL);
            hurt.file[i].live[bit / 8] ^= (unsigned char)(1u << (bit % 8));
            (void)open_hurt();
            if (t_failed()) { printf("# %s, bit %" PRIu64 "\n", dev.file[i].name, bit); }
            bit += slow ? step * slow_step : step;
        }
    }
    T_EQ_U64(refused, 0);
    T_CHECK((double)hits > 0.9 * (double)(whole * opened));
    end(closed ? "single bits, closed" : "single bits, killed");
}

T_CASE(any_bit_of_a_closed_store_restores_no_old_value) { flip_every_bit(true); }
T_CASE(any_bit_of_a_killed_store_restores_no_old_value) { flip_every_bit(false); }

/* A check of 0 marks an incomplete record. After a process death such a record is dropped. A
 * tombstone must not be dropped, or the value that it hides comes back. */
T_CASE(a_check_damaged_to_0_restores_no_old_value)
{
    begin(false);
    const l2_dev_file *from = l2_dev_find(&dev, "stage.buf");
    for (size_t at = 0; at < from->size && !t_failed(); at += 8) { /* a granule */
        l2_dev_clone(&dev, &hurt, NULL);
        memset(l2_dev_find(&hurt, "stage.buf")->live + at, 0, 4);
        (void)open_hurt();
        if (t_failed()) { printf("# stage.buf at %zu\n", at); }
    }
    end("zeros");
}

typedef struct staged { /* a tombstone in the open slot */
    uint32_t off;   /* of the record in the slot */
    uint32_t bytes; /* of the record */
    uint32_t line;  /* offset of its footer line in the slot */
    uint32_t count; /* tombstones before it */
} staged;

static void each_staged_tombstone(void (*damage)(const staged *at))
{
    const unsigned char *slot = l2_dev_find(&dev, "stage.buf")->live + open_at;
    const uint32_t limit = form.seg_bytes - 2 * L2_PAGE;
    staged at = { .off = (uint32_t)base_round_up(L2_HEAD_BYTES, form.granule),
                  .line = limit + L2_FOOT_HEAD };
    l2_rec r;
    for (; l2_rec_marked(&form, slot + at.off, open_seq, at.off, limit, &r);
         at.off += l2_rec_room(&form, (size_t)r.ext * 8, r.klen, r.vlen)) {
        at.bytes = r.bytes;
        if (r.kind == L2_KIND_TOMB) {
            damage(&at);
            at.count++;
        }
        at.line += L2_ENTRY_BYTES;
    }
    T_CHECK(at.count > 5);
}

/* Clone the store. Return the open slot of the clone. */
static unsigned char *clone_slot(void)
{
    l2_dev_clone(&dev, &hurt, NULL);
    return l2_dev_find(&hurt, "stage.buf")->live + open_at;
}

/* Flip a bit of a staged tombstone and a bit of its footer line. The line says which bunch the
 * record hides, and no check covers the line of an open slot. Whether the store drops everything
 * before that position or finds the bunch, no deleted value comes back. */
static void flip_two_bits(const staged *at)
{
    for (uint32_t bit = 0; bit < at->bytes * 8 && !t_failed(); bit += 3) {
        const uint32_t other = bit * 5 % 48; /* of the bunch */
        unsigned char *slot = clone_slot();
        slot[at->off + bit / 8] ^= (unsigned char)(1u << (bit % 8));
        slot[at->line + other / 8] ^= (unsigned char)(1u << (other % 8));
        const l2_dev_file *snap = l2_dev_find(&hurt, "index.snap");
        if (snap != NULL && snap->size > 0) { snap->live[snap->size / 2] ^= 1; }
        (void)open_hurt();
        if (t_failed()) { printf("# line at %u, bit %u, bit %u of it\n", at->line, bit, other); }
    }
}

static void a_tombstone_hurt_with_its_line(bool closed)
{
    begin(closed);
    each_staged_tombstone(flip_two_bits);
    T_EQ_U64(refused, 0);
    end(closed ? "tombstone and line, closed" : "tombstone and line, killed");
}

/* Damage many bits of a staged tombstone and of its line: a hole. The first open fails at its n-th
 * call and may have sealed the slot by then. */
static void interrupt_opens_of_a_hole(const staged *at)
{
    for (uint64_t nth = 1; at->count % 4 == 0 && nth < 60 && !t_failed(); nth++) {
        unsigned char *slot = clone_slot();
        memset(slot + at->off + L2_RECORD_HEAD, 0x55, at->bytes - L2_RECORD_HEAD);
        memset(slot + at->line, 0x11, 6);
        open_hurt_fails(nth);
        (void)open_hurt();
        if (t_failed()) { printf("# line at %u, call %" PRIu64 " fails\n", at->line, nth); }
    }
}

T_CASE(a_hole_found_by_an_interrupted_open_restores_no_old_value)
{
    begin(false);
    each_staged_tombstone(interrupt_opens_of_a_hole);
    end("hole, interrupted");
}

T_CASE(a_tombstone_damaged_with_its_line_in_a_closed_store_stays_in_force)
{
    a_tombstone_hurt_with_its_line(true);
}

T_CASE(a_tombstone_damaged_with_its_line_in_a_killed_store_stays_in_force)
{
    a_tombstone_hurt_with_its_line(false);
}

/* Zero a staged tombstone, except a mark: that of a head of zeros and one wrong bit. It stands for
 * the lost sector that has this mark by chance. A repair of that bit would make the tombstone an
 * incomplete record, which is dropped. */
static void zero_all_but_the_mark(const staged *at)
{
    const l2_rec like = { .kind = L2_KIND_PUT, .klen = 4 };
    unsigned char *head = clone_slot() + at->off, zeros[L2_RECORD_HEAD] BASE_ALIGNED(8);
    l2_rec_begin(&form, zeros, open_seq, at->off, &like);
    memset(head, 0, at->bytes);
    memcpy(head + 4, zeros + 4, 2);
    (void)open_hurt();
    if (t_failed()) { printf("# line at %u\n", at->line); }
}

T_CASE(zeros_in_place_of_a_tombstone_restore_no_old_value)
{
    for (int closed = 0; closed < 2; closed++) {
        begin(closed != 0);
        each_staged_tombstone(zero_all_but_the_mark);
        T_EQ_U64(refused, 0);
        end(closed != 0 ? "zeros, closed" : "zeros, killed");
    }
}

static l2_dev_file *any_file(l2_dev *v)
{
    for (;;) {
        l2_dev_file *f = &v->file[base_rng_below(&rng, DEV_FILES)];
        if (f->name[0] != '\0' && f->size > 0) { return f; }
    }
}

static void mutate(void)
{
    l2_dev_file *f = any_file(&hurt), *g = any_file(&hurt);
    const uint64_t how = base_rng_below(&rng, 7);
    const size_t unit = base_rng_below(&rng, 2) == 0 ? 512 : 4096;
    const size_t a = (size_t)base_rng_below(&rng, f->size);
    const size_t b = (size_t)base_rng_below(&rng, g->size);
    const size_t n = BASE_MIN(unit, BASE_MIN(f->size - a / unit * unit, g->size - b / unit * unit));
    unsigned char block[4096];
    snprintf(story, sizeof story, "way %d, %s at %zu, %s at %zu, by %zu", (int)how, f->name,
             a, g->name, b, unit);
    switch (how) {
    case 0:
    case 1: /* 2..64 bits anywhere */
        for (uint64_t i = 2 + base_rng_below(&rng, 62); i > 0; i--) {
            f = any_file(&hurt);
            const uint64_t bit = base_rng_below(&rng, f->size * 8);
            f->live[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        }
        break;
    case 2: f->size = a; break; /* truncated */
    case 3:                     /* two blocks swapped */
        memcpy(block, f->live + a / unit * unit, n);
        memcpy(f->live + a / unit * unit, g->live + b / unit * unit, n);
        memcpy(g->live + b / unit * unit, block, n);
        break;
    case 4: memset(f->live + a / unit * unit, base_rng_below(&rng, 2) ? 0 : 255, n); break;
    case 5: { /* an older segment of the same place, or of another one */
        l2_dev_file *data = l2_dev_find(&hurt, "data.seg"), *old = l2_dev_find(&former, "data.seg");
        memcpy(data->live + 16384 * base_rng_below(&rng, 3),
               old->live + 16384 * base_rng_below(&rng, 3), 16384);
        break;
    }
    default: { /* bytes copied to another position */
        const size_t m = (size_t)base_rng_below(&rng, 2000);
        if (a + m <= f->size && b + m <= g->size) { memmove(f->live + a, g->live + b, m); }
        break;
    }
    }
}

static void mixtures(bool closed)
{
    begin(closed);
    const uint64_t most = t_env_u64("DAMAGE_MUTANTS", t_share(3000));
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        base_rng_seed(&rng, t_.seed + i);
        l2_dev_clone(&dev, &hurt, NULL);
        mutate();
        if (base_rng_below(&rng, 2) != 0) { open_hurt_fails(1 + base_rng_below(&rng, 80)); }
        (void)open_hurt();
        if (t_failed()) { printf("# SEED=%" PRIu64 ": %s\n", t_.seed + i, story); }
    }
    end(closed ? "mixtures, closed" : "mixtures, killed");
}

T_CASE(mixtures_in_a_closed_store_restore_no_old_value) { mixtures(true); }
T_CASE(mixtures_in_a_killed_store_restore_no_old_value) { mixtures(false); }

/* ---- META ---- */

/* Return the copy with the higher serial, or the other one. */
static l2_dev_file *meta_copy(l2_dev *v, bool newer)
{
    l2_dev_file *a = l2_dev_find(v, "META.0"), *b = l2_dev_find(v, "META.1");
    const bool first = l2_r64(a->live + 16) > l2_r64(b->live + 16);
    return first == newer ? a : b;
}

/* Clear a namespace; an eviction that began before reaches the log after the clear. META was
 * written once before it and once after it. The segment with the control is reclaimed; its place is
 * reused if `taken`. Key 0 is the evicted one, key 1 the last stored one. */
static void cleared_long_ago(bool closed, bool taken)
{
    l2_namespace v = { 1, 5, 1 };
    l2_kit_begin(&kit, &dev, L2_DROP);
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
    kit.now_ms += 10000;
    (void)l2_tick(kit.d, 1000); /* META */
    v.generation = 6;
    T_EQ_I64(l2_namespace_set(kit.d, &v, NULL, 0), CELLAR_OK);
    const uint64_t cleared_in = kit.d->open_slot->head.segseq;
    uint32_t n = 2;
    for (; kit.d->open_slot->head.segseq < cleared_in + 5; n++) {
        T_REQUIRE(l2_kit_put(&kit, n, n, 6) == CELLAR_OK);
        (void)l2_tick(kit.d, 1000);
    }
    T_EQ_I64(l2_kit_put(&kit, 0, 1, 5), CELLAR_OK);
    for (; kit.d->open_slot->head.floor_lsn < l2_lsn(kit.d, cleared_in + 1, 0); n++) {
        T_REQUIRE(l2_kit_put(&kit, n, n, 6) == CELLAR_OK);
        (void)l2_tick(kit.d, 1000);
    }
    const uint64_t newest = kit.d->open_slot->head.segseq + taken;
    for (; kit.d->open_slot->head.segseq < newest; n++) {
        T_REQUIRE(l2_kit_put(&kit, n, n, 6) == CELLAR_OK);
        (void)l2_tick(kit.d, 1000);
    }
    T_EQ_I64(l2_kit_put(&kit, 1, 1, 6), CELLAR_OK);
    T_EQ_U64(l2_kit_look(&kit, 0, 5), 1); /* it is there, but of an old generation */
    if (closed) {
        l2_close(kit.d);
        kit.d = NULL;
    } else {
        l2_kit_kill(&kit);
    }
}

static void one_META_hurt(bool closed, bool taken, bool newer)
{
    l2_namespace v = { 0, 0, 0 };
    /* After a close the older copy is as new as the reclaim: nothing is missing. */
    const bool missing = newer && !closed;
    cleared_long_ago(closed, taken);
    dev.locked = false;
    meta_copy(&dev, newer)->live[70] ^= 1;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    T_CHECK(l2_namespace_find(kit.d, "v", 1, &v));
    T_EQ_U64(v.generation == 5 ? l2_kit_look(&kit, 0, 5) : 0, 0);
    T_EQ_U64(l2_kit_look(&kit, 1, 6), missing ? 0 : 1);
    T_EQ_U64(l2_kit_figures(&kit).holes, missing ? 1 : 0);
    /* New records stay: META is complete again. */
    T_EQ_I64(l2_kit_put(&kit, 3, 9, (uint32_t)v.generation), CELLAR_OK);
    l2_kit_killed(&kit, &dev);
    T_EQ_U64(l2_kit_look(&kit, 3, (uint32_t)v.generation), 9);
    T_EQ_U64(v.generation == 5 ? l2_kit_look(&kit, 0, 5) : 0, 0);
    T_EQ_U64(l2_kit_figures(&kit).holes, 0);
    l2_kit_end(&kit, &dev);
}

T_CASE(an_older_meta_restores_no_old_value)
{
    for (unsigned i = 0; i < 8; i++) { one_META_hurt((i & 1) != 0, (i & 2) != 0, (i & 4) != 0); }
}

T_ONE_THREAD;
T_MAIN("l2_damage")
