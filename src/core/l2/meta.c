/* SPDX-License-Identifier: MIT
 *
 * meta: store and load META, the table of namespaces, tags and patterns.
 *
 * PICTURE    META.0, META.1, written in turn; the valid copy with the higher serial counts.
 * FORMAT     0 u32 magic  4 u32 patterns  8 u64 epoch  16 u64 serial  24 u64 lsn covered
 *            32 u32 namespaces  36 u32 tags  40 u64 floor of tags  48 u32 next generation
 *            52 u32 next id  56 u64 check (of all other bytes)
 *            64 namespaces {u32 id, u32 generation, u32 version, u24 name_len, u8 bits 32 to 39 of
 *            the generation, name, padded to 8},
 *            tags {u64 fingerprint, u64 hard, u64 soft, u64 lsn},
 *            patterns {u32 generation, u32 length, u64 lsn, pattern, padded to 8}
 * INVARIANTS META holds every control below its lsn: the table changes before a control is logged,
 *            and the lsn is read before the table.
 *            A header with a floor above the controls of a segment makes META the only copy of
 *            them. That header has META's serial. If the newest META left has a lower serial, the
 *            newer copy is damaged, and recovery believes no record (recovery_chain.c).
 * LOCKING    Worker only. L2_DEV (`namespace_lock`) for rows, L2_LOG for the lsn, GLOB for tags and
 *            patterns; never two of them. */
#include "l2/superblock.h"

#include <errno.h>

#include "l2/control.h"
#include "l2/format.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/log.h"

BASE_SIZE_BEGIN

#define L2_META_MAGIC 0x4d324c43u /* "CL2M" */
#define L2_META_HEAD 64u
#define L2_META_ROW 16u
#define L2_META_SEED UINT64_C(0x6d657461)
#define L2_META_ROUNDS 8

/* ---- writing ---- */

static SYNC_HOLDS(L2_DEV) size_t l2_meta_rows(const l2 *d, unsigned char *to, size_t cap)
{
    size_t n = 0;
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        const l2_namespace_row *v = &d->namespace[i];
        const size_t row = L2_META_ROW + (size_t)base_round_up(v->name_len, 8);
        if (row > cap - n) { return SIZE_MAX; }
        l2_w32(to + n, v->v.id);
        l2_w32(to + n + 4, (uint32_t)v->v.generation);
        l2_w32(to + n + 8, v->v.version);
        l2_w32(to + n + 12, v->name_len | (uint32_t)(v->v.generation >> 32) << 24);
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
    l2_w32(buf + 48, (uint32_t)d->next_generation);
    l2_w32(buf + 52, d->next_id);
    sync_drop(L2_DEV, &d->namespace_lock);
    if (rows == SIZE_MAX) { return EOVERFLOW; }
    const size_t at = L2_META_HEAD + rows;
    const size_t more = l2_invalidation_write(d, buf, buf + at, cap - 512 - at, lsn);
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
        const size_t more = l2_invalidation_bytes(d);
        sync_take(L2_DEV, &d->namespace_lock);
        const size_t cap = L2_META_HEAD + 512 + more +
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

/* ---- reading ---- */

/* Return the length of the name of a row. */
static uint32_t l2_meta_name_len(const unsigned char *row) { return l2_r32(row + 12) & 0xffffffu; }

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
        if (*cap - n < L2_META_ROW || l2_meta_name_len(*buf + n) > L2_NAME_MAX) { return 0; }
        n += L2_META_ROW + (size_t)base_round_up(l2_meta_name_len(*buf + n), 8);
        if (n > *cap) { return 0; }
    }
    size_t more;
    if (!l2_invalidation_skip(*buf, *buf + n, *cap - n, &more)) { return 0; }
    n += more;
    return l2_meta_sum(d, *buf, n) == l2_r64(*buf + 56) ? l2_r64(*buf + 16) : 0;
}

static bool l2_meta_take(l2 *d, const unsigned char *buf)
{
    size_t n = L2_META_HEAD;
    bool ok = true;
    /* Of an earlier epoch only names, ids and versions count; it has no stored records. */
    const bool same = l2_r64(buf + 8) == d->form.epoch;
    for (uint32_t i = l2_r32(buf + 32); i > 0 && ok; i--) {
        const uint32_t len = l2_meta_name_len(buf + n);
        const uint64_t generation = (uint64_t)buf[n + 15] << 32 | l2_r32(buf + n + 4);
        const l2_namespace v = { l2_r32(buf + n), generation, l2_r32(buf + n + 8) };
        ok = l2_namespace_apply(d, &v, (const char *)buf + n + L2_META_ROW, len);
        n += L2_META_ROW + (size_t)base_round_up(len, 8);
    }
    sync_take(L2_DEV, &d->namespace_lock);
    /* it follows those of the rows */
    d->next_generation += (uint32_t)(l2_r32(buf + 48) - (uint32_t)d->next_generation);
    d->next_id = BASE_MAX(d->next_id, l2_r32(buf + 52));
    sync_drop(L2_DEV, &d->namespace_lock);
    d->meta_lsn = same ? l2_r64(buf + 24) : 0;
    return ok && (!same || l2_invalidation_take(d, buf, buf + n));
}

CELLAR_PRIVATE cellar_err l2_meta_load(l2 *d)
{
    unsigned char *buf[2];
    size_t cap[2];
    uint64_t serial[2];
    for (unsigned i = 0; i < 2; i++) { serial[i] = l2_meta_read(d, i, &buf[i], &cap[i]); }
    const unsigned newer = serial[1] > serial[0];
    bool ok = true;
    if (serial[!newer] == 0 && buf[!newer] != NULL && l2_r32(buf[!newer]) != 0) {
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", EIO, "META.%u is damaged: %s", newer ^ 1u,
                 serial[newer] != 0 ? "the other copy counts" : "no other copy is whole");
    }
    if (serial[newer] != 0) { ok = l2_meta_take(d, buf[newer]); }
    d->meta_serial = serial[newer];
    for (unsigned i = 0; i < 2; i++) {
        base_free(d->cfg.account, BASE_MOD_L2, buf[i], cap[i]);
    }
    return ok ? CELLAR_OK : CELLAR_E_NOMEM;
}

BASE_SIZE_END
