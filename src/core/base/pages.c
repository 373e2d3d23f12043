/* SPDX-License-Identifier: MIT
 *
 * pages: address-space regions that are reserved once and backed by memory from the bottom.
 *
 * PICTURE    reserve: PROT_NONE, no memory        commit: readable and writable, reads zero
 *            discard: pages back, readable, zero  release: unmapped, at the very end
 * INVARIANTS A committed page stays readable until release: a late reader may read it.
 * LOCKING    None. The owner of a range decides which thread commits and discards it.
 * LIMITS     Under RLIMIT_AS or on 32 bits a reservation is halved until granted, down to `least`.
 *            Under strict overcommit PROT_NONE costs nothing, and commit may be refused.
 * SEE ALSO   README.md in this folder: why not MAP_NORESERVE. */
#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/num.h"
#include "base/seqlock.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

BASE_SIZE_BEGIN

static void base_region_check(const base_region *r, size_t offset, size_t bytes)
{
    BASE_REQUIRE(r->base != NULL);
    BASE_REQUIRE(offset <= r->reserved_bytes && bytes <= r->reserved_bytes - offset);
}

/* Map `bytes` without memory. Align the mapping to BASE_HUGE if it can hold a huge page: older
 * kernels do not align mappings. Return an unaligned mapping if address space is scarce. */
static void *base_region_map(size_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (bytes >= BASE_HUGE && bytes <= SIZE_MAX - BASE_HUGE) {
        unsigned char *p = mmap(NULL, bytes + BASE_HUGE, PROT_NONE, flags, -1, 0);
        if (p != MAP_FAILED) {
            const size_t before = (size_t)(-(uintptr_t)p % BASE_HUGE);
            if (before != 0) { (void)munmap(p, before); }
            (void)munmap(p + before + bytes, BASE_HUGE - before);
            return p + before;
        }
    }
    return mmap(NULL, bytes, PROT_NONE, flags, -1, 0);
}

CELLAR_PRIVATE bool base_region_reserve(base_region *r, size_t want, size_t least)
{
    r->base = NULL;
    r->reserved_bytes = 0;
    BASE_ASSERT(least > 0 && least <= want);
    if (want > SIZE_MAX - BASE_PAGE) { want = SIZE_MAX - BASE_PAGE; }
    least = (size_t)base_round_up(least, BASE_PAGE);
    for (size_t n = (size_t)base_round_up(want, BASE_PAGE); n >= least;
         n = (size_t)base_round_up(n / 2, BASE_PAGE)) {
        void *p = MAP_FAILED;
        if (!base_fault_alloc("base.region_reserve")) { p = base_region_map(n); }
        if (p != MAP_FAILED) {
            r->base = p;
            r->reserved_bytes = n;
            base_live_add(0);
            return true;
        }
        if (n <= BASE_PAGE) { break; }
    }
    return false;
}

CELLAR_PRIVATE bool base_region_commit(base_region *r, size_t offset, size_t bytes)
{
    base_region_check(r, offset, bytes);
    BASE_ASSERT(offset % BASE_PAGE == 0 && bytes % BASE_PAGE == 0);
    if (base_fault_alloc("base.region_commit")) { return false; }
    return mprotect(r->base + offset, bytes, PROT_READ | PROT_WRITE) == 0;
}

/* Zero bytes that readers may read at the same time. */
static void base_region_zero(base_region *r, size_t from, size_t to)
{
    static const unsigned char zeros[64];
    for (; from < to; from += BASE_MIN(sizeof zeros, to - from)) {
        base_seq_store(r->base + from, zeros, BASE_MIN(sizeof zeros, to - from));
    }
}

CELLAR_PRIVATE void base_region_discard(base_region *r, size_t offset, size_t bytes)
{
    base_region_check(r, offset, bytes);
    base_sim_settle();
    const size_t end = offset + bytes;
    const size_t first = (size_t)base_round_up(offset, BASE_PAGE);
    const size_t last = end & ~(size_t)(BASE_PAGE - 1);
    if (first >= last) { /* no whole page */
        base_region_zero(r, offset, BASE_MIN(first, end));
        base_region_zero(r, BASE_MIN(first, end), end);
        return;
    }
    base_region_zero(r, offset, first);
    base_region_zero(r, last, end);
    /* MADV_DONTNEED fails on private anonymous pages only if the host called mlockall. Then unlock
     * this range, which holds no live data, and try again. At the system's limit of mappings the
     * unlock fails, too: then the pages stay, as zeros. */
    if (madvise(r->base + first, last - first, MADV_DONTNEED) != 0) {
        (void)munlock(r->base + first, last - first);
        if (madvise(r->base + first, last - first, MADV_DONTNEED) != 0) {
            base_region_zero(r, first, last);
        }
    }
}

CELLAR_PRIVATE void base_region_huge(base_region *r, bool want)
{
    BASE_REQUIRE(r->base != NULL);
    /* Advice: a refusal is harmless. */
    (void)madvise(r->base, r->reserved_bytes, want ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

CELLAR_PRIVATE void base_region_keep(base_region *r)
{
    BASE_REQUIRE(r->base != NULL);
    (void)madvise(r->base, r->reserved_bytes, MADV_DONTFORK); /* advice, as above */
}

CELLAR_PRIVATE bool base_region_hide(base_region *r)
{
    BASE_REQUIRE(r->base != NULL);
    return madvise(r->base, r->reserved_bytes, MADV_DONTDUMP) == 0;
}

#if !BASE_SIM
#ifndef BASE_HUGE_SETTING
#define BASE_HUGE_SETTING "/sys/kernel/mm/transparent_hugepage/enabled"
#endif

/* Return whether the system is set to have no huge pages. MADV_COLLAPSE itself does not ask. Where
 * the setting cannot be read, the kernel decides. */
static bool base_huge_off(void)
{
    char text[64] = { 0 };
    size_t len;
    return base_fd_read_file(AT_FDCWD, BASE_HUGE_SETTING, text, sizeof text - 1, &len) == 0 &&
           strstr(text, "[never]") != NULL;
}
#endif

CELLAR_PRIVATE bool base_region_collapse(base_region *r, size_t offset, bool *never)
{
#if BASE_SIM
    (void)r;
    (void)offset;
    *never = true;
    return false;
#else
    if (base_huge_off()) {
        *never = true;
        return false;
    }
    const bool done = madvise(r->base + offset, BASE_HUGE, MADV_COLLAPSE) == 0;
    *never = !done && (errno == EINVAL || errno == EPERM || errno == ENOSYS);
    return done;
#endif
}

CELLAR_PRIVATE void base_region_release(base_region *r)
{
    if (r->base == NULL) { return; }
    base_sim_settle();
    base_live_sub(0);
    int result = munmap(r->base, r->reserved_bytes);
    BASE_ASSERT(result == 0);
    (void)result;
    r->base = NULL;
    r->reserved_bytes = 0;
}

BASE_SIZE_END
