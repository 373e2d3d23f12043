/* SPDX-License-Identifier: MIT
 *
 * Aim:    after any damage of the files each key has its newest value or is a miss. No older value,
 *         no value that a delete, tag, pattern or clear ended, no bytes of another key, no crash.
 * Method: a small store with a history of two runs (overwritten, deleted and ended keys, places
 *         used again), once closed, once killed. Its files are damaged in one way at a time and
 *         opened. Opens of a damaged store are also interrupted, then repeated; some copies go on,
 *         and die again. DAMAGE_STEP=1: every bit (default: every 2,003rd, with a sanitizer every
 *         8,009th), DAMAGE_MUTANTS=n: more mixtures.
 * LIMITS  After a kill nothing shows the loss of the last records, or of the last segment. Here
 *         the last two records are of keys of their own, one as long as two pages.
 * SEE ALSO test_log_disk: each page lost. */
#include "tests/support/log_kit.h"

#define SEGMENT ((size_t)65536)
#define PAGE ((size_t)4096)
#define ENDED 12u /* keys 0.. of the namespace: by tag, by pattern, in turn */
#define TAG UINT64_C(77)
#define OTHER_OLD 40u /* generations of the other namespace */
#define OTHER_NEW 41u

static l2_dev hurt;
static l2_dev former; /* the same store, at the end of the first run */
static uint32_t newest[KEYS]; /* version; 0: none */
static uint64_t opened, refused, hits;
static uint64_t last_place; /* of the last segment */
static uint32_t whole; /* keys that have a value */
static base_rng rng;

/* ---- the store ---- */

static l2_key key_in(const uint32_t *i, uint32_t in)
{
    return (l2_key){ i, sizeof *i, in, base_hash(l2_hash_key(d), in, i, sizeof *i) };
}

static void put_in(uint32_t i, uint32_t in, size_t bytes, uint64_t tag_born)
{
    unsigned char buf[3 * PAGE] = { 1 };
    const uint64_t tag = TAG;
    const l2_key k = key_in(&i, in);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = 1, .durable = true,
                        .tag_count = 1, .tag_born = tag_born, .tag_fps = &tag };
    T_EQ_I64(l2_put(d, &k, buf, bytes, &m, NULL), CELLAR_OK);
}

static void some_changes(uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        const uint32_t i = ENDED + (uint32_t)base_rng_below(&rng, KEYS - ENDED);
        change_key(i, base_rng_below(&rng, 5) == 0, base_rng_below(&rng, 2) == 0);
        (void)l2_tick(d, 0);
    }
}

/* Put entries of three kinds, then end them by a tag, a pattern and a clear. */
static void put_and_end(void)
{
    uint64_t floor = 0, walk = 0;
    const uint64_t epoch = l2_tags_known(d, &floor, l2_dev_no_tag, NULL);
    l2_namespace ns = { .id = 2, .generation = OTHER_OLD };
    T_EQ_I64(l2_namespace_set(d, &ns, "other", 5, NULL), CELLAR_OK);
    for (uint32_t i = 0; i < ENDED; i++) {
        put_in(i, OTHER_OLD, 100, epoch);
        put_in(i, generation_now, 100, i % 2 == 0 ? epoch : UINT64_MAX);
    }
    some_changes(40);
    l2_tag_invalidate(d, TAG, epoch + 1, false);
    T_EQ_I64(l2_glob_begin(d, generation_now, "[\1\3\5\7\011\013]*", 9, &walk), CELLAR_OK);
    l2_glob_end(d, walk);
    ns.generation = OTHER_NEW;
    T_EQ_I64(l2_namespace_set(d, &ns, "other", 5, NULL), CELLAR_OK);
    some_changes(40);
}

static void end_run(bool closes)
{
    if (closes) {
        l2_close(d);
    } else {
        l2_discard(d);
    }
}

/* Build the store. closed: by a close; else by a process death. */
static void build(bool closed, l2_level level)
{
    base_rng_seed(&rng, t_seed());
    begin(level);
    l2_dev_init(&dev);
    l2_dev_init(&hurt);
    l2_dev_init(&former);
    dev.flat = hurt.flat = true;
    open_on(&dev);
    some_changes(3000);
    end_run(base_rng_below(&rng, 2) == 0);
    l2_dev_clone(&dev, &former, NULL);
    open_on(&dev);
    some_changes((uint32_t)base_rng_below(&rng, 400));
    put_and_end();
    whole = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        T_EQ_U64(look(i), last[i]);
        newest[i] = last[i];
        whole += newest[i] != 0;
    }
    put_in(1000, generation_now, 2 * PAGE, UINT64_MAX);
    put_in(1001, generation_now, 100, UINT64_MAX);
    last_place = base_load_rlx(&d->tail) / SEGMENT % 12;
    end_run(closed);
    opened = refused = hits = 0;
}

static void end(const char *what)
{
    printf("# %s: %" PRIu64 " opened, %" PRIu64 " refused, %.1f %% of the stored values\n", what,
           opened, refused, 100.0 * (double)hits / (double)(whole * BASE_MAX(opened, 1u)));
    l2_dev_fini(&dev);
    l2_dev_fini(&hurt);
    l2_dev_fini(&former);
}

/* ---- damaged copies ---- */

/* Return the version that is served; 0: a miss. Each byte of a value tells key and version. */
static uint32_t served(uint32_t i, uint32_t in)
{
    unsigned char buf[BYTES], want[BYTES];
    const l2_key k = key_in(&i, in);
    size_t n = 0;
    l2_meta m;
    d->health.damaged = 0; /* keep the tier on, however many records are damaged */
    if (l2_get(d, &k, buf, sizeof buf, &n, &m) != CELLAR_OK) { return 0; }
    memset(want, (int)(i + m.user_flags), sizeof want);
    return n == bytes_of(i, m.user_flags) && memcmp(buf, want, n) == 0 ? m.user_flags : UINT32_MAX;
}

static void look_at_all(void)
{
    l2_namespace ns = { .id = 0 };
    const bool old = l2_namespace_find(d, "other", 5, &ns) && ns.generation == OTHER_OLD;
    for (uint32_t i = 0; i < ENDED; i++) { T_CHECK(!old || served(i, OTHER_OLD) == 0); }
    /* a cache draws another generation if the control of a namespace is lost */
    if (!l2_namespace_find(d, "all", 3, &ns) || ns.generation != GENERATION) { return; }
    for (uint32_t i = 0; i < KEYS; i++) {
        const uint32_t got = served(i, GENERATION);
        if (!T_CHECK(got == 0 || got == newest[i])) {
            printf("# key %u: version %u, newest %u\n", i, got, newest[i]);
        }
        hits += got != 0;
    }
}

/* Open the damaged disk. Return false if the open is refused. */
static bool open_hurt(void)
{
    const cellar_err err = open_may_fail(&hurt);
    if (err != CELLAR_OK) {
        T_CHECK(err == CELLAR_E_CORRUPT || err == CELLAR_E_FOREIGN || err == CELLAR_E_NEWER_FORMAT);
        return false;
    }
    for (int i = 0; i < 20 && l2_tick(d, 1000); i++) {}
    return true;
}

/* Look at the damaged disk. Each 16th copy goes on: keys are deleted there, and it dies. */
static void try_hurt(void)
{
    uint32_t was[KEYS];
    if (!open_hurt()) {
        refused++;
        return;
    }
    look_at_all();
    if (opened++ % 16 == 0) {
        const uint64_t seen = hits;
        memcpy(was, newest, sizeof was);
        for (uint32_t i = 0; i < KEYS; i += 3) {
            const l2_key k = key_in(&i, GENERATION);
            l2_invalidate(d, &k);
            newest[i] = 0;
        }
        l2_discard(d);
        T_REQUIRE(open_hurt());
        look_at_all();
        memcpy(newest, was, sizeof was);
        hits = seen;
    }
    l2_discard(d);
}

/* Let a call of an open fail, then kill the process. */
static void open_hurt_fails(uint64_t nth)
{
    hurt.fail_site = -1;
    hurt.fail_errno = EIO;
    hurt.fail_at = nth;
    hurt.fail_sticky = true;
    if (open_may_fail(&hurt) == CELLAR_OK) { l2_discard(d); }
    hurt.fail_at = 0;
}

/* ---- damage at one place ---- */

typedef enum damage { BIT, BYTE, ZEROS, RUN, SECTOR } damage;

static const char *const how_named[] = { "bits", "bytes", "four zeros", "runs", "sectors" };

/* Damage a file at a bit. */
static void harm(l2_dev_file *f, uint64_t bit, damage how)
{
    const size_t at = (size_t)(bit / 8);
    const size_t unit = how == SECTOR ? 512 : how == ZEROS ? 4 : 1;
    unsigned char *to = f->live + at / unit * unit;
    size_t n = how == RUN ? 1 + (size_t)base_rng_below(&rng, 100) : unit;
    /* Without a copy of SUPER an open is refused: a run reaches into one of them. */
    n = BASE_MIN(n, PAGE - (size_t)(to - f->live) % PAGE);
    n = BASE_MIN(n, (size_t)(f->live + f->size - to));
    switch (how) {
    case BIT: *to ^= (unsigned char)(1u << bit % 8); break;
    case BYTE: *to ^= (unsigned char)(1 + base_rng_below(&rng, 255)); break;
    case ZEROS: memset(to, 0, n); break;
    default: memset(to, base_rng_below(&rng, 2) == 0 ? 255 : 0, n); break;
    }
}

/* Damage every n-th bit of a file. */
static void harm_file(int file, damage how, uint64_t step)
{
    const uint64_t bits = (uint64_t)dev.file[file].size * 8;
    for (uint64_t bit = t_seed() % step; bit < bits && !t_failed(); bit += step) {
        base_rng_seed(&rng, t_seed() + bit);
        l2_dev_clone(&dev, &hurt, NULL);
        harm(&hurt.file[file], bit, how);
        try_hurt();
        if (t_failed()) {
            printf("# %s, %s at bit %" PRIu64 "\n", dev.file[file].name, how_named[how], bit);
        }
    }
}

static void harm_all(bool closed, damage how, uint64_t share)
{
    const uint64_t step = t_env_u64("DAMAGE_STEP", T_COST > 1 ? 8009 : 2003) * share;
    build(closed, L2_DROP);
    for (int i = 0; i < DEV_FILES; i++) {
        const bool small = dev.file[i].size < 4 * PAGE;
        harm_file(i, how, small ? 1 + step / 50 : step);
    }
    T_EQ_U64(refused, 0);
    T_CHECK((double)hits > (closed ? 0.95 : 0.8) * (double)(whole * opened));
    end(how_named[how]);
}

T_CASE(any_bit_of_a_closed_store_restores_no_old_value) { harm_all(true, BIT, 1); }
T_CASE(any_bit_of_a_killed_store_restores_no_old_value) { harm_all(false, BIT, 1); }

static void harm_both(damage how, uint64_t share)
{
    harm_all(true, how, share);
    harm_all(false, how, share);
}

T_CASE(any_byte_leaves_the_newest_value_or_a_miss) { harm_both(BYTE, 3); }
T_CASE(four_zeros_leave_the_newest_value_or_a_miss) { harm_both(ZEROS, 3); }
T_CASE(a_run_of_bytes_leaves_the_newest_value_or_a_miss) { harm_both(RUN, 3); }
T_CASE(a_lost_sector_leaves_the_newest_value_or_a_miss) { harm_both(SECTOR, 3); }

/* ---- mixtures ---- */

static char story[160]; /* the last mutant */

static l2_dev_file *any_file(l2_dev *v)
{
    for (;;) {
        l2_dev_file *f = &v->file[base_rng_below(&rng, DEV_FILES)];
        if (f->name[0] != '\0' && f->size > 0) { return f; }
    }
}

/* Put a segment of the first run to a place, but not to that of the last one. */
static void segment_back(void)
{
    l2_dev_file *data = l2_dev_find(&hurt, "data.seg");
    const l2_dev_file *old = l2_dev_find(&former, "data.seg");
    const uint64_t to = (last_place + 1 + base_rng_below(&rng, 11)) % 12;
    memcpy(data->live + SEGMENT * to, old->live + SEGMENT * base_rng_below(&rng, 12), SEGMENT);
}

static void mutate(void)
{
    l2_dev_file *f = any_file(&hurt), *g = any_file(&hurt);
    const uint64_t way = base_rng_below(&rng, 7);
    const size_t unit = base_rng_below(&rng, 2) == 0 ? 512 : PAGE;
    const size_t a = (size_t)base_rng_below(&rng, f->size);
    const size_t b = (size_t)base_rng_below(&rng, g->size);
    const size_t n = BASE_MIN(unit, BASE_MIN(f->size - a / unit * unit, g->size - b / unit * unit));
    const size_t m = (size_t)base_rng_below(&rng, 2000);
    unsigned char block[4096];
    snprintf(story, sizeof story, "way %d, %s at %zu, %s at %zu, by %zu", (int)way, f->name,
             a, g->name, b, unit);
    switch (way) {
    case 0:
    case 1: /* 2..64 bits anywhere */
        for (uint64_t i = 2 + base_rng_below(&rng, 62); i > 0; i--) {
            f = any_file(&hurt);
            harm(f, base_rng_below(&rng, f->size * 8), BIT);
        }
        break;
    case 2: f->size = a; break; /* truncated */
    case 3:                     /* two blocks swapped */
        memcpy(block, f->live + a / unit * unit, n);
        memcpy(f->live + a / unit * unit, g->live + b / unit * unit, n);
        memcpy(g->live + b / unit * unit, block, n);
        break;
    case 4: memset(f->live + a / unit * unit, base_rng_below(&rng, 2) ? 0 : 255, n); break;
    case 5: segment_back(); break;
    default: /* bytes copied to another position */
        if (a + m <= f->size && b + m <= g->size) { memmove(f->live + a, g->live + b, m); }
        break;
    }
}

static void mixtures(bool closed)
{
    build(closed, L2_DROP);
    const uint64_t most = t_env_u64("DAMAGE_MUTANTS", t_share(3000));
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        base_rng_seed(&rng, t_seed() + i);
        l2_dev_clone(&dev, &hurt, NULL);
        mutate();
        if (base_rng_below(&rng, 2) != 0) { open_hurt_fails(1 + base_rng_below(&rng, 80)); }
        try_hurt();
        if (t_failed()) { printf("# mutant %" PRIu64 ": %s\n", i, story); }
    }
    end(closed ? "mixtures, closed" : "mixtures, killed");
}

T_CASE(mixtures_in_a_closed_store_restore_no_old_value) { mixtures(true); }
T_CASE(mixtures_in_a_killed_store_restore_no_old_value) { mixtures(false); }

/* ---- a file of an earlier run ---- */

static void a_file_of_an_earlier_run(const char *name)
{
    for (int n = 0; n < 6 && !t_failed(); n++) {
        build(n % 2 == 0, (l2_level)(n / 2));
        for (unsigned char other_boot = 0; other_boot < 2; other_boot++) {
            l2_dev_clone(&dev, &hurt, NULL);
            l2_dev_file *to = l2_dev_find(&hurt, name);
            const l2_dev_file *from = l2_dev_find(&former, name);
            memcpy(to->live, from->live, from->size);
            hurt.boot[15] = (unsigned char)(hurt.boot[15] + other_boot);
            try_hurt();
            if (t_failed()) { printf("# run %d, other boot %d\n", n, other_boot); }
        }
        T_EQ_U64(refused, 0);
        end(name);
    }
}

T_CASE(a_data_file_of_an_earlier_run_serves_no_old_value) { a_file_of_an_earlier_run("data.seg"); }
T_CASE(a_SUPER_of_an_earlier_run_serves_no_old_value) { a_file_of_an_earlier_run("SUPER"); }

/* ---- power cuts without periodic syncs ---- */

/* SUPER names the state of a sync, and a page behind it says that this state is over. After a
 * power cut the log may have no delete since. */
T_CASE(a_damaged_SUPER_does_not_bring_the_state_of_a_sync_back)
{
    build(true, L2_DROP);
    dev.flat = false;
    open_on(&dev);
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    for (uint32_t i = 0; i < KEYS; i++) {
        end_one(i);
        newest[i] = 0;
    }
    l2_discard(d);
    const uint64_t bits = (uint64_t)l2_dev_find(&dev, "SUPER")->size * 8;
    for (uint64_t bit = t_seed() % 5; bit < bits && !t_failed(); bit += bit % 32768 < 3000 ? 5 : 97) {
        base_rng_seed(&rng, t_seed() + bit);
        l2_dev_clone(&dev, &hurt, &rng);
        harm(l2_dev_find(&hurt, "SUPER"), bit, BIT);
        try_hurt();
        if (t_failed()) { printf("# bit %" PRIu64 "\n", bit); }
    }
    T_EQ_U64(refused, 0);
    end("SUPER");
}

T_ONE_THREAD;
T_MAIN("l2_damage")
