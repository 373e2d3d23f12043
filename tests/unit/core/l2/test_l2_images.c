/* SPDX-License-Identifier: MIT
 *
 * Aim:    an image is clean only if the last close wrote it, completely, and no run has begun
 *         since. A process death or a power cut leaves that image, an older one that is not clean,
 *         or none. It never leaves bytes of two images.
 * Method: an in-memory disk that crashes before each durable change. An image repeats the number
 *         of its run, so that a mixture shows. */
#include "tests/support/l2_kit.h"

#define IMAGE_WORDS 9000u /* more than one piece */
#define LARGE_WORDS 170000u /* 1.3 MB, more than two segments of 512 KiB */

static l2_dev dev, cut;
static l2_kit kit, other;
static uint64_t life;      /* number in the images that are given now */
static uint64_t closed;    /* run with a close in progress or done; 0: none */
static uint32_t words = IMAGE_WORDS;
static base_rng rng;
static uint32_t states, cleans, hints, nones;

static void give_all(void *ctx, l2_images *to)
{
    (void)ctx;
    const uint64_t note[2] = { life, 1 };
    if (!l2_image_begin(to, "v", 1, words * 8, note)) { return; }
    bool ok = true;
    for (uint32_t i = 0; i < words && ok; i++) { ok = l2_image_give(to, &life, 8); }
    (void)l2_image_end(to, ok);
}

/* Return the number in the image; 0: none or unreadable. *clean: as reported. */
static uint64_t image_of(l2_kit *k, bool *clean)
{
    uint64_t first = 0;
    *clean = false;
    l2_image *im = l2_image_open(k->d, "v", 1);
    if (im == NULL) { return 0; }
    bool ok = l2_image_take(im, &first, 8);
    bool mixed = ok && first != l2_image_note(im)[0];
    for (uint32_t i = 1; i < words && ok; i++) {
        uint64_t word;
        ok = l2_image_take(im, &word, 8);
        mixed = mixed || (ok && word != first);
    }
    T_CHECK(!ok || !mixed); /* bytes before a false result do not count */
    *clean = ok && l2_image_clean(im);
    l2_image_close(im, true);
    return ok ? first : 0;
}

/* Open the disk of a crash. Return the number of its image. */
static uint64_t image_of_crash(base_rng *r, bool *clean)
{
    l2_dev_clone(&dev, &cut, r);
    l2_kit_init(&other, &cut);
    other.cfg = kit.cfg;
    other.cfg.vfs = &other.vfs;
    other.cfg.log = &other.log;
    other.cfg.clock = &other.clock;
    other.cfg.wall_ctx = &other;
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    const uint64_t found = image_of(&other, clean);
    if (*clean) { T_EQ_U64(found, closed); }
    l2_kit_kill(&other);
    return found;
}

static void look_at(base_rng *r)
{
    bool clean;
    const uint64_t found = image_of_crash(r, &clean);
    states++;
    cleans += clean;
    hints += found != 0 && !clean;
    nones += found == 0;
}

static void crash(void *ctx)
{
    (void)ctx;
    look_at(NULL);
    for (int i = 0; i < 6; i++) { look_at(&rng); }
}

T_CASE(an_image_is_clean_only_if_the_close_wrote_it)
{
    base_rng_seed(&rng, t_seed());
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_bytes = 128 << 10;
    kit.cfg.images = give_all;
    for (life = 1; life < 5; life++) {
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        bool clean;
        const uint64_t found = image_of(&kit, &clean);
        T_EQ_U64(found, life - 1);
        T_EQ_U64(clean, life > 1);
        closed = 0; /* no image of an earlier run counts any more */
        dev.hook = crash;
        const uint64_t is = life;
        life = 100 + is; /* of this run, but not the last one */
        l2_images_save(kit.d, false);
        T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
        l2_images_save(kit.d, false);
        T_EQ_I64(l2_kit_put(&kit, 1, (uint32_t)is, L2_KIT_GENERATION), CELLAR_OK);
        life = closed = is;
        l2_close(kit.d);
        dev.hook = NULL;
        look_at(NULL);
        look_at(&rng);
    }
    kit.d = NULL;
    printf("# %u states: clean in %u, hints in %u, none in %u\n", states, cleans, hints, nones);
    T_CHECK(cleans >= 8);
    T_CHECK(hints > 100);
    T_CHECK(nones > 0);
    l2_dev_fini(&dev);
    l2_dev_fini(&cut);
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
}

/* The sum over all pieces ends an image with a piece that cannot be read. */
T_CASE(image_with_a_damaged_piece_is_not_read)
{
    bool clean;
    l2_kit_begin(&kit, &dev, L2_DROP);
    l2_close(kit.d);
    kit.cfg.images = give_all;
    life = UINT64_C(0x1234567890abcdef);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_close(kit.d);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    unsigned char *at = memmem(f->live, f->size, &life, 8);
    T_REQUIRE(at != NULL);
    at[400] ^= 4;
    T_EQ_U64(image_of(&kit, &clean), 0);
    T_CHECK(!clean);
    kit.cfg.images = NULL;
    l2_kit_end(&kit, &dev);
}

static void give_none(void *ctx, l2_images *to) { (void)ctx, (void)to; }

/* Fault: a run that could not read the head said nothing, and the next one believed the image. */
T_CASE(image_of_a_name_that_was_opened_without_it_is_not_clean)
{
    bool clean;
    for (int fails = 0; fails < 2; fails++) {
        l2_kit_begin(&kit, &dev, L2_DROP);
        kit.d->cfg.images = give_all;
        life = 7;
        l2_close(kit.d);
        kit.cfg.images = give_none;
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        dev.fail_site = DEV_PREAD;
        dev.fail_errno = EIO;
        dev.fail_at = (uint64_t)fails;
        if (fails != 0) { T_EQ_U64(image_of(&kit, &clean), 0); }
        l2_close(kit.d);
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        T_EQ_U64(image_of(&kit, &clean), 7);
        T_EQ_U64(clean, fails == 0);
        kit.cfg.images = NULL;
        l2_kit_end(&kit, &dev);
    }
}

T_CASE(image_outlives_a_save_that_has_no_room)
{
    bool clean;
    l2_kit_begin(&kit, &dev, L2_DROP);
    kit.d->cfg.images = give_all;
    life = 7;
    l2_images_save(kit.d, false);
    words = 2 * IMAGE_WORDS; /* more than a quarter of the store */
    life = 8;
    l2_images_save(kit.d, false);
    words = IMAGE_WORDS;
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    l2_kit_killed(&kit, &dev);
    T_EQ_U64(image_of(&kit, &clean), 7);
    T_CHECK(!clean);
    l2_kit_end(&kit, &dev);
}

/* ---- images of several segments ---- */

#define LEAST (UINT64_C(16) << 20)
#define LARGE_BYTES 60000u
#define LARGE_KEYS 150u /* more than half of the store */

static uint32_t steps;

static void put_large(uint32_t key)
{
    static unsigned char buf[LARGE_BYTES];
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, L2_KIT_GENERATION);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = key + 1 };
    cellar_err err = CELLAR_DROPPED;
    for (int i = 0; i < 100 && err == CELLAR_DROPPED; i++) {
        err = l2_put(kit.d, &id, buf, sizeof buf, &m, NULL);
        (void)l2_tick(kit.d, 1000);
    }
    T_EQ_I64(err, CELLAR_OK);
}

static void large_look(base_rng *r)
{
    bool clean;
    const uint64_t found = image_of_crash(r, &clean);
    T_CHECK(found == life || found == life - 1);
}

static void large_step(void *ctx)
{
    (void)ctx;
    if (steps++ % (t_reduced() ? 12 : 4) != 0) { return; }
    large_look(NULL);
    large_look(&rng);
}

static void large_open(uint64_t bytes)
{
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_bytes = 512 << 10;
    kit.cfg.seg_count = 0;
    kit.cfg.bytes = bytes;
    kit.cfg.level = L2_KEEP;
    kit.cfg.memory_bytes = LEAST;
    kit.cfg.images = give_all;
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const l2_namespace ns = { 1, L2_KIT_GENERATION, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &ns, "all", 3, NULL), CELLAR_OK);
}

/* Make a store with more live bytes than passes keep. */
static void large_begin(uint64_t bytes)
{
    base_rng_seed(&rng, t_seed());
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    words = LARGE_WORDS;
    life = 1;
    closed = 0;
    large_open(bytes);
    for (uint32_t i = 0; i < LARGE_KEYS; i++) { put_large(i); }
}

/* The image of the last save is there. */
static void large_end(void)
{
    bool clean;
    kit.cfg.images = NULL;
    l2_close(kit.d);
    large_open(kit.cfg.bytes);
    T_EQ_U64(image_of(&kit, &clean), life);
    l2_close(kit.d);
    kit.d = NULL;
    l2_dev_fini(&dev);
    l2_dev_fini(&cut);
    words = IMAGE_WORDS;
}

T_CASE(images_of_several_segments_survive_any_crash)
{
    large_begin(LEAST);
    l2_images_save(kit.d, false);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    steps = 0;
    dev.hook = large_step;
    life = 2;
    l2_images_save(kit.d, false);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    life = closed = 3;
    l2_close(kit.d);
    dev.hook = NULL;
    T_CHECK(steps > 50);
    large_look(NULL);
    large_open(LEAST);
    bool clean;
    T_EQ_U64(image_of(&kit, &clean), 3);
    T_CHECK(clean);
    life = 4;
    large_end();
}

/* A save while the size changes does not change the goal. */
T_CASE(a_save_during_a_resize_keeps_its_goal)
{
    large_begin(LEAST + (UINT64_C(4) << 20));
    l2_close(kit.d);
    large_open(LEAST);
    T_REQUIRE(kit.d->goal.on);
    words = 2 * LARGE_WORDS;
    life = 2;
    l2_images_save(kit.d, false);
    while (l2_tick(kit.d, 1000)) {}
    T_EQ_U64(kit.d->super.l2_bytes, LEAST);
    T_CHECK(l2_dev_find(&dev, "data.seg")->size <= LEAST);
    T_CHECK(l2_dev_find(&dev, "data.new") == NULL);
    large_end();
}

T_CASE(a_shrunk_store_has_room_for_images)
{
    large_begin(4 * LEAST);
    T_EQ_I64(l2_resize(kit.d, LEAST), CELLAR_OK);
    kit.cfg.bytes = LEAST;
    life = 2;
    l2_images_save(kit.d, false);
    large_end();
}

T_ONE_THREAD;
T_MAIN("l2_images")
