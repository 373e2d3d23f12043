/* SPDX-License-Identifier: MIT
 *
 * l2_kit: small stores on the in-memory disk of l2_dev.h. */
#ifndef TESTS_L2_KIT_H
#define TESTS_L2_KIT_H

#include "l2/admission.h"
#include "l2/codec.h"
#include "l2/control.h"
#include "l2/files.h"
#include "l2/format.h"
#include "l2/geometry.h"
#include "l2/health.h"
#include "l2/heartbeat.h"
#include "l2/image.h"
#include "l2/index.h"
#include "l2/index_rebuild.h"
#include "l2/index_snapshot.h"
#include "l2/invalidations.h"
#include "l2/io.h"
#include "l2/l2.h"
#include "l2/link.h"
#include "l2/live.h"
#include "l2/log.h"
#include "l2/mapped_read.h"
#include "l2/owner_images.h"
#include "l2/part.h"
#include "l2/plan.h"
#include "l2/progress.h"
#include "l2/record.h"
#include "l2/recovery.h"
#include "l2/recovery_parts.h"
#include "l2/slot.h"
#include "l2/stall.h"
#include "l2/steps.h"
#include "l2/superblock.h"
#include "l2/tombstone_filter.h"
#include "l2/types.h"
#include "tests/support/l2_audit.h"
#include "tests/support/l2_dev.h"
#include "tests/support/t.h"

/* ---- small stores ---- */

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

/* Prepare a store with 16 KiB segments and no thread. Change k->cfg before l2_kit_open. */
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
        .vfs = dev != NULL ? &k->vfs : NULL, .path = "d", .bytes = 65536,
        .memory_bytes = 1 << 20, .seg_bytes = 16384, .seg_count = 3, .stage_count = 2,
        .secret = l2_kit_secret, .no_thread = true, .wall_ms = l2_kit_wall, .wall_ctx = k };
}

T_INLINE cellar_err l2_kit_open_only(l2_kit *k)
{
    k->cfg.account = &k->account;
    return l2_open(&k->cfg, &k->d, &k->sys_errno);
}

/* Open, and mark a CLEAN store DIRTY as the first change does: no put is dropped for that. */
T_INLINE cellar_err l2_kit_open(l2_kit *k)
{
    const cellar_err err = l2_kit_open_only(k);
    if (err == CELLAR_OK) { l2_dirty_wait(k->d); }
    return err;
}

/* Drop the store like a process death: memory is freed, files are not touched. */
T_INLINE void l2_kit_kill(l2_kit *k)
{
    if (k->d != NULL) { l2_discard(k->d); }
    k->d = NULL;
}

T_INLINE void l2_kit_warm(l2_kit *k)
{
    while (base_load_acq(&k->d->rebuilding) != 0) { (void)l2_tick(k->d, 1000); }
}

T_INLINE l2_key l2_kit_key(l2_kit *k, const void *bytes, size_t len, uint32_t generation)
{
    return (l2_key){ bytes, (uint32_t)len, generation,
                     base_hash(l2_hash_key(k->d), generation, bytes, len) };
}

/* As l2_get, with one code for all misses, also those of a disk that stands still. */
T_INLINE cellar_err l2_kit_get(l2 *d, const l2_key *k, void *buf, size_t cap, size_t *len,
                               l2_meta *m)
{
    const cellar_err err = l2_get(d, k, buf, cap, len, m);
    return err == CELLAR_E_TIMEOUT ? CELLAR_MISS : err;
}

/* ---- a store of 6 segments; user_flags of a value is its version ---- */

#define L2_KIT_KEYS 40u
#define L2_KIT_GENERATION 3u

/* Make a new disk and open a store on it. */
T_INLINE void l2_kit_begin(l2_kit *k, l2_dev *dev, l2_level level)
{
    l2_dev_init(dev);
    l2_kit_init(k, dev);
    k->cfg.seg_count = 6;
    k->cfg.level = level;
    T_REQUIRE(l2_kit_open(k) == CELLAR_OK);
    l2_kit_warm(k);
}

T_INLINE void l2_kit_end(l2_kit *k, l2_dev *dev)
{
    T_EQ_STR(l2_audit(k->d), NULL);
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
    l2_kit_warm(k);
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
