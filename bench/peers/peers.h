/* SPDX-License-Identifier: MIT
 *
 * peers: the tables of all subjects that can be linked into the bench. */
#ifndef BENCH_PEERS_PEERS_H
#define BENCH_PEERS_PEERS_H

#include "bench/harness/subject.h"

extern const bench_subject raw_subject;
extern const bench_subject uthash1_subject, uthash16_subject, uthash64_subject;
extern const bench_subject uthash64t_subject; /* tuned */
extern const bench_subject glib1_subject;  /* built when bench.mk finds the headers */
extern const bench_subject cellar_subject;

#endif
