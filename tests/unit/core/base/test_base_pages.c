/* SPDX-License-Identifier: MIT
 *
 * Aim:    regions are reserved even if address space is short, use no memory until committed, read
 *         zero when fresh and when discarded, and stay readable until released.
 * Method: a child under RLIMIT_AS; writes, discards, reads; resident pages counted by mincore; each
 *         call failed by injection. */
#include "tests/support/child.h"
#include "tests/support/t.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char *huge_setting = "/nowhere";
#define BASE_HUGE_SETTING huge_setting

/* Refuse to discard, as for locked pages: until an unlock, or also after it (limit of mappings). */
static enum { AS_EVER, LOCKED, STUCK } pages_are;

static int locked_advise(void *at, size_t bytes, int advice)
{
    if (pages_are != AS_EVER && advice == MADV_DONTNEED) { return -1; }
    return madvise(at, bytes, advice);
}

static int locked_unlock(const void *at, size_t bytes)
{
    (void)at, (void)bytes;
    if (pages_are == STUCK) { return -1; }
    pages_are = AS_EVER;
    return 0;
}
#define madvise locked_advise
#define munlock locked_unlock
#include "base/pages.c"
#undef madvise
#undef munlock

enum { PAGE = BASE_PAGE };

static size_t resident(const base_region *r, size_t pages)
{
    unsigned char in[64] = { 0 };
    size_t n = 0;
    if (mincore(r->base, pages * PAGE, in) != 0) { return SIZE_MAX; }
    for (size_t i = 0; i < pages; i++) { n += in[i] & 1; }
    return n;
}

T_CASE(region_reads_zero_after_commit_and_discard)
{
    base_region r;
    T_REQUIRE(base_region_reserve(&r, (size_t)1 << 30, PAGE));
    T_EQ_U64(r.reserved_bytes, (size_t)1 << 30);
    T_EQ_U64((uintptr_t)r.base % PAGE, 0);
    T_REQUIRE(base_region_commit(&r, 0, 16 * PAGE));
    T_EQ_U64(resident(&r, 16), 0);
    T_CHECK(r.base[0] == 0 && r.base[16 * PAGE - 1] == 0);
    memset(r.base, 7, 16 * PAGE);
    T_EQ_U64(resident(&r, 16), 16);
    base_region_discard(&r, 4 * PAGE, 8 * PAGE);
    T_EQ_U64(resident(&r, 16), 8);
    T_CHECK(r.base[4 * PAGE] == 0 && r.base[12 * PAGE - 1] == 0);
    T_CHECK(r.base[4 * PAGE - 1] == 7 && r.base[12 * PAGE] == 7);
    base_region_discard(&r, 0, 0);
    T_CHECK(r.base[5 * PAGE] == 0);
    base_region_huge(&r, true);
    base_region_huge(&r, false);
    T_CHECK(base_region_commit(&r, 16 * PAGE, PAGE));
    r.base[17 * PAGE - 1] = 1;
    base_region_release(&r);
    T_CHECK(r.base == NULL && r.reserved_bytes == 0);
    base_region_release(&r);
}

T_CASE(discard_of_locked_pages_reads_zero)
{
    base_region r;
    for (int stuck = 0; stuck < 2; stuck++) {
        T_REQUIRE(base_region_reserve(&r, (size_t)1 << 20, PAGE));
        T_REQUIRE(base_region_commit(&r, 0, 16 * PAGE));
        memset(r.base, 7, 16 * PAGE);
        pages_are = stuck != 0 ? STUCK : LOCKED;
        base_region_discard(&r, 4 * PAGE, 8 * PAGE);
        pages_are = AS_EVER;
        T_EQ_U64(resident(&r, 16), stuck != 0 ? 16 : 8);
        for (size_t i = 0; i < 16 * PAGE; i += 64) {
            T_CHECK(r.base[i] == (i < 4 * PAGE || i >= 12 * PAGE ? 7 : 0));
        }
        base_region_release(&r);
    }
}

/* A huge page needs an aligned range, and the kernel does not align mappings of odd sizes. */
T_CASE(region_of_a_huge_page_is_aligned)
{
    enum { REGIONS = 8 };
    base_region r[REGIONS];
    for (size_t i = 0; i < REGIONS; i++) {
        const size_t bytes = BASE_HUGE + (i + 1) * PAGE;
        T_REQUIRE(base_region_reserve(&r[i], bytes, bytes));
        T_EQ_U64((uintptr_t)r[i].base % BASE_HUGE, 0);
        T_EQ_U64(r[i].reserved_bytes, bytes);
        T_REQUIRE(base_region_commit(&r[i], 0, bytes));
        r[i].base[0] = r[i].base[bytes - 1] = 1;
    }
    for (size_t i = 0; i < REGIONS; i++) { base_region_release(&r[i]); }
}

/* For every range inside four pages: zero inside, unchanged outside. */
T_CASE(discard_zeroes_partial_pages)
{
    static const size_t edges[] = { 0, 1, 512, PAGE - 1, PAGE, PAGE + 512, 2 * PAGE - 8, 2 * PAGE,
                                    3 * PAGE + 100, 4 * PAGE };
    base_region r;
    T_REQUIRE(base_region_reserve(&r, 4 * PAGE, 4 * PAGE));
    T_REQUIRE(base_region_commit(&r, 0, 4 * PAGE));
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        for (size_t j = i; j < sizeof edges / sizeof edges[0]; j++) {
            memset(r.base, 7, 4 * PAGE);
            base_region_discard(&r, edges[i], edges[j] - edges[i]);
            for (size_t b = 0; b < 4 * PAGE; b++) {
                if (r.base[b] != (b >= edges[i] && b < edges[j] ? 0 : 7)) {
                    T_EQ_U64(b, SIZE_MAX);
                    return;
                }
            }
        }
    }
    base_region_release(&r);
}

/* Return false under sanitizers: they reserve terabytes of address space. */
static bool address_space_is_ours(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    bool ok = f != NULL && fscanf(f, "%lu", &pages) == 1 && pages < (256ul << 20) / PAGE;
    if (f != NULL) { fclose(f); }
    return ok;
}

static int reserve_under_512_mib(void)
{
    const struct rlimit limit = { (rlim_t)512 << 20, (rlim_t)512 << 20 };
    base_region r;
    if (setrlimit(RLIMIT_AS, &limit) != 0) { return 77; }
    T_CHECK(base_region_reserve(&r, (size_t)8 << 30, (size_t)1 << 20));
    T_CHECK(r.reserved_bytes >= (size_t)32 << 20 && r.reserved_bytes <= (size_t)512 << 20);
    T_EQ_U64(r.reserved_bytes & (r.reserved_bytes - 1), 0);
    base_region_release(&r);
    T_CHECK(!base_region_reserve(&r, (size_t)8 << 30, (size_t)1 << 30));
    T_CHECK(r.base == NULL);
    return t_failed();
}

T_CASE(reservation_under_rlimit_is_halved)
{
    if (!address_space_is_ours()) {
        T_SKIP("this program reserves more address space than the limit (sanitizer)");
        return;
    }
    T_EQ_I64(in_child(fork(), reserve_under_512_mib), 0);
}

T_CASE(each_armed_region_call_fails)
{
    base_region r;
    (void)base_fault_alloc_arm(1, true);
    T_CHECK(!base_region_reserve(&r, 64 * PAGE, 4 * PAGE));
    T_CHECK(r.base == NULL && r.reserved_bytes == 0);
    T_EQ_U64(base_fault_alloc_arm(1, false), 5); /* 64, 32, 16, 8, 4 */
    T_REQUIRE(base_region_reserve(&r, 64 * PAGE, 4 * PAGE));
    T_EQ_U64(r.reserved_bytes, 32 * PAGE);
    (void)base_fault_alloc_arm(1, false);
    T_CHECK(!base_region_commit(&r, 0, PAGE));
    T_CHECK(base_region_commit(&r, 0, PAGE));
    (void)base_fault_alloc_arm(0, false);
    r.base[0] = 1;
    base_region_release(&r);
    T_REQUIRE(base_region_reserve(&r, PAGE, 1));
    T_EQ_U64(r.reserved_bytes, PAGE);
    base_region_release(&r);
    T_REQUIRE(base_region_reserve(&r, PAGE + 1, PAGE + 1));
    T_EQ_U64(r.reserved_bytes, 2 * PAGE);
    base_region_release(&r);
}

T_CASE(access_to_uncommitted_page_faults)
{
    base_region r;
    T_REQUIRE(base_region_reserve(&r, 16 * PAGE, PAGE));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct sigaction as_usual = { .sa_handler = SIG_DFL };
        struct rlimit none = { 0, 0 };
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)sigaction(SIGSEGV, &as_usual, NULL);
        *(volatile unsigned char *)(r.base + 5 * PAGE) = 1;
        _exit(0);
    }
    int status = 0;
    T_REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    T_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    base_region_release(&r);
}

/* Write the setting of the system for huge pages. Return what a collapse says of later ones. */
static bool never_with(const char *setting)
{
    char path[] = "/tmp/cellar-huge-XXXXXX";
    const int fd = mkstemp(path);
    T_REQUIRE(fd >= 0 && write(fd, setting, strlen(setting)) == (ssize_t)strlen(setting));
    (void)close(fd);
    huge_setting = path;
    base_region r;
    bool never = false;
    T_REQUIRE(base_region_reserve(&r, 2 * BASE_HUGE, 2 * BASE_HUGE));
    T_REQUIRE(base_region_commit(&r, 0, BASE_HUGE));
    memset(r.base, 1, BASE_HUGE);
    T_CHECK(!base_region_collapse(&r, 0, &never) || !never);
    T_CHECK(r.base[0] == 1 && r.base[BASE_HUGE - 1] == 1);
    base_region_release(&r);
    (void)unlink(path);
    huge_setting = "/nowhere";
    return never;
}

T_CASE(collapse_follows_the_setting_of_the_system)
{
    T_CHECK(never_with("always madvise [never]\n"));
    if (never_with("always [madvise] never\n")) { T_SKIP("this kernel cannot collapse"); }
    T_CHECK(!never_with("[always] madvise never\n"));
    T_CHECK(!never_with("")); /* not known: the kernel decides */
}

T_MAIN("base_pages")
