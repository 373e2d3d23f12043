/* SPDX-License-Identifier: MIT
 *
 * cellar: ourselves, through the public header and nothing else.
 *
 * CONFIGURATION  defaults (64 stripes, S3-FIFO, statistics on, maintenance thread on) but for the
 *            budget, which is sized to the population where the workload has no bound, and the
 *            bound where it has one. The TTL of a workload is the store's default TTL, so a set
 *            needs no options; a set with another TTL passes them.
 * TIERS      cellar_disk has a disk tier of four budgets in a folder of its own, written on
 *            eviction; cellar_listener has a listener for evicted entries that does nothing. Both
 *            take part where a workload names them.
 * OBJECTS    cellar_object stores blocks of malloc as objects, which free_fn frees. A get holds the
 *            object and reads its first and last 8 bytes in place.
 * LIMITS     get_many up to 128 keys a call: the item array stands on the stack, and building it is
 *            part of what is measured. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_l2.h"
#include "cellar_load.h"
#include "cellar_object.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "bench/harness/verify.h"
#include "bench/peers/peers.h"

#define CELLAR_SUBJECT_MANY 128
#define CELLAR_SUBJECT_MIB (UINT64_C(1) << 20)

typedef struct cellar_subject_store {
    cellar *root;
    int64_t ttl_ms; /* the store's default; 0: none */
    char dir[300];  /* of the disk tier; "": none */
} cellar_subject_store;

/* Room for a population that is to stay whole: payload, metadata twice over, and slack. */
static uint64_t cellar_subject_budget(const bench_cfg *cfg)
{
    if (cfg->capacity_bytes != 0) {
        return cfg->capacity_bytes;
    }
    const uint64_t entries = cfg->capacity_entries != 0 ? cfg->capacity_entries : cfg->key_count;
    const uint64_t entry = (uint64_t)cfg->key_len + cfg->value_len;
    const uint64_t payload = cfg->payload_bytes > entries * entry || cfg->capacity_entries == 0
                                 ? cfg->payload_bytes : entries * entry;
    return 64 * CELLAR_SUBJECT_MIB + payload + payload / 4 + entries * 64;
}

static void *cellar_subject_open_as(const bench_cfg *cfg, bool disk, cellar_object_free_fn free_fn)
{
    cellar_subject_store *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    unsigned char secret[32];
    for (size_t i = 0; i < 4; i++) {
        const uint64_t word = verify_mix64(cfg->seed + i + 1);
        memcpy(secret + 8 * i, &word, 8);
    }
    cellar_config c = cellar_config_default();
    c.memory_bytes = cellar_subject_budget(cfg);
    c.max_entries = cfg->capacity_entries;
    c.default_ttl_ms = cfg->ttl_ms;
    cellar_tuning_config tuning = cellar_tuning_config_default();
    tuning.hash_key = secret;
    c.tuning = &tuning;
    cellar_object_config objects = cellar_object_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    objects.free_fn = free_fn;
    root.object = &objects;
    c.root = free_fn != NULL ? &root : NULL;
    s->ttl_ms = cfg->ttl_ms;
    cellar_l2_config below = cellar_l2_config_default();
    if (disk) {
        snprintf(s->dir, sizeof s->dir, "%s/cellar_disk.%d",
                 cfg->scratch != NULL ? cfg->scratch : "build/bench", (int)getpid());
        c.l2 = &below;
        c.l2_path = s->dir;
        c.l2_bytes = 4 * c.memory_bytes;
    }
    if (cellar_open(&c, &s->root) != CELLAR_OK) {
        free(s);
        return NULL;
    }
    return s;
}

static void *cellar_subject_open(const bench_cfg *cfg)
{
    return cellar_subject_open_as(cfg, false, NULL);
}

static void *cellar_subject_open_disk(const bench_cfg *cfg)
{
    return cellar_subject_open_as(cfg, true, NULL);
}

static void cellar_subject_heard(const cellar_event *e, void *ctx)
{
    (void)e;
    (void)ctx;
}

static void *cellar_subject_open_listener(const bench_cfg *cfg)
{
    cellar_subject_store *s = cellar_subject_open_as(cfg, false, NULL);
    uint64_t id;
    if (s != NULL && cellar_listener_add(s->root, CELLAR_CAUSE_BIT(EVICTED), cellar_subject_heard,
                                         NULL, &id) != CELLAR_OK) {
        cellar_close(s->root);
        free(s);
        return NULL;
    }
    return s;
}

static void cellar_subject_close(void *store)
{
    cellar_subject_store *s = store;
    if (s == NULL) {
        return;
    }
    cellar_close(s->root);
    DIR *d = s->dir[0] != '\0' ? opendir(s->dir) : NULL;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d != NULL) {
        closedir(d);
        (void)rmdir(s->dir);
    }
    free(s);
}

static int cellar_subject_get(void *store, const void *key, size_t key_len, void *buf,
                              size_t buf_cap, size_t *value_len)
{
    const cellar_subject_store *s = store;
    const cellar_err err = cellar_get(s->root, key, key_len, buf, buf_cap, value_len);
    return err == CELLAR_OK ? 1 : err > 0 ? 0 : -1;
}

static int cellar_subject_set(void *store, const void *key, size_t key_len, const void *value,
                              size_t value_len, int64_t ttl_ms)
{
    const cellar_subject_store *s = store;
    if (ttl_ms == s->ttl_ms) {
        return cellar_set(s->root, key, key_len, value, value_len, NULL) == CELLAR_OK ? 0 : -1;
    }
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms != 0 ? ttl_ms : CELLAR_TTL_NONE;
    return cellar_set(s->root, key, key_len, value, value_len, &o) == CELLAR_OK ? 0 : -1;
}

static int cellar_subject_del(void *store, const void *key, size_t key_len)
{
    const cellar_subject_store *s = store;
    const cellar_err err = cellar_delete(s->root, key, key_len);
    return err == CELLAR_OK ? 1 : err > 0 ? 0 : -1;
}

static size_t cellar_subject_get_many(void *store, const bench_key *keys, size_t count, void *bufs,
                                      size_t stride)
{
    const cellar_subject_store *s = store;
    cellar_get_item items[CELLAR_SUBJECT_MANY];
    size_t sum = 0;
    for (size_t at = 0; at < count; at += CELLAR_SUBJECT_MANY) {
        const size_t n = count - at < CELLAR_SUBJECT_MANY ? count - at : CELLAR_SUBJECT_MANY;
        size_t hits = 0;
        for (size_t i = 0; i < n; i++) {
            items[i] = (cellar_get_item){ keys[at + i].ptr, keys[at + i].len,
                                          (unsigned char *)bufs + (at + i) * stride, stride, 0,
                                          CELLAR_OK, 0 };
        }
        if (cellar_get_many(s->root, items, n, &hits) == CELLAR_OK) {
            sum += hits;
        }
    }
    return sum;
}

static int cellar_subject_pin(void *store, const void *key, size_t key_len, bench_pinned *out)
{
    const cellar_subject_store *s = store;
    cellar_pinned p;
    _Static_assert(sizeof p.opaque <= sizeof out->handle, "a pin fits into the harness's handle");
    const cellar_err err = cellar_pin(s->root, key, key_len, &p);
    if (err != CELLAR_OK) {
        return err > 0 ? 0 : -1;
    }
    out->value = p.value;
    out->value_len = p.value_len;
    memcpy(out->handle, p.opaque, sizeof p.opaque);
    return 1;
}

static void cellar_subject_unpin(void *store, bench_pinned *pinned)
{
    cellar_pinned p = { pinned->value, pinned->value_len, { 0 } };
    (void)store;
    memcpy(p.opaque, pinned->handle, sizeof p.opaque);
    cellar_unpin(&p);
}

typedef struct cellar_subject_call {
    bench_loader *loader;
    void *ctx;
} cellar_subject_call;

static cellar_err cellar_subject_loader(cellar_load *load, const void *key, size_t key_len,
                                        void *ctx)
{
    const cellar_subject_call *call = ctx;
    unsigned char value[4096];
    const size_t len = call->loader(call->ctx, value, sizeof value);
    (void)key;
    (void)key_len;
    return cellar_load_value(load, value, len);
}

static int cellar_subject_load(void *store, const void *key, size_t key_len, bench_loader *loader,
                               void *ctx, void *buf, size_t buf_cap, size_t *value_len)
{
    const cellar_subject_store *s = store;
    cellar_subject_call call = { loader, ctx };
    cellar_result r = cellar_result_default();
    r.buf = buf;
    r.buf_cap = buf_cap;
    const cellar_err err = cellar_get_or_load(s->root, key, key_len, NULL, cellar_subject_loader,
                                              &call, &r);
    *value_len = r.value_len;
    return err == CELLAR_OK ? 1 : err > 0 ? 0 : -1;
}

/* ---- objects ---- */

typedef struct cellar_subject_block {
    size_t len;
    unsigned char bytes[];
} cellar_subject_block;

static void cellar_subject_free(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)charge, (void)why, (void)ctx;
    free(object);
}

static void *cellar_subject_open_object(const bench_cfg *cfg)
{
    return cellar_subject_open_as(cfg, false, cellar_subject_free);
}

static inline int cellar_subject_read_object(cellar_err err, cellar_held *held, void *buf,
                                             size_t buf_cap, size_t *value_len)
{
    if (err != CELLAR_OK) {
        return err > 0 ? 0 : -1;
    }
    const cellar_subject_block *b = held->object;
    const size_t len = b->len;
    if (len <= buf_cap) {
        const size_t end = len < 8 ? len : 8;
        memcpy(buf, b->bytes, end);
        memcpy((unsigned char *)buf + len - end, b->bytes + len - end, end);
    }
    *value_len = len;
    cellar_object_release(held);
    return len <= buf_cap ? 1 : -1;
}

static int cellar_subject_get_object(void *store, const void *key, size_t key_len, void *buf,
                                     size_t buf_cap, size_t *value_len)
{
    const cellar_subject_store *s = store;
    cellar_held held;
    return cellar_subject_read_object(cellar_object_acquire(s->root, key, key_len, &held), &held,
                                      buf, buf_cap, value_len);
}

static cellar_err cellar_subject_no_object(cellar_load *load, const void *key, size_t key_len,
                                           void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_absent(load);
}

/* Hold an object by a call that could load it. */
static int cellar_subject_load_object(void *store, const void *key, size_t key_len, void *buf,
                                      size_t buf_cap, size_t *value_len)
{
    const cellar_subject_store *s = store;
    cellar_held held;
    return cellar_subject_read_object(cellar_object_get_or_load(s->root, key, key_len, NULL,
                                                                cellar_subject_no_object, NULL,
                                                                &held),
                                      &held, buf, buf_cap, value_len);
}

static int cellar_subject_set_object(void *store, const void *key, size_t key_len,
                                     const void *value, size_t value_len, int64_t ttl_ms)
{
    const cellar_subject_store *s = store;
    cellar_subject_block *b = malloc(sizeof *b + value_len);
    if (b == NULL || ttl_ms != s->ttl_ms) {
        free(b);
        return -1;
    }
    b->len = value_len;
    memcpy(b->bytes, value, value_len);
    if (cellar_object_set(s->root, key, key_len, b, value_len, NULL) == CELLAR_OK) { return 0; }
    free(b);
    return -1;
}

static cellar_stats cellar_subject_stats(void *store)
{
    const cellar_subject_store *s = store;
    cellar_stats st = cellar_stats_default();
    cellar_stats_get(s->root, CELLAR_SCOPE_STORE, &st);
    return st;
}

static uint64_t cellar_subject_count(void *store) { return cellar_subject_stats(store).entries; }
static uint64_t cellar_subject_accounted(void *store)
{
    return cellar_subject_stats(store).used_bytes;
}

/* The counter is in the dump of the store only. */
static uint64_t cellar_subject_kept(void *store)
{
    static const char name[] = "cellar_l1_kept_total ";
    static char text[65536];
    const cellar_subject_store *s = store;
    cellar_dump_write(s->root, text, sizeof text, NULL);
    const char *at = strstr(text, name);
    return at != NULL ? strtoull(at + sizeof name - 1, NULL, 10) : 0;
}

#define CELLAR_SUBJECT_WORDS(a, b, c) #a "." #b "." #c
#define CELLAR_SUBJECT_VERSION(a, b, c) CELLAR_SUBJECT_WORDS(a, b, c)
#define CELLAR_SUBJECT(id, text, opener)                                                   \
    const bench_subject id = {                                                             \
        .name = text, .semantics = "copy",                                               \
        .version = CELLAR_SUBJECT_VERSION(CELLAR_VERSION_MAJOR, CELLAR_VERSION_MINOR,      \
                                          CELLAR_VERSION_PATCH),                           \
        .caps = BENCH_BOUNDED | BENCH_TTL | BENCH_DEL | BENCH_INCR | BENCH_LOAD | BENCH_BYTES, \
        .open = opener, .close = cellar_subject_close, .get = cellar_subject_get,          \
        .set = cellar_subject_set, .del = cellar_subject_del,                              \
        .get_many = cellar_subject_get_many, .pin = cellar_subject_pin,                    \
        .unpin = cellar_subject_unpin, .load = cellar_subject_load,                        \
        .count = cellar_subject_count, .accounted_bytes = cellar_subject_accounted,        \
        .kept = cellar_subject_kept,                                                       \
    }
CELLAR_SUBJECT(cellar_subject, "cellar", cellar_subject_open);
CELLAR_SUBJECT(cellar_disk_subject, "cellar_disk", cellar_subject_open_disk);
CELLAR_SUBJECT(cellar_listener_subject, "cellar_listener", cellar_subject_open_listener);
#define CELLAR_SUBJECT_OBJECT(var, text, getter)                                           \
    const bench_subject var = {                                                            \
        .name = text, .semantics = "ref",                                                  \
        .version = CELLAR_SUBJECT_VERSION(CELLAR_VERSION_MAJOR, CELLAR_VERSION_MINOR,      \
                                          CELLAR_VERSION_PATCH),                           \
        .caps = BENCH_BOUNDED | BENCH_TTL | BENCH_DEL | BENCH_BYTES,                       \
        .open = cellar_subject_open_object, .close = cellar_subject_close,                 \
        .get = getter, .set = cellar_subject_set_object, .del = cellar_subject_del,        \
        .count = cellar_subject_count, .accounted_bytes = cellar_subject_accounted,        \
        .kept = cellar_subject_kept,                                                       \
    }
CELLAR_SUBJECT_OBJECT(cellar_object_subject, "cellar_object", cellar_subject_get_object);
CELLAR_SUBJECT_OBJECT(cellar_object_load_subject, "cellar_object_load",
                      cellar_subject_load_object);
