/* SPDX-License-Identifier: MIT
 *
 * host: clocks, CPU pinning, names, a process apart.
 *
 * WALK       the list of usable CPUs is read once (sched_getaffinity), so that a container with two
 *            of sixteen CPUs pins to its own two.
 *            A process apart is waited for by a look every few milliseconds. One piece of work has
 *            a length (host_watch). A series of them is watched by its pulse, a counter in memory
 *            shared with the waiting process (host_guard, which may run inside another one).
 * LIMITS     Two nested guards. Cycle counter on x86-64; elsewhere CLOCK_MONOTONIC (coarser).
 */
#include "bench/harness/host.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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

uint64_t host_cpu_ns_of(pid_t pid)
{
    clockid_t id;
    return clock_getcpuclockid(pid, &id) == 0 ? host_clock_ns(id) : 0;
}

uint64_t host_thread_preempted(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? (uint64_t)u.ru_nivcsw : 0;
}

uint64_t host_thread_slept(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? (uint64_t)u.ru_nvcsw : 0;
}

/* Return the ns that the thread waited for a processor; *runs is how often it ran. */
static uint64_t host_schedstat(int fd, uint64_t *runs)
{
    char text[96];
    const ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : 0;
    char *at = text;
    *runs = 0;
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    (void)strtoull(text, &at, 10); /* ns it ran */
    const uint64_t waited = strtoull(at, &at, 10);
    *runs = strtoull(at, NULL, 10);
    return waited;
}

int host_waited_open(void)
{
    const int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    uint64_t runs;
    (void)host_schedstat(fd, &runs);
    if (fd >= 0 && runs == 0) { /* not counted: a thread that looks has run */
        close(fd);
        return -1;
    }
    return fd;
}

uint64_t host_waited_ns(int fd)
{
    uint64_t runs;
    return host_schedstat(fd, &runs);
}

#if defined(__x86_64__)
uint64_t host_ticks(void)
{
    unsigned int aux;
    const uint64_t t = __rdtscp(&aux);
    _mm_lfence(); /* the timed operation starts only after the reading */
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
uint32_t host_patience_now(void) { return host_patience_ms; }

pid_t host_fork(void)
{
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    return pid;
}

/* ---- A process apart ------------------------------------------------------------------------- */

#define HOST_GUARDS 2

typedef struct host_pulse {
    _Atomic uint64_t beats;
    _Atomic uint32_t at;
} host_pulse;

static host_pulse *host_pulses[HOST_GUARDS]; /* of the guards this process runs under */

void host_beat(void)
{
    for (size_t i = 0; i < HOST_GUARDS && host_pulses[i] != NULL; i++) {
        atomic_fetch_add(&host_pulses[i]->beats, 1);
    }
}

void host_at(uint32_t number)
{
    for (size_t i = 0; i < HOST_GUARDS && host_pulses[i] != NULL; i++) {
        atomic_store(&host_pulses[i]->at, number);
    }
    host_beat();
}

typedef struct host_waiting {
    uint32_t each_ms, patience_ms;
    void (*look)(void *ctx); /* or NULL */
    void *ctx;
    host_pulse *pulse;       /* NULL: the patience covers all of it */
} host_waiting;

/* Return true if it exited by itself, with its answer in *status; false with `why`. */
static bool host_outwait(pid_t pid, const host_waiting *w, int *status, char *why, size_t why_cap)
{
    const struct timespec pause = { w->each_ms / 1000, w->each_ms % 1000 * 1000000L };
    uint64_t since = host_wall_ns(), beats = 0;
    *status = 0;
    if (pid <= 0) {
        snprintf(why, why_cap, "no process could be made");
        return false;
    }
    while (waitpid(pid, status, WNOHANG) == 0) {
        const uint64_t seen = w->pulse != NULL ? atomic_load(&w->pulse->beats) : 0;
        const uint64_t now = host_wall_ns();
        if (seen != beats) {
            beats = seen;
            since = now;
        } else if (now - since > w->patience_ms * UINT64_C(1000000)) {
            kill(-pid, SIGKILL);
            kill(pid, SIGKILL);
            waitpid(pid, status, 0);
            snprintf(why, why_cap, HOST_SILENT "%u ms", w->patience_ms);
            return false;
        }
        if (w->look != NULL) {
            w->look(w->ctx);
        }
        nanosleep(&pause, NULL);
    }
    if (WIFSIGNALED(*status)) {
        snprintf(why, why_cap, "signal %d (%s)", WTERMSIG(*status), strsignal(WTERMSIG(*status)));
        return false;
    }
    *status = WEXITSTATUS(*status);
    return true;
}

bool host_wait(pid_t pid, char *why, size_t why_cap)
{
    return host_watch(pid, 2, NULL, NULL, why, why_cap);
}

bool host_watch(pid_t pid, uint32_t each_ms, void (*look)(void *ctx), void *ctx, char *why,
                size_t why_cap)
{
    const host_waiting w = { each_ms, host_patience_ms, look, ctx, NULL };
    int status;
    if (!host_outwait(pid, &w, &status, why, why_cap)) {
        return false;
    }
    if (status != 0) {
        snprintf(why, why_cap, "ended with exit status %d", status);
    }
    return status == 0;
}

static void *host_shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

bool host_apart(void (*fn)(const void *in, void *out), const void *in, void *out, size_t out_bytes,
                char *why, size_t why_cap)
{
    void *shared = host_shared(out_bytes);
    if (shared == NULL) {
        snprintf(why, why_cap, "no shared memory");
        return false;
    }
    const pid_t pid = host_fork();
    if (pid == 0) {
        fn(in, shared);
        _exit(0);
    }
    const bool ended = host_wait(pid, why, why_cap);
    memcpy(out, shared, out_bytes);
    munmap(shared, out_bytes);
    return ended;
}

int host_guard(int (*fn)(void *ctx), void *ctx, uint32_t patience_ms, uint32_t *at, char *why,
               size_t why_cap)
{
    host_pulse *mine = host_shared(sizeof *mine);
    size_t depth = 0;
    int status;
    *at = 0;
    while (depth < HOST_GUARDS && host_pulses[depth] != NULL) {
        depth++;
    }
    if (mine == NULL || depth == HOST_GUARDS) {
        snprintf(why, why_cap, mine == NULL ? "no shared memory" : "too many guards");
        return -1;
    }
    const pid_t pid = host_fork();
    if (pid == 0) {
        host_pulses[depth] = mine;
        const int answer = fn(ctx);
        fflush(NULL);
        _exit(answer);
    }
    const host_waiting w = { 2, patience_ms, NULL, NULL, mine };
    const bool left = host_outwait(pid, &w, &status, why, why_cap);
    *at = atomic_load(&mine->at);
    munmap(mine, sizeof *mine);
    return left ? status : -1;
}
