/* SPDX-License-Identifier: MIT
 *
 * open: open and close a table of locks.
 *
 * FORK       The child marks the table: its calls refuse, or do nothing. */

#include "base/open_error.h"
#include "base/random.h"
#include "base/service.h"
#include "cellar_admin.h"
#include "lock/record.h"
#include "lock/tick.h"

BASE_SIZE_BEGIN

#define LOCK_OPEN "cellar_locks_open"
#define LOCK_BYTES_MIN ((uint64_t)256 << 10)
#define LOCK_STRIPE_BYTES(heads) (sizeof(lock_stripe) + (heads) * sizeof(uint32_t))
_Static_assert(sizeof(cellar_locks) + LOCK_STRIPES_MIN * LOCK_STRIPE_BYTES(LOCK_HEADS_MIN) +
                   BASE_PAD < LOCK_BYTES_MIN,
               "max_bytes holds the table");
#define LOCK_COUNT_MAX (UINT64_C(1) << 24)
#define LOCK_FENCE_MAX (UINT64_C(1) << 61)
#define LOCK_FENCES_A_MS 20 /* bits: fences a millisecond that a key may use and keep their order
                             * over a restart; the wall clock fits above them until 2109 */
#define LOCK_SPARE_CHUNKS 4u /* of a stripe: for idle and unused records, besides max_locks */

/* No fence of a closed table that began at the wall clock is above it. So a table that is opened
 * again within the same millisecond does not begin below. */
static _Atomic uint64_t lock_floor;

/* Free the long keys of a stripe. No thread is left that could look at one. */
static void lock_stripe_clear(cellar_locks *t, lock_stripe *s) SYNC_HOLDS(LOCK)
{
    for (lock_record *r = NULL; (r = lock_behind(t, s, r)) != NULL;) {
        if (r->key_len > LOCK_KEY_INLINE) {
            base_free(&t->obj.account, BASE_MOD_LOCK, r->key.out, r->key_len);
        }
    }
}

/* Free the keys. No lock is taken: no other call runs. */
static void lock_clear(cellar_locks *t) SYNC_UNCHECKED
{
    for (uint32_t i = 0; i < t->stripe_count; i++) { lock_stripe_clear(t, &t->stripe[i]); }
    const uint64_t in_use = t->chunk_top - t->free_count;
    base_uncharge(&t->obj.account, BASE_MOD_LOCK, in_use * BASE_PAGE);
}

/* Refuse handles by the number of stripes, too. */
static void lock_forked(void *table)
{
    base_object_forked(table);
    ((cellar_locks *)table)->stripe_count = 0;
}

/* ---- open and close ---- */

STATS_SERVICE(lock_service, lock_tick, lock_figures, cellar_locks_stats, 0, "table", STATS_LOCKS,
              NULL)

#define LOCK_NUMBER(field, none, min, max, why) \
    BASE_NUMBER(cellar_locks_config, field, none, min, max, why)
static const base_number lock_numbers[] = {
    LOCK_NUMBER(max_locks, 65536, 0, LOCK_COUNT_MAX, "max_locks must be at most 2^24"),
    LOCK_NUMBER(max_bytes, (uint64_t)32 << 20, LOCK_BYTES_MIN, UINT64_MAX,
                "max_bytes must be at least 256 KiB"),
    LOCK_NUMBER(fence_start, 0, 0, LOCK_FENCE_MAX - 1, "fence_start must be below 2^61"),
    LOCK_NUMBER(barging, 0, 0, 1, "barging must be 0 or 1"),
};

/* Copy and check the options of the caller. */
static cellar_err lock_config_in(const cellar_locks_config *cfg, cellar_locks_config *out,
                                 cellar_host_config *host)
{
    const cellar_err err = BASE_CONFIG_IN(cellar_locks_config, out, cfg, host, LOCK_OPEN, "locks",
                                          BASE_NUMBERS(lock_numbers));
    if (err != CELLAR_OK || out->reserved0 == 0) { return err; }
    return base_refuse(CELLAR_E_UNSUPPORTED, LOCK_OPEN, "cellar_locks_config.reserved0 must be 0");
}

/* Return the number of stripes: one for 512 locks. They take an eighth of max_bytes at most. */
static uint32_t lock_stripes_for(const cellar_locks_config *c)
{
    uint32_t n = LOCK_STRIPES_MIN;
    while (n < LOCK_STRIPES_MAX && c->max_locks >= (uint64_t)n * 1024 &&
           c->max_bytes / 16 >= n * LOCK_STRIPE_BYTES(LOCK_HEADS_MIN)) {
        n *= 2;
    }
    return n;
}

/* Return the chains of a stripe: one for 4 locks. They take an eighth of max_bytes at most. */
static uint32_t lock_heads_for(const cellar_locks_config *c, uint64_t stripes)
{
    uint32_t n = LOCK_HEADS_MIN;
    while (c->max_locks >= stripes * n * 8 &&
           c->max_bytes / 16 >= stripes * n * sizeof(uint32_t)) {
        n *= 2;
    }
    return n;
}

static void lock_stripes_init(cellar_locks *t, uint64_t fence_start)
{
    t->from_clock = fence_start == 0;
    if (t->from_clock) {
        const int64_t wall_ms = base_wall_ms();
        fence_start = (wall_ms > 0 ? (uint64_t)wall_ms : 1) << LOCK_FENCES_A_MS;
        fence_start = BASE_MAX(fence_start, base_load_acq(&lock_floor));
    }
    t->high = BASE_MIN(fence_start, LOCK_FENCE_MAX);
    for (uint32_t i = 0; i < t->stripe_count; i++) { t->stripe[i].floor = t->high; }
}

CELLAR_API cellar_err cellar_locks_open(const cellar_locks_config *cfg, cellar_locks **out)
{
    if (out == NULL) { return base_refuse(CELLAR_E_INVAL, LOCK_OPEN, "out must not be NULL"); }
    *out = NULL;
    cellar_locks_config full;
    cellar_host_config host;
    cellar_err err = lock_config_in(cfg, &full, &host);
    if (err != CELLAR_OK) { return err; }
    const char *why = "no memory for the table";
    err = CELLAR_E_NOMEM;
    host.alloc = NULL; /* with `free`: the memory of a table is not the program's */
    host.free = NULL;
    const uint32_t stripes = lock_stripes_for(&full), heads = lock_heads_for(&full, stripes);
    const size_t table_bytes = sizeof(cellar_locks) + stripes * LOCK_STRIPE_BYTES(heads);
    cellar_locks *t = base_object_new(&lock_service.kind, &host, table_bytes);
    if (t == NULL) { goto out; }
    base_account_limit(&t->obj.account, full.max_bytes - table_bytes - BASE_PAD);
    t->stripe_count = stripes;
    t->stripe_shift = 64u - base_log2_floor(stripes);
    t->head_bits = base_log2_floor(heads);
    t->heads = (uint32_t *)(void *)&t->stripe[stripes];
    t->look_ms = host.clock == NULL ? BASE_NEVER_MS : LOCK_LOOK_MS;
    t->max_locks = full.max_locks;
    t->barging = full.barging;
    t->chunk_max = (uint32_t)(full.max_locks / LOCK_PER_CHUNK) + 1 +
                   stripes * LOCK_SPARE_CHUNKS;
    unsigned char secret[32];
    why = "no random bytes from the kernel";
    if (!base_random_bytes(secret, sizeof secret)) { goto drop_object; }
    base_hash_key_init(&t->hash_key, BASE_HASH_FOLD, secret);
    lock_stripes_init(t, full.fence_start);
    bool refused = false;
    why = "no memory or address space for max_locks: lower it";
    t->free_chunks = base_alloc(&t->obj.account, BASE_MOD_LOCK, t->chunk_max * sizeof(uint32_t),
                                &refused);
    if (t->free_chunks == NULL) {
        if (base_broken(refused, "max_bytes is too small for max_locks: raise it", &why)) {
            err = CELLAR_E_SPACE;
        }
        goto drop_object;
    }
    const size_t bytes = (size_t)t->chunk_max * BASE_PAGE;
    if (!base_region_reserve(&t->region, bytes, bytes)) { goto drop_free; }
    if (!base_region_commit(&t->region, 0, bytes)) { goto drop_region; }
    t->records = t->region.base;
    why = "no memory for the fork handlers";
    if (!base_object_forks(&t->obj, lock_forked)) { goto drop_region; }
    *out = t;
    return CELLAR_OK;
drop_region:
    base_region_release(&t->region);
drop_free:
    base_free(&t->obj.account, BASE_MOD_LOCK, t->free_chunks, t->chunk_max * sizeof(uint32_t));
drop_object:
    base_object_free(&t->obj);
out:
    return base_refuse(err, LOCK_OPEN, why);
}

static void lock_floor_raise(cellar_locks *t)
{
    uint64_t value[STATS_LOCK_COUNT], floor;
    (void)lock_figures(t, value);
    do {
        floor = base_load_rlx(&lock_floor);
    } while (floor < value[STATS_LOCK_FENCE] &&
             !base_cas_ar(&lock_floor, floor, value[STATS_LOCK_FENCE]));
}

CELLAR_API void cellar_locks_close(cellar_locks *t)
{
    if (t == NULL || t->obj.forked) { return; }
    base_fork_unregister(&t->obj.fork);
    if (t->from_clock) { lock_floor_raise(t); }
    lock_clear(t);
    base_region_release(&t->region);
    base_free(&t->obj.account, BASE_MOD_LOCK, t->free_chunks, t->chunk_max * sizeof(uint32_t));
    base_object_free(&t->obj);
}

CELLAR_API cellar_err cellar_locks_watch(cellar_locks *t, cellar_lock_watch_fn fn, void *ctx)
{
    if (t == NULL) { return CELLAR_E_INVAL; }
    if (t->obj.forked) { return CELLAR_E_FORKED; }
    sync_take(LOCK_CHUNK, &t->chunk_lock);
    t->watch = fn;
    t->watch_ctx = ctx;
    sync_drop(LOCK_CHUNK, &t->chunk_lock);
    return CELLAR_OK;
}

BASE_SIZE_END
