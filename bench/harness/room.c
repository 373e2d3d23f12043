/* SPDX-License-Identifier: MIT
 *
 * room: finds the bounds under which different subjects hold the same entries or memory.
 *
 * WALK       bound -> a store in a child, or in the process of a peer -> new keys until it evicts
 *            -> entries, RSS -> a bound in proportion, until it is within ROOM_CLOSE of the aim.
 * INVARIANTS Each store is the first of its process, so freed memory of another is not used again.
 * LIMITS     Keys and values of one length. Deferred work is done before a look. */
#include "bench/harness/room.h"

#include <inttypes.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/verify.h"

#define ROOM_TRIES 8
#define ROOM_CLOSE .003
#define ROOM_FILL_MS 300000
#define ROOM_LEAST_BYTES UINT64_C(1048576)

typedef struct room_plan {
    const bench_subject *subject;
    const bench_cfg *cfg;
} room_plan;

static uint64_t room_keys(const bench_cfg *cfg)
{
    return 3 * (cfg->capacity_entries != 0
                    ? cfg->capacity_entries
                    : cfg->capacity_bytes / (cfg->key_len + cfg->value_len));
}

static void room_child(const void *in, void *out)
{
    const room_plan *p = in;
    const bench_subject *s = p->subject;
    room_size *got = out;
    unsigned char key[VERIFY_KEY_MAX], *value = malloc(p->cfg->value_len);
    const uint64_t keys = room_keys(p->cfg);
    malloc_trim(0);
    host_touch_program();
    const uint64_t before = host_rss_bytes();
    void *store = value != NULL ? s->open(p->cfg) : NULL;
    if (store == NULL) {
        return;
    }
    verify_fill(value, p->cfg->value_len);
    uint64_t sum = 0, looks = 0; /* a log evicts many entries together: the mean counts */
    for (uint64_t id = 0; id < keys; id++) {
        verify_make_key(key, id, p->cfg->key_len);
        verify_stamp(value, p->cfg->value_len, id);
        (void)s->set(store, key, p->cfg->key_len, value, p->cfg->value_len, 0);
        if (id >= keys / 3 * 2 && id % (keys / 64 + 1) == 0) {
            if (s->settle != NULL) { s->settle(store); }
            sum += s->count(store);
            looks++;
        }
    }
    const uint64_t after = host_rss_bytes();
    got->rss_bytes = after > before ? after - before : 0;
    got->entries = looks > 0 ? sum / looks : 0;
    s->close(store);
}

static bool room_there(const bench_subject *s, const bench_cfg *cfg, room_size *out, char *why,
                       size_t why_cap)
{
    char command[128];
    const uint32_t one = cfg->key_len + cfg->value_len;
    const uint64_t bytes = cfg->capacity_bytes != 0 ? cfg->capacity_bytes
                                                    : cfg->capacity_entries * one;
    bench_driver *d = driver_start(s->driver, why, why_cap);
    if (d == NULL) {
        return false;
    }
    const uint64_t before = host_rss_of(driver_pid(d));
    snprintf(command, sizeof command, "fill %" PRIu64 " %u %u %" PRIu64, room_keys(cfg),
             cfg->key_len, cfg->value_len, bytes);
    const bool ok = driver_ask(d, driver_most(ROOM_FILL_MS), command) &&
                    driver_ask(d, ROOM_FILL_MS, "settle") && driver_ask(d, ROOM_FILL_MS, "mem");
    const uint64_t after = host_rss_of(driver_pid(d));
    const double entries = ok ? driver_number(d, "entries") : 0; /* 0: it counts bytes alone */
    out->rss_bytes = after > before ? after - before : 0;
    out->entries = entries > 0 ? (uint64_t)entries : bytes / one;
    snprintf(why, why_cap, "%s", driver_trouble(d));
    driver_stop(d);
    return ok;
}

bool room_measure(const bench_subject *s, const bench_cfg *cfg, room_size *out, char *why,
                  size_t why_cap)
{
    const room_plan p = { s, cfg };
    *out = (room_size){ 0, 0 };
    snprintf(why, why_cap, "no store under this bound");
    return (s->driver != NULL ? room_there(s, cfg, out, why, why_cap)
                              : host_apart(room_child, &p, out, sizeof *out, why, why_cap)) &&
           out->entries > 0;
}

/* Move a bound until `of` its room is the aim. Return the nearest bound. */
static uint64_t room_find(const bench_subject *s, bench_cfg *cfg, uint64_t *bound, uint64_t aim,
                          uint64_t room_least, bool by_rss, room_size *out)
{
    uint64_t found = 0;
    double best = 1;
    for (int i = 0; i < ROOM_TRIES && best > ROOM_CLOSE; i++) {
        char why[256];
        room_size got;
        if (!room_measure(s, cfg, &got, why, sizeof why)) {
            return found;
        }
        const uint64_t is = by_rss ? got.rss_bytes : got.entries;
        const double ratio = is > 0 ? (double)aim / (double)is : 2;
        if (fabs(log(ratio)) < best) {
            best = fabs(log(ratio));
            found = *bound;
            *out = got;
        }
        *bound = (uint64_t)((double)*bound * (ratio > 2 ? 2 : ratio < .5 ? .5 : ratio));
        *bound = *bound > room_least ? *bound : room_least;
    }
    return found;
}

uint64_t room_bytes(const bench_subject *s, const bench_cfg *cfg, uint64_t entries)
{
    bench_cfg at = *cfg;
    room_size got;
    at.capacity_entries = 0;
    at.capacity_bytes = entries * (at.key_len + at.value_len + 64);
    return room_find(s, &at, &at.capacity_bytes, entries, ROOM_LEAST_BYTES, false, &got);
}

uint64_t room_same_rss(const bench_subject *s, const bench_cfg *cfg, const room_size *ours, room_size *out)
{
    bench_cfg at = *cfg;
    at.capacity_bytes = 0;
    at.capacity_entries = at.hint_entries = ours->entries;
    return room_find(s, &at, &at.capacity_entries, ours->rss_bytes, 64, true, out);
}
