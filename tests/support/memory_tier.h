/* SPDX-License-Identifier: MIT
 *
 * memory_tier: a small tier of a namespace, in an array, for tests. It counts the calls that it
 * gets. Its entries outlive the memory of the store, like those of a disk or of another machine. */
#ifndef SUPPORT_MEMORY_TIER_H
#define SUPPORT_MEMORY_TIER_H

#include <pthread.h>
#include <string.h>

#include "cache/cache.h"

#define MEMORY_TIER_ENTRIES 256

typedef struct memory_tier_entry {
    bool used;
    uint32_t generation;
    size_t key_len, value_len;
    char key[32], value[32];
    int64_t deadline_ms;
    bool negative;
} memory_tier_entry;

typedef struct memory_tier {
    cache_tier table; /* for cache_tier_attach */
    cache_tier_host host;
    pthread_mutex_t lock;
    memory_tier_entry entry[MEMORY_TIER_ENTRIES];
    char tag_text[64]; /* of the last put: each followed by a comma */
    uint64_t tag_fps[BASE_TAGS_MAX], tag_ended;
    cache_tier_ticket ticket; /* of the last request */
    bool cannot_answer;       /* the tier refuses requests */
    unsigned asks;
    unsigned gets, puts, kills, bumps, tags, ticks, closes;
} memory_tier;

static inline memory_tier_entry *memory_tier_find(memory_tier *m, const cache_tier_key *k, bool add)
{
    memory_tier_entry *room = NULL;
    for (size_t i = 0; i < MEMORY_TIER_ENTRIES; i++) {
        memory_tier_entry *e = &m->entry[i];
        if (!e->used) {
            room = room == NULL ? e : room;
        } else if (e->generation == k->generation && e->key_len == k->len &&
                   memcmp(e->key, k->bytes, k->len) == 0) {
            return e;
        }
    }
    return add ? room : NULL;
}

static inline void memory_tier_attach(void *ctx, const cache_tier_host *host)
{
    ((memory_tier *)ctx)->host = *host;
}

static inline cellar_err memory_tier_get(void *ctx, const cache_tier_key *k, void *buf,
                                         size_t buf_cap, size_t *value_len, cache_tier_meta *meta)
{
    memory_tier *m = ctx;
    cellar_err err = CELLAR_MISS;
    pthread_mutex_lock(&m->lock);
    m->gets++;
    const memory_tier_entry *e = memory_tier_find(m, k, false);
    if (e != NULL) {
        meta->deadline_ms = e->deadline_ms;
        *value_len = e->value_len;
        err = e->negative ? CELLAR_ABSENT : e->value_len > buf_cap ? CELLAR_E_BUFFER : CELLAR_OK;
        if (err == CELLAR_OK) { memcpy(buf, e->value, e->value_len); }
    }
    pthread_mutex_unlock(&m->lock);
    return err;
}

static inline cellar_err memory_tier_put(void *ctx, const cache_tier_key *k, const void *value,
                                         size_t value_len, const cache_tier_meta *meta,
                                         uint64_t stamp)
{
    memory_tier *m = ctx;
    cellar_err err = CACHE_TIER_REFUSED;
    pthread_mutex_lock(&m->lock);
    memory_tier_entry *e = memory_tier_find(m, k, true);
    if (e != NULL && k->len <= sizeof e->key && value_len <= sizeof e->value &&
        m->host.stamp_is(m->host.ctx, k->hash, stamp)) {
        m->puts++;
        *e = (memory_tier_entry){ .used = true, .generation = k->generation, .key_len = k->len,
                                  .value_len = value_len, .deadline_ms = meta->deadline_ms,
                                  .negative = meta->kind != 0 };
        memcpy(e->key, k->bytes, k->len);
        m->tag_text[0] = '\0';
        for (uint32_t i = 0; i < meta->tag_count && meta->tag_text != NULL; i++) {
            strncat(m->tag_text, meta->tag_text[i].data, meta->tag_text[i].len);
            strcat(m->tag_text, ",");
        }
        if (meta->tag_count != 0) { memcpy(m->tag_fps, meta->tag_fps, 8u * meta->tag_count); }
        if (value_len != 0) { memcpy(e->value, value, value_len); }
        err = CELLAR_OK;
    }
    pthread_mutex_unlock(&m->lock);
    return err;
}

static inline void memory_tier_kill(void *ctx, const cache_tier_key *k)
{
    memory_tier *m = ctx;
    pthread_mutex_lock(&m->lock);
    m->kills++;
    memory_tier_entry *e = memory_tier_find(m, k, false);
    if (e != NULL) { e->used = false; }
    pthread_mutex_unlock(&m->lock);
}

static inline void memory_tier_bump(void *ctx, uint32_t namespace_id, uint32_t generation)
{
    memory_tier *m = ctx;
    (void)namespace_id;
    (void)generation;
    m->bumps++;
}

static inline void memory_tier_tag(void *ctx, uint64_t fp, uint64_t epoch, bool soft)
{
    memory_tier *m = ctx;
    (void)epoch;
    (void)soft;
    m->tag_ended = fp;
    m->tags++;
}

static inline bool memory_tier_tick(void *ctx, uint64_t budget_us)
{
    (void)budget_us;
    ((memory_tier *)ctx)->ticks++;
    return false;
}

static inline void memory_tier_close(void *ctx, int64_t deadline_ms)
{
    (void)deadline_ms;
    ((memory_tier *)ctx)->closes++;
}

static inline bool memory_tier_ask(void *ctx, const cache_tier_key *k,
                                   const cache_tier_ticket *ticket)
{
    memory_tier *m = ctx;
    (void)k;
    if (m->cannot_answer) { return false; }
    m->ticket = *ticket;
    m->asks++;
    return true;
}

/* Answer the last request with `value`; NULL: the tier has nothing. */
static inline void memory_tier_answer(memory_tier *m, const char *key, const char *value)
{
    cache_tier_meta meta;
    memset(&meta, 0, sizeof meta);
    meta.deadline_ms = INT64_MAX;
    m->host.answered(m->host.ctx, &m->ticket, key, strlen(key),
                     value != NULL ? CELLAR_OK : CELLAR_MISS, value,
                     value != NULL ? strlen(value) : 0, &meta);
}

static inline void memory_tier_init(memory_tier *m)
{
    memset(m, 0, sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    m->table = (cache_tier){
        .ctx = m, .max_value_bytes = 32, .attach = memory_tier_attach, .get = memory_tier_get,
        .put = memory_tier_put, .kill = memory_tier_kill, .bump = memory_tier_bump,
        .tag = memory_tier_tag, .tick = memory_tier_tick, .close = memory_tier_close,
    };
}

/* Change a key from outside: another process stores `value`; NULL: it deletes the key. */
static inline void memory_tier_outside(memory_tier *m, uint32_t generation, const char *key,
                                       const char *value)
{
    const cache_tier_key k = { key, strlen(key), 0, 0, generation };
    pthread_mutex_lock(&m->lock);
    memory_tier_entry *e = memory_tier_find(m, &k, value != NULL);
    if (e != NULL) {
        e->used = value != NULL;
        e->generation = generation;
        e->key_len = k.len;
        memcpy(e->key, key, k.len);
        e->deadline_ms = INT64_MAX;
        e->negative = false;
        if (value != NULL) {
            e->value_len = strlen(value);
            memcpy(e->value, value, e->value_len);
        }
    }
    pthread_mutex_unlock(&m->lock);
    m->host.changed(m->host.ctx, generation, key, k.len);
}

#endif
