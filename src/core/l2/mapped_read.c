/* SPDX-License-Identifier: MIT
 *
 * mapped_read: read sealed records through a read-only mapping of data.seg, if the host enables it.
 *
 * PICTURE    get -> pages fresh? -yes-> copy from the mapping -> all checks, as after a read
 *                        |no
 *                        +-> read from the file -> those pages are fresh for a few seconds
 *            fresh = one bit per page: read from the file recently, so it is in the page cache.
 *            The worker clears the bits every few seconds, and those of a place that is written.
 * PROTOCOL   Reader: begun + 1, read `places`, copy, done + 1. Truncation: places = 0, read done,
 *            read begun (all seq_cst). If both are equal, all earlier readers are done, and later
 *            ones find no place.
 *            A truncated file or a disk error raises SIGBUS. base/sigbus.h maps zeros and sets a
 *            flag. The reader sees the flag after its copy, reads the file, and the mapping ends
 *            until the next open.
 * INVARIANTS Bytes are copied first and checked then. A change during the copy does not verify.
 *            No reader touches the mapping while the store itself truncates the file.
 * LOCKING    None.
 * LIMITS     At most 8 times the memory budget is mapped (512 MiB with 32-bit pointers). Places of
 *            a later resize are read from the file until the next open. Charged: the bits, and page
 *            tables as if all pages were present.
 * SEE ALSO   slot.c for the stage, which is always mapped. README.md: measurements. */
#include "l2/mapped_read.h"

#include <errno.h>

#define L2_FRESH_MS 4000
#define L2_MAPPED_AHEAD ((size_t)8192) /* bytes; the CPU prefetches longer copies itself */
#define L2_MAPPED_TIMES 8u        /* factor of the memory budget */
#define L2_TABLE_SHARE 512u       /* pages per page of page table */

static size_t l2_fresh_bytes(const l2_mapped *m)
{
    return (m->bytes / L2_PAGE + 63) / 64 * sizeof *m->fresh;
}

static uint64_t l2_table_bytes(const l2_mapped *m)
{
    return base_round_up(m->bytes / L2_TABLE_SHARE, L2_PAGE);
}

BASE_SIZE_BEGIN

/* ---- open and close ---- */

static int l2_map_most(l2 *d)
{
    l2_mapped *m = &d->mapped;
    const size_t seg = d->form.seg_bytes;
    void *at = NULL;
    int e = ENOMEM;
    for (; m->bytes >= seg; m->bytes = m->bytes / 2 / seg * seg) {
        e = d->vfs->map_read(d->vfs->ctx, d->data_file, m->bytes, &at);
        if (e == 0) { break; }
    }
    if (e != 0) { return e; }
    e = base_sigbus_guard(at, m->bytes, &m->guard);
    if (e != 0) {
        d->vfs->unmap(d->vfs->ctx, at, m->bytes);
        return e;
    }
    m->at = at;
    return 0;
}

static bool l2_map_charge(l2 *d)
{
    l2_mapped *m = &d->mapped;
    if (!base_charge_room(d->cfg.account, BASE_MOD_L2, l2_table_bytes(m))) { return false; }
    m->fresh = base_alloc(d->cfg.account, BASE_MOD_L2, l2_fresh_bytes(m), NULL);
    if (m->fresh == NULL) { base_uncharge(d->cfg.account, BASE_MOD_L2, l2_table_bytes(m)); }
    return m->fresh != NULL;
}

CELLAR_PRIVATE void l2_map_close(l2 *d)
{
    l2_mapped *m = &d->mapped;
    if (m->at == NULL) { return; }
    base_sigbus_release(m->guard);
    d->vfs->unmap(d->vfs->ctx, (void *)(uintptr_t)m->at, m->bytes);
    if (m->fresh != NULL) {
        base_free(d->cfg.account, BASE_MOD_L2, m->fresh, l2_fresh_bytes(m));
        base_uncharge(d->cfg.account, BASE_MOD_L2, l2_table_bytes(m));
    }
    memset(m, 0, sizeof *m);
}

CELLAR_PRIVATE void l2_map_open(l2 *d, uint64_t wanted)
{
    l2_mapped *m = &d->mapped;
    if (!d->cfg.mmap_read || d->vfs->map_read == NULL) { return; }
    BASE_ASSERT(d->cfg.sigbus);
    const uint64_t seg = d->form.seg_bytes;
    uint64_t bytes = BASE_MAX(d->places, wanted) * seg;
    bytes = BASE_MIN(bytes, d->cfg.memory_bytes * L2_MAPPED_TIMES);
    if (sizeof(void *) == 4) { bytes = BASE_MIN(bytes, (uint64_t)512 << 20); }
    m->bytes = (size_t)(bytes / seg * seg);
    m->fresh_ms = base_now_ms(d->cfg.clock);
    int e = l2_map_most(d);
    if (e == 0 && !l2_map_charge(d)) { e = ENOMEM; }
    if (e != 0) {
        l2_map_close(d);
        m->bytes = 0;
        base_log(d->cfg.log, BASE_LOG_WARNING, "l2", e,
                 "data.seg cannot be mapped: gets read the file");
        return;
    }
    l2_map_set(d);
}

BASE_SIZE_END

/* ---- permission to read ---- */

CELLAR_PRIVATE void l2_map_set(l2 *d)
{
    l2_mapped *m = &d->mapped;
    if (m->at == NULL || base_sigbus_hit(m->guard)) { return; }
    const size_t most = m->bytes / d->form.seg_bytes;
    /* seq_cst load in l2_map_read */
    base_store_rel(&m->places, (uint32_t)BASE_MIN(most, d->places));
}

CELLAR_PRIVATE bool l2_map_shut(l2 *d)
{
    l2_mapped *m = &d->mapped;
    base_store_sc(&m->places, 0u);
    BASE_POINT("l2.map_shut");
    const uint64_t done = base_load_acq(&m->done);
    return base_load_sc(&m->begun) == done;
}

/* ---- fresh pages ---- */

CELLAR_PRIVATE void l2_map_forget(l2 *d, uint32_t place)
{
    const l2_mapped *m = &d->mapped;
    const uint64_t seg = d->form.seg_bytes;
    if (m->at == NULL || (place + 1) * seg > m->bytes) { return; }
    const size_t first = (size_t)(place * seg / L2_PAGE), end = first + (size_t)(seg / L2_PAGE);
    /* also clears neighbors in the same words */
    for (size_t w = first / 64; w < (end + 63) / 64; w++) {
        base_store_rlx(&m->fresh[w], (uint64_t)0);
    }
}

CELLAR_PRIVATE void l2_map_work(l2 *d)
{
    l2_mapped *m = &d->mapped;
    if (m->at == NULL) { return; }
    const int64_t now = base_now_ms(d->cfg.clock);
    if (now - m->fresh_ms < L2_FRESH_MS) { return; }
    m->fresh_ms = now;
    for (size_t w = 0; w < l2_fresh_bytes(m) / sizeof *m->fresh; w++) {
        if (base_load_rlx(&m->fresh[w]) != 0) { base_store_rlx(&m->fresh[w], (uint64_t)0); }
    }
}

static bool l2_map_fresh(const l2_mapped *m, size_t first, size_t last)
{
    for (size_t p = first; p <= last; p++) {
        if ((base_load_rlx(&m->fresh[p / 64]) >> p % 64 & 1) == 0) { return false; }
    }
    return true;
}

CELLAR_PRIVATE void l2_map_note(l2 *d, uint64_t at, size_t n)
{
    const l2_mapped *m = &d->mapped;
    if (at + n > m->bytes || base_load_rlx(&m->places) == 0) { return; }
    for (size_t p = (size_t)(at / L2_PAGE); p <= (size_t)((at + n - 1) / L2_PAGE); p++) {
        if (!l2_map_fresh(m, p, p)) { (void)base_or_sc(&m->fresh[p / 64], (uint64_t)1 << p % 64); }
    }
}

/* ---- reading ---- */

static void l2_map_lost(l2 *d)
{
    l2_mapped *m = &d->mapped;
    base_store_sc(&m->places, 0u);
    if (base_xchg_ar(&m->lost, 1u) != 0) { return; }
    base_log(d->cfg.log, BASE_LOG_WARNING, "l2", EFAULT,
             "the mapping of data.seg failed: gets read the file until the next open");
}

CELLAR_PRIVATE bool l2_map_read(l2 *d, void *buf, size_t n, uint32_t place, uint64_t at)
{
    l2_mapped *m = &d->mapped;
    if (place >= base_load_rlx(&m->places) ||
        !l2_map_fresh(m, (size_t)(at / L2_PAGE), (size_t)((at + n - 1) / L2_PAGE))) {
        return false;
    }
    BASE_POINT("l2.map_begin");
    (void)base_add_sc(&m->begun, (uint64_t)1);
    const bool there = place < base_load_sc(&m->places);
    BASE_POINT("l2.map_copy");
    if (there) {
        const size_t ahead = BASE_MIN(n, L2_MAPPED_AHEAD);
        for (size_t i = 0; i < ahead; i += BASE_LINE) { BASE_PREFETCH(m->at + at + i); }
        memcpy(buf, m->at + at, n);
    }
    (void)base_add_ar(&m->done, (uint64_t)1); /* acquire in l2_map_shut */
    if (!there) { return false; }
    if (base_sigbus_hit(m->guard)) { /* the copy may be zeros */
        l2_map_lost(d);
        return false;
    }
    return true;
}
