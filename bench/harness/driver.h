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
/* Limit of a process's silence beyond its window, after which it counts as hung; 20 s. */
void driver_patience(uint32_t ms);
/* For the rest of this process: a runtime with a fixed heap may grow and shrink it, for
 * measurements of its memory. */
void driver_heap_grows(void);
/* Return the shorter of `ms` and the patience for one piece of work (host_patience). */
uint32_t driver_most(uint32_t ms);
/* Return the word for the driver_trouble of an ended process: "hang" or "crash". */
const char *driver_kind(const char *trouble);

/* Return NULL if the program exists. Otherwise return a text: the reason that its build left, or
 * that it was never built. The text lives until the next call. */
const char *driver_missing(const char *name);

/* Start and greet. Return NULL with the reason in `why`. */
bench_driver *driver_start(const char *name, char *why, size_t why_cap);
/* Send quit, and end the process by force after two seconds. NULL is accepted. */
void driver_stop(bench_driver *d);

/* Send one command (without line end) and read one answer. Return false for an answer with "error",
 * for none within the time, or if the process has ended: driver_trouble states which. */
bool driver_ask(bench_driver *d, uint32_t patience_ms, const char *command);
/* The same in three steps, for callers with work to do meanwhile. */
bool driver_tell(bench_driver *d, const char *command);
bool driver_ready(const bench_driver *d, uint32_t wait_ms); /* an answer, or the end, has arrived */
bool driver_hear(bench_driver *d, uint32_t patience_ms);
const char *driver_trouble(const bench_driver *d);
bool driver_alive(const bench_driver *d);

double driver_number(const bench_driver *d, const char *key); /* NAN: not in the answer */
/* A list of numbers; return how many the answer has, at most `cap` are stored. */
uint32_t driver_list(const bench_driver *d, const char *key, double *out, uint32_t cap);

const char *driver_version(const bench_driver *d);
pid_t driver_pid(const bench_driver *d);
uint64_t driver_cpu_ns(const bench_driver *d); /* of the process so far */
/* Return the bytes it holds when all deferred work is done: the used bytes of a runtime with a
 * collector, else RSS. 0: no answer. */
uint64_t driver_held_bytes(bench_driver *d);

/* `open` and `close` of a bench_subject with `driver` set. */
void *driver_open(const bench_cfg *cfg);
void driver_close(void *store);

/* As window_run. `latency` gets the histogram in ns, or is NULL. Return false on driver_trouble. */
bool driver_window(bench_driver *d, const char *metric, const window_job *job, hist *latency,
                   window_result *out);

#endif
