/* SPDX-License-Identifier: MIT
 *
 * Aim:    loads, reads of the disk and writes to it are timed, each one.
 * Method: Loads are counted by the loader, reads of the disk by the counters of the disk tier.
 *         cellar_latency_get, the metrics and the JSON text tell one number. */
#include "tests/support/api_kit.h"
#include "tests/support/figures.h"
#include "tests/support/spaces.h"

#define LOADS 200u
#define KEYS 3000u

static cellar_latency latency(cellar *c, cellar_op op)
{
    cellar_latency l = cellar_latency_default();
    T_EQ_I64(cellar_latency_get(c, op, &l), CELLAR_OK);
    T_CHECK(l.p50_ns <= l.p90_ns && l.p90_ns <= l.p99_ns && l.p99_ns <= l.p999_ns &&
            l.p999_ns <= l.max_ns);
    return l;
}

static cellar_err loader(cellar_load *l, const void *key, size_t key_len, void *ctx)
{
    ++*(unsigned *)ctx;
    if (*(unsigned *)ctx % 10 == 0) { return CELLAR_E_LOADER; }
    return cellar_load_value(l, key, key_len);
}

T_CASE(each_load_is_timed)
{
    cellar *c = closed_later(api_open(8u << 20));
    unsigned calls = 0;
    T_EQ_U64(latency(c, CELLAR_OP_LOAD).samples, 0);
    for (unsigned i = 0; i < LOADS; i++) {
        cellar_result r = cellar_result_default();
        for (unsigned twice = 0; twice < 2; twice++) {
            (void)cellar_get_or_load(c, &i, sizeof i, NULL, loader, &calls, &r);
            cellar_result_free(&r);
        }
    }
    const cellar_latency l = latency(c, CELLAR_OP_LOAD);
    T_CHECK(calls >= LOADS);
    T_EQ_U64(l.samples, calls);
    T_CHECK(l.max_ns > 0);
    T_EQ_U64(figure(c, "cellar_op_seconds_count{op=\"load\"}"), calls);
    static char json[1 << 17];
    char line[64];
    T_EQ_I64(cellar_stats_json(c, json, sizeof json, NULL), CELLAR_OK);
    (void)snprintf(line, sizeof line, "{\"op\":\"load\",\"sampled\":false,\"count\":%u,", calls);
    T_CHECK(strstr(json, line) != NULL);
    T_EQ_U64(latency(c, CELLAR_OP_L2_READ).samples, 0);
    T_EQ_U64(latency(c, CELLAR_OP_L2_WRITE).samples, 0);
}

T_CASE(each_read_and_write_of_the_disk_is_timed)
{
    static char value[4000];
    settings s = api_config(32u << 20);
    s.config.l2_path = folder_of_case();
    s.config.l2_bytes = 64u << 20;
    cellar *c = closed_later(api_open_with(&s));
    for (unsigned i = 0; i < KEYS; i++) {
        T_EQ_I64(cellar_set(c, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
    }
    close_now(c);
    c = closed_later(api_open_with(&s));
    const uint64_t written = latency(c, CELLAR_OP_L2_WRITE).samples;
    unsigned found = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        size_t len;
        found += cellar_get(c, &i, sizeof i, value, sizeof value, &len) == CELLAR_OK;
    }
    const cellar_latency r = latency(c, CELLAR_OP_L2_READ);
    T_CHECK(found >= KEYS - 2); /* keys of one class share a word (src/core/l2/README.md) */
    T_CHECK(r.samples > KEYS / 2 && r.samples <= KEYS); /* the last slot stays in the stage */
    T_CHECK(r.p50_ns > 0);
    T_EQ_U64(figure(c, "cellar_op_seconds_count{op=\"l2_read\"}"), r.samples);
    cellar *through = space_with(c, "through", SPACE_OPTS(.l2_write = CELLAR_L2_WRITE_THROUGH));
    for (unsigned i = 0; i < KEYS; i++) {
        T_EQ_I64(cellar_set(through, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
        if (i % 64 == 0) { (void)cellar_tick(c, 100000, NULL); }
    }
    const cellar_latency w = latency(c, CELLAR_OP_L2_WRITE);
    T_CHECK(w.samples > written && w.p50_ns > 0);
    T_EQ_U64(latency(c, CELLAR_OP_L2_READ).samples, r.samples);
    T_EQ_U64(figure(c, "cellar_op_seconds_count{op=\"l2_write\"}"),
             latency(c, CELLAR_OP_L2_WRITE).samples);
}

T_ONE_THREAD;
T_MAIN("api_latency")
