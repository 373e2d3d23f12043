/* SPDX-License-Identifier: MIT
 *
 * l1, many, hot, pin, objects, scale, sceptic, peers, servers: the suites that are lists of workloads
 * (bench/mixes/NAME.wl says the rest).
 *
 * l1    get, 95:5, 50:50, write-only, latency at 95:5, with 1 and 2 threads; read-through with room
 *       for a tenth of the keys; each without deadlines and with 1 h on every record.
 * many     batches of 1, 8, 32, 128 keys, compared with single gets of the same round.
 * hot      all threads on one key.
 * scale    full stores of 4 to 64 MiB (full: 1 GiB) with room for a tenth of the keys: rates of 1
 *          to 64 threads, and what each further thread adds; latency of a set.
 * sceptic  20 and 100 thousand entries, by value and by reference, with 1 to 16 threads; a miss
 *          that costs 10 us and 1 ms.
 * pin      reading 4 KiB and 64 KiB values in place, compared with copying them.
 * objects  holds of objects beside gets that copy, and beside caches of pointers; sets that evict.
 * peers    the reference workload, without and with a TTL on each entry, read-through with a bound
 *          in entries and in bytes, one hot key and large values with every subject, those of other
 *          languages too; each block of rounds has a time limit.
 * servers  100 k keys: one request at a time and 64 a batch, with servers, tables on disk, and
 *          others that need minutes for a million sets (BENCH_SLOW). */
#include "bench/suites/suite.h"

#include <stddef.h>

static const char *const suite_l1_list[] = { "zipf1m_16_100", "zipf1m_16_100_ttl",
                                             "bounded100k_16_100", "bounded100k_16_100_ttl", NULL };
static const char *const suite_l1_full[] = { "zipf100k_16_100", "zipf10m_16_100", "zipf1m_8_8",
                                             "zipf100k_16_4096", NULL };
const bench_suite suite_l1 = { "l1", "gets and sets, 1 and 2 threads, bounded read-through", NULL,
                               suite_l1_list, suite_l1_full, false, false, 0 };

static const char *const suite_many_list[] = { "many1m", "many1m_ttl", "many10m", "many10m_ttl",
                                               NULL };
static const char *const suite_many_full[] = { "many1m_uniform", "many10m_uniform", NULL };
const bench_suite suite_many = { "many", "get_many against single gets", NULL, suite_many_list,
                                 suite_many_full, false, false, 0 };

static const char *const suite_hot_list[] = { "hot", "hot_ttl", NULL };
const bench_suite suite_hot = { "hot", "all threads on one key", NULL, suite_hot_list, NULL,
                                false, false, 0 };

static const char *const suite_pin_list[] = { "pin4k", "pin4k_ttl", NULL };
static const char *const suite_pin_full[] = { "pin64k", NULL };
const bench_suite suite_pin = { "pin", "reading in place against copying", NULL, suite_pin_list,
                                suite_pin_full, false, false, 0 };

static const char *const suite_objects_list[] = { "objects1m", "objects1m_16", "objects16m", NULL };
const bench_suite suite_objects = { "objects", "holds of objects beside caches of pointers", NULL,
                                    suite_objects_list, NULL, true, false, 12 };

static const char *const suite_scale_list[] = { "scale16m", "scale16m_rss", "scale64m", "scale4m",
                                                NULL };
static const char *const suite_scale_full[] = { "scale16m_entries", "scale16m_new",
                                                "scale16m_tiers", "scale256m", "scale1g",
                                                "scale1g_new", NULL };
const bench_suite suite_scale = { "scale", "what each further thread adds to a full store", NULL,
                                  suite_scale_list, suite_scale_full, true, false, 15 };

static const char *const suite_sceptic_list[] = { "zipf20k_16_100", "miss10us", "miss1ms",
                                                  "sceptic100k", NULL };
/* sceptic1m: the workload zipf1m_16_100 of suite peers. */
static const char *const suite_sceptic_full[] = { "sceptic1m", NULL };
const bench_suite suite_sceptic = { "sceptic", "few entries, many threads, costs of a miss", NULL,
                                    suite_sceptic_list, suite_sceptic_full, true, false, 10 };

static const char *const suite_peers_list[] = { "zipf1m_16_100", "zipf1m_16_100_ttl",
                                                "bounded100k_16_100", "bounded100k_16_100_ttl",
                                                "bounded16m_16_100", "peers_hot", "peers_4k", NULL };
const bench_suite suite_peers = { "peers", "every peer there is, other languages too", NULL,
                                  suite_peers_list, NULL, true, false, 12 };

static const char *const suite_servers_list[] = { "servers", NULL };
const bench_suite suite_servers = { "servers", "redis: depth 1 and 64", NULL,
                                    suite_servers_list, NULL, true, false, 30 };
