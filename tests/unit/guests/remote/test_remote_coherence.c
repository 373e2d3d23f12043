/* SPDX-License-Identifier: MIT
 *
 * Aim:    no memory keeps an old value, whatever the order of replies, invalidations, own writes
 *         and lost connections; whatever calls change the keys and however the namespace is shared:
 *         queued and invalidating writes, RAW values, stale values offline.
 * Method: three processes with pauses between a reply and its store; each round ends with a fence,
 *         then each key in memory is compared with the server. The mutants of this test
 *         (test_remote_coherence_*.c) run the same and must keep old values. With all calls of keys
 *         at random, and connections cut, each key is compared with what a new process reads. A
 *         loaded value may be in memory alone; then no change of its key began after its loader.
 *         T_SCALE=n: n times the rounds. */
#include <inttypes.h>

#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/coherence_run.h"

static engine server;

static uint32_t scale(void) { return (uint32_t)t_env_u64("T_SCALE", 1); }

T_CASE(race_of_processes_leaves_no_old_value)
{
    run *r = run_all(&server, 210 * scale(), 800, false);
    T_REQUIRE(r != NULL);
    T_EQ_U64(r->stale, 0);
    T_CHECK(r->checked > 10000);
}

T_CASE(lost_connections_leave_no_old_value)
{
    run *r = run_all(&server, 60 * scale(), 300, true);
    T_REQUIRE(r != NULL);
    T_EQ_U64(r->stale, 0);
    T_CHECK(r->cut >= RUN_CUTS);
}

/* ---- all calls of keys ---- */

enum { MIXED_KEYS = 12, MIXED_MANY = 4, MIXED_VALUE = 17 };

/* Ticks of all processes. */
static struct mixed_ticks {
    _Atomic uint64_t now, changed[MIXED_KEYS]; /* begin of the newest change of each key */
} *ticks;

static uint64_t mixed_tick(void) { return atomic_fetch_add(&ticks->now, 1) + 1; }

/* Note a change that began at `tick`, if the call says that it was made, or will be. */
static void mixed_note(uint32_t key, uint64_t tick, cellar_err err)
{
    uint64_t seen = atomic_load(&ticks->changed[key]);
    if (err != CELLAR_OK && err != CELLAR_DEFERRED) { return; }
    while (seen < tick && !atomic_compare_exchange_weak(&ticks->changed[key], &seen, tick)) { }
}

/* Write a value: S, set, or L, loaded, and its tick. */
static uint64_t mixed_value(char kind, char value[MIXED_VALUE])
{
    const uint64_t tick = mixed_tick();
    (void)snprintf(value, MIXED_VALUE, "%c%015" PRIx64, kind, tick);
    return tick;
}

static cellar_err mixed_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    char value[MIXED_VALUE];
    (void)key, (void)key_len, (void)ctx;
    (void)mixed_value('L', value);
    run_pause();
    return cellar_load_value(load, value, MIXED_VALUE - 1);
}

static cellar_err mixed_load_many(cellar_load *load, const cellar_bytes *keys, size_t count,
                                  void *ctx)
{
    for (size_t i = 0; i < count; i++) {
        char value[MIXED_VALUE];
        (void)keys, (void)ctx;
        (void)mixed_value('L', value);
        (void)loader_value(load, i, value, MIXED_VALUE - 1);
    }
    return CELLAR_OK;
}

static cellar_err mixed_update(const void *old, size_t old_len, cellar_buf *out, void *value)
{
    (void)old, (void)old_len;
    return cellar_buf_append(out, value, MIXED_VALUE - 1);
}

/* A lease that its owner does not use any more ends soon. */
static cellar_load_opts mixed_opts(void)
{
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 200 };
    return o;
}

/* ---- operations ---- */

static void do_set(cellar *c, uint32_t i, const char *key)
{
    const cellar_bytes tag = { "tag", 3 };
    char value[MIXED_VALUE];
    cellar_set_opts o = cellar_set_opts_default();
    if (run_random(2) == 0) { o.tags = &tag, o.tag_count = 1; }
    if (run_random(4) == 0) { o.flags = CELLAR_ONLY_IF_PRESENT; }
    const uint64_t tick = mixed_value('S', value);
    mixed_note(i, tick, cellar_set(c, key, strlen(key), value, MIXED_VALUE - 1, &o));
}

static void do_delete(cellar *c, uint32_t i, const char *key)
{
    const uint64_t tick = mixed_tick();
    const cellar_err err = cellar_delete(c, key, strlen(key));
    mixed_note(i, tick, err == CELLAR_MISS ? CELLAR_OK : err); /* other memories may have it */
}

static void do_update(cellar *c, uint32_t i, const char *key)
{
    char value[MIXED_VALUE];
    const uint64_t tick = mixed_value('S', value);
    mixed_note(i, tick, cellar_update(c, key, strlen(key), NULL, mixed_update, value));
}

static void do_touch(cellar *c, uint32_t i, const char *key)
{
    (void)i;
    (void)cellar_touch(c, key, strlen(key), 600000);
}

static void do_get_many(cellar *c, uint32_t i, const char *key)
{
    cellar_get_item item[MIXED_MANY];
    char keys[MIXED_MANY][16], value[MIXED_MANY][MIXED_VALUE];
    size_t hits;
    (void)key;
    for (uint32_t n = 0; n < MIXED_MANY; n++) {
        run_key((i + n) % MIXED_KEYS, keys[n]);
        item[n] = (cellar_get_item){ .key = keys[n], .key_len = strlen(keys[n]), .buf = value[n],
                                     .buf_cap = MIXED_VALUE };
    }
    (void)cellar_get_many(c, item, MIXED_MANY, &hits);
}

static void do_load(cellar *c, uint32_t i, const char *key)
{
    const cellar_load_opts o = mixed_opts();
    cellar_result r = cellar_result_default();
    (void)i;
    (void)cellar_get_or_load(c, key, strlen(key), &o, mixed_load, NULL, &r);
    cellar_result_free(&r);
}

static void do_load_many(cellar *c, uint32_t i, const char *key)
{
    cellar_load_item item[MIXED_MANY];
    cellar_result r[MIXED_MANY];
    char keys[MIXED_MANY][16];
    const cellar_load_opts o = mixed_opts();
    (void)key;
    for (uint32_t n = 0; n < MIXED_MANY; n++) {
        run_key((i + n) % MIXED_KEYS, keys[n]);
        r[n] = cellar_result_default();
        item[n] = (cellar_load_item){ .key = keys[n], .key_len = strlen(keys[n]),
                                      .result = &r[n] };
    }
    (void)cellar_get_or_load_many(c, item, MIXED_MANY, &o, mixed_load_many, NULL);
    for (uint32_t n = 0; n < MIXED_MANY; n++) { cellar_result_free(&r[n]); }
}

static void do_lease(cellar *c, uint32_t i, const char *key)
{
    char value[MIXED_VALUE];
    const cellar_load_opts o = mixed_opts();
    cellar_lease lease = { { 0, 0 } };
    cellar_err err = CELLAR_PENDING;
    (void)i;
    for (int n = 0; n < 20 && err == CELLAR_PENDING; n++) {
        cellar_result r = cellar_result_default();
        err = cellar_lease_acquire(c, key, strlen(key), &o, NULL, &lease, &r);
        cellar_result_free(&r);
        if (err == CELLAR_PENDING) { engine_pause_ms(1); }
    }
    if (err != CELLAR_LEASED) { return; }
    (void)mixed_value('L', value);
    run_pause();
    (void)cellar_lease_fulfill(c, &lease, value, MIXED_VALUE - 1, NULL);
}

/* End many keys, in one of 8 calls. */
static void do_end(cellar *c, uint32_t i, const char *key)
{
    const uint64_t tick = mixed_tick();
    cellar_err err = CELLAR_E_BUSY;
    (void)key;
    switch (run_random(24)) {
    case 0: err = cellar_clear(c); break;
    case 1: (void)cellar_delete_by_tag(c, "tag", 3, CELLAR_TAG_HARD); break;
    case 2: err = cellar_delete_by_pattern(c, "key:*", 5, NULL); break;
    default: break;
    }
    for (i = 0; i < MIXED_KEYS; i++) { mixed_note(i, tick, err); }
}

static void mixed_operation(run *r, const side *s, uint32_t me, uint32_t *count)
{
    static void (*const calls[])(cellar *c, uint32_t i, const char *key) = {
        do_set, do_set, do_delete, do_update, do_touch, do_get_many, do_get_many, do_load,
        do_load, do_load_many, do_lease, do_end,
    };
    char key[16];
    const uint32_t i = run_random(MIXED_KEYS);
    (void)r, (void)me, (void)count;
    run_key(i, key);
    calls[run_random(sizeof calls / sizeof calls[0])](s->users, i, key);
}

/* ---- check ---- */

/* Return whether memory has nothing of a key, or what a new process reads. */
static bool mixed_agrees(run *r, const side *s, const side *new_one, uint32_t i)
{
    char key[16], value[MIXED_VALUE] = "", other[MIXED_VALUE] = "";
    run_key(i, key);
    if (cellar_get_str(s->users, key, value, sizeof value) != CELLAR_OK) { return true; }
    atomic_fetch_add(&r->checked, 1);
    if (cellar_get_str(new_one->users, key, other, sizeof other) == CELLAR_OK) {
        return strcmp(value, other) == 0;
    }
    return value[0] == 'L' &&
           strtoull(value + 1, NULL, 16) > atomic_load(&ticks->changed[i]);
}

static void mixed_check(run *r, const side *s)
{
    side new_one;
    side_open(&new_one, r->server->socket, NULL, &r->kind->opts);
    for (uint32_t i = 0; i < MIXED_KEYS; i++) {
        bool agrees = mixed_agrees(r, s, &new_one, i);
        for (int again = 0; !agrees && again < 3; again++) {
            run_settle(s);
            run_settle(&new_one);
            agrees = mixed_agrees(r, s, &new_one, i);
        }
        if (!agrees) { atomic_fetch_add(&r->stale, 1); }
    }
    side_close(&new_one);
}

static void mixed_run(cellar_remote_write write, cellar_remote_values values,
                      cellar_remote_offline offline)
{
    run_kind kind = { .operation = mixed_operation, .check = mixed_check, .paced = true };
    kind.opts = cellar_remote_namespace_config_default();
    kind.opts.write = write;
    kind.opts.values = values;
    kind.opts.offline = offline;
    ticks = mmap(NULL, sizeof *ticks, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(ticks != MAP_FAILED);
    run *r = run_all_of(&server, &kind, 20 * scale(), 100, true);
    if (r == NULL) { return; }
    T_EQ_U64(r->stale, 0);
    T_CHECK(r->checked > 0 && r->cut >= RUN_CUTS);
}

T_CASE(mixed_calls_leave_no_old_value)
{
    mixed_run(CELLAR_REMOTE_THROUGH, CELLAR_REMOTE_ENVELOPE, CELLAR_REMOTE_MISS);
}

T_CASE(queued_writes_leave_no_old_value)
{
    mixed_run(CELLAR_REMOTE_BEHIND, CELLAR_REMOTE_ENVELOPE, CELLAR_REMOTE_SERVE_STALE);
}

T_CASE(raw_values_leave_no_old_value)
{
    mixed_run(CELLAR_REMOTE_THROUGH, CELLAR_REMOTE_RAW, CELLAR_REMOTE_TRUST);
}

T_MAIN("cellar_remote_coherence")
