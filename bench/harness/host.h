/* SPDX-License-Identifier: MIT
 *
 * host: the facts of the machine for the harness: clocks, pinning, memory, stolen time, a process
 * apart, names for the header of a table. All Linux and x86-64 code of the bench is in host.c,
 * rss.c, c2c.c. */
#ifndef BENCH_HARNESS_HOST_H
#define BENCH_HARNESS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

uint64_t host_wall_ns(void);       /* CLOCK_MONOTONIC */
uint64_t host_thread_cpu_ns(void); /* of the calling thread */
uint64_t host_process_cpu_ns(void);
uint64_t host_cpu_ns_of(pid_t pid); /* 0: no such process */
uint64_t host_thread_preempted(void); /* involuntary switches of the calling thread so far */
uint64_t host_thread_slept(void);     /* voluntary ones: it waited */
/* Open a file with the time that the calling thread was able to run but did not, for the next
 * function, which any thread may call; -1 if this kernel keeps no such count, and it returns 0. */
int host_waited_open(void);
uint64_t host_waited_ns(int fd);

/* Cycle counter that waits for the loads before it, and its rate; about 16 ns when empty. */
uint64_t host_ticks(void);
double host_ns_per_tick(void);  /* calibrated once, 20 ms */
uint64_t host_empty_ticks(void); /* median cost of two readings with nothing between */

uint32_t host_cpu_count(void);     /* CPUs this process may use */
bool host_pin(uint32_t index);     /* calling thread onto the index-th of them */
void host_unpin(void);             /* back onto all of them */

typedef struct host_steal {
    uint64_t steal, total; /* clock ticks of all CPUs since boot */
} host_steal;
host_steal host_steal_now(void);

uint64_t host_rss_bytes(void);       /* of this process, smaps_rollup; 0: not readable */
uint64_t host_rss_of(pid_t pid);     /* of another, its children not included */
/* Make every read-only page of the program and its libraries resident, so that their code does not
 * count as growth of a store's memory. */
void host_touch_program(void);
uint64_t host_available_bytes(void); /* MemAvailable */
uint64_t host_total_bytes(void);     /* MemTotal */

/* Longest time of one piece of work of a process before it counts as hung; 5 minutes. */
void host_patience(uint32_t ms);
uint32_t host_patience_now(void);
/* Fork: buffered output is not written twice, and the child ends with this process. */
pid_t host_fork(void);
/* Wait for a child. End it if it takes longer, with the group of processes that it leads, if any.
 * Return true if it exited with status 0; `why` is unchanged. Return false with its signal or
 * status in `why`, or HOST_SILENT and the time. */
#define HOST_SILENT "no answer within "
bool host_wait(pid_t pid, char *why, size_t why_cap);
/* The same, and call `look` at this interval in ms while the child lives. */
bool host_watch(pid_t pid, uint32_t each_ms, void (*look)(void *ctx), void *ctx, char *why,
                size_t why_cap);
/* Run fn in a process of its own. Its `out`, all zero before, comes back, also after a crash.
 * Return false, with the reason in `why`, if it did not reach its end. */
bool host_apart(void (*fn)(const void *in, void *out), const void *in, void *out,
                size_t out_bytes, char *why, size_t why_cap);
/* Run fn in a process of its own for any time. It hangs when it does not call host_beat or host_at
 * for patience_ms. Return fn's result, 0..255; -1 after a crash or a hang, with the reason in
 * `why`, and in *at the last number of host_at. */
int host_guard(int (*fn)(void *ctx), void *ctx, uint32_t patience_ms, uint32_t *at, char *why,
               size_t why_cap);
/* Tell every enclosing host_guard that a step is done, or which step comes next. Any thread. */
void host_beat(void);
void host_at(uint32_t number);

const char *host_cpu_name(void);
const char *host_kernel(void);

/* Cross-core latency in ns a hand-over between the first two CPUs; 0: only one CPU. */
uint64_t host_c2c_ns(void);

#endif
