/* SPDX-License-Identifier: MIT
 *
 * host: clocks, CPU pinning, names, a process apart.
 *
 * WALK       the list of usable CPUs is read once (sched_getaffinity), so that a container with two
 *            of sixteen CPUs pins to its own two.
 * LIMITS     cycle counter on x86-64; elsewhere CLOCK_MONOTONIC in its place (coarser). */
#include "bench/harness/host.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static uint64_t host_clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t host_wall_ns(void) { return host_clock_ns(CLOCK_MONOTONIC); }
uint64_t host_thread_cpu_ns(void) { return host_clock_ns(CLOCK_THREAD_CPUTIME_ID); }
uint64_t host_process_cpu_ns(void) { return host_clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

uint64_t host_thread_preempted(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? (uint64_t)u.ru_nivcsw : 0;
}

int host_waited_open(void)
{
    const int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && host_waited_ns(fd) == 0) { /* a thread that runs has waited to be started */
        close(fd);
        return -1;
    }
    return fd;
}

uint64_t host_waited_ns(int fd)
{
    char text[96];
    const ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : 0;
    char *at = text;
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    (void)strtoull(text, &at, 10); /* ns it ran; then ns it waited, then how often it ran */
    return strtoull(at, NULL, 10);
}

#if defined(__x86_64__)
uint64_t host_ticks(void)
{
    unsigned int aux;
    const uint64_t t = __rdtscp(&aux);
    _mm_lfence(); /* the timed operation does not start before the reading is done */
    return t;
}
#else
uint64_t host_ticks(void) { return host_wall_ns(); }
#endif

double host_ns_per_tick(void)
{
    static double cached;
    if (cached == 0) {
        const uint64_t ns = host_wall_ns(), ticks = host_ticks();
        uint64_t ns_end;
        do {
            ns_end = host_wall_ns();
        } while (ns_end - ns < 20000000);
        cached = (double)(ns_end - ns) / (double)(host_ticks() - ticks);
    }
    return cached;
}

static int host_compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

uint64_t host_empty_ticks(void)
{
    uint64_t sample[1001];
    for (size_t i = 0; i < 1001; i++) {
        const uint64_t t = host_ticks();
        sample[i] = host_ticks() - t;
    }
    qsort(sample, 1001, sizeof sample[0], host_compare);
    return sample[500];
}

static const cpu_set_t *host_cpus(void)
{
    static cpu_set_t set;
    static bool known;
    if (!known) {
        if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) == 0) {
            CPU_ZERO(&set);
            CPU_SET(0, &set);
        }
        known = true;
    }
    return &set;
}

uint32_t host_cpu_count(void) { return (uint32_t)CPU_COUNT(host_cpus()); }

bool host_pin(uint32_t index)
{
    const cpu_set_t *all = host_cpus();
    cpu_set_t one;
    index %= host_cpu_count();
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, all) && index-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            return sched_setaffinity(0, sizeof one, &one) == 0;
        }
    }
    return false;
}

void host_unpin(void) { sched_setaffinity(0, sizeof(cpu_set_t), host_cpus()); }

const char *host_cpu_name(void)
{
    static char name[128];
    if (name[0] == '\0') {
        char line[256];
        snprintf(name, sizeof name, "unknown CPU");
        FILE *f = fopen("/proc/cpuinfo", "r");
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            const char *colon = strchr(line, ':');
            if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
                snprintf(name, sizeof name, "%.100s", colon + 2);
                name[strcspn(name, "\n")] = '\0';
                break;
            }
        }
        if (f != NULL) {
            fclose(f);
        }
    }
    return name;
}

const char *host_kernel(void)
{
    static struct utsname u;
    return uname(&u) == 0 ? u.release : "unknown";
}

static uint32_t host_patience_ms = 300000;

void host_patience(uint32_t ms) { host_patience_ms = ms; }

bool host_wait(pid_t pid, char *why, size_t why_cap)
{
    return host_watch(pid, 2, NULL, NULL, why, why_cap);
}

bool host_watch(pid_t pid, uint32_t each_ms, void (*look)(void *ctx), void *ctx, char *why,
                size_t why_cap)
{
    const struct timespec pause = { each_ms / 1000, each_ms % 1000 * 1000000L };
    const uint64_t until = host_wall_ns() + host_patience_ms * UINT64_C(1000000);
    int status = 0;
    if (pid <= 0) {
        snprintf(why, why_cap, "no process could be made");
        return false;
    }
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (host_wall_ns() > until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            snprintf(why, why_cap, HOST_SILENT "%u ms", host_patience_ms);
            return false;
        }
        if (look != NULL) {
            look(ctx);
        }
        nanosleep(&pause, NULL);
    }
    if (WIFSIGNALED(status)) {
        snprintf(why, why_cap, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
        snprintf(why, why_cap, "ended with exit status %d", WEXITSTATUS(status));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool host_apart(void (*fn)(const void *in, void *out), const void *in, void *out, size_t out_bytes,
                char *why, size_t why_cap)
{
    void *shared = mmap(NULL, out_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        snprintf(why, why_cap, "no shared memory");
        return false;
    }
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        fn(in, shared);
        _exit(0);
    }
    const bool ended = host_wait(pid, why, why_cap);
    memcpy(out, shared, out_bytes);
    munmap(shared, out_bytes);
    return ended;
}
