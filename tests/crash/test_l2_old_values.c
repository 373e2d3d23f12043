/* SPDX-License-Identifier: MIT
 *
 * Aim:    no damage to one file of a killed or closed store restores an old value. A key has its
 *         newest acknowledged value or is a miss. A deleted key is a miss. A cleared namespace, an
 *         invalidated tag and a deleted pattern stay dead.
 * Method: random histories on tiny stores. data.seg has the first version of each key. The stage
 *         has what invalidated it: deletes, overwrites, values of half a page and more, which
 *         begin on a page, a clear, a tag, a pattern. Each damage is applied to a copy, which is
 *         opened. Some copies continue, are killed and opened once more. The same with a
 *         stage.buf or data.seg of an earlier run instead of the newest one. The same with the
 *         newer copy of SUPER lost before a power cut. OLD_STEP=1: every bit (default: every
 *         211th of the stage, fewer of other files), OLD_LAYOUTS=n: histories per kind of store,
 *         OLD_FILES=n: earlier runs. */
#include "tests/support/kept_pages.h"
#include "tests/support/l2_kit.h"

#define KEYS 64u
#define ENDED 6u          /* keys each of the cleared namespace, the tag and the pattern */
#define NAMESPACE_OLD 5u
#define NAMESPACE_NEW 6u
#define TAG UINT64_C(77)
#define VALUE_MOST 3600u

typedef struct layout { /* of a history */
    uint32_t seg_bytes;
    uint32_t slots;   /* slots of the stage with the only copies of their records */
    uint32_t longest; /* bytes of a small value */
    uint32_t big;     /* percent of changes that store a value of half a page or more */
    bool closed;
    l2_level level;
} layout;

static l2_dev dev, hurt;
static l2_kit kit, other;
static layout shape;
static uint32_t now[KEYS]; /* newest acknowledged version; 0: deleted */
static uint64_t epoch, opened, refused, hits, whole;
static l2_form slot_form; /* of the store, and the open slot at its end */
static uint64_t slot_segseq, slot_at;
static uint32_t slot_pos;
static bool heads_hurt; /* the damage covers both copies of SUPER */
static base_rng rng;

static uint32_t length_of(uint32_t key, uint32_t version)
{
    const uint64_t h = base_mix64((uint64_t)key << 32 | version);
    if (version > 1 && h % 100 < shape.big) { return 2048 + (uint32_t)(h >> 8) % 1500; }
    return shape.longest == 0 ? 0 : (uint32_t)(h >> 8) % shape.longest;
}

static void fill(unsigned char *buf, uint32_t n, uint32_t key, uint32_t version)
{
    for (uint32_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + version * 7 + i); }
}

static void put(uint32_t key, uint32_t version)
{
    static unsigned char buf[VALUE_MOST];
    const uint32_t n = length_of(key, version);
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, L2_KIT_GENERATION);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version };
    fill(buf, n, key, version);
    l2_invalidate(kit.d, &id);
    now[key] = 0;
    if (l2_put(kit.d, &id, buf, n, &m, NULL) == CELLAR_OK) { now[key] = version; }
}

static l2_key ended_key(l2_kit *k, uint32_t i, const char *what, uint32_t generation, char text[16])
{
    const int n = snprintf(text, 16, "%s:%u", what, i);
    return l2_kit_key(k, text, (size_t)n, generation);
}

/* Store the keys that the controls invalidate later. */
static void put_ended(void)
{
    static const uint64_t tag = TAG;
    for (uint32_t i = 0; i < ENDED; i++) {
        char text[16];
        const l2_meta plain = { .deadline_ms = BASE_NEVER_MS };
        const l2_meta tagged = { .deadline_ms = BASE_NEVER_MS, .tag_count = 1, .tag_born = epoch,
                                 .tag_fps = &tag };
        l2_key id = ended_key(&kit, i, "namespace", NAMESPACE_OLD, text);
        T_EQ_I64(l2_put(kit.d, &id, text, 6, &plain, NULL), CELLAR_OK);
        id = ended_key(&kit, i, "glob", L2_KIT_GENERATION, text);
        T_EQ_I64(l2_put(kit.d, &id, text, 6, &plain, NULL), CELLAR_OK);
        id = ended_key(&kit, i, "tag", L2_KIT_GENERATION, text);
        T_EQ_I64(l2_put(kit.d, &id, text, 5, &tagged, NULL), CELLAR_OK);
    }
}

static void end_one(uint32_t which)
{
    const l2_namespace cleared = { 1, NAMESPACE_NEW, 1 };
    uint64_t walk;
    if (which == 0) {
        T_EQ_I64(l2_namespace_set(kit.d, &cleared, NULL, 0), CELLAR_OK);
    } else if (which == 1) {
        l2_tag_invalidate(kit.d, TAG, epoch + 1, false);
    } else {
        T_EQ_I64(l2_glob_begin(kit.d, L2_KIT_GENERATION, "glob:*", 6, &walk), CELLAR_OK);
        l2_glob_end(kit.d, walk);
    }
}

static void no_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)ctx;
    (void)fp;
    (void)hard;
    (void)soft;
}

/* Fill the open segment with other keys and seal it. */
static void next_segment(void)
{
    const uint64_t at = kit.d->open_slot->head.segseq;
    for (uint32_t n = 1000; kit.d->open_slot->head.segseq == at; n++) {
        (void)l2_kit_put(&kit, n, 1, L2_KIT_GENERATION);
        (void)l2_tick(kit.d, 1000);
    }
    while (l2_tick(kit.d, 1000)) {}
}

/* Change one key. Return false without room for the new value; the old one is deleted. */
static bool change(uint32_t version)
{
    const uint32_t key = (uint32_t)base_rng_below(&rng, KEYS);
    if (base_rng_below(&rng, 100) < 55) {
        l2_kit_del(&kit, key);
        now[key] = 0;
    } else {
        put(key, version);
        return now[key] != 0;
    }
    return true;
}

/* Change keys until `slots` slots of the stage have the only copies, the last slot in part. */
static void live(void)
{
    const uint64_t last = kit.d->open_slot->head.segseq + shape.slots - 1;
    const uint32_t limit = shape.seg_bytes - 5 * L2_PAGE / 2;
    const uint32_t until = 1024 + (uint32_t)base_rng_below(&rng, limit);
    uint32_t version = 2, end = 0;
    bool room = true;
    while (room && (version < 26 || (version < 500 && (kit.d->open_slot->head.segseq < last ||
                                                       kit.d->open_slot->pos < until)))) {
        room = change(version++);
        if (shape.level != L2_DROP) { (void)l2_tick(kit.d, 1000); } /* prepares the next slot */
        if (end < 3 && base_rng_below(&rng, 12) == 0) { end_one(end++); }
    }
    while (end < 3) { end_one(end++); }
    if (base_rng_below(&rng, 2) == 0) { (void)change(version); }
}

static void kit_for(l2_kit *k, l2_dev *on)
{
    l2_kit_init(k, on);
    k->cfg.seg_bytes = shape.seg_bytes;
    k->cfg.seg_count = 8;
    k->cfg.stage_count = 2;
    k->cfg.level = shape.level;
}

static void build(const layout *as, uint64_t seed)
{
    const l2_namespace v = { 1, NAMESPACE_OLD, 1 };
    base_rng_seed(&rng, seed);
    shape = *as;
    l2_dev_init(&dev);
    kit_for(&kit, &dev);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    uint64_t tag_floor;
    epoch = l2_tags_known(kit.d, &tag_floor, no_tag, NULL);
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
    for (uint32_t key = 0; key < KEYS; key++) {
        put(key, 1);
        while (l2_tick(kit.d, 1000)) {}
    }
    put_ended();
    next_segment();
    live();
    slot_form = kit.d->form;
    slot_segseq = kit.d->open_slot->head.segseq;
    slot_at = (uint64_t)(kit.d->open_slot->base - kit.d->map);
    slot_pos = kit.d->open_slot->pos;
    if (shape.closed) {
        l2_close(kit.d);
        kit.d = NULL;
    } else {
        l2_kit_kill(&kit);
    }
}

static bool ended_is_there(l2_kit *k, uint32_t i, const char *what, uint32_t generation)
{
    char text[16], buf[16];
    size_t len;
    l2_meta m;
    const l2_key id = ended_key(k, i, what, generation, text);
    k->d->health.damaged = 0;
    return l2_kit_get(k->d, &id, buf, sizeof buf, &len, &m) == CELLAR_OK;
}

static void judge(l2_kit *k)
{
    static unsigned char buf[VALUE_MOST], want[VALUE_MOST];
    l2_namespace v = { 0, 0, 0 };
    (void)l2_namespace_find(k->d, "v", 1, &v);
    for (uint32_t i = 0; i < ENDED; i++) {
        T_CHECK(v.generation != NAMESPACE_OLD || !ended_is_there(k, i, "namespace", NAMESPACE_OLD));
        T_CHECK(!ended_is_there(k, i, "glob", L2_KIT_GENERATION));
        T_CHECK(!ended_is_there(k, i, "tag", L2_KIT_GENERATION));
    }
    for (uint32_t key = 0; key < KEYS; key++) {
        size_t len;
        l2_meta m;
        const l2_key id = l2_kit_key(k, &key, sizeof key, L2_KIT_GENERATION);
        k->d->health.damaged = 0; /* the tier stays on, however many records are damaged */
        if (l2_kit_get(k->d, &id, buf, sizeof buf, &len, &m) == CELLAR_MISS) { continue; }
        hits++;
        fill(want, length_of(key, now[key]), key, now[key]);
        if (!T_CHECK(now[key] != 0 && m.user_flags == now[key] &&
                     len == length_of(key, now[key]) && memcmp(buf, want, len) == 0)) {
            printf("# key %u: version %u, now %u\n", key, m.user_flags, now[key]);
        }
    }
}

static bool open_hurt(void)
{
    kit_for(&other, &hurt);
    const cellar_err err = l2_kit_open(&other);
    if (err != CELLAR_OK) {
        T_CHECK(err == CELLAR_E_CORRUPT || err == CELLAR_E_FOREIGN || err == CELLAR_E_NEWER_FORMAT);
        return false;
    }
    l2_kit_warm(&other);
    while (l2_tick(other.d, 1000)) {}
    return true;
}

/* Open the damaged copy and read all keys. Every 16th copy continues, is killed and opened
 * again. */
static void try_hurt(void)
{
    uint32_t was[KEYS];
    if (!open_hurt()) {
        refused += !heads_hurt; /* an open without a copy of SUPER is refused: cellar.h says so */
        return;
    }
    judge(&other);
    if (opened++ % 16 == 0) {
        memcpy(was, now, sizeof was);
        for (uint32_t key = 0; key < KEYS; key += 3) {
            l2_kit_del(&other, key);
            now[key] = 0;
        }
        l2_kit_kill(&other);
        hurt.locked = false;
        const uint64_t seen = hits;
        if (T_CHECK(open_hurt())) { judge(&other); }
        hits = seen;
        memcpy(now, was, sizeof was);
    }
    l2_kit_kill(&other);
}

static void begin(const layout *as, uint64_t seed)
{
    build(as, seed);
    l2_dev_init(&hurt);
    hurt.flat = true;
    hits = opened = 0;
    heads_hurt = false;
    l2_dev_clone(&dev, &hurt, NULL);
    try_hurt();
    whole = hits;
    uint32_t stored = 0;
    for (uint32_t key = 0; key < KEYS; key++) { stored += now[key] != 0; }
    T_EQ_U64(whole, stored);
    T_CHECK(stored > 0 && stored < KEYS);
    opened = refused = hits = 0;
}

static void end(void)
{
    l2_dev_fini(&dev);
    l2_dev_fini(&hurt);
}

typedef enum damage { BIT, BYTE, ZEROS, RUN, SECTOR, WAYS } damage;

/* Return true if the bytes reach from one copy of SUPER into the other. */
static bool both_heads(const l2_dev_file *f, const unsigned char *from, size_t n)
{
    const size_t at = (size_t)(from - f->live);
    return strcmp(f->name, "SUPER") == 0 && at < 4096 && at + n > 4096;
}

/* Damage the copy of a file at bit `bit`. */
static void harm(l2_dev_file *f, uint64_t bit, damage how)
{
    const size_t at = (size_t)(bit / 8);
    size_t n = how == ZEROS ? 4 : how == RUN ? 1 + (size_t)base_rng_below(&rng, 100) : 512;
    unsigned char *to = f->live + (how == SECTOR ? at / 512 * 512 : how == ZEROS ? at / 4 * 4 : at);
    n = BASE_MIN(n, (size_t)(f->live + f->size - to));
    heads_hurt = how != BIT && how != BYTE && both_heads(f, to, n);
    switch (how) {
    case BIT: *to ^= (unsigned char)(1u << bit % 8); break;
    case BYTE: *to ^= (unsigned char)(1 + base_rng_below(&rng, 255)); break;
    case SECTOR:
    case RUN:
        memset(to, base_rng_below(&rng, 2) == 0 ? 255 : 0, n);
        break;
    default: memset(to, 0, n); break;
    }
}

static const char *const how_named[WAYS] = { "bit", "byte", "four zeros", "run", "sector" };

/* Damage every `step`-th bit of the stage, and 1/50 as many of other files. */
static void harm_all(damage how, uint64_t step, uint64_t seed)
{
    for (int i = 0; i < DEV_FILES && !t_failed(); i++) {
        const bool stage = strcmp(dev.file[i].name, "stage.buf") == 0;
        const uint64_t bits = (uint64_t)dev.file[i].size * 8, by = stage ? step : step * 50;
        for (uint64_t bit = seed % by; bit < bits && !t_failed(); bit += by) {
            base_rng_seed(&rng, seed + bit);
            l2_dev_clone(&dev, &hurt, NULL);
            harm(&hurt.file[i], bit, how);
            try_hurt();
            if (t_failed()) {
                printf("# %s, %s at bit %" PRIu64 ", seed %" PRIu64 "\n", dev.file[i].name,
                       how_named[how], bit, seed);
            }
        }
    }
}

static const layout layouts[] = {
    { 16384, 1, 60, 12, false, L2_DROP }, { 16384, 2, 200, 10, false, L2_DROP },
    { 32768, 1, 0, 0, false, L2_DROP },   { 32768, 2, 120, 25, false, L2_DROP },
    { 16384, 1, 60, 12, true, L2_DROP },  { 32768, 1, 300, 30, true, L2_DROP },
};
#define LAYOUTS (sizeof layouts / sizeof layouts[0])

static void each_layout(damage how, uint64_t step)
{
    const uint64_t rounds = t_env_u64("OLD_LAYOUTS", 1);
    uint64_t all = 0, found = 0, had = 0, lost = 0;
    for (uint64_t n = 0; n < rounds * LAYOUTS && !t_failed(); n++) {
        const uint64_t seed = t_.seed + n;
        begin(&layouts[n % LAYOUTS], seed);
        harm_all(how, step, seed);
        if (t_failed()) { printf("# layout %u\n", (unsigned)(n % LAYOUTS)); }
        T_EQ_U64(refused, 0);
        all += opened;
        found += hits;
        had += whole * opened;
        lost += refused;
        end();
    }
    printf("# %s: %" PRIu64 " opened, %" PRIu64 " refused, %.2f %% of the stored values\n",
           how_named[how], all, lost, 100.0 * (double)found / (double)BASE_MAX(had, 1u));
}

static uint64_t stepped(uint64_t share) { return t_env_u64("OLD_STEP", 211) * share; }

T_CASE(any_bit_leaves_the_newest_value_or_a_miss) { each_layout(BIT, stepped(1)); }
T_CASE(any_byte_leaves_the_newest_value_or_a_miss) { each_layout(BYTE, stepped(3)); }
T_CASE(four_zeros_leave_the_newest_value_or_a_miss) { each_layout(ZEROS, stepped(5)); }
T_CASE(a_run_of_bytes_leaves_the_newest_value_or_a_miss) { each_layout(RUN, stepped(5)); }
T_CASE(a_lost_sector_leaves_the_newest_value_or_a_miss)
{
    each_layout(SECTOR, stepped(64));
}

/* ---- marks that are valid by chance ---- */

/* Flip each bit of the lengths in the heads of the open slot. Open the copies with
 * a valid mark in that head. Return their number. */
static uint64_t harm_lengths(uint64_t seed)
{
    uint64_t met = 0;
    for (int i = 0; i < DEV_FILES; i++) {
        if (strcmp(dev.file[i].name, "stage.buf") != 0) { continue; }
        const uint64_t base = slot_at;
        for (uint32_t off = L2_HEAD_BYTES; off < slot_pos && !t_failed(); off += 8) {
            unsigned char head[L2_RECORD_HEAD] BASE_ALIGNED(8);
            l2_rec was, r;
            memcpy(head, dev.file[i].live + base + off, sizeof head);
            if (!l2_rec_marked(&slot_form, head, slot_segseq, off, slot_pos, &was)) { continue; }
            for (uint32_t bit = 48; bit < 160; bit++) { /* klen, vlen, kind, ext */
                head[bit / 8] ^= (unsigned char)(1u << bit % 8);
                const bool chance =
                    l2_rec_marked(&slot_form, head, slot_segseq, off, slot_pos, &r) &&
                    r.bytes != was.bytes;
                head[bit / 8] ^= (unsigned char)(1u << bit % 8);
                if (!chance) { continue; }
                l2_dev_clone(&dev, &hurt, NULL);
                harm(&hurt.file[i], (base + off) * 8 + bit, BIT);
                try_hurt();
                met++;
                if (t_failed()) { printf("# seed %" PRIu64 ", offset %u\n", seed, (unsigned)off); }
            }
        }
    }
    return met;
}

T_CASE(a_damaged_length_with_a_valid_mark_leaves_no_old_value)
{
    uint64_t met = 0;
    for (uint64_t n = 0; n < 4000 && met < t_share(80) && !t_failed(); n++) {
        begin(&layouts[n % 2 == 0 ? 2 : 0], t_.seed + n);
        met += harm_lengths(t_.seed + n);
        end();
    }
    printf("# %" PRIu64 " damaged heads with a valid mark\n", met);
    T_CHECK(met > 0);
}

/* ---- a file of an earlier run instead of the newest one ---- */

#define LIVES 4u
static l2_dev past[LIVES]; /* the disk at the end of each run but the last */

static void end_life(bool closes)
{
    if (closes) {
        l2_close(kit.d);
        kit.d = NULL;
    } else {
        l2_kit_kill(&kit);
    }
}

/* Add a run: no change, a few changes, or enough to seal segments. */
static void one_more_life(uint32_t version, bool closes)
{
    static const uint32_t most[3] = { 1, 12, 200 };
    dev.locked = false;
    kit_for(&kit, &dev);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    while (l2_tick(kit.d, 1000)) {}
    const uint32_t changes = (uint32_t)base_rng_below(&rng, most[base_rng_below(&rng, 3)]);
    for (uint32_t i = 0; i < changes; i++) {
        (void)change(version + i);
        if (changes > 12) { while (l2_tick(kit.d, 1000)) {} }
    }
    end_life(closes);
}

static void put_back(const char *name, const l2_dev *from)
{
    for (int i = 0; i < DEV_FILES; i++) {
        if (strcmp(hurt.file[i].name, name) != 0) { continue; }
        T_REQUIRE(from->file[i].size == hurt.file[i].size);
        memcpy(hurt.file[i].live, from->file[i].live, hurt.file[i].size);
    }
}

static void earlier_lives(const layout *as, const char *name, uint64_t seed)
{
    build(as, seed);
    l2_dev_init(&hurt);
    hurt.flat = true;
    for (uint32_t life = 0; life < LIVES; life++) {
        l2_dev_init(&past[life]);
        l2_dev_clone(&dev, &past[life], NULL);
        one_more_life(100 + life * 1000, base_rng_below(&rng, 2) == 0);
    }
    for (uint32_t life = 0; life < LIVES && !t_failed(); life++) {
        for (int other_boot = 0; other_boot < 2; other_boot++) {
            l2_dev_clone(&dev, &hurt, NULL);
            put_back(name, &past[life]);
            hurt.boot[15] = (unsigned char)(hurt.boot[15] + other_boot);
            try_hurt();
            if (t_failed()) {
                printf("# %s of run %u, seed %" PRIu64 "\n", name, life, seed);
            }
        }
    }
    for (uint32_t life = 0; life < LIVES; life++) { l2_dev_fini(&past[life]); }
    end();
}

static void a_file_of_an_earlier_life(const char *name)
{
    const uint64_t rounds = t_env_u64("OLD_FILES", 60);
    opened = 0;
    for (uint64_t n = 0; n < rounds && !t_failed(); n++) {
        layout as = layouts[n % LAYOUTS];
        as.level = n / LAYOUTS % 2 != 0 ? L2_KEEP : L2_DROP;
        earlier_lives(&as, name, t_.seed + n);
    }
    T_EQ_U64(refused, 0);
}

T_CASE(a_stage_of_an_earlier_run_serves_no_old_value)
{
    a_file_of_an_earlier_life("stage.buf");
}

T_CASE(a_data_file_of_an_earlier_run_serves_no_old_value)
{
    a_file_of_an_earlier_life("data.seg");
}

/* ---- SUPER ---- */

/* At level DROP the older copy of SUPER says CLEAN, the newer one DIRTY. After a power cut the
 * stage has no deletes since the sync. */
T_CASE(a_damaged_newer_SUPER_does_not_make_the_store_clean)
{
    shape = layouts[0];
    l2_dev_init(&dev);
    l2_dev_init(&past[0]);
    kit_for(&kit, &dev);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    for (uint32_t key = 0; key < KEYS / 4; key++) { put(key, 1); }
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    l2_dev_clone(&dev, &past[0], NULL);
    for (uint32_t key = 0; key < KEYS; key++) {
        l2_kit_del(&kit, key);
        now[key] = 0;
    }
    l2_kit_kill(&kit);
    l2_dev_init(&hurt);
    hurt.flat = true;
    const unsigned char *super = l2_dev_find(&dev, "SUPER")->live;
    const uint64_t newer = l2_r64(super + L2_PAGE + 104) > l2_r64(super + 104);
    for (uint64_t bit = t_.seed % 5; bit < L2_PAGE * 8 && !t_failed(); bit += bit < 3000 ? 5 : 41) {
        l2_dev_clone(&dev, &hurt, NULL);
        put_back("stage.buf", &past[0]);
        hurt.boot[15]++;
        l2_dev_find(&hurt, "SUPER")->live[newer * L2_PAGE + bit / 8] ^=
            (unsigned char)(1u << (bit % 8));
        try_hurt();
        if (t_failed()) { printf("# bit %" PRIu64 "\n", bit); }
    }
    T_EQ_U64(refused, 0);
    l2_dev_fini(&past[0]);
    end();
}

T_ONE_THREAD;
T_MAIN("l2_old_values")
