/* SPDX-License-Identifier: MIT
 *
 * json: one object a line, the keys of every row, and the fixed list of metrics. */
#ifndef BENCH_HARNESS_JSON_H
#define BENCH_HARNESS_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/harness/hist.h"

/* One published figure. NULL and NAN fields are left out of the line. */
typedef struct json_row {
    const char *bench, *subject, *workload;
    const char *version;           /* of the subject; NULL: not known */
    const char *metric;            /* one of JSON_METRICS; the unit follows from it */
    const char *vs;                /* reference of `ratio`, p25, p75; NULL: they describe value */
    const char *clock;             /* "wall" or "cpu" */
    const char *regime;            /* "cold", "warm", or "fresh" (a process of its own) */
    const char *c2c;               /* "near" "mid" "far" "one" */
    const char *semantics;
    const char *note;              /* "noisy", "leak", ...; NULL: nothing to say */
    double value, best, ratio, p25, p75, hit, bg_cpu_ns;
    double slept, kept;            /* a set: voluntary switches of its thread, by the thousand;
                                      records that eviction kept */
    double failed;                 /* of a hundred calls: returned an error, or refused a set */
    uint64_t c2c_ns, bad;
    const char *cause;             /* causes of disturbed windows: "switches 3"; NULL: none */
    uint32_t threads;
    uint32_t rounds, dropped;      /* clean and disturbed ones */
    uint32_t disturbed;            /* dropped rounds that its figures include after all */
} json_row;

/* All names of a metric, with unit and better direction. Matched exactly. */
#define JSON_METRICS(X)                                                                    \
    X("get", "Mops/s", 'h') X("mix95", "Mops/s", 'h') X("mix50", "Mops/s", 'h') \
    X("mix", "Mops/s", 'h') \
    X("write", "Mops/s", 'h') X("readthrough", "Mops/s", 'h') X("hot", "Mops/s", 'h') \
    X("hot95", "Mops/s", 'h') X("get_many1", "Mops/s", 'h') X("get_many8", "Mops/s", 'h') \
    X("get_many32", "Mops/s", 'h') X("get_many128", "Mops/s", 'h') X("pin", "Mops/s", 'h') \
    X("pin_copy", "Mops/s", 'h') X("scaling", "x", 'h') X("p50", "ns", 'l') \
    X("p99", "ns", 'l') X("p999", "ns", 'l') X("p9999", "ns", 'l') X("grow_max", "us", 'l')\
    X("grow_p9999", "us", 'l') X("grow_over_1ms", "ops", 'l') X("grow_wall", "ns", 'l') \
    X("meta_bytes", "B", 'l') X("meta_accounted", "B", 'l') X("rss_churn", "x", 'l') \
    X("over_budget", "B", 'l') X("payload_held", "x", 'h') X("churn_write", "MB/s", 'h') \
    X("untouched", "x", 'h') \
    X("dropin_bytes", "B", 'l') X("dropin_text", "B", 'l') X("dropin_seconds", "s", 'l') \
    X("dropin_guests", "B", 'l') \
    X("lock_pair", "Mops/s", 'h') X("check", "Mops/s", 'h') X("check_at", "Mops/s", 'h') \
    X("check_hot", "Mops/s", 'h') X("limit_key_bytes", "B", 'l') \
    X("load_hit", "x", 'h') X("load_miss_over", "ns", 'l') X("load_calls", "calls", 'l') \
    X("load_last_us", "us", 'l') X("load_bare_us", "us", 'l') X("load_last_x", "x", 'l') \
    X("absent_get", "x", 'l') X("absent_load", "x", 'l') X("bloom_over", "x", 'l') \
    X("l2_put", "MB/s", 'h') X("l2_written", "x", 'l') X("l2_put_p50", "ns", 'l') \
    X("l2_put_p99", "ns", 'l') X("l2_put_p999", "ns", 'l') X("l2_get_hot", "gets/s", 'h') \
    X("l2_get_cold", "gets/s", 'h') X("l2_reopen_ms", "ms", 'l') X("l2_reopen", "x", 'l') \
    X("l2_key_bytes", "B", 'l') X("l2_keys_lost", "%", 'l') X("l2_flip_left", "%", 'h') \
    X("l2_flip_wrong", "values", 'l') X("l2_l1_speed", "x", 'h') X("l2_l1_more_ns", "ns", 'l') \
    X("l2_frozen_p999", "x", 'l') X("l2_frozen_max", "ns", 'l') \
    X("l2_read_cold", "MB/s", 'h') \
    X("set_p99", "ns", 'l') X("set_p999", "ns", 'l') \
    X("get_many64", "Mops/s", 'h') X("storm_rss", "x", 'l') X("storm_over", "B", 'l') \
    X("storm_set", "kops/s", 'h') X("expire_max", "us", 'l') X("expire_p999", "ns", 'l') \
    X("expire_left", "entries", 'l') X("miss_ratio", "x", 'l') \
    X("room_entries", "entries", 'h') X("room_rss", "B", 'l') \
    X("open_capacity", "kops/s", 'h') X("open50_p50", "ns", 'l') X("open50_p99", "ns", 'l') \
    X("open50_p999", "ns", 'l') X("open80_p50", "ns", 'l') X("open80_p99", "ns", 'l') \
    X("open80_p999", "ns", 'l') X("open20_p50", "ns", 'l') X("open20_p99", "ns", 'l') \
    X("open20_p999", "ns", 'l') X("open90_p50", "ns", 'l') X("open90_p99", "ns", 'l') \
    X("open90_p999", "ns", 'l') \
    X("kit_get_many", "x", 'h') X("kit_set_many", "x", 'h') \
    X("kit_rules_set", "ns", 'l') X("kit_rules_get", "x", 'h') \
    X("kit_pattern_keys", "x", 'h') X("kit_pattern_stall", "us", 'l') \
    X("kit_pattern_idle", "us", 'l') X("kit_tag_end", "us", 'l') X("kit_tag_get", "x", 'h') \
    X("work_task", "Mops/s", 'h') \
    X("work_task_bytes", "B", 'l') X("work_late", "us", 'l') X("work_publish", "Mops/s", 'h') \
    X("work_cron", "us", 'l') \
    X("work_journal_one", "x", 'h') X("work_journal_many", "x", 'h') \
    X("work_journal_threads", "x", 'h') X("work_journal_run", "x", 'h') \
    X("work_journal_replay", "ms", 'l') \
    X("port_get", "Mops/s", 'h') X("port_set", "Mops/s", 'h') X("port_mset", "Mops/s", 'h') \
    X("port_p99", "x", 'l') X("port_start", "ms", 'l') X("port_rss", "B", 'l') \
    X("port_binary", "B", 'l') \
    X("remote_get_many", "x", 'h') \
    X("remote_tls_get", "x", 'h') X("remote_tls_get_many", "x", 'h') \
    X("remote_misses", "x", 'h') X("remote_large", "x", 'l') \
    X("workers_time", "x", 'l') X("workers_cpu", "x", 'l') X("workers_call", "us", 'l') \
    X("workers_heard", "x", 'l') X("workers_heard_p99", "x", 'l') \
    /* written by suites/replay.sh and report/replay.awk */                                  \
    X("mean_reduction", "x", 'h') X("worst_points_above_lru", "points", 'l') \
    X("won_or_tied_lowest", "x", 'h') X("points_from_reference", "points", 'l') \
    X("million_requests_a_second", "M/s", 'h') X("throughput", "x", 'h') \
    X("object_reduction", "x", 'h') X("advice_error", "points", 'l')

bool json_metric_known(const char *metric);
const char *json_metric_unit(const char *metric);     /* "" when unknown */
void json_list_metrics(void);                         /* name, unit, higher or lower: on stdout */
bool json_metric_lower_is_better(const char *metric);

void json_row_init(json_row *row); /* all fields absent */

const char *json_commit(void); /* environment variable BENCH_COMMIT */
const char *json_compiler(void);
const char *json_flags(void);

/* Facts of each line; texts must outlive the run. */
void json_facts(bool quick, const char *alloc);

/* Append lines to a file; NULL: no file. Return false if it cannot be opened. */
bool json_open(const char *path);
void json_close(void);
void json_write(const json_row *row); /* ends the process when the metric is not on the list */
/* Write the buckets of timed calls ("get", "set"): "hist":[ns,count,ns,count,...], ns the middle
 * of a bucket, `ns_per_unit` for one unit of the histogram. An empty one writes nothing. */
void json_histogram(const char *bench, const char *subject, const char *of,
                    const char *call, uint32_t threads, const hist *h, double ns_per_unit);
/* Write "series":name,"values":[...]: a figure over the course of one run. */
void json_series(const char *bench, const char *subject, const char *of, const char *name,
                 const double *values, uint32_t count);
/* kind: "skip", "crash", "leak"; name: of the workload. Printed on stdout too. */
void json_say(const char *bench, const char *subject, const char *name, const char *kind,
              const char *text);

#endif
