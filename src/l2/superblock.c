/* SPDX-License-Identifier: MIT
 *
 * superblock: read and write files; make SUPER, META and the log durable at the right moments.
 *
 * PICTURE    META.0, META.1, written in turn; the valid copy with the higher serial counts.
 * FORMAT     0 u32 magic  4 u32 patterns  8 u64 epoch  16 u64 serial  24 u64 lsn covered
 *            32 u32 namespaces  36 u32 tags  40 u64 floor of tags  48 u32 next generation
 *            52 u32 next id  56 u64 check (of all other bytes)
 *            64 namespaces {u32 id, u32 generation, u32 version, u32 name_len, name, padded to 8},
 *            tags {u64 fingerprint, u64 hard, u64 soft, u64 lsn},
 *            patterns {u32 generation, u32 length, u64 lsn, pattern, padded to 8}
 * INVARIANTS SUPER says CLEAN only when everything below clean_lsn is durable. At level DROP no
 *            later record is acknowledged before SUPER durably says DIRTY. Otherwise a power cut
 *            would bring back values that were overwritten since the last sync.
 *            META holds every control below its lsn: the table changes before a control is logged,
 *            and the lsn is read before the table.
 *            A header with a floor above the controls of a segment makes META the only copy of
 *            them. That header has META's serial. If the newest META left has a lower serial, the
 *            newer copy is damaged, and recovery believes no record (recovery.c).
 * LOCKING    All functions belong to the worker, except l2_dirty_wait, which waits for the worker.
 * LIMITS     If the disk refuses to mark SUPER DIRTY, changes are logged all the same. A process
 *            death loses nothing; an additional power cut may bring back the state of the last
 *            sync. */
#include "l2/l2_int.h"

#include <errno.h>

#define L2_META_MAGIC 0x4d324c43u /* "CL2M" */
#define L2_META_HEAD 64u
#define L2_META_ROW 16u
#define L2_META_SEED UINT64_C(0x6d657461)
#define L2_META_ROUNDS 8
#define L2_ROUNDS 64 /* short transfers and interruptions */

CELLAR_PRIVATE int l2_read_only(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at)
{
    size_t got = 0;
    for (int i = 0; i < L2_ROUNDS && got < n; i++) {
        size_t done = 0;
        int e = d->vfs->pread(d->vfs->ctx, f, (unsigned char *)buf + got, n - got, at + got,
                              &done);
        got += done;
        if (e == EINTR || e == EAGAIN) { continue; }
        if (e == 0 && done == 0) { e = ENODATA; } /* end of the file */
        if (e != 0) { return e; }
    }
    return got == n ? 0 : EINTR; /* repeated interruptions */
}

CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at)
{
    const int e = l2_read_only(d, f, buf, n, at);
    if (e == EINTR) { return EIO; }
    if (e != 0) { l2_io_failed(d, "l2_read", f, at, e); }
    return e;
}

CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at)
{
    size_t put = 0;
    for (int i = 0; i < L2_ROUNDS && put < n; i++) {
        size_t done = 0;
        l2_beat(d);
        const int e = d->vfs->pwrite(d->vfs->ctx, f, (const unsigned char *)buf + put, n - put,
                                     at + put, &done);
        put += done & ~(size_t)(L2_PAGE / 8 - 1); /* O_DIRECT continues at a sector boundary. */
        if (e == EINTR || e == EAGAIN) { continue; }
        if (e != 0) {
            l2_io_failed(d, "l2_write", f, at + put, e);
            return e;
        }
    }
    return put == n ? 0 : EIO;
}

CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f)
{
    l2_beat(d);
    const int e = d->vfs->datasync(d->vfs->ctx, f);
    if (e != 0) { l2_io_failed(d, "l2_sync", f, 0, e); }
    return e;
}

CELLAR_PRIVATE int64_t l2_wall_now(const l2 *d)
{
    return base_add_sat(base_now_ms(d->cfg.clock), d->wall_offset_ms);
}

/* ---- SUPER ---- */

BASE_SIZE_BEGIN

CELLAR_PRIVATE int l2_super_store(l2 *d)
{
    d->super.serial++;
    d->super.floor_lsn = base_load_acq(&d->floor_lsn);
    /* During an open only SUPER may know that a newer META existed. */
    d->super.meta = BASE_MAX(d->super.meta, d->meta_serial);
    d->super.last_seen_wall_ms = BASE_MAX(d->super.last_seen_wall_ms, l2_wall_now(d));
    d->super.day = base_load_rlx(&d->day.window);
    d->super.bytes_today = base_load_rlx(&d->day.used);
    /* A little ahead, so that a process death does not forget bytes since the last write of
     * SUPER. */
    if (d->super.state != L2_CLEAN) { d->super.bytes_today += d->cfg.write_bpd / L2_DAY_STEPS; }
    unsigned char *page = d->page + L2_PAGE;
    l2_super_write(page, &d->super);
    const uint64_t at = (d->super.serial & 1) * L2_PAGE;
    int e = l2_write(d, d->super_file, page, L2_PAGE, at);
    BASE_POINT("l2.super_written");
    if (e == 0) { e = l2_datasync(d, d->super_file); }
    /* The state of that copy is unknown. The next attempt writes the same copy. */
    if (e != 0) { d->super.serial++; }
    return e;
}

CELLAR_PRIVATE int l2_dirty_now(l2 *d)
{
    base_store_rlx(&d->want_dirty, 0u);
    if (base_load_acq(&d->dirty) == L2_NOW_DIRTY) { return 0; }
    d->super.state = L2_DIRTY;
    d->super.closed = 0;
    const int e = l2_super_store(d);
    if (e != 0) {
        base_log(d->cfg.log, BASE_LOG_ERROR, "l2", e,
                 "SUPER cannot be marked DIRTY: a power cut may restore old values");
    }
    BASE_POINT("l2.dirty");
    base_store_rel(&d->dirty, (uint32_t)L2_NOW_DIRTY); /* acquire in l2_reserve_held */
    return e;
}

CELLAR_PRIVATE void l2_dirty_wait(l2 *d)
{
    l2_worker_take(d);
    (void)l2_dirty_now(d);
    l2_worker_drop(d);
}

/* ---- META ---- */

static size_t l2_meta_rows(const l2 *d, unsigned char *to, size_t cap) SYNC_HOLDS(L2_DEV);
static size_t l2_meta_rows(const l2 *d, unsigned char *to, size_t cap)
{
    size_t n = 0;
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        const l2_namespace_row *v = &d->namespace[i];
        const size_t row = L2_META_ROW + (size_t)base_round_up(v->name_len, 8);
        if (row > cap - n) { return SIZE_MAX; }
        l2_w32(to + n, v->v.id);
        l2_w32(to + n + 4, v->v.generation);
        l2_w32(to + n + 8, v->v.version);
        l2_w32(to + n + 12, v->name_len);
        memcpy(to + n + L2_META_ROW, v->name, v->name_len);
        n += row;
    }
    return n;
}

static uint64_t l2_meta_sum(const l2 *d, unsigned char *buf, size_t n)
{
    uint64_t check = l2_r64(buf + 56);
    l2_w64(buf + 56, 0);
    const uint64_t sum = base_sum(&d->form.sum, L2_META_SEED, buf, n);
    l2_w64(buf + 56, check);
    return sum;
}

/* Return a lower bound of the lsn of the next record. A READY slot already has its number. */
static uint64_t l2_log_end(const l2 *d) SYNC_HOLDS(L2_LOG);
static uint64_t l2_log_end(const l2 *d)
{
    const l2_slot *s = d->open_slot;
    if (s != NULL) { return l2_lsn(d, s->head.segseq, s->pos); }
    uint64_t end = l2_lsn(d, d->newest_segseq + 1, 0);
    for (uint32_t i = 0; i < d->nstage; i++) {
        s = &d->slot[i];
        const bool fresh = s->state == L2_SLOT_READY ||
                           (s->state == L2_SLOT_WRITTEN && s->synced_at == UINT64_MAX);
        if (fresh) { end = BASE_MIN(end, l2_lsn(d, s->head.segseq, 0)); }
    }
    return end;
}

static int l2_meta_write(l2 *d, unsigned char *buf, size_t cap, uint64_t lsn)
{
    memset(buf, 0, cap);
    l2_w32(buf, L2_META_MAGIC);
    l2_w64(buf + 8, d->form.epoch);
    l2_w64(buf + 16, d->meta_serial + 1);
    l2_w64(buf + 24, lsn);
    sync_take(L2_DEV, &d->namespace_lock);
    size_t rows = l2_meta_rows(d, buf + L2_META_HEAD, cap - L2_META_HEAD);
    l2_w32(buf + 32, d->namespace_count);
    l2_w32(buf + 48, d->next_generation);
    l2_w32(buf + 52, d->next_id);
    sync_drop(L2_DEV, &d->namespace_lock);
    if (rows == SIZE_MAX) { return EOVERFLOW; }
    const size_t at = L2_META_HEAD + rows;
    const size_t more = l2_ends_write(d, buf, buf + at, cap - 512 - at, lsn);
    if (more == SIZE_MAX) { return EOVERFLOW; }
    rows += more;
    l2_w64(buf + 56, l2_meta_sum(d, buf, L2_META_HEAD + rows));
    base_vfs_file *f = d->meta[(d->meta_serial + 1) & 1];
    int e = l2_write(d, f, buf, (size_t)base_round_up(L2_META_HEAD + rows, 512), 0);
    return e == 0 ? l2_datasync(d, f) : e;
}

CELLAR_PRIVATE int l2_meta_store(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t logged = d->logged_controls;
    const uint32_t lost = base_load_acq(&d->lost_controls);
    const uint64_t lsn = l2_log_end(d);
    sync_drop(L2_LOG, &d->log_lock);
    int e = EOVERFLOW;
    for (int i = 0; e == EOVERFLOW && i < L2_META_ROUNDS; i++) { /* rows were added meanwhile */
        const size_t ends = l2_ends_bytes(d);
        sync_take(L2_DEV, &d->namespace_lock);
        const size_t cap = L2_META_HEAD + 512 + ends +
                           ((size_t)d->namespace_count + 16) * (L2_META_ROW + L2_NAME_MAX);
        sync_drop(L2_DEV, &d->namespace_lock);
        unsigned char *buf = base_alloc(d->cfg.account, BASE_MOD_L2, cap, NULL);
        if (buf == NULL) { return ENOMEM; }
        e = l2_meta_write(d, buf, cap, lsn);
        base_free(d->cfg.account, BASE_MOD_L2, buf, cap);
    }
    BASE_POINT("l2.meta");
    if (e != 0) { return e; }
    d->meta_serial++;
    d->meta_lsn = lsn;
    d->meta_controls = logged;
    sync_take(L2_LOG, &d->log_lock);
    d->meta_lost = lost;
    d->meta_done = (uint32_t)BASE_MIN(d->meta_serial, UINT32_MAX);
    sync_drop(L2_LOG, &d->log_lock);
    return 0;
}

/* Read one copy. Return its serial, or 0 if it is invalid. The caller frees *buf, `*cap` bytes. */
static uint64_t l2_meta_read(l2 *d, unsigned which, unsigned char **buf, size_t *cap)
{
    base_vfs_stat st;
    *buf = NULL;
    *cap = 0;
    if (d->vfs->stat(d->vfs->ctx, d->meta[which], &st) != 0 || st.size_bytes < L2_META_HEAD ||
        st.size_bytes > (1u << 20)) {
        return 0;
    }
    *cap = (size_t)st.size_bytes;
    *buf = base_alloc(d->cfg.account, BASE_MOD_L2, *cap, NULL);
    if (*buf == NULL || l2_read(d, d->meta[which], *buf, *cap, 0) != 0) { return 0; }
    if (l2_r32(*buf) != L2_META_MAGIC) { return 0; }
    size_t n = L2_META_HEAD;
    for (uint32_t i = l2_r32(*buf + 32); i > 0; i--) {
        if (*cap - n < L2_META_ROW || l2_r32(*buf + n + 12) > L2_NAME_MAX) { return 0; }
        n += L2_META_ROW + (size_t)base_round_up(l2_r32(*buf + n + 12), 8);
        if (n > *cap) { return 0; }
    }
    size_t ends;
    if (!l2_ends_skip(*buf, *buf + n, *cap - n, &ends)) { return 0; }
    n += ends;
    return l2_meta_sum(d, *buf, n) == l2_r64(*buf + 56) ? l2_r64(*buf + 16) : 0;
}

static bool l2_meta_take(l2 *d, const unsigned char *buf)
{
    size_t n = L2_META_HEAD;
    bool ok = true;
    /* Of an earlier epoch only names, ids and versions count; it has no stored records. */
    const bool same = l2_r64(buf + 8) == d->form.epoch;
    for (uint32_t i = l2_r32(buf + 32); i > 0 && ok; i--) {
        const uint32_t len = l2_r32(buf + n + 12);
        const l2_namespace v = { l2_r32(buf + n), l2_r32(buf + n + 4), l2_r32(buf + n + 8) };
        ok = l2_namespace_apply(d, &v, (const char *)buf + n + L2_META_ROW, len);
        n += L2_META_ROW + (size_t)base_round_up(len, 8);
    }
    sync_take(L2_DEV, &d->namespace_lock);
    d->next_generation = BASE_MAX(d->next_generation, l2_r32(buf + 48));
    d->next_id = BASE_MAX(d->next_id, l2_r32(buf + 52));
    sync_drop(L2_DEV, &d->namespace_lock);
    d->meta_lsn = same ? l2_r64(buf + 24) : 0;
    return ok && (!same || l2_ends_take(d, buf, buf + n));
}

CELLAR_PRIVATE cellar_err l2_meta_load(l2 *d)
{
    unsigned char *buf[2];
    size_t cap[2];
    uint64_t serial[2];
    for (unsigned i = 0; i < 2; i++) { serial[i] = l2_meta_read(d, i, &buf[i], &cap[i]); }
    const unsigned newer = serial[1] > serial[0];
    bool ok = true;
    if (serial[newer] != 0) { ok = l2_meta_take(d, buf[newer]); }
    d->meta_serial = serial[newer];
    for (unsigned i = 0; i < 2; i++) {
        base_free(d->cfg.account, BASE_MOD_L2, buf[i], cap[i]);
    }
    return ok ? CELLAR_OK : CELLAR_E_NOMEM;
}

CELLAR_PRIVATE bool l2_control_apply(l2 *d, const unsigned char *value, uint32_t bytes,
                                     uint64_t lsn, uint64_t *floor)
{
    if (bytes < 16) { return true; }
    if (value[0] == L2_CTL_FLOOR) {
        *floor = BASE_MAX(*floor, l2_r64(value + 8));
    } else if (value[0] == L2_CTL_NAMESPACE && value[1] <= L2_NAME_MAX && 16u + value[1] <= bytes) {
        const l2_namespace v = { l2_r32(value + 4), l2_r32(value + 8), l2_r32(value + 12) };
        return l2_namespace_apply(d, &v, value[2] != 0 ? (const char *)value + 16 : NULL, value[1]);
    }
    return l2_ends_control(d, value, bytes, lsn);
}

/* ---- syncs ---- */

static void l2_writers_wait(l2 *d)
{
    for (uint32_t i = 0; i < d->nstage; i++) {
        while (base_load_acq(&d->slot[i].writers) != 0) { base_yield(); }
    }
}

/* Sync data and stage. quiet: no thread appends. A stage that stage_trim.c zeroes is synced only
 * then; it holds less than one segment that is not in data.seg. */
static int l2_sync_files(l2 *d, bool quiet)
{
    const bool drop = d->cfg.level == L2_DROP, scraps = drop && !d->no_scrap;
    if (drop) { l2_drain(d); }
    const int e = l2_datasync(d, d->data_file);
    if (e != 0 || (scraps && !quiet)) { return e; }
    if (scraps) { l2_scrap_all(d); }
    l2_disarm(d);
    return l2_datasync(d, d->stage_file);
}

/* Begin a sync and return its lsn. At DROP, appends wait from here until SUPER says DIRTY again. */
static uint64_t l2_sync_begin(l2 *d)
{
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t lsn = l2_log_end(d);
    if (d->cfg.level == L2_DROP) { base_store_sc(&d->dirty, (uint32_t)L2_NOW_MOVING); }
    sync_drop(L2_LOG, &d->log_lock);
    l2_writers_wait(d);
    return lsn;
}

/* Sync everything. closing: the last action of this run on its log. */
CELLAR_PRIVATE cellar_err l2_sync_as(l2 *d, bool closing)
{
    l2_worker_take(d);
    L2_COUNT(d, syncs);
    if (!l2_files_there(d)) { /* The files at the path are not the ones that would be synced. */
        l2_worker_drop(d);
        return CELLAR_E_IO;
    }
    l2_reopen(d);
    const uint32_t before = base_load_rlx(&d->dirty);
    int e = l2_sync_files(d, false); /* most of the bytes, while appends continue */
    const uint64_t lsn = l2_sync_begin(d);
    BASE_POINT("l2.sync_begun");
    if (e == 0) { e = l2_meta_store(d); }
    if (e == 0) { e = l2_sync_files(d, true); }
    const bool unlogged = (base_load_sc(&d->closed) & L2_CLOSED) != 0; /* changes that no log has */
    if (e == 0 && unlogged) { e = EAGAIN; }
    if (e == 0 && !l2_files_there(d)) { e = EFAULT; } /* truncated during the sync */
    if (e == 0) {
        d->data_syncs++;
        d->super.state = L2_CLEAN;
        d->super.clean_lsn = lsn;
        d->super.closed = closing;
        e = l2_super_store(d);
    }
    if (e == 0) {
        base_store_rel(&d->want_dirty, 0u);
        base_store_rel(&d->dirty, d->cfg.level == L2_DROP ? (uint32_t)L2_NOW_CLEAN
                                                          : (uint32_t)L2_NOW_DIRTY);
        if (!closing) { l2_arm_work(d); }
        l2_worker_drop(d);
        return CELLAR_OK;
    }
    /* SUPER may say CLEAN or not. It must say DIRTY again before anything is acknowledged. */
    base_store_rel(&d->dirty, before == L2_NOW_CLEAN ? (uint32_t)L2_NOW_CLEAN
                                                     : (uint32_t)L2_NOW_MOVING);
    (void)l2_dirty_now(d);
    l2_sync_failed(d, e);
    l2_worker_drop(d);
    return CELLAR_E_IO;
}

CELLAR_PRIVATE cellar_err l2_sync(l2 *d) { return l2_sync_as(d, false); }

CELLAR_PRIVATE void l2_retire(l2 *d)
{
    l2_worker_take(d);
    base_store_rel(&d->broken, (uint32_t)L2_BROKEN);
    l2_empty(d);
    sync_take(L2_DEV, &d->namespace_lock);
    d->namespace_count = 0;
    d->next_generation = d->next_id = 1;
    sync_drop(L2_DEV, &d->namespace_lock);
    l2_ends_forget(d);
    (void)l2_dirty_now(d);
    d->super.stage.inode = 0; /* none: the next open begins an empty store */
    (void)l2_meta_store(d);
    (void)l2_super_store(d);
    l2_worker_drop(d);
}

CELLAR_PRIVATE bool l2_tick(l2 *d, uint64_t budget_us)
{
    if (!l2_worker_try(d)) { return false; }
    const bool more = l2_work(d, budget_us);
    l2_worker_drop(d);
    return more;
}

/* ---- stats ---- */

CELLAR_PRIVATE void l2_stats_get(l2 *d, l2_stats *out)
{
    memset(out, 0, sizeof *out);
#define L2_GIVE(name) out->name = base_load_rlx(&d->n.name)
    L2_GIVE(gets); L2_GIVE(hits); L2_GIVE(miss_word); L2_GIVE(miss_read); L2_GIVE(miss_damage);
    L2_GIVE(miss_key); L2_GIVE(miss_expired); L2_GIVE(io_errors); L2_GIVE(puts);
    L2_GIVE(put_bytes); L2_GIVE(dropped); L2_GIVE(refused_stamp); L2_GIVE(refused_size);
    L2_GIVE(refused_ttl); L2_GIVE(identical); L2_GIVE(kills); L2_GIVE(tombstones);
    L2_GIVE(denied); L2_GIVE(remembered); L2_GIVE(controls); L2_GIVE(sealed);
    L2_GIVE(sealed_bytes); L2_GIVE(reclaimed); L2_GIVE(emptied); L2_GIVE(syncs);
    L2_GIVE(barriers); L2_GIVE(healed); L2_GIVE(recovered); L2_GIVE(holes); L2_GIVE(offs);
    L2_GIVE(refused_budget); L2_GIVE(refused_unused); L2_GIVE(refused_seal);
    L2_GIVE(miss_sealed); L2_GIVE(stalled); L2_GIVE(closings);
    L2_GIVE(relied); L2_GIVE(waits); L2_GIVE(commits);
    L2_GIVE(miss_ended); L2_GIVE(refused_ended); L2_GIVE(folds);
    L2_GIVE(scrapped_bytes);
    L2_GIVE(packed); L2_GIVE(packed_saved); L2_GIVE(miss_packed);
    L2_GIVE(cuts); L2_GIVE(reread); L2_GIVE(snaps);
    out->opened = d->opened;
    out->set_aside = d->set_aside;
    out->mapped_reads = base_load_rlx(&d->mapped.done);
    out->mapped_bytes = base_load_rlx(&d->mapped.lost) == 0 ? d->mapped.bytes : 0;
#undef L2_GIVE
    out->kills += out->denied + out->remembered;
    l2_ends_count(d, out);
    const uint32_t nseg = base_load_acq(&d->nseg_seen), places = base_load_acq(&d->places_seen);
    for (uint32_t i = 0; i < nseg; i++) {
        const uint32_t state = L2_SEG_STATE(base_load_acq(&d->seg[i].word));
        out->segments_live += state == L2_SEG_STAGE || state == L2_SEG_DISK;
        out->segments_free += state == L2_SEG_FREE;
        out->bad_places += state == L2_SEG_BAD;
    }
    out->file_bytes = ((uint64_t)places + d->nstage) * d->form.seg_bytes + 2 * L2_PAGE +
                      base_load_rlx(&d->image_bytes);
    out->log_bytes = out->segments_live * d->form.seg_bytes;
    out->entries = base_load_rlx(&d->index.words);
    out->index_slots = (uint64_t)d->index.buckets * L2_SHARDS * L2_WAYS;
    out->index_full = base_load_rlx(&d->index.full);
    out->warming = base_load_acq(&d->warming) != 0;
    out->bytes_today = base_load_rlx(&d->day.used);
    const uint32_t disk = base_load_acq(&d->disk);
    out->off = disk != L2_DISK_OK;
    out->trying = disk == L2_DISK_TRYING;
    out->broken = base_load_acq(&d->broken) != 0;
    out->dirty = base_load_acq(&d->dirty) == L2_NOW_DIRTY;
    out->empty = base_load_rlx(&d->emptied) != 0; /* no lock: its holder may wait for the disk */
}

BASE_SIZE_END
