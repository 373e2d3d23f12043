/* SPDX-License-Identifier: MIT
 *
 * look: what directory.c reports of a directory, by the format of the disk tier.
 *
 * SEE ALSO   src/core/log/l2/look.h: the same for the log. */
#ifndef L2_LOOK_H
#define L2_LOOK_H

#include "l2/format.h"
#include "l2/image.h"
#include "l2/index.h"
#include "l2/index_rebuild.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/owner_images.h"
#include "l2/steps.h"
#include "l2/types.h"

#define LOOK_SLACK 64u /* index words in addition to those counted */

/* Report what SUPER says. */
static void look_identity(const l2_super *s, directory_report *out)
{
    out->major = s->major;
    out->minor = s->minor;
    memcpy(out->uuid, s->uuid, 16);
    out->epoch = s->epoch;
    out->serial = s->serial;
    out->clean = s->state == L2_CLEAN;
    out->level = (l2_level)s->level;
    out->seg_bytes = s->seg_bytes;
    out->seg_count = s->nseg;
    out->slot_count = s->nstage;
    out->granule_bytes = s->granule;
    out->l2_bytes = s->l2_bytes;
    out->bad_places = s->bad_count;
    out->last_seen_wall_ms = s->last_seen_wall_ms;
}

/* Count trailers and slots. *records: upper bound of the records that the index must hold. */
static void look_places(layer *y, unsigned char *page, const l2_super *s, directory_report *out,
                        uint64_t *records)
{
    l2_form form;
    l2_form_make(&form, s);
    for (uint32_t p = 0; p < s->nseg; p++) {
        const uint64_t at = (uint64_t)p * s->seg_bytes;
        l2_trailer t;
        l2_head h;
        if (layer_peek(y, "data.seg", page, L2_PAGE, at + s->seg_bytes - L2_PAGE) == 0 &&
            l2_trailer_read(&form, page, &t)) {
            out->places_sealed++;
            *records += t.entries;
        } else if (layer_peek(y, "data.seg", page, L2_HEAD_BYTES, at) == 0 &&
                   l2_head_read(&form, page, &h)) {
            out->places_torn++; /* The segment may have as many entries as fit. */
            *records += s->seg_bytes / L2_RECORD_HEAD;
        }
    }
    for (uint32_t i = 0; i < s->nstage; i++) {
        l2_head h;
        if (layer_peek(y, "stage.buf", page, L2_HEAD_BYTES, (uint64_t)i * s->seg_bytes) == 0 &&
            l2_head_read(&form, page, &h)) {
            out->slots_used++;
            *records += s->seg_bytes / L2_RECORD_HEAD;
        }
    }
}

static void look_sizes(layer *y, const l2_super *s, directory_report *out)
{
    const uint64_t want[2] = { (uint64_t)s->nseg * s->seg_bytes,
                               (uint64_t)s->nstage * s->seg_bytes };
    static const char *const name[2] = { "data.seg", "stage.buf" };
    for (int i = 0; i < 2; i++) {
        base_vfs_file *f = NULL;
        const bool there = layer_open(y, NULL, name[i], 0, &f) == 0;
        if (!there || layer_of(f)->real_bytes < want[i]) { out->files_short++; }
    }
}

static void look_snap(layer *y, unsigned char *page, const l2_super *s, directory_report *out)
{
    l2_form form;
    l2_image_row row;
    base_vfs_file *f = NULL;
    if (layer_open(y, NULL, "index.snap", 0, &f) != 0) { return; }
    out->snap_bytes = layer_of(f)->real_bytes;
    l2_form_make(&form, s);
    out->snap_fits = s->state == L2_CLEAN &&
                     layer_peek(y, "index.snap", page, L2_IMAGE_HEAD, 0) == 0 &&
                     l2_image_head_read(&form, page, s->opens, s->clean_lsn, 0, out->snap_bytes,
                                        &row);
}

/* ---- after recovery ---- */

typedef struct look_run {
    const directory_how *how;
    directory_report *out;
    directory_segment seg;
    uint32_t index;         /* index of the segment */
    bool future;
    unsigned char *bytes;   /* bytes of the segment; NULL: records are not checked */
    int64_t wall_ms;
    uint32_t data_end; /* as in its trailer */
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

/* Judge one record by its bytes. named: a word of its bunch names the record. */
static look_verdict look_record(l2 *d, look_run *k, const l2_entry *e, bool named)
{
    const unsigned char *at = k->bytes + e->off;
    l2_rec r;
    if (!l2_rec_marked(&d->form, at, k->seg.segseq, e->off, k->data_end, &r) ||
        !l2_rec_whole(&d->form, at, k->seg.segseq, e->off, &r) || r.kind != e->kind) {
        return LOOK_HURT;
    }
    if (r.kind == L2_KIND_CONTROL) { return LOOK_DEAD; }
    const unsigned char *key = at + L2_RECORD_HEAD + (size_t)r.ext * 8;
    l2_meta m;
    memset(&m, 0, sizeof m);
    if (l2_h48(base_hash(&d->hash_key, r.generation, key, r.klen)) != e->h48 ||
        !l2_ext_read(at + L2_RECORD_HEAD, (size_t)r.ext * 8, &m)) {
        return LOOK_HURT;
    }
    if (r.kind != L2_KIND_PUT || !named) { return LOOK_DEAD; }
    const l2_namespace_row *v = look_namespace(d, r.generation);
    if (v == NULL) {
        k->out->old_generation++;
        return LOOK_DEAD;
    }
    if (r.expiry_wall_ms != 0 && (k->future || r.expiry_wall_ms <= k->wall_ms)) {
        k->out->expired++;
        return LOOK_DEAD;
    }
    if (l2_tags_verdict(d, &m) != 0 ||
        l2_globs_match(d, r.generation, l2_lsn(d, k->seg.segseq, e->off), false, key, r.klen)) {
        k->out->ended++;
        return LOOK_DEAD;
    }
    if (k->how->record != NULL) {
        const directory_record one = { key, r.klen, v->name, v->name_len, r.vlen,
                                       r.expiry_wall_ms != 0 ? r.expiry_wall_ms - k->wall_ms : -1,
                                       m.version, m.user_flags, m.kind };
        k->how->record(k->how->ctx, &one);
    }
    return LOOK_LIVE;
}

static bool look_named(l2 *d, const l2_entry *e, uint64_t lsn)
{
    uint64_t word[L2_BUNCH_WORDS];
    const uint32_t n = e->kind == L2_KIND_PUT ? l2_index_all(d, e->h48, word) : 0;
    for (uint32_t i = 0; i < n; i++) {
        if (l2_word_lsn(d, word[i]) == lsn) { return lsn >= base_load_acq(&d->floor_lsn); }
    }
    return false;
}

static void look_line(l2 *d, void *ctx, const l2_entry *e)
{
    look_run *k = ctx;
    const bool named = look_named(d, e, l2_lsn(d, k->seg.segseq, e->off));
    k->seg.records++;
    k->seg.tombstones += e->kind == L2_KIND_TOMB;
    k->seg.controls += e->kind == L2_KIND_CONTROL;
    const look_verdict v = k->bytes != NULL ? look_record(d, k, e, named)
                                          : named ? LOOK_LIVE : LOOK_DEAD;
    if (v == LOOK_LIVE) {
        k->seg.live++;
        k->seg.live_bytes += e->bytes;
    } else {
        k->seg.dead_bytes += e->bytes;
    }
    k->seg.damaged += v == LOOK_HURT;
}

static void look_sum(directory_report *out, const directory_segment *s)
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

static void look_segment(l2 *d, look_run *k, unsigned char *buf)
{
    const l2_seg *g = &d->seg[k->index];
    const uint64_t w = base_load_acq(&g->word);
    if (L2_SEG_STATE(w) != L2_SEG_DISK) { return; }
    l2_trailer t;
    k->seg = (directory_segment){ .segseq = L2_SEG_SEQ(w), .place = base_load_rlx(&g->place),
                                  .data_end = g->data_end };
    const uint64_t at = (uint64_t)k->seg.place * d->form.seg_bytes;
    bool ok = l2_read(d, d->data_file, d->page, L2_PAGE, at + d->form.seg_bytes - L2_PAGE) == 0 &&
              (l2_trailer_read(&d->form, d->page, &t) || l2_trailer_heal(&d->form, d->page, &t));
    if (ok && buf != NULL) { ok = l2_read(d, d->data_file, buf, d->form.seg_bytes, at) == 0; }
    k->seg.base_wall_ms = ok ? t.head.base_wall_ms : 0;
    k->data_end = ok ? t.data_end : 0;
    k->bytes = buf;
    k->future = base_load_rlx(&g->future) != 0;
    k->seg.unreadable = !ok || !l2_foot_walk(d, g, k->seg.segseq, false, look_line, k);
    look_sum(k->out, &k->seg);
    if (k->how->segment != NULL) { k->how->segment(k->how->ctx, &k->seg); }
}

static SYNC_UNCHECKED cellar_err look_store(l2 *d, const directory_how *how, directory_report *out)
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
    look_run k = { .how = how, .out = out, .wall_ms = l2_wall_now(d) };
    for (uint32_t i = d->order_count; i > 0; i--) {
        k.index = d->order[i - 1];
        look_segment(d, &k, buf);
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

/* Seal the slot in which the log continues, so that its records are read like all others. */
static SYNC_UNCHECKED bool look_seal(l2 *d)
{
    l2_slot *s = d->open_slot;
    return s == NULL || s->kept_end == 0 || l2_seal(d, s) == 0;
}

static cellar_err look_open(layer *y, const l2_super *s, uint64_t records,
                            const directory_how *how, directory_report *out, int *sys_errno)
{
    const base_clock clock = { NULL, NULL, NULL };
    const base_vfs vfs = layer_vfs(y);
    base_log log;
    base_log_init(&log, &clock, NULL, NULL, BASE_LOG_OFF);
    const uint64_t objects = records + LOOK_SLACK;
    l2_config cfg = {
        .account = &y->account, .log = &log, .clock = how->clock != NULL ? how->clock : &clock,
        .vfs = &vfs, .path = how->path,
        .bytes = BASE_MIN(s->l2_bytes, (uint64_t)s->nseg * s->seg_bytes * 2), /* else damaged */
        .memory_bytes = BASE_MAX(objects * 48, (uint64_t)64 << 20), .level = L2_DROP,
        .avg_object_bytes = (uint64_t)s->nseg * s->seg_bytes / objects, .no_thread = true,
        .wall_ms = how->wall_ms, .wall_ctx = how->wall_ctx,
    };
    unsigned char page[L2_PAGE];
    look_snap(y, page, s, out);
    if (cfg.avg_object_bytes == 0) { cfg.avg_object_bytes = 1; }
    l2 *d = NULL;
    cellar_err err = l2_open(&cfg, &d, sys_errno);
    if (err != CELLAR_OK) { return err; }
    out->file_bytes = layer_bytes(y);
    while (l2_rebuild_step(d)) {} /* Only that: l2_tick would reclaim. */
    out->begins_anew = d->form.epoch != s->epoch;
    err = look_seal(d) ? look_store(d, how, out) : CELLAR_E_IO;
    l2_discard(d);
    return err;
}

#endif
