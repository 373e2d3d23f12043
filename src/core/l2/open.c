/* SPDX-License-Identifier: MIT
 *
 * open: identify the directory, format it if it is empty, open and close the store.
 *
 * PICTURE    names -> directory without a store: format, SUPER last, by rename
 *                  -> SUPER: read (nothing touched) -> LOCK -> SUPER again -> recover -> SUPER
 *                     {DIRTY, boot id, level} -> worker; CLEAN at level DROP stays CLEAN
 *            close: worker joined, full slots sealed, l2_sync, everything freed
 * INVARIANTS Three kinds of directories stay byte for byte as they were. One has a foreign file and
 *            no SUPER. One has a SUPER without our magic, or of another format. The third has both
 *            copies of SUPER damaged; on_damage permits to rename it (with a LOCK in it).
 *            A copy is a directory with files for which SUPER was not written: stage.buf has
 *            another inode or creation time, or, if that is unknown, another device. It is believed
 *            only if a close wrote SUPER, and only up to the end that SUPER names.
 * TIME       Disk: wall time. RAM: the store's clock. Same boot: SUPER has a pair of both, so steps
 *            of the wall clock have no effect. Other boot: the later of wall clock and last seen
 *            time.
 * LOCKING    The lock belongs to the open file, so a second open in one process is refused, too.
 * LIMITS     A store keeps its geometry, except its size: another l2_bytes starts a resize after
 *            the open (resize.c). */
#include "l2/types.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/process.h"
#include "base/random.h"
#include "l2/admission.h"
#include "l2/codec.h"
#include "l2/control.h"
#include "l2/files.h"
#include "l2/format.h"
#include "l2/geometry.h"
#include "l2/health.h"
#include "l2/live.h"
#include "l2/index.h"
#include "l2/index_rebuild.h"
#include "l2/index_snapshot.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/log.h"
#include "l2/owner_images.h"
#include "l2/progress.h"
#include "l2/recovery.h"
#include "l2/slot.h"
#include "l2/stall.h"
#include "l2/steps.h"
#include "l2/superblock.h"
#include "l2/tombstone_filter.h"

BASE_SIZE_BEGIN

#define L2_LOCK_TRIES 5
#define L2_LOCK_TEXT 20u /* of LOCK */
#define L2_PLACES_CHEAP 1024u /* SUPER may name so many places without a check of the file */
#define L2_LOCK_NS UINT64_C(2000000)

static const char *const l2_names[] = { "LOCK", "SUPER", "SUPER.new", "META.0", "META.1",
                                        "stage.buf", "data.seg", "bloom.snap", "bloom.new",
                                        "index.snap", "index.new" };

/* ---- identity of the directory ---- */

typedef struct l2_census { bool super, meta, foreign, images, rest, snap, snap_rest; } l2_census;

static void l2_count_name(void *ctx, const char *name)
{
    l2_census *c = ctx;
    bool ours = false;
    for (size_t i = 0; i < sizeof l2_names / sizeof l2_names[0]; i++) {
        ours = ours || strcmp(name, l2_names[i]) == 0;
    }
    c->super = c->super || strcmp(name, "SUPER") == 0;
    c->meta = c->meta || strcmp(name, "META.0") == 0; /* made after SUPER */
    c->images = c->images || strcmp(name, "bloom.snap") == 0;
    c->rest = c->rest || strcmp(name, "bloom.new") == 0; /* left by an interrupted save */
    c->snap = c->snap || strcmp(name, "index.snap") == 0;
    c->snap_rest = c->snap_rest || strcmp(name, "index.new") == 0; /* left by an interrupted save */
    c->foreign = c->foreign || !ours;
}

/* Repair a damaged copy and use it if it is newer. The older copy may say CLEAN for a store in
 * use. */
static void l2_super_mend(l2 *d, base_vfs_file *f, uint64_t copy)
{
    l2_super s;
    if (l2_read(d, f, d->page, L2_PAGE, copy * L2_PAGE) == 0 && l2_super_heal(d->page, &s) &&
        s.serial > d->super.serial) {
        d->super = s;
    }
}

/* Load the valid copy with the higher serial. Without one: E_CORRUPT if a copy has our magic, else
 * E_FOREIGN. If a copy has another format: E_NEWER_FORMAT. */
static cellar_err l2_super_load(l2 *d, int *sys_errno)
{
    base_vfs_file *f = NULL;
    int e = l2_file(d, "SUPER", 0, &f);
    bool any = false, newer = false, ours = false;
    uint64_t bad = 2;
    for (uint64_t i = 0; i < 2 && e == 0; i++) {
        l2_super s;
        const int r = l2_read(d, f, d->page, L2_PAGE, i * L2_PAGE);
        if (r != 0 && r != ENODATA) { e = r; }
        const cellar_err err = r == 0 ? l2_super_read(d->page, &s) : CELLAR_E_FOREIGN;
        newer = newer || err == CELLAR_E_NEWER_FORMAT;
        ours = ours || err != CELLAR_E_FOREIGN;
        if (err != CELLAR_OK) { bad = i; }
        if (err == CELLAR_OK && (!any || s.serial > d->super.serial)) {
            d->super = s;
            any = true;
        }
    }
    if (e == 0 && any && !newer && bad < 2) { l2_super_mend(d, f, bad); }
    l2_file_close(d, &f);
    *sys_errno = e;
    if (e != 0) { return CELLAR_E_IO; }
    if (newer) { return CELLAR_E_NEWER_FORMAT; }
    if (any) { return CELLAR_OK; }
    return ours ? CELLAR_E_CORRUPT : CELLAR_E_FOREIGN;
}

/* ---- tables ---- */

/* Set what follows from the superblock. No other thread uses the store yet. */
static SYNC_UNCHECKED void l2_form_set(l2 *d)
{
    const l2_super *s = &d->super;
    l2_form_make(&d->form, s);
    base_hash_key_init(&d->hash_key, (base_hash_algo)s->hash_algo, s->secret);
    d->nseg = d->places = s->nseg;
    base_store_rlx(&d->nseg_seen, d->nseg);
    base_store_rlx(&d->places_seen, d->places);
    d->nstage = s->nstage;
    d->seg_shift = base_log2_floor(s->seg_bytes / s->granule);
    d->reserve = BASE_MIN((uint32_t)64 << 10, s->seg_bytes / 8);
    d->keep_free = l2_free_kept(s->nseg);
    d->moving = l2_move_may(d);
    const uint32_t fresh = l2_data_limit(d, 2) - L2_HEAD_BYTES - s->granule - d->reserve;
    d->room_max = BASE_MIN(fresh, s->seg_bytes / 2);
}

static bool l2_tables_open(l2 *d)
{
    base_account *a = d->cfg.account;
    const uint64_t objects = l2_objects_for(&d->cfg, &d->super);
    d->order_cap = d->nseg;
    d->order = base_alloc(a, BASE_MOD_L2, (size_t)d->nseg * sizeof *d->order, NULL);
    return d->order != NULL && l2_rows_open(d, d->nseg) &&
           l2_index_open(d, objects) && l2_tombstone_locks_open(d, objects) && l2_owed_open(d) &&
           l2_seen_open(d, objects);
}

/* Free all tables. No other thread uses the store any more. */
static SYNC_UNCHECKED void l2_tables_close(l2 *d)
{
    base_account *a = d->cfg.account;
    l2_seen_close(d);
    l2_tombstone_locks_close(d);
    l2_owed_close(d);
    l2_index_close(d);
    l2_rows_close(d);
    l2_move_end(d);
    base_free(a, BASE_MOD_L2, d->order, (size_t)d->order_cap * sizeof *d->order);
    base_free(a, BASE_MOD_L2, d->namespace, d->namespace_cap * sizeof *d->namespace);
    l2_invalidation_close(d);
}

/* ---- format ---- */

static cellar_err l2_secrets(l2 *d)
{
    l2_super *s = &d->super;
    if (d->cfg.secret != NULL) { memcpy(s->secret, d->cfg.secret, 32); }
    if (d->cfg.secret == NULL && !base_random_bytes(s->secret, 32)) { return CELLAR_E_NOMEM; }
    if (d->cfg.uuid != NULL) { memcpy(s->uuid, d->cfg.uuid, 16); }
    return d->cfg.uuid != NULL || base_random_bytes(s->uuid, 16) ? CELLAR_OK : CELLAR_E_NOMEM;
}

static cellar_err l2_format(l2 *d, int *sys_errno)
{
    l2_super *s = &d->super;
    memset(s, 0, sizeof *s);
    cellar_err err = l2_geometry(&d->cfg, s);
    const uint64_t tables = l2_tables_bytes(&d->cfg, s) + l2_recover_bytes(s);
    if (err == CELLAR_OK && tables > base_load_rlx(&d->cfg.account->limit)) {
        d->cfg.refusal->least_memory = l2_memory_least(&d->cfg, NULL);
        err = CELLAR_E_NOMEM; /* Do not make a store that could not be opened. */
    }
    if (err == CELLAR_OK) { err = l2_secrets(d); }
    if (err != CELLAR_OK) { return err; }
    s->major = L2_MAJOR;
    s->minor = L2_MINOR;
    s->check_algo = 1;
    s->hash_algo = (uint16_t)d->cfg.hash_algo;
    s->epoch = 1;
    s->segseq_end = 1;
    s->state = L2_DIRTY;
    s->level = (uint32_t)d->cfg.level;
    int e = l2_format_files(d);
    if (e == 0) { e = l2_super_make(d); }
    *sys_errno = e;
    return e == 0 ? CELLAR_OK : e == ENOMEM ? CELLAR_E_NOMEM : CELLAR_E_IO;
}

/* ---- open ---- */

static void l2_clock_set(l2 *d, bool same_boot)
{
    l2_super *s = &d->super;
    const int64_t now = base_now_ms(d->cfg.clock);
    if (!same_boot) {
        const int64_t wall = d->cfg.wall_ms != NULL ? d->cfg.wall_ms(d->cfg.wall_ctx)
                                                    : base_wall_ms();
        s->anchor_wall_ms = BASE_MAX(BASE_MAX(wall, 0), s->last_seen_wall_ms);
        s->anchor_boot_ms = now;
    }
    d->wall_offset_ms = s->anchor_wall_ms - s->anchor_boot_ms;
    base_store_rlx(&d->day.window, s->day);
    base_store_rlx(&d->day.used, s->bytes_today);
    d->barrier_ms = d->meta_ms = d->seen_ms = d->beat_ms = d->arm_ms = now;
    d->sealed_ms = now;
}

static bool l2_boot_is(l2 *d, unsigned char boot[16])
{
    static const unsigned char none[16];
    if (d->vfs->boot_id(d->vfs->ctx, boot) != 0) { memset(boot, 0, 16); }
    return memcmp(boot, none, 16) != 0 && memcmp(boot, d->super.boot_id, 16) == 0;
}

/* Start a resize if the store was made for another size than it is opened with. */
static void l2_goal_set(l2 *d)
{
    const uint64_t images = base_load_rlx(&d->image_bytes);
    const uint64_t places = l2_places_beside(&d->cfg, &d->super, d->cfg.bytes, images);
    if (d->cfg.seg_count != 0 || d->cfg.bytes == d->super.l2_bytes || d->cfg.bytes < L2_BYTES_MIN ||
        places < d->nstage + L2_RESIZE_LEAST || places > UINT32_MAX / 2) {
        return;
    }
    d->goal = (l2_goal){ .on = true, .places = (uint32_t)places, .bytes = d->cfg.bytes };
}

/* Limit the places that SUPER names to those that the file ever had or that are requested. Tables
 * and the time of the open depend on them. Not every system reports allocated bytes. */
static int l2_places_bound(l2 *d)
{
    base_vfs_file *f = NULL;
    base_vfs_stat st = { 0 };
    int e = l2_file(d, "data.seg", 0, &f);
    if (e == 0) { e = d->vfs->stat(d->vfs->ctx, f, &st); }
    l2_file_close(d, &f);
    if (e != 0 && e != ENOENT) { return e; }
    uint64_t bytes = st.size_bytes;
    if (st.allocated_bytes != 0) { bytes = BASE_MIN(bytes, st.allocated_bytes); }
    /* No store had more in this size. */
    const uint64_t room = l2_data_room(&d->super, d->cfg.bytes);
    const uint64_t wanted = d->cfg.seg_count != 0 ? d->cfg.seg_count : room / d->super.seg_bytes;
    uint64_t most = BASE_MAX((bytes + d->super.seg_bytes - 1) / d->super.seg_bytes, wanted);
    most = BASE_MAX(most, L2_PLACES_CHEAP);
    d->super.nseg = (uint32_t)BASE_MIN(d->super.nseg, most);
    return 0;
}

/* Store SUPER of this run. At level DROP a store that a power cut would have left as it was stays
 * so: the stores of the open are synced, and SUPER says CLEAN. Return an errno, or 0. */
static int l2_run_store(l2 *d)
{
    const bool drop = d->cfg.level == L2_DROP, stays = drop && d->lasting;
    int e = 0;
    if (!d->unmarked && (!drop || stays)) { e = d->vfs->datasync(d->vfs->ctx, d->stage_file); }
    d->super.state = stays ? L2_CLEAN : L2_DIRTY; /* without a mark `stays` holds */
    sync_take(L2_LOG, &d->log_lock);
    if (stays) { d->super.clean_lsn = l2_log_end(d); }
    sync_drop(L2_LOG, &d->log_lock);
    d->super.closed = 0;
    d->super.level = (uint32_t)d->cfg.level;
    return e == 0 ? l2_super_store(d) : e;
}

static cellar_err l2_open_ours(l2 *d, const l2_census *c, int *sys_errno)
{
    bool whole = false, kept = false;
    unsigned char boot[16];
    *sys_errno = l2_places_bound(d);
    if (*sys_errno != 0) { return CELLAR_E_IO; }
    l2_form_set(d);
    d->super.opens++; /* durable before this run acknowledges anything */
    const bool same_boot = l2_boot_is(d, boot);
    l2_clock_set(d, same_boot);
    if (!l2_tables_open(d)) { return CELLAR_E_NOMEM; }
    int e = l2_file(d, "SUPER", BASE_VFS_WRITE, &d->super_file);
    const l2_stage_id stage_was = d->super.stage;
    if (e == 0) { e = l2_files_open(d, same_boot, &whole, &kept); }
    if (e == 0) { l2_snap_open(d, c->snap, c->snap_rest); }
    if (e == 0) { e = d->vfs->sync_dir(d->vfs->ctx, d->dir); }
    *sys_errno = e;
    if (e != 0) { return e == ENOMEM ? CELLAR_E_NOMEM : CELLAR_E_IO; }
    l2_marker_name(d, &stage_was);
    const bool marked = l2_marker_found(d); /* changes that no log has: the contents are invalid */
    /* The files of a copy may be of different moments. Only a close defines what it holds. */
    const bool clean = whole && d->super.state == L2_CLEAN && (kept || d->super.closed != 0);
    const bool alive = !marked && (clean || (kept && (same_boot || d->super.level != L2_DROP)));
    /* A copy may be older than its store, so its images are only hints. */
    const bool untouched = kept && !marked && d->super.state == L2_CLEAN;
    if (c->images) { l2_images_open(d, untouched); }
    d->opened = untouched && d->super.closed != 0 ? L2_OPENED_NO_SNAP : L2_OPENED_KILLED;
    if (d->opened == L2_OPENED_NO_SNAP && d->snap_file != NULL) { d->opened = L2_OPENED_UNFIT; }
    if (!untouched) { l2_snap_close(d); }
    if (c->rest) { (void)d->vfs->unlink(d->vfs->ctx, d->dir, "bloom.new"); }
    d->lasting = alive && (d->super.state == L2_CLEAN || d->super.level != L2_DROP);
    base_store_rlx(&d->floor_lsn, d->super.floor_lsn);
    const cellar_err err = l2_recover(d, alive, same_boot, !kept, &stage_was, sys_errno);
    l2_snap_close(d);
    if (err != CELLAR_OK) { return err; }
    memcpy(d->super.boot_id, boot, 16);
    e = l2_run_store(d);
    /* The stall marker of a copied store belongs to that store. */
    if (e == 0 && marked && l2_stage_is(&stage_was, &d->super.stage, same_boot)) {
        l2_marker_remove(d);
    }
    l2_marker_name(d, &d->super.stage);
    base_store_rel(&d->dirty, d->super.state == L2_CLEAN ? (uint32_t)L2_NOW_CLEAN
                                                         : (uint32_t)L2_NOW_DIRTY);
    l2_goal_set(d);
    (void)l2_prepare(d); /* else the first work of the thread drops the first puts: it disarms */
    l2_arm_wish(d);
    l2_arm_work(d);
    *sys_errno = e;
    return e == 0 ? CELLAR_OK : CELLAR_E_IO;
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
    if (*sys_errno != 0) { return CELLAR_E_IO; }
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
    if (e == 0) { return CELLAR_OK; }
    return e == EAGAIN ? CELLAR_E_BUSY : CELLAR_E_IO;
}

static cellar_err l2_open_dir(l2 *d, const char *path, int *sys_errno)
{
    l2_census c = { 0 };
    base_vfs_stat st = { 0 };
    int e = d->vfs->open_dir(d->vfs->ctx, path, true, &d->dir);
    if (e == 0) { e = d->vfs->stat(d->vfs->ctx, d->dir, &st); }
    /* Locks, mappings and syncs have other semantics there. */
    if (e == 0 && st.remote != 0 && !d->cfg.allow_network) { return CELLAR_E_UNSUPPORTED; }
    if (e == 0) { e = d->vfs->list(d->vfs->ctx, d->dir, l2_count_name, &c); }
    *sys_errno = e;
    if (e != 0) { return CELLAR_E_IO; }
    cellar_err err = CELLAR_OK;
    if (c.super) { err = l2_super_load(d, sys_errno); }
    if (!c.super && c.meta) { err = CELLAR_E_CORRUPT; }
    if (!c.super && c.foreign) { err = CELLAR_E_FOREIGN; }
    if (err == CELLAR_OK) { err = l2_lock(d, sys_errno); }
    if (err != CELLAR_OK) { return err; }
    c = (l2_census){ 0 }; /* another opener may just have made it */
    e = d->vfs->list(d->vfs->ctx, d->dir, l2_count_name, &c);
    *sys_errno = e;
    if (e != 0) { return CELLAR_E_IO; }
    err = c.super ? l2_super_load(d, sys_errno) : l2_format(d, sys_errno);
    return err == CELLAR_OK ? l2_open_ours(d, &c, sys_errno) : err;
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

static void l2_free(l2 *d)
{
    base_account *a = d->cfg.account;
    l2_files_close(d);
    l2_rebuild_free(d);
    l2_tables_close(d);
    l2_codec_close(d);
    base_free(a, BASE_MOD_L2, d->page_raw, 5 * L2_PAGE);
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
    l2_health_init(d);
    if (cfg->crypt != NULL) { d->crypt = *cfg->crypt; }
    d->cfg.crypt = NULL;
    d->round = l2_tick;
    d->vfs = cfg->vfs != NULL ? cfg->vfs : base_vfs_system();
    sync_take(L2_DEV, &d->namespace_lock);
    d->next_generation = d->next_id = 1;
    sync_drop(L2_DEV, &d->namespace_lock);
    d->page_raw = base_alloc(cfg->account, BASE_MOD_L2, 5 * L2_PAGE, NULL);
    cellar_err err = CELLAR_E_NOMEM;
    const uint64_t refusals = base_load_rlx(&cfg->account->refused);
    /* The open acquires the resources of the system before it writes anything. */
    if (!cfg->no_thread) {
        d->threaded = base_thread_start(&d->thread, l2_thread_main, d, "cellar-l2",
                                        cfg->stack_bytes) == 0;
        base_store_rlx(&d->commit_mean_ns, L2_COMMIT_FIRST_NS); /* unknown: callers do not lead */
        d->commit_threaded = d->cfg.level != L2_DROP &&
                             base_thread_start(&d->commit_thread, l2_commit_main, d,
                                               "cellar-commit", cfg->stack_bytes) == 0;
    }
    const bool threads = d->threaded && (d->commit_threaded || d->cfg.level == L2_DROP);
    if (d->page_raw != NULL && l2_codec_open(d) && (threads || cfg->no_thread) &&
        base_random_bytes(&d->part_first, sizeof d->part_first)) {
        d->page = (unsigned char *)d->page_raw + (L2_PAGE - ((uintptr_t)d->page_raw % L2_PAGE));
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
    l2_live_load(d);
    base_store_rel(&d->ready, 1u);
    l2_worker_wake(d);
    *out = d;
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err l2_end(l2 *d)
{
    l2_thread_end(d);
    while (l2_tick(d, 1000000)) {}
    l2_images_reserve(d);
    d->ended = true;
    if (base_load_acq(&d->broken) != 0) { return CELLAR_OK; }
    cellar_err err = l2_sync_as(d, true);
    if (err != CELLAR_OK) { err = l2_sync_as(d, true); } /* stores lost bytes again */
    if (err == CELLAR_OK) {
        l2_images_save(d, true);
        l2_snap_save(d);
    } else {
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
