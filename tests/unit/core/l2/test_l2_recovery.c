/* SPDX-License-Identifier: MIT
 *
 * Aim:    recovery drops what a lost record may hide, and overwrites no place that still counts.
 * Method: the files of a small closed store on an in-memory disk are damaged in two ways at once,
 *         then opened. The source of recovery_place.c is part of this program: its choice of a
 *         place is asked about places made by hand. */
#include "l2/recovery_place.c"
#include "tests/support/l2_kit.h"

static l2_dev dev;
static l2_kit kit;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void begin(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 8;
    kit.cfg.seg_bytes = 65536;
    kit.cfg.stage_count = 4; /* so that a sealed slot keeps its bytes for a while */
    kit.cfg.level = L2_KEEP;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

static void work(void)
{
    while (l2_tick(kit.d, 1000)) {}
}

static void put(uint32_t key, uint32_t version)
{
    T_EQ_I64(l2_kit_put(&kit, key, version, L2_KIT_GENERATION), CELLAR_OK);
    work();
}

/* Put other keys until the open segment is another one. */
static void next_segment(void)
{
    const uint64_t segseq = kit.d->open_slot->head.segseq;
    for (uint32_t i = 0; kit.d->open_slot->head.segseq == segseq; i++) {
        T_REQUIRE(i < 5000);
        put(1000 + i, 9);
    }
}

/* Close the store, and forget its saved index: the next open reads the log. */
static void shut(void)
{
    l2_close(kit.d);
    kit.d = NULL;
    l2_dev_find(&dev, "index.snap")->name[0] = '\0';
}

static void open_again(void)
{
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

/* A record in a slot of the stage, which the test damages. */
typedef struct spot {
    size_t slot;        /* offset in the stage */
    uint32_t off, line; /* of a record, and the number of its line */
    uint64_t segseq;
} spot;

/* Return the spot of the record that was put last. */
static spot last_spot(void)
{
    const l2_slot *s = kit.d->open_slot;
    return (spot){ (size_t)(s->base - l2_dev_find(&dev, "stage.buf")->live), s->last_off,
                   s->entries - 1, s->head.segseq };
}

static unsigned char *line_of(const spot *at)
{
    unsigned char *slot = l2_dev_find(&dev, "stage.buf")->live + at->slot;
    unsigned char *page = slot + kit.cfg.seg_bytes - 2 * L2_PAGE; /* the first page of lines */
    T_REQUIRE(at->line < L2_FOOT_ENTRIES && l2_r64(page + 16) == at->segseq);
    return l2_foot_entry(page, at->line);
}

/* A synced record is damaged, and its line is gone: nothing says which key it hides. */
T_CASE(lost_record_without_a_line_hides_all_older_ones)
{
    begin();
    put(1, 7);
    put(2, 7);
    put(1, 8);
    const spot at = last_spot();
    put(3, 7);
    shut();
    memset(line_of(&at), 0, L2_ENTRY_BYTES);
    l2_dev_find(&dev, "stage.buf")->live[at.slot + at.off + 100] ^= 1;
    open_again();
    T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), 0); /* never 7 */
    T_EQ_U64(l2_kit_figures(&kit).holes, 1);
    l2_kit_end(&kit, &dev);
}

/* Return the offset of a sealed segment in data.seg. */
static size_t place_of(uint64_t segseq)
{
    const l2_dev_file *f = l2_dev_find(&dev, "data.seg");
    for (uint32_t i = 0; i < kit.d->nseg; i++) {
        l2_head h;
        const size_t at = (size_t)i * kit.cfg.seg_bytes;
        if (l2_head_read(&kit.d->form, f->live + at, &h) && h.segseq == segseq) { return at; }
    }
    T_REQUIRE(!"not sealed");
    return 0;
}

/* A power cut brings back an older state of a slot, and its sealed twin is damaged. */
T_CASE(slot_shorter_than_its_sealed_twin_hides_all_older_records)
{
    begin();
    put(1, 7);
    put(2, 7);
    const spot at = last_spot();
    unsigned char *slot = l2_dev_find(&dev, "stage.buf")->live + at.slot;
    unsigned char *older = malloc(kit.cfg.seg_bytes);
    T_REQUIRE(older != NULL);
    memcpy(older, slot, kit.cfg.seg_bytes);
    put(1, 8);
    const uint32_t off = last_spot().off;
    next_segment();
    work();
    const size_t twin = place_of(at.segseq);
    shut();
    memcpy(slot, older, kit.cfg.seg_bytes);
    free(older);
    l2_dev_find(&dev, "data.seg")->live[twin + off + 100] ^= 1;
    dev.boot[15]++;
    open_again();
    T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), 0); /* never 7 */
    T_EQ_U64(l2_kit_look(&kit, 2, L2_KIT_GENERATION), 0);
    T_EQ_U64(l2_kit_figures(&kit).holes, 1);
    l2_kit_end(&kit, &dev);
}

/* ---- places ---- */

enum { PLACES = 3, NEWEST = 9 };

/* Find segments 5, 6, 7 at the places 0, 1, 2; 5 is below the floor. */
static void find_places(l2 *d, l2_finds *f, l2_find at[PLACES + 1])
{
    memset(d, 0, sizeof *d);
    d->nseg = PLACES;
    d->form.seg_bytes = 65536;
    *f = (l2_finds){ .at = at, .count = PLACES, .floor = l2_lsn(d, 6, 0) };
    for (uint32_t i = 0; i < PLACES; i++) { at[i] = (l2_find){ .segseq = 5 + i, .place = i }; }
}

T_CASE(place_above_the_floor_or_with_the_only_controls_is_not_overwritten)
{
    l2 *d = malloc(sizeof *d);
    l2_find at[PLACES + 1];
    l2_finds f;
    l2_slot s = { .head = { .segseq = NEWEST } };
    T_REQUIRE(d != NULL);
    find_places(d, &f, at);
    T_CHECK(!l2_place_meant(d, &f, 1) && f.count == PLACES); /* segment 6 counts */
    f.floor = l2_lsn(d, 7, 0) - 1;
    T_CHECK(!l2_place_meant(d, &f, 1) && f.count == PLACES);
    f.floor = l2_lsn(d, 7, 0);
    T_CHECK(l2_place_meant(d, &f, 1) && f.count == PLACES - 1);

    find_places(d, &f, at); /* 5 has controls, and META has those below its end alone */
    at[0].controls = 1;
    d->meta_lsn = l2_lsn(d, 6, 0) - 1;
    T_CHECK(!l2_place_meant(d, &f, 0) && f.count == PLACES);
    s.head.segid = 0;
    T_EQ_U64(l2_place_for(d, &f, &s), d->nseg); /* the oldest one is the same: none is left */
    T_EQ_U64(f.count, PLACES);
    d->meta_lsn = l2_lsn(d, 6, 0);
    T_CHECK(l2_place_meant(d, &f, 0) && f.count == PLACES - 1);

    find_places(d, &f, at); /* its own place counts: the oldest one goes, and the floor says so */
    s.head.segid = 2;
    T_EQ_U64(l2_place_for(d, &f, &s), 0);
    T_EQ_U64(f.count, PLACES - 1);
    f.floor = 0;
    T_EQ_U64(l2_place_for(d, &f, &s), 0); /* free */
    find_places(d, &f, at);
    f.floor = 0;
    T_EQ_U64(l2_place_for(d, &f, &s), 0);
    T_EQ_U64(f.floor, l2_lsn(d, 6, 0));
    free(d);
}

T_MAIN("l2_recovery")
