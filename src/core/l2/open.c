/* SPDX-License-Identifier: MIT
 *
 * open: identify the directory, format it if it is empty, open and close the store.
 *
 * PICTURE    names -> directory without a store: format, SUPER last, by rename
 *                  -> SUPER: read (nothing touched) -> LOCK -> SUPER again -> recover -> SUPER
 *            close: thread joined, buffer written, all synced, SUPER, everything freed
 * INVARIANTS Three kinds of directories stay byte for byte as they were. One has a foreign file and
 *            no SUPER. One has a SUPER without our magic, or of a newer format. The third has both
 *            copies of SUPER damaged; on_damage permits to rename it (with a LOCK in it).
 *            A directory of format 2 is a cache of this library: it is emptied.
 *            A copy is a directory with a data.seg for which SUPER was not written: another inode
 *            or time of creation, or, if that is unknown, another device. It is believed only if a
 *            close wrote SUPER.
 * TIME       Disk: wall time. RAM: the store's clock. Same boot: SUPER has a pair of both, so steps
 *            of the wall clock have no effect. Other boot, or a store's clock that began again: the
 *            last seen time, and what the wall clock counted since then. So a wrong wall clock has
 *            an effect once, when it steps ahead.
 * LOCKING    The lock belongs to the open file, so a second open in one process is refused, too.
 *            data.seg is locked as well, against a process that removed LOCK. */
#include <stdio.h>
#include <stdlib.h>

#include "base/process.h"
#include "base/random.h"
#include "l2/admission.h"
#include "l2/codec.h"
#include "l2/geometry.h"
#include "l2/health.h"
#include "l2/image.h"
#include "l2/index.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/progress.h"
#include "l2/recover.h"
#include "l2/reopen.h"
#include "l2/resize.h"
#include "l2/resync.h"
#include "l2/segment.h"
#include "l2/stall.h"
#include "l2/super.h"
#include "l2/worker.h"

BASE_SIZE_BEGIN

#define L2_LOCK_TRIES 5
#define L2_DAY_MS INT64_C(86400000)
#define L2_AHEAD_MS (366 * L2_DAY_MS)
#define L2_LOCK_TEXT 20u /* of LOCK */
#define L2_LOCK_NS UINT64_C(2000000)

static const char *const l2_names[] = { "LOCK", "SUPER", "SUPER.new", "data.seg", "data.new" };
static const char *const l2_old_names[] = { "META.0", "META.1", "stage.buf", "bloom.snap",
                                            "bloom.new", "index.snap", "index.new" };

/* ---- files ---- */

static int l2_file(l2 *d, const char *name, uint32_t flags, base_vfs_file **out)
{
    const int e = d->vfs->open(d->vfs->ctx, d->dir, name, flags, out);
    const bool misfit = e == ELOOP || e == EISDIR || e == ENXIO;
    if (misfit && d->cfg.refusal != NULL) { d->cfg.refusal->misfit = name; }
    return e;
}

static void l2_file_close(l2 *d, base_vfs_file **f)
{
    if (*f != NULL) { d->vfs->close(d->vfs->ctx, *f); }
    *f = NULL;
}

CELLAR_PRIVATE void l2_forked(l2 *d)
{
    for (int i = 0; i < 2; i++) {
        base_vfs_file *f = base_load_rlx(&d->ring[i].file);
        l2_file_close(d, &f);
        base_store_rlx(&d->ring[i].file, f);
    }
    l2_file_close(d, &d->retired);
    l2_file_close(d, &d->super_file);
    l2_file_close(d, &d->over_file);
    l2_file_close(d, &d->lock_file);
    l2_file_close(d, &d->dir);
}

static void l2_files_close(l2 *d)
{
    /* A child forked during an open or a close has a copy of the descriptor that stays open. */
    if (d->lock_file != NULL && d->vfs->unlock != NULL) {
        (void)d->vfs->truncate(d->vfs->ctx, d->lock_file, 0); /* no process holds it from now on */
        d->vfs->unlock(d->vfs->ctx, d->lock_file);
        for (int i = 0; i < 2; i++) {
            base_vfs_file *f = base_load_rlx(&d->ring[i].file);
            if (f != NULL) { d->vfs->unlock(d->vfs->ctx, f); }
        }
    }
    l2_forked(d);
}

/* ---- identity of the directory ---- */

typedef struct l2_census { bool super, data, old, foreign; } l2_census;

static void l2_count_name(void *ctx, const char *name)
{
    l2_census *c = ctx;
    bool ours = false;
    for (size_t i = 0; i < sizeof l2_names / sizeof l2_names[0]; i++) {
        ours = ours || strcmp(name, l2_names[i]) == 0;
    }
    bool old = false;
    for (size_t i = 0; i < sizeof l2_old_names / sizeof l2_old_names[0]; i++) {
        old = old || strcmp(name, l2_old_names[i]) == 0;
    }
    c->super = c->super || strcmp(name, "SUPER") == 0;
    c->data = c->data || strcmp(name, "data.seg") == 0;
    c->old = c->old || old;
    c->foreign = c->foreign || !(ours || old);
}

/* Return the code of an open that ended with an errno. */
static cellar_err l2_code(int e)
{
    return e == 0 ? CELLAR_OK : e == ENOMEM ? CELLAR_E_NOMEM : CELLAR_E_IO;
}

/* Load the valid copy with the higher serial. Without one: E_CORRUPT if a copy has our magic, else
 * E_FOREIGN. If a copy has a newer format: E_NEWER_FORMAT; an older one: CELLAR_STALE. */
static cellar_err l2_super_load(l2 *d, int *sys_errno)
{
    unsigned char page[L2_PAGE];
    base_vfs_file *f = NULL;
    int e = l2_file(d, "SUPER", 0, &f), lost = 0;
    bool any = false, newer = false, older = false, ours = false;
    for (uint64_t i = 0; i < 2 && e == 0; i++) {
        l2_super s;
        const int r = l2_read(d, f, page, L2_PAGE, i * L2_PAGE);
        if (r != 0 && r != ENODATA) { lost = r; }
        const cellar_err err = r == 0 ? l2_super_read(page, &s) : CELLAR_E_FOREIGN;
        newer = newer || err == CELLAR_E_NEWER_FORMAT;
        older = older || err == CELLAR_STALE;
        ours = ours || err != CELLAR_E_FOREIGN;
        if (err == CELLAR_OK && (!any || s.serial > d->super.serial)) {
            d->super = s;
            any = true;
        }
    }
    l2_file_close(d, &f);
    if (!any && e == 0) { e = lost; }
    *sys_errno = e;
    if (e != 0) { return l2_code(e); }
    if (newer) { return CELLAR_E_NEWER_FORMAT; }
    if (any) { return CELLAR_OK; }
    return older ? CELLAR_STALE : ours ? CELLAR_E_CORRUPT : CELLAR_E_FOREIGN;
}

/* ---- format ---- */

static int l2_super_make(l2 *d)
{
    unsigned char page[L2_PAGE];
    base_vfs_file *f = NULL;
    int e = l2_file(d, "SUPER.new", BASE_VFS_CREATE | BASE_VFS_WRITE, &f);
    for (uint64_t i = 0; i < 2 && e == 0; i++) {
        d->super.serial = 2 + i;
        l2_super_write(page, &d->super);
        e = l2_write(d, f, page, L2_PAGE, (d->super.serial & 1) * L2_PAGE);
    }
    memset(page, 0, L2_PAGE);
    memset(page + 8, 0xff, 8);
    if (e == 0) { e = l2_write(d, f, page, L2_PAGE, (uint64_t)2 * L2_PAGE); }
    if (e == 0) { e = d->vfs->datasync(d->vfs->ctx, f); }
    l2_file_close(d, &f);
    if (e == 0) { e = d->vfs->rename(d->vfs->ctx, d->dir, "SUPER.new", "SUPER"); }
    if (e == 0) { e = d->vfs->sync_dir(d->vfs->ctx, d->dir); }
    return e;
}

/* Make data.seg, as long as the disk has room for. */
static int l2_data_make(l2 *d)
{
    base_vfs_file *f = NULL;
    l2_super *s = &d->super;
    const uint64_t least = d->cfg.seg_count != 0 ? s->nseg : L2_BYTES_MIN / 2 / s->seg_bytes;
    (void)d->vfs->unlink(d->vfs->ctx, d->dir, "data.seg"); /* of a format that was interrupted */
    int e = l2_file(d, "data.seg", BASE_VFS_CREATE | BASE_VFS_WRITE, &f);
    while (e == 0) {
        e = d->vfs->preallocate(d->vfs->ctx, f, (uint64_t)s->nseg * s->seg_bytes);
        if ((e != ENOSPC && e != EDQUOT) || s->nseg - s->nseg / 4 < BASE_MAX(least, L2_SEGS_MIN)) {
            break;
        }
        s->nseg -= s->nseg / 4;
        e = d->vfs->truncate(d->vfs->ctx, f, 0);
    }
    l2_file_close(d, &f);
    if (e != 0) { (void)d->vfs->unlink(d->vfs->ctx, d->dir, "data.seg"); }
    return e;
}

static cellar_err l2_format(l2 *d, int *sys_errno)
{
    l2_super *s = &d->super;
    memset(s, 0, sizeof *s);
    const cellar_err err = l2_geometry(&d->cfg, s);
    if (err != CELLAR_OK) { return err; }
    if (l2_tables_bytes(&d->cfg, s) + l2_rows_bytes(s) > base_load_rlx(&d->cfg.account->limit)) {
        d->cfg.refusal->least_memory = l2_memory_least(&d->cfg, NULL);
        return CELLAR_E_NOMEM; /* Do not make a store that could not be opened. */
    }
    if (d->cfg.secret != NULL) { memcpy(s->secret, d->cfg.secret, 32); }
    if (d->cfg.secret == NULL && !base_random_bytes(s->secret, 32)) { return CELLAR_E_NOMEM; }
    if (d->cfg.uuid != NULL) { memcpy(s->uuid, d->cfg.uuid, 16); }
    if (d->cfg.uuid == NULL && !base_random_bytes(s->uuid, 16)) { return CELLAR_E_NOMEM; }
    s->major = L2_MAJOR;
    s->minor = L2_MINOR;
    s->hash_algo = (uint16_t)d->cfg.hash_algo;
    s->level = (uint32_t)d->cfg.level;
    int e = l2_data_make(d);
    if (e == 0) { e = l2_super_make(d); }
    *sys_errno = e;
    return l2_code(e);
}

/* Remove the files of an older format, SUPER last. */
static cellar_err l2_old_remove(l2 *d, int *sys_errno)
{
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
             "l2_path has the disk tier of an older version: it begins empty");
    for (size_t i = 0; i < sizeof l2_old_names / sizeof l2_old_names[0]; i++) {
        (void)d->vfs->unlink(d->vfs->ctx, d->dir, l2_old_names[i]);
    }
    (void)d->vfs->unlink(d->vfs->ctx, d->dir, "data.seg");
    *sys_errno = d->vfs->unlink(d->vfs->ctx, d->dir, "SUPER");
    if (*sys_errno == ENOENT) { *sys_errno = 0; } /* it was being made, or removed */
    return *sys_errno == 0 ? l2_format(d, sys_errno) : l2_code(*sys_errno);
}

/* ---- open ---- */

static unsigned char *l2_aligned(const void *raw)
{
    return (unsigned char *)(uintptr_t)base_round_up((uintptr_t)raw, L2_PAGE);
}

static size_t l2_scratch_bytes(const l2 *d)
{
    return d->buf_bytes + L2_BOUNCE + d->work_bytes + L2_PAGE;
}

static bool l2_tables_open(l2 *d)
{
    const l2_super *s = &d->super;
    const uint64_t words = l2_words_for(&d->cfg, s);
    l2_form_make(&d->form, s);
    base_hash_key_init(&d->hash_key, (base_hash_algo)s->hash_algo, s->secret);
    base_store_rlx(&d->places_seen, s->nseg);
    d->buf_bytes = l2_buf_bytes(&d->cfg, s);
    d->work_bytes = l2_work_bytes(&d->cfg, s);
    d->room_max = s->room_max;
    d->buf_raw = base_alloc(d->cfg.account, BASE_MOD_L2_BUFFER, l2_scratch_bytes(d), NULL);
    d->rows = base_alloc(d->cfg.account, BASE_MOD_L2_BUFFER, l2_rows_bytes(s), NULL);
    if (d->buf_raw == NULL || d->rows == NULL) { return false; }
    d->buf = l2_aligned(d->buf_raw);
    d->page = d->buf + d->buf_bytes;
    d->work = d->page + L2_BOUNCE;
    return l2_index_open(d, words) && l2_seen_open(d, words);
}

static void l2_clock_set(l2 *d, bool same_boot)
{
    l2_super *s = &d->super;
    const int64_t now = base_now_ms(d->cfg.clock), seen = s->last_seen_wall_ms;
    /* The clock of a host may begin again with each process. */
    if (!same_boot || s->anchor_wall_ms + (now - s->anchor_boot_ms) < seen) {
        const int64_t past = l2_wall_clock(d) - s->clock_ms;
        if (s->clock_ms != 0 && past > L2_AHEAD_MS) {
            base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
                     "the clock of the system is %lld days ahead of the last use of l2_path: "
                     "entries with a TTL ended", (long long)(past / L2_DAY_MS));
        }
        s->anchor_wall_ms = seen + BASE_MAX(past, 0);
        s->anchor_boot_ms = now;
    }
    d->wall_offset_ms = s->anchor_wall_ms - s->anchor_boot_ms;
    base_store_rlx(&d->day.window, s->day);
    base_store_rlx(&d->day.used, s->bytes_today);
    d->synced_ms = d->beat_ms = d->seen_ms = now;
}

static bool l2_boot_is(l2 *d, unsigned char boot[16])
{
    static const unsigned char none[16];
    if (d->vfs->boot_id(d->vfs->ctx, boot) != 0) { memset(boot, 0, 16); }
    return memcmp(boot, none, 16) != 0 && memcmp(boot, d->super.boot_id, 16) == 0;
}

/* Open the file of a ring. *whole: false if it was cut. */
static int l2_ring_open(l2 *d, uint32_t ring, const char *name, uint32_t nseg, uint64_t first,
                        base_vfs_stat *st, bool *whole)
{
    base_vfs_file *f = NULL;
    const uint64_t size = (uint64_t)nseg * d->form.seg_bytes;
    int e = l2_file(d, name, BASE_VFS_WRITE | BASE_VFS_CREATE, &f);
    if (e == 0) { e = d->vfs->lock(d->vfs->ctx, f); }
    if (e == 0) { e = d->vfs->stat(d->vfs->ctx, f, st); }
    if (e == 0) {
        *whole = *whole && st->size_bytes >= size;
        d->ring[ring].had = BASE_MIN(size, st->size_bytes);
    }
    base_store_rlx(&d->ring[ring].first, first);
    base_store_rlx(&d->ring[ring].size, size);
    base_store_rlx(&d->ring[ring].file, f);
    base_store_rlx(&d->newest, ring);
    return e;
}

/* Give the files their size again. Changes since they were cut may not be there: until this open is
 * over SUPER names another file, so that no later open believes what is left. */
static int l2_rings_mend(l2 *d, uint64_t inode)
{
    d->super.inode = ~inode;
    int e = l2_super_store(d);
    for (int i = 0; i < 2 && e == 0; i++) {
        base_vfs_file *f = base_load_rlx(&d->ring[i].file);
        if (f == NULL) { continue; }
        e = d->vfs->preallocate(d->vfs->ctx, f, base_load_rlx(&d->ring[i].size));
    }
    return e;
}

/* Return true if SUPER names this file. Device numbers change with a boot. */
static bool l2_data_is(const l2_super *s, const base_vfs_stat *st, bool same_boot)
{
    if (s->inode == 0 || s->inode != st->inode) { return s->inode == 0; }
    if (s->born_ns != 0 && st->born_ns != 0) { return s->born_ns == st->born_ns; }
    return !same_boot || s->device == 0 || st->device == 0 || s->device == st->device;
}

/* Open data.seg, and data.new while the size changes. *kept: it is the file that SUPER names, and
 * whole. */
static int l2_data_open(l2 *d, bool same_boot, bool *kept)
{
    base_vfs_stat st = { 0 };
    l2_super *s = &d->super;
    const bool two = s->change == L2_CHANGE_RUNS;
    bool whole = true;
    int e = 0;
    if (s->change == L2_CHANGE_DONE) {
        e = d->vfs->rename(d->vfs->ctx, d->dir, "data.new", "data.seg");
        if (e == ENOENT) { e = 0; } /* it was renamed */
        if (e == 0) { s->change = L2_CHANGE_NONE; }
    }
    if (!two && e == 0) { (void)d->vfs->unlink(d->vfs->ctx, d->dir, "data.new"); }
    if (e == 0) { e = l2_ring_open(d, 0, "data.seg", two ? s->was_nseg : s->nseg, 0, &st, &whole); }
    if (e == 0 && two) { e = l2_ring_open(d, 1, "data.new", s->nseg, s->split, &st, &whole); }
    *kept = whole && l2_data_is(s, &st, same_boot);
    if (e == 0 && !whole) { e = l2_rings_mend(d, st.inode); }
    s->inode = st.inode;
    s->device = st.device;
    s->born_ns = st.born_ns;
    return e;
}

static cellar_err l2_open_ours(l2 *d, int *sys_errno)
{
    bool kept = false;
    unsigned char boot[16];
    d->super.opens++; /* durable before this run acknowledges anything */
    const bool same_boot = l2_boot_is(d, boot);
    l2_clock_set(d, same_boot);
    if (!l2_tables_open(d)) { return CELLAR_E_NOMEM; }
    int e = l2_file(d, "SUPER", BASE_VFS_WRITE, &d->super_file);
    if (e == 0) { e = l2_file(d, "SUPER", BASE_VFS_WRITE, &d->over_file); }
    if (e == 0) { e = l2_data_open(d, same_boot, &kept); }
    if (e == EAGAIN) { return CELLAR_E_BUSY; }
    if (e == 0) { e = d->vfs->sync_dir(d->vfs->ctx, d->dir); }
    *sys_errno = e;
    if (e != 0) { return l2_code(e); }
    l2_marker_name(d);
    const bool marked = l2_marker_found(d); /* changes that no log has: the contents are invalid */
    const bool closed = d->super.closed != 0, synced = d->super.level != L2_DROP;
    const uint64_t over = l2_settled_over(d);
    const bool whole = closed || (!synced && d->super.settled > over);
    /* A run at DROP synced on request alone: what it wrote since may be there, or not. */
    const bool cut = !same_boot && !whole && !synced;
    d->opened = closed ? L2_OPENED_SAVED : L2_OPENED_KILLED;
    e = l2_recover(d, !marked && !cut && (kept || closed), same_boot);
    /* A sync of the run before may have failed: then the next one does not report that. */
    if (e == 0 && same_boot && synced && !closed) { l2_span_again(d); }
    /* An open alone changes nothing: what a run at another level kept stays. */
    if (e == 0 && (synced || d->cfg.level != L2_DROP)) {
        e = l2_sync_to(d, base_load_acq(&d->tail), L2_NO_LIMIT_NS);
    }
    if (d->opened != L2_OPENED_SAVED || !kept) { d->super.clean_since = d->super.opens; }
    memcpy(d->super.boot_id, boot, 16);
    d->super.closed = 0;
    d->super.level = (uint32_t)d->cfg.level;
    d->super.synced = base_load_acq(&d->synced);
    if (over != UINT64_MAX) { d->super.settled = over; } /* SUPER may be behind it */
    if (d->cfg.level == L2_DROP && (whole || synced || !same_boot)) {
        base_store_rlx(&d->settled, ++d->super.settled);
    }
    for (int i = 0; i < 2 && e == 0; i++) { e = l2_super_store(d); } /* a copy may be damaged */
    if (e == 0 && marked) { l2_marker_remove(d); }
    base_store_rlx(&d->flushed_seq, l2_seq_of(d, base_load_acq(&d->tail)));
    if (e == 0) { l2_resize_open(d); }
    d->invalidations.open = true;
    *sys_errno = e;
    return l2_code(e);
}

/* LOCK has the number of the process that holds it. On a full disk it may lack the number. */
static void l2_lock_sign(l2 *d)
{
    char text[L2_LOCK_TEXT + 1];
    size_t done;
    (void)snprintf(text, sizeof text, "%-*lld\n", (int)L2_LOCK_TEXT - 1,
                   (long long)base_process_id());
    (void)d->vfs->pwrite(d->vfs->ctx, d->lock_file, text, L2_LOCK_TEXT, 0, &done);
}

/* Return the number of the process that holds LOCK; 0: unknown. */
static int64_t l2_lock_signer(l2 *d)
{
    char text[L2_LOCK_TEXT + 1];
    size_t done = 0;
    const int e = d->vfs->pread(d->vfs->ctx, d->lock_file, text, L2_LOCK_TEXT, 0, &done);
    text[e == 0 ? done : 0] = '\0';
    return strtoll(text, NULL, 10);
}

static cellar_err l2_lock(l2 *d, int *sys_errno)
{
    *sys_errno = l2_file(d, "LOCK", BASE_VFS_CREATE | BASE_VFS_WRITE, &d->lock_file);
    if (*sys_errno != 0) { return l2_code(*sys_errno); }
    int e = d->vfs->lock(d->vfs->ctx, d->lock_file);
    /* The inspection of a directory holds the lock for a moment */
    for (int i = 0; i < L2_LOCK_TRIES && e == EAGAIN; i++) {
        base_sleep_ns(L2_LOCK_NS);
        e = d->vfs->lock(d->vfs->ctx, d->lock_file);
    }
    if (e == 0) {
        l2_lock_sign(d);
    } else {
        if (e == EAGAIN) { d->cfg.refusal->owner = l2_lock_signer(d); }
        l2_file_close(d, &d->lock_file); /* the close clears the LOCK of this store only */
    }
    *sys_errno = e;
    return e == EAGAIN ? CELLAR_E_BUSY : l2_code(e);
}

static cellar_err l2_open_dir(l2 *d, const char *path, int *sys_errno)
{
    l2_census c = { 0 };
    base_vfs_stat st = { 0 };
    int e = d->vfs->open_dir(d->vfs->ctx, path, true, &d->dir);
    if (e == 0) { e = d->vfs->stat(d->vfs->ctx, d->dir, &st); }
    /* Locks and syncs have other semantics there. */
    if (e == 0 && st.remote != 0 && !d->cfg.allow_network) { return CELLAR_E_UNSUPPORTED; }
    if (e == 0) { e = d->vfs->list(d->vfs->ctx, d->dir, l2_count_name, &c); }
    *sys_errno = e;
    if (e != 0) { return l2_code(e); }
    cellar_err err = CELLAR_OK;
    if (c.super) { err = l2_super_load(d, sys_errno); }
    if (!c.super && c.foreign) { err = CELLAR_E_FOREIGN; }
    if (err == CELLAR_OK || err == CELLAR_STALE) { err = l2_lock(d, sys_errno); }
    if (err != CELLAR_OK) { return err; }
    c = (l2_census){ 0 }; /* another opener may just have made it */
    e = d->vfs->list(d->vfs->ctx, d->dir, l2_count_name, &c);
    *sys_errno = e;
    if (e != 0) { return l2_code(e); }
    if (!c.super && c.data && !c.old) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", 0,
                 "l2_path has a data.seg without SUPER: the disk tier begins empty");
    }
    err = c.super ? l2_super_load(d, sys_errno) : c.old ? CELLAR_STALE : l2_format(d, sys_errno);
    if (err == CELLAR_STALE) { err = l2_old_remove(d, sys_errno); }
    return err == CELLAR_OK ? l2_open_ours(d, sys_errno) : err;
}

/* Rename a damaged store with all files, so that the next attempt finds no store. Its lock is held
 * meanwhile. A concurrent caller may have put another directory there. */
static cellar_err l2_set_aside(l2 *d, const char *path, int *sys_errno)
{
    base_vfs_file *there = NULL;
    base_vfs_stat ours = { 0 }, named = { 0 };
    char name[BASE_VFS_ASIDE];
    if (d->vfs->set_aside == NULL) { return CELLAR_E_CORRUPT; }
    const cellar_err err = l2_lock(d, sys_errno);
    if (err != CELLAR_OK) { return err == CELLAR_E_BUSY ? err : CELLAR_E_CORRUPT; }
    int e = d->vfs->stat(d->vfs->ctx, d->dir, &ours);
    if (e == 0) { e = d->vfs->open_dir(d->vfs->ctx, path, false, &there); }
    if (e == 0) { e = d->vfs->stat(d->vfs->ctx, there, &named); }
    l2_file_close(d, &there);
    const bool moved = ours.inode != named.inode || ours.device != named.device;
    if (e == 0 && moved) { return CELLAR_E_BUSY; }
    if (e == 0) { e = d->vfs->set_aside(d->vfs->ctx, path, name); }
    *sys_errno = e;
    if (e != 0) { return CELLAR_E_CORRUPT; }
    d->set_aside = true;
    base_log(d->cfg.log, BASE_LOG_ERROR, "l2", (int)CELLAR_E_CORRUPT,
             "l2_path is damaged: the directory was renamed to %s, the new disk tier is empty",
             name);
    l2_file_close(d, &d->lock_file);
    l2_file_close(d, &d->dir);
    return l2_open_dir(d, path, sys_errno);
}

/* ---- open and close ---- */

static SYNC_UNCHECKED void l2_free(l2 *d)
{
    base_account *a = d->cfg.account;
    l2_files_close(d);
    l2_seen_close(d);
    l2_index_close(d);
    if (d->rows != NULL) { base_free(a, BASE_MOD_L2_BUFFER, d->rows, l2_rows_bytes(&d->super)); }
    base_free(a, BASE_MOD_L2_BUFFER, d->buf_raw, l2_scratch_bytes(d));
    base_free(a, BASE_MOD_L2, d->run, d->run_cap * sizeof *d->run);
    base_free(a, BASE_MOD_L2, d->namespace, d->namespace_cap * sizeof *d->namespace);
    l2_invalidation_close(d);
    l2_images_close(d);
    l2_codec_close(d);
    base_free(a, BASE_MOD_L2, d, sizeof *d);
}

CELLAR_PRIVATE cellar_err l2_open(const l2_config *cfg, l2 **out, int *sys_errno)
{
    *out = NULL;
    *sys_errno = 0;
    l2 *d = base_alloc(cfg->account, BASE_MOD_L2, sizeof *d, NULL);
    if (d == NULL) { return CELLAR_E_NOMEM; }
    d->cfg = *cfg;
    d->cfg.path = NULL;
    l2_refusal unread, *why = cfg->refusal != NULL ? cfg->refusal : &unread;
    *why = (l2_refusal){ 0 };
    d->cfg.refusal = why;
    if (d->cfg.sync_ms == 0) { d->cfg.sync_ms = 1000; }
    d->round = l2_tick;
    l2_health_init(d);
    if (cfg->crypt != NULL) { d->crypt = *cfg->crypt; }
    d->cfg.crypt = NULL;
    d->vfs = cfg->vfs != NULL ? cfg->vfs : base_vfs_system();
    sync_take(L2_DEV, &d->namespace_lock);
    d->next_generation = d->next_id = 1;
    sync_drop(L2_DEV, &d->namespace_lock);
    cellar_err err = CELLAR_E_NOMEM;
    const uint64_t refusals = base_load_rlx(&cfg->account->refused);
    /* The open acquires the resources of the system before it writes anything. */
    if (!cfg->no_thread) {
        d->threaded = base_thread_start(&d->thread, l2_thread_main, d, "cellar-l2",
                                        cfg->stack_bytes) == 0;
    }
    if (l2_codec_open(d) && (d->threaded || cfg->no_thread) &&
        base_random_bytes(&d->part_first, sizeof d->part_first)) {
        err = l2_open_dir(d, cfg->path, sys_errno);
        if (err == CELLAR_E_CORRUPT && cfg->set_aside) {
            err = l2_set_aside(d, cfg->path, sys_errno);
        }
    }
    d->cfg.secret = d->cfg.uuid = NULL;
    d->cfg.refusal = NULL;
    if (err == CELLAR_E_NOMEM && why->least_memory == 0 &&
        base_load_rlx(&cfg->account->refused) != refusals) {
        why->least_memory = l2_memory_least(cfg, d->super.seg_bytes != 0 ? &d->super : NULL);
    }
    if (err != CELLAR_OK) {
        l2_thread_end(d);
        l2_free(d);
        return err;
    }
    base_store_rel(&d->ready, 1u);
    l2_worker_wake(d);
    *out = d;
    return CELLAR_OK;
}

/* Sync all, wait_ns at most. */
static cellar_err l2_sync_all(l2 *d, uint64_t wait_ns)
{
    const int e = base_load_acq(&d->broken) != 0 || l2_is_closed(d)
                      ? EIO
                      : l2_sync_to(d, base_load_acq(&d->tail), wait_ns);
    return e == 0 && l2_all_written(d) ? CELLAR_OK : CELLAR_E_IO;
}

CELLAR_PRIVATE cellar_err l2_sync(l2 *d)
{
    sync_role_take(&d->working);
    (void)l2_resync(d);
    cellar_err err = l2_sync_all(d, L2_NO_LIMIT_NS);
    if (!l2_files_there(d)) { err = CELLAR_E_IO; } /* bytes that were synced are gone */
    /* At DROP a place is used again without a sync: then only SUPER has an lsn that is so new. */
    if (err == CELLAR_OK && d->cfg.level == L2_DROP) {
        sync_role_take(&d->writing);
        l2_settle(d);
        l2_writing_drop(d);
        /* Also where nothing changed: the last one may have failed. */
        if (l2_super_store(d) != 0) { err = CELLAR_E_IO; }
    }
    sync_role_drop(&d->working);
    return err;
}

CELLAR_PRIVATE cellar_err l2_commit(l2 *d) { return l2_sync_all(d, L2_COMMIT_NS); }

CELLAR_PRIVATE cellar_err l2_end(l2 *d)
{
    l2_images_save(d, true);
    l2_thread_end(d);
    d->ended = true;
    if (base_load_acq(&d->broken) != 0) { return CELLAR_OK; }
    sync_role_take(&d->working);
    (void)l2_resync(d);
    l2_reopen(d);
    (void)l2_rows_now(d);
    cellar_err err = l2_sync_all(d, L2_NO_LIMIT_NS);
    d->super.synced = base_load_acq(&d->synced);
    d->super.closed = err == CELLAR_OK;
    if (d->image_doubt) { d->super.clean_since = d->super.opens + 1; }
    const bool stored = l2_super_store(d) == 0; /* one copy is sufficient, a second one better */
    if (l2_super_store(d) != 0 && !stored) { err = CELLAR_E_IO; }
    sync_role_drop(&d->working);
    if (err != CELLAR_OK) {
        base_log(d->cfg.log, BASE_LOG_ERROR, "l2", (int)err,
                 "cellar_close: the last sync failed: the next open finds the entries unless the "
                 "power fails before");
    }
    return err;
}

CELLAR_PRIVATE void l2_close(l2 *d)
{
    if (d == NULL) { return; }
    if (!d->ended) { (void)l2_end(d); }
    l2_free(d);
}

CELLAR_PRIVATE void l2_discard(l2 *d)
{
    l2_thread_end(d);
    l2_free(d);
}

CELLAR_PRIVATE uint64_t l2_least(const l2 *d) { return l2_memory_least(&d->cfg, &d->super); }

CELLAR_PRIVATE const base_hash_key *l2_hash_key(const l2 *d) { return &d->hash_key; }

BASE_SIZE_END
