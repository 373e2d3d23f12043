/* SPDX-License-Identifier: MIT
 *
 * directory: report what a directory holds and what the next open would serve, without any change.
 *
 * PICTURE    files, opened for reading -> layer: writes stay in memory, reads see them
 *                -> the normal recovery on the layer -> its tables -> report
 *            So "live" is what the next open on this machine finds, by the same code.
 * PROTOCOL   both copies of SUPER -> trailers, counted: they size the index -> l2_open -> rows of
 *            each segment; with verify or a record callback: each record, too.
 * INVARIANTS Damage is a failed check, or a hole that recovery finds in the log. Leftovers of a
 *            process death (an incomplete record, a segment without rows) are no damage.
 * LOCKING    A shared lock on LOCK, for a moment before and after: no store is open, and none is
 *            kept out. A store opened meanwhile gives E_BUSY. `force` takes no lock; writes of a
 *            running store may look like damage.
 * LIMITS     About 12 bytes of memory per record. Without verify a row decides: records that
 *            expired, or were cleared or invalidated, count as live. The index here has a place for
 *            each record. Images of Bloom filters are records without a namespace.
 * SEE ALSO   l2/README.md: why recovery runs here instead of a second reader of the format. */
#include "cli/directory.h"

#include <errno.h>

#include "cli/layer.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/log.h"
#include "l2/part.h"
#include "l2/pass.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/rows.h"
#include "l2/segment.h"

#define LOOK_SLACK 64u /* index words in addition to those counted */

/* ---- before recovery ---- */

/* Read both copies of SUPER; *s is the valid one with the higher serial. */
static cellar_err look_super(layer *y, unsigned char *page, l2_super *s, directory_report *out,
                             int *sys_errno)
{
    cellar_err worst = CELLAR_E_FOREIGN;
    bool any = false, newer = false;
    for (uint32_t i = 0; i < 2; i++) {
        l2_super one;
        const int e = layer_peek(y, "SUPER", page, L2_PAGE, (uint64_t)i * L2_PAGE);
        if (e != 0 && e != ENODATA) { *sys_errno = e; }
        const cellar_err err = e == 0 ? l2_super_read(page, &one) : CELLAR_E_FOREIGN;
        out->super[i] = err;
        newer = newer || err == CELLAR_E_NEWER_FORMAT || err == CELLAR_STALE;
        if (err != CELLAR_E_FOREIGN) { worst = err; }
        if (err == CELLAR_OK && (!any || one.serial > s->serial)) {
            *s = one;
            any = true;
        }
    }
    if (*sys_errno == ENOENT) { return CELLAR_E_FOREIGN; } /* no store in this directory */
    if (*sys_errno != 0) { return CELLAR_E_IO; }
    if (newer) { return CELLAR_E_NEWER_FORMAT; }
    return any ? CELLAR_OK : worst;
}

/* Report what SUPER says. */
static void look_identity(const l2_super *s, directory_report *out)
{
    out->major = s->major;
    out->minor = s->minor;
    memcpy(out->uuid, s->uuid, 16);
    out->opens = s->opens;
    out->serial = s->serial;
    out->clean = s->closed != 0;
    out->level = (l2_level)s->level;
    out->seg_bytes = s->seg_bytes;
    out->seg_count = s->nseg;
    out->granule_bytes = s->granule;
    out->l2_bytes = s->l2_bytes;
    out->last_seen_wall_ms = s->last_seen_wall_ms;
}

/* Count the trailers of a file. *records: upper bound of the records that the index must hold. */
static void look_file(layer *y, unsigned char *page, const l2_super *s, directory_report *out,
                      const char *name, uint32_t nseg, uint64_t *records)
{
    l2_form form;
    int e = 0;
    l2_form_make(&form, s);
    for (uint32_t p = 0; p < nseg && e != ENODATA && e != ENOENT; p++) { /* SUPER may be wrong */
        const uint64_t at = (uint64_t)p * s->seg_bytes;
        l2_trailer t;
        l2_head h;
        if (layer_peek(y, name, page, L2_PAGE, at + s->seg_bytes - L2_PAGE) == 0 &&
            l2_trailer_read(&form, page + L2_PAGE - L2_TRAILER_BYTES, &t)) {
            out->places_sealed++;
            *records += t.rows;
            continue;
        }
        e = layer_peek(y, name, page, L2_HEAD_BYTES, at);
        if (e == 0 && l2_head_read(&form, page, &h)) {
            out->places_torn++; /* the segment may have as many records as fit */
            *records += s->seg_bytes / L2_PAGE * L2_ROWS_A_PAGE;
        }
    }
}

static void look_places(layer *y, unsigned char *page, const l2_super *s, directory_report *out,
                        uint64_t *records)
{
    const bool two = s->change == L2_CHANGE_RUNS;
    look_file(y, page, s, out, "data.seg", two ? s->was_nseg : s->nseg, records);
    if (two) { look_file(y, page, s, out, "data.new", s->nseg, records); }
}

static void look_sizes(layer *y, const l2_super *s, directory_report *out)
{
    base_vfs_file *f = NULL;
    const char *name = s->change != L2_CHANGE_NONE ? "data.new" : "data.seg";
    int e = layer_open(y, NULL, name, 0, &f);
    if (e != 0) { e = layer_open(y, NULL, "data.seg", 0, &f); }
    const bool whole = e == 0 && layer_of(f)->real_bytes >= (uint64_t)s->nseg * s->seg_bytes;
    if (!whole) { out->files_short++; }
}

/* ---- after recovery ---- */

typedef struct look_run {
    const directory_how *how;
    directory_report *out;
    directory_segment seg;
    unsigned char *bytes; /* room of one record; NULL: records are not checked */
    int64_t wall_ms;
} look_run;

/* Find the namespace of a generation. No other thread has this store. */
static SYNC_UNCHECKED const l2_namespace_row *look_namespace(const l2 *d, uint32_t generation)
{
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        if ((uint32_t)d->namespace[i].v.generation == generation) { return &d->namespace[i]; }
    }
    return NULL;
}

typedef enum look_verdict { LOOK_LIVE, LOOK_DEAD, LOOK_HURT } look_verdict;

/* Judge one record by its bytes. named: the index leads to the record. */
static look_verdict look_record(l2 *d, look_run *k, const l2_row *row, uint64_t lsn, bool named)
{
    l2_rec r;
    l2_row made = { .off = 0 };
    if (row->bytes > d->room_max ||
        l2_record_read(d, lsn, k->bytes, row->bytes, &r) != 0) {
        return LOOK_HURT;
    }
    l2_row_of(d, k->bytes, &r, &made);
    if (made.kind != row->kind || made.hash != row->hash) { return LOOK_HURT; }
    if (r.kind == L2_KIND_CONTROL) { return LOOK_DEAD; }
    const unsigned char *key = k->bytes + L2_RECORD_HEAD + (size_t)r.ext * 8;
    l2_meta m;
    memset(&m, 0, sizeof m);
    if (!l2_ext_read(k->bytes + L2_RECORD_HEAD, (size_t)r.ext * 8, &m)) { return LOOK_HURT; }
    if (r.kind != L2_KIND_PUT || !named) { return LOOK_DEAD; }
    const l2_namespace_row *v = look_namespace(d, r.generation);
    if (v == NULL && r.generation != 0) {
        k->out->old_generation++;
        return LOOK_DEAD;
    }
    if (r.expiry_wall_ms != 0 && r.expiry_wall_ms <= k->wall_ms) {
        k->out->expired++;
        return LOOK_DEAD;
    }
    if (l2_tags_verdict(d, &m) != 0 ||
        l2_globs_match(d, r.generation, lsn, false, key, r.klen)) {
        k->out->ended++;
        return LOOK_DEAD;
    }
    const bool part = r.generation == 0 && r.klen == L2_PART_KEY;
    int unread = 0;
    if (part ? !l2_part_wanted(d, d->unread_lsn, key, &unread)
             : m.part_id != 0 && !l2_parts_there(d, row->hash >> 16, &m)) {
        return LOOK_DEAD;
    }
    if (k->how->record != NULL && v != NULL) {
        const uint64_t len = m.part_id != 0     ? m.part_total
                             : m.raw_bytes != 0 ? m.raw_bytes : r.vlen;
        const directory_record one = { key, r.klen, v->name, v->name_len, len,
                                       r.expiry_wall_ms != 0 ? r.expiry_wall_ms - k->wall_ms : -1,
                                       m.version, m.user_flags, m.kind };
        k->how->record(k->how->ctx, &one);
    }
    return LOOK_LIVE;
}

static int look_row(l2 *d, void *ctx, const l2_row *row)
{
    look_run *k = ctx;
    const uint64_t lsn = k->seg.segseq * d->form.seg_bytes + row->off;
    const bool named = row->kind == L2_KIND_PUT && lsn >= l2_floor(d) &&
                       l2_indexed_at(d, row->hash, lsn);
    if (lsn + row->bytes == d->run[d->run_count - 1].lsn) { return 0; } /* of this inspection */
    k->seg.records++;
    k->seg.tombstones += row->kind == L2_KIND_TOMB;
    k->seg.controls += row->kind > L2_KIND_TOMB;
    const look_verdict v = k->bytes != NULL ? look_record(d, k, row, lsn, named)
                                            : named ? LOOK_LIVE : LOOK_DEAD;
    if (v == LOOK_LIVE) {
        k->seg.live++;
        k->seg.live_bytes += row->bytes;
    } else {
        k->seg.dead_bytes += row->bytes;
    }
    k->seg.damaged += v == LOOK_HURT;
    return 0;
}

/* Look at the open segment: its rows are in memory. */
static SYNC_UNCHECKED void look_open_rows(l2 *d, look_run *k)
{
    k->seg.data_end = (uint32_t)(base_load_acq(&d->tail) % d->form.seg_bytes);
    for (uint32_t i = 0; i < d->row_count; i++) {
        l2_row row;
        l2_row_read(d->rows + (size_t)i * L2_ROW_BYTES, &row);
        (void)look_row(d, k, &row);
    }
}

static void look_full(l2 *d, look_run *k)
{
    l2_trailer t;
    k->seg.unreadable = !l2_trailer_find(d, k->seg.segseq, &t);
    if (k->seg.unreadable) { return; }
    k->seg.data_end = t.data_end;
    l2_rows_walk w = { .made = 0 };
    for (uint32_t i = 0; i < l2_row_pages(t.rows); i++) {
        if (l2_rows_page(d, &t, i, &w, look_row, k) != 0) { k->seg.unreadable = true; }
    }
}

static void look_segment(l2 *d, look_run *k, uint64_t seq)
{
    directory_report *out = k->out;
    const uint64_t begin = seq * d->form.seg_bytes;
    const uint64_t place = begin % base_load_acq(&l2_ring_at(d, begin)->size) / d->form.seg_bytes;
    k->seg = (directory_segment){ .segseq = seq, .place = (uint32_t)place };
    if (seq == l2_seq_of(d, base_load_acq(&d->tail))) {
        look_open_rows(d, k);
    } else {
        look_full(d, k);
    }
    out->segments++;
    out->records += k->seg.records;
    out->live += k->seg.live;
    out->live_bytes += k->seg.live_bytes;
    out->dead_bytes += k->seg.dead_bytes;
    out->tombstones += k->seg.tombstones;
    out->controls += k->seg.controls;
    out->records_damaged += k->seg.damaged;
    out->segments_damaged += k->seg.unreadable;
    if (k->how->segment != NULL) { k->how->segment(k->how->ctx, &k->seg); }
}

static SYNC_UNCHECKED cellar_err look_store(l2 *d, const directory_how *how, directory_report *out)
{
    look_run k = { .how = how, .out = out, .wall_ms = l2_wall_now(d) };
    const size_t room = (size_t)d->room_max + L2_PAGE;
    if (how->verify || how->record != NULL) {
        k.bytes = base_alloc(d->cfg.account, BASE_MOD_L2, room, NULL);
        if (k.bytes == NULL) { return CELLAR_E_NOMEM; }
    }
    for (uint32_t i = 0; i < d->namespace_count && how->namespace != NULL; i++) {
        how->namespace(how->ctx, &d->namespace[i].v, d->namespace[i].name,
                       d->namespace[i].name_len);
    }
    const uint64_t last = l2_seq_of(d, base_load_acq(&d->tail));
    for (uint64_t seq = l2_seq_of(d, base_load_acq(&d->head)); seq <= last; seq++) {
        look_segment(d, &k, seq);
    }
    l2_stats st;
    l2_stats_get(d, &st);
    out->namespaces = d->namespace_count;
    out->floor_lsn = l2_floor(d);
    out->wall_ms = k.wall_ms;
    out->holes = st.holes;
    out->pages_healed = st.healed;
    out->read_errors = st.io_errors;
    base_free(d->cfg.account, BASE_MOD_L2, k.bytes, k.bytes != NULL ? room : 0);
    return CELLAR_OK;
}

static cellar_err look_open(layer *y, const l2_super *s, uint64_t records,
                            const directory_how *how, directory_report *out, int *sys_errno)
{
    const base_clock clock = { NULL, NULL, NULL };
    const base_vfs vfs = layer_vfs(y);
    base_log log;
    base_log_init(&log, &clock, NULL, NULL, BASE_LOG_OFF);
    const uint64_t objects = records + LOOK_SLACK, size = (uint64_t)s->nseg * s->seg_bytes;
    l2_config cfg = {
        .account = &y->account, .log = &log, .clock = how->clock != NULL ? how->clock : &clock,
        .vfs = &vfs, .path = how->path, .bytes = s->l2_bytes, .seg_count = s->nseg,
        .memory_bytes = BASE_MAX(objects * 64, (uint64_t)64 << 20), .level = L2_DROP,
        .avg_object_bytes = BASE_MAX(size / objects, (uint64_t)1), .no_thread = true,
        .wall_ms = how->wall_ms, .wall_ctx = how->wall_ctx,
    };
    l2 *d = NULL;
    cellar_err err = l2_open(&cfg, &d, sys_errno);
    if (err != CELLAR_OK) { return err; }
    out->file_bytes = layer_bytes(y);
    out->begins_anew = d->opened == L2_OPENED_RESET;
    err = look_store(d, how, out);
    l2_discard(d);
    return err;
}

/* ---- the call ---- */

/* Check that no store has the directory open. The lock is dropped, so no store is kept out. */
static cellar_err look_lock(const layer *y, int *sys_errno)
{
    base_vfs_file *f = NULL;
    int e = y->under->open(y->under->ctx, y->dir, "LOCK", 0, &f);
    if (e == ENOENT || y->under->lock_shared == NULL) { e = 0; }
    if (f != NULL && y->under->lock_shared != NULL) {
        e = y->under->lock_shared(y->under->ctx, f);
    }
    if (f != NULL) { y->under->close(y->under->ctx, f); }
    *sys_errno = e;
    return e == 0 ? CELLAR_OK : e == EAGAIN ? CELLAR_E_BUSY : CELLAR_E_IO;
}

cellar_err directory_inspect(const directory_how *how, directory_report *out, int *sys_errno)
{
    memset(out, 0, sizeof *out);
    *sys_errno = 0;
    layer y;
    memset(&y, 0, sizeof y);
    base_account_init(&y.account, UINT64_MAX / 2, NULL);
    y.under = how->vfs != NULL ? how->vfs : base_vfs_system();
    const int e = y.under->open_dir(y.under->ctx, how->path, false, &y.dir);
    if (e != 0) {
        *sys_errno = e;
        return CELLAR_E_IO;
    }
    l2_super s;
    memset(&s, 0, sizeof s);
    uint64_t records = 0;
    unsigned char *page = base_alloc(&y.account, BASE_MOD_L2, L2_PAGE, NULL);
    cellar_err err = page != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
    if (err == CELLAR_OK && !how->force) { err = look_lock(&y, sys_errno); }
    if (err == CELLAR_OK) { err = look_super(&y, page, &s, out, sys_errno); }
    if (err == CELLAR_OK) { look_identity(&s, out); }
    if (err == CELLAR_OK && !how->head) {
        look_places(&y, page, &s, out, &records);
        look_sizes(&y, &s, out);
        err = look_open(&y, &s, records, how, out, sys_errno);
    }
    /* A store opened the directory meanwhile: the findings may mix two states. */
    if (err == CELLAR_OK && !how->force) { err = look_lock(&y, sys_errno); }
    base_free(&y.account, BASE_MOD_L2, page, L2_PAGE);
    layer_end(&y);
    y.under->close(y.under->ctx, y.dir);
    return err;
}

uint64_t directory_damage(const directory_report *r)
{
    uint64_t n = r->files_short + r->holes + r->pages_healed + r->read_errors +
                 r->records_damaged + r->segments_damaged;
    for (int i = 0; i < 2; i++) { n += r->super[i] != CELLAR_OK; }
    return n;
}
