/* SPDX-License-Identifier: MIT
 *
 * peers: the tables of all subjects that can be linked into the bench. */
#ifndef BENCH_PEERS_PEERS_H
#define BENCH_PEERS_PEERS_H

#include "bench/harness/subject.h"

extern const bench_subject raw_subject;
extern const bench_subject uthash1_subject, uthash16_subject, uthash64_subject;
extern const bench_subject uthash64t_subject; /* tuned */
extern const bench_subject cellar_subject, cellar_disk_subject, cellar_listener_subject;
extern const bench_subject cellar_object_subject, cellar_object_load_subject; /* suite objects */
/* Each built when bench.mk finds its headers. */
extern const bench_subject libcuckoo_subject, tbb_chm_subject;
extern const bench_subject rocks_hyper_subject, rocks_lru_subject;
extern const bench_subject redis_subject; /* a process behind a unix socket */

/* The library's keyed hash, its key made by peers_hash_ready (any thread, any number of times). */
void peers_hash_ready(void);
size_t peers_hash(const void *key, size_t len);

#endif
