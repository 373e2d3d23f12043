/* SPDX-License-Identifier: MIT
 *
 * driver: peers in other languages, each a process that speaks the window protocol
 * (bench/peers/lib/README.md has the commands). */
#ifndef BENCH_HARNESS_DRIVER_H
#define BENCH_HARNESS_DRIVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/harness/hist.h"
#include "bench/harness/subject.h"
#include "bench/harness/window.h"

typedef struct bench_driver bench_driver;

/* Folder of the programs; the text must outlive the run. Without a call: build/bench/peers. */
void driver_folder(const char *path);
/* How long a process may be silent beyond its window before it counts as hanging; 20 s. */
void driver_patience(uint32_t ms);
/* For the rest of this process: a runtime with a fixed heap lets it grow and shrink instead, where
 * its memory is what is measured. */
void driver_heap_grows(void);
/* The shorter of `ms` and the patience for one piece of work (host_patience). */
uint32_t driver_most(uint32_t ms);
/* The word for what driver_trouble said of a process that is gone: "hang" or "crash". */
const char *driver_kind(const char *trouble);

/* NULL when the program is there; else what to say: the reason its build left behind, or that it
 * was never built. The text lives until the next call. */
const char *driver_missing(const char *name);

/* Started and greeted. NULL: `why` says it. */
bench_driver *driver_start(const char *name, char *why, size_t why_cap);
/* quit, and after two seconds the end by force. NULL is fine. */
void driver_stop(bench_driver *d);

/* One command (no line end), one answer. false: an answer with "error", none within the time, or
 * the process is gone: driver_trouble says which. */
bool driver_ask(bench_driver *d, uint32_t patience_ms, const char *command);
/* The same in three steps, for those who have something to do meanwhile. */
bool driver_tell(bench_driver *d, const char *command);
bool driver_ready(const bench_driver *d, uint32_t wait_ms); /* an answer, or the end, is there */
bool driver_hear(bench_driver *d, uint32_t patience_ms);
const char *driver_trouble(const bench_driver *d);
bool driver_alive(const bench_driver *d);

double driver_number(const bench_driver *d, const char *key); /* NAN: not in the answer */
/* A list of numbers; returns how many the answer has, at most `cap` are stored. */
uint32_t driver_list(const bench_driver *d, const char *key, double *out, uint32_t cap);

const char *driver_version(const bench_driver *d);
pid_t driver_pid(const bench_driver *d);
uint64_t driver_cpu_ns(const bench_driver *d); /* of the process so far */
/* Bytes it holds when everything put off is done: what a runtime with a collector says is in use,
 * else RSS. 0: it does not answer. */
uint64_t driver_held_bytes(bench_driver *d);

/* `open` and `close` of a bench_subject whose `driver` is set. */
void *driver_open(const bench_cfg *cfg);
void driver_close(void *store);

/* As window_run. `latency` gets the histogram in ns, or is NULL. false: driver_trouble. */
bool driver_window(bench_driver *d, const char *metric, const window_job *job, hist *latency,
                   window_result *out);

#endif
