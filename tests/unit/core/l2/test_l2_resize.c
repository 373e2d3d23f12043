/* SPDX-License-Identifier: MIT
 *
 * Aim:    a store that grows and shrinks while open keeps the newest records that fit and serves
 *         nothing old. It stays valid after a crash or a failed call at any step. Another l2_bytes
 *         at open has the same effect. Addresses reach 4 TiB.
 * Method: small stores on an in-memory disk, opened after a process death or a power cut before
 *         each call; threads on real files; a sparse disk of 4 TiB. */
#include "tests/support/folder.h"
#include "tests/support/l2_kit.h"

#include <pthread.h>
#include <unistd.h>

#define KEYS 1200u
#define GENERATION L2_KIT_GENERATION

static l2_dev dev, cut;
static l2_kit kit, after;
static uint32_t now[KEYS];     /* version of each key; 0: deleted or never stored */
static bool must[KEYS];        /* in the current case: served before and after */

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void begin(l2_level level, uint32_t places)
{
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = places;
    kit.cfg.level = level;
    kit.cfg.memory_bytes = 4 << 20;
    kit.cfg.avg_object_bytes = 100;
    memset(now, 0, sizeof now);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

static void end(void)
{
    l2_kit_end(&kit, &dev);
    l2_dev_fini(&cut);
}

static void work(void)
{
    while (l2_tick(kit.d, 1000)) {}
}

/* Store key after key; delete some and change some. */
static void fill(uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        now[i] = 1 + i % 3;
        T_EQ_I64(l2_kit_put(&kit, i, now[i], GENERATION), CELLAR_OK);
        if (i % 7 == 3) {
            const uint32_t other = i - 3;
            l2_kit_del(&kit, other);
            now[other] = 0;
        }
        work();
    }
}

static uint32_t served(l2_kit *k)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        const uint32_t got = l2_kit_look(k, i, GENERATION);
        T_CHECK(got == 0 || got == now[i]);
        n += got != 0;
    }
    return n;
}

static uint64_t data_bytes(void) { return l2_dev_find(&dev, "data.seg")->size; }

T_CASE(a_resize_keeps_the_newest_records_that_fit)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        begin((l2_level)level, 12);
        fill(0, 700);
        /* of the same history in a store that was never larger */
        const uint32_t fits = served(&kit);
        end();
        begin((l2_level)level, 30);
        fill(0, 700);
        T_CHECK(l2_kit_figures(&kit).segments_live > 14);
        T_EQ_I64(l2_resize_to(kit.d, 12, 1), CELLAR_OK);
        T_EQ_STR(l2_audit(kit.d), NULL);
        T_EQ_U64(data_bytes(), 12 * 16384);
        T_EQ_U64(l2_kit_figures(&kit).file_bytes, 14 * 16384 + 2 * L2_PAGE);
        const uint32_t left = served(&kit);
        printf("# level %d: %u kept, %u fit\n", level, left, fits);
        T_CHECK((uint64_t)left * 100 >= (uint64_t)fits * 95);
        bool gap = false;
        /* oldest first: no missing key follows a present one */
        for (uint32_t i = 0; i < 700; i++) {
            const bool here = l2_kit_look(&kit, i, GENERATION) != 0;
            if (now[i] != 0 && gap) { T_CHECK(here); }
            gap = gap || here;
        }
        fill(700, 800); /* it works on within its size */
        T_EQ_U64(data_bytes(), 12 * 16384);
        const uint32_t before = served(&kit);
        T_EQ_I64(l2_resize_to(kit.d, 40, 2), CELLAR_OK);
        T_EQ_U64(data_bytes(), 40 * 16384);
        T_EQ_U64(served(&kit), before);
        fill(800, 900);
        T_CHECK(served(&kit) >= before + 100 * 5 / 7);
        const uint32_t last = served(&kit);
        l2_kit_killed(&kit, &dev);
        T_EQ_U64(served(&kit), last);
        T_EQ_U64(l2_kit_figures(&kit).holes, 0);
        T_EQ_U64(kit.d->super.nseg, 40);
        end();
    }
}

/* The reserve of free places follows the new size, not the old one. */
T_CASE(a_resize_to_few_places_keeps_the_newest_records)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        for (uint32_t to = 5; to < 10; to++) {
            begin((l2_level)level, to);
            fill(0, 700);
            const uint32_t fits = served(&kit);
            end();
            begin((l2_level)level, 30);
            fill(0, 700);
            T_EQ_I64(l2_resize_to(kit.d, to, 1), CELLAR_OK);
            const uint32_t left = served(&kit);
            printf("# level %d, %u places: %u kept, %u fit\n", level, to, left, fits);
            T_CHECK((uint64_t)left * 100 >= (uint64_t)fits * 95);
            end();
        }
    }
}

/* ---- crashes ---- */

static uint64_t cuts, cut_hits;
static base_rng rng;
static bool judged_as_power;

static void cut_here(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < 2; i++) {
        const bool power = judged_as_power && i == 1;
        l2_dev_look(&dev);
        l2_dev_clone(&dev, &cut, power ? &rng : NULL);
        l2_kit_init(&after, &cut);
        after.cfg.seg_count = kit.cfg.seg_count;
        after.cfg.level = kit.cfg.level;
        after.cfg.memory_bytes = kit.cfg.memory_bytes;
        after.cfg.avg_object_bytes = kit.cfg.avg_object_bytes;
        cuts++;
        if (!T_EQ_I64(l2_kit_open(&after), CELLAR_OK)) { continue; }
        l2_kit_warm(&after);
        const uint64_t reclaimed = l2_kit_figures(&after).reclaimed;
        for (uint32_t k = 0; k < KEYS; k++) {
            const uint32_t got = l2_kit_look(&after, k, GENERATION);
            T_CHECK(got == 0 || got == now[k]);
            cut_hits += got != 0;
            if (must[k] && reclaimed == 0 && !T_EQ_U64(got, now[k])) { break; }
        }
        T_EQ_STR(l2_audit(after.d), NULL);
        l2_kit_kill(&after);
    }
}

T_ALONE(a_resize_interrupted_anywhere_leaves_a_valid_store)
{
    base_rng_seed(&rng, t_.seed);
    for (int level = L2_DROP; level <= L2_KEEP; level++) {
        begin((l2_level)level, 30);
        fill(0, 1000);
        T_EQ_I64(l2_resize_to(kit.d, 25, 1), CELLAR_OK); /* places in another order */
        T_EQ_I64(l2_resize_to(kit.d, 33, 1), CELLAR_OK);
        fill(1000, 1100);
        T_EQ_I64(level == L2_KEEP ? l2_commit(kit.d) : CELLAR_OK, CELLAR_OK);
        work();
        judged_as_power = level == L2_KEEP;
        if (level == L2_KEEP) { T_EQ_I64(l2_sync(kit.d), CELLAR_OK); }
        /* The keys that are left at the end were served all the time. */
        l2_dev_clone(&dev, &cut, NULL);
        l2_kit_init(&after, &cut);
        after.cfg = kit.cfg;
        after.cfg.vfs = &after.vfs;
        after.cfg.clock = &after.clock;
        after.cfg.log = &after.log;
        after.cfg.wall_ctx = &after;
        T_REQUIRE(l2_kit_open(&after) == CELLAR_OK);
        l2_kit_warm(&after);
        T_EQ_I64(l2_resize_to(after.d, 13, 1), CELLAR_OK);
        for (uint32_t i = 0; i < KEYS; i++) { must[i] = l2_kit_look(&after, i, GENERATION) != 0; }
        l2_kit_kill(&after);
        dev.hook = cut_here;
        T_EQ_I64(l2_resize_to(kit.d, 14, 1), CELLAR_OK);
        T_EQ_I64(l2_resize_to(kit.d, 20, 1), CELLAR_OK);
        dev.hook = NULL;
        cut_here(NULL);
        end();
    }
    printf("# %" PRIu64 " cuts, %" PRIu64 " hits\n", cuts, cut_hits);
    T_CHECK(cuts > 60 && cut_hits > cuts * 200);
}

/* ---- each call fails ---- */

T_ALONE(a_resize_with_any_failing_call_leaves_a_valid_store)
{
    static const int sites[] = { DEV_PREALLOCATE, DEV_PREAD, DEV_PWRITE, DEV_DATASYNC,
                                 DEV_TRUNCATE };
    uint64_t failed = 0;
    for (size_t s = 0; s < sizeof sites / sizeof sites[0]; s++) {
        for (int way = 0; way < 2; way++) {
            for (uint32_t n = 1; n < 60; n++) {
                begin(L2_DROP, 20);
                fill(0, 250); /* so few that nothing is dropped: all segments move */
                dev.fail_site = sites[s];
                dev.fail_errno = n % 2 == 0 ? EIO : ENOSPC;
                dev.fail_at = n;
                const uint32_t to = way == 0 ? 12 : 26;
                const cellar_err err = l2_resize_to(kit.d, to, 1);
                const bool met = dev.fail_at == 0;
                dev.fail_at = 0;
                failed += err != CELLAR_OK;
                T_CHECK(err == CELLAR_OK || err == CELLAR_E_IO || err == CELLAR_E_SPACE);
                T_EQ_STR(l2_audit(kit.d), NULL);
                (void)served(&kit);
                T_EQ_I64(l2_resize_to(kit.d, to, 1), CELLAR_OK);
                T_EQ_U64(data_bytes(), (uint64_t)to * 16384);
                l2_kit_killed(&kit, &dev);
                (void)served(&kit);
                end();
                if (!met) { break; }
            }
        }
    }
    printf("# %" PRIu64 " resizes failed\n", failed);
    T_CHECK(failed >= 5);
}

/* The bytes of a failed sync are stored again before anything else, which needs a buffer. */
T_CASE(a_resize_without_memory_to_repeat_a_sync_is_refused)
{
    for (int i = 0; i < 2; i++) {
        begin(L2_DROP, 20);
        fill(0, 250);
        dev.fail_site = DEV_DATASYNC;
        dev.fail_errno = EIO;
        dev.fail_at = 1;
        T_EQ_I64(l2_sync(kit.d), CELLAR_E_IO);
        T_EQ_U64(base_load_rlx(&kit.d->resync), 1);
        (void)base_fault_alloc_arm(1, true);
        T_EQ_I64(l2_resize_to(kit.d, i == 0 ? 26 : 12, 1), CELLAR_E_NOMEM);
        (void)base_fault_alloc_arm(0, false);
        T_EQ_I64(l2_resize_to(kit.d, 12, 1), CELLAR_OK);
        T_EQ_STR(l2_audit(kit.d), NULL);
        T_CHECK(served(&kit) > 0);
        end();
    }
}

T_ALONE(impossible_sizes_are_refused)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.bytes = L2_BYTES_MIN;
    kit.cfg.memory_bytes = 64 << 20;
    kit.cfg.seg_count = kit.cfg.stage_count = kit.cfg.seg_bytes = 0;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const uint64_t places = kit.d->places;
    T_EQ_I64(l2_resize(kit.d, L2_BYTES_MIN - 1), CELLAR_E_INVAL);
    T_EQ_I64(l2_resize(kit.d, (uint64_t)1 << 60), CELLAR_E_RANGE);
    T_EQ_I64(l2_resize(kit.d, L2_BYTES_MIN * 4096), CELLAR_E_RANGE); /* tables of the open */
    T_EQ_U64(kit.d->places, places);
    dev.fail_site = DEV_PREALLOCATE;
    dev.fail_errno = ENOSPC;
    dev.fail_at = 1;
    T_EQ_I64(l2_resize(kit.d, L2_BYTES_MIN * 2), CELLAR_E_SPACE);
    T_EQ_U64(kit.d->places, places);
    T_EQ_I64(l2_resize(kit.d, L2_BYTES_MIN * 2), CELLAR_OK);
    T_CHECK(l2_kit_figures(&kit).file_bytes >= L2_BYTES_MIN * 2 - (3 << 20));
    T_CHECK(l2_kit_figures(&kit).file_bytes <= L2_BYTES_MIN * 2);
    const l2_key id = l2_kit_key(&kit, "k", 1, GENERATION);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    T_EQ_I64(l2_put(kit.d, &id, "v", 1, &m, NULL), CELLAR_OK);
    l2_close(kit.d);
    kit.cfg.bytes = L2_BYTES_MIN * 3 / 2; /* another size at the next open: resized after it */
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    work();
    T_CHECK(l2_kit_figures(&kit).file_bytes <= L2_BYTES_MIN * 3 / 2);
    T_CHECK(l2_kit_figures(&kit).file_bytes >= L2_BYTES_MIN * 3 / 2 - (2 << 20));
    char v[4];
    size_t len;
    l2_meta out;
    const l2_key again = l2_kit_key(&kit, "k", 1, GENERATION);
    T_EQ_I64(l2_get(kit.d, &again, v, sizeof v, &len, &out), CELLAR_OK);
    l2_close(kit.d);
    kit.d = NULL;
    l2_dev_fini(&dev);
}

/* ---- under load, on real files ---- */

#define READERS 3u
static _Atomic uint32_t over;
static _Atomic uint64_t found;

static void *reads(void *arg)
{
    uint64_t x = *(const uint32_t *)arg + 1;
    while (atomic_load(&over) == 0) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint32_t key = (uint32_t)(x >> 33) % KEYS;
        const uint32_t got = l2_kit_look(&kit, key, GENERATION);
        T_CHECK(got == 0 || got == 1 + key % 3);
        if (got != 0) { (void)atomic_fetch_add(&found, 1); }
        if ((x >> 60) == 0) {
            l2_kit_del(&kit, key);
            (void)l2_kit_put(&kit, key, 1 + key % 3, GENERATION);
        }
    }
    return NULL;
}

T_CASE(readers_and_writers_continue_during_a_resize)
{
    char folder[T_FOLDER_MAX];
    t_folder(folder);
    l2_kit_init(&kit, NULL);
    kit.cfg.path = folder;
    kit.cfg.seg_bytes = 16384;
    kit.cfg.seg_count = 40;
    kit.cfg.stage_count = 4;
    kit.cfg.no_thread = false;
    kit.cfg.avg_object_bytes = 100;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    for (uint32_t i = 0; i < KEYS; i++) { (void)l2_kit_put(&kit, i, 1 + i % 3, GENERATION); }
    pthread_t t[READERS];
    uint32_t id[READERS];
    atomic_store(&over, 0);
    for (uint32_t i = 0; i < READERS; i++) {
        id[i] = i;
        T_REQUIRE(pthread_create(&t[i], NULL, reads, &id[i]) == 0);
    }
    while (atomic_load(&found) < 100 && !t_failed()) { usleep(1000); } /* all readers are active */
    for (uint32_t n = 0; n < 12; n++) {
        T_EQ_I64(l2_resize_to(kit.d, n % 2 == 0 ? 16 + n : 60, n), CELLAR_OK);
    }
    atomic_store(&over, 1);
    for (uint32_t i = 0; i < READERS; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
    T_EQ_U64(l2_kit_figures(&kit).io_errors, 0); /* a file cut during a read is no error */
    T_EQ_STR(l2_audit(kit.d), NULL);
    l2_close(kit.d);
    kit.d = NULL;
    t_wipe(folder);
}

/* ---- 4 TiB, mostly sparse ---- */

#define BIG_PAGES 65536u
static struct {
    uint64_t number[BIG_PAGES]; /* page number + 1; 0: free */
    unsigned char *bytes[BIG_PAGES];
    uint64_t size;
} big;

static unsigned char **big_page(uint64_t number, bool make)
{
    size_t i = (size_t)(base_mix64(number) % BIG_PAGES);
    for (size_t n = 0; n < BIG_PAGES; n++, i = (i + 1) % BIG_PAGES) {
        if (big.number[i] == number + 1) { return &big.bytes[i]; }
        if (big.number[i] == 0 && !make) { return NULL; }
        if (big.number[i] == 0) {
            big.number[i] = number + 1;
            big.bytes[i] = calloc(1, 4096);
            T_REQUIRE(big.bytes[i] != NULL);
            return &big.bytes[i];
        }
    }
    T_REQUIRE(false);
    return NULL;
}

static bool is_big(base_vfs_file *f)
{
    return strcmp(((l2_dev_file *)(void *)f)->name, "data.seg") == 0;
}

static int big_pread(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t off, size_t *done)
{
    if (!is_big(f)) { return l2_dev_pread(ctx, f, buf, n, off, done); }
    *done = off < big.size ? (size_t)BASE_MIN((uint64_t)n, big.size - off) : 0;
    for (size_t at = 0; at < *done;) {
        const size_t into = (size_t)((off + at) % 4096), part = BASE_MIN(4096 - into, *done - at);
        unsigned char **page = big_page((off + at) / 4096, false);
        if (page != NULL) {
            memcpy((unsigned char *)buf + at, *page + into, part);
        } else {
            memset((unsigned char *)buf + at, 0, part);
        }
        at += part;
    }
    return 0;
}

static void big_ahead(void *ctx, base_vfs_file *f, uint64_t off, uint64_t bytes)
{
    if (!is_big(f)) { l2_dev_ahead(ctx, f, off, bytes); }
    T_CHECK(!is_big(f) || off + bytes <= big.size);
}

static int big_pwrite(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t off,
                      size_t *done)
{
    static const unsigned char zeros[4096];
    if (!is_big(f)) { return l2_dev_pwrite(ctx, f, buf, n, off, done); }
    T_CHECK(off + n <= big.size);
    for (size_t at = 0; at < n;) {
        const size_t into = (size_t)((off + at) % 4096), part = BASE_MIN(4096 - into, n - at);
        const unsigned char *from = (const unsigned char *)buf + at;
        unsigned char **page = big_page((off + at) / 4096, memcmp(from, zeros, part) != 0);
        if (page != NULL) { memcpy(*page + into, from, part); }
        at += part;
    }
    *done = n;
    return 0;
}

static int big_preallocate(void *ctx, base_vfs_file *f, uint64_t bytes)
{
    if (!is_big(f)) { return l2_dev_preallocate(ctx, f, bytes); }
    big.size = BASE_MAX(big.size, bytes);
    return 0;
}

static int big_truncate(void *ctx, base_vfs_file *f, uint64_t bytes)
{
    if (!is_big(f)) { return l2_dev_truncate(ctx, f, bytes); }
    big.size = bytes;
    for (size_t i = 0; i < BIG_PAGES; i++) {
        if (big.number[i] > bytes / 4096) { memset(big.bytes[i], 0, 4096); }
    }
    return 0;
}

static int big_stat(void *ctx, base_vfs_file *f, base_vfs_stat *out)
{
    const int e = l2_dev_stat(ctx, f, out);
    if ((void *)f != (void *)dev.boot && is_big(f)) { out->size_bytes = big.size; }
    return e;
}

static void big_vfs(void)
{
    kit.vfs.pread = big_pread;
    kit.vfs.pwrite = big_pwrite;
    kit.vfs.ahead = big_ahead;
    kit.vfs.preallocate = big_preallocate;
    kit.vfs.truncate = big_truncate;
    kit.vfs.stat = big_stat;
}

static void big_check(uint32_t keys)
{
    for (uint32_t i = 0; i < keys; i++) {
        T_EQ_U64(l2_kit_look(&kit, i, GENERATION), i % 5 == 4 ? 0 : 1 + i % 3);
    }
}

T_ALONE(addresses_reach_4_tib)
{
    const uint64_t places = ((uint64_t)4 << 40) / (8 << 20);
    const uint32_t keys = 60;
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.bytes = ((uint64_t)4 << 40) + (64 << 20);
    kit.cfg.memory_bytes = (uint64_t)1 << 30;
    kit.cfg.avg_object_bytes = UINT32_MAX;
    kit.cfg.seg_bytes = 8 << 20;
    kit.cfg.seg_count = (uint32_t)places - 1; /* the last addresses of 36 bits */
    big_vfs();
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    T_EQ_U64(kit.d->form.granule, 64);
    T_EQ_U64(big.size, (places - 1) * (8 << 20));
    for (uint32_t i = 0; i < kit.d->free_count / 2; i++) { /* the last places first */
        uint32_t *a = &kit.d->seg[i].free_seg, *b = &kit.d->seg[kit.d->free_count - 1 - i].free_seg;
        const uint32_t x = *a;
        *a = *b;
        *b = x;
    }
    for (uint32_t i = 0; i < keys; i++) {
        T_EQ_I64(l2_kit_put(&kit, i, 1 + i % 3, GENERATION), CELLAR_OK);
        if (i % 20 == 19) { /* the worker gets the open slot */
            sync_take(L2_LOG, &kit.d->log_lock);
            T_CHECK(l2_slot_open(kit.d));
            sync_drop(L2_LOG, &kit.d->log_lock);
            work();
        }
    }
    for (uint32_t i = 4; i < keys; i += 5) { l2_kit_del(&kit, i); }
    big_check(keys);
    uint64_t highest = 0;
    for (uint32_t i = 0; i < kit.d->nseg; i++) {
        if (L2_SEG_STATE(base_load_rlx(&kit.d->seg[i].word)) == L2_SEG_DISK) {
            highest = BASE_MAX(highest, base_load_rlx(&kit.d->seg[i].place));
        }
    }
    T_CHECK(highest >= places - 4);
    T_EQ_STR(l2_audit(kit.d), NULL);
    l2_kit_kill(&kit);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    big_check(keys);
    T_EQ_I64(l2_resize_to(kit.d, (uint32_t)places / 4, (uint64_t)1 << 40), CELLAR_OK);
    T_EQ_U64(big.size, (uint64_t)1 << 40);
    T_EQ_STR(l2_audit(kit.d), NULL);
    big_check(keys);
    T_EQ_I64(l2_resize_to(kit.d, (uint32_t)places - 1, (uint64_t)4 << 40), CELLAR_OK);
    big_check(keys);
    T_EQ_I64(l2_resize_to(kit.d, (uint32_t)places + 1, (uint64_t)5 << 40), CELLAR_E_RANGE);
    l2_kit_kill(&kit);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    big_check(keys);
    l2_close(kit.d);
    kit.d = NULL;
    l2_dev_fini(&dev);
    for (size_t i = 0; i < BIG_PAGES; i++) { free(big.bytes[i]); }
    memset(&big, 0, sizeof big);
}

T_MAIN("l2_resize")
