/* SPDX-License-Identifier: MIT
 *
 * Aim:    an image beside the log is called clean only if it is the one of the close, whole, with
 *         no life since; a kill or a power cut at any step leaves that, or an older one that is not
 *         called clean, or none; never bytes of two.
 * Method: a disk made of memory, cut before every call that changes something durable. An image is
 *         its life's number over and over, so that a mixture shows. */
#include "tests/l2_kit.h"

#define IMAGE_WORDS 9000u /* more than one piece */

static l2_dev dev, cut;
static l2_kit kit, other;
static uint64_t life;      /* what an image given now holds */
static uint64_t closed;    /* the life whose close has begun; 0: none */
static base_rng rng;
static uint32_t states, cleans, hints, nones;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void give_all(void *ctx, l2_images *to)
{
    (void)ctx;
    const uint64_t note[2] = { life, 1 };
    if (!l2_image_begin(to, "v", 1, IMAGE_WORDS * 8, note)) { return; }
    bool ok = true;
    for (uint32_t i = 0; i < IMAGE_WORDS && ok; i++) { ok = l2_image_give(to, &life, 8); }
    (void)l2_image_end(to, ok);
}

/* The number it holds, 0: none or unreadable; *clean as it is called. */
static uint64_t image_of(l2_kit *k, bool *clean)
{
    uint64_t first = 0;
    *clean = false;
    l2_image *im = l2_image_open(k->d, "v", 1);
    if (im == NULL) { return 0; }
    bool ok = l2_image_take(im, &first, 8);
    bool mixed = ok && first != l2_image_note(im)[0];
    for (uint32_t i = 1; i < IMAGE_WORDS && ok; i++) {
        uint64_t word;
        ok = l2_image_take(im, &word, 8);
        mixed = mixed || (ok && word != first);
    }
    T_CHECK(!ok || !mixed); /* what came before a false counts for nothing */
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

static void an_image_is_clean_only_if_it_is_the_one_of_the_close(void)
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
        closed = 0; /* nothing of before is all there is any more */
        dev.hook = crash;
        const uint64_t is = life;
        life = 100 + is; /* of this life, but not its last word */
        l2_images_save(kit.d, false);
        T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
        l2_images_save(kit.d, false);
        while (l2_kit_put(&kit, 1, (uint32_t)is, L2_KIT_VGEN) == CELLAR_DROPPED) {
            (void)l2_tick(kit.d, 1000); /* the store was marked clean */
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

T_MAIN("l2_images", T_CASE(an_image_is_clean_only_if_it_is_the_one_of_the_close))
