/* SPDX-License-Identifier: MIT
 *
 * l2_kit: small stores on the in-memory disk of l2_dev.h. */
#ifndef TESTS_L2_KIT_H
#define TESTS_L2_KIT_H

#include "l2/l2.h"
#include "l2/types.h"
#include "tests/support/l2_dev.h"
#include "tests/support/t.h"

/* ---- small stores ---- */

#define L2_KIT_SEG 32768u

typedef struct l2_kit {
    base_account account;
    base_clock clock;
    base_log log;
    base_vfs vfs;
    l2_config cfg;
    l2 *d;
    int64_t now_ms, wall_ms;
    int sys_errno;
} l2_kit;

T_INLINE int64_t l2_kit_now(void *ctx) { return ((l2_kit *)ctx)->now_ms; }
T_INLINE int64_t l2_kit_wall(void *ctx) { return ((l2_kit *)ctx)->wall_ms; }

static const unsigned char l2_kit_secret[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

/* Prepare a store of 12 segments of 32 KiB without a thread. Change k->cfg before l2_kit_open. */
T_INLINE void l2_kit_init(l2_kit *k, l2_dev *dev)
{
    memset(k, 0, sizeof *k);
    base_account_init(&k->account, UINT64_C(1) << 40, NULL);
    k->now_ms = 1000000;
    k->wall_ms = INT64_C(1700000000000);
    k->clock = (base_clock){ l2_kit_now, l2_kit_now, k };
    base_log_init(&k->log, &k->clock, NULL, NULL, BASE_LOG_OFF);
    if (dev != NULL) { k->vfs = l2_dev_vfs(dev); }
    k->cfg = (l2_config){ .account = &k->account, .log = &k->log, .clock = &k->clock,
        .vfs = dev != NULL ? &k->vfs : NULL, .path = "d", .bytes = 12 * L2_KIT_SEG,
        .memory_bytes = 1 << 20, .seg_bytes = L2_KIT_SEG, .seg_count = 12,
        .secret = l2_kit_secret, .no_thread = true, .wall_ms = l2_kit_wall, .wall_ctx = k, .move_pct = 50 };
}

T_INLINE cellar_err l2_kit_open(l2_kit *k)
{
    k->cfg.account = &k->account;
    return l2_open(&k->cfg, &k->d, &k->sys_errno);
}

/* Drop the store like a process death: memory is freed, files are not touched. */
T_INLINE void l2_kit_kill(l2_kit *k)
{
    if (k->d != NULL) { l2_discard(k->d); }
    k->d = NULL;
}

/* Change the number of segments, 12 at least, as l2_resize does for larger files. */
T_INLINE void l2_kit_resize(l2_kit *k, uint32_t segments)
{
    k->d->goal = (l2_goal){ .bytes = (uint64_t)segments * k->cfg.seg_bytes, .nseg = segments, .on = true };
    while (k->d->goal.on) { (void)l2_tick(k->d, 1000); }
    T_EQ_I64(base_load_acq(&k->d->goal_over), CELLAR_OK);
}

T_INLINE l2_key l2_kit_key(l2_kit *k, const void *bytes, size_t len, uint32_t generation)
{
    return (l2_key){ bytes, (uint32_t)len, generation,
                     base_hash(l2_hash_key(k->d), generation, bytes, len) };
}

/* ---- user_flags of a value is its version ---- */

#define L2_KIT_KEYS 40u
#define L2_KIT_GENERATION 3u

/* Make a new disk and open a store on it, with a namespace: passes drop entries of no namespace. */
T_INLINE void l2_kit_begin(l2_kit *k, l2_dev *dev, l2_level level)
{
    l2_dev_init(dev);
    l2_kit_init(k, dev);
    k->cfg.level = level;
    T_REQUIRE(l2_kit_open(k) == CELLAR_OK);
    const l2_namespace ns = { 1, L2_KIT_GENERATION, 1 };
    T_EQ_I64(l2_namespace_set(k->d, &ns, "all", 3, NULL), CELLAR_OK);
}

T_INLINE void l2_kit_end(l2_kit *k, l2_dev *dev)
{
    l2_close(k->d);
    k->d = NULL;
    T_EQ_U64(base_load_rlx(&k->account.used), 0);
    l2_dev_fini(dev);
}

/* Kill the process and open the store again. */
T_INLINE void l2_kit_killed(l2_kit *k, l2_dev *dev)
{
    l2_kit_kill(k);
    dev->locked = false;
    T_REQUIRE(l2_kit_open(k) == CELLAR_OK);
}

T_INLINE cellar_err l2_kit_put(l2_kit *k, uint32_t key, uint32_t version, uint32_t generation)
{
    unsigned char buf[200];
    memset(buf, (int)(key + version), sizeof buf);
    const l2_key id = l2_kit_key(k, &key, sizeof key, generation);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version };
    return l2_put(k->d, &id, buf, sizeof buf, &m, NULL);
}

/* Return the version that is served; 0: a miss. */
T_INLINE uint32_t l2_kit_look(l2_kit *k, uint32_t key, uint32_t generation)
{
    unsigned char buf[200];
    size_t len;
    l2_meta m;
    const l2_key id = l2_kit_key(k, &key, sizeof key, generation);
    return l2_get(k->d, &id, buf, sizeof buf, &len, &m) == CELLAR_OK ? m.user_flags : 0;
}

T_INLINE void l2_kit_del(l2_kit *k, uint32_t key)
{
    const l2_key id = l2_kit_key(k, &key, sizeof key, L2_KIT_GENERATION);
    l2_invalidate(k->d, &id);
}

T_INLINE void l2_kit_fill(l2_kit *k, uint32_t version)
{
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) {
        l2_kit_del(k, i);
        (void)l2_tick(k->d, 1000);
        T_EQ_I64(l2_kit_put(k, i, version, L2_KIT_GENERATION), CELLAR_OK);
        (void)l2_tick(k->d, 1000);
    }
}

T_INLINE l2_stats l2_kit_figures(l2_kit *k)
{
    l2_stats st;
    l2_stats_get(k->d, &st);
    return st;
}

#endif
