/* SPDX-License-Identifier: MIT
 *
 * fuzz/l2: the readers and the recovery of the disk tier, on files with any content.
 *
 * INPUT      u8 which store: odd: it was closed; else killed
 *            operations, each: u8 what, u16 where, u8 length, bytes
 *            what & 7: 0, 1 bytes into a file as they are; 2 a header, 3 SUPER, 4 a trailer, 5 a
 *            page of rows, 6, 7 a record: its fields or bytes, with a valid check, so that the code
 *            behind the checks is reached, too
 * ORACLE     no crash, no sanitizer report, no failed assert; each word of a store that opens leads
 *            into its log, and inspect opens what l2_open does.
 * USE        tests/fuzz/test_l2_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include "cli/directory.c"
#include "cli/layer.c"
#include "l2/index.h"
#include "l2/segment.h"
#include "tests/fuzz/must.h"
#include "tests/support/log_kit.h"

#define FUZZ_SEG 32768u
#define FUZZ_SEGS 6u
#define FUZZ_ROOM ((uint64_t)16 << 20)
#define FUZZ_KEYS 50u

static l2_dev fuzz_killed, fuzz_closed, fuzz_hurt;
static l2_form fuzz_form;
static bool fuzz_ready;
static bool fuzz_forged; /* this input has written segments with valid checks */
static uint64_t fuzz_found; /* opens that found a record */

static void fuzz_put(uint32_t key, uint32_t version)
{
    unsigned char buf[2048];
    const l2_key id = key_of(&key);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .version = version, .pack = key % 2 == 0 };
    memset(buf, (int)key, sizeof buf);
    l2_invalidate(d, &id);
    if (version == 0) { return; }
    (void)l2_put(d, &id, buf, 30 + key * 331 % 2000, &m, NULL);
    (void)l2_tick(d, 0);
}

/* Make a store that went round, by two runs. */
static void fuzz_make(l2_dev *on, bool closes)
{
    l2_dev_init(on);
    on->flat = true;
    for (uint32_t run = 0; run < 2; run++) {
        if (open_may_fail(on) != CELLAR_OK) { abort(); }
        const l2_namespace v = { .id = 1, .generation = GENERATION };
        (void)l2_namespace_set(d, &v, "v", 1, NULL);
        for (uint32_t i = 0; i < 200; i++) { fuzz_put(i % FUZZ_KEYS, i % 11 == 0 ? 0 : i); }
        fuzz_form = d->form; /* but for the run the same for both */
        if (run == 0 || closes) { l2_close(d); } else { l2_discard(d); }
    }
}

static void fuzz_begin(void)
{
    begin(L2_DROP);
    cfg.seg_bytes = FUZZ_SEG;
    cfg.seg_count = FUZZ_SEGS;
    fuzz_make(&fuzz_killed, false);
    fuzz_make(&fuzz_closed, true);
    l2_dev_init(&fuzz_hurt);
    fuzz_hurt.flat = true;
    fuzz_ready = true;
}

static void fuzz_end(void)
{
    l2_dev_fini(&fuzz_killed);
    l2_dev_fini(&fuzz_closed);
    l2_dev_fini(&fuzz_hurt);
    fuzz_ready = false;
}

static void fuzz_over(void *to, size_t room, size_t at, const uint8_t *from, size_t n)
{
    if (at < room) { memcpy((unsigned char *)to + at, from, BASE_MIN(n, room - at)); }
}

/* Change a structure of a valid page and write it again with its check. */
static void fuzz_super(unsigned char *page, size_t at, const uint8_t *from, size_t n)
{
    l2_super s;
    if (l2_super_read(page, &s) != CELLAR_OK) { return; }
    fuzz_over(&s, sizeof s, at % sizeof s, from, n);
    /* The memory disk has space for this. */
    if (((uint64_t)s.nseg + s.was_nseg) * s.seg_bytes > FUZZ_ROOM) { return; }
    l2_super_write(page, &s);
}

static void fuzz_trailer(unsigned char *where, size_t at, const uint8_t *from, size_t n)
{
    l2_trailer t;
    if (!l2_trailer_read(&fuzz_form, where, &t)) { return; }
    fuzz_over(&t, sizeof t, at % sizeof t, from, n);
    l2_trailer_write(&fuzz_form, where, &t);
}

static void fuzz_head(unsigned char *where, size_t at, const uint8_t *from, size_t n)
{
    l2_head h;
    if (!l2_head_read(&fuzz_form, where, &h)) { return; }
    fuzz_over(&h, sizeof h, at % sizeof h, from, n);
    l2_head_write(&fuzz_form, where, &h);
}

/* Change rows of the first page of a segment. */
static void fuzz_rows(unsigned char *seg, size_t at, const uint8_t *from, size_t n)
{
    unsigned char *page = seg + FUZZ_SEG - L2_PAGE;
    const size_t rows = L2_ROWS_PAGE * L2_ROW_BYTES;
    l2_trailer t;
    if (!l2_trailer_read(&fuzz_form, seg + FUZZ_SEG - L2_TRAILER_BYTES, &t)) { return; }
    fuzz_over(page + L2_ROW_FIRST, rows, at % rows, from, n);
    l2_rows_close(&fuzz_form, page, &t, 0);
}

/* Change one of the first records of a segment; its length stays, the rest may be anything. */
static void fuzz_record(unsigned char *seg, size_t at, const uint8_t *from, size_t n)
{
    l2_head h;
    l2_rec r;
    if (!l2_head_read(&fuzz_form, seg, &h)) { return; }
    l2_form f = fuzz_form;
    f.epoch = h.run;
    uint32_t off = L2_HEAD_BYTES;
    for (size_t i = at >> 12; l2_rec_parse(seg + off, off, FUZZ_SEG, &r) && i > 0; i--) {
        off += l2_rec_room(&f, (size_t)r.ext * 8, r.klen, r.vlen);
    }
    unsigned char *rec = seg + off;
    if (!l2_rec_parse(rec, off, FUZZ_SEG, &r)) { return; }
    const l2_rec was = r;
    fuzz_over(rec, was.bytes, L2_RECORD_HEAD + (at & 4095u) % was.bytes, from, n);
    if (n > 1) { r.kind = from[0] % 3; }
    if (n > 2) { r.ext = (uint8_t)BASE_MIN((uint32_t)from[1] % 9, was.vlen / 8); }
    r.form = n > 3 && r.kind == L2_KIND_PUT ? from[2] % 4 : r.kind == L2_KIND_PUT ? was.form : 0;
    if (r.kind == L2_KIND_PUT || r.kind == L2_KIND_TOMB) { r.klen = BASE_MAX(r.klen, 1); }
    if (L2_RECORD_HEAD + 8u * r.ext + r.klen > was.bytes) { return; }
    r.vlen = was.bytes - L2_RECORD_HEAD - 8u * r.ext - r.klen;
    if (r.kind == L2_KIND_CONTROL && r.vlen == 0) { return; }
    l2_rec_begin(rec, &r);
    l2_rec_end(&f, rec, h.seq, off);
}

static void fuzz_apply(uint8_t what, size_t at, const uint8_t *from, size_t n)
{
    l2_dev_file *f = &fuzz_hurt.file[(what >> 3) % DEV_FILES];
    const uint32_t place = what >> 3;
    unsigned char *super = l2_dev_find(&fuzz_hurt, "SUPER")->live;
    unsigned char *seg = l2_dev_find(&fuzz_hurt, "data.seg")->live + place % FUZZ_SEGS * FUZZ_SEG;
    fuzz_forged = fuzz_forged || (what & 7) == 2 || (what & 7) > 3;
    switch (what & 7) {
    case 2: fuzz_head(seg, at, from, n); break;
    case 3: fuzz_super(super + (place & 1) * L2_PAGE, at, from, n); break;
    case 4:
        fuzz_trailer((place & 8) != 0 ? seg + 32 : seg + FUZZ_SEG - L2_TRAILER_BYTES, at, from, n);
        break;
    case 5: fuzz_rows(seg, at, from, n); break;
    case 6: case 7: fuzz_record(seg, at, from, n); break;
    default: if (f->size > 0) { fuzz_over(f->live, f->size, at % f->size, from, n); } break;
    }
}

/* Each word leads into the log, unless rows were forged. All words are counted. */
static void fuzz_audit(void)
{
    uint64_t words = 0, outside = 0;
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        l2_shard *s = &d->index.shard[i];
        uint32_t used = 0;
        sync_take(L2_TOMBSTONE_LOCK, &s->lock);
        for (uint32_t at = 0; at < d->index.per; at++) {
            const uint32_t *slot = s->slot + 3 * at;
            if ((slot[1] >> 16 & 0xfffu) == 0) { continue; }
            const uint64_t bits = (uint64_t)(slot[1] & 0xffffu) << 32 | slot[0];
            const l2_word w = l2_index_find(d, (uint64_t)i << 56 | bits << 8);
            outside += w.lsn < base_load_acq(&d->head) || w.lsn >= base_load_acq(&d->tail);
            used++;
        }
        words += used;
        if (used != s->used) { abort(); }
        sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    }
    if (words != base_load_rlx(&d->index.words) || (outside != 0 && !fuzz_forged)) { abort(); }
}

static void fuzz_look(void)
{
    int sys_errno;
    directory_report r;
    vfs = l2_dev_vfs(&fuzz_hurt);
    const directory_how how = { .path = "d", .verify = true, .vfs = &vfs, .clock = &clock_now,
                                .wall_ms = wall_ms };
    const cellar_err seen = directory_inspect(&how, &r, &sys_errno);
    const cellar_err err = open_may_fail(&fuzz_hurt);
    /* An open empties a directory of an older format, which inspect does not read. */
    const bool older = seen == CELLAR_E_NEWER_FORMAT && err == CELLAR_OK;
    if ((seen == CELLAR_OK) != (err == CELLAR_OK) && err != CELLAR_E_NOMEM && !older) {
        fprintf(stderr, "inspect: %d, open: %d\n", (int)seen, (int)err);
        abort();
    }
    if (err != CELLAR_OK) { return; }
    fuzz_found += base_load_rlx(&d->index.words) != 0;
    fuzz_audit();
    for (uint32_t key = 0; key < FUZZ_KEYS; key++) {
        unsigned char buf[2048];
        size_t len;
        l2_meta m;
        const l2_key id = key_of(&key);
        (void)l2_get(d, &id, buf, sizeof buf, &len, &m);
    }
    for (uint32_t key = 0; key < 90; key++) { fuzz_put(key, key % 3); }
    fuzz_audit();
    l2_discard(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!fuzz_ready) { fuzz_begin(); }
    fuzz_forged = false;
    l2_dev_clone(n > 0 && data[0] % 2 != 0 ? &fuzz_closed : &fuzz_killed, &fuzz_hurt, NULL);
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
