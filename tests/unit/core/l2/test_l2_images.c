/* SPDX-License-Identifier: MIT
 *
 * Aim:    an image is clean only if the last close wrote it, completely, and no run has begun
 *         since. A process death or a power cut leaves that image, an older one that is not clean,
 *         or none. It never leaves bytes of two images.
 * Method: an in-memory disk that crashes before each durable change. An image repeats the number
 *         of its run, so that a mixture shows. */
#include "tests/support/l2_kit.h"

#define IMAGE_WORDS 9000u /* more than one piece */
#define LARGE_WORDS 170000u /* 1.3 MB, more than two segments of the smallest store */

static l2_dev dev, cut;
static l2_kit kit, other;
static uint64_t life;      /* number in the images that are given now */
static uint64_t closed;    /* run with a close in progress or done; 0: none */
static uint32_t words = IMAGE_WORDS;
static base_rng rng;
static uint32_t states, cleans, hints, nones;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

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

static void look_at(base_rng *r)
{
    l2_dev_clone(&dev, &cut, r);
    l2_kit_init(&other, &cut);
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    bool clean;
    const uint64_t found = image_of(&other, &clean);
    if (clean) { T_EQ_U64(found, closed); }
    states++;
    cleans += clean;
    hints += found != 0 && !clean;
    nones += found == 0;
    l2_kit_kill(&other);
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
    kit.cfg.seg_count = 6;
    kit.cfg.images = give_all;
    for (life = 1; life < 5; life++) {
        T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
        bool clean;
        const uint64_t found = image_of(&kit, &clean);
        T_EQ_U64(found, life - 1);
        T_EQ_U64(clean, life > 1);
        l2_kit_warm(&kit);
        closed = 0; /* no image of an earlier run counts any more */
        dev.hook = crash;
        const uint64_t is = life;
        life = 100 + is; /* of this run, but not the last one */
        l2_images_save(kit.d, false);
        T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
        l2_images_save(kit.d, false);
        while (l2_kit_put(&kit, 1, (uint32_t)is, L2_KIT_GENERATION) == CELLAR_DROPPED) {
            (void)l2_tick(kit.d, 1000); /* the store was marked CLEAN */
        }
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

/* ---- images larger than the room next to the log ---- */

#define LEAST (UINT64_C(16) << 20)
#define LARGE_BYTES 60000u

static uint64_t kit_bytes = LEAST;
static uint64_t most; /* most bytes of all files, at any step */
static uint32_t steps, skip;
static bool cuts; /* crash at each step, too */

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

static bool has_large(uint32_t key)
{
    static unsigned char buf[LARGE_BYTES];
    size_t len;
    l2_meta m;
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, L2_KIT_GENERATION);
    return l2_kit_get(kit.d, &id, buf, sizeof buf, &len, &m) == CELLAR_OK && m.user_flags == key + 1;
}

/* Return true for half a rename: the in-memory disk may keep one half until the directory is
 * synced. Then there may be no file. */
static bool half_renamed(void)
{
    bool any = false;
    for (int i = 0; i < DEV_FILES; i++) {
        const l2_dev_file *f = &dev.file[i];
        const bool snap = strcmp(f->name, "bloom.snap") == 0 ||
                          strcmp(f->durable_name, "bloom.snap") == 0;
        any = any || (snap && strcmp(f->name, f->durable_name) != 0);
    }
    return any;
}

static void large_look(base_rng *r)
{
    const bool may_lack = r != NULL && half_renamed();
    l2_dev_clone(&dev, &cut, r);
    l2_kit_init(&other, &cut);
    other.cfg = kit.cfg;
    other.cfg.vfs = &other.vfs;
    other.cfg.log = &other.log;
    other.cfg.clock = &other.clock;
    other.cfg.wall_ctx = &other;
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    bool clean;
    const uint64_t found = image_of(&other, &clean);
    T_CHECK(found == life || found == life - 1 || (found == 0 && may_lack));
    if (clean) { T_EQ_U64(found, closed); }
    l2_kit_kill(&other);
}

static void large_step(void *ctx)
{
    uint64_t bytes = 0;
    (void)ctx;
    for (int i = 0; i < DEV_FILES; i++) {
        if (dev.file[i].name[0] != 0) { bytes += dev.file[i].size; }
    }
    most = BASE_MAX(most, bytes);
    if (!cuts || steps++ % skip != 0) { return; }
    large_look(NULL);
    large_look(&rng);
}

static void large_begin(void)
{
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_bytes = kit.cfg.seg_count = kit.cfg.stage_count = 0;
    kit.cfg.bytes = kit_bytes;
    kit.cfg.memory_bytes = LEAST;
    kit.cfg.images = give_all;
    dev.locked = false;
}

static void large_open(void)
{
    large_begin();
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

T_CASE(images_of_several_segments_survive_any_crash)
{
    base_rng_seed(&rng, t_seed());
    l2_dev_init(&dev);
    l2_dev_init(&cut);
    words = LARGE_WORDS;
    life = 1;
    closed = 0;
    cuts = false;
    most = steps = 0;
    skip = 3;
    large_open();
    dev.hook = large_step;
    const uint32_t all = kit.d->places;
    for (uint32_t i = 0; i < 220; i++) { put_large(i); } /* no room is left */
    cuts = true;
    l2_images_save(kit.d, false);
    cuts = false;
    const uint32_t places = kit.d->places;
    T_CHECK(places < all && places >= all - all / 4);
    T_EQ_STR(l2_audit(kit.d), NULL);
    uint32_t newest = 0;
    while (newest < 220 && has_large(219 - newest)) { newest++; }
    T_CHECK(newest >= (places - 4) * 7); /* all but the oldest stayed; 7 fit into a segment */
    life = 2; /* in a store with room for both */
    cuts = true;
    l2_images_save(kit.d, false);
    life = closed = 3;
    l2_close(kit.d);
    kit.d = NULL;
    cuts = false;
    large_look(NULL);
    T_CHECK(steps > 50);
    large_open();
    T_EQ_U64(kit.d->places, places); /* and it stays smaller */
    bool clean;
    T_EQ_U64(image_of(&kit, &clean), 3);
    T_CHECK(clean);
    T_CHECK(has_large(219));
    dev.hook = NULL;
    life = 4;
    l2_close(kit.d);
    kit.d = NULL;
    printf("# %u of %u places, at most %" PRIu64 " bytes of files\n", places, all, most);
    T_CHECK(most <= LEAST + (512u << 10));
    l2_dev_fini(&dev);
    l2_dev_fini(&cut);
    words = IMAGE_WORDS;
}

static uint32_t places_for(uint64_t bytes)
{
    l2_super s = { .seg_bytes = kit.d->form.seg_bytes, .nstage = kit.d->nstage };
    return (uint32_t)l2_places_in(&kit.cfg, &s, bytes);
}

/* A save during a resize to fewer bytes does not change the goal of the resize. */
T_CASE(a_save_during_a_resize_keeps_its_goal)
{
    l2_dev_init(&dev);
    words = IMAGE_WORDS;
    life = 1;
    kit_bytes = LEAST + (UINT64_C(4) << 20);
    large_open();
    for (uint32_t i = 0; i < 220; i++) { put_large(i); }
    l2_close(kit.d);
    kit_bytes = LEAST;
    large_begin();
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    T_REQUIRE(kit.d->goal.on);
    words = 2 * LARGE_WORDS;
    l2_images_save(kit.d, false);
    while (l2_tick(kit.d, 1000)) {}
    T_EQ_U64(kit.d->super.l2_bytes, LEAST);
    T_CHECK(kit.d->places <= places_for(LEAST));
    l2_close(kit.d);
    kit.d = NULL;
    l2_dev_fini(&dev);
    words = IMAGE_WORDS;
}

/* The tables keep their size after a shrink. An image must be kept all the same. */
T_CASE(a_shrunk_store_has_room_for_images)
{
    l2_dev_init(&dev);
    words = LARGE_WORDS;
    life = 1;
    kit_bytes = 4 * LEAST;
    large_begin();
    kit.cfg.seg_bytes = 512 << 10;
    kit.cfg.avg_object_bytes = 64;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    for (uint32_t i = 0; i < 220; i++) { put_large(i); }
    T_EQ_I64(l2_resize(kit.d, LEAST), CELLAR_OK);
    l2_images_save(kit.d, false);
    T_CHECK(base_load_rlx(&kit.d->image_bytes) > LARGE_WORDS * 8);
    T_CHECK(has_large(219));
    l2_close(kit.d);
    kit.d = NULL;
    l2_dev_fini(&dev);
    words = IMAGE_WORDS;
    kit_bytes = LEAST;
}

T_ONE_THREAD;
T_MAIN("l2_images")
