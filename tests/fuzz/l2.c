/* SPDX-License-Identifier: MIT
 *
 * fuzz/l2: the readers and the recovery of the disk tier, on files with any content.
 *
 * INPUT      u8 which store: odd: it was closed, and has index.snap; else killed
 *            operations, each: u8 what, u16 where, u8 length, bytes
 *            what & 7: 0, 1 bytes into a file as they are; 2 index.snap (its state, rows, words,
 *            lines), 3 SUPER, 4 a trailer, 5 a header in the stage, 6 a footer page, 7 a record:
 *            its fields or bytes, with a valid check, so that the code behind the checks is
 *            reached, too
 * ORACLE     no crash, no sanitizer report, no failed assert; a store that opens passes its audit
 *            after warm-up, and inspect opens what l2_open does.
 * USE        tests/fuzz/test_l2_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include "cli/directory.c"
#include "tests/support/l2_kit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FUZZ_SEG 16384u
#define FUZZ_ROOM ((uint64_t)16 << 20)

static l2_dev fuzz_dev, fuzz_closed, fuzz_hurt;
static l2_form fuzz_form;
static bool fuzz_ready;
static bool fuzz_snapped; /* this input has written index.snap with valid checks */
static bool fuzz_footed;  /* ... and a footer, which may name other keys than index.snap */
static uint64_t fuzz_by_snap; /* opens that used one */

static void fuzz_put(l2_kit *k, uint32_t key, uint32_t version)
{
    unsigned char buf[256];
    const l2_key id = l2_kit_key(k, &key, sizeof key, 1);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .version = version, .pack = key % 2 == 0 };
    memset(buf, (int)key, sizeof buf);
    l2_invalidate(k->d, &id);
    if (version == 0) { return; }
    (void)l2_put(k->d, &id, buf, 30 + key * 3 % 200, &m, NULL);
    while (l2_tick(k->d, 1000)) {}
}

static void fuzz_make(l2_dev *on, bool close)
{
    static l2_kit k;
    l2_dev_init(on);
    l2_kit_init(&k, on);
    if (l2_kit_open(&k) != CELLAR_OK) { abort(); }
    const l2_namespace v = { 1, 1, 1 };
    (void)l2_namespace_set(k.d, &v, "v", 1);
    for (uint32_t i = 0; i < 160; i++) { fuzz_put(&k, i % 50, i % 11 == 0 ? 0 : i); }
    fuzz_form = k.d->form; /* the same for both */
    if (close) { l2_close(k.d); } else { l2_kit_kill(&k); }
}

static void fuzz_begin(void)
{
    l2_dev_init(&fuzz_hurt);
    fuzz_make(&fuzz_dev, false);
    fuzz_make(&fuzz_closed, true);
    if (l2_dev_find(&fuzz_closed, "index.snap") == NULL) { abort(); }
    fuzz_ready = true;
}

static void fuzz_end(void)
{
    l2_dev_fini(&fuzz_dev);
    l2_dev_fini(&fuzz_closed);
    l2_dev_fini(&fuzz_hurt);
    fuzz_ready = false;
}

static void fuzz_over(void *to, size_t room, size_t at, const uint8_t *from, size_t n)
{
    if (at >= room) { return; }
    memcpy((unsigned char *)to + at, from, BASE_MIN(n, room - at));
}

/* Correct the sum and the check of an image of the closed store. */
static void fuzz_snap_close(unsigned char *head, size_t bytes)
{
    const l2_dev_file *f = l2_dev_find(&fuzz_closed, "SUPER");
    l2_super s = { .serial = 0 }, one;
    for (size_t i = 0; i < 2; i++) {
        if (l2_super_read(f->live + i * L2_PAGE, &one) == CELLAR_OK && one.serial > s.serial) {
            s = one;
        }
    }
    uint64_t sum = 0;
    for (size_t at = 0; at < bytes; at += L2_IMAGE_PIECE) {
        sum = base_sum(&fuzz_form.sum, sum, head + L2_IMAGE_HEAD + at,
                       BASE_MIN(L2_IMAGE_PIECE, bytes - at));
    }
    l2_w64(head + 32, sum);
    l2_image_head_close(&fuzz_form, head, s.opens, s.clean_lsn, 0);
    fuzz_snapped = true;
}

/* Change one of its parts, then correct all sums. */
static void fuzz_snap(l2_dev_file *f, uint32_t part, size_t at, const uint8_t *from, size_t n)
{
    if (f == NULL || f->size < L2_IMAGE_HEAD + 80) { return; }
    unsigned char *head = f->live, *state = head + L2_IMAGE_HEAD, *rows = state + 80;
    const uint64_t bytes = l2_r64(head + 8);
    const size_t ways = (size_t)l2_r32(state + 64) * L2_WAYS * L2_SHARDS * 8;
    const size_t lines = (size_t)l2_r32(state + 68) * sizeof(l2_filter_line);
    const size_t list = (size_t)l2_r32(state + 72) * 24;
    if (bytes > f->size - L2_IMAGE_HEAD || 80 + list + ways + lines != bytes) { return; }
    if (part == 0) { fuzz_over(state, 80, at % 80, from, n); }
    if (part == 1) { fuzz_over(rows, list, at % (list + 1), from, n); }
    if (part == 2) { fuzz_over(rows + list, ways, at % (ways + 1), from, n); }
    if (part == 3) { fuzz_over(rows + list + ways, lines, at % (lines + 1), from, n); }
    fuzz_snap_close(head, (size_t)bytes);
}

/* Change a structure of a valid page and write it again with its check. */
static void fuzz_super(unsigned char *page, size_t at, const uint8_t *from, size_t n)
{
    l2_super s;
    if (l2_super_read(page, &s) != CELLAR_OK) { return; }
    fuzz_over(&s, sizeof s, at % sizeof s, from, n);
    s.bad_count = BASE_MIN(s.bad_count, L2_BAD_MAX);
    /* The memory disk has space for this. */
    if (((uint64_t)s.nseg + s.nstage) * s.seg_bytes > FUZZ_ROOM) { return; }
    l2_super_write(page, &s);
}

static void fuzz_trailer(unsigned char *page, size_t at, const uint8_t *from, size_t n)
{
    l2_trailer t;
    if (!l2_trailer_read(&fuzz_form, page, &t)) { return; }
    fuzz_over(&t, sizeof t, at % sizeof t, from, n);
    t.head.epoch = fuzz_form.epoch;
    l2_trailer_write(&fuzz_form, page, &t);
}

static void fuzz_head(unsigned char *where, size_t at, const uint8_t *from, size_t n)
{
    l2_head h;
    if (!l2_head_read(&fuzz_form, where, &h)) { return; }
    fuzz_over(&h, sizeof h, at % sizeof h, from, n);
    h.epoch = fuzz_form.epoch;
    l2_head_write(&fuzz_form, where, &h);
}

static void fuzz_foot(unsigned char *page, size_t at, const uint8_t *from, size_t n)
{
    const uint64_t segseq = l2_r64(page + 16);
    if (!l2_foot_ok(&fuzz_form, page, segseq, 0)) { return; }
    fuzz_over(page, L2_PAGE, 8 + at % (L2_PAGE - 8), from, n);
    l2_foot_close(&fuzz_form, page, segseq);
    fuzz_footed = true;
}

/* Change the first record of a segment; its lengths stay, the rest may be anything. */
static void fuzz_record(unsigned char *seg, size_t at, const uint8_t *from, size_t n)
{
    l2_head h;
    l2_rec r;
    if (!l2_head_read(&fuzz_form, seg, &h) ||
        !l2_rec_marked(&fuzz_form, seg + 64, h.segseq, 64, 8192, &r)) {
        return;
    }
    const l2_rec was = r;
    fuzz_over(seg + 64, was.bytes, L2_RECORD_HEAD + at % was.bytes, from, n);
    if (n > 1) { r.kind = from[0] % 3; }
    if (n > 2) { r.ext = (uint8_t)BASE_MIN((uint32_t)from[1] % 9, was.vlen / 8); }
    r.form = n > 3 && r.kind == L2_KIND_PUT ? from[2] % 4 : r.kind == L2_KIND_PUT ? was.form : 0;
    if (r.kind == L2_KIND_PUT || r.kind == L2_KIND_TOMB) { r.klen = BASE_MAX(r.klen, 1); }
    r.vlen = was.bytes - L2_RECORD_HEAD - 8u * r.ext - r.klen;
    if (r.kind == L2_KIND_CONTROL && r.vlen == 0) { return; }
    l2_rec_begin(&fuzz_form, seg + 64, h.segseq, 64, &r);
    l2_rec_end(&fuzz_form, seg + 64, h.segseq, 64);
}

static void fuzz_apply(uint8_t what, size_t at, const uint8_t *from, size_t n)
{
    l2_dev_file *f = &fuzz_hurt.file[(what >> 3) % DEV_FILES];
    l2_dev_file *super = l2_dev_find(&fuzz_hurt, "SUPER");
    l2_dev_file *data = l2_dev_find(&fuzz_hurt, "data.seg");
    l2_dev_file *stage = l2_dev_find(&fuzz_hurt, "stage.buf");
    const uint32_t place = what >> 3;
    unsigned char *seg = data->live + (size_t)(place % 3) * FUZZ_SEG;
    unsigned char *slot = stage->live + (size_t)(place % 2) * FUZZ_SEG;
    switch (what & 7) {
    case 2: fuzz_snap(l2_dev_find(&fuzz_hurt, "index.snap"), place & 3, at, from, n); break;
    case 3: fuzz_super(super->live + (place & 1) * L2_PAGE, at, from, n); break;
    case 4: fuzz_trailer(seg + FUZZ_SEG - L2_PAGE, at, from, n); break;
    case 5: fuzz_head(slot + ((place & 4) != 0 ? FUZZ_SEG - L2_PAGE + 128 : 0), at, from, n); break;
    case 6: fuzz_foot(seg + FUZZ_SEG - 2 * L2_PAGE, at, from, n); break;
    case 7: fuzz_record((place & 8) != 0 ? slot : seg, at, from, n); break;
    default: if (f->size > 0) { fuzz_over(f->live, f->size, at % f->size, from, n); } break;
    }
}

static void fuzz_look(void)
{
    static l2_kit k;
    l2_kit_init(&k, &fuzz_hurt);
    int sys_errno;
    directory_report r;
    const directory_how how = { .path = "d", .verify = true, .vfs = &k.vfs, .clock = &k.clock,
                                .wall_ms = l2_kit_wall, .wall_ctx = &k };
    const cellar_err seen = directory_inspect(&how, &r, &sys_errno);
    const cellar_err err = l2_kit_open(&k);
    if ((seen == CELLAR_OK) != (err == CELLAR_OK) && err != CELLAR_E_NOMEM) { abort(); }
    if (err != CELLAR_OK) { return; }
    const bool by_snap = l2_kit_figures(&k).snaps != 0;
    fuzz_by_snap += by_snap;
    l2_kit_warm(&k);
    for (uint32_t key = 0; key < 50; key++) {
        unsigned char buf[256];
        size_t len;
        l2_meta m;
        const l2_key id = l2_kit_key(&k, &key, sizeof key, 1);
        (void)l2_get(k.d, &id, buf, sizeof buf, &len, &m);
    }
    for (uint32_t key = 0; key < 90; key++) { fuzz_put(&k, key, key % 3); }
    const char *bad = l2_audit(k.d);
    if (bad != NULL && !fuzz_snapped && !(by_snap && fuzz_footed)) { /* invented words with a valid secret */
        fprintf(stderr, "audit: %s\n", bad);
        abort();
    }
    l2_kit_kill(&k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!fuzz_ready) { fuzz_begin(); }
    fuzz_snapped = fuzz_footed = false;
    l2_dev_clone(n > 0 && data[0] % 2 != 0 ? &fuzz_closed : &fuzz_dev, &fuzz_hurt, NULL);
    if (n > 0) {
        data++;
        n--;
    }
    while (n >= 4) {
        const size_t take = BASE_MIN((size_t)data[3] % 40, n - 4);
        fuzz_apply(data[0], (size_t)l2_r16(data + 1), data + 4, take);
        data += 4 + take;
        n -= 4 + take;
    }
    fuzz_look();
    return 0;
}
