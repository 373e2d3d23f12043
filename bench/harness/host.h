/* SPDX-License-Identifier: MIT
 *
 * host: what the harness asks the machine: clocks, pinning, memory, stolen time, a process apart,
 * names for the header of a table. All of the bench that is Linux or x86-64 only lies in host.c, rss.c, c2c.c. */
#ifndef BENCH_HARNESS_HOST_H
#define BENCH_HARNESS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

uint64_t host_wall_ns(void);       /* CLOCK_MONOTONIC */
uint64_t host_thread_cpu_ns(void); /* of the calling thread */
uint64_t host_process_cpu_ns(void);
uint64_t host_thread_preempted(void); /* involuntary switches of the calling thread so far */
/* A file that tells how long the calling thread was able to run and did not, for the next function,
 * which any thread may ask; -1: this kernel keeps no such count, and it answers 0. */
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
/* Every page of the program and its libraries that cannot be written is in memory from here on: its
 * code then is no part of what a store's memory grows by. */
void host_touch_program(void);
uint64_t host_available_bytes(void); /* MemAvailable */
uint64_t host_total_bytes(void);     /* MemTotal */

/* How long a process may take for one piece of work before it counts as hanging; 5 minutes. */
void host_patience(uint32_t ms);
uint32_t host_patience_now(void);
/* fork: nothing that waits in a buffer is written twice, and the child ends with this process. */
pid_t host_fork(void);
/* Waits for a child; ends one that takes longer, with the group of processes it leads, if it leads
 * one. True: it left with status 0, and `why` is as it was;
 * false: `why` has its signal or status, or HOST_SILENT and the time. */
#define HOST_SILENT "no answer within "
bool host_wait(pid_t pid, char *why, size_t why_cap);
/* The same, and calls `look` each so many milliseconds for as long as the child lives. */
bool host_watch(pid_t pid, uint32_t each_ms, void (*look)(void *ctx), void *ctx, char *why,
                size_t why_cap);
/* fn in a process of its own: what it leaves in out, all zero before, comes back, also of one that
 * crashed. False, with the reason in `why`: it did not come to its end. */
bool host_apart(void (*fn)(const void *in, void *out), const void *in, void *out,
                size_t out_bytes, char *why, size_t why_cap);
/* fn in a process of its own that may take as long as it likes, and that stands still when it does
 * not call host_beat or host_at for patience_ms. What fn returns, 0..255; -1 when it crashed or stood
 * still, with the reason in `why`, and in *at the last number that host_at was told there. */
int host_guard(int (*fn)(void *ctx), void *ctx, uint32_t patience_ms, uint32_t *at, char *why,
               size_t why_cap);
/* To every host_guard around: something is done; and: this comes next. Any thread. */
void host_beat(void);
void host_at(uint32_t number);

const char *host_cpu_name(void);
const char *host_kernel(void);

/* Cross-core latency in ns a hand-over between the first two CPUs; 0: only one CPU. */
uint64_t host_c2c_ns(void);

#endif
