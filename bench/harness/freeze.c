/* SPDX-License-Identifier: MIT
 *
 * freeze: see freeze.h. It does not simulate the cost of a store into a page that the kernel first
 * writes back: tests/crash/test_l2_frozen.c protects such pages. */
#include "bench/harness/freeze.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#if BENCH_HAVE_CELLAR /* its disk tier waits */
ssize_t __real_pread(int fd, void *buf, size_t n, off_t offset);
ssize_t __real_pwrite(int fd, const void *buf, size_t n, off_t offset);
int __real_fdatasync(int fd);
int __real_madvise(void *p, size_t n, int advice);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_madvise(void *p, size_t n, int advice);

static _Atomic uint64_t freeze_until_ns; /* monotonic */

static uint64_t freeze_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void freeze_disk(uint64_t ms) { atomic_store(&freeze_until_ns, freeze_now_ns() + ms * 1000000u); }

static void freeze_wait(void)
{
    const struct timespec ms = { 0, 1000000 };
    const uint64_t until = atomic_load(&freeze_until_ns);
    while (until != 0 && freeze_now_ns() < until) {
        nanosleep(&ms, NULL);
    }
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t offset)
{
    freeze_wait();
    return __real_pread(fd, buf, n, offset);
}

ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    freeze_wait();
    return __real_pwrite(fd, buf, n, offset);
}

int __wrap_fdatasync(int fd)
{
    freeze_wait();
    return __real_fdatasync(fd);
}

/* The others concern memory of the process. */
int __wrap_madvise(void *p, size_t n, int advice)
{
    if (advice == MADV_POPULATE_WRITE) { freeze_wait(); }
    return __real_madvise(p, n, advice);
}
#endif
