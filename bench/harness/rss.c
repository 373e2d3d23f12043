/* SPDX-License-Identifier: MIT
 *
 * rss: memory and stolen time as the kernel counts them.
 *
 * Only RSS counts for memory rows: the allocated bytes of an allocator miss the bytes that it holds
 * back (after size churn glibc keeps 1.45-2.21 times the accounted bytes). smaps_rollup is exact;
 * /proc/self/statm may lag by 64 pages a thread.
 * Steal is the time that the hypervisor gave to others, in ticks of 10 ms over all CPUs. One tick
 * in a window of 40 ms on two CPUs is already 12 %, so a window with any steal is dropped. */
#include "bench/harness/host.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RSS_PAGE 4096u

/* First line of `path` that starts with `label`; its number in bytes ("kB" lines). */
static uint64_t rss_read_kb(const char *path, const char *label)
{
    char line[256];
    uint64_t kb = 0;
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        return 0;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, label, strlen(label)) == 0) {
            if (sscanf(line + strlen(label), "%" SCNu64, &kb) != 1) {
                kb = 0;
            }
            break;
        }
    }
    fclose(f);
    return kb * 1024;
}

uint64_t host_rss_of(pid_t pid)
{
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    return rss_read_kb(path, "Rss:");
}

uint64_t host_rss_bytes(void) { return rss_read_kb("/proc/self/smaps_rollup", "Rss:"); }
uint64_t host_available_bytes(void) { return rss_read_kb("/proc/meminfo", "MemAvailable:"); }
uint64_t host_total_bytes(void) { return rss_read_kb("/proc/meminfo", "MemTotal:"); }

/* It also reads bytes between two objects, which is not the sanitizers' business. */
__attribute__((no_sanitize_address, no_sanitize_thread, noinline))
void host_touch_program(void)
{
    char line[512], rights[8];
    uint64_t from, to;
    FILE *f = fopen("/proc/self/maps", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strchr(line, '/') == NULL ||
            sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &from, &to, rights) != 3 ||
            strncmp(rights, "r-", 2) != 0) {
            continue;
        }
        for (uint64_t at = from; at < to; at += RSS_PAGE) {
            (void)*(const volatile unsigned char *)(uintptr_t)at;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

host_steal host_steal_now(void)
{
    host_steal s = { 0, 0 };
    uint64_t v[8] = { 0 };
    FILE *f = fopen("/proc/stat", "r");
    if (f == NULL) {
        return s;
    }
    /* user nice system idle iowait irq softirq steal */
    if (fscanf(f, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                  " %" SCNu64 " %" SCNu64,
               &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) == 8) {
        for (int i = 0; i < 8; i++) {
            s.total += v[i];
        }
        s.steal = v[7];
    }
    fclose(f);
    return s;
}
