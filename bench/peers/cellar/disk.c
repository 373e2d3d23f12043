/* SPDX-License-Identifier: MIT
 *
 * cellar, its disk level alone: l2 under the seam that cache uses, out of the same dist/cellar.c
 * with its private names kept (bench.mk, l2lib.o). L1 in front would answer before it. */
#include "bench/peers/disk.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/directory.h"
#include "l2/l2.h"

#define DISK_GENERATION 1u

typedef struct disk_ours {
    base_account account;
    base_clock clock;
    base_log log;
    l2 *d;
} disk_ours;

static void *disk_ours_open(const disk_cfg *cfg)
{
    disk_ours *o = aligned_alloc(64, (sizeof *o + 63) / 64 * 64);
    if (o == NULL) {
        return NULL;
    }
    memset(o, 0, sizeof *o);
    base_account_init(&o->account, UINT64_C(1) << 50, NULL);
    base_log_init(&o->log, &o->clock, NULL, NULL, BASE_LOG_OFF);
    const uint64_t spare = cfg->bytes / 4 + ((uint64_t)64 << 20);
    const uint64_t room = cfg->bytes + spare;
    /* A long value is stored in parts, and each part has a word of the index. */
    const uint64_t mean = BASE_MIN((uint64_t)cfg->value_len, (uint64_t)64000) + 64;
    const l2_config c = {
        .account = &o->account, .log = &o->log, .clock = &o->clock, .path = cfg->dir,
        .bytes = room, .memory_bytes = cfg->memory_bytes,
        .avg_object_bytes = cfg->exact ? room / cfg->keys : mean,
    };
    int sys_errno;
    if (l2_open(&c, &o->d, &sys_errno) != CELLAR_OK) {
        free(o);
        return NULL;
    }
    return o;
}

static void disk_ours_close(void *store)
{
    disk_ours *o = store;
    l2_close(o->d);
    free(o);
}

static l2_key disk_ours_key(const disk_ours *o, const void *key, size_t key_len)
{
    return (l2_key){ key, (uint32_t)key_len, DISK_GENERATION,
                      base_hash(l2_hash_key(o->d), DISK_GENERATION, key, key_len) };
}

static bool disk_ours_put(void *store, const void *key, size_t key_len, const void *value,
                          size_t value_len)
{
    disk_ours *o = store;
    const l2_key k = disk_ours_key(o, key, key_len);
    l2_parts parts = { 0, 0 };
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .parts = &parts };
    cellar_err err;
    while ((err = l2_put(o->d, &k, value, value_len, &m, NULL)) == CELLAR_DROPPED) {
        sched_yield(); /* a cache would let it go; here all subjects end with the same data */
    }
    return err == CELLAR_OK;
}

static int disk_ours_get(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                         size_t *len)
{
    disk_ours *o = store;
    const l2_key k = disk_ours_key(o, key, key_len);
    l2_meta m;
    const cellar_err err = l2_get(o->d, &k, buf, cap, len, &m);
    return err == CELLAR_OK ? 1 : err == CELLAR_MISS ? 0 : -1;
}

static bool disk_ours_settle(void *store)
{
    disk_ours *o = store;
    return l2_sync(o->d) == CELLAR_OK;
}

void disk_cellar_figures(void *store, disk_figures *out)
{
    disk_ours *o = store;
    *out = (disk_figures){
        .index_bytes = o->account.by_module[BASE_MOD_L2_INDEX],
    };
}

uint64_t disk_cellar_live(const char *dir)
{
    const directory_how how = { .path = dir, .verify = true };
    directory_report r;
    int sys_errno;
    return directory_inspect(&how, &r, &sys_errno) == CELLAR_OK ? r.live + r.old_generation : 0;
}

const disk_subject disk_cellar = { "cellar", "", false, disk_ours_open, disk_ours_close,
                                   disk_ours_put, disk_ours_get, disk_ours_settle };
