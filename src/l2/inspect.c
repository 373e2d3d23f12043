/* SPDX-License-Identifier: MIT
 *
 * inspect: report what a directory holds and what the next open would serve, without any change.
 *
 * PICTURE    files, opened for reading -> layer: writes stay in memory, reads see them
 *                -> the normal recovery on the layer -> its tables -> report
 *            So "live" is what the next open on this machine finds, by the same code.
 * PROTOCOL   both copies of SUPER -> trailers, counted: they size the index -> l2_open, index
 *            rebuild -> footers of each segment; with verify or a record callback: each record,
 *            too. bloom.snap: heads; with verify: all bytes.
 * INVARIANTS No file is opened for writing, created, unlinked or renamed.
 *            Damage is a failed check, or a hole that recovery finds in the log. Leftovers of a
 *            process death (an incomplete record, an unsealed slot, half a seal) are no damage.
 * LOCKING    A shared lock on LOCK, for a moment before and after: no store is open, and none is
 *            kept out. A store opened meanwhile gives E_BUSY. `force` takes no lock; writes of a
 *            running store may look like damage.
 * LIMITS     About 12 bytes of memory per record, and twice the slots of stage.buf. Without verify
 *            a footer line decides: expired records and those of cleared namespaces count as live.
 *            Recovery here ignores index.snap (index_snapshot.c). An open that uses index.snap
 *            also serves a segment with a damaged footer, and omits segments reclaimed shortly
 *            before the close.
 * SEE ALSO   README.md: why recovery runs here instead of a second reader of the format. */
#include "l2/types.h"

#include <errno.h>

#include "l2/format.h"
#include "l2/index.h"
#include "l2/index_rebuild.h"
#include "l2/index_snapshot.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/owner_images.h"

BASE_SIZE_BEGIN

#define L2_LAYER_FILES 12u
#define L2_FUTURE_SLACK 64u /* index words in addition to those counted */

/* ---- the layer ---- */

typedef struct l2_patch {
    struct l2_patch *next; /* newer */
    uint32_t file;
    uint64_t off;
    size_t n;
    unsigned char bytes[];
} l2_patch;

typedef struct l2_layer_file {
    char name[16];
    base_vfs_file *under; /* NULL: the file does not exist */
    uint64_t real_bytes, size_bytes, inode, device;
    int64_t born_ns;
    void *map;
    size_t map_bytes;
} l2_layer_file;

typedef struct l2_layer {
    base_account account;
    const base_vfs *under;
    base_vfs_file *dir;
    l2_layer_file file[L2_LAYER_FILES];
    uint32_t files;
    l2_patch *oldest, *newest;
} l2_layer;

static l2_layer_file *l2_layer_of(base_vfs_file *f) { return (l2_layer_file *)(void *)f; }

static int l2_layer_dir(void *ctx, const char *path, bool create, base_vfs_file **out)
{
    l2_layer *y = ctx;
    (void)path;
    (void)create;
    *out = (base_vfs_file *)(void *)y; /* an opaque handle */
    return 0;
}

typedef struct l2_layer_names {
    void (*fn)(void *ctx, const char *name);
    void *ctx;
} l2_layer_names;

/* Hide index.snap, so that the open on the layer reads all footers. */
static void l2_layer_name(void *ctx, const char *name)
{
    const l2_layer_names *n = ctx;
    if (strcmp(name, "index.snap") != 0) { n->fn(n->ctx, name); }
}

static int l2_layer_list(void *ctx, base_vfs_file *dir, void (*fn)(void *fn_ctx, const char *name),
                         void *fn_ctx)
{
    l2_layer *y = ctx;
    l2_layer_names n = { fn, fn_ctx };
    (void)dir;
    return y->under->list(y->under->ctx, y->dir, l2_layer_name, &n);
}

static int l2_layer_open(void *ctx, base_vfs_file *dir, const char *name, uint32_t flags,
                         base_vfs_file **out)
{
    l2_layer *y = ctx;
    (void)dir;
    for (uint32_t i = 0; i < y->files; i++) {
        if (strcmp(y->file[i].name, name) == 0) {
            *out = (base_vfs_file *)(void *)&y->file[i];
            return 0;
        }
    }
    if (y->files == L2_LAYER_FILES || strlen(name) >= sizeof y->file[0].name) { return EINVAL; }
    l2_layer_file *f = &y->file[y->files];
    memset(f, 0, sizeof *f);
    int e = y->under->open(y->under->ctx, y->dir, name, 0, &f->under);
    if (e == ENOENT && (flags & BASE_VFS_CREATE) != 0) { e = 0; }
    if (e == 0 && f->under != NULL) {
        base_vfs_stat st = { 0 };
        e = y->under->stat(y->under->ctx, f->under, &st);
        f->real_bytes = f->size_bytes = e == 0 ? st.size_bytes : 0;
        f->inode = st.inode;
        f->device = st.device;
        f->born_ns = st.born_ns;
        if (e != 0) { y->under->close(y->under->ctx, f->under); }
    }
    if (e != 0) { return e; }
    memcpy(f->name, name, strlen(name));
    y->files++;
    *out = (base_vfs_file *)(void *)f;
    return 0;
}

static void l2_layer_close(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    (void)f; /* l2_layer_end closes all files */
}

static int l2_layer_grow(void *ctx, base_vfs_file *file, uint64_t bytes)
{
    l2_layer_file *f = l2_layer_of(file);
    (void)ctx;
    f->size_bytes = BASE_MAX(f->size_bytes, bytes);
    return 0;
}

static int l2_layer_truncate(void *ctx, base_vfs_file *file, uint64_t bytes)
{
    (void)ctx;
    l2_layer_of(file)->size_bytes = bytes;
    return 0;
}

static int l2_layer_read_real(l2_layer *y, l2_layer_file *f, unsigned char *to, size_t n,
                              uint64_t at)
{
    size_t got = 0;
    memset(to, 0, n);
    if (f->under == NULL || at >= f->real_bytes) { return 0; }
    n = (size_t)BASE_MIN((uint64_t)n, f->real_bytes - at);
    while (got < n) {
        size_t done = 0;
        const int e = y->under->pread(y->under->ctx, f->under, to + got, n - got, at + got, &done);
        got += done;
        if (e == EINTR || e == EAGAIN) { continue; }
        if (e != 0) { return e; }
        if (done == 0) { return 0; } /* The file became shorter: zeros. */
    }
    return 0;
}

static int l2_layer_pread(void *ctx, base_vfs_file *file, void *buf, size_t n, uint64_t at,
                          size_t *done)
{
    l2_layer *y = ctx;
    l2_layer_file *f = l2_layer_of(file);
    *done = 0;
    if (at >= f->size_bytes) { return 0; }
    n = (size_t)BASE_MIN((uint64_t)n, f->size_bytes - at);
    const int e = l2_layer_read_real(y, f, buf, n, at);
    if (e != 0) { return e; }
    for (const l2_patch *p = y->oldest; p != NULL; p = p->next) {
        if (p->file != (uint32_t)(f - y->file) || p->off >= at + n || p->off + p->n <= at) {
            continue;
        }
        const uint64_t from = BASE_MAX(p->off, at), to = BASE_MIN(p->off + p->n, at + n);
        memcpy((unsigned char *)buf + (from - at), p->bytes + (from - p->off), (size_t)(to - from));
    }
    *done = n;
    return 0;
}

static int l2_layer_pwrite(void *ctx, base_vfs_file *file, const void *buf, size_t n, uint64_t at,
                           size_t *done)
{
    l2_layer *y = ctx;
    l2_layer_file *f = l2_layer_of(file);
    *done = 0;
    l2_patch *p = base_alloc(&y->account, BASE_MOD_L2, sizeof *p + n, NULL);
    if (p == NULL) { return ENOMEM; }
    p->next = NULL;
    p->file = (uint32_t)(f - y->file); /* less than L2_LAYER_FILES */
    p->off = at;
    p->n = n;
    memcpy(p->bytes, buf, n);
    if (y->newest != NULL) { y->newest->next = p; } else { y->oldest = p; }
    y->newest = p;
    f->size_bytes = BASE_MAX(f->size_bytes, at + n);
    *done = n;
    return 0;
}

static int l2_layer_map(void *ctx, base_vfs_file *file, size_t bytes, void **out)
{
    l2_layer *y = ctx;
    l2_layer_file *f = l2_layer_of(file);
    *out = NULL;
    if (f->map == NULL) {
        f->map = base_alloc(&y->account, BASE_MOD_L2, bytes, NULL);
        if (f->map == NULL) { return ENOMEM; }
        f->map_bytes = bytes;
        const int e = l2_layer_read_real(y, f, f->map, bytes, 0);
        if (e != 0) { return e; }
    }
    *out = f->map;
    return 0;
}

static void l2_layer_unmap(void *ctx, void *p, size_t bytes)
{
    (void)ctx;
    (void)p;
    (void)bytes; /* l2_layer_end frees the map */
}

static int l2_layer_arm(void *ctx, base_vfs_file *f, void *map, size_t off, size_t bytes)
{
    (void)ctx;
    (void)f;
    (void)map;
    (void)off;
    (void)bytes;
    return 0;
}

static int l2_layer_nothing(void *ctx, base_vfs_file *f)
{
    (void)ctx;
    (void)f;
    return 0;
}

static int l2_layer_rename(void *ctx, base_vfs_file *dir, const char *from, const char *to)
{
    (void)ctx;
    (void)dir;
    (void)from;
    (void)to;
    return EROFS; /* Only a format renames, and a directory without SUPER is not opened. */
}

static int l2_layer_unlink(void *ctx, base_vfs_file *dir, const char *name)
{
    (void)ctx;
    (void)dir;
    (void)name;
    return EROFS;
}

static int l2_layer_stat(void *ctx, base_vfs_file *file, base_vfs_stat *out)
{
    const l2_layer_file *f = l2_layer_of(file);
    memset(out, 0, sizeof *out);
    if ((void *)file == ctx) { return 0; } /* the directory */
    *out = (base_vfs_stat){ .size_bytes = f->size_bytes, .inode = f->inode, .device = f->device,
                            .born_ns = f->born_ns, .links = 1 };
    return 0;
}

static int l2_layer_boot_id(void *ctx, unsigned char out[16])
{
    const l2_layer *y = ctx;
    return y->under->boot_id(y->under->ctx, out);
}

/* Look for the stall marker that the next open would find. */
static int l2_layer_marker(void *ctx, const unsigned char id[16], base_vfs_bell how)
{
    const l2_layer *y = ctx;
    if (how != BASE_VFS_BELL_LOOK) { return EROFS; }
    return y->under->bell != NULL ? y->under->bell(y->under->ctx, id, how) : ENOSYS;
}

static base_vfs l2_layer_vfs(l2_layer *y)
{
    return (base_vfs){ .open_dir = l2_layer_dir, .list = l2_layer_list, .open = l2_layer_open,
        .close = l2_layer_close, .preallocate = l2_layer_grow, .pread = l2_layer_pread,
        .pwrite = l2_layer_pwrite, .map_shared = l2_layer_map, .unmap = l2_layer_unmap,
        .arm = l2_layer_arm, .datasync = l2_layer_nothing, .sync_dir = l2_layer_nothing,
        .truncate = l2_layer_truncate, .rename = l2_layer_rename, .unlink = l2_layer_unlink,
        .lock = l2_layer_nothing, .lock_shared = l2_layer_nothing, .stat = l2_layer_stat,
        .boot_id = l2_layer_boot_id, .bell = l2_layer_marker, .ctx = y };
}

/* Return the bytes of all files on disk. */
static uint64_t l2_layer_bytes(const l2_layer *y)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < y->files; i++) { n += y->file[i].real_bytes; }
    return n;
}

static void l2_layer_end(l2_layer *y)
{
    while (y->oldest != NULL) {
        l2_patch *p = y->oldest;
        y->oldest = p->next;
        base_free(&y->account, BASE_MOD_L2, p, sizeof *p + p->n);
    }
    for (uint32_t i = 0; i < y->files; i++) {
        l2_layer_file *f = &y->file[i];
        base_free(&y->account, BASE_MOD_L2, f->map, f->map_bytes);
        if (f->under != NULL) { y->under->close(y->under->ctx, f->under); }
    }
}

/* ---- before recovery ---- */

static int l2_peek(l2_layer *y, const char *name, void *buf, size_t n, uint64_t at)
{
    base_vfs_file *f = NULL;
    size_t done = 0;
    int e = l2_layer_open(y, NULL, name, 0, &f);
    if (e == 0) { e = l2_layer_pread(y, f, buf, n, at, &done); }
    return e != 0 ? e : done < n ? ENODATA : 0;
}

/* Read both copies of SUPER; *s is the valid one with the higher serial. */
static cellar_err l2_look_super(l2_layer *y, unsigned char *page, l2_super *s, l2_report *out,
                                int *sys_errno)
{
    cellar_err worst = CELLAR_E_FOREIGN;
    bool any = false, newer = false;
    for (uint32_t i = 0; i < 2; i++) {
        l2_super one;
        const int e = l2_peek(y, "SUPER", page, L2_PAGE, (uint64_t)i * L2_PAGE);
        if (e != 0 && e != ENODATA) { *sys_errno = e; }
        const cellar_err err = e == 0 ? l2_super_read(page, &one) : CELLAR_E_FOREIGN;
        out->super[i] = err;
        newer = newer || err == CELLAR_E_NEWER_FORMAT;
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

/* Count trailers and slots. *records: upper bound of the records that the index must hold. */
static void l2_look_places(l2_layer *y, unsigned char *page, const l2_super *s, l2_report *out,
                           uint64_t *records)
{
    l2_form form;
    l2_form_make(&form, s);
    for (uint32_t p = 0; p < s->nseg; p++) {
        const uint64_t at = (uint64_t)p * s->seg_bytes;
        l2_trailer t;
        l2_head h;
        if (l2_peek(y, "data.seg", page, L2_PAGE, at + s->seg_bytes - L2_PAGE) == 0 &&
            l2_trailer_read(&form, page, &t)) {
            out->places_sealed++;
            *records += t.entries;
        } else if (l2_peek(y, "data.seg", page, L2_HEAD_BYTES, at) == 0 &&
                   l2_head_read(&form, page, &h)) {
            out->places_torn++; /* The segment may have as many entries as fit. */
            *records += s->seg_bytes / L2_RECORD_HEAD;
        }
    }
    for (uint32_t i = 0; i < s->nstage; i++) {
        l2_head h;
        if (l2_peek(y, "stage.buf", page, L2_HEAD_BYTES, (uint64_t)i * s->seg_bytes) == 0 &&
            l2_head_read(&form, page, &h)) {
            out->slots_used++;
            *records += s->seg_bytes / L2_RECORD_HEAD;
        }
    }
}

static void l2_look_sizes(l2_layer *y, const l2_super *s, l2_report *out)
{
    const uint64_t want[2] = { (uint64_t)s->nseg * s->seg_bytes,
                               (uint64_t)s->nstage * s->seg_bytes };
    static const char *const name[2] = { "data.seg", "stage.buf" };
    for (int i = 0; i < 2; i++) {
        base_vfs_file *f = NULL;
        const bool there = l2_layer_open(y, NULL, name[i], 0, &f) == 0;
        if (!there || l2_layer_of(f)->real_bytes < want[i]) { out->files_short++; }
    }
}

static void l2_look_snap(l2_layer *y, unsigned char *page, const l2_super *s, l2_report *out)
{
    l2_form form;
    base_vfs_file *f = NULL;
    if (l2_layer_open(y, NULL, "index.snap", 0, &f) != 0) { return; }
    out->snap_bytes = l2_layer_of(f)->real_bytes;
    l2_form_make(&form, s);
    out->snap_fits = s->state == L2_CLEAN && l2_peek(y, "index.snap", page, L2_PAGE, 0) == 0 &&
                     l2_snap_head_fits(&form, s, s->opens, out->snap_bytes, page);
}

/* ---- after recovery ---- */

typedef struct l2_look {
    const l2_inspect_how *how;
    l2_report *out;
    l2_report_segment seg;
    uint32_t index;         /* index of the segment */
    bool future;
    unsigned char *bytes;   /* bytes of the segment; NULL: records are not checked */
    int64_t wall_ms;
    uint32_t data_end; /* as in its trailer */
} l2_look;

/* Find the namespace of a generation. No other thread has this store. */
static SYNC_UNCHECKED const l2_namespace_row *l2_look_namespace(const l2 *d, uint32_t generation)
{
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        if (d->namespace[i].v.generation == generation) { return &d->namespace[i]; }
    }
    return NULL;
}

typedef enum l2_verdict { L2_LIVE, L2_DEAD, L2_HURT } l2_verdict;

/* Judge one record by its bytes. named: a word of its class names the record. */
static l2_verdict l2_look_record(l2 *d, l2_look *k, const l2_entry *e, bool named)
{
    const unsigned char *at = k->bytes + e->off;
    l2_rec r;
    if (!l2_rec_marked(&d->form, at, k->seg.segseq, e->off, k->data_end, &r) ||
        !l2_rec_whole(&d->form, at, k->seg.segseq, e->off, &r) || r.kind != e->kind) {
        return L2_HURT;
    }
    if (r.kind == L2_KIND_CONTROL) { return L2_DEAD; }
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)r.ext * 8;
    l2_meta m;
    memset(&m, 0, sizeof m);
    if (l2_h48(base_hash(&d->hash_key, r.generation, key, r.klen)) != e->h48 ||
        !l2_ext_read(at + L2_RECORD_HEAD, (size_t)r.ext * 8, &m)) {
        return L2_HURT;
    }
    if (r.kind != L2_KIND_PUT || !named) { return L2_DEAD; }
    const l2_namespace_row *v = l2_look_namespace(d, r.generation);
    if (v == NULL) {
        k->out->old_generation++;
        return L2_DEAD;
    }
    if (r.expiry_wall_ms != 0 && (k->future || r.expiry_wall_ms <= k->wall_ms)) {
        k->out->expired++;
        return L2_DEAD;
    }
    if (l2_tags_verdict(d, &m) != 0 ||
        l2_globs_match(d, r.generation, l2_lsn(d, k->seg.segseq, e->off), false, key, r.klen)) {
        k->out->ended++;
        return L2_DEAD;
    }
    if (k->how->record != NULL) {
        const l2_report_record one = { key, r.klen, v->name, v->name_len, r.vlen,
                                       r.expiry_wall_ms != 0 ? r.expiry_wall_ms - k->wall_ms : -1,
                                       m.version, m.user_flags, m.kind };
        k->how->record(k->how->ctx, &one);
    }
    return L2_LIVE;
}

static bool l2_look_named(l2 *d, const l2_entry *e, uint64_t lsn)
{
    uint64_t word[L2_CLASS_WORDS];
    const uint32_t n = e->kind == L2_KIND_PUT ? l2_index_all(d, e->h48, word) : 0;
    for (uint32_t i = 0; i < n; i++) {
        if (l2_word_lsn(d, word[i]) == lsn) { return lsn >= base_load_acq(&d->floor_lsn); }
    }
    return false;
}

static void l2_look_line(l2 *d, void *ctx, const l2_entry *e)
{
    l2_look *k = ctx;
    const bool named = l2_look_named(d, e, l2_lsn(d, k->seg.segseq, e->off));
    k->seg.records++;
    k->seg.tombstones += e->kind == L2_KIND_TOMB;
    k->seg.controls += e->kind == L2_KIND_CONTROL;
    const l2_verdict v = k->bytes != NULL ? l2_look_record(d, k, e, named)
                                          : named ? L2_LIVE : L2_DEAD;
    if (v == L2_LIVE) {
        k->seg.live++;
        k->seg.live_bytes += e->bytes;
    } else {
        k->seg.dead_bytes += e->bytes;
    }
    k->seg.damaged += v == L2_HURT;
}

static void l2_look_sum(l2_report *out, const l2_report_segment *s)
{
    out->segments++;
    out->records += s->records;
    out->live += s->live;
    out->live_bytes += s->live_bytes;
    out->dead_bytes += s->dead_bytes;
    out->tombstones += s->tombstones;
    out->controls += s->controls;
    out->records_damaged += s->damaged;
    out->segments_damaged += s->unreadable;
    if (s->live == 0) { return; }
    if (out->oldest_wall_ms == 0 || s->base_wall_ms < out->oldest_wall_ms) {
        out->oldest_wall_ms = s->base_wall_ms;
    }
    out->newest_wall_ms = BASE_MAX(out->newest_wall_ms, s->base_wall_ms);
}

static void l2_look_segment(l2 *d, l2_look *k, unsigned char *buf)
{
    const l2_seg *g = &d->seg[k->index];
    const uint64_t w = base_load_acq(&g->word);
    if (L2_SEG_STATE(w) != L2_SEG_DISK) { return; }
    l2_trailer t;
    k->seg = (l2_report_segment){ .segseq = L2_SEG_SEQ(w), .place = base_load_rlx(&g->place),
                                  .data_end = g->data_end };
    const uint64_t at = (uint64_t)k->seg.place * d->form.seg_bytes;
    bool ok = l2_read(d, d->data_file, d->page, L2_PAGE, at + d->form.seg_bytes - L2_PAGE) == 0 &&
              (l2_trailer_read(&d->form, d->page, &t) || l2_trailer_heal(&d->form, d->page, &t));
    if (ok && buf != NULL) { ok = l2_read(d, d->data_file, buf, d->form.seg_bytes, at) == 0; }
    k->seg.base_wall_ms = ok ? t.head.base_wall_ms : 0;
    k->data_end = ok ? t.data_end : 0;
    k->bytes = buf;
    k->future = base_load_rlx(&g->future) != 0;
    for (uint32_t p = 0; p < g->footer_pages && ok; p++) {
        ok = l2_foot_load(d, g, k->seg.segseq, p) &&
             l2_foot_each(d, g->data_end, false, l2_look_line, k);
    }
    k->seg.unreadable = !ok;
    l2_look_sum(k->out, &k->seg);
    if (k->how->segment != NULL) { k->how->segment(k->how->ctx, &k->seg); }
}

static SYNC_UNCHECKED cellar_err l2_look_store(l2 *d, const l2_inspect_how *how, l2_report *out)
{
    unsigned char *buf = NULL;
    if (how->verify || how->record != NULL) {
        buf = base_alloc(d->cfg.account, BASE_MOD_L2, d->form.seg_bytes, NULL);
        if (buf == NULL) { return CELLAR_E_NOMEM; }
    }
    for (uint32_t i = 0; i < d->namespace_count && how->namespace != NULL; i++) {
        how->namespace(how->ctx, &d->namespace[i].v, d->namespace[i].name,
                       d->namespace[i].name_len);
    }
    l2_look k = { .how = how, .out = out, .wall_ms = l2_wall_now(d) };
    for (uint32_t i = d->order_count; i > 0; i--) {
        k.index = d->order[i - 1];
        l2_look_segment(d, &k, buf);
    }
    out->image_bytes = base_load_rlx(&d->image_bytes);
    out->images = d->image_count;
    out->images_clean = d->image_clean;
    out->images_damaged = d->image_bad + (how->verify ? l2_images_damaged(d) : 0);
    l2_stats st;
    l2_stats_get(d, &st);
    out->namespaces = d->namespace_count;
    out->floor_lsn = base_load_acq(&d->floor_lsn);
    out->wall_ms = k.wall_ms;
    out->holes = st.holes;
    out->pages_healed = st.healed;
    out->read_errors = st.io_errors;
    base_free(d->cfg.account, BASE_MOD_L2, buf, d->form.seg_bytes);
    return CELLAR_OK;
}

static cellar_err l2_look_open(l2_layer *y, const l2_super *s, uint64_t records,
                               const l2_inspect_how *how, l2_report *out, int *sys_errno)
{
    const base_clock clock = { NULL, NULL, NULL };
    const base_vfs vfs = l2_layer_vfs(y);
    base_log log;
    base_log_init(&log, &clock, NULL, NULL, BASE_LOG_OFF);
    const uint64_t objects = records + L2_FUTURE_SLACK;
    l2_config cfg = {
        .account = &y->account, .log = &log, .clock = how->clock != NULL ? how->clock : &clock,
        .vfs = &vfs, .path = how->path, .bytes = s->l2_bytes,
        .memory_bytes = BASE_MAX(objects * 48, (uint64_t)64 << 20), .level = L2_DROP,
        .avg_object_bytes = (uint64_t)s->nseg * s->seg_bytes / objects, .no_thread = true,
        .wall_ms = how->wall_ms, .wall_ctx = how->wall_ctx,
    };
    if (cfg.avg_object_bytes == 0) { cfg.avg_object_bytes = 1; }
    l2 *d = NULL;
    cellar_err err = l2_open(&cfg, &d, sys_errno);
    if (err != CELLAR_OK) { return err; }
    out->file_bytes = l2_layer_bytes(y);
    while (l2_rebuild_step(d)) {} /* Only that: l2_tick would reclaim. */
    out->begins_anew = d->form.epoch != s->epoch;
    err = l2_look_store(d, how, out);
    l2_forked(d); /* discard the store: no seal, no sync */
    l2_close(d);
    return err;
}

/* Check that no store has the directory open. The lock is dropped, so no store is kept out. */
static cellar_err l2_look_lock(const l2_layer *y, int *sys_errno)
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

CELLAR_PRIVATE cellar_err l2_inspect(const l2_inspect_how *how, l2_report *out, int *sys_errno)
{
    memset(out, 0, sizeof *out);
    *sys_errno = 0;
    l2_layer y;
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
    if (err == CELLAR_OK && !how->force) { err = l2_look_lock(&y, sys_errno); }
    if (err == CELLAR_OK) { err = l2_look_super(&y, page, &s, out, sys_errno); }
    if (err == CELLAR_OK) {
        out->major = s.major;
        out->minor = s.minor;
        memcpy(out->uuid, s.uuid, 16);
        out->epoch = s.epoch;
        out->serial = s.serial;
        out->clean = s.state == L2_CLEAN;
        out->level = (l2_level)s.level;
        out->seg_bytes = s.seg_bytes;
        out->seg_count = s.nseg;
        out->slot_count = s.nstage;
        out->granule_bytes = s.granule;
        out->l2_bytes = s.l2_bytes;
        out->bad_places = s.bad_count;
        out->last_seen_wall_ms = s.last_seen_wall_ms;
        l2_look_places(&y, page, &s, out, &records);
        l2_look_sizes(&y, &s, out);
        l2_look_snap(&y, page, &s, out);
        err = l2_look_open(&y, &s, records, how, out, sys_errno);
    }
    /* A store opened the directory meanwhile: the findings may mix two states. */
    if (err == CELLAR_OK && !how->force) { err = l2_look_lock(&y, sys_errno); }
    base_free(&y.account, BASE_MOD_L2, page, L2_PAGE);
    l2_layer_end(&y);
    y.under->close(y.under->ctx, y.dir);
    return err;
}

CELLAR_PRIVATE uint64_t l2_report_damage(const l2_report *r)
{
    uint64_t n = r->files_short + r->holes + r->pages_healed + r->read_errors +
                 r->records_damaged + r->segments_damaged + r->images_damaged;
    for (int i = 0; i < 2; i++) { n += r->super[i] != CELLAR_OK; }
    return n;
}

BASE_SIZE_END
