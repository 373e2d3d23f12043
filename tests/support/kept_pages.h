/* SPDX-License-Identifier: MIT
 *
 * kept_pages: for tests that open stores by the million. A returned region of address space is
 * kept and reused for the next region of its size. This saves three calls of the kernel and a page
 * fault, some 15 % of the life of a tiny store.
 *
 * INVARIANTS Committed bytes read zero, as pages of the kernel do. A returned region holds garbage
 *            until then, and is poisoned under the address sanitizer.
 * LIMITS     One thread, a few regions. A read of a returned region does not fault: the other tests
 *            of the disk tier check that. */
#ifndef TESTS_KEPT_PAGES_H
#define TESTS_KEPT_PAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/support/t.h"

#if T_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define KEPT_MOST 4

typedef struct kept_region {
    unsigned char *at;  /* NULL: no region */
    size_t bytes, open; /* its size; bytes from its start that are committed */
    bool used;
} kept_region;

static kept_region kept_regions[KEPT_MOST];

static kept_region *kept_around(const void *at)
{
    for (int i = 0; i < KEPT_MOST; i++) {
        kept_region *k = &kept_regions[i];
        if (k->at != NULL && (uintptr_t)at - (uintptr_t)k->at < k->bytes) { return k; }
    }
    return NULL;
}

static void *kept_map(void *want, size_t bytes, int may, int how, int file, off_t off)
{
    kept_region *none = NULL;
    for (int i = 0; i < KEPT_MOST; i++) {
        kept_region *k = &kept_regions[i];
        if (k->at == NULL) { none = k; }
        if (k->at == NULL || k->used || k->bytes != bytes) { continue; }
        k->used = true;
        return k->at;
    }
    void *at = mmap(want, bytes, may, how, file, off);
    if (none != NULL && at != MAP_FAILED) { *none = (kept_region){ at, bytes, 0, true }; }
    return at;
}

static int kept_protect(void *at, size_t bytes, int may)
{
    kept_region *k = kept_around(at);
    const size_t end = k != NULL ? (size_t)((unsigned char *)at - k->at) + bytes : 0;
    if (k == NULL || end > k->open) {
        const int result = mprotect(at, bytes, may);
        if (k == NULL || result != 0) { return result; }
        k->open = end;
    }
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
    memset(at, 0, bytes);
    return 0;
}

static int kept_unmap(void *at, size_t bytes)
{
    kept_region *k = kept_around(at);
    if (k == NULL) { return munmap(at, bytes); }
    memset(k->at, 0xdb, k->open);
    ASAN_POISON_MEMORY_REGION(k->at, k->open);
    k->used = false;
    return 0;
}

#define mmap kept_map
#define mprotect kept_protect
#define munmap kept_unmap
#include "base/pages.c"
#undef mmap
#undef mprotect
#undef munmap

#endif
